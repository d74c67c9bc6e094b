//! Runs the very stages over a model of the log, with a crash wherever one can happen.
//!
//! Reading order: [`log`] (partitions, transactions, last stable offset, epochs, generations),
//! [`host`] (one task of one stage with its crash points), the scenarios in `tests/`.
//!
//! **Architecture invariant:** single-threaded, no clock, no randomness but a seed, no I/O.

pub mod host;
pub mod log;
