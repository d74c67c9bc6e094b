//! Somebody withdraws a message.
//!
//! | the message | answer | and then |
//! |---|---|---|
//! | waits or is parked | cancelled | ends here |
//! | waits for a re-send after doubt | too late | ends as unknown: the first call may have come |
//! | is called, in doubt | too late | is remembered: no further call |
//! | has ended | too late, with the end | is remembered: a replay makes no call |
//! | is with policy, or not dispatched yet | cancelled | is remembered: its dispatch ends at once |
//! | was cancelled | cancelled | |
//! | is another tenant's, or too old to be known | not found | |
//!
//! Cancellations are read before work, and grants are decided after both: once a cancellation is
//! committed, no intent of its message follows. What is remembered is asked at the one way into the
//! queue ([`super::inbox::enqueue`]), never at the grant.

use std::time::Duration;

use sendplane_domain::id::{MessageId, TenantId};
use sendplane_domain::lifecycle::MessageState;
use sendplane_domain::limits::CLOCK_SKEW_MAX;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Table, TimerKey};
use sendplane_wire::record::{CancelAnswer, CancelResult, Cancellation};
use sendplane_wire::topic;

use super::state::{End, MESSAGES, Marker, Message, SETTLED_RETENTION, State, Timer};
use super::{Ctx, Output, ending};

/// Messages that are not to be called, known here or not.
const WITHDRAWN: Table<(TenantId, MessageId), Marker> = Table::new(0x0140, "withdrawn");

/// How long a dispatch may still come: as long as its topic keeps it, and a day for the reader.
pub(super) const WITHDRAWN_RETENTION: Duration =
    Duration::from_secs(topic::WORK_RETENTION.as_secs() + 24 * 3600);

const TIMER_KIND: u8 = 0x14;

/// What a cancel comes to.
struct Finding {
    result: CancelResult,
    state: Option<&'static str>,
    detail: &'static str,
    /// What to do beside answering.
    then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Remember,
    End,
}

/// Takes note.
pub(super) fn take(ctx: &mut Ctx<'_, '_>, cancel: Cancellation) {
    let message_id = cancel.message_id;
    let message = ctx.get(&MESSAGES, &message_id);
    let found = finding(message.as_ref(), &cancel, ctx.now());
    ctx.count("sendplane_cancels_total", label(found.result));
    ctx.emit(Output::CancelAnswer(Box::new(CancelAnswer {
        cancel_id: cancel.cancel_id,
        tenant: cancel.tenant.clone(),
        message_id: Some(message_id),
        result: found.result,
        state: found.state.map(str::to_owned),
        detail: Some(found.detail.to_owned()),
        answered_at: ctx.now(),
        messages: cancel.messages,
    })));
    match (found.then, message) {
        (Then::Remember, _) => remember(ctx, cancel.tenant, message_id),
        (Then::End, Some(message)) => {
            ctx.set_trace(message.trace.clone());
            ending::cancel(ctx, message_id, message);
        }
        (Then::End, None) | (Then::Nothing, _) => {}
    }
}

/// Whether the message is not to be called any more.
pub(super) fn is_withdrawn(
    ctx: &mut Ctx<'_, '_>,
    tenant: &TenantId,
    message_id: MessageId,
) -> bool {
    ctx.get(&WITHDRAWN, &(tenant.clone(), message_id)).is_some()
}

/// No dispatch of the message can come any more.
pub(super) fn forget(ctx: &mut Ctx<'_, '_>, tenant: TenantId, message_id: MessageId) {
    ctx.delete(&WITHDRAWN, &(tenant, message_id));
}

fn remember(ctx: &mut Ctx<'_, '_>, tenant: TenantId, message_id: MessageId) {
    let key = (tenant.clone(), message_id);
    if ctx.get(&WITHDRAWN, &key).is_some() {
        return;
    }
    ctx.put(&WITHDRAWN, &key, &Marker);
    let at = ctx.now() + WITHDRAWN_RETENTION;
    let timer = Timer::Withdrawn(tenant, message_id);
    ctx.schedule(TimerKey::new(TIMER_KIND, &key), at, &timer);
}

fn finding(message: Option<&Message>, cancel: &Cancellation, now: Timestamp) -> Finding {
    let Some(message) = message else { return unknown(cancel, now) };
    if message.tenant != cancel.tenant {
        let detail = "the tenant has no such message; check message_id";
        return Finding::not_found(detail);
    }
    match &message.state {
        // Its first call is in doubt for ever, whatever is cancelled now.
        State::Waiting { .. } | State::Parked { .. } if message.resends > 0 => Finding {
            then: Then::End,
            ..Finding::too_late(
                MessageState::OutcomeUnknown,
                "an earlier call may have been accepted; no further one is made",
            )
        },
        State::Waiting { .. } | State::Parked { .. } => Finding {
            then: Then::End,
            ..Finding::cancelled(Some(MessageState::Cancelled), "withdrawn; it is not called")
        },
        State::Submitting { .. } => Finding::too_late(
            MessageState::Submitting,
            "a call is being made; should it prove refused or unsent, no other one follows",
        ),
        State::InDoubt { .. } => Finding::too_late(
            MessageState::InDoubt,
            "a call was made and nobody knows whether it was accepted; no other one follows",
        ),
        State::Settled { .. } if !message.wamids.is_empty() => {
            Finding::too_late(MessageState::Accepted, "Meta has accepted it")
        }
        State::Settled { end, .. } => ended(*end),
    }
}

fn ended(end: End) -> Finding {
    let late = Finding::too_late;
    match end {
        End::Accepted => late(MessageState::Accepted, "Meta has accepted it"),
        End::Rejected => late(MessageState::Rejected, "it has ended; it is not called again"),
        End::DeadLettered => late(
            MessageState::DeadLettered,
            "its retries are used up; a replay of its dead letter is not called either",
        ),
        End::Expired => late(MessageState::Expired, "its time has passed; it is not called"),
        End::Unknown => late(
            MessageState::OutcomeUnknown,
            "a call was made and nobody knows whether it was accepted; no other one follows",
        ),
        End::Cancelled => Finding {
            then: Then::Nothing,
            ..Finding::cancelled(Some(MessageState::Cancelled), "withdrawn before; not called")
        },
        End::GivenBack => Finding::cancelled(
            None,
            "policy decides about it once more; whatever it decides, it is not called",
        ),
    }
}

/// No row: it has not come yet, it never will, or its row is gone.
fn unknown(cancel: &Cancellation, now: Timestamp) -> Finding {
    if now.since(cancel.message_id.created_at()) + CLOCK_SKEW_MAX >= SETTLED_RETENTION {
        return Finding::not_found(
            "no such message, or it ended 8 days ago or more and is forgotten; look at \
             `sendplane message show`",
        );
    }
    Finding::cancelled(
        None,
        "it is not dispatched yet, or was refused or suppressed before; should it be dispatched, \
         it is not called",
    )
}

impl Finding {
    fn cancelled(state: Option<MessageState>, detail: &'static str) -> Self {
        let state = state.map(MessageState::as_str);
        Self { result: CancelResult::Cancelled, state, detail, then: Then::Remember }
    }

    fn too_late(state: MessageState, detail: &'static str) -> Self {
        let state = Some(state.as_str());
        Self { result: CancelResult::TooLate, state, detail, then: Then::Remember }
    }

    fn not_found(detail: &'static str) -> Self {
        Self { result: CancelResult::NotFound, state: None, detail, then: Then::Nothing }
    }
}

fn label(result: CancelResult) -> &'static str {
    match result {
        CancelResult::Unknown => "unknown",
        CancelResult::Cancelled => "cancelled",
        CancelResult::TooLate => "too_late",
        CancelResult::NotFound => "not_found",
        CancelResult::Invalid => "invalid",
    }
}
