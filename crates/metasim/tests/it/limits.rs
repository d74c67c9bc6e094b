//! The limits over HTTP: reports, series, live changes, headers, tokens, nodes.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, NUMBER, order};

const TO: &str = "+919812345678";

impl Bench {
    async fn set_limits(&self, limits: Value) {
        let (status, body) = self.admin(Method::POST, "/metasim/limits", limits).await;
        assert_eq!(status, 200, "{body}");
    }

    async fn inject(&self, injection: Value) {
        let (status, body) = self.admin(Method::POST, "/metasim/inbound", injection).await;
        assert_eq!(status, 200, "{body}");
    }

    async fn code(&self) -> (u16, Value) {
        let (status, body) = self.send(TO, "o").await.expect("answer");
        (status, body["error"]["code"].clone())
    }

    async fn node(&self, path: &str) -> (u16, Value) {
        let url = format!("http://{}/v25.0/{path}", self.server.addr());
        let answer = self.client.get(url).bearer_auth("metasim-token").send().await;
        let answer = answer.expect("answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }
}

#[tokio::test]
async fn violations_are_reported_and_reset() {
    let bench = Bench::start().await;
    let clean = bench.get("/metasim/violations").await;
    assert_eq!((&clean["total"], &clean["first"]), (&json!(0), &json!([])));
    bench.inject(json!({"kind": "throughput", "phone_number_id": NUMBER, "per_second": 1})).await;
    // Two calls within a second, however slow this machine is: retried until it happened.
    let deadline = tokio::time::Instant::now() + super::DEADLINE;
    while bench.code().await.1 != 130_429 {
        assert!(tokio::time::Instant::now() < deadline, "never two calls within a second");
    }
    let report = bench.get("/metasim/violations").await;
    assert_eq!((&report["total"], &report["by_kind"]), (&json!(1), &json!({"number": 1})));
    let violation = &report["first"][0];
    assert_eq!(violation["phone_number_id"], NUMBER);
    assert_eq!(violation["recipient_hash"].as_str().map(str::len), Some(16));
    assert!(violation["observed"].as_u64() > violation["limit"].as_u64());
    assert!(report["numbers"][NUMBER]["calls_per_second_max"].as_u64() >= Some(2));
    let summary = bench.get("/metasim/ledger?summary=true").await;
    assert_eq!(summary["violations_by_kind"], json!({"number": 1}));
    assert_eq!(bench.admin(Method::DELETE, "/metasim/violations", Value::Null).await.0, 204);
    assert_eq!(bench.get("/metasim/violations").await["total"], 0);
    bench.server.stop().await;
}

#[tokio::test]
async fn rates_are_a_series_of_seconds() {
    let bench = Bench::start().await;
    for serial in 0..5 {
        bench.send(TO, &format!("o.{serial}")).await.expect("answer");
    }
    let rates = bench.get(&format!("/metasim/rates?number={NUMBER}")).await;
    let seconds = rates["seconds"].as_array().expect("seconds");
    let accepted: u64 = seconds.iter().filter_map(|second| second["accepted"].as_u64()).sum();
    assert_eq!((&rates["number"], accepted), (&json!(NUMBER), 5));
    let last = seconds.last().and_then(|second| second["second"].as_i64()).expect("a second");
    let later = bench.get(&format!("/metasim/rates?number={NUMBER}&since={}", last + 1)).await;
    assert_eq!(later["seconds"], json!([]));
    assert_eq!(bench.admin(Method::GET, "/metasim/rates?number=7", Value::Null).await.0, 404);
    bench.server.stop().await;
}

#[tokio::test]
async fn limits_change_live_and_a_wrong_change_is_named() {
    let bench = Bench::start().await;
    bench.set_limits(json!({"app_calls": {"calls": 2, "window_ms": 600_000}})).await;
    let limits = bench.get("/metasim/limits").await;
    assert_eq!(limits["app_calls"]["calls"], 2);
    assert_eq!(bench.code().await.0, 200);
    let url = format!("http://{}/v25.0/{NUMBER}/messages", bench.server.addr());
    let request = bench.client.post(url).bearer_auth("metasim-token").json(&order(TO, "o"));
    let answer = request.send().await.expect("answer");
    let usage = answer.headers()["x-app-usage"].to_str().expect("text").to_owned();
    let usage: Value = serde_json::from_str(&usage).expect("JSON");
    assert_eq!(usage["call_count"], 100);
    assert_eq!(bench.code().await, (400, json!(4)));
    let wrong = json!({"app_calls": {"call": 2}});
    let (status, body) = bench.admin(Method::POST, "/metasim/limits", wrong).await;
    assert!(status == 400 && body["refused"].to_string().contains("call"), "{status} {body}");
    bench.server.stop().await;
}

#[tokio::test]
async fn an_upgrade_is_seen_at_the_number_and_by_webhook() {
    let bench = Bench::start().await;
    let throughput = |body: &Value| body["throughput"]["level"].clone();
    bench.inject(json!({"kind": "throughput", "phone_number_id": NUMBER, "per_second": 80})).await;
    let path = format!("{NUMBER}?fields=throughput");
    assert_eq!(throughput(&bench.node(&path).await.1), "STANDARD");
    bench
        .inject(json!({"kind": "throughput_upgrade", "phone_number_id": NUMBER,
            "maintenance_ms": 1_500}))
        .await;
    assert_eq!(bench.code().await, (500, json!(131_057)));
    bench.wait_for("/metasim/webhooks", |stats| stats["delivered"] == 1).await;
    assert_eq!(bench.receiver.values()[0]["event"], "THROUGHPUT_UPGRADE");
    assert_eq!(throughput(&bench.node(&path).await.1), "HIGH");
    assert_eq!(bench.code().await.0, 200);
    bench.server.stop().await;
}

#[tokio::test]
async fn tokens_and_suspensions_change_live() {
    let bench = Bench::start().await;
    let token = |state: &str| json!({"kind": "token", "token": "metasim-token", "state": state});
    let debug = "debug_token?input_token=metasim-token";
    assert_eq!(bench.node(debug).await.1["data"]["is_valid"], true);
    bench.inject(token("revoked")).await;
    assert_eq!(bench.code().await, (401, json!(190)));
    assert_eq!(bench.node(debug).await.1["data"]["is_valid"], false);
    assert_eq!(bench.node(NUMBER).await.0, 401);
    bench.inject(token("valid")).await;
    let scope = json!({"account": "200000000000001"});
    bench.inject(json!({"kind": "suspend", "scope": scope, "code": 368})).await;
    assert_eq!(bench.code().await, (403, json!(368)));
    let path = format!("{NUMBER}?fields=health_status");
    assert_eq!(bench.node(&path).await.1["health_status"]["can_send_message"], "BLOCKED");
    bench.inject(json!({"kind": "release", "scope": scope})).await;
    assert_eq!(bench.code().await.0, 200);
    let release = json!({"kind": "release", "scope": "app"});
    assert_eq!(bench.admin(Method::POST, "/metasim/inbound", release).await.0, 404);
    bench.server.stop().await;
}

#[tokio::test]
async fn the_marketing_endpoint_can_be_onboarded() {
    let bench = Bench::start().await;
    let mut sale = order(TO, "o");
    sale["product_policy"] = "STRICT".into();
    sale["template"] = json!({"name": "season_sale", "language": {"code": "en_US"}, "components": [
        {"type": "body", "parameters": [{"type": "text", "text": "10 %"}]}]});
    let account = |onboarded: bool| {
        json!({"kind": "marketing_account",
        "waba_id": "200000000000001", "onboarded": onboarded})
    };
    bench.inject(account(false)).await;
    let refused = bench.post("marketing_messages", &sale).await.expect("answer");
    assert_eq!((refused.0, &refused.1["error"]["code"]), (500, &json!(134_102)));
    bench.inject(account(true)).await;
    let sent = bench.post("marketing_messages", &sale).await.expect("answer");
    assert_eq!((sent.0, &sent.1["success"]), (200, &json!(true)));
    let ledger = bench.get("/metasim/ledger").await;
    assert_eq!(ledger["accepted"][0]["category"], "marketing_lite");
    bench.server.stop().await;
}
