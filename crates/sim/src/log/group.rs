//! A consumer group: who is a member, in which generation, with which partitions and offsets.
//!
//! ```text
//! Stable ──join, leave, expiry──▶ Preparing ──every member has joined again──▶ Stable, generation + 1
//! ```
//!
//! As the classic protocol: while a rebalance is prepared, offsets of the old generation are still
//! accepted, so that members can commit before they release. A member that does not join again is
//! expelled when its session, or the rebalance, times out.

use std::collections::BTreeMap;

use super::{GroupOffset, Offsets, Refused};
use crate::time::{Micros, seconds};

/// Names a member.
pub type MemberId = u64;

/// How long a rebalance waits for members that are alive: `max.poll.interval.ms`.
const REBALANCE_TIMEOUT: Micros = seconds(60);

#[derive(Debug)]
struct Member {
    /// Process behind it; `None` for one that only disturbs.
    process: Option<usize>,
    last_heartbeat: Micros,
    /// Has joined the rebalance that is being prepared.
    has_joined: bool,
}

/// What a heartbeat is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// All is well.
    Stable,
    /// Give up the partitions and join again.
    Rebalance,
    /// Expelled.
    Unknown,
}

/// An assignment that a rebalance has ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Receiver.
    pub process: usize,
    /// Its membership.
    pub member: MemberId,
    /// The new generation.
    pub generation: u32,
    /// `range` over the partitions: the same numbers of every input topic.
    pub partitions: Vec<i32>,
}

/// A group.
#[derive(Debug, Default)]
pub struct Group {
    members: BTreeMap<MemberId, Member>,
    next_member: MemberId,
    generation: u32,
    preparing_since: Option<Micros>,
    offsets: Offsets,
    /// Members expelled by their session timeout.
    pub expelled: u64,
    /// Rebalances that came to an end.
    pub rebalances: u64,
}

impl Group {
    /// A new member joins.
    pub fn join(&mut self, process: Option<usize>, now: Micros) -> MemberId {
        self.next_member += 1;
        let id = self.next_member;
        self.members.insert(id, Member { process, last_heartbeat: now, has_joined: true });
        self.prepare(now);
        id
    }

    /// A member has given up its partitions and joins again.
    pub fn rejoin(&mut self, member: MemberId, now: Micros) -> Result<(), Refused> {
        let found = self.members.get_mut(&member).ok_or(Refused::UnknownMember)?;
        (found.has_joined, found.last_heartbeat) = (true, now);
        self.preparing_since.get_or_insert(now);
        Ok(())
    }

    /// A member leaves by itself.
    pub fn leave(&mut self, member: MemberId, now: Micros) {
        if self.members.remove(&member).is_some() {
            self.prepare(now);
        }
    }

    /// A member says that it lives.
    pub fn heartbeat(&mut self, member: MemberId, now: Micros) -> Heartbeat {
        let Some(found) = self.members.get_mut(&member) else {
            return Heartbeat::Unknown;
        };
        found.last_heartbeat = now;
        match self.preparing_since {
            Some(_) if !found.has_joined => Heartbeat::Rebalance,
            _ => Heartbeat::Stable,
        }
    }

    /// Expels members whose session is over.
    pub fn expire(&mut self, session_timeout: Micros, now: Micros) {
        let too_long = self.preparing_since.is_some_and(|since| now - since >= REBALANCE_TIMEOUT);
        let before = self.members.len();
        self.members.retain(|_, member| {
            // Whoever waits for the end of a rebalance is not timed.
            let waits = member.has_joined;
            waits || (!too_long && now - member.last_heartbeat < session_timeout)
        });
        let expelled = before - self.members.len();
        if expelled > 0 {
            self.expelled += expelled as u64;
            self.prepare(now);
        }
    }

    /// Ends the rebalance if every member has joined.
    pub fn complete(&mut self, partitions: u32, now: Micros) -> Vec<Assignment> {
        let ready = self.preparing_since.is_some()
            && !self.members.is_empty()
            && self.members.values().all(|member| member.has_joined);
        if !ready {
            return Vec::new();
        }
        self.preparing_since = None;
        self.generation += 1;
        self.rebalances += 1;
        let count = self.members.len() as u32;
        let generation = self.generation;
        let mut next = 0;
        let mut assignments = Vec::new();
        for (index, (id, member)) in self.members.iter_mut().enumerate() {
            (member.has_joined, member.last_heartbeat) = (false, now);
            let share = partitions / count + u32::from((index as u32) < partitions % count);
            let range = next..next + share;
            next += share;
            if let Some(process) = member.process {
                let partitions = range.map(|partition| partition as i32).collect();
                assignments.push(Assignment { process, member: *id, generation, partitions });
            }
        }
        assignments
    }

    /// Whether offsets of this member and generation are taken.
    pub fn check(&self, member: MemberId, generation: u32) -> Result<(), Refused> {
        if !self.members.contains_key(&member) {
            return Err(Refused::UnknownMember);
        }
        if generation == self.generation { Ok(()) } else { Err(Refused::IllegalGeneration) }
    }

    /// The committed offset.
    pub fn offset(&self, at: &(String, i32)) -> Option<GroupOffset> {
        self.offsets.get(at).cloned()
    }

    /// Offsets of a committed transaction.
    pub fn commit(&mut self, offsets: Offsets) {
        self.offsets.extend(offsets);
    }

    /// All offsets.
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Whether a rebalance is being prepared.
    pub fn is_preparing(&self) -> bool {
        self.preparing_since.is_some()
    }

    /// No member has missed a heartbeat until now.
    pub fn forgive(&mut self, now: Micros) {
        self.members.values_mut().for_each(|member| member.last_heartbeat = now);
        if let Some(since) = &mut self.preparing_since {
            *since = now;
        }
    }

    fn prepare(&mut self, now: Micros) {
        self.preparing_since.get_or_insert(now);
    }
}
