//! `ConsentChange`, `schemas/sendplane.consent.v1/ConsentChange.avsc`.

use sendplane_domain::id::TenantId;
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// A recipient gave or withdrew consent. Produced by the systems that collect consent. Key: the
/// tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "ConsentChange")]
pub struct ConsentChange {
    /// Tenant the consent was given to; also the record key.
    pub tenant: TenantId,
    /// The person, in E.164 form with its plus sign.
    pub recipient: String,
    /// What the change covers.
    pub scope: ConsentScope,
    /// The state after the change.
    pub state: ConsentState,
    /// When the person decided. The later of two changes of one scope wins, whatever order they
    /// arrive in.
    pub changed_at: Timestamp,
    /// Where the decision was made, for audit: for example web-form, stop-reply, crm-import.
    pub source: String,
}

avro_record!(ConsentChange, "sendplane.consent.v1/ConsentChange.avsc");

/// What the consent covers. UNKNOWN is read as ALL when consent is withdrawn and as nothing when it
/// is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "ConsentScope", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsentScope {
    /// A symbol this version does not know.
    Unknown,
    /// Marketing only.
    Marketing,
    /// Every message.
    All,
}

/// Whether consent exists. UNKNOWN is read as WITHDRAWN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "ConsentState", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsentState {
    /// A symbol this version does not know.
    Unknown,
    /// Consent exists.
    Granted,
    /// Consent does not exist.
    Withdrawn,
}
