//! Durable timers: rows in the store, ordered by due time, at most one per key.

use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;
use serde::{Deserialize, Serialize};

use crate::overlay::{Overlay, prefix_end};
use crate::table::{Table, TableKey, TableValue, decode_value, encode_value};

/// Names a timer within its task: scheduling the same key again replaces it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerKey(Vec<u8>);

impl TimerKey {
    /// A timer of `kind` (a number that a stage never reuses) for `subject`.
    pub fn new(kind: u8, subject: &impl TableKey) -> Self {
        let mut bytes = vec![kind];
        subject.encode(&mut bytes);
        Self(bytes)
    }
}

/// The key's bytes stand as they are: they only ever come last.
impl TableKey for TimerKey {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self(std::mem::take(bytes).to_vec()))
    }
}

#[derive(Serialize, Deserialize)]
struct Entry {
    trace: TraceContext,
    payload: Vec<u8>,
}

impl TableValue for Entry {}

#[derive(Serialize, Deserialize)]
struct DueAt(Timestamp);

impl TableValue for DueAt {}

/// By due time: what to fire next is the first row.
const QUEUE: Table<(Timestamp, TimerKey), Entry> = Table::system(0x0001, "timers");
/// By key: where the timer stands in the queue.
const INDEX: Table<TimerKey, DueAt> = Table::system(0x0002, "timer_index");

/// A timer taken from the queue.
pub(crate) struct Due {
    pub trace: TraceContext,
    pub payload: Vec<u8>,
}

pub(crate) fn schedule(
    overlay: &mut Overlay<'_>,
    key: TimerKey,
    at: Timestamp,
    trace: TraceContext,
    payload: Vec<u8>,
) {
    cancel(overlay, &key);
    overlay.set(INDEX.store_key(&key), Some(encode_value(&DueAt(at))));
    overlay.set(QUEUE.store_key(&(at, key)), Some(encode_value(&Entry { trace, payload })));
}

pub(crate) fn cancel(overlay: &mut Overlay<'_>, key: &TimerKey) {
    let index_key = INDEX.store_key(key);
    if let Some(bytes) = overlay.get(&index_key)
        && let Ok(DueAt(at)) = decode_value::<DueAt>(&bytes)
    {
        overlay.set(QUEUE.store_key(&(at, key.clone())), None);
        overlay.set(index_key, None);
    }
}

/// Removes and returns the first timer due at or before `now`, looking no earlier than `floor`.
pub(crate) fn take_due(
    overlay: &mut Overlay<'_>,
    floor: Timestamp,
    now: Timestamp,
) -> Option<(Timestamp, Due)> {
    let from = QUEUE.store_prefix(&floor);
    let to = prefix_end(&QUEUE.store_prefix(&now));
    let (store_key, bytes) = overlay.scan(&from, &to, 1).pop()?;
    overlay.set(store_key.clone(), None);
    let (at, key) = QUEUE.key_of(&store_key)?;
    overlay.set(INDEX.store_key(&key), None);
    match decode_value::<Entry>(&bytes) {
        Ok(Entry { trace, payload }) => Some((at, Due { trace, payload })),
        Err(fault) => {
            overlay.note_fault(crate::context::state_fault(QUEUE.name(), fault));
            None
        }
    }
}

/// When the next timer is due, if any, looking no earlier than `floor`.
pub fn next_due(overlay: &mut Overlay<'_>, floor: Timestamp) -> Option<Timestamp> {
    let from = QUEUE.store_prefix(&floor);
    let to = prefix_end(&QUEUE.store_prefix(&()));
    let (store_key, _) = overlay.scan(&from, &to, 1).pop()?;
    QUEUE.key_of(&store_key).map(|(at, _)| at)
}
