//! When to warn that a token ends.

use sendplane_domain::time::Timestamp;

const DAY_MS: i64 = 24 * 3_600_000;

/// A warning that was given, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warned {
    /// 30 days or less are left.
    Days30,
    /// 7 days or less.
    Days7,
    /// One day or less.
    Days1,
    /// It has ended.
    Expired,
}

/// The warning that is due at `now` for a token that ends at `expires_at`; none if it, or a later
/// one, was given already.
pub fn warning(expires_at: Timestamp, now: Timestamp, last: Option<Warned>) -> Option<Warned> {
    let due = match expires_at.as_millis().saturating_sub(now.as_millis()) {
        left if left <= 0 => Warned::Expired,
        left if left <= DAY_MS => Warned::Days1,
        left if left <= 7 * DAY_MS => Warned::Days7,
        left if left <= 30 * DAY_MS => Warned::Days30,
        _ => return None,
    };
    (last < Some(due)).then_some(due)
}

/// Reads RFC 3339.
pub fn parse_moment(text: &str) -> Option<Timestamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(moment.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn before(millis: i64) -> Timestamp {
        Timestamp::from_millis(END.as_millis() - millis)
    }

    #[test]
    fn each_warning_comes_once_and_at_its_time() {
        use Warned::*;
        let cases = [
            (31 * DAY_MS, None),
            (30 * DAY_MS + 1, None),
            (30 * DAY_MS, Some(Days30)),
            (29 * DAY_MS, None),
            (7 * DAY_MS, Some(Days7)),
            (DAY_MS + 1, None),
            (DAY_MS, Some(Days1)),
            (1, None),
            (0, Some(Expired)),
            (-DAY_MS, None),
        ];
        let mut last = None;
        for (left, expected) in cases {
            let due = warning(END, before(left), last);
            assert_eq!(due, expected, "{left} ms before the end");
            last = due.or(last);
        }
    }

    #[test]
    fn a_process_that_starts_late_gives_the_warning_that_counts() {
        assert_eq!(warning(END, before(2 * DAY_MS), None), Some(Warned::Days7));
        assert_eq!(warning(END, before(-1), None), Some(Warned::Expired));
        assert_eq!(warning(END, before(20 * DAY_MS), Some(Warned::Days1)), None, "never back");
    }

    #[test]
    fn moments_are_rfc_3339() {
        assert_eq!(parse_moment("1970-01-01T00:00:01Z"), Some(Timestamp::from_millis(1_000)));
        assert_eq!(parse_moment("1970-01-01T02:00:01+02:00"), Some(Timestamp::from_millis(1_000)));
        for text in ["", "tomorrow", "2027-01-31"] {
            assert_eq!(parse_moment(text), None, "{text:?}");
        }
    }
}
