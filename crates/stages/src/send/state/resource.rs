//! What a message may wait for beside time and its number's turn.

use sendplane_domain::id::{KeyedHash, PhoneNumberId, TenantId};
use sendplane_stage_api::TableKey;
use serde::{Deserialize, Serialize};

use crate::directory::TemplateKey;

/// Messages that lack a resource are taken out of the queue, so that they hold up nobody behind
/// them. Append-only: stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// Meta's limit for one user and one number.
    Pair(TenantId, PhoneNumberId, KeyedHash),
    /// The end of an operator's pause, by the switch's id.
    Switch(String),
    /// A template that is not approved for the time being.
    Template(TemplateKey),
    /// The end of a template's suspension.
    SuspendedTemplate(TemplateKey),
    /// Room for another user of the tenant's portfolio, by [`super::lane_rank`].
    Portfolio(TenantId, u8),
}

impl TableKey for Resource {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pair(tenant, number, contact) => {
                out.push(0);
                tenant.encode(out);
                number.encode(out);
                contact.encode(out);
            }
            Self::Switch(id) => {
                out.push(1);
                id.encode(out);
            }
            Self::Template(key) => {
                out.push(2);
                key.encode(out);
            }
            Self::SuspendedTemplate(key) => {
                out.push(3);
                key.encode(out);
            }
            Self::Portfolio(tenant, rank) => {
                out.push(4);
                tenant.encode(out);
                rank.encode(out);
            }
        }
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        match u8::decode(bytes)? {
            0 => Some(Self::Pair(
                TenantId::decode(bytes)?,
                PhoneNumberId::decode(bytes)?,
                KeyedHash::decode(bytes)?,
            )),
            1 => Some(Self::Switch(String::decode(bytes)?)),
            2 => Some(Self::Template(TemplateKey::decode(bytes)?)),
            3 => Some(Self::SuspendedTemplate(TemplateKey::decode(bytes)?)),
            4 => Some(Self::Portfolio(TenantId::decode(bytes)?, u8::decode(bytes)?)),
            _ => None,
        }
    }
}
