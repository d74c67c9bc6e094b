//! The runner against a server on the loopback.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sendplane_domain::e164::E164;
use sendplane_domain::id::{KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::rate::Limit;
use sendplane_domain::time::Timestamp;
use sendplane_provider::Config;
use sendplane_wire::cloud_api::{ProductPolicy, Route};
use sendplane_wire::record::Dispatch;
use tokio::net::TcpListener;

use sendplane_domain::lane::Lane;

use super::*;
use crate::credentials::{self, Credential};

const ACCEPTED: &str = r#"{"messages":[{"id":"wamid.X"}]}"#;
const THROTTLED: (u16, &str) = (400, r#"{"error":{"code":130429,"message":"slow down"}}"#);

fn effect(lane: Lane) -> CallProvider {
    let tenant = TenantId::new("acme");
    let phone_number_id = PhoneNumberId::new("1065");
    let message_id = MessageId::from_bytes([7; 16]);
    let content = Box::new(Dispatch {
        decision_seq: 1,
        idempotency_key: sendplane_domain::id::IdempotencyKey::new("key"),
        order_id: None,
        created_at: Timestamp::default(),
        admitted_at: Timestamp::default(),
        deadline: Timestamp::default(),
        message_id,
        tenant: tenant.clone(),
        lane,
        phone_number_id: phone_number_id.clone(),
        recipient: E164::parse("+4915112345678").unwrap(),
        contact_hash: KeyedHash::new("00"),
        template_name: TemplateName::new("hello"),
        template_language: "en".into(),
        template_version: 1,
        category: "utility".into(),
        parameters: Vec::new(),
        campaign: None,
        consent_seq: 0,
        valid_until: Timestamp::from_millis(0),
        dispatched_at: Timestamp::from_millis(0),
    });
    CallProvider {
        message_id,
        attempt: 3,
        tenant,
        phone_number_id,
        credential: "default".into(),
        lane,
        route: Route::Messages,
        content,
        opaque_data: "sp1".into(),
        start_within: Duration::from_secs(2),
        pace: Limit::per_second(1_000, 100),
    }
}

/// A server that answers after `delay`, and how many requests it has seen.
async fn serve(
    delay: Duration,
    (status, body): (u16, &'static str),
) -> (CloudApi, Arc<AtomicUsize>) {
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let router = Router::new().fallback(move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(delay).await;
        (status, body)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (CloudApi::new(&Config::new(base, "v25.0")).unwrap(), requests)
}

fn runner(api: CloudApi, calls_max: usize) -> ProviderRunner {
    let tokens: Tokens = Arc::new(|name| match name {
        "default" => Ok("token".into()),
        other => Err(format!("no credential {other}")),
    });
    ProviderRunner::new(Handle::current(), api, tokens, calls_max)
}

fn cause(result: &CallResult) -> NotStarted {
    assert_eq!(result.latency_ms, None);
    match &result.outcome {
        CallOutcome::NotStarted { cause, .. } => *cause,
        other => panic!("expected a call that never started, got {other:?}"),
    }
}

/// Metrics by name and label value; one recorder per test thread.
fn metrics(snapshotter: &Snapshotter) -> Vec<(String, Option<String>, DebugValue)> {
    let rows = snapshotter.snapshot().into_vec().into_iter();
    rows.map(|(key, _, _, value)| {
        let label = key.key().labels().next().map(|label| label.value().to_owned());
        (key.key().name().to_owned(), label, value)
    })
    .collect()
}

#[tokio::test]
async fn a_result_names_its_attempt_and_is_counted_by_class() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (api, _) = serve(Duration::from_millis(20), (200, ACCEPTED)).await;
    let result = runner(api, 4).call(effect(Lane::Bulk), Instant::now()).await;
    assert_eq!((result.message_id, result.attempt), (MessageId::from_bytes([7; 16]), 3));
    assert!(result.latency_ms.is_some_and(|ms| (20..2_000).contains(&ms)), "{result:?}");
    assert!(matches!(
        &result.outcome,
        CallOutcome::Answered { http_status: 200, answer: Answer::Accepted { wamid, .. } }
            if wamid.as_str() == "wamid.X"
    ));
    let (api, _) = serve(Duration::ZERO, THROTTLED).await;
    let result = runner(api, 4).call(effect(Lane::Bulk), Instant::now()).await;
    assert!(matches!(&result.outcome, CallOutcome::Answered { http_status: 400, .. }));

    let metrics = metrics(&snapshotter);
    for class in ["accepted", "throttle_number"] {
        let row = (REQUESTS_TOTAL.to_owned(), Some(class.to_owned()), DebugValue::Counter(1));
        assert!(metrics.contains(&row), "{class}: {metrics:?}");
    }
    let in_flight = (REQUESTS_IN_FLIGHT.to_owned(), None, DebugValue::Gauge(0.0.into()));
    assert!(metrics.contains(&in_flight), "{metrics:?}");
    let is_durations =
        |value: &DebugValue| matches!(value, DebugValue::Histogram(v) if v.len() == 2);
    assert!(metrics.iter().any(|(name, _, v)| name == REQUEST_DURATION_SECONDS && is_durations(v)));
}

#[tokio::test]
async fn a_missing_credential_is_named_and_nothing_is_sent() {
    let (api, requests) = serve(Duration::ZERO, (200, ACCEPTED)).await;
    let effect = CallProvider { credential: "acme-prod".into(), ..effect(Lane::Bulk) };
    let result = runner(api, 4).call(effect, Instant::now()).await;
    assert_eq!(cause(&result), NotStarted::NoCredential);
    let text = format!("{:?}", result.outcome);
    assert!(text.contains("tenant acme: no credential acme-prod"), "{text}");
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_intent_committed_too_long_ago_is_not_called() {
    let (api, requests) = serve(Duration::ZERO, (200, ACCEPTED)).await;
    let runner = runner(api, 4);
    let long_ago = Instant::now() - Duration::from_millis(2_001);
    let result = runner.call(effect(Lane::Transactional), long_ago).await;
    assert_eq!(cause(&result), NotStarted::TooLate);
    let short = CallProvider { start_within: Duration::ZERO, ..effect(Lane::Transactional) };
    assert_eq!(cause(&runner.call(short, Instant::now()).await), NotStarted::TooLate);
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_call_without_a_slot_in_time_does_not_start() {
    let (api, requests) = serve(Duration::from_millis(600), (200, ACCEPTED)).await;
    let runner = runner(api, 8);
    assert_eq!(runner.slots(), 8);
    let now = Instant::now();
    let calls: Vec<_> = (0..9)
        .map(|_| {
            let start_within = Duration::from_millis(200);
            let effect = CallProvider { start_within, ..effect(Lane::Bulk) };
            let runner = runner.clone();
            tokio::spawn(async move { runner.call(effect, now).await })
        })
        .collect();
    let mut not_started = 0;
    for call in calls {
        let result = call.await.unwrap();
        if !matches!(result.outcome, CallOutcome::Answered { .. }) {
            assert_eq!(cause(&result), NotStarted::TooLate);
            not_started += 1;
        }
    }
    assert_eq!(not_started, 1);
    assert_eq!(requests.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn calls_of_a_number_start_at_its_pace() {
    let (api, _) = serve(Duration::ZERO, (200, ACCEPTED)).await;
    let runner = runner(api, 8);
    let begin = Instant::now();
    for _ in 0..4 {
        let effect = CallProvider { pace: Limit::per_second(10, 1), ..effect(Lane::Bulk) };
        runner.call(effect, Instant::now()).await;
    }
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_lost_call_is_labelled_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.readable().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    });
    let api = CloudApi::new(&Config::new(base, "v25.0")).unwrap();
    let result = runner(api, 1).call(effect(Lane::Bulk), Instant::now()).await;
    assert!(matches!(result.outcome, CallOutcome::Lost { .. }), "{result:?}");
    assert!(result.latency_ms.is_some());
    assert_eq!(code_class(&result.outcome), "lost");
}

#[tokio::test]
async fn a_call_goes_to_the_endpoint_of_its_route() {
    let paths = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = paths.clone();
    let router = Router::new().fallback(move |uri: axum::http::Uri| async move {
        seen.lock().unwrap().push(uri.path().to_owned());
        ACCEPTED
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let runner = runner(CloudApi::new(&Config::new(base, "v25.0")).unwrap(), 1);
    let marketing = Route::Marketing { product_policy: ProductPolicy::Strict };
    for route in [Route::Messages, marketing] {
        let effect = CallProvider { route, ..effect(Lane::Bulk) };
        runner.call(effect, Instant::now()).await;
    }
    let expected = ["/v25.0/1065/messages", "/v25.0/1065/marketing_messages"];
    assert_eq!(*paths.lock().unwrap(), expected);
}

/// Meta refuses a token until its file holds the new one: the next call, which the stage grants
/// after 45 s at most, goes through without a restart.
#[tokio::test]
async fn a_new_token_in_the_file_is_the_next_calls() {
    let router = Router::new().fallback(|headers: axum::http::HeaderMap| async move {
        if headers["authorization"] == "Bearer new" {
            return (axum::http::StatusCode::OK, ACCEPTED);
        }
        let body = r#"{"error":{"code":190,"message":"expired"}}"#;
        (axum::http::StatusCode::UNAUTHORIZED, body)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let api = CloudApi::new(&Config::new(base, "v25.0")).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    let credential = Credential { token_file: token_file.clone(), expires_at: None };
    let named = [("default".to_owned(), credential)].into_iter().collect();
    let tokens = credentials::watch(named, &Handle::current());
    let runner = ProviderRunner::new(Handle::current(), api, tokens, 4);
    let call = async || runner.call(effect(Lane::Transactional), Instant::now()).await;

    let missing = call().await;
    assert_eq!(cause(&missing), NotStarted::NoCredential);
    assert!(format!("{missing:?}").contains(&token_file.display().to_string()), "{missing:?}");
    // Each file takes effect by itself within the interval of reading; the deadline is for a slow
    // machine.
    for (token, class) in [("old", "suspend_tenant"), ("new", "accepted")] {
        std::fs::write(&token_file, token).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while code_class(&call().await.outcome) != class {
            assert!(Instant::now() < deadline, "{token} was never used");
            tokio::time::sleep(credentials::REREAD / 4).await;
        }
    }
}
