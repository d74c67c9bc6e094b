//! Policy: may this message be sent, to this person, now?
//!
//! ```text
//! consent ──▶ consent of a contact ─▶ suppressions (for what is released already)
//!                   │
//! admitted ──▶ judge (pure) ──┬─▶ dispatch   (verdict DISPATCH)
//! given back ──────┘          └─▶ decisions  (every verdict, with every rule)
//! ```
//!
//! Reading order: [`consent`] (the state), [`judge`](judge()) and its rules, [`Policy`], `decide`
//! (the outputs), `replan` (messages that send gave back), `decided` (no decision is made twice),
//! the codec.
//!
//! Consent is of class [`InputClass::Feedback`]: the host applies it up to the end it saw at the
//! start of a cycle before it gives the stage any work (I11). Nothing here compares offsets of the
//! two topics; a stage that judged first and learned later would only be as good as that order.
//!
//! **Architecture invariant:** a verdict is a function of the admitted record, the consent row, the
//! pinned global tables and `now`. Judging an admitted message writes no state. Only what may come
//! twice is remembered (`decided`): a dead letter, which an operator may replay as often as they
//! like, and a message that send gave back. Each decision about a message has a number and is made
//! once.

mod codec;
pub mod consent;
mod decide;
mod decided;
mod judge;
mod replan;
mod rules;
#[cfg(test)]
mod tests;

use sendplane_domain::id::MessageId;
use sendplane_domain::opaque::HashKey;
use sendplane_stage_api::{Context, Input, InputClass, InputTopic, RecordMeta, Stage};
use sendplane_wire::record::{
    AdmittedMessage, ConsentChange, Decision, Dispatch, Replan, Suppression,
};
use sendplane_wire::topic;

pub use codec::PolicyCodec;
pub use judge::{Facts, Judgement, Release, judge};

use crate::directory::{Directory, TemplateKey};
use decide::FIRST_DECISION;

/// Largest value of any input, in bytes: twice what ingest admits at most. A dispatch holds hardly
/// more than the message it was made of, and send takes 256 KiB.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;

const INPUTS: &[InputTopic] = &[
    InputTopic {
        topic: topic::CONSENT,
        class: InputClass::Feedback,
        value_bytes_max: VALUE_BYTES_MAX,
    },
    InputTopic {
        topic: topic::POLICY_FEEDBACK,
        class: InputClass::Transactional,
        value_bytes_max: VALUE_BYTES_MAX,
    },
    InputTopic {
        topic: topic::ADMITTED_TRANSACTIONAL,
        class: InputClass::Transactional,
        value_bytes_max: VALUE_BYTES_MAX,
    },
    InputTopic {
        topic: topic::ADMITTED_BULK,
        class: InputClass::Bulk,
        value_bytes_max: VALUE_BYTES_MAX,
    },
];

/// Options of the stage.
#[derive(Clone, Debug)]
pub struct PolicySettings {
    /// The deployment's secret: keys the hash under which send knows a contact.
    pub hash_key: HashKey,
}

/// The policy stage.
#[derive(Clone, Debug)]
pub struct Policy {
    settings: PolicySettings,
}

impl Policy {
    /// With its options.
    pub fn new(settings: PolicySettings) -> Self {
        Self { settings }
    }
}

/// An input of the policy stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A message to judge, of either lane.
    Admitted(Box<AdmittedMessage>),
    /// A person gave or withdrew consent.
    Consent(Box<ConsentChange>),
    /// A message that send gave back.
    Replan(Box<Replan>),
}

/// An output of the policy stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Release to send; the lane inside chooses the topic.
    Dispatch(Box<Dispatch>),
    /// The verdict, whatever it is.
    Decision(Box<Decision>),
    /// A contact's consent, for what is released already.
    Suppression(Box<Suppression>),
}

/// A stored timer: policy defers no message yet. Append-only.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub enum Timer {
    /// What was decided about a message may be forgotten.
    DecidedExpires(MessageId),
}

/// Policy calls nothing outside.
#[derive(Clone, Copy, Debug)]
pub enum Effect {}

impl Stage for Policy {
    type Record = Record;
    type Output = Output;
    type Timer = Timer;
    type Effect = Effect;
    type EffectResult = Effect;
    type Globals = Directory;

    fn name(&self) -> &'static str {
        "policy"
    }

    fn inputs(&self) -> &'static [InputTopic] {
        INPUTS
    }

    fn misses_global(&self, record: &Record, globals: &Directory) -> bool {
        match record {
            Record::Admitted(message) => {
                globals.tenant(&message.tenant).is_none()
                    || globals.template(&template_key(message)).is_none()
            }
            Record::Replan(replan) => replan::misses_global(replan, globals),
            Record::Consent(_) => false,
        }
    }

    fn apply(&self, input: Input<Self>, ctx: &mut Context<'_, '_, Self>) {
        match input {
            Input::Record { record, meta } => self.apply_record(record, &meta, ctx),
            Input::Timer(Timer::DecidedExpires(message_id)) => decided::expire(message_id, ctx),
            Input::Effect(result) => match result {},
            // The tables are read at the judgement; nothing is kept that a change could outdate.
            Input::Control(_) => {}
        }
    }
}

impl Policy {
    fn apply_record(&self, record: Record, meta: &RecordMeta, ctx: &mut Context<'_, '_, Self>) {
        match record {
            Record::Admitted(message) => {
                let is_replay = meta.replay_of.is_some();
                if is_replay && !decided::is_due(message.message_id, FIRST_DECISION, ctx) {
                    return ctx.count(decide::DECISIONS_TOTAL, "replay_repeated");
                }
                decide::decide(&message, FIRST_DECISION, None, ctx);
            }
            Record::Consent(change) => consent::apply(self, &change, meta, ctx),
            Record::Replan(replan) => replan::apply(*replan, ctx),
        }
    }
}

fn template_key(message: &AdmittedMessage) -> TemplateKey {
    TemplateKey::new(&message.tenant, &message.template_name, &message.template_language)
}
