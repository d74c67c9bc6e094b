//! Meta's limit for one user: one message every 6 s from a number, 45 at once on credit.

use std::time::Duration;

use sendplane_domain::id::KeyedHash;
use sendplane_domain::rate::Limit;
use sendplane_domain::time::Timestamp;

use super::Ctx;
use super::inbox::NEXT_CYCLE;
use super::state::{
    Marker, NumberKey, PAIR_ENDS, PAIRS, Pair, PairKey, Resource, Timer, resource_timer,
    sweep_timer,
};

/// Meta: one every 6 s.
const INTERVAL: Duration = Duration::from_secs(6);

/// Meta: 45 at once. One less, because two calls do not reach Meta at exactly the distance of their
/// debits.
const BURST: u32 = 44;

/// How often rows that say nothing any more are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// Rows deleted in one go.
const SWEPT_MAX: usize = 2_000;

fn limit() -> Limit {
    Limit::one_per(INTERVAL, BURST)
}

impl Pair {
    /// When the next call may be made.
    fn earliest(&self, now: Timestamp) -> Timestamp {
        self.bucket.earliest(limit(), now).max(self.held_until)
    }

    /// Since when the row says no more than its absence.
    fn end(&self) -> Timestamp {
        self.bucket.empty_at().max(self.held_until)
    }
}

/// When `contact` may be called from `number`: now, or the time to park the message until.
pub(super) fn earliest(
    ctx: &mut Ctx<'_, '_>,
    number: &NumberKey,
    contact: &KeyedHash,
) -> Timestamp {
    let now = ctx.now();
    let pair = ctx.get(&PAIRS, &(number.clone(), contact.clone()));
    pair.map_or(now, |pair| pair.earliest(now).max(now))
}

/// A call is granted.
pub(super) fn debit(ctx: &mut Ctx<'_, '_>, number: &NumberKey, contact: &KeyedHash) {
    let now = ctx.now();
    change(ctx, (number.clone(), contact.clone()), |pair| pair.bucket.debit(limit(), now));
}

/// The provider refused a call for this limit: it counts otherwise than we do.
pub(super) fn hold(
    ctx: &mut Ctx<'_, '_>,
    number: &NumberKey,
    contact: &KeyedHash,
    until: Timestamp,
) {
    change(ctx, (number.clone(), contact.clone()), |pair| {
        pair.held_until = pair.held_until.max(until);
    });
}

/// A message was parked for the pair.
pub(super) fn joined(ctx: &mut Ctx<'_, '_>, number: &NumberKey, contact: &KeyedHash) {
    change(ctx, (number.clone(), contact.clone()), |pair| pair.parked += 1);
}

/// A parked message ended otherwise.
pub(super) fn left(ctx: &mut Ctx<'_, '_>, number: &NumberKey, contact: &KeyedHash) {
    change(ctx, (number.clone(), contact.clone()), |pair| {
        pair.parked = pair.parked.saturating_sub(1);
    });
}

/// The pair's timer fired: how many parked messages may go back to the queue. One at a time: it
/// takes the token with it when it is granted, and the timer comes again for the next.
pub(super) fn released(ctx: &mut Ctx<'_, '_>, key: &PairKey) -> usize {
    let now = ctx.now();
    let Some(pair) = ctx.get(&PAIRS, key) else { return 0 };
    let resource = Resource::Pair(key.0.0.clone(), key.0.1.clone(), key.1.clone());
    let again = |ctx: &mut Ctx<'_, '_>, at| {
        ctx.schedule(resource_timer(&resource), at, &Timer::Resource(resource.clone()));
    };
    let earliest = pair.earliest(now);
    if earliest > now {
        again(ctx, earliest);
        return 0;
    }
    if pair.parked > 1 {
        again(ctx, now + INTERVAL);
    }
    change(ctx, key.clone(), |pair| pair.parked = pair.parked.saturating_sub(1));
    1
}

/// Deletes the rows of pairs that may be called at once again.
pub(super) fn sweep(ctx: &mut Ctx<'_, '_>) {
    let now = ctx.now();
    let ends = ctx.scan(&PAIR_ENDS, &(), SWEPT_MAX);
    let is_more = ends.len() == SWEPT_MAX;
    for ((minute, key), Marker) in ends {
        if minute >= minute_of(now) {
            break;
        }
        ctx.delete(&PAIR_ENDS, &(minute, key.clone()));
        let Some(mut pair) = ctx.get(&PAIRS, &key) else { continue };
        if pair.end() <= now && pair.parked == 0 {
            ctx.delete(&PAIRS, &key);
            continue;
        }
        pair.end_minute = minute_of(pair.end().max(now)) + 1;
        ctx.put(&PAIR_ENDS, &(pair.end_minute, key.clone()), &Marker);
        ctx.put(&PAIRS, &key, &pair);
    }
    let first = ctx.scan(&PAIR_ENDS, &(), 1).pop();
    if let Some(((minute, _), Marker)) = first {
        let at = start_of(minute + 1).max(if is_more { now + NEXT_CYCLE } else { now + SWEEP });
        ctx.schedule(sweep_timer(), at, &Timer::Sweep);
    }
}

fn change(ctx: &mut Ctx<'_, '_>, key: PairKey, change: impl FnOnce(&mut Pair)) {
    let stored = ctx.get(&PAIRS, &key);
    let is_new = stored.is_none();
    let mut pair = stored.unwrap_or_default();
    change(&mut pair);
    if is_new {
        // Later changes leave the entry where it is; the sweep moves it on.
        pair.end_minute = minute_of(pair.end().max(ctx.now())) + 1;
        if ctx.scan(&PAIR_ENDS, &(), 1).is_empty() {
            ctx.schedule(sweep_timer(), start_of(pair.end_minute + 1), &Timer::Sweep);
        }
        ctx.put(&PAIR_ENDS, &(pair.end_minute, key.clone()), &Marker);
    }
    ctx.put(&PAIRS, &key, &pair);
}

fn minute_of(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0) / SWEEP.as_millis() as u64
}

fn start_of(minute: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(minute * SWEEP.as_millis() as u64).unwrap_or(i64::MAX))
}
