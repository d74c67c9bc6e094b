//! What becomes a gap, and what does not.

use tokio::io::AsyncReadExt;

use super::connections::listen_watched;
use super::server::Limits;
use super::*;

const BODY: &[u8] = br#"{"entry":[{"id":"7"}]}"#;
const GAP: &[(Timestamp, Timestamp)] = &[(NOW, NOW)];

fn small() -> GatewaySettings {
    GatewaySettings {
        publish_timeout: Duration::from_millis(20),
        body_read_timeout: Duration::from_millis(20),
        buffered_bytes_max: 1_000,
        ..GatewaySettings::new("i")
    }
}

#[tokio::test]
async fn what_may_have_been_a_webhook_and_was_not_taken_is_a_gap() {
    let chunks = |body: Vec<u8>| Body::from(body);
    let never = || Body::new(PendingBody);
    let with = |path: &str, body: Body| post(path, Some(&sign(BODY, "new")), body);
    let cases = [
        ("no broker", Mode::Fail, signed(BODY, "new")),
        ("no acknowledgement", Mode::Hang, signed(BODY, "new")),
        ("no room", Mode::Acknowledge, with("/webhooks/main", chunks(vec![b'x'; 2_000]))),
        (
            "too large",
            Mode::Acknowledge,
            with("/webhooks/main", chunks(vec![b'x'; BODY_BYTES_MAX + 1])),
        ),
        ("too slow", Mode::Acknowledge, with("/webhooks/main", never())),
        ("unknown app", Mode::Acknowledge, with("/webhooks/former", chunks(BODY.to_vec()))),
        (
            "several accounts",
            Mode::Acknowledge,
            signed(br#"{"entry":[{"id":"7"},{"id":"8"}]}"#, "new"),
        ),
        ("no account", Mode::Acknowledge, signed(b"{}", "new")),
    ];
    for (name, mode, request) in cases {
        let (router, sink, _, path) = watched(small());
        sink.set(mode);
        call(&router, request).await;
        assert_eq!(path.gaps(), GAP, "{name}");
    }
}

/// A body of which nothing ever comes.
struct PendingBody;

impl axum::body::HttpBody for PendingBody {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn what_is_taken_and_what_is_no_webhook_are_none() {
    let (router, _, _, path) = watched(GatewaySettings::new("i"));
    let cases = [
        signed(BODY, "new"),
        signed(BODY, "old"),
        post("/webhooks/main", None, BODY),
        post("/webhooks/main", Some("sha256=zz"), BODY),
        post("/webhooks/former", None, BODY),
        post("/elsewhere", Some(&sign(BODY, "new")), BODY),
        Request::get("/webhooks/main").body(Body::empty()).expect("a request"),
    ];
    for request in cases {
        call(&router, request).await;
    }
    assert_eq!(path.gaps(), []);
}

#[tokio::test]
async fn a_wrong_signature_counts_once_the_secrets_change() {
    let (router, _, _, path) = watched(GatewaySettings::new("i"));
    call(&router, signed(BODY, "a guess")).await;
    call(&router, signed(BODY, "new")).await;
    path.secrets_changed();
    assert_eq!(path.gaps(), [], "explained by the right one after it");
    call(&router, signed(BODY, "the secret of tomorrow")).await;
    path.secrets_changed();
    assert_eq!(path.gaps(), GAP);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_leaves_a_gap() {
    let (router, sink, _, path) = watched(GatewaySettings::new("i"));
    sink.set(Mode::Hang);
    let answer =
        tokio::time::timeout(Duration::from_millis(20), call(&router, signed(BODY, "new")));
    assert!(answer.await.is_err(), "dropped in the middle");
    assert_eq!(path.gaps(), GAP);
}

#[tokio::test]
async fn a_gateway_that_is_not_open_yet_turns_away() {
    let path = Arc::new(Path::new(Arc::new(|| NOW)));
    let router = router(Late::<Arc<FakeSink>>::default(), path.clone());
    call(&router, signed(BODY, "new")).await;
    assert_eq!(path.gaps(), GAP);
    path.open(None);
    assert_eq!(path.gaps(), GAP, "and remembers it");
}

#[tokio::test]
async fn a_connection_without_a_slot_is_turned_away() {
    let (router, _, _, path) = watched(GatewaySettings::new("i"));
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let served = listen_watched(router, limits, path.clone()).await;
    let _holds_the_slot = served.connect().await;
    let mut refused = served.connect().await;
    let mut answer = String::new();
    refused.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(path.gaps(), GAP);
}

#[test]
fn a_record_survives_the_restart_it_tells_of() {
    let path = Path::new(Arc::new(|| NOW));
    path.open(None);
    let first = path.status("i");
    assert_eq!((first.started_at, first.alive_at, first.is_stopped), (NOW, NOW, false));
    let later = Path::new(Arc::new(|| NOW + Duration::from_secs(60)));
    later.open(Some(&first));
    let second = later.status("i");
    let [gap] = &second.gaps[..] else { panic!("one gap: {second:?}") };
    assert_eq!((gap.since, gap.until), (NOW, NOW + Duration::from_secs(60)));
    let stopped = later.stop("i");
    assert!(stopped.is_stopped);
    let third = Path::new(Arc::new(|| NOW + Duration::from_secs(600)));
    third.open(Some(&stopped));
    assert_eq!(third.status("i").gaps, stopped.gaps, "nothing but what was known");
}
