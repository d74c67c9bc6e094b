//! From a verdict to the records that carry it.

use sendplane_domain::lane::Lane;
use sendplane_stage_api::Context;
use sendplane_wire::record::{AdmittedMessage, DecidingStage, Decision, Dispatch};

use super::consent::{CONSENT, Consent, ContactKey};
use super::judge::{Facts, Judgement, Release, judge};
use super::{Output, Policy, template_key};

/// The number of the decision that an admitted message gets. Those about what send gives back
/// follow.
pub(super) const FIRST_DECISION: u32 = 1;

pub(super) const DECISIONS_TOTAL: &str = "sendplane_decisions_total";

/// Judges `message` by what is known now and says so under the number `decision_seq`; `given_back`
/// is why send did not go by the decision before.
pub(super) fn decide(
    message: &AdmittedMessage,
    decision_seq: u32,
    given_back: Option<&str>,
    ctx: &mut Context<'_, '_, Policy>,
) {
    let contact = ContactKey::new(message.tenant.clone(), message.recipient.clone());
    let consent = ctx.get(&CONSENT, &contact).unwrap_or_default();
    let now = ctx.now();
    let directory = ctx.globals();
    let facts = Facts {
        message,
        now,
        tenant: directory.tenant(&message.tenant),
        template: directory.template(&template_key(message)),
        consent: &consent,
        decision_seq,
        given_back,
    };
    let judgement = judge(&facts);
    let decision = decision(&facts, &judgement);
    let dispatch = judgement.release.map(|release| dispatch(&facts, judgement.lane, release));
    ctx.count(DECISIONS_TOTAL, judgement.reason.unwrap_or("dispatch"));
    if let Some(dispatch) = dispatch {
        ctx.emit(Output::Dispatch(Box::new(dispatch)));
    }
    ctx.emit(Output::Decision(Box::new(decision)));
}

fn dispatch(facts: &Facts<'_>, lane: Lane, release: Release) -> Dispatch {
    let Facts { message, consent, now, .. } = *facts;
    let Consent { consent_seq, .. } = *consent;
    Dispatch {
        message_id: message.message_id,
        tenant: message.tenant.clone(),
        lane,
        phone_number_id: release.phone_number_id,
        recipient: message.recipient.clone(),
        contact_hash: message.contact_hash.clone(),
        template_name: message.template_name.clone(),
        template_language: message.template_language.clone(),
        template_version: release.template_version,
        category: release.category.to_owned(),
        parameters: release.parameters,
        campaign: message.campaign.clone(),
        consent_seq: i64::try_from(consent_seq).unwrap_or(i64::MAX),
        valid_until: release.valid_until,
        dispatched_at: now,
        decision_seq: as_record(facts.decision_seq),
        idempotency_key: message.idempotency_key.clone(),
        order_id: message.order_id.clone(),
        created_at: message.created_at,
        admitted_at: message.admitted_at,
        deadline: message.deadline,
    }
}

fn decision(facts: &Facts<'_>, judgement: &Judgement) -> Decision {
    let message = facts.message;
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
        decided_at: facts.now,
        decision_seq: Some(as_record(facts.decision_seq)),
    }
}

fn as_record(decision_seq: u32) -> i32 {
    i32::try_from(decision_seq).unwrap_or(i32::MAX)
}
