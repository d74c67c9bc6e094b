//! What a message may wait for beside time and its number's turn.

use sendplane_domain::id::{KeyedHash, PhoneNumberId, TemplateName, TenantId};
use sendplane_stage_api::TableKey;
use serde::{Deserialize, Serialize};

/// Messages that lack a resource are taken out of the queue, so that they hold up nobody behind
/// them. Append-only: stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// Meta's limit for one user and one number.
    Pair(TenantId, PhoneNumberId, KeyedHash),
    /// The end of an operator's pause, by the switch's id.
    Switch(String),
    /// A template that is not approved for the time being, by its name and language.
    Template(TenantId, TemplateName, String),
    /// The end of a template's suspension: tenant, name, language.
    SuspendedTemplate(TenantId, String, String),
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
            Self::Template(tenant, name, language) => {
                out.push(2);
                tenant.encode(out);
                name.encode(out);
                language.encode(out);
            }
            Self::SuspendedTemplate(tenant, name, language) => {
                out.push(3);
                tenant.encode(out);
                name.encode(out);
                language.encode(out);
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
            2 => Some(Self::Template(
                TenantId::decode(bytes)?,
                TemplateName::decode(bytes)?,
                String::decode(bytes)?,
            )),
            3 => Some(Self::SuspendedTemplate(
                TenantId::decode(bytes)?,
                String::decode(bytes)?,
                String::decode(bytes)?,
            )),
            4 => Some(Self::Portfolio(TenantId::decode(bytes)?, u8::decode(bytes)?)),
            _ => None,
        }
    }
}
