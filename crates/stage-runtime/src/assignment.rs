//! Taking over and giving up partitions.
//!
//! librdkafka waits for our answer to a rebalance: nothing is released before it was committed,
//! and nothing is read before it was restored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{InputTopic, Stage};

use crate::batch::globals_applied;
use crate::client::MemberContext;
use crate::clock::monotonic;
use crate::error::Error;
use crate::gauges::TaskGauges;
use crate::restore::{Clients, Restored, feedback_marks};
use crate::task::Task;

/// Groups an assignment into tasks. Every task must come with all its inputs, which `range` gives
/// as long as all input topics have the same partition count.
pub(crate) fn tasks_of(
    assigned: &[(String, i32)],
    inputs: &[InputTopic],
) -> Result<BTreeSet<i32>, Error> {
    let mut topics: BTreeMap<i32, BTreeSet<&str>> = BTreeMap::new();
    for (topic, partition) in assigned {
        topics.entry(*partition).or_default().insert(topic);
    }
    for (partition, found) in &topics {
        if let Some(missing) = inputs.iter().find(|input| !found.contains(input.topic)) {
            return Err(Error::Unsafe(format!(
                "partition {partition} was assigned without {}: all input topics need the same \
                 number of partitions, and all members the same release and `range` assignment",
                missing.topic
            )));
        }
    }
    Ok(topics.into_keys().collect())
}

/// Answers a new assignment: the membership stands, the member itself reads nothing.
pub(crate) fn accept(member: &BaseConsumer<MemberContext>) -> Result<(), Error> {
    member.assign(&TopicPartitionList::new()).map_err(Error::kafka("accept assignment"))
}

/// Answers a revocation: the partitions are free for their next owner.
pub(crate) fn release(member: &BaseConsumer<MemberContext>) -> Result<(), Error> {
    member.unassign().map_err(Error::kafka("release partitions"))
}

/// Lets librdkafka serve the group; records never come through the member.
pub(crate) fn serve(member: &BaseConsumer<MemberContext>) {
    if let Some(Err(error)) = member.poll(Duration::ZERO) {
        tracing::debug!(%error, "group member");
    }
}

/// Makes a running task of restored state.
pub(crate) fn open_task<S: Stage>(
    clients: &Clients<'_>,
    restored: Restored,
    epoch: u64,
) -> Result<Task<S>, Error> {
    let Restored { partition, store, last, offsets, torn } = restored;
    if !torn.is_empty() {
        metrics::counter!("sendplane_changelog_tears_total", "stage" => clients.names.stage)
            .increment(1);
        tracing::error!(
            partition,
            keys = torn.len(),
            "half of a transaction stands behind the last commit record: its keys are rewritten"
        );
    }
    let globals_applied =
        globals_applied(&store).map_err(|detail| Error::Store { partition, detail })?;
    let mut marks = feedback_marks(clients, partition)?;
    marks.retain(|(input, mark)| offsets[*input] < *mark);
    let last_now = last.as_ref().map_or(Timestamp::default(), |last| last.now);
    Ok(Task {
        partition,
        txn_seq: last.as_ref().map_or(0, |last| last.txn_seq),
        last_now,
        opened: (monotonic(), last_now),
        fresh: last.is_none(),
        offsets,
        torn,
        timer_floor: Timestamp::default(),
        // Due at once: the first turn finds out what stands in the queue.
        next_timer: Some(Timestamp::default()),
        globals_applied,
        queues: BTreeMap::new(),
        results: Default::default(),
        quarantined: BTreeMap::new(),
        breakers: Default::default(),
        held: Default::default(),
        running: Arc::default(),
        epoch,
        feedback_marks: marks,
        gauges: TaskGauges::new(clients.names.stage, partition),
        blocked_until: None,
        store,
    })
}

#[cfg(test)]
mod tests {
    use sendplane_stage_api::InputClass;

    use super::*;

    const INPUTS: [InputTopic; 2] = [
        InputTopic { topic: "a", class: InputClass::Transactional, value_bytes_max: 1 },
        InputTopic { topic: "b", class: InputClass::Bulk, value_bytes_max: 1 },
    ];

    #[test]
    fn a_task_comes_with_all_its_inputs_or_not_at_all() {
        let pair = |topic: &str, partition| (topic.to_owned(), partition);
        let whole = [pair("a", 0), pair("b", 0), pair("a", 2), pair("b", 2)];
        assert_eq!(tasks_of(&whole, &INPUTS).expect("whole"), BTreeSet::from([0, 2]));
        let half = [pair("a", 0), pair("b", 0), pair("a", 1)];
        let error = tasks_of(&half, &INPUTS).expect_err("half").to_string();
        assert!(error.contains("partition 1 was assigned without b"), "{error}");
    }
}
