//! `WebhookBody`, `schemas/sendplane.webhooks.v1/WebhookBody.avsc`.

use std::fmt;

use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// One webhook request from Meta, its signature checked, its body untouched. Produced by the
/// gateway. Key: `entry[0].id` of the body, or the body's SHA-256 when there is none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "WebhookBody")]
pub struct WebhookBody {
    /// The app in the path /webhooks/{app}; it selected the secrets.
    pub app: String,
    /// When the gateway had read the whole body.
    pub received_at: Timestamp,
    /// The request body, byte for byte: the signature covers exactly these bytes.
    #[serde(with = "apache_avro::serde::bytes")]
    pub body: Vec<u8>,
    /// The secret that verified the signature; PREVIOUS long after a rotation means that Meta still
    /// signs with the old one.
    pub secret: WebhookSecret,
    /// Instance id of the gateway that accepted the request.
    pub gateway: String,
}

avro_record!(WebhookBody, "sendplane.webhooks.v1/WebhookBody.avsc");

/// Which of an app's two secrets verified the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "WebhookSecret", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WebhookSecret {
    /// A symbol this version does not know.
    Unknown,
    /// The current secret.
    Current,
    /// The secret before the last rotation.
    Previous,
}

/// The body is personal data: only its length is shown.
impl fmt::Debug for WebhookBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookBody")
            .field("app", &self.app)
            .field("received_at", &self.received_at)
            .field("body", &format_args!("[{} bytes]", self.body.len()))
            .field("secret", &self.secret)
            .field("gateway", &self.gateway)
            .finish()
    }
}
