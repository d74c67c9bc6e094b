//! The only reader of the wall clock in the runtime.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sendplane_domain::limits::CLOCK_SKEW_MAX;
use sendplane_domain::time::Timestamp;

use crate::config::ClockOffset;

/// Wall-clock time, UTC, as this instance takes it.
#[expect(clippy::disallowed_methods, reason = "the runtime's one owner of the wall clock")]
pub(crate) fn wall(offset: &ClockOffset) -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since_epoch.as_millis() as i64 + offset.millis())
}

/// Monotonic time, for deadlines and durations.
#[expect(clippy::disallowed_methods, reason = "the runtime's one owner of the monotonic clock")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// Monotonic time since the first call.
pub(crate) fn uptime() -> Duration {
    static FIRST: LazyLock<Instant> = LazyLock::new(monotonic);
    FIRST.elapsed()
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

    /// What is left, in whole milliseconds, rounded up: librdkafka waits in milliseconds, and
    /// through a fraction that is left of a wait rdkafka 0.39 spins (`poll_queue`).
    pub fn remaining(self) -> Duration {
        let left = self.0.saturating_duration_since(monotonic());
        Duration::from_millis(left.as_micros().div_ceil(1_000) as u64)
    }
}

/// Compares our clock with the broker's append times, which come back with every commit record
/// because changelogs use `LogAppendTime`.
#[derive(Debug, Default)]
pub(crate) struct SkewGauge {
    measured: Option<Measured>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Ours minus the broker's, 0 within the precision of a commit.
    skew_ms: i64,
    wall: Timestamp,
    at: Instant,
}

/// Whether the wall clock may be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Records may be read, timers fired, effects granted.
    Good,
    /// Not compared with the broker's yet, or not since it jumped.
    Unmeasured,
    /// Too far from the broker's, or behind what an earlier owner has already committed.
    Off(Duration),
}

impl SkewGauge {
    /// The broker appended at `append` what we produced between `before` and `after`. `None` is a
    /// changelog without the broker's times: then nothing can be found wrong.
    pub fn observe(
        &mut self,
        before: Timestamp,
        append: Option<Timestamp>,
        after: Timestamp,
        at: Instant,
    ) {
        let skew_ms = match append {
            Some(append) if append < before => before.as_millis() - append.as_millis(),
            Some(append) if append > after => after.as_millis() - append.as_millis(),
            _ => 0,
        };
        metrics::gauge!("sendplane_clock_skew_seconds").set(skew_ms as f64 / 1e3);
        self.measured = Some(Measured { skew_ms, wall: after, at });
    }

    /// Judges `wall`, read at `at`. `committed` is the newest time that an owner of our tasks has
    /// committed.
    pub fn judge(&self, wall: Timestamp, at: Instant, committed: Option<Timestamp>) -> Trust {
        let Some(measured) = self.measured else {
            return Trust::Unmeasured;
        };
        let expected = measured.wall + at.saturating_duration_since(measured.at);
        if wall.since(expected).max(expected.since(wall)) > CLOCK_SKEW_MAX {
            return Trust::Unmeasured;
        }
        let skew = Duration::from_millis(measured.skew_ms.unsigned_abs());
        let behind = committed.map_or(Duration::ZERO, |committed| committed.since(wall));
        match skew.max(behind) {
            off if off > CLOCK_SKEW_MAX => Trust::Off(off),
            _ => Trust::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// What the gauge says right after a commit that the broker dated `append`.
    fn after_commit(before: i64, append: i64, after: i64) -> Trust {
        let mut gauge = SkewGauge::default();
        let now = monotonic();
        gauge.observe(at(before), Some(at(append)), at(after), now);
        gauge.judge(at(after), now, None)
    }

    #[test]
    fn only_what_lies_outside_the_call_counts_as_skew() {
        let off = |millis| Trust::Off(Duration::from_millis(millis));
        for (before, append, after, expected) in [
            (1_000, 1_500, 2_000, Trust::Good),
            (1_000, 7_000, 2_000, Trust::Good),
            (1_000, 7_001, 2_000, off(5_001)),
            (6_000, 1_000, 6_500, Trust::Good),
            (60_000, 1_000, 61_000, off(59_000)),
        ] {
            assert_eq!(after_commit(before, append, after), expected, "{before} {append} {after}");
        }
    }

    #[test]
    fn a_clock_is_not_trusted_before_it_was_compared_nor_after_it_jumped() {
        let mut gauge = SkewGauge::default();
        let now = monotonic();
        assert_eq!(gauge.judge(at(100_000), now, None), Trust::Unmeasured);
        gauge.observe(at(100_000), Some(at(100_000)), at(100_000), now);
        let later = now + Duration::from_secs(60);
        for (wall, expected) in [
            (160_000, Trust::Good),
            (165_000, Trust::Good),
            (165_001, Trust::Unmeasured),
            (154_999, Trust::Unmeasured),
        ] {
            assert_eq!(gauge.judge(at(wall), later, None), expected, "{wall}");
        }
    }

    #[test]
    fn a_clock_behind_what_an_earlier_owner_committed_is_off() {
        let mut gauge = SkewGauge::default();
        let now = monotonic();
        gauge.observe(at(100_000), None, at(100_000), now);
        assert_eq!(gauge.judge(at(100_000), now, Some(at(105_000))), Trust::Good);
        let off = Trust::Off(Duration::from_millis(5_001));
        assert_eq!(gauge.judge(at(100_000), now, Some(at(105_001))), off);
    }
}
