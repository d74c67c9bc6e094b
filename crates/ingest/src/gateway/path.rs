//! The gateway's account of its own gaps, shared by everything that turns somebody away.
//!
//! What counts is decided by [`PathHealth`]; this shell gives it the clock, and one verdict for
//! every request, also for one whose handler was dropped in the middle.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sendplane_domain::path_health::{Gap, PathAccount, PathHealth, Ticket, Verdict};
use sendplane_wire::record::{GatewayGap, GatewayStatus};

use super::Clock;

/// The running account. Until [`Path::open`] it only remembers that somebody was turned away.
pub struct Path {
    health: Mutex<PathHealth>,
    clock: Clock,
}

impl Path {
    /// An account that begins now, of a gateway that does not serve yet.
    pub fn new(clock: Clock) -> Self {
        let health = Mutex::new(PathHealth::start(None, clock()));
        Self { health, clock }
    }

    /// The gateway begins to serve; `last` is the newest record under its name. Whom it turned
    /// away until now stays in the account.
    pub fn open(&self, last: Option<&GatewayStatus>) {
        let last = last.map(account_of);
        self.health().resume(last.as_ref(), (self.clock)());
    }

    /// A request came. Its verdict is that nobody knows until [`Request::end`] says better.
    pub(super) fn begin(&self) -> Request<'_> {
        let ticket = self.health().begin((self.clock)());
        Request { path: self, ticket: Some(ticket) }
    }

    /// Somebody was turned away before a request could be read.
    pub(super) fn turned_away(&self) {
        self.health().turned_away((self.clock)());
    }

    /// Other secrets are in force.
    pub fn secrets_changed(&self) {
        self.health().secrets_changed((self.clock)());
    }

    /// The record as it stands; `instance` is its key.
    pub fn status(&self, instance: &str) -> GatewayStatus {
        let account = self.health().account((self.clock)());
        show(&account);
        status_of(instance, account)
    }

    /// The last record: nothing is served any more.
    pub fn stop(&self, instance: &str) -> GatewayStatus {
        let account = self.health().stop((self.clock)());
        status_of(instance, account)
    }

    fn health(&self) -> MutexGuard<'_, PathHealth> {
        // Nothing in it panics, and half an account is better than none.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in work.
pub(super) struct Request<'p> {
    path: &'p Path,
    ticket: Option<Ticket>,
}

impl Request<'_> {
    /// What became of it.
    pub fn end(mut self, verdict: Verdict<'_>) {
        self.settle(verdict);
    }

    fn settle(&mut self, verdict: Verdict<'_>) {
        if let Some(ticket) = self.ticket.take() {
            let now = (self.path.clock)();
            self.path.health().end(ticket, verdict, now);
        }
    }
}

impl Drop for Request<'_> {
    /// The client left, or the server gave the connection up.
    fn drop(&mut self) {
        self.settle(Verdict::TurnedAway);
    }
}

fn show(account: &PathAccount) {
    metrics::gauge!("sendplane_gateway_gaps").set(account.gaps.len() as f64);
    let seconds: f64 =
        account.gaps.iter().map(|gap| gap.until.since(gap.since).as_secs_f64()).sum();
    metrics::gauge!("sendplane_gateway_gap_seconds").set(seconds);
}

fn status_of(instance: &str, account: PathAccount) -> GatewayStatus {
    let gap = |gap: Gap| GatewayGap { since: gap.since, until: gap.until };
    GatewayStatus {
        instance: instance.to_owned(),
        started_at: account.started_at,
        alive_at: account.alive_at,
        is_stopped: account.is_stopped,
        gaps: account.gaps.into_iter().map(gap).collect(),
    }
}

fn account_of(row: &GatewayStatus) -> PathAccount {
    let gap = |gap: &GatewayGap| -> Gap { Gap { since: gap.since, until: gap.until } };
    PathAccount {
        started_at: row.started_at,
        alive_at: row.alive_at,
        is_stopped: row.is_stopped,
        gaps: row.gaps.iter().map(gap).collect::<Vec<Gap>>(),
    }
}

/// The gaps alone, for tests of what lies around it.
#[cfg(test)]
impl Path {
    pub(super) fn gaps(&self) -> Vec<(super::Timestamp, super::Timestamp)> {
        let account = self.health().account((self.clock)());
        account.gaps.iter().map(|gap| (gap.since, gap.until)).collect()
    }
}
