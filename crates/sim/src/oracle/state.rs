//! I6 and I7: stores, changelogs and group offsets.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use super::reading::{Commit, Facts, TaskName};
use crate::env::Env;
use crate::evidence::Snapshot;

/// Checks I6 and I7.
pub fn check(env: &mut Env, facts: &Facts, verdict: &mut Verdict) {
    for (task, commits) in &facts.commits {
        owners(env, *task, commits, verdict);
    }
    let mut by_task: BTreeMap<TaskName, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in &env.seen.snapshots {
        by_task.entry((snapshot.stage, snapshot.partition)).or_default().push(snapshot);
    }
    for (task, snapshots) in by_task {
        stores(env, task, snapshots, verdict);
    }
    for mismatch in env.seen.mismatches.iter().filter(|mismatch| mismatch.is_owner) {
        let task = (mismatch.stage, mismatch.partition);
        let detail = format!("a restore is not of one transaction: {}", mismatch.detail);
        verdict.task("I6", task, detail);
    }
    for (partition, message, attempt) in &env.seen.foreign_results {
        let detail = format!(
            "the result of attempt {attempt} was applied under another ownership of {partition}"
        );
        verdict.message("I7", *message, detail);
    }
    let compared = env.seen.snapshots.len() as u64;
    env.counts.add("stores compared", compared);
    let unfinished: u64 = tears(env);
    env.counts.add("tears", unfinished);
}

/// One owner after the other: sequences, generations, sessions, offsets.
fn owners(env: &Env, task: TaskName, commits: &[Commit], verdict: &mut Verdict) {
    let mut sessions: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    let mut generation = 0;
    let mut before: Option<&Commit> = None;
    for commit in commits {
        let seq = commit.record.txn_seq;
        let last = before.map_or(0, |before| before.record.txn_seq);
        if seq != last + 1 {
            verdict.task("I7", task, format!("transaction {seq} follows {last}"));
        }
        if commit.writes != commit.record.records {
            let detail = format!(
                "transaction {seq} has {} changelog records, its commit record counts {}",
                commit.writes, commit.record.records
            );
            verdict.task("I6", task, detail);
        }
        let txn = env.log.transaction(commit.txn);
        for (topic, offset) in &commit.record.inputs {
            let found = txn.offsets.get(&(topic.clone(), task.1));
            if found != Some(&(*offset, seq.to_string())) {
                let detail = format!(
                    "transaction {seq} stands at {offset} of {topic}, its group offset is {found:?}"
                );
                verdict.task("I7", task, detail);
            }
            let earlier = before.and_then(|before| before.record.inputs.get(topic));
            if earlier.is_some_and(|earlier| earlier > offset) {
                verdict.task("I7", task, format!("transaction {seq} goes back in {topic}"));
            }
        }
        if let Some((_, at)) = &txn.group {
            if *at < generation {
                let detail = format!("generation {at} commits after {generation}");
                verdict.task("I7", task, detail);
            }
            generation = generation.max(*at);
            sessions.entry(*at).or_default().insert(&txn.session.id);
        }
        if before.is_some_and(|before| before.record.now > commit.record.now) {
            verdict.task("I7", task, format!("time runs backwards in transaction {seq}"));
        }
        before = Some(commit);
    }
    for (generation, owners) in sessions {
        if owners.len() > 1 {
            let detail = format!("{owners:?} commit in generation {generation}");
            verdict.task("I7", task, detail);
        }
    }
}

/// Every store is the fold of a committed prefix that ends at a commit record.
fn stores(env: &Env, task: TaskName, mut snapshots: Vec<&Snapshot>, verdict: &mut Verdict) {
    snapshots.sort_by_key(|snapshot| snapshot.next_offset);
    let changelog = format!("sendplane.{}.changelog", task.0);
    let mut state: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    let mut records = env.log.committed(&changelog, task.1).peekable();
    let (mut boundary, mut known_from) = (0, 0);
    for snapshot in snapshots {
        while let Some((offset, entry, _, visible_at)) =
            records.next_if(|(offset, ..)| *offset < snapshot.next_offset)
        {
            let key = entry.key.as_deref().unwrap_or_default();
            match entry.value.as_deref() {
                Some(value) => state.insert(key, value),
                None => state.remove(key),
            };
            if key == sendplane_stage_api::commit::COMMIT_KEY {
                (boundary, known_from) = (offset + 1, visible_at);
            }
        }
        let fault = if known_from > snapshot.at {
            "leads the log"
        } else if snapshot.next_offset != boundary {
            "does not end at a commit record"
        } else if !is_equal(&snapshot.rows, &state) {
            "differs from the fold of its changelog"
        } else {
            continue;
        };
        let detail = format!(
            "the store of {} at offset {} {fault} (at {} us)",
            snapshot.process, snapshot.next_offset, snapshot.at
        );
        verdict.task("I6", task, detail);
    }
}

fn is_equal(rows: &BTreeMap<Vec<u8>, Vec<u8>>, state: &BTreeMap<&[u8], &[u8]>) -> bool {
    rows.len() == state.len()
        && rows
            .iter()
            .zip(state)
            .all(|((key, value), (other, expected))| key == other && value == expected)
}

/// Committed changelog records of transactions without a commit record.
fn tears(env: &Env) -> u64 {
    let mut torn = 0;
    for stage in crate::shape::STAGES {
        let changelog = format!("sendplane.{stage}.changelog");
        for partition in 0..env.shape.partitions as i32 {
            let mut open = BTreeSet::new();
            for (_, entry, txn, _) in env.log.committed(&changelog, partition) {
                let is_end =
                    entry.key.as_deref() == Some(&sendplane_stage_api::commit::COMMIT_KEY[..]);
                if is_end {
                    open.remove(&txn);
                } else {
                    open.insert(txn);
                }
            }
            torn += open.len() as u64;
        }
    }
    torn
}
