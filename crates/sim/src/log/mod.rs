//! A model of the log as far as exactly-once depends on it.
//!
//! Reading order: this file (producers and transactions), [`partition`] (records, last stable
//! offset), [`group`] (members, generations, assignment, offsets).
//!
//! * A transaction belongs to a session: an epoch of a transactional id. `begin` is the client's
//!   affair: the first record or offset of a session without an open transaction opens one. So an
//!   EndTxn that was held up in the network ends whatever transaction its session has open when it
//!   arrives, as a broker without KIP-890 clients does.
//! * A new epoch aborts what the old one left open and fences it. So does the coordinator when a
//!   transaction outlives its timeout.
//! * Readers that read committed stop at the last stable offset.
//! * The group accepts offsets of its current generation only, and shows them when their
//!   transaction has committed; until then they are unstable.

pub mod group;
pub mod partition;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::time::{Micros, seconds, true_wall};
use group::{Group, MemberId};
use partition::{Entry, Partition, Slot};

/// Kafka's timeout of an open transaction, as the runtime sets it.
pub const TRANSACTION_TIMEOUT: Micros = seconds(10);

/// Number of a transaction.
pub type TxnNo = usize;

/// A producer session: an epoch of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// Transactional id.
    pub id: String,
    /// Epoch, from 1.
    pub epoch: u32,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    Open,
    /// Its records can be read.
    Committed,
    /// Its records are skipped.
    Aborted,
}

/// An offset with its metadata, as committed for a partition.
pub type GroupOffset = (i64, String);

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), GroupOffset>;

/// A transaction, kept after its end for the oracle.
#[derive(Debug)]
pub struct Transaction {
    /// Whose it is.
    pub session: Session,
    /// What became of it.
    pub state: State,
    /// When it was opened.
    pub started_at: Micros,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// Partitions it wrote to.
    pub touched: BTreeSet<(String, i32)>,
    /// Group offsets in it.
    pub offsets: Offsets,
    /// Group and generation under which the offsets were accepted.
    pub group: Option<(String, u32)>,
}

/// Why the log refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A newer epoch of this transactional id exists.
    Fenced,
    /// The group has moved on.
    IllegalGeneration,
    /// The group does not know the member.
    UnknownMember,
    /// There is no transaction to end.
    NoTransaction,
    /// A transaction with offsets of this group is still open.
    Unstable,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: u32,
    current: Option<TxnNo>,
    /// How the newest transaction of this epoch ended: repeating that end is answered with success.
    last_end: Option<State>,
}

/// All topics, producers, transactions and groups.
#[derive(Debug)]
pub struct Log {
    topics: BTreeMap<String, Vec<Partition>>,
    partitions: u32,
    transactions: Vec<Transaction>,
    open: BTreeSet<TxnNo>,
    producers: BTreeMap<String, Producer>,
    groups: BTreeMap<String, Group>,
    /// Partitions in which more can be read than before, since [`Log::take_moved`].
    moved: BTreeSet<(String, i32)>,
}

impl Log {
    /// An empty log; a topic comes into being with its first use.
    pub fn new(partitions: u32) -> Self {
        Self {
            topics: BTreeMap::new(),
            partitions,
            transactions: Vec::new(),
            open: BTreeSet::new(),
            producers: BTreeMap::new(),
            groups: BTreeMap::new(),
            moved: BTreeSet::new(),
        }
    }

    /// Partitions of every topic.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The group of this name.
    pub fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_owned()).or_default()
    }

    /// Appends outside any transaction, as an upstream producer does; returns the offset.
    pub fn append(&mut self, topic: &str, partition: i32, entry: Entry, now: Micros) -> i64 {
        let slot = Slot::data(entry, None, now);
        self.moved.insert((topic.to_owned(), partition));
        self.at(topic, partition).push(slot)
    }

    /// A new epoch of `id`: fences the old one and aborts its open transaction.
    pub fn init(&mut self, id: &str, now: Micros) -> Session {
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.epoch += 1;
        producer.last_end = None;
        let session = Session { id: id.to_owned(), epoch: producer.epoch };
        if let Some(number) = producer.current.take() {
            self.finish(number, State::Aborted, now);
        }
        session
    }

    /// Adds a record to the session's transaction; returns its offset. The broker's time stands in
    /// changelogs, the producer's in all other topics.
    pub fn produce(
        &mut self,
        session: &Session,
        topic: &str,
        partition: i32,
        mut entry: Entry,
        now: Micros,
    ) -> Result<i64, Refused> {
        let number = self.transaction_of(session, now)?;
        if topic.ends_with(".changelog") {
            entry.timestamp = true_wall(now);
        }
        self.transactions[number].touched.insert((topic.to_owned(), partition));
        let at = self.at(topic, partition);
        at.open_from(number);
        Ok(at.push(Slot::data(entry, Some(number), now)))
    }

    /// Adds group offsets to the session's transaction. Without any, the group is not asked and
    /// cannot fence: as the real one.
    pub fn send_offsets(
        &mut self,
        session: &Session,
        group: &str,
        member: Option<(MemberId, u32)>,
        offsets: Offsets,
        now: Micros,
    ) -> Result<(), Refused> {
        if offsets.is_empty() {
            return Ok(());
        }
        let number = self.transaction_of(session, now)?;
        let (member, generation) = member.ok_or(Refused::UnknownMember)?;
        self.group(group).check(member, generation)?;
        let transaction = &mut self.transactions[number];
        transaction.offsets.extend(offsets);
        transaction.group = Some((group.to_owned(), generation));
        Ok(())
    }

    /// EndTxn(commit) as it arrives at the coordinator.
    pub fn end(&mut self, session: &Session, now: Micros) -> Result<(), Refused> {
        self.check_epoch(session)?;
        let Some(producer) = self.producers.get_mut(&session.id) else {
            return Err(Refused::Fenced);
        };
        match producer.current.take() {
            Some(number) => {
                producer.last_end = Some(State::Committed);
                self.finish(number, State::Committed, now);
                Ok(())
            }
            None if producer.last_end == Some(State::Committed) => Ok(()),
            None => Err(Refused::NoTransaction),
        }
    }

    /// The transaction that `session` has open.
    pub fn current(&self, session: &Session) -> Option<TxnNo> {
        let producer = self.producers.get(&session.id)?;
        producer.current.filter(|_| producer.epoch == session.epoch)
    }

    /// Whether no newer epoch has fenced `session`.
    pub fn is_current(&self, session: &Session) -> bool {
        self.check_epoch(session).is_ok()
    }

    /// Aborts transactions that outlived their timeout, and fences their sessions. Returns how many.
    pub fn expire_transactions(&mut self, now: Micros) -> usize {
        let overdue: Vec<TxnNo> = self
            .open
            .iter()
            .copied()
            .filter(|n| now - self.transactions[*n].started_at >= TRANSACTION_TIMEOUT)
            .collect();
        for number in &overdue {
            let id = self.transactions[*number].session.id.clone();
            if let Some(producer) = self.producers.get_mut(&id) {
                producer.epoch += 1;
                producer.current = None;
                producer.last_end = None;
            }
            self.finish(*number, State::Aborted, now);
        }
        overdue.len()
    }

    /// The group's offset, unless a transaction that may change it is open.
    pub fn stable_offset(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Result<Option<GroupOffset>, Refused> {
        let at = (topic.to_owned(), partition);
        let pending = self.open.iter().any(|number| {
            let transaction = &self.transactions[*number];
            transaction.offsets.contains_key(&at)
                && transaction.group.as_ref().is_some_and(|(name, _)| name == group)
        });
        if pending {
            return Err(Refused::Unstable);
        }
        Ok(self.group(group).offset(&at))
    }

    /// Offset after the last record, open transactions included.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> i64 {
        self.look(topic, partition).map_or(0, Partition::high_watermark)
    }

    /// Offset of the first record of a still open transaction, else the high watermark.
    pub fn last_stable_offset(&self, topic: &str, partition: i32) -> i64 {
        self.look(topic, partition).map_or(0, Partition::last_stable_offset)
    }

    /// At most `limit` committed records from `from` on, up to the last stable offset, and the
    /// position after them.
    pub fn read_committed(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        limit: usize,
    ) -> (Vec<(i64, Rc<Entry>)>, i64) {
        let Some(at) = self.look(topic, partition) else {
            return (Vec::new(), from);
        };
        at.read(from, limit, |number| self.transactions[number].state == State::Committed)
    }

    /// Every committed record of a partition with its transaction and the time from which it could
    /// be read, for the oracle.
    pub fn committed(
        &self,
        topic: &str,
        partition: i32,
    ) -> impl Iterator<Item = (i64, &Entry, Option<TxnNo>, Micros)> {
        let slots = self.look(topic, partition).map_or(&[][..], Partition::slots);
        slots.iter().enumerate().filter_map(|(offset, slot)| {
            let Slot::Data { entry, transaction, appended_at } = slot else { return None };
            let visible_at = match transaction {
                None => *appended_at,
                Some(number) => {
                    let transaction = &self.transactions[*number];
                    if transaction.state != State::Committed {
                        return None;
                    }
                    transaction.ended_at?
                }
            };
            Some((offset as i64, &**entry, *transaction, visible_at))
        })
    }

    /// A transaction.
    pub fn transaction(&self, number: TxnNo) -> &Transaction {
        &self.transactions[number]
    }

    /// Whether any transaction is open.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Partitions in which more can be read than at the last call.
    pub fn take_moved(&mut self) -> BTreeSet<(String, i32)> {
        std::mem::take(&mut self.moved)
    }

    /// The broker is back after an outage: no member has missed a heartbeat.
    pub fn forgive(&mut self, now: Micros) {
        self.groups.values_mut().for_each(|group| group.forgive(now));
    }

    /// All groups.
    pub fn groups(&mut self) -> impl Iterator<Item = (&String, &mut Group)> {
        self.groups.iter_mut()
    }

    fn transaction_of(&mut self, session: &Session, now: Micros) -> Result<TxnNo, Refused> {
        self.check_epoch(session)?;
        let next = self.transactions.len();
        let producer = self.producers.entry(session.id.clone()).or_default();
        if let Some(number) = producer.current {
            return Ok(number);
        }
        producer.current = Some(next);
        self.open.insert(next);
        self.transactions.push(Transaction {
            session: session.clone(),
            state: State::Open,
            started_at: now,
            ended_at: None,
            touched: BTreeSet::new(),
            offsets: Offsets::new(),
            group: None,
        });
        Ok(next)
    }

    fn finish(&mut self, number: TxnNo, state: State, now: Micros) {
        self.open.remove(&number);
        let transaction = &mut self.transactions[number];
        (transaction.state, transaction.ended_at) = (state, Some(now));
        let touched = transaction.touched.clone();
        if state == State::Committed
            && let Some((group, _)) = transaction.group.clone()
        {
            let offsets = transaction.offsets.clone();
            self.group(&group).commit(offsets);
        }
        for (topic, partition) in touched {
            let at = self.at(&topic, partition);
            at.close(number);
            at.push(Slot::Marker);
            self.moved.insert((topic, partition));
        }
    }

    fn check_epoch(&self, session: &Session) -> Result<(), Refused> {
        let newest = self.producers.get(&session.id).map(|producer| producer.epoch);
        if newest == Some(session.epoch) { Ok(()) } else { Err(Refused::Fenced) }
    }

    fn at(&mut self, topic: &str, partition: i32) -> &mut Partition {
        if !self.topics.contains_key(topic) {
            let fresh = (0..self.partitions).map(|_| Partition::default()).collect();
            self.topics.insert(topic.to_owned(), fresh);
        }
        let partitions = self.topics.get_mut(topic).expect("just made");
        &mut partitions[partition as usize]
    }

    fn look(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(topic)?.get(partition as usize)
    }
}

#[cfg(test)]
mod tests;
