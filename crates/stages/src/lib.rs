//! The four stages: transitions only. Each module is a stage with its state, its codec and its
//! tests; [`directory`] and [`schemas`] are what they share.
//!
//! **Architecture invariant:** no I/O, no clock, no async, and no stage module uses another one.

pub mod directory;
pub mod ingest;
pub mod policy;
pub mod schemas;
pub mod send;
pub mod status_reconcile;
