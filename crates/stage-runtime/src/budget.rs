//! How much one group commit may hold.

use std::time::Instant;

use sendplane_stage_api::InputClass;

use crate::clock::monotonic;
use crate::config::BatchLimits;

/// What is left of the group commit's bounds, over all tasks of the thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub inputs: usize,
    pub outputs: usize,
    pub bytes: usize,
    /// Until when bulk is taken in. One record is taken even later: bulk must not starve.
    bulk_until: Option<Instant>,
    has_bulk: bool,
}

impl Budget {
    /// The bounds of a group commit that begins at `now`.
    pub fn new(limits: &BatchLimits, is_brief: bool, now: Instant) -> Self {
        let bulk_max = if is_brief { limits.bulk_brief_max } else { limits.bulk_max };
        Self {
            inputs: limits.inputs_max,
            outputs: limits.outputs_max,
            bytes: limits.bytes_max,
            bulk_until: Some(now + bulk_max),
            has_bulk: false,
        }
    }

    /// No bounds.
    pub fn unbounded() -> Self {
        Self {
            inputs: usize::MAX,
            outputs: usize::MAX,
            bytes: usize::MAX,
            bulk_until: None,
            has_bulk: false,
        }
    }

    /// Whether another record of `class` may be taken; it will be.
    pub fn admits(&mut self, class: InputClass) -> bool {
        if self.exhausted() {
            return false;
        }
        if class != InputClass::Bulk {
            return true;
        }
        let first = !std::mem::replace(&mut self.has_bulk, true);
        first || self.bulk_until.is_none_or(|until| monotonic() < until)
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
