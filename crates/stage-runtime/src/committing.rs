//! From drafts to a committed transaction, and what follows from it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sendplane_domain::shard::partition_of;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord};
use sendplane_stage_api::cycle::Counts;
use sendplane_stage_api::{InputClass, InputTopic, Performed, Stage};

use crate::batch::{self, DeadRecord, Draft};
use crate::client::CommitDelivery;
use crate::clock::monotonic;
use crate::dead_letter;
use crate::effect::{EffectSink, Running, Started};
use crate::error::Error;
use crate::lanes::Lanes;
use crate::task::Task;
use crate::thread::StageThread;
use crate::transaction::{CommitTimes, Outgoing};

impl<S: Stage> StageThread<S> {
    pub(crate) fn commit(&mut self, drafts: Vec<Draft<S>>, started: Instant) -> Result<(), Error> {
        if let Some(producer) = &mut self.producer
            && let Some(reason) = producer.suspect()
        {
            metrics::counter!("sendplane_producers_recycled_total",
                "stage" => self.shared.names.stage, "reason" => reason)
            .increment(1);
            self.renew_producer()?;
        }
        let _watched = self.shared.watchdog.arm(self.index);
        let before = self.wall();
        self.began = monotonic();
        let commits = self.produce(&drafts)?;
        let offsets = group_offsets(&drafts, &commits)?;
        let group = self.member.group_metadata().ok_or_else(|| {
            Error::Unsafe("the consumer has no group metadata: group.id is missing".into())
        })?;
        let producer = self.producer.as_mut().expect("a commit begins with a producer");
        let (times, deliveries) = producer.commit(offsets, group)?;
        self.observe_commit(&drafts, times, started.elapsed());
        self.apply(drafts, &commits, &deliveries, before, started)
    }

    /// Produces outputs, dead letters, changelog and commit records. Returns the commit records.
    fn produce(&mut self, drafts: &[Draft<S>]) -> Result<Vec<CommitRecord>, Error> {
        let shared = &self.shared;
        let producer = self.producer.as_ref().expect("a commit begins with a producer");
        producer.begin()?;
        let topics = || shared.stage.inputs().iter().map(|input| input.topic);
        let mut commits = Vec::new();
        for (number, draft) in drafts.iter().enumerate() {
            let task = &self.tasks[&draft.partition];
            for (encoded, trace) in &draft.outputs {
                let partition = partition_of(encoded.partition_key.as_bytes(), shared.partitions);
                let mut headers = batch::trace_headers(trace);
                headers.extend(
                    encoded
                        .headers
                        .iter()
                        .map(|(name, value)| (name.clone(), Some(value.clone().into_bytes()))),
                );
                producer.send(&Outgoing {
                    topic: encoded.topic,
                    partition,
                    key: Some(encoded.key.as_bytes()),
                    value: Some(&encoded.value),
                    headers: &headers,
                    timestamp: None,
                    commit_of: 0,
                })?;
            }
            for dead in &draft.dead {
                let topic = shared.stage.inputs()[dead.record.input].topic;
                let fault = &dead.fault;
                let now = draft.transition.now;
                producer.send(&Outgoing {
                    topic: &shared.names.dead_letters,
                    partition: draft.partition,
                    key: dead.record.key.as_deref(),
                    value: dead.record.value.as_deref(),
                    headers: &dead_letter::headers(&dead.record, topic, fault, &shared.names, now),
                    timestamp: Some(dead.record.timestamp.as_millis()),
                    commit_of: 0,
                })?;
            }
            for (key, value) in &draft.transition.writes {
                self.send_changelog(draft.partition, key, value.as_deref(), 0)?;
            }
            let count = draft.transition.writes.len() as u32;
            let now = draft.transition.now;
            let commit = task.next_commit(topics(), count, now, shared.partitions, &draft.offsets);
            let value = commit.encode();
            self.send_changelog(draft.partition, &COMMIT_KEY, Some(&value), number + 1)?;
            commits.push(commit);
        }
        Ok(commits)
    }

    fn send_changelog(
        &self,
        partition: i32,
        key: &[u8],
        value: Option<&[u8]>,
        commit_of: usize,
    ) -> Result<(), Error> {
        self.producer.as_ref().expect("a commit begins with a producer").send(&Outgoing {
            topic: &self.shared.names.changelog,
            partition,
            key: Some(key),
            value,
            headers: &[],
            timestamp: None,
            commit_of,
        })
    }

    fn observe_commit(&self, drafts: &[Draft<S>], times: CommitTimes, cycle: Duration) {
        let stage = self.shared.names.stage;
        let record = |part: &'static str, span: Duration| {
            metrics::histogram!("sendplane_commit_seconds", "stage" => stage, "part" => part)
                .record(span.as_secs_f64());
        };
        record("drain", times.drain);
        record("offsets", times.offsets);
        record("commit", times.commit);
        record("cycle", cycle);
        let inputs: usize = drafts.iter().map(|draft| draft.inputs).sum();
        metrics::histogram!("sendplane_batch_inputs", "stage" => stage).record(inputs as f64);
        metrics::counter!("sendplane_transactions_total", "stage" => stage).increment(1);
        let now = self.wall();
        for oldest in drafts.iter().filter_map(|draft| draft.oldest_input) {
            metrics::histogram!("sendplane_hop_seconds", "stage" => stage)
                .record(now.since(oldest).as_secs_f64());
        }
    }

    /// After the commit: state, counters, effects, in this order.
    fn apply(
        &mut self,
        drafts: Vec<Draft<S>>,
        commits: &[CommitRecord],
        deliveries: &[CommitDelivery],
        before: Timestamp,
        granted_at: Instant,
    ) -> Result<(), Error> {
        let (after, at) = (self.wall(), monotonic());
        for (number, (draft, commit)) in drafts.into_iter().zip(commits).enumerate() {
            let delivery = deliveries.iter().find(|delivery| delivery.task == number + 1);
            let delivery = delivery.ok_or_else(|| {
                Error::Undelivered("a commit record has no delivery report".into())
            })?;
            self.skew.observe(before, delivery.appended, after, at);
            let task = self.tasks.get_mut(&draft.partition).expect("drafts come from tasks");
            task.store.apply(&draft.transition.writes, commit, delivery.offset + 1)?;
            task.txn_seq = commit.txn_seq;
            task.last_now = commit.now;
            task.offsets = draft.offsets;
            task.fresh = false;
            task.torn.clear();
            task.next_timer = draft.transition.next_timer;
            task.timer_floor = draft.transition.timer_floor;
            if draft.globals_applied.is_some() {
                task.globals_applied = draft.globals_applied;
            }
            task.quarantined.retain(|(input, offset), _| task.offsets[*input] <= *offset);
            hold(task, draft.transition.held, &self.lanes, self.shared.stage.inputs())?;
            count(self.shared.names.stage, &draft.transition.counts, &draft.dead);
            task.gauges.set(&draft.transition.gauges);
            for Performed { effect, trace } in draft.transition.effects {
                let sink = EffectSink {
                    partition: task.partition,
                    epoch: task.epoch,
                    trace: trace.clone(),
                    results: self.results_sender.clone(),
                    running: Running::begin(&task.running),
                };
                self.shared.effects.start(effect, Started { granted_at, trace }, sink);
            }
        }
        Ok(())
    }
}

/// Stops or resumes the fetching of what the stage has no room for. A breaker that is open keeps
/// its own topics stopped.
fn hold<S: Stage>(
    task: &mut Task<S>,
    held: BTreeSet<InputClass>,
    lanes: &Lanes,
    inputs: &[InputTopic],
) -> Result<(), Error> {
    for (number, input) in inputs.iter().enumerate() {
        let (was, is) = (task.held.contains(&input.class), held.contains(&input.class));
        if is && !was {
            lanes.pause(number, task.partition)?;
        } else if was && !is && !task.breakers.is_open(|open| open == number) {
            lanes.resume(number, task.partition)?;
        }
    }
    task.held = held;
    Ok(())
}

fn count(stage: &'static str, counts: &Counts, dead: &[DeadRecord]) {
    for ((name, label), value) in counts {
        metrics::counter!(*name, "stage" => stage, "result" => *label).increment(*value);
    }
    for record in dead {
        metrics::counter!("sendplane_dlq_records_total", "stage" => stage,
            "code" => record.fault.code)
        .increment(1);
    }
}

/// The current offset of every input of every dirty task, moved or not: a transaction without
/// offsets would not be fenced by the group. The same as the commit records say, by construction.
fn group_offsets<S: Stage>(
    drafts: &[Draft<S>],
    commits: &[CommitRecord],
) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    for (draft, commit) in drafts.iter().zip(commits) {
        let sequence = commit.txn_seq.to_string();
        for (topic, offset) in &commit.inputs {
            let mut element = list.add_partition(topic, draft.partition);
            element
                .set_offset(Offset::Offset(*offset))
                .map_err(Error::kafka("set a commit offset"))?;
            element.set_metadata(&sequence);
        }
    }
    Ok(list)
}
