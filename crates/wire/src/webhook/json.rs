//! JSON as Meta writes it, and as it arrives broken.

use serde_json::Value;

const ESCAPE_LEN: usize = 6;

/// Deepest nesting that a repair keeps. The deepest field we read lies on level 10; serde_json
/// refuses a body on level 128.
const DEPTH_MAX: usize = 64;

/// Parses `body`, after a repair if it is not quite JSON.
///
/// Names and texts of people are cut and escaped on the way (`\ud83d` without its second half, half
/// a UTF-8 sequence), and one of a thousand updates must not cost the others. Only such bodies are
/// copied.
pub(super) fn parse(body: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(body).or_else(|error| {
        let repaired = Repair::of(&String::from_utf8_lossy(body));
        serde_json::from_str(&repaired).map_err(|_| error)
    })
}

/// Copies JSON text, leaving out what costs a parser the whole of it: escapes and characters that a
/// string may not hold become the replacement character; numbers beyond a double, and whatever is
/// nested too deep, become null. Nothing else is mended.
///
/// One pass without recursion: the text may be nested as deep as it is long.
struct Repair<'t> {
    rest: &'t str,
    repaired: String,
    depth: usize,
}

impl<'t> Repair<'t> {
    fn of(text: &'t str) -> String {
        let mut repair = Self { rest: text, repaired: String::with_capacity(text.len()), depth: 0 };
        while let Some(&first) = repair.rest.as_bytes().first() {
            match first {
                b'"' => repair.string(),
                b'{' | b'[' => repair.open(),
                b'}' | b']' => repair.close(),
                b'-' | b'0'..=b'9' => repair.number(),
                _ => {
                    let copied = |byte: u8| !br#""{}[]-0123456789"#.contains(&byte);
                    let len = repair.length_of(copied);
                    repair.keep(len);
                }
            }
        }
        repair.repaired
    }

    /// Bytes from here that all fulfil `belongs`.
    fn length_of(&self, belongs: impl Fn(u8) -> bool) -> usize {
        self.rest.bytes().position(|byte| !belongs(byte)).unwrap_or(self.rest.len())
    }

    /// Takes `len` bytes over. All calls end at a character of ASCII or at the end.
    fn keep(&mut self, len: usize) {
        let (kept, rest) = self.rest.split_at(len);
        if self.depth <= DEPTH_MAX {
            self.repaired.push_str(kept);
        }
        self.rest = rest;
    }

    /// Leaves `len` bytes out and writes `instead`.
    fn replace(&mut self, len: usize, instead: &str) {
        if self.depth <= DEPTH_MAX {
            self.repaired.push_str(instead);
        }
        self.rest = &self.rest[len..];
    }

    fn open(&mut self) {
        if self.depth == DEPTH_MAX {
            self.replace(1, "null");
            self.depth += 1;
        } else {
            self.depth += 1;
            self.keep(1);
        }
    }

    fn close(&mut self) {
        self.keep(1);
        self.depth = self.depth.saturating_sub(1);
    }

    fn number(&mut self) {
        let len = self.length_of(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        if self.rest[..len].parse::<f64>().is_ok_and(f64::is_infinite) {
            self.replace(len, "null");
        } else {
            self.keep(len);
        }
    }

    fn string(&mut self) {
        self.keep(1);
        loop {
            let len = self.length_of(|byte| byte != b'"' && byte != b'\\' && byte >= b' ');
            self.keep(len);
            match self.rest.as_bytes().first() {
                Some(b'\\') => self.escape(),
                Some(b'"') => return self.keep(1),
                Some(_) => self.replace(1, "\\ufffd"),
                None => return,
            }
        }
    }

    fn escape(&mut self) {
        match (escaped_unit(self.rest), self.rest.as_bytes().get(1)) {
            (Some(0xd800..=0xdbff), _) => {
                match self.rest.get(ESCAPE_LEN..).and_then(escaped_unit) {
                    Some(0xdc00..=0xdfff) => self.keep(2 * ESCAPE_LEN),
                    _ => self.replace(ESCAPE_LEN, "\\ufffd"),
                }
            }
            (Some(0xdc00..=0xdfff), _) => self.replace(ESCAPE_LEN, "\\ufffd"),
            (Some(_), _) => self.keep(ESCAPE_LEN),
            (None, Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => self.keep(2),
            // The backslash only: what follows it may be a character of several bytes.
            (None, _) => self.replace(1, "\\ufffd"),
        }
    }
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
    fn replaces_what_a_string_may_not_hold() {
        let cases = [
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ude00x""#, r#""\ufffdx""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud83""#, r#""\ufffdud83""#),
            (r#""\u+123\n""#, r#""\ufffdu+123\n""#),
            (r#""\é\"]""#, r#""\ufffdé\"]""#),
            ("\"a\u{1}\tb\"", r#""a\ufffd\ufffdb""#),
            ("\"\\", "\"\\ufffd"),
            ("\"\\\\é\\ud83dé", "\"\\\\é\\ufffdé"),
        ];
        for (text, expected) in cases {
            assert_eq!(Repair::of(text), expected);
        }
    }

    #[test]
    fn cuts_numbers_and_nesting_that_no_parser_takes() {
        let cases = [
            (r#"{"a":1e999,"b":[-1E+400,1e-999,12]}"#, r#"{"a":null,"b":[null,1e-999,12]}"#),
            (r#"{"a":"1e999"}"#, r#"{"a":"1e999"}"#),
            (" true , 0x1 , -", " true , 0x1 , -"),
        ];
        for (text, expected) in cases {
            assert_eq!(Repair::of(text), expected);
        }
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"a":{},"b":[1]}}"#, deep(r#"{"x":"]}","y":[]}"#));
        let (open, close) = ("[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
        assert_eq!(Repair::of(&text), format!(r#"{{"a":{open}null{close},"b":[1]}}"#));
    }

    #[test]
    fn repairs_and_otherwise_reports() {
        assert_eq!(parse(br#"["\ud83d"]"#).expect("repaired"), serde_json::json!(["\u{fffd}"]));
        assert_eq!(parse(b"[\"\xf0\x9f\"]").expect("repaired"), serde_json::json!(["\u{fffd}"]));
        assert_eq!(parse(b"[1e999]").expect("repaired"), serde_json::json!([null]));
        let error = parse(br#"["\ud83d", nul]"#).expect_err("still broken");
        assert!(error.to_string().contains("escape"), "the first fault is reported: {error}");
    }
}
