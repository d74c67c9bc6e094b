//! An admitted message comes from the dead letters once more.
//!
//! A record is dead-lettered here only undecided: it could not be read, or its outputs could not be
//! written. Its replay is therefore judged; a second replay of the same letter is not, because by
//! then consent or templates may be others and the message would have two decisions.

use sendplane_domain::id::MessageId;
use sendplane_domain::limits::MESSAGE_RETENTION;
use sendplane_stage_api::{Context, Table, TableValue, TimerKey};
use serde::{Deserialize, Serialize};

use super::{Policy, Timer};

/// Messages judged in a replay. Owner: policy. Retention: `MESSAGE_RETENTION`, longer than a dead
/// letter is kept.
const REPLAYED: Table<MessageId, Judged> = Table::new(0x0101, "replayed");
const TIMER_KIND: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Judged;

impl TableValue for Judged {}

/// Whether no replay of this message was judged before. Remembers this one.
pub(super) fn is_first(message_id: MessageId, ctx: &mut Context<'_, '_, Policy>) -> bool {
    if ctx.get(&REPLAYED, &message_id).is_some() {
        ctx.count("sendplane_decisions_total", "replay_repeated");
        return false;
    }
    ctx.put(&REPLAYED, &message_id, &Judged);
    let at = ctx.now() + MESSAGE_RETENTION;
    let key = TimerKey::new(TIMER_KIND, &message_id);
    ctx.schedule(key, at, &Timer::ReplayExpires(message_id));
    true
}

/// Forgets a message whose dead letter is gone.
pub(super) fn expire(message_id: MessageId, ctx: &mut Context<'_, '_, Policy>) {
    ctx.delete(&REPLAYED, &message_id);
}
