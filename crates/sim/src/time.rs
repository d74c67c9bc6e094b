//! Virtual time. The run starts at a fixed moment and counts in microseconds.

use sendplane_domain::time::Timestamp;

/// True time since the start of the run, in microseconds.
pub type Micros = i64;

/// The wall clock at the start of a run, Unix milliseconds: 75 s before a midnight of UTC, at which
/// budgets begin anew.
pub const START_MS: i64 = 1_700_006_400_000 - 75_000;

/// Milliseconds as [`Micros`].
pub const fn ms(millis: i64) -> Micros {
    millis * 1_000
}

/// Seconds as [`Micros`].
pub const fn seconds(seconds: i64) -> Micros {
    seconds * 1_000_000
}

/// What a right clock shows at `at`.
pub const fn true_wall(at: Micros) -> Timestamp {
    Timestamp::from_millis(START_MS + at / 1_000)
}

/// When a right clock shows `wall`.
pub const fn at_wall(wall: Timestamp) -> Micros {
    ms(wall.as_millis() - START_MS)
}

/// A span as [`Micros`].
pub fn span(span: std::time::Duration) -> Micros {
    span.as_micros() as Micros
}
