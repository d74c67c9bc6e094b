//! What policy says about the consent of contacts whose messages it has released (I11).
//!
//! The row with the highest consent counter holds, whatever order they come in and how often. It is
//! looked at when a message comes to its grant ([`super::recheck`]), and nowhere later: what is
//! granted has its intent committed, and that is the line.
//!
//! A row is kept [`RETENTION`] after policy applied the change. Every message that policy released
//! before that was admitted before that, and its deadline is at most `DEADLINE_MAX` after the
//! admission: when the row goes, none of them can be granted any more. A row that is older when it
//! arrives concerns nothing.

use std::time::Duration;

use sendplane_domain::limits::{CLOCK_SKEW_MAX, DEADLINE_MAX};
use sendplane_wire::record::Suppression;

use super::Ctx;
use super::state::{ContactKey, SUPPRESSIONS, Suppressed, Timer, suppression_timer};

const RETENTION: Duration = Duration::from_secs(8 * 24 * 3600);

const _: () = assert!(
    RETENTION.as_secs() > DEADLINE_MAX.as_secs() + 3 * CLOCK_SKEW_MAX.as_secs(),
    "no message from before a change may outlive the row, whoever's clock was ahead"
);

const SUPPRESSIONS_TOTAL: &str = "sendplane_suppressions_total";

/// Remembers a change of consent.
pub(super) fn take(ctx: &mut Ctx<'_, '_>, row: Suppression) {
    let ends_at = row.published_at + RETENTION;
    if ends_at <= ctx.now() {
        return ctx.count(SUPPRESSIONS_TOTAL, "over");
    }
    let contact: ContactKey = (row.tenant, row.contact_hash);
    let known = ctx.get(&SUPPRESSIONS, &contact);
    if known.is_some_and(|known| known.consent_seq >= row.consent_seq) {
        return ctx.count(SUPPRESSIONS_TOTAL, "known");
    }
    ctx.put(&SUPPRESSIONS, &contact, &Suppressed { consent_seq: row.consent_seq });
    let timer = Timer::SuppressionEnds(contact.0.clone(), contact.1.clone());
    ctx.schedule(suppression_timer(&contact), ends_at, &timer);
    ctx.count(SUPPRESSIONS_TOTAL, "taken");
}

/// The newest consent counter of a contact that send was told of.
pub(super) fn consent_seq(ctx: &mut Ctx<'_, '_>, contact: &ContactKey) -> Option<i64> {
    ctx.get(&SUPPRESSIONS, contact).map(|row| row.consent_seq)
}

/// Forgets a contact.
pub(super) fn end(ctx: &mut Ctx<'_, '_>, contact: &ContactKey) {
    ctx.delete(&SUPPRESSIONS, contact);
}
