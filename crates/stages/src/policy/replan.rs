//! A message that send gave back is judged again.
//!
//! Send asks again when what a decision rests on is no longer so: consent, the template, or what the
//! provider says. The message is judged by what is known now, under the next number. What comes of
//! it is another dispatch or an end; a bound on the number of decisions ends every quarrel.

use sendplane_stage_api::Context;
use sendplane_wire::record::{AdmittedMessage, Replan};

use super::{Policy, decide, decided};
use crate::directory::{Directory, TemplateKey};

const REPLANS_TOTAL: &str = "sendplane_replans_total";

/// Dead-letter code of a record that names no decision.
const REPLAN_INVALID: &str = "replan_invalid";

/// Whether the tables may be behind what send has seen. Of a template that only a version tells:
/// its status and its category may change without one.
pub(super) fn misses_global(replan: &Replan, globals: &Directory) -> bool {
    let is_about_template =
        [Replan::TEMPLATE_CHANGED, Replan::TEMPLATE_NOT_APPROVED].contains(&replan.reason.as_str());
    let Replan { tenant, template_name, template_language, .. } = replan;
    let row = globals.template(&TemplateKey::new(tenant, template_name, template_language));
    let is_behind = match (row, replan.template_version) {
        (None, _) => true,
        (Some(row), Some(seen)) if row.version > seen => false,
        (Some(row), Some(seen)) => is_about_template || row.version < seen,
        (Some(_), None) => is_about_template,
    };
    is_behind || globals.tenant(&replan.tenant).is_none()
}

/// Judges the message again, under the next number.
pub(super) fn apply(replan: Replan, ctx: &mut Context<'_, '_, Policy>) {
    let Some(given_back) = u32::try_from(replan.decision_seq).ok().filter(|seq| *seq > 0) else {
        let fix = "decision_seq: names no decision, it must be 1 or more; find the producer";
        return ctx.dead_letter(REPLAN_INVALID, fix);
    };
    let next = given_back.saturating_add(1);
    if !decided::is_due(replan.message_id, next, ctx) {
        return ctx.count(REPLANS_TOTAL, "repeated");
    }
    ctx.count(REPLANS_TOTAL, "judged");
    let reason = replan.reason.clone();
    decide::decide(&admitted(replan), next, Some(&reason), ctx);
}

/// The message as it was admitted, with the lane and the number that were decided since.
fn admitted(replan: Replan) -> AdmittedMessage {
    AdmittedMessage {
        message_id: replan.message_id,
        tenant: replan.tenant,
        idempotency_key: replan.idempotency_key,
        lane: replan.lane,
        recipient: replan.recipient,
        contact_hash: replan.contact_hash,
        template_name: replan.template_name,
        template_language: replan.template_language,
        variables: replan.variables,
        campaign: replan.campaign,
        phone_number_id: replan.phone_number_id,
        created_at: replan.created_at,
        admitted_at: replan.admitted_at,
        deadline: replan.deadline,
        order_id: replan.order_id,
    }
}
