//! Where bodies become durable.

use std::future::Future;

/// A record for the topic `webhooks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkRecord {
    /// Topic.
    pub topic: &'static str,
    /// Record key; Java's murmur2 of it chooses the partition.
    pub key: String,
    /// Framed Avro.
    pub value: Vec<u8>,
    /// Headers, UTF-8.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// The record may not have been written. Sending it again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// A producer that waits: idempotent, `acks=all`, not transactional.
pub trait WebhookSink: Send + Sync + 'static {
    /// Ends when all in-sync replicas have the record, or when that is not certain.
    fn publish(&self, record: SinkRecord) -> impl Future<Output = Result<(), SinkError>> + Send;
}
