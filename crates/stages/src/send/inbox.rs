//! Where messages wait: in the queue of their number, or parked until what they lack is there.
//!
//! A queue is ordered by time, and a parked message goes back to its old place. So nothing that
//! waits for something of its own holds up what stands behind it.

use std::time::Duration;

use sendplane_domain::id::{MessageId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{InputClass, TableKey};

use super::state::{
    INBOX, Inbox, MESSAGES, Marker, Message, NUMBERS, NumberKey, PARKED, QUEUE, QueueKey, READY,
    Resource, State, Timer, Work, lane_rank, message_timer, resource_timer, rest_timer,
};
use super::{Ctx, SendStage, cancel, ending, pair, portfolio, recheck, template};
use crate::directory::Subject;

/// Parked messages that go back at once, at most; the rest follows in later cycles.
const RELEASED_MAX: usize = 500;

/// How much later. What is due now fires within this very cycle, until nothing is left.
pub(super) const NEXT_CYCLE: Duration = Duration::from_millis(10);

/// Bulk is taken again when this much of the budget is used, in percent: not at every message.
const RESUME_PERCENT: u64 = 90;

/// Puts a message into the queue of its number; one that was withdrawn ends instead.
pub(super) fn enqueue(
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    mut message: Message,
    work: Work,
    not_before: Timestamp,
) {
    if cancel::is_withdrawn(ctx, &message.tenant, message_id) {
        return ending::cancel(ctx, message_id, message);
    }
    insert(ctx, message_id, &message.number(), work.lane, not_before);
    ctx.schedule(message_timer(message_id), work.dispatch.valid_until, &Timer::Message(message_id));
    note(ctx, &work, true);
    message.state = State::Waiting { work, not_before };
    ctx.put(&MESSAGES, &message_id, &message);
}

/// Takes a waiting or parked message out, for whatever follows; `None` if it neither waits nor is
/// parked.
pub(super) fn take_out(
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    message: &Message,
) -> Option<Work> {
    let (work, not_before, resource) = match &message.state {
        State::Waiting { work, not_before } => (work, not_before, None),
        State::Parked { work, not_before, resource } => (work, not_before, Some(resource)),
        State::Submitting { .. } | State::InDoubt { .. } | State::Settled { .. } => return None,
    };
    let entry = (message.number(), lane_rank(work.lane), *not_before, message_id);
    match resource {
        None => ctx.delete(&QUEUE, &entry),
        Some(resource) => {
            if let Resource::Pair(..) = resource {
                pair::left(ctx, &entry.0, &work.dispatch.contact_hash);
            }
            ctx.delete(&PARKED, &(resource.clone(), entry));
        }
    }
    note(ctx, work, false);
    Some(work.clone())
}

/// Takes a waiting message out of the queue until `resource` may be there again at `at`.
pub(super) fn park(
    ctx: &mut Ctx<'_, '_>,
    entry: QueueKey,
    mut message: Message,
    resource: Resource,
    at: Timestamp,
) {
    let State::Waiting { work, not_before } = message.state else {
        return;
    };
    ctx.delete(&QUEUE, &entry);
    ctx.schedule(resource_timer(&resource), at, &Timer::Resource(resource.clone()));
    let message_id = entry.3;
    ctx.put(&PARKED, &(resource.clone(), entry), &Marker);
    message.state = State::Parked { work, not_before, resource };
    ctx.put(&MESSAGES, &message_id, &message);
}

/// What parked messages wait for may be there again.
pub(super) fn release(ctx: &mut Ctx<'_, '_>, resource: &Resource) {
    release_from(ctx, resource, None);
}

/// As [`release`], beginning with this entry: those before it have been looked at.
pub(super) fn release_rest(ctx: &mut Ctx<'_, '_>, resource: &Resource, from: QueueKey) {
    release_from(ctx, resource, Some(from));
}

fn release_from(ctx: &mut Ctx<'_, '_>, resource: &Resource, from: Option<QueueKey>) {
    let count = match resource {
        Resource::Pair(tenant, number, contact) => {
            pair::released(ctx, &((tenant.clone(), number.clone()), contact.clone()))
        }
        Resource::Switch(_) => usize::MAX,
        Resource::Template(key) => {
            if recheck::is_held(ctx.globals(), key) {
                0
            } else {
                usize::MAX
            }
        }
        Resource::Portfolio(tenant, rank) => portfolio::released(ctx, tenant, *rank),
        Resource::SuspendedTemplate(key) => template::released(ctx, key),
    };
    let most = count.min(RELEASED_MAX);
    let entries = match from {
        None => ctx.scan(&PARKED, resource, most),
        Some(from) => ctx.scan_from(&PARKED, resource, &(resource.clone(), from), most),
    };
    if entries.len() == RELEASED_MAX
        && let Some(((_, last), Marker)) = entries.last()
    {
        let rest = Timer::Rest(resource.clone(), last.clone());
        ctx.schedule(rest_timer(resource), ctx.now() + NEXT_CYCLE, &rest);
    }
    for ((_, entry), Marker) in entries {
        let (number, _, _, message_id) = entry.clone();
        let parked = ctx.get(&MESSAGES, &message_id);
        if let Some(until) = parked.as_ref().and_then(|message| held_on(ctx, resource, message)) {
            ctx.schedule(resource_timer(resource), until, &Timer::Resource(resource.clone()));
            continue;
        }
        ctx.delete(&PARKED, &(resource.clone(), entry));
        let Some(mut message) = parked else { continue };
        let State::Parked { work, not_before, .. } = message.state else { continue };
        insert(ctx, message_id, &number, work.lane, not_before);
        message.state = State::Waiting { work, not_before };
        ctx.put(&MESSAGES, &message_id, &message);
    }
}

/// Until when the pause that a message is parked under goes on holding it: such a message need not be
/// touched.
fn held_on(ctx: &Ctx<'_, '_>, resource: &Resource, message: &Message) -> Option<Timestamp> {
    let (Resource::Switch(id), State::Parked { work, .. }) = (resource, &message.state) else {
        return None;
    };
    let subject = Subject { dispatch: &work.dispatch, lane: work.lane };
    let switch = ctx.globals().switches().holding(subject, ctx.now())?;
    (switch.id == *id).then_some(switch.expires_at)
}

/// The first entry of a lane's queue, whether it is due or not.
pub(super) fn head(
    ctx: &mut Ctx<'_, '_>,
    number: &NumberKey,
    lane: Lane,
    not_before: Timestamp,
) -> Option<QueueKey> {
    let prefix = (number.clone(), lane_rank(lane));
    let from = (number.clone(), lane_rank(lane), not_before);
    ctx.scan_from(&QUEUE, &prefix, &from, 1).pop().map(|(entry, Marker)| entry)
}

/// The number's timer fired: it is gone, and the number is looked at.
pub(super) fn wake(ctx: &mut Ctx<'_, '_>, number: &NumberKey) {
    let mut row = ctx.get(&NUMBERS, number).unwrap_or_default();
    row.wake = None;
    ctx.put(&NUMBERS, number, &row);
    mark_ready(ctx, number);
}

/// Has the number looked at in this cycle.
pub(super) fn mark_ready(ctx: &mut Ctx<'_, '_>, number: &NumberKey) {
    ctx.put(&READY, number, &Marker);
}

/// Has every number looked at whose key starts with `prefix`.
pub(super) fn mark_all_ready(ctx: &mut Ctx<'_, '_>, prefix: &impl TableKey) {
    for (number, _) in ctx.scan(&NUMBERS, prefix, usize::MAX) {
        mark_ready(ctx, &number);
    }
}

/// A tenant's limits may have changed: all that waits for them is looked at.
pub(super) fn tenant_changed(ctx: &mut Ctx<'_, '_>, tenant: &TenantId) {
    for resource in portfolio::resources(tenant) {
        release(ctx, &resource);
    }
    mark_all_ready(ctx, tenant);
}

/// Leaves bulk in Kafka while the store holds as much of it as it may.
pub(super) fn hold_bulk_if_full(stage: &SendStage, ctx: &mut Ctx<'_, '_>) {
    let Some(mut inbox) = ctx.get(&INBOX, &()) else { return };
    let now = ctx.now();
    let bytes = inbox.bytes[usize::from(lane_rank(Lane::Bulk))];
    let budget = stage.settings.inbox_bytes_max;
    let resume = budget / 100 * RESUME_PERCENT;
    let was_full = inbox.full_since.is_some();
    let is_full = bytes >= budget || was_full && bytes > resume;
    if is_full != was_full {
        inbox.full_since = is_full.then_some(now);
        ctx.put(&INBOX, &(), &inbox);
    }
    if is_full {
        ctx.hold(InputClass::Bulk);
    }
    export(ctx, &inbox);
}

/// What waits here, and for how long bulk has been waiting beyond it.
fn export(ctx: &mut Ctx<'_, '_>, inbox: &Inbox) {
    for lane in [Lane::Transactional, Lane::Bulk] {
        let rank = usize::from(lane_rank(lane));
        ctx.gauge("sendplane_inbox_messages", lane.as_str(), inbox.messages[rank]);
        ctx.gauge("sendplane_inbox_bytes", lane.as_str(), inbox.bytes[rank]);
    }
    let full_for = inbox.full_since.map_or(0, |since| ctx.now().since(since).as_secs().max(1));
    ctx.gauge("sendplane_inbox_full_seconds", Lane::Bulk.as_str(), full_for);
}

fn insert(
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    number: &NumberKey,
    lane: Lane,
    not_before: Timestamp,
) {
    ctx.put(&QUEUE, &(number.clone(), lane_rank(lane), not_before, message_id), &Marker);
    let mut row = ctx.get(&NUMBERS, number).unwrap_or_default();
    let head = &mut row.heads[usize::from(lane_rank(lane))];
    if not_before < *head {
        *head = not_before;
        ctx.put(&NUMBERS, number, &row);
    }
    mark_ready(ctx, number);
}

/// Keeps account of what waits.
fn note(ctx: &mut Ctx<'_, '_>, work: &Work, comes: bool) {
    let mut inbox: Inbox = ctx.get(&INBOX, &()).unwrap_or_default();
    let rank = usize::from(lane_rank(work.lane));
    let (messages, bytes) = (&mut inbox.messages[rank], &mut inbox.bytes[rank]);
    if comes {
        *messages += 1;
        *bytes += work.bytes();
    } else {
        *messages = messages.saturating_sub(1);
        *bytes = bytes.saturating_sub(work.bytes());
    }
    ctx.put(&INBOX, &(), &inbox);
}
