//! Reading the state off the facts.
//!
//! One fact decides, the [`Ground`]; state and summary are two views of it. In this order:
//!
//! 1. A delivery of any wamid: played, read, delivered. It beats `failed`, because one device has
//!    the message even if another refused it.
//! 2. A wamid that is alive, neither failed nor past its time for statuses: sent, accepted or held.
//!    It beats everything that follows, also a `failed` of another wamid, because this one may
//!    still arrive. A webhook alone proves it.
//! 3. How the current attempt stands, while that is not proven: submitting, in doubt, given up, or
//!    accepted without any status in time. No decision talks it away.
//! 4. A decision newer than the one the current attempt was made under: policy moved on after an
//!    attempt that reached nobody.
//! 5. How the current attempt ended: failed, dropped at the end of its time, refused, expired. So a
//!    `failed` stands until an attempt or a decision is beyond it, and a late `sent` of a failed
//!    wamid revives nothing.
//! 6. Without attempts: the decision, else the admission.
//!
//! An end without delivery (4 to 6) is `outcome_unknown` while any other attempt may have reached
//! the recipient: a re-send that was refused does not prove that the first call was lost.

use super::MessageState;
use super::evidence::{AttemptEvent, Decision, Disposition, Verdict};
use super::facts::{AttemptFacts, MessageFacts, ProviderMessage};
use crate::id::KeyedHash;
use crate::time::Timestamp;

/// The fact that decides.
#[derive(Clone, Copy)]
pub(super) enum Ground<'a> {
    Admission,
    Decision(&'a Decision),
    Attempt(u32, &'a AttemptFacts),
    Provider(&'a KeyedHash, &'a ProviderMessage),
    /// An end without delivery, made doubtful by another attempt.
    Doubt {
        attempt: Option<u32>,
        since: Option<Timestamp>,
    },
}

/// How far one wamid came, its own statuses joined. `failed` beats `sent` and loses to delivery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    Failed,
    Accepted,
    Sent,
    Delivered,
    Read,
    Played,
}

impl MessageFacts {
    /// The state, or `None` while nobody has said whose message it is: statuses and attempts that
    /// came first are parked until the admission or a decision is known.
    pub fn state(&self) -> Option<MessageState> {
        self.subject.as_ref()?;
        Some(self.state_of(self.ground()))
    }

    pub(super) fn ground(&self) -> Ground<'_> {
        let alive =
            self.provider_messages.iter().filter(|(_, message)| self.is_alive(message)).max_by_key(
                |(wamid_hash, message)| (message.progress(), message.attempt, *wamid_hash),
            );
        if let Some((wamid_hash, message)) = alive {
            return Ground::Provider(wamid_hash, message);
        }
        let end = self.ground_without_life();
        if ends_without_delivery(self.state_of(end)) { self.doubt().unwrap_or(end) } else { end }
    }

    /// Steps 3 to 6: no wamid is alive.
    fn ground_without_life(&self) -> Ground<'_> {
        let current = self.current_attempt();
        let attempt = current.and_then(|number| Some((number, self.attempts.get(&number)?)));
        let end = match (self.ended_message_of(current), attempt) {
            (Some((wamid_hash, message)), _) => Ground::Provider(wamid_hash, message),
            (None, Some((number, attempt))) => Ground::Attempt(number, attempt),
            (None, None) => {
                return self.standing_decision().map_or(Ground::Admission, Ground::Decision);
            }
        };
        if is_unproven(self.state_of(end)) {
            return end;
        }
        // A failure known before its attempt's record: which dispatch it was made under is not
        // known yet, so no decision is known to be newer.
        let made_under = attempt.map(|(_, attempt)| attempt.decision_seq);
        match self.standing_decision() {
            Some(decision) if made_under.is_some_and(|seq| seq < decision.seq) => {
                Ground::Decision(decision)
            }
            Some(_) | None => end,
        }
    }

    pub(super) fn state_of(&self, ground: Ground<'_>) -> MessageState {
        match ground {
            Ground::Admission => MessageState::Queued,
            Ground::Decision(decision) => match decision.verdict {
                Verdict::Dispatch => MessageState::Dispatched,
                Verdict::Defer { .. } => MessageState::Deferred,
                Verdict::Suppress => MessageState::Suppressed,
                Verdict::Block => MessageState::Blocked,
                Verdict::Refuse => MessageState::Refused,
                Verdict::Duplicate { .. } => MessageState::Duplicate,
                Verdict::Stale => MessageState::Stale,
                Verdict::Expire => MessageState::Expired,
                Verdict::Cancel => MessageState::Cancelled,
            },
            Ground::Attempt(_, attempt) => match &attempt.event {
                AttemptEvent::Submitting => MessageState::Submitting,
                AttemptEvent::NotSent { disposition }
                | AttemptEvent::Refused { disposition, .. } => match disposition {
                    Disposition::Retry { .. } | Disposition::Replan => MessageState::Dispatched,
                    Disposition::DeadLetter => MessageState::DeadLettered,
                    Disposition::Reject => MessageState::Rejected,
                },
                AttemptEvent::Expired => MessageState::Expired,
                AttemptEvent::Cancelled => MessageState::Cancelled,
                AttemptEvent::InDoubt { .. } => MessageState::InDoubt,
                AttemptEvent::GaveUp => MessageState::OutcomeUnknown,
                AttemptEvent::Resending { .. } => MessageState::Dispatched,
                AttemptEvent::Held { .. } => MessageState::Held,
                AttemptEvent::Accepted { .. } => MessageState::Accepted,
            },
            Ground::Provider(wamid_hash, message) => match message.progress() {
                Progress::Played => MessageState::Played,
                Progress::Read => MessageState::Read,
                Progress::Delivered => MessageState::Delivered,
                Progress::Failed => MessageState::Failed,
                // Meta: not delivered within the time to live means dropped, without a webhook.
                Progress::Sent if self.is_overdue(message) => MessageState::Expired,
                Progress::Sent => MessageState::Sent,
                // Not even `sent`: then the webhooks may be what is missing.
                Progress::Accepted if self.is_overdue(message) => MessageState::OutcomeUnknown,
                Progress::Accepted if self.is_held(wamid_hash) => MessageState::Held,
                Progress::Accepted => MessageState::Accepted,
            },
            Ground::Doubt { .. } => MessageState::OutcomeUnknown,
        }
    }

    /// The decision that counts: a refusal is void once anything shows that the message lives.
    pub(super) fn standing_decision(&self) -> Option<&Decision> {
        let lives = self.admitted_at.is_some()
            || !self.attempts.is_empty()
            || !self.provider_messages.is_empty();
        self.decision.as_ref().filter(|decision| !(lives && decision.verdict.is_refusal()))
    }

    /// How the current attempt ended at the provider. A wamid whose attempt is unknown counts as
    /// the current attempt's: believing it is right until something is known to be beyond it.
    fn ended_message_of(&self, current: Option<u32>) -> Option<(&KeyedHash, &ProviderMessage)> {
        self.provider_messages
            .iter()
            .filter(|(_, message)| message.attempt.is_none() || message.attempt == current)
            .max_by_key(|(wamid_hash, message)| (message.progress(), message.attempt, *wamid_hash))
    }

    /// Another attempt that may have reached the recipient unseen: accepted without a status in its
    /// time, or called without a known answer.
    fn doubt(&self) -> Option<Ground<'_>> {
        let silent = self
            .provider_messages
            .values()
            .find(|message| message.progress() == Progress::Accepted && self.is_overdue(message));
        if let Some(message) = silent {
            let attempt = message.attempt.and_then(|number| self.attempts.get(&number));
            let since = attempt.map(|attempt| attempt.event_at);
            return Some(Ground::Doubt { attempt: message.attempt, since });
        }
        let current = self.current_attempt();
        let is_answered = |number| {
            self.provider_messages
                .values()
                .any(|message| message.attempt.or(current) == Some(number))
        };
        self.attempts
            .iter()
            .rev()
            .find(|(number, attempt)| attempt.event.is_unresolved() && !is_answered(**number))
            .map(|(number, attempt)| Ground::Doubt {
                attempt: Some(*number),
                since: Some(attempt.event_at),
            })
    }

    fn is_alive(&self, message: &ProviderMessage) -> bool {
        match message.progress() {
            Progress::Delivered | Progress::Read | Progress::Played => true,
            Progress::Accepted | Progress::Sent => !self.is_overdue(message),
            Progress::Failed => false,
        }
    }

    pub(super) fn is_overdue(&self, message: &ProviderMessage) -> bool {
        let attempt = message.attempt.or(self.current_attempt()).unwrap_or(0);
        self.status_deadline_attempt.is_some_and(|passed| attempt <= passed)
    }

    fn is_held(&self, wamid_hash: &KeyedHash) -> bool {
        let is_hold = |event: &AttemptEvent| match event {
            AttemptEvent::Held { wamid_hash: held } => held == wamid_hash,
            AttemptEvent::Submitting
            | AttemptEvent::NotSent { .. }
            | AttemptEvent::Expired
            | AttemptEvent::Cancelled
            | AttemptEvent::InDoubt { .. }
            | AttemptEvent::GaveUp
            | AttemptEvent::Resending { .. }
            | AttemptEvent::Refused { .. }
            | AttemptEvent::Accepted { .. } => false,
        };
        self.attempts.values().any(|attempt| is_hold(&attempt.event))
    }
}

impl ProviderMessage {
    pub(super) fn progress(&self) -> Progress {
        if self.played_at.is_some() {
            Progress::Played
        } else if self.read_at.is_some() {
            Progress::Read
        } else if self.delivered_at.is_some() {
            Progress::Delivered
        } else if self.failed.is_some() {
            Progress::Failed
        } else if self.sent_at.is_some() {
            Progress::Sent
        } else {
            Progress::Accepted
        }
    }
}

/// Whether the state leaves open what reached the recipient, by the current attempt's own account.
fn is_unproven(state: MessageState) -> bool {
    matches!(state, MessageState::Submitting | MessageState::InDoubt | MessageState::OutcomeUnknown)
}

/// Whether the state claims that the recipient did not get the message.
fn ends_without_delivery(state: MessageState) -> bool {
    match state {
        MessageState::Failed
        | MessageState::Suppressed
        | MessageState::Blocked
        | MessageState::Expired
        | MessageState::Cancelled
        | MessageState::Rejected
        | MessageState::DeadLettered
        | MessageState::Refused
        | MessageState::Duplicate
        | MessageState::Stale => true,
        MessageState::Queued
        | MessageState::Deferred
        | MessageState::Dispatched
        | MessageState::Submitting
        | MessageState::Held
        | MessageState::InDoubt
        | MessageState::Accepted
        | MessageState::Sent
        | MessageState::Delivered
        | MessageState::Read
        | MessageState::Played
        | MessageState::OutcomeUnknown => false,
    }
}
