//! The only place that reads clocks: the model takes its time from here.

/// Unix time in milliseconds.
#[expect(clippy::disallowed_methods, reason = "the shell of a model without a clock needs one")]
pub(crate) fn now_ms() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

/// For measuring how long something took.
pub(crate) fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
