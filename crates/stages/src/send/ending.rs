//! How a message ends, and what happens when the time its state waits for has come.

use sendplane_domain::id::MessageId;
use sendplane_domain::provider_code::CodeClass;
use sendplane_wire::record::{Attempt, AttemptEvent, Disposition};

use super::report::{self, Fault};
use super::state::{End, MESSAGES, Message, SETTLED_RETENTION, State, Timer, Work, message_timer};
use super::{Ctx, SendStage, inbox};

/// Settles the message; its content is forgotten, its row stays for late webhooks.
pub(super) fn settled(
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    mut message: Message,
    end: End,
    awaits_answer: bool,
) {
    message.state = State::Settled { end, awaits_answer };
    ctx.put(&MESSAGES, &message_id, &message);
    let at = ctx.now() + SETTLED_RETENTION;
    ctx.schedule(message_timer(message_id), at, &Timer::Message(message_id));
}

/// `valid_until` has passed before a call.
pub(super) fn expire(ctx: &mut Ctx<'_, '_>, message_id: MessageId, message: Message) {
    inbox::take_out(ctx, message_id, &message);
    let attempt = report::attempt_not_made(&message);
    let event = AttemptEvent::Expired;
    ctx.emit(report::attempt(message_id, &message, attempt, event, ctx.now()).into());
    settled(ctx, message_id, message, End::Expired, false);
}

/// Withdrawn before a call. After a re-send was due nobody can say what became of the first call.
pub(super) fn cancel(ctx: &mut Ctx<'_, '_>, message_id: MessageId, message: Message) {
    inbox::take_out(ctx, message_id, &message);
    let attempt = report::attempt_not_made(&message);
    let event = AttemptEvent::Cancelled;
    ctx.emit(report::attempt(message_id, &message, attempt, event, ctx.now()).into());
    let end = if message.resends > 0 { End::Unknown } else { End::Cancelled };
    settled(ctx, message_id, message, end, false);
}

/// The tenant has no such number.
pub(super) fn refuse_number(ctx: &mut Ctx<'_, '_>, message_id: MessageId, message: Message) {
    inbox::take_out(ctx, message_id, &message);
    let attempt = report::attempt_not_made(&message);
    let mut record =
        report::attempt(message_id, &message, attempt, AttemptEvent::Refused, ctx.now());
    record.disposition = Disposition::Reject;
    let text = format!(
        "phone number id {} is not one of tenant {}: correct the tenant's record or the request",
        message.phone_number_id, message.tenant
    );
    let class = Some(CodeClass::PermanentRequest);
    let fault = Fault { class, message: Some(text), ..Fault::default() };
    ctx.emit(report::with_fault(record, fault).into());
    settled(ctx, message_id, message, End::Rejected, false);
}

/// Nobody knows whether the newest attempt was accepted: wait for a webhook.
pub(super) fn doubt(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    mut message: Message,
    work: Work,
    record: Attempt,
) {
    ctx.emit(record.into());
    let until = ctx.now() + stage.settings.doubt_window;
    ctx.schedule(message_timer(message_id), until, &Timer::Message(message_id));
    message.state = State::InDoubt { work, until };
    ctx.put(&MESSAGES, &message_id, &message);
}

/// The message's timer fired: what its state waited for has not come.
pub(super) fn time_is_up(stage: &SendStage, ctx: &mut Ctx<'_, '_>, message_id: MessageId) {
    let Some(message) = ctx.get(&MESSAGES, &message_id) else {
        return;
    };
    ctx.set_trace(message.trace.clone());
    match message.state.clone() {
        State::Waiting { .. } | State::Parked { .. } => expire(ctx, message_id, message),
        State::Submitting { work, .. } => {
            let text = "no answer was recorded in time: the process stopped or was cut off";
            let class = Some(CodeClass::Ambiguous);
            let fault = Fault { class, message: Some(text.into()), ..Fault::default() };
            let event = AttemptEvent::InDoubt;
            let record = report::attempt(message_id, &message, message.attempt, event, ctx.now());
            doubt(stage, ctx, message_id, message, work, report::with_fault(record, fault));
        }
        State::InDoubt { .. } => {
            let event = AttemptEvent::GaveUp;
            ctx.emit(
                report::attempt(message_id, &message, message.attempt, event, ctx.now()).into(),
            );
            settled(ctx, message_id, message, End::Unknown, false);
        }
        State::Settled { .. } => ctx.delete(&MESSAGES, &message_id),
    }
}
