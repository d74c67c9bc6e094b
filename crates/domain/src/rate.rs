//! Rate limits as data: GCRA, a leaky bucket that is one number.
//!
//! **The bound.** With `rate` admissions a second and a burst of `burst`, a half-open window
//! `[t, t + 1 s)` never holds more than `rate + burst - 1` admissions, and the closed window
//! `[t, t + 1 s]` never more than `rate + burst`, for every `t`. So a burst of 1 holds a true
//! `rate` in any sliding half-open second. Time is in whole milliseconds, and an admission may come
//! up to one millisecond before its exact time; that costs nothing, because two times in a
//! half-open second are at most 999 ms apart.
//!
//! **How send uses it** (I8). The window in which Meta counts is not known, so the limit of a
//! number is [`Limit::under_ceiling`], which holds the ceiling in every closed second and still
//! reaches 79 of 80 and 999 of 1,000 with a burst of 1. The bound holds for the times given to
//! [`Gcra::debit`]; a pacer debits at the start of a call, so what reaches Meta differs by the
//! spread of connection times, for which send takes its safety margin off the ceiling first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Nanoseconds between two admissions; `None` admits nothing.
    interval_nanos: Option<i64>,
    /// Admissions that may come at once after a rest, at least 1.
    burst: u32,
}

impl Limit {
    /// Admits nothing: a switch that is off, a rate of zero.
    pub const CLOSED: Limit = Limit { interval_nanos: None, burst: 1 };

    /// `per_second` admissions a second on average, `burst` of them at once. A rate of 0 is
    /// [`Self::CLOSED`], a burst of 0 means 1.
    pub fn per_second(per_second: u32, burst: u32) -> Self {
        if per_second == 0 {
            return Self::CLOSED;
        }
        // Rounded up: an interval that is too short would break the bound.
        let interval = (NANOS_PER_SECOND as u64).div_ceil(u64::from(per_second));
        Self { interval_nanos: Some(interval as i64), burst: burst.max(1) }
    }

    /// One admission every `interval`, `burst` at once. Meta's limit for one pair of number and
    /// user is one every 6 s and 45 at once.
    pub fn one_per(interval: Duration, burst: u32) -> Self {
        let nanos = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
        Self { interval_nanos: Some(nanos), burst: burst.max(1) }
    }

    /// The fastest limit that no closed second exceeds: `ceiling - burst` a second, at least one.
    /// A ceiling of 0 is [`Self::CLOSED`].
    pub fn under_ceiling(ceiling: u32, burst: u32) -> Self {
        if ceiling == 0 {
            return Self::CLOSED;
        }
        let burst = burst.clamp(1, ceiling);
        Self::per_second(ceiling.saturating_sub(burst).max(1), burst)
    }

    /// Admissions a second on average.
    pub fn rate(&self) -> f64 {
        self.interval_nanos.map_or(0.0, |nanos| NANOS_PER_SECOND as f64 / nanos as f64)
    }

    /// The same rate without a burst.
    pub fn even(self) -> Self {
        Self { burst: 1, ..self }
    }

    /// The same limit at `permille` thousandths of its rate and burst, at least 1 of each.
    pub fn at_share(self, permille: u32) -> Self {
        let permille = permille.clamp(1, 1_000);
        let slower = |nanos: i64| {
            // Rounded up: a shorter interval would be a higher rate.
            let slowed = (nanos.unsigned_abs().saturating_mul(1_000)).div_ceil(permille.into());
            i64::try_from(slowed).unwrap_or(i64::MAX)
        };
        let burst = u64::from(self.burst) * u64::from(permille) / 1_000;
        Self { interval_nanos: self.interval_nanos.map(slower), burst: (burst as u32).max(1) }
    }
}

/// What a limit has been used for: the theoretical arrival time, in nanoseconds since the epoch, at
/// which the bucket is empty again. The default is an unused bucket.
///
/// It is absolute time, so it survives a restart, and a limit may change between two debits; the
/// bound is then that of the larger limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gcra {
    tat: i64,
}

impl Gcra {
    /// When the next admission may happen: `now` if at once, otherwise the first millisecond.
    /// [`Timestamp`] at its maximum when the limit is closed.
    pub fn earliest(&self, limit: Limit, now: Timestamp) -> Timestamp {
        let Some(interval) = limit.interval_nanos else {
            return Timestamp::from_millis(i64::MAX);
        };
        let tolerance = interval.saturating_mul(i64::from(limit.burst) - 1);
        let at = self.tat.saturating_sub(tolerance).div_euclid(NANOS_PER_MILLI);
        now.max(Timestamp::from_millis(at))
    }

    /// Whether an admission may happen at `now`.
    pub fn admits(&self, limit: Limit, now: Timestamp) -> bool {
        self.earliest(limit, now) <= now
    }

    /// When nothing of the bucket is used any more: a bucket that was never used says the same.
    pub fn empty_at(&self) -> Timestamp {
        // Rounded up to the next millisecond, in which it is surely empty.
        Timestamp::from_millis(self.tat.div_euclid(NANOS_PER_MILLI).saturating_add(1))
    }

    /// Counts an admission at `now`. It does not ask whether it was allowed: a call that happened
    /// is paid for, and the debt delays the next one. A closed limit counts nothing.
    pub fn debit(&mut self, limit: Limit, now: Timestamp) {
        let Some(interval) = limit.interval_nanos else {
            return;
        };
        let now = now.as_millis().saturating_mul(NANOS_PER_MILLI);
        self.tat = self.tat.max(now).saturating_add(interval);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, I64Deserializer};

    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    fn ms(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Admits each arrival when it comes, or at the earliest time when `patient`; returns the
    /// times.
    fn admissions(limit: Limit, arrivals: &[i64], patient: bool) -> Vec<i64> {
        let mut bucket = Gcra::default();
        let mut admitted: Vec<i64> = Vec::new();
        for arrival in arrivals {
            let now = ms((*arrival).max(admitted.last().copied().unwrap_or(i64::MIN)));
            let at = bucket.earliest(limit, now);
            if patient || at == now {
                bucket = round_trip(bucket);
                bucket.debit(limit, at);
                admitted.push(at.as_millis());
            }
        }
        admitted
    }

    /// Through serde's data model, which is what any format stores.
    fn round_trip(bucket: Gcra) -> Gcra {
        struct Text(Gcra);
        impl std::fmt::Display for Text {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.serialize(f)
            }
        }
        let stored: i64 = Text(bucket).to_string().parse().unwrap();
        let deserializer: I64Deserializer<Error> = stored.into_deserializer();
        Gcra::deserialize(deserializer).unwrap()
    }

    /// The most admissions in any window that starts at one, `length_ms` long, ends included.
    fn most_in_a_window(admitted: &[i64], length_ms: i64) -> usize {
        let in_window = |start: usize| {
            admitted[start..].iter().take_while(|at| **at - admitted[start] <= length_ms).count()
        };
        (0..admitted.len()).map(in_window).max().unwrap_or(0)
    }

    #[test]
    fn reaches_its_rate_and_no_more() {
        for (rate, burst) in [(1, 1), (3, 1), (20, 1), (80, 1), (80, 8), (300, 1), (999, 3)] {
            let limit = Limit::per_second(rate, burst);
            let greedy = vec![START_MS; 10 * rate as usize];
            let admitted = admissions(limit, &greedy, true);
            let most = most_in_a_window(&admitted, 999);
            assert!((most as u32) < rate + burst, "{rate} {burst}: {most}");
            let span_ms = admitted[admitted.len() - 1] - admitted[0];
            assert!(span_ms <= 10_000, "{rate} {burst}: {span_ms} ms for ten seconds' worth");
        }
    }

    #[test]
    fn holds_the_ceiling_in_a_closed_second() {
        for (ceiling, burst) in [(80, 1), (1_000, 1), (1_000, 10), (20, 2)] {
            let limit = Limit::under_ceiling(ceiling, burst);
            let admitted = admissions(limit, &vec![START_MS; 5 * ceiling as usize], true);
            assert!(most_in_a_window(&admitted, 1_000) as u32 <= ceiling);
            let rate = admitted.len() as f64 * 1_000.0
                / (admitted[admitted.len() - 1] - admitted[0]) as f64;
            assert!(rate >= 0.9 * f64::from(ceiling), "{ceiling} {burst}: {rate}");
        }
        let limit = Limit::under_ceiling(80, 1);
        assert_eq!(limit, Limit::per_second(79, 1));
        assert_eq!(Limit::under_ceiling(1, 5), Limit::per_second(1, 1));
        assert_eq!(Limit::under_ceiling(0, 1), Limit::CLOSED);
    }

    #[test]
    fn a_pair_takes_its_burst_and_then_one_every_six_seconds() {
        let pair = Limit::one_per(Duration::from_secs(6), 45);
        let admitted = admissions(pair, &[START_MS; 47], true);
        assert_eq!(admitted[44], START_MS);
        assert_eq!(admitted[45], START_MS + 6_000);
        assert_eq!(admitted[46], START_MS + 12_000);
    }

    #[test]
    fn a_debit_without_leave_delays_the_next_admission() {
        let limit = Limit::per_second(10, 1);
        let mut bucket = Gcra::default();
        for _ in 0..3 {
            bucket.debit(limit, ms(START_MS));
        }
        assert_eq!(bucket.earliest(limit, ms(START_MS)), ms(START_MS + 300));
        assert!(!bucket.admits(limit, ms(START_MS + 299)));
        assert!(bucket.admits(limit, ms(START_MS + 300)));
    }

    #[test]
    fn a_closed_limit_admits_nothing_and_counts_nothing() {
        let mut bucket = Gcra::default();
        for closed in [Limit::CLOSED, Limit::per_second(0, 9)] {
            assert!(!bucket.admits(closed, ms(START_MS)));
            bucket.debit(closed, ms(START_MS));
        }
        assert_eq!(bucket, Gcra::default());
        assert_eq!(Limit::per_second(5, 0), Limit::per_second(5, 1));
    }

    #[test]
    fn a_far_time_saturates() {
        let mut bucket = Gcra::default();
        bucket.debit(Limit::one_per(Duration::MAX, u32::MAX), ms(i64::MAX));
        assert_eq!(bucket, Gcra { tat: i64::MAX });
        assert!(!bucket.admits(Limit::per_second(1, 1), ms(START_MS)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn no_window_holds_more_than_the_bound(
            rate in 1_u32..1_500,
            burst in 1_u32..50,
            gaps_ms in prop::collection::vec(prop_oneof![6 => 0_i64..3, 1 => 0_i64..2_000], 1..600),
            patient in any::<bool>(),
        ) {
            let mut now = START_MS;
            let arrivals: Vec<i64> = gaps_ms.iter().map(|gap| { now += gap; now }).collect();
            let admitted = admissions(Limit::per_second(rate, burst), &arrivals, patient);
            prop_assert!((most_in_a_window(&admitted, 999) as u32) < rate + burst);
            prop_assert!(most_in_a_window(&admitted, 1_000) as u32 <= rate + burst);
        }

        #[test]
        fn a_stored_bucket_is_the_same(tat in any::<i64>()) {
            prop_assert_eq!(round_trip(Gcra { tat }), Gcra { tat });
        }
    }
}
