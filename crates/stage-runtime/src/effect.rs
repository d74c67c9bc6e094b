//! Effects: calls to the outside, started only after the commit that asked for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::Stage;

/// Performs the effects of a stage. `start` must not block: it hands the call to an executor.
pub trait EffectRunner<S: Stage>: Send + Sync + 'static {
    /// Starts `effect`, whose intent is committed. A call that cannot start within the stage's limit
    /// of `started.granted_at` must not start at all (I3).
    fn start(&self, effect: S::Effect, started: Started, sink: EffectSink<S>);

    /// How many effects may run at a time in this process. No more are started: a stage that has
    /// more to do keeps it.
    fn slots(&self) -> usize {
        usize::MAX
    }

    /// How many of [`Self::slots`] are kept for what is urgent, so that a slow provider does not
    /// fill them all with what can wait (I9).
    fn reserved_slots(&self) -> usize {
        0
    }
}

/// What a runner is told besides the effect.
#[derive(Clone, Debug)]
pub struct Started {
    /// Before the clock was read for the cycle that granted it, on the monotonic clock. Not when the
    /// commit returned: a process that froze before it read that answer would wake up with fresh
    /// time for calls that others have doubted and followed up long since.
    pub granted_at: Instant,
    /// Trace of the request.
    pub trace: TraceContext,
}

/// A runner for stages without effects.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEffects;

impl<S: Stage> EffectRunner<S> for NoEffects {
    fn start(&self, effect: S::Effect, _started: Started, _sink: EffectSink<S>) {
        unreachable!("this stage performs no effects, got {effect:?}");
    }
}

/// Shorthand for a shared runner.
pub type Effects<S> = Arc<dyn EffectRunner<S>>;

/// A result on its way back to the task that asked.
pub(crate) struct Arrived<S: Stage> {
    pub partition: i32,
    /// The ownership under which the effect was started; results of an earlier one are dropped,
    /// the timer that watches the intent has them covered.
    pub epoch: u64,
    pub result: S::EffectResult,
    pub trace: TraceContext,
}

impl<S: Stage> Clone for Arrived<S> {
    fn clone(&self) -> Self {
        Self {
            partition: self.partition,
            epoch: self.epoch,
            result: self.result.clone(),
            trace: self.trace.clone(),
        }
    }
}

/// Takes the result of one effect.
pub struct EffectSink<S: Stage> {
    pub(crate) partition: i32,
    pub(crate) epoch: u64,
    pub(crate) trace: TraceContext,
    pub(crate) results: mpsc::Sender<Arrived<S>>,
    pub(crate) running: Running,
}

impl<S: Stage> EffectSink<S> {
    /// Returns the result to the task.
    pub fn settle(self, result: S::EffectResult) {
        let arrived =
            Arrived { partition: self.partition, epoch: self.epoch, result, trace: self.trace };
        // The thread may be gone; then nobody owns the task here any more.
        let _ = self.results.send(arrived);
        drop(self.running);
    }
}

/// Counts a running effect until it is settled or given up.
pub(crate) struct Running(Arc<AtomicUsize>);

impl Running {
    pub fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
