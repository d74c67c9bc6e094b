//! Promises about one message as named predicates, for tests, the simulator and production.
//!
//! They look at the facts themselves, not at how the state was derived. Those in [`CHECKS`] hold at
//! every moment; [`resend_has_cause`] holds once every attempt's records have been read.

use super::MessageState;
use super::evidence::{AttemptEvent, Evidence};
use super::facts::{MessageFacts, ProviderMessage};
use super::summary::Waits;
use crate::lane::Category;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promise} is broken, {predicate}: {detail}")]
pub struct Violation {
    /// The promise's id, such as `I1`.
    pub promise: &'static str,
    /// The predicate that found it.
    pub predicate: &'static str,
    /// What was found.
    pub detail: String,
}

/// A predicate over one message.
pub type Check = fn(&MessageFacts) -> Result<(), Violation>;

/// The predicates that hold at every moment.
pub const CHECKS: [Check; 4] = [
    exactly_one_state,
    final_waits_for_nothing_or_names_time,
    delivered_beats_failed,
    undelivered_ends_are_proven,
];

/// I1: a message with an owner has a state, one without has none, and only a message that nothing
/// else is known of is refused, duplicate or stale.
pub fn exactly_one_state(facts: &MessageFacts) -> Result<(), Violation> {
    let fault = |detail| violation("I1", "exactly_one_state", detail);
    let state = facts.state();
    if facts.subject().is_some() != state.is_some() {
        return fault(format!("subject {:?}, state {state:?}", facts.subject()));
    }
    if facts.summary().map(|summary| summary.state) != state {
        return fault(format!("the summary differs from {state:?}"));
    }
    let was_never_admitted = state.is_some_and(|state| {
        matches!(state, MessageState::Refused | MessageState::Duplicate | MessageState::Stale)
    });
    let lives = facts.admitted_at().is_some() || facts.current_attempt().is_some();
    if was_never_admitted && lives {
        return fault(format!("{state:?}, but it was admitted or attempted"));
    }
    Ok(())
}

/// I1: a final state waits for nothing; any other names a time or who has it in hand, and those
/// that are nothing but a wait name a time.
pub fn final_waits_for_nothing_or_names_time(facts: &MessageFacts) -> Result<(), Violation> {
    let Some(summary) = facts.summary() else {
        return Ok(());
    };
    let must_name_a_time = matches!(
        summary.state,
        MessageState::Deferred | MessageState::InDoubt | MessageState::Submitting
    );
    let holds = match summary.waits {
        Waits::Nothing => summary.state.is_final(),
        Waits::Until(_) => !summary.state.is_final(),
        Waits::On(_) => !summary.state.is_final() && !must_name_a_time,
    };
    if holds {
        return Ok(());
    }
    let detail = format!("{:?} waits for {:?}", summary.state, summary.waits);
    violation("I1", "final_waits_for_nothing_or_names_time", detail)
}

/// I10: the message is delivered exactly when some status says so, whatever else failed.
pub fn delivered_beats_failed(facts: &MessageFacts) -> Result<(), Violation> {
    let is_delivered = |message: &ProviderMessage| {
        message.delivered_at.is_some() || message.read_at.is_some() || message.played_at.is_some()
    };
    let said = facts.subject().is_some() && facts.provider_messages().values().any(is_delivered);
    let state = facts.state();
    let shown =
        matches!(state, Some(MessageState::Delivered | MessageState::Read | MessageState::Played));
    if said == shown {
        return Ok(());
    }
    let detail = format!("state {state:?}, delivery known: {said}");
    violation("I10", "delivered_beats_failed", detail)
}

/// I5: nobody is told "it did not arrive" while a call may have arrived. Each wamid failed, or was
/// sent and outlived Meta's time to live; each attempt is proven unsent, refused or ended so.
pub fn undelivered_ends_are_proven(facts: &MessageFacts) -> Result<(), Violation> {
    let state = facts.state();
    let claims_undelivered = matches!(
        state,
        Some(
            MessageState::Failed
                | MessageState::Suppressed
                | MessageState::Blocked
                | MessageState::Expired
                | MessageState::Cancelled
                | MessageState::Rejected
                | MessageState::DeadLettered
        )
    );
    if !claims_undelivered {
        return Ok(());
    }
    let fault = |detail| violation("I5", "undelivered_ends_are_proven", detail);
    let current = facts.current_attempt();
    let passed = facts.status_deadline_attempt;
    for (wamid_hash, message) in facts.provider_messages() {
        let is_overdue = message.attempt.or(current).unwrap_or(0) <= passed.unwrap_or(0);
        let was_dropped = message.sent_at.is_some() && passed.is_some() && is_overdue;
        if message.failed.is_none() && !was_dropped {
            return fault(format!("{state:?}, but {wamid_hash:?} is alive"));
        }
    }
    for (number, attempt) in facts.attempts() {
        let has_ended = facts
            .provider_messages()
            .values()
            .any(|message| message.attempt.or(current) == Some(*number));
        if attempt.event.is_unresolved() && !has_ended {
            return fault(format!("{state:?}, but attempt {number} is {:?}", attempt.event));
        }
    }
    Ok(())
}

/// I4: every attempt but the last was proven unsent, refused or failed; or it was in doubt and the
/// message is a utility, which may be sent once more.
///
/// Holds once every attempt's records have been read, and for an attempt that a late webhook proved
/// accepted, it still asks what send knew: the event, not the wamid.
pub fn resend_has_cause(facts: &MessageFacts) -> Result<(), Violation> {
    let category = facts.subject().and_then(|subject| subject.category);
    let mut doubts_left = match category {
        Some(Category::Utility) => 1,
        Some(Category::Service | Category::Authentication | Category::Marketing) | None => 0,
    };
    let last = facts.current_attempt();
    for (number, attempt) in facts.attempts() {
        if Some(*number) == last {
            continue;
        }
        let has_failed = facts
            .provider_messages()
            .values()
            .any(|message| message.attempt == Some(*number) && message.failed.is_some());
        let has_cause = match &attempt.event {
            AttemptEvent::NotSent { .. }
            | AttemptEvent::Expired
            | AttemptEvent::Cancelled
            | AttemptEvent::Refused { .. } => true,
            AttemptEvent::InDoubt { .. }
            | AttemptEvent::GaveUp
            | AttemptEvent::Resending { .. } => {
                let is_allowed = has_failed || doubts_left > 0;
                doubts_left -= i32::from(!has_failed);
                is_allowed
            }
            AttemptEvent::Submitting
            | AttemptEvent::Held { .. }
            | AttemptEvent::Accepted { .. } => has_failed,
        };
        if !has_cause {
            let detail = format!("attempt {number} of {category:?} was {:?}", attempt.event);
            return violation("I4", "resend_has_cause", detail);
        }
    }
    Ok(())
}

/// I10: two runs over the same evidence, in other orders and repetitions, end in the same facts.
pub fn converges(left: &[Evidence], right: &[Evidence]) -> Result<(), Violation> {
    let fold = |evidence: &[Evidence]| {
        let mut facts = MessageFacts::default();
        evidence.iter().for_each(|one| facts.join(one));
        facts
    };
    let (left, right) = (fold(left), fold(right));
    if left == right && left.summary() == right.summary() {
        return Ok(());
    }
    violation("I10", "converges", format!("{left:?} and {right:?}"))
}

fn violation(
    promise: &'static str,
    predicate: &'static str,
    detail: String,
) -> Result<(), Violation> {
    Err(Violation { promise, predicate, detail })
}
