//! What the stage's rows say about one number, for people: its ceiling, its pace, what it has used,
//! and what stands in its way.
//!
//! The rows come from the stage's changelog, which anybody may read; nothing here is used to decide.

use std::collections::BTreeSet;

use sendplane_domain::breaker::{Admission, Breaker};
use sendplane_domain::id::{PhoneNumberId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::rate::Limit;
use sendplane_domain::throttle::FULL_PERMILLE;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::TableValue;
use sendplane_stage_api::table::{ValueFault, decode_value};
use sendplane_wire::record::{Tenant, TenantPhoneNumber};

use super::state::{
    NUMBERS, Noticed, Number, NumberKey, PARKED, PROVIDER, Provider, QUEUE, TENANTS, TenantState,
    lane_rank,
};
use super::{SendSettings, budget, portfolio};
use crate::directory::Switches;

const LANES: [Lane; 2] = [Lane::Transactional, Lane::Bulk];

/// The rows of one number, folded from the changelog of its tenant's partition.
#[derive(Debug)]
pub struct Rows {
    key: NumberKey,
    number: Number,
    tenant: TenantState,
    provider: Provider,
    /// Keys in the queue and parked, by [`lane_rank`].
    queued: [BTreeSet<Vec<u8>>; 2],
    parked: [BTreeSet<Vec<u8>>; 2],
}

/// What counts for a number besides its rows.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'d> {
    /// The settings of the deployment's send stage.
    pub settings: &'d SendSettings,
    /// The owner's record.
    pub tenant: &'d Tenant,
    /// Its entry for the number.
    pub number: &'d TenantPhoneNumber,
    /// What operators have paused.
    pub switches: &'d Switches,
    /// Now.
    pub now: Timestamp,
}

/// What holds for a number at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberView {
    /// Messages per second that Meta grants.
    pub ceiling: i32,
    /// Who said so last: `record` or `notice`.
    pub ceiling_from: &'static str,
    /// How far the number stays below, in percent.
    pub margin_percent: u32,
    /// Messages per second now, after refusals for going too fast.
    pub pace: f64,
    /// Everything that limits it.
    pub limits: Vec<LimitView>,
    /// By lane: messages in the queue, messages parked for something of their own, and the name of
    /// the limit that keeps the lane from its pace for longest, if any does.
    pub lanes: [LaneView; 2],
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitView {
    /// Stable name in snake_case.
    pub name: &'static str,
    /// How it stands, in words.
    pub level: String,
    /// Until when it keeps calls back; `None` if it does not.
    pub until: Option<Timestamp>,
    /// Whether it concerns bulk only.
    pub bulk_only: bool,
}

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// Which.
    pub lane: Lane,
    /// Messages in the queue.
    pub queued: usize,
    /// Messages that wait for something of their own.
    pub parked: usize,
    /// What keeps the lane back.
    pub bound_by: Option<&'static str>,
}

impl Rows {
    /// Of this number, nothing known yet.
    pub fn of(tenant: TenantId, phone_number_id: PhoneNumberId) -> Self {
        Self {
            key: (tenant, phone_number_id),
            number: Number::default(),
            tenant: TenantState::default(),
            provider: Provider::default(),
            queued: Default::default(),
            parked: Default::default(),
        }
    }

    /// Takes a committed record of the changelog, in the log's order. A row of another number is
    /// passed over.
    pub fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ValueFault> {
        if key == NUMBERS.store_key(&self.key) {
            self.number = row(value)?;
        } else if key == TENANTS.store_key(&self.key.0) {
            self.tenant = row(value)?;
        } else if key == PROVIDER.store_key(&()) {
            self.provider = row(value)?;
        } else if let Some((number, rank, ..)) = QUEUE.key_of(key) {
            note(&mut self.queued, number == self.key, rank, key, value);
        } else if let Some((_, (number, rank, ..))) = PARKED.key_of(key) {
            note(&mut self.parked, number == self.key, rank, key, value);
        }
        Ok(())
    }

    /// What holds for the number.
    pub fn view(&self, around: &Surroundings<'_>) -> NumberView {
        let Surroundings { settings, tenant, number, now, .. } = *around;
        let record = number.messages_per_second;
        let ceiling = Noticed::newest(self.number.throughput, record, tenant.updated_at);
        let from_notice =
            self.number.throughput.is_some_and(|noticed| noticed.at > tenant.updated_at);
        let granted = settings.pace(ceiling, number.safety_percent);
        let share = self.share_permille(now);
        let pace = granted.at_share(share);
        let limits = self.limits(around, pace, share);
        let lanes = LANES.map(|lane| self.lane(lane, &limits, now));
        NumberView {
            ceiling,
            ceiling_from: if from_notice { "notice" } else { "record" },
            margin_percent: number
                .safety_percent
                .and_then(|percent| u32::try_from(percent).ok())
                .unwrap_or(settings.safety_percent),
            pace: pace.rate(),
            limits,
            lanes,
        }
    }

    fn share_permille(&self, now: Timestamp) -> u32 {
        let own = self.number.throttle.share_permille(now);
        own.min(self.provider.throttle.share_permille(now))
    }

    fn lane(&self, lane: Lane, limits: &[LimitView], now: Timestamp) -> LaneView {
        let rank = usize::from(lane_rank(lane));
        let holds = |limit: &&LimitView| {
            limit.until.is_some_and(|at| at > now) && (lane == Lane::Bulk || !limit.bulk_only)
        };
        let bound_by = limits.iter().filter(holds).max_by_key(|limit| limit.until);
        LaneView {
            lane,
            queued: self.queued[rank].len(),
            parked: self.parked[rank].len(),
            bound_by: bound_by.map(|limit| limit.name),
        }
    }

    fn limits(&self, around: &Surroundings<'_>, pace: Limit, share: u32) -> Vec<LimitView> {
        let Surroundings { tenant, now, .. } = *around;
        let mut limits = vec![self.pace(pace, share, now)];
        let held = Some(self.number.held_until).filter(|until| *until > now);
        limits.push(limit("hold", if held.is_some() { "held" } else { "none" }, held));
        for (name, breaker, bulk_only) in [
            ("number_breaker", self.number.breaker, false),
            ("spam_breaker", self.number.bulk, true),
            ("account_breaker", self.tenant.account, false),
            ("templates_breaker", self.tenant.templates, false),
            ("provider_breaker", self.provider.breaker, false),
        ] {
            let (level, until) = breaker_level(breaker, now);
            limits.push(LimitView { name, level, until, bulk_only });
        }
        limits.extend(self.budgets(tenant, now));
        limits.push(self.users(tenant));
        if !tenant.active {
            limits.push(limit("tenant", "switched off", Some(FOR_EVER)));
        }
        limits.extend(self.pauses(around));
        limits
    }

    fn pace(&self, pace: Limit, share: u32, now: Timestamp) -> LimitView {
        let next = self.number.bucket.earliest(pace, now);
        let level = if share < FULL_PERMILLE {
            let (own, app) = (self.number.throttle, self.provider.throttle);
            let at = own.recovered_at().max(app.recovered_at());
            let seconds = at.since(now).as_secs() + 1;
            format!("throttled to {} %, whole again in {seconds} s", share / 10)
        } else {
            "whole".to_owned()
        };
        limit("pace", &level, Some(next).filter(|next| *next > now))
    }

    fn budgets(&self, tenant: &Tenant, now: Timestamp) -> Vec<LimitView> {
        let spent = self.tenant.spent.on(now);
        let midnight = Some(budget::end_of(spent));
        let mut limits = Vec::new();
        for (name, used, most) in [
            ("messages_per_day", spent.messages, tenant.messages_per_day),
            ("spend_per_day_micros", spent.micros, tenant.spend_per_day_micros),
        ] {
            let (Some(all), Some(bulk)) =
                (budget::share(most, Lane::Transactional), budget::share(most, Lane::Bulk))
            else {
                continue;
            };
            limits.push(LimitView {
                name,
                level: format!("{used} of {all} used, {bulk} of them open to bulk"),
                until: midnight.filter(|_| used >= bulk),
                bulk_only: used < all,
            });
        }
        limits
    }

    fn users(&self, tenant: &Tenant) -> LimitView {
        let used = self.tenant.users;
        let level = match portfolio::limit_of(tenant, &self.tenant) {
            Some(most) => format!("{used} of {most} users in 24 h"),
            None => "no limit".to_owned(),
        };
        limit("users_per_day", &level, None)
    }

    fn pauses(&self, around: &Surroundings<'_>) -> Vec<LimitView> {
        let mut limits = Vec::new();
        for lane in LANES {
            let Some(switch) =
                around.switches.holding_lane(&self.key.0, &self.key.1, lane, around.now)
            else {
                continue;
            };
            let level = format!("{} by {}: {}", switch.id, switch.created_by, switch.reason);
            let found = LimitView {
                name: "pause",
                level,
                until: Some(switch.expires_at),
                bulk_only: lane == Lane::Bulk,
            };
            // One that holds transactional messages is listed once if it holds bulk as well.
            if !limits.iter().any(|one: &LimitView| one.level == found.level) {
                limits.push(found);
            }
        }
        limits
    }
}

/// Until somebody changes it.
const FOR_EVER: Timestamp = Timestamp::from_millis(i64::MAX);

fn limit(name: &'static str, level: &str, until: Option<Timestamp>) -> LimitView {
    LimitView { name, level: level.to_owned(), until, bulk_only: false }
}

fn breaker_level(breaker: Breaker, now: Timestamp) -> (String, Option<Timestamp>) {
    let since = breaker.open_since().map_or(0, |since| now.since(since).as_secs());
    match breaker.admission(now) {
        Admission::Calls => ("closed".to_owned(), None),
        Admission::Probe => (format!("open for {since} s, the next call is a probe"), None),
        Admission::NotBefore(at) => (format!("open for {since} s"), Some(at)),
    }
}

/// A row as it stands; one that was deleted is as one that never was.
fn row<V: TableValue + Default>(value: Option<&[u8]>) -> Result<V, ValueFault> {
    value.map_or_else(|| Ok(V::default()), decode_value)
}

fn note(
    sets: &mut [BTreeSet<Vec<u8>>; 2],
    is_meant: bool,
    rank: u8,
    key: &[u8],
    value: Option<&[u8]>,
) {
    let Some(set) = sets.get_mut(usize::from(rank)).filter(|_| is_meant) else { return };
    match value {
        Some(_) => set.insert(key.to_vec()),
        None => set.remove(key),
    };
}
