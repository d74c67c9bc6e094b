//! A task: one partition of the stage, its store and what is on its way.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use sendplane_domain::id::MessageId;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::InputClass;
use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord};

use super::hosted::Hosted;
use crate::log::partition::Entry;
use crate::time::Micros;

/// What survives a process: the store of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Rows, the commit record included.
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Next changelog offset to fold.
    pub next_offset: i64,
}

impl Disk {
    /// Writes a committed transaction at once.
    pub fn write(
        &mut self,
        writes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
        next_offset: i64,
    ) {
        for (key, value) in writes {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        self.next_offset = next_offset;
    }

    /// The commit record the state ends at.
    pub fn last_commit(&self) -> Option<CommitRecord> {
        let bytes = self.rows.get(&COMMIT_KEY[..])?;
        Some(CommitRecord::decode(bytes).expect("written by this build"))
    }
}

/// A record taken from the log.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Index into the stage's inputs.
    pub input: usize,
    /// Offset.
    pub offset: i64,
    /// The record.
    pub entry: Rc<Entry>,
    /// The global tables were caught up after it had been fetched.
    pub globals_current: bool,
}

/// A result on its way back to the task that asked.
#[derive(Debug)]
pub struct Arrived<S: Hosted> {
    /// The task.
    pub partition: i32,
    /// The ownership under which the call was started.
    pub epoch: u64,
    /// The result.
    pub result: S::EffectResult,
    /// Message and attempt.
    pub about: (MessageId, u32),
}

impl<S: Hosted> Clone for Arrived<S> {
    fn clone(&self) -> Self {
        let Self { partition, epoch, result, about } = self;
        Self { partition: *partition, epoch: *epoch, result: result.clone(), about: *about }
    }
}

/// A running task.
#[derive(Debug)]
pub struct Task<S: Hosted> {
    /// Its partition.
    pub partition: i32,
    /// Of the last committed transaction; 0 before the first.
    pub txn_seq: u64,
    /// `now` of the last committed transaction.
    pub last_now: Timestamp,
    /// When it was opened here, and the time of the commit record found then.
    pub opened: (Micros, Timestamp),
    /// Per input: the next offset to commit.
    pub offsets: Vec<i64>,
    /// Per input: the next offset to fetch.
    pub fetched: Vec<i64>,
    /// Nothing was ever committed, or the clock is to be measured: the next cycle commits even
    /// without input.
    pub fresh: bool,
    /// Keys to rewrite: a tear stands in the changelog.
    pub torn: Vec<Vec<u8>>,
    /// No timer stands before.
    pub timer_floor: Timestamp,
    /// When the next timer is due.
    pub next_timer: Option<Timestamp>,
    /// Global offsets the stage has been told of.
    pub globals_applied: Option<Vec<i64>>,
    /// Fetched and not applied.
    pub queues: BTreeMap<InputClass, VecDeque<Fetched>>,
    /// Results not applied.
    pub results: VecDeque<Arrived<S>>,
    /// Effects started and not settled.
    pub running: Rc<Cell<usize>>,
    /// Counts takeovers.
    pub epoch: u64,
    /// Feedback offsets to apply before work is taken.
    pub feedback_marks: Vec<(usize, i64)>,
}

impl<S: Hosted> Task<S> {
    /// Records fetched and not applied.
    pub fn queued(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    /// Those of one class.
    pub fn queued_of(&self, class: InputClass) -> usize {
        self.queues.get(&class).map_or(0, VecDeque::len)
    }
}
