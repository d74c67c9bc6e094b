//! The pace of each number at the start of its calls.
//!
//! The stage debits a number's bucket when it commits an intent. Calls start when the commit
//! returns, so a slow commit followed by a quick one would let two batches start together. The
//! pacer spreads them again, on the monotonic clock (I8). It is memory only: after a restart the
//! committed debits alone hold the pace.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sendplane_domain::id::PhoneNumberId;
use sendplane_domain::rate::{Gcra, Limit};
use sendplane_domain::time::Timestamp;
use tokio::time::{Instant, sleep_until};

pub(super) struct Pacer {
    /// Zero of the pacer's time, which counts milliseconds from here.
    origin: Instant,
    buckets: Mutex<HashMap<PhoneNumberId, Gcra>>,
}

impl Pacer {
    pub fn new(origin: Instant) -> Self {
        Self { origin, buckets: Mutex::default() }
    }

    /// Waits for the number's next start. False at once, and without taking it, when it would not
    /// come before `start_by`.
    pub async fn wait(&self, number: &PhoneNumberId, pace: Limit, start_by: Instant) -> bool {
        let Some(start) = self.reserve(number, pace, start_by) else {
            return false;
        };
        sleep_until(start).await;
        true
    }

    fn reserve(&self, number: &PhoneNumberId, pace: Limit, start_by: Instant) -> Option<Instant> {
        let now = Instant::now();
        let since_origin = now.saturating_duration_since(self.origin);
        let now_ms = Timestamp::from_millis(i64::try_from(since_origin.as_millis()).ok()?);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(number.clone()).or_default();
        let at_ms = bucket.earliest(pace, now_ms);
        let start = now.checked_add(at_ms.since(now_ms)).filter(|start| *start < start_by)?;
        bucket.debit(pace, at_ms);
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Starts of `count` calls asked for at once, in milliseconds from now; `None` is refused.
    async fn starts(pacer: &Pacer, pace: Limit, count: usize, limit_ms: u64) -> Vec<Option<u64>> {
        let number = PhoneNumberId::new("n");
        let now = Instant::now();
        let start_by = now + Duration::from_millis(limit_ms);
        let mut starts = Vec::new();
        for _ in 0..count {
            let start = pacer.reserve(&number, pace, start_by);
            starts.push(start.map(|start| (start - now).as_millis() as u64));
        }
        starts
    }

    #[tokio::test(start_paused = true)]
    async fn two_batches_that_meet_are_spread_again() {
        let pacer = Pacer::new(Instant::now());
        let pace = Limit::per_second(10, 2);
        let batches = starts(&pacer, pace, 6, 2_000).await;
        assert_eq!(batches, [0, 0, 100, 200, 300, 400].map(Some));
        let other = pacer.reserve(&PhoneNumberId::new("m"), pace, Instant::now() + SECOND);
        assert_eq!(other, Some(Instant::now()), "numbers have their own pace");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_would_come_too_late_is_refused_and_not_paid_for() {
        let pacer = Pacer::new(Instant::now());
        let pace = Limit::per_second(10, 1);
        let refused = starts(&pacer, pace, 5, 250).await;
        assert_eq!(refused, [Some(0), Some(100), Some(200), None, None]);
        assert_eq!(starts(&pacer, pace, 1, 2_000).await, [Some(300)]);
        assert!(
            !pacer.wait(&PhoneNumberId::new("n"), Limit::CLOSED, Instant::now() + SECOND).await
        );
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_start() {
        let pacer = Pacer::new(Instant::now());
        let pace = Limit::per_second(4, 1);
        let number = PhoneNumberId::new("n");
        let begin = Instant::now();
        for n in 0..4 {
            assert!(pacer.wait(&number, pace, begin + 2 * SECOND).await);
            assert_eq!(begin.elapsed(), Duration::from_millis(250 * n));
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
}
