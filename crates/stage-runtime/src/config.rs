//! Settings of the runtime. What correctness depends on is a constant in `domain::limits`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// How to run one stage in this process.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Stable and unique among the stage's instances; part of the transactional ids. Two processes
    /// with one id fence each other.
    pub instance_id: String,
    /// librdkafka properties for every client: `bootstrap.servers`, security. Properties that
    /// exactly-once depends on are set by the runtime and win.
    pub kafka: BTreeMap<String, String>,
    /// Directory of the state stores; `<dir>/<stage>/<partition>`.
    pub state_dir: PathBuf,
    /// OS threads, each a member of the consumer group.
    pub threads: usize,
    /// Group session timeout. A frozen process loses its partitions after it.
    pub session_timeout: Duration,
    /// Kafka's timeout of an open transaction; a dead owner's offsets are pending for as long.
    pub transaction_timeout: Duration,
    /// Bounds of one group commit.
    pub batch: BatchLimits,
    /// One block cache for all stores of the process, bytes.
    pub block_cache_bytes: usize,
    /// All memtables of the process together, bytes.
    pub write_buffer_bytes: usize,
    /// How long a revoked or stopping task waits for effects that are running.
    pub settle_max: Duration,
    /// A commit that takes longer may hide a retried EndTxn: the producer is re-created before the
    /// next transaction. 0.7 × `retry.backoff.ms` of librdkafka.
    pub slow_commit: Duration,
    /// Records to dead-letter unseen, as `topic/partition/offset`: releases a stage that stopped
    /// at a record which makes a handler panic.
    pub quarantine: Vec<String>,
    /// When a topic is left alone instead of being dead-lettered.
    pub dead_letter_breaker: BreakerLimits,
    /// For tests of wrong clocks.
    pub clock_offset: ClockOffset,
}

/// Shifts the wall clock of one instance; clones share it, so that a test can mend a clock.
#[derive(Clone, Debug, Default)]
pub struct ClockOffset(Arc<AtomicI64>);

impl ClockOffset {
    /// A shift by so many milliseconds, to the future if positive.
    pub fn of_millis(millis: i64) -> Self {
        Self(Arc::new(AtomicI64::new(millis)))
    }

    /// The shift in milliseconds.
    pub fn millis(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it for all clones.
    pub fn set_millis(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

/// Of how many records of one topic and partition how many may be dead letters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerLimits {
    /// From 0 to 1: a larger share opens the breaker. 1 never does.
    pub share: f64,
    /// How many of the last records count.
    pub window: usize,
    /// No judgement before so many; at most `window`.
    pub minimum: usize,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self { share: 0.5, window: 500, minimum: 200 }
    }
}

/// When a group commit ends: whichever bound is reached first, or the input is empty.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Time in which bulk records are taken in; the rest of them waits for the next commit, so that
    /// urgent records wait for a short one.
    pub bulk_max: Duration,
    /// The same while urgent records flow.
    pub bulk_small_max: Duration,
    /// Inputs.
    pub inputs_max: usize,
    /// Outputs.
    pub outputs_max: usize,
    /// Bytes of outputs and changelog.
    pub bytes_max: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            bulk_max: Duration::from_millis(50),
            bulk_small_max: Duration::from_millis(4),
            inputs_max: 500,
            outputs_max: 5_000,
            bytes_max: 4 << 20,
        }
    }
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            kafka: BTreeMap::new(),
            state_dir: PathBuf::from("state"),
            threads: 1,
            session_timeout: Duration::from_secs(15),
            transaction_timeout: Duration::from_secs(10),
            batch: BatchLimits::default(),
            block_cache_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
            settle_max: Duration::from_secs(5),
            slow_commit: Duration::from_millis(70),
            quarantine: Vec::new(),
            dead_letter_breaker: BreakerLimits::default(),
            clock_offset: ClockOffset::default(),
        }
    }
}

/// Names that follow from the stage's name.
#[derive(Clone, Debug)]
pub struct Names {
    /// The stage.
    pub stage: &'static str,
    /// Consumer group, for example `sendplane.ingest`.
    pub group: String,
    /// Changelog topic.
    pub changelog: String,
    /// Dead-letter topic.
    pub dead_letters: String,
}

impl Names {
    /// The names of `stage`.
    pub fn of(stage: &'static str) -> Self {
        Self {
            stage,
            group: format!("sendplane.{stage}"),
            changelog: format!("sendplane.{stage}.changelog"),
            dead_letters: format!("dlq.sendplane.{stage}"),
        }
    }

    /// The transactional id of one thread.
    pub fn transactional_id(&self, instance_id: &str, thread: usize) -> String {
        format!("sendplane.{}-{instance_id}-{thread}", self.stage)
    }
}
