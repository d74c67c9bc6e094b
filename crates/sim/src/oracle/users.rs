//! Users of a portfolio: in no 24 h does a tenant call more contacts than the provider lets it. What
//! the limit is says the newer of the tenant's row and the notices that send had read.

use std::collections::{BTreeMap, BTreeSet};

use sendplane_domain::id::{KeyedHash, TenantId};

use super::Verdict;
use super::grants::{Cycle, Grant};
use super::reading::Facts;
use crate::env::Env;
use crate::time::START_MS;

/// The name under which it is reported: portfolios have no promise with a number.
const USERS: &str = "users";

/// Meta: a rolling 24 h.
const WINDOW_MS: i64 = 24 * 3_600 * 1_000;

/// A call starts up to 2 s after its intent, by another clock than the provider's.
const LATE_MS: i64 = 20_000;

/// Checks intents by what was known, and the ledger by the highest limit there was.
pub fn check(
    env: &mut Env,
    facts: &Facts,
    grants: &BTreeMap<&TenantId, Vec<Grant<'_>>>,
    verdict: &mut Verdict,
) {
    for (tenant, grants) in grants {
        let mut called: BTreeMap<&KeyedHash, i64> = BTreeMap::new();
        let mut highest = Some(0);
        let mut before = None;
        for grant in grants {
            let limit = limit(facts, &grant.cycle, tenant);
            highest = highest.zip(limit).map(|(highest, limit)| limit.max(highest));
            // Calls made without a limit do not count.
            let Some(limit) = limit else { continue };
            if before.replace(limit).is_some_and(|before| before > limit) {
                env.counts.one("limits of users lowered");
            }
            let now = grant.cycle.now_ms;
            let before_now = called.len();
            called.retain(|_, at| now - *at <= WINDOW_MS);
            let gone = before_now - called.len();
            env.counts.add("users that stopped counting", gone as u64);
            let contact = &grant.dispatch.contact_hash;
            let is_new = called.insert(contact, now).is_none();
            if is_new && called.len() > limit {
                let detail = format!("contact {} of {tenant}, which has {limit}", called.len());
                verdict.message(USERS, grant.at.record.message_id, detail);
            }
            if called.len() == limit {
                env.counts.one("calls with all users taken");
            }
        }
        if let Some(highest) = highest {
            at_provider(env, tenant, highest, verdict);
        }
    }
}

fn limit(facts: &Facts, cycle: &Cycle<'_>, tenant: &TenantId) -> Option<usize> {
    let row = cycle.tenant(facts, tenant)?;
    let noticed = cycle.notice(facts, tenant, |notice| notice.users_per_day);
    let limit = match noticed {
        Some((at, limit)) if at > row.updated_at.as_millis() => limit,
        _ => row.users_per_day.unwrap_or(-1),
    };
    usize::try_from(limit).ok()
}

/// A tenant that always had a limit: whom it really reached.
fn at_provider(env: &Env, tenant: &TenantId, highest: usize, verdict: &mut Verdict) {
    let of_tenant = |id: &str| {
        id.strip_prefix(tenant.as_str()).is_some_and(|rest| ["-number", "-second"].contains(&rest))
    };
    let ledger = env.provider.model.ledger();
    let reached: Vec<(i64, &str)> = ledger
        .accepted()
        .iter()
        .filter(|one| of_tenant(&one.phone_number_id))
        .map(|one| (one.accepted_at_ms, one.to.as_str()))
        .collect();
    for (index, (at, _)) in reached.iter().enumerate() {
        let within = reached[..=index].iter().rev();
        let within = within.take_while(|(other, _)| at - other <= WINDOW_MS - LATE_MS);
        let users: BTreeSet<&str> = within.map(|(_, to)| *to).collect();
        if users.len() > highest {
            let detail = format!(
                "the provider counts {} users of {tenant} {} s after the start, it has {highest}",
                users.len(),
                (at - START_MS) / 1_000
            );
            return verdict.plain(USERS, detail);
        }
    }
}
