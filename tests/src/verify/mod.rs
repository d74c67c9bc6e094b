//! The verifier: compares everything a run left behind, and fails on anything missing, extra,
//! doubled or reordered.
//!
//! It shares no code with the stages: records are read with `read_committed` and decoded by the
//! Python client, the rules are written down here once more. Reading order: this file (what is
//! compared), `message` (records grouped by message), `life` (the rules for one message), `whole`
//! (the rules for all of them together), `changelog` (transactions of the stages, their offsets and
//! stores).

pub mod changelog;
mod life;
mod message;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kafka;
use crate::plane::{PARTITIONS, Plane, STAGES};
use crate::traffic::Fates;

/// Topics whose records are compared.
pub const TOPICS: [&str; 8] = [
    "sendplane.requests.transactional.v1",
    "sendplane.requests.bulk.v1",
    "sendplane.admitted.transactional.v1",
    "sendplane.admitted.bulk.v1",
    "sendplane.decisions.v1",
    "sendplane.dispatch.transactional.v1",
    "sendplane.dispatch.bulk.v1",
    "sendplane.attempts.v1",
];
/// Rows for analytics.
pub const OUTCOMES: &str = "sendplane.outcomes.v1";

/// Where topics ended when a run began: topic to offset by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begin(BTreeMap<String, Vec<i64>>);

impl Begin {
    /// The ends of all topics, changelogs included, while nothing runs or flows.
    pub fn now(bootstrap: &str) -> Self {
        let changelogs = STAGES.map(changelog::topic);
        let topics =
            TOPICS.into_iter().chain([OUTCOMES]).chain(changelogs.iter().map(String::as_str));
        let ends =
            topics.map(|topic| (topic.to_owned(), kafka::ends(bootstrap, topic, PARTITIONS)));
        Self(ends.collect())
    }

    /// For the Python client.
    pub fn to_json(&self) -> String {
        json!(self.0).to_string()
    }

    /// Offset by partition of one topic.
    pub fn of(&self, topic: &str) -> &[i64] {
        self.0.get(topic).map_or(&[], Vec::as_slice)
    }
}

/// What a run must have produced, and what it may have met.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Prefix of the run's idempotency keys, with the dash.
    pub prefix: String,
    /// Every request of the run.
    pub fates: Fates,
    /// Whether something cut calls off: then a message may honestly end as of unknown outcome, if
    /// the provider does not have it.
    pub calls_cut_off: bool,
    /// From the time of the intent to the provider's acceptance, at most: 2 s (I3) and however long
    /// a commit may take.
    pub call_delay_max: Duration,
}

/// Everything a run left behind.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Rows of the Python client by topic, in the order of partition and offset.
    pub rows: BTreeMap<String, Vec<Value>>,
    /// The provider's ledger of accepted messages.
    pub accepted: Vec<Value>,
    /// Calls that reached the provider.
    pub calls: u64,
    /// Attempts that reached the provider more than once: a hidden retry.
    pub repeated_calls: Vec<Value>,
}

impl Evidence {
    /// Reads everything after `begin`, and the ledger of the plane's metasim.
    pub fn read(plane: &Plane, begin: &Begin) -> Self {
        let topics: Vec<&str> = TOPICS.into_iter().chain([OUTCOMES]).collect();
        let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for row in plane.read_from(&topics, begin) {
            let topic = row["topic"].as_str().expect("a topic").to_owned();
            rows.entry(topic).or_default().push(row);
        }
        for rows in rows.values_mut() {
            rows.sort_by_key(|row| (row["partition"].as_i64(), row["offset"].as_i64()));
        }
        let (accepted, calls) = ledger(plane);
        let repeated = plane.metasim("/metasim/ledger?repeated=true");
        let repeated_calls = repeated["repeated"].as_array().cloned().unwrap_or_default();
        Self { rows, accepted, calls, repeated_calls }
    }
}

/// What the provider accepted, and how many calls it got.
pub fn ledger(plane: &Plane) -> (Vec<Value>, u64) {
    let mut accepted = Vec::new();
    loop {
        let from = accepted.len();
        let page = plane.metasim(&format!("/metasim/ledger?since={from}&limit=10000"));
        let found = page["accepted"].as_array().expect("a page");
        accepted.extend(found.iter().cloned());
        if found.is_empty() {
            break;
        }
    }
    let summary = plane.metasim("/metasim/ledger?summary=true");
    (accepted, summary["calls"].as_u64().expect("a count"))
}

/// What a run came to, for its line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages by their last state.
    pub states: BTreeMap<String, usize>,
    /// Committed intents.
    pub intents: usize,
    /// Of these, proven never to have reached the provider.
    pub not_sent: usize,
    /// Of these, proven to have reached it: by an answer or a webhook.
    pub proven: usize,
    /// Of these, in doubt at some time.
    pub doubted: usize,
    /// Attempts after the first of a message.
    pub retries: usize,
    /// Messages that ended as unknown although they need not have, had nothing been cut off.
    pub cut_off: usize,
    /// Calls at the provider.
    pub calls: u64,
    /// Messages at the provider.
    pub accepted: usize,
}

/// Applies every rule. The problems are sentences that name the message.
pub fn judge(evidence: &Evidence, expected: &Expected) -> (Summary, Vec<String>) {
    let mut problems = Vec::new();
    let messages = message::group(evidence, &expected.prefix, &mut problems);
    let mut summary =
        Summary { calls: evidence.calls, accepted: evidence.accepted.len(), ..Summary::default() };
    for message in messages.values() {
        life::check(message, expected, &mut summary, &mut problems);
    }
    whole::check(evidence, expected, &messages, &summary, &mut problems);
    (summary, problems)
}

/// As [`judge`], for a run that may still go on: what is not yet as it must be, by outcomes and
/// ledger alone. Empty when nothing is left to wait for.
pub fn open(outcomes: &[Value], accepted: &[Value], expected: &Expected) -> Vec<String> {
    let evidence = Evidence {
        rows: BTreeMap::from([(OUTCOMES.to_owned(), outcomes.to_vec())]),
        accepted: accepted.to_vec(),
        ..Evidence::default()
    };
    let mut problems = Vec::new();
    let messages = message::group(&evidence, &expected.prefix, &mut problems);
    whole::check_keys(&messages, expected, &mut problems);
    problems
}

/// Panics with the first problems, if there are any.
pub fn assert_none(name: &str, problems: &[String]) {
    let shown = problems.iter().take(20).cloned().collect::<Vec<_>>().join("\n  ");
    assert!(problems.is_empty(), "{name}: {} problems:\n  {shown}", problems.len());
}

/// A reader that read along has seen exactly the rows that are there now: nothing that was aborted
/// afterwards, nothing twice.
pub fn compare_readers(along: &[Value], afterwards: &[Value]) -> Vec<String> {
    let place = |row: &Value| (row["partition"].as_i64(), row["offset"].as_i64());
    let mut rest: BTreeMap<_, &Value> = afterwards.iter().map(|row| (place(row), row)).collect();
    let mut problems = Vec::new();
    for row in along {
        match rest.remove(&place(row)) {
            Some(found) if found["value"] == row["value"] => {}
            _ => problems.push(format!("a reader saw what is not there: {row}")),
        }
    }
    let missed = rest.into_values().map(|row| format!("a reader that read along missed {row}"));
    problems.into_iter().chain(missed).collect()
}
