//! The whole plane in one thread and virtual time, with everything going wrong that can.
//!
//! ```text
//!            seed ──▶ shape · workload · schedule of faults
//!                                   │
//!   upstream ──▶ ┌──────────────── log ────────────────┐ ◀── gateway ◀── webhooks
//!                │ partitions, transactions, groups     │                    ▲
//!                └─▲──────▲──────────▲──────────▲───────┘                    │
//!               ingest  policy      send   status-reconcile                  │
//!               (1 to 4 processes each: the very stages)                     │
//!                                    │ calls                                 │
//!                                    ▼                                       │
//!                            provider model ─────────────────────────────────┘
//!                                    │ ledger
//!                                    ▼
//!        log · ledger · calls · stores ──▶ oracle ──▶ violations, counts
//! ```
//!
//! Reading order: [`log`] (the broker), [`process`] (an instance of a stage, the runtime's protocol
//! step by step), [`provider`] (calls and webhooks), [`workload`], [`fault`] and [`shape`] (what a
//! seed decides), [`mod@run`] (the loop), [`oracle`] (the promises), [`shrink`] (a failing seed),
//! [`mutation`] (bugs that prove the oracle).
//!
//! **Architecture invariant:** single-threaded, no clock, no randomness but the seed, no I/O. The
//! same plan gives the same run.

pub mod counts;
pub mod env;
pub mod evidence;
pub mod fault;
pub mod log;
pub mod mutation;
pub mod oracle;
pub mod process;
pub mod provider;
pub mod repeat;
pub mod rng;
pub mod run;
pub mod shape;
pub mod shrink;
pub mod time;
pub mod trace;
pub mod workload;
