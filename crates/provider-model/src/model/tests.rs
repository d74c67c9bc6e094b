//! Goal: every promise of the model through its public surface. Method: a harness that sends one
//! message and runs virtual time until no webhook is left.

mod account;
mod fixed_results;
mod knobs;
mod limits;
mod properties;
mod templates;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::config::{MsRange, TemplateStatus};
use crate::injection::Injection;
use crate::magic;
use crate::webhook::Webhook;

const NUMBER: &str = "100000000000001";
const FAST: &str = "100000000000002";
const START: i64 = 1_790_000_000_000;

fn config() -> Config {
    let faults = Faults { latency_ms: MsRange::new(10, 90), ..Faults::default() };
    Config { faults, ..Config::default() }
}

fn model() -> Model {
    Model::new(config()).expect("valid configuration")
}

fn order(to: &str, opaque: &str) -> Value {
    json!({
        "messaging_product": "whatsapp", "to": to, "type": "template",
        "biz_opaque_callback_data": opaque,
        "template": {"name": "order_confirmed", "language": {"code": "en_US"}, "components": [
            {"type": "body", "parameters": [
                {"type": "text", "text": "Ada"}, {"type": "text", "text": "17"}]}]},
    })
}

fn text(to: &str) -> Value {
    json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "hi"}})
}

fn send_from(model: &mut Model, now_ms: i64, number: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let call = Call {
        endpoint: Endpoint::Messages,
        phone_number_id: number,
        bearer_token: Some("metasim-token"),
        body: body.as_bytes(),
    };
    model.handle_send(now_ms, &call)
}

fn send(model: &mut Model, now_ms: i64, body: &Value) -> Answer {
    send_from(model, now_ms, NUMBER, body)
}

/// Every webhook until none is left, with the time it was due.
fn drain(model: &mut Model) -> Vec<(i64, Webhook)> {
    let mut all = Vec::new();
    while let Some(due_ms) = model.next_due() {
        let webhooks = model.due_webhooks(due_ms);
        all.extend(webhooks.into_iter().map(|webhook| (due_ms, webhook)));
    }
    all
}

fn value_of(webhook: &Webhook) -> Value {
    let body: Value = serde_json::from_slice(&webhook.body).expect("JSON");
    body["entry"][0]["changes"][0]["value"].clone()
}

/// Every element of `statuses[]` until no webhook is left.
fn statuses(model: &mut Model) -> Vec<Value> {
    let values = drain(model).into_iter().map(|(_, webhook)| value_of(&webhook));
    values.filter_map(|value| value["statuses"].as_array().cloned()).flatten().collect()
}

fn names(statuses: &[Value]) -> Vec<String> {
    statuses.iter().map(|s| s["status"].as_str().expect("text").to_owned()).collect()
}

/// What `calls` calls to one recipient were answered, and the statuses after them.
fn drive(to: &str, calls: usize) -> (Vec<Answer>, Vec<String>, Model) {
    let mut model = model();
    let calls = (0..calls).map(|call| {
        let now_ms = START + call as i64 * 10_000;
        send(&mut model, now_ms, &order(to, &format!("o.{call}")))
    });
    let answers = calls.collect();
    let names = names(&statuses(&mut model));
    (answers, names, model)
}

fn error_code(answer: &Answer) -> Option<i64> {
    match &answer.body {
        Body::Json(value) => value["error"]["code"].as_i64(),
        _ => None,
    }
}

#[test]
fn an_ordinary_message_is_accepted_delivered_and_read() {
    let mut model = model();
    let answer = send(&mut model, START, &order("+4915112345678", "sp1.a.0.m.1.x"));
    let accepted = model.ledger().accepted()[0].clone();
    assert_eq!((answer.http_status, answer.truth), (200, Truth::Accepted(0)));
    let expected = json!({
        "messaging_product": "whatsapp",
        "contacts": [{"input": "+4915112345678", "wa_id": "4915112345678"}],
        "messages": [{"id": accepted.wamid, "message_status": "accepted"}],
    });
    assert_eq!(answer.body, Body::Json(expected));
    assert_eq!(
        (accepted.template.as_deref(), accepted.category, accepted.answer_lost),
        (Some("order_confirmed"), "utility", false)
    );
    let hooks = drain(&mut model);
    assert_eq!(hooks.len(), 3);
    let body: Value = serde_json::from_slice(&hooks[1].1.body).expect("JSON");
    assert_eq!(body["object"], "whatsapp_business_account");
    assert_eq!(body["entry"][0]["id"], "200000000000001");
    assert_eq!(body["entry"][0]["changes"][0]["field"], "messages");
    let value = value_of(&hooks[1].1);
    assert_eq!(
        value["metadata"],
        json!({"display_phone_number": "15550100001", "phone_number_id": NUMBER})
    );
    let status = &value["statuses"][0];
    assert_eq!(status["id"], accepted.wamid.as_str());
    assert_eq!(status["status"], "delivered");
    assert_eq!(status["recipient_id"], "4915112345678");
    assert_eq!(status["biz_opaque_callback_data"], "sp1.a.0.m.1.x");
    assert_eq!(status["timestamp"], (hooks[1].0 / 1_000).to_string());
    let priced: Vec<Value> = hooks
        .iter()
        .filter_map(|(_, hook)| value_of(hook)["statuses"][0].get("pricing").cloned())
        .collect();
    assert!(!priced.is_empty());
    assert!(
        priced.iter().all(|price| price["category"] == "utility" && price["type"] == "regular")
    );
}

#[test]
fn a_wamid_contains_the_recipient_and_is_unique_per_epoch() {
    use base64::Engine as _;
    let mut seen = BTreeSet::new();
    for epoch in [0, 1] {
        let mut model = Model::new(Config { epoch, ..config() }).expect("valid");
        for (call, number) in [(0, NUMBER), (1, NUMBER), (2, FAST)] {
            send_from(&mut model, START + call * 10_000, number, &order("+4915112345678", "o"));
        }
        for accepted in model.ledger().accepted() {
            let encoded = accepted.wamid.strip_prefix("wamid.").expect("prefix");
            let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64");
            assert!(bytes.windows(13).any(|window| window == b"4915112345678"));
            assert!(seen.insert(accepted.wamid.clone()), "a wamid came twice");
        }
    }
    assert_eq!(seen.len(), 6);
}

#[test]
fn token_and_number_are_checked_before_the_request() {
    let mut model = model();
    let body = b"{".as_slice();
    let mut code = |number, token| {
        let call = Call {
            endpoint: Endpoint::Messages,
            phone_number_id: number,
            bearer_token: token,
            body,
        };
        let answer = model.handle_send(START, &call);
        (answer.http_status, error_code(&answer))
    };
    assert_eq!(code(NUMBER, None), (401, Some(104)));
    assert_eq!(code(NUMBER, Some("other")), (401, Some(190)));
    assert_eq!(code("7", Some("metasim-token")), (400, Some(100)));
    assert_eq!(code(NUMBER, Some("metasim-token")), (400, Some(100)));
    let refused = model.summary().refused_by_code;
    assert_eq!(refused, [(100, 2), (104, 1), (190, 1)].into_iter().collect());
    let unknown = send_from(&mut model, START, "7", &order("+4915112345678", "o"));
    let Body::Json(value) = &unknown.body else { panic!("JSON") };
    assert_eq!(value["error"]["error_subcode"], 33);
}

#[test]
fn throughput_refuses_and_counts() {
    let mut model = model();
    for call in 0..100 {
        let to = format!("+49151{call:08}");
        let answer = send(&mut model, START, &order(&to, "o"));
        assert_eq!(error_code(&answer), (call >= 80).then_some(130_429), "call {call}");
    }
    assert_eq!(error_code(&send(&mut model, START + 999, &text("+4915100000000"))), Some(130_429));
    assert_eq!(error_code(&send(&mut model, START + 1_000, &order("+4915100000000", "o"))), None);
    let numbers = model.summary().numbers;
    let number = &numbers[NUMBER];
    assert_eq!((number.throughput_violations, number.calls_per_second_max), (21, 101));
    assert_eq!((number.messages_per_second_max, number.calls), (80, 102));
    assert_eq!(
        error_code(&send_from(&mut model, START, FAST, &order("+4915100000000", "o"))),
        None
    );
}

#[test]
fn inbound_messages_use_up_throughput() {
    let mut model = model();
    for serial in 0..79 {
        let injection = Injection::Text {
            phone_number_id: NUMBER.to_owned(),
            from: format!("+49151{serial:08}"),
            text: "hi".to_owned(),
            name: None,
        };
        model.inject(START, injection).expect("known number");
    }
    assert_eq!(error_code(&send(&mut model, START, &order("+4915100000001", "o"))), None);
    assert_eq!(error_code(&send(&mut model, START, &order("+4915100000002", "o"))), Some(130_429));
}

#[test]
fn the_pair_limit_concerns_one_recipient() {
    let mut model = model();
    for call in 0..50 {
        let answer = send(&mut model, START + call, &order("+4915100000001", "o"));
        assert_eq!(error_code(&answer), (call >= 45).then_some(131_056), "call {call}");
    }
    assert_eq!(error_code(&send(&mut model, START + 50, &order("+4915100000002", "o"))), None);
    assert_eq!(model.summary().pair_violations, 5);
    assert_eq!(model.calls_to("4915100000001"), 50);
}

#[test]
fn session_messages_need_the_service_window() {
    let mut model = model();
    let to = "+4915100000001";
    send(&mut model, START, &text(to));
    let failed = statuses(&mut model);
    assert_eq!(
        (names(&failed), &failed[0]["errors"][0]["code"]),
        (vec!["failed".to_owned()], &json!(131_047))
    );
    let injection = Injection::Text {
        phone_number_id: NUMBER.to_owned(),
        from: to.to_owned(),
        text: "grüße".to_owned(),
        name: Some("Ada".to_owned()),
    };
    let id = model.inject(START + 60_000, injection).expect("known number").expect("an id");
    let inbound = value_of(&drain(&mut model)[0].1);
    assert_eq!(inbound["messages"][0]["id"], id.as_str());
    assert_eq!(inbound["contacts"][0]["profile"]["name"], "Ada");
    let answer = send(&mut model, START + 60_001, &text(to));
    let Body::Json(value) = &answer.body else { panic!("JSON") };
    assert!(value["messages"][0].get("message_status").is_none(), "templates only");
    assert_eq!(names(&statuses(&mut model)), ["sent", "delivered", "read"]);
    send(&mut model, START + 60_000 + crate::SERVICE_WINDOW_MS, &text(to));
    assert_eq!(names(&statuses(&mut model)), ["failed"]);
}

#[test]
fn notices_change_what_is_accepted() {
    let mut model = model();
    let pause = Injection::TemplateStatus {
        name: "order_confirmed".to_owned(),
        language: "en_US".to_owned(),
        status: TemplateStatus::Paused,
    };
    model.inject(START, pause).expect("known template");
    let value = value_of(&drain(&mut model)[0].1);
    assert_eq!(
        (&value["event"], &value["message_template_name"]),
        (&json!("PAUSED"), &json!("order_confirmed"))
    );
    let answer = send(&mut model, START, &order("+4915100000001", "o"));
    assert_eq!(error_code(&answer), Some(132_015));

    let stop = Injection::Preference {
        phone_number_id: NUMBER.to_owned(),
        from: "4915100000001".to_owned(),
        stop: true,
    };
    model.inject(START, stop).expect("known number");
    drain(&mut model);
    let mut sale = order("+4915100000001", "o");
    sale["template"] = json!({"name": "season_sale", "language": {"code": "en_US"}, "components": [
        {"type": "body", "parameters": [{"type": "text", "text": "10 %"}]}]});
    send(&mut model, START, &sale);
    assert_eq!(statuses(&mut model)[0]["errors"][0]["code"], 131_050);

    let upgrade = Injection::Throughput { phone_number_id: NUMBER.to_owned(), per_second: 1_000 };
    assert_eq!(model.throughput(NUMBER).expect("known")["throughput"]["level"], "STANDARD");
    model.inject(START, upgrade).expect("known number");
    assert_eq!(value_of(&drain(&mut model)[0].1)["event"], "THROUGHPUT_UPGRADE");
    assert_eq!(model.throughput(NUMBER).expect("known")["throughput"]["level"], "HIGH");
    assert_eq!(model.throughput("7"), None);
}

#[test]
fn statuses_share_bodies_up_to_the_limit() {
    let mut model = Model::new(Config { updates_per_webhook_max: 7, ..config() }).expect("valid");
    for serial in 0..20 {
        send(&mut model, START, &order(&magic::number(2, 0, 0, serial), "o"));
    }
    let webhooks = model.due_webhooks(START + 3_600_000);
    let sizes: Vec<usize> = webhooks.iter().map(|webhook| webhook.updates).collect();
    assert_eq!(sizes, [7, 7, 6]);
    for webhook in &webhooks {
        let value = value_of(webhook);
        assert_eq!(value["statuses"].as_array().map(Vec::len), Some(webhook.updates));
        assert_eq!(value["contacts"].as_array().map(Vec::len), Some(webhook.updates));
    }
    assert_eq!((model.next_due(), model.updates_pending()), (None, 0));
}

#[test]
fn every_read_message_has_its_price_somewhere() {
    let mut model = model();
    for serial in 0..60 {
        send(&mut model, START, &order(&magic::number(0, 0, 0, serial), "o"));
    }
    let mut priced: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for status in statuses(&mut model) {
        let names = priced.entry(status["id"].to_string()).or_default();
        if status.get("pricing").is_some() {
            names.insert(status["status"].as_str().expect("text").to_owned());
        }
    }
    let kinds: BTreeSet<Vec<&str>> =
        priced.values().map(|names| names.iter().map(String::as_str).collect()).collect();
    let expected = [vec!["sent"], vec!["delivered", "read"], vec!["delivered", "read", "sent"]];
    assert_eq!(kinds, expected.into_iter().collect());
}

#[test]
fn a_clock_that_jumps_back_gives_no_room() {
    let mut model = model();
    for serial in 0..80 {
        send(&mut model, START, &order(&format!("+49151{serial:08}"), "o"));
    }
    let answer = send(&mut model, START - 5_000, &order("+4915200000001", "o"));
    assert_eq!(error_code(&answer), Some(130_429));
    send(&mut model, START + 1_000, &order("+4915200000001", "o"));
    send(&mut model, START - 5_000, &order("+4915200000002", "o"));
    let last = model.ledger().accepted().last().expect("accepted");
    assert_eq!(last.accepted_at_ms, START + 1_000);
}
