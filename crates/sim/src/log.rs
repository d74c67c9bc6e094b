//! A model of the log as far as exactly-once depends on it.
//!
//! Transactions belong to a (transactional id, epoch). A new epoch aborts what the old one left
//! open and fences it. Readers that read committed stop at the last stable offset. The group
//! accepts offsets of its current generation only, and shows them when the transaction committed.

use std::collections::BTreeMap;

use sendplane_domain::time::Timestamp;

/// Topic and partition.
pub type TopicPartition = (String, i32);

/// A producer session: the epoch of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    id: String,
    epoch: u32,
}

/// A record in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: Vec<u8>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Append time.
    pub timestamp: Timestamp,
}

#[derive(Clone, Debug)]
enum Slot {
    Data {
        entry: Entry,
        transaction: Option<u64>,
    },
    /// Ends a transaction's part of this partition; occupies an offset, is never read.
    Marker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Committed,
    Aborted,
}

/// An offset with its metadata, as committed for a partition.
pub type GroupOffset = (i64, String);

#[derive(Debug)]
struct Transaction {
    session: Session,
    state: State,
    touched: Vec<TopicPartition>,
    offsets: BTreeMap<TopicPartition, GroupOffset>,
}

/// Why the log refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A newer epoch of this transactional id exists.
    Fenced,
    /// The group has moved on.
    IllegalGeneration,
    /// No open transaction.
    NoTransaction,
    /// A transaction with offsets of this group is still open.
    Unstable,
}

/// All topics, transactions and the offsets of one group.
#[derive(Debug, Default)]
pub struct Log {
    partitions: BTreeMap<TopicPartition, Vec<Slot>>,
    transactions: Vec<Transaction>,
    epochs: BTreeMap<String, u32>,
    group: BTreeMap<TopicPartition, GroupOffset>,
    generation: u32,
}

impl Log {
    /// Appends outside any transaction, as an upstream producer does.
    pub fn append(&mut self, topic: &str, partition: i32, entry: Entry) {
        let slots = self.partitions.entry((topic.to_owned(), partition)).or_default();
        slots.push(Slot::Data { entry, transaction: None });
    }

    /// A new epoch of `id`: fences the old one and aborts its open transaction.
    pub fn init(&mut self, id: &str) -> Session {
        let epoch = self.epochs.entry(id.to_owned()).or_default();
        *epoch += 1;
        let session = Session { id: id.to_owned(), epoch: *epoch };
        let open: Vec<usize> = (0..self.transactions.len())
            .filter(|n| {
                let transaction = &self.transactions[*n];
                transaction.session.id == id && transaction.state == State::Open
            })
            .collect();
        for number in open {
            self.end(number, State::Aborted);
        }
        session
    }

    /// Begins a transaction of `session`.
    pub fn begin(&mut self, session: &Session) -> Result<u64, Refused> {
        self.check_epoch(session)?;
        self.transactions.push(Transaction {
            session: session.clone(),
            state: State::Open,
            touched: Vec::new(),
            offsets: BTreeMap::new(),
        });
        Ok(self.transactions.len() as u64 - 1)
    }

    /// Adds a record to a transaction; returns its offset.
    pub fn produce(
        &mut self,
        transaction: u64,
        topic: &str,
        partition: i32,
        entry: Entry,
    ) -> Result<i64, Refused> {
        self.check_open(transaction)?;
        let at = (topic.to_owned(), partition);
        let touched = &mut self.transactions[transaction as usize].touched;
        if !touched.contains(&at) {
            touched.push(at.clone());
        }
        let slots = self.partitions.entry(at).or_default();
        slots.push(Slot::Data { entry, transaction: Some(transaction) });
        Ok(slots.len() as i64 - 1)
    }

    /// Adds group offsets to a transaction. Without any, the group is not asked and cannot fence:
    /// as the real one.
    pub fn send_offsets(
        &mut self,
        transaction: u64,
        generation: u32,
        offsets: BTreeMap<TopicPartition, GroupOffset>,
    ) -> Result<(), Refused> {
        self.check_open(transaction)?;
        if offsets.is_empty() {
            return Ok(());
        }
        if generation != self.generation {
            return Err(Refused::IllegalGeneration);
        }
        self.transactions[transaction as usize].offsets.extend(offsets);
        Ok(())
    }

    /// EndTxn(commit).
    pub fn commit(&mut self, transaction: u64) -> Result<(), Refused> {
        self.check_open(transaction)?;
        self.end(transaction as usize, State::Committed);
        Ok(())
    }

    /// The group's offsets, unless a transaction that may change them is open.
    pub fn stable_offset(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Option<GroupOffset>, Refused> {
        let at = (topic.to_owned(), partition);
        let pending = self
            .transactions
            .iter()
            .any(|one| one.state == State::Open && one.offsets.contains_key(&at));
        if pending { Err(Refused::Unstable) } else { Ok(self.group.get(&at).cloned()) }
    }

    /// The group hands partitions to somebody else.
    pub fn next_generation(&mut self) -> u32 {
        self.generation += 1;
        self.generation
    }

    /// Offset after the last record, open transactions included.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> i64 {
        self.partitions.get(&(topic.to_owned(), partition)).map_or(0, |slots| slots.len() as i64)
    }

    /// Offset of the first record of a still open transaction, else the high watermark.
    pub fn last_stable_offset(&self, topic: &str, partition: i32) -> i64 {
        let Some(slots) = self.partitions.get(&(topic.to_owned(), partition)) else {
            return 0;
        };
        slots
            .iter()
            .position(|slot| match slot {
                Slot::Data { transaction: Some(number), .. } => {
                    self.transactions[*number as usize].state == State::Open
                }
                Slot::Data { transaction: None, .. } | Slot::Marker => false,
            })
            .map_or(slots.len() as i64, |offset| offset as i64)
    }

    /// Committed records from `from` to the last stable offset, and the position after them.
    pub fn read_committed(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> (Vec<(i64, Entry)>, i64) {
        let end = self.last_stable_offset(topic, partition).max(from);
        let Some(slots) = self.partitions.get(&(topic.to_owned(), partition)) else {
            return (Vec::new(), end);
        };
        let mut found = Vec::new();
        for (offset, slot) in slots.iter().enumerate().take(end as usize).skip(from as usize) {
            if let Slot::Data { entry, transaction } = slot
                && transaction
                    .is_none_or(|n| self.transactions[n as usize].state == State::Committed)
            {
                found.push((offset as i64, entry.clone()));
            }
        }
        (found, end)
    }

    fn end(&mut self, number: usize, state: State) {
        let transaction = &mut self.transactions[number];
        transaction.state = state;
        let touched = std::mem::take(&mut transaction.touched);
        let offsets = std::mem::take(&mut transaction.offsets);
        for at in touched {
            self.partitions.entry(at).or_default().push(Slot::Marker);
        }
        if state == State::Committed {
            self.group.extend(offsets);
        }
    }

    fn check_epoch(&self, session: &Session) -> Result<(), Refused> {
        if self.epochs.get(&session.id) == Some(&session.epoch) {
            Ok(())
        } else {
            Err(Refused::Fenced)
        }
    }

    fn check_open(&self, transaction: u64) -> Result<(), Refused> {
        let transaction = &self.transactions[transaction as usize];
        self.check_epoch(&transaction.session)?;
        if transaction.state == State::Open { Ok(()) } else { Err(Refused::NoTransaction) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry {
            key: text.as_bytes().to_vec(),
            value: Some(Vec::new()),
            timestamp: Timestamp::default(),
        }
    }

    fn keys(log: &Log, from: i64) -> Vec<String> {
        let (found, _) = log.read_committed("t", 0, from);
        found.into_iter().map(|(_, e)| String::from_utf8(e.key).expect("text")).collect()
    }

    #[test]
    fn an_open_transaction_below_holds_committed_data_back() {
        let mut log = Log::default();
        let zombie = log.init("zombie");
        let open = log.begin(&zombie).expect("begins");
        log.produce(open, "t", 0, entry("z")).expect("produces");
        let owner = log.init("owner");
        let done = log.begin(&owner).expect("begins");
        log.produce(done, "t", 0, entry("a")).expect("produces");
        log.commit(done).expect("commits");
        assert_eq!(keys(&log, 0), Vec::<String>::new());
        assert_eq!((log.last_stable_offset("t", 0), log.high_watermark("t", 0)), (0, 3));
        log.init("zombie");
        assert_eq!(keys(&log, 0), ["a"]);
        assert_eq!(log.commit(open), Err(Refused::Fenced));
    }

    #[test]
    fn only_the_current_generation_commits_offsets() {
        let mut log = Log::default();
        let old = log.next_generation();
        let session = log.init("a");
        log.next_generation();
        let transaction = log.begin(&session).expect("begins");
        let offsets = BTreeMap::from([(("t".to_owned(), 0), (4, "1".to_owned()))]);
        assert_eq!(
            log.send_offsets(transaction, old, offsets.clone()),
            Err(Refused::IllegalGeneration)
        );
        assert_eq!(log.send_offsets(transaction, old, BTreeMap::new()), Ok(()), "not fenced");
        log.send_offsets(transaction, 2, offsets).expect("current");
        assert_eq!(log.stable_offset("t", 0), Err(Refused::Unstable));
        log.commit(transaction).expect("commits");
        assert_eq!(log.stable_offset("t", 0), Ok(Some((4, "1".to_owned()))));
    }
}
