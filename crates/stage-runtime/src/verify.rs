//! Proves that a stopped store equals the fold of its changelog (I6).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sendplane_stage_api::commit::Fold;

use crate::client;
use crate::clock::Deadline;
use crate::config::{Names, RuntimeConfig};
use crate::error::Error;
use crate::store::Store;

/// What the comparison of one store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Partition of the task.
    pub partition: i32,
    /// Changelog offset at which the store stands.
    pub next_offset: i64,
    /// `txn_seq` of the store's commit record.
    pub txn_seq: u64,
    /// Keys compared.
    pub compared: usize,
    /// Keys the changelog has overwritten since, whose former value compaction may have removed.
    pub superseded: usize,
    /// Keys only in the store, in hexadecimal.
    pub only_in_store: Vec<String>,
    /// Keys only in the changelog.
    pub only_in_changelog: Vec<String>,
    /// Keys with different values.
    pub different: Vec<String>,
}

impl Report {
    /// True when every compared key agrees.
    pub fn holds(&self) -> bool {
        self.only_in_store.is_empty()
            && self.only_in_changelog.is_empty()
            && self.different.is_empty()
    }
}

/// Verifies every store below `dir`, which is `<state dir>/<stage>` of a stopped instance.
pub fn verify(
    config: &RuntimeConfig,
    stage: &'static str,
    dir: &Path,
) -> Result<Vec<Report>, Error> {
    let mut partitions: Vec<i32> = std::fs::read_dir(dir)
        .map_err(|error| Error::Unsafe(format!("{}: {error}", dir.display())))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    partitions.sort_unstable();
    if partitions.is_empty() {
        return Err(Error::Unsafe(format!(
            "{} holds no stores: name the directory <state-dir>/<stage>",
            dir.display()
        )));
    }
    partitions
        .into_iter()
        .map(|partition| verify_one(config, &Names::of(stage), dir, partition))
        .collect()
}

fn verify_one(
    config: &RuntimeConfig,
    names: &Names,
    dir: &Path,
    partition: i32,
) -> Result<Report, Error> {
    let store = Store::open_read_only(&dir.join(partition.to_string()), partition)?;
    let Some(position) = store.position()? else {
        return Ok(Report { partition, ..Report::default() });
    };
    let txn_seq = store.last_commit()?.map_or(0, |last| last.txn_seq);
    let mut folded: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut superseded: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut fold = Fold::after(None);
    read_whole(config, &names.changelog, partition, &mut |offset, key, value| {
        if offset >= position.next_offset {
            superseded.insert(key);
            return Ok(());
        }
        let batch =
            fold.push(offset, key, value).map_err(|fault| Error::Fold { partition, fault })?;
        for (key, value) in batch.into_iter().flat_map(|batch| batch.writes) {
            match value {
                Some(value) => folded.insert(key, value),
                None => folded.remove(&key),
            };
        }
        Ok(())
    })?;
    let mut report =
        Report { partition, next_offset: position.next_offset, txn_seq, ..Report::default() };
    store.for_each(|key, value| {
        let expected = folded.remove(key);
        if superseded.contains(key) {
            report.superseded += 1;
            return;
        }
        report.compared += 1;
        match expected {
            None => report.only_in_store.push(hex(key)),
            Some(expected) if expected != value => report.different.push(hex(key)),
            Some(_) => {}
        }
    })?;
    for key in folded.into_keys().filter(|key| !superseded.contains(key)) {
        report.compared += 1;
        report.only_in_changelog.push(hex(&key));
    }
    Ok(report)
}

fn read_whole(
    config: &RuntimeConfig,
    topic: &str,
    partition: i32,
    visit: &mut dyn FnMut(i64, Vec<u8>, Option<Vec<u8>>) -> Result<(), Error>,
) -> Result<(), Error> {
    let reader: BaseConsumer =
        client::reader(config).create().map_err(Error::kafka("create verifier"))?;
    let (low, high) = reader
        .fetch_watermarks(topic, partition, Duration::from_secs(10))
        .map_err(Error::kafka("look at the changelog's end"))?;
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, partition, Offset::Offset(low))
        .map_err(Error::kafka("set an offset"))?;
    reader.assign(&assignment).map_err(Error::kafka("assign the changelog"))?;
    let mut progress = Deadline::after(Duration::from_secs(30));
    let mut next = low;
    while next < high {
        match reader.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                next = message.offset() + 1;
                let key = message.key().unwrap_or_default().to_vec();
                visit(message.offset(), key, message.payload().map(<[u8]>::to_vec))?;
                progress = Deadline::after(Duration::from_secs(30));
            }
            Some(Err(error)) => tracing::debug!(%error, "verifier"),
            None => {
                let position = reader.position().map_err(Error::kafka("read position"))?;
                next = position
                    .find_partition(topic, partition)
                    .and_then(|element| element.offset().to_raw())
                    .map_or(next, |position| position.max(next));
            }
        }
        if progress.passed() {
            return Err(Error::TimedOut { doing: "reading the changelog", seconds: 30 });
        }
    }
    Ok(())
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
