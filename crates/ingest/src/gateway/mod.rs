//! The webhook gateway: Meta's requests, checked and made durable.
//!
//! ```text
//! connection ─▶ slot? ─▶ head, within its time and size
//!   GET  /webhooks/{app} ─▶ token right? ─▶ challenge
//!   POST /webhooks/{app} ─▶ signature header ─▶ body, while there is room ─▶ signature ─▶ broker's
//!                           acknowledgement ─▶ 200
//! ```
//!
//! Reading order: [`Gateway`] and [`router`], then `receive` (the way of a POST), [`secrets`] and
//! `signature`, [`sink`], [`path`] (who was turned away); [`server`] is about connections.
//!
//! Memory has a bound: connections × header bytes, and about three times the buffered bytes (the
//! body, its record, and librdkafka's copy until the acknowledgement).
//!
//! A body is taken as it was sent: `Content-Encoding` is neither undone nor refused, because the
//! signature covers the bytes on the wire and what they mean is the stage's business.
//!
//! **Architecture invariant:** 200 means that the broker has the body, byte for byte (I12). Any
//! other answer makes Meta send it again, for seven days.
//!
//! **Architecture invariant:** nothing of a body is looked at before its signature is right, and
//! after that only `entry[0].id`, which is the record key. What a body says is the stage's business.

mod path;
mod receive;
mod room;
pub mod secrets;
pub mod server;
mod signature;
mod sink;
mod verify;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use sendplane_domain::time::Timestamp;
use sendplane_wire::codec::Encoder;
use sendplane_wire::record::WebhookBody;

pub use path::Path;
use receive::rejected;
use room::Room;
pub use secrets::{AppSecrets, Apps, EmptySecret};
pub use sink::{SinkError, SinkRecord, WebhookSink};

/// Largest body, in bytes. Meta says 3 MB without saying of which kind; this is the larger.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Longest trace header passed on, in bytes. The stage passes on no longer ones.
pub const TRACE_HEADER_BYTES_MAX: usize = 1024;

/// What `Retry-After` says beside a 503, in seconds. Meta keeps a schedule of its own.
pub const RETRY_AFTER_SECS: u64 = 2;

const _: () = assert!(
    BODY_BYTES_MAX + 64 * 1024 < sendplane_wire::topic::WEBHOOK_BYTES_MAX as usize,
    "a body fits its topic together with framing and headers"
);

/// How the gateway behaves.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Instance id, for `WebhookBody.gateway`.
    pub instance: String,
    /// A body that is not complete after this is given up, so that slow senders hold no room.
    pub body_read_timeout: Duration,
    /// An acknowledgement that is not there after this counts as a failure.
    pub publish_timeout: Duration,
    /// Bytes of all bodies in work at once; beyond it bodies are refused with 503. At least
    /// [`BODY_BYTES_MAX`], or the largest body would never find room.
    pub buffered_bytes_max: usize,
}

impl GatewaySettings {
    /// The defaults, for the instance called `instance`.
    pub fn new(instance: impl Into<String>) -> Self {
        Self {
            instance: instance.into(),
            body_read_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(5),
            buffered_bytes_max: 128 * 1024 * 1024,
        }
    }
}

/// The wall clock, given by the owner of time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the handlers share.
pub struct Gateway<S> {
    settings: GatewaySettings,
    apps: Apps,
    sink: S,
    encoder: Encoder<WebhookBody>,
    clock: Clock,
    room: Room,
}

impl<S: WebhookSink> Gateway<S> {
    /// `encoder` is for the topic `webhooks`.
    pub fn new(
        settings: GatewaySettings,
        apps: Apps,
        sink: S,
        encoder: Encoder<WebhookBody>,
        clock: Clock,
    ) -> Self {
        let room = Room::new(settings.buffered_bytes_max);
        Self { settings, apps, sink, encoder, clock, room }
    }
}

/// A gateway that may still be waiting for what it needs. Until it is set, every request under
/// `/webhooks` is answered with 503.
pub type Late<S> = Arc<OnceLock<Gateway<S>>>;

/// The routes under `/webhooks`; `path` keeps account of the webhooks that are turned away. Limits
/// on the connection itself belong to the [`server`].
pub fn router<S: WebhookSink>(gateway: Late<S>, path: Arc<Path>) -> Router {
    let post = post(receive::handle::<S>).with_state((gateway.clone(), path));
    let get = get(verify::handle::<S>).with_state(gateway);
    Router::new()
        .route("/webhooks/{app}", get.merge(post))
        .fallback(|| async { rejected(StatusCode::NOT_FOUND, "unknown_path") })
        .method_not_allowed_fallback(|| async {
            rejected(StatusCode::METHOD_NOT_ALLOWED, "method")
        })
}

#[cfg(test)]
mod tests;
