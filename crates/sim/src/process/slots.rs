//! How many calls a process may start now: the rule of the runtime's thread, in this one place.

use super::hosted::Hosted;
use super::task::Task;
use crate::mutation::Mutation;

/// The slots of a process that no running call takes. Its tasks are handed them in turn: whatever
/// one leaves is there for the next.
pub(super) struct Slots(usize);

impl Slots {
    /// What is free of `slots` while `tasks` have calls running.
    pub fn free<'t, S: Hosted>(
        slots: usize,
        tasks: impl Iterator<Item = &'t Task<S>>,
        mutation: Option<Mutation>,
    ) -> Self {
        let mut running = tasks.map(|task| task.running.get()).sum();
        if mutation == Some(Mutation::SlotsUncounted) {
            running = 0;
        }
        Self(slots.saturating_sub(running))
    }

    /// What the next task may start.
    pub fn left(&self) -> usize {
        self.0
    }

    /// A task has asked for so many calls.
    pub fn take(&mut self, calls: usize) {
        self.0 = self.0.saturating_sub(calls);
    }
}
