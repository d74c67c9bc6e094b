//! A message that send gave back is judged again.

use sendplane_stage_api::Context;
use sendplane_wire::record::Replan;

use super::Policy;

/// Judges the message again, under the next sequence.
pub(super) fn apply(_replan: Replan, ctx: &mut Context<'_, '_, Policy>) {
    ctx.count("sendplane_replans_total", "unsupported");
}
