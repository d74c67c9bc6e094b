//! What operators do to messages under way: pauses on every instance, and cancels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sendplane_domain::time::Timestamp;
use sendplane_tests::counter::wall;
use sendplane_tests::plane::{LIMIT, Plane, TENANTS, turn};
use sendplane_tests::traffic::{request, with};
use sendplane_tests::wait;
use serde_json::{Value, json};

/// Marketing messages of each tenant, and codes of each tenant in each pause.
const CAMPAIGN: usize = 240;
const CODES: usize = 10;

/// A pause counts everywhere within this time.
const EFFECTIVE_WITHIN: Duration = Duration::from_secs(2);

/// Every number at 20 a second, so that a campaign lasts.
fn slow_down(plane: &Plane) {
    let mut file = String::from("tenants:\n");
    for (tenant, number, _) in TENANTS {
        file.push_str(&format!(
            "  - tenant: {tenant}\n    name: {tenant}\n    phone-numbers:\n      - \
             {{phone-number-id: \"{number}\", waba-id: \"200000000000001\", display-number: \
             \"+15550001111\", messages-per-second: 20}}\n"
        ));
    }
    let path = plane.dir().join("slow.yaml");
    std::fs::write(&path, file).expect("a temp file");
    plane.cli(&["tenants", "apply", &path.display().to_string()]);
}

/// What metasim has accepted of a category, in order.
fn accepted(plane: &Plane, category: &str) -> Vec<Value> {
    let ledger = plane.metasim("/metasim/ledger?limit=10000");
    let all = ledger["accepted"].as_array().expect("a list").iter();
    all.filter(|one| one["category"] == category).cloned().collect()
}

/// Waits until every number has a call of the campaign later than `since`: both instances work.
fn await_campaign(plane: &Plane, since: Timestamp) {
    wait::until("the campaign flows from every number", LIMIT, || {
        let calls = accepted(plane, "marketing");
        let later = calls.iter().filter(|one| accepted_at(one) > since);
        let numbers: BTreeSet<&str> =
            later.map(|one| one["phone_number_id"].as_str().expect("text")).collect();
        (numbers.len() == TENANTS.len()).then_some(())
    });
}

fn accepted_at(one: &Value) -> Timestamp {
    Timestamp::from_millis(one["accepted_at_ms"].as_i64().expect("a time"))
}

/// Recipients are numbered through; `kind` keeps them apart.
fn lines(kind: usize, each: usize, make: impl Fn(&str, &str, &str) -> Value) -> Vec<Value> {
    let one = |n: usize| {
        let tenant = TENANTS[n % TENANTS.len()].0;
        make(tenant, &format!("op-{kind}-{n}"), &format!("+99901{kind:02}{n:08}"))
    };
    (0..each * TENANTS.len()).map(one).collect()
}

/// Holds marketing by `scope` while codes flow; returns when the pause counted and when it ended.
fn hold(plane: &Plane, kind: usize, scope: &[&str]) -> (Timestamp, Timestamp) {
    await_campaign(plane, wall());
    let pause = [&["pause", "--reason", "a test", "-o", "json"][..], scope].concat();
    let pause: Value = serde_json::from_str(&plane.cli(&pause)).expect("JSON");
    let held_from = wall() + EFFECTIVE_WITHIN;
    let id = pause["id"].as_str().expect("an id").to_owned();
    let listed: Value = serde_json::from_str(&plane.cli(&["pauses", "-o", "json"])).expect("JSON");
    assert_eq!(listed, json!([pause]));
    let before = accepted(plane, "utility").len();
    plane.produce(&lines(kind, CODES, request));
    let codes = CODES * TENANTS.len();
    wait::until("codes flow while marketing is held, and that for a while", LIMIT, || {
        let sent = accepted(plane, "utility").len() - before;
        (sent == codes && wall() > held_from + EFFECTIVE_WITHIN).then_some(())
    });
    let held_until = wall();
    plane.cli(&["resume", &id]);
    assert_eq!(plane.cli(&["pauses", "-o", "json"]).trim(), "[]");
    let (code, _, error) = plane.cli_exit(&["resume", &id]);
    assert!(code == Some(64) && error.contains(&id), "{code:?} {error}");
    (held_from, held_until)
}

#[test]
fn a_pause_counts_on_every_instance_within_two_seconds_and_loses_nothing() {
    let _turn = turn();
    let mut plane = Plane::start();
    plane.start_stage("send", "b");
    plane.await_ready("send", "b");
    slow_down(&plane);
    let marketing = json!({
        "topic": "sendplane.requests.bulk.v1", "template_name": "season_sale",
        "variables": {"1": "Ada"}, "campaign": "op",
    });
    let to = |tenant: &str, key: &str, to: &str| with(request(tenant, key, to), marketing.clone());
    plane.produce(&lines(0, CAMPAIGN, to));
    let held = [
        hold(&plane, 1, &["--category", "marketing"]),
        hold(&plane, 2, &["--lane", "bulk", "--for", "10m"]),
    ];
    for (tenant, ..) in TENANTS {
        plane.await_rows(tenant, |rows| {
            let ours = rows.iter().filter(|((key, _), _)| key.starts_with("op-"));
            let delivered = ours.filter(|(_, row)| row["state"] == "DELIVERED").count();
            let expected = CAMPAIGN + held.len() * CODES;
            if delivered == expected { Ok(()) } else { Err(format!("{delivered} delivered")) }
        });
    }
    let calls = accepted(&plane, "marketing");
    for (from, until) in held {
        let within = |one: &&Value| (from..until).contains(&accepted_at(one));
        assert_eq!(calls.iter().find(within), None, "called between {from:?} and {until:?}");
    }
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let all = [&calls[..], &accepted(&plane, "utility")].concat();
    for one in &all {
        *times.entry(one["to"].as_str().expect("text")).or_default() += 1;
    }
    assert_eq!(times.len(), TENANTS.len() * (CAMPAIGN + held.len() * CODES));
    assert!(times.values().all(|times| *times == 1), "nobody is called twice");
}

#[test]
fn a_cancel_is_answered_with_what_became_of_the_message() {
    let _turn = turn();
    let plane = Plane::start();
    let tenant = TENANTS[3].0;
    let cancel = |named: &[&str]| {
        let base = ["cancel", "--tenant", tenant, "--reason", "a test", "--wait", "60s"];
        let arguments = [&base[..], &["-o", "json"], named].concat();
        let (code, out, error) = plane.cli_exit(&arguments);
        let out: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{error}"));
        (code.expect("it ends by itself"), out["answers"].clone())
    };
    let state_of = |key: &str, state: &str| {
        plane.await_rows(tenant, |rows| {
            let found = rows.iter().find(|((found, _), _)| found == key).map(|(_, row)| row);
            if found.is_some_and(|row| row["state"] == state) {
                Ok(())
            } else {
                Err(format!("{key} is not {state}: {found:?}"))
            }
        })
    };
    plane.produce(&[request(tenant, "cancel-late", "+999010000099001")]);
    state_of("cancel-late", "DELIVERED");
    plane.cli(&["pause", "--tenant", tenant, "--reason", "a test"]);
    let order = json!({"order_id": "op-17"});
    plane.produce(&[
        request(tenant, "cancel-key", "+999010000099002"),
        with(request(tenant, "cancel-order-1", "+999010000099003"), order.clone()),
        with(request(tenant, "cancel-order-2", "+999010000099004"), order),
        request(tenant, "cancel-not", "+999010000099005"),
    ]);
    for key in ["cancel-key", "cancel-order-1", "cancel-order-2", "cancel-not"] {
        state_of(key, "DISPATCHED");
    }
    let (code, answers) = cancel(&["--key", "cancel-key"]);
    assert_eq!((code, &answers[0]["result"]), (0, &json!("cancelled")));
    let rows = state_of("cancel-key", "CANCELLED");
    let (code, answers) = cancel(&["--order", "op-17"]);
    assert_eq!((code, answers.as_array().map(Vec::len)), (0, Some(2)), "{answers}");
    let (code, answers) = cancel(&["--key", "cancel-late"]);
    assert_eq!((code, &answers[0]["state"]), (3, &json!("accepted")));
    let (code, answers) = cancel(&["--key", "cancel-nothing"]);
    assert_eq!((code, &answers[0]["result"]), (4, &json!("not_found")));
    let id = rows.keys().find(|(key, _)| key == "cancel-key").map(|(_, id)| id.clone());
    let (code, answers) = cancel(&["--message", &id.expect("an id")]);
    assert_eq!((code, &answers[0]["result"]), (0, &json!("cancelled")), "once more the same");
    plane.cli(&["resume", "--tenant", tenant]);
    state_of("cancel-not", "DELIVERED");
    for key in ["cancel-key", "cancel-order-1", "cancel-order-2"] {
        state_of(key, "CANCELLED");
    }
    let sent = accepted(&plane, "utility");
    let sent: Vec<&str> = sent.iter().filter_map(|one| one["to"].as_str()).collect();
    assert_eq!(sent, ["999010000099001", "999010000099005"]);
}
