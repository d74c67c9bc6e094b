//! `Cancellation`, `schemas/sendplane.cancellations.v1/Cancellation.avsc`.

use sendplane_domain::id::{MessageId, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// A cancel that ingest has resolved to one message, for the send stage. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Cancellation")]
pub struct Cancellation {
    /// Chosen by the caller; the answer carries it.
    pub cancel_id: String,
    /// Tenant that owns the message; also the record key.
    pub tenant: TenantId,
    /// The message to withdraw.
    pub message_id: MessageId,
    /// Why, for people.
    pub reason: String,
    /// Who asks.
    pub requested_by: String,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// How many messages the cancel named; so many answers come.
    pub messages: i32,
}

avro_record!(Cancellation, "sendplane.cancellations.v1/Cancellation.avsc");
