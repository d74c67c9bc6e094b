//! The breaker: a stage stops instead of dead-lettering a whole stream.
//!
//! A poison record is a fault of one record and goes to the dead letters. When most records of a
//! topic fail, the fault is elsewhere (a schema that was never registered, a tenants file that was
//! not applied, a producer of another release), and thousands of dead letters are thousands of
//! repairs. Per task and input topic the last records are watched; when more than a set share of
//! them would be dead letters, the record that made it too many and all after it stay where they
//! are: uncommitted, in their topic.
//!
//! ```text
//! closed ──share exceeded──▶ open ──30 s──▶ half-open: the records at the head are tried
//!    ▲                        ▲                │ without consequences
//!    │                        └──too many fail─┤
//!    └───────────────enough can be used────────┘
//! ```
//!
//! While it is open the process is not ready and says why; a gauge is there for the alarm. Timers,
//! results of effects and the task's other topics go on. An open breaker on a topic of class
//! *feedback* also holds the task's work back: an opt-out may stand among what is not taken.
//!
//! A burst shorter than the minimum never trips it. What was dead-lettered before it tripped is at
//! most a window's share, and can be replayed. To dead-letter the stream all the same an operator
//! raises the share and restarts.
//!
//! **A hostile tenant** that fills a partition with garbage until it outnumbers everybody else
//! there stops that partition of that topic, and its neighbours wait with it: their lag shows, and
//! nothing of theirs is lost. Without the breaker they would go on and the garbage would be
//! dead-lettered. We prefer to stop: from here garbage of one tenant cannot be told from a producer
//! that serves many and was released broken, and only the latter costs messages. Against the
//! former there are the brokers' quotas and ACLs, and the share as the way out. The share counts
//! records, so a tenant has to send more than all its neighbours together, and keep doing so: once
//! good records stand at the head the breaker closes.
//!
//! The window is not stored. A new owner of the partition starts with an empty one and trips again
//! after the minimum.

mod alarm;
mod probe;
mod serve;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::config::BreakerLimits;
use crate::lanes::Fetched;

use alarm::Alarm;
pub(crate) use serve::serve;

/// How often the head of an open topic is tried.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// How many records at the head are tried.
const PROBE_RECORDS: usize = 50;

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tripped {
    /// Records in the window.
    pub seen: usize,
    /// Of these, dead letters.
    pub dead: usize,
    /// The most frequent code among them.
    pub code: &'static str,
}

/// The last records of one topic: for each the code of its dead letter, if it is one.
///
/// Verdicts of a turn count at once and can be taken back as long as the turn is not over.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Never shortened in front within a turn.
    verdicts: VecDeque<Option<&'static str>>,
    /// Where the window begins, and how many dead letters it holds.
    at: Mark,
    /// `at`, and the length, when the turn began.
    turn: (Mark, usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    start: usize,
    dead: usize,
}

impl Window {
    /// Takes a verdict in; says so if now more than the share are dead letters. Only a dead letter
    /// can make it so.
    pub fn push(&mut self, code: Option<&'static str>, limits: &BreakerLimits) -> Option<Tripped> {
        self.verdicts.push_back(code);
        self.at.dead += usize::from(code.is_some());
        while self.verdicts.len() - self.at.start > limits.window {
            self.at.dead -= usize::from(self.verdicts[self.at.start].is_some());
            self.at.start += 1;
        }
        let seen = self.verdicts.len() - self.at.start;
        let code = code?;
        let tripped = seen >= limits.minimum && exceeds(self.at.dead, seen, limits);
        tripped.then(|| Tripped { seen, dead: self.at.dead, code: self.most_frequent(code) })
    }

    /// Forgets the verdicts of this turn.
    fn roll_back(&mut self) {
        self.verdicts.truncate(self.turn.1);
        self.at = self.turn.0;
    }

    /// The turn is over: its verdicts stay.
    fn settle(&mut self) {
        self.verdicts.drain(..self.at.start);
        self.at.start = 0;
        self.turn = (self.at, self.verdicts.len());
    }

    fn most_frequent(&self, newest: &'static str) -> &'static str {
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for code in self.verdicts.range(self.at.start..).flatten() {
            *counts.entry(code).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map_or(newest, |(code, _)| code)
    }
}

/// Whether `dead` of `seen` is more than the share.
fn exceeds(dead: usize, seen: usize, limits: &BreakerLimits) -> bool {
    // 0.58 × 50 is a little less than 29 in binary; no true excess is as small as this.
    dead as f64 > limits.share * seen as f64 + 1e-6
}

/// A topic of which nothing is taken.
pub(crate) struct Open {
    /// The first offset that is not taken.
    pub from: i64,
    /// Why.
    pub tripped: Tripped,
    /// Fetched before the reader paused, in order; the head of what waits.
    pub held: VecDeque<Fetched>,
    /// The reader fetches no more of it.
    paused: bool,
    /// `None` until somebody was told.
    alarm: Option<Alarm>,
    probe_at: Option<Instant>,
}

impl Open {
    fn new(from: i64, tripped: Tripped) -> Self {
        Self { from, tripped, held: VecDeque::new(), paused: false, alarm: None, probe_at: None }
    }

    /// Whether the head is to be tried at `now`. From the first question on, every
    /// [`PROBE_EVERY`].
    fn is_probe_due(&mut self, now: Instant) -> bool {
        let is_due = self.probe_at.is_some_and(|at| at <= now);
        if is_due || self.probe_at.is_none() {
            self.probe_at = Some(now + PROBE_EVERY);
        }
        is_due
    }
}

/// Whether enough of the records at the head can be used again.
fn may_close(dead: usize, tried: usize, limits: &BreakerLimits) -> bool {
    tried > 0 && !exceeds(dead, tried, limits)
}

#[derive(Default)]
struct Breaker {
    window: Window,
    open: Option<Open>,
}

/// The breakers of one task, by input.
#[derive(Default)]
pub(crate) struct Breakers(BTreeMap<usize, Breaker>);

impl Breakers {
    /// `record`, if its topic is taken; otherwise it is set aside.
    pub fn pass(&mut self, record: Fetched) -> Option<Fetched> {
        match self.0.get_mut(&record.input).and_then(|breaker| breaker.open.as_mut()) {
            Some(open) if record.offset >= open.from => {
                open.held.push_back(record);
                None
            }
            Some(_) | None => Some(record),
        }
    }

    /// Takes note of what became of `record`. True when its topic is open now, from this record on:
    /// what it did must be undone.
    pub fn trips(
        &mut self,
        record: &Fetched,
        code: Option<&'static str>,
        limits: &BreakerLimits,
    ) -> bool {
        let breaker = self.0.entry(record.input).or_default();
        let tripped = breaker.window.push(code, limits);
        match (tripped, &breaker.open) {
            (Some(tripped), None) => {
                breaker.open = Some(Open::new(record.offset, tripped));
                true
            }
            (Some(_) | None, _) => false,
        }
    }

    /// The turn starts over without its records.
    pub fn roll_back(&mut self) {
        self.0.values_mut().for_each(|breaker| breaker.window.roll_back());
    }

    /// The turn is over.
    pub fn settle(&mut self) {
        self.0.values_mut().for_each(|breaker| breaker.window.settle());
    }

    /// Whether one of the inputs that `is_meant` is open.
    pub fn is_open(&self, is_meant: impl Fn(usize) -> bool) -> bool {
        self.0.iter().any(|(input, breaker)| breaker.open.is_some() && is_meant(*input))
    }

    /// The task is rebuilt and reads from its committed offsets again: what is open stays open.
    pub fn rewind(&mut self) {
        for breaker in self.0.values_mut() {
            breaker.window.roll_back();
            if let Some(open) = &mut breaker.open {
                open.held.clear();
                open.paused = false;
            }
        }
    }

    fn open_ones(&mut self) -> impl Iterator<Item = (usize, &mut Open)> {
        self.0.iter_mut().filter_map(|(input, breaker)| Some((*input, breaker.open.as_mut()?)))
    }

    /// Closes a breaker and returns what it held. It watches anew.
    fn close(&mut self, input: usize) -> VecDeque<Fetched> {
        let breaker = self.0.remove(&input);
        breaker.and_then(|breaker| breaker.open).map_or_else(VecDeque::new, |open| open.held)
    }
}

#[cfg(test)]
mod tests;
