//! Commit records, and folding a changelog back into state.
//!
//! Every transaction of a task ends with a commit record under a fixed key. State equals the fold
//! of a changelog prefix that ends at one; what stands after the last commit record is a *tear*
//! (half of a transaction that a late EndTxn made visible) and is not applied.

use std::collections::BTreeMap;

use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::table::{TableValue, ValueFault, decode_value, encode_value};

/// The changelog and store key of the commit record.
pub const COMMIT_KEY: [u8; 2] = [0x00, 0x00];

/// The end of one transaction of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// Counts the task's transactions from 1, without gaps.
    pub txn_seq: u64,
    /// Next offset to read per input topic, for this task's partition.
    pub inputs: BTreeMap<String, i64>,
    /// Changelog records of this transaction, this one not counted.
    pub records: u32,
    /// The cycle's time.
    pub now: Timestamp,
    /// Partition count of all work topics when this was written.
    pub partitions: u32,
}

impl TableValue for CommitRecord {}

impl CommitRecord {
    /// As a changelog value.
    pub fn encode(&self) -> Vec<u8> {
        encode_value(self)
    }

    /// From a changelog or store value.
    pub fn decode(bytes: &[u8]) -> Result<Self, FoldFault> {
        decode_value(bytes).map_err(|fault| match fault {
            ValueFault::VersionAhead { found, known } => FoldFault::VersionAhead { found, known },
            ValueFault::Corrupt(detail) => FoldFault::Corrupt(detail),
        })
    }
}

/// Why a changelog cannot be folded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldFault {
    /// Written by a newer release.
    #[error(
        "commit record has format version {found}, this build reads up to {known}: upgrade this instance"
    )]
    VersionAhead {
        /// Version found.
        found: u16,
        /// Newest version known.
        known: u16,
    },
    /// The commit record cannot be decoded.
    #[error("commit record cannot be decoded: {0}")]
    Corrupt(String),
    /// `txn_seq` went backwards: two owners wrote, or the changelog is not this task's.
    #[error("commit record {found} follows {after}: two owners committed for one task")]
    SequenceBackwards {
        /// Sequence found.
        found: u64,
        /// Sequence before it.
        after: u64,
    },
    /// More data than tears can explain was spilled after the last commit record.
    #[error("no commit record within the last {bytes} bytes of the changelog")]
    NoBoundary {
        /// Bytes held back.
        bytes: usize,
    },
}

/// A batch to write to the store at once.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Writes in log order; later ones win.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The commit record that ends the batch. `None`: a spilled part of a long prefix whose commit
    /// record is still to come; the store is incomplete until then.
    pub commit: Option<CommitRecord>,
    /// Changelog offset after the batch's last record.
    pub next_offset: i64,
}

/// Folds changelog records, in order, into batches that end at commit records.
#[derive(Debug)]
pub struct Fold {
    pending: Vec<(i64, Vec<u8>, Option<Vec<u8>>)>,
    pending_bytes: usize,
    last: Option<CommitRecord>,
    spill_bytes: usize,
}

/// Compaction leaves one commit record for a long prefix, so a fold may have to spill. It keeps at
/// least this much back: more than all the tears that can stand behind the last commit record.
pub const HELD_BACK_BYTES: usize = 64 << 20;

impl Fold {
    /// Continues after `last`, the commit record the store already holds.
    pub fn after(last: Option<CommitRecord>) -> Self {
        Self { pending: Vec::new(), pending_bytes: 0, last, spill_bytes: HELD_BACK_BYTES }
    }

    /// As [`Self::after`], with another bound for what is held back: for tests.
    pub fn with_spill_bytes(mut self, bytes: usize) -> Self {
        self.spill_bytes = bytes;
        self
    }

    /// The last commit record folded.
    pub fn last(&self) -> Option<&CommitRecord> {
        self.last.as_ref()
    }

    /// Takes the next record; returns what can be written now.
    pub fn push(
        &mut self,
        offset: i64,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    ) -> Result<Option<Batch>, FoldFault> {
        if key != COMMIT_KEY {
            self.pending_bytes += key.len() + value.as_ref().map_or(0, Vec::len) + 32;
            self.pending.push((offset, key, value));
            return Ok((self.pending_bytes > 2 * self.spill_bytes).then(|| self.spill()));
        }
        let Some(value) = value else {
            return Err(FoldFault::Corrupt("commit record is a tombstone".into()));
        };
        let commit = CommitRecord::decode(&value)?;
        let after = self.last.as_ref().map_or(0, |last| last.txn_seq);
        if commit.txn_seq <= after && self.last.is_some() {
            return Err(FoldFault::SequenceBackwards { found: commit.txn_seq, after });
        }
        // Compaction removes older commit records, so gaps are normal.
        let mut writes = self.take_pending(0);
        writes.push((key, Some(value)));
        self.last = Some(commit.clone());
        Ok(Some(Batch { writes, commit: Some(commit), next_offset: offset + 1 }))
    }

    /// Ends the fold: the keys of the tear, if there is one. They are to be rewritten with their
    /// committed values in the task's next transaction.
    pub fn finish(self) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> = self.pending.into_iter().map(|(_, key, _)| key).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn spill(&mut self) -> Batch {
        let keep = self.spill_bytes;
        let writes = self.take_pending(keep);
        let next_offset = self.pending.first().map_or(0, |(offset, ..)| *offset);
        Batch { writes, commit: None, next_offset }
    }

    /// Takes pending records from the front until at most `keep` bytes are left.
    fn take_pending(&mut self, keep: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut taken = 0;
        while taken < self.pending.len() && (keep == 0 || self.pending_bytes > keep) {
            let (_, key, value) = &self.pending[taken];
            self.pending_bytes -= key.len() + value.as_ref().map_or(0, Vec::len) + 32;
            taken += 1;
        }
        self.pending.drain(..taken).map(|(_, key, value)| (key, value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(txn_seq: u64) -> CommitRecord {
        CommitRecord {
            txn_seq,
            inputs: BTreeMap::from([("in".to_owned(), txn_seq as i64)]),
            records: 1,
            now: Timestamp::from_millis(1),
            partitions: 4,
        }
    }

    fn push_commit(fold: &mut Fold, offset: i64, seq: u64) -> Result<Option<Batch>, FoldFault> {
        fold.push(offset, COMMIT_KEY.to_vec(), Some(commit(seq).encode()))
    }

    #[test]
    fn a_batch_ends_at_its_commit_record() {
        let mut fold = Fold::after(None);
        assert_eq!(fold.push(0, vec![1, 0, 1], Some(vec![9])), Ok(None));
        let batch = push_commit(&mut fold, 1, 1).expect("folds").expect("batch");
        assert_eq!(batch.writes.len(), 2);
        assert_eq!(batch.next_offset, 2);
        assert_eq!(batch.commit, Some(commit(1)));
        assert!(fold.finish().is_empty());
    }

    #[test]
    fn data_after_the_last_commit_record_is_a_tear() {
        let mut fold = Fold::after(Some(commit(4)));
        push_commit(&mut fold, 10, 5).expect("folds");
        for key in [vec![1, 0, 2], vec![1, 0, 1], vec![1, 0, 2]] {
            assert_eq!(fold.push(11, key, None), Ok(None));
        }
        assert_eq!(fold.last(), Some(&commit(5)));
        assert_eq!(fold.finish(), vec![vec![1, 0, 1], vec![1, 0, 2]]);
    }

    #[test]
    fn a_repeated_or_older_sequence_is_refused() {
        let mut fold = Fold::after(Some(commit(4)));
        let refused = push_commit(&mut fold, 10, 4);
        assert_eq!(refused, Err(FoldFault::SequenceBackwards { found: 4, after: 4 }));
    }

    #[test]
    fn a_long_prefix_spills_but_holds_back_what_may_be_torn() {
        let mut fold = Fold::after(None).with_spill_bytes(100);
        let mut spilled = 0;
        let mut next = 0;
        for n in 0..100i64 {
            if let Some(batch) = fold.push(n, vec![1, 0, n as u8], Some(vec![0; 10])).expect("ok") {
                assert_eq!(batch.commit, None);
                assert_eq!(batch.next_offset, next + batch.writes.len() as i64);
                next = batch.next_offset;
                spilled += batch.writes.len();
            }
            assert!(fold.pending_bytes <= 245, "bounded");
        }
        assert!(spilled > 90 && spilled < 100);
        let last = push_commit(&mut fold, 100, 7).expect("folds").expect("batch");
        assert_eq!(last.writes.len(), 100 - spilled + 1);
    }
}
