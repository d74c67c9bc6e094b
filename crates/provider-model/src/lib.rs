//! A deterministic model of the WhatsApp Cloud API: what it accepts, refuses, reports and loses.
//!
//! Reading order: [`Config`], [`magic`] (recipients with a fixed result), [`Model`], [`Ledger`]
//! (the ground truth), [`Faults`] (knobs).
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
mod request;
mod rng;
mod script;
mod template;
mod webhook;

pub use code::{Described, Refusal, TABLE as CODES, describe};
pub use config::{
    Category, Config, Delays, Header, Invalid, MsRange, PairLimit, PhoneNumber, Template,
    TemplateStatus, Variables,
};
pub use fault::{CodeRate, Down, Faults};
pub use injection::{Injection, Unknown};
pub use ledger::{Accepted, Duplicate, Ledger, NumberSummary, Summary};
pub use limit::{SERVICE_WINDOW_MS, WINDOW_MS};
pub use model::{Answer, Body, Call, Model, TransportFault, Truth};
pub use request::{Endpoint, OPAQUE_LENGTH_MAX, TEXT_LENGTH_MAX};
pub use webhook::{Webhook, sign};
