//! Meta's webhook bodies, read leniently: one bad item never costs the others.
//!
//! A body is `{object, entry: [{id, changes: [{field, value}]}]}` and holds up to 1,000 updates.
//! Items come out in the body's order, repetitions included. What an item means is decided by the
//! shape of `value` before its `field`, because Meta's own samples print wrong fields.

mod change;
mod fields;
mod items;
mod json;
mod notice;
mod status;

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

pub use items::{InboundMessage, Item, Malformed, Notice, Pricing, Status, StatusError};
pub use notice::{News, digits};

/// Why a whole body is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// Not JSON, nor is it after what is broken inside single values was cut out.
    #[error("webhook body is not JSON: {0}")]
    NotJson(String),
    /// JSON, but no object with an `entry` array.
    #[error("webhook body has no entry array; is the app subscribed to WhatsApp?")]
    NoEntries,
    /// A webhook of another product of Meta's; holds `object`.
    #[error(
        "webhook is for {0:?}, not whatsapp_business_account; subscribe the app to WhatsApp only"
    )]
    ForeignObject(String),
}

impl BodyFault {
    /// Stable code for headers and labels.
    pub fn code(&self) -> &'static str {
        match self {
            BodyFault::NotJson(_) => "webhook_not_json",
            BodyFault::NoEntries => "webhook_no_entries",
            BodyFault::ForeignObject(_) => "webhook_foreign_object",
        }
    }
}

/// Reads every item of a body.
///
/// Each change gives at least one item, so nothing in a readable body disappears.
pub fn parse(body: &[u8]) -> Result<Vec<Item>, BodyFault> {
    let body = json::parse(body).map_err(|error| BodyFault::NotJson(error.to_string()))?;
    match body.get("object").and_then(Value::as_str) {
        Some("whatsapp_business_account") | None => {}
        Some(other) => return Err(BodyFault::ForeignObject(fields::short(other))),
    }
    let entries = body.get("entry").and_then(Value::as_array).ok_or(BodyFault::NoEntries)?;
    let mut items = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        change::read_entry(entry, &format!("/entry/{index}"), &mut items);
    }
    Ok(items)
}

/// Longest account id that becomes a record key, in bytes; real ones have 15 to 17 digits.
const ENTRY_ID_LEN_MAX: usize = 64;

/// Whose a body is, as far as the gateway looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// `entry[0].id`: the record key.
    pub first: String,
    /// Every other entry names the same account.
    pub is_only: bool,
}

/// The accounts of a body.
///
/// Reads through the body without building it. `None` for a body without a usable id; the gateway
/// then takes the body's digest for a key.
pub fn accounts(body: &[u8]) -> Option<Accounts> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    deserializer.deserialize_map(Body).ok().flatten()
}

/// [`Accounts::first`].
pub fn entry0_id(body: &[u8]) -> Option<String> {
    accounts(body).map(|accounts| accounts.first)
}

struct Body;

impl<'de> Visitor<'de> for Body {
    type Value = Option<Accounts>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a webhook body")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut id = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "entry" {
                id = map.next_value::<Entries>()?.0;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(id)
    }
}

/// The ids of the entries of an array, as the only thing read of it.
struct Entries(Option<Accounts>);

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ids;
        impl<'de> Visitor<'de> for Ids {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
                let first = seq.next_element::<EntryId>()?.and_then(|entry| entry.0);
                let mut is_only = true;
                while let Some(EntryId(id)) = seq.next_element()? {
                    is_only &= id == first;
                }
                Ok(Entries(first.map(|first| Accounts { first, is_only })))
            }
        }
        deserializer.deserialize_seq(Ids)
    }
}

/// The id of one entry; none of what is no object. Not derived: a derived struct would also be read
/// from an array.
struct EntryId(Option<String>);

impl<'de> serde::Deserialize<'de> for EntryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = EntryId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry")
            }

            fn visit_unit<E>(self) -> Result<EntryId, E> {
                Ok(EntryId(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<EntryId, E> {
                Ok(EntryId(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<EntryId, E> {
                Ok(EntryId(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<EntryId, E> {
                Ok(EntryId(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<EntryId, E> {
                Ok(EntryId(None))
            }

            fn visit_str<E>(self, _: &str) -> Result<EntryId, E> {
                Ok(EntryId(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<EntryId, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(EntryId(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EntryId, A::Error> {
                let mut id = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "id" {
                        id = fields::id(&map.next_value::<Value>()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(EntryId(id.filter(|id| id.len() <= ENTRY_ID_LEN_MAX)))
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

#[cfg(test)]
mod tests;
