//! Dead letters and their replay, as the headers that carry them.
//!
//! ```text
//! dead letter  = key, value, timestamp and headers of the record
//!                + `__dlq.errors.*` (KIP-1191) and `sendplane.*`
//! replay       = key, value, timestamp and headers of the record again, where it stood before
//!                + `sendplane-replay*`
//! marker       = a record beside the dead letter: `sendplane-replayed`, and who, why and where to
//! ```
//!
//! Headers are appended, never replaced, and of several with one name the last counts: what a
//! producer wrote itself cannot speak for us.
//!
//! **Identity.** A replayed record has a new offset. What makes it the same record is the position
//! it had first, in [`header::REPLAY_SOURCE`]; it is believed only if it names an earlier offset of
//! the very partition the replay stands in. A producer that forges it can confuse nothing but its
//! own records under one of its own keys: every identity contains the tenant.

use std::fmt;
use std::str::FromStr;

use sendplane_domain::id::SourcePosition;

use crate::codec::Header;

/// Header names. Values are UTF-8.
pub mod header {
    /// Topic the dead letter was read from.
    pub const TOPIC: &str = "__dlq.errors.topic";
    /// Partition there; absent when the stage wrote the dead letter from its state.
    pub const PARTITION: &str = "__dlq.errors.partition";
    /// Offset there; absent together with the partition.
    pub const OFFSET: &str = "__dlq.errors.offset";
    /// Consumer group that could not use the record.
    pub const GROUP: &str = "__dlq.errors.group";
    /// How often it was tried: calls, for a message given up by send.
    pub const DELIVERY_COUNT: &str = "__dlq.errors.delivery.count";
    /// What is wrong and how to mend it.
    pub const MESSAGE: &str = "__dlq.errors.message";
    /// Stable code of the reason.
    pub const CODE: &str = "sendplane.error.code";
    /// The stage.
    pub const STAGE: &str = "sendplane.stage";
    /// The record key, when it is UTF-8.
    pub const TENANT: &str = "sendplane.tenant";
    /// The id in the value's framing, when there is one.
    pub const SCHEMA_ID: &str = "sendplane.schema.id";
    /// When the record was dead-lettered, milliseconds since 1970. The record's own timestamp stays
    /// that of the original.
    pub const DEAD_AT: &str = "sendplane.dead.at";

    /// The dead letter that was replayed, `stage/partition/offset`.
    pub const REPLAY: &str = "sendplane-replay";
    /// Where the record stood first, `topic/partition/offset`; absent for one the stage wrote.
    pub const REPLAY_SOURCE: &str = "sendplane-replay-source";
    /// Why it was replayed.
    pub const REPLAY_REASON: &str = "sendplane-replay-reason";
    /// Who did.
    pub const REPLAY_BY: &str = "sendplane-replay-by";

    /// On a marker: the dead letter that was replayed.
    pub const REPLAYED: &str = "sendplane-replayed";
    /// On a marker: where the replay stands, `topic/partition/offset`.
    pub const REPLAYED_TO: &str = "sendplane-replayed-to";
}

/// Names a dead letter for good: its place in the stage's dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    /// The stage.
    pub stage: String,
    /// Partition of the dead-letter topic.
    pub partition: i32,
    /// Offset there.
    pub offset: i64,
}

/// Says that a record was given again from the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The dead letter.
    pub letter: LetterId,
    /// Where the record stood first. `None` when no record was ever dead-lettered but the stage
    /// itself wrote what it gave up, so that its state must know of it.
    pub source: Option<SourcePosition>,
}

impl Replay {
    /// Reads the mark of a record that stands at `topic`, `partition`, `offset`. A mark that does
    /// not fit is none.
    pub fn read(headers: &[Header], topic: &str, partition: i32, offset: i64) -> Option<Self> {
        let letter = last(headers, header::REPLAY)?.parse().ok()?;
        let Some(text) = last(headers, header::REPLAY_SOURCE) else {
            return Some(Self { letter, source: None });
        };
        let source = position(text)?;
        let fits = source.topic == topic && source.partition == partition && source.offset < offset;
        fits.then_some(Self { letter, source: Some(source) })
    }
}

/// The last header called `name`, if it is UTF-8.
pub fn last<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
    let (_, value) = headers.iter().rev().find(|(key, _)| key == name)?;
    std::str::from_utf8(value.as_deref()?).ok()
}

/// Reads `topic/partition/offset`.
pub fn position(text: &str) -> Option<SourcePosition> {
    let (topic, partition, offset) = place(text)?;
    Some(SourcePosition { topic: topic.to_owned(), partition, offset })
}

/// Writes `topic/partition/offset`.
pub fn position_text(source: &SourcePosition) -> String {
    format!("{}/{}/{}", source.topic, source.partition, source.offset)
}

fn place(text: &str) -> Option<(&str, i32, i64)> {
    // Signs and zeros in front would give one place several names.
    fn number<N: FromStr + ToString + PartialOrd + Default>(text: &str) -> Option<N> {
        text.parse().ok().filter(|number: &N| *number >= N::default() && number.to_string() == text)
    }
    let mut parts = text.rsplitn(3, '/');
    let offset = number(parts.next()?)?;
    let partition = number(parts.next()?)?;
    let name = parts.next().filter(|name| !name.is_empty())?;
    Some((name, partition, offset))
}

/// The text is not a dead letter's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLetterId;

impl fmt::Display for InvalidLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the id of a dead letter: write stage/partition/offset")
    }
}

impl std::error::Error for InvalidLetterId {}

impl FromStr for LetterId {
    type Err = InvalidLetterId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match place(text) {
            Some((stage, partition, offset)) if !stage.contains('/') => {
                Ok(Self { stage: stage.to_owned(), partition, offset })
            }
            Some(_) | None => Err(InvalidLetterId),
        }
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.stage, self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<Header> {
        let owned =
            |(name, value): &(&str, &str)| ((*name).to_owned(), Some(value.as_bytes().to_vec()));
        pairs.iter().map(owned).collect()
    }

    fn read(pairs: &[(&str, &str)]) -> Option<Replay> {
        Replay::read(&headers(pairs), "in", 2, 50)
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id: LetterId = "status-reconcile/2/40".parse().expect("an id");
        assert_eq!((id.stage.as_str(), id.partition, id.offset), ("status-reconcile", 2, 40));
        assert_eq!(id.to_string(), "status-reconcile/2/40");
        for wrong in [
            "",
            "send",
            "send/1",
            "/1/2",
            "a/b/1/2",
            "send/-1/2",
            "send/01/2",
            "send/+1/2",
            "send/1/",
            "send/1/x",
            "send/1/99999999999999999999",
        ] {
            assert_eq!(wrong.parse::<LetterId>(), Err(InvalidLetterId), "{wrong}");
        }
    }

    #[test]
    fn the_last_mark_counts() {
        let replay = read(&[
            (header::REPLAY, "ingest/0/1"),
            (header::REPLAY_SOURCE, "in/2/7"),
            (header::REPLAY, "ingest/2/9"),
            (header::REPLAY_SOURCE, "in/2/8"),
        ])
        .expect("a mark");
        assert_eq!(replay.letter.to_string(), "ingest/2/9");
        assert_eq!(replay.source.as_ref().map(position_text).as_deref(), Some("in/2/8"));
    }

    #[test]
    fn a_mark_without_source_is_of_a_letter_the_stage_wrote() {
        let replay = read(&[(header::REPLAY, "send/2/9")]).expect("a mark");
        assert_eq!(replay.source, None);
        assert_eq!(read(&[(header::REPLAY_SOURCE, "in/2/7")]), None);
    }

    #[test]
    fn a_source_elsewhere_or_later_is_not_believed() {
        for wrong in ["in/2/50", "in/2/51", "in/3/7", "other/2/7", "nonsense", "", "in/2/-7"] {
            let mark = [(header::REPLAY, "ingest/2/9"), (header::REPLAY_SOURCE, wrong)];
            assert_eq!(read(&mark), None, "{wrong}");
        }
        assert_eq!(read(&[(header::REPLAY, "nonsense"), (header::REPLAY_SOURCE, "in/2/7")]), None);
        let bytes = vec![(header::REPLAY.to_owned(), Some(vec![0xff])), ("x".to_owned(), None)];
        assert_eq!(Replay::read(&bytes, "in", 2, 50), None);
    }
}
