//! Typed state: tables with a permanent tag, ordered keys and versioned values.
//!
//! A store key is the 2-byte tag followed by the encoded key; a store value is a 2-byte format
//! version followed by the postcard encoding. Both also stand in the changelog, byte for byte.

use std::marker::PhantomData;

use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId, Wamid,
};
use sendplane_domain::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A table of one stage. Tags below [`Table::FIRST_STAGE_TAG`] belong to the hosts; a tag is never
/// reused for another content.
#[derive(Debug)]
pub struct Table<K, V> {
    tag: u16,
    name: &'static str,
    marker: PhantomData<fn(K) -> V>,
}

impl<K: TableKey, V: TableValue> Table<K, V> {
    /// The first tag a stage may use.
    pub const FIRST_STAGE_TAG: u16 = 0x0100;

    /// Declares a stage's table.
    pub const fn new(tag: u16, name: &'static str) -> Self {
        assert!(tag >= Self::FIRST_STAGE_TAG && tag < 0xff00, "tag is reserved for the hosts");
        Self { tag, name, marker: PhantomData }
    }

    /// Declares a table of the host itself.
    pub(crate) const fn system(tag: u16, name: &'static str) -> Self {
        Self { tag, name, marker: PhantomData }
    }

    /// For messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The store key of `key`.
    pub fn store_key(&self, key: &K) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&self.tag.to_be_bytes());
        key.encode(&mut out);
        out
    }

    /// The store-key prefix of all keys whose encoding starts with that of `prefix`.
    pub fn store_prefix(&self, prefix: &impl TableKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&self.tag.to_be_bytes());
        prefix.encode(&mut out);
        out
    }

    /// Reads a key back from a store key of this table.
    pub fn key_of(&self, store_key: &[u8]) -> Option<K> {
        let mut rest = store_key.strip_prefix(&self.tag.to_be_bytes()[..])?;
        let key = K::decode(&mut rest)?;
        rest.is_empty().then_some(key)
    }
}

/// A value with a format version.
///
/// Changing the format means a higher `VERSION` and a branch in [`Self::upgrade`]; variants and
/// fields of the current version are append-only nowhere, postcard is positional.
pub trait TableValue: Serialize + DeserializeOwned {
    /// The version this build writes.
    const VERSION: u16 = 1;

    /// Reads a value of an older `version`. Called only with `version < VERSION`.
    fn upgrade(version: u16, _bytes: &[u8]) -> Result<Self, String> {
        Err(format!("no upgrade from format version {version}"))
    }
}

/// Why a stored value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueFault {
    /// Written by a newer release.
    VersionAhead {
        /// Version found.
        found: u16,
        /// Newest version this build reads.
        known: u16,
    },
    /// Not a value of this table.
    Corrupt(String),
}

/// Encodes a value with its version.
pub fn encode_value<V: TableValue>(value: &V) -> Vec<u8> {
    let out = V::VERSION.to_be_bytes().to_vec();
    postcard::to_extend(value, out).expect("state values have no unserialisable type")
}

/// Decodes a value of this or an older version.
pub fn decode_value<V: TableValue>(bytes: &[u8]) -> Result<V, ValueFault> {
    let (version, body) = bytes
        .split_first_chunk::<2>()
        .ok_or_else(|| ValueFault::Corrupt("shorter than its version".into()))?;
    let version = u16::from_be_bytes(*version);
    match version.cmp(&V::VERSION) {
        std::cmp::Ordering::Greater => {
            Err(ValueFault::VersionAhead { found: version, known: V::VERSION })
        }
        std::cmp::Ordering::Less => V::upgrade(version, body).map_err(ValueFault::Corrupt),
        std::cmp::Ordering::Equal => {
            postcard::from_bytes(body).map_err(|error| ValueFault::Corrupt(error.to_string()))
        }
    }
}

/// Decodes the body of an older version, for [`TableValue::upgrade`].
pub fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    postcard::from_bytes(bytes).map_err(|error| error.to_string())
}

/// A key whose encoding sorts like the key itself and can be read back.
pub trait TableKey: Sized {
    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one key from the front of `bytes`.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
}

impl TableKey for String {
    /// `00` becomes `00 ff`; `00 01` ends the text. So "a" sorts before "a\0" and before "ab".
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self, out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        loop {
            let (&byte, rest) = bytes.split_first()?;
            *bytes = rest;
            if byte != 0 {
                text.push(byte);
                continue;
            }
            let (&next, rest) = bytes.split_first()?;
            *bytes = rest;
            match next {
                0xff => text.push(0),
                0x01 => return String::from_utf8(text).ok(),
                _ => return None,
            }
        }
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0x00, 0x01]);
}

macro_rules! text_key {
    ($($name:ty),*) => {$(
        impl TableKey for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                encode_text(self.as_str(), out);
            }

            fn decode(bytes: &mut &[u8]) -> Option<Self> {
                String::decode(bytes).map(Self::new)
            }
        }
    )*};
}

text_key!(TenantId, IdempotencyKey, PhoneNumberId, TemplateName, Wamid, KeyedHash);

macro_rules! integer_key {
    ($($name:ty),*) => {$(
        impl TableKey for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(bytes: &mut &[u8]) -> Option<Self> {
                let (head, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_be_bytes(*head))
            }
        }
    )*};
}

integer_key!(u8, u16, u32, u64);

impl TableKey for () {
    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(_bytes: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl TableKey for Timestamp {
    /// The sign bit is flipped so that negative times sort before positive ones.
    fn encode(&self, out: &mut Vec<u8>) {
        ((self.as_millis() as u64) ^ (1 << 63)).encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        u64::decode(bytes).map(|word| Timestamp::from_millis((word ^ (1 << 63)) as i64))
    }
}

impl TableKey for MessageId {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(MessageId::from_bytes(*head))
    }
}

impl<A: TableKey, B: TableKey> TableKey for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::decode(bytes)?, B::decode(bytes)?))
    }
}

impl<A: TableKey, B: TableKey, C: TableKey> TableKey for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::decode(bytes)?, B::decode(bytes)?, C::decode(bytes)?))
    }
}

impl<A: TableKey, B: TableKey, C: TableKey, D: TableKey> TableKey for (A, B, C, D) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
        self.3.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::decode(bytes)?, B::decode(bytes)?, C::decode(bytes)?, D::decode(bytes)?))
    }
}

#[cfg(test)]
mod tests;
