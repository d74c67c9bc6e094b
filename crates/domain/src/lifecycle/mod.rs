//! The life of one message, as a join of facts.
//!
//! ```text
//! queued ─▶ deferred ─▶ dispatched ─▶ submitting ─▶ accepted ─▶ sent ─▶ delivered ─▶ read | played
//!    │          │            │            ├─▶ held            └──▶ failed (after acceptance)
//!    │          │            │            ├─▶ in_doubt ─▶ accepted | outcome_unknown
//!    └──────────┴────────────┴─▶ suppressed | blocked | expired | cancelled
//!                                | rejected | dead_lettered
//! refused | duplicate | stale   (never admitted)
//! ```
//!
//! The arrows are what usually happens, not what is enforced: inputs come from several topics, in
//! any order and more than once. [`MessageFacts`] only collects what was ever said about a message,
//! each kind of fact with its own maximum or minimum, and [`MessageFacts::state`] reads the state
//! off the collection. So every order and every repetition gives the same state (I10).
//!
//! Reading order: [`MessageState`], [`Evidence`], [`MessageFacts`], the derivation, [`invariants`].
//!
//! **Architecture invariant:** no state is stored and changed; nothing here asks which input came
//! first. A conflict between copies of a fact is settled by the order of their values.

mod derive;
mod evidence;
mod facts;
pub mod invariants;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
mod summary;

use serde::{Deserialize, Serialize};

pub use evidence::{
    AttemptEvent, Decision, Disposition, Evidence, PriceClass, Status, Subject, Template, Verdict,
};
pub use facts::{AttemptFacts, Failure, MessageFacts, ProviderMessage};
pub use summary::{Holder, Summary, Waits};

/// Where a message stands. Stored with the last outcome row: append only, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MessageState {
    /// Admitted; policy has not decided.
    Queued,
    /// Policy judges it again at a time.
    Deferred,
    /// Handed to send, or waiting there for its next attempt.
    Dispatched,
    /// The intent to call is committed; the answer is not known.
    Submitting,
    /// Accepted by Meta and held back for a quality assessment, up to about an hour.
    Held,
    /// The answer is lost; Meta may have accepted it. Waits for evidence.
    InDoubt,
    /// Meta gave a wamid. Nothing more is known.
    Accepted,
    /// Meta's `sent`: on its way to the device.
    Sent,
    /// It reached at least one device.
    Delivered,
    /// The recipient opened it.
    Read,
    /// The recipient played the voice message.
    Played,
    /// Accepted first, failed later.
    Failed,
    /// Policy did not want it sent: consent, caps, holdout, silence.
    Suppressed,
    /// Policy could not let it be sent, and alarmed.
    Blocked,
    /// Its time ran out before it was delivered.
    Expired,
    /// Somebody withdrew it.
    Cancelled,
    /// Meta refused it for good; nothing was accepted.
    Rejected,
    /// Retries are used up; nothing was accepted. A person may replay it.
    DeadLettered,
    /// It may or may not have reached the recipient, and nobody can tell any more.
    OutcomeUnknown,
    /// Never admitted: the request is invalid.
    Refused,
    /// Never admitted: the idempotency key was used before.
    Duplicate,
    /// Never admitted: created before the deduplication horizon.
    Stale,
}

impl MessageState {
    /// Every state, in stored order.
    pub const ALL: [MessageState; 22] = [
        MessageState::Queued,
        MessageState::Deferred,
        MessageState::Dispatched,
        MessageState::Submitting,
        MessageState::Held,
        MessageState::InDoubt,
        MessageState::Accepted,
        MessageState::Sent,
        MessageState::Delivered,
        MessageState::Read,
        MessageState::Played,
        MessageState::Failed,
        MessageState::Suppressed,
        MessageState::Blocked,
        MessageState::Expired,
        MessageState::Cancelled,
        MessageState::Rejected,
        MessageState::DeadLettered,
        MessageState::OutcomeUnknown,
        MessageState::Refused,
        MessageState::Duplicate,
        MessageState::Stale,
    ];

    /// Whether nothing more has to happen (I1). Late evidence may still supersede it: a delivered
    /// message is read, an unknown one turns out accepted.
    pub const fn is_final(self) -> bool {
        match self {
            MessageState::Queued
            | MessageState::Deferred
            | MessageState::Dispatched
            | MessageState::Submitting
            | MessageState::Held
            | MessageState::InDoubt
            | MessageState::Accepted
            | MessageState::Sent => false,
            MessageState::Delivered
            | MessageState::Read
            | MessageState::Played
            | MessageState::Failed
            | MessageState::Suppressed
            | MessageState::Blocked
            | MessageState::Expired
            | MessageState::Cancelled
            | MessageState::Rejected
            | MessageState::DeadLettered
            | MessageState::OutcomeUnknown
            | MessageState::Refused
            | MessageState::Duplicate
            | MessageState::Stale => true,
        }
    }

    /// The name in outcome rows and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageState::Queued => "queued",
            MessageState::Deferred => "deferred",
            MessageState::Dispatched => "dispatched",
            MessageState::Submitting => "submitting",
            MessageState::Held => "held",
            MessageState::InDoubt => "in_doubt",
            MessageState::Accepted => "accepted",
            MessageState::Sent => "sent",
            MessageState::Delivered => "delivered",
            MessageState::Read => "read",
            MessageState::Played => "played",
            MessageState::Failed => "failed",
            MessageState::Suppressed => "suppressed",
            MessageState::Blocked => "blocked",
            MessageState::Expired => "expired",
            MessageState::Cancelled => "cancelled",
            MessageState::Rejected => "rejected",
            MessageState::DeadLettered => "dead_lettered",
            MessageState::OutcomeUnknown => "outcome_unknown",
            MessageState::Refused => "refused",
            MessageState::Duplicate => "duplicate",
            MessageState::Stale => "stale",
        }
    }
}
