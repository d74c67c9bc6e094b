//! The Graph endpoints: sends of a number, questions about a number, an account or a token.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sendplane_provider_model::{Answer, Call, Endpoint, NodeCall, TransportFault};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock;
use crate::listener::{Cut, Link};
use crate::shared::Shared;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/{version}/{phone_number_id}/messages", post(messages))
        .route("/{version}/{phone_number_id}/marketing_messages", post(marketing_messages))
        .route("/{version}/debug_token", get(debug_token))
        .route("/{version}/{id}", get(node))
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
    // The time of the answer counts from here, however long the model was busy with others.
    let start = clock::monotonic();
    let bearer_token = bearer_token(headers);
    let answer = shared.send(&Call { endpoint, phone_number_id, bearer_token, body });
    if answer.delay_ms > 0 {
        tokio::time::sleep_until(start + Duration::from_millis(answer.delay_ms)).await;
    }
    carry_out(answer, link)
}

fn carry_out(answer: Answer, link: &Link) -> Response {
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

#[derive(Debug, Deserialize)]
struct NodeQuery {
    fields: Option<String>,
}

async fn node(
    State(shared): State<Arc<Shared>>,
    Path((_, id)): Path<(String, String)>,
    Query(query): Query<NodeQuery>,
    ConnectInfo(link): ConnectInfo<Link>,
    headers: HeaderMap,
) -> Response {
    let (fields, bearer_token) = (query.fields.as_deref(), bearer_token(&headers));
    carry_out(shared.get(&NodeCall { id: &id, fields, bearer_token }), &link)
}

#[derive(Debug, Deserialize)]
struct TokenQuery {
    input_token: String,
}

async fn debug_token(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<TokenQuery>,
    headers: HeaderMap,
) -> Response {
    let mut model = shared.model();
    let asker = bearer_token(&headers);
    // A token may ask about itself, also when it is no longer valid.
    match asker {
        Some(asker) if asker == query.input_token || model.token_is_valid(asker) => {
            axum::Json(model.debug_token(clock::now_ms(), &query.input_token)).into_response()
        }
        _ => {
            let body = error(190, "Invalid OAuth access token");
            (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response()
        }
    }
}

async fn unknown_path() -> Response {
    // 2500 is Graph's code for a path it cannot read.
    let body = error(2500, "Unknown path components");
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}

fn error(code: i64, text: &str) -> Value {
    json!({"error": {"message": format!("(#{code}) {text}"), "type": "OAuthException", "code": code}})
}
