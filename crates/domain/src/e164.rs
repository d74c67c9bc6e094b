//! Strict E.164 (ITU-T): a plus sign, then 7 to 15 digits, the first not zero.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A phone number in E.164 form with its plus sign.
///
/// Nothing is repaired: without `+` Meta would prefix the business number's own country code and
/// may reach a stranger.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct E164(String);

/// Why a text is not an E.164 number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No leading plus sign.
    #[error("must start with '+' and the country code")]
    NoPlus,
    /// A character that is not a digit.
    #[error("must contain digits only after '+': no spaces, dashes or letters")]
    NotDigits,
    /// Country codes never start with zero.
    #[error("the country code must not start with 0")]
    LeadingZero,
    /// Fewer than 7 or more than 15 digits.
    #[error("must have 7 to 15 digits")]
    Length,
}

impl E164 {
    /// Checks `text` strictly.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let digits = text.strip_prefix('+').ok_or(Invalid::NoPlus)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Invalid::NotDigits);
        }
        if !(7..=15).contains(&digits.len()) {
            return Err(Invalid::Length);
        }
        if digits.starts_with('0') {
            return Err(Invalid::LeadingZero);
        }
        Ok(Self(text.to_owned()))
    }

    /// The number with its plus sign.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first and the last two digits, for logs and for what is shown to others.
    pub fn masked(&self) -> String {
        let tail = self.0.len().saturating_sub(2);
        format!("{}…{}", &self.0[..3], &self.0[tail..])
    }
}

impl From<E164> for String {
    fn from(number: E164) -> Self {
        number.0
    }
}

impl TryFrom<String> for E164 {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

/// Masked: logs never carry a whole number.
impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E164({})", self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_strict_numbers() {
        let cases = [
            ("+4915112345678", Ok(())),
            ("+1234567", Ok(())),
            ("+123456789012345", Ok(())),
            ("4915112345678", Err(Invalid::NoPlus)),
            ("", Err(Invalid::NoPlus)),
            ("+49 151 1234", Err(Invalid::NotDigits)),
            ("+49151abc4567", Err(Invalid::NotDigits)),
            ("+٤٩١٥١١٢٣٤", Err(Invalid::NotDigits)),
            ("+0491511234", Err(Invalid::LeadingZero)),
            ("+123456", Err(Invalid::Length)),
            ("+1234567890123456", Err(Invalid::Length)),
            ("+", Err(Invalid::Length)),
        ];
        for (text, expected) in cases {
            assert_eq!(E164::parse(text).map(|_| ()), expected, "{text:?}");
        }
    }

    #[test]
    fn debug_hides_the_middle() {
        let number = E164::parse("+4915112345678").expect("valid");
        assert_eq!(format!("{number:?}"), "E164(+49…78)");
    }
}
