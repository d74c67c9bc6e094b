//! The only reader of the wall clock in the runtime.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sendplane_domain::limits::CLOCK_SKEW_MAX;
use sendplane_domain::time::Timestamp;

/// Wall-clock time, UTC.
#[expect(clippy::disallowed_methods, reason = "the runtime's one owner of the wall clock")]
pub(crate) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since_epoch.as_millis() as i64)
}

/// Monotonic time, for deadlines and durations.
#[expect(clippy::disallowed_methods, reason = "the runtime's one owner of the monotonic clock")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// A moment until which something may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub fn after(span: Duration) -> Self {
        Self(monotonic() + span)
    }

    pub fn passed(self) -> bool {
        monotonic() >= self.0
    }

    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(monotonic())
    }
}

/// Compares our clock with the broker's append times, which come back with every commit record
/// because changelogs use `LogAppendTime`.
#[derive(Debug, Default)]
pub(crate) struct SkewGauge {
    skew_ms: AtomicI64,
}

impl SkewGauge {
    /// The broker appended at `append` what we produced between `before` and `after`.
    pub fn observe(&self, before: Timestamp, append: Timestamp, after: Timestamp) {
        let skew = if append < before {
            append.as_millis() - before.as_millis()
        } else if append > after {
            append.as_millis() - after.as_millis()
        } else {
            0
        };
        self.skew_ms.store(skew, Ordering::Relaxed);
        metrics::gauge!("sendplane_clock_skew_seconds").set(skew as f64 / 1e3);
    }

    /// The excess, if our clock is too far from the broker's to grant anything.
    pub fn excess(&self) -> Option<Duration> {
        let skew = Duration::from_millis(self.skew_ms.load(Ordering::Relaxed).unsigned_abs());
        (skew > CLOCK_SKEW_MAX).then_some(skew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_outside_the_call_counts_as_skew() {
        let at = Timestamp::from_millis;
        let gauge = SkewGauge::default();
        gauge.observe(at(1_000), at(1_500), at(2_000));
        assert_eq!(gauge.excess(), None);
        gauge.observe(at(1_000), at(6_900), at(2_000));
        assert_eq!(gauge.excess(), None);
        gauge.observe(at(1_000), at(7_001), at(2_000));
        assert_eq!(gauge.excess(), Some(Duration::from_millis(5_001)));
        gauge.observe(at(60_000), at(1_000), at(61_000));
        assert_eq!(gauge.excess(), Some(Duration::from_secs(59)));
    }
}
