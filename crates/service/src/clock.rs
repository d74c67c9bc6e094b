//! The wall clock of processes and commands. Stages have their own, which is an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sendplane_domain::time::Timestamp;

/// Wall-clock time, UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "the one owner of the wall clock outside the runtime"
)]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since_epoch.as_millis() as i64)
}

/// Monotonic time, for deadlines.
#[expect(clippy::disallowed_methods, reason = "the one owner of the clock outside the runtime")]
pub fn monotonic() -> Instant {
    Instant::now()
}
