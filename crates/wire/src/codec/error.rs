//! Why a value could not be read or written.

use crate::record::NAMESPACE;
use crate::text::shorten;

/// Longest text taken over from apache-avro, in characters: it can quote whole values.
const CAUSE_LEN_MAX: usize = 300;

/// Why a value is not a record of the expected type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record has no value.
    #[error("record has no value; send a value, this topic takes no tombstones")]
    Tombstone,
    /// Too short for a schema id.
    #[error("value is too short for schema framing; produce with a schema registry serializer")]
    TooShort,
    /// Not Confluent framing; holds the first byte.
    #[error(
        "value starts with {0:#04x}, not with the magic byte 0x00; produce with a schema registry \
         serializer, not with plain JSON or Avro"
    )]
    BadMagic(u8),
    /// The registry does not know the id.
    #[error(
        "schema id {0} is not in the registry; register the schema there, or point the producer at \
         the registry that sendplane uses"
    )]
    UnknownSchemaId(u32),
    /// Another record, or one that cannot be turned into ours.
    #[error("value was written as {found}, expected {expected}; send it to the topic of its type")]
    WrongRecord {
        /// Full name of the record this topic carries.
        expected: String,
        /// Full name of the record the writer used, or its kind.
        found: String,
    },
    /// The bytes do not fit the schema they name, or a field does not fit its type.
    #[error("value does not fit its schema: {0}; fix the producer")]
    Undecodable(String),
    /// The datum ended before the value did; holds how many bytes are left.
    #[error("{0} bytes follow the record; produce exactly one record per value")]
    TrailingBytes(usize),
    /// The schema could not be fetched. The value itself may be good: try again.
    #[error("schema registry cannot be reached: {0}")]
    RegistryUnavailable(String),
}

impl DecodeError {
    /// Stable code for headers, labels and the runbook.
    pub fn code(&self) -> &'static str {
        match self {
            DecodeError::Tombstone => "tombstone",
            DecodeError::TooShort | DecodeError::BadMagic(_) => "no_schema_framing",
            DecodeError::UnknownSchemaId(_) => "unknown_schema_id",
            DecodeError::WrongRecord { .. } => "wrong_schema",
            DecodeError::Undecodable(_) => "undecodable",
            DecodeError::TrailingBytes(_) => "trailing_bytes",
            DecodeError::RegistryUnavailable(_) => "registry_unavailable",
        }
    }

    /// Whether the same value may be readable later. Everything else belongs in a dead-letter
    /// topic.
    pub fn is_retryable(&self) -> bool {
        matches!(self, DecodeError::RegistryUnavailable(_))
    }

    pub(super) fn undecodable(error: apache_avro::Error) -> Self {
        Self::Undecodable(cause(error))
    }

    pub(super) fn wrong_record(expected: &str, found: &str) -> Self {
        Self::WrongRecord { expected: format!("{NAMESPACE}.{expected}"), found: found.to_owned() }
    }
}

/// A record does not fit its own compiled-in schema. Never caused by input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode {record}: {cause}")]
pub struct EncodeError {
    record: &'static str,
    cause: String,
}

impl EncodeError {
    pub(super) fn new(record: &'static str, error: &apache_avro::Error) -> Self {
        Self { record, cause: cause(error) }
    }
}

/// The start of an error of apache-avro.
pub(super) fn cause(error: impl ToString) -> String {
    shorten(&error.to_string(), CAUSE_LEN_MAX)
}
