//! Updates waiting for their time, and the fault knobs that act when it has come.

use std::collections::BTreeMap;

use crate::fault::Faults;
use crate::rng::{Concern, Rng};
use crate::script::{Planned, Update};

/// An update on its way.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Index of the number; none for changes of an account.
    pub(crate) number: Option<usize>,
    pub(crate) at_ms: i64,
    pub(crate) update: Update,
    /// Fault knobs leave it alone: the result is fixed, or a knob has acted already.
    calm: bool,
}

/// What came out of the queue.
pub(crate) enum Popped {
    Due(Entry),
    Dropped,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    entries: BTreeMap<(i64, u64), Entry>,
    pushed: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, number: Option<usize>, planned: Planned, calm: bool) {
        let Planned { due_ms, at_ms, update } = planned;
        self.insert(due_ms, Entry { number, at_ms, update, calm });
    }

    fn insert(&mut self, due_ms: i64, entry: Entry) {
        self.entries.insert((due_ms, self.pushed), entry);
        self.pushed += 1;
    }

    pub(crate) fn next_due(&self) -> Option<i64> {
        self.entries.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The next update that is due; one that a knob delays goes back and comes later.
    pub(crate) fn pop(&mut self, now_ms: i64, seed: u64, faults: &Faults) -> Option<Popped> {
        loop {
            if self.next_due()? > now_ms {
                return None;
            }
            let ((due_ms, sequence), mut entry) = self.entries.pop_first()?;
            if entry.calm {
                return Some(Popped::Due(entry));
            }
            entry.calm = true;
            let mut rng = Rng::keyed(seed, Concern::WebhookFault, sequence);
            let (drop, reorder, duplicate) = (rng.unit(), rng.unit(), rng.unit());
            let shifted_ms = due_ms + faults.webhook_shift_ms.draw(&mut rng) as i64;
            if drop < faults.webhook_drop {
                return Some(Popped::Dropped);
            }
            if duplicate < faults.webhook_duplicate {
                self.insert(shifted_ms, entry.clone());
            }
            if reorder < faults.webhook_reorder {
                self.insert(shifted_ms, entry);
                continue;
            }
            return Some(Popped::Due(entry));
        }
    }
}
