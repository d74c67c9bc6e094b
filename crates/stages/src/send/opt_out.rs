//! The provider says that a person stopped marketing: the opt-out goes to the consent topic, as from
//! any system that collects consent. Policy applies it and tells send ([`super::suppression`]).
//!
//! Once for a message, because the row's [`Message::opt_out_of`] is taken with it: webhooks are
//! repeated, and a rejected message may be replayed.

use sendplane_domain::provider_code::{CodeClass, classify_status};
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::{ConsentChange, ConsentScope, ConsentState, Feedback, ReceiptStatus};

use super::state::Message;
use super::{Ctx, Output};

/// Where the decision was made, for audit: Meta's code for it.
const SOURCE: &str = "provider-131050";

/// Whether a webhook says so.
pub(super) fn is_said_by(feedback: &Feedback) -> bool {
    let class = feedback.error_code.map(|code| classify_status(code.into()).class);
    feedback.status == ReceiptStatus::Failed && class == Some(CodeClass::RecipientOptedOut)
}

/// Publishes the opt-out of the message's recipient, who had decided by `at`. True if the row has
/// changed.
pub(super) fn publish(ctx: &mut Ctx<'_, '_>, message: &mut Message, at: Timestamp) -> bool {
    let Some(recipient) = message.opt_out_of.take() else {
        return false;
    };
    ctx.count("sendplane_provider_opt_outs_total", "published");
    ctx.emit(Output::OptOut(Box::new(ConsentChange {
        tenant: message.tenant.clone(),
        recipient: recipient.as_str().to_owned(),
        scope: ConsentScope::Marketing,
        state: ConsentState::Withdrawn,
        changed_at: at,
        source: SOURCE.to_owned(),
    })));
    true
}
