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
use sendplane_domain::limits::CLOCK_SKEW_MAX;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::portion::{Portion, Portions};
use sendplane_stage_api::slots::Slots;
use sendplane_stage_api::{Codec, InputClass, Stage};

use crate::assignment;
use crate::batch::{self, Draft, Hold, Surroundings, Turn};
use crate::breaker;
use crate::budget::Budget;
use crate::client::{self, MemberContext};
use crate::clock::{self, Deadline, SkewGauge, Trust, monotonic, uptime};
use crate::config::{Names, RuntimeConfig};
use crate::effect::{Arrived, Effects};
use crate::error::{Error, Recovery};
use crate::globals::GlobalTables;
use crate::health::Health;
use crate::lanes::{Fetched, Lanes};
use crate::store::Stores;
use crate::task::Task;
use crate::transaction::TransactionalProducer;

/// Records of one class kept between fetching and applying; beyond it no more are fetched.
const QUEUED_MAX: usize = 1_000;
const IDLE_WAIT: Duration = Duration::from_millis(5);
/// How long closing the clients may take.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// Without a commit for this long while there is work, the process is not ready.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// This long after a recovery, records that wait have been fetched again.
const RECOVERY_SETTLES: Duration = Duration::from_secs(2);
/// A clock that cannot be acted on is compared with the broker's this often.
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
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) index: usize,
    pub(crate) member: BaseConsumer<MemberContext>,
    pub(crate) probe: BaseConsumer,
    pub(crate) lanes: Lanes,
    /// `None` is doubt: what the last transaction came to is not known, and no task commits before
    /// it was restored behind a new producer.
    pub(crate) producer: Option<TransactionalProducer>,
    pub(crate) tasks: BTreeMap<i32, Task<S>>,
    pub(crate) results: mpsc::Receiver<Arrived<S>>,
    pub(crate) results_sender: mpsc::Sender<Arrived<S>>,
    pub(crate) epoch: u64,
    pub(crate) skew: SkewGauge,
    pub(crate) skew_probe: Deadline,
    pub(crate) began: std::time::Instant,
    pub(crate) last_progress: std::time::Instant,
    pub(crate) failures: u32,
    pub(crate) recovered_at: std::time::Instant,
    pub(crate) turns: usize,
    /// Who of the tasks may start how many effects.
    pub(crate) slots: Slots,
    /// What each cycle takes.
    pub(crate) portions: Portions,
    /// Partitions the group has given us, restored or not.
    pub(crate) owned: BTreeSet<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
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
        let thread = Self {
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
            skew_probe: Deadline::after(Duration::ZERO),
            began: now,
            last_progress: now,
            failures: 0,
            recovered_at: now,
            turns: 0,
            slots: Slots::default(),
            portions: Portions::default(),
            owned: BTreeSet::new(),
        };
        // Before the host hears of this thread: it must not look ready for want of obstacles.
        thread.shared.health.obstruct(thread.obstacle("assignment"), "joining the group");
        Ok(thread)
    }

    /// Runs until told to stop or until an error that a person has to see.
    pub fn run(mut self) -> Result<(), Error> {
        let result = self.work();
        self.close(&result);
        self.release();
        result
    }

    /// Drops the clients, which leave the group. librdkafka closes a consumer without a bound, and
    /// what matters is committed by now: a close that hangs must not keep the process.
    fn release(self) {
        let stage = self.shared.names.stage;
        let (closed, answer) = mpsc::channel();
        let closer = std::thread::Builder::new().name("close".into()).spawn(move || {
            drop(self);
            // Whoever waited may have given up.
            let _ = closed.send(());
        });
        match closer.map(|_| answer.recv_timeout(CLOSE_MAX)) {
            Ok(Ok(())) => tracing::info!(stage, "left the group"),
            Ok(Err(_)) => tracing::warn!(stage, "the clients do not close; they are left behind"),
            Err(error) => tracing::warn!(stage, %error, "no thread to close the clients with"),
        }
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
        if let Err(error) = self.renew_producer() {
            // The coordinator may be away as well as any other broker: wait for it.
            self.recover(error)?;
        }
        self.member.subscribe(&topics).map_err(Error::kafka("subscribe"))?;
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
        tracing::info!(stage = self.shared.names.stage, "drained");
        Ok(())
    }

    pub(crate) fn stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// False when a stop or a revocation makes it pointless to wait for brokers.
    pub(crate) fn keep_going(&self) -> bool {
        assignment::serve(&self.member);
        !self.member.context().pending_revocation() && !self.stopping()
    }

    pub(crate) fn obstacle(&self, subject: &str) -> String {
        format!("{}-{}-{subject}", self.shared.names.stage, self.index)
    }

    fn recover(&mut self, error: Error) -> Result<(), Error> {
        let mut error = error;
        loop {
            let timeout = self.shared.config.transaction_timeout;
            let recovery = error.recovery_after(self.began.elapsed(), timeout);
            metrics::counter!("sendplane_recoveries_total", "stage" => self.shared.names.stage,
                "recovery" => format!("{recovery:?}").to_lowercase())
            .increment(1);
            if recovery == Recovery::Stop {
                return Err(error);
            }
            self.failures += 1;
            self.shared.recoveries.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, ?recovery, failures = self.failures, "rebuilding");
            // From here on nothing is committed, not even by a drain: a revocation that is answered
            // now, or a stop, leaves the rest to the next owner.
            self.producer = None;
            std::thread::sleep(Duration::from_millis(50 * u64::from(self.failures.min(20))));
            if self.stopping() {
                return Ok(());
            }
            // Queued rebalances are answered before anything is rebuilt: after a freeze the first
            // thing to learn is that the partitions have gone.
            match self.answer_rebalances().and_then(|()| self.restore_owned()) {
                Ok(()) => {
                    self.recovered_at = monotonic();
                    return Ok(());
                }
                Err(next) => error = next,
            }
            self.watch_progress();
        }
    }

    pub(crate) fn renew_producer(&mut self) -> Result<(), Error> {
        self.producer = None;
        let config = &self.shared.config;
        let id = self.shared.names.transactional_id(&config.instance_id, self.index);
        self.began = monotonic();
        let keep_going = || self.keep_going();
        self.producer = Some(TransactionalProducer::create(config, &id, &keep_going)?);
        Ok(())
    }

    fn note_progress(&mut self) {
        self.last_progress = monotonic();
        self.failures = 0;
    }

    fn watch_progress(&mut self) {
        // What was fetched is forgotten at a recovery, so an empty queue says nothing right after one.
        let settled = self.failures == 0
            || self.producer.is_some() && self.recovered_at.elapsed() > RECOVERY_SETTLES;
        if settled && self.tasks.values().all(|task| task.queued() == 0) {
            self.note_progress();
        }
        let obstacle = self.obstacle("progress");
        if self.last_progress.elapsed() > STALLED_AFTER {
            self.shared.health.obstruct(obstacle, "nothing was committed for 5 s");
        } else {
            self.shared.health.clear(&obstacle);
        }
    }

    fn idle(&mut self) -> Result<(), Error> {
        let (tasks, portions) = (&mut self.tasks, &mut self.portions);
        let wait = self.lanes.wait(IDLE_WAIT, &mut |class, record| {
            enqueue(tasks, portions, class, record);
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

    /// One group commit. False when there was nothing to do.
    pub(crate) fn cycle(&mut self, mode: Mode) -> Result<bool, Error> {
        if self.tasks.is_empty() || self.producer.is_none() {
            return Ok(false);
        }
        self.collect_results();
        if mode == Mode::Normal {
            self.fetch()?;
        }
        let started = monotonic();
        let portion = self.portion(mode);
        if !portion.serves_all() && !self.has_queued(|class| portion.takes(class)) {
            return Ok(false);
        }
        let mut drafts = self.take_turns(mode, portion)?;
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
        let (tasks, portions) = (&mut self.tasks, &mut self.portions);
        self.lanes.fetch(self.shared.config.batch.inputs_max, &room, &mut |class, record| {
            enqueue(tasks, portions, class, record);
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

    fn take_turns(&mut self, mode: Mode, portion: Portion) -> Result<Vec<Draft<S>>, Error> {
        let shared = self.shared.clone();
        let view = shared.globals.view();
        let wall = self.wall();
        let trust = self.trust(wall);
        self.report_skew(trust);
        let trusted = trust == Trust::Good;
        let measure = mode == Mode::Normal && !trusted && self.skew_probe.passed();
        if measure {
            self.skew_probe = Deadline::after(SKEW_PROBE);
        }
        let env = Surroundings {
            stage: &*shared.stage,
            codec: &*shared.codec,
            quarantine: &shared.config.quarantine,
            breaker: shared.config.dead_letter_breaker,
            view: &view,
            // A wrong time must not be committed: every later owner would have to wait for it.
            wall: if trusted { wall } else { Timestamp::default() },
            partitions: shared.partitions,
            begin_work: mode == Mode::Normal && trusted,
            portion,
        };
        self.open_slots(&env);
        let mut budget = Budget::new(&shared.config.batch, portion, monotonic());
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
            breaker::serve(&env, task, &self.lanes, &shared.health, monotonic())?;
            let room = self.slots.room(partition);
            let Turn { draft, hold, wants } = batch::take_turn(&env, task, room, &mut budget)?;
            if let Some(wants) = wants {
                let started = draft.as_ref().map_or(0, |draft| draft.transition.effects.len());
                self.slots.settle(partition, started, wants);
            }
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

    /// Deals out what is free of the thread's part of the slots.
    fn open_slots(&mut self, env: &Surroundings<'_, S>) {
        let threads = self.shared.config.threads.max(1);
        let effects = &self.shared.effects;
        let slots = (effects.slots() / threads).max(1);
        let running: usize = self.tasks.values().map(Task::running_effects).sum();
        let starting = self.tasks.values().filter(|task| batch::may_start(env, task));
        let starting = starting.map(|task| task.partition);
        let free = slots.saturating_sub(running);
        let reserved = env.portion.reserved(free, effects.reserved_slots() / threads);
        self.slots.begin(free, reserved, starting);
    }

    fn portion(&mut self, mode: Mode) -> Portion {
        if mode == Mode::Draining {
            return Portion::Full;
        }
        let urgent_waits = self.has_queued(|class| class == InputClass::Transactional);
        self.portions.next(uptime(), urgent_waits)
    }

    fn has_queued(&self, of: impl Fn(InputClass) -> bool) -> bool {
        let mut classes = InputClass::ALL.into_iter().filter(|class| of(*class));
        classes.any(|class| self.tasks.values().any(|task| task.queued_of(class) > 0))
    }

    /// The tasks in order, another one first in every cycle: a full queue must not starve the rest.
    fn turn_order(&mut self) -> Vec<i32> {
        let mut order: Vec<i32> = self.tasks.keys().copied().collect();
        self.turns = self.turns.wrapping_add(1);
        let first = self.turns % order.len().max(1);
        order.rotate_left(first);
        order
    }

    pub(crate) fn wall(&self) -> Timestamp {
        clock::wall(&self.shared.config.clock_offset)
    }

    fn trust(&self, wall: Timestamp) -> Trust {
        let committed = self.tasks.values().map(|task| task.last_now).max();
        self.skew.judge(wall, monotonic(), committed)
    }

    fn report_skew(&self, trust: Trust) {
        let obstacle = self.obstacle("clock");
        match trust {
            Trust::Off(skew) => {
                let reason = format!(
                    "the clock is off by {} ms, {} s are tolerated: nothing is read or granted \
                     until it is right. Check the time synchronisation of this host and of the \
                     brokers",
                    skew.as_millis(),
                    CLOCK_SKEW_MAX.as_secs()
                );
                self.shared.health.obstruct(obstacle, reason);
            }
            Trust::Good => self.shared.health.clear(&obstacle),
            // The next commit tells.
            Trust::Unmeasured => {}
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
}

/// Gives a record to its task. A reader may still hold some of a partition that has gone.
fn enqueue<S: Stage>(
    tasks: &mut BTreeMap<i32, Task<S>>,
    portions: &mut Portions,
    class: InputClass,
    record: Fetched,
) {
    if class == InputClass::Transactional {
        portions.fetched_urgent(uptime());
    }
    if let Some(task) = tasks.get_mut(&record.partition) {
        task.queues.entry(class).or_default().push_back(record);
    }
}
