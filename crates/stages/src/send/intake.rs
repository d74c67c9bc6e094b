//! A dispatched message arrives.

use sendplane_domain::lane::Lane;
use sendplane_stage_api::RecordMeta;
use sendplane_wire::record::Dispatch;
use sendplane_wire::topic;

use super::state::{MESSAGES, Message, State, Work};
use super::{Ctx, SendStage, ending, queue};

/// Takes the message in once; a repetition changes nothing.
pub(super) fn take_in(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    dispatch: Box<Dispatch>,
    meta: &RecordMeta,
) {
    let lane = lane_of(meta, dispatch.lane);
    let message_id = dispatch.message_id;
    if ctx.get(&MESSAGES, &message_id).is_some() {
        ctx.count("sendplane_duplicate_dispatches_total", lane.as_str());
        return;
    }
    let now = ctx.now();
    let valid_until = dispatch.valid_until;
    let tenant = dispatch.tenant.clone();
    let phone_number_id = dispatch.phone_number_id.clone();
    let is_known = ctx.globals().number(&tenant, &phone_number_id).is_some();
    let work = Work { dispatch, lane, failures: Default::default() };
    let message = Message {
        tenant,
        phone_number_id,
        trace: ctx.trace().clone(),
        attempt: 0,
        wamids: Vec::new(),
        state: State::Waiting { work: work.clone(), not_before: now },
    };
    if !is_known {
        ending::refuse_number(ctx, message_id, message);
    } else if valid_until <= now {
        ending::expire(ctx, message_id, message);
    } else {
        queue::enqueue(stage, ctx, message_id, message, work, now);
    }
}

/// A message is moved down a lane, never up: the slower of what the topic and the record say.
fn lane_of(meta: &RecordMeta, claimed: Lane) -> Lane {
    if meta.topic == topic::DISPATCH_BULK { Lane::Bulk } else { claimed }
}
