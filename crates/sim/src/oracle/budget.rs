//! Budgets: no UTC day of a tenant, by the time of send's cycles, holds more intents or more money
//! than its row allowed when each of them was granted. A tenth of both is left by bulk.

use std::collections::BTreeMap;

use sendplane_domain::id::TenantId;
use sendplane_domain::lane::Lane;
use sendplane_wire::record::Tenant;

use super::Verdict;
use super::grants::Grant;
use super::reading::Facts;
use crate::env::Env;

/// The name under which it is reported: budgets have no promise with a number.
const BUDGET: &str = "budget";

const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// What was used of a day.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    calls: i64,
    micros: i64,
}

/// Checks every intent.
pub fn check(
    env: &mut Env,
    facts: &Facts,
    grants: &BTreeMap<&TenantId, Vec<Grant<'_>>>,
    verdict: &mut Verdict,
) {
    for (tenant, grants) in grants {
        let mut days: BTreeMap<i64, Used> = BTreeMap::new();
        for grant in grants {
            let day = grant.cycle.now_ms.div_euclid(DAY_MS);
            let used = days.entry(day).or_default();
            let Some(row) = grant.cycle.tenant(facts, tenant) else { continue };
            let price = price(row, &grant.dispatch.category);
            used.calls += 1;
            used.micros += price;
            let calls = row.messages_per_day.map(|most| share(most, grant.lane));
            let micros = row.spend_per_day_micros.map(|most| share(most, grant.lane));
            let is_above = calls.is_some_and(|most| used.calls > most)
                || price > 0 && micros.is_some_and(|most| used.micros > most);
            if is_above {
                let detail = format!(
                    "{used:?} of {tenant} on day {day}, {:?} may use {calls:?} and {micros:?}",
                    grant.lane
                );
                verdict.message(BUDGET, grant.at.record.message_id, detail);
            }
            if calls == Some(used.calls) {
                env.counts.one("budgets of messages used up");
            }
            if micros.is_some_and(|most| used.micros + 5 > most) {
                env.counts.one("budgets of money used up");
            }
        }
        if days.len() > 1 {
            env.counts.one("tenants that called on two days");
        }
    }
}

fn price(row: &Tenant, category: &str) -> i64 {
    row.prices.iter().find(|price| price.category == category).map_or(0, |price| price.micros)
}

fn share(budget: i64, lane: Lane) -> i64 {
    match lane {
        Lane::Transactional => budget,
        Lane::Bulk => budget - budget / 10,
    }
}
