//! From drafts to a committed transaction, one request at a time, and what follows from it.

use std::collections::VecDeque;

use sendplane_domain::shard::partition_of;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord};

use super::core::Measured;
use super::hosted::Hosted;
use super::task::Arrived;
use super::turn::{Draft, trace_headers};
use super::{Phase, Process, Runner, Stepped, sabotage};
use crate::env::{Env, Event};
use crate::evidence::CycleSeen;
use crate::fault::{EndFate, Point, ProduceFate};
use crate::log::partition::Entry;
use crate::log::{Offsets, Refused, TRANSACTION_TIMEOUT};
use crate::mutation::Mutation;
use crate::provider;
use crate::time::{Micros, ms, seconds, true_wall};

/// A commit that takes longer may hide a retried EndTxn: the producer is renewed.
const SLOW_COMMIT: Micros = ms(70);
/// When the client sends an unanswered EndTxn again.
const RETRY_BACKOFF: Micros = ms(100);
/// When a client gives an unanswered request up.
const GIVES_UP_AFTER: Micros = seconds(2);
/// When the supervisor starts a process again that has stopped by itself.
const SUPERVISOR: Micros = seconds(5);

/// Where a transaction stands: the next request to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    Outputs,
    Changelog,
    Offsets,
    End,
    /// EndTxn is executed now.
    Execute,
    /// The client learns that it will never know.
    GiveUp,
    Answer,
    Store(usize),
    Effects,
    Done,
}

/// What the process was doing when it began to commit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Back {
    Loop,
    Drain { deadline: Micros, is_last: bool },
}

pub(super) struct Outgoing {
    pub topic: String,
    pub partition: i32,
    pub entry: Entry,
    /// Of which draft it is the commit record.
    pub commit_of: Option<usize>,
}

/// A transaction under way.
pub(crate) struct Committing<S: Hosted> {
    pub(super) drafts: Vec<Draft<S>>,
    consumed: VecDeque<Arrived<S>>,
    commits: Vec<CommitRecord>,
    pub(super) records: VecDeque<Outgoing>,
    /// How many records are still to come when a point is reached.
    pub(super) rest_at: [usize; 2],
    /// Changelog offsets of the commit records.
    pub(super) positions: Vec<i64>,
    step: Step,
    pub(super) back: Back,
    seen: CycleSeen,
    wall: Timestamp,
    appended: Timestamp,
    sent_end_at: Micros,
    known_at: Micros,
}

impl<S: Hosted> Committing<S> {
    pub(super) fn new(mut drafts: Vec<Draft<S>>, seen: CycleSeen, wall: Timestamp) -> Self {
        let now = seen.at;
        let consumed = drafts.iter_mut().flat_map(|draft| draft.consumed.drain(..)).collect();
        Self {
            drafts,
            consumed,
            commits: Vec::new(),
            records: VecDeque::new(),
            rest_at: [0; 2],
            positions: Vec::new(),
            step: Step::Begin,
            back: Back::Loop,
            seen,
            wall,
            appended: wall,
            sent_end_at: now,
            known_at: now,
        }
    }

    /// Whether the next step asks the broker something.
    pub(super) fn needs_broker(&self) -> bool {
        !matches!(self.step, Step::Store(_) | Step::Effects | Step::Done)
    }
}

impl<S: Hosted> Runner<S> {
    pub(super) fn begin_commit(&mut self, env: &mut Env, committing: Committing<S>) -> Stepped<S> {
        let wait = env.latency(0, 2);
        Stepped::Next(Phase::Commit(Box::new(committing)), wait)
    }

    pub(super) fn go_on_committing(
        &mut self,
        env: &mut Env,
        mut one: Box<Committing<S>>,
    ) -> Stepped<S> {
        if let Some(point) = point_before(one.step, one.drafts.len())
            && let Some(passage) = self.pass(env, point)
        {
            return self.interrupted(env, passage, Phase::Commit(one));
        }
        let wait = match one.step {
            Step::Begin => self.begin(env, &mut one),
            Step::Outputs => self.produce(env, &mut one, 1, Step::Changelog),
            Step::Changelog => self.produce(env, &mut one, 2, Step::Offsets),
            Step::Offsets => self.send_offsets(env, &mut one),
            Step::End => self.send_end(env, &mut one),
            Step::Execute => self.execute_end(env, &mut one),
            Step::GiveUp => Err(None),
            Step::Answer => Ok(self.learn_of_commit(env, &mut one)),
            Step::Store(number) => Ok(self.write_store(env, &mut one, number)),
            Step::Effects => Ok(self.start_effects(env, &mut one)),
            Step::Done => return self.back_to_work(env, one.back),
        };
        match wait {
            Ok(wait) => Stepped::Next(Phase::Commit(one), wait),
            Err(refused) => self.doubt(env, *one, refused),
        }
    }

    fn begin(&mut self, env: &mut Env, one: &mut Committing<S>) -> Result<Micros, Option<Refused>> {
        if self.core.is_suspect && !env.has(Mutation::ProducerKept) {
            env.counts.one("producers recycled");
            self.renew_producer(env);
        }
        self.core.began = env.now;
        for draft in &mut one.drafts {
            sabotage::lose_rows(env.mutation, self.core.stage, &mut draft.transition.writes);
        }
        self.lay_out(env, one);
        if env.has(Mutation::EffectsBeforeCommit) {
            self.start_effects(env, one);
        }
        if env.has(Mutation::StateBeforeOutputs) {
            self.commit_state_alone(env, one)?;
        }
        self.produce(env, one, 0, Step::Outputs)
    }

    /// Turns the drafts into records, in the runtime's order.
    fn lay_out(&mut self, env: &Env, one: &mut Committing<S>) {
        let timestamp = self.core.wall(env.now);
        let mut cuts = [0; 2];
        for (number, draft) in one.drafts.iter().enumerate() {
            let task = &self.tasks[&draft.partition];
            let before = one.records.len();
            for (encoded, trace) in &draft.outputs {
                let partition =
                    partition_of(encoded.partition_key.as_bytes(), env.shape.partitions);
                let mut headers = trace_headers(trace);
                let own = encoded.headers.iter();
                headers.extend(own.map(|(k, v)| (k.clone(), Some(v.clone().into_bytes()))));
                let key = Some(encoded.key.clone().into_bytes());
                let value = Some(encoded.value.clone());
                let entry = Entry { key, value, headers, timestamp };
                let topic = encoded.topic.to_owned();
                one.records.push_back(Outgoing { topic, partition, entry, commit_of: None });
            }
            for (record, fault) in &draft.dead {
                let mut entry = (*record.entry).clone();
                let source = self.stage.inputs()[record.input].topic;
                for (name, value) in [
                    ("__dlq.errors.topic", source.to_owned()),
                    ("__dlq.errors.partition", draft.partition.to_string()),
                    ("__dlq.errors.offset", record.offset.to_string()),
                    ("sendplane.error.code", fault.code.to_owned()),
                ] {
                    entry.headers.push((name.to_owned(), Some(value.into_bytes())));
                }
                let (topic, partition) = (self.core.dead_letters.clone(), draft.partition);
                one.records.push_back(Outgoing { topic, partition, entry, commit_of: None });
            }
            let outputs = one.records.len() - before;
            if number == 0 {
                cuts[0] = before + outputs / 2;
            }
            cuts[1] = one.records.len() + draft.transition.writes.len() / 2;
            let inputs = self.stage.inputs().iter().map(|input| input.topic.to_owned());
            let commit = CommitRecord {
                txn_seq: task.txn_seq + 1,
                inputs: inputs.zip(draft.offsets.iter().copied()).collect(),
                records: draft.transition.writes.len() as u32,
                now: draft.transition.now,
                partitions: env.shape.partitions,
            };
            let end = (COMMIT_KEY.to_vec(), Some(commit.encode()));
            let writes = draft.transition.writes.clone().into_iter().chain([end]);
            for (key, value) in writes {
                let commit_of = (key == COMMIT_KEY).then_some(number);
                let entry = Entry { key: Some(key), value, headers: Vec::new(), timestamp };
                let (topic, partition) = (self.core.changelog.clone(), draft.partition);
                one.records.push_back(Outgoing { topic, partition, entry, commit_of });
            }
            one.commits.push(commit);
        }
        let total = one.records.len();
        one.rest_at = cuts.map(|cut| total - cut);
        one.positions = vec![0; one.drafts.len()];
    }

    /// Produces up to the next point.
    fn produce(
        &mut self,
        env: &mut Env,
        one: &mut Committing<S>,
        part: usize,
        next: Step,
    ) -> Result<Micros, Option<Refused>> {
        let session = self.core.session.clone().ok_or(None)?;
        let rest = one.rest_at.get(part).copied().unwrap_or(0);
        while one.records.len() > rest {
            let Some(record) = one.records.pop_front() else { break };
            let Outgoing { topic, partition, entry, commit_of } = record;
            let offset = env.log.produce(&session, &topic, partition, entry, env.now)?;
            if let Some(number) = commit_of {
                one.positions[number] = offset;
                one.appended = true_wall(env.now);
            }
        }
        if let Some(number) = env.log.current(&session) {
            env.seen.cycles.entry(number).or_insert_with(|| one.seen.clone());
        }
        one.step = next;
        if part == 1
            && let Some(late) = self.core.late_end.take()
        {
            env.after(0, Event::LateEnd(late));
        }
        match env.produce_fate(&self.core) {
            None => Ok(env.latency(0, 3)),
            Some(ProduceFate::Slow(wait)) => Ok(wait),
            Some(ProduceFate::AnswerLost) => {
                env.counts.one("produce answers lost");
                one.step = Step::GiveUp;
                Ok(GIVES_UP_AFTER)
            }
        }
    }

    fn send_offsets(
        &mut self,
        env: &mut Env,
        one: &mut Committing<S>,
    ) -> Result<Micros, Option<Refused>> {
        if env.has(Mutation::StoreBeforeCommit) {
            for number in 0..one.drafts.len() {
                self.write_rows(one, number);
            }
        }
        let session = self.core.session.clone().ok_or(None)?;
        let offsets = group_offsets(env.mutation, one);
        let (group, member) = (self.core.group.clone(), self.core.member);
        env.log.send_offsets(&session, &group, member, offsets, env.now)?;
        one.step = Step::End;
        Ok(env.latency(0, 3))
    }

    fn send_end(
        &mut self,
        env: &mut Env,
        one: &mut Committing<S>,
    ) -> Result<Micros, Option<Refused>> {
        one.sent_end_at = env.now;
        let session = self.core.session.clone().ok_or(None)?;
        one.step = Step::Execute;
        let Some(fate) = env.end_fate(&self.core) else { return Ok(env.latency(0, 2)) };
        env.tell(&self.core, None, || format!("EndTxn: {fate:?}"));
        match fate {
            EndFate::Slow(wait) => Ok(wait),
            EndFate::Late(wait) => {
                env.counts.one("EndTxn late");
                env.after(RETRY_BACKOFF + wait, Event::LateEnd(session));
                Ok(RETRY_BACKOFF)
            }
            EndFate::LateIntoNext => {
                env.counts.one("EndTxn late");
                self.core.late_end = Some(session);
                Ok(RETRY_BACKOFF)
            }
            EndFate::LostExecuted => {
                env.counts.one("EndTxn answers lost, executed");
                env.log.end(&session, env.now)?;
                one.step = Step::GiveUp;
                Ok(GIVES_UP_AFTER)
            }
            EndFate::LostUnexecuted => {
                env.counts.one("EndTxn answers lost, not executed");
                one.step = Step::GiveUp;
                Ok(GIVES_UP_AFTER)
            }
            EndFate::AfterGivingUp(wait) => {
                env.counts.one("EndTxn late");
                env.after(GIVES_UP_AFTER + wait, Event::LateEnd(session));
                one.step = Step::GiveUp;
                Ok(GIVES_UP_AFTER)
            }
        }
    }

    fn execute_end(
        &mut self,
        env: &mut Env,
        one: &mut Committing<S>,
    ) -> Result<Micros, Option<Refused>> {
        let session = self.core.session.clone().ok_or(None)?;
        env.log.end(&session, env.now)?;
        one.step = Step::Answer;
        Ok(env.latency(0, 3))
    }

    fn learn_of_commit(&mut self, env: &mut Env, one: &mut Committing<S>) -> Micros {
        one.known_at = env.now;
        if env.now - one.sent_end_at > SLOW_COMMIT {
            self.core.is_suspect = true;
        }
        env.counts.one("commits");
        self.core.failures = 0;
        let (before, appended, after) = (one.wall, one.appended, self.core.wall(env.now));
        let skew_ms = if appended < before {
            before.as_millis() - appended.as_millis()
        } else if appended > after {
            after.as_millis() - appended.as_millis()
        } else {
            0
        };
        self.core.measured = Some(Measured { skew_ms, wall: after, at: env.now });
        one.step = Step::Store(0);
        0
    }

    fn write_store(&mut self, env: &mut Env, one: &mut Committing<S>, number: usize) -> Micros {
        self.write_rows(one, number);
        let draft = &mut one.drafts[number];
        let commit = &one.commits[number];
        let (partition, seq) = (draft.partition, commit.txn_seq);
        let outputs = draft.outputs.len();
        env.tell(&self.core, Some(partition), || {
            format!("transaction {seq} committed, {outputs} outputs, inputs {:?}", commit.inputs)
        });
        let task = self.tasks.get_mut(&partition).expect("drafts come from tasks");
        task.txn_seq = commit.txn_seq;
        task.last_now = commit.now;
        task.offsets.clone_from(&draft.offsets);
        task.fresh = false;
        task.torn.clear();
        task.next_timer = draft.transition.next_timer;
        task.timer_floor = draft.transition.timer_floor;
        if draft.globals_applied.is_some() {
            task.globals_applied = draft.globals_applied.take();
        }
        one.step =
            if number + 1 < one.drafts.len() { Step::Store(number + 1) } else { Step::Effects };
        0
    }

    fn write_rows(&mut self, one: &Committing<S>, number: usize) {
        let draft = &one.drafts[number];
        let mut writes: Vec<_> = draft.transition.writes.clone().into_iter().collect();
        writes.push((COMMIT_KEY.to_vec(), Some(one.commits[number].encode())));
        let disk = self.disks.entry(draft.partition).or_default();
        disk.write(writes, one.positions[number] + 1);
    }

    fn start_effects(&mut self, env: &mut Env, one: &mut Committing<S>) -> Micros {
        one.step = Step::Done;
        for draft in &mut one.drafts {
            for performed in draft.transition.effects.drain(..) {
                let Some(call) = S::call_of(performed.effect) else { continue };
                let task = &self.tasks[&draft.partition];
                // What is promised counts from the commit itself, which nobody here saw happen;
                // the cycle began before it.
                let is_late = env.has(Mutation::StartCountedFromAnswer);
                let counted_from = if is_late { one.known_at } else { one.seen.at };
                let started = provider::Started {
                    partition: task.partition,
                    epoch: task.epoch,
                    running: task.running.clone(),
                    counted_from,
                };
                provider::start(env, &self.core, started, call);
            }
        }
        0
    }

    fn back_to_work(&mut self, env: &mut Env, back: Back) -> Stepped<S> {
        let wait = env.latency(0, 1);
        match back {
            Back::Loop => Stepped::Next(Phase::Loop, wait),
            Back::Drain { deadline, is_last } => {
                Stepped::Next(Phase::Drain { deadline, is_last }, wait)
            }
        }
    }

    /// The transaction may or may not be committed, or was refused.
    fn doubt(
        &mut self,
        env: &mut Env,
        mut one: Committing<S>,
        refused: Option<Refused>,
    ) -> Stepped<S> {
        env.tell(&self.core, None, || format!("does not know its transaction: {refused:?}"));
        match refused {
            None => env.counts.one("doubts of a transaction"),
            Some(_) => env.counts.one("commits fenced"),
        }
        // What the outside answered is known only here; the stage takes it twice if need be.
        while let Some(arrived) = one.consumed.pop_back() {
            if let Some(task) = self.tasks.get_mut(&arrived.partition) {
                env.counts.one("results given again");
                task.results.push_front(arrived);
            }
        }
        let slept = env.now - self.core.began >= TRANSACTION_TIMEOUT * 9 / 10;
        self.core.kept = self.core.session.take();
        match one.back {
            Back::Drain { deadline, is_last } => {
                Stepped::Next(Phase::Drain { deadline, is_last }, ms(1))
            }
            Back::Loop if refused == Some(Refused::Fenced) && !slept => {
                self.give_up(env, "its transactional id was taken over".to_owned())
            }
            Back::Loop => self.rebuild(),
        }
    }

    /// Sleeps a little, then restores what it owns behind a new producer.
    pub(super) fn rebuild(&mut self) -> Stepped<S> {
        self.core.failures += 1;
        let wait = ms(50) * i64::from(self.core.failures.min(20));
        Stepped::Next(Phase::Recover, wait)
    }

    /// Ends by itself: a person has to look. The supervisor starts it again.
    pub(super) fn give_up(&mut self, env: &mut Env, why: String) -> Stepped<S> {
        env.tell(&self.core, None, || format!("stops: {why}"));
        env.seen.stopped.push((self.core.name.clone(), why));
        self.crash(env, false, SUPERVISOR);
        Stepped::Ended
    }
}

/// The current offset of every input of every dirty task, moved or not.
pub(super) fn group_offsets<S: Hosted>(mutation: Option<Mutation>, one: &Committing<S>) -> Offsets {
    let mut offsets = Offsets::new();
    if mutation == Some(Mutation::OffsetsNotSent) {
        return offsets;
    }
    for (draft, commit) in one.drafts.iter().zip(&one.commits) {
        if mutation == Some(Mutation::TimerWithoutOffsets) && !draft.has_records {
            continue;
        }
        for (topic, offset) in &commit.inputs {
            let at = (topic.clone(), draft.partition);
            offsets.insert(at, (*offset, commit.txn_seq.to_string()));
        }
    }
    offsets
}

fn point_before(step: Step, drafts: usize) -> Option<Point> {
    Some(match step {
        Step::Begin => Point::BeforeBegin,
        Step::Outputs => Point::AmongOutputs,
        Step::Changelog => Point::AmongChangelog,
        Step::Offsets => Point::BeforeOffsets,
        Step::End => Point::BeforeEndTxn,
        Step::Answer => Point::BeforeEndTxnAnswer,
        Step::Store(0) => Point::BeforeStore,
        Step::Store(1) if drafts > 1 => Point::AmongStores,
        Step::Effects => Point::BeforeEffects,
        Step::Done => Point::AfterEffects,
        Step::Store(_) | Step::Execute | Step::GiveUp => return None,
    })
}
