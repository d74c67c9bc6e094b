//! What a cycle takes: results that have arrived, records that can be read, and what the tasks make
//! of them.

use std::time::Duration;

use sendplane_domain::time::Timestamp;
use sendplane_stage_api::InputClass;
use sendplane_stage_api::portion::Portion;

use super::Runner;
use super::commit::Committing;
use super::hosted::Hosted;
use super::task::Fetched;
use super::turn::{self, Draft, Hold, Surroundings};
use crate::env::Env;
use crate::evidence::CycleSeen;
use crate::mutation::Mutation;
use crate::time::{Micros, ms, seconds};

/// Records of one class kept between fetching and applying.
const QUEUED_MAX: usize = 2_000;
/// A clock that cannot be acted on is compared with the broker's this often.
const SKEW_PROBE: Micros = seconds(1);
/// How often the global tables are looked at.
pub(super) const GLOBALS_TICK: Micros = ms(20);

impl<S: Hosted> Runner<S> {
    pub(super) fn collect_results(&mut self, env: &mut Env) {
        while let Some(arrived) = self.inbox.pop_front() {
            match self.tasks.get_mut(&arrived.partition) {
                Some(task) if task.epoch == arrived.epoch => task.results.push_back(arrived),
                Some(task) if env.has(Mutation::OldResultsAccepted) => {
                    let (message, attempt) = arrived.about;
                    env.seen.foreign_results.push((task.partition, message, attempt));
                    task.results.push_back(arrived);
                }
                // The timer that watches the intent settles it with whoever owns the task now.
                _ => env.counts.one("results of an older ownership dropped"),
            }
        }
    }

    /// Fetches what there is, most urgent class first. A reader sometimes has nothing yet of what
    /// could be read.
    pub(super) fn fetch(&mut self, env: &mut Env) {
        let mut limit = env.shape.batch_inputs;
        if !self.is_trusted(env) {
            return;
        }
        for class in InputClass::ALL {
            let queued: usize = self.tasks.values().map(|task| task.queued_of(class)).sum();
            let mut room = QUEUED_MAX.saturating_sub(queued);
            if env.fetch.chance(40) {
                continue;
            }
            let mut readers: Vec<(i32, usize)> = Vec::new();
            for partition in self.tasks.keys() {
                let inputs = self.stage.inputs().iter().enumerate();
                let of_class = inputs.filter(|(_, input)| input.class == class);
                readers.extend(of_class.map(|(index, _)| (*partition, index)));
            }
            let first = env.fetch.below(readers.len() as u64) as usize;
            readers.rotate_left(first);
            for (partition, index) in readers {
                let task = self.tasks.get_mut(&partition).expect("a reader's task");
                let topic = self.stage.inputs()[index].topic;
                let most = limit.min(room);
                let (found, next) =
                    env.log.read_committed(topic, partition, task.fetched[index], most);
                task.fetched[index] = next;
                limit -= found.len();
                room -= found.len();
                if class == InputClass::Transactional && !found.is_empty() {
                    self.portions.fetched_urgent(uptime(env));
                }
                let queue = task.queues.entry(class).or_default();
                queue.extend(found.into_iter().map(|(offset, entry)| Fetched {
                    input: index,
                    offset,
                    entry,
                    globals_current: false,
                }));
            }
        }
        for task in self.tasks.values_mut() {
            let fetched = &task.fetched;
            task.feedback_marks.retain(|(input, mark)| fetched[*input] < *mark);
        }
    }

    /// What the next cycle takes.
    pub(super) fn portion(&mut self, env: &Env) -> Portion {
        let urgent_waits = self.has_queued(|class| class == InputClass::Transactional);
        self.portions.next(uptime(env), urgent_waits)
    }

    pub(super) fn has_queued(&self, of: impl Fn(InputClass) -> bool) -> bool {
        let mut classes = InputClass::ALL.into_iter().filter(|class| of(*class));
        classes.any(|class| self.tasks.values().any(|task| task.queued_of(class) > 0))
    }

    /// Applies what is queued. `None`: there was nothing.
    pub(super) fn take_turns(
        &mut self,
        env: &mut Env,
        portion: Portion,
        draining: bool,
    ) -> Option<Committing<S>> {
        if env.now - self.view_read_at >= GLOBALS_TICK && env.has_broker() {
            self.refresh_globals(env);
        }
        let wall = self.core.wall(env.now);
        let trusted = self.is_trusted(env);
        if !trusted && self.core.measured.is_some() {
            env.counts.one("clocks distrusted");
        }
        let measure = !draining && !trusted && env.now >= self.core.skew_probe_at;
        if measure {
            self.core.skew_probe_at = env.now + SKEW_PROBE;
        }
        self.open_slots(env, !draining && trusted, portion);
        let surroundings = Surroundings {
            stage: &*self.stage,
            codec: &*self.codec,
            view: &self.view,
            // A wrong time must not be committed: every later owner would have to wait for it.
            wall: if trusted { wall } else { Timestamp::default() },
            partitions: env.shape.partitions,
            begin_work: !draining && trusted,
            portion,
            mutation: env.mutation,
        };
        if self.has_queued(|class| !portion.takes(class)) {
            env.counts.one("cycles for urgent records while others waited");
        }
        let mut budget = env.shape.batch_inputs;
        let mut order: Vec<i32> = self.tasks.keys().copied().collect();
        self.turns = self.turns.wrapping_add(1);
        let first = self.turns % order.len().max(1);
        order.rotate_left(first);
        let tables = self.view.ends.clone();
        let mut drafts: Vec<Draft<S>> = Vec::new();
        let mut catch_up = false;
        for partition in order {
            let room = self.slots.room(partition);
            let task = self.tasks.get_mut(&partition).expect("listed just now");
            if budget == 0 {
                break;
            }
            task.fresh |= measure;
            let rows = &self.disks.entry(partition).or_default().rows;
            let turn = turn::take(&surroundings, task, rows, room, &mut budget);
            if let Some(wants) = turn.wants {
                let started = turn.draft.as_ref().map_or(0, |one| one.transition.effects.len());
                self.slots.settle(partition, started, wants);
            }
            drafts.extend(turn.draft);
            catch_up |= turn.hold == Some(Hold::Globals);
        }
        if catch_up {
            env.counts.one("globals caught up");
            self.refresh_globals(env);
            for task in self.tasks.values_mut() {
                task.queues.values_mut().flatten().for_each(|one| one.globals_current = true);
            }
        }
        let told = drafts.iter().filter(|draft| draft.globals_applied.is_some());
        let told = told.map(|draft| draft.partition).collect();
        let seen = CycleSeen { at: env.now, tables, told };
        (!drafts.is_empty()).then(|| Committing::new(drafts, seen, wall))
    }
}

/// A clock that cannot jump.
fn uptime(env: &Env) -> Duration {
    Duration::from_micros(env.now.unsigned_abs())
}
