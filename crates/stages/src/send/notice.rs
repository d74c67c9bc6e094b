//! What webhooks say about accounts, numbers and templates.

use sendplane_wire::record::Notice;

use super::Ctx;

/// Takes note.
pub(super) fn take(ctx: &mut Ctx<'_, '_>, _notice: Notice) {
    ctx.count("sendplane_notices_total", "unsupported");
}
