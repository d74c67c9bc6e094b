//! At the grant: is what policy decided on still so?
//!
//! | what send sees | what becomes of the message |
//! |---|---|
//! | a newer consent of the contact | given back |
//! | another version or category of the template | given back |
//! | the template is not approved for now | parked until its row changes |
//! | the template is gone, or not approved for good | given back |
//!
//! Policy decides anew about what is given back ([`super::give_back`]).

use sendplane_wire::record::{Dispatch, Replan};

use super::state::{ContactKey, Message, QueueKey, Resource, Work};
use super::{Ctx, give_back, inbox, suppression};
use crate::directory::{Directory, TemplateKey};

/// States of a template that end by themselves, or by a person (Meta: pausing lasts 3 or 6 hours).
const PASSING: [&str; 4] = ["PAUSED", "PENDING", "IN_APPEAL", "LIMIT_EXCEEDED"];

const APPROVED: &str = "APPROVED";

/// What stands against a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// Policy has to decide again.
    GiveBack {
        reason: &'static str,
        /// The version of the template that send sees, where the reason is about the template.
        template_version: Option<i32>,
    },
    /// It is to wait.
    Hold(Resource),
}

/// The first thing that stands against calling the message now.
pub(super) fn breach(ctx: &mut Ctx<'_, '_>, work: &Work) -> Option<Breach> {
    let dispatch = &work.dispatch;
    let contact: ContactKey = (dispatch.tenant.clone(), dispatch.contact_hash.clone());
    if suppression::consent_seq(ctx, &contact).is_some_and(|seq| seq > dispatch.consent_seq) {
        return Some(Breach::GiveBack { reason: Replan::CONSENT_CHANGED, template_version: None });
    }
    of_template(ctx.globals(), dispatch)
}

/// Whether the tables may be behind those that policy decided by: it releases approved templates
/// only, and by their latest version. Whatever else is seen here is either older or newer.
pub(super) fn may_be_behind(globals: &Directory, dispatch: &Dispatch) -> bool {
    of_template(globals, dispatch).is_some()
}

fn of_template(globals: &Directory, dispatch: &Dispatch) -> Option<Breach> {
    let key = TemplateKey::of_dispatch(dispatch);
    let give_back = |reason, template_version| Some(Breach::GiveBack { reason, template_version });
    let Some(row) = globals.template(&key) else {
        return give_back(Replan::TEMPLATE_NOT_APPROVED, None);
    };
    let seen = Some(row.version);
    if row.version != dispatch.template_version || row.category != dispatch.category {
        return give_back(Replan::TEMPLATE_CHANGED, seen);
    }
    match row.status.as_str() {
        APPROVED => None,
        status if PASSING.contains(&status) => Some(Breach::Hold(Resource::Template(key))),
        _ => give_back(Replan::TEMPLATE_NOT_APPROVED, seen),
    }
}

/// What a message does instead of being called.
pub(super) fn keep_back(
    ctx: &mut Ctx<'_, '_>,
    entry: QueueKey,
    message: Message,
    work: Work,
    breach: Breach,
) {
    match breach {
        Breach::GiveBack { reason, template_version } => {
            give_back::before_call(ctx, entry.3, message, work, reason, template_version);
        }
        // Its own timer ends it at `valid_until`; the resource's has nothing to do before.
        Breach::Hold(template) => {
            ctx.count("sendplane_parked_total", "template");
            inbox::park(ctx, entry, message, template, work.dispatch.valid_until);
        }
    }
}

/// The row of a template has changed.
pub(super) fn template_changed(ctx: &mut Ctx<'_, '_>, key: TemplateKey) {
    inbox::release(ctx, &Resource::Template(key));
}

/// Whether messages go on waiting for the template. Any other change than from one passing state to
/// another is for each of them to look at.
pub(super) fn is_held(globals: &Directory, key: &TemplateKey) -> bool {
    globals.template(key).is_some_and(|row| PASSING.contains(&row.status.as_str()))
}
