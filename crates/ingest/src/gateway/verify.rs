//! The registration of an address: Meta asks whether it is ours.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::receive::{rejected, starting};
use super::signature::is_secret;
use super::{Late, WebhookSink};

#[derive(Deserialize)]
pub(super) struct Question {
    #[serde(rename = "hub.mode")]
    mode: String,
    #[serde(rename = "hub.verify_token")]
    verify_token: String,
    #[serde(rename = "hub.challenge")]
    challenge: String,
}

pub(super) async fn handle<S: WebhookSink>(
    State(gateway): State<Late<S>>,
    app: Result<Path<String>, PathRejection>,
    question: Result<Query<Question>, QueryRejection>,
) -> Response {
    let Some(gateway) = gateway.get() else { return starting() };
    // A path that is no text names no app either.
    let app = app.map_or_else(|_| String::new(), |Path(app)| app);
    let Some(secrets) = gateway.apps.get(&app) else {
        return rejected(StatusCode::NOT_FOUND, "unknown_app");
    };
    match question {
        Ok(Query(question))
            if question.mode == "subscribe"
                && is_secret(&question.verify_token, &secrets.verify_token) =>
        {
            tracing::info!(app, "webhook address verified");
            // Text that nothing takes for a page: it is whatever the caller sent.
            let headers = [
                (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, question.challenge).into_response()
        }
        Ok(_) | Err(_) => rejected(StatusCode::FORBIDDEN, "verify_token"),
    }
}
