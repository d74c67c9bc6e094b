//! A message goes back to policy, and comes again under a later decision.
//!
//! Only a message of which every attempt was refused or proven unsent is given back (I4): the next
//! decision may call it anew. The report of the end uses up a number: the next attempt has a higher
//! one, because what is said of one number is joined, and "not sent" would outrank its intent.
//!
//! The row stays as [`End::GivenBack`]. A dispatch of a higher decision opens it; one of the same or
//! a lower decision is a repetition. A webhook may turn the row into an accepted one meanwhile: then
//! nothing is called, and the acceptance is said once more under the new decision, so that no reader
//! waits for a send.

use std::collections::BTreeMap;

use sendplane_domain::id::MessageId;
use sendplane_domain::provider_code::CodeClass;
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::{Attempt, AttemptEvent, Dispatch, Disposition, Replan};

use super::state::{End, MESSAGES, Message, State, Work};
use super::{Ctx, Output, ending, inbox, intake, report};

/// Stands for a class where there is none; only a class sends a message back.
const UNNAMED: &str = "refused";

const GIVEN_BACK_TOTAL: &str = "sendplane_given_back_total";
const TAKEN_AGAIN_TOTAL: &str = "sendplane_taken_again_total";

/// Gives back a message that came to its grant.
pub(super) fn before_call(
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    mut message: Message,
    work: Work,
    reason: &'static str,
    template_version: Option<i32>,
) {
    inbox::take_out(ctx, message_id, &message);
    message.attempt = report::attempt_not_made(&message);
    let event = AttemptEvent::NotSent;
    let mut record = report::attempt(message_id, &message, message.attempt, event, ctx.now());
    record.error_message = Some(reason.to_owned());
    give_back(ctx, message_id, message, work, record, (reason, template_version));
}

/// Gives back a message that the provider refused; `record` says so.
pub(super) fn after_answer(
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    message: Message,
    work: Work,
    record: Attempt,
    class: Option<CodeClass>,
) {
    let reason = class.map_or(UNNAMED, CodeClass::as_str);
    give_back(ctx, message_id, message, work, record, (reason, None));
}

fn give_back(
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    message: Message,
    work: Work,
    mut record: Attempt,
    (reason, template_version): (&'static str, Option<i32>),
) {
    // An earlier attempt may have arrived. Another decision could only send it twice.
    if message.resends > 0 {
        ctx.count(GIVEN_BACK_TOTAL, "ended_in_doubt");
        record.disposition = Disposition::Reject;
        ctx.emit(record.into());
        return ending::settled(ctx, message_id, message, End::Unknown, false);
    }
    ctx.count(GIVEN_BACK_TOTAL, reason);
    record.disposition = Disposition::Replan;
    ctx.emit(record.into());
    let replan = replan(work, reason, template_version, ctx.now());
    ctx.emit(Output::Replan(Box::new(replan)));
    ending::settled(ctx, message_id, message, End::GivenBack, false);
}

fn replan(
    work: Work,
    reason: &str,
    template_version: Option<i32>,
    given_back_at: Timestamp,
) -> Replan {
    let variables = variables(&work.dispatch);
    let decision_seq = i32::try_from(work.decision_seq()).unwrap_or(i32::MAX);
    let Work { dispatch, lane, .. } = work;
    Replan {
        message_id: dispatch.message_id,
        tenant: dispatch.tenant,
        decision_seq,
        reason: reason.to_owned(),
        template_version,
        idempotency_key: dispatch.idempotency_key,
        order_id: dispatch.order_id,
        lane,
        recipient: dispatch.recipient,
        contact_hash: dispatch.contact_hash,
        template_name: dispatch.template_name,
        template_language: dispatch.template_language,
        variables,
        campaign: dispatch.campaign,
        phone_number_id: Some(dispatch.phone_number_id),
        created_at: dispatch.created_at,
        admitted_at: dispatch.admitted_at,
        deadline: dispatch.deadline,
        given_back_at,
    }
}

/// Parameters by name, or by position from 1, as the request had them.
fn variables(dispatch: &Dispatch) -> BTreeMap<String, String> {
    let numbered = dispatch.parameters.iter().zip(1_u32..);
    let named = numbered.map(|(parameter, position)| {
        let name = parameter.name.clone().unwrap_or_else(|| position.to_string());
        (name, parameter.value.clone())
    });
    named.collect()
}

/// Takes a dispatch of a later decision than the one the row is under.
pub(super) fn take_again(ctx: &mut Ctx<'_, '_>, mut message: Message, work: Work) {
    ctx.set_trace(message.trace.clone());
    let message_id = work.dispatch.message_id;
    let is_accepted = !message.wamids.is_empty();
    match message.state {
        State::Settled { end: End::GivenBack, .. } if !is_accepted => {
            ctx.count(TAKEN_AGAIN_TOTAL, "reopened");
            message.adopt(&work);
            intake::begin(ctx, message, work);
        }
        State::Settled { end: End::Cancelled, .. } if !is_accepted => {
            ctx.count(TAKEN_AGAIN_TOTAL, "cancelled");
            let number = report::attempt_not_made(&message);
            say_again(ctx, message, &work, number, AttemptEvent::Cancelled);
        }
        State::Settled { .. } if is_accepted => {
            ctx.count(TAKEN_AGAIN_TOTAL, "accepted");
            let number = message.attempt;
            say_again(ctx, message, &work, number, AttemptEvent::Accepted);
        }
        State::Waiting { .. } | State::Parked { .. } => {
            ctx.count(TAKEN_AGAIN_TOTAL, "replaced");
            inbox::take_out(ctx, message_id, &message);
            message.adopt(&work);
            intake::begin(ctx, message, work);
        }
        // Nothing but a message that was given back is decided about again, so this never comes;
        // and if it did, a call may be out.
        State::Submitting { .. } | State::InDoubt { .. } | State::Settled { .. } => {
            ctx.count(TAKEN_AGAIN_TOTAL, "not_given_back");
        }
    }
}

/// What ended the message, under the decision that has come too late for it.
fn say_again(
    ctx: &mut Ctx<'_, '_>,
    mut message: Message,
    work: &Work,
    number: u32,
    event: AttemptEvent,
) {
    let message_id = work.dispatch.message_id;
    message.decision_seq = work.decision_seq();
    let mut record = report::attempt(message_id, &message, number, event, ctx.now());
    if event == AttemptEvent::Accepted {
        record.wamid_hash = message.wamids.last().cloned();
    }
    ctx.emit(record.into());
    ctx.put(&MESSAGES, &message_id, &message);
}
