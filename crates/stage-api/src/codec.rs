//! Between the bytes of the log and a stage's closed enums.

use sendplane_domain::time::Timestamp;

use crate::stage::{Globals, Stage};

/// A header: its name, and its value byte for byte.
pub type Header = (String, Option<Vec<u8>>);

/// A record as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'r> {
    /// Topic.
    pub topic: &'r str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Kafka timestamp.
    pub timestamp: Timestamp,
    /// Key bytes.
    pub key: Option<&'r [u8]>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<&'r [u8]>,
    /// Headers in their order; names may repeat.
    pub headers: &'r [Header],
}

/// Why a record goes to the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Stable snake_case code, for filters and metrics.
    pub code: &'static str,
    /// What is wrong and how to mend it, for a person.
    pub detail: String,
}

/// Why a record cannot be given to the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecoded {
    /// It never can: dead-letter it.
    Reject(DeadLetter),
    /// Not now (the registry is down): keep the record and ask again.
    Later(String),
}

/// An output as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Topic.
    pub topic: &'static str,
    /// Record key: plain UTF-8.
    pub key: String,
    /// What decides the partition (`murmur2`); usually the key itself.
    pub partition_key: String,
    /// Framed Avro.
    pub value: Vec<u8>,
    /// Headers besides the trace, which the host adds.
    pub headers: Vec<(String, String)>,
}

/// Decodes and encodes a stage's records. Pure but for a cache of writer schemas.
pub trait Codec<S: Stage>: Send + Sync {
    /// Decodes an input record.
    fn decode(&self, raw: &RawRecord<'_>) -> Result<S::Record, Undecoded>;

    /// Decodes a record of a global topic.
    fn decode_global(
        &self,
        raw: &RawRecord<'_>,
    ) -> Result<<S::Globals as Globals>::Change, Undecoded>;

    /// Encodes an output. An error is a bug or a value no schema can hold; the input that caused
    /// it is dead-lettered.
    fn encode(&self, output: &S::Output) -> Result<Encoded, String>;
}
