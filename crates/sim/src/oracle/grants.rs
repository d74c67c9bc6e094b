//! Every intent of send, in the order of the log, and what send had read when it committed it.

use std::collections::BTreeMap;

use sendplane_domain::id::TenantId;
use sendplane_domain::lane::Lane;
use sendplane_stage_api::Globals;
use sendplane_stages::directory::Directory;
use sendplane_wire::record::{Attempt, AttemptEvent, Dispatch, Notice, Tenant};
use sendplane_wire::topic;

use super::reading::{At, Commit, Facts};
use crate::env::Env;
use crate::log::TxnNo;

/// A cycle of one task of send.
#[derive(Clone, Copy, Debug)]
pub struct Cycle<'f> {
    /// Its end in the log.
    pub commit: &'f Commit,
    /// Its place among the task's cycles.
    pub seq: u64,
    /// Its own time, Unix milliseconds.
    pub now_ms: i64,
    /// Tenants' rows below this offset were known.
    tenants: i64,
    /// Notices below this offset had been read.
    pub notices: i64,
}

/// An intent.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'f> {
    /// The record.
    pub at: &'f At<Attempt>,
    /// What was to be sent.
    pub dispatch: &'f Dispatch,
    /// The lane it waited in: whoever came through the bulk topic is bulk.
    pub lane: Lane,
    /// Its cycle.
    pub cycle: Cycle<'f>,
}

/// The cycles of send, by transaction and partition.
pub struct Cycles<'f>(BTreeMap<(TxnNo, i32), Cycle<'f>>);

impl<'f> Cycles<'f> {
    /// All of them.
    pub fn of(env: &Env, facts: &'f Facts) -> Self {
        let topics = Directory::topics().iter();
        let index = topics.take_while(|name| **name != topic::TENANTS).count();
        let mut found = BTreeMap::new();
        for ((stage, partition), commits) in &facts.commits {
            if *stage != "send" {
                continue;
            }
            for commit in commits {
                let seen = env.seen.cycles.get(&commit.txn);
                let cycle = Cycle {
                    commit,
                    seq: commit.record.txn_seq,
                    now_ms: commit.record.now.as_millis(),
                    tenants: seen.and_then(|seen| seen.tables.get(index)).copied().unwrap_or(0),
                    notices: commit.record.inputs.get(topic::NOTICES).copied().unwrap_or(0),
                };
                found.insert((commit.txn, *partition), cycle);
            }
        }
        Self(found)
    }

    /// The cycle that ended with `commit`.
    pub fn of_commit(&self, commit: &Commit, partition: i32) -> Option<Cycle<'f>> {
        self.0.get(&(commit.txn, partition)).copied()
    }

    /// The cycle that wrote a record.
    pub fn of_record<R>(&self, at: &At<R>) -> Option<Cycle<'f>> {
        self.0.get(&(at.txn?, at.partition)).copied()
    }
}

impl<'f> Cycle<'f> {
    /// The row of `tenant` that was known.
    pub fn tenant(&self, facts: &'f Facts, tenant: &TenantId) -> Option<&'f Tenant> {
        let mut rows = facts.tenants.iter().rev();
        let found = rows.find(|at| at.offset < self.tenants && at.record.tenant == *tenant)?;
        Some(&found.record)
    }

    /// The newest notice about `tenant` that had been read and of which `limit` finds something:
    /// when Meta said it, and what it says.
    pub fn notice<T>(
        &self,
        facts: &Facts,
        tenant: &TenantId,
        limit: impl Fn(&Notice) -> Option<T>,
    ) -> Option<(i64, T)> {
        let read = facts.notices.get(tenant).into_iter().flatten();
        let said = read
            .filter(|at| at.offset < self.notices)
            .filter_map(|at| Some((at.record.said_at().as_millis(), limit(&at.record)?)));
        // Of two of the same time the one that came last counts.
        said.reduce(|best, one| if one.0 >= best.0 { one } else { best })
    }
}

/// All intents by tenant.
pub fn grants<'f>(facts: &'f Facts, cycles: &Cycles<'f>) -> BTreeMap<&'f TenantId, Vec<Grant<'f>>> {
    let mut found: BTreeMap<&TenantId, Vec<Grant<'_>>> = BTreeMap::new();
    for at in facts.attempts.values().flatten() {
        if at.record.event != AttemptEvent::Submitting {
            continue;
        }
        let dispatch = facts.dispatch_of(&at.record.message_id, at.record.decision_seq);
        let (Some(dispatch), Some(cycle)) = (dispatch, cycles.of_record(at)) else { continue };
        let is_bulk = dispatch.topic == topic::DISPATCH_BULK;
        let lane = if is_bulk { Lane::Bulk } else { dispatch.record.lane };
        let grant = Grant { at, dispatch: &dispatch.record, lane, cycle };
        found.entry(&at.record.tenant).or_default().push(grant);
    }
    for grants in found.values_mut() {
        grants.sort_by_key(|grant| grant.at.offset);
    }
    found
}
