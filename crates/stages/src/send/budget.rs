//! What a tenant may use in a UTC day: calls and money, both a hard stop.
//!
//! A call is paid for when it is granted, with its intent, and never paid back: what is refused or
//! proven unsent was a call too, and a stop that gives back could be passed by what fails for ever.
//! Meta's own bill counts deliveries, so this one is never below it.
//!
//! Bulk leaves a tenth of each budget to transactional messages, so that a campaign in the morning
//! does not take the one-time codes of the evening.

use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::Tenant;

use super::Ctx;
use super::number::tenant_state;
use super::state::{Spent, TenantState, Work};

/// Share of a budget that bulk leaves alone: one in so many.
const RESERVE: u64 = 10;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

impl Spent {
    /// What is used of the day of `now`.
    pub fn on(self, now: Timestamp) -> Self {
        let day = day_of(now);
        if self.day == day { self } else { Self { day, ..Self::default() } }
    }
}

/// Until when the lane of a message stands, because what is left of the tenant's budget is not
/// enough for it; `None` if it may go. The queue stands with it, also for cheaper messages behind:
/// the budget is as good as used.
pub(super) fn stands_until(ctx: &mut Ctx<'_, '_>, work: &Work) -> Option<Timestamp> {
    let now = ctx.now();
    let tenant = ctx.globals().tenant(&work.dispatch.tenant)?;
    let messages = share(tenant.messages_per_day, work.lane);
    let micros = share(tenant.spend_per_day_micros, work.lane);
    if messages.is_none() && micros.is_none() {
        return None;
    }
    let price = price(tenant, &work.dispatch.category);
    let spent = tenant_state(ctx, &work.dispatch.tenant).spent.on(now);
    let label = if messages.is_some_and(|most| spent.messages >= most) {
        "messages"
    } else if price > 0 && micros.is_some_and(|most| spent.micros.saturating_add(price) > most) {
        "money"
    } else {
        return None;
    };
    ctx.count("sendplane_budget_waits_total", label);
    Some(end_of(spent))
}

/// The midnight that ends the day of `spent`.
pub(super) fn end_of(spent: Spent) -> Timestamp {
    Timestamp::from_millis((spent.day + 1).saturating_mul(DAY_MS))
}

/// A call is granted. Counted without a budget too: one that is set at noon is for the whole day.
pub(super) fn debit(ctx: &Ctx<'_, '_>, state: &mut TenantState, work: &Work) {
    let tenant = ctx.globals().tenant(&work.dispatch.tenant);
    let price = tenant.map_or(0, |tenant| price(tenant, &work.dispatch.category));
    let mut spent = state.spent.on(ctx.now());
    spent.messages = spent.messages.saturating_add(1);
    spent.micros = spent.micros.saturating_add(price);
    state.spent = spent;
}

/// What `lane` may use of a budget; a negative one is none at all.
pub(super) fn share(budget: Option<i64>, lane: Lane) -> Option<u64> {
    let budget = u64::try_from(budget?).unwrap_or(0);
    Some(match lane {
        Lane::Transactional => budget,
        Lane::Bulk => budget - budget / RESERVE,
    })
}

fn price(tenant: &Tenant, category: &str) -> u64 {
    let price = tenant.prices.iter().find(|price| price.category == category);
    price.map_or(0, |price| u64::try_from(price.micros).unwrap_or(0))
}

fn day_of(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(DAY_MS)
}
