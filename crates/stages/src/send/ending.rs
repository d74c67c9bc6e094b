//! How a message ends, and what happens when the time its state waits for has come.

use std::time::Duration;

use sendplane_domain::id::MessageId;
use sendplane_domain::provider_code::CodeClass;
use sendplane_wire::record::{Attempt, AttemptEvent, Disposition};

use super::report::{self, Fault};
use super::silence;
use super::state::{
    Doubt, End, MESSAGES, Message, SETTLED_RETENTION, State, Timer, Work, message_timer,
};
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

/// Nobody knows whether the newest attempt was accepted: wait for a webhook; where silence may be
/// evidence, longer, so that what proves it has time to come.
pub(super) fn doubt(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    mut message: Message,
    work: Work,
    mut record: Attempt,
) {
    let may_resend = stage.settings.resend_after_silence
        && silence::may_resend(&message, &work.dispatch, ctx.now());
    let window_end = ctx.now() + stage.settings.doubt_window;
    let until = if may_resend { window_end + slack(stage) } else { window_end };
    let is_looked_at_again = may_resend && silence::is_looked_at_again(stage);
    let latest = if is_looked_at_again { silence::end(&message, &work.dispatch) } else { until };
    record.doubt_until = Some(latest.max(until));
    ctx.emit(record.into());
    ctx.schedule(message_timer(message_id), until, &Timer::Message(message_id));
    let doubt = Doubt { window_end, heard_at: None };
    message.state = State::InDoubt { work, until, doubt };
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
        State::InDoubt { work, doubt, .. } => {
            end_doubt(stage, ctx, message_id, message, work, doubt);
        }
        State::Settled { .. } => ctx.delete(&MESSAGES, &message_id),
    }
}

/// No webhook came in time. Where that proves something, the message is sent once more; where it may
/// still come to prove something, it is looked at again; else nobody will ever know, unless one comes
/// still.
fn end_doubt(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    mut message: Message,
    work: Work,
    mut doubt: Doubt,
) {
    let now = ctx.now();
    let is_allowed =
        stage.settings.resend_after_silence && silence::may_resend(&message, &work.dispatch, now);
    let proof = is_allowed.then(|| silence::proof(ctx, &message, &mut doubt, slack(stage)));
    if let Some(Err(missing)) = proof
        && silence::is_looked_at_again(stage)
        && let Some(until) = silence::next_look(&message, &work.dispatch, doubt, missing, now)
    {
        ctx.count("sendplane_doubts_looked_at_again_total", missing.label());
        ctx.schedule(message_timer(message_id), until, &Timer::Message(message_id));
        message.state = State::InDoubt { work, until, doubt };
        return ctx.put(&MESSAGES, &message_id, &message);
    }
    let is_resent = proof == Some(Ok(()));
    let ended = match proof {
        None => "not_allowed",
        Some(Ok(())) => "silence_resent",
        Some(Err(missing)) => missing.label(),
    };
    ctx.count("sendplane_doubts_ended_total", ended);
    let event = AttemptEvent::GaveUp;
    let mut record = report::attempt(message_id, &message, message.attempt, event, now);
    if !is_resent {
        ctx.emit(record.into());
        return settled(ctx, message_id, message, End::Unknown, false);
    }
    record.disposition = Disposition::Retry;
    record.retry_at = Some(now);
    ctx.emit(record.into());
    message.resends += 1;
    inbox::enqueue(ctx, message_id, message, work, now);
}

/// How long after the window a doubt is judged first.
fn slack(stage: &SendStage) -> Duration {
    silence::SLACK.min(stage.settings.doubt_window)
}
