//! One process of a stage: one thread, its tasks and their disks.
//!
//! It follows the runtime's protocol step by step and shares its pure parts (cycle, overlay, commit
//! record, fold), so that what is proven here is what the runtime relies on. Between any two steps
//! other processes go on, and a fault may kill or freeze this one.
//!
//! ```text
//!            ┌──────────── Waiting ◀──────────────┐ nothing to do
//!            ▼                                    │
//! Init ──▶ Loop ──assigned──▶ TakeOver ──▶ Loop ──┴──drafts──▶ Commit ──▶ Loop
//!            │ revoked, stop                                      │ doubt
//!            ▼                                                    ▼
//!          Drain ──▶ released, joins again | gone             Recover ──▶ TakeOver
//! ```
//!
//! Reading order: this file (the steps), [`core`] (what is not the stage's), [`task`], `cycle`, `slots` and
//! `turn` (inputs to a draft), `commit` (draft to transaction), `takeover` (restore), `membership`
//! (rebalance, drain, recovery), [`hosted`] (what the model must know of each stage), [`globals`].

mod commit;
pub mod core;
mod cycle;
pub mod globals;
pub mod hosted;
mod membership;
mod sabotage;
mod slots;
mod takeover;
pub mod task;
mod turn;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use sendplane_stage_api::Codec;
use sendplane_stage_api::portion::Portions;
use sendplane_stage_api::slots::Slots;
use sendplane_stages::send::call::CallResult;

use self::commit::Committing;
use self::core::{Core, Rebalance};
use self::cycle::GLOBALS_TICK;
use self::globals::View;
use self::hosted::Hosted;
use self::takeover::TakeOver;
use self::task::{Arrived, Disk, Task};
use crate::env::{Env, Event, Passage};
use crate::fault::Point;
use crate::log::group::Heartbeat;
use crate::mutation::Mutation;
use crate::time::{Micros, at_wall, ms, seconds};

/// The group is told this often that the process lives: a fifth of the session.
const HEARTBEATS_PER_SESSION: i64 = 5;

/// A process as the world sees it.
pub trait Process {
    /// What is not the stage's.
    fn core(&mut self) -> &mut Core;
    /// Goes on with whatever it was doing.
    fn step(&mut self, env: &mut Env);
    /// Starts, with whatever is on its disk.
    fn start(&mut self, env: &mut Env);
    /// Dies.
    fn crash(&mut self, env: &mut Env, wipe: bool, restart_after: Micros);
    /// Is told to stop gracefully.
    fn stop(&mut self, env: &mut Env, restart_after: Option<Micros>);
    /// Its client sends a heartbeat.
    fn heartbeat(&mut self, env: &mut Env);
    /// Something to read or to do may have come.
    fn wake(&mut self, env: &mut Env);
    /// A call that it started has ended.
    fn settle(&mut self, env: &mut Env, partition: i32, epoch: u64, result: CallResult);
    /// Shows its stores to the oracle.
    fn show_disks(&mut self, env: &mut Env);
}

/// What the process does next.
pub(crate) enum Phase<S: Hosted> {
    /// Nothing: it does not run.
    Down,
    /// Gets its first producer and joins.
    Init,
    /// One round of the loop.
    Loop,
    /// A transaction is under way.
    Commit(Box<Committing<S>>),
    /// Tasks are restored.
    TakeOver(TakeOver),
    /// After a doubt.
    Recover,
    /// Waits for running effects.
    Drain {
        /// Until then at most.
        deadline: Micros,
        /// Whether this ends the process.
        is_last: bool,
    },
    /// Gives the partitions up.
    Release,
}

type Kept<S> = (VecDeque<Arrived<S>>, Rc<Cell<usize>>);

/// A process of stage `S`.
pub(crate) struct Runner<S: Hosted> {
    core: Core,
    stage: Rc<S>,
    codec: Rc<dyn Codec<S>>,
    phase: Phase<S>,
    disks: BTreeMap<i32, Disk>,
    tasks: BTreeMap<i32, Task<S>>,
    inbox: VecDeque<Arrived<S>>,
    /// What outlives a rebuild of a task: results not applied, effects that run.
    kept: BTreeMap<i32, Kept<S>>,
    view: View<S::Globals>,
    view_read_at: Micros,
    turns: usize,
    slots: Slots,
    /// What each cycle takes.
    portions: Portions,
    restart_after: Option<Micros>,
}

/// How a step ended.
pub(crate) enum Stepped<S: Hosted> {
    /// Go on after this time.
    Next(Phase<S>, Micros),
    /// Wait for something to happen, or for this time.
    Idle(Option<Micros>),
    /// A point was passed at which the process stopped; the phase is done again later.
    Interrupted(Phase<S>),
    /// It died.
    Died,
    /// It ended by itself.
    Ended,
}

impl<S: Hosted> Runner<S> {
    pub fn new(core: Core, stage: Rc<S>, codec: Rc<dyn Codec<S>>) -> Self {
        Self {
            core,
            stage,
            codec,
            phase: Phase::Down,
            disks: BTreeMap::new(),
            tasks: BTreeMap::new(),
            inbox: VecDeque::new(),
            kept: BTreeMap::new(),
            view: View::default(),
            view_read_at: -GLOBALS_TICK,
            turns: 0,
            slots: Slots::default(),
            portions: Portions::default(),
            restart_after: None,
        }
    }

    fn schedule(&mut self, env: &mut Env, wait: Micros) {
        self.core.token += 1;
        self.core.is_idle = false;
        let (process, token) = (self.core.index, self.core.token);
        env.after(wait, Event::Step { process, token });
    }

    /// Whether to go on at `point`; else what to do instead of `phase`.
    fn pass(&mut self, env: &mut Env, point: Point) -> Option<Passage> {
        match env.pass(&mut self.core, point) {
            Passage::Free => None,
            other => Some(other),
        }
    }

    fn interrupted(&mut self, env: &mut Env, passage: Passage, phase: Phase<S>) -> Stepped<S> {
        match passage {
            Passage::Dead { wipe, restart_after } => {
                self.crash(env, wipe, restart_after);
                Stepped::Died
            }
            Passage::Frozen | Passage::Free => Stepped::Interrupted(phase),
        }
    }

    fn init(&mut self, env: &mut Env) -> Stepped<S> {
        self.refresh_globals(env);
        self.renew_producer(env);
        let group = self.core.group.clone();
        let index = self.core.index;
        let now = env.now;
        let member = env.log.group(&group).join(Some(index), now);
        self.core.member = Some((member, 0));
        env.tell(&self.core, None, || format!("joins as member {member}"));
        Stepped::Next(Phase::Loop, env.latency(1, 5))
    }

    fn renew_producer(&mut self, env: &mut Env) {
        self.core.began = env.now;
        self.core.is_suspect = false;
        if let Some(kept) = self.core.kept.take().filter(|_| env.has(Mutation::ProducerKept))
            && env.log.is_current(&kept)
        {
            self.core.session = Some(kept);
            return;
        }
        let session = env.log.init(&self.core.transactional_id, env.now);
        env.tell(&self.core, None, || format!("new producer, epoch {}", session.epoch));
        self.core.session = Some(session);
    }

    /// One round: rebalances first, then a cycle.
    fn round(&mut self, env: &mut Env) -> Stepped<S> {
        if self.core.stopping {
            let deadline = env.now + seconds(5);
            return Stepped::Next(Phase::Drain { deadline, is_last: true }, ms(1));
        }
        if let Some(next) = self.answer_rebalances(env) {
            return next;
        }
        if self.tasks.is_empty() || self.core.session.is_none() {
            return Stepped::Idle(None);
        }
        self.collect_results(env);
        self.fetch(env);
        let portion = self.portion(env);
        let waits = !portion.serves_all() && !self.has_queued(|class| portion.takes(class));
        match (!waits).then(|| self.take_turns(env, portion, false)).flatten() {
            Some(committing) => self.begin_commit(env, committing),
            // What can wait has its turn soon.
            None if !portion.serves_all() => Stepped::Next(Phase::Loop, env.latency(1, 5)),
            None => self.idle_until_timer(env),
        }
    }

    /// Nothing to do now: what will there be, and when?
    fn idle_until_timer(&mut self, env: &mut Env) -> Stepped<S> {
        if self.has_work(env) {
            let wait = env.latency(1, 5);
            return Stepped::Next(Phase::Loop, wait);
        }
        let timer = self.tasks.values().filter_map(|task| task.next_timer).min();
        let offset = ms(self.core.clock_offset_ms);
        let mut at = timer.map(|timer| at_wall(timer) - offset + ms(1));
        if let Some(start) = slots::next_start(self.tasks.values(), env.now) {
            at = Some(at.map_or(start, |at| at.min(start)));
        }
        if !self.is_trusted(env) {
            let probe = self.core.skew_probe_at;
            at = Some(at.filter(|at| *at > env.now).map_or(probe, |at| at.min(probe)));
        }
        Stepped::Idle(at)
    }

    fn has_work(&self, env: &Env) -> bool {
        self.is_trusted(env)
            && self.tasks.values().any(|task| {
                task.queued() > 0
                    || self.slots.room(task.partition).is_due
                    || self.stage.inputs().iter().zip(&task.fetched).any(|(input, position)| {
                        env.log.last_stable_offset(input.topic, task.partition) > *position
                    })
            })
    }

    fn refresh_globals(&mut self, env: &Env) {
        let mutation = env.mutation;
        self.view.catch_up::<S>(&env.log, &*self.codec, |change| {
            if let Some(mutation) = mutation {
                S::deceive_globally(mutation, change);
            }
        });
        self.view_read_at = env.now;
    }

    /// Whether the clock may be acted on.
    fn is_trusted(&self, env: &Env) -> bool {
        let committed = self.tasks.values().map(|task| task.last_now).max();
        self.core.is_trusted(env.now, committed)
    }
}

impl<S: Hosted> Process for Runner<S> {
    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    fn step(&mut self, env: &mut Env) {
        let needs_broker = match &self.phase {
            Phase::Down => false,
            Phase::Commit(committing) => committing.needs_broker(),
            _ => true,
        };
        if needs_broker && !env.has_broker() {
            // Clients wait until somebody answers again.
            let wait = env.broker_down_until - env.now + env.latency(1, 200);
            return self.schedule(env, wait);
        }
        let stepped = match std::mem::replace(&mut self.phase, Phase::Down) {
            Phase::Down => return,
            Phase::Init => self.init(env),
            Phase::Loop => self.round(env),
            Phase::Commit(committing) => self.go_on_committing(env, committing),
            Phase::TakeOver(takeover) => self.go_on_taking_over(env, takeover),
            Phase::Recover => self.recover(env),
            Phase::Drain { deadline, is_last } => self.drain(env, deadline, is_last),
            Phase::Release => self.release(env),
        };
        match stepped {
            Stepped::Next(phase, wait) => {
                self.phase = phase;
                self.schedule(env, wait);
            }
            Stepped::Idle(until) => {
                self.phase = Phase::Loop;
                if !self.core.rebalances.is_empty() || !self.inbox.is_empty() {
                    return self.schedule(env, ms(1));
                }
                let wait = until.map_or(seconds(30), |until| (until - env.now).max(ms(1)));
                self.schedule(env, wait);
                self.core.is_idle = true;
            }
            Stepped::Interrupted(phase) => {
                self.phase = phase;
                self.schedule(env, 0);
            }
            Stepped::Died | Stepped::Ended => {}
        }
    }

    fn start(&mut self, env: &mut Env) {
        if self.core.is_up {
            return;
        }
        self.core.begin_life();
        self.phase = Phase::Init;
        env.tell(&self.core, None, || "starts".to_owned());
        let wait = env.latency(1, 50);
        self.schedule(env, wait);
        let (process, incarnation) = (self.core.index, self.core.incarnation);
        env.after(ms(500), Event::Heartbeat { process, incarnation });
    }

    fn crash(&mut self, env: &mut Env, wipe: bool, restart_after: Micros) {
        if !self.core.is_up {
            return;
        }
        self.show_disks(env);
        self.tasks.clear();
        self.kept.clear();
        self.inbox.clear();
        self.phase = Phase::Down;
        self.core.end_life();
        if wipe {
            env.counts.one("crashes with the disk wiped");
            self.disks.clear();
        }
        env.after(restart_after, Event::Start(self.core.index));
    }

    fn stop(&mut self, env: &mut Env, restart_after: Option<Micros>) {
        if !self.core.is_up || self.core.stopping {
            return;
        }
        env.tell(&self.core, None, || "is told to stop".to_owned());
        self.core.stopping = true;
        self.restart_after = restart_after;
        self.wake(env);
    }

    fn heartbeat(&mut self, env: &mut Env) {
        let (process, incarnation) = (self.core.index, self.core.incarnation);
        let every = env.shape.session_timeout / HEARTBEATS_PER_SESSION;
        let jitter = env.latency(0, 100);
        env.after(every + jitter, Event::Heartbeat { process, incarnation });
        let Some((member, _)) = self.core.member else { return };
        if !env.has_broker() {
            return;
        }
        let now = env.now;
        let answer = env.log.group(&self.core.group).heartbeat(member, now);
        let known = self.core.rebalances.iter().any(|one| matches!(one, Rebalance::Revoked { .. }));
        match answer {
            Heartbeat::Stable => {}
            Heartbeat::Rebalance if !known => {
                self.core.rebalances.push_back(Rebalance::Revoked { is_lost: false });
                self.wake(env);
            }
            Heartbeat::Unknown => {
                // What the group had said before is void.
                self.core.rebalances.clear();
                self.core.rebalances.push_back(Rebalance::Revoked { is_lost: true });
                self.core.member = None;
                env.tell(&self.core, None, || "learns that it was expelled".to_owned());
                self.wake(env);
            }
            Heartbeat::Rebalance => {}
        }
    }

    fn wake(&mut self, env: &mut Env) {
        if self.core.is_up && self.core.is_idle {
            let wait = env.latency(1, 6);
            self.schedule(env, wait);
        }
    }

    fn settle(&mut self, env: &mut Env, partition: i32, epoch: u64, result: CallResult) {
        let about = (result.message_id, result.attempt);
        if let Some(result) = S::result_of(result) {
            self.inbox.push_back(Arrived { partition, epoch, result, about });
            self.wake(env);
        }
    }

    fn show_disks(&mut self, env: &mut Env) {
        for (partition, disk) in &self.disks {
            env.seen.snapshots.push(crate::evidence::Snapshot {
                at: env.now,
                stage: self.core.stage,
                process: self.core.name.clone(),
                partition: *partition,
                rows: disk.rows.clone(),
                next_offset: disk.next_offset,
            });
        }
    }
}
