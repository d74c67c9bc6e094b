//! `CancelAnswer`, `schemas/sendplane.cancel-answers.v1/CancelAnswer.avsc`.

use sendplane_domain::id::{MessageId, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// What became of a cancel. One per message it named. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "CancelAnswer")]
pub struct CancelAnswer {
    /// As the request had it.
    pub cancel_id: String,
    /// Tenant that asked; also the record key.
    pub tenant: TenantId,
    /// The message, if one was found.
    pub message_id: Option<MessageId>,
    /// What became of it.
    pub result: CancelResult,
    /// State of the message when it was answered, in snake_case.
    pub state: Option<String>,
    /// In words, for people.
    pub detail: Option<String>,
    /// When it was answered.
    pub answered_at: Timestamp,
    /// How many messages the cancel named; so many answers come.
    pub messages: i32,
}

avro_record!(CancelAnswer, "sendplane.cancel-answers.v1/CancelAnswer.avsc");

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "CancelResult", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelResult {
    /// A symbol this version does not know.
    Unknown,
    /// Nothing was sent, and no call will be made.
    Cancelled,
    /// It has ended otherwise, or a call is being made or in doubt; `state` says how it stands. No
    /// further call will be made.
    TooLate,
    /// No such message is known.
    NotFound,
    /// The request names no message, or more than one way.
    Invalid,
}
