//! What a run leaves behind besides the log: only what an outside observer could see. The oracle
//! judges from it and from the log and the provider's ledger, and asks no stage.

use std::collections::{BTreeMap, BTreeSet};

use sendplane_domain::id::{MessageId, PhoneNumberId, TenantId};
use sendplane_domain::lane::Lane;

use crate::log::TxnNo;
use crate::time::Micros;

/// A call whose first byte was written.
#[derive(Clone, Debug)]
pub struct CallSeen {
    /// The message.
    pub message_id: MessageId,
    /// The attempt.
    pub attempt: u32,
    /// Owner.
    pub tenant: TenantId,
    /// Number.
    pub number: PhoneNumberId,
    /// Lane.
    pub lane: Lane,
    /// When its deadline was checked.
    pub checked_at: Micros,
    /// When its first byte was written.
    pub written_at: Micros,
    /// The process froze between check and write: nothing in it could have kept the call.
    pub was_frozen: bool,
}

/// One ownership of partitions by one life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owned {
    /// Which process.
    pub process: usize,
    /// Which life of it.
    pub incarnation: u64,
    /// Counts takeovers in this life.
    pub epoch: u64,
}

/// A call was asked for, or has ended, with or without having been made.
#[derive(Clone, Copy, Debug)]
pub struct RunningSeen {
    /// Whose call.
    pub owned: Owned,
    /// Of which message.
    pub message_id: MessageId,
    /// Whether it begins.
    pub begins: bool,
}

/// A webhook of the provider and what the gateway made of it.
#[derive(Clone, Debug)]
pub struct PostSeen {
    /// Body.
    pub body: Vec<u8>,
    /// Signed by somebody else.
    pub is_forged: bool,
    /// When 200 was first answered, whether or not the provider heard it.
    pub answered_at: Option<Micros>,
    /// When it was not taken, though it was genuine.
    pub turned_away: Vec<Micros>,
}

/// The cycle of a transaction.
#[derive(Clone, Debug)]
pub struct CycleSeen {
    /// When it was opened.
    pub at: Micros,
    /// The global tables it saw: offsets up to which they were read, by topic.
    pub tables: Vec<i64>,
    /// The partitions that were told of all changes up to there.
    pub told: BTreeSet<i32>,
}

/// A store as it was at some time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub at: Micros,
    /// Stage.
    pub stage: &'static str,
    /// Process.
    pub process: String,
    /// Partition.
    pub partition: i32,
    /// Rows, the commit record included.
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Next changelog offset to fold.
    pub next_offset: i64,
}

/// A restore that found state and offsets of different transactions.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Stage.
    pub stage: &'static str,
    /// Partition.
    pub partition: i32,
    /// The group took it for the owner at that time. A process that was expelled and does not know
    /// may well see its successor commit between two looks: that is what the comparison is for.
    pub is_owner: bool,
    /// What differs.
    pub detail: String,
}

/// A record that an upstream system produced.
#[derive(Clone, Debug)]
pub struct Produced {
    /// Topic.
    pub topic: &'static str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Calls, by the time of their first byte.
    pub calls: Vec<CallSeen>,
    /// Calls that begin and end, by time.
    pub running: Vec<RunningSeen>,
    /// Webhooks.
    pub posts: Vec<PostSeen>,
    /// The cycles of transactions.
    pub cycles: BTreeMap<TxnNo, CycleSeen>,
    /// Stores.
    pub snapshots: Vec<Snapshot>,
    /// Restores that went wrong.
    pub mismatches: Vec<Mismatch>,
    /// Results applied under another ownership than they were started under.
    pub foreign_results: Vec<(i32, MessageId, u32)>,
    /// Processes that stopped by themselves, and why.
    pub stopped: Vec<(String, String)>,
    /// Upstream records.
    pub produced: Vec<Produced>,
}
