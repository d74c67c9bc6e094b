//! `Suppression`, `schemas/sendplane.suppressions.v1/Suppression.avsc`.

use sendplane_domain::id::{KeyedHash, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// What policy knows about a contact's consent, for messages that it has already released. Written
/// whenever a consent_seq rises. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Suppression")]
pub struct Suppression {
    /// Tenant the consent was given to; also the record key.
    pub tenant: TenantId,
    /// Keyed hash of the contact, as in Dispatch.
    pub contact_hash: KeyedHash,
    /// The contact's consent counter after the change.
    pub consent_seq: i64,
    /// Marketing must not be sent.
    pub marketing_withdrawn: bool,
    /// Nothing must be sent.
    pub all_withdrawn: bool,
    /// When the person decided.
    pub changed_at: Timestamp,
    /// When policy applied the change.
    pub published_at: Timestamp,
}

avro_record!(Suppression, "sendplane.suppressions.v1/Suppression.avsc");
