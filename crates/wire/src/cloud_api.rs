//! Meta's Cloud API as text: the body of a template send, and its answer.
//!
//! No HTTP here. What an error code means is in [`sendplane_domain::provider_code`].

mod answer;
mod send;

pub use answer::{Acceptance, Answer, ApiError, UnparsedReason, parse_answer};
pub use send::template_body;

#[cfg(test)]
mod tests;
