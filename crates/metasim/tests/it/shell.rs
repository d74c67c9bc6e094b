//! What the shell does beyond the model: sockets, signatures, retries, admin endpoints.

use std::error::Error as _;

use reqwest::Method;
use sendplane_provider_model::magic;
use serde_json::{Value, json};

use super::{Bench, NUMBER, order};

#[tokio::test]
async fn a_message_comes_back_as_signed_webhooks() {
    let bench = Bench::start().await;
    let (status, body) = bench.send("+4915112345678", "sp1.a.0.m.1.x").await.expect("answer");
    assert_eq!(status, 200, "{body}");
    let wamid = body["messages"][0]["id"].clone();
    let statuses = bench.receiver.wait_for_statuses(3).await;
    assert!(statuses.iter().all(|status| status["id"] == wamid));
    assert!(statuses.iter().all(|s| s["biz_opaque_callback_data"] == "sp1.a.0.m.1.x"));
    assert_eq!(bench.receiver.forged(), 0);
    let ledger = bench.get("/metasim/ledger").await;
    assert_eq!(ledger["accepted"][0]["wamid"], wamid);
    assert_eq!((&ledger["next"], &ledger["total"]), (&json!(1), &json!(1)));
    bench.server.stop().await;
}

#[tokio::test]
async fn errors_have_their_status_and_shape() {
    let bench = Bench::start().await;
    let refused = bench.send(&magic::number(10, 131_016, 0, 1), "o").await.expect("answer");
    assert_eq!((refused.0, &refused.1["error"]["code"]), (500, &json!(131_016)));
    let wrong = bench.post("marketing_messages", &order("+4915112345678", "o")).await;
    assert_eq!(wrong.expect("answer").1["error"]["code"], 131_055);
    let base = format!("http://{}/v25.0", bench.server.addr());
    let anonymous = bench.client.post(format!("{base}/{NUMBER}/messages")).send().await;
    assert_eq!(anonymous.expect("answer").status(), 401);
    let throughput = bench.client.get(format!("{base}/{NUMBER}?fields=throughput"));
    let throughput = throughput.bearer_auth("metasim-token").send().await.expect("answer");
    let throughput: Value = throughput.json().await.expect("JSON");
    assert_eq!(throughput["throughput"]["level"], "HIGH");
    let unknown = bench.client.get(format!("{base}/7")).bearer_auth("metasim-token").send().await;
    assert_eq!(unknown.expect("answer").status(), 400);
    bench.server.stop().await;
}

#[tokio::test]
async fn transport_faults_are_real() {
    let bench = Bench::start().await;
    // Accepted, and nobody is told.
    let lost = bench.send(&magic::number(20, 0, 0, 1), "lost").await.expect_err("no answer");
    assert!(!lost.is_connect() && lost.status().is_none(), "{lost:?}");
    assert_eq!(bench.receiver.wait_for_statuses(3).await.len(), 3);
    let ledger = bench.get("/metasim/ledger?opaque_prefix=lost").await;
    assert_eq!(ledger["accepted"][0]["answer_lost"], true);
    // Reset, and nothing accepted.
    let reset = bench.send(&magic::number(22, 0, 0, 1), "reset").await.expect_err("no answer");
    assert!(chain(&reset).contains("reset"), "{}", chain(&reset));
    let ledger = bench.get("/metasim/ledger?opaque_prefix=reset").await;
    assert_eq!(ledger["accepted"], json!([]));
    // The same recipient works the second time, on a new connection.
    assert_eq!(bench.send(&magic::number(22, 0, 0, 1), "again").await.expect("answer").0, 200);
    let odd = bench.send(&magic::number(24, 0, 0, 1), "odd").await.expect("answer");
    assert_eq!(odd, (500, Value::String("Internal Server Error".to_owned())));
    bench.server.stop().await;
}

fn chain(err: &reqwest::Error) -> String {
    let (mut text, mut source) = (err.to_string(), err.source());
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[tokio::test]
async fn down_refuses_connections_and_comes_back() {
    let bench = Bench::start().await;
    bench.send("+4915112345678", "before").await.expect("answer");
    bench.set_faults(json!({"down": "refuse"})).await;
    // A connection from before may still be open: it is reset. A new one is refused.
    let deadline = tokio::time::Instant::now() + super::DEADLINE;
    loop {
        let err = bench.send("+4915112345678", "down").await.expect_err("down");
        if err.is_connect() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "never refused: {err:?}");
    }
    bench.set_faults(json!({"down": "no"})).await;
    let deadline = tokio::time::Instant::now() + super::DEADLINE;
    while let Err(err) = bench.send("+4915112345678", "after").await {
        assert!(tokio::time::Instant::now() < deadline, "never back: {err:?}");
    }
    bench.set_faults(json!({"down": "unavailable"})).await;
    assert_eq!(bench.send("+4915112345678", "503").await.expect("answer").0, 503);
    let ledger = bench.get("/metasim/ledger?summary=true").await;
    assert_eq!(ledger["accepted"], 2, "before and after");
    bench.server.stop().await;
}

#[tokio::test]
async fn webhooks_are_retried_until_200() {
    let bench = Bench::start().await;
    bench.receiver.refuse(4);
    bench.send(&magic::number(2, 0, 0, 1), "o").await.expect("answer");
    assert_eq!(bench.receiver.wait_for_statuses(1).await[0]["status"], "sent");
    let stats = bench.wait_for("/metasim/webhooks", |stats| stats["delivered"] == 1).await;
    assert_eq!(stats["posts_by_result"], json!({"200": 1, "503": 4}));
    assert_eq!((&stats["retries"], &stats["in_flight"]), (&json!(4), &json!(0)));
    assert_eq!(bench.receiver.statuses().len(), 1);
    bench.server.stop().await;
}

#[tokio::test]
async fn testers_can_inject_and_verify() {
    let bench = Bench::start().await;
    let text = json!({"kind": "text", "phone_number_id": NUMBER, "from": "+4915112345678",
        "text": "grüße"});
    let (status, answer) = bench.admin(Method::POST, "/metasim/inbound", text).await;
    assert_eq!(status, 200, "{answer}");
    bench.wait_for("/metasim/webhooks", |stats| stats["delivered"] == 1).await;
    let message = bench.receiver.values()[0]["messages"][0].clone();
    assert_eq!((&message["id"], &message["text"]["body"]), (&answer["id"], &json!("grüße")));
    let unknown = json!({"kind": "preference", "phone_number_id": "7", "from": "1", "stop": true});
    assert_eq!(bench.admin(Method::POST, "/metasim/inbound", unknown).await.0, 404);
    let (status, verified) =
        bench.admin(Method::POST, "/metasim/webhooks/verify", Value::Null).await;
    assert_eq!(status, 200, "{verified}");
    let wrong = json!({"lose_anwser": 1.0});
    assert_eq!(bench.admin(Method::POST, "/metasim/faults", wrong).await.0, 400);
    assert_eq!(bench.get("/livez").await, "ok");
    let recipients = bench.get("/metasim/recipients").await;
    assert_eq!(recipients.as_array().map(Vec::len), Some(magic::TABLE.len()));
    bench.server.stop().await;
}

#[tokio::test]
async fn the_ledger_pages_and_finds_duplicates() {
    let bench = Bench::start().await;
    for (opaque, serial) in [("x.1.m1.1", 1), ("x.1.m2.1", 2), ("x.1.m1.2", 1)] {
        let to = magic::number(3, 0, 0, serial);
        bench.send(&to, opaque).await.expect("answer");
    }
    let page = bench.get("/metasim/ledger?since=1&limit=1").await;
    assert_eq!((&page["accepted"][0]["opaque"], &page["next"]), (&json!("x.1.m2.1"), &json!(2)));
    let end = bench.get("/metasim/ledger?since=3").await;
    assert_eq!((&end["accepted"], &end["next"]), (&json!([]), &json!(3)));
    let duplicates = bench.get("/metasim/ledger?duplicates=3").await;
    let expected = json!({"duplicates": [{"group": "x.1.m1", "accepted": [0, 2]}]});
    assert_eq!(duplicates, expected);
    let to = &magic::number(3, 0, 0, 1)[1..];
    let one = bench.get(&format!("/metasim/ledger?to={to}")).await;
    assert_eq!(one["accepted"].as_array().map(Vec::len), Some(2));
    bench.server.stop().await;
}

/// Nothing is lost or invented between the model, the pump and a receiver under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_update_arrives_once_under_load() {
    const MESSAGES: usize = 2_000;
    let bench = std::sync::Arc::new(Bench::start().await);
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..16 {
        let bench = std::sync::Arc::clone(&bench);
        senders.spawn(async move {
            for serial in (sender..MESSAGES).step_by(16) {
                let to = format!("+49151{serial:08}");
                let answer = bench.send(&to, &format!("load.{serial}")).await.expect("answer");
                assert_eq!(answer.0, 200, "{}", answer.1);
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender.expect("sender ends well");
    }
    let statuses = bench.receiver.wait_for_statuses(3 * MESSAGES).await;
    let distinct: std::collections::BTreeSet<(String, String)> = statuses
        .iter()
        .map(|status| (status["id"].to_string(), status["status"].to_string()))
        .collect();
    assert_eq!((statuses.len(), distinct.len()), (3 * MESSAGES, 3 * MESSAGES));
    assert_eq!(bench.receiver.forged(), 0);
    let summary = bench.get("/metasim/ledger?summary=true").await;
    assert_eq!(summary["accepted"], MESSAGES);
}
