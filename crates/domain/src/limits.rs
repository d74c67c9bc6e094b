//! Limits that correctness depends on. They are constants, not options.

use std::time::Duration;

/// How long an idempotency key is remembered (I2).
pub const DEDUP_HORIZON: Duration = Duration::from_secs(30 * 24 * 3600);

/// A provider call starts at most this long after its intent was committed (I3).
pub const CALL_START_MAX: Duration = Duration::from_secs(2);

/// How long a task that was taken over grants nothing: until the owner before has no call left to
/// start, and one second more, so that no second holds calls of both. Each of them keeps the pace by
/// itself; only together could they exceed it (I8).
pub const TAKEOVER_WAIT: Duration = Duration::from_secs(3);

/// Total time of one provider call, connect included.
pub const CALL_TOTAL_MAX: Duration = Duration::from_secs(10);

/// Clock skew tolerated between instances, and between an instance and its broker.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// From a webhook's arrival to its place in the log. One that took longer may have been passed by
/// later ones, and counts as lost where silence is judged.
pub const WEBHOOK_APPEND_MAX: Duration = Duration::from_secs(5);

/// After this long an unanswered intent is in doubt: by then no call for it can still start or run.
pub const INTENT_ANSWER_MAX: Duration = Duration::from_secs(20);

/// Longest deferral or deadline of a message. Work topics keep twice this.
pub const DEADLINE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a status for an unknown message is parked.
pub const PARKED_STATUS_RETENTION: Duration = Duration::from_secs(8 * 24 * 3600);

/// How long a message row is kept after its last change.
pub const MESSAGE_RETENTION: Duration = Duration::from_secs(45 * 24 * 3600);

/// Timers that may fire in one cycle of one task.
pub const TIMERS_PER_CYCLE_MAX: usize = 1_000;

const _: () = assert!(
    TAKEOVER_WAIT.as_secs() > CALL_START_MAX.as_secs(),
    "a new owner's calls keep a second's distance from those of the owner before"
);

const _: () = assert!(
    INTENT_ANSWER_MAX.as_secs()
        > CALL_START_MAX.as_secs() + CALL_TOTAL_MAX.as_secs() + CLOCK_SKEW_MAX.as_secs(),
    "an intent may only be doubted when its call can no longer be running"
);
