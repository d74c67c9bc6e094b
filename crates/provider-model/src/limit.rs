//! Rate limits: throughput of a number, and the pair of number and recipient.

use std::collections::VecDeque;

use crate::config::PairLimit;

/// Width of the throughput window in milliseconds. Two events belong to one window when they are
/// less than this apart.
pub const WINDOW_MS: i64 = 1_000;

/// Times of the last second, with the greatest number seen at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    times: VecDeque<i64>,
    peak: usize,
}

impl Window {
    pub(crate) fn len(&mut self, now_ms: i64) -> usize {
        while self.times.front().is_some_and(|time| *time <= now_ms - WINDOW_MS) {
            self.times.pop_front();
        }
        self.times.len()
    }

    pub(crate) fn count(&mut self, now_ms: i64) {
        self.times.push_back(now_ms);
        self.peak = self.peak.max(self.len(now_ms));
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak
    }
}

/// What is known of one (business number, recipient).
#[derive(Clone, Debug, Default)]
pub(crate) struct Pair {
    /// When the bucket would be full again (generic cell rate algorithm).
    full_at_ms: i64,
    pub(crate) inbound_at_ms: Option<i64>,
    pub(crate) marketing_stopped: bool,
}

/// Meta's customer service window.
pub const SERVICE_WINDOW_MS: i64 = 24 * 3_600_000;

impl Pair {
    /// Takes one message from the bucket; false when none is left.
    pub(crate) fn take(&mut self, limit: PairLimit, now_ms: i64) -> bool {
        if limit.burst == 0 {
            return true;
        }
        let start = self.full_at_ms.max(now_ms);
        if start - now_ms > (i64::from(limit.burst) - 1) * limit.refill_ms {
            return false;
        }
        self.full_at_ms = start + limit.refill_ms;
        true
    }

    pub(crate) fn service_window_open(&self, now_ms: i64) -> bool {
        self.inbound_at_ms.is_some_and(|at| now_ms - at < SERVICE_WINDOW_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_half_open() {
        let mut window = Window::default();
        window.count(0);
        window.count(999);
        assert_eq!(window.len(999), 2);
        assert_eq!(window.len(1_000), 1);
        assert_eq!(window.len(1_999), 0);
        assert_eq!(window.peak(), 2);
    }

    #[test]
    fn the_pair_bucket_bursts_and_refills() {
        let limit = PairLimit { burst: 45, refill_ms: 6_000 };
        let mut pair = Pair::default();
        assert_eq!((0..100).filter(|_| pair.take(limit, 0)).count(), 45);
        assert!(!pair.take(limit, 5_999));
        assert!(pair.take(limit, 6_000));
        assert!(!pair.take(limit, 6_000));
        assert_eq!((0..100).filter(|_| pair.take(limit, 10_000_000)).count(), 45, "never above");
        let off = PairLimit { burst: 0, refill_ms: 0 };
        assert!((0..100).all(|_| pair.take(off, 0)));
    }

    #[test]
    fn the_service_window_lasts_a_day() {
        let mut pair = Pair::default();
        assert!(!pair.service_window_open(0));
        pair.inbound_at_ms = Some(5);
        assert!(pair.service_window_open(5 + SERVICE_WINDOW_MS - 1));
        assert!(!pair.service_window_open(5 + SERVICE_WINDOW_MS));
    }
}
