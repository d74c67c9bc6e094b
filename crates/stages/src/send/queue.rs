//! The queue of a number: who is called next, and when.
//!
//! A simple one: strict priority of the transactional lane, inside a lane by time. Only the first
//! entry of each lane is ever looked at.

use std::time::Duration;

use sendplane_domain::id::{MessageId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::limits::{CALL_START_MAX, INTENT_ANSWER_MAX};
use sendplane_domain::opaque::OpaqueData;
use sendplane_domain::rate::{Gcra, Limit};
use sendplane_domain::shard::ShardKey;
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;
use sendplane_wire::record::AttemptEvent;

use super::call::CallProvider;
use super::state::{
    MESSAGES, Message, NUMBERS, NumberKey, QUEUE, QueueKey, Queued, State, Timer, Work, lane_rank,
    message_timer, number_timer,
};
use super::{Ctx, SendStage, ending, report};

/// How soon to ask again while nothing may be granted.
const NOT_ALLOWED_PAUSE: Duration = Duration::from_millis(100);

/// Entries that one look at the queue may take out. Grants are bounded by the bucket; this bounds
/// messages that end without a call.
const EXAMINED_MAX: usize = 256;

/// What the directory says about a number.
enum Allowance {
    /// Calls may be made.
    Open(Open),
    /// The tenant is switched off: its messages wait.
    Held,
    /// The tenant has no such number (any more).
    Unknown,
}

/// How calls of a number may be made.
struct Open {
    pace: Limit,
    credential: String,
}

/// The first entry of a queue.
enum Head {
    Due(QueueKey),
    NotBefore(Timestamp),
    Empty,
}

/// Puts a message into the queue of its number and lets the number look at it.
pub(super) fn enqueue(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    mut message: Message,
    work: Work,
    not_before: Timestamp,
) {
    let number = message.number();
    let entry = (number.clone(), lane_rank(work.lane), not_before, message_id);
    ctx.put(&QUEUE, &entry, &Queued);
    ctx.schedule(message_timer(message_id), work.dispatch.valid_until, &Timer::Message(message_id));
    message.state = State::Waiting { work, not_before };
    ctx.put(&MESSAGES, &message_id, &message);
    pump(stage, ctx, &number);
}

/// Takes a waiting message out of the queue.
pub(super) fn dequeue(
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    message: &Message,
    lane: Lane,
    not_before: Timestamp,
) {
    ctx.delete(&QUEUE, &(message.number(), lane_rank(lane), not_before, message_id));
}

/// The timer of a number fired.
pub(super) fn wake(stage: &SendStage, ctx: &mut Ctx<'_, '_>, number: &NumberKey) {
    let mut row = ctx.get(&NUMBERS, number).unwrap_or_default();
    row.wake = None;
    ctx.put(&NUMBERS, number, &row);
    pump(stage, ctx, number);
}

/// The tenant's record changed: every number of it that has a queue looks at it again.
pub(super) fn reconsider(stage: &SendStage, ctx: &mut Ctx<'_, '_>, tenant: &TenantId) {
    for (number, _) in ctx.scan(&NUMBERS, tenant, usize::MAX) {
        pump(stage, ctx, &number);
    }
}

/// Grants what may be granted now, and sets the timer for the rest.
pub(super) fn pump(stage: &SendStage, ctx: &mut Ctx<'_, '_>, number: &NumberKey) {
    let trace = ctx.trace().clone();
    let stored = ctx.get(&NUMBERS, number);
    let before = stored.clone().unwrap_or_default();
    let mut row = before.clone();
    row.wake = grant_due(stage, ctx, number, &mut row.bucket);
    // Stored even when nothing was used: a control change finds waiting numbers by their rows.
    if stored.as_ref() != Some(&row) {
        ctx.put(&NUMBERS, number, &row);
    }
    if row.wake != before.wake {
        // The timer is the number's, not that of the message that happens to be looked at.
        ctx.set_trace(TraceContext::default());
        match row.wake {
            Some(at) => {
                let timer = Timer::Number(number.0.clone(), number.1.clone());
                ctx.schedule(number_timer(number), at, &timer);
            }
            None => ctx.cancel(&number_timer(number)),
        }
    }
    ctx.set_trace(trace);
}

/// Returns when to look again; `None` when only an input can change anything.
fn grant_due(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    number: &NumberKey,
    bucket: &mut Gcra,
) -> Option<Timestamp> {
    let now = ctx.now();
    let allowance = allowance(stage, ctx, number);
    for _ in 0..EXAMINED_MAX {
        let open = match &allowance {
            // The control change that lifts the hold looks at the queue; meanwhile each message's
            // own timer ends it at `valid_until`.
            Allowance::Held => return None,
            Allowance::Open(open) => {
                let next_token = bucket.earliest(open.pace, now);
                if next_token == NEVER {
                    return None;
                }
                if next_token > now {
                    return Some(next_token);
                }
                Some(open)
            }
            Allowance::Unknown => None,
        };
        let entry = match head(ctx, number) {
            Head::Due(entry) => entry,
            Head::NotBefore(at) => return Some(at),
            Head::Empty => return None,
        };
        if !ctx.may_perform() {
            return Some(now + NOT_ALLOWED_PAUSE);
        }
        take(stage, ctx, entry, open, bucket);
    }
    Some(now)
}

/// [`Gcra::earliest`] of a closed limit.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

fn head(ctx: &mut Ctx<'_, '_>, number: &NumberKey) -> Head {
    let now = ctx.now();
    let mut next: Option<Timestamp> = None;
    // A retry that waits in the transactional lane does not hold up bulk.
    for lane in [Lane::Transactional, Lane::Bulk] {
        let prefix = (number.clone(), lane_rank(lane));
        let Some((entry, Queued)) = ctx.scan(&QUEUE, &prefix, 1).pop() else {
            continue;
        };
        if entry.2 <= now {
            return Head::Due(entry);
        }
        next = Some(next.map_or(entry.2, |at| at.min(entry.2)));
    }
    next.map_or(Head::Empty, Head::NotBefore)
}

fn allowance(stage: &SendStage, ctx: &Ctx<'_, '_>, (tenant, id): &NumberKey) -> Allowance {
    let directory = ctx.globals();
    let (Some(row), Some(number)) = (directory.tenant(tenant), directory.number(tenant, id)) else {
        return Allowance::Unknown;
    };
    if !row.active {
        return Allowance::Held;
    }
    Allowance::Open(Open {
        pace: stage.settings.pace(number.messages_per_second),
        credential: row.credential.clone(),
    })
}

/// Takes a due entry out of the queue and does with its message what is right now; without `open`
/// the tenant has no such number.
fn take(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    entry: QueueKey,
    open: Option<&Open>,
    bucket: &mut Gcra,
) {
    let message_id = entry.3;
    ctx.delete(&QUEUE, &entry);
    let Some(message) = ctx.get(&MESSAGES, &message_id) else {
        return;
    };
    // Every way out of `Waiting` takes the entry with it, so there is nothing else to find.
    let State::Waiting { work, .. } = message.state.clone() else {
        return;
    };
    ctx.set_trace(message.trace.clone());
    match open {
        _ if work.dispatch.valid_until <= ctx.now() => ending::expire(ctx, message_id, message),
        None => ending::refuse_number(ctx, message_id, message),
        Some(open) => {
            bucket.debit(open.pace, ctx.now());
            grant(stage, ctx, message_id, message, work, open);
        }
    }
}

/// Commits the intent of the next attempt and asks for the call.
fn grant(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    mut message: Message,
    work: Work,
    open: &Open,
) {
    let now = ctx.now();
    message.attempt = message.attempt.saturating_add(1);
    let attempt = message.attempt;
    ctx.emit(report::attempt(message_id, &message, attempt, AttemptEvent::Submitting, now).into());
    let timer = Timer::Message(message_id);
    ctx.schedule(message_timer(message_id), now + INTENT_ANSWER_MAX, &timer);
    let opaque_data =
        OpaqueData { shard: ShardKey::of(message.tenant.clone()), message_id, attempt };
    ctx.perform(CallProvider {
        message_id,
        attempt,
        tenant: message.tenant.clone(),
        phone_number_id: message.phone_number_id.clone(),
        credential: open.credential.clone(),
        lane: work.lane,
        content: work.dispatch.clone(),
        opaque_data: opaque_data.encode(&stage.settings.hash_key),
        start_within: CALL_START_MAX.min(work.dispatch.valid_until.since(now)),
        pace: open.pace,
    });
    message.state = State::Submitting { work, granted_at: now };
    ctx.put(&MESSAGES, &message_id, &message);
}
