//! One partition: records, markers, and how far committed readers may go.

use std::collections::BTreeMap;
use std::rc::Rc;

use sendplane_domain::time::Timestamp;

use super::TxnNo;
use crate::time::Micros;

/// Headers of a record.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Headers,
    /// Kafka timestamp: the producer's, in changelogs the broker's.
    pub timestamp: Timestamp,
}

/// What stands at an offset.
#[derive(Clone, Debug)]
pub enum Slot {
    /// A record.
    Data {
        /// The record.
        entry: Rc<Entry>,
        /// Its transaction; `None` outside of any.
        transaction: Option<TxnNo>,
        /// True time of the append.
        appended_at: Micros,
    },
    /// Ends a transaction's part of this partition; occupies an offset, is never read.
    Marker,
}

impl Slot {
    /// A record.
    pub fn data(entry: Entry, transaction: Option<TxnNo>, appended_at: Micros) -> Self {
        Self::Data { entry: Rc::new(entry), transaction, appended_at }
    }
}

/// A partition.
#[derive(Debug, Default)]
pub struct Partition {
    slots: Vec<Slot>,
    /// Where each open transaction begins in this partition: at most a handful.
    open: BTreeMap<TxnNo, i64>,
}

impl Partition {
    /// Appends; returns the offset.
    pub fn push(&mut self, slot: Slot) -> i64 {
        self.slots.push(slot);
        self.slots.len() as i64 - 1
    }

    /// `transaction` is about to append, perhaps for the first time.
    pub fn open_from(&mut self, transaction: TxnNo) {
        let next = self.high_watermark();
        self.open.entry(transaction).or_insert(next);
    }

    /// `transaction` has ended.
    pub fn close(&mut self, transaction: TxnNo) {
        self.open.remove(&transaction);
    }

    /// Offset after the last record.
    pub fn high_watermark(&self) -> i64 {
        self.slots.len() as i64
    }

    /// Offset of the first record of an open transaction, else the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.high_watermark())
    }

    /// Everything, by offset.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// At most `limit` records from `from` on, up to the last stable offset, and the position after
    /// them: past markers and aborted records too.
    pub fn read(
        &self,
        from: i64,
        limit: usize,
        is_committed: impl Fn(TxnNo) -> bool,
    ) -> (Vec<(i64, Rc<Entry>)>, i64) {
        let end = self.last_stable_offset();
        let mut found = Vec::new();
        let mut next = from;
        while next < end && found.len() < limit {
            if let Slot::Data { entry, transaction, .. } = &self.slots[next as usize]
                && transaction.is_none_or(&is_committed)
            {
                found.push((next, entry.clone()));
            }
            next += 1;
        }
        // A reader's position passes what it skips.
        while next < end && !self.is_readable(next, &is_committed) {
            next += 1;
        }
        (found, next)
    }

    fn is_readable(&self, offset: i64, is_committed: &impl Fn(TxnNo) -> bool) -> bool {
        match &self.slots[offset as usize] {
            Slot::Data { transaction, .. } => transaction.is_none_or(is_committed),
            Slot::Marker => false,
        }
    }
}
