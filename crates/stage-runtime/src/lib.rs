//! Runs a stage on Kafka: exactly-once transactions, RocksDB state, timers, effects.
//!
//! Shaped like Kafka Streams: an OS thread owns its consumers, one transactional producer and its
//! tasks, one per partition. Reading order: `runtime` (start and stop), `thread` (the loop),
//! `membership` and `assignment` (taking partitions over and giving them up), `restore`, `batch`
//! (inputs to a draft), `breaker` (when not to dead-letter), `committing` (a draft to a
//! transaction), `transaction`, `store`.
//!
//! **Architecture invariant:** this crate alone uses rdkafka and rocksdb. Nothing of either shows
//! in its interface.
//!
//! **Architecture invariant:** the store never leads Kafka. Writes reach it only after the
//! transaction that carries them in its changelog is known to be committed.

pub mod assignment;
mod batch;
mod breaker;
mod budget;
mod client;
mod clock;
mod committing;
pub mod config;
pub mod dead_letter;
pub mod effect;
pub mod error;
mod gauges;
pub mod globals;
pub mod health;
mod lanes;
mod membership;
pub mod restore;
pub mod runtime;
pub mod store;
mod task;
pub mod thread;
pub mod tools;
pub mod transaction;
pub mod verify;

pub use config::RuntimeConfig;
pub use effect::{EffectRunner, Effects, NoEffects};
pub use error::{Error, Recovery};
pub use health::Health;
pub use runtime::{Runtime, StageHost};
