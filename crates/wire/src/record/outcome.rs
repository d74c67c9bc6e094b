//! `Outcome`, `schemas/sendplane.outcomes.v1/Outcome.avsc`.

use sendplane_domain::id::{
    CorrelationId, IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// One row per change of state of one message, for analytics and for the systems that asked for it.
/// Rows of one message share message_id and are ordered by sequence; the row with the highest
/// sequence is the truth. Delivered at least once: deduplicate by event_id. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Outcome")]
pub struct Outcome {
    /// Unique id of this row; equal for repeated deliveries of the same row.
    pub event_id: String,
    /// The message, a version-8 UUID that sorts by creation time. Also set for requests that were
    /// never admitted.
    pub message_id: MessageId,
    /// Tenant that owns the message.
    pub tenant: TenantId,
    /// Position of the row in the message's life, from 1, without gaps.
    pub sequence: i32,
    /// Sequence of the final row this one replaces: evidence came late. Absent otherwise.
    pub supersedes: Option<i32>,
    /// State entered.
    pub state: MessageState,
    /// Whether the state is final. A final row can still be superseded by a later one; it is never
    /// followed by a second message.
    pub is_final: bool,
    /// Stable code of why, in snake_case: the deciding rule or the class of the error.
    pub reason: Option<String>,
    /// The reason in words, for people. Not stable, holds no personal data.
    pub detail: Option<String>,
    /// The caller's sendplane-correlation-id header.
    pub correlation_id: Option<CorrelationId>,
    /// The caller's key of the request.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Message that already holds the idempotency key, when the state is DUPLICATE.
    pub duplicate_of: Option<MessageId>,
    /// transactional or bulk.
    pub lane: Option<String>,
    /// Campaign the message belongs to.
    pub campaign: Option<String>,
    /// Template name.
    pub template_name: Option<TemplateName>,
    /// Template language, for example en_US.
    pub template_language: Option<String>,
    /// Template version the message was built with.
    pub template_version: Option<i32>,
    /// Template category: authentication, utility or marketing.
    pub category: Option<String>,
    /// What Meta charges for, as category/type from its pricing object, for example
    /// marketing/regular. Known from a status webhook only.
    pub price_class: Option<String>,
    /// Provider attempts started so far; 0 before the first.
    pub attempt: i32,
    /// Keyed hash of the recipient, hexadecimal; the same recipient of one tenant always gives the
    /// same value.
    pub contact_hash: Option<KeyedHash>,
    /// Keyed hash of Meta's message id, hexadecimal. The id itself contains the recipient's number
    /// and is not here.
    pub wamid_hash: Option<KeyedHash>,
    /// Meta's id of the business phone number (not the number itself) used.
    pub phone_number_id: Option<PhoneNumberId>,
    /// Meta's error code, when one explains the state.
    pub error_code: Option<i32>,
    /// Experiment arm the contact fell into, when the campaign has a holdout.
    pub holdout_arm: Option<String>,
    /// For a state that waits: when the message is looked at next.
    pub next_at: Option<Timestamp>,
    /// When the change happened, by the clock of whoever caused it (Meta's for statuses).
    pub occurred_at: Timestamp,
    /// When Sendplane recorded the change. Never decreases with sequence.
    pub ingested_at: Timestamp,
}

avro_record!(Outcome, "sendplane.outcomes.v1/Outcome.avsc");

/// State of a message. Never admitted: REFUSED, DUPLICATE, STALE. On the way: QUEUED, DEFERRED,
/// DISPATCHED, SUBMITTING, HELD, IN_DOUBT, ACCEPTED, SENT. Reached the person: DELIVERED, READ,
/// PLAYED. Ended without: FAILED, SUPPRESSED, BLOCKED, EXPIRED, CANCELLED, REJECTED, DEAD_LETTERED.
/// OUTCOME_UNKNOWN is a final state: the message may have been delivered and nobody can say.
/// UNKNOWN is a state newer than the reader's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "MessageState", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageState {
    /// A symbol this version does not know.
    Unknown,
    /// Admitted.
    Queued,
    /// Waits for a time it can name.
    Deferred,
    /// Released to send.
    Dispatched,
    /// A call may be running.
    Submitting,
    /// Meta holds it for quality assessment.
    Held,
    /// Nobody knows whether Meta accepted it.
    InDoubt,
    /// Meta gave it an id.
    Accepted,
    /// On its way to the device.
    Sent,
    /// On at least one device.
    Delivered,
    /// Read.
    Read,
    /// A voice message was played.
    Played,
    /// Meta accepted it and could not deliver it.
    Failed,
    /// The person must not be written to.
    Suppressed,
    /// Stopped by a fault on our side, with an alert.
    Blocked,
    /// Its deadline passed.
    Expired,
    /// Withdrawn before a call.
    Cancelled,
    /// Meta refused it for good.
    Rejected,
    /// Retries are used up; an operator decides.
    DeadLettered,
    /// Final: it may have been delivered and nobody can say.
    OutcomeUnknown,
    /// Never admitted: the request is faulty.
    Refused,
    /// Never admitted: the idempotency key is taken.
    Duplicate,
    /// Never admitted: older than the deduplication horizon.
    Stale,
}
