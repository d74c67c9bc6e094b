//! Against real sockets on the loopback: what the provider sees, and what we make of its answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect};
use axum::routing::any;
use sendplane_domain::e164::E164;
use sendplane_domain::id::{KeyedHash, MessageId, TemplateName, TenantId, Wamid};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_wire::cloud_api::{Acceptance, ApiError, ProductPolicy, UnparsedReason};
use sendplane_wire::record::TemplateParameter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a call proves does not depend on its endpoint.
const ROUTES: [Route; 3] = [
    Route::Messages,
    Route::Marketing { product_policy: ProductPolicy::CloudApiFallback },
    Route::Marketing { product_policy: ProductPolicy::Strict },
];
const OPAQUE: &str = "sp1.61636d65.0.00.1.aa";
const TOKEN: &str = "EAAG-secret";
const ACCEPTED: &str = r#"{"messages":[{"id":"wamid.X"}]}"#;

fn dispatch() -> Dispatch {
    Dispatch {
        decision_seq: 1,
        idempotency_key: sendplane_domain::id::IdempotencyKey::new("key"),
        order_id: None,
        created_at: Timestamp::default(),
        admitted_at: Timestamp::default(),
        deadline: Timestamp::default(),
        message_id: MessageId::from_bytes([7; 16]),
        tenant: TenantId::new("acme"),
        lane: Lane::Transactional,
        phone_number_id: PhoneNumberId::new("106540352242922"),
        recipient: E164::parse("+4915112345678").unwrap(),
        contact_hash: KeyedHash::new("00"),
        template_name: TemplateName::new("order_update"),
        template_language: "en_US".into(),
        template_version: 1,
        category: "utility".into(),
        parameters: vec![TemplateParameter { name: None, value: "№ 17".into() }],
        campaign: None,
        consent_seq: 1,
        valid_until: Timestamp::from_millis(0),
        dispatched_at: Timestamp::from_millis(0),
    }
}

fn api(base_url: &str, adjust: impl FnOnce(&mut Config)) -> CloudApi {
    let mut config = Config::new(base_url, "v25.0");
    adjust(&mut config);
    CloudApi::new(&config).unwrap()
}

async fn call_by(api: &CloudApi, route: Route, start_in: Duration) -> Completed {
    let dispatch = dispatch();
    let token = SecretString::from(TOKEN);
    api.send_template(Call {
        route,
        phone_number_id: &dispatch.phone_number_id,
        token: &token,
        dispatch: &dispatch,
        opaque_data: OPAQUE,
        start_by: Instant::now() + start_in,
    })
    .await
}

async fn call_over(api: &CloudApi, route: Route) -> Completed {
    call_by(api, route, Duration::from_secs(2)).await
}

async fn call(api: &CloudApi) -> Completed {
    call_over(api, Route::Messages).await
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address.to_string())
}

async fn serve(router: Router) -> String {
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Answers everything with `status` and `body`.
async fn answering(status: u16, body: impl Into<String>) -> String {
    let (status, body) = (StatusCode::from_u16(status).unwrap(), body.into());
    serve(Router::new().fallback(move || async move { (status, body) })).await
}

/// Reads one request, head and body.
async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("content-length: ").expect("a length").1;
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if body.len() >= length {
                return Some(request);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => request.extend_from_slice(&chunk[..read]),
        }
    }
}

fn keep_alive(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn lost_reason(completed: &Completed) -> &str {
    assert!(completed.latency.is_some(), "it was handed over: {completed:?}");
    match &completed.outcome {
        Outcome::Lost { reason } => reason,
        other => panic!("expected a lost call, got {other:?}"),
    }
}

fn unsent_cause(completed: &Completed) -> Unsent {
    assert_eq!(completed.latency, None);
    match &completed.outcome {
        Outcome::Unsent { cause, .. } => *cause,
        other => panic!("expected a call that was not sent, got {other:?}"),
    }
}

type Seen = Arc<Mutex<Vec<(Method, Uri, HeaderMap, Vec<u8>)>>>;

#[tokio::test]
async fn the_request_is_exactly_this() {
    async fn note(
        State(seen): State<Seen>,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: axum::body::Bytes,
    ) -> &'static str {
        seen.lock().unwrap().push((method, uri, headers, body.to_vec()));
        ACCEPTED
    }
    let seen = Seen::default();
    let base = serve(Router::new().fallback(any(note)).with_state(seen.clone())).await;
    let api = api(&format!("{base}/"), |_| {});
    for route in ROUTES {
        let completed = call_over(&api, route).await;
        let answer =
            Answer::Accepted { wamid: Wamid::new("wamid.X"), status: Acceptance::Accepted };
        assert_eq!(completed.outcome, Outcome::Answered { http_status: 200, answer });
        assert!(completed.latency.is_some_and(|latency| latency < Duration::from_secs(2)));
    }
    let seen = seen.lock().unwrap();
    let paths = ["messages", "marketing_messages", "marketing_messages"];
    assert_eq!(seen.len(), ROUTES.len(), "one request each");
    for (((method, uri, headers, body), route), path) in seen.iter().zip(ROUTES).zip(paths) {
        let path = format!("/v25.0/106540352242922/{path}");
        assert_eq!((method.as_str(), uri.to_string()), ("POST", path));
        assert_eq!(*body, template_body(route, &dispatch(), OPAQUE));
        let mut names: Vec<&str> = headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let expected =
            ["accept", "authorization", "content-length", "content-type", "host", "user-agent"];
        assert_eq!(names, expected);
        assert_eq!(headers["authorization"], "Bearer EAAG-secret");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["user-agent"], USER_AGENT);
        assert_eq!(headers["content-length"], body.len().to_string().as_str());
        assert_eq!(headers["host"], base.strip_prefix("http://").unwrap());
    }
}

#[tokio::test]
async fn an_error_body_is_read_whatever_its_status() {
    for status in [400, 429, 500] {
        let body = r#"{"error":{"code":131056,"message":"slow down","error_subcode":2}}"#;
        let completed = call(&api(&answering(status, body).await, |_| {})).await;
        let answer = Answer::Error(ApiError {
            code: 131056,
            subcode: Some(2),
            message: "slow down".into(),
            details: None,
            is_transient: None,
            raw: None,
        });
        assert_eq!(completed.outcome, Outcome::Answered { http_status: status, answer });
    }
}

#[tokio::test]
async fn answers_that_prove_nothing() {
    for (status, body, reason) in [
        (200, r#"{"messages":[]}"#, UnparsedReason::NoMessageId),
        (200, "", UnparsedReason::NotJson),
        (502, "<html>", UnparsedReason::NotJson),
        (500, "{}", UnparsedReason::NoErrorCode),
    ] {
        let completed = call(&api(&answering(status, body).await, |_| {})).await;
        let answer = Answer::Unparsed { reason, raw: body.into() };
        assert_eq!(completed.outcome, Outcome::Answered { http_status: status, answer });
    }
}

#[tokio::test]
async fn a_connection_closed_after_the_request_was_read_is_lost() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        for _ in ROUTES {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.expect("a whole request");
        }
    });
    let api = api(&format!("http://{address}"), |_| {});
    for route in ROUTES {
        lost_reason(&call_over(&api, route).await);
    }
    server.await.unwrap();
}

#[tokio::test]
async fn silence_is_lost_after_the_total_timeout() {
    let (listener, address) = listen().await;
    let (hold, held) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.expect("a whole request");
        let _ = hold.send(stream);
    });
    let timeout = Duration::from_millis(300);
    let api = api(&format!("http://{address}"), |config| config.total_timeout = timeout);
    let started = Instant::now();
    let completed = call(&api).await;
    assert!(lost_reason(&completed).contains("timed out"), "{completed:?}");
    assert!(started.elapsed() >= timeout);
    drop(held.await);
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_never_ends_is_lost() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.expect("a whole request");
        let part = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: 900\r\n\r\n{ACCEPTED}");
        stream.write_all(part.as_bytes()).await.unwrap();
    });
    let completed = call(&api(&format!("http://{address}"), |_| {})).await;
    assert!(lost_reason(&completed).contains("status 400 broke off"), "{completed:?}");

    let huge = answering(200, " ".repeat(ANSWER_BYTES_MAX) + ACCEPTED).await;
    let completed = call(&api(&huge, |_| {})).await;
    assert!(lost_reason(&completed).contains("is over 1048576 bytes"), "{completed:?}");
    let largest = " ".repeat(ANSWER_BYTES_MAX - ACCEPTED.len()) + ACCEPTED;
    let completed = call(&api(&answering(200, largest).await, |_| {})).await;
    assert!(matches!(completed.outcome, Outcome::Answered { http_status: 200, .. }));
}

#[tokio::test]
async fn no_connection_is_proven_unsent() {
    let (listener, address) = listen().await;
    drop(listener);
    let closed = api(&format!("http://{address}"), |_| {});
    for route in ROUTES {
        let completed = call_over(&closed, route).await;
        assert_eq!(unsent_cause(&completed), Unsent::NoConnection);
        let text = format!("{completed:?}");
        assert!(text.contains("refused") && !text.contains("106540352242922"), "{text}");
    }

    let completed = call(&api("http://no-such-host.invalid", |_| {})).await;
    assert_eq!(unsent_cause(&completed), Unsent::NoConnection);
}

#[tokio::test]
async fn a_failed_or_slow_handshake_is_proven_unsent() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut streams = Vec::new();
        for n in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            if n == 0 {
                stream.write_all(b"this is not TLS").await.unwrap();
            }
            streams.push(stream);
        }
    });
    let base = format!("https://{address}");
    let short = Duration::from_millis(200);
    let api = api(&base, |config| config.connect_timeout = short);
    assert_eq!(unsent_cause(&call(&api).await), Unsent::NoConnection, "not TLS");
    assert_eq!(unsent_cause(&call(&api).await), Unsent::NoConnection, "no TLS in time");
    for route in ROUTES {
        let completed = call_by(&api, route, Duration::from_millis(50)).await;
        assert_eq!(unsent_cause(&completed), Unsent::TooLate, "no TLS before the time to start");
    }
}

#[tokio::test]
async fn nothing_is_sent_after_the_time_to_start() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let count = move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        ACCEPTED
    };
    let api = api(&serve(Router::new().fallback(count)).await, |_| {});
    for route in ROUTES {
        let late = async || unsent_cause(&call_by(&api, route, Duration::ZERO).await);
        assert_eq!(late().await, Unsent::TooLate);
        // Now with a connection in the pool, where nothing has to be waited for.
        assert!(matches!(call_over(&api, route).await.outcome, Outcome::Answered { .. }));
        assert_eq!(late().await, Unsent::TooLate);
    }
    assert_eq!(requests.load(Ordering::SeqCst), ROUTES.len());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let followed = Arc::new(AtomicUsize::new(0));
    let counter = followed.clone();
    let elsewhere = move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        ACCEPTED
    };
    let router = Router::new()
        .route("/elsewhere", any(elsewhere))
        .route("/v25.0/303/messages", any(|| async { Redirect::to("/elsewhere").into_response() }))
        .fallback(|| async { Redirect::temporary("/elsewhere").into_response() });
    let api = api(&serve(router).await, |_| {});
    let (dispatch, token) = (dispatch(), SecretString::from(TOKEN));
    for status in [303, 307] {
        let call = Call {
            route: Route::Messages,
            phone_number_id: &PhoneNumberId::new(status.to_string()),
            token: &token,
            dispatch: &dispatch,
            opaque_data: OPAQUE,
            start_by: Instant::now() + Duration::from_secs(2),
        };
        let raw = String::new();
        let answer = Answer::Unparsed { reason: UnparsedReason::NotJson, raw };
        let outcome = Outcome::Answered { http_status: status, answer };
        assert_eq!(api.send_template(call).await.outcome, outcome);
    }
    assert_eq!(followed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_request_lost_on_a_pooled_connection_is_not_written_again() {
    let (listener, address) = listen().await;
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let first = read_request(&mut stream).await;
            counter.fetch_add(usize::from(first.is_some()), Ordering::SeqCst);
            stream.write_all(keep_alive(ACCEPTED).as_bytes()).await.unwrap();
            let second = read_request(&mut stream).await;
            counter.fetch_add(usize::from(second.is_some()), Ordering::SeqCst);
        }
    });
    let api = api(&format!("http://{address}"), |_| {});
    for route in ROUTES {
        assert!(matches!(call_over(&api, route).await.outcome, Outcome::Answered { .. }));
        lost_reason(&call_over(&api, route).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(requests.load(Ordering::SeqCst), 2 * ROUTES.len());
}

#[tokio::test]
async fn what_cannot_be_built_is_not_sent_and_not_told() {
    let api = api("http://127.0.0.1:9", |_| {});
    let dispatch = dispatch();
    let start_by = Instant::now() + Duration::from_secs(2);
    for (token, number, cause) in [
        ("top\nsecret", "1065", Unsent::BadToken),
        (TOKEN, "", Unsent::BadNumber),
        (TOKEN, "1/../2", Unsent::BadNumber),
        (TOKEN, "1?x", Unsent::BadNumber),
    ] {
        let token = SecretString::from(token);
        let phone_number_id = &PhoneNumberId::new(number);
        let (dispatch, opaque_data, route) = (&dispatch, OPAQUE, ROUTES[1]);
        let call = Call { route, phone_number_id, token: &token, dispatch, opaque_data, start_by };
        let completed = api.send_template(call).await;
        assert_eq!(unsent_cause(&completed), cause, "{number:?}");
        assert!(!format!("{completed:?}").contains("secret"));
    }
}

#[test]
fn the_token_shows_in_no_debug_output() {
    let api = api("https://graph.facebook.com", |_| {});
    let dispatch = dispatch();
    let token = SecretString::from(TOKEN);
    let call = Call {
        route: Route::Messages,
        phone_number_id: &dispatch.phone_number_id,
        token: &token,
        dispatch: &dispatch,
        opaque_data: OPAQUE,
        start_by: Instant::now(),
    };
    let request = api.request(&call, Body::from("{}")).unwrap();
    assert_eq!(request.headers()[AUTHORIZATION], "Bearer EAAG-secret");
    let text = format!("{request:?} {token:?} {api:?}");
    assert!(!text.contains("secret") && !text.contains("EAAG"), "{text}");
    assert!(text.ends_with("CloudApi(https://graph.facebook.com/v25.0)"), "{text}");
}
