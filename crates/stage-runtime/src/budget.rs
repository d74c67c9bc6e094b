//! How much one group commit may hold.

use std::time::Instant;

use sendplane_stage_api::InputClass;
use sendplane_stage_api::portion::Portion;

use crate::clock::monotonic;
use crate::config::BatchLimits;

/// What is left of the group commit's bounds, over all tasks of the thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub inputs: usize,
    pub outputs: usize,
    pub bytes: usize,
    bulk: Bulk,
}

/// How long bulk is taken in.
#[derive(Clone, Copy, Debug)]
enum Bulk {
    /// One record even if it is late by then: bulk must not starve.
    AtLeastOne(Instant),
    Until(Instant),
    Unbounded,
}

impl Budget {
    /// The bounds of a group commit that begins at `now`.
    pub fn new(limits: &BatchLimits, portion: Portion, now: Instant) -> Self {
        let bulk_max =
            if portion == Portion::Full { limits.bulk_max } else { limits.bulk_small_max };
        Self {
            inputs: limits.inputs_max,
            outputs: limits.outputs_max,
            bytes: limits.bytes_max,
            bulk: Bulk::AtLeastOne(now + bulk_max),
        }
    }

    /// No bounds.
    pub fn unbounded() -> Self {
        Self { inputs: usize::MAX, outputs: usize::MAX, bytes: usize::MAX, bulk: Bulk::Unbounded }
    }

    /// Whether another record of `class` may be taken; it will be.
    pub fn admits(&mut self, class: InputClass) -> bool {
        if self.exhausted() {
            return false;
        }
        if class != InputClass::Bulk {
            return true;
        }
        match self.bulk {
            Bulk::AtLeastOne(until) => {
                self.bulk = Bulk::Until(until);
                true
            }
            Bulk::Until(until) => monotonic() < until,
            Bulk::Unbounded => true,
        }
    }

    pub fn spend(&mut self, outputs: usize, bytes: usize) {
        self.inputs = self.inputs.saturating_sub(1);
        self.outputs = self.outputs.saturating_sub(outputs);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub fn exhausted(&self) -> bool {
        self.inputs == 0 || self.outputs == 0 || self.bytes == 0
    }
}
