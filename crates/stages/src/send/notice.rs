//! What webhooks say about accounts, numbers and templates.
//!
//! A limit that a notice tells counts until the tenant's record is written anew: whichever is newer
//! knows better.

use sendplane_domain::id::{PhoneNumberId, TenantId};
use sendplane_wire::record::{Notice, NoticeKind};

use super::number::tenant_state;
use super::state::{NUMBERS, Noticed, TENANTS};
use super::{Ctx, inbox, template};

/// Takes note.
pub(super) fn take(ctx: &mut Ctx<'_, '_>, notice: Notice) {
    let at = notice.said_at();
    let label = match notice.kind {
        NoticeKind::Throughput => {
            if let (Some(number), Some(limit)) =
                (notice.phone_number_id, notice.messages_per_second)
            {
                throughput(ctx, notice.tenant, number, Noticed { limit, at });
            }
            "throughput"
        }
        NoticeKind::UserLimit => {
            if let Some(limit) = notice.users_per_day {
                user_limit(ctx, &notice.tenant, Noticed { limit, at });
            }
            "user_limit"
        }
        NoticeKind::TemplateStatus => {
            template::hear(ctx, &notice);
            "template_status"
        }
        // Policy's, or for people.
        NoticeKind::Quality => "quality",
        NoticeKind::TemplateCategory => "template_category",
        NoticeKind::Account => "account",
        NoticeKind::Unknown => "unknown",
    };
    ctx.count("sendplane_notices_total", label);
}

/// Notices come repeatedly and in any order: the newest counts. Of two of the same second it is the
/// one that came last.
fn is_newest(noticed: Noticed, known: Option<Noticed>) -> bool {
    known.is_none_or(|known| noticed.at >= known.at)
}

fn throughput(ctx: &mut Ctx<'_, '_>, tenant: TenantId, number: PhoneNumberId, noticed: Noticed) {
    let key = (tenant, number);
    let mut row = ctx.get(&NUMBERS, &key).unwrap_or_default();
    if is_newest(noticed, row.throughput) {
        row.throughput = Some(noticed);
        ctx.put(&NUMBERS, &key, &row);
        inbox::mark_ready(ctx, &key);
    }
}

fn user_limit(ctx: &mut Ctx<'_, '_>, tenant: &TenantId, noticed: Noticed) {
    let mut state = tenant_state(ctx, tenant);
    if is_newest(noticed, state.user_limit) {
        state.user_limit = Some(noticed);
        ctx.put(&TENANTS, tenant, &state);
        inbox::tenant_changed(ctx, tenant);
    }
}
