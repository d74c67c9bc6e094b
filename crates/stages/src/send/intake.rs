//! A dispatched message arrives.

use sendplane_domain::lane::Lane;
use sendplane_stage_api::RecordMeta;
use sendplane_wire::record::Dispatch;
use sendplane_wire::topic;

use super::state::{MESSAGES, Message, Work};
use super::{Ctx, ending, give_back, inbox, replay};

/// Takes the message in once; a repetition changes nothing.
pub(super) fn take_in(ctx: &mut Ctx<'_, '_>, dispatch: Box<Dispatch>, meta: &RecordMeta) {
    let lane = lane_of(meta, dispatch.lane);
    let known = ctx.get(&MESSAGES, &dispatch.message_id);
    let work = Work::of(dispatch, lane);
    match (known, &meta.replay_of) {
        (Some(message), _) if is_later(&work, &message) => {
            give_back::take_again(ctx, message, work);
        }
        (known, Some(mark)) => replay::take(ctx, known, work, mark),
        (Some(_), None) => ctx.count("sendplane_duplicate_dispatches_total", lane.as_str()),
        (None, None) => begin_first(ctx, work),
    }
}

/// Whether policy has decided again since. Ids are not shared: a dispatch of another tenant was
/// altered, and is no decision about this message.
fn is_later(work: &Work, message: &Message) -> bool {
    work.decision_seq() > message.decision_seq && work.dispatch.tenant == message.tenant
}

/// Takes in a message that has no row.
pub(super) fn begin_first(ctx: &mut Ctx<'_, '_>, work: Work) {
    ctx.count("sendplane_messages_taken_in_total", work.lane.as_str());
    let message = Message::new(&work, ctx.trace());
    begin(ctx, message, work);
}

/// Queues the next attempt of `message`, if there may be one.
pub(super) fn begin(ctx: &mut Ctx<'_, '_>, message: Message, work: Work) {
    let now = ctx.now();
    let message_id = work.dispatch.message_id;
    if ctx.globals().number(&message.tenant, &message.phone_number_id).is_none() {
        ending::refuse_number(ctx, message_id, message);
    } else if work.dispatch.valid_until <= now {
        ending::expire(ctx, message_id, message);
    } else {
        inbox::enqueue(ctx, message_id, message, work, now);
    }
}

/// A message is moved down a lane, never up: the slower of what the topic and the record say.
fn lane_of(meta: &RecordMeta, claimed: Lane) -> Lane {
    if meta.topic == topic::DISPATCH_BULK { Lane::Bulk } else { claimed }
}
