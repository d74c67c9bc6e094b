//! JSON as Meta writes it, and as it arrives broken.

use serde_json::Value;

const ESCAPE_LEN: usize = 6;

/// Parses `body`, after a repair if it is not quite JSON.
///
/// Names and texts of people are cut and escaped on the way (`\ud83d` without its second half, half
/// a UTF-8 sequence), and one of a thousand updates must not cost the others. Only such bodies are
/// copied.
pub(super) fn parse(body: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(body).or_else(|error| {
        let repaired = replace_lone_surrogates(&String::from_utf8_lossy(body));
        serde_json::from_str(&repaired).map_err(|_| error)
    })
}

/// Replaces escapes of half a surrogate pair by the escape of the replacement character.
fn replace_lone_surrogates(text: &str) -> String {
    let mut repaired = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        repaired.push_str(&rest[..at]);
        rest = &rest[at..];
        let len = match escaped_unit(rest) {
            Some(0xd800..=0xdbff) => match rest.get(ESCAPE_LEN..).and_then(escaped_unit) {
                Some(0xdc00..=0xdfff) => 2 * ESCAPE_LEN,
                _ => 0,
            },
            Some(0xdc00..=0xdfff) => 0,
            Some(_) => ESCAPE_LEN,
            // The backslash and what it escapes, so that an escaped backslash starts nothing.
            None => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
        };
        if len == 0 {
            repaired.push_str("\\ufffd");
            rest = &rest[ESCAPE_LEN..];
        } else {
            repaired.push_str(&rest[..len]);
            rest = &rest[len..];
        }
    }
    repaired.push_str(rest);
    repaired
}

/// The UTF-16 unit of a `\uXXXX` at the start of `text`.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_half_pairs_only() {
        let cases = [
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ude00x""#, r#""\ufffdx""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud83"#, r#""\ud83"#),
            (r#""\u+123\n""#, r#""\u+123\n""#),
            ("\"\\", "\"\\"),
            ("\"\\é\\ud83dé", "\"\\é\\ufffdé"),
        ];
        for (text, expected) in cases {
            assert_eq!(replace_lone_surrogates(text), expected);
        }
    }

    #[test]
    fn repairs_and_otherwise_reports() {
        assert_eq!(parse(br#"["\ud83d"]"#).expect("repaired"), serde_json::json!(["\u{fffd}"]));
        assert_eq!(parse(b"[\"\xf0\x9f\"]").expect("repaired"), serde_json::json!(["\u{fffd}"]));
        let error = parse(br#"["\ud83d", nul]"#).expect_err("still broken");
        assert!(error.to_string().contains("escape"), "the first fault is reported: {error}");
    }
}
