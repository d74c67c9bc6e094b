//! Polling with deadlines: tests never sleep for luck.

use std::time::{Duration, Instant};

/// Monotonic time for tests.
#[expect(clippy::disallowed_methods, reason = "tests measure deadlines of real processes")]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks `probe` until it answers, every 20 ms; panics with `what` after `limit`.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
