//! A process's part in the group: answering rebalances, draining, recovering, leaving.

use sendplane_stage_api::portion::Portion;

use super::commit::Back;
use super::core::Rebalance;
use super::hosted::Hosted;
use super::takeover::TakeOver;
use super::{Phase, Process, Runner, Stepped};
use crate::env::Env;
use crate::fault::Point;
use crate::mutation::Mutation;
use crate::time::{Micros, ms, seconds};

/// How long a revoked or stopping process waits for effects that run.
const SETTLE_MAX: Micros = seconds(5);

impl<S: Hosted> Runner<S> {
    /// Answers the oldest rebalance, if there is one.
    pub(super) fn answer_rebalances(&mut self, env: &mut Env) -> Option<Stepped<S>> {
        match self.core.rebalances.pop_front()? {
            Rebalance::Assigned { generation, partitions } => {
                env.tell(&self.core, None, || format!("generation {generation}: {partitions:?}"));
                self.core.epoch += 1;
                self.core.owned = partitions;
                self.tasks.clear();
                self.kept.clear();
                Some(Stepped::Next(Phase::TakeOver(TakeOver::new()), env.latency(0, 5)))
            }
            Rebalance::Revoked { is_lost: true } => {
                // Somebody else may own them already: what is uncommitted is theirs to redo.
                env.tell(&self.core, None, || "has lost its partitions".to_owned());
                self.core.kept = self.core.session.take();
                self.tasks.clear();
                Some(Stepped::Next(Phase::Release, 0))
            }
            Rebalance::Revoked { is_lost: false } => {
                let deadline = env.now + SETTLE_MAX;
                Some(Stepped::Next(Phase::Drain { deadline, is_last: false }, 0))
            }
        }
    }

    /// Waits for running effects, commits their results, starts nothing new.
    pub(super) fn drain(&mut self, env: &mut Env, deadline: Micros, is_last: bool) -> Stepped<S> {
        if self.core.session.is_none() && !self.drains_in_doubt(env) {
            return self.after_drain(env, is_last);
        }
        let running: usize = self.tasks.values().map(|task| task.running.get()).sum();
        self.collect_results(env);
        if let Some(mut committing) = self.take_turns(env, Portion::Full, true) {
            committing.back = Back::Drain { deadline, is_last };
            return self.begin_commit(env, committing);
        }
        if running == 0 || env.now >= deadline {
            return self.after_drain(env, is_last);
        }
        Stepped::Next(Phase::Drain { deadline, is_last }, ms(5))
    }

    /// For a mutation: commits on top of state whose last transaction is not known.
    fn drains_in_doubt(&mut self, env: &mut Env) -> bool {
        let drains = env.has(Mutation::DrainInDoubt) && !self.tasks.is_empty();
        if drains {
            self.renew_producer(env);
        }
        drains
    }

    fn after_drain(&mut self, env: &mut Env, is_last: bool) -> Stepped<S> {
        if !is_last {
            return Stepped::Next(Phase::Release, 0);
        }
        env.counts.one("graceful stops");
        env.tell(&self.core, None, || "has drained and leaves".to_owned());
        if let Some((member, _)) = self.core.member {
            let now = env.now;
            env.log.group(&self.core.group).leave(member, now);
        }
        self.show_disks(env);
        self.tasks.clear();
        self.inbox.clear();
        self.core.end_life();
        if let Some(wait) = self.restart_after.take() {
            env.after(wait, crate::env::Event::Start(self.core.index));
        }
        Stepped::Ended
    }

    /// The partitions are free for their next owner; this process joins again.
    pub(super) fn release(&mut self, env: &mut Env) -> Stepped<S> {
        if let Some(passage) = self.pass(env, Point::BeforeRelease) {
            return self.interrupted(env, passage, Phase::Release);
        }
        self.tasks.clear();
        self.kept.clear();
        self.core.owned.clear();
        let now = env.now;
        let index = self.core.index;
        let group = env.log.group(&self.core.group);
        let rejoined = self.core.member.filter(|(member, _)| group.rejoin(*member, now).is_ok());
        if rejoined.is_none() {
            self.core.member = Some((group.join(Some(index), now), 0));
        }
        Stepped::Next(Phase::Loop, env.latency(0, 5))
    }

    /// After a doubt: queued rebalances first, because after a freeze the first thing to learn is
    /// that the partitions have gone; then everything owned is restored.
    pub(super) fn recover(&mut self, env: &mut Env) -> Stepped<S> {
        if self.core.stopping {
            return Stepped::Next(Phase::Loop, 0);
        }
        if let Some(next) = self.answer_rebalances(env) {
            return next;
        }
        Stepped::Next(Phase::TakeOver(TakeOver::new()), 0)
    }
}
