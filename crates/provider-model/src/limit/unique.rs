//! Distinct users within a rolling span.

use std::collections::{BTreeMap, BTreeSet};

/// Users by the time of their last event, as far as that is within the span. A user counts from an
/// event until exactly one span after the last one.
#[derive(Clone, Debug)]
pub(crate) struct Unique {
    span_ms: i64,
    last: BTreeMap<u64, i64>,
    order: BTreeSet<(i64, u64)>,
}

impl Unique {
    pub(crate) fn new(span_ms: i64) -> Self {
        Self { span_ms, last: BTreeMap::new(), order: BTreeSet::new() }
    }

    pub(crate) fn len(&mut self, now_ms: i64) -> usize {
        while let Some((time, user)) = self.order.first().copied()
            && time <= now_ms - self.span_ms
        {
            self.order.pop_first();
            self.last.remove(&user);
        }
        self.last.len()
    }

    pub(crate) fn contains(&self, user: u64, now_ms: i64) -> bool {
        self.last.get(&user).is_some_and(|time| now_ms - time < self.span_ms)
    }

    pub(crate) fn note(&mut self, user: u64, now_ms: i64) {
        if let Some(time) = self.last.insert(user, now_ms) {
            self.order.remove(&(time, user));
        }
        self.order.insert((now_ms, user));
    }

    /// When the first user stops counting, if nothing happens before.
    pub(crate) fn room_at(&self) -> Option<i64> {
        self.order.first().map(|(time, _)| time + self.span_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_user_counts_for_one_span_after_the_last_event() {
        let mut users = Unique::new(100);
        users.note(1, 0);
        users.note(2, 10);
        users.note(1, 20);
        assert_eq!((users.len(20), users.room_at()), (2, Some(110)));
        assert_eq!(users.len(109), 2);
        assert_eq!(users.len(110), 1);
        assert!(users.contains(1, 119) && !users.contains(1, 120) && !users.contains(2, 110));
        assert_eq!((users.len(120), users.room_at()), (0, None));
    }

    proptest! {
        #[test]
        fn it_agrees_with_counting(events in prop::collection::vec((0..30_i64, 0..20_u64), 1..200)) {
            let (mut users, mut all, mut now_ms) = (Unique::new(100), Vec::new(), 0);
            for (step, user) in events {
                now_ms += step;
                users.note(user, now_ms);
                all.push((now_ms, user));
                let recent = all.iter().filter(|(time, _)| now_ms - time < 100);
                let distinct: BTreeSet<u64> = recent.map(|(_, user)| *user).collect();
                prop_assert_eq!(users.len(now_ms), distinct.len());
                for user in 0..20 {
                    prop_assert_eq!(users.contains(user, now_ms), distinct.contains(&user));
                }
            }
        }
    }
}
