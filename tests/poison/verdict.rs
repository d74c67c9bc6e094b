//! What became of each record, compared with what the table says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sendplane_tests::kafka::{self, Read};
use sendplane_tests::plane::{PARTITIONS, Plane};
use sendplane_tests::wait;
use sendplane_wire::record::{Attempt, Outcome};
use sendplane_wire::topic;

use crate::log::{Reader, Writer};
use crate::records::Records;
use crate::table::{Case, Expect, Raw, readers};

/// Where a record stands: topic, partition, offset.
type Place = (String, i32, i64);

/// Everything produced, by its place.
#[derive(Default)]
pub struct Verdicts {
    produced: BTreeMap<Place, Case>,
    /// By stage, how many dead letters there must be.
    dead: BTreeMap<&'static str, u64>,
}

impl Verdicts {
    /// Produces the cases in order and remembers where they landed.
    pub fn produce(&mut self, writer: &Writer, cases: Vec<Case>) {
        let raws: Vec<Raw> = cases.iter().map(|case| case.raw.clone()).collect();
        for (case, landed) in cases.into_iter().zip(writer.write(&raws)) {
            let offset = landed.unwrap_or_else(|why| panic!("{}: {why}", case.name));
            if let Expect::Dead(_) = case.expect {
                for (stage, _) in readers(case.raw.topic) {
                    *self.dead.entry(stage).or_default() += 1;
                }
            }
            self.produced.insert((case.raw.topic.to_owned(), case.raw.partition, offset), case);
        }
    }

    /// How much of what there was.
    pub fn summary(&self) -> String {
        format!("{} records produced, dead letters expected: {:?}", self.produced.len(), self.dead)
    }

    /// Waits until the stages have written as many dead letters as there must be.
    pub fn await_dead(&self, plane: &Plane, limit: Duration) {
        await_none(limit, || self.open_dead_letters(plane));
    }

    /// As [`Self::await_dead`], and until everything that must be seen was seen.
    pub fn await_all(&self, plane: &Plane, records: &Records, limit: Duration) {
        self.await_dead(plane, limit);
        await_none(limit, || self.open_ends(plane, records));
    }

    fn open_dead_letters(&self, plane: &Plane) -> Vec<String> {
        let written = |stage: &str| {
            let metrics = plane.metrics(stage, "a").unwrap_or_default();
            metrics.sum("sendplane_dlq_records_total")
        };
        let missing = self.dead.iter().filter(|(stage, count)| written(stage) < **count);
        missing.map(|(stage, count)| format!("{stage}: {} of {count}", written(stage))).collect()
    }

    /// What must have been seen by now and was not.
    fn open_ends(&self, plane: &Plane, records: &Records) -> Vec<String> {
        let bootstrap = &plane.stack().bootstrap;
        let outcomes = newest(Reader::new(bootstrap, records, topic::OUTCOMES).read());
        let attempts: Vec<Attempt> = Reader::new(bootstrap, records, topic::ATTEMPTS).read();
        let heard: BTreeSet<String> = attempts
            .iter()
            .filter_map(|attempt| attempt.wamid_hash.clone())
            .map(|h| h.to_string())
            .collect();
        let mut open = Vec::new();
        for case in self.produced.values() {
            match &case.expect {
                Expect::Ends(key, state, reason) => {
                    let found = outcomes.get(key).map(Vec::as_slice).unwrap_or_default();
                    let is_met = |row: &Outcome| {
                        state_of(row) == *state
                            && reason.is_none_or(|reason| row.reason.as_deref() == Some(reason))
                    };
                    if !found.iter().any(is_met) {
                        let found: Vec<String> = found.iter().map(told).collect();
                        open.push(format!("{}: {state} {reason:?}, not {found:?}", case.name));
                    }
                }
                Expect::Attempted(hash) if !heard.contains(hash) => {
                    open.push(format!("{}: no attempt with wamid hash {hash}", case.name));
                }
                Expect::Attempted(_) | Expect::Dead(_) | Expect::Used => {}
            }
        }
        open
    }

    /// Compares the dead letters with the table, both ways, and looks at what was seen once more.
    pub fn assert_all(&self, plane: &Plane, records: &Records) {
        let mut wrong = self.open_ends(plane, records);
        for stage in sendplane_tests::plane::STAGES {
            let name = format!("dlq.sendplane.{stage}");
            let read = kafka::read_all(&plane.stack().bootstrap, &name, PARTITIONS as i32);
            wrong.extend(self.compare(stage, &read));
        }
        let some = &wrong[..wrong.len().min(40)];
        assert!(wrong.is_empty(), "{} are wrong: {some:#?}", wrong.len());
    }

    fn compare(&self, stage: &'static str, read: &[Read]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut found = BTreeSet::new();
        for dead in read {
            let header = |name: &str| dead.header(name).unwrap_or_default();
            let number = |name: &str| header(name).parse::<i64>().unwrap_or(-1);
            let place = (
                header("__dlq.errors.topic"),
                number("__dlq.errors.partition") as i32,
                number("__dlq.errors.offset"),
            );
            match self.produced.get(&place) {
                Some(case) => wrong.extend(fault_of(stage, case, dead)),
                None => {
                    wrong.push(format!("{stage}: nobody produced {place:?}: {:?}", dead.headers))
                }
            }
            if !found.insert(place.clone()) {
                wrong.push(format!("{stage}: {place:?} is there twice"));
            }
        }
        for (place, case) in &self.produced {
            let is_read = readers(case.raw.topic).iter().any(|(reader, _)| *reader == stage);
            let is_dead = matches!(case.expect, Expect::Dead(_));
            if is_read && is_dead && !found.contains(place) {
                wrong.push(format!("{stage}: {} is not in the dead letters", case.name));
            }
        }
        wrong
    }
}

/// Asks `open` until nothing is open; panics with what is after `limit`.
fn await_none(limit: Duration, open: impl Fn() -> Vec<String>) {
    let deadline = wait::now() + limit;
    loop {
        let open = open();
        if open.is_empty() {
            return;
        }
        let some = &open[..open.len().min(20)];
        assert!(wait::now() < deadline, "{} are open: {some:#?}", open.len());
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What is wrong with a dead letter.
fn fault_of(stage: &str, case: &Case, dead: &Read) -> Option<String> {
    // A header the record brought along stands before ours of the same name.
    let last = |name: &str| {
        let (_, value) = dead.headers.iter().rev().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
    };
    let code = last("sendplane.error.code").unwrap_or_default();
    let Expect::Dead(expected) = case.expect else {
        let why = last("__dlq.errors.message");
        return Some(format!("{stage}: {} is a dead letter: {code}: {why:?}", case.name));
    };
    let carried = case.raw.header.as_ref().is_none_or(|(name, value)| {
        dead.headers.contains(&((*name).to_owned(), Some(value.clone())))
    });
    let checks = [
        (code == expected, format!("has code {code} instead of {expected}")),
        (dead.value == case.raw.value, "has another value".to_owned()),
        (dead.key == case.raw.key, "has another key".to_owned()),
        (dead.partition == case.raw.partition, "is on another partition".to_owned()),
        (carried, "lost its own header".to_owned()),
        (last("sendplane.stage").as_deref() == Some(stage), "names another stage".to_owned()),
        (
            last("__dlq.errors.group") == Some(format!("sendplane.{stage}")),
            "names another group".to_owned(),
        ),
        (
            last("__dlq.errors.message").is_some_and(|why| (1..2_000).contains(&why.len())),
            "does not say why, or says too much".to_owned(),
        ),
    ];
    let failed: Vec<String> =
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, why)| why).collect();
    (!failed.is_empty()).then(|| format!("{stage}: {} {}", case.name, failed.join(", ")))
}

/// The newest row of every message, by idempotency key.
fn newest(rows: Vec<Outcome>) -> BTreeMap<String, Vec<Outcome>> {
    let mut by_message = BTreeMap::new();
    for row in rows {
        let sequence = row.sequence;
        let newest = by_message.entry(row.message_id).or_insert_with(|| row.clone());
        if sequence > newest.sequence {
            *newest = row;
        }
    }
    let mut by_key: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    for row in by_message.into_values() {
        let key = row.idempotency_key.as_ref().map(ToString::to_string).unwrap_or_default();
        by_key.entry(key).or_default().push(row);
    }
    by_key
}

fn state_of(row: &Outcome) -> String {
    let text = serde_json::to_value(row.state).expect("a symbol");
    text.as_str().unwrap_or_default().to_owned()
}

fn told(row: &Outcome) -> String {
    let detail: String = row.detail.iter().flat_map(|text| text.chars()).take(80).collect();
    format!("{} {:?} {detail}", state_of(row), row.reason)
}
