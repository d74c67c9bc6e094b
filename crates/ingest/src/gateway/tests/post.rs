//! `POST`, each way it can end.

use std::time::Duration;

use sendplane_wire::record::WebhookSecret;
use sha2::Digest;

use super::*;

const BODY: &[u8] = br#"{"object":"whatsapp_business_account","entry":[{"id":"waba-1"}]}"#;

#[tokio::test]
async fn a_signed_body_is_in_the_log_byte_for_byte() {
    // Escaped as Meta escapes, and with spaces: JSON that was parsed and written again differs.
    let body = br#"{"entry": [{"id":"waba-1","name":"gr\u00fc\u00dfe \ud83c\udf89"}]}"#;
    for (secret, expected) in [("new", WebhookSecret::Current), ("old", WebhookSecret::Previous)] {
        let (router, sink) = gateway();
        assert_eq!(answer(&router, signed(body, secret)).await, (StatusCode::OK, String::new()));
        let (record, webhook) = sink.only();
        assert_eq!((record.topic, record.key.as_str()), (topic::WEBHOOKS, "waba-1"));
        assert!(record.headers.is_empty());
        let expected = WebhookBody {
            app: "main".into(),
            received_at: NOW,
            body: body.to_vec(),
            secret: expected,
            gateway: "ingest-0".into(),
        };
        assert_eq!(webhook, expected);
    }
}

#[tokio::test]
async fn only_the_exact_bytes_pass() {
    let escaped = br#"{"name":"gr\u00fc\u00dfe"}"#;
    let (router, sink) = gateway();
    let signature = sign(escaped, "new");
    let rewritten = "{\"name\":\"grüße\"}".as_bytes();
    let longer = [&escaped[..], b" "].concat();
    for body in [rewritten, &longer, b""] {
        let request = post("/webhooks/main", Some(&signature), body.to_vec());
        assert_eq!(call(&router, request).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(sink.records(), []);
    let request = post("/webhooks/main", Some(&signature), escaped.to_vec());
    assert_eq!(call(&router, request).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_signature_is_refused_without_a_word() {
    let good = sign(BODY, "new");
    let digits = good.trim_start_matches("sha256=").to_owned();
    let cases = [
        None,
        Some(String::new()),
        Some(digits.clone()),
        Some(format!("sha1={digits}")),
        Some(format!("sha256={}", &digits[..62])),
        Some(format!("sha256={digits}00")),
        Some(format!("sha256={}", "zz".repeat(32))),
        Some(format!("sha256={}", "00".repeat(32))),
        Some(sign(BODY, "")),
        Some(sign(BODY, "Jefe")),
    ];
    let (router, sink) = gateway();
    for signature in cases {
        let request = post("/webhooks/main", signature.as_deref(), BODY);
        let expected = (StatusCode::UNAUTHORIZED, String::new());
        assert_eq!(answer(&router, request).await, expected, "{signature:?}");
    }
    let mut twice = signed(BODY, "new");
    twice.headers_mut().append("x-hub-signature-256", good.parse().expect("a value"));
    assert_eq!(call(&router, twice).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(sink.records(), []);
}

/// RFC 4231, test case 2: our idea of the signature is not only our own.
#[tokio::test]
async fn the_signature_is_that_of_the_rfc() {
    let (router, sink) = gateway();
    let body = "what do ya want for nothing?";
    let signature = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let request = post("/webhooks/rfc", Some(signature), body);
    assert_eq!(call(&router, request).await.status(), StatusCode::OK);
    // What is no JSON goes to the log too, under its digest: the stage keeps it for a person.
    assert_eq!(sink.only().0.key, hex::encode(Sha256::digest(body)));
}

#[tokio::test]
async fn apps_and_methods_are_told_apart() {
    let (router, sink) = gateway();
    let unknown = post("/webhooks/other", Some(&sign(BODY, "new")), BODY);
    assert_eq!(call(&router, unknown).await.status(), StatusCode::NOT_FOUND);
    let mut put = signed(BODY, "new");
    *put.method_mut() = axum::http::Method::PUT;
    assert_eq!(call(&router, put).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(sink.records(), []);
}

#[tokio::test]
async fn the_limit_is_inclusive() {
    let (router, sink) = gateway();
    let largest = vec![b'x'; BODY_BYTES_MAX];
    assert_eq!(call(&router, signed(&largest, "new")).await.status(), StatusCode::OK);
    let (record, _) = sink.only();
    assert!(record.value.len() < topic::WEBHOOK_BYTES_MAX as usize);
    let larger = vec![b'x'; BODY_BYTES_MAX + 1];
    let status = call(&router, signed(&larger, "new")).await.status();
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(sink.records().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_an_acknowledgement_there_is_no_200() {
    let (router, sink) = gateway();
    for mode in [Mode::Fail, Mode::Hang] {
        sink.set(mode);
        let response = call(&router, signed(BODY, "new")).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(retry_after(response.headers()), Some("2"));
    }
    assert_eq!(sink.records(), []);
    sink.set(Mode::Acknowledge);
    assert_eq!(call(&router, signed(BODY, "new")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_answer_waits_for_the_acknowledgement() {
    let (router, sink) = gateway();
    sink.set(Mode::Hang);
    let call = tokio::spawn(async move { call(&router, signed(BODY, "new")).await.status() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!call.is_finished());
    sink.go.notify_one();
    assert_eq!(call.await.expect("no panic"), StatusCode::OK);
    assert_eq!(sink.records().len(), 1);
}

#[tokio::test]
async fn without_room_a_body_is_refused_and_room_comes_back() {
    let buffered_bytes_max = BODY.len() * 2 - 1;
    let settings = GatewaySettings { buffered_bytes_max, ..GatewaySettings::new("ingest-0") };
    let (router, sink) = gateway_with(settings);
    sink.set(Mode::Hang);
    let first = {
        let router = router.clone();
        tokio::spawn(async move { call(&router, signed(BODY, "new")).await.status() })
    };
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let refused = call(&router, signed(BODY, "new")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(retry_after(refused.headers()), Some("2"));
    sink.go.notify_one();
    assert_eq!(first.await.expect("no panic"), StatusCode::OK);
    sink.set(Mode::Acknowledge);
    assert_eq!(call(&router, signed(BODY, "new")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn until_the_brokers_are_reached_there_is_no_200() {
    let late: Late<Arc<FakeSink>> = Arc::default();
    let router = router(late, Arc::new(Path::new(Arc::new(|| NOW))));
    let refused = call(&router, signed(BODY, "new")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(retry_after(refused.headers()), Some("2"));
}

#[tokio::test]
async fn secrets_are_rotated_between_requests() {
    let (router, sink, apps) = rotated(GatewaySettings::new("ingest-0"));
    let main = |current, previous| BTreeMap::from([("main".into(), secrets(current, previous))]);
    apps.replace(main("newest", Some("new"))).expect("no secret is empty");
    for (secret, status) in [("newest", 200), ("new", 200), ("old", 401)] {
        let answer = call(&router, signed(BODY, secret)).await;
        assert_eq!(answer.status().as_u16(), status, "{secret}");
    }
    let rfc = post("/webhooks/rfc", Some(&sign(BODY, "Jefe")), BODY);
    assert_eq!(call(&router, rfc).await.status(), StatusCode::NOT_FOUND, "that app is gone");
    assert_eq!(sink.records().len(), 2);
}

#[tokio::test]
async fn what_is_no_path_of_ours_is_404() {
    let (router, sink) = gateway();
    let signature = sign(BODY, "new");
    for path in ["/", "/webhooks", "/webhooks/", "/webhooks/main/", "/webhooks/%ff", "/a//b?c"] {
        let answer = answer(&router, post(path, Some(&signature), BODY)).await;
        assert_eq!(answer, (StatusCode::NOT_FOUND, String::new()), "{path}");
    }
    assert_eq!(sink.records(), []);
}

#[tokio::test]
async fn a_trace_is_passed_on() {
    let (router, sink) = gateway();
    let mut request = signed(BODY, "new");
    let headers = request.headers_mut();
    headers.insert("traceparent", "00-1-2-01".parse().expect("a value"));
    headers.insert("tracestate", "x".repeat(1025).parse().expect("a value"));
    headers.insert("sendplane-correlation-id", "c-1".parse().expect("a value"));
    headers.insert("cookie", "private".parse().expect("a value"));
    assert_eq!(call(&router, request).await.status(), StatusCode::OK);
    let expected = [
        ("traceparent".to_owned(), b"00-1-2-01".to_vec()),
        ("sendplane-correlation-id".to_owned(), b"c-1".to_vec()),
    ];
    assert_eq!(sink.only().0.headers, expected);
}

#[test]
fn every_answer_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let (router, sink) = gateway();
            call(&router, signed(BODY, "new")).await;
            call(&router, signed(BODY, "wrong")).await;
            call(&router, post("/webhooks/main", None, BODY)).await;
            sink.set(Mode::Fail);
            call(&router, signed(BODY, "new")).await;
        });
    });
    let text = recorder.handle().render();
    for line in [
        "sendplane_webhook_accepted_total 1",
        "sendplane_webhook_rejected_total{reason=\"signature_wrong\"} 1",
        "sendplane_webhook_rejected_total{reason=\"signature_missing\"} 1",
        "sendplane_webhook_rejected_total{reason=\"sink_failed\"} 1",
        "sendplane_webhook_seconds_count 4",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}
