//! What an outcome row says about the present state.

use super::MessageState;
use super::derive::{Ground, Progress};
use super::evidence::{AttemptEvent, Decision, Disposition, PriceClass, Verdict};
use super::facts::{AttemptFacts, MessageFacts, ProviderMessage};
use crate::id::MessageId;
use crate::limits::INTENT_ANSWER_MAX;
use crate::provider_code::{CodeClass, classify_status};
use crate::time::Timestamp;

/// What an outcome row says about the present state, besides the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary<'a> {
    /// The state.
    pub state: MessageState,
    /// Time of the fact that decided it, by the clock of whoever stated the fact.
    pub occurred_at: Option<Timestamp>,
    /// The attempt it is about.
    pub attempt: Option<u32>,
    /// A stable name: the rule of policy, the class of the error, or one of ours.
    pub reason: Option<&'a str>,
    /// For people.
    pub detail: Option<&'a str>,
    /// The message that has the idempotency key.
    pub duplicate_of: Option<MessageId>,
    /// Meta's code.
    pub error_code: Option<i64>,
    /// Its class.
    pub error_class: Option<CodeClass>,
    /// Arm of the holdout experiment.
    pub holdout_arm: Option<&'a str>,
    /// What Meta charges it as.
    pub price: Option<&'a PriceClass>,
    /// What it waits for.
    pub waits: Waits,
}

/// What a message waits for (I1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The state is final.
    Nothing,
    /// A time that somebody has a timer for.
    Until(Timestamp),
    /// The next step is with somebody.
    On(Holder),
}

/// Who has a message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Policy judges it.
    Policy,
    /// It is in send's inbox.
    Send,
    /// Meta has it; status-reconcile's own timer bounds the wait.
    Provider,
}

impl Summary<'_> {
    /// The time it waits for, if it waits for a time.
    pub fn next_at(&self) -> Option<Timestamp> {
        match self.waits {
            Waits::Until(at) => Some(at),
            Waits::Nothing | Waits::On(_) => None,
        }
    }
}

impl MessageFacts {
    /// The state and what explains it; `None` when [`Self::state`] is.
    pub fn summary(&self) -> Option<Summary<'_>> {
        let state = self.state()?;
        let ground = self.ground();
        let decision = self.standing_decision();
        let mut summary = Summary {
            state,
            occurred_at: self.admitted_at,
            attempt: self.current_attempt(),
            reason: None,
            detail: None,
            duplicate_of: None,
            error_code: None,
            error_class: None,
            holdout_arm: decision.and_then(|decision| decision.holdout_arm.as_deref()),
            price: None,
            waits: waits(state, ground),
        };
        match ground {
            Ground::Admission => {}
            Ground::Decision(decision) => explain_decision(&mut summary, decision),
            Ground::Attempt(number, attempt) => explain_attempt(&mut summary, number, attempt),
            Ground::Provider(_, message) => self.explain_provider(&mut summary, message),
            Ground::Doubt { attempt, since } => {
                summary.occurred_at = since;
                summary.attempt = attempt;
                summary.reason = Some("other_attempt_unproven");
            }
        }
        Some(summary)
    }

    fn explain_provider<'a>(&'a self, summary: &mut Summary<'a>, message: &'a ProviderMessage) {
        summary.attempt = message.attempt.or(summary.attempt);
        summary.price = message.price();
        let attempt = message.attempt.and_then(|number| self.attempts.get(&number));
        let (occurred_at, reason) = match message.progress() {
            Progress::Played => (message.played_at, None),
            Progress::Read => (message.read_at, None),
            Progress::Delivered => (message.delivered_at, None),
            Progress::Sent if self.is_overdue(message) => {
                (message.sent_at, Some("not_delivered_in_time"))
            }
            Progress::Sent => (message.sent_at, None),
            Progress::Accepted if self.is_overdue(message) => {
                (attempt.map(|attempt| attempt.event_at), Some("no_status_in_time"))
            }
            Progress::Accepted => (attempt.map(|attempt| attempt.event_at), None),
            Progress::Failed => {
                let failure = message.failed.as_ref();
                summary.error_code = failure.and_then(|failure| failure.code);
                summary.error_class = summary.error_code.map(|code| classify_status(code).class);
                summary.detail = failure.and_then(|failure| failure.title.as_deref());
                let reason = summary.error_class.map_or("failed_without_code", CodeClass::as_str);
                (failure.map(|failure| failure.at), Some(reason))
            }
        };
        summary.occurred_at = occurred_at;
        summary.reason = reason;
    }
}

fn explain_decision<'a>(summary: &mut Summary<'a>, decision: &'a Decision) {
    summary.occurred_at = Some(decision.decided_at);
    summary.reason = decision.reason.as_deref();
    summary.detail = decision.detail.as_deref();
    if let Verdict::Duplicate { of } = decision.verdict {
        summary.duplicate_of = of;
    }
}

fn explain_attempt(summary: &mut Summary<'_>, number: u32, attempt: &AttemptFacts) {
    summary.occurred_at = Some(attempt.event_at);
    summary.attempt = Some(number);
    summary.reason = match &attempt.event {
        AttemptEvent::NotSent { .. } => Some("not_sent"),
        AttemptEvent::Expired => Some("deadline_passed"),
        AttemptEvent::Cancelled => Some("cancelled"),
        AttemptEvent::InDoubt { .. } => Some("answer_lost"),
        AttemptEvent::GaveUp => Some("no_evidence_in_time"),
        AttemptEvent::Resending { .. } => Some("sent_again_after_silence"),
        AttemptEvent::Refused { code, class, .. } => {
            summary.error_code = Some(*code);
            summary.error_class = Some(*class);
            Some(class.as_str())
        }
        AttemptEvent::Submitting | AttemptEvent::Held { .. } | AttemptEvent::Accepted { .. } => {
            None
        }
    };
}

fn waits(state: MessageState, ground: Ground<'_>) -> Waits {
    if state.is_final() {
        return Waits::Nothing;
    }
    match ground {
        Ground::Admission => Waits::On(Holder::Policy),
        Ground::Decision(decision) => match decision.verdict {
            Verdict::Defer { until } => Waits::Until(until),
            Verdict::Dispatch
            | Verdict::Suppress
            | Verdict::Block
            | Verdict::Refuse
            | Verdict::Duplicate { .. }
            | Verdict::Stale
            | Verdict::Expire
            | Verdict::Cancel => Waits::On(Holder::Send),
        },
        Ground::Attempt(_, attempt) => match &attempt.event {
            AttemptEvent::Submitting => Waits::Until(attempt.started_at + INTENT_ANSWER_MAX),
            AttemptEvent::InDoubt { until } => Waits::Until(*until),
            AttemptEvent::Resending { at } => Waits::Until(*at),
            AttemptEvent::NotSent { disposition } | AttemptEvent::Refused { disposition, .. } => {
                match disposition {
                    Disposition::Retry { at } => Waits::Until(*at),
                    Disposition::Replan => Waits::On(Holder::Policy),
                    Disposition::DeadLetter | Disposition::Reject => Waits::On(Holder::Send),
                }
            }
            AttemptEvent::Expired
            | AttemptEvent::Cancelled
            | AttemptEvent::GaveUp
            | AttemptEvent::Held { .. }
            | AttemptEvent::Accepted { .. } => Waits::On(Holder::Provider),
        },
        Ground::Provider(_, _) => Waits::On(Holder::Provider),
        Ground::Doubt { .. } => Waits::Nothing,
    }
}
