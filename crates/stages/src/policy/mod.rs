//! Policy: may this message be sent, to this person, now?
//!
//! ```text
//! consent ──▶ consent of a contact
//!                   │
//! admitted ──▶ judge (pure) ──┬─▶ dispatch   (verdict DISPATCH)
//!                             └─▶ decisions  (every verdict, with every rule)
//! ```
//!
//! Reading order: [`consent`] (the state), [`judge`](judge()) and its rules, [`Policy`], the codec,
//! `replay` (dead letters that come back).
//!
//! Consent is of class [`InputClass::Feedback`]: the host applies it up to the end it saw at the
//! start of a cycle before it gives the stage any work (I11). Nothing here compares offsets of the
//! two topics; a stage that judged first and learned later would only be as good as that order.
//!
//! **Architecture invariant:** a verdict is a function of the admitted record, the consent row, the
//! pinned global tables and `now`. Judging writes no state, so a record that is processed again
//! cannot be judged twice. Only a record that comes from the dead letters is remembered (`replay`):
//! an operator may send it twice, and a message has one decision.

mod codec;
pub mod consent;
mod judge;
mod replan;
mod replay;
mod rules;
#[cfg(test)]
mod tests;

use sendplane_domain::id::MessageId;
use sendplane_stage_api::{Context, Input, InputClass, InputTopic, RecordMeta, Stage};
use sendplane_wire::record::{
    AdmittedMessage, ConsentChange, DecidingStage, Decision, Dispatch, Replan, Suppression,
};
use sendplane_wire::topic;

pub use codec::PolicyCodec;
pub use judge::{Facts, Judgement, Release, judge};

use crate::directory::{Directory, TemplateKey};
use consent::{CONSENT, ContactKey};

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

/// The policy stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy;

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
    /// A replayed message may be forgotten.
    ReplayExpires(MessageId),
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
            Record::Consent(_) | Record::Replan(_) => false,
        }
    }

    fn apply(&self, input: Input<Self>, ctx: &mut Context<'_, '_, Self>) {
        match input {
            Input::Record { record, meta } => apply_record(record, &meta, ctx),
            Input::Timer(Timer::ReplayExpires(message_id)) => replay::expire(message_id, ctx),
            Input::Effect(result) => match result {},
            // The tables are read at the judgement; nothing is kept that a change could outdate.
            Input::Control(_) => {}
        }
    }
}

fn apply_record(record: Record, meta: &RecordMeta, ctx: &mut Context<'_, '_, Policy>) {
    match record {
        Record::Admitted(message) => {
            if meta.replay_of.is_none() || replay::is_first(message.message_id, ctx) {
                release_or_not(&message, ctx);
            }
        }
        Record::Consent(change) => consent::apply(&change, meta, ctx),
        Record::Replan(replan) => replan::apply(*replan, ctx),
    }
}

fn release_or_not(message: &AdmittedMessage, ctx: &mut Context<'_, '_, Policy>) {
    let contact = ContactKey::new(message.tenant.clone(), message.recipient.clone());
    let consent = ctx.get(&CONSENT, &contact).unwrap_or_default();
    let now = ctx.now();
    let directory = ctx.globals();
    let judgement = judge(&Facts {
        message,
        now,
        tenant: directory.tenant(&message.tenant),
        template: directory.template(&template_key(message)),
        consent: &consent,
    });
    ctx.count("sendplane_decisions_total", judgement.reason.unwrap_or("dispatch"));
    let decision = decision(message, &judgement, ctx);
    if let Some(release) = judgement.release {
        ctx.emit(Output::Dispatch(Box::new(Dispatch {
            message_id: message.message_id,
            tenant: message.tenant.clone(),
            lane: judgement.lane,
            phone_number_id: release.phone_number_id,
            recipient: message.recipient.clone(),
            contact_hash: message.contact_hash.clone(),
            template_name: message.template_name.clone(),
            template_language: message.template_language.clone(),
            template_version: release.template_version,
            category: release.category.to_owned(),
            parameters: release.parameters,
            campaign: message.campaign.clone(),
            consent_seq: i64::try_from(consent.consent_seq).unwrap_or(i64::MAX),
            valid_until: release.valid_until,
            dispatched_at: now,
            decision_seq: 1,
            idempotency_key: message.idempotency_key.clone(),
            order_id: message.order_id.clone(),
            created_at: message.created_at,
            admitted_at: message.admitted_at,
            deadline: message.deadline,
        })));
    }
    ctx.emit(Output::Decision(Box::new(decision)));
}

fn decision(
    message: &AdmittedMessage,
    judgement: &Judgement,
    ctx: &Context<'_, '_, Policy>,
) -> Decision {
    Decision {
        message_id: message.message_id,
        tenant: message.tenant.clone(),
        idempotency_key: message.idempotency_key.clone(),
        stage: DecidingStage::Policy,
        verdict: judgement.verdict,
        reason: judgement.reason.map(str::to_owned),
        detail: judgement.detail.clone(),
        duplicate_of: None,
        rules: judgement.rules.clone(),
        lane: Some(judgement.lane.as_str().to_owned()),
        campaign: message.campaign.clone(),
        template_name: Some(message.template_name.clone()),
        template_language: Some(message.template_language.clone()),
        template_version: judgement.template_version,
        category: judgement.category.map(str::to_owned),
        contact_hash: Some(message.contact_hash.clone()),
        phone_number_id: judgement.phone_number_id.clone(),
        next_at: None,
        decided_at: ctx.now(),
        decision_seq: Some(1),
    }
}

fn template_key(message: &AdmittedMessage) -> TemplateKey {
    TemplateKey {
        tenant: message.tenant.clone(),
        name: message.template_name.clone(),
        language: message.template_language.clone(),
    }
}
