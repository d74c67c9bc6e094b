//! One task: a partition of the stage, its store and what is on its way.
//!
//! ```text
//! restoring ──▶ running ──▶ draining ──▶ closed
//!     ▲            │            │
//!     └── doubt ◀──┴────────────┘      (assignment lost: closed at once)
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sendplane_domain::time::Timestamp;
use sendplane_stage_api::commit::CommitRecord;
use sendplane_stage_api::{DeadLetter, InputClass, Stage};

use crate::breaker::Breakers;
use crate::effect::Arrived;
use crate::gauges::TaskGauges;
use crate::lanes::Fetched;
use crate::store::Store;

pub(crate) struct Task<S: Stage> {
    pub partition: i32,
    pub store: Store,
    /// Of the last committed transaction; 0 before the first.
    pub txn_seq: u64,
    /// `now` of the last committed transaction.
    pub last_now: Timestamp,
    /// When it was opened here, and the time of the commit record found then; zero if there was none.
    pub opened: (Instant, Timestamp),
    /// Per input: the next offset to commit.
    pub offsets: Vec<i64>,
    /// Nothing was ever committed: the first transaction fixes the start offsets.
    pub fresh: bool,
    /// Keys to rewrite with their committed values: a tear stands in the changelog.
    pub torn: Vec<Vec<u8>>,
    pub timer_floor: Timestamp,
    /// `None`: no timer. A task just opened looks once.
    pub next_timer: Option<Timestamp>,
    /// Global offsets the stage has been told of; `None` before the first time.
    pub globals_applied: Option<Vec<i64>>,
    /// Fetched and not yet applied, by class.
    pub queues: BTreeMap<InputClass, VecDeque<Fetched>>,
    /// Results not yet applied.
    pub results: VecDeque<Arrived<S>>,
    /// Records to dead-letter unseen, by (input, offset).
    pub quarantined: BTreeMap<(usize, i64), DeadLetter>,
    /// Whether a topic's records are dead-lettered or left alone.
    pub breakers: Breakers,
    /// Effects started and not settled.
    pub running: Arc<AtomicUsize>,
    /// Increases with every takeover in this process.
    pub epoch: u64,
    /// Feedback offsets that must be applied before work is taken: the ends seen at the takeover.
    pub feedback_marks: Vec<(usize, i64)>,
    /// Classes that the stage has no room for: left in Kafka, and unapplied if fetched already.
    pub held: BTreeSet<InputClass>,
    /// What the stage says it has.
    pub gauges: TaskGauges,
    /// Do not ask the registry again before this.
    pub blocked_until: Option<Instant>,
}

impl<S: Stage> Task<S> {
    pub fn queued(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    /// Records of a class that wait for their turn. What is held waits for the stage.
    pub fn queued_of(&self, class: InputClass) -> usize {
        if self.held.contains(&class) {
            return 0;
        }
        self.queues.get(&class).map_or(0, VecDeque::len)
    }

    pub fn running_effects(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// The commit record of the next transaction.
    pub fn next_commit(
        &self,
        topics: impl Iterator<Item = &'static str>,
        records: u32,
        now: Timestamp,
        partitions: u32,
        offsets: &[i64],
    ) -> CommitRecord {
        let inputs = topics.map(str::to_owned).zip(offsets.iter().copied()).collect();
        CommitRecord { txn_seq: self.txn_seq + 1, inputs, records, now, partitions }
    }
}
