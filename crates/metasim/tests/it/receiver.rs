//! A webhook address that verifies signatures and can refuse for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use sendplane_provider_model::sign;
use serde_json::Value;

/// The receiver; it ends with the test's runtime.
pub struct Receiver {
    addr: std::net::SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    secret: String,
    /// `value` of every change of an accepted body.
    values: Mutex<Vec<Value>>,
    /// Posts that are still refused with 503.
    refusals: AtomicU64,
    forged: AtomicU64,
}

impl Receiver {
    pub async fn start(secret: &str) -> Self {
        let inner = Arc::new(Inner {
            secret: secret.to_owned(),
            values: Mutex::default(),
            refusals: AtomicU64::new(0),
            forged: AtomicU64::new(0),
        });
        let app =
            Router::new().route("/hook", get(verify).post(receive)).with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { addr, inner }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub fn refuse(&self, posts: u64) {
        self.inner.refusals.store(posts, Ordering::SeqCst);
    }

    pub fn forged(&self) -> u64 {
        self.inner.forged.load(Ordering::SeqCst)
    }

    pub fn values(&self) -> Vec<Value> {
        self.inner.values.lock().expect("not poisoned").clone()
    }

    /// Every element of `statuses[]` so far.
    pub fn statuses(&self) -> Vec<Value> {
        let values = self.values();
        let lists = values.iter().filter_map(|value| value["statuses"].as_array());
        lists.flatten().cloned().collect()
    }

    /// Waits until `count` statuses have come.
    pub async fn wait_for_statuses(&self, count: usize) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + super::DEADLINE;
        loop {
            let statuses = self.statuses();
            if statuses.len() >= count {
                return statuses;
            }
            let late = tokio::time::Instant::now() >= deadline;
            assert!(!late, "{} of {count} statuses came", statuses.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn verify(Query(query): Query<Vec<(String, String)>>) -> (StatusCode, String) {
    let get = |name: &str| {
        let found = query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    if get("hub.mode") == "subscribe" && get("hub.verify_token") == "metasim-verify-token" {
        (StatusCode::OK, get("hub.challenge"))
    } else {
        (StatusCode::FORBIDDEN, String::new())
    }
}

async fn receive(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers.get("x-hub-signature-256").map(|value| value.as_bytes());
    if signature != Some(sign(&body, &inner.secret).as_bytes()) {
        inner.forged.fetch_add(1, Ordering::SeqCst);
        return StatusCode::FORBIDDEN;
    }
    let one_less = |left: u64| left.checked_sub(1);
    if inner.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let entries = body["entry"].as_array().expect("entries").iter();
    let changes = entries.flat_map(|entry| entry["changes"].as_array().expect("changes"));
    let values = changes.map(|change| change["value"].clone());
    inner.values.lock().expect("not poisoned").extend(values);
    StatusCode::OK
}
