//! What can be said about a message: the closed set of inputs.

use serde::{Deserialize, Serialize};

use crate::id::{IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId};
use crate::lane::{Category, Lane};
use crate::provider_code::CodeClass;
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// One input of a message's life. Built from records of `admitted`, `decisions`, `attempts` and
/// `receipts`, and from status-reconcile's own timers; not stored itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Ingest took the request in. From `admitted`.
    Admitted {
        /// Who and what, as the request said.
        subject: Box<Subject>,
        /// Time of the admission.
        admitted_at: Timestamp,
    },
    /// Ingest refused the request, or policy judged the message. From `decisions`.
    Decided {
        /// Who and what, as the decision resolved it (template version, language, number).
        subject: Box<Subject>,
        /// The decision.
        decision: Decision,
    },
    /// Send made, answered or ended an attempt. From `attempts`.
    Attempted {
        /// Attempt number, from 1.
        attempt: u32,
        /// [`Decision::seq`] of the dispatch that the attempt was made under.
        decision_seq: u32,
        /// When it happened, by send's clock.
        at: Timestamp,
        /// What happened.
        event: AttemptEvent,
    },
    /// A status webhook. From `receipts`.
    Status {
        /// What it says.
        status: Status,
        /// Meta's time of the status, not the time it arrived.
        occurred_at: Timestamp,
        /// Keyed hash of the wamid it speaks of.
        wamid_hash: KeyedHash,
        /// The attempt, when our opaque data came back with it.
        attempt: Option<u32>,
        /// The price class, when Meta names it.
        price: Option<PriceClass>,
    },
    /// The time for statuses of an acceptance is over: the provider's time to live and a margin.
    /// From a timer of status-reconcile.
    StatusDeadlinePassed {
        /// The attempt whose acceptance started the timer. Later attempts have their own time.
        attempt: u32,
    },
}

/// Who and what a message is about: the constant part of every outcome row. The conflict between
/// two copies under one sequence is settled by their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// Owner, and key of the partition.
    pub tenant: TenantId,
    /// The lane, known from the topic even of a refused request.
    pub lane: Lane,
    /// The caller's key; absent in a request refused for having none.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Campaign namespace.
    pub campaign: Option<String>,
    /// The template, absent for a session message.
    pub template: Option<Template>,
    /// Meta's category, which decides what doubt allows and what it costs.
    pub category: Option<Category>,
    /// Keyed hash of the contact.
    pub contact_hash: Option<KeyedHash>,
    /// The number it goes out through.
    pub phone_number_id: Option<PhoneNumberId>,
    /// What links it to the request.
    pub trace: TraceContext,
}

/// Which template, as far as it is resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Template {
    /// Its name.
    pub name: TemplateName,
    /// Meta's language code, such as `pt_BR`.
    pub language: String,
    /// Our version of it; unknown until policy resolves it.
    pub version: Option<u32>,
}

/// One decision about a message. A later one replaces it, by `seq`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Decision {
    /// Counts the decisions of policy about this message, from 1. 0 for a refusal by ingest.
    pub seq: u32,
    /// When it was made. Settles the order of two decisions that claim one `seq`.
    pub decided_at: Timestamp,
    /// The decision.
    pub verdict: Verdict,
    /// The rule that decided, as a stable name.
    pub reason: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// Arm of the holdout experiment.
    pub holdout_arm: Option<String>,
}

/// What was decided. Stored: append only, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Send it.
    Dispatch,
    /// Judge it again then.
    Defer {
        /// When.
        until: Timestamp,
    },
    /// Do not send it; also "silent" and "fall back", told apart by the reason.
    Suppress,
    /// It cannot be sent; a person is told.
    Block,
    /// Ingest: the request is invalid.
    Refuse,
    /// Ingest: the key was used before.
    Duplicate {
        /// The message that has the key, as far as it is remembered.
        of: Option<MessageId>,
    },
    /// Ingest: created before the deduplication horizon.
    Stale,
    /// Its deadline passed before it was dispatched.
    Expire,
    /// Withdrawn by the caller or an operator.
    Cancel,
}

impl Verdict {
    /// Whether ingest says that the request was never admitted.
    pub const fn is_refusal(&self) -> bool {
        match self {
            Verdict::Refuse | Verdict::Duplicate { .. } | Verdict::Stale => true,
            Verdict::Dispatch
            | Verdict::Defer { .. }
            | Verdict::Suppress
            | Verdict::Block
            | Verdict::Expire
            | Verdict::Cancel => false,
        }
    }
}

/// What became of an attempt. Stored: append only, never reorder; precedence is [`Self::rank`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AttemptEvent {
    /// The intent is committed, the call may start.
    Submitting,
    /// The call was never started.
    NotSent {
        /// What follows.
        disposition: Disposition,
    },
    /// The deadline passed before the call; also for a message that was never attempted, under the
    /// number its attempt would have had.
    Expired,
    /// The answer is lost or ambiguous.
    InDoubt {
        /// End of the doubt window.
        until: Timestamp,
    },
    /// The doubt window ended without evidence.
    GaveUp,
    /// A parsed error that proves nothing was accepted.
    Refused {
        /// Meta's `error.code`.
        code: i64,
        /// Its class.
        class: CodeClass,
        /// What follows.
        disposition: Disposition,
    },
    /// Accepted, and held back for a quality assessment.
    Held {
        /// Keyed hash of the wamid.
        wamid_hash: KeyedHash,
    },
    /// Accepted.
    Accepted {
        /// Keyed hash of the wamid.
        wamid_hash: KeyedHash,
    },
    /// Withdrawn before the call; also for a message that was never attempted.
    Cancelled,
    /// The doubt window ended in proven silence: the message is sent once more, though this attempt
    /// may have come.
    Resending {
        /// Not before.
        at: Timestamp,
    },
}

impl AttemptEvent {
    /// Which of two events of one attempt is the truth: the greater.
    ///
    /// - an intent says least, everything else followed it;
    /// - not sent, expired and cancelled are our own view from before the call. They lose to doubt: if one
    ///   owner says the call never started and another that it may have, it may have;
    /// - giving up and sending again come after doubt and tell nothing new about the provider, so
    ///   that every answer, however late, corrects them; the end is not talked away by a copy that
    ///   promised more;
    /// - an error is the provider's word;
    /// - a wamid is proof. Over any error, because some errors come from a part that does not know
    ///   what another part did; `Accepted` over `Held`, because the hold is the earlier of the two.
    pub const fn rank(&self) -> u8 {
        match self {
            AttemptEvent::Submitting => 0,
            AttemptEvent::NotSent { .. } => 1,
            AttemptEvent::Expired => 2,
            AttemptEvent::Cancelled => 3,
            AttemptEvent::InDoubt { .. } => 4,
            AttemptEvent::Resending { .. } => 5,
            AttemptEvent::GaveUp => 6,
            AttemptEvent::Refused { .. } => 7,
            AttemptEvent::Held { .. } => 8,
            AttemptEvent::Accepted { .. } => 9,
        }
    }

    /// Whether the attempt may have reached the provider without proof either way.
    pub const fn is_unresolved(&self) -> bool {
        match self {
            AttemptEvent::Submitting
            | AttemptEvent::InDoubt { .. }
            | AttemptEvent::GaveUp
            | AttemptEvent::Resending { .. } => true,
            AttemptEvent::NotSent { .. }
            | AttemptEvent::Expired
            | AttemptEvent::Cancelled
            | AttemptEvent::Refused { .. }
            | AttemptEvent::Held { .. }
            | AttemptEvent::Accepted { .. } => false,
        }
    }

    /// The wamid it proves.
    pub const fn wamid_hash(&self) -> Option<&KeyedHash> {
        match self {
            AttemptEvent::Held { wamid_hash } | AttemptEvent::Accepted { wamid_hash } => {
                Some(wamid_hash)
            }
            AttemptEvent::Submitting
            | AttemptEvent::NotSent { .. }
            | AttemptEvent::Expired
            | AttemptEvent::Cancelled
            | AttemptEvent::InDoubt { .. }
            | AttemptEvent::GaveUp
            | AttemptEvent::Resending { .. }
            | AttemptEvent::Refused { .. } => None,
        }
    }
}

/// What follows an attempt that reached nobody. Of two conflicting copies the later variant holds:
/// an end is not talked away by a copy that promised a retry. Stored: append only, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Disposition {
    /// Another attempt.
    Retry {
        /// Not before.
        at: Timestamp,
    },
    /// Policy decides again.
    Replan,
    /// Retries are used up.
    DeadLetter,
    /// It can never succeed.
    Reject,
}

/// The `status` of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// On its way.
    Sent,
    /// On a device.
    Delivered,
    /// Opened.
    Read,
    /// Voice message played.
    Played,
    /// Failed after acceptance.
    Failed {
        /// Meta's code; a `failed` without `errors` has been seen.
        code: Option<i64>,
        /// Meta's title.
        title: Option<String>,
    },
}

/// Meta's pricing of one message, as the webhook spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PriceClass {
    /// `pricing.category`, such as `marketing` or `authentication-international`.
    pub category: String,
    /// `pricing.type`, such as `regular` or `free_entry_point`; absent in old webhook versions.
    pub kind: Option<String>,
}
