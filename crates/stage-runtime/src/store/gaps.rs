//! Where a store is known to hold nothing.
//!
//! Queues and timers are deleted at their head. Until RocksDB compacts them away, whoever looks for
//! the head wades through the tombstones of everything that ever stood before it, and timers that
//! were cancelled lie between those that were not: with a campaign under way some 1,000 at each look,
//! several looks a cycle, and that was half of what the send stage did between two commits. A gap is
//! learned from the first reader that had to wade, and kept exact by the writes that follow.

use std::collections::BTreeMap;
use std::ops::Bound;

/// More gaps than this are not kept. What is forgotten costs a slow look again, nothing else.
const GAPS_MAX: usize = 1_024;

/// Ranges of keys under which nothing is stored: `start` to `end`, the end excluded. They do not
/// overlap.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<Vec<u8>, Vec<u8>>);

impl Gaps {
    /// Where a reader that begins at `from` finds the first entry at the earliest.
    pub fn first_after(&self, from: &[u8]) -> Option<Vec<u8>> {
        self.around(from).map(|(_, end)| end.clone())
    }

    /// Nothing is stored from `from` to `to`, which is excluded.
    pub fn learn(&mut self, from: &[u8], to: &[u8]) {
        if from >= to {
            return;
        }
        let (mut start, mut end) = (from.to_vec(), to.to_vec());
        // One that begins earlier and reaches `from`.
        if let Some((earlier, reached)) = self.before(from)
            && reached[..] >= *from
        {
            start = earlier.clone();
        }
        let met = (Bound::Included(start.clone()), Bound::Included(end.clone()));
        let met: Vec<Vec<u8>> = self.0.range(met).map(|(start, _)| start.clone()).collect();
        for one in met {
            let reached = self.0.remove(&one).expect("a key of the map");
            end = end.max(reached);
        }
        if self.0.len() >= GAPS_MAX {
            self.0.clear();
        }
        self.0.insert(start, end);
    }

    /// Something is about to be stored under `key`.
    pub fn wrote(&mut self, key: &[u8]) {
        let Some((start, end)) = self.around(key) else { return };
        let (start, end) = (start.clone(), end.clone());
        let after = successor(key);
        if start[..] < *key {
            self.0.insert(start, key.to_vec());
        } else {
            self.0.remove(&start);
        }
        if after < end && self.0.len() < GAPS_MAX {
            self.0.insert(after, end);
        }
    }

    /// What stood under `key` is gone. A gap at its side grows; alone it is not worth one.
    pub fn removed(&mut self, key: &[u8]) {
        let after = successor(key);
        let touches_before = self.before(key).is_some_and(|(_, end)| end[..] == *key);
        if touches_before || self.0.contains_key(&after) {
            self.learn(key, &after);
        }
    }

    /// Anything may be stored anywhere.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// The gap that `key` lies in.
    fn around(&self, key: &[u8]) -> Option<(&Vec<u8>, &Vec<u8>)> {
        let upto = (Bound::Unbounded, Bound::Included(key));
        self.0.range::<[u8], _>(upto).next_back().filter(|(_, end)| end[..] > *key)
    }

    /// The last gap that begins before `key`.
    fn before(&self, key: &[u8]) -> Option<(&Vec<u8>, &Vec<u8>)> {
        self.0.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key))).next_back()
    }
}

/// The next key in byte order.
pub(super) fn successor(key: &[u8]) -> Vec<u8> {
    let mut after = Vec::with_capacity(key.len() + 1);
    after.extend_from_slice(key);
    after.push(0);
    after
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0u8..3, 1..4)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(Vec<u8>),
        Delete(Vec<u8>),
        /// Reads from here to there, at most one entry, and learns what it walked over.
        Scan(Vec<u8>, Vec<u8>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            key().prop_map(Step::Put),
            key().prop_map(Step::Delete),
            (key(), key()).prop_map(|(from, to)| Step::Scan(from, to)),
        ]
    }

    proptest! {
        /// A reader who jumps over gaps finds what one finds who does not.
        #[test]
        fn no_gap_hides_an_entry(steps in prop::collection::vec(step(), 0..60)) {
            let mut gaps = Gaps::default();
            let mut stored: BTreeMap<Vec<u8>, ()> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(key) => {
                        gaps.wrote(&key);
                        stored.insert(key, ());
                    }
                    Step::Delete(key) => {
                        stored.remove(&key);
                        gaps.removed(&key);
                    }
                    Step::Scan(from, to) if from < to => {
                        let first = |from: Vec<u8>| {
                            (from < to)
                                .then(|| stored.range(from..to.clone()).next().map(|(key, ())| key))
                                .flatten()
                        };
                        let jumped = gaps.first_after(&from).unwrap_or_else(|| from.clone());
                        let found = first(from.clone());
                        prop_assert_eq!(first(jumped), found);
                        let learned = found.unwrap_or(&to);
                        gaps.learn(&from, learned);
                        let known = gaps.first_after(&from);
                        prop_assert_eq!(known.is_none(), found == Some(&from));
                        prop_assert!(known.is_none_or(|known| known >= *learned));
                    }
                    Step::Scan(..) => {}
                }
                for (start, end) in &gaps.0 {
                    prop_assert!(stored.range(start.clone()..end.clone()).next().is_none());
                }
                let ends: Vec<_> = gaps.0.iter().flat_map(|(start, end)| [start, end]).collect();
                prop_assert!(ends.is_sorted() && ends.windows(2).all(|pair| pair[0] <= pair[1]));
            }
        }
    }

    #[test]
    fn a_queue_that_is_served_at_its_head_stays_one_gap() {
        let mut gaps = Gaps::default();
        gaps.learn(b"q", b"q100");
        for n in 100..900 {
            let head = format!("q{n}").into_bytes();
            gaps.removed(&head);
            // The next reader walks to the entry behind it.
            let next = format!("q{}", n + 1).into_bytes();
            let from = gaps.first_after(b"q").expect("a gap");
            gaps.learn(&from, &next);
        }
        assert_eq!(gaps.first_after(b"q"), Some(b"q900".to_vec()));
        assert_eq!(gaps.0.len(), 1);
    }

    #[test]
    fn an_entry_within_a_gap_splits_it_until_it_is_gone() {
        let mut gaps = Gaps::default();
        gaps.learn(b"a", b"z");
        gaps.wrote(b"m");
        assert_eq!(gaps.first_after(b"a"), Some(b"m".to_vec()));
        assert_eq!(gaps.first_after(b"m"), None);
        assert_eq!(gaps.first_after(b"n"), Some(b"z".to_vec()));
        gaps.removed(b"m");
        assert_eq!(gaps.first_after(b"a"), Some(b"z".to_vec()));
    }

    #[test]
    fn there_are_never_too_many() {
        let mut gaps = Gaps::default();
        for n in 0..3_000_u32 {
            let from = n.to_be_bytes();
            gaps.learn(&[&from[..], &[1]].concat(), &[&from[..], &[2]].concat());
            assert!(gaps.0.len() <= GAPS_MAX);
        }
        gaps.learn(b"x", b"y");
        assert_eq!(gaps.first_after(b"x"), Some(b"y".to_vec()), "the newest is known");
        for n in 0..3_000_u16 {
            gaps.wrote(&[b"x", &n.to_be_bytes()[..]].concat());
            assert!(gaps.0.len() <= GAPS_MAX);
        }
    }
}
