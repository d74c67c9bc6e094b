//! Single fields, in all the forms they have been seen in.

use sendplane_domain::time::Timestamp;
use serde_json::Value;

use crate::text::shorten;

/// Longest description kept, in characters.
pub(super) const TEXT_LEN_MAX: usize = 500;

/// Longest id accepted, in bytes. A wamid has about 60.
const ID_LEN_MAX: usize = 512;

/// Longest word kept (a status, a field, a category), in characters.
const WORD_LEN_MAX: usize = 64;

/// The first number that is read as milliseconds: as seconds it lies beyond the year 5000, as
/// milliseconds in 1973.
const MILLIS_MIN: i64 = 100_000_000_000;

/// The first number that is read as neither: beyond the year 5000 in milliseconds.
const NEITHER_MIN: i64 = 100_000_000_000_000;

/// An id: text or an integer, not empty and not beyond 512 bytes.
pub(super) fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.is_empty() || text.len() > ID_LEN_MAX => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

/// A point in time: seconds or milliseconds, number or text.
pub(super) fn timestamp(value: &Value) -> Option<Timestamp> {
    match integer(value)? {
        seconds @ 1..MILLIS_MIN => Some(Timestamp::from_millis(seconds * 1_000)),
        millis @ MILLIS_MIN..NEITHER_MIN => Some(Timestamp::from_millis(millis)),
        _ => None,
    }
}

/// An integer: number or text.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_i64(),
    }
}

/// A description for people.
pub(super) fn text(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    Some(shorten(text, TEXT_LEN_MAX))
}

/// One of Meta's words.
pub(super) fn word(value: &Value) -> Option<String> {
    value.as_str().filter(|word| !word.is_empty()).map(short)
}

/// `word`, cut to a length that fits a label.
pub(super) fn short(word: &str) -> String {
    shorten(word, WORD_LEN_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn time_comes_in_four_forms() {
        let at = Some(Timestamp::from_millis(1_700_000_000_000));
        for value in [json!("1700000000"), json!(1_700_000_000), json!("1700000000000")] {
            assert_eq!(timestamp(&value), at, "{value}");
        }
        let exact = Some(Timestamp::from_millis(1_700_000_000_123));
        assert_eq!(timestamp(&json!(1_700_000_000_123_i64)), exact);
        for value in [
            json!(null),
            json!(""),
            json!("soon"),
            json!(-5),
            json!(0),
            json!(1.5),
            json!(u64::MAX),
            json!(i64::MAX),
            json!(1_700_000_000_000_000_i64),
            json!({}),
        ] {
            assert_eq!(timestamp(&value), None, "{value}");
        }
    }

    #[test]
    fn ids_are_bounded() {
        assert_eq!(id(&json!("17")).as_deref(), Some("17"));
        assert_eq!(id(&json!(106_540_352_242_922_u64)).as_deref(), Some("106540352242922"));
        for value in [json!(""), json!(null), json!(1.0), json!([]), json!("x".repeat(513))] {
            assert_eq!(id(&value), None);
        }
    }
}
