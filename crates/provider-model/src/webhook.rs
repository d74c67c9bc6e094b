//! Webhook bodies in Meta's envelope, and their signature.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::code::webhook_error;
use crate::config::PhoneNumber;
use crate::ledger::Accepted;
use crate::rng::{Concern, Rng, hash_text};

/// One request that Meta would send to the webhook address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Position among all webhooks of this model, from 0.
    pub sequence: u64,
    /// Number concerned; none for changes of an account.
    pub phone_number_id: Option<String>,
    /// `entry[].id`.
    pub waba_id: String,
    /// Updates inside.
    pub updates: usize,
    /// The exact bytes to sign and to post.
    pub body: Vec<u8>,
}

/// The value of `X-Hub-Signature-256`: HMAC-SHA256 over the raw body, keyed by the app secret.
pub fn sign(body: &[u8], app_secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(app_secret.as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Meta's timestamps of messages and statuses: seconds, as a string.
pub(crate) fn timestamp(at_ms: i64) -> String {
    at_ms.div_euclid(1_000).to_string()
}

/// The business-scoped user id of a number within a WABA.
pub(crate) fn business_scoped_id(seed: u64, waba_id: &str, digits: &str) -> String {
    let key = hash_text(waba_id) ^ hash_text(digits).rotate_left(1);
    let id = Rng::keyed(seed, Concern::BusinessScopedId, key).next_u64();
    format!("ZZ.{id:020}")
}

/// Whether a recipient is a business-scoped user id and no number.
pub(crate) fn is_business_scoped(to: &str) -> bool {
    to.contains('.')
}

/// One element of `statuses[]`. `user_id`: the recipient's business-scoped id, if it is shown.
pub(crate) fn status(
    message: &Accepted,
    status: &str,
    at_ms: i64,
    code: Option<i64>,
    pricing: Option<Value>,
    user_id: Option<&str>,
) -> Value {
    let mut value = json!({
        "id": message.wamid, "status": status, "timestamp": timestamp(at_ms),
    });
    if !is_business_scoped(&message.to) {
        value["recipient_id"] = message.to.as_str().into();
    }
    if let Some(user_id) = user_id {
        value["recipient_user_id"] = user_id.into();
    }
    if let Some(opaque) = &message.opaque {
        value["biz_opaque_callback_data"] = opaque.as_str().into();
    }
    if let Some(pricing) = pricing {
        value["pricing"] = pricing;
    }
    if let Some(code) = code {
        value["errors"] = json!([webhook_error(code)]);
    }
    value
}

/// The `value` of a change about a number: metadata and whatever is added to it.
pub(crate) fn number_value(number: &PhoneNumber) -> Value {
    json!({
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": number.display_number, "phone_number_id": number.id,
        },
    })
}

/// The body of one change, of the time `at_ms` if it is to say so; non-ASCII characters escaped as Meta does: re-serialised JSON has
/// other bytes than the signed ones.
pub(crate) fn envelope(waba_id: &str, field: &str, value: Value, at_ms: Option<i64>) -> Vec<u8> {
    let mut body = json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": waba_id, "changes": [{"value": value, "field": field}]}],
    });
    if let Some(at_ms) = at_ms {
        body["entry"][0]["time"] = at_ms.div_euclid(1_000).into();
    }
    let text = body.to_string();
    if text.is_ascii() {
        return text.into_bytes();
    }
    let mut escaped = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_hmac_sha256() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign(b"what do ya want for nothing?", "Jefe"), expected);
    }

    #[test]
    fn bodies_are_ascii_and_mean_the_same() {
        let body = envelope("1", "messages", json!({"text": "grüße 🎉 \"x\""}), None);
        assert!(body.is_ascii());
        assert!(body.windows(6).any(|bytes| bytes == b"\\u00fc"));
        let parsed: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(parsed["entry"][0]["changes"][0]["value"]["text"], "grüße 🎉 \"x\"");
    }

    #[test]
    fn timestamps_are_whole_seconds() {
        assert_eq!(timestamp(1_749_416_383_999), "1749416383");
    }
}
