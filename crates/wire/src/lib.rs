//! What crosses the borders: Avro records on topics, and Meta's JSON.
//!
//! Reading order: [`topic`] (names and settings), [`record`] (one file per record), [`codec`]
//! (bytes ⇄ record), [`registry`] (what to register), [`cloud_api`] (the send call), [`webhook`]
//! (what Meta tells us).
//!
//! **Architecture invariant:** no I/O. Schemas of other writers come through
//! [`codec::SchemaSource`]; nothing here opens a socket, reads a clock or knows Kafka.
//!
//! **Architecture invariant:** no input can make this crate panic. A fault of the input is a value
//! with a stable code.

pub mod topic;

pub mod record;

pub mod codec;
pub mod framing;
pub mod registry;

pub mod cloud_api;
pub mod webhook;

mod text;
