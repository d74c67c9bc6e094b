//! `AdmittedMessage`, `schemas/sendplane.admitted.v1/AdmittedMessage.avsc`.

use std::collections::BTreeMap;

use sendplane_domain::e164::E164;
use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// A request that ingest checked and deduplicated. From here on the message has a state and is
/// never lost. Topics sendplane.admitted.transactional.v1 and sendplane.admitted.bulk.v1. Key: the
/// tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "AdmittedMessage")]
pub struct AdmittedMessage {
    /// Message id, a version-8 UUID that sorts by creation time.
    pub message_id: MessageId,
    /// Tenant that owns the message; also the record key.
    pub tenant: TenantId,
    /// The caller's key; one key of one tenant gives one message within 30 days.
    pub idempotency_key: IdempotencyKey,
    /// transactional or bulk.
    #[serde(with = "super::lane_text")]
    pub lane: Lane,
    /// Recipient in strict E.164 form.
    pub recipient: E164,
    /// Keyed hash of the recipient, hexadecimal; the same recipient of one tenant always gives the
    /// same value.
    pub contact_hash: KeyedHash,
    /// Name of the approved template at Meta.
    pub template_name: TemplateName,
    /// Language code of the template as Meta writes it, for example en_US.
    pub template_language: String,
    /// Values of the template's variables by name or position.
    pub variables: BTreeMap<String, String>,
    /// Campaign the message belongs to, in the tenant's own naming.
    pub campaign: Option<String>,
    /// Meta's id of the business phone number (not the number itself) the caller asked for.
    pub phone_number_id: Option<PhoneNumberId>,
    /// When the caller decided to send.
    pub created_at: Timestamp,
    /// When ingest admitted the request.
    pub admitted_at: Timestamp,
    /// Not to be sent after this time. Always set, at most 7 days after created_at.
    pub deadline: Timestamp,
    /// The caller's order or case that the message is about; a cancel may name it.
    pub order_id: Option<String>,
}

avro_record!(AdmittedMessage, "sendplane.admitted.v1/AdmittedMessage.avsc");
