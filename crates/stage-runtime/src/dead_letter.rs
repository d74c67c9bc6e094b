//! Dead letters: the record byte for byte, with the broker's own `__dlq.errors.*` headers
//! (KIP-1191) and ours. [`Found`] reads them again, for whoever acts on them.

use sendplane_domain::id::SourcePosition;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::replay::{self, LetterId, header};
use sendplane_stage_api::{DeadLetter, Header};

use crate::config::Names;
use crate::lanes::Fetched;

/// The headers of `record` as a dead letter of `now`.
pub(crate) fn headers(
    record: &Fetched,
    topic: &str,
    fault: &DeadLetter,
    names: &Names,
    now: Timestamp,
) -> Vec<Header> {
    let mut headers = record.headers.clone();
    let mut add = |key: &str, value: String| {
        headers.push((key.to_owned(), Some(value.into_bytes())));
    };
    // The topic first: it is where the record's own headers end.
    add(header::TOPIC, topic.to_owned());
    add(header::PARTITION, record.partition.to_string());
    add(header::OFFSET, record.offset.to_string());
    add(header::GROUP, names.group.clone());
    add(header::DELIVERY_COUNT, "1".to_owned());
    add(header::MESSAGE, fault.detail.clone());
    add(header::CODE, fault.code.to_owned());
    add(header::STAGE, names.stage.to_owned());
    add(header::DEAD_AT, now.as_millis().to_string());
    if let Some(tenant) = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) {
        add(header::TENANT, tenant.to_owned());
    }
    if let Some(id) = record.value.as_deref().and_then(schema_id) {
        add(header::SCHEMA_ID, id.to_string());
    }
    headers
}

/// The schema id of Confluent framing: a zero byte, then the id, big-endian.
fn schema_id(value: &[u8]) -> Option<u32> {
    match value.split_first_chunk::<5>()?.0 {
        [0, a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// A record of a dead-letter topic, as its headers tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A dead letter.
    Letter(Letter),
    /// Somebody replayed a dead letter.
    Marker(Marker),
    /// Neither: not written by a stage or by the operator's command.
    Foreign,
}

/// What a dead letter says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Topic it came from.
    pub topic: String,
    /// Partition and offset it came from; `None` when the stage wrote it from its state.
    pub place: Option<(i32, i64)>,
    /// Stable code.
    pub code: String,
    /// What is wrong and how to mend it.
    pub detail: String,
    /// The record key, when it is UTF-8.
    pub tenant: Option<String>,
    /// When it was dead-lettered; `None` for a letter that does not say so.
    pub dead_at: Option<Timestamp>,
    /// How many of the headers are the record's own: the first so many.
    pub own_headers: usize,
    /// Where the record stood first: before it was ever replayed.
    pub first: Option<SourcePosition>,
}

/// The note beside a dead letter that was replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The dead letter.
    pub letter: LetterId,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// Where the replay stands, `topic/partition/offset`.
    pub to: String,
}

impl Found {
    /// Reads the headers of a record of a dead-letter topic.
    pub fn read(headers: &[Header]) -> Self {
        // Whoever produced the record may have written such headers too: ours are the last, and a
        // marker has no record of anybody's.
        let Some(own_headers) = headers.iter().rposition(|(name, _)| name == header::TOPIC) else {
            return Marker::read(headers).map_or(Found::Foreign, Found::Marker);
        };
        let (own, ours) = headers.split_at(own_headers);
        let text = |name| replay::last(ours, name).unwrap_or_default().to_owned();
        let number = |name| replay::last(ours, name)?.parse::<i64>().ok();
        let topic = text(header::TOPIC);
        let partition = number(header::PARTITION).and_then(|number| i32::try_from(number).ok());
        let place = partition.zip(number(header::OFFSET));
        let here = place.map(|(partition, offset)| SourcePosition {
            topic: topic.clone(),
            partition,
            offset,
        });
        // A letter of a replayed record stands for the record that was replayed.
        let first = match replay::last(own, header::REPLAY) {
            Some(_) => replay::last(own, header::REPLAY_SOURCE).and_then(replay::position),
            None => here,
        };
        Found::Letter(Letter {
            place,
            code: text(header::CODE),
            detail: text(header::MESSAGE),
            tenant: replay::last(ours, header::TENANT).map(str::to_owned),
            dead_at: number(header::DEAD_AT).map(Timestamp::from_millis),
            own_headers,
            first,
            topic,
        })
    }
}

impl Letter {
    /// The headers of its replay, to stand behind the record's own.
    pub fn replay_headers(&self, id: &LetterId, reason: &str, by: &str) -> Vec<Header> {
        let mut headers = vec![owned(header::REPLAY, id.to_string())];
        let first = self.first.as_ref();
        headers.extend(first.map(|at| owned(header::REPLAY_SOURCE, replay::position_text(at))));
        headers.push(owned(header::REPLAY_REASON, reason.to_owned()));
        headers.push(owned(header::REPLAY_BY, by.to_owned()));
        headers
    }
}

impl Marker {
    /// The headers of the marker.
    pub fn headers(&self) -> Vec<Header> {
        vec![
            owned(header::REPLAYED, self.letter.to_string()),
            owned(header::REPLAY_REASON, self.reason.clone()),
            owned(header::REPLAY_BY, self.by.clone()),
            owned(header::REPLAYED_TO, self.to.clone()),
        ]
    }

    fn read(headers: &[Header]) -> Option<Self> {
        let text = |name| replay::last(headers, name).unwrap_or_default().to_owned();
        Some(Self {
            letter: replay::last(headers, header::REPLAYED)?.parse().ok()?,
            reason: text(header::REPLAY_REASON),
            by: text(header::REPLAY_BY),
            to: text(header::REPLAYED_TO),
        })
    }
}

fn owned(name: &str, value: String) -> Header {
    (name.to_owned(), Some(value.into_bytes()))
}

#[cfg(test)]
mod tests;
