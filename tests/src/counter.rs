//! A stage whose right output is known: it counts the records of each key.
//!
//! Input `key = k, value = v` gives output `k=<count>` once per record, in order. A lost record
//! leaves a gap, a repeated one a repetition. Value `bad` is rejected, `panic` panics, `later`
//! also starts a timer of 300 ms, `much-later` one of 20 s, `call` also performs an effect, `queue`
//! also performs one, as soon as the task's share of the slots allows it.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sendplane_domain::time::Timestamp;
use sendplane_stage_api::slots::Wants;
use sendplane_stage_api::stage::NoGlobals;
use sendplane_stage_api::table::decode_value;
use sendplane_stage_api::{
    Codec, Context, DeadLetter, Encoded, Input, InputClass, InputTopic, RawRecord, Stage, Table,
    TableValue, TimerKey, Undecoded,
};
use sendplane_stage_runtime::effect::{EffectRunner, EffectSink, Started};
use serde::{Deserialize, Serialize};

/// The stage under test, with the state format of a release.
#[derive(Debug)]
pub struct Counter<V = CountV1> {
    name: &'static str,
    inputs: &'static [InputTopic],
    format: PhantomData<fn() -> V>,
}

/// Names of one counter's topics.
#[derive(Clone, Debug)]
pub struct Topics {
    /// Transactional input.
    pub input: &'static str,
    /// Bulk input.
    pub bulk: &'static str,
    /// Feedback input.
    pub feedback: &'static str,
    /// Output.
    pub output: &'static str,
    /// Changelog.
    pub changelog: String,
    /// Dead letters.
    pub dead_letters: String,
}

impl<V: Format> Counter<V> {
    /// A counter of its own topics; tests in one stack do not meet.
    pub fn named(name: &str) -> (Self, Topics) {
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let name = leak(format!("counter-{name}"));
        let topics = Topics {
            input: leak(format!("{name}.in")),
            bulk: leak(format!("{name}.bulk")),
            feedback: leak(format!("{name}.feedback")),
            output: leak(format!("{name}.out")),
            changelog: format!("sendplane.{name}.changelog"),
            dead_letters: format!("dlq.sendplane.{name}"),
        };
        let input = |topic, class| InputTopic { topic, class, value_bytes_max: 1_000 };
        let inputs: &'static [InputTopic] = Box::leak(Box::new([
            input(topics.input, InputClass::Transactional),
            input(topics.bulk, InputClass::Bulk),
            input(topics.feedback, InputClass::Feedback),
        ]));
        (Self { name, inputs, format: PhantomData }, topics)
    }

    /// The codec that belongs to it.
    pub fn codec(topics: &Topics) -> Arc<dyn Codec<Self>> {
        Arc::new(PlainCodec { output: topics.output })
    }
}

impl Topics {
    /// Creates them all.
    pub fn create(&self, bootstrap: &str, partitions: i32) {
        let plain = [self.input, self.bulk, self.feedback, self.output, self.dead_letters.as_str()];
        crate::kafka::create_topics(bootstrap, &plain, partitions, &[]);
        let settings = [("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];
        crate::kafka::create_topics(bootstrap, &[&self.changelog], partitions, &settings);
    }
}

/// A count as a release stores it.
pub trait Format: TableValue + std::fmt::Debug + Send + Sync + 'static {
    /// To be stored.
    fn of(count: u64) -> Self;
    /// As counted.
    fn count(&self) -> u64;
}

/// The first release's state.
#[derive(Debug, Serialize, Deserialize)]
pub struct CountV1(u64);

impl TableValue for CountV1 {}

impl Format for CountV1 {
    fn of(count: u64) -> Self {
        Self(count)
    }

    fn count(&self) -> u64 {
        self.0
    }
}

/// A later release's state: another order and one more field.
#[derive(Debug, Serialize, Deserialize)]
pub struct CountV2 {
    note: String,
    count: u64,
}

impl TableValue for CountV2 {
    const VERSION: u16 = 2;

    fn upgrade(version: u16, bytes: &[u8]) -> Result<Self, String> {
        let mut prefixed = version.to_be_bytes().to_vec();
        prefixed.extend_from_slice(bytes);
        decode_value::<CountV1>(&prefixed)
            .map(|old| Self { note: "upgraded".into(), count: old.0 })
            .map_err(|fault| format!("{fault:?}"))
    }
}

impl Format for CountV2 {
    fn of(count: u64) -> Self {
        Self { note: "counted".into(), count }
    }

    fn count(&self) -> u64 {
        self.count
    }
}

impl<V: Format> Counter<V> {
    const COUNTS: Table<String, V> = Table::new(0x0100, "counts");
    /// Effects that wait for a slot, by key and count.
    const QUEUED: Table<(String, u64), Queued> = Table::new(0x0101, "queued");
}

/// A row that says only that it is there.
#[derive(Debug, Serialize, Deserialize)]
struct Queued;

impl TableValue for Queued {}

/// One increment, or text.
#[derive(Debug)]
pub struct Line {
    key: String,
    value: String,
}

impl<V: Format> Stage for Counter<V> {
    type Record = Line;
    type Output = (String, String);
    type Timer = String;
    type Effect = String;
    type EffectResult = String;
    type Globals = NoGlobals;

    fn name(&self) -> &'static str {
        self.name
    }

    fn inputs(&self) -> &'static [InputTopic] {
        self.inputs
    }

    fn apply(&self, input: Input<Self>, ctx: &mut Context<'_, '_, Self>) {
        match input {
            Input::Record { record: Line { key, value }, .. } => {
                assert!(value != "panic", "told to panic");
                if value == "refuse" {
                    ctx.dead_letter("refused", "the stage does not want it");
                    return;
                }
                if value == "unencodable" {
                    ctx.emit((key, "unencodable".into()));
                    return;
                }
                let count = ctx.get(&Self::COUNTS, &key).map_or(0, |stored| stored.count()) + 1;
                ctx.put(&Self::COUNTS, &key, &V::of(count));
                ctx.emit((key.clone(), count.to_string()));
                let delay = match value.as_str() {
                    "later" => Some(Duration::from_millis(300)),
                    "much-later" => Some(Duration::from_secs(20)),
                    _ => None,
                };
                if let Some(delay) = delay {
                    let at = ctx.now() + delay;
                    ctx.schedule(TimerKey::new(1, &key), at, &key);
                }
                if value == "queue" {
                    ctx.put(&Self::QUEUED, &(key, count), &Queued);
                } else if value == "call" && ctx.effects_left() > 0 {
                    ctx.perform(key);
                }
            }
            Input::Timer(key) => ctx.emit((key, "timer".into())),
            Input::Effect(key) => ctx.emit((key, "effect".into())),
            Input::Control(()) => unreachable!("there are no globals"),
        }
    }

    fn end_cycle(&self, ctx: &mut Context<'_, '_, Self>) {
        let queued = ctx.scan(&Self::QUEUED, &(), usize::MAX);
        let mut waiting = BTreeSet::new();
        for (row, Queued) in queued {
            if ctx.share_left() > 0 {
                ctx.delete(&Self::QUEUED, &row);
                ctx.perform(row.0);
            } else {
                waiting.insert(row.0);
            }
        }
        ctx.want_more(Wants { urgent: false, weight: waiting.len() as u32 });
    }
}

struct PlainCodec {
    output: &'static str,
}

impl<V: Format> Codec<Counter<V>> for PlainCodec {
    fn decode(&self, raw: &RawRecord<'_>) -> Result<Line, Undecoded> {
        let text = |bytes: Option<&[u8]>| {
            bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).ok_or_else(|| {
                let detail = "not UTF-8 text".to_owned();
                Undecoded::Reject(DeadLetter { code: "undecodable", detail })
            })
        };
        let (key, value) = (text(raw.key)?, text(raw.value)?);
        if value == "bad" {
            let detail = "the value is bad".to_owned();
            return Err(Undecoded::Reject(DeadLetter { code: "undecodable", detail }));
        }
        Ok(Line { key, value })
    }

    fn decode_global(&self, _raw: &RawRecord<'_>) -> Result<(), Undecoded> {
        Ok(())
    }

    fn encode(&self, (key, value): &(String, String)) -> Result<Encoded, String> {
        if value == "unencodable" {
            return Err("no schema can hold it".into());
        }
        Ok(Encoded {
            topic: self.output,
            key: key.clone(),
            partition_key: key.clone(),
            value: value.clone().into_bytes(),
            headers: Vec::new(),
        })
    }
}

/// Answers every effect at once.
#[derive(Debug)]
pub struct Echo;

impl<V: Format> EffectRunner<Counter<V>> for Echo {
    fn start(&self, effect: String, _started: Started, sink: EffectSink<Counter<V>>) {
        sink.settle(effect);
    }
}

/// Keeps every effect running until it is told to answer.
pub struct Gate {
    running: Mutex<Vec<(String, EffectSink<Counter>)>>,
    slots: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::of_slots(usize::MAX)
    }
}

impl Gate {
    /// As many at a time.
    pub fn of_slots(slots: usize) -> Self {
        Self { running: Mutex::default(), slots }
    }

    /// Effects that run.
    pub fn waiting(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Answers all of them; returns which.
    pub fn open(&self) -> Vec<String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut *running);
        drop(running);
        let effects = waiting.iter().map(|(effect, _)| effect.clone()).collect();
        for (effect, sink) in waiting {
            sink.settle(effect);
        }
        effects
    }
}

impl EffectRunner<Counter> for Gate {
    fn start(&self, effect: String, _started: Started, sink: EffectSink<Counter>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.push((effect, sink));
    }

    fn slots(&self) -> usize {
        self.slots
    }
}

/// Keys `k0`, `k1`, … that belong to `partition` of `partitions`.
pub fn keys_of(partition: i32, partitions: u32, count: usize) -> Vec<String> {
    (0..)
        .map(|n| format!("k{n}"))
        .filter(|key| {
            sendplane_domain::shard::partition_of(key.as_bytes(), partitions) == partition
        })
        .take(count)
        .collect()
}

/// The wall clock, for comparing timestamps.
#[expect(clippy::disallowed_methods, reason = "tests compare with real timestamps")]
pub fn wall() -> Timestamp {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}
