//! `Feedback`, `schemas/sendplane.feedback.v1/Feedback.avsc`.

use sendplane_domain::id::{KeyedHash, MessageId, PhoneNumberId, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;
use super::receipt::ReceiptStatus;

/// Evidence for the send stage: a webhook spoke about a message, so its attempt did reach Meta.
/// Written by ingest ahead of everything else. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Feedback")]
pub struct Feedback {
    /// Tenant that owns the message; also the record key.
    pub tenant: TenantId,
    /// Message id, a version-8 UUID that sorts by creation time.
    pub message_id: MessageId,
    /// The attempt the evidence is about, from 1.
    pub attempt: i32,
    /// Meta's id of the business phone number (not the number itself).
    pub phone_number_id: PhoneNumberId,
    /// Keyed hash of Meta's message id, hexadecimal. The id itself contains the recipient's number
    /// and is not here.
    pub wamid_hash: KeyedHash,
    /// Status Meta reported.
    pub status: ReceiptStatus,
    /// Meta's error code when the status is FAILED.
    pub error_code: Option<i32>,
    /// Meta's timestamp of the status.
    pub occurred_at: Timestamp,
    /// When the gateway received the webhook.
    pub received_at: Timestamp,
    /// WhatsApp business account (entry.id) whose webhook it was.
    pub waba_id: String,
    /// Since when every webhook of this account that reached a gateway was used by ingest; absent
    /// when that is not known, as for a body that stood under another account's key. Silence before
    /// it proves nothing.
    pub path_whole_since: Option<Timestamp>,
}

avro_record!(Feedback, "sendplane.feedback.v1/Feedback.avsc");
