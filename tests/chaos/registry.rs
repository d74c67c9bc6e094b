//! The schema registry is away.

use std::time::Duration;

use sendplane_tests::plane::{LIMIT, Plane, STAGES, Setup, TENANTS, turn};
use sendplane_tests::run::Run;
use sendplane_tests::traffic::{Fate, Mix, request};
use sendplane_tests::{http, stack, wait};
use serde_json::{Value, json};

const TOPIC: &str = "sendplane.requests.transactional.v1";

/// Goal: without a registry the stages go on and even start anew with what they know; one that
/// knows nothing waits and says so; a record of a schema nobody has seen yet waits, is not dead
/// lettered, and holds up its own partition only.
#[test]
fn what_is_known_goes_on_and_what_is_not_waits() {
    let _turn = turn();
    let setup = Setup { doubt_window: Duration::from_secs(5), ..Setup::default() };
    let mut run = Run::start("registry", setup, Mix::Everything, 30);
    run.flow(60);
    let (id, file) = register_newer_schema(&run.plane);
    run.registry_down();
    for stage in STAGES {
        run.kill(stage, "a");
        run.start_instances(&[stage], "a");
    }
    run.start_instance("policy", "b");
    await_obstacle(&run.plane, "policy", "b", "schema registry cannot be reached");

    let held = TENANTS[0].0;
    let newer: Vec<(Value, Fate)> = (0..20)
        .map(|n| (request(held, "", &format!("+99901{n:06}9000")), Fate::Accepted("DELIVERED")))
        .collect();
    run.produce(newer, &["--schema-file", &file, "--schema-id", &id.to_string()]);
    await_obstacle(&run.plane, "ingest", "a", "schema-registry");
    let ended = |run: &Run| {
        run.rows(|rows| rows.iter().filter(|row| row["key"] != held && is_final(row)).count())
    };
    let before = ended(&run);
    run.until("other partitions go on", |_| ended(&run) > before + 30);
    let held_back =
        run.rows(|rows| rows.iter().filter(|row| key_of(row).starts_with("registry-x")).count());
    assert_eq!(held_back, 0, "nothing is said about records that wait");

    run.registry_up();
    for (stage, instance) in run.plane.running() {
        run.plane.await_ready(&stage, &instance);
    }
    let outcome = run.finish();
    assert_eq!(outcome.tally.dead_letters, 0, "{outcome:?}");
}

fn is_final(row: &Value) -> bool {
    row["value"]["is_final"] == true
}

fn key_of(row: &Value) -> &str {
    row["value"]["idempotency_key"].as_str().unwrap_or_default()
}

/// Registers the schema of requests with one more field, as a newer release of an upstream service
/// would; its id and the file it is in.
fn register_newer_schema(plane: &Plane) -> (u64, String) {
    let own = stack::root().join("schemas/sendplane.requests.v1/SendRequest.avsc");
    let text = std::fs::read_to_string(own).expect("the schema is there");
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    schema["fields"]
        .as_array_mut()
        .expect("a record")
        .push(json!({"name": "note", "type": ["null", "string"], "default": null}));
    let (address, path) = plane
        .stack()
        .registry
        .strip_prefix("http://127.0.0.1:")
        .and_then(|rest| rest.split_once('/'))
        .expect("an address on loopback");
    let body = json!({"schema": schema.to_string()}).to_string();
    let port = address.parse().expect("a port");
    let path = format!("/{path}/subjects/{TOPIC}-value/versions");
    let (status, answer) = http::request(port, "POST", &path, &[], &body);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let file = plane.dir().join("newer.avsc");
    std::fs::write(&file, schema.to_string()).expect("a temp file");
    (answer["id"].as_u64().expect("an id"), file.display().to_string())
}

/// Waits until the instance is not ready and says why.
fn await_obstacle(plane: &Plane, stage: &str, instance: &str, why: &str) {
    wait::until(&format!("{stage}-{instance} is not ready: {why}"), LIMIT, || {
        let (status, text) = plane.admin(stage, instance, "/readyz")?;
        (status != 200 && text.contains(why)).then_some(())
    });
}
