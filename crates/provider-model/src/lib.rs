//! A deterministic model of the WhatsApp Cloud API: what it accepts, refuses, reports and loses.
//!
//! Reading order: [`Config`], [`magic`] (recipients with a fixed result), [`Model`], [`Ledger`]
//! (the ground truth), [`Faults`] (knobs), [`Limits`] and the table in `limit.rs`, [`Injection`]
//! (what happens without a call), [`Violations`] (what a test demands to be empty).
//!
//! Throughput, the pair limit and service windows are always on. Portfolio limits, the marketing
//! cap, pacing, call limits, lifetimes and the states of the marketing endpoint are off until
//! [`Limits`] sets them; tokens, suspensions, upgrades and the life of templates follow
//! [`Injection`]s. A [`Violation`] is a call a careful caller would not have made; what only Meta
//! can know (its marketing cap, for one) is counted beside them.
//!
//! The facts stand for Meta's documentation of October 2025 to September 2026 and observations of
//! other integrators; where a fact is our choice, the comment says so.
//!
//! **Architecture invariant:** no clock, no I/O, no async, no global randomness. Time comes in as
//! Unix milliseconds; the same configuration and the same calls give the same results. Random
//! decisions about a request depend on the seed, the recipient and how many requests it had
//! before, not on what happens to other recipients.
//!
//! **Architecture invariant:** the model never tells a caller more than Meta would. Only
//! [`Answer::truth`] and the [`Ledger`] know what really happened; they are for judges.

mod code;
mod config;
mod fault;
mod injection;
mod ledger;
mod limit;
pub mod magic;
mod model;
mod queue;
mod region;
mod report;
mod request;
mod rng;
mod script;
mod suspension;
mod template;
mod webhook;

pub use code::{Described, Refusal, TABLE as CODES, describe};
pub use config::{
    CallLimit, Category, Config, Delays, Header, Invalid, Limits, MarketingAccount, MarketingRule,
    MsRange, Offline, Pacing, PairLimit, PairModel, PhoneNumber, Portfolio, PortfolioRule,
    Reported, Template, TemplateStatus, TemplateTtl, Tier, Token, Ttl, Upgrade, Variables,
};
pub use fault::{CodeRate, Down, Faults};
pub use injection::{Injection, Quality, Unknown};
pub use ledger::{Accepted, Duplicate, Ledger, NumberSummary, Repeated, Summary};
pub use limit::{
    SERVICE_WINDOW_MS, THROUGHPUT_COEXISTENCE, THROUGHPUT_HIGH, THROUGHPUT_STANDARD, WINDOW_MS,
};
pub use model::{Answer, Body, Call, Model, NodeCall, TransportFault, Truth};
pub use report::{
    Gate, LimitKind, NumberReport, RATES_KEPT, Rate, VIOLATIONS_LISTED_MAX, Violation, Violations,
    recipient_hash,
};
pub use request::{Endpoint, OPAQUE_LENGTH_MAX, TEXT_LENGTH_MAX};
pub use suspension::{Affects, Scope, Suspension, TokenState};
pub use webhook::{Webhook, sign};
