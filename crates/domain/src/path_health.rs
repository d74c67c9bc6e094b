//! Whether the way of webhooks was whole: one gateway's account of the requests it turned away.
//!
//! Silence proves something only over time in which no webhook can have been lost on its way. A
//! gateway says of itself until when its account is complete, and in which times before that a
//! webhook may have been turned away or lost:
//!
//! | what | counts as |
//! |---|---|
//! | a signed request that was not taken: no room, no broker, not read whole, cut off | a gap, from its begin to its end |
//! | one that was taken so slowly that later ones may have passed it in the log | a gap, likewise |
//! | a body of several accounts, or of none | a gap, likewise: part of it lies where nobody looks |
//! | a wrong signature | nothing, if a right one follows; a gap, if the secrets change first: then we may have been the ones in the wrong |
//! | a start after an end in good order | nothing; the time without this gateway shows in `started_at` |
//! | a start after any other end | a gap, from the last record to the start |
//! | an end in good order | a gap of [`LEAVING`]: not everybody knows yet that this gateway is gone |
//! | a clock that goes back | a gap over the time it repeats |
//!
//! The account is complete up to `alive_at`: no request that began before it is still in work, and
//! no wrong signature before it is unexplained. What comes to light later lies after it.
//!
//! Faults in front of a gateway (names, routes, load balancers) are not seen here. Against them
//! stand the other conditions, above all webhooks of later messages that did arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::limits::WEBHOOK_APPEND_MAX;
use crate::time::Timestamp;

/// How long gaps are remembered.
pub const GAPS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Gaps of one gateway at most; beyond it the oldest become one.
pub const GAPS_MAX: usize = 100;

/// Gaps nearer than this are one.
pub const MERGED_WITHIN: Duration = Duration::from_secs(5);

/// After a stop: how long a load balancer may go on to send requests here.
pub const LEAVING: Duration = Duration::from_secs(30);

/// Apps with unexplained signatures at a time; beyond it their time is a gap.
const SUSPECTS_MAX: usize = 64;

/// Time in which a webhook may have been turned away or lost, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// From when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// What a gateway says of itself at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathAccount {
    /// When it began to serve.
    pub started_at: Timestamp,
    /// Until when this account is complete.
    pub alive_at: Timestamp,
    /// Stopped in good order.
    pub is_stopped: bool,
    /// Oldest first, apart from each other.
    pub gaps: Vec<Gap>,
}

/// A request in work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    begun_at: Timestamp,
    number: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Rightly signed for this app, and durable.
    Taken(&'a str),
    /// As taken, but of several accounts or of none: what it says of one may lie among the records
    /// of another, where nobody waits for it.
    Astray(&'a str),
    /// Not a webhook: nobody who has the secret would send it so.
    NoWebhook,
    /// Signed for this app with something we do not hold.
    WrongSignature(&'a str),
    /// May have been a webhook, and was not taken.
    TurnedAway,
}

/// The running account of one gateway.
#[derive(Clone, Debug)]
pub struct PathHealth {
    started_at: Timestamp,
    gaps: Vec<Gap>,
    open: BTreeSet<Ticket>,
    numbers: u64,
    /// By app: the first wrong signature since the last right one.
    suspects: BTreeMap<String, Timestamp>,
    /// The latest time seen.
    latest: Timestamp,
}

impl PathHealth {
    /// An account that begins at `now`; `last` is what the gateway of this name said before.
    pub fn start(last: Option<&PathAccount>, now: Timestamp) -> Self {
        let mut health = Self {
            started_at: now,
            gaps: Vec::new(),
            open: BTreeSet::new(),
            numbers: 0,
            suspects: BTreeMap::new(),
            latest: now,
        };
        health.resume(last, now);
        health
    }

    /// Begins to serve at `now`; whom it turned away before stays in the account.
    pub fn resume(&mut self, last: Option<&PathAccount>, now: Timestamp) {
        self.see(now);
        self.started_at = now;
        let Some(last) = last else { return };
        for gap in &last.gaps {
            self.lost(gap.since, gap.until);
        }
        if !last.is_stopped {
            // A clock that was ahead has vouched for time that had not passed: nothing it said of
            // its last run is worth anything.
            let is_ahead = last.alive_at > now;
            let since = if is_ahead { last.started_at.min(now) } else { last.alive_at };
            self.lost(since, now);
        }
    }

    /// A request has come.
    pub fn begin(&mut self, now: Timestamp) -> Ticket {
        self.see(now);
        self.numbers += 1;
        let ticket = Ticket { begun_at: now, number: self.numbers };
        self.open.insert(ticket);
        ticket
    }

    /// The request is answered, or nobody waits for the answer any more. A second end says nothing.
    pub fn end(&mut self, ticket: Ticket, verdict: Verdict<'_>, now: Timestamp) {
        self.see(now);
        if !self.open.remove(&ticket) {
            return;
        }
        match verdict {
            Verdict::NoWebhook => {}
            Verdict::Taken(app) => {
                self.suspects.remove(app);
                if now.since(ticket.begun_at) > WEBHOOK_APPEND_MAX {
                    self.lost(ticket.begun_at, now);
                }
            }
            Verdict::Astray(app) => {
                self.suspects.remove(app);
                self.lost(ticket.begun_at, now);
            }
            Verdict::TurnedAway => self.lost(ticket.begun_at, now),
            Verdict::WrongSignature(app) => {
                if self.suspects.len() >= SUSPECTS_MAX && !self.suspects.contains_key(app) {
                    self.lost(ticket.begun_at, now);
                } else {
                    self.suspects.entry(app.to_owned()).or_insert(ticket.begun_at);
                }
            }
        }
    }

    /// Somebody was turned away before a request could be read.
    pub fn turned_away(&mut self, now: Timestamp) {
        self.see(now);
        self.lost(now, now);
    }

    /// Other secrets are in force: signatures that were wrong so far may have been right.
    pub fn secrets_changed(&mut self, now: Timestamp) {
        self.see(now);
        for since in std::mem::take(&mut self.suspects).into_values() {
            self.lost(since, now);
        }
    }

    /// The account as it stands.
    pub fn account(&mut self, now: Timestamp) -> PathAccount {
        self.see(now);
        self.settle(now);
        let open = self.open.first().map(|ticket| ticket.begun_at);
        let pending = self.suspects.values().copied().min();
        let alive_at = [open, pending].into_iter().flatten().fold(now, Timestamp::min);
        PathAccount {
            started_at: self.started_at,
            alive_at,
            is_stopped: false,
            gaps: self.gaps.clone(),
        }
    }

    /// The last account: nothing is served any more. What is still in work was cut off.
    pub fn stop(&mut self, now: Timestamp) -> PathAccount {
        self.secrets_changed(now);
        for ticket in std::mem::take(&mut self.open) {
            self.lost(ticket.begun_at, now);
        }
        self.lost(now, now + LEAVING);
        PathAccount { is_stopped: true, ..self.account(now) }
    }

    /// A clock that goes back leaves time of which nobody can say when it was.
    fn see(&mut self, now: Timestamp) {
        if now < self.latest {
            self.lost(now, self.latest);
        }
        self.latest = now;
    }

    fn lost(&mut self, since: Timestamp, until: Timestamp) {
        let mut gap = Gap { since: since.min(until), until: until.max(since) };
        self.gaps.retain(|other| {
            let is_near = gap.since <= other.until + MERGED_WITHIN
                && other.since <= gap.until + MERGED_WITHIN;
            if is_near {
                gap.since = gap.since.min(other.since);
                gap.until = gap.until.max(other.until);
            }
            !is_near
        });
        let place = self.gaps.partition_point(|other| other.since < gap.since);
        self.gaps.insert(place, gap);
        while self.gaps.len() > GAPS_MAX {
            let oldest = self.gaps.remove(0);
            self.gaps[0].since = oldest.since;
        }
    }

    /// Forgets what is too old to matter.
    fn settle(&mut self, now: Timestamp) {
        let horizon = now.minus(GAPS_KEPT);
        self.gaps.retain(|gap| gap.until >= horizon);
    }
}

#[cfg(test)]
mod tests;
