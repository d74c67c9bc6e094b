//! `Replan`, `schemas/sendplane.policy-feedback.v1/Replan.avsc`.

use std::collections::BTreeMap;

use sendplane_domain::e164::E164;
use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// A message that send gives back: what policy based its decision on is no longer so. Holds the
/// admitted message, so that policy can judge it again. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Replan")]
pub struct Replan {
    /// Message id, a version-8 UUID that sorts by creation time.
    pub message_id: MessageId,
    /// Tenant that owns the message; also the record key.
    pub tenant: TenantId,
    /// The decision that is given back; the next one has the number after it.
    pub decision_seq: i32,
    /// Why, as a stable code in snake_case.
    pub reason: String,
    /// Version of the template that send sees; policy judges once it sees this one or a later one.
    pub template_version: Option<i32>,
    /// The caller's key; one key of one tenant gives one message within 30 days.
    pub idempotency_key: IdempotencyKey,
    /// The caller's order or case that the message is about; a cancel may name it.
    pub order_id: Option<String>,
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
    /// Meta's id of the business phone number (not the number itself) it was to be sent from.
    pub phone_number_id: Option<PhoneNumberId>,
    /// When the caller decided to send.
    pub created_at: Timestamp,
    /// When ingest admitted the request.
    pub admitted_at: Timestamp,
    /// Not to be sent after this time.
    pub deadline: Timestamp,
    /// When send gave it back.
    pub given_back_at: Timestamp,
}

avro_record!(Replan, "sendplane.policy-feedback.v1/Replan.avsc");

/// Reasons of send's own. A message that the provider refused has the class of the refusal.
impl Replan {
    /// The contact's consent has changed since the decision.
    pub const CONSENT_CHANGED: &'static str = "consent_changed";
    /// The template has another version or another category.
    pub const TEMPLATE_CHANGED: &'static str = "template_changed";
    /// The template is gone, or will not be approved again by itself.
    pub const TEMPLATE_NOT_APPROVED: &'static str = "template_not_approved";
}
