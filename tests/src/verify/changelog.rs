//! Transactions of the stages: changelogs, the groups' offsets, the stores (I6, I7).

use std::collections::BTreeMap;

use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord};
use serde_json::Value;

use super::Begin;
use crate::kafka::{self, Read};
use crate::plane::{PARTITIONS, Plane, STAGES};

/// The changelog topic of a stage.
pub fn topic(stage: &str) -> String {
    format!("sendplane.{stage}.changelog")
}

/// Compares changelogs, offsets and stores of stages that are all stopped. `stores` are the
/// (stage, instance) whose directories are looked at. Returns the number of transactions.
pub fn check(
    plane: &Plane,
    begin: &Begin,
    stores: &[(String, String)],
    problems: &mut Vec<String>,
) -> usize {
    let bootstrap = &plane.stack().bootstrap;
    let mut transactions = 0;
    for stage in STAGES {
        let topic = topic(stage);
        let starts = match begin.of(&topic) {
            [] => vec![0; PARTITIONS as usize],
            starts => starts.to_vec(),
        };
        let records = kafka::read_from(bootstrap, &topic, &starts);
        let mut last = BTreeMap::new();
        for partition in 0..PARTITIONS as i32 {
            let records = records.iter().filter(|record| record.partition == partition);
            let name = format!("{topic}/{partition}");
            let (count, commit) = follow(&name, records, problems);
            transactions += count;
            if let Some(commit) = commit {
                last.insert(partition, commit);
            }
        }
        check_offsets(bootstrap, stage, &last, problems);
        check_stores(plane, stage, stores, &last, problems);
    }
    transactions
}

/// Commit records count the transactions without gap or repetition, and each closes exactly the
/// records it says. Returns how many there are and the last one.
pub fn follow<'a>(
    name: &str,
    records: impl Iterator<Item = &'a Read>,
    problems: &mut Vec<String>,
) -> (usize, Option<CommitRecord>) {
    let mut last: Option<CommitRecord> = None;
    let (mut count, mut pending) = (0, 0);
    for record in records {
        if record.key.as_deref() != Some(&COMMIT_KEY[..]) {
            pending += 1;
            continue;
        }
        let value = record.value.as_deref().unwrap_or_default();
        let commit = match CommitRecord::decode(value) {
            Ok(commit) => commit,
            Err(fault) => {
                problems.push(format!("{name}@{}: {fault}", record.offset));
                continue;
            }
        };
        let at = format!("{name}@{} (transaction {})", record.offset, commit.txn_seq);
        if commit.records != pending {
            problems.push(format!("{at}: {pending} records, it says {}", commit.records));
        }
        if commit.partitions != PARTITIONS {
            problems.push(format!("{at}: says {} partitions", commit.partitions));
        }
        if let Some(last) = &last {
            if commit.txn_seq != last.txn_seq + 1 {
                problems.push(format!("{at}: follows transaction {}", last.txn_seq));
            }
            let back = last
                .inputs
                .iter()
                .any(|(topic, offset)| commit.inputs.get(topic).is_none_or(|now| now < offset));
            if back || commit.now < last.now {
                problems.push(format!("{at}: offsets or time go back"));
            }
        }
        count += 1;
        pending = 0;
        last = Some(commit);
    }
    if pending > 0 {
        problems.push(format!("{name}: {pending} records after the last commit record"));
    }
    (count, last)
}

/// The group's offsets and their metadata say the same as the last commit record.
pub fn check_offsets(
    bootstrap: &str,
    stage: &str,
    last: &BTreeMap<i32, CommitRecord>,
    problems: &mut Vec<String>,
) {
    let group = format!("sendplane.{stage}");
    let topics: std::collections::BTreeSet<&String> =
        last.values().flat_map(|commit| commit.inputs.keys()).collect();
    for topic in topics {
        let committed = kafka::committed(bootstrap, &group, topic, PARTITIONS);
        for (partition, commit) in last {
            let expected = commit.inputs.get(topic).map(|at| (*at, commit.txn_seq.to_string()));
            let found = &committed[*partition as usize];
            if *found != expected {
                problems.push(format!(
                    "{group} of {topic}/{partition}: {found:?}, the changelog says {expected:?}"
                ));
            }
        }
    }
}

/// `sendplane state verify` holds for every store; one of each partition is at its end, none beyond.
fn check_stores(
    plane: &Plane,
    stage: &str,
    stores: &[(String, String)],
    last: &BTreeMap<i32, CommitRecord>,
    problems: &mut Vec<String>,
) {
    let mut newest: BTreeMap<i64, u64> = BTreeMap::new();
    for (_, instance) in stores.iter().filter(|(of, _)| of == stage) {
        let dir = plane.state_dir(stage, instance).join(stage);
        if std::fs::read_dir(&dir).map_or(0, Iterator::count) == 0 {
            continue;
        }
        let dir = dir.display().to_string();
        let (success, text, error) =
            plane.try_cli(&["state", "verify", &dir, "--stage", stage, "-o", "json"]);
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        if !success || rows.is_empty() {
            problems.push(format!("state verify of {stage}-{instance}: {text}{error}"));
        }
        for row in rows {
            let partition = row["partition"].as_i64().unwrap_or(-1);
            let at = newest.entry(partition).or_default();
            *at = (*at).max(row["txn_seq"].as_u64().unwrap_or(0));
        }
    }
    for (partition, commit) in last {
        let at = newest.get(&i64::from(*partition)).copied().unwrap_or(0);
        if at != commit.txn_seq {
            problems.push(format!(
                "{stage}/{partition}: the newest store is at transaction {at} of {}",
                commit.txn_seq
            ));
        }
    }
}
