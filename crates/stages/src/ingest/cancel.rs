//! The way of a cancel: which message does it name?

use sendplane_stage_api::Context;
use sendplane_wire::record::CancelRequest;

use super::Ingest;

/// Resolves a cancel to its messages.
pub(super) fn apply(
    _key: Option<&[u8]>,
    _request: CancelRequest,
    ctx: &mut Context<'_, '_, Ingest>,
) {
    ctx.count("sendplane_ingest_cancels_total", "unsupported");
}
