//! Endpoints for testers: the ledger, the knobs, injections, webhook delivery.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use sendplane_provider_model::{Accepted, Down, Duplicate, Injection, Repeated, Summary, magic};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::pump::Pump;
use crate::shared::Shared;

/// What the admin endpoints work on.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pump: Arc<Pump>,
    /// Whether there is a second listener, so that the first may refuse connections.
    pub(crate) may_refuse: bool,
}

pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/metasim/ledger", get(ledger))
        .route("/metasim/faults", get(faults).post(set_faults))
        .route("/metasim/limits", get(limits).post(set_limits))
        .route("/metasim/violations", get(violations).delete(reset_violations))
        .route("/metasim/rates", get(rates))
        .route("/metasim/inbound", post(inject))
        .route("/metasim/recipients", get(|| async { Json(magic::TABLE) }))
        .route("/metasim/webhooks", get(webhooks))
        .route("/metasim/webhooks/url", put(set_webhook_url))
        .route("/metasim/webhooks/verify", post(verify_webhook))
        .with_state(admin)
}

/// Messages of one answer, at most.
const PAGE_MAX: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerQuery {
    /// First ledger position.
    #[serde(default)]
    since: u64,
    limit: Option<usize>,
    /// Counters instead of messages.
    #[serde(default)]
    summary: bool,
    /// Only messages whose opaque data starts so.
    opaque_prefix: Option<String>,
    /// Only messages to this recipient, digits or user id.
    to: Option<String>,
    /// Groups of this many opaque fields with more than one message, instead of messages.
    duplicates: Option<usize>,
    /// Opaque data that came with more than one request, instead of messages.
    #[serde(default)]
    repeated: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum LedgerAnswer {
    Page { accepted: Vec<Accepted>, next: u64, total: u64 },
    Summary(Box<Summary>),
    Duplicates { duplicates: Vec<Duplicate> },
    Repeated { repeated: Vec<Repeated> },
}

async fn ledger(State(admin): State<Admin>, Query(query): Query<LedgerQuery>) -> Response {
    // Copied under the lock, written as JSON without it.
    let answer = {
        let model = admin.shared.model();
        let ledger = model.ledger();
        let limit = query.limit.unwrap_or(1_000).min(PAGE_MAX);
        let all = ledger.accepted().len() as u64;
        if query.summary {
            LedgerAnswer::Summary(Box::new(model.summary()))
        } else if query.repeated {
            LedgerAnswer::Repeated { repeated: ledger.repeated() }
        } else if let Some(fields) = query.duplicates {
            LedgerAnswer::Duplicates { duplicates: ledger.duplicates(fields) }
        } else {
            let since = |accepted: &&Accepted| accepted.index >= query.since;
            let accepted: Vec<Accepted> = match (&query.opaque_prefix, &query.to) {
                (None, None) => ledger.page(query.since, limit).to_vec(),
                (Some(prefix), to) => ledger
                    .by_opaque_prefix(prefix)
                    .filter(since)
                    .filter(|accepted| to.as_ref().is_none_or(|to| *to == accepted.to))
                    .take(limit)
                    .cloned()
                    .collect(),
                (None, Some(to)) => {
                    ledger.by_recipient(to).filter(since).take(limit).cloned().collect()
                }
            };
            let last = accepted.iter().map(|accepted| accepted.index + 1).max();
            LedgerAnswer::Page { accepted, next: last.unwrap_or(query.since.min(all)), total: all }
        }
    };
    Json(answer).into_response()
}

async fn faults(State(admin): State<Admin>) -> Response {
    let faults = admin.shared.model().faults().clone();
    Json(faults).into_response()
}

async fn set_faults(State(admin): State<Admin>, Json(patch): Json<Value>) -> Response {
    let current = admin.shared.model().faults().clone();
    let faults = match current.patched(&patch) {
        Ok(faults) => faults,
        Err(err) => return refused(StatusCode::BAD_REQUEST, &err.to_string()),
    };
    if faults.down == Down::Refuse && !admin.may_refuse {
        let text = "down=refuse closes the listener: start with --admin-listen to get back in";
        return refused(StatusCode::CONFLICT, text);
    }
    match admin.shared.set_faults(faults.clone()) {
        Ok(()) => Json(faults).into_response(),
        Err(err) => refused(StatusCode::BAD_REQUEST, &err.to_string()),
    }
}

async fn limits(State(admin): State<Admin>) -> Response {
    let limits = admin.shared.model().limits().clone();
    Json(limits).into_response()
}

async fn set_limits(State(admin): State<Admin>, Json(patch): Json<Value>) -> Response {
    let current = admin.shared.model().limits().clone();
    let set = current.patched(&patch).and_then(|limits| {
        admin.shared.set_limits(limits.clone())?;
        Ok(limits)
    });
    match set {
        Ok(limits) => Json(limits).into_response(),
        Err(err) => refused(StatusCode::BAD_REQUEST, &err.to_string()),
    }
}

async fn violations(State(admin): State<Admin>) -> Response {
    let violations = admin.shared.model().violations();
    Json(violations).into_response()
}

async fn reset_violations(State(admin): State<Admin>) -> StatusCode {
    admin.shared.model().reset_violations();
    StatusCode::NO_CONTENT
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesQuery {
    /// Graph id of the number.
    number: String,
    /// First second, Unix time.
    #[serde(default)]
    since: i64,
}

async fn rates(State(admin): State<Admin>, Query(query): Query<RatesQuery>) -> Response {
    let rates = admin.shared.model().rates(&query.number, query.since);
    match rates {
        Some(seconds) => Json(json!({"number": query.number, "seconds": seconds})).into_response(),
        None => refused(StatusCode::NOT_FOUND, &format!("no phone number {}", query.number)),
    }
}

async fn inject(State(admin): State<Admin>, Json(injection): Json<Injection>) -> Response {
    match admin.shared.inject(injection) {
        Ok(id) => Json(json!({"id": id})).into_response(),
        Err(err) => refused(StatusCode::NOT_FOUND, &err.to_string()),
    }
}

async fn webhooks(State(admin): State<Admin>) -> Response {
    let updates_pending = admin.shared.model().updates_pending();
    Json(admin.pump.stats(updates_pending)).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookUrl {
    /// Absent or null: webhooks are discarded.
    url: Option<String>,
}

async fn set_webhook_url(State(admin): State<Admin>, Json(to): Json<WebhookUrl>) -> Response {
    match admin.pump.set_url(to.url.as_deref()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(err) => refused(StatusCode::BAD_REQUEST, &err.to_string()),
    }
}

async fn verify_webhook(State(admin): State<Admin>) -> Response {
    let token = admin.shared.model().config().verify_token.clone();
    match admin.pump.verify(&token).await {
        Ok(()) => Json(json!({"verified": true})).into_response(),
        Err(err) => refused(StatusCode::BAD_GATEWAY, &format!("{err:#}")),
    }
}

fn refused(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({"refused": reason}))).into_response()
}
