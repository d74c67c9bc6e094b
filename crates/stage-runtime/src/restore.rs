//! Taking over a task: stable offsets, then the changelog's high watermark, then the changelog.
//!
//! The order matters. Offsets first: the other way round could accept offsets of a transaction
//! whose state was not restored. The high watermark and not the last stable offset: an older
//! zombie's open transaction holds the latter back below committed data (KAFKA-10167).

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sendplane_stage_api::InputTopic;
use sendplane_stage_api::commit::{CommitRecord, Fold};

use crate::client::{self, MemberContext};
use crate::clock::Deadline;
use crate::config::{Names, RuntimeConfig};
use crate::error::Error;
use crate::store::Store;

const CALL_MAX: Duration = Duration::from_secs(5);
/// Pending offsets of a dead owner are stable again once its transaction has timed out.
const STABLE_MARGIN: Duration = Duration::from_secs(20);
/// A restore that reads nothing for this long is given up and begun again.
const PROGRESS_MAX: Duration = Duration::from_secs(60);

/// A task's state as restored.
#[derive(Debug)]
pub(crate) struct Restored {
    pub partition: i32,
    pub store: Store,
    /// The last commit record, `None` for a task that never committed.
    pub last: Option<CommitRecord>,
    /// Per input, where to go on.
    pub offsets: Vec<i64>,
    /// Keys of a tear behind the last commit record.
    pub torn: Vec<Vec<u8>>,
}

/// The clients a restore uses.
pub(crate) struct Clients<'a> {
    pub config: &'a RuntimeConfig,
    pub names: &'a Names,
    pub member: &'a BaseConsumer<MemberContext>,
    pub probe: &'a BaseConsumer,
    pub inputs: &'static [InputTopic],
    pub partitions: u32,
}

/// What the group has committed for one input of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommittedOffset {
    pub offset: i64,
    pub metadata: String,
}

/// By partition, per input: what the group has committed.
type Committed = BTreeMap<i32, Vec<Option<CommittedOffset>>>;

/// Restores `stores` from their changelog partitions. `keep_going` is asked often; when it says
/// no, the result is `None`.
pub(crate) fn restore(
    clients: &Clients<'_>,
    stores: Vec<(i32, Store)>,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<Option<Vec<Restored>>, Error> {
    let partitions: Vec<i32> = stores.iter().map(|(partition, _)| *partition).collect();
    let Some(committed) = stable_offsets(clients, &partitions, keep_going)? else {
        return Ok(None);
    };
    let mut folding = Vec::new();
    for (partition, store) in stores {
        let (_, end) = watermarks(clients.probe, &clients.names.changelog, partition)?;
        let next = store.position()?.map_or(0, |position| position.next_offset);
        if next > end {
            return Err(Error::Unsafe(format!(
                "the store of partition {partition} stands at changelog offset {next}, but {} ends \
                 at {end}: it belongs to another cluster or the changelog was re-created. Remove \
                 the state directory only if the changelog is the right one",
                clients.names.changelog
            )));
        }
        let fold = Fold::after(store.last_commit()?);
        folding.push(Folding { partition, store, fold, next, end });
    }
    if !read_changelogs(clients, &mut folding, keep_going)? {
        return Ok(None);
    }
    folding
        .into_iter()
        .map(|Folding { partition, store, fold, .. }| {
            let last = fold.last().cloned();
            let torn = fold.finish();
            let committed = &committed[&partition];
            let starts = log_starts(clients, partition)?;
            let plane = Plane {
                changelog: &clients.names.changelog,
                inputs: clients.inputs,
                partitions: clients.partitions,
            };
            let offsets = agree(&plane, partition, last.as_ref(), committed, &starts)?;
            Ok(Restored { partition, store, last, offsets, torn })
        })
        .collect::<Result<Vec<_>, Error>>()
        .map(Some)
}

struct Folding {
    partition: i32,
    store: Store,
    fold: Fold,
    next: i64,
    end: i64,
}

/// The group's offsets once no transaction that could change them is open any more. The member
/// reads committed, so the coordinator answers `UNSTABLE_OFFSET_COMMIT` until then.
fn stable_offsets(
    clients: &Clients<'_>,
    partitions: &[i32],
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<Option<Committed>, Error> {
    let patience = clients.config.transaction_timeout + STABLE_MARGIN;
    let deadline = Deadline::after(patience);
    loop {
        if !keep_going() {
            return Ok(None);
        }
        match try_stable_offsets(clients, partitions) {
            Ok(offsets) => return Ok(Some(offsets)),
            Err(error) if deadline.passed() => {
                return Err(never_stable(&clients.names.group, patience, error));
            }
            Err(error) => {
                tracing::debug!(%error, "committed offsets are not stable yet");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// What a failure means that has outlasted every transaction. librdkafka repeats the question while
/// offsets are unstable and says in the end that time is up, as it does of a coordinator that is
/// silent.
fn never_stable(group: &str, patience: Duration, error: Error) -> Error {
    match error {
        Error::Kafka { source, .. }
            if source.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) =>
        {
            Error::UnstableOffsets { group: group.to_owned(), seconds: patience.as_secs() }
        }
        error => error,
    }
}

fn try_stable_offsets(clients: &Clients<'_>, partitions: &[i32]) -> Result<Committed, Error> {
    let mut wanted = TopicPartitionList::new();
    for input in clients.inputs {
        for partition in partitions {
            wanted.add_partition(input.topic, *partition);
        }
    }
    // A short call: the member must be polled in between.
    let found = clients
        .member
        .committed_offsets(wanted, Duration::from_secs(2))
        .map_err(Error::kafka("read committed offsets"))?;
    let mut by_partition = BTreeMap::new();
    for partition in partitions {
        let mut offsets = Vec::new();
        for input in clients.inputs {
            let element = found.find_partition(input.topic, *partition).ok_or_else(|| {
                Error::Unsafe(format!("no answer about offsets of {}/{partition}", input.topic))
            })?;
            element.error().map_err(|source: KafkaError| Error::Kafka {
                doing: "read committed offsets",
                source,
            })?;
            offsets.push(match element.offset() {
                Offset::Offset(offset) => {
                    Some(CommittedOffset { offset, metadata: element.metadata().to_owned() })
                }
                _ => None,
            });
        }
        by_partition.insert(*partition, offsets);
    }
    Ok(by_partition)
}

/// Reads all changelog partitions to their ends. False when told to stop.
fn read_changelogs(
    clients: &Clients<'_>,
    folding: &mut [Folding],
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<bool, Error> {
    if folding.iter().all(|one| one.next >= one.end) {
        return Ok(keep_going());
    }
    let changelog = &clients.names.changelog;
    let reader: BaseConsumer =
        client::reader(clients.config).create().map_err(Error::kafka("create restorer"))?;
    let mut assignment = TopicPartitionList::new();
    for one in folding.iter() {
        assignment
            .add_partition_offset(changelog, one.partition, Offset::Offset(one.next))
            .map_err(Error::kafka("set a restore offset"))?;
    }
    reader.assign(&assignment).map_err(Error::kafka("assign changelogs"))?;
    let mut progress = Deadline::after(PROGRESS_MAX);
    let mut next_check = Deadline::after(Duration::from_millis(50));
    loop {
        match reader.poll(Duration::from_millis(20)) {
            Some(Ok(message)) => {
                let one = folding
                    .iter_mut()
                    .find(|one| one.partition == message.partition())
                    .expect("only assigned partitions are read");
                let partition = one.partition;
                let folded = one
                    .fold
                    .push(
                        message.offset(),
                        message.key().unwrap_or_default().to_vec(),
                        message.payload().map(<[u8]>::to_vec),
                    )
                    .map_err(|fault| Error::Fold { partition, fault })?;
                one.next = message.offset() + 1;
                if let Some(batch) = folded {
                    one.store.apply_folded(&batch)?;
                }
                progress = Deadline::after(PROGRESS_MAX);
            }
            Some(Err(error)) => tracing::debug!(%error, "changelog reader"),
            None => {}
        }
        if next_check.passed() {
            next_check = Deadline::after(Duration::from_millis(50));
            if !keep_going() {
                return Ok(false);
            }
            let left = remaining(&reader, changelog, folding)?;
            metrics::gauge!("sendplane_state_restore_remaining_records",
                "stage" => clients.names.stage)
            .set(left as f64);
            if left == 0 {
                return Ok(true);
            }
            if progress.passed() {
                let seconds = PROGRESS_MAX.as_secs();
                return Err(Error::TimedOut { doing: "restoring state", seconds });
            }
        }
    }
}

/// How far the reader's positions are from the ends. Positions, unlike records, also pass control
/// records, so an aborted or committed transaction at the very end does not leave a rest.
fn remaining(reader: &BaseConsumer, changelog: &str, folding: &[Folding]) -> Result<i64, Error> {
    let positions = reader.position().map_err(Error::kafka("read restore position"))?;
    let mut left = 0;
    for one in folding {
        let position = positions
            .find_partition(changelog, one.partition)
            .and_then(|element| element.offset().to_raw())
            .filter(|position| *position >= 0)
            .unwrap_or(one.next);
        left += (one.end - position.max(one.next)).max(0);
    }
    Ok(left)
}

/// The first and the next offset of a partition, as `consumer` sees them. librdkafka remembers for
/// minutes that a partition had no leader, and says so at once instead of asking again; fetching
/// the topic's metadata makes it forget.
fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), Error> {
    consumer
        .fetch_watermarks(topic, partition, CALL_MAX)
        .or_else(|_| {
            consumer.fetch_metadata(Some(topic), CALL_MAX)?;
            consumer.fetch_watermarks(topic, partition, CALL_MAX)
        })
        .map_err(Error::kafka("look at a partition's end"))
}

fn log_starts(clients: &Clients<'_>, partition: i32) -> Result<Vec<i64>, Error> {
    clients
        .inputs
        .iter()
        .map(|input| watermarks(clients.probe, input.topic, partition).map(|(low, _)| low))
        .collect()
}

/// The current committed ends of the feedback inputs of `partition`, as (input, offset). The
/// member reads committed, so what it calls the end is the last stable offset.
pub(crate) fn feedback_marks(
    clients: &Clients<'_>,
    partition: i32,
) -> Result<Vec<(usize, i64)>, Error> {
    let mut marks = Vec::new();
    for (index, input) in clients.inputs.iter().enumerate() {
        if input.class == sendplane_stage_api::InputClass::Feedback {
            let (_, end) = watermarks(clients.member, input.topic, partition)?;
            marks.push((index, end));
        }
    }
    Ok(marks)
}

/// What [`agree`] needs to know about the topics.
pub(crate) struct Plane<'a> {
    pub changelog: &'a str,
    pub inputs: &'a [InputTopic],
    pub partitions: u32,
}

/// Decides where to go on, or why not to start: state and offsets must be of one transaction.
pub(crate) fn agree(
    plane: &Plane<'_>,
    partition: i32,
    last: Option<&CommitRecord>,
    committed: &[Option<CommittedOffset>],
    log_starts: &[i64],
) -> Result<Vec<i64>, Error> {
    let Some(last) = last else {
        if let Some(offset) = committed.iter().flatten().next() {
            return Err(Error::Unsafe(format!(
                "partition {partition}: the group has offsets (transaction {}) but {} is empty: \
                 state is lost. Restore the changelog, or delete the group's offsets to start over",
                offset.metadata, plane.changelog
            )));
        }
        return Ok(log_starts.to_vec());
    };
    if last.partitions != plane.partitions {
        return Err(Error::Unsafe(format!(
            "partition {partition}: state was written with {} partitions per topic, the topics now \
             have {}: the key to partition mapping differs. Re-create the topics with {} partitions",
            last.partitions, plane.partitions, last.partitions
        )));
    }
    let mut offsets = Vec::new();
    for ((input, found), start) in plane.inputs.iter().zip(committed).zip(log_starts) {
        let offset = match (last.inputs.get(input.topic), found) {
            // An input this release has added.
            (None, None) => *start,
            (Some(recorded), Some(found)) => {
                if found.metadata != last.txn_seq.to_string() || found.offset != *recorded {
                    return Err(Error::SequenceMismatch {
                        partition,
                        changelog: last.txn_seq,
                        offsets: format!("{} ({}@{})", found.metadata, input.topic, found.offset),
                    });
                }
                found.offset
            }
            (Some(recorded), None) => {
                return Err(Error::Unsafe(format!(
                    "partition {partition}: the group's offset of {} is missing, state stands at \
                     {recorded}: set the group's offset to {recorded} with metadata {}",
                    input.topic, last.txn_seq
                )));
            }
            (None, Some(found)) => {
                return Err(Error::SequenceMismatch {
                    partition,
                    changelog: last.txn_seq,
                    offsets: format!("{} has {}", input.topic, found.metadata),
                });
            }
        };
        if offset < *start {
            return Err(Error::Unsafe(format!(
                "{}/{partition}: the next record to read is {offset}, the log starts at {start}: \
                 unread records were deleted. Nothing is skipped; reset the group's offsets \
                 deliberately and lengthen the retention",
                input.topic
            )));
        }
        offsets.push(offset);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use sendplane_domain::time::Timestamp;
    use sendplane_stage_api::InputClass;

    use super::*;
    use crate::error::Recovery;

    const INPUTS: [InputTopic; 2] = [
        InputTopic { topic: "a", class: InputClass::Transactional, value_bytes_max: 1 },
        InputTopic { topic: "b", class: InputClass::Bulk, value_bytes_max: 1 },
    ];
    const PLANE: Plane<'_> = Plane { changelog: "log", inputs: &INPUTS, partitions: 4 };

    fn last(inputs: &[(&str, i64)]) -> CommitRecord {
        CommitRecord {
            txn_seq: 7,
            inputs: inputs.iter().map(|(topic, offset)| ((*topic).to_owned(), *offset)).collect(),
            records: 0,
            now: Timestamp::default(),
            partitions: 4,
        }
    }

    fn at(offset: i64, metadata: &str) -> Option<CommittedOffset> {
        Some(CommittedOffset { offset, metadata: metadata.to_owned() })
    }

    #[test]
    fn offsets_that_stay_pending_name_the_group_and_the_way_out() {
        let failed = |code| Error::Kafka { doing: "read", source: KafkaError::MetadataFetch(code) };
        let timed_out = failed(RDKafkaErrorCode::OperationTimedOut);
        let error = never_stable("sendplane.send", Duration::from_secs(25), timed_out);
        // It may pass, and nobody else could do better: the task is tried again.
        assert_eq!(error.recovery(), Recovery::Rebuild);
        let text = error.to_string();
        for part in ["sendplane.send", "25 s", "find-hanging"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let refused = failed(RDKafkaErrorCode::GroupAuthorizationFailed);
        let other = never_stable("g", Duration::ZERO, refused);
        assert_eq!(other.recovery(), Recovery::Stop);
    }

    fn judge(
        last: Option<CommitRecord>,
        committed: [Option<CommittedOffset>; 2],
        starts: [i64; 2],
    ) -> Result<Vec<i64>, (Recovery, String)> {
        agree(&PLANE, 3, last.as_ref(), &committed, &starts)
            .map_err(|error| (error.recovery(), error.to_string()))
    }

    fn refused(result: Result<Vec<i64>, (Recovery, String)>, recovery: Recovery, text: &str) {
        let (found, message) = result.expect_err("refused");
        assert_eq!(found, recovery, "{message}");
        assert!(message.contains(text), "{message}");
    }

    #[test]
    fn state_and_offsets_of_one_transaction_go_on() {
        let both = last(&[("a", 5), ("b", 9)]);
        assert_eq!(judge(Some(both), [at(5, "7"), at(9, "7")], [0, 0]), Ok(vec![5, 9]));
    }

    #[test]
    fn a_new_task_starts_where_its_logs_start() {
        assert_eq!(judge(None, [None, None], [3, 0]), Ok(vec![3, 0]));
    }

    #[test]
    fn an_input_added_by_this_release_starts_at_its_log() {
        assert_eq!(judge(Some(last(&[("a", 5)])), [at(5, "7"), None], [0, 2]), Ok(vec![5, 2]));
    }

    #[test]
    fn offsets_of_another_transaction_are_a_doubt() {
        let both = || Some(last(&[("a", 5), ("b", 9)]));
        let newer = judge(both(), [at(6, "8"), at(9, "8")], [0, 0]);
        refused(newer, Recovery::Rebuild, "ends at transaction 7, the group's offsets at 8");
        let moved = judge(both(), [at(4, "7"), at(9, "7")], [0, 0]);
        refused(moved, Recovery::Rebuild, "a@4");
        let unknown = judge(Some(last(&[("a", 5)])), [at(5, "7"), at(1, "7")], [0, 0]);
        refused(unknown, Recovery::Rebuild, "b has 7");
    }

    #[test]
    fn what_is_missing_is_never_read_as_zero() {
        let both = || Some(last(&[("a", 5), ("b", 9)]));
        refused(
            judge(both(), [at(5, "7"), None], [0, 0]),
            Recovery::Stop,
            "set the group's offset to 9",
        );
        refused(judge(None, [at(5, "7"), None], [0, 0]), Recovery::Stop, "state is lost");
        let gone = judge(both(), [at(5, "7"), at(9, "7")], [0, 10]);
        refused(gone, Recovery::Stop, "unread records were deleted");
        let mut other = last(&[("a", 5), ("b", 9)]);
        other.partitions = 16;
        let resized = judge(Some(other), [at(5, "7"), at(9, "7")], [0, 0]);
        refused(resized, Recovery::Stop, "16 partitions");
    }
}
