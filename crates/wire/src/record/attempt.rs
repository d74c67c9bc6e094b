//! `Attempt`, `schemas/sendplane.attempts.v1/Attempt.avsc`.

use sendplane_domain::id::{KeyedHash, MessageId, PhoneNumberId, TenantId, Wamid};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// One event in the life of one provider call. Key: the tenant. This topic alone carries Meta's
/// message id in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Attempt")]
pub struct Attempt {
    /// Message id, a version-8 UUID that sorts by creation time.
    pub message_id: MessageId,
    /// Tenant that owns the message; also the record key.
    pub tenant: TenantId,
    /// Attempt number, from 1; 0 for events before any attempt.
    pub attempt: i32,
    /// What happened.
    pub event: AttemptEvent,
    /// What the send stage does next.
    pub disposition: Disposition,
    /// Meta's id of the business phone number (not the number itself).
    pub phone_number_id: PhoneNumberId,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Meta's message id, once accepted. Contains the recipient's number: personal data.
    pub wamid: Option<Wamid>,
    /// Keyed hash of Meta's message id, hexadecimal. The id itself contains the recipient's number
    /// and is not here.
    pub wamid_hash: Option<KeyedHash>,
    /// Meta's error code.
    pub error_code: Option<i32>,
    /// Our class of the error in snake_case; it decides about retries, the HTTP status never does.
    pub error_class: Option<String>,
    /// Meta's message or our description of the transport fault.
    pub error_message: Option<String>,
    /// HTTP status of the answer, if there was one.
    pub http_status: Option<i32>,
    /// When the next attempt may start, if the disposition is RETRY.
    pub retry_at: Option<Timestamp>,
    /// Milliseconds from the start of the call to its answer.
    pub latency_ms: Option<i64>,
    /// The decision under which the attempt was made or not made; see Dispatch.
    pub decision_seq: i32,
    /// End of the wait for a webhook, if the event is IN_DOUBT.
    pub doubt_until: Option<Timestamp>,
    /// The provider's answer as it came, cut to 4 KiB; only where its code is unknown or it could
    /// not be parsed.
    pub raw_body: Option<String>,
    /// product_policy of a call to /marketing_messages, if the event is SUBMITTING; absent where
    /// the call goes to /messages.
    pub product_policy: Option<String>,
    /// How long Meta tries to deliver it, if the event is SUBMITTING and that is less than its 30
    /// days.
    pub ttl_seconds: Option<i32>,
}

avro_record!(Attempt, "sendplane.attempts.v1/Attempt.avsc");

/// What happened. SUBMITTING is written before the call; NOT_SENT is proof that Meta did not
/// receive it; IN_DOUBT means that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "AttemptEvent", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AttemptEvent {
    /// A symbol this version does not know.
    Unknown,
    /// The intent is committed; the call may start.
    Submitting,
    /// Meta answered with a message id.
    Accepted,
    /// Accepted, but held for quality assessment.
    Held,
    /// Meta answered with an error that proves that nothing was sent.
    Refused,
    /// The request provably never reached Meta.
    NotSent,
    /// Nobody knows whether Meta accepted it.
    InDoubt,
    /// The doubt was not settled in time and no re-send was allowed.
    GaveUp,
    /// `valid_until` passed before a call could start.
    Expired,
    /// Withdrawn before a call could start.
    Cancelled,
}

/// What the send stage does next. NONE: nothing, the event speaks for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "Disposition", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Disposition {
    /// Nothing: the event speaks for itself.
    None,
    /// A symbol this version does not know.
    Unknown,
    /// Another attempt at `retry_at`.
    Retry,
    /// Retries are used up: an operator decides.
    DeadLetter,
    /// Final: no attempt can succeed.
    Reject,
    /// Policy decides again.
    Replan,
}
