//! What a process is besides its stage.

use std::collections::VecDeque;
use std::time::Duration;

use sendplane_domain::limits::CLOCK_SKEW_MAX;
use sendplane_domain::time::Timestamp;

use crate::fault::Point;
use crate::log::Session;
use crate::log::group::MemberId;
use crate::time::{Micros, true_wall};

/// A change of ownership, not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// These partitions are ours.
    Assigned {
        /// In this generation.
        generation: u32,
        /// The partitions.
        partitions: Vec<i32>,
    },
    /// All partitions are to be given up.
    Revoked {
        /// Somebody else may own them already.
        is_lost: bool,
    },
}

/// A comparison of a process's clock with the broker's.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Ours minus the broker's, 0 within the precision of a commit.
    pub skew_ms: i64,
    /// What ours showed.
    pub wall: Timestamp,
    /// When.
    pub at: Micros,
}

/// Identity, membership, producer and clock of a process.
#[derive(Debug)]
pub struct Core {
    /// Position among all processes.
    pub index: usize,
    /// Stage.
    pub stage: &'static str,
    /// For people.
    pub name: String,
    /// Consumer group.
    pub group: String,
    /// Changelog topic.
    pub changelog: String,
    /// Dead-letter topic.
    pub dead_letters: String,
    /// Transactional id.
    pub transactional_id: String,
    /// Counts its lives.
    pub incarnation: u64,
    /// Whether it lives.
    pub is_up: bool,
    /// It does nothing before.
    pub frozen_until: Micros,
    /// Where it froze last, until somebody asks.
    pub was_frozen_at: Option<Point>,
    /// It has died and is to die again soon.
    pub crashes_again: bool,
    /// Its clock minus the true one.
    pub clock_offset_ms: i64,
    /// How long its connections to the provider take beside what is usual.
    pub connect_takes: Micros,
    /// Membership and generation.
    pub member: Option<(MemberId, u32)>,
    /// `None` is doubt: what the last transaction came to is not known.
    pub session: Option<Session>,
    /// The producer before the doubt, for a mutation that goes on with it.
    pub kept: Option<Session>,
    /// A commit request of this session is still in the network, for the worst moment.
    pub late_end: Option<Session>,
    /// The producer must not begin another transaction.
    pub is_suspect: bool,
    /// When the running transaction, or the producer, began.
    pub began: Micros,
    /// Counts takeovers in this life.
    pub epoch: u64,
    /// Partitions the group has given.
    pub owned: Vec<i32>,
    /// Not answered yet.
    pub rebalances: VecDeque<Rebalance>,
    /// Told to stop.
    pub stopping: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Its clock compared with the broker's.
    pub measured: Option<Measured>,
    /// When it compares again while its clock cannot be acted on.
    pub skew_probe_at: Micros,
    /// Of the newest wait.
    pub token: u64,
    /// Waits for something to happen.
    pub is_idle: bool,
}

impl Core {
    /// Process `number` of `stage`, not running.
    pub fn new(index: usize, stage: &'static str, number: usize) -> Self {
        Self {
            index,
            stage,
            name: format!("{stage}-{number}"),
            group: format!("sendplane.{stage}"),
            changelog: format!("sendplane.{stage}.changelog"),
            dead_letters: format!("dlq.sendplane.{stage}"),
            transactional_id: format!("sendplane.{stage}-{number}-0"),
            incarnation: 0,
            is_up: false,
            frozen_until: 0,
            was_frozen_at: None,
            crashes_again: false,
            clock_offset_ms: 0,
            connect_takes: 0,
            member: None,
            session: None,
            kept: None,
            late_end: None,
            is_suspect: false,
            began: 0,
            epoch: 0,
            owned: Vec::new(),
            rebalances: VecDeque::new(),
            stopping: false,
            failures: 0,
            measured: None,
            skew_probe_at: 0,
            token: 0,
            is_idle: false,
        }
    }

    /// What its clock shows.
    pub fn wall(&self, now: Micros) -> Timestamp {
        let truth = true_wall(now).as_millis();
        Timestamp::from_millis(truth + self.clock_offset_ms)
    }

    /// Whether its clock may be acted on: compared with the broker's, without a jump since, and not
    /// behind `committed`, the newest time an owner of its tasks has committed.
    pub fn is_trusted(&self, now: Micros, committed: Option<Timestamp>) -> bool {
        let Some(measured) = self.measured else { return false };
        let wall = self.wall(now);
        let elapsed = Duration::from_micros((now - measured.at).max(0) as u64);
        let expected = measured.wall + elapsed;
        let jumped = wall.since(expected).max(expected.since(wall)) > CLOCK_SKEW_MAX;
        let skew = Duration::from_millis(measured.skew_ms.unsigned_abs());
        let behind = committed.map_or(Duration::ZERO, |committed| committed.since(wall));
        !jumped && skew.max(behind) <= CLOCK_SKEW_MAX
    }

    /// Whether a revocation waits for its answer.
    pub fn is_being_revoked(&self) -> bool {
        self.rebalances.iter().any(|one| matches!(one, Rebalance::Revoked { .. }))
    }

    /// A new life begins.
    pub fn begin_life(&mut self) {
        self.incarnation += 1;
        self.is_up = true;
        self.epoch = 0;
        self.failures = 0;
        self.measured = None;
        self.skew_probe_at = 0;
        self.stopping = false;
    }

    /// It is over.
    pub fn end_life(&mut self) {
        self.is_up = false;
        self.is_idle = false;
        self.frozen_until = 0;
        self.token += 1;
        self.member = None;
        self.session = None;
        self.kept = None;
        self.is_suspect = false;
        self.owned.clear();
        self.rebalances.clear();
    }
}
