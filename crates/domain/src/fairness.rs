//! Deficit round robin with unit costs: who takes next when many want the same scarce thing.
//!
//! Contenders stand in a ring, ordered by their keys. Each in turn may take up to its quantum; one
//! that wants no more gives its turn away, one that is interrupted because nothing is left goes on
//! where it stopped. With a cost of one per taking, the deficit of the classical algorithm
//! (Shreedhar and Varghese, 1995) is nothing but the rest of an interrupted turn.
//!
//! **The bound** (I9). Between the moment a contender starts to want something and its first
//! taking, every other contender takes at most one quantum, and over any span in which two
//! contenders always want something, what they took differs in proportion to their quanta by at
//! most one quantum each.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

/// Whose turn it is. The default starts with the first contender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round<K> {
    /// Whose turn it is, or was last.
    at: Option<K>,
    /// What is left of its turn; 0 when the turn is over.
    left: u32,
}

impl<K> Default for Round<K> {
    fn default() -> Self {
        Self { at: None, left: 0 }
    }
}

impl<K: Ord + Clone> Round<K> {
    /// The contender whose turn it is, and how much it may take; `None` when there is none.
    ///
    /// `first` finds the smallest contender within a lower bound, `quantum` says how much one may
    /// take in a turn (at least 1). Asking again without [`Self::took`] or [`Self::pass`] gives the
    /// same answer as long as that contender is there.
    pub fn turn(
        &mut self,
        mut first: impl FnMut(Bound<&K>) -> Option<K>,
        quantum: impl FnOnce(&K) -> u32,
    ) -> Option<(K, u32)> {
        if self.left > 0
            && let Some(at) = &self.at
            && first(Bound::Included(at)).as_ref() == Some(at)
        {
            return Some((at.clone(), self.left));
        }
        let after = self.at.as_ref().and_then(|at| first(Bound::Excluded(at)));
        let next = after.or_else(|| first(Bound::Unbounded))?;
        self.left = quantum(&next).max(1);
        self.at = Some(next.clone());
        Some((next, self.left))
    }

    /// The contender whose turn it is took `count`.
    pub fn took(&mut self, count: u32) {
        self.left = self.left.saturating_sub(count);
    }

    /// It wants no more for now.
    pub fn pass(&mut self) {
        self.left = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What each contender still wants.
    type Wants = BTreeMap<u8, u32>;

    fn first(wants: &Wants, from: Bound<&u8>) -> Option<u8> {
        let from = from.cloned();
        wants.range((from, Bound::Unbounded)).find(|(_, want)| **want > 0).map(|(key, _)| *key)
    }

    /// One unit for whoever is next; `None` when nobody wants anything.
    fn take_one(round: &mut Round<u8>, wants: &mut Wants, quanta: &Wants) -> Option<u8> {
        let (key, allowed) = round.turn(|from| first(wants, from), |key| quanta[key])?;
        assert!(allowed > 0);
        let want = wants.get_mut(&key).unwrap();
        *want -= 1;
        round.took(1);
        if *want == 0 {
            round.pass();
        }
        Some(key)
    }

    #[test]
    fn an_interrupted_turn_goes_on() {
        let wants: Wants = [(1, 10), (2, 10)].into();
        let mut round = Round::default();
        let ask = |round: &mut Round<u8>| round.turn(|from| first(&wants, from), |_| 5);
        assert_eq!(ask(&mut round), Some((1, 5)));
        round.took(3);
        assert_eq!(ask(&mut round), Some((1, 2)), "no new quantum");
        round.took(2);
        assert_eq!(ask(&mut round), Some((2, 5)));
        round.pass();
        assert_eq!(ask(&mut round), Some((1, 5)), "around the ring");
    }

    #[test]
    fn a_turn_ends_with_its_contender() {
        let mut round = Round::default();
        assert_eq!(round.turn(|_| Some(3_u8), |_| 4), Some((3, 4)));
        let wants: Wants = [(1, 1), (7, 1)].into();
        assert_eq!(round.turn(|from| first(&wants, from), |_| 4), Some((7, 4)));
        assert_eq!(round.turn(|_| None::<u8>, |_| 4), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        /// Jain's index of equal contenders over any stretch is as good as the quantum allows, and
        /// nobody waits for more than a quantum of each other one.
        #[test]
        fn shares_follow_the_quanta(
            quanta in prop::collection::btree_map(0_u8..20, 1_u32..6, 2..8),
            steps in 50_usize..400,
        ) {
            let mut wants: Wants = quanta.keys().map(|key| (*key, u32::MAX)).collect();
            let mut round = Round::default();
            let mut taken: BTreeMap<u8, u32> = BTreeMap::new();
            let mut waits: BTreeMap<u8, u32> = BTreeMap::new();
            let all: u32 = quanta.values().sum();
            for _ in 0..steps {
                let key = take_one(&mut round, &mut wants, &quanta).unwrap();
                *taken.entry(key).or_default() += 1;
                for other in quanta.keys().filter(|other| **other != key) {
                    let wait = waits.entry(*other).or_default();
                    *wait += 1;
                    prop_assert!(*wait <= all - quanta[other], "{other} waited {wait}");
                }
                waits.insert(key, 0);
            }
            for (a, quantum_a) in &quanta {
                for (b, quantum_b) in &quanta {
                    let turns = |key: &u8, quantum: &u32| {
                        f64::from(*taken.get(key).unwrap_or(&0)) / f64::from(*quantum)
                    };
                    prop_assert!((turns(a, quantum_a) - turns(b, quantum_b)).abs() <= 1.0);
                }
            }
        }

        /// Whoever comes and goes, a newcomer waits for at most one quantum of each other one.
        #[test]
        fn a_newcomer_is_served_within_one_round(
            arrivals in prop::collection::vec((0_u8..10, 1_u32..30), 1..60),
            quantum in 1_u32..8,
        ) {
            let quanta: Wants = (0..10).map(|key| (key, quantum)).collect();
            let mut wants: Wants = quanta.keys().map(|key| (*key, 0)).collect();
            let mut round = Round::default();
            let mut waits: BTreeMap<u8, u32> = BTreeMap::new();
            for (key, count) in arrivals {
                *wants.get_mut(&key).unwrap() += count;
                for _ in 0..5 {
                    let Some(served) = take_one(&mut round, &mut wants, &quanta) else { break };
                    waits.remove(&served);
                    for (other, _) in wants.iter().filter(|(o, w)| **w > 0 && **o != served) {
                        let wait = waits.entry(*other).or_default();
                        *wait += 1;
                        prop_assert!(*wait <= 9 * quantum, "{other} waited {wait}");
                    }
                }
            }
        }
    }
}
