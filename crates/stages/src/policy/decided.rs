//! No decision is made twice.
//!
//! Decisions about a message are numbered. Two kinds of records may come more than once, and by then
//! consent or templates may be others:
//!
//! - an admitted message from the dead letters. It is dead-lettered here only undecided (it could
//!   not be read, or its outputs could not be written), so its replay is judged, but only the first;
//! - a message that send gave back, as a record of its own or as a dead letter.
//!
//! So the newest number is remembered of every message of which a second record can come.

use sendplane_domain::id::MessageId;
use sendplane_domain::limits::MESSAGE_RETENTION;
use sendplane_stage_api::{Context, Table, TableValue, TimerKey};
use serde::{Deserialize, Serialize};

use super::{Policy, Timer};

/// The newest decision about messages that were replayed or given back. Owner: policy. Retention:
/// `MESSAGE_RETENTION`, longer than a record or a dead letter is kept.
const DECIDED: Table<MessageId, Decided> = Table::new(0x0110, "decided");
const TIMER_KIND: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Decided {
    decision_seq: u32,
}

impl TableValue for Decided {}

/// Whether decision `decision_seq` about the message is still to be made. Remembers that it is made.
pub(super) fn is_due(
    message_id: MessageId,
    decision_seq: u32,
    ctx: &mut Context<'_, '_, Policy>,
) -> bool {
    let known = ctx.get(&DECIDED, &message_id);
    if known.is_some_and(|known| known.decision_seq >= decision_seq) {
        return false;
    }
    ctx.put(&DECIDED, &message_id, &Decided { decision_seq });
    let at = ctx.now() + MESSAGE_RETENTION;
    let key = TimerKey::new(TIMER_KIND, &message_id);
    ctx.schedule(key, at, &Timer::DecidedExpires(message_id));
    true
}

/// Forgets a message whose records are gone.
pub(super) fn expire(message_id: MessageId, ctx: &mut Context<'_, '_, Policy>) {
    ctx.delete(&DECIDED, &message_id);
}
