//! How much of a ceiling is used: less after a refusal, more again with time.
//!
//! Additive increase and multiplicative decrease, as in TCP: a refusal for going too fast halves
//! the share, every second without one gives [`RECOVERY_PERMILLE`] back. One overload refuses many
//! calls at once, so it counts once: only a call that was granted after the last decrease can cause
//! the next one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The whole ceiling.
pub const FULL_PERMILLE: u32 = 1_000;

/// Never less than this, so that recovery is noticed.
pub const FLOOR_PERMILLE: u32 = 50;

/// Share given back each second: from one halving in 10 s.
pub const RECOVERY_PERMILLE: u32 = 50;

/// The share of a ceiling, and since when. The default is the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// What was taken away at `since`, in thousandths.
    reduced_permille: u32,
    since: Timestamp,
}

impl Throttle {
    /// The share at `now`, in thousandths: from [`FLOOR_PERMILLE`] to [`FULL_PERMILLE`].
    pub fn share_permille(&self, now: Timestamp) -> u32 {
        let millis = now.since(self.since).as_millis();
        let recovered = millis.saturating_mul(u128::from(RECOVERY_PERMILLE)) / 1_000;
        let recovered = u32::try_from(recovered).unwrap_or(u32::MAX);
        FULL_PERMILLE - self.reduced_permille.saturating_sub(recovered).min(FULL_PERMILLE)
    }

    /// A call that was granted at `granted_at` was refused for going too fast. True if that
    /// reduced the share.
    pub fn refused(&mut self, granted_at: Timestamp, now: Timestamp) -> bool {
        if self.reduced_permille > 0 && granted_at <= self.since {
            return false;
        }
        let share = (self.share_permille(now) / 2).max(FLOOR_PERMILLE);
        self.reduced_permille = FULL_PERMILLE - share;
        self.since = now;
        true
    }

    /// When the whole is used again, if nothing more is refused.
    pub fn recovered_at(&self) -> Timestamp {
        let millis = u64::from(self.reduced_permille) * 1_000 / u64::from(RECOVERY_PERMILLE);
        self.since + Duration::from_millis(millis)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rate::Limit;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn at(millis: u64) -> Timestamp {
        START + Duration::from_millis(millis)
    }

    #[test]
    fn one_overload_counts_once_and_is_forgotten() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.share_permille(START), 1_000);
        assert!(throttle.refused(at(0), at(100)));
        assert_eq!(throttle.share_permille(at(100)), 500);
        assert!(!throttle.refused(at(50), at(150)), "granted before the decrease");
        assert_eq!(throttle.share_permille(at(1_100)), 550);
        assert!(throttle.refused(at(1_000), at(1_100)));
        assert_eq!(throttle.share_permille(at(1_100)), 275);
        assert_eq!(throttle.recovered_at(), at(1_100 + 14_500));
        assert_eq!(throttle.share_permille(at(15_500)), FULL_PERMILLE - 5);
        assert_eq!(throttle.share_permille(at(15_600)), FULL_PERMILLE);
    }

    #[test]
    fn a_storm_stops_at_the_floor() {
        let mut throttle = Throttle::default();
        for n in 1..50 {
            throttle.refused(at(n * 10 - 1), at(n * 10));
        }
        assert_eq!(throttle.share_permille(at(490)), FLOOR_PERMILLE);
        let slowed = Limit::per_second(80, 8).at_share(throttle.share_permille(at(490)));
        assert_eq!(slowed, Limit::per_second(4, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn the_share_stays_within_its_bounds_and_only_refusals_lower_it(
            steps in prop::collection::vec((0_u64..3_000, any::<bool>()), 1..100),
        ) {
            let mut throttle = Throttle::default();
            let mut now = 0;
            let mut before = FULL_PERMILLE;
            for (gap, is_refused) in steps {
                now += gap;
                let share = throttle.share_permille(at(now));
                prop_assert!((FLOOR_PERMILLE..=FULL_PERMILLE).contains(&share));
                prop_assert!(share >= before, "time only gives back");
                if is_refused {
                    throttle.refused(at(now), at(now));
                }
                before = throttle.share_permille(at(now));
                prop_assert!(before <= share);
            }
            prop_assert_eq!(throttle.share_permille(throttle.recovered_at()), FULL_PERMILLE);
        }
    }
}
