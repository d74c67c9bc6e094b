//! How the tasks of a thread share the effects that may run at a time.
//!
//! As long as nobody wants more than there is, each task takes what it needs. As soon as some had to
//! stop for want of a slot, what becomes free is dealt out among those in turns, by the weight each
//! names, whatever order the tasks come in: a partition with three busy tenants gets three times as
//! much as one with a single tenant. What is urgent waits for no turn, and a few slots are kept for
//! it.

use std::collections::BTreeMap;

use sendplane_domain::fairness::Round;

/// What a cycle may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Effects in all; only what is urgent may use all of it.
    pub urgent: usize,
    /// How many of them may be for what can wait: the task's share.
    pub share: usize,
}

impl Allowance {
    /// Nothing may be started.
    pub const NONE: Self = Self { urgent: 0, share: 0 };

    /// As much as one likes.
    pub const UNLIMITED: Self = Self { urgent: usize::MAX, share: usize::MAX };
}

/// What a cycle may start, and whether that alone is a reason for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What may be started.
    pub allowance: Allowance,
    /// The task wants to start something: its cycle ends with that question even without input.
    pub is_due: bool,
}

/// What a task would have started in its last cycle if it had been allowed more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Something urgent.
    pub urgent: bool,
    /// How large its share should be, beside that of others: 0 if it lacks none.
    pub weight: u32,
}

impl Wants {
    /// What a task is taken to want before it was ever asked: its state may hold anything.
    pub const UNKNOWN: Self = Self { urgent: true, weight: 1 };

    /// Nothing is wanted.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The slots of one thread. Kept from cycle to cycle; what it remembers is advice, and a task that
/// is not known is not worse off.
#[derive(Debug, Default)]
pub struct Slots {
    round: Round<i32>,
    /// Of the tasks that take part.
    wants: BTreeMap<i32, Wants>,
    /// Dealt out in this cycle and not yet offered.
    dealt: BTreeMap<i32, usize>,
    free: usize,
    reserved: usize,
}

impl Slots {
    /// Begins a cycle with `free` slots, `reserved` of which are for what is urgent. `tasks` are
    /// those that take part: others have no room, and what they wanted is forgotten.
    pub fn begin(&mut self, free: usize, reserved: usize, tasks: impl Iterator<Item = i32>) {
        (self.free, self.reserved) = (free, reserved);
        let known = std::mem::take(&mut self.wants);
        self.wants =
            tasks.map(|task| (task, known.get(&task).copied().unwrap_or(Wants::UNKNOWN))).collect();
        self.dealt.clear();
        let wants = &self.wants;
        let mut left = free.saturating_sub(reserved);
        // Whole rounds at once; only what is left of them needs to know whose turn it is.
        let round: usize = wants.values().map(|wants| wants.weight as usize).sum();
        if let Some(rounds) = left.checked_div(round).filter(|rounds| *rounds > 0) {
            let share = |wants: &Wants| rounds * wants.weight as usize;
            self.dealt = wants.iter().map(|(task, wants)| (*task, share(wants))).collect();
            left -= rounds * round;
        }
        while left > 0 {
            let turn = self.round.turn(
                |from| {
                    let mut after = wants.range((from.cloned(), std::ops::Bound::Unbounded));
                    after.find(|(_, wants)| wants.weight > 0).map(|(task, _)| *task)
                },
                |task| wants[task].weight,
            );
            let Some((task, turn)) = turn else { break };
            let count = left.min(turn as usize);
            *self.dealt.entry(task).or_default() += count;
            self.round.took(count as u32);
            left -= count;
        }
    }

    /// What `task` may start now, and whether to ask it.
    pub fn room(&self, task: i32) -> Room {
        let takes_part = self.wants.contains_key(&task);
        let allowance = if takes_part { self.allowance(task) } else { Allowance::NONE };
        Room { allowance, is_due: self.is_due(task) }
    }

    /// What `task` may start now.
    fn allowance(&self, task: i32) -> Allowance {
        let others: usize =
            self.dealt.iter().filter(|(other, _)| **other != task).map(|(_, count)| count).sum();
        let share = self.free.saturating_sub(self.reserved).saturating_sub(others);
        Allowance { urgent: self.free, share }
    }

    /// Whether `task` wants something that it may start now.
    fn is_due(&self, task: i32) -> bool {
        let wants = self.wants.get(&task).copied().unwrap_or_default();
        let Allowance { urgent, share } = self.allowance(task);
        wants.urgent && urgent > 0 || wants.weight > 0 && share > 0
    }

    /// `task` was opened anew: what it wanted was said of a state that may be no more.
    pub fn forget(&mut self, task: i32) {
        self.wants.remove(&task);
        self.dealt.remove(&task);
    }

    /// `task` had its turn: it starts `started` effects, and would have started more.
    pub fn settle(&mut self, task: i32, started: usize, wants: Wants) {
        self.free = self.free.saturating_sub(started);
        self.dealt.remove(&task);
        if let Some(known) = self.wants.get_mut(&task) {
            *known = wants;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUSY: fn(u32) -> Wants = |weight| Wants { urgent: false, weight };

    /// A cycle in which every task takes all it may, up to what it has.
    fn cycle(slots: &mut Slots, free: usize, has: &mut BTreeMap<i32, usize>, weights: &[u32]) {
        slots.begin(free, 0, has.keys().copied().collect::<Vec<_>>().into_iter());
        for (task, has) in has.iter_mut() {
            let started = slots.allowance(*task).share.min(*has);
            *has -= started;
            let weight = if *has > 0 { weights[*task as usize] } else { 0 };
            slots.settle(*task, started, BUSY(weight));
        }
    }

    #[test]
    fn without_scarcity_the_first_takes_what_it_needs() {
        let mut slots = Slots::default();
        slots.begin(10, 2, [0, 1].into_iter());
        slots.settle(0, 0, BUSY(0));
        slots.settle(1, 0, BUSY(0));
        slots.begin(10, 2, [0, 1].into_iter());
        assert_eq!(slots.allowance(0), Allowance { urgent: 10, share: 8 });
        slots.settle(0, 7, BUSY(0));
        assert_eq!(slots.allowance(1), Allowance { urgent: 3, share: 1 });
    }

    #[test]
    fn there_may_be_no_bound() {
        let mut slots = Slots::default();
        slots.begin(usize::MAX, 0, [0, 1].into_iter());
        assert!(slots.allowance(0).share > 1 << 60 && slots.allowance(1).share > 1 << 60);
        slots.settle(0, 5, BUSY(0));
        assert_eq!(slots.allowance(1), Allowance { urgent: usize::MAX - 5, share: usize::MAX - 5 });
    }

    #[test]
    fn what_is_dealt_to_one_is_kept_from_others_but_for_what_is_urgent() {
        let mut slots = Slots::default();
        slots.begin(0, 1, [0, 1, 2].into_iter());
        slots.settle(0, 0, BUSY(3));
        slots.settle(1, 0, BUSY(1));
        slots.settle(2, 0, BUSY(0));
        slots.begin(5, 1, [0, 1, 2].into_iter());
        assert_eq!(slots.allowance(2), Allowance { urgent: 5, share: 0 });
        assert!(!slots.is_due(2));
        assert_eq!(slots.allowance(0).share + slots.allowance(1).share, 4);
        assert!(slots.is_due(0) && slots.is_due(1));
        // What one does not use is there for the rest of the cycle.
        slots.settle(0, 0, BUSY(0));
        assert_eq!(slots.allowance(2).share, 4 - slots.allowance(1).share.min(1));
    }

    #[test]
    fn a_task_that_was_never_asked_is_due() {
        let mut slots = Slots::default();
        slots.begin(1, 1, [7].into_iter());
        assert!(slots.is_due(7), "something urgent may wait in its store");
        slots.settle(7, 0, Wants::default());
        slots.begin(1, 1, [7].into_iter());
        assert!(!slots.is_due(7));
        // It goes away and comes back, or is restored here.
        slots.begin(1, 1, [8].into_iter());
        slots.begin(1, 1, [7].into_iter());
        assert!(slots.is_due(7));
        slots.settle(7, 0, Wants::default());
        slots.forget(7);
        slots.begin(1, 1, [7].into_iter());
        assert!(slots.is_due(7));
    }

    #[test]
    fn who_takes_no_part_has_no_room() {
        let mut slots = Slots::default();
        slots.begin(5, 0, [0].into_iter());
        let none = Room { allowance: Allowance::NONE, is_due: false };
        assert_eq!(slots.room(1), none);
        slots.settle(1, 0, BUSY(3));
        assert_eq!(slots.room(1), none);
        let allowance = Allowance { urgent: 5, share: 5 };
        assert_eq!(slots.room(0), Room { allowance, is_due: true });
    }

    #[test]
    fn reserved_slots_are_for_what_is_urgent() {
        let mut slots = Slots::default();
        slots.begin(0, 2, [0].into_iter());
        slots.settle(0, 0, BUSY(5));
        slots.begin(2, 2, [0].into_iter());
        assert_eq!(slots.allowance(0), Allowance { urgent: 2, share: 0 });
        assert!(!slots.is_due(0), "or it would be asked in vain again and again");
        slots.settle(0, 0, Wants { urgent: true, weight: 5 });
        slots.begin(2, 2, [0].into_iter());
        assert!(slots.is_due(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        /// Over any run in which all always want more, what each got differs in proportion to the
        /// weights by one turn each at most, whatever became free in each cycle.
        #[test]
        fn shares_follow_the_weights(
            weights in prop::collection::vec(1_u32..9, 2..6),
            free in prop::collection::vec(0_usize..20, 1..200),
        ) {
            const PLENTY: usize = 1_000_000;
            let mut has: BTreeMap<i32, usize> =
                (0..weights.len() as i32).map(|task| (task, PLENTY)).collect();
            let mut slots = Slots::default();
            cycle(&mut slots, 0, &mut has, &weights);
            let mut granted = 0;
            for free in free {
                cycle(&mut slots, free, &mut has, &weights);
                granted += free;
                let took: usize = has.values().map(|left| PLENTY - left).sum();
                prop_assert_eq!(took, granted, "no slot stays empty while someone wants it");
            }
            for (one, a) in &has {
                for (other, b) in &has {
                    let [a, b] = [(a, one), (b, other)]
                        .map(|(left, task)| (PLENTY - left) as f64 / f64::from(weights[*task as usize]));
                    prop_assert!((a - b).abs() <= 2.0, "{a} and {b} turns");
                }
            }
        }

        /// Whatever the tasks have and want, no more is started than is free, and something stays free
        /// only in a cycle in which a task turns out to want less than it was dealt.
        #[test]
        fn slots_are_neither_exceeded_nor_idle(
            has in prop::collection::vec(0_usize..50, 1..6),
            free in prop::collection::vec(1_usize..20, 1..60),
        ) {
            let weights = vec![1; has.len()];
            let mut has: BTreeMap<i32, usize> = (0_i32..).zip(has).collect();
            let mut slots = Slots::default();
            let (mut idle, tasks) = (0, has.len());
            for free in free {
                let before: usize = has.values().sum();
                cycle(&mut slots, free, &mut has, &weights);
                let started = before - has.values().sum::<usize>();
                prop_assert!(started <= free);
                idle += usize::from(started < free.min(before));
            }
            prop_assert!(idle <= tasks, "{idle} cycles with idle slots");
        }
    }
}
