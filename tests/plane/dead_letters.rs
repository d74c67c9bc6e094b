//! Dead letters one can act on: found, shown, given again once their cause is mended, and never
//! doubled by it; and the breaker, which keeps a whole stream from becoming dead letters.

use sendplane_domain::shard::partition_of;
use sendplane_tests::kafka;
use sendplane_tests::plane::{LIMIT, PARTITIONS, Plane, TENANTS, turn};
use sendplane_tests::stack::root;
use sendplane_tests::traffic::{request, with};
use sendplane_tests::{http, wait};
use serde_json::{Value, json};

const REQUESTS: &str = "sendplane.requests.transactional.v1";

/// Registers a schema and returns its id.
fn register(plane: &Plane, subject: &str, schema: &Value) -> u64 {
    let url = plane.stack().registry.trim_end_matches('/').replacen("http://", "", 1);
    let (host, base) = url.split_once('/').expect("a path");
    let port = host.rsplit_once(':').expect("a port").1.parse().expect("a number");
    let path = format!("/{base}/subjects/{subject}/versions");
    let body = json!({"schema": schema.to_string()}).to_string();
    let (status, answer) = http::request(port, "POST", &path, &[], &body);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["id"].as_u64().expect("an id")
}

/// The dead letters of a stage that pass these filters, once there are `count`.
fn letters(plane: &Plane, stage: &str, filters: &[&str], count: usize) -> Vec<Value> {
    let list = ["dlq", "list", "--each", "--json", "--stage", stage];
    let arguments = [&list[..], filters].concat();
    wait::until(&format!("{count} letters of {stage}, {filters:?}"), LIMIT, || {
        let found: Vec<Value> = serde_json::from_str(&plane.cli(&arguments)).expect("JSON");
        assert!(found.len() <= count, "more than {count} letters: {found:?}");
        (found.len() == count).then_some(found)
    })
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Ends of all topics a replay may write to.
fn ends(plane: &Plane) -> Vec<Vec<i64>> {
    let topics = [
        REQUESTS,
        "sendplane.dispatch.transactional.v1",
        "dlq.sendplane.ingest",
        "dlq.sendplane.send",
    ];
    topics.map(|topic| kafka::ends(&plane.stack().bootstrap, topic, PARTITIONS)).to_vec()
}

/// The newest rows of `tenant` under `key`.
fn rows_of(plane: &Plane, tenant: &str, key: &str) -> Vec<Value> {
    let rows = plane.outcomes(tenant).into_iter();
    rows.filter(|((found, _), _)| found == key).map(|(_, row)| row).collect()
}

/// Waits until the one message under `key` is in `state`, and returns its row.
fn await_state(plane: &Plane, tenant: &str, key: &str, state: &str) -> Value {
    plane.await_rows(tenant, |_| match &rows_of(plane, tenant, key)[..] {
        [row] if row["state"] == state => Ok(()),
        other => Err(format!("{key} is {other:?}")),
    });
    rows_of(plane, tenant, key).remove(0)
}

fn accepted(plane: &Plane, recipient: &str) -> usize {
    let digits = recipient.trim_start_matches('+');
    let ledger = plane.metasim(&format!("/metasim/ledger?to={digits}"));
    ledger["accepted"].as_array().expect("a list").len()
}

/// Goal: a record whose schema comes later is not lost: shown with what to do, replayed under its
/// own identity, and replaying it again changes nothing.
#[test]
fn a_request_that_could_not_be_read_is_replayed_once_its_schema_is_there() {
    let _turn = turn();
    let plane = Plane::start();
    let (tenant, recipient) = (TENANTS[1].0, "+999000000000071");
    // The registry counts its ids, so the next one is known before it is given away.
    let counted = |n: u32| {
        let name = format!("Counted{}x{n}", std::process::id());
        let schema = json!({"type": "record", "name": name, "fields": [
            {"name": "n", "type": "int"}]});
        register(&plane, &format!("tests-counted-{n}"), &schema)
    };
    let (first, second) = (counted(1), counted(2));
    assert_eq!(second, first + 1, "the registry counts by one");
    let later = second + 1;
    let path = root().join("schemas/sendplane.requests.v1/SendRequest.avsc");
    let schema = std::fs::read_to_string(path).expect("the schema");
    let mut schema: Value = serde_json::from_str(&schema).expect("JSON");
    schema["doc"] = json!(format!("As its producer of {} writes it.", std::process::id()));
    let file = plane.dir().join("later.avsc");
    std::fs::write(&file, schema.to_string()).expect("a temp file");
    let arguments =
        ["--schema-file", &file.display().to_string(), "--schema-id", &later.to_string()];
    let line = request(tenant, "schema-later", recipient);
    plane.produce_with(&[with(line, json!({"headers": {"x-order": "17"}}))], &arguments);
    plane.produce(&[request(tenant, "schema-now", "+999000000000072")]);
    await_state(&plane, tenant, "schema-now", "READ");

    let filters = ["--code", "unknown_schema_id", "--tenant", tenant, "--since", "1h"];
    let letter = letters(&plane, "ingest", &filters, 1).remove(0);
    let id = text(&letter, "id");
    let counts = plane.cli(&["dlq", "list", "--reason", "unknown_schema_id"]);
    assert!(counts.contains("unknown_schema_id") && counts.contains(tenant), "{counts}");
    let shown = plane.cli(&["dlq", "show", id]);
    for part in ["Register the schema", "header    x-order: 17", "not decoded", "00000000  00 00"] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }

    let before = ends(&plane);
    let dry = plane.cli(&["dlq", "replay", id, "--reason", "schema is there", "--dry-run"]);
    assert!(dry.contains("would be replayed") && dry.contains(REQUESTS), "{dry}");
    let (success, _, error) = plane.try_cli(&["dlq", "replay", id]);
    assert!(!success && error.contains("--reason"), "{error}");
    assert_eq!(ends(&plane), before, "nothing was written");

    assert_eq!(register(&plane, "tests-later-value", &schema), later);
    let done = plane.cli(&["dlq", "replay", id, "--reason", "schema is there", "--by", "ada"]);
    assert!(done.contains("1 replayed, 0 skipped"), "{done}");
    let row = await_state(&plane, tenant, "schema-later", "READ");
    let skipped = plane.cli(&["dlq", "replay", id, "--reason", "once more"]);
    assert!(skipped.contains("0 replayed, 1 skipped") && skipped.contains("by ada@"), "{skipped}");
    // Twice the same letter on purpose: known by its first position, it says nothing at all.
    plane.cli(&["dlq", "replay", id, "--reason", "once more", "--again"]);
    plane.produce(&[request(tenant, "schema-after", "+999000000000073")]);
    await_state(&plane, tenant, "schema-after", "READ");
    assert_eq!(rows_of(&plane, tenant, "schema-later"), [row]);
    assert_eq!(accepted(&plane, recipient), 1);
    let letter = letters(&plane, "ingest", &filters, 1).remove(0);
    let replays = letter["replays"].as_array().expect("a list");
    assert_eq!((replays.len(), text(&replays[0], "reason")), (2, "schema is there"));
    assert!(text(&replays[0], "by").starts_with("ada@"), "{letter}");
    let shown = plane.cli(&["dlq", "show", id]);
    assert!(shown.contains("\"idempotency_key\": \"schema-later\""), "{shown}");

    check_replays_in_the_log(&plane, id, letter["offset"].as_i64().expect("an offset"));
}

/// What the log holds: the record byte for byte, with the mark behind its own headers.
fn check_replays_in_the_log(plane: &Plane, id: &str, offset: i64) {
    let records = kafka::read_all(&plane.stack().bootstrap, REQUESTS, PARTITIONS as i32);
    let replayed: Vec<_> = records
        .iter()
        .filter(|read| read.header("sendplane-replay").as_deref() == Some(id))
        .collect();
    assert_eq!(replayed.len(), 2);
    let original = records
        .iter()
        .find(|read| read.partition == replayed[0].partition && read.offset == offset)
        .expect("the original");
    for replay in replayed {
        assert_eq!((&replay.key, &replay.value), (&original.key, &original.value));
        assert_eq!(replay.timestamp, original.timestamp);
        let own = original.headers.len();
        assert_eq!(replay.headers[..own], original.headers[..]);
        assert_eq!(replay.headers.len(), own + 4, "{:?}", replay.headers);
    }
}

/// Goal: a message that send gave up goes on as its next attempt once its cause is mended, is
/// delivered exactly once, and a second replay of its letter changes nothing.
#[test]
fn a_message_given_up_is_delivered_once_after_its_replay() {
    let _turn = turn();
    let plane = Plane::start();
    let tenant = TENANTS[2].0;
    // The first four calls are refused, the fifth is not; and an ordinary number with everything
    // refused for as long as a knob says so.
    let (magic, ordinary) = ("+999111990014021", "+4915100000777");
    plane.faults(&json!({"errors": [{"code": 199_001, "probability": 1.0}]}));
    plane.produce(&[
        request(tenant, "given-up-magic", magic),
        request(tenant, "given-up-ordinary", ordinary),
    ]);
    for key in ["given-up-magic", "given-up-ordinary"] {
        await_state(&plane, tenant, key, "DEAD_LETTERED");
    }
    let filters = ["--code", "attempts_exhausted", "--tenant", tenant];
    let found = letters(&plane, "send", &filters, 2);
    assert!(found.iter().all(|letter| letter["partition"].is_null()), "{found:?}");
    plane.faults(&json!({"errors": []}));

    let replay = ["dlq", "replay", "--stage", "send", "--reason", "healed", "--rate", "50/s"];
    let replay = [&replay[..], &filters].concat();
    let before = ends(&plane);
    let dry = plane.cli(&[&replay[..], &["--dry-run"]].concat());
    assert!(dry.contains("2 would be replayed"), "{dry}");
    assert_eq!(ends(&plane), before, "a dry run writes nothing");
    assert_eq!((accepted(&plane, magic), accepted(&plane, ordinary)), (0, 0));

    let done = plane.cli(&replay);
    assert!(done.contains("2 replayed"), "{done}");
    let row = await_state(&plane, tenant, "given-up-magic", "READ");
    wait::until("the other is accepted", LIMIT, || (accepted(&plane, ordinary) == 1).then_some(()));
    let story = plane.cli(&["message", "show", "--tenant", tenant, "--key", "given-up-magic"]);
    for part in ["attempt 5 SUBMITTING", "attempt 5 ACCEPTED", "DEAD_LETTERED (final)"] {
        assert!(story.contains(part), "{part} is part of the story:\n{story}");
    }

    let again = plane.cli(&replay);
    assert!(again.contains("0 replayed"), "what was replayed is not chosen again: {again}");
    plane.cli(&[&replay[..], &["--again"]].concat());
    wait::until("send has seen all four replays", LIMIT, || {
        let seen = plane.metrics("send", "a")?.sum("sendplane_dispatch_replays_total");
        assert!(seen <= 4);
        (seen == 4).then_some(())
    });
    assert_eq!((accepted(&plane, magic), accepted(&plane, ordinary)), (1, 1));
    assert_eq!(rows_of(&plane, tenant, "given-up-magic"), [row]);
    assert_eq!(plane.metasim("/metasim/ledger?duplicates=4"), json!({"duplicates": []}));
    letters(&plane, "send", &filters, 2);
}

/// What ingest names as obstacles; empty when it is ready.
fn obstacles(plane: &Plane) -> String {
    match plane.admin("ingest", "a", "/readyz") {
        Some((200, _)) | None => String::new(),
        Some((_, body)) => body,
    }
}

fn await_breaker(plane: &Plane, what: &str) -> String {
    wait::until(what, LIMIT, || {
        Some(obstacles(plane)).filter(|body| body.contains("dead-letter-breaker"))
    })
}

/// Goal: a tenants file that was not applied costs at most a window's worth of dead letters. Other
/// topics and partitions go on, the stage says why it does not, and once the tenant is there it
/// goes on by itself; a stream that stays bad is dead-lettered when an operator says so.
#[test]
fn a_stream_that_fails_is_left_where_it_is_until_it_can_be_used() {
    const NEWCOMER: &str = "umbrella";
    let _turn = turn();
    let mut plane = Plane::start();
    let home = |tenant: &str| partition_of(tenant.as_bytes(), PARTITIONS);
    let neighbour = TENANTS.map(|(tenant, ..)| tenant).into_iter();
    let neighbour = neighbour.clone().find(|tenant| home(tenant) == home(NEWCOMER));
    let neighbour = neighbour.expect("a tenant lives in every partition");
    let other = TENANTS.map(|(tenant, ..)| tenant).into_iter().find(|one| *one != neighbour);
    let other = other.expect("another tenant");
    let key = |n: usize| format!("newcomer-{n}");
    let lines: Vec<Value> =
        (0..260).map(|n| request(NEWCOMER, &key(n), "+999000000000001")).collect();
    plane.produce(&lines);
    let body = await_breaker(&plane, "the breaker opens");
    for part in [
        "ingest takes no more of sendplane.requests.transactional.v1",
        &format!("partition {}", home(NEWCOMER)),
        "unknown_tenant",
        "runtime.dead-letter-breaker.share",
    ] {
        assert!(body.contains(part), "{part:?} is not in {body}");
    }
    let metrics = plane.metrics("ingest", "a").expect("metrics");
    assert_eq!(metrics.sum("sendplane_dead_letter_breaker_open"), 1);

    // Behind it in the same topic; beside it in another; and in another partition.
    plane.produce(&[request(neighbour, "behind", "+999010000000081")]);
    let bulk = json!({"topic": "sendplane.requests.bulk.v1", "template_name": "season_sale",
        "variables": {"1": "Ada"}, "campaign": "autumn"});
    plane.produce(&[
        with(request(neighbour, "beside", "+999010000000082"), bulk),
        request(other, "elsewhere", "+999010000000083"),
    ]);
    await_state(&plane, neighbour, "beside", "DELIVERED");
    await_state(&plane, other, "elsewhere", "DELIVERED");
    assert_eq!(rows_of(&plane, neighbour, "behind"), [] as [Value; 0]);
    // The 200th made it too many, and stays.
    let filters = ["--tenant", NEWCOMER];
    letters(&plane, "ingest", &filters, 199);

    let tenants = format!(
        "tenants:\n  - tenant: {NEWCOMER}\n    name: {NEWCOMER}\n    credential: default\n    \
         default-phone-number-id: \"900000000000001\"\n    phone-numbers:\n      - \
         phone-number-id: \"900000000000001\"\n        waba-id: \"200000000000001\"\n        \
         display-number: \"+15550009999\"\n        messages-per-second: 80\n"
    );
    let file = plane.dir().join("newcomer.yaml");
    std::fs::write(&file, tenants).expect("a temp file");
    plane.cli(&["tenants", "apply", &file.display().to_string()]);
    plane.await_ready("ingest", "a");
    await_state(&plane, neighbour, "behind", "DELIVERED");
    let replay = ["dlq", "replay", "--stage", "ingest", "--tenant", NEWCOMER];
    let done = plane.cli(&[&replay[..], &["--reason", "applied", "--rate", "1000"]].concat());
    assert!(done.contains("199 replayed"), "{done}");
    // It has no templates: every request is admitted, judged and blocked, each once.
    plane.await_rows(NEWCOMER, |rows| {
        let blocked = rows.values().filter(|row| row["state"] == "BLOCKED").count();
        let total = rows.len();
        if (blocked, total) == (260, 260) { Ok(()) } else { Err(format!("{blocked} of {total}")) }
    });

    // Garbage that will never be anything else: an operator decides.
    let garbage = json!({"topic": REQUESTS, "raw_key": NEWCOMER, "raw_value_hex": "7b7d"});
    plane.produce(&vec![garbage; 700]);
    let body = await_breaker(&plane, "the breaker opens again");
    assert!(body.contains("no_schema_framing"), "{body}");
    plane.stop_stage("ingest", "a");
    let share = [("SENDPLANE__RUNTIME__DEAD_LETTER_BREAKER__SHARE", "1")];
    plane.start_stage_with("ingest", "a", &share);
    plane.await_ready("ingest", "a");
    letters(&plane, "ingest", &["--tenant", NEWCOMER, "--code", "no_schema_framing"], 700);
    assert_eq!(obstacles(&plane), "");
}
