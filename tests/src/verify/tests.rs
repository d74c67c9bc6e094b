//! Goal: the verifier sees every kind of damage. Method: a small history that is right in every
//! way, then damaged in one way at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use sendplane_domain::time::Timestamp;
use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord};
use serde_json::{Value, json};

use super::*;
use crate::kafka::Read;
use crate::plane::PARTITIONS;
use crate::traffic::Fate;

const A: &str = "aaaaaaaa-0000-8000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-8000-8000-000000000002";
const C: &str = "cccccccc-0000-8000-8000-000000000003";
const D: &str = "dddddddd-0000-8000-8000-000000000004";

const REQUESTS: &str = "sendplane.requests.transactional.v1";
const ADMITTED: &str = "sendplane.admitted.transactional.v1";
const DECISIONS: &str = "sendplane.decisions.v1";
const DISPATCH: &str = "sendplane.dispatch.transactional.v1";
const ATTEMPTS: &str = "sendplane.attempts.v1";

/// Four requests: delivered at the second attempt (A), its repetition (B), refused (C), and one
/// whose call was cut off (D).
fn history() -> (Evidence, Expected) {
    let mut evidence = Evidence::default();
    let mut add = |topic: &str, record: Value| {
        let rows = evidence.rows.entry(topic.to_owned()).or_default();
        let mut record = record;
        record["tenant"] = json!("acme");
        rows.push(json!({
            "topic": topic, "partition": 1, "offset": rows.len(), "key": "acme", "value": record,
        }));
    };
    for key in ["r-1", "r-1", "r-2", "r-3"] {
        add(REQUESTS, json!({"idempotency_key": key}));
    }
    for (id, key) in [(A, "r-1"), (D, "r-3")] {
        add(ADMITTED, json!({"message_id": id, "idempotency_key": key}));
        add(DISPATCH, json!({"message_id": id}));
    }
    for (id, key, verdict) in [
        (A, "r-1", "DISPATCH"),
        (B, "r-1", "DUPLICATE"),
        (C, "r-2", "REFUSE"),
        (D, "r-3", "DISPATCH"),
    ] {
        add(DECISIONS, json!({"message_id": id, "idempotency_key": key, "verdict": verdict}));
    }
    for (id, attempt, event, wamid) in [
        (A, 1, "SUBMITTING", None),
        (A, 1, "REFUSED", None),
        (A, 2, "SUBMITTING", None),
        (A, 2, "ACCEPTED", None),
        (A, 2, "ACCEPTED", Some("wamid.x")),
        (D, 1, "SUBMITTING", None),
        (D, 1, "IN_DOUBT", None),
        (D, 1, "GAVE_UP", None),
    ] {
        add(
            ATTEMPTS,
            json!({"message_id": id, "attempt": attempt, "event": event, "wamid": wamid,
                "occurred_at": 1_000 * attempt}),
        );
    }
    for (id, key, sequence, state, is_final) in [
        (A, "r-1", 1, "QUEUED", false),
        (A, "r-1", 2, "ACCEPTED", false),
        (A, "r-1", 3, "DELIVERED", true),
        (B, "r-1", 1, "DUPLICATE", true),
        (C, "r-2", 1, "REFUSED", true),
        (D, "r-3", 1, "OUTCOME_UNKNOWN", true),
    ] {
        add(
            OUTCOMES,
            json!({"message_id": id, "idempotency_key": key, "sequence": sequence,
                "state": state, "is_final": is_final, "event_id": format!("{id}/{sequence}"),
                "ingested_at": sequence}),
        );
    }
    evidence.accepted = vec![accepted(A, 2)];
    evidence.calls = 2;
    let fates = BTreeMap::from([
        ("r-1".to_owned(), Fate::Accepted("DELIVERED")),
        ("r-2".to_owned(), Fate::Never("REFUSED")),
        ("r-3".to_owned(), Fate::Accepted("READ")),
    ]);
    let call_delay_max = Duration::from_secs(2);
    let expected = Expected { prefix: "r-".to_owned(), fates, calls_cut_off: true, call_delay_max };
    (evidence, expected)
}

fn accepted(id: &str, attempt: i64) -> Value {
    let opaque = format!("sp1.61.0.{}.{attempt}.00", id.replace('-', ""));
    json!({"opaque": opaque, "accepted_at_ms": 1_000 * attempt + 500})
}

fn rows<'a>(evidence: &'a mut Evidence, topic: &str) -> &'a mut Vec<Value> {
    evidence.rows.get_mut(topic).expect("a topic of the history")
}

/// The first row of a message for which `field` is `value`.
fn row<'a>(evidence: &'a mut Evidence, topic: &str, id: &str, field: &str) -> &'a mut Value {
    let of = |row: &&mut Value| row["value"]["message_id"] == id;
    &mut rows(evidence, topic).iter_mut().find(of).expect("a row")["value"][field]
}

#[test]
fn a_history_that_is_right_has_no_problem() {
    let (evidence, expected) = history();
    let (summary, problems) = judge(&evidence, &expected);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!((summary.intents, summary.proven, summary.doubted), (3, 2, 1));
    assert_eq!((summary.retries, summary.cut_off, summary.not_sent), (1, 1, 0));
    assert_eq!(open(evidence.rows[OUTCOMES].as_slice(), &evidence.accepted, &expected).len(), 0);
}

type Damage = fn(&mut Evidence, &mut Expected);

/// One damage each, and a part of the problem it must be found by.
const DAMAGES: &[(&str, Damage, &str)] = &[
    ("a row is lost", |e, _| drop(rows(e, OUTCOMES).remove(1)), "rows are numbered [1, 3]"),
    ("rows are swapped", |e, _| rows(e, OUTCOMES).swap(0, 1), "rows are numbered [2, 1, 3]"),
    (
        "a row stands twice",
        |e, _| {
            let again = rows(e, OUTCOMES)[2].clone();
            rows(e, OUTCOMES).push(again);
        },
        "rows are numbered [1, 2, 3, 3]",
    ),
    (
        "a row is in another partition",
        |e, _| rows(e, OUTCOMES)[1]["partition"] = json!(2),
        "stand in partitions",
    ),
    ("time goes back", |e, _| *row(e, OUTCOMES, A, "ingested_at") = json!(9), "goes back"),
    (
        "a message has no row",
        |e, _| rows(e, OUTCOMES).retain(|r| r["value"]["message_id"] != C),
        "r-2",
    ),
    ("the key is not the tenant", |e, _| rows(e, DECISIONS)[0]["key"] = json!("x"), "key \"x\""),
    ("a decision is lost", |e, _| drop(rows(e, DECISIONS).remove(3)), "was decided 0 times"),
    (
        "a decision stands twice",
        |e, _| {
            let again = rows(e, DECISIONS)[0].clone();
            rows(e, DECISIONS).push(again);
        },
        "was decided 2 times",
    ),
    ("an admission is lost", |e, _| drop(rows(e, ADMITTED).remove(0)), "admitted 0 times"),
    (
        "a dispatch stands twice",
        |e, _| {
            let again = rows(e, DISPATCH)[0].clone();
            rows(e, DISPATCH).push(again);
        },
        "dispatched 2 times",
    ),
    (
        "a repetition is admitted",
        |e, _| *row(e, ADMITTED, D, "message_id") = json!(B),
        "DUPLICATE, but admitted",
    ),
    ("a repetition counts", |e, _| *row(e, OUTCOMES, B, "state") = json!("DELIVERED"), "both"),
    ("a request vanished", |e, _| drop(rows(e, REQUESTS).remove(2)), "r-2: -1 more records"),
    (
        "a request has no message",
        |_, x| {
            x.fates.insert("r-4".into(), Fate::AsProviderSays);
        },
        "r-4: no message",
    ),
    (
        "nobody asked",
        |_, x| {
            x.fates.remove("r-2");
        },
        "nobody asked",
    ),
    ("an intent is lost", |e, _| drop(rows(e, ATTEMPTS).remove(2)), "never started"),
    (
        "sent again after doubt",
        |e, _| {
            let mut again = rows(e, ATTEMPTS)[5].clone();
            again["value"]["attempt"] = json!(2);
            rows(e, ATTEMPTS).insert(7, again);
        },
        "attempt 2 is started after Some((1, Doubt))",
    ),
    (
        "a refusal is swallowed",
        |e, _| drop(rows(e, ATTEMPTS).remove(1)),
        "is started after Some((1, Open))",
    ),
    ("attempts are swapped", |e, _| rows(e, ATTEMPTS).swap(0, 2), "is started after None"),
    ("doubt has no end", |e, _| drop(rows(e, ATTEMPTS).remove(7)), "is left Doubt"),
    (
        "given up without doubt",
        |e, _| drop(rows(e, ATTEMPTS).remove(6)),
        "GAVE_UP of attempt 1 after Open",
    ),
    ("the provider has it twice", |e, _| e.accepted.push(accepted(A, 1)), "has it 2 times"),
    ("a call without an intent", |e, _| e.accepted[0] = accepted(A, 3), "never intended"),
    ("a refused one was accepted", |e, _| e.accepted[0] = accepted(A, 1), "which ended Refused"),
    ("the provider lost it", |e, _| e.accepted.clear(), "the provider does not have it"),
    ("an unknown one was accepted", |e, _| e.accepted.push(accepted(D, 1)), "the provider has it"),
    (
        "a late call",
        |e, _| e.accepted[0]["accepted_at_ms"] = json!(9_000),
        "7000 ms after its intent",
    ),
    (
        "a message of nobody",
        |e, _| e.accepted.push(accepted("eeeeeeee-0000-8000-8000-000000000005", 1)),
        "no record names",
    ),
    ("foreign opaque data", |e, _| e.accepted.push(json!({"opaque": "x"})), "never sent"),
    ("too many calls", |e, _| e.calls = 4, "4 calls for 3 intents"),
    ("too few calls", |e, _| e.calls = 1, "1 calls for 3 intents"),
    ("a hidden retry", |e, _| e.repeated_calls.push(json!({"calls": 2})), "more than once"),
    ("unknown, and nothing was cut off", |_, x| x.calls_cut_off = false, "OUTCOME_UNKNOWN"),
    (
        "still under way",
        |e, _| rows(e, OUTCOMES)[4]["value"]["is_final"] = json!(false),
        "is still REFUSED",
    ),
];

#[test]
fn every_damage_is_found() {
    for (name, damage, part) in DAMAGES {
        let (mut evidence, mut expected) = history();
        damage(&mut evidence, &mut expected);
        let (_, problems) = judge(&evidence, &expected);
        assert!(problems.iter().any(|problem| problem.contains(part)), "{name}: {problems:?}");
    }
}

#[test]
fn readers_are_compared_both_ways() {
    let (evidence, _) = history();
    let right = &evidence.rows[OUTCOMES];
    assert_eq!(compare_readers(right, right), Vec::<String>::new());
    assert_eq!(compare_readers(&right[1..], right).len(), 1, "missed");
    assert_eq!(compare_readers(right, &right[1..]).len(), 1, "aborted later");
    let twice: Vec<Value> = right.iter().chain(&right[..1]).cloned().collect();
    assert_eq!(compare_readers(&twice, right).len(), 1, "seen twice");
    let mut other = right.clone();
    other[0]["value"]["state"] = json!("READ");
    assert_eq!(compare_readers(&other, right).len(), 1, "another content");
}

fn commit(txn_seq: u64, records: u32) -> CommitRecord {
    CommitRecord {
        txn_seq,
        inputs: BTreeMap::from([("in".to_owned(), txn_seq as i64)]),
        records,
        now: Timestamp::from_millis(txn_seq as i64),
        partitions: PARTITIONS,
    }
}

/// Data records and commit records; `None` is one of data.
fn log(records: &[Option<CommitRecord>]) -> Vec<Read> {
    let record = |(offset, commit): (i64, &Option<CommitRecord>)| Read {
        partition: 0,
        offset,
        timestamp: 0,
        key: Some(commit.as_ref().map_or(vec![1, 0, 1], |_| COMMIT_KEY.to_vec())),
        value: Some(commit.as_ref().map_or(vec![1], CommitRecord::encode)),
        headers: Vec::new(),
    };
    (0..).zip(records).map(record).collect()
}

#[test]
fn transactions_of_a_changelog_are_counted_and_whole() {
    let follow = |records: &[Option<CommitRecord>]| {
        let mut problems = Vec::new();
        let (count, _) = changelog::follow("log", log(records).iter(), &mut problems);
        (count, problems.join("; "))
    };
    let right = [None, Some(commit(4, 1)), Some(commit(5, 0)), None, None, Some(commit(6, 2))];
    assert_eq!(follow(&right), (3, String::new()));
    for (damaged, part) in [
        (vec![Some(commit(4, 0)), Some(commit(6, 0))], "follows transaction 4"),
        (vec![Some(commit(4, 0)), Some(commit(4, 0))], "follows transaction 4"),
        (vec![None, Some(commit(4, 0))], "1 records, it says 0"),
        (vec![Some(commit(4, 1))], "0 records, it says 1"),
        (vec![Some(commit(4, 0)), None], "1 records after the last"),
        (vec![Some(CommitRecord { partitions: 3, ..commit(4, 0) })], "3 partitions"),
        (
            vec![
                Some(commit(4, 0)),
                Some(CommitRecord { inputs: commit(3, 0).inputs, ..commit(5, 0) }),
            ],
            "go back",
        ),
    ] {
        let (_, problems) = follow(&damaged);
        assert!(problems.contains(part), "{part}: {problems}");
    }
}
