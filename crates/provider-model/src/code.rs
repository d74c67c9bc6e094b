//! Meta's error codes as the model answers them, and the shape of an error.
//!
//! HTTP statuses follow Meta's error page of 12 December 2025 where it lists one, else 400.
//! Texts are our own: clients must classify by `code` alone.

use serde_json::{Value, json};

use crate::rng::{Concern, Rng};

/// One error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// `error.code`.
    pub code: i64,
    /// HTTP status of a synchronous answer.
    pub http_status: u16,
    /// `errors[].title` in a webhook.
    pub title: &'static str,
    /// `error.is_transient`, absent when false.
    pub transient: bool,
}

const fn entry(code: i64, http_status: u16, title: &'static str) -> Described {
    Described { code, http_status, title, transient: false }
}

const fn transient(code: i64, http_status: u16, title: &'static str) -> Described {
    Described { code, http_status, title, transient: true }
}

/// The codes of the send path, ascending.
pub const TABLE: &[Described] = &[
    entry(0, 401, "App user could not be authenticated"),
    entry(1, 400, "Invalid request or possible server error"),
    transient(2, 503, "Service temporarily unavailable"),
    entry(3, 500, "Capability or permission problem"),
    transient(4, 400, "Application request limit reached"),
    entry(10, 403, "Permission denied"),
    entry(33, 400, "Phone number has been deleted"),
    entry(100, 400, "Invalid parameter"),
    entry(104, 401, "Access token is required"),
    entry(190, 401, "Access token is invalid or has expired"),
    entry(200, 403, "Permission missing"),
    entry(368, 403, "Blocked for policy violations"),
    entry(80007, 400, "Business account rate limit reached"),
    entry(130403, 400, "Recipient is blocked by the business"),
    entry(130429, 400, "Rate limit hit"),
    entry(130472, 400, "Recipient is part of an experiment"),
    entry(130497, 403, "Messaging this country is not allowed"),
    transient(131000, 500, "Something went wrong"),
    entry(131005, 403, "Access denied"),
    entry(131008, 400, "Required parameter is missing"),
    entry(131009, 400, "Parameter value is not valid"),
    transient(131016, 500, "Service unavailable"),
    entry(131021, 400, "Recipient cannot be the sender"),
    entry(131026, 400, "Message undeliverable"),
    entry(131030, 400, "Recipient is not in the allowed list"),
    entry(131031, 403, "Account has been locked"),
    entry(131037, 400, "Display name is not approved"),
    entry(131042, 400, "Payment problem of the business"),
    entry(131043, 400, "Message expired"),
    entry(131045, 500, "Phone number registration problem"),
    entry(131047, 400, "Re-engagement message"),
    entry(131048, 400, "Spam rate limit hit"),
    entry(131049, 400, "Not delivered to keep the ecosystem healthy"),
    entry(131050, 400, "Recipient stopped marketing of this business"),
    entry(131051, 400, "Unsupported message type"),
    entry(131053, 400, "Media upload error"),
    entry(131055, 400, "Only marketing templates are supported here"),
    entry(131056, 400, "Pair rate limit hit"),
    entry(131057, 500, "Account is in maintenance mode"),
    entry(131062, 400, "Message cannot go to a business-scoped user id"),
    entry(131063, 400, "Marketing is switched off for this endpoint"),
    entry(131064, 400, "Messaging limit after template misclassification"),
    entry(132000, 400, "Number of parameters does not match"),
    entry(132001, 404, "Template does not exist in this language"),
    entry(132005, 400, "Template text is too long"),
    entry(132007, 400, "Template violates policy"),
    entry(132008, 400, "Template parameter value is invalid"),
    entry(132012, 400, "Template parameter format does not match"),
    entry(132015, 400, "Template is paused"),
    entry(132016, 400, "Template is disabled"),
    entry(132018, 400, "Template parameters failed validation"),
    entry(132068, 400, "Flow is blocked"),
    entry(132069, 400, "Flow is throttled"),
    transient(133004, 503, "Server temporarily unavailable"),
    entry(133010, 400, "Phone number is not registered"),
    entry(134011, 400, "Payments terms are not accepted"),
    entry(134100, 400, "Only marketing messages are supported"),
    entry(134101, 400, "Template is still synchronising"),
    entry(134102, 500, "Template is not available for this endpoint"),
    entry(135000, 400, "Generic user error"),
    entry(137000, 400, "Recipient identity key does not match"),
    entry(139200, 403, "Direct send is blocked"),
    transient(UNLISTED_TRANSIENT, 400, "A passing fault that no list has yet"),
];

/// Stands for the codes Meta adds without notice: in no published list, marked transient.
pub const UNLISTED_TRANSIENT: i64 = 199_001;

/// The code as Meta would present it; an unknown one is a plain HTTP 400.
pub fn describe(code: i64) -> Described {
    let known = TABLE.binary_search_by_key(&code, |described| described.code);
    let fallback = if (200..300).contains(&code) {
        entry(code, 403, "Permission missing")
    } else {
        entry(code, 400, "Unknown error")
    };
    known.map_or(fallback, |index| TABLE[index])
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `error.code`.
    pub code: i64,
    /// `error.error_subcode`, still seen although removed officially.
    pub subcode: Option<i64>,
    /// `error.error_data.details`.
    pub details: String,
}

impl Refusal {
    /// A refusal without subcode.
    pub fn new(code: i64, details: impl Into<String>) -> Self {
        Self { code, subcode: None, details: details.into() }
    }

    /// The error body of a synchronous answer; `trace` keys `fbtrace_id`.
    pub(crate) fn body(&self, seed: u64, trace: u64) -> Value {
        let described = describe(self.code);
        let mut error = json!({
            "message": format!("(#{}) {}", self.code, described.title),
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": trace_id(seed, trace),
        });
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = subcode.into();
        }
        if described.transient {
            error["is_transient"] = true.into();
        }
        json!({ "error": error })
    }
}

/// One element of `errors[]` in a status webhook.
pub(crate) fn webhook_error(code: i64) -> Value {
    let title = describe(code).title;
    json!({
        "code": code,
        "title": title,
        "message": title,
        "error_data": {"details": format!("{title} ({code})")},
        "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
    })
}

fn trace_id(seed: u64, key: u64) -> String {
    use base64::Engine as _;
    let mut rng = Rng::keyed(seed, Concern::Trace, key);
    let bytes = [rng.next_u64().to_be_bytes(), rng.next_u64().to_be_bytes()].concat();
    format!("A{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ascending_so_that_the_search_works() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert_eq!(describe(132_001).http_status, 404);
        assert_eq!(describe(222).http_status, 403);
        assert_eq!(describe(999_999).http_status, 400);
    }

    #[test]
    fn throttling_is_never_http_429() {
        for code in [4, 80_007, 130_429, 131_048, 131_056] {
            assert_eq!(describe(code).http_status, 400, "{code}");
        }
    }

    #[test]
    fn an_error_has_the_shape_of_meta() {
        let body = Refusal { code: 100, subcode: Some(33), details: "gone".into() }.body(1, 2);
        let trace = body["error"]["fbtrace_id"].as_str().expect("text");
        assert_eq!(trace.len(), 23);
        let expected = json!({"error": {
            "message": "(#100) Invalid parameter", "type": "OAuthException", "code": 100,
            "error_subcode": 33, "fbtrace_id": trace,
            "error_data": {"messaging_product": "whatsapp", "details": "gone"},
        }});
        assert_eq!(body, expected);
        assert_eq!(Refusal::new(2, "").body(1, 2)["error"]["is_transient"], true);
    }
}
