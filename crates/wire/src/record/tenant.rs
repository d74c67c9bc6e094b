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
    /// Share among tenants that have something to send in the same lane, from 1 to 100.
    pub weight: i32,
    /// Calls at most in a UTC day; what is beyond waits for the next one.
    pub messages_per_day: Option<i64>,
    /// Millionths of the tenant's currency at most in a UTC day, by prices.
    pub spend_per_day_micros: Option<i64>,
    /// Prices the spend is counted by; a category without one counts nothing.
    pub prices: Vec<TenantPrice>,
    /// Users Meta lets the portfolio open a conversation with in any 24 h; absent for no limit.
    pub users_per_day: Option<i32>,
    /// Whether marketing templates go to /marketing_messages.
    pub marketing_route: bool,
    /// product_policy of the marketing route: CLOUD_API_FALLBACK or STRICT.
    pub product_policy: Option<String>,
    /// Where the tenant wants fewer attempts than usual.
    pub retries: Vec<TenantRetries>,
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
    /// How far below its ceiling this number stays, in percent; the deployment's margin when
    /// absent.
    pub safety_percent: Option<i32>,
}

/// What one message of a category costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "TenantPrice")]
pub struct TenantPrice {
    /// Category of a template: authentication, utility or marketing.
    pub category: String,
    /// Millionths of the tenant's currency for one message.
    pub micros: i64,
}

/// A tighter schedule for one class of errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "TenantRetries")]
pub struct TenantRetries {
    /// Class of error in snake_case, as in Attempt.
    pub error_class: String,
    /// Calls at most; never more than the class itself allows.
    pub attempts_max: i32,
}
