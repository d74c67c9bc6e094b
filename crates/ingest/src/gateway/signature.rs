//! `X-Hub-Signature-256: sha256=<hex>`, HMAC-SHA256 over the raw body, keyed by the app secret.
//! Every comparison takes the same time, whatever the outcome.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sendplane_wire::record::WebhookSecret;
use sha2::Sha256;

use super::secrets::AppSecrets;

const HEADER: &str = "x-hub-signature-256";
const PREFIX: &str = "sha256=";

/// A signature in its right form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signature([u8; 32]);

/// Why a request carries none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsigned {
    Missing,
    Malformed,
}

impl Signature {
    /// The request's only signature.
    pub fn of(headers: &HeaderMap) -> Result<Self, Unsigned> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next().ok_or(Unsigned::Missing)?;
        if values.next().is_some() {
            return Err(Unsigned::Malformed);
        }
        let digits = value.to_str().ok().and_then(|text| text.strip_prefix(PREFIX));
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits.ok_or(Unsigned::Malformed)?, &mut bytes)
            .map_err(|_| Unsigned::Malformed)?;
        Ok(Self(bytes))
    }

    /// Which secret of the app has signed exactly these bytes, if one has.
    pub fn verified_by(&self, body: &[u8], secrets: &AppSecrets) -> Option<WebhookSecret> {
        let signed_with = |secret: &SecretString| mac(secret, body).verify_slice(&self.0).is_ok();
        if signed_with(&secrets.current) {
            return Some(WebhookSecret::Current);
        }
        secrets.previous.as_ref().filter(|secret| signed_with(secret))?;
        Some(WebhookSecret::Previous)
    }
}

/// Whether `text` is the secret, in a time that tells nothing about it but its length.
pub(super) fn is_secret(text: &str, secret: &SecretString) -> bool {
    // Both sides become tags of the same key, and tags are compared in constant time.
    let tag = mac(secret, secret.expose_secret().as_bytes()).finalize();
    mac(secret, text.as_bytes()).verify_slice(&tag.into_bytes()).is_ok()
}

fn mac(key: &SecretString, data: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key.expose_secret().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(data);
    mac
}
