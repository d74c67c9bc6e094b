//! A stage whose right output is known: it counts the records of each key.
//!
//! Input `key = k, value = v` gives output `k=<count>` once per record, in order. A lost record
//! leaves a gap, a repeated one a repetition. Value `bad` is rejected, `panic` panics, `later`
//! also starts a timer, `call` also performs an effect.

use std::sync::Arc;
use std::time::Duration;

use sendplane_domain::time::Timestamp;
use sendplane_stage_api::stage::NoGlobals;
use sendplane_stage_api::{
    Codec, Context, DeadLetter, Encoded, Input, InputClass, InputTopic, RawRecord, Stage, Table,
    TableValue, TimerKey, Undecoded,
};
use sendplane_stage_runtime::effect::{EffectRunner, EffectSink, Started};
use serde::{Deserialize, Serialize};

/// The stage under test.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    inputs: &'static [InputTopic],
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

impl Counter {
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
        (Self { name, inputs }, topics)
    }

    /// The codec that belongs to it.
    pub fn codec(topics: &Topics) -> Arc<dyn Codec<Counter>> {
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

#[derive(Serialize, Deserialize)]
struct Count(u64);

impl TableValue for Count {}

const COUNTS: Table<String, Count> = Table::new(0x0100, "counts");

/// One increment, or text.
#[derive(Debug)]
pub struct Line {
    key: String,
    value: String,
}

impl Stage for Counter {
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
                let count = ctx.get(&COUNTS, &key).map_or(0, |count| count.0) + 1;
                ctx.put(&COUNTS, &key, &Count(count));
                ctx.emit((key.clone(), count.to_string()));
                if value == "later" {
                    let at = ctx.now() + Duration::from_millis(300);
                    ctx.schedule(TimerKey::new(1, &key), at, &key);
                }
                if value == "call" && ctx.may_perform() {
                    ctx.perform(key);
                }
            }
            Input::Timer(key) => ctx.emit((key, "timer".into())),
            Input::Effect(key) => ctx.emit((key, "effect".into())),
            Input::Control(()) => unreachable!("there are no globals"),
        }
    }
}

struct PlainCodec {
    output: &'static str,
}

impl Codec<Counter> for PlainCodec {
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

impl EffectRunner<Counter> for Echo {
    fn start(&self, effect: String, _started: Started, sink: EffectSink<Counter>) {
        sink.settle(effect);
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
