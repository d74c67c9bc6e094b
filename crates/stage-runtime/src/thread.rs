//! The loop of one stage thread.
//!
//! ```text
//! poll group ─▶ fetch ─▶ apply to overlays ─▶ produce ─▶ drain ─▶ offsets ─▶ commit
//!      ▲                                                                      │
//!      └── start effects ◀── one RocksDB batch per task ◀─────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord};
use sendplane_stage_api::{Codec, InputClass, Performed, Stage};

use crate::assignment;
use crate::batch::{self, Budget, Draft, Hold, Surroundings, Turn};
use crate::client::{self, CommitDelivery, MemberContext, Rebalance};
use crate::clock::{self, Deadline, SkewGauge, monotonic};
use crate::config::{Names, RuntimeConfig};
use crate::dead_letter;
use crate::effect::{Arrived, EffectSink, Effects, Running, Started};
use crate::error::{Error, Recovery};
use crate::globals::GlobalTables;
use crate::health::Health;
use crate::lanes::Lanes;
use crate::restore::{self, Clients};
use crate::store::Stores;
use crate::task::Task;
use crate::transaction::{CommitTimes, Outgoing, TransactionalProducer};

/// Records of one class kept between fetching and applying; beyond it no more are fetched.
const QUEUED_MAX: usize = 2_000;
const IDLE_WAIT: Duration = Duration::from_millis(5);
/// Without a commit for this long while there is work, the process is not ready.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// A task that neither reads nor fires still measures the clock this often while it is skewed.
const SKEW_PROBE: Duration = Duration::from_secs(1);

/// What the threads of a process share.
pub(crate) struct Shared<S: Stage> {
    pub stage: Arc<S>,
    pub codec: Arc<dyn Codec<S>>,
    pub effects: Effects<S>,
    pub config: RuntimeConfig,
    pub names: Names,
    pub stores: Stores,
    pub globals: GlobalTables<S::Globals>,
    pub health: Health,
    pub partitions: u32,
    pub stop: AtomicBool,
    pub watchdog: crate::runtime::Watchdog,
    /// How often a doubt was recovered from.
    pub recoveries: AtomicU64,
}

pub(crate) struct StageThread<S: Stage> {
    shared: Arc<Shared<S>>,
    index: usize,
    member: BaseConsumer<MemberContext>,
    probe: BaseConsumer,
    lanes: Lanes,
    producer: Option<TransactionalProducer>,
    tasks: BTreeMap<i32, Task<S>>,
    results: mpsc::Receiver<Arrived<S>>,
    results_sender: mpsc::Sender<Arrived<S>>,
    epoch: u64,
    skew: SkewGauge,
    skew_probe: Deadline,
    began: std::time::Instant,
    last_progress: std::time::Instant,
    failures: u32,
    turns: usize,
    /// Partitions the group has given us, restored or not.
    owned: BTreeSet<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Everything.
    Normal,
    /// Only results of running effects; nothing new is started.
    Draining,
}

impl<S: Stage> StageThread<S> {
    pub fn new(shared: Arc<Shared<S>>, index: usize) -> Result<Self, Error> {
        let config = &shared.config;
        let member: BaseConsumer<MemberContext> = client::member(config, &shared.names)
            .create_with_context(MemberContext::default())
            .map_err(Error::kafka("create group member"))?;
        let probe = client::probe(config).create().map_err(Error::kafka("create probe"))?;
        let lanes = Lanes::new(config, shared.stage.inputs())?;
        let (results_sender, results) = mpsc::channel();
        let now = monotonic();
        Ok(Self {
            shared,
            index,
            member,
            probe,
            lanes,
            producer: None,
            tasks: BTreeMap::new(),
            results,
            results_sender,
            epoch: 0,
            skew: SkewGauge::default(),
            skew_probe: Deadline::after(SKEW_PROBE),
            began: now,
            last_progress: now,
            failures: 0,
            turns: 0,
            owned: BTreeSet::new(),
        })
    }

    /// Runs until told to stop or until an error that a person has to see.
    pub fn run(mut self) -> Result<(), Error> {
        let result = self.work();
        self.close(&result);
        result
    }

    fn work(&mut self) -> Result<(), Error> {
        let topics: Vec<&str> =
            self.shared.stage.inputs().iter().map(|input| input.topic).collect();
        while !self.shared.globals.is_complete() {
            if self.stopping() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.renew_producer()?;
        self.member.subscribe(&topics).map_err(Error::kafka("subscribe"))?;
        self.shared.health.obstruct(self.obstacle("assignment"), "joining the group");
        while !self.stopping() {
            let step = self.answer_rebalances().and_then(|()| self.cycle(Mode::Normal));
            match step {
                Ok(true) => self.note_progress(),
                Ok(false) => self.idle()?,
                Err(error) => self.recover(error)?,
            }
            self.watch_progress();
        }
        tracing::info!(stage = self.shared.names.stage, "draining");
        self.drain();
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn obstacle(&self, subject: &str) -> String {
        format!("{}-{}-{subject}", self.shared.names.stage, self.index)
    }

    // ---- membership ----------------------------------------------------------------------------

    fn answer_rebalances(&mut self) -> Result<(), Error> {
        assignment::serve(&self.member);
        for rebalance in self.member.context().take() {
            match rebalance {
                Rebalance::Assigned(assigned) => self.on_assigned(&assigned)?,
                Rebalance::Revoked => self.on_revoked()?,
            }
        }
        Ok(())
    }

    fn on_assigned(&mut self, assigned: &[(String, i32)]) -> Result<(), Error> {
        metrics::counter!("sendplane_rebalances_total", "stage" => self.shared.names.stage)
            .increment(1);
        let partitions = assignment::tasks_of(assigned, self.shared.stage.inputs())?;
        tracing::info!(stage = self.shared.names.stage, ?partitions, "assigned");
        assignment::accept(&self.member)?;
        self.epoch += 1;
        self.owned = partitions;
        self.shared.health.clear(&self.obstacle("assignment"));
        self.restore_owned()
    }

    fn on_revoked(&mut self) -> Result<(), Error> {
        let lost = self.member.assignment_lost();
        tracing::info!(stage = self.shared.names.stage, lost, "revoked");
        if lost {
            // Somebody else may own them already: whatever is uncommitted is theirs to redo.
            self.producer = None;
        } else {
            self.drain();
        }
        self.tasks.clear();
        self.owned.clear();
        self.shared.health.obstruct(self.obstacle("assignment"), "waiting for partitions");
        self.lanes.assign(&[])?;
        assignment::release(&self.member)
    }

    /// Waits for running effects, commits their results, starts nothing new.
    fn drain(&mut self) {
        let deadline = Deadline::after(self.shared.config.settle_max);
        loop {
            let running: usize = self.tasks.values().map(Task::running_effects).sum();
            match self.cycle(Mode::Draining) {
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not commit while draining; the next owner redoes it");
                    self.producer = None;
                    return;
                }
            }
            if running == 0 || deadline.passed() {
                if running > 0 {
                    tracing::warn!(running, "effects outlast the drain limit; they are in doubt");
                }
                return;
            }
            assignment::serve(&self.member);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Restores every owned partition: from an empty disk the whole changelog, from a kept one its
    /// tail. Effects that run go on; their results stay valid as long as the ownership lasts.
    fn restore_owned(&mut self) -> Result<(), Error> {
        let mut kept: BTreeMap<i32, Kept<S>> = BTreeMap::new();
        let mut stores = Vec::new();
        let mut tasks = std::mem::take(&mut self.tasks);
        for partition in &self.owned {
            let store = match tasks.remove(partition) {
                Some(task) => {
                    kept.insert(*partition, (task.results, task.running));
                    task.store
                }
                None => self.shared.stores.open(*partition)?,
            };
            stores.push((*partition, store));
        }
        drop(tasks);
        self.restore_into_tasks(stores)?;
        for (partition, (results, running)) in kept {
            if let Some(task) = self.tasks.get_mut(&partition) {
                (task.results, task.running) = (results, running);
            }
        }
        Ok(())
    }

    fn restore_into_tasks(&mut self, stores: Vec<(i32, crate::store::Store)>) -> Result<(), Error> {
        let shared = self.shared.clone();
        let obstacle = self.obstacle("restore");
        shared.health.obstruct(obstacle.clone(), format!("restoring {} tasks", stores.len()));
        let started = monotonic();
        let member = &self.member;
        let clients = Clients {
            config: &shared.config,
            names: &shared.names,
            member,
            probe: &self.probe,
            inputs: shared.stage.inputs(),
            partitions: shared.partitions,
        };
        let restored = restore::restore(&clients, stores, &mut || {
            assignment::serve(member);
            // A revocation while we restore makes the restore pointless.
            !member.context().pending_revocation() && !shared.stop.load(Ordering::Relaxed)
        })?;
        let Some(restored) = restored else {
            tracing::info!("restore was interrupted");
            return Ok(());
        };
        for one in restored {
            tracing::info!(
                partition = one.partition,
                txn_seq = one.last.as_ref().map_or(0, |last| last.txn_seq),
                "restored"
            );
            let task = assignment::open_task(&clients, one, self.epoch)?;
            self.tasks.insert(task.partition, task);
        }
        metrics::histogram!("sendplane_restore_seconds", "stage" => shared.names.stage)
            .record((monotonic() - started).as_secs_f64());
        shared.health.clear(&obstacle);
        self.read_from_offsets()
    }

    /// Points the readers at the tasks' offsets and forgets what was fetched beyond them.
    fn read_from_offsets(&mut self) -> Result<(), Error> {
        let mut positions = Vec::new();
        for task in self.tasks.values_mut() {
            task.queues.clear();
            for (input, offset) in task.offsets.iter().enumerate() {
                positions.push((input, task.partition, *offset));
            }
        }
        self.lanes.assign(&positions)
    }

    // ---- failures ------------------------------------------------------------------------------

    fn recover(&mut self, error: Error) -> Result<(), Error> {
        let mut error = error;
        loop {
            let recovery = self.recovery_of(&error);
            metrics::counter!("sendplane_recoveries_total", "stage" => self.shared.names.stage,
                "recovery" => format!("{recovery:?}").to_lowercase())
            .increment(1);
            if recovery == Recovery::Stop {
                return Err(error);
            }
            self.failures += 1;
            self.shared.recoveries.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, ?recovery, failures = self.failures, "rebuilding");
            // Queued rebalances are answered before anything is rebuilt: after a freeze the first
            // thing to learn is that the partitions have gone.
            self.producer = None;
            std::thread::sleep(Duration::from_millis(50 * u64::from(self.failures.min(20))));
            if self.stopping() {
                return Ok(());
            }
            match self.answer_rebalances().and_then(|()| self.rebuild()) {
                Ok(()) => return Ok(()),
                Err(next) => error = next,
            }
            self.watch_progress();
        }
    }

    /// An open transaction that outlived its timeout is ended by the broker, which librdkafka
    /// reports like a take-over. A thread that slept that long is not fenced by anybody.
    fn recovery_of(&self, error: &Error) -> Recovery {
        let slept = self.began.elapsed() >= self.shared.config.transaction_timeout.mul_f32(0.9);
        match error {
            Error::Fenced { .. } if slept => Recovery::Rebuild,
            _ => error.recovery(),
        }
    }

    /// A new producer first (its epoch fences whatever is late), then the changelogs' tails.
    fn rebuild(&mut self) -> Result<(), Error> {
        self.renew_producer()?;
        self.restore_owned()
    }

    fn renew_producer(&mut self) -> Result<(), Error> {
        self.producer = None;
        let config = &self.shared.config;
        let id = self.shared.names.transactional_id(&config.instance_id, self.index);
        self.began = monotonic();
        self.producer = Some(TransactionalProducer::create(config, &id)?);
        Ok(())
    }

    fn note_progress(&mut self) {
        self.last_progress = monotonic();
        self.failures = 0;
    }

    fn watch_progress(&mut self) {
        let idle = self.tasks.values().all(|task| task.queued() == 0) && self.failures == 0;
        if idle {
            self.last_progress = monotonic();
        }
        let obstacle = self.obstacle("progress");
        if self.last_progress.elapsed() > STALLED_AFTER {
            self.shared.health.obstruct(obstacle, "nothing was committed for 5 s");
        } else {
            self.shared.health.clear(&obstacle);
        }
    }

    fn idle(&mut self) -> Result<(), Error> {
        let tasks = &mut self.tasks;
        let wait = self.lanes.wait(IDLE_WAIT, &mut |class, record| {
            if let Some(task) = tasks.get_mut(&record.partition) {
                task.queues.entry(class).or_default().push_back(record);
            }
        });
        wait.or_else(|error| self.recover(error))
    }

    fn close(&mut self, result: &Result<(), Error>) {
        if let Err(error) = result {
            self.shared.health.obstruct(self.obstacle("stopped"), error.to_string());
        }
        self.tasks.clear();
        self.producer = None;
        self.member.context().close();
        // Leaving at once spares the group the session timeout.
        self.member.unsubscribe();
        let _ = self.member.unassign();
    }

    // ---- the cycle -----------------------------------------------------------------------------

    /// One group commit. False when there was nothing to do.
    fn cycle(&mut self, mode: Mode) -> Result<bool, Error> {
        if self.tasks.is_empty() {
            return Ok(false);
        }
        self.collect_results();
        if mode == Mode::Normal {
            self.fetch()?;
        }
        let started = monotonic();
        let mut drafts = self.take_turns(mode)?;
        if drafts.is_empty() {
            return Ok(false);
        }
        let consumed: Vec<Arrived<S>> =
            drafts.iter_mut().flat_map(|draft| draft.consumed.drain(..)).collect();
        let result = self.commit(drafts, started);
        if result.is_err() {
            // What the outside answered is known only here; the stage takes it twice if need be.
            for arrived in consumed.into_iter().rev() {
                if let Some(task) = self.tasks.get_mut(&arrived.partition) {
                    task.results.push_front(arrived);
                }
            }
        }
        result.map(|()| true)
    }

    fn collect_results(&mut self) {
        while let Ok(arrived) = self.results.try_recv() {
            match self.tasks.get_mut(&arrived.partition) {
                Some(task) if task.epoch == arrived.epoch => task.results.push_back(arrived),
                // The timer that watches the intent settles it with whoever owns the task now.
                _ => {
                    metrics::counter!("sendplane_effect_results_orphaned_total").increment(1);
                }
            }
        }
    }

    fn fetch(&mut self) -> Result<(), Error> {
        let queued: BTreeMap<InputClass, usize> = InputClass::ALL
            .into_iter()
            .map(|class| (class, self.tasks.values().map(|task| task.queued_of(class)).sum()))
            .collect();
        let room = |class| QUEUED_MAX.saturating_sub(queued[&class]);
        let tasks = &mut self.tasks;
        self.lanes.fetch(self.shared.config.batch.inputs_max, &room, &mut |class, record| {
            if let Some(task) = tasks.get_mut(&record.partition) {
                task.queues.entry(class).or_default().push_back(record);
            }
        })?;
        for task in self.tasks.values_mut() {
            let lanes = &self.lanes;
            let partition = task.partition;
            let offsets = &task.offsets;
            task.feedback_marks.retain(|(input, mark)| {
                let position = lanes.position(*input, partition).unwrap_or(offsets[*input]);
                position < *mark
            });
        }
        Ok(())
    }

    fn take_turns(&mut self, mode: Mode) -> Result<Vec<Draft<S>>, Error> {
        let shared = self.shared.clone();
        let view = shared.globals.view();
        let skewed = self.skew.excess();
        self.report_skew(skewed);
        let measure = skewed.is_some() && self.skew_probe.passed();
        if measure {
            self.skew_probe = Deadline::after(SKEW_PROBE);
        }
        let env = Surroundings {
            stage: &*shared.stage,
            codec: &*shared.codec,
            quarantine: &shared.config.quarantine,
            view: &view,
            wall: clock::wall(),
            partitions: shared.partitions,
            may_perform: mode == Mode::Normal && skewed.is_none(),
            take_records: mode == Mode::Normal && skewed.is_none(),
        };
        let mut budget = Budget::new(&shared.config.batch);
        let mut drafts = Vec::new();
        let mut catch_up = false;
        for partition in self.turn_order() {
            let Some(task) = self.tasks.get_mut(&partition) else {
                continue;
            };
            if budget.exhausted() {
                break;
            }
            if task.blocked_until.is_some_and(|until| monotonic() < until) {
                continue;
            }
            if measure {
                task.fresh = true;
            }
            if mode == Mode::Draining {
                // A timer may ask to perform; the next owner fires it.
                task.next_timer = None;
            }
            let Turn { draft, hold } = batch::take_turn(&env, task, &mut budget)?;
            drafts.extend(draft);
            match hold {
                None => shared.health.clear("schema-registry"),
                Some(Hold::Globals) => catch_up = true,
                Some(Hold::Schema(reason)) => {
                    shared.health.obstruct("schema-registry", reason);
                    task.blocked_until = Some(monotonic() + Duration::from_millis(500));
                }
            }
        }
        if catch_up {
            self.catch_up_globals();
        }
        Ok(drafts)
    }

    /// The tasks in order, another one first in every cycle: a full queue must not starve the rest.
    fn turn_order(&mut self) -> Vec<i32> {
        let mut order: Vec<i32> = self.tasks.keys().copied().collect();
        self.turns = self.turns.wrapping_add(1);
        let first = self.turns % order.len().max(1);
        order.rotate_left(first);
        order
    }

    fn report_skew(&self, skewed: Option<Duration>) {
        let obstacle = self.obstacle("clock");
        match skewed {
            Some(skew) => self.shared.health.obstruct(
                obstacle,
                format!("the clock differs from the broker's by {} ms", skew.as_millis()),
            ),
            None => self.shared.health.clear(&obstacle),
        }
    }

    /// An unknown tenant is refused only after the tables have caught up with this moment.
    fn catch_up_globals(&mut self) {
        let queued_now = |task: &mut Task<S>| {
            for record in task.queues.values_mut().flatten() {
                record.globals_current = true;
            }
        };
        if self.shared.globals.catch_up(Duration::from_secs(2)) {
            self.tasks.values_mut().for_each(queued_now);
            self.shared.health.clear("global-tables-lag");
        } else {
            self.shared.health.obstruct("global-tables-lag", "their end cannot be reached");
        }
    }

    fn commit(&mut self, drafts: Vec<Draft<S>>, started: std::time::Instant) -> Result<(), Error> {
        if let Some(producer) = &mut self.producer
            && let Some(reason) = producer.suspect()
        {
            metrics::counter!("sendplane_producers_recycled_total",
                "stage" => self.shared.names.stage, "reason" => reason)
            .increment(1);
            self.producer = None;
        }
        if self.producer.is_none() {
            self.renew_producer()?;
        }
        let _watched = self.shared.watchdog.arm();
        let before = clock::wall();
        self.began = monotonic();
        let records = self.produce(&drafts)?;
        let offsets = self.offsets(&drafts)?;
        let group = self.member.group_metadata().ok_or_else(|| {
            Error::Unsafe("the consumer has no group metadata: group.id is missing".into())
        })?;
        let producer = self.producer.as_mut().expect("created above");
        let (times, deliveries) = producer.commit(&offsets, &group)?;
        let committed_at = monotonic();
        self.observe_commit(&drafts, times, committed_at - started);
        self.apply(drafts, &records, &deliveries, before, committed_at)
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
                let partition = sendplane_domain::shard::partition_of(
                    encoded.partition_key.as_bytes(),
                    shared.partitions,
                );
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
                producer.send(&Outgoing {
                    topic: &shared.names.dead_letters,
                    partition: draft.partition,
                    key: dead.record.key.as_deref(),
                    value: dead.record.value.as_deref(),
                    headers: &dead_letter::headers(&dead.record, topic, &dead.fault, &shared.names),
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

    /// The current offset of every input of every dirty task, moved or not: a transaction without
    /// offsets would not be fenced by the group.
    fn offsets(&self, drafts: &[Draft<S>]) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::new();
        for draft in drafts {
            let sequence = (self.tasks[&draft.partition].txn_seq + 1).to_string();
            for (input, offset) in self.shared.stage.inputs().iter().zip(&draft.offsets) {
                let mut element = list.add_partition(input.topic, draft.partition);
                element
                    .set_offset(Offset::Offset(*offset))
                    .map_err(Error::kafka("set a commit offset"))?;
                element.set_metadata(&sequence);
            }
        }
        Ok(list)
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
        let now = clock::wall();
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
        committed_at: std::time::Instant,
    ) -> Result<(), Error> {
        let after = clock::wall();
        for (number, (draft, commit)) in drafts.into_iter().zip(commits).enumerate() {
            let delivery = deliveries.iter().find(|delivery| delivery.task == number + 1);
            let delivery = delivery.ok_or_else(|| {
                Error::Undelivered("a commit record has no delivery report".into())
            })?;
            if let Some(appended) = delivery.appended {
                self.skew.observe(before, appended, after);
            }
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
            count(self.shared.names.stage, &draft.transition.counts, &draft.dead);
            for Performed { effect, trace } in draft.transition.effects {
                let sink = EffectSink {
                    partition: task.partition,
                    epoch: task.epoch,
                    trace: trace.clone(),
                    results: self.results_sender.clone(),
                    running: Running::begin(&task.running),
                };
                self.shared.effects.start(effect, Started { committed_at, trace }, sink);
            }
        }
        Ok(())
    }
}

type Kept<S> = (std::collections::VecDeque<Arrived<S>>, Arc<std::sync::atomic::AtomicUsize>);

fn count(
    stage: &'static str,
    counts: &sendplane_stage_api::cycle::Counts,
    dead: &[batch::DeadRecord],
) {
    for ((name, label), value) in counts {
        metrics::counter!(*name, "stage" => stage, "result" => *label).increment(*value);
    }
    for record in dead {
        metrics::counter!("sendplane_dlq_records_total", "stage" => stage,
            "code" => record.fault.code)
        .increment(1);
    }
}
