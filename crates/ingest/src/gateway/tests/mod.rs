//! The router with a sink that can fail: in process, and over a socket where bytes come slowly.

mod connections;
mod path;
mod post;
mod socket;
mod verification;

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use hmac::{Hmac, KeyInit, Mac};
use sendplane_wire::codec::StaticSchemas;
use sendplane_wire::topic;
use sha2::Sha256;
use tokio::sync::Notify;
use tower::ServiceExt;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);

/// What a sink does with the next records.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Acknowledge,
    Fail,
    /// Waits for [`FakeSink::go`].
    Hang,
}

struct FakeSink {
    mode: Mutex<Mode>,
    records: Mutex<Vec<SinkRecord>>,
    go: Notify,
}

impl WebhookSink for Arc<FakeSink> {
    async fn publish(&self, record: SinkRecord) -> Result<(), SinkError> {
        let mode = *self.mode.lock().expect("not poisoned");
        match mode {
            Mode::Acknowledge => {}
            Mode::Fail => return Err(SinkError("broker is away".into())),
            Mode::Hang => self.go.notified().await,
        }
        self.records.lock().expect("not poisoned").push(record);
        Ok(())
    }
}

impl FakeSink {
    fn set(&self, mode: Mode) {
        *self.mode.lock().expect("not poisoned") = mode;
    }

    fn records(&self) -> Vec<SinkRecord> {
        self.records.lock().expect("not poisoned").clone()
    }

    /// The only record, and the body in it.
    fn only(&self) -> (SinkRecord, WebhookBody) {
        let records = self.records();
        let [record] = &records[..] else { panic!("expected one record, got {records:?}") };
        let decoder = StaticSchemas::new().decoder::<WebhookBody>(topic::WEBHOOKS);
        (record.clone(), decoder.decode(Some(&record.value)).expect("decodes"))
    }
}

fn secrets(current: &str, previous: Option<&str>) -> AppSecrets {
    AppSecrets {
        current: current.into(),
        previous: previous.map(Into::into),
        verify_token: "let-me-in".into(),
    }
}

/// A gateway for the apps `main` (secrets `new`, before `old`) and `rfc` (secret `Jefe`).
fn gateway_with(settings: GatewaySettings) -> (Router, Arc<FakeSink>) {
    let (router, sink, _) = rotated(settings);
    (router, sink)
}

/// As [`gateway_with`], with the secrets to rotate.
fn rotated(settings: GatewaySettings) -> (Router, Arc<FakeSink>, Apps) {
    let (router, sink, apps, _) = watched(settings);
    (router, sink, apps)
}

/// As [`rotated`], with the account of whom it turned away.
fn watched(settings: GatewaySettings) -> (Router, Arc<FakeSink>, Apps, Arc<Path>) {
    let sink = Arc::new(FakeSink {
        mode: Mutex::new(Mode::Acknowledge),
        records: Mutex::default(),
        go: Notify::new(),
    });
    let apps = Apps::new(BTreeMap::from([
        ("main".to_owned(), secrets("new", Some("old"))),
        ("rfc".to_owned(), secrets("Jefe", None)),
    ]));
    let apps = apps.expect("no secret is empty");
    let encoder = StaticSchemas::new().encoder(topic::WEBHOOKS);
    let clock: Clock = Arc::new(|| NOW);
    let late: Late<Arc<FakeSink>> = Arc::default();
    let _ = late.set(Gateway::new(settings, apps.clone(), sink.clone(), encoder, clock));
    let path = Arc::new(Path::new(Arc::new(|| NOW)));
    (router(late, path.clone()), sink, apps, path)
}

fn gateway() -> (Router, Arc<FakeSink>) {
    gateway_with(GatewaySettings::new("ingest-0"))
}

fn sign(body: &[u8], secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn post(path: &str, signature: Option<&str>, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(path);
    if let Some(signature) = signature {
        request = request.header("X-Hub-Signature-256", signature);
    }
    request.body(body.into()).expect("a request")
}

fn signed(body: &[u8], secret: &str) -> Request<Body> {
    post("/webhooks/main", Some(&sign(body, secret)), body.to_vec())
}

async fn call(router: &Router, request: Request<Body>) -> Response {
    router.clone().oneshot(request).await.expect("a router always answers")
}

/// Status and body.
async fn answer(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = call(router, request).await;
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, String::from_utf8(bytes.to_vec()).expect("text"))
}

fn retry_after(headers: &HeaderMap) -> Option<&str> {
    headers.get("retry-after")?.to_str().ok()
}

#[test]
fn an_empty_secret_is_refused() {
    let cases = [
        (secrets("", None), "current secret of webhook app \"a\" is empty"),
        (secrets("x", Some("")), "previous secret of webhook app \"a\" is empty"),
        (
            AppSecrets { verify_token: "".into(), ..secrets("x", None) },
            "verify token of webhook app \"a\" is empty",
        ),
    ];
    for (secrets, expected) in cases {
        let apps = BTreeMap::from([("a".to_owned(), secrets)]);
        let error = Apps::new(apps.clone()).expect_err("refused").to_string();
        assert!(error.starts_with(expected), "{error}");
        let (_, _, running) = rotated(GatewaySettings::new("i"));
        assert!(running.replace(apps).is_err());
        assert!(running.contains("main"), "the former secrets stay");
    }
}
