//! Uncommitted writes over committed state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

/// Writes of one cycle: `None` deletes.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Takes (key, value) pairs in key order until it breaks.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// Committed state, as the host stores it.
pub trait StateReader {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String>;

    /// Visits the entries with `from <= key < to` in key order until `visit` breaks.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), String>;
}

/// A plain ordered map is a state: the driver's and the simulator's.
impl StateReader for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(self.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), String> {
        if from < to {
            for (key, value) in self.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
            {
                if visit(key, value).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Why a cycle must be thrown away: the state could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateFault {
    /// The store failed.
    #[error("cannot read the state store: {0}")]
    Read(String),
    /// A newer release wrote this row: leave the group and stop.
    #[error(
        "table {table} holds format version {found}, this build reads up to {known}: upgrade this instance"
    )]
    VersionAhead {
        /// Table name.
        table: &'static str,
        /// Version found.
        found: u16,
        /// Newest version known.
        known: u16,
    },
    /// A row cannot be decoded.
    #[error("table {table} holds a row that cannot be decoded: {detail}")]
    Corrupt {
        /// Table name.
        table: &'static str,
        /// Decoder's message.
        detail: String,
    },
}

/// A view of committed state with this cycle's writes on top.
pub struct Overlay<'s> {
    committed: &'s dyn StateReader,
    writes: Writes,
    /// Written even if it changes nothing.
    rewritten: BTreeSet<Vec<u8>>,
    fault: Option<StateFault>,
}

impl<'s> Overlay<'s> {
    /// An empty overlay over `committed`.
    pub fn new(committed: &'s dyn StateReader) -> Self {
        Self { committed, writes: Writes::new(), rewritten: BTreeSet::new(), fault: None }
    }

    /// The first fault, after which everything read is meaningless.
    pub fn fault(&self) -> Option<&StateFault> {
        self.fault.as_ref()
    }

    /// Notes a fault; the first one stays.
    pub fn note_fault(&mut self, fault: StateFault) {
        self.fault.get_or_insert(fault);
    }

    /// The value under `key`, this cycle's writes first.
    pub fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some(write) = self.writes.get(key) {
            return write.clone();
        }
        match self.committed.get(key) {
            Ok(value) => value,
            Err(error) => {
                self.note_fault(StateFault::Read(error));
                None
            }
        }
    }

    /// Writes (`Some`) or deletes (`None`).
    pub fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.writes.insert(key, value);
    }

    /// Writes what is committed under `key` once more, or its absence: a torn transaction left
    /// something else in the changelog.
    pub fn rewrite(&mut self, key: Vec<u8>) {
        let committed = self.get(&key);
        self.set(key.clone(), committed);
        self.rewritten.insert(key);
    }

    /// Up to `limit` entries with `from <= key < to`, in key order.
    pub fn scan(&mut self, from: &[u8], to: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        if from >= to || limit == 0 {
            return found;
        }
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let mut writes = self.writes.range::<[u8], _>(bounds).peekable();
        let result = self.committed.scan(from, to, &mut |key, value| {
            while let Some((written, change)) = writes.next_if(|(written, _)| &written[..] < key) {
                if let Some(change) = change {
                    found.push((written.clone(), change.clone()));
                }
                if found.len() >= limit {
                    return ControlFlow::Break(());
                }
            }
            match writes.next_if(|(written, _)| &written[..] == key) {
                Some((_, None)) => {}
                Some((_, Some(change))) => found.push((key.to_vec(), change.clone())),
                None => found.push((key.to_vec(), value.to_vec())),
            }
            if found.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        for (written, change) in writes {
            if found.len() >= limit {
                break;
            }
            if let Some(change) = change {
                found.push((written.clone(), change.clone()));
            }
        }
        if let Err(error) = result {
            self.note_fault(StateFault::Read(error));
        }
        found
    }

    /// The writes of the cycle, or the fault that makes them void. What came and went within the
    /// cycle leaves nothing: a tombstone for a key that was never there costs a record.
    pub fn into_writes(mut self) -> Result<Writes, StateFault> {
        let committed = self.committed;
        let fault = &mut self.fault;
        let rewritten = &self.rewritten;
        self.writes.retain(|key, value| {
            value.is_some()
                || rewritten.contains(key)
                || committed
                    .get(key)
                    .unwrap_or_else(|error| {
                        fault.get_or_insert(StateFault::Read(error));
                        None
                    })
                    .is_some()
        });
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.writes),
        }
    }
}

/// The smallest key greater than every key that starts with `prefix`.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // A prefix of only 0xff bytes has no upper end; tags never reach 0xffff.
    vec![0xff; prefix.len() + 1]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The overlay behaves like one map into which the writes were applied.
        #[test]
        fn scan_equals_a_plain_map(
            committed in prop::collection::btree_map(prop::collection::vec(0u8..3, 1..3), any::<u8>(), 0..12),
            writes in prop::collection::vec((prop::collection::vec(0u8..3, 1..3), any::<Option<u8>>()), 0..12),
            from in prop::collection::vec(0u8..3, 0..3),
            to in prop::collection::vec(0u8..3, 0..3),
            limit in 0usize..6,
        ) {
            let committed: BTreeMap<Vec<u8>, Vec<u8>> =
                committed.into_iter().map(|(k, v)| (k, vec![v])).collect();
            let mut model = committed.clone();
            let mut overlay = Overlay::new(&committed);
            for (key, value) in writes {
                let value = value.map(|v| vec![v]);
                match &value {
                    Some(value) => { model.insert(key.clone(), value.clone()); }
                    None => { model.remove(&key); }
                }
                overlay.set(key, value);
            }
            let expected: Vec<_> = if from < to {
                model.range(from.clone()..to.clone()).take(limit)
                    .map(|(k, v)| (k.clone(), v.clone())).collect()
            } else { Vec::new() };
            prop_assert_eq!(overlay.scan(&from, &to, limit), expected);
            for key in model.keys() {
                prop_assert_eq!(overlay.get(key), model.get(key).cloned());
            }
            let mut applied = committed.clone();
            for (key, value) in overlay.into_writes().expect("a map can always be read") {
                prop_assert!(value.is_some() || committed.contains_key(&key), "an idle tombstone");
                match value {
                    Some(value) => applied.insert(key, value),
                    None => applied.remove(&key),
                };
            }
            prop_assert_eq!(applied, model);
        }
    }

    #[test]
    fn what_is_rewritten_is_written_even_where_there_is_nothing() {
        let committed: BTreeMap<Vec<u8>, Vec<u8>> = [(vec![1], vec![7])].into();
        let mut overlay = Overlay::new(&committed);
        overlay.rewrite(vec![1]);
        overlay.rewrite(vec![2]);
        overlay.set(vec![3], None);
        let expected = Writes::from([(vec![1], Some(vec![7])), (vec![2], None)]);
        assert_eq!(overlay.into_writes(), Ok(expected));
    }

    #[test]
    fn prefix_end_is_the_next_prefix() {
        assert_eq!(prefix_end(&[1, 2]), vec![1, 3]);
        assert_eq!(prefix_end(&[1, 0xff]), vec![2]);
        assert!(prefix_end(&[0xff, 0xff]) > vec![0xff, 0xff]);
    }
}
