//! Writing records exactly as and where they are told.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as Named, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::Header;

use super::{ADMIN_MAX, Tools, ack_config, wait_for};
use crate::error::Error;

/// A record and its place, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'r> {
    /// Topic.
    pub topic: &'r str,
    /// Partition.
    pub partition: i32,
    /// Key.
    pub key: Option<&'r [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'r [u8]>,
    /// Timestamp; `None` for now.
    pub timestamp: Option<Timestamp>,
    /// Headers in order, byte for byte.
    pub headers: &'r [Header],
}

/// A connection that writes one record after the other: idempotent, acknowledged by all in-sync
/// replicas.
pub struct Writer {
    producer: FutureProducer,
}

impl Tools {
    /// A writer.
    pub fn writer(&self) -> Result<Writer, Error> {
        let producer = ack_config(&self.config, ADMIN_MAX)
            .create()
            .map_err(Error::kafka("create producer"))?;
        Ok(Writer { producer })
    }
}

impl Writer {
    /// Writes `record` and returns its offset once it is durable. Blocks. After an error it may be
    /// in the log all the same.
    pub fn write(&self, record: &Placed<'_>) -> Result<i64, Error> {
        let headers = record.headers.iter().fold(
            OwnedHeaders::new_with_capacity(record.headers.len()),
            |headers, (key, value)| headers.insert(Named { key, value: value.as_deref() }),
        );
        let mut outgoing: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(record.topic).partition(record.partition).headers(headers);
        (outgoing.key, outgoing.payload) = (record.key, record.value);
        outgoing.timestamp = record.timestamp.map(Timestamp::as_millis);
        let sent = wait_for(self.producer.send(outgoing, Timeout::After(ADMIN_MAX)))?;
        sent.map(|delivery| delivery.offset).map_err(|(error, _)| match error {
            KafkaError::MessageProduction(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition,
            ) => Error::MissingTopic(record.topic.to_owned()),
            error => Error::Undelivered(error.to_string()),
        })
    }
}
