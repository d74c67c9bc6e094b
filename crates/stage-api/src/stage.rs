//! What a stage is: a deterministic function over a closed set of inputs.

use std::fmt::Debug;

use sendplane_domain::id::SourcePosition;
use sendplane_domain::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::RawRecord;
use crate::context::Context;
use crate::replay::Replay;

/// A stage of the send plane.
pub trait Stage: Sized + Send + Sync + 'static {
    /// A decoded input record: a closed enum over the stage's input topics.
    type Record: Debug + Send;
    /// An output record: a closed enum over the stage's output topics.
    type Output: Debug + Send;
    /// The payload of a stored timer. Variants are append-only: timers outlive releases.
    type Timer: Debug + Serialize + DeserializeOwned;
    /// A call to the outside, started only after the commit that asked for it.
    type Effect: Debug + Send + 'static;
    /// What came of an effect. Applying one twice must change nothing: a result whose transaction
    /// ended in doubt is given again.
    type EffectResult: Clone + Debug + Send + 'static;
    /// The global tables the stage looks into.
    type Globals: Globals;

    /// Name in topics, groups, labels and headers, for example `status-reconcile`.
    fn name(&self) -> &'static str;

    /// The input topics, all with the same partition count.
    fn inputs(&self) -> &'static [InputTopic];

    /// True when the verdict on `record` would be negative only because a global row is missing.
    /// The host then catches up with the end of the global topics before it applies the record.
    fn misses_global(&self, _record: &Self::Record, _globals: &Self::Globals) -> bool {
        false
    }

    /// Applies one input. Synchronous and infallible; all consequences go through `ctx`.
    fn apply(&self, input: Input<Self>, ctx: &mut Context<'_, '_, Self>);

    /// Called once at the end of each cycle, after all its inputs: where a stage decides what only
    /// the inputs together can tell, such as who comes first. Must not write when there is nothing
    /// to decide, or an idle task would commit.
    fn end_cycle(&self, _ctx: &mut Context<'_, '_, Self>) {}
}

/// One input of a stage.
#[derive(Debug)]
pub enum Input<S: Stage> {
    /// A record of an input topic.
    Record {
        /// The decoded record.
        record: S::Record,
        /// Where it came from.
        meta: RecordMeta,
    },
    /// A stored timer is due.
    Timer(S::Timer),
    /// An effect ended.
    Effect(S::EffectResult),
    /// A global table changed since this task last looked.
    Control(<S::Globals as Globals>::Change),
}

/// Where a record came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    /// Topic name.
    pub topic: &'static str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Kafka timestamp of the record.
    pub timestamp: Timestamp,
    /// The record key, if it is UTF-8.
    pub key: Option<String>,
    /// Set on a record that comes from the dead letters once more: it has a position of its own,
    /// and its identity is that of the record it repeats.
    pub replay_of: Option<Replay>,
}

impl RecordMeta {
    /// What `raw` says about itself; `topic` is its topic as the stage names it.
    pub fn of(topic: &'static str, raw: &RawRecord<'_>) -> Self {
        Self {
            topic,
            partition: raw.partition,
            offset: raw.offset,
            timestamp: raw.timestamp,
            key: raw.key.and_then(|key| String::from_utf8(key.to_vec()).ok()),
            replay_of: Replay::read(raw.headers, topic, raw.partition, raw.offset),
        }
    }

    /// Where the record stood first: its own position, or that of the record it replays.
    pub fn first_position(&self) -> SourcePosition {
        let replayed = self.replay_of.as_ref().and_then(|replay| replay.source.clone());
        replayed.unwrap_or_else(|| SourcePosition {
            topic: self.topic.to_owned(),
            partition: self.partition,
            offset: self.offset,
        })
    }
}

/// An input topic and how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputTopic {
    /// Topic name.
    pub topic: &'static str,
    /// In which order the host drains it.
    pub class: InputClass,
    /// Largest value accepted, in bytes; a larger record is dead-lettered.
    pub value_bytes_max: usize,
}

/// The order in which inputs are taken: all of an earlier class before any of a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputClass {
    /// Consent, inbound, notices, evidence: applied up to the end seen before work is taken.
    Feedback,
    /// Transactional work.
    Transactional,
    /// Marketing work; taken only when there is room.
    Bulk,
}

impl InputClass {
    /// All classes, most urgent first.
    pub const ALL: [InputClass; 3] =
        [InputClass::Feedback, InputClass::Transactional, InputClass::Bulk];
}

/// The in-memory snapshot of the compacted global topics.
pub trait Globals: Clone + Default + Debug + Send + Sync + 'static {
    /// One decoded record of a global topic. A tombstone is a change too.
    type Change: Clone + Debug + Send + Sync;

    /// The global topics, one partition each.
    fn topics() -> &'static [&'static str];

    /// Applies a change to the snapshot.
    fn apply(&mut self, change: &Self::Change);
}

/// For stages that look into no global table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoGlobals;

impl Globals for NoGlobals {
    type Change = ();

    fn topics() -> &'static [&'static str] {
        &[]
    }

    fn apply(&mut self, _change: &()) {}
}
