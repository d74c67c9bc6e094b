//! What Meta's error codes mean for a send: the table, and how an answer is classified by it.
//!
//! Reading order: [`CodeClass`], the rows in `table.rs`, [`classify`] for an HTTP answer,
//! [`classify_status`] for a webhook, [`classify_unparsed`] for an answer without a JSON `error`.
//!
//! **Architecture invariant:** a known code is judged by its row alone, never by the HTTP status it
//! came with: Meta documents its throttling codes as HTTP 400.

mod class;
mod table;
#[cfg(test)]
mod tests;

pub use class::CodeClass;
pub use table::{Row, Seen, TABLE};

/// An error as far as we understand it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified {
    /// What to do.
    pub class: CodeClass,
    /// False when the table has no row for the code. The caller alarms and keeps the raw body.
    pub known: bool,
    /// The table's words, or that the code is unknown.
    pub meaning: &'static str,
}

const UNKNOWN: &str = "code without a row in the table";

/// The row that covers `code`.
pub fn row(code: i64) -> Option<&'static Row> {
    TABLE.iter().find(|row| (row.first..=row.last).contains(&code))
}

/// Classifies the parsed `error` object of an answer to a send.
///
/// `is_transient` is the object's own field, `http_status` that of the answer; both only speak for
/// codes without a row. There, in this order:
/// 1. HTTP 5xx, or an error inside a 2xx: the message may have been accepted, so it is in doubt;
/// 2. HTTP 401: the access token is refused, as with Meta's own codes for that (0, 104, 190);
/// 3. `is_transient`: a few retries;
/// 4. otherwise a permanent fault of the request, to be looked at by a person.
pub fn classify(code: i64, is_transient: Option<bool>, http_status: Option<u16>) -> Classified {
    if let Some(row) = row(code) {
        return Classified { class: row.class, known: true, meaning: row.meaning };
    }
    let class = match http_status {
        Some(200..=299 | 500..=599) => CodeClass::Ambiguous,
        Some(401) => CodeClass::SuspendTenant,
        Some(_) | None if is_transient == Some(true) => CodeClass::RetryMessage,
        Some(_) | None => CodeClass::PermanentRequest,
    };
    Classified { class, known: false, meaning: UNKNOWN }
}

/// Classifies the code of a `failed` status webhook.
///
/// Here nothing is ambiguous: Meta had accepted the message and says that it failed. The generic
/// codes that leave a synchronous answer in doubt are then faults that may pass.
pub fn classify_status(code: i64) -> Classified {
    let classified = classify(code, None, None);
    let class = match classified.class {
        CodeClass::Ambiguous => CodeClass::RetryMessage,
        class => class,
    };
    Classified { class, ..classified }
}

/// Classifies an outcome without a JSON `error`: a timeout or reset (`None`), a 5xx page of a
/// proxy, a 200 without `messages[0].id`.
///
/// A bare 4xx is an edge server's refusal and never reached the API; this is an assumption of ours,
/// Meta documents no such answer. A 401 among them refuses the access token. Everything else may
/// hide an accepted message.
pub fn classify_unparsed(http_status: Option<u16>) -> CodeClass {
    match http_status {
        Some(401) => CodeClass::SuspendTenant,
        Some(400..=499) => CodeClass::RetryMessage,
        Some(_) | None => CodeClass::Ambiguous,
    }
}

/// The code that decides, given the `error_subcode`. Code 100 with subcode 33 means code 33: the
/// phone number id is gone, which is no fault of the request.
pub fn effective_code(code: i64, subcode: Option<i64>) -> i64 {
    match (code, subcode) {
        (100, Some(33)) => 33,
        (code, _) => code,
    }
}

/// Whether an error of this class proves that nothing was accepted, so that another call cannot
/// make a second message (I4).
pub fn proven_unsent(class: CodeClass) -> bool {
    class != CodeClass::Ambiguous
}
