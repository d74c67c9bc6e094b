//! I9: tenants take turns. While a tenant has a message that lacks nothing but a slot, between two
//! of its grants in a lane, and before the first, no other tenant of the partition is granted more
//! than one turn of its own. And in the end every message had its slot.
//!
//! Only where nothing but slots is scarce can a log tell what a message lacks: in contended runs.

use std::collections::{BTreeMap, BTreeSet};

use sendplane_domain::id::{MessageId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_wire::record::AttemptEvent;
use sendplane_wire::topic;

use super::Verdict;
use super::grants::Grant;
use super::reading::Facts;
use crate::env::Env;

/// What a tenant of weight 1 may take in one turn.
const QUANTUM: i32 = 8;

/// A partition and one of its lanes.
type Ring = (i32, bool);

/// What happens in a ring, in its order: by cycle, and in it first who comes, then who goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Comes,
    Ends,
    Granted,
}

/// Checks every grant.
pub fn check(
    env: &mut Env,
    facts: &Facts,
    grants: &BTreeMap<&TenantId, Vec<Grant<'_>>>,
    verdict: &mut Verdict,
) {
    if !env.shape.contended {
        return;
    }
    for message in facts.dispatched.keys() {
        let mut attempts = facts.attempts.get(message).into_iter().flatten();
        if !attempts.any(|at| at.record.event == AttemptEvent::Submitting) {
            verdict.message("I9", *message, "never had a slot".to_owned());
        }
    }
    for steps in rings(facts, grants).into_values() {
        let mut waiting: BTreeMap<&TenantId, BTreeSet<MessageId>> = BTreeMap::new();
        let mut passed: BTreeMap<(&TenantId, &TenantId), i32> = BTreeMap::new();
        for ((.., message), (step, tenant, weight)) in steps {
            match step {
                Step::Comes => {
                    waiting.entry(tenant).or_default().insert(message);
                    continue;
                }
                Step::Ends => {}
                Step::Granted => {
                    for (other, _) in
                        waiting.iter().filter(|(one, left)| **one != tenant && !left.is_empty())
                    {
                        let taken = passed.entry((other, tenant)).or_default();
                        *taken += 1;
                        if *taken == weight * QUANTUM + 1 {
                            let detail = format!(
                                "grant {taken} to {tenant} of weight {weight} while {other} waits"
                            );
                            verdict.message("I9", message, detail);
                        }
                        if *taken == weight * QUANTUM {
                            env.counts.one("whole turns that another tenant waited for");
                        }
                    }
                }
            }
            let left = waiting.entry(tenant).or_default();
            left.remove(&message);
            if step == Step::Granted || left.is_empty() {
                passed.retain(|(one, _), _| *one != tenant);
            }
        }
    }
}

/// What happened in each ring.
type Steps<'f> = BTreeMap<(u64, Step, i64, MessageId), (Step, &'f TenantId, i32)>;

fn rings<'f>(
    facts: &'f Facts,
    grants: &BTreeMap<&'f TenantId, Vec<Grant<'f>>>,
) -> BTreeMap<Ring, Steps<'f>> {
    let mut found: BTreeMap<Ring, Steps<'f>> = BTreeMap::new();
    // A repeated dispatch changes nothing.
    let first = facts.dispatched.values().filter_map(|all| all.iter().min_by_key(|at| at.offset));
    for at in first {
        let taken = facts.taken("send", at.topic, at.partition, at.offset);
        let (Some(commit), message) = (taken, at.record.message_id) else { continue };
        let is_bulk = at.topic == topic::DISPATCH_BULK;
        let seq = commit.record.txn_seq;
        let attempts = facts.attempts.get(&message).map_or(&[][..], Vec::as_slice);
        let ring = found.entry((at.partition, is_bulk)).or_default();
        let step = (Step::Comes, &at.record.tenant, 0);
        ring.insert((seq, Step::Comes, at.offset, message), step);
        // Whatever ended the wait otherwise.
        let ends = attempts.iter().find(|at| at.record.event != AttemptEvent::Submitting);
        let ended = ends.and_then(|end| facts.commit_of("send", end.partition, end.txn));
        if let Some(ended) = ended {
            let step = (Step::Ends, &at.record.tenant, 0);
            ring.insert((ended.record.txn_seq, Step::Ends, at.offset, message), step);
        }
    }
    for grant in grants.values().flatten() {
        let ring = found.entry((grant.at.partition, grant.lane == Lane::Bulk)).or_default();
        let tenant = &grant.at.record.tenant;
        let weight = grant.cycle.tenant(facts, tenant).map_or(1, |row| row.weight);
        let key = (grant.cycle.seq, Step::Granted, grant.at.offset, grant.at.record.message_id);
        ring.insert(key, (Step::Granted, tenant, weight));
    }
    found
}
