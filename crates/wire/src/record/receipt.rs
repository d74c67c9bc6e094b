//! `Receipt`, `schemas/sendplane.receipts.v1/Receipt.avsc`.

use sendplane_domain::id::{KeyedHash, MessageId, PhoneNumberId, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// One status of one message, parsed from a webhook. Order and uniqueness are not given: Meta
/// repeats and reorders. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Receipt")]
pub struct Receipt {
    /// Tenant that owns the message; also the record key.
    pub tenant: TenantId,
    /// WhatsApp business account (entry.id).
    pub waba_id: String,
    /// Meta's id of the business phone number (not the number itself).
    pub phone_number_id: PhoneNumberId,
    /// The message, from authenticated opaque callback data; absent when the status carried none.
    pub message_id: Option<MessageId>,
    /// The attempt, from 1, from the same opaque data.
    pub attempt: Option<i32>,
    /// Keyed hash of Meta's message id, hexadecimal. The id itself contains the recipient's number
    /// and is not here.
    pub wamid_hash: KeyedHash,
    /// Status Meta reported.
    pub status: ReceiptStatus,
    /// The status exactly as Meta wrote it.
    pub status_text: String,
    /// Meta's timestamp of the status.
    pub occurred_at: Timestamp,
    /// When the gateway received the webhook.
    pub received_at: Timestamp,
    /// Meta's error code; statuses of failed messages carry one, though not always.
    pub error_code: Option<i32>,
    /// Meta's title of the error.
    pub error_title: Option<String>,
    /// Meta's details of the error.
    pub error_details: Option<String>,
    /// pricing.category as Meta wrote it, hyphens read as underscores.
    pub price_category: Option<String>,
    /// pricing.type (older: pricing_type) as Meta wrote it.
    pub price_type: Option<String>,
    /// pricing.billable; Meta has announced its removal.
    pub billable: Option<bool>,
}

avro_record!(Receipt, "sendplane.receipts.v1/Receipt.avsc");

/// Delivery status as Meta reports it. UNKNOWN is a status this version does not know; the raw text
/// is kept beside it where the record has status_text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "ReceiptStatus", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReceiptStatus {
    /// A symbol this version does not know.
    Unknown,
    /// On its way to the device.
    Sent,
    /// On at least one device.
    Delivered,
    /// Read.
    Read,
    /// A voice message was played.
    Played,
    /// Not delivered, or not to one of several devices.
    Failed,
}
