//! What a handler may do.

use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;

use crate::codec::DeadLetter;
use crate::cycle::{Collected, Performed};
use crate::overlay::{Overlay, StateFault, prefix_end};
use crate::portion::Portion;
use crate::slots::{Allowance, Wants};
use crate::stage::{InputClass, Stage};
use crate::table::{Table, TableKey, TableValue, ValueFault, decode_value, encode_value};
use crate::timer::{self, TimerKey};

/// Everything a handler sees and does, for one input.
pub struct Context<'c, 's, S: Stage> {
    pub(crate) now: Timestamp,
    pub(crate) partition: i32,
    pub(crate) partitions: u32,
    pub(crate) globals: &'c S::Globals,
    pub(crate) overlay: &'c mut Overlay<'s>,
    pub(crate) collected: &'c mut Collected<S>,
    pub(crate) trace: TraceContext,
    pub(crate) allowance: Allowance,
    pub(crate) portion: Portion,
    pub(crate) dead_letter: Option<DeadLetter>,
}

impl<S: Stage> Context<'_, '_, S> {
    /// The time of this cycle: never before that of an earlier committed cycle of this task.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// This task's partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The partition count of all work topics.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The global tables, pinned for this cycle.
    pub fn globals(&self) -> &S::Globals {
        self.globals
    }

    /// The trace of the current input; outputs, timers and effects inherit it.
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// Continues another request's trace: the message's own, when a webhook reports on it.
    pub fn set_trace(&mut self, trace: TraceContext) {
        self.trace = trace;
    }

    /// The row under `key`.
    pub fn get<K: TableKey, V: TableValue>(&mut self, table: &Table<K, V>, key: &K) -> Option<V> {
        let bytes = self.overlay.get(&table.store_key(key))?;
        self.decode(table.name(), &bytes)
    }

    /// Writes a row.
    pub fn put<K: TableKey, V: TableValue>(&mut self, table: &Table<K, V>, key: &K, value: &V) {
        self.overlay.set(table.store_key(key), Some(encode_value(value)));
    }

    /// Deletes a row, if it is there.
    pub fn delete<K: TableKey, V: TableValue>(&mut self, table: &Table<K, V>, key: &K) {
        self.overlay.set(table.store_key(key), None);
    }

    /// Up to `limit` rows whose key starts with `prefix`, in key order.
    pub fn scan<K: TableKey, V: TableValue>(
        &mut self,
        table: &Table<K, V>,
        prefix: &impl TableKey,
        limit: usize,
    ) -> Vec<(K, V)> {
        self.scan_from(table, prefix, prefix, limit)
    }

    /// Like [`Self::scan`], beginning at the first key that is not below `from`, which itself
    /// starts with `prefix`.
    pub fn scan_from<K: TableKey, V: TableValue>(
        &mut self,
        table: &Table<K, V>,
        prefix: &impl TableKey,
        from: &impl TableKey,
        limit: usize,
    ) -> Vec<(K, V)> {
        let to = prefix_end(&table.store_prefix(prefix));
        let from = table.store_prefix(from);
        let mut rows = Vec::new();
        for (store_key, bytes) in self.overlay.scan(&from, &to, limit) {
            let Some(key) = table.key_of(&store_key) else {
                self.overlay.note_fault(StateFault::Corrupt {
                    table: table.name(),
                    detail: "key cannot be read".into(),
                });
                break;
            };
            let Some(value) = self.decode(table.name(), &bytes) else {
                break;
            };
            rows.push((key, value));
        }
        rows
    }

    /// Produces a record in this cycle's transaction.
    pub fn emit(&mut self, output: S::Output) {
        self.collected.outputs.push((output, self.trace.clone()));
    }

    /// Fires `timer` at `at`; if that has passed, in the next cycle, or still in this one if it is
    /// firing timers. Work that goes on in portions therefore asks for a later time. Replaces the
    /// timer under `key`, survives restarts, and carries the current trace.
    pub fn schedule(&mut self, key: TimerKey, at: Timestamp, timer: &S::Timer) {
        let payload =
            postcard::to_stdvec(timer).expect("timer payloads have no unserialisable type");
        // Never before `now`: the queue is not searched earlier than the last cycle's time.
        timer::schedule(self.overlay, key, at.max(self.now), self.trace.clone(), payload);
    }

    /// Removes the timer under `key`, if there is one.
    pub fn cancel(&mut self, key: &TimerKey) {
        timer::cancel(self.overlay, key);
    }

    /// How many effects may still be started in this cycle. 0 while every slot of the host is taken,
    /// the task is being handed over, effects of its owner before may still start or its clock cannot
    /// be trusted: then nothing may be granted. Whoever has more to start says [`Self::want_more`].
    pub fn effects_left(&self) -> usize {
        self.allowance.urgent.saturating_sub(self.collected.effects.len())
    }

    /// How many of [`Self::effects_left`] may be for what can wait: the task's fair share of the
    /// slots, less those that the host keeps for what is urgent.
    pub fn share_left(&self) -> usize {
        self.allowance.share.saturating_sub(self.collected.effects.len())
    }

    /// The cycle leaves something undone for want of slots, or of time. The host ends another cycle
    /// as soon as it has room, input or not. Not stored: a task just opened is asked anyway.
    pub fn want_more(&mut self, wants: Wants) {
        self.collected.wants = wants;
    }

    /// How much of what can wait this cycle should do: with [`Portion::Small`], urgent records will
    /// have to wait for it.
    pub fn portion(&self) -> Portion {
        self.portion
    }

    /// Starts `effect` after this cycle is committed. A crash in between loses the effect, never
    /// the state that asked for it: whoever performs must also schedule the timer that notices.
    pub fn perform(&mut self, effect: S::Effect) {
        assert!(self.effects_left() > 0, "a stage asks effects_left() before it grants");
        self.collected.effects.push(Performed { effect, trace: self.trace.clone() });
    }

    /// Takes no more records of `class` after this cycle, until a cycle ends without this being
    /// asked: for a stage whose store has as much as it may hold. Records wait in Kafka meanwhile.
    /// Feedback cannot be held.
    pub fn hold(&mut self, class: InputClass) {
        assert!(class != InputClass::Feedback, "feedback is what lets a stage go on");
        self.collected.held.insert(class);
    }

    /// Sends the current input record to the dead-letter topic, byte for byte. No effect for
    /// timers and effect results, which have no record.
    pub fn dead_letter(&mut self, code: &'static str, detail: impl Into<String>) {
        self.dead_letter = Some(DeadLetter { code, detail: detail.into() });
    }

    /// Counts something for the operator: `name{label}` rises by one once the cycle is committed.
    pub fn count(&mut self, name: &'static str, label: &'static str) {
        *self.collected.counts.entry((name, label)).or_default() += 1;
    }

    /// Tells the operator how much of something the task has, once the cycle is committed:
    /// `name{label}` is set to `value` for this partition.
    pub fn gauge(&mut self, name: &'static str, label: &'static str, value: u64) {
        self.collected.gauges.insert((name, label), value);
    }

    fn decode<V: TableValue>(&mut self, table: &'static str, bytes: &[u8]) -> Option<V> {
        match decode_value(bytes) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.overlay.note_fault(state_fault(table, fault));
                None
            }
        }
    }
}

pub(crate) fn state_fault(table: &'static str, fault: ValueFault) -> StateFault {
    match fault {
        ValueFault::VersionAhead { found, known } => {
            StateFault::VersionAhead { table, found, known }
        }
        ValueFault::Corrupt(detail) => StateFault::Corrupt { table, detail },
    }
}
