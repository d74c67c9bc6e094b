//! How long Meta tries to deliver a message, and what that leaves of our own deadline.
//!
//! The time to live is a property of the template (`message_send_ttl_seconds`); no call can set it.
//! A message that outlives it is dropped without a webhook. So what can be done about a deadline of
//! ours is to stop calling a time to live before it.

use std::time::Duration;

use crate::lane::Category;
use crate::time::Timestamp;

/// Meta's longest, also written -1; that of a template which says nothing, one-time codes excepted.
pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Meta's default for one-time codes.
pub const AUTHENTICATION_DEFAULT: Duration = Duration::from_secs(600);

/// How long Meta tries to deliver, of a template that says `ttl_seconds`. Marketing has a time to
/// live of its own only on the marketing endpoint.
pub fn of_template(
    category: Option<Category>,
    ttl_seconds: Option<i32>,
    is_marketing_endpoint: bool,
) -> Duration {
    let said = ttl_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    match (category, ttl_seconds, said) {
        (Some(Category::Marketing), ..) if !is_marketing_endpoint => LONGEST,
        (_, _, Some(seconds)) => Duration::from_secs(seconds).min(LONGEST),
        (Some(Category::Authentication), None, _) => AUTHENTICATION_DEFAULT,
        _ => LONGEST,
    }
}

/// The time before which a one-time code has to be called, so that Meta does not deliver it after
/// `deadline`; `deadline` itself where the message never had `ttl` to live, because then it would
/// never be sent at all.
pub fn last_call(admitted_at: Timestamp, deadline: Timestamp, ttl: Duration) -> Timestamp {
    if deadline.since(admitted_at) <= ttl {
        return deadline;
    }
    let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(deadline.as_millis().saturating_sub(ttl_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_says_how_long_and_meta_says_it_otherwise() {
        use Category::{Authentication, Marketing, Utility};
        let hour = Duration::from_secs(3600);
        for (category, said, marketing, expected) in [
            (Some(Authentication), None, false, AUTHENTICATION_DEFAULT),
            (Some(Authentication), Some(60), false, Duration::from_secs(60)),
            (Some(Authentication), Some(-1), false, LONGEST),
            (Some(Utility), None, false, LONGEST),
            (Some(Utility), Some(3600), false, hour),
            (Some(Marketing), Some(3600), true, hour),
            (Some(Marketing), Some(3600), false, LONGEST),
            (Some(Marketing), None, true, LONGEST),
            (None, Some(3600), false, hour),
            (None, None, false, LONGEST),
            (Some(Utility), Some(i32::MAX), false, LONGEST),
        ] {
            let found = of_template(category, said, marketing);
            assert_eq!(found, expected, "{category:?} {said:?} {marketing}");
        }
    }

    #[test]
    fn the_last_call_leaves_the_time_to_live_if_there_ever_was_one() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let minute = Duration::from_secs(60);
        assert_eq!(last_call(at(0), at(300), minute), at(240));
        assert_eq!(last_call(at(0), at(61), minute), at(1));
        assert_eq!(last_call(at(0), at(60), minute), at(60), "else it could never be sent");
        assert_eq!(last_call(at(0), at(30), minute), at(30));
    }
}
