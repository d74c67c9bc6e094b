//! `CancelRequest`, `schemas/sendplane.cancels.v1/CancelRequest.avsc`.

use sendplane_domain::id::{IdempotencyKey, MessageId, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// A request to withdraw a message that was asked for. Exactly one of message_id, idempotency_key
/// and order_id names it; an order may name several. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "CancelRequest")]
pub struct CancelRequest {
    /// Chosen by the caller; the answers carry it.
    pub cancel_id: String,
    /// Tenant that owns the message; must equal the record key.
    pub tenant: TenantId,
    /// The message.
    pub message_id: Option<MessageId>,
    /// The key it was asked for with.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The order its request named.
    pub order_id: Option<String>,
    /// Why, for people.
    pub reason: String,
    /// Who asks.
    pub requested_by: String,
    /// When it was asked.
    pub requested_at: Timestamp,
}

avro_record!(CancelRequest, "sendplane.cancels.v1/CancelRequest.avsc");
