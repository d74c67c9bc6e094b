//! `Switch`, `schemas/sendplane.control.v1/Switch.avsc`.

use sendplane_domain::id::{PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// An operator's pause. While it stands, messages that match all of its scope wait. Compacted: the
/// newest record per id counts, a tombstone lifts it. Key: the id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Switch")]
pub struct Switch {
    /// Id of the switch, also the record key.
    pub id: String,
    /// Only this tenant's messages; absent for all tenants.
    pub tenant: Option<TenantId>,
    /// Only this lane: transactional or bulk.
    pub lane: Option<String>,
    /// Only templates of this category: authentication, utility or marketing.
    pub category: Option<String>,
    /// Only this campaign, in the tenant's own naming.
    pub campaign: Option<String>,
    /// Only this template.
    pub template_name: Option<TemplateName>,
    /// Only this language of the template.
    pub template_language: Option<String>,
    /// Only this phone number, by Meta's id.
    pub phone_number_id: Option<PhoneNumberId>,
    /// Why, for people.
    pub reason: String,
    /// Who set it.
    pub created_by: String,
    /// When it was set.
    pub created_at: Timestamp,
    /// When it lifts itself.
    pub expires_at: Timestamp,
}

avro_record!(Switch, "sendplane.control.v1/Switch.avsc");
