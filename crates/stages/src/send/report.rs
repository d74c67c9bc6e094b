//! The records that tell the rest of the plane what happened.

use sendplane_domain::id::MessageId;
use sendplane_domain::provider_code::CodeClass;
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::{Attempt, AttemptEvent, Disposition};

use super::state::Message;

/// What went wrong in a call, as far as the record says it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fault {
    pub code: Option<i64>,
    pub class: Option<CodeClass>,
    pub message: Option<String>,
    pub http_status: Option<u16>,
    /// The answer as it came, where we could not make sense of it.
    pub raw_body: Option<String>,
}

/// `event` of attempt `attempt`, speaking for itself.
pub(super) fn attempt(
    message_id: MessageId,
    message: &Message,
    attempt: u32,
    event: AttemptEvent,
    now: Timestamp,
) -> Attempt {
    Attempt {
        message_id,
        tenant: message.tenant.clone(),
        attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
        event,
        disposition: Disposition::None,
        phone_number_id: message.phone_number_id.clone(),
        occurred_at: now,
        wamid: None,
        wamid_hash: None,
        error_code: None,
        error_class: None,
        error_message: None,
        http_status: None,
        retry_at: None,
        latency_ms: None,
        decision_seq: i32::try_from(message.decision_seq).unwrap_or(i32::MAX),
        doubt_until: None,
        raw_body: None,
        product_policy: None,
        ttl_seconds: None,
    }
}

/// `record` with what went wrong.
pub(super) fn with_fault(record: Attempt, fault: Fault) -> Attempt {
    Attempt {
        error_code: fault.code.and_then(|code| i32::try_from(code).ok()),
        error_class: fault.class.map(|class| class.as_str().to_owned()),
        error_message: fault.message,
        http_status: fault.http_status.map(i32::from),
        raw_body: fault.raw_body,
        ..record
    }
}

/// The number under which an end before a call is reported: 0 before any attempt, otherwise that of
/// the attempt which would have come next, because the last one has an end of its own.
pub(super) fn attempt_not_made(message: &Message) -> u32 {
    match message.attempt {
        0 => 0,
        made => made.saturating_add(1),
    }
}
