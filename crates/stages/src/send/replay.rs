//! A dispatch comes from the dead letters once more.
//!
//! The row decides, never the record: the message is called again only if the row says that it was
//! given up or rejected and never sent again after a doubt: then every attempt was refused or
//! proven unsent (I4).
//! Then it goes on as its next attempt, with new retries and the old `valid_until`.
//!
//! | row | replay |
//! |---|---|
//! | given up, rejected | goes on as the next attempt; expires when `valid_until` is over |
//! | waiting, submitting, in doubt, accepted, expired, unknown | ignored and counted |
//! | given back to policy, or under a later decision than the letter | ignored and counted |
//! | none, and the letter was never taken in | taken in like any dispatch |
//! | none, and there was one or may have been | dead letter `replay_forgotten` |
//!
//! A letter that send wrote itself names no position, so it had a row. One that could not be read
//! had none; but it may have been replayed before, and then the row lives [`SETTLED_RETENTION`]
//! after the end of a message that was dispatched before it was taken in. Within that time a
//! missing row proves that nothing was ever called.

use sendplane_domain::id::MessageId;
use sendplane_domain::limits::{CLOCK_SKEW_MAX, DEADLINE_MAX};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::Replay;
use sendplane_wire::record::Dispatch;

use super::state::{End, Message, SETTLED_RETENTION, State, Work};
use super::{Ctx, intake};

const REPLAYS_TOTAL: &str = "sendplane_dispatch_replays_total";

const _: () = assert!(
    SETTLED_RETENTION.as_secs() > DEADLINE_MAX.as_secs() + CLOCK_SKEW_MAX.as_secs(),
    "a message is over before its row can be gone"
);

/// Takes a replayed dispatch; `known` is the row of its message.
pub(super) fn take(ctx: &mut Ctx<'_, '_>, known: Option<Message>, work: Work, replay: &Replay) {
    match known {
        Some(message) => reopen(ctx, message, work),
        None if may_be_forgotten(replay, &work.dispatch, ctx.now()) => {
            ctx.count(REPLAYS_TOTAL, "forgotten");
            ctx.dead_letter("replay_forgotten", forgotten(work.dispatch.message_id));
        }
        None => {
            ctx.count(REPLAYS_TOTAL, "taken_in");
            intake::begin_first(ctx, work);
        }
    }
}

/// Whether a row may have been there and be gone.
fn may_be_forgotten(replay: &Replay, dispatch: &Dispatch, now: Timestamp) -> bool {
    replay.source.is_none()
        || now.since(dispatch.dispatched_at) + CLOCK_SKEW_MAX >= SETTLED_RETENTION
}

fn forgotten(message_id: MessageId) -> String {
    let days = SETTLED_RETENTION.as_secs() / (24 * 3600);
    format!(
        "send has forgotten message {message_id}, as it does {days} days after a message's end, \
         and cannot tell whether it was sent: nothing was called; look at `sendplane message show \
         {message_id}`, and if it is still wanted, have a new request made under a new key"
    )
}

fn reopen(ctx: &mut Ctx<'_, '_>, mut message: Message, work: Work) {
    ctx.set_trace(message.trace.clone());
    if message.tenant != work.dispatch.tenant {
        ctx.count(REPLAYS_TOTAL, "mismatch");
        let detail = format!(
            "message {} is of another tenant: the dead letter was altered; nothing was called",
            work.dispatch.message_id
        );
        return ctx.dead_letter("replay_mismatch", detail);
    }
    let found = standing(&message, &work);
    ctx.count(REPLAYS_TOTAL, found);
    if found == REOPENED {
        message.phone_number_id = work.dispatch.phone_number_id.clone();
        intake::begin(ctx, message, work);
    }
}

const REOPENED: &str = "reopened";

/// [`REOPENED`] for a message that may be called again, else why it may not.
fn standing(message: &Message, work: &Work) -> &'static str {
    // What the letter holds was decided on facts that policy has found to be others.
    if work.decision_seq() < message.decision_seq {
        return "superseded";
    }
    match &message.state {
        State::Waiting { .. } | State::Parked { .. } => "waiting",
        State::Submitting { .. } => "submitting",
        State::InDoubt { .. } => "in_doubt",
        // A webhook turns any end into `Accepted`; the check costs nothing and stands alone.
        State::Settled { .. } if !message.wamids.is_empty() => "accepted",
        // The attempt before the re-send may have come, however the re-send ended.
        State::Settled { .. } if message.resends > 0 => "unknown",
        State::Settled { end, .. } => match end {
            End::DeadLettered | End::Rejected => REOPENED,
            End::Accepted => "accepted",
            End::Expired => "expired",
            End::Unknown => "unknown",
            End::Cancelled => "cancelled",
            End::GivenBack => "given_back",
        },
    }
}
