//! The state: one row per message, and two tables that lead webhooks to it.
//!
//! A wamid contains the recipient's number and comes into the store as a keyed hash only.

use sendplane_domain::id::{KeyedHash, MessageId};
use sendplane_domain::lifecycle::{Evidence, MessageFacts, MessageState, PriceClass, Status};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Table, TableValue};
use sendplane_wire::record::Outcome;
use serde::{Deserialize, Serialize};

use super::outcome;

/// Messages. Owner: status-reconcile. Retention: `MESSAGE_RETENTION` after the last change, or
/// `PARKED_STATUS_RETENTION` for a row that only webhooks know.
pub const MESSAGES: Table<MessageId, MessageRow> = Table::new(0x0100, "messages");

/// Whose wamid it is. Owner: status-reconcile. Retention: that of the message's row, deleted
/// with it.
pub const WAMIDS: Table<KeyedHash, Claim> = Table::new(0x0101, "wamids");

/// Statuses of wamids that nobody has claimed, by keyed hash. Owner: status-reconcile. Retention:
/// until claimed, at most `PARKED_STATUS_RETENTION` after the first of them.
pub const PARKED: Table<KeyedHash, Parked> = Table::new(0x0102, "parked_statuses");

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRow {
    /// Everything ever said about it.
    pub facts: MessageFacts,
    /// The newest outcome row, if there is one.
    pub emitted: Option<Emitted>,
    /// When the facts last changed.
    pub changed_at: Timestamp,
    /// When its timer fires, unless it has fired and was not set again.
    pub wake_at: Option<Timestamp>,
    /// How long Meta tries to deliver it, as far as send knows: the longest of all attempts.
    pub ttl_seconds: Option<u32>,
}

impl TableValue for MessageRow {}

/// What has to be known of the newest outcome row to write the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emitted {
    /// Its sequence, from 1.
    pub sequence: u32,
    /// Its state, which decides whether the next row supersedes it.
    pub state: MessageState,
    /// Hash of its content.
    pub digest: [u8; 16],
}

impl MessageRow {
    /// A message nobody has said anything about.
    pub fn new(now: Timestamp) -> Self {
        Self {
            facts: MessageFacts::default(),
            emitted: None,
            changed_at: now,
            wake_at: None,
            ttl_seconds: None,
        }
    }

    /// The next outcome row, if the facts say something that the newest one does not.
    pub fn publish(&mut self, id: MessageId, now: Timestamp) -> Option<Outcome> {
        let state = self.facts.state()?;
        let content = outcome::content(id, &self.facts)?;
        let digest = outcome::digest(&content);
        let newest = self.emitted.as_ref();
        if newest.is_some_and(|newest| newest.digest == digest) {
            return None;
        }
        let superseded = newest.filter(|newest| newest.state.is_final());
        let supersedes = superseded.map(|newest| outcome::int(newest.sequence));
        let sequence = newest.map_or(0, |newest| newest.sequence).saturating_add(1);
        self.emitted = Some(Emitted { sequence, state, digest });
        Some(Outcome {
            event_id: outcome::event_id(id, sequence),
            sequence: outcome::int(sequence),
            supersedes,
            ingested_at: now,
            ..content
        })
    }
}

/// The owner of a wamid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The message.
    pub message_id: MessageId,
}

impl TableValue for Claim {}

/// Statuses of one wamid, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// In order of arrival, which means nothing.
    pub statuses: Vec<ParkedStatus>,
}

impl TableValue for Parked {}

/// A status that waits for its message. It names no attempt: one that does names the message too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedStatus {
    /// What it says.
    pub said: Said,
    /// Meta's time.
    pub occurred_at: Timestamp,
    /// The price class, when Meta named it.
    pub price: Option<PriceClass>,
}

/// [`Status`] as it is stored: append only, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// On its way.
    Sent,
    /// On a device.
    Delivered,
    /// Opened.
    Read,
    /// Voice message played.
    Played,
    /// Failed after acceptance.
    Failed {
        /// Meta's code.
        code: Option<i64>,
        /// Meta's title.
        title: Option<String>,
    },
}

impl ParkedStatus {
    /// What to keep of `evidence`, if it is a status.
    pub fn of(evidence: &Evidence) -> Option<Self> {
        match evidence {
            Evidence::Status { status, occurred_at, price, .. } => {
                let said = match status.clone() {
                    Status::Sent => Said::Sent,
                    Status::Delivered => Said::Delivered,
                    Status::Read => Said::Read,
                    Status::Played => Said::Played,
                    Status::Failed { code, title } => Said::Failed { code, title },
                };
                Some(Self { said, occurred_at: *occurred_at, price: price.clone() })
            }
            Evidence::Admitted { .. }
            | Evidence::Decided { .. }
            | Evidence::Attempted { .. }
            | Evidence::StatusDeadlinePassed { .. } => None,
        }
    }

    /// The evidence again.
    pub fn evidence(&self, wamid_hash: &KeyedHash) -> Evidence {
        let status = match self.said.clone() {
            Said::Sent => Status::Sent,
            Said::Delivered => Status::Delivered,
            Said::Read => Status::Read,
            Said::Played => Status::Played,
            Said::Failed { code, title } => Status::Failed { code, title },
        };
        Evidence::Status {
            status,
            occurred_at: self.occurred_at,
            wamid_hash: wamid_hash.clone(),
            attempt: None,
            price: self.price.clone(),
        }
    }
}
