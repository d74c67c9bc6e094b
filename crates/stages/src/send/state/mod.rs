//! What send remembers.
//!
//! | table | one row for |
//! |---|---|
//! | `messages` | every message, from its dispatch until it is forgotten |
//! | `queue` | every waiting message: by number, lane, not before |
//! | `parked` | every message that waits for something else than time and its number's turn |
//! | `numbers` | every number that ever had a message: bucket, throttle, breaker |
//! | `ready` | every number that may have something due and has not been looked at to the end |
//! | `pairs` | every pair of number and contact that was used lately |
//! | `suppressions` | every contact whose consent has changed lately |
//! | `withdrawn` | every message that was cancelled here before it was dispatched, or too late |
//! | `templates` | every template that was suspended, or that Meta said can be sent again |
//! | `users` | every contact that counts against its portfolio's limit |
//! | `tenants`, `provider`, `inbox`, `rounds` | breakers, what is waiting, whose turn it is |
//!
//! Every state of a message but none names the time it waits for, and the message's one timer stands
//! at that time (I1): `valid_until`, the end of the intent, the end of the doubt, the end of the row.

mod message;
mod number;
mod resource;
mod tenant;

use std::time::Duration;

use sendplane_domain::breaker::Breaker;
use sendplane_domain::fairness::Round;
use sendplane_domain::id::{KeyedHash, MessageId, PhoneNumberId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::throttle::Throttle;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Table, TableValue, TimerKey};
use serde::{Deserialize, Serialize};

use crate::directory::TemplateKey;

pub(super) use message::{Doubt, End, Message, State, Work};
pub(super) use number::{Noticed, Number, Pair};
pub use resource::Resource;
pub(super) use tenant::{Spent, TemplateState, TenantState, User};

/// How long the row of a settled message stays, so that late webhooks find it: Meta repeats them
/// for 7 days, and a day is added for our own lag.
pub const SETTLED_RETENTION: Duration = Duration::from_secs(8 * 24 * 3600);

/// A number of a tenant. A number belongs to one tenant at a time; should it move, the new owner
/// starts with a queue and a bucket of its own.
pub(super) type NumberKey = (TenantId, PhoneNumberId);

/// Where a waiting message stands: number, lane ([`lane_rank`]), not before, message.
pub(super) type QueueKey = (NumberKey, u8, Timestamp, MessageId);

/// A number and a contact of it.
pub(super) type PairKey = (NumberKey, KeyedHash);

/// A contact of a tenant.
pub(super) type ContactKey = (TenantId, KeyedHash);

pub(super) const MESSAGES: Table<MessageId, Message> = Table::new(0x0100, "messages");
/// One entry for each message in [`State::Waiting`], and no other.
pub(super) const QUEUE: Table<QueueKey, Marker> = Table::new(0x0101, "queue");
/// Never deleted, there are few.
pub(super) const NUMBERS: Table<NumberKey, Number> = Table::new(0x0102, "numbers");
pub(super) const READY: Table<NumberKey, Marker> = Table::new(0x0103, "ready");
/// By [`lane_rank`].
pub(super) const ROUNDS: Table<u8, Turns> = Table::new(0x0104, "rounds");
/// One entry for each message in [`State::Parked`], and no other.
pub(super) const PARKED: Table<(Resource, QueueKey), Marker> = Table::new(0x0105, "parked");
pub(super) const PAIRS: Table<PairKey, Pair> = Table::new(0x0106, "pairs");
/// By the minute in which a pair's row may have become useless.
pub(super) const PAIR_ENDS: Table<(u64, PairKey), Marker> = Table::new(0x0107, "pair_ends");
pub(super) const TENANTS: Table<TenantId, TenantState> = Table::new(0x0108, "tenants");
pub(super) const INBOX: Table<(), Inbox> = Table::new(0x0109, "inbox");
pub(super) const PROVIDER: Table<(), Provider> = Table::new(0x010a, "provider");
pub(super) const SUPPRESSIONS: Table<ContactKey, Suppressed> = Table::new(0x0110, "suppressions");

/// Never deleted, there are few.
pub(super) const TEMPLATES: Table<TemplateKey, TemplateState> = Table::new(0x0130, "templates");
/// One row for each contact that counts against its portfolio's limit.
pub(super) const USERS: Table<(TenantId, KeyedHash), User> = Table::new(0x0131, "users");
/// By the minute in which a contact may stop counting.
pub(super) const USER_ENDS: Table<(u64, (TenantId, KeyedHash)), Marker> =
    Table::new(0x0132, "user_ends");

/// The lane's place in the queue: transactional first.
pub(super) const fn lane_rank(lane: Lane) -> u8 {
    match lane {
        Lane::Transactional => 0,
        Lane::Bulk => 1,
    }
}

/// An entry that says everything in its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker;

impl TableValue for Marker {}

/// Whose turn it is in a lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Turns(pub Round<TenantId>);

impl TableValue for Turns {}

/// What is known about the provider as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Provider {
    pub breaker: Breaker,
    /// Throttling of the app, which all its numbers share.
    pub throttle: Throttle,
}

impl TableValue for Provider {}

/// What policy said of a contact's consent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Suppressed {
    /// The contact's counter. A message released under a lower one is not sent.
    pub consent_seq: i64,
}

impl TableValue for Suppressed {}

/// What waits in this partition, in the queue or parked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inbox {
    /// Messages by [`lane_rank`].
    pub messages: [u64; 2],
    /// Their approximate size by [`lane_rank`].
    pub bytes: [u64; 2],
    /// Since when bulk records are left in Kafka; `None` while they are taken.
    pub full_since: Option<Timestamp>,
}

impl TableValue for Inbox {}

/// The payload of a stored timer. Append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timer {
    /// The time that a message's state waits for has come.
    Message(MessageId),
    /// A number looks at its queue.
    Number(TenantId, PhoneNumberId),
    /// Something that parked messages wait for may be there again.
    Resource(Resource),
    /// Rows of pairs that say nothing any more are deleted.
    Sweep,
    /// A contact's suppression can concern no message any more.
    SuppressionEnds(TenantId, KeyedHash),
    /// A withdrawn message may be forgotten: no dispatch of it can come any more.
    Withdrawn(TenantId, MessageId),
    /// Contacts stop counting against their portfolios' limits.
    Users,
    /// More messages parked under a resource than go back in one cycle: on from this entry.
    Rest(Resource, QueueKey),
}

/// The one timer of a message: a change of state replaces it.
pub(super) fn message_timer(message_id: MessageId) -> TimerKey {
    TimerKey::new(1, &message_id)
}

/// The one timer of a number.
pub(super) fn number_timer(number: &NumberKey) -> TimerKey {
    TimerKey::new(2, number)
}

/// The one timer of a resource.
pub(super) fn resource_timer(resource: &Resource) -> TimerKey {
    TimerKey::new(3, resource)
}

/// The one timer of a resource of which not all was released yet. Not [`resource_timer`], which
/// whatever is parked meanwhile sets anew.
pub(super) fn rest_timer(resource: &Resource) -> TimerKey {
    TimerKey::new(6, resource)
}

/// The one timer of a contact's suppression.
pub(super) fn suppression_timer(contact: &ContactKey) -> TimerKey {
    TimerKey::new(0x10, contact)
}

/// The task's timer for [`Timer::Users`].
pub(super) fn users_timer() -> TimerKey {
    TimerKey::new(0x30, &())
}

/// The task's timer for [`Timer::Sweep`].
pub(super) fn sweep_timer() -> TimerKey {
    TimerKey::new(5, &())
}
