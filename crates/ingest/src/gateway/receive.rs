//! The way of a POST.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use sendplane_domain::path_health::Verdict;
use sendplane_domain::trace::header as trace_header;
use sendplane_wire::record::{WebhookBody, WebhookSecret};
use sendplane_wire::topic;
use sendplane_wire::webhook::accounts;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};

use super::path::Path as PathAccount;
use super::room::Share;
use super::signature::{Signature, Unsigned};
use super::sink::{SinkRecord, WebhookSink};
use super::{BODY_BYTES_MAX, Gateway, Late, RETRY_AFTER_SECS, TRACE_HEADER_BYTES_MAX};

/// Memory taken for a body before its first byte is there.
const FIRST_BUFFER_BYTES: usize = 16 * 1024;

/// A body that is in the log under `entry[0].id`, so that what Meta says about one account stays in
/// order.
struct Taken {
    /// It names no account, or more than one: part of it is not where its account's bodies are.
    is_astray: bool,
}

/// Why a POST is not answered with 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    UnknownApp { is_signed: bool },
    Unsigned(Unsigned),
    WrongSignature,
    TooLarge,
    ReadTimeout,
    BodyBroken,
    Overloaded,
    NotEncodable,
    SinkFailed,
    SinkTimeout,
}

impl Refused {
    /// Status, and the label of `sendplane_webhook_rejected_total`.
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Refused::UnknownApp { .. } => (StatusCode::NOT_FOUND, "unknown_app"),
            Refused::Unsigned(Unsigned::Missing) => (StatusCode::UNAUTHORIZED, "signature_missing"),
            Refused::Unsigned(Unsigned::Malformed) => {
                (StatusCode::UNAUTHORIZED, "signature_malformed")
            }
            Refused::WrongSignature => (StatusCode::UNAUTHORIZED, "signature_wrong"),
            Refused::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Refused::ReadTimeout => (StatusCode::REQUEST_TIMEOUT, "read_timeout"),
            Refused::BodyBroken => (StatusCode::BAD_REQUEST, "body_broken"),
            Refused::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Refused::NotEncodable => (StatusCode::INTERNAL_SERVER_ERROR, "not_encodable"),
            Refused::SinkFailed => (StatusCode::SERVICE_UNAVAILABLE, "sink_failed"),
            Refused::SinkTimeout => (StatusCode::SERVICE_UNAVAILABLE, "sink_timeout"),
        }
    }
}

impl Refused {
    /// What it says about the way of webhooks. Meta signs every webhook, so what is not signed in
    /// form is none; whatever is may be one.
    fn verdict(self, app: &str) -> Verdict<'_> {
        match self {
            Refused::Unsigned(_) | Refused::UnknownApp { is_signed: false } => Verdict::NoWebhook,
            Refused::WrongSignature => Verdict::WrongSignature(app),
            Refused::UnknownApp { is_signed: true }
            | Refused::TooLarge
            | Refused::ReadTimeout
            | Refused::BodyBroken
            | Refused::Overloaded
            | Refused::NotEncodable
            | Refused::SinkFailed
            | Refused::SinkTimeout => Verdict::TurnedAway,
        }
    }
}

/// An answer without a body: who is refused learns nothing but the status.
pub(super) fn rejected(status: StatusCode, reason: &'static str) -> Response {
    metrics::counter!("sendplane_webhook_rejected_total", "reason" => reason).increment(1);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return (status, [(header::RETRY_AFTER, RETRY_AFTER_SECS)]).into_response();
    }
    status.into_response()
}

/// The answer while the brokers or the schemas have not been reached yet.
pub(super) fn starting() -> Response {
    rejected(StatusCode::SERVICE_UNAVAILABLE, "starting")
}

pub(super) async fn handle<S: WebhookSink>(
    State((gateway, path)): State<(Late<S>, Arc<PathAccount>)>,
    app: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let in_work = path.begin();
    // Dropping it says that somebody was turned away.
    let Some(gateway) = gateway.get() else { return starting() };
    // A path that is no text names no app either.
    let app = app.map_or_else(|_| String::new(), |Path(app)| app);
    let outcome = receive(gateway, &app, request).await;
    in_work.end(match &outcome {
        Ok(Taken { is_astray: false }) => Verdict::Taken(&app),
        Ok(Taken { is_astray: true }) => Verdict::Astray(&app),
        Err(refused) => refused.verdict(&app),
    });
    metrics::histogram!("sendplane_webhook_seconds").record(started.elapsed().as_secs_f64());
    match outcome {
        Ok(Taken { .. }) => {
            metrics::counter!("sendplane_webhook_accepted_total").increment(1);
            StatusCode::OK.into_response()
        }
        Err(refused) => {
            let (status, reason) = refused.answer();
            rejected(status, reason)
        }
    }
}

async fn receive<S: WebhookSink>(
    gateway: &Gateway<S>,
    app: &str,
    request: Request,
) -> Result<Taken, Refused> {
    let (parts, body) = request.into_parts();
    let signature = Signature::of(&parts.headers).map_err(Refused::Unsigned);
    if !gateway.apps.contains(app) {
        return Err(Refused::UnknownApp { is_signed: signature.is_ok() });
    }
    let signature = signature?;
    // Held until the answer: it bounds the bodies in memory.
    let mut share = gateway.room.share();
    let body = timeout(gateway.settings.body_read_timeout, read(body, &mut share))
        .await
        .map_err(|_| Refused::ReadTimeout)??;
    let secret = verified(gateway, app, &signature, &body)?;
    let accounts = accounts(&body);
    let is_astray = !accounts.as_ref().is_some_and(|accounts| accounts.is_only);
    let key = accounts.map_or_else(|| digest(&body), |accounts| accounts.first);
    let record = record(gateway, app, &parts.headers, key, body, secret)?;
    match timeout(gateway.settings.publish_timeout, gateway.sink.publish(record)).await {
        Ok(Ok(())) => Ok(Taken { is_astray }),
        Ok(Err(error)) => {
            tracing::warn!(app, %error, "webhook is not in the log: answering 503");
            Err(Refused::SinkFailed)
        }
        Err(_) => {
            tracing::warn!(app, "webhook was not acknowledged in time: answering 503");
            Err(Refused::SinkTimeout)
        }
    }
}

/// Which secret of `app` signed the body; the secrets are those in force now.
fn verified<S>(
    gateway: &Gateway<S>,
    app: &str,
    signature: &Signature,
    body: &[u8],
) -> Result<WebhookSecret, Refused> {
    let secrets = gateway.apps.get(app).ok_or(Refused::UnknownApp { is_signed: true })?;
    signature.verified_by(body, &secrets).ok_or_else(|| {
        tracing::debug!(app, "webhook signature does not match any secret");
        Refused::WrongSignature
    })
}

fn record<S>(
    gateway: &Gateway<S>,
    app: &str,
    headers: &HeaderMap,
    key: String,
    body: Vec<u8>,
    secret: WebhookSecret,
) -> Result<SinkRecord, Refused> {
    let webhook = WebhookBody {
        app: app.to_owned(),
        received_at: (gateway.clock)(),
        body,
        secret,
        gateway: gateway.settings.instance.clone(),
    };
    let value = gateway.encoder.encode(&webhook).map_err(|error| {
        tracing::error!(app, %error, "webhook cannot be encoded");
        Refused::NotEncodable
    })?;
    Ok(SinkRecord { topic: topic::WEBHOOKS, key, value, headers: passed_on(headers) })
}

/// Reads the body, no further than its limit and while there is room. A length announced beyond the
/// limit is refused unread.
async fn read(mut body: Body, share: &mut Share<'_>) -> Result<Vec<u8>, Refused> {
    let announced = body.size_hint().lower();
    if announced > BODY_BYTES_MAX as u64 {
        return Err(Refused::TooLarge);
    }
    let mut bytes = BytesMut::with_capacity((announced as usize).min(FIRST_BUFFER_BYTES));
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| Refused::BodyBroken)?;
        // Trailers are not part of the body.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        if !share.grow(data.len()) {
            return Err(Refused::Overloaded);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// The record key of a body that names no account: its repetition meets the first one.
fn digest(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// The headers of a trace, if they are text of sensible length.
fn passed_on(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    [trace_header::TRACEPARENT, trace_header::TRACESTATE, trace_header::CORRELATION_ID]
        .into_iter()
        .filter_map(|name| {
            let value = headers.get(name)?.as_bytes();
            let text = std::str::from_utf8(value).ok()?;
            (text.len() <= TRACE_HEADER_BYTES_MAX).then(|| (name.to_owned(), value.to_vec()))
        })
        .collect()
}
