//! Meta's Cloud API as text: the request of a template send, and its answer.
//!
//! No HTTP here. What an error code means is in [`sendplane_domain::provider_code`].

mod answer;
mod route;
mod send;

pub use answer::{Acceptance, Answer, ApiError, RAW_BYTES_MAX, UnparsedReason, parse_answer};
pub use route::{ProductPolicy, Route};
pub use send::{
    BASE_URL, CONTENT_TYPE, USER_AGENT, UnsafeNumber, VERSION, path, redacted_body, template_body,
};

#[cfg(test)]
mod tests;
