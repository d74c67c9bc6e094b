//! What policy says about the consent of contacts whose messages it has released.

use sendplane_wire::record::Suppression;

use super::Ctx;

/// Takes note.
pub(super) fn take(ctx: &mut Ctx<'_, '_>, _row: Suppression) {
    ctx.count("sendplane_suppressions_total", "unsupported");
}
