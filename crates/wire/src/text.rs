//! Bounds for text that others wrote.

/// `text`, cut to `chars_max` characters; a cut is marked.
pub(crate) fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The beginning of `body` as text, at most `bytes_max` bytes of it; what is not UTF-8 is replaced.
pub(crate) fn kept(body: &[u8], bytes_max: usize) -> String {
    // A character that begins within the bound ends within three bytes more.
    let beginning = &body[..body.len().min(bytes_max + 4)];
    let mut text = String::from_utf8_lossy(beginning).into_owned();
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöü", 2), "äö…");
        assert_eq!(shorten("", 0), "");
    }

    #[test]
    fn keeps_whole_characters_within_the_bytes() {
        assert_eq!(kept("äöü".as_bytes(), 6), "äöü");
        assert_eq!(kept("äöü".as_bytes(), 5), "äö");
        assert_eq!(kept("😀😀".as_bytes(), 7), "😀");
        assert_eq!(kept(b"", 7), "");
        assert_eq!(kept(b"a\xffb", 7), "a\u{fffd}b");
        // A replacement is longer than what it replaces.
        assert_eq!(kept(&[0xff; 9], 7), "\u{fffd}\u{fffd}");
        for body in ["é".repeat(5_000), "€".repeat(5_000), "😀".repeat(5_000)] {
            for offset in 0..4 {
                let body = format!("{}{body}", "x".repeat(offset));
                let text = kept(body.as_bytes(), 4_096);
                assert!(text.len() <= 4_096 && text.len() > 4_092 && body.starts_with(&text));
            }
        }
    }
}
