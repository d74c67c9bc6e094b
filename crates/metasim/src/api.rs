//! The Graph endpoints of a business number.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sendplane_provider_model::{Answer, Call, Endpoint, TransportFault};
use serde_json::{Value, json};

use crate::listener::{Cut, Link};
use crate::shared::Shared;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/{version}/{phone_number_id}/messages", post(messages))
        .route("/{version}/{phone_number_id}/marketing_messages", post(marketing_messages))
        .route("/{version}/{phone_number_id}", get(phone_number))
        .fallback(unknown_path)
}

type Number = Path<(String, String)>;

async fn messages(
    State(shared): State<Arc<Shared>>,
    Path((_, phone_number_id)): Number,
    ConnectInfo(link): ConnectInfo<Link>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    send(&shared, Endpoint::Messages, &phone_number_id, &link, &headers, &body).await
}

async fn marketing_messages(
    State(shared): State<Arc<Shared>>,
    Path((_, phone_number_id)): Number,
    ConnectInfo(link): ConnectInfo<Link>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    send(&shared, Endpoint::MarketingMessages, &phone_number_id, &link, &headers, &body).await
}

async fn send(
    shared: &Shared,
    endpoint: Endpoint,
    phone_number_id: &str,
    link: &Link,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let bearer_token = bearer_token(headers);
    let answer = shared.send(&Call { endpoint, phone_number_id, bearer_token, body });
    if answer.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
    }
    match answer.fault {
        None => respond(answer),
        Some(fault) => {
            link.cut(match fault {
                TransportFault::ClosedAfterAccept => Cut::Close,
                // A connection from before the socket was closed can only be reset.
                TransportFault::Refused | TransportFault::ResetBeforeRead => Cut::Reset,
            });
            StatusCode::OK.into_response()
        }
    }
}

fn respond(answer: Answer) -> Response {
    let status =
        StatusCode::from_u16(answer.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = [(header::CONTENT_TYPE, answer.body.content_type())];
    let mut response = (status, content_type, answer.body.to_bytes()).into_response();
    for (name, value) in answer.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn phone_number(
    State(shared): State<Arc<Shared>>,
    Path((_, phone_number_id)): Number,
    headers: HeaderMap,
) -> Response {
    let model = shared.model();
    let (code, text) = match bearer_token(&headers) {
        None => (104, "An access token is required"),
        Some(token) if !model.token_is_valid(token) => (190, "Invalid OAuth access token"),
        Some(_) => match model.throughput(&phone_number_id) {
            Some(value) => return axum::Json(value).into_response(),
            None => (100, "Object does not exist"),
        },
    };
    let status = if code == 100 { StatusCode::BAD_REQUEST } else { StatusCode::UNAUTHORIZED };
    (status, axum::Json(error(code, text))).into_response()
}

async fn unknown_path() -> Response {
    // 2500 is Graph's code for a path it cannot read.
    let body = error(2500, "Unknown path components");
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}

fn error(code: i64, text: &str) -> Value {
    json!({"error": {"message": format!("(#{code}) {text}"), "type": "OAuthException", "code": code}})
}
