//! What the tasks of a process may start now: the rules of the runtime's thread.

use std::time::Duration;

use sendplane_domain::limits::TAKEOVER_WAIT;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::cycle::may_start_effects;
use sendplane_stage_api::portion::Portion;

use super::Runner;
use super::hosted::Hosted;
use super::task::Task;
use crate::env::Env;
use crate::mutation::Mutation;
use crate::time::Micros;

impl<S: Hosted> Runner<S> {
    /// Deals out what no running call takes.
    pub(super) fn open_slots(&mut self, env: &Env, begin_work: bool, portion: Portion) {
        let slots = env.shape.slots;
        let mut running: usize = self.tasks.values().map(|task| task.running.get()).sum();
        if env.has(Mutation::SlotsUncounted) {
            running = 0;
        }
        let wall = self.core.wall(env.now);
        let starting = self.tasks.values().filter(|task| {
            begin_work && (may_start(task, env.now, wall) || env.has(Mutation::NoTakeoverWait))
        });
        let starting = starting.map(|task| task.partition);
        // Few as they are, one is kept for what is urgent.
        let reserved = portion.reserved(slots, usize::from(slots > 2));
        self.slots.begin(slots.saturating_sub(running), reserved, starting);
    }
}

/// When the next of the tasks that may not start anything yet may do so.
pub(super) fn next_start<'t, S: Hosted>(
    tasks: impl Iterator<Item = &'t Task<S>>,
    now: Micros,
) -> Option<Micros> {
    tasks
        .map(|task| task.opened.0 + TAKEOVER_WAIT.as_micros() as Micros)
        .filter(|at| *at > now)
        .min()
}

fn may_start<S: Hosted>(task: &Task<S>, now: Micros, wall: Timestamp) -> bool {
    let (opened_at, committed) = task.opened;
    let open_for = Duration::from_micros((now - opened_at).unsigned_abs());
    let wall = wall.max(task.last_now);
    task.feedback_marks.is_empty() && may_start_effects(open_for, committed, wall)
}
