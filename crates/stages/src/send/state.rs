//! What send remembers: a row per message, a queue and a row per number.
//!
//! Every state of a message but none names the time it waits for, and the message's one timer stands
//! at that time (I1): `valid_until`, the end of the intent, the end of the doubt, the end of the row.

use std::collections::BTreeMap;
use std::time::Duration;

use sendplane_domain::id::{KeyedHash, MessageId, PhoneNumberId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::provider_code::CodeClass;
use sendplane_domain::rate::Gcra;
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::{Table, TableValue, TimerKey};
use sendplane_wire::record::Dispatch;
use serde::{Deserialize, Serialize};

/// How long the row of a settled message stays, so that late webhooks find it: Meta repeats them
/// for 7 days, and a day is added for our own lag.
pub const SETTLED_RETENTION: Duration = Duration::from_secs(8 * 24 * 3600);

/// A number of a tenant. A number belongs to one tenant at a time; should it move, the new owner
/// starts with a queue and a bucket of its own.
pub(super) type NumberKey = (TenantId, PhoneNumberId);

/// Where a waiting message stands: number, lane ([`lane_rank`]), not before, message.
pub(super) type QueueKey = (NumberKey, u8, Timestamp, MessageId);

/// Every message from its dispatch until [`SETTLED_RETENTION`] after it was settled.
pub(super) const MESSAGES: Table<MessageId, Message> = Table::new(0x0100, "messages");
/// One entry for each message in [`State::Waiting`], and no other.
pub(super) const QUEUE: Table<QueueKey, Queued> = Table::new(0x0101, "queue");
/// Every number that ever had a message; never deleted, there are few.
pub(super) const NUMBERS: Table<NumberKey, Number> = Table::new(0x0102, "numbers");

/// The lane's place in the queue: transactional first.
pub(super) const fn lane_rank(lane: Lane) -> u8 {
    match lane {
        Lane::Transactional => 0,
        Lane::Bulk => 1,
    }
}

/// A queue entry says everything in its key.
#[derive(Serialize, Deserialize)]
pub(super) struct Queued;

impl TableValue for Queued {}

/// What a number has used, and when it looks at its queue next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Number {
    pub bucket: Gcra,
    /// When the number's timer stands, if it does.
    pub wake: Option<Timestamp>,
}

impl TableValue for Number {}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Message {
    pub tenant: TenantId,
    pub phone_number_id: PhoneNumberId,
    pub trace: TraceContext,
    /// Number of the newest attempt; 0 before the first.
    pub attempt: u32,
    /// Hashes of all wamids heard of, by answer or webhook. A second one is a duplicate send.
    pub wamids: Vec<KeyedHash>,
    pub state: State,
}

/// The stored form of a message contains the dispatch record as it is: a change of that record is a
/// change of this format too, and a test with stored bytes says so.
impl TableValue for Message {}

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum State {
    /// In the queue. Its timer stands at `valid_until`.
    Waiting { work: Work, not_before: Timestamp },
    /// The intent of [`Message::attempt`] is committed. Its timer ends the wait for the answer.
    Submitting { work: Work, granted_at: Timestamp },
    /// Nobody knows whether [`Message::attempt`] was accepted. Its timer ends the doubt.
    InDoubt { work: Work, until: Timestamp },
    /// Nothing more is done, and the content is forgotten. Its timer deletes the row.
    Settled {
        end: End,
        /// A webhook was faster than the answer of the newest attempt.
        awaits_answer: bool,
    },
}

/// What a message needs as long as a call may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Work {
    pub dispatch: Box<Dispatch>,
    pub lane: Lane,
    /// Failures by class: only those of a class move its schedule on.
    pub failures: BTreeMap<CodeClass, u32>,
}

/// How a message ended here. Append-only: stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Accepted,
    Rejected,
    DeadLettered,
    Expired,
    /// The doubt window ended without evidence.
    Unknown,
}

/// The payload of a stored timer. Append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timer {
    /// The time that a message's state waits for has come.
    Message(MessageId),
    /// A number looks at its queue.
    Number(TenantId, PhoneNumberId),
}

/// The one timer of a message: a change of state replaces it.
pub(super) fn message_timer(message_id: MessageId) -> TimerKey {
    TimerKey::new(1, &message_id)
}

/// The one timer of a number.
pub(super) fn number_timer(number: &NumberKey) -> TimerKey {
    TimerKey::new(2, number)
}

impl Work {
    /// A message that has not failed yet, or is given new retries.
    pub fn of(dispatch: Box<Dispatch>, lane: Lane) -> Self {
        Self { dispatch, lane, failures: BTreeMap::new() }
    }
}

impl Message {
    /// A message nobody has called yet, waiting from `now`.
    pub fn waiting(work: &Work, trace: &TraceContext, now: Timestamp) -> Self {
        Self {
            tenant: work.dispatch.tenant.clone(),
            phone_number_id: work.dispatch.phone_number_id.clone(),
            trace: trace.clone(),
            attempt: 0,
            wamids: Vec::new(),
            state: State::Waiting { work: work.clone(), not_before: now },
        }
    }

    pub fn number(&self) -> NumberKey {
        (self.tenant.clone(), self.phone_number_id.clone())
    }

    /// Remembers a wamid; false if it was known.
    pub fn hear_of(&mut self, wamid_hash: &KeyedHash) -> bool {
        let is_new = !self.wamids.contains(wamid_hash);
        if is_new {
            self.wamids.push(wamid_hash.clone());
        }
        is_new
    }
}
