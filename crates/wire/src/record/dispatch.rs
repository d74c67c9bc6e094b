//! `Dispatch`, `schemas/sendplane.dispatch.v1/Dispatch.avsc`.

use sendplane_domain::e164::E164;
use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// A message that policy released for sending, with all the provider call needs. Topics
/// sendplane.dispatch.transactional.v1 and sendplane.dispatch.bulk.v1. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Dispatch")]
pub struct Dispatch {
    /// Message id, a version-8 UUID that sorts by creation time.
    pub message_id: MessageId,
    /// Tenant that owns the message; also the record key.
    pub tenant: TenantId,
    /// transactional or bulk.
    #[serde(with = "super::lane_text")]
    pub lane: Lane,
    /// Meta's id of the business phone number (not the number itself) to send from.
    pub phone_number_id: PhoneNumberId,
    /// Recipient in strict E.164 form.
    pub recipient: E164,
    /// Keyed hash of the recipient, hexadecimal; the same recipient of one tenant always gives the
    /// same value.
    pub contact_hash: KeyedHash,
    /// Name of the approved template at Meta.
    pub template_name: TemplateName,
    /// Language code of the template as Meta writes it, for example en_US.
    pub template_language: String,
    /// Version of the template that parameters were checked against.
    pub template_version: i32,
    /// Category of the template: authentication, utility or marketing.
    pub category: String,
    /// Body parameters in the template's order.
    pub parameters: Vec<TemplateParameter>,
    /// Campaign the message belongs to, in the tenant's own naming.
    pub campaign: Option<String>,
    /// The contact's consent counter the decision was based on; a higher one at the time of the
    /// call sends the message back to policy.
    pub consent_seq: i64,
    /// No call may start after this time: the earliest of deadline, end of allowed hours and end of
    /// the window.
    pub valid_until: Timestamp,
    /// When policy released the message.
    pub dispatched_at: Timestamp,
    /// Counts the decisions of policy about this message, from 1. A higher one replaces a lower
    /// one.
    pub decision_seq: i32,
    /// The caller's key; needed when the message goes back to policy.
    pub idempotency_key: IdempotencyKey,
    /// The caller's order or case that the message is about; a cancel may name it.
    pub order_id: Option<String>,
    /// When the caller decided to send.
    pub created_at: Timestamp,
    /// When ingest admitted the request.
    pub admitted_at: Timestamp,
    /// Not to be sent after this time, whatever policy decides anew.
    pub deadline: Timestamp,
}

avro_record!(Dispatch, "sendplane.dispatch.v1/Dispatch.avsc");

/// One value of the template's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "TemplateParameter")]
pub struct TemplateParameter {
    /// Variable name in a template with named parameters; absent when position counts.
    pub name: Option<String>,
    /// The text to insert.
    pub value: String,
}
