//! Events within a sliding window.

use std::collections::VecDeque;

/// Width of the throughput window in milliseconds. Two events belong to one window when they are
/// less than this apart.
pub const WINDOW_MS: i64 = 1_000;

/// The greatest number of events seen at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peaks {
    /// In the half-open window `(t - width, t]`: what the provider limits.
    pub(crate) open: usize,
    /// In the closed window `[t - width, t]`: at least as many. A caller that keeps this one
    /// within its limit also stays within it when clocks differ by a millisecond.
    pub(crate) closed: usize,
}

impl Peaks {
    fn raise(&mut self, open: usize, closed: usize) {
        self.open = self.open.max(open);
        self.closed = self.closed.max(closed);
    }
}

/// Times of the events of one window, with the greatest number seen at once.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    width_ms: i64,
    /// (time, events), ascending; not before the closed window's start.
    times: VecDeque<(i64, usize)>,
    total: usize,
    /// Since the start.
    ever: Peaks,
    /// Since the last [`Window::reset_peaks`].
    since: Peaks,
}

impl Default for Window {
    fn default() -> Self {
        Self::new(WINDOW_MS)
    }
}

impl Window {
    pub(crate) fn new(width_ms: i64) -> Self {
        let (ever, since) = (Peaks::default(), Peaks::default());
        Self { width_ms, times: VecDeque::new(), total: 0, ever, since }
    }

    /// Events of the half-open window that ends at `now_ms`.
    pub(crate) fn len(&mut self, now_ms: i64) -> usize {
        let start = now_ms - self.width_ms;
        while let Some((time, events)) = self.times.front().copied()
            && time < start
        {
            self.total -= events;
            self.times.pop_front();
        }
        let at_start = self.times.front().filter(|(time, _)| *time == start);
        self.total - at_start.map_or(0, |(_, events)| *events)
    }

    pub(crate) fn count(&mut self, now_ms: i64) {
        match self.times.back_mut() {
            Some((time, events)) if *time == now_ms => *events += 1,
            _ => self.times.push_back((now_ms, 1)),
        }
        self.total += 1;
        let open = self.len(now_ms);
        self.ever.raise(open, self.total);
        self.since.raise(open, self.total);
    }

    /// When one more event would be within `limit`, if none comes before; `limit` at least 1.
    pub(crate) fn room_at(&self, limit: usize) -> Option<i64> {
        let mut left = self.total;
        self.times.iter().find_map(|(time, events)| {
            left -= events;
            (left < limit).then_some(time + self.width_ms)
        })
    }

    pub(crate) fn peaks(&self) -> Peaks {
        self.ever
    }

    pub(crate) fn peaks_since(&self) -> Peaks {
        self.since
    }

    pub(crate) fn reset_peaks(&mut self) {
        self.since = Peaks::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_is_half_open() {
        let mut window = Window::default();
        window.count(0);
        window.count(999);
        assert_eq!(window.len(999), 2);
        assert_eq!(window.room_at(2), Some(1_000));
        assert_eq!(window.room_at(1), Some(1_999));
        assert_eq!(window.len(1_000), 1);
        assert_eq!(window.len(1_999), 0);
        assert_eq!(window.peaks(), Peaks { open: 2, closed: 2 });
    }

    #[test]
    fn the_closed_peak_counts_both_edges() {
        let mut window = Window::default();
        for now_ms in [0, 0, 1_000] {
            window.count(now_ms);
        }
        assert_eq!(window.peaks(), Peaks { open: 2, closed: 3 });
        window.reset_peaks();
        assert_eq!(window.peaks_since(), Peaks::default());
        window.count(1_001);
        assert_eq!(window.peaks_since(), Peaks { open: 2, closed: 2 });
        assert_eq!(window.peaks(), Peaks { open: 2, closed: 3 }, "the total is not reset");
    }

    proptest! {
        /// The reference keeps every time and counts by definition.
        #[test]
        fn it_agrees_with_counting(steps in prop::collection::vec(0..400_i64, 1..200)) {
            let (mut window, mut all, mut now_ms) = (Window::default(), Vec::new(), 0);
            let mut peaks = Peaks::default();
            for step in steps {
                now_ms += step;
                all.push(now_ms);
                window.count(now_ms);
                let within = |least: i64| all.iter().filter(|time| **time >= least).count();
                let open = within(now_ms - WINDOW_MS + 1);
                peaks.raise(open, within(now_ms - WINDOW_MS));
                prop_assert_eq!(window.len(now_ms), open);
                let room_at = window.room_at(open).expect("events");
                prop_assert_eq!(room_at, all[all.len() - open] + WINDOW_MS);
            }
            prop_assert_eq!(window.peaks(), peaks);
        }
    }
}
