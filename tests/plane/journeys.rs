//! What happens to one message of each kind.

use std::collections::BTreeMap;

use sendplane_tests::plane::{LIMIT, Plane, TENANTS, turn};
use sendplane_tests::traffic::{request, with};
use sendplane_tests::wait;
use serde_json::{Value, json};

const TENANT: &str = TENANTS[0].0;

/// Of each kind one request, the state it must end in, and the reason its row must name.
fn cases() -> Vec<(Value, &'static str, Option<&'static str>)> {
    let to = |key: &str, recipient: &str| request(TENANT, key, recipient);
    let plain = |key: &str| to(key, "+4915100000001");
    let template = |key: &str, name: &str, variables: Value| {
        with(plain(key), json!({"template_name": name, "variables": variables}))
    };
    vec![
        (to("read", "+999000000000001"), "READ", None),
        (to("delivered", "+999010000000002"), "DELIVERED", None),
        (to("failed", "+999041310260003"), "FAILED", None),
        (to("refused-by-meta", "+999101310210004"), "REJECTED", None),
        (to("retried", "+999111990011005"), "READ", None),
        (to("dead", "+999101990010006"), "DEAD_LETTERED", None),
        (to("answer-lost", "+999200000001007"), "READ", None),
        (to("silent-doubt", "+999210000001008"), "OUTCOME_UNKNOWN", None),
        (template("no-template", "nowhere", json!({})), "BLOCKED", Some("template_unknown")),
        (
            template("no-variable", "order_confirmed", json!({"1": "Ada"})),
            "BLOCKED",
            Some("variables_incomplete"),
        ),
        (
            template("named", "order_shipped", json!({"order_id": "7", "carrier": "DHL"})),
            "READ",
            None,
        ),
        (to("not-a-number", "+49 151 000"), "REFUSED", Some("recipient_not_e164")),
        (
            with(
                template("opted-out", "season_sale", json!({"1": "Ada"})),
                json!({
                    "topic": "sendplane.requests.bulk.v1",
                    "recipient": "+4915100000099",
                    "campaign": "autumn",
                }),
            ),
            "SUPPRESSED",
            Some("consent_withdrawn_marketing"),
        ),
    ]
}

#[test]
fn a_message_of_each_kind_ends_as_it_must() {
    let _turn = turn();
    let plane = Plane::start();
    plane.produce(&[json!({
        "topic": "sendplane.consent.v1", "tenant": TENANT, "recipient": "+4915100000099",
        "scope": "MARKETING", "state": "WITHDRAWN", "changed_at": 1_700_000_000_000_i64,
        "source": "tests",
    })]);
    let cases = cases();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = json!({"traceparent": trace, "sendplane-correlation-id": "order-17"});
    let mut lines: Vec<Value> = cases.iter().map(|(line, ..)| line.clone()).collect();
    lines[0] = with(lines[0].clone(), json!({"headers": headers}));
    // An upstream producer with librdkafka's own partitioner misplaces some of its records.
    for number in 0..20 {
        let line = request(TENANT, &format!("elsewhere-{number}"), "+999000000000020");
        lines.push(with(line, json!({"partitioner": "random", "raw_key": TENANT})));
    }
    plane.produce(&lines);
    // Twice the same request, and once the same key with another recipient.
    plane.produce(&[
        cases[0].0.clone(),
        with(cases[0].0.clone(), json!({"recipient": "+999000000000009"})),
    ]);
    let rows = plane.await_rows(TENANT, |rows| {
        // Other tests use this tenant as well.
        let ours = rows.keys().filter(|(key, _)| {
            key.starts_with("elsewhere-")
                || cases.iter().any(|(line, ..)| line["idempotency_key"] == **key)
        });
        let ours = ours.count();
        if ours != cases.len() + 20 + 2 {
            return Err(format!("{ours} messages"));
        }
        let mut cases = cases[1..].iter();
        cases.try_for_each(|(line, state, reason)| ends_as(rows, line, state, *reason))
    });
    let by_key = by_key(&rows);
    let mut states: Vec<&str> =
        by_key["read"].iter().map(|row| row["state"].as_str().expect("text")).collect();
    states.sort_unstable();
    assert_eq!(states, ["DUPLICATE", "READ", "REFUSED"], "one of three requests under one key");
    for number in 0..20 {
        let found = &by_key[format!("elsewhere-{number}").as_str()];
        assert_eq!((found.len(), &found[0]["state"]), (1, &json!("READ")));
    }

    assert_followed(&plane, trace);
    assert_truthful(&plane);
    assert_explained(&plane, &rows);
}

/// Exactly one message under the request's key, in this state, for this reason.
fn ends_as(
    rows: &BTreeMap<(String, String), Value>,
    line: &Value,
    state: &str,
    reason: Option<&str>,
) -> Result<(), String> {
    let key = line["idempotency_key"].as_str().expect("a key");
    let by_key = by_key(rows);
    let [row] = by_key.get(key).map_or(&[][..], Vec::as_slice) else {
        return Err(format!("{key} has {:?}", by_key.get(key)));
    };
    if row["state"] != state || reason.is_some_and(|reason| row["reason"] != reason) {
        return Err(format!("{key} is not {state} {reason:?} but {row}"));
    }
    Ok(())
}

fn by_key(rows: &BTreeMap<(String, String), Value>) -> BTreeMap<&str, Vec<&Value>> {
    let mut by_key: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for ((key, _), row) in rows {
        by_key.entry(key).or_default().push(row);
    }
    by_key
}

/// The trace and the correlation id of the first request stand on every hop.
fn assert_followed(plane: &Plane, trace: &str) {
    for topic in [
        "sendplane.admitted.transactional.v1",
        "sendplane.dispatch.transactional.v1",
        "sendplane.attempts.v1",
        "sendplane.outcomes.v1",
    ] {
        let followed = plane
            .read(topic)
            .into_iter()
            .filter(|row| row["headers"]["sendplane-correlation-id"] == "order-17")
            .inspect(|row| assert_eq!(row["headers"]["traceparent"], trace, "{topic}"))
            .count();
        assert!(followed > 0, "the correlation id reaches {topic}");
    }
    let read = plane
        .read("sendplane.outcomes.v1")
        .into_iter()
        .find(|row| row["value"]["state"] == "READ" && row["value"]["correlation_id"] == "order-17")
        .expect("the outcome of a webhook belongs to the request");
    assert_eq!(read["headers"]["traceparent"], trace, "through the webhook as well");
}

/// The provider's ledger: each message once.
fn assert_truthful(plane: &Plane) {
    assert_eq!(plane.metasim("/metasim/ledger?duplicates=4"), json!({"duplicates": []}));
    let calls = |to: &str| {
        let found = plane.metasim(&format!("/metasim/ledger?to={to}"));
        found["accepted"].as_array().map(Vec::len)
    };
    assert_eq!(calls("999000000000001"), Some(1), "duplicates are not sent");
    assert_eq!(calls("4915100000099"), Some(0), "an opt-out is not sent");
}

/// `message show` tells the story, and dead letters are found with their reason.
fn assert_explained(plane: &Plane, rows: &BTreeMap<(String, String), Value>) {
    let (_, id) = rows.keys().find(|(key, _)| key == "retried").expect("there is one");
    let story = plane.cli(&["message", "show", id, "--tenant", TENANT]);
    for word in ["DISPATCH", "SUBMITTING", "REFUSED", "ACCEPTED", "DELIVERED", "READ"] {
        assert!(story.to_uppercase().contains(word), "{word} is part of the story:\n{story}");
    }
    let dead = wait::until("the dead letter can be read", LIMIT, || {
        let text = plane.cli(&["tail", "dlq.sendplane.send", "--from-beginning", "--until-end"]);
        text.contains("attempts_exhausted").then_some(text)
    });
    let (_, id) = rows.keys().find(|(key, _)| key == "dead").expect("there is one");
    assert!(dead.contains(id), "the dead letter is the dispatch of {id}:\n{dead}");
}

/// Records nobody can read: each to the dead-letter topic with its reason, the next one unharmed.
#[test]
fn poison_is_dead_lettered_with_its_reason() {
    let _turn = turn();
    let plane = Plane::start();
    let tenant = TENANTS[1].0;
    let topic = "sendplane.requests.transactional.v1";
    let raw = |hex: &str| json!({"topic": topic, "raw_key": tenant, "raw_value_hex": hex});
    let mut lines = vec![
        raw(""),
        raw("7b7d"),
        raw("00"),
        raw("007ffffffe02"),
        with(request("nobody", "n", "+999000000000001"), json!({})),
        with(request(tenant, "k", "+999000000000001"), json!({"raw_key": "somebody-else"})),
        raw(&"00".repeat(600 * 1024)),
    ];
    lines.push(request(tenant, "after-poison", "+999000000000001"));
    plane.produce(&lines);
    let survivor = lines.last().expect("the last one");
    plane.await_rows(tenant, |rows| ends_as(rows, survivor, "READ", None));
    let dead = plane.cli(&["tail", "dlq.sendplane.ingest", "--from-beginning", "--until-end"]);
    let codes: BTreeMap<String, usize> = dead
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"))
        .map(|row| row["headers"]["sendplane.error.code"].as_str().unwrap_or("none").to_owned())
        .fold(BTreeMap::new(), |mut codes, code| {
            *codes.entry(code).or_default() += 1;
            codes
        });
    for code in [
        "no_schema_framing",
        "unknown_schema_id",
        "unknown_tenant",
        "key_mismatch",
        "record_too_large",
    ] {
        assert!(codes.contains_key(code), "{code} is among {codes:?}");
    }
}
