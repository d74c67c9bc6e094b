//! Ingest: what comes in from outside becomes a message with an identity, or a refusal with a
//! reason.
//!
//! ```text
//! request ─▶ key = tenant? ─▶ here? ─▶ known tenant? ─▶ rules ─▶ admitted
//!               │no            │no        │no              └──▶ decision (refuse, duplicate, stale)
//!               ▼              ▼          ▼
//!          dead letter      rerouted   dead letter
//!
//! webhook ─▶ seen? ─▶ parse ─▶ each status: whose number? ─▶ feedback (authenticated), receipt
//!                            └▶ each notice: whom does it concern? ─▶ notices
//! ```
//!
//! Reading order: [`request`] (the way of a request), [`rules`] (what is checked), [`idempotency`]
//! (I2), [`webhook`] (the way of a webhook), [`path`] (whether any was lost), [`codec`].
//!
//! A message's identity is the position its producer wrote it to: neither re-routing a record nor
//! replaying it from the dead letters changes the message id, and reading it twice admits it once.

mod cancel;
mod codec;
mod idempotency;
mod notice;
mod path;
mod request;
mod rules;
mod webhook;

use std::convert::Infallible;

use sendplane_domain::id::{IdempotencyKey, SourcePosition, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::opaque::HashKey;
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::{
    Context, DeadLetter, Header, Input, InputClass, InputTopic, RecordMeta, Stage,
};
use sendplane_wire::record::{
    AdmittedMessage, CancelAnswer, CancelRequest, Cancellation, Decision, Feedback, Notice,
    Receipt, ReroutedRecord, SendRequest,
};
use sendplane_wire::topic;
use serde::{Deserialize, Serialize};

use crate::directory::{Change, Directory};

pub use codec::IngestCodec;
pub use rules::reason;
pub use webhook::{BODY_MEMORY, BodyDigest, Webhook};

/// Largest request, in bytes. Half of what its topic takes: a re-routed record carries the whole
/// request in one of the same limit, and what is larger could not be passed on.
pub const REQUEST_BYTES_MAX: usize = 512 * 1024;

/// Largest key, value and headers of a request together that can be re-routed, in bytes: they have
/// to fit one record of the broker's usual limit, with room for framing and the trace.
pub const REROUTED_BYTES_MAX: usize = 1024 * 1024 - 16 * 1024;

/// Largest cancel, in bytes.
pub const CANCEL_BYTES_MAX: usize = 64 * 1024;

/// Longest field of a trace that is passed on, in bytes. W3C asks for at least 512 of tracestate.
pub const TRACE_FIELD_BYTES_MAX: usize = 1024;

/// Webhooks stand in the class of transactional requests: in the class before, a storm of them
/// (three per message) would hold back one-time codes; in the class after, requests would hold back
/// the evidence that settles doubt. Within one class the host takes records as they arrive.
const INPUTS: &[InputTopic] = &[
    InputTopic {
        topic: topic::REQUESTS_TRANSACTIONAL,
        class: InputClass::Transactional,
        value_bytes_max: REQUEST_BYTES_MAX,
    },
    InputTopic {
        topic: topic::WEBHOOKS,
        class: InputClass::Transactional,
        value_bytes_max: topic::WEBHOOK_BYTES_MAX as usize,
    },
    InputTopic {
        topic: topic::REROUTED,
        class: InputClass::Transactional,
        value_bytes_max: 1024 * 1024,
    },
    InputTopic {
        topic: topic::CANCELS,
        class: InputClass::Transactional,
        value_bytes_max: CANCEL_BYTES_MAX,
    },
    InputTopic {
        topic: topic::REQUESTS_BULK,
        class: InputClass::Bulk,
        value_bytes_max: REQUEST_BYTES_MAX,
    },
];

/// The stage.
#[derive(Debug)]
pub struct Ingest {
    settings: IngestSettings,
}

/// What the stage needs to know.
#[derive(Clone, Debug)]
pub struct IngestSettings {
    /// Keys the hashes of personal values and authenticates callback data; `send` holds the same.
    pub hash_key: HashKey,
}

/// An input record.
#[derive(Debug)]
pub enum Record {
    /// A request, read where its producer put it.
    Request(Incoming),
    /// The body of a webhook.
    Webhook(Webhook),
    /// A record of the webhooks' topic that cannot be read.
    LostWebhook(DeadLetter),
    /// A request to withdraw a message, with its key.
    Cancel {
        /// Key, byte for byte.
        key: Option<Vec<u8>>,
        /// What is asked.
        request: Box<CancelRequest>,
    },
    /// A request that another task found on the wrong partition.
    Rerouted {
        /// Where its producer had put it.
        source: SourcePosition,
        /// Kafka timestamp there.
        timestamp: Timestamp,
        /// The request.
        incoming: Incoming,
    },
}

/// A decoded request and the bytes it was read from.
#[derive(Debug)]
pub struct Incoming {
    /// Lane of the topic its producer chose.
    pub lane: Lane,
    /// Key, byte for byte.
    pub key: Option<Vec<u8>>,
    /// Value, byte for byte, with its framing.
    pub value: Vec<u8>,
    /// Headers, byte for byte, in their order.
    pub headers: Vec<Header>,
    /// What the value says.
    pub request: SendRequest,
}

/// An output record.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Checked, and the first under its key.
    Admitted(AdmittedMessage),
    /// Never admitted, and why.
    Decision(Decision),
    /// One status of one message.
    Receipt(Receipt),
    /// The same status as evidence for the send stage.
    Feedback(Feedback),
    /// Belongs to another task.
    Rerouted(ReroutedRecord),
    /// What a webhook said about an account, a number or a template.
    Notice(Box<Notice>),
    /// A cancel for the send stage.
    Cancellation(Cancellation),
    /// A cancel that names no message.
    CancelAnswer(CancelAnswer),
}

/// A stored timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timer {
    /// An idempotency key may be forgotten.
    KeyExpires(TenantId, IdempotencyKey),
    /// A webhook body may be forgotten.
    BodyExpires(BodyDigest),
}

impl Ingest {
    /// The stage with its settings.
    pub fn new(settings: IngestSettings) -> Self {
        Self { settings }
    }
}

impl Stage for Ingest {
    type Record = Record;
    type Output = Output;
    type Timer = Timer;
    type Effect = Infallible;
    type EffectResult = Infallible;
    type Globals = Directory;

    fn name(&self) -> &'static str {
        "ingest"
    }

    fn inputs(&self) -> &'static [InputTopic] {
        INPUTS
    }

    fn misses_global(&self, record: &Record, directory: &Directory) -> bool {
        match record {
            Record::Request(incoming) | Record::Rerouted { incoming, .. } => {
                request::misses_global(incoming, directory)
            }
            Record::Webhook(webhook) => webhook.misses_global(directory),
            Record::LostWebhook(_) | Record::Cancel { .. } => false,
        }
    }

    fn apply(&self, input: Input<Self>, ctx: &mut Context<'_, '_, Self>) {
        match input {
            Input::Record { record, meta } => {
                ctx.set_trace(bounded(ctx.trace()));
                self.apply_record(record, meta, ctx);
            }
            Input::Timer(Timer::KeyExpires(tenant, key)) => idempotency::expire(tenant, key, ctx),
            Input::Timer(Timer::BodyExpires(digest)) => webhook::expire(digest, ctx),
            Input::Effect(never) => match never {},
            // A changed row concerns later requests only.
            Input::Control(
                Change::Tenant(..)
                | Change::Template(..)
                | Change::Switch(..)
                | Change::Gateway(..),
            ) => {}
        }
    }
}

impl Ingest {
    fn apply_record(&self, record: Record, meta: RecordMeta, ctx: &mut Context<'_, '_, Self>) {
        match record {
            Record::Request(incoming) => {
                let source = meta.first_position();
                let arrival = request::Arrival { source, timestamp: meta.timestamp, moved: false };
                request::apply(&self.settings, incoming, arrival, ctx);
            }
            Record::Rerouted { source, timestamp, incoming } => {
                let arrival = request::Arrival { source, timestamp, moved: true };
                request::apply(&self.settings, incoming, arrival, ctx);
            }
            Record::Webhook(webhook) => webhook::apply(&self.settings, webhook, ctx),
            Record::LostWebhook(fault) => {
                // When it was received it does not say; it was not after it was produced.
                path::broken_for_all(ctx, meta.timestamp);
                ctx.dead_letter(fault.code, fault.detail);
            }
            Record::Cancel { key, request } => cancel::apply(key.as_deref(), *request, ctx),
        }
    }
}

/// The trace without fields of absurd length, which every output would carry along.
fn bounded(trace: &TraceContext) -> TraceContext {
    let field = |text: &Option<String>| {
        text.as_ref().filter(|text| text.len() <= TRACE_FIELD_BYTES_MAX).cloned()
    };
    TraceContext {
        traceparent: field(&trace.traceparent),
        tracestate: field(&trace.tracestate),
        correlation_id: field(&trace.correlation_id),
    }
}

#[cfg(test)]
mod tests;
