//! One cycle of one task: inputs in, one atomic transition out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sendplane_domain::limits::{CLOCK_SKEW_MAX, TAKEOVER_WAIT, TIMERS_PER_CYCLE_MAX};
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;

use crate::codec::DeadLetter;
use crate::context::Context;
use crate::overlay::{Overlay, StateFault, StateReader, Writes};
use crate::portion::Portion;
use crate::slots::{Allowance, Wants};
use crate::stage::{Input, InputClass, Stage};
use crate::timer;

/// An effect to start once the cycle is committed.
#[derive(Debug)]
pub struct Performed<E> {
    /// The effect.
    pub effect: E,
    /// Trace of the input that asked for it.
    pub trace: TraceContext,
}

/// Counters that rise when the cycle is committed.
pub type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// How much there is of something in the task, by name and label.
pub type Gauges = BTreeMap<(&'static str, &'static str), u64>;

#[derive(Debug)]
pub(crate) struct Collected<S: Stage> {
    pub outputs: Vec<(S::Output, TraceContext)>,
    pub effects: Vec<Performed<S::Effect>>,
    pub counts: Counts,
    pub gauges: Gauges,
    pub held: BTreeSet<InputClass>,
    pub wants: Wants,
}

/// Everything a cycle changes, to be made durable at once.
#[derive(Debug)]
pub struct Transition<S: Stage> {
    /// Records to produce.
    pub outputs: Vec<(S::Output, TraceContext)>,
    /// State writes: to the changelog, and after the commit to the store.
    pub writes: Writes,
    /// Effects to start after the commit.
    pub effects: Vec<Performed<S::Effect>>,
    /// Counters.
    pub counts: Counts,
    /// What the task has at the cycle's end; a gauge that is not among them stays as it was.
    pub gauges: Gauges,
    /// Classes of which the task takes no more until a later transition says otherwise.
    pub held: BTreeSet<InputClass>,
    /// What the task would have started, had it been allowed to.
    pub wants: Wants,
    /// The cycle's time.
    pub now: Timestamp,
    /// When the task's next timer is due.
    pub next_timer: Option<Timestamp>,
    /// No timer stands before this time: where the next search may begin.
    pub timer_floor: Timestamp,
}

impl<S: Stage> Transition<S> {
    /// Nothing is to be made durable.
    pub fn changes_nothing(&self) -> bool {
        self.writes.is_empty() && self.outputs.is_empty() && self.effects.is_empty()
    }
}

/// What became of one input.
#[derive(Debug, Default)]
pub struct Applied {
    /// The record is to be dead-lettered.
    pub dead_letter: Option<DeadLetter>,
    /// Outputs this input added, as a range of the cycle's outputs.
    pub outputs: std::ops::Range<usize>,
}

/// A cycle in progress. Dropping it forgets everything.
pub struct Cycle<'s, S: Stage> {
    stage: &'s S,
    globals: &'s S::Globals,
    overlay: Overlay<'s>,
    collected: Collected<S>,
    now: Timestamp,
    partition: i32,
    partitions: u32,
    timer_floor: Timestamp,
    timers_fired: usize,
    allowance: Allowance,
    portion: Portion,
    is_concluded: bool,
}

/// Where and when a cycle runs.
#[derive(Clone, Copy, Debug)]
pub struct CycleTime {
    /// max(wall clock, `now` of the last commit record).
    pub now: Timestamp,
    /// The task's partition.
    pub partition: i32,
    /// Partition count of all work topics.
    pub partitions: u32,
    /// From the last transition; the epoch for a task just opened.
    pub timer_floor: Timestamp,
    /// Effects that may be started: the task's part of what is free of the host's own bound, and
    /// none while the task is handed over, the clock cannot be trusted or [`may_start_effects`] says
    /// no.
    pub allowance: Allowance,
    /// How much of what can wait it takes.
    pub portion: Portion,
}

/// Whether a task may start effects yet: none of the owner before may still start.
///
/// Every effect starts within [`sendplane_domain::limits::CALL_START_MAX`] of a cycle that was
/// committed before the task was restored, so it is enough to have been open for
/// [`TAKEOVER_WAIT`], by a clock that cannot jump. Not even that is needed when the last commit
/// record found then, of the time `committed` (zero if there was none), is that old by the wall
/// clock `now`, whatever two clocks may differ by. A task rebuilt within its process waits too:
/// its own calls may be running.
pub fn may_start_effects(open_for: Duration, committed: Timestamp, now: Timestamp) -> bool {
    open_for >= TAKEOVER_WAIT || now.since(committed) >= TAKEOVER_WAIT + CLOCK_SKEW_MAX
}

impl<'s, S: Stage> Cycle<'s, S> {
    /// Opens a cycle over committed state.
    pub fn open(
        stage: &'s S,
        committed: &'s dyn StateReader,
        globals: &'s S::Globals,
        time: CycleTime,
    ) -> Self {
        Self {
            stage,
            globals,
            overlay: Overlay::new(committed),
            collected: Collected {
                outputs: Vec::new(),
                effects: Vec::new(),
                counts: Counts::new(),
                gauges: Gauges::new(),
                held: BTreeSet::new(),
                wants: Wants::default(),
            },
            now: time.now,
            partition: time.partition,
            partitions: time.partitions,
            timer_floor: time.timer_floor,
            timers_fired: 0,
            allowance: time.allowance,
            portion: time.portion,
            is_concluded: false,
        }
    }

    /// Gives one input to the stage.
    pub fn apply(&mut self, input: Input<S>, trace: TraceContext) -> Applied {
        let before = self.collected.outputs.len();
        let stage = self.stage;
        let dead_letter = self.with_context(trace, |ctx| stage.apply(input, ctx));
        Applied { dead_letter, outputs: before..self.collected.outputs.len() }
    }

    fn with_context(
        &mut self,
        trace: TraceContext,
        body: impl FnOnce(&mut Context<'_, 's, S>),
    ) -> Option<DeadLetter> {
        let mut ctx = Context {
            now: self.now,
            partition: self.partition,
            partitions: self.partitions,
            globals: self.globals,
            overlay: &mut self.overlay,
            collected: &mut self.collected,
            trace,
            allowance: self.allowance,
            portion: self.portion,
            dead_letter: None,
        };
        body(&mut ctx);
        ctx.dead_letter
    }

    /// Fires due timers in order of due time, up to the limit of a cycle. Returns how many.
    pub fn fire_timers(&mut self) -> usize {
        let mut fired = 0;
        while self.timers_fired < TIMERS_PER_CYCLE_MAX {
            let Some((at, due)) = timer::take_due(&mut self.overlay, self.timer_floor, self.now)
            else {
                break;
            };
            self.timer_floor = at;
            self.timers_fired += 1;
            fired += 1;
            match postcard::from_bytes(&due.payload) {
                Ok(payload) => {
                    self.apply(Input::Timer(payload), due.trace);
                }
                Err(error) => self
                    .overlay
                    .note_fault(StateFault::Corrupt { table: "timers", detail: error.to_string() }),
            }
        }
        fired
    }

    /// The outputs so far.
    pub fn outputs(&self) -> &[(S::Output, TraceContext)] {
        &self.collected.outputs
    }

    /// Writes under a key of the host's own, for example the positions of the global tables.
    pub fn set_system(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.overlay.set(key, value);
    }

    /// Writes a torn key of the changelog anew; see [`Overlay::rewrite`].
    pub fn rewrite(&mut self, key: Vec<u8>) {
        self.overlay.rewrite(key);
    }

    /// The state as this cycle sees it.
    pub fn read(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.overlay.get(key)
    }

    /// Lets the stage decide on all inputs together, once. Returns the outputs this added.
    pub fn conclude(&mut self) -> std::ops::Range<usize> {
        let before = self.collected.outputs.len();
        if !std::mem::replace(&mut self.is_concluded, true) {
            let stage = self.stage;
            self.with_context(TraceContext::default(), |ctx| stage.end_cycle(ctx));
        }
        before..self.collected.outputs.len()
    }

    /// Ends the cycle; concludes it if the host has not done so.
    pub fn finish(mut self) -> Result<Transition<S>, StateFault> {
        self.conclude();
        let next_timer = timer::next_due(&mut self.overlay, self.timer_floor);
        // Timers may be scheduled at `now` at the earliest, so nothing comes before it any more
        // unless this cycle stopped at the timer limit.
        let timer_floor = next_timer.map_or(self.now, |at| at.min(self.now));
        let writes = self.overlay.into_writes()?;
        let Collected { outputs, effects, counts, gauges, held, wants } = self.collected;
        let now = self.now;
        Ok(Transition {
            outputs,
            writes,
            effects,
            counts,
            gauges,
            held,
            wants,
            now,
            next_timer,
            timer_floor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_waits_for_the_calls_of_the_owner_before() {
        let now = Timestamp::from_millis(1_000_000);
        let before = |millis| now.minus(Duration::from_millis(millis));
        let open_for = Duration::from_millis;
        for (open_ms, committed, expected) in [
            (0, before(10), false),
            (2_999, before(3_009), false),
            (3_000, before(3_010), true),
            (0, before(7_999), false),
            (0, before(8_000), true),
            // The owner before had a clock that is ahead of ours.
            (2_999, now + Duration::from_secs(4), false),
            (3_000, now + Duration::from_secs(4), true),
            // There was none.
            (0, Timestamp::default(), true),
        ] {
            let may = may_start_effects(open_for(open_ms), committed, now);
            assert_eq!(may, expected, "open for {open_ms} ms, {committed:?}");
        }
    }
}
