//! The vocabulary of Sendplane: identifiers, the message lifecycle, provider codes, limits.
//!
//! Reading order: [`id`], [`time`], [`shard`], [`lifecycle`], [`provider_code`].
//!
//! **Architecture invariant:** this crate does no I/O, reads no clock, draws no randomness and
//! knows nothing of Kafka, RocksDB or async. Every decision is a function of its arguments.

pub mod breaker;
pub mod e164;
pub mod fairness;
pub mod id;
pub mod lane;
pub mod lifecycle;
pub mod limits;
pub mod opaque;
pub mod path_health;
pub mod provider_code;
pub mod rate;
pub mod retry;
pub mod shard;
pub mod throttle;
pub mod time;
pub mod trace;
pub mod ttl;
