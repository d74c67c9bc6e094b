//! The HTTP client of Meta's Cloud API, made so that every call has a known end: answered, proven
//! unsent, or lost.
//!
//! Reading order: [`CloudApi`], [`Outcome`], the `gate` that proves what was never sent.
//!
//! **Architecture invariant:** a request is written to a connection once, or not at all. There are
//! no retries, no redirects, no proxy; what to do after a failure is the send stage's decision.
//!
//! **Architecture invariant:** the access token and the recipient appear in no `Debug` output and in
//! no reason.

mod client;
mod config;
mod gate;

pub use client::{Call, CloudApi, Completed, Outcome, Unsent};
pub use config::{Config, InvalidConfig};
