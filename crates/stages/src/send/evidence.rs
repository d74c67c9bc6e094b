//! A webhook spoke about a message: whatever it says, Meta had accepted that attempt. What it says
//! about others, about its number and template and tenant, is for [`health`].

use sendplane_domain::id::KeyedHash;
use sendplane_wire::record::{AttemptEvent, Feedback};

use super::state::{End, MESSAGES, Message, State};
use super::{Ctx, ending, health, inbox, opt_out, report, silence};

/// Settles what the webhook proves.
///
/// An attempt before the newest one may be meant: then no further call is made, and a call that is
/// out still gets its answer, which may show a duplicate.
pub(super) fn hear(ctx: &mut Ctx<'_, '_>, feedback: &Feedback) {
    let message_id = feedback.message_id;
    let known = ctx.get(&MESSAGES, &message_id);
    silence::witness(ctx, feedback, known.as_ref());
    let Some(mut message) = known else {
        ctx.count("sendplane_feedback_unmatched_total", "unknown_message");
        return;
    };
    ctx.set_trace(message.trace.clone());
    health::hear(ctx, &message, feedback);
    if opt_out::is_said_by(feedback) && opt_out::publish(ctx, &mut message, feedback.occurred_at) {
        ctx.put(&MESSAGES, &message_id, &message);
    }
    if !hear_of(ctx, &mut message, &feedback.wamid_hash) {
        return;
    }
    let attempt = u32::try_from(feedback.attempt).unwrap_or(0);
    let event = AttemptEvent::Accepted;
    let mut record = report::attempt(message_id, &message, attempt, event, ctx.now());
    record.wamid_hash = Some(feedback.wamid_hash.clone());
    ctx.emit(record.into());
    let is_newest = attempt == message.attempt;
    match message.state.clone() {
        State::Waiting { .. } | State::Parked { .. } => {
            inbox::take_out(ctx, message_id, &message);
            ending::settled(ctx, message_id, message, End::Accepted, false);
        }
        State::Submitting { .. } | State::InDoubt { .. } if is_newest => {
            ending::settled(ctx, message_id, message, End::Accepted, true);
        }
        State::Submitting { .. } | State::InDoubt { .. } => {
            ctx.put(&MESSAGES, &message_id, &message);
        }
        State::Settled { awaits_answer, .. } => {
            ending::settled(ctx, message_id, message, End::Accepted, awaits_answer);
        }
    }
}

/// Remembers a wamid and counts a second one of the same message: a duplicate at the customer (I5).
/// False if it was known.
pub(super) fn hear_of(
    ctx: &mut Ctx<'_, '_>,
    message: &mut Message,
    wamid_hash: &KeyedHash,
) -> bool {
    let is_new = message.hear_of(wamid_hash);
    if is_new && message.wamids.len() > 1 {
        ctx.count("sendplane_duplicate_sends_detected_total", "second_wamid");
    }
    is_new
}
