//! A circuit breaker: stops calling what does not answer, and tries with single calls.
//!
//! ```text
//! Closed ──[`FAILURES_MAX`] failures in a row──▶ Open until a time ──▶ HalfOpen: one probe
//!    ▲                                             ▲                     │        │
//!    └──────────────── any success ◀───────────────┴─────── failed ◀─────┘        │
//!    ▲                                             a longer step                  │
//!    └────────────────────────────────── succeeded ◀──────────────────────────────┘
//! ```
//!
//! A success closes it whatever call it came from: it proves that the other side works. A failure
//! of a call that was granted before it opened says nothing new.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::INTENT_ANSWER_MAX;
use crate::time::Timestamp;

/// Failures in a row that open it.
pub const FAILURES_MAX: u32 = 5;

/// How long it stays open, the first time, the second time and so on; the last one repeats.
pub const OPEN_STEPS: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(45)];

/// A breaker. The default is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Breaker {
    /// Calls are made.
    #[default]
    Closed,
    /// Calls are made, the last ones failed.
    Failing {
        /// How many in a row.
        failures: u32,
    },
    /// No calls.
    Open {
        /// How often it opened in a row, from 1.
        times: u32,
        /// Since when.
        since: Timestamp,
        /// When a probe may be made.
        until: Timestamp,
    },
    /// One call was made to see.
    HalfOpen {
        /// How often it opened in a row, from 1.
        times: u32,
        /// When the probe was granted.
        probed_at: Timestamp,
    },
}

/// What a breaker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Any number of calls.
    Calls,
    /// One call.
    Probe,
    /// None before this time.
    NotBefore(Timestamp),
}

impl Breaker {
    /// What is allowed at `now`. A probe whose result never came is replaced once it can no longer
    /// be running.
    pub fn admission(&self, now: Timestamp) -> Admission {
        let probe_at = match *self {
            Self::Closed | Self::Failing { .. } => return Admission::Calls,
            Self::Open { until, .. } => until,
            Self::HalfOpen { probed_at, .. } => probed_at + INTENT_ANSWER_MAX,
        };
        if probe_at <= now { Admission::Probe } else { Admission::NotBefore(probe_at) }
    }

    /// A call was granted at `now`.
    pub fn granted(&mut self, now: Timestamp) {
        if let Self::Open { times, .. } | Self::HalfOpen { times, .. } = *self {
            *self = Self::HalfOpen { times, probed_at: now };
        }
    }

    /// A call succeeded. True if that closed it.
    pub fn succeeded(&mut self) -> bool {
        let was_open = matches!(self, Self::Open { .. } | Self::HalfOpen { .. });
        *self = Self::Closed;
        was_open
    }

    /// A call that was granted at `granted_at` failed because the other side is unwell. True if that
    /// opened it.
    pub fn failed(&mut self, granted_at: Timestamp, now: Timestamp) -> bool {
        let times = match *self {
            Self::Closed => return self.count(1, now),
            Self::Failing { failures } => return self.count(failures.saturating_add(1), now),
            Self::HalfOpen { times, probed_at } if granted_at >= probed_at => {
                times.saturating_add(1)
            }
            Self::Open { .. } | Self::HalfOpen { .. } => return false,
        };
        self.open(times, now, &OPEN_STEPS);
        true
    }

    /// A call that was granted at `granted_at` was refused for a reason that concerns all calls, such
    /// as an access token: one is enough. True if that opened it.
    pub fn tripped(&mut self, granted_at: Timestamp, now: Timestamp) -> bool {
        self.tripped_for(granted_at, now, &OPEN_STEPS)
    }

    /// As [`Self::tripped`], and it stays open for `steps`: for what heals in hours rather than
    /// seconds.
    pub fn tripped_for(
        &mut self,
        granted_at: Timestamp,
        now: Timestamp,
        steps: &[Duration; 3],
    ) -> bool {
        let times = match *self {
            Self::Closed | Self::Failing { .. } => 1,
            Self::HalfOpen { times, probed_at } if granted_at >= probed_at => {
                times.saturating_add(1)
            }
            Self::Open { .. } | Self::HalfOpen { .. } => return false,
        };
        self.open(times, now, steps);
        true
    }

    /// When it opened; `None` while calls are made.
    pub fn open_since(&self) -> Option<Timestamp> {
        match *self {
            Self::Closed | Self::Failing { .. } => None,
            Self::Open { since, .. } => Some(since),
            Self::HalfOpen { probed_at, .. } => Some(probed_at),
        }
    }

    fn count(&mut self, failures: u32, now: Timestamp) -> bool {
        if failures < FAILURES_MAX {
            *self = Self::Failing { failures };
            return false;
        }
        self.open(1, now, &OPEN_STEPS);
        true
    }

    fn open(&mut self, times: u32, now: Timestamp, steps: &[Duration; 3]) {
        let step = (times as usize).clamp(1, steps.len()) - 1;
        *self = Self::Open { times, since: now, until: now + steps[step] };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn at(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for n in 1..=FAILURES_MAX {
            assert_eq!(breaker.failed(START, START), n == FAILURES_MAX);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it() {
        assert_eq!(opened().admission(at(1)), Admission::NotBefore(at(5)));
        assert_eq!(opened().admission(at(5)), Admission::Probe);
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failed(START, START);
            breaker.failed(START, START);
            assert!(!breaker.succeeded(), "it never opened");
        }
        assert_eq!(breaker.admission(START), Admission::Calls);
    }

    #[test]
    fn a_failed_probe_opens_it_for_longer_and_a_good_one_closes_it() {
        let mut breaker = opened();
        let mut now = 5;
        for step in [15, 45, 45] {
            breaker.granted(at(now));
            assert_eq!(breaker.admission(at(now + 1)), Admission::NotBefore(at(now + 20)));
            assert!(!breaker.failed(at(now - 1), at(now + 1)), "granted before the probe");
            assert!(breaker.failed(at(now), at(now + 2)));
            now += 2 + step;
            assert_eq!(breaker.admission(at(now - 1)), Admission::NotBefore(at(now)));
            assert_eq!(breaker.admission(at(now)), Admission::Probe);
        }
        breaker.granted(at(now));
        assert!(breaker.succeeded());
        assert_eq!(breaker, Breaker::Closed);
    }

    #[test]
    fn one_refusal_for_all_trips_it() {
        let mut breaker = Breaker::default();
        assert!(breaker.tripped(at(0), at(1)));
        assert!(!breaker.tripped(at(0), at(2)), "the calls beside it say nothing new");
        assert_eq!(breaker.admission(at(2)), Admission::NotBefore(at(6)));
        breaker.granted(at(6));
        assert!(breaker.tripped(at(6), at(7)));
        assert_eq!(breaker.admission(at(7)), Admission::NotBefore(at(22)));
        assert_eq!(breaker.open_since(), Some(at(7)));
    }

    #[test]
    fn its_steps_may_be_longer() {
        let hours = [1, 2, 3].map(|hours| Duration::from_secs(hours * 3_600));
        let mut breaker = Breaker::default();
        assert!(breaker.tripped_for(at(0), at(1), &hours));
        assert!(!breaker.tripped_for(at(0), at(2), &hours), "the calls beside it say nothing new");
        assert_eq!(breaker.admission(at(2)), Admission::NotBefore(at(3_601)));
        breaker.granted(at(3_601));
        assert!(breaker.tripped_for(at(3_601), at(3_602), &hours));
        assert_eq!(breaker.admission(at(3_602)), Admission::NotBefore(at(3_602 + 7_200)));
    }

    #[test]
    fn a_lost_probe_is_replaced() {
        let mut breaker = opened();
        breaker.granted(at(5));
        assert_eq!(breaker.admission(at(24)), Admission::NotBefore(at(25)));
        assert_eq!(breaker.admission(at(25)), Admission::Probe);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        /// Whatever is dead: after it opened, calls come one by one and never more often than its
        /// steps say.
        #[test]
        fn a_dead_provider_is_called_rarely(gaps in prop::collection::vec(0_u64..20, 1..200)) {
            let mut breaker = opened();
            let mut now = 0;
            let mut calls = 0;
            for gap in gaps {
                now += gap;
                match breaker.admission(at(now)) {
                    Admission::Calls => prop_assert!(false, "nothing succeeded"),
                    Admission::Probe => {
                        breaker.granted(at(now));
                        prop_assert_eq!(breaker.admission(at(now)), Admission::NotBefore(at(now + 20)));
                        breaker.failed(at(now), at(now));
                        calls += 1;
                    }
                    Admission::NotBefore(time) => prop_assert!(time > at(now)),
                }
            }
            prop_assert!(calls <= 3 + now / 45);
        }
    }
}
