//! `Tenant`, `schemas/sendplane.tenants.v1/Tenant.avsc`.

use sendplane_domain::id::{PhoneNumberId, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// A tenant and its phone numbers. Compacted: the newest record per tenant counts, a tombstone
/// removes it. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Tenant")]
pub struct Tenant {
    /// Tenant id, also the record key.
    pub tenant: TenantId,
    /// Name for people.
    pub name: String,
    /// Whether messages may be sent; false holds back everything of the tenant.
    pub active: bool,
    /// Name of the access token in the configuration of the send stage. Never the token itself.
    pub credential: String,
    /// Meta's id of the business phone number (not the number itself) used when a request names
    /// none; one of phone_numbers.
    pub default_phone_number_id: PhoneNumberId,
    /// The tenant's numbers; a number belongs to one tenant only.
    pub phone_numbers: Vec<TenantPhoneNumber>,
    /// When the record was written.
    pub updated_at: Timestamp,
}

avro_record!(Tenant, "sendplane.tenants.v1/Tenant.avsc");

/// A business phone number of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "TenantPhoneNumber")]
pub struct TenantPhoneNumber {
    /// Meta's id of the business phone number (not the number itself).
    pub phone_number_id: PhoneNumberId,
    /// WhatsApp business account that owns the number.
    pub waba_id: String,
    /// The number itself, for people.
    pub display_number: String,
    /// Ceiling Meta grants this number: 80 by default, 20 with the business app, 1000 after an
    /// upgrade.
    pub messages_per_second: i32,
}
