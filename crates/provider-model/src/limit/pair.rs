//! The pair of business number and recipient: rate, service window, marketing preference.

use crate::config::{PairLimit, PairModel};

/// Meta's customer service window.
pub const SERVICE_WINDOW_MS: i64 = 24 * 3_600_000;

/// What is known of one (business number, recipient).
#[derive(Clone, Debug, Default)]
pub(crate) struct Pair {
    /// When the bucket would be full again, or the debt paid (generic cell rate algorithm).
    full_at_ms: i64,
    /// [`PairModel::Borrowing`]: start and messages of the running burst.
    burst_from_ms: i64,
    burst: u32,
    pub(crate) inbound_at_ms: Option<i64>,
    pub(crate) marketing_stopped: bool,
    /// When the business learnt that Meta keeps marketing from this recipient (131049).
    pub(crate) capped_at_ms: Option<i64>,
}

impl Pair {
    /// Takes one message; when none is left, from when on there is one again.
    pub(crate) fn take(
        &mut self,
        limit: PairLimit,
        model: PairModel,
        now_ms: i64,
    ) -> Result<(), i64> {
        if limit.burst == 0 {
            return Ok(());
        }
        match model {
            PairModel::TokenBucket => {
                let start = self.full_at_ms.max(now_ms);
                let credit_ms = (i64::from(limit.burst) - 1) * limit.refill_ms;
                if start - now_ms > credit_ms {
                    return Err(self.full_at_ms - credit_ms);
                }
                self.full_at_ms = start + limit.refill_ms;
            }
            PairModel::Borrowing if now_ms >= self.full_at_ms => {
                (self.burst_from_ms, self.burst) = (now_ms, 1);
                self.full_at_ms = now_ms + limit.refill_ms;
            }
            PairModel::Borrowing => {
                let in_burst = now_ms - self.burst_from_ms < limit.refill_ms;
                if !in_burst || self.burst >= limit.burst {
                    return Err(self.full_at_ms);
                }
                self.burst += 1;
                self.full_at_ms += limit.refill_ms;
            }
        }
        Ok(())
    }

    pub(crate) fn service_window_open(&self, now_ms: i64) -> bool {
        self.inbound_at_ms.is_some_and(|at| now_ms - at < SERVICE_WINDOW_MS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: PairLimit = PairLimit { burst: 45, refill_ms: 6_000 };

    #[test]
    fn the_bucket_bursts_and_refills() {
        let mut pair = Pair::default();
        let mut take = |now_ms| pair.take(LIMIT, PairModel::TokenBucket, now_ms);
        assert_eq!((0..100).filter(|_| take(0).is_ok()).count(), 45);
        assert_eq!(take(5_999), Err(6_000));
        assert_eq!(take(6_000), Ok(()));
        assert_eq!(take(6_000), Err(12_000));
        let full = (0..100).filter(|_| take(10_000_000).is_ok()).count();
        assert_eq!(full, 45, "never above");
    }

    #[test]
    fn a_borrowed_burst_is_paid_back_before_the_next_message() {
        let mut pair = Pair::default();
        let mut take = |now_ms| pair.take(LIMIT, PairModel::Borrowing, now_ms);
        // Meta's example: 20 in a burst, then about two minutes of silence.
        assert!((0..20).all(|call| take(call * 100).is_ok()));
        assert_eq!(take(6_000), Err(120_000), "the burst lasts one interval");
        assert_eq!(take(119_999), Err(120_000));
        assert_eq!(take(120_000), Ok(()));
        assert_eq!(take(126_000), Ok(()), "one per interval without debt");
        let burst = (0..100).filter(|_| take(132_000).is_ok()).count();
        assert_eq!(burst, 45);
        assert_eq!(take(137_999), Err(132_000 + 45 * 6_000));
    }

    #[test]
    fn a_burst_of_zero_switches_the_limit_off() {
        let off = PairLimit { burst: 0, refill_ms: 0 };
        let mut pair = Pair::default();
        for model in [PairModel::TokenBucket, PairModel::Borrowing] {
            assert!((0..100).all(|_| pair.take(off, model, 0).is_ok()));
        }
    }

    #[test]
    fn the_service_window_lasts_a_day() {
        let mut pair = Pair::default();
        assert!(!pair.service_window_open(0));
        pair.inbound_at_ms = Some(5);
        assert!(pair.service_window_open(5 + SERVICE_WINDOW_MS - 1));
        assert!(!pair.service_window_open(5 + SERVICE_WINDOW_MS));
    }

    /// Calls at the given distances; times of the ones that are taken.
    fn taken(model: PairModel, steps: &[i64]) -> Vec<i64> {
        let (mut pair, mut now_ms, mut taken) = (Pair::default(), 1, Vec::new());
        for step in steps {
            now_ms += step;
            if pair.take(LIMIT, model, now_ms).is_ok() {
                taken.push(now_ms);
            }
        }
        taken
    }

    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![4 => 0..200_i64, 1 => 0..9_000_i64, 1 => 0..400_000_i64];
        prop::collection::vec(step, 1..400)
    }

    proptest! {
        /// From any taken message on, n intervals hold at most burst + n messages.
        #[test]
        fn no_span_holds_more_than_burst_and_refill(steps in steps(), borrow in any::<bool>()) {
            let model = if borrow { PairModel::Borrowing } else { PairModel::TokenBucket };
            let taken = taken(model, &steps);
            for (index, from) in taken.iter().enumerate() {
                for (later, to) in taken[index..].iter().enumerate() {
                    let earned = (to - from) / LIMIT.refill_ms;
                    prop_assert!((later as i64) < i64::from(LIMIT.burst) + earned);
                }
            }
        }

        /// So a caller that respects the borrowing model has nothing to fear from the other one.
        #[test]
        fn what_borrowing_allows_the_bucket_allows(steps in steps()) {
            let mut bucket = Pair::default();
            for now_ms in taken(PairModel::Borrowing, &steps) {
                prop_assert_eq!(bucket.take(LIMIT, PairModel::TokenBucket, now_ms), Ok(()));
            }
        }

        #[test]
        fn a_refusal_names_the_first_moment_that_is_allowed(steps in steps(), borrow in any::<bool>()) {
            let model = if borrow { PairModel::Borrowing } else { PairModel::TokenBucket };
            let (mut pair, mut now_ms) = (Pair::default(), 1);
            for step in steps {
                now_ms += step;
                if let Err(at_ms) = pair.take(LIMIT, model, now_ms) {
                    prop_assert!(at_ms > now_ms);
                    prop_assert!(pair.clone().take(LIMIT, model, at_ms - 1).is_err());
                    prop_assert!(pair.clone().take(LIMIT, model, at_ms).is_ok());
                }
            }
        }
    }
}
