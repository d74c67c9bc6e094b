//! Printing.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use jiff::{SignedDuration, Timestamp as Moment};
use sendplane_domain::time::Timestamp;
use serde_json::Value;

/// Prints a table with a header line.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    table.add_rows(rows);
    line(&table.trim_fmt())
}

/// Prints indented JSON.
pub fn json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Prints one line at once, so that a pipe sees it.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// RFC 3339 in UTC with milliseconds; the bare number when it is no time a calendar knows.
pub fn moment(at: Timestamp) -> String {
    match Moment::from_millisecond(at.as_millis()) {
        Ok(moment) => format!("{moment:.3}"),
        Err(_) => at.as_millis().to_string(),
    }
}

/// Reads RFC 3339.
pub fn parse_moment(text: &str) -> Option<Timestamp> {
    let moment: Moment = text.parse().ok()?;
    Some(Timestamp::from_millis(moment.as_millisecond()))
}

/// Reads RFC 3339, or a span back from `now` such as `2h`.
pub fn parse_past(text: &str, now: Timestamp) -> Option<Timestamp> {
    parse_moment(text).or_else(|| {
        let span: SignedDuration = text.parse().ok()?;
        let back = i64::try_from(span.as_millis()).ok().filter(|back| *back >= 0)?;
        Some(Timestamp::from_millis(now.as_millis().saturating_sub(back)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_past_is_a_moment_or_a_span() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let past = |text: &str| parse_past(text, now).map(Timestamp::as_millis);
        assert_eq!(past("2h"), Some(1_700_000_000_000 - 7_200_000));
        assert_eq!(past("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!((past("-2h"), past("soon"), past("")), (None, None, None));
    }

    #[test]
    fn moments_round_trip() {
        let at = Timestamp::from_millis(1_700_000_000_120);
        assert_eq!(moment(at), "2023-11-14T22:13:20.120Z");
        assert_eq!(parse_moment(&moment(at)), Some(at));
        assert_eq!(parse_moment("yesterday"), None);
        assert_eq!(moment(Timestamp::from_millis(i64::MAX)), i64::MAX.to_string());
    }
}
