//! The answer to a send: accepted, an error Meta states, or something that proves nothing.

use sendplane_domain::id::Wamid;
use sendplane_domain::provider_code;
use serde_json::Value;

use crate::text::{kept, shorten};

/// Longest text kept from an answer, in characters.
const TEXT_LEN_MAX: usize = 500;

/// Longest raw answer that is kept, in bytes.
pub const RAW_BYTES_MAX: usize = 4 * 1024;

/// What Meta answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Meta took the message and gave it an id. Nothing more: most failures come later, by webhook.
    Accepted {
        /// The id.
        wamid: Wamid,
        /// What Meta does with it next.
        status: Acceptance,
    },
    /// Meta states an error.
    Error(ApiError),
    /// The answer proves neither. [`sendplane_domain::provider_code::classify_unparsed`] judges it
    /// by its HTTP status.
    Unparsed {
        /// Why.
        reason: UnparsedReason,
        /// The answer as it came, at most [`RAW_BYTES_MAX`]: a person has to read it.
        raw: String,
    },
}

/// `messages[0].message_status`. Absent and unknown values count as accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acceptance {
    /// `accepted`.
    Accepted,
    /// `held_for_quality_assessment`: sent within about an hour, or dropped with code 132015.
    Held,
    /// `paused`: in Meta's enumeration, explained nowhere.
    Paused,
}

/// The `error` object of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// `code`.
    pub code: i64,
    /// `error_subcode`; officially gone, still seen.
    pub subcode: Option<i64>,
    /// `message`, at most 500 characters; empty when absent.
    pub message: String,
    /// `error_data.details`, or `error_data` where it is a bare string; at most 500 characters.
    pub details: Option<String>,
    /// `is_transient`.
    pub is_transient: Option<bool>,
    /// The answer as it came, at most [`RAW_BYTES_MAX`], where nobody has said yet what the code
    /// means ([`provider_code::TABLE`]).
    pub raw: Option<String>,
}

/// Why an answer proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnparsedReason {
    /// Not a JSON object: a proxy's page, or a body cut off.
    NotJson,
    /// An `error` object inside a 2xx, or next to a message id.
    ErrorInSuccess,
    /// A 2xx without `messages[0].id`.
    NoMessageId,
    /// Not a 2xx, and no `error.code`.
    NoErrorCode,
}

impl UnparsedReason {
    /// Stable name for records and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            UnparsedReason::NotJson => "not_json",
            UnparsedReason::ErrorInSuccess => "error_in_success",
            UnparsedReason::NoMessageId => "no_message_id",
            UnparsedReason::NoErrorCode => "no_error_code",
        }
    }
}

/// Reads the answer to a send.
///
/// A message id without an `error` is an acceptance whatever the HTTP status: taking it for a
/// refusal could send the message twice.
pub fn parse_answer(http_status: u16, raw: &[u8]) -> Answer {
    let unparsed = |reason| Answer::Unparsed { reason, raw: kept(raw, RAW_BYTES_MAX) };
    let Ok(Value::Object(body)) = serde_json::from_slice(raw) else {
        return unparsed(UnparsedReason::NotJson);
    };
    let success = (200..=299).contains(&http_status);
    let message = body.get("messages").and_then(|messages| messages.get(0));
    let wamid = message.and_then(|message| message["id"].as_str()).filter(|id| !id.is_empty());
    let error = body.get("error").filter(|error| !error.is_null());
    match (wamid, error) {
        (Some(wamid), None) => Answer::Accepted {
            wamid: Wamid::new(wamid),
            status: acceptance(message.and_then(|message| message["message_status"].as_str())),
        },
        (Some(_), Some(_)) => unparsed(UnparsedReason::ErrorInSuccess),
        (None, Some(_)) if success => unparsed(UnparsedReason::ErrorInSuccess),
        (None, None) if success => unparsed(UnparsedReason::NoMessageId),
        (None, error) => match error.and_then(|error| api_error(error, raw)) {
            Some(error) => Answer::Error(error),
            None => unparsed(UnparsedReason::NoErrorCode),
        },
    }
}

fn acceptance(message_status: Option<&str>) -> Acceptance {
    match message_status {
        Some("held_for_quality_assessment") => Acceptance::Held,
        Some("paused") => Acceptance::Paused,
        Some(_) | None => Acceptance::Accepted,
    }
}

fn api_error(error: &Value, raw: &[u8]) -> Option<ApiError> {
    let details = match &error["error_data"] {
        Value::String(details) => Some(details.as_str()),
        data => data["details"].as_str(),
    };
    let (code, subcode) = (integer(&error["code"])?, integer(&error["error_subcode"]));
    let is_known = provider_code::row(provider_code::effective_code(code, subcode)).is_some();
    Some(ApiError {
        code,
        subcode,
        message: shorten(error["message"].as_str().unwrap_or_default(), TEXT_LEN_MAX),
        details: details.map(|details| shorten(details, TEXT_LEN_MAX)),
        is_transient: error["is_transient"].as_bool(),
        raw: (!is_known).then(|| kept(raw, RAW_BYTES_MAX)),
    })
}

/// Codes are numbers; as text they come from proxies that rewrite JSON.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}
