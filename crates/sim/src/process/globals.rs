//! The global tables as one process has read them.

use std::collections::BTreeMap;

use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Codec, Globals, RawRecord, Stage};

use crate::log::Log;

/// A consistent state of all global tables.
#[derive(Debug)]
pub struct View<G: Globals> {
    /// The tables.
    pub tables: G,
    /// Per topic: the offset up to which they are applied.
    pub ends: Vec<i64>,
    /// The latest change of every key.
    changes: BTreeMap<(usize, i64), G::Change>,
    newest: BTreeMap<(usize, Vec<u8>), i64>,
}

impl<G: Globals> Default for View<G> {
    fn default() -> Self {
        Self {
            tables: G::default(),
            ends: vec![0; G::topics().len()],
            changes: BTreeMap::new(),
            newest: BTreeMap::new(),
        }
    }
}

impl<G: Globals> View<G> {
    /// Reads to the end of the global topics, each change as `seen` leaves it.
    pub fn catch_up<S: Stage<Globals = G>>(
        &mut self,
        log: &Log,
        codec: &dyn Codec<S>,
        seen: impl Fn(&mut G::Change),
    ) {
        for (index, topic) in G::topics().iter().enumerate() {
            let (found, next) = log.read_committed(topic, 0, self.ends[index], usize::MAX);
            self.ends[index] = next;
            for (offset, entry) in found {
                let key = entry.key.clone().unwrap_or_default();
                let raw = RawRecord {
                    topic,
                    partition: 0,
                    offset,
                    timestamp: Timestamp::default(),
                    key: Some(&key),
                    value: entry.value.as_deref(),
                    headers: &entry.headers,
                };
                // A row that cannot be read keeps its previous value.
                let Ok(mut change) = codec.decode_global(&raw) else { continue };
                seen(&mut change);
                self.tables.apply(&change);
                if let Some(older) = self.newest.insert((index, key), offset) {
                    self.changes.remove(&(index, older));
                }
                self.changes.insert((index, offset), change);
            }
        }
    }

    /// The changes a task that has applied up to `applied` has not seen.
    pub fn changes_after(&self, applied: &[i64]) -> Vec<G::Change> {
        let mut found = Vec::new();
        for topic in 0..self.ends.len() {
            let from = applied.get(topic).copied().unwrap_or(0);
            let range = self.changes.range((topic, from)..(topic, i64::MAX));
            found.extend(range.map(|(_, change)| change.clone()));
        }
        found
    }
}
