//! `biz_opaque_callback_data`: the only value of ours that Meta returns on every status webhook.
//!
//! Text form `sp1.<tenant>.<slot>.<message id>.<attempt>.<mac>`, the tenant in hexadecimal. At most
//! 512 characters (Meta). The MAC makes a foreign or forged status recognisable.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::e164::E164;
use crate::id::{KeyedHash, MessageId, TenantId};
use crate::shard::ShardKey;

const PREFIX: &str = "sp1";
const MAC_HEX_DIGITS: usize = 16;

/// Meta's limit in characters.
pub const LENGTH_MAX: usize = 512;

/// Secret of one deployment: authenticates opaque data and keys the hashes of personal values.
/// `ingest`, `policy` and `send` must hold the same one.
#[derive(Clone)]
pub struct HashKey(Vec<u8>);

impl HashKey {
    /// Wraps the secret's bytes.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// Keyed hash of a personal value, 32 hexadecimal digits. `domain` keeps kinds apart.
    pub fn hash(&self, domain: &str, value: &str) -> KeyedHash {
        KeyedHash::new(&self.mac(&[domain, value])[..32])
    }

    /// The hash under which every stage knows a contact. The same number gives the same hash.
    pub fn contact(&self, recipient: &E164) -> KeyedHash {
        self.hash("contact", recipient.as_str())
    }

    fn mac(&self, parts: &[&str]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex::encode(mac.finalize().into_bytes())
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey([redacted])")
    }
}

/// What the opaque data says: whose message, and which attempt of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueData {
    /// Routes a webhook before its wamid is known.
    pub shard: ShardKey,
    /// The message.
    pub message_id: MessageId,
    /// Attempt number, from 1.
    pub attempt: u32,
}

/// Why opaque data is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Not in our form: another system sends through the same number.
    #[error("not in Sendplane's form")]
    Form,
    /// In our form, but not authenticated by our key.
    #[error("MAC does not match")]
    Mac,
}

impl OpaqueData {
    /// The text without its MAC: to look at, never to send.
    pub fn unauthenticated(&self) -> String {
        let tenant = hex::encode(self.shard.tenant.as_str());
        format!(
            "{PREFIX}.{tenant}.{}.{}.{}",
            self.shard.slot,
            hex::encode(self.message_id.as_bytes()),
            self.attempt
        )
    }

    /// The text to send.
    pub fn encode(&self, key: &HashKey) -> String {
        let body = self.unauthenticated();
        let mac = key.mac(&["opaque", &body]);
        format!("{body}.{}", &mac[..MAC_HEX_DIGITS])
    }

    /// Reads and authenticates text that came back.
    pub fn decode(text: &str, key: &HashKey) -> Result<Self, Foreign> {
        let (body, mac) = text.rsplit_once('.').ok_or(Foreign::Form)?;
        let parts: Vec<&str> = body.split('.').collect();
        let [PREFIX, tenant, slot, message_id, attempt] = parts[..] else {
            return Err(Foreign::Form);
        };
        let data = (|| {
            let tenant = String::from_utf8(hex::decode(tenant).ok()?).ok()?;
            let shard = ShardKey { tenant: TenantId::new(tenant), slot: slot.parse().ok()? };
            let message_id = message_id.parse().ok()?;
            Some(Self { shard, message_id, attempt: attempt.parse().ok()? })
        })()
        .ok_or(Foreign::Form)?;
        // Compared as keyed hashes of both sides, so that timing tells nothing about the MAC.
        let expected = key.mac(&["opaque", body]);
        if key.mac(&["compare", mac]) != key.mac(&["compare", &expected[..MAC_HEX_DIGITS]]) {
            return Err(Foreign::Mac);
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> OpaqueData {
        OpaqueData {
            shard: ShardKey::of(TenantId::new("acme.eu")),
            message_id: MessageId::from_bytes([7; 16]),
            attempt: 3,
        }
    }

    #[test]
    fn round_trips_and_fits() {
        let key = HashKey::new("secret");
        let text = data().encode(&key);
        assert!(text.len() <= LENGTH_MAX);
        assert_eq!(OpaqueData::decode(&text, &key), Ok(data()));
    }

    #[test]
    fn refuses_what_is_not_ours() {
        let key = HashKey::new("secret");
        let text = data().encode(&key);
        assert_eq!(OpaqueData::decode(&text, &HashKey::new("other")), Err(Foreign::Mac));
        let forged = text.replace(".3.", ".4.");
        assert_eq!(OpaqueData::decode(&forged, &key), Err(Foreign::Mac));
        for foreign in ["", "order-17", "sp1.a.b", "sp1.zz.0.00.1.aaaa", "é.é.é.é.é.é"] {
            assert_eq!(OpaqueData::decode(foreign, &key), Err(Foreign::Form), "{foreign:?}");
        }
    }
}
