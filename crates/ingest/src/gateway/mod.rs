//! The webhook gateway: Meta's requests, checked and made durable.
//!
//! ```text
//! GET  /webhooks/{app} ─▶ token right? ─▶ challenge
//! POST /webhooks/{app} ─▶ signature header ─▶ room? ─▶ body ─▶ signature ─▶ broker's ack ─▶ 200
//! ```
//!
//! Reading order: [`Gateway`] and [`router`], then [`receive`] (the way of a POST), [`secrets`] and
//! [`signature`], [`sink`].
//!
//! **Architecture invariant:** 200 means that the broker has the body, byte for byte (I12). Any
//! other answer makes Meta send it again, for seven days.
//!
//! **Architecture invariant:** nothing of a body is looked at before its signature is right, and
//! after that only `entry[0].id`, which is the record key. What a body says is the stage's business.

mod receive;
mod secrets;
mod signature;
mod sink;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use sendplane_domain::time::Timestamp;
use sendplane_wire::codec::Encoder;
use sendplane_wire::record::WebhookBody;
use tokio::sync::Semaphore;

pub use secrets::{AppSecrets, EmptySecret};
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
    /// Bodies in work at once. Bounds memory: each may have [`BODY_BYTES_MAX`].
    pub concurrency_max: usize,
}

impl GatewaySettings {
    /// The defaults, for the instance called `instance`.
    pub fn new(instance: impl Into<String>) -> Self {
        Self {
            instance: instance.into(),
            body_read_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(5),
            concurrency_max: 128,
        }
    }
}

/// The wall clock, given by the owner of time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the handlers share.
pub struct Gateway<S> {
    settings: GatewaySettings,
    apps: BTreeMap<String, AppSecrets>,
    sink: S,
    encoder: Encoder<WebhookBody>,
    clock: Clock,
    room: Semaphore,
}

impl<S: WebhookSink> Gateway<S> {
    /// `apps` by the name that stands in their path; `encoder` is for the topic `webhooks`. An
    /// empty secret is refused: whoever guesses that could sign with it.
    pub fn new(
        settings: GatewaySettings,
        apps: BTreeMap<String, AppSecrets>,
        sink: S,
        encoder: Encoder<WebhookBody>,
        clock: Clock,
    ) -> Result<Self, EmptySecret> {
        for (app, secrets) in &apps {
            secrets.check(app)?;
        }
        let room = Semaphore::new(settings.concurrency_max);
        Ok(Self { settings, apps, sink, encoder, clock, room })
    }
}

/// The routes under `/webhooks`. Limits on the connection itself (header size and time) belong to
/// whoever serves them.
pub fn router<S: WebhookSink>(gateway: Arc<Gateway<S>>) -> Router {
    Router::new()
        .route("/webhooks/{app}", get(verify::handle::<S>).post(receive::handle::<S>))
        .with_state(gateway)
}

#[cfg(test)]
mod tests;
