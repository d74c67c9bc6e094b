//! The call to the provider: what the stage asks for, and what comes back.

use std::time::Duration;

use sendplane_domain::id::{MessageId, PhoneNumberId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::rate::Limit;
use sendplane_wire::cloud_api::{Answer, Route};
use sendplane_wire::record::Dispatch;

/// Asks for one `POST` to an endpoint of Meta's for sends. Every `CallProvider` stands for one committed
/// intent: it is performed at most once, and its result settles that attempt only.
#[derive(Clone, Debug, PartialEq)]
pub struct CallProvider {
    /// The message.
    pub message_id: MessageId,
    /// Attempt number, from 1.
    pub attempt: u32,
    /// Owner of the message.
    pub tenant: TenantId,
    /// Number to send from.
    pub phone_number_id: PhoneNumberId,
    /// Name of the access token in the configuration of the process. Never the token itself.
    pub credential: String,
    /// Lane, for the priority of waiting calls and for labels.
    pub lane: Lane,
    /// The endpoint.
    pub route: Route,
    /// What to send.
    pub content: Box<Dispatch>,
    /// `biz_opaque_callback_data`, authenticated.
    pub opaque_data: String,
    /// The call must start within this time of the beginning of the cycle that granted it, or not at
    /// all: at most [`sendplane_domain::limits::CALL_START_MAX`] (I3), less when `valid_until` is
    /// nearer.
    pub start_within: Duration,
    /// The pace of the number, safety margin taken off, without a burst. The debit for this call is
    /// committed; a pacer at the start of the calls spreads what a cycle granted at once.
    pub pace: Limit,
}

/// What came of a [`CallProvider`].
#[derive(Clone, Debug, PartialEq)]
pub struct CallResult {
    /// The message.
    pub message_id: MessageId,
    /// The attempt it answers.
    pub attempt: u32,
    /// Number it was sent from.
    pub phone_number_id: PhoneNumberId,
    /// The result.
    pub outcome: CallOutcome,
    /// Time from the start of the call to its end, in milliseconds; `None` if it never started.
    pub latency_ms: Option<u64>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum CallOutcome {
    /// Proven unsent: nothing that the provider could act on left this process.
    NotStarted {
        /// What kept it.
        cause: NotStarted,
        /// For people.
        reason: String,
    },
    /// The provider, or something in front of it, answered.
    Answered {
        /// HTTP status.
        http_status: u16,
        /// What the body says. Only a complete body is judged; part of one is [`Self::Lost`].
        answer: Answer,
    },
    /// The request was handed to a connection and no whole answer came: the provider may have
    /// accepted.
    Lost {
        /// For people.
        reason: String,
    },
}

/// What kept a call from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStarted {
    /// The time to start was over. Our own slowness: no fault is counted.
    TooLate,
    /// No connection: name resolution, TCP or TLS.
    NoConnection,
    /// The process has no access token of that name.
    NoCredential,
    /// The request cannot be built from this content, and never can.
    Unbuildable,
}
