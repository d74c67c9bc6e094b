//! Meta's limit of users a portfolio opens a conversation with in any 24 h.
//!
//! Every contact that is called counts for 24 h after its newest call: whether a customer window was
//! open is not known here, and counting too many is the safe side. A contact that counts already
//! passes; a new one beyond the limit is parked until others have stopped counting. Meta names no
//! code for going beyond, so nobody would tell us.
//!
//! A limit counts calls from when it is first known. A parked transactional message goes before any
//! new contact of bulk.

use std::collections::BTreeSet;
use std::time::Duration;

use sendplane_domain::id::{KeyedHash, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::Tenant;

use super::inbox::NEXT_CYCLE;
use super::number::tenant_state;
use super::state::{
    Marker, Noticed, PARKED, Resource, TENANTS, TenantState, Timer, USER_ENDS, USERS, User, Work,
    lane_rank, resource_timer, users_timer,
};
use super::{Ctx, inbox};

/// Meta: a rolling 24 h.
const WINDOW: Duration = Duration::from_secs(24 * 3_600);

const MINUTE: Duration = Duration::from_secs(60);

/// A call starts up to 2 s after its grant, and ends are kept by the minute: a contact stops counting
/// in the second minute after its end, never before a whole one has passed.
const LATE_MINUTES: u64 = 2;

/// How soon parked messages are released again while there is room: those released last may have
/// been of contacts that count already, or are still waiting for their number.
const AGAIN: Duration = Duration::from_secs(1);

/// Contacts that stop counting in one go.
const SWEPT_MAX: usize = 2_000;

/// What to park a message under, and when to look again; `None` if there is room for its contact.
pub(super) fn lacks_room(ctx: &mut Ctx<'_, '_>, work: &Work) -> Option<(Resource, Timestamp)> {
    let tenant = &work.dispatch.tenant;
    let state = tenant_state(ctx, tenant);
    let limit = limit(ctx, &state, tenant)?;
    if ctx.get(&USERS, &user_key(work)).is_some() {
        return None;
    }
    let is_ahead = work.lane == Lane::Transactional || !has_parked(ctx, tenant, 0);
    if state.users < limit && is_ahead {
        return None;
    }
    let resource = Resource::Portfolio(tenant.clone(), lane_rank(work.lane));
    Some((resource, ctx.now() + MINUTE))
}

/// A call is granted.
pub(super) fn debit(ctx: &mut Ctx<'_, '_>, state: &mut TenantState, work: &Work) {
    if limit(ctx, state, &work.dispatch.tenant).is_none() {
        return;
    }
    let now = ctx.now();
    let key = user_key(work);
    let end_minute = match ctx.get(&USERS, &key) {
        // The entry stays where it is; the sweep moves it on.
        Some(user) => user.end_minute,
        None => {
            let end_minute = end_of(now);
            if ctx.scan(&USER_ENDS, &(), 1).is_empty() {
                ctx.schedule(users_timer(), start_of(end_minute), &Timer::Users);
            }
            ctx.put(&USER_ENDS, &(end_minute, key.clone()), &Marker);
            state.users = state.users.saturating_add(1);
            end_minute
        }
    };
    ctx.put(&USERS, &key, &User { called_at: now, end_minute });
}

/// How many parked messages of a lane go back to the queue: no more than there is room for.
pub(super) fn released(ctx: &mut Ctx<'_, '_>, tenant: &TenantId, rank: u8) -> usize {
    if !has_parked(ctx, tenant, rank) {
        return 0;
    }
    let state = tenant_state(ctx, tenant);
    let room = match limit(ctx, &state, tenant) {
        None => usize::MAX,
        Some(_) if rank > 0 && has_parked(ctx, tenant, 0) => 0,
        Some(limit) => limit.saturating_sub(state.users) as usize,
    };
    let resource = Resource::Portfolio(tenant.clone(), rank);
    let again = if room > 0 { AGAIN } else { MINUTE };
    let at = ctx.now() + again;
    ctx.schedule(resource_timer(&resource), at, &Timer::Resource(resource));
    room
}

/// Both lanes of a tenant whose limit may have changed.
pub(super) fn resources(tenant: &TenantId) -> [Resource; 2] {
    [0, 1].map(|rank| Resource::Portfolio(tenant.clone(), rank))
}

/// The users of `tenant` in any 24 h; `None` for no limit.
fn limit(ctx: &Ctx<'_, '_>, state: &TenantState, tenant: &TenantId) -> Option<u32> {
    limit_of(ctx.globals().tenant(tenant)?, state)
}

/// What the tenant's record or a later notice says; `None` for no limit.
pub(super) fn limit_of(row: &Tenant, state: &TenantState) -> Option<u32> {
    let own = row.users_per_day.unwrap_or(-1);
    u32::try_from(Noticed::newest(state.user_limit, own, row.updated_at)).ok()
}

/// Forgets contacts that do not count any more. Whoever waits has their room: the timer that looks
/// again is put off by each newcomer that is parked, and the next one would pass them all.
pub(super) fn sweep(ctx: &mut Ctx<'_, '_>) {
    let now = ctx.now();
    let mut with_room = BTreeSet::new();
    for ((minute, key), Marker) in ctx.scan(&USER_ENDS, &(), SWEPT_MAX) {
        if start_of(minute) > now {
            break;
        }
        ctx.delete(&USER_ENDS, &(minute, key.clone()));
        let Some(user) = ctx.get(&USERS, &key) else { continue };
        let end_minute = end_of(user.called_at);
        if start_of(end_minute) > now {
            ctx.put(&USER_ENDS, &(end_minute, key.clone()), &Marker);
            ctx.put(&USERS, &key, &User { end_minute, ..user });
            continue;
        }
        ctx.delete(&USERS, &key);
        let mut state = tenant_state(ctx, &key.0);
        state.users = state.users.saturating_sub(1);
        ctx.put(&TENANTS, &key.0, &state);
        with_room.insert(key.0);
    }
    for resource in with_room.iter().flat_map(resources) {
        inbox::release(ctx, &resource);
    }
    if let Some(((minute, _), Marker)) = ctx.scan(&USER_ENDS, &(), 1).pop() {
        let at = start_of(minute).max(now + NEXT_CYCLE);
        ctx.schedule(users_timer(), at, &Timer::Users);
    }
}

fn has_parked(ctx: &mut Ctx<'_, '_>, tenant: &TenantId, rank: u8) -> bool {
    !ctx.scan(&PARKED, &Resource::Portfolio(tenant.clone(), rank), 1).is_empty()
}

fn user_key(work: &Work) -> (TenantId, KeyedHash) {
    (work.dispatch.tenant.clone(), work.dispatch.contact_hash.clone())
}

/// The minute at whose start a contact called at `at` stops counting.
fn end_of(at: Timestamp) -> u64 {
    let end = u64::try_from((at + WINDOW).as_millis()).unwrap_or(0);
    end / MINUTE.as_millis() as u64 + LATE_MINUTES
}

fn start_of(minute: u64) -> Timestamp {
    let millis = minute.saturating_mul(MINUTE.as_millis() as u64);
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
