//! Identifiers. Each is a type of its own, so that no two can be mixed up in a call.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::time::Timestamp;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps the text as it is; validation belongs to the boundary it came through.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }
    };
}

text_id!(
    /// A tenant: the owner of phone numbers, templates, consent and state, and the partition key.
    TenantId
);
text_id!(
    /// The caller's idempotency key; unique per tenant within the deduplication horizon.
    IdempotencyKey
);
text_id!(
    /// Meta's id of a business phone number (`metadata.phone_number_id`), not the number itself.
    PhoneNumberId
);
text_id!(
    /// Meta's message id. It contains the recipient's number in clear: keep it out of topics other
    /// than `attempts`, and out of logs.
    Wamid
);
text_id!(
    /// Follows one business request through every topic and webhook.
    CorrelationId
);
text_id!(
    /// The name of a message template, `[a-z0-9_]{1,512}`.
    TemplateName
);
text_id!(
    /// A keyed hash of something personal (contact, wamid), hexadecimal.
    KeyedHash
);

/// Identifies one message for its whole life.
///
/// 48 bits of milliseconds, then a hash of (tenant, key, source topic, partition, offset), printed
/// as a version-8 UUID: sortable by time and equal whenever the same record is processed again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MessageId([u8; 16]);

/// Where a record stands in the log. Part of a message's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourcePosition {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

impl MessageId {
    /// Derives the id of the message that the record at `source` asks for.
    ///
    /// `created_at` must be a property of the record (its Kafka timestamp), never the wall clock.
    pub fn derive(
        created_at: Timestamp,
        tenant: &TenantId,
        key: &IdempotencyKey,
        source: &SourcePosition,
    ) -> Self {
        let mut hasher = Sha256::new();
        for part in [tenant.as_str().as_bytes(), key.as_str().as_bytes(), source.topic.as_bytes()] {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(source.partition.to_be_bytes());
        hasher.update(source.offset.to_be_bytes());
        let digest = hasher.finalize();
        let mut bytes = [0u8; 16];
        bytes[..6].copy_from_slice(&(created_at.as_millis().max(0) as u64).to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&digest[..10]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// When the record that asked for the message was created, to the millisecond.
    pub fn created_at(&self) -> Timestamp {
        let mut millis = [0u8; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        Timestamp::from_millis(i64::from_be_bytes(millis))
    }

    /// The raw 16 bytes; they sort by creation time.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Rebuilds an id from [`Self::as_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A number in `0..bound` that depends on this id and `step` only: jitter without randomness.
    pub fn jitter(&self, step: u64, bound: u64) -> u64 {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(step.to_be_bytes());
        let digest = hasher.finalize();
        let mut word = [0u8; 8];
        word.copy_from_slice(&digest[..8]);
        u64::from_be_bytes(word).checked_rem(bound).unwrap_or(0)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = hex::encode(self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// The text is not a message id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("message id {text:?} is not a UUID of 32 hexadecimal digits")]
pub struct InvalidMessageId {
    text: String,
}

impl FromStr for MessageId {
    type Err = InvalidMessageId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let mut bytes = [0u8; 16];
        hex::decode_to_slice(&digits, &mut bytes)
            .map_err(|_| InvalidMessageId { text: text.to_owned() })?;
        Ok(Self(bytes))
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for MessageId {
    type Error = InvalidMessageId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(offset: i64) -> SourcePosition {
        SourcePosition { topic: "t".into(), partition: 3, offset }
    }

    fn id(key: &str, offset: i64) -> MessageId {
        MessageId::derive(
            Timestamp::from_millis(1_700_000_000_123),
            &TenantId::new("acme"),
            &IdempotencyKey::new(key),
            &source(offset),
        )
    }

    #[test]
    fn is_stable_and_distinct() {
        assert_eq!(id("k", 1), id("k", 1));
        assert_ne!(id("k", 1), id("k", 2));
        assert_ne!(id("k", 1), id("l", 1));
    }

    #[test]
    fn round_trips_through_text_as_a_version_8_uuid() {
        let text = id("k", 1).to_string();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "8");
        assert_eq!(text.parse::<MessageId>(), Ok(id("k", 1)));
        assert!("not-an-id".parse::<MessageId>().is_err());
    }

    #[test]
    fn sorts_by_time() {
        let derive = |ms| {
            let tenant = TenantId::new("acme");
            let key = IdempotencyKey::new("k");
            MessageId::derive(Timestamp::from_millis(ms), &tenant, &key, &source(1))
        };
        assert!(derive(1_000) < derive(1_001));
    }
}
