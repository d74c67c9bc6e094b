//! Recipients with a fixed result.
//!
//! A recipient of the test range is `+999 kk cccccc m nnn`: 15 digits, valid E.164, and never a
//! real customer, because country code 999 is not assigned (ITU-T E.164). `kk` is the kind of
//! [`TABLE`]; `cccccc` an error code, or a time in the unit the table names; `m` how many first
//! calls of this recipient are concerned (0 means 1, 9 means every call); `nnn` is free, so each
//! behaviour has a thousand recipients. Every other recipient is ordinary.

use serde::Serialize;

/// Country code of the test range.
pub const PREFIX: &str = "999";

/// What a recipient does to a call and to the webhooks after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// What happens to the call.
    pub call: CallRule,
    /// Which webhooks an accepted message gets.
    pub script: Script,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallRule {
    /// Accepted and answered.
    Accept,
    /// Refused with a code.
    Refuse(i64, Times),
    /// Accepted, then the connection is closed without an answer.
    LoseAnswer(Times),
    /// Closed before the request is read; nothing is accepted.
    CloseBeforeRead(Times),
    /// Accepted and answered after this many milliseconds.
    Slow(u64),
    /// An answer that is not Meta's usual one.
    Odd(OddAnswer, Times),
    /// Accepted with `held_for_quality_assessment`.
    Held,
    /// In the test range, but no kind of the table: refused with code 100.
    Undefined,
}

/// Answers a careful client has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddAnswer {
    /// HTTP 500, text body; nothing is accepted.
    BareErrorRefused,
    /// HTTP 500, text body; accepted all the same.
    BareErrorAccepted,
    /// HTTP 200 with contacts but without `messages`; accepted.
    NoMessagesAccepted,
    /// HTTP 200 with contacts but without `messages`; nothing is accepted.
    NoMessagesRefused,
    /// HTTP 200 with an HTML page; accepted.
    HtmlAccepted,
    /// HTTP 200 with an error object; nothing is accepted.
    ErrorInOk,
}

impl OddAnswer {
    /// Whether the message exists in spite of the answer.
    pub fn accepts(self) -> bool {
        match self {
            Self::BareErrorAccepted | Self::NoMessagesAccepted | Self::HtmlAccepted => true,
            Self::BareErrorRefused | Self::NoMessagesRefused | Self::ErrorInOk => false,
        }
    }
}

/// Which calls of a recipient are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The first calls.
    First(u64),
    /// Every call.
    Always,
}

impl Times {
    /// Whether the `nth` call (from 1) is concerned.
    pub fn concerns(self, nth: u64) -> bool {
        match self {
            Self::First(count) => nth <= count,
            Self::Always => true,
        }
    }
}

/// Which webhooks an accepted message gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Sent, delivered, read.
    Read,
    /// Sent, delivered.
    Delivered,
    /// Sent and nothing more, as for a user who blocked the business.
    Sent,
    /// Nothing at all.
    Silent,
    /// Failed, as the only status.
    Failed(i64),
    /// Sent, then failed.
    SentThenFailed(i64),
    /// Sent, delivered, then failed: one device of several. Delivered beats failed.
    DeliveredThenFailed(i64),
    /// Failed without `errors`.
    FailedWithoutErrors,
    /// Delivered comes before sent, then read.
    DeliveredBeforeSent,
    /// Read, then delivered, then sent.
    Reversed,
    /// Sent, then read; delivered never comes.
    ReadWithoutDelivered,
    /// Sent, delivered, read; each this many times.
    Repeated(u32),
    /// Sent, delivered, read; each this many milliseconds later than usual.
    Late(u64),
    /// Sent is due at once, before a slow answer; then delivered, read.
    BeforeAnswer,
    /// Held for this many milliseconds (none: as configured), then sent, delivered, read.
    HeldThenSent(Option<u64>),
    /// Held for this many milliseconds (none: as configured), then failed with 132015.
    HeldThenDropped(Option<u64>),
    /// Sent; delivered and read only after this many milliseconds, because the recipient is
    /// offline. Dropped when the message expires before.
    Offline(u64),
    /// Sent, delivered, read; then the recipient writes "STOP".
    ThenStopMessage,
    /// Sent, delivered, read; then the recipient stops marketing (`user_preferences`).
    ThenStopPreference,
}

/// One kind of test recipient.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row {
    /// `kk`.
    pub kind: u8,
    /// Meaning of `cccccc`.
    pub parameter: Parameter,
    /// Whether `m` counts the first calls concerned (or repetitions); else it is free.
    pub counted: bool,
    /// What happens.
    pub result: &'static str,
}

/// Meaning of the six digits `cccccc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Parameter {
    /// Free.
    None,
    /// An error code; 0 means 131026 where the failure comes by webhook.
    Code,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

const fn row(kind: u8, parameter: Parameter, counted: bool, result: &'static str) -> Row {
    Row { kind, parameter, counted, result }
}

/// Every kind of test recipient.
pub const TABLE: &[Row] = {
    use Parameter::{Code, Milliseconds, None, Seconds};
    &[
        row(0, None, false, "sent, delivered, read"),
        row(1, None, false, "sent, delivered; never read"),
        row(2, None, false, "sent; never delivered"),
        row(3, None, false, "accepted; no webhook ever"),
        row(4, Code, false, "accepted; failed with the code, no sent before it"),
        row(5, Code, false, "accepted; sent, then failed with the code"),
        row(6, Code, false, "accepted; sent, delivered, then failed with the code"),
        row(7, None, false, "accepted; failed without errors[]"),
        row(10, Code, false, "every call refused with the code"),
        row(11, Code, true, "first m calls refused with the code, then accepted and read"),
        row(20, None, true, "first m calls accepted, answer lost; webhooks up to read"),
        row(21, None, true, "first m calls accepted, answer lost; no webhook ever"),
        row(22, None, true, "first m calls reset, nothing accepted; then accepted and read"),
        row(23, Milliseconds, false, "accepted; answer after the time (0: 5 s)"),
        row(24, None, true, "first m calls HTTP 500 as text, nothing accepted; then accepted"),
        row(25, None, true, "first m calls HTTP 500 as text, but accepted; webhooks up to read"),
        row(26, None, true, "first m calls HTTP 200 without messages, accepted"),
        row(27, None, true, "first m calls HTTP 200 without messages, nothing accepted"),
        row(28, None, true, "first m calls HTTP 200 with HTML, accepted"),
        row(29, None, true, "first m calls HTTP 200 with an error object, nothing accepted"),
        row(30, None, false, "delivered webhook before sent, then read"),
        row(31, None, true, "each webhook comes m times (0: 2)"),
        row(32, Seconds, false, "webhooks later by the time (0: 1 h), with early timestamps"),
        row(33, None, false, "sent, read; delivered never comes"),
        row(34, Milliseconds, false, "sent webhook before the answer (answer after 0: 2 s)"),
        row(35, None, false, "read, delivered, sent in this order"),
        row(36, Seconds, false, "sent; delivered and read after the time (0: 1 h), if not expired"),
        row(40, Seconds, false, "held_for_quality_assessment, after the time sent and read"),
        row(41, Seconds, false, "held_for_quality_assessment, after the time failed 132015"),
        row(50, None, false, "read, then the recipient writes STOP"),
        row(51, None, false, "read, then the recipient stops marketing (user_preferences)"),
    ]
};

/// The test recipient (E.164 with plus sign) of a kind; `serial` below 1000.
///
/// # Panics
/// When a part has too many digits.
pub fn number(kind: u8, parameter: u32, times: u8, serial: u16) -> String {
    assert!(kind <= 99 && parameter <= 999_999 && times <= 9 && serial <= 999, "too many digits");
    format!("+{PREFIX}{kind:02}{parameter:06}{times}{serial:03}")
}

/// The behaviour of a recipient given by its digits; `None` for an ordinary one.
pub fn behaviour(digits: &str) -> Option<Behaviour> {
    let rest = digits.strip_prefix(PREFIX)?;
    let undefined = Behaviour { call: CallRule::Undefined, script: Script::Silent };
    if rest.len() != 12 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(undefined);
    }
    let digits = |range: std::ops::Range<usize>| rest[range].parse::<u32>().unwrap_or_default();
    let (kind, parameter, m) = (digits(0..2), digits(2..8), digits(8..9));
    let call = call_rule(kind, parameter, m);
    let script = script(kind, parameter, m);
    Some(match (call, script) {
        (None, None) => undefined,
        (call, script) => Behaviour {
            call: call.unwrap_or(CallRule::Accept),
            script: script.unwrap_or(Script::Read),
        },
    })
}

/// What a kind does to the call; none: nothing.
fn call_rule(kind: u32, parameter: u32, m: u32) -> Option<CallRule> {
    let times = match m {
        0 => Times::First(1),
        9 => Times::Always,
        count => Times::First(u64::from(count)),
    };
    let code = i64::from(parameter);
    Some(match kind {
        10 => CallRule::Refuse(code, Times::Always),
        11 => CallRule::Refuse(code, times),
        20 | 21 => CallRule::LoseAnswer(times),
        22 => CallRule::CloseBeforeRead(times),
        23 => CallRule::Slow(or(parameter, 5_000)),
        24 => CallRule::Odd(OddAnswer::BareErrorRefused, times),
        25 => CallRule::Odd(OddAnswer::BareErrorAccepted, times),
        26 => CallRule::Odd(OddAnswer::NoMessagesAccepted, times),
        27 => CallRule::Odd(OddAnswer::NoMessagesRefused, times),
        28 => CallRule::Odd(OddAnswer::HtmlAccepted, times),
        29 => CallRule::Odd(OddAnswer::ErrorInOk, times),
        34 => CallRule::Slow(or(parameter, 2_000)),
        40 | 41 => CallRule::Held,
        _ => return None,
    })
}

/// Which webhooks a kind gets; none: the usual ones.
fn script(kind: u32, parameter: u32, m: u32) -> Option<Script> {
    let code = or(parameter, 131_026) as i64;
    let held_ms = (parameter > 0).then_some(u64::from(parameter) * 1_000);
    Some(match kind {
        0 => Script::Read,
        1 => Script::Delivered,
        2 => Script::Sent,
        3 | 21 => Script::Silent,
        4 => Script::Failed(code),
        5 => Script::SentThenFailed(code),
        6 => Script::DeliveredThenFailed(code),
        7 => Script::FailedWithoutErrors,
        30 => Script::DeliveredBeforeSent,
        31 => Script::Repeated(if m == 0 { 2 } else { m }),
        32 => Script::Late(or(parameter, 3_600) * 1_000),
        33 => Script::ReadWithoutDelivered,
        34 => Script::BeforeAnswer,
        35 => Script::Reversed,
        36 => Script::Offline(or(parameter, 3_600) * 1_000),
        40 => Script::HeldThenSent(held_ms),
        41 => Script::HeldThenDropped(held_ms),
        50 => Script::ThenStopMessage,
        51 => Script::ThenStopPreference,
        _ => return None,
    })
}

fn or(parameter: u32, default: u64) -> u64 {
    if parameter == 0 { default } else { u64::from(parameter) }
}

#[cfg(test)]
mod tests;
