//! `SendRequest`, `schemas/sendplane.requests.v1/SendRequest.avsc`.

use std::collections::BTreeMap;

use sendplane_domain::id::{IdempotencyKey, PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// A request to send one template message to one recipient. Produced by upstream systems to
/// sendplane.requests.transactional.v1 (authentication, utility) or sendplane.requests.bulk.v1
/// (marketing). Key: the tenant, plain UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "SendRequest")]
pub struct SendRequest {
    /// Tenant on whose behalf to send; must equal the record key.
    pub tenant: TenantId,
    /// The caller's key; one key of one tenant gives one message within 30 days.
    pub idempotency_key: IdempotencyKey,
    /// When the caller decided to send. A request older than 30 days is refused as stale.
    pub created_at: Timestamp,
    /// Recipient in E.164 form with its plus sign. Anything else is refused, never repaired.
    pub recipient: String,
    /// Name of the approved template at Meta.
    pub template_name: TemplateName,
    /// Language code of the template as Meta writes it, for example en_US.
    pub template_language: String,
    /// Values of the template's variables by name; positional templates use "1", "2" and so on.
    pub variables: BTreeMap<String, String>,
    /// Campaign the message belongs to, in the tenant's own naming.
    pub campaign: Option<String>,
    /// Not to be sent after this time; at most 7 days after created_at, which is also the default.
    pub deadline: Option<Timestamp>,
    /// Meta's id of the business phone number (not the number itself) to send from; the tenant's
    /// default number when absent.
    pub phone_number_id: Option<PhoneNumberId>,
    /// The caller's order or case that the message is about; a cancel may name it.
    pub order_id: Option<String>,
}

avro_record!(SendRequest, "sendplane.requests.v1/SendRequest.avsc");
