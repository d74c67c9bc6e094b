//! Somebody withdraws a message.

use sendplane_wire::record::Cancellation;

use super::Ctx;

/// Takes note.
pub(super) fn take(ctx: &mut Ctx<'_, '_>, _cancel: Cancellation) {
    ctx.count("sendplane_cancels_total", "unsupported");
}
