//! The in-memory host: one task, no broker, time by hand. For unit tests of stages.
//!
//! It keeps a changelog and proves at every commit that folding it gives the state (I6), so that
//! each stage test also checks what a restart would find.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;

use crate::codec::DeadLetter;
use crate::commit::{Batch, COMMIT_KEY, CommitRecord, Fold};
use crate::cycle::{Applied, Counts, Cycle, CycleTime, Gauges, Performed, Transition};
use crate::portion::Portion;
use crate::replay::Replay;
use crate::slots::{Allowance, Wants};
use crate::stage::{Globals, Input, InputClass, RecordMeta, Stage};

/// State and changelog entries are plain bytes.
pub type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// What one or more cycles did.
#[derive(Debug)]
pub struct Produced<S: Stage> {
    /// Outputs in order.
    pub outputs: Vec<S::Output>,
    /// Traces of the outputs, same order.
    pub traces: Vec<TraceContext>,
    /// Effects in order.
    pub effects: Vec<S::Effect>,
    /// Dead letters in order.
    pub dead_letters: Vec<DeadLetter>,
}

impl<S: Stage> Default for Produced<S> {
    fn default() -> Self {
        Self {
            outputs: Vec::new(),
            traces: Vec::new(),
            effects: Vec::new(),
            dead_letters: Vec::new(),
        }
    }
}

/// Runs one task of one stage in memory. Every input is a cycle of its own.
pub struct Driver<S: Stage> {
    stage: S,
    globals: S::Globals,
    state: State,
    changelog: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    now: Timestamp,
    partition: i32,
    partitions: u32,
    txn_seq: u64,
    offsets: BTreeMap<String, i64>,
    timer_floor: Timestamp,
    next_timer: Option<Timestamp>,
    allowance: Allowance,
    portion: Portion,
    wants: Wants,
    held: BTreeSet<InputClass>,
    counts: Counts,
    gauges: Gauges,
    fold: Fold,
    folded: State,
}

impl<S: Stage> Driver<S> {
    /// An empty task of partition 0 of 1, at `now`.
    pub fn new(stage: S, now: Timestamp) -> Self {
        Self {
            stage,
            globals: S::Globals::default(),
            state: State::new(),
            changelog: Vec::new(),
            now,
            partition: 0,
            partitions: 1,
            txn_seq: 0,
            offsets: BTreeMap::new(),
            timer_floor: Timestamp::default(),
            next_timer: None,
            allowance: Allowance::UNLIMITED,
            portion: Portion::Full,
            wants: Wants::UNKNOWN,
            held: BTreeSet::new(),
            counts: Counts::new(),
            gauges: Gauges::new(),
            fold: Fold::after(None),
            folded: State::new(),
        }
    }

    /// From now on at most `effects_max` effects may be started in a cycle.
    pub fn limit_effects(&mut self, effects_max: usize) {
        self.allow(Allowance { urgent: effects_max, share: effects_max });
    }

    /// From now on this is what may be started in a cycle.
    pub fn allow(&mut self, allowance: Allowance) {
        self.allowance = allowance;
    }

    /// From now on cycles are told to take so much of what can wait.
    pub fn set_portion(&mut self, portion: Portion) {
        self.portion = portion;
    }

    /// What the task would have started in its last cycle, had it been allowed to.
    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// Classes of which the stage takes no more at present.
    pub fn held(&self) -> &BTreeSet<InputClass> {
        &self.held
    }

    /// How often `name{label}` was counted.
    pub fn counted(&self, name: &'static str, label: &'static str) -> u64 {
        self.counts.get(&(name, label)).copied().unwrap_or(0)
    }

    /// Where the gauge `name{label}` stands; `None` if it was never set.
    pub fn gauged(&self, name: &'static str, label: &'static str) -> Option<u64> {
        self.gauges.get(&(name, label)).copied()
    }

    /// Places the task: for tests of misplaced records.
    pub fn placed(mut self, partition: i32, partitions: u32) -> Self {
        (self.partition, self.partitions) = (partition, partitions);
        self
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The committed state, for assertions.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The stage.
    pub fn stage(&self) -> &S {
        &self.stage
    }

    /// The task's next timer.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.next_timer
    }

    /// Changes a global table and tells the stage.
    pub fn global(&mut self, change: <S::Globals as Globals>::Change) -> Produced<S> {
        self.globals.apply(&change);
        self.run(|cycle| vec![cycle.apply(Input::Control(change), TraceContext::default())])
    }

    /// Feeds one record of `topic`, at the next offset.
    pub fn record(&mut self, topic: &'static str, record: S::Record) -> Produced<S> {
        self.record_traced(topic, record, TraceContext::default())
    }

    /// Feeds one record with a trace.
    pub fn record_traced(
        &mut self,
        topic: &'static str,
        record: S::Record,
        trace: TraceContext,
    ) -> Produced<S> {
        let meta = self.next_meta(topic);
        self.run(|cycle| vec![cycle.apply(Input::Record { record, meta }, trace)])
    }

    /// Feeds one record that `replay` says comes from the dead letters; its Kafka timestamp is
    /// `timestamp`, that of the record it repeats.
    pub fn record_replayed(
        &mut self,
        topic: &'static str,
        record: S::Record,
        timestamp: Timestamp,
        replay: Replay,
    ) -> Produced<S> {
        let meta = RecordMeta { timestamp, replay_of: Some(replay), ..self.next_meta(topic) };
        self.run(|cycle| vec![cycle.apply(Input::Record { record, meta }, TraceContext::default())])
    }

    /// Where the next record of `topic` will stand, and there it stands now.
    fn next_meta(&mut self, topic: &'static str) -> RecordMeta {
        let offset = *self.offsets.get(topic).unwrap_or(&0);
        self.offsets.insert(topic.to_owned(), offset + 1);
        RecordMeta {
            topic,
            partition: self.partition,
            offset,
            timestamp: self.now,
            key: None,
            replay_of: None,
        }
    }

    /// Feeds the result of an effect.
    pub fn effect_result(&mut self, result: S::EffectResult) -> Produced<S> {
        self.run(|cycle| vec![cycle.apply(Input::Effect(result), TraceContext::default())])
    }

    /// Moves time to `to`, firing each timer at its own due time. A task that wants to start more is
    /// asked first.
    pub fn advance_to(&mut self, to: Timestamp) -> Produced<S> {
        let mut all = Produced::default();
        let mut add = |produced: Produced<S>| {
            all.outputs.extend(produced.outputs);
            all.traces.extend(produced.traces);
            all.effects.extend(produced.effects);
        };
        if !self.wants.is_nothing() {
            add(self.run(|_| Vec::new()));
        }
        while let Some(due) = self.next_timer.filter(|due| *due <= to) {
            self.now = self.now.max(due);
            add(self.run(|cycle| {
                cycle.fire_timers();
                Vec::new()
            }));
        }
        self.now = self.now.max(to);
        all
    }

    /// Loses the process: a new one restores state from the changelog alone.
    pub fn restart(&mut self) {
        self.state = self.fold_all();
        self.timer_floor = Timestamp::default();
        self.wants = Wants::UNKNOWN;
    }

    fn run(&mut self, body: impl FnOnce(&mut Cycle<'_, S>) -> Vec<Applied>) -> Produced<S> {
        let time = CycleTime {
            now: self.now,
            partition: self.partition,
            partitions: self.partitions,
            timer_floor: self.timer_floor,
            allowance: self.allowance,
            portion: self.portion,
        };
        let mut cycle = Cycle::open(&self.stage, &self.state, &self.globals, time);
        let applied = body(&mut cycle);
        let transition = cycle.finish().expect("the driver's state can always be read");
        let dead_letters = applied.into_iter().filter_map(|one| one.dead_letter).collect();
        self.commit(transition, dead_letters)
    }

    fn commit(&mut self, transition: Transition<S>, dead_letters: Vec<DeadLetter>) -> Produced<S> {
        self.txn_seq += 1;
        let commit = CommitRecord {
            txn_seq: self.txn_seq,
            inputs: self.offsets.clone(),
            records: transition.writes.len() as u32,
            now: transition.now,
            partitions: self.partitions,
        };
        let mut entries: VecDeque<_> = transition.writes.into_iter().collect();
        entries.push_back((COMMIT_KEY.to_vec(), Some(commit.encode())));
        let mut batches = Vec::new();
        for (key, value) in entries {
            match &value {
                Some(value) => self.state.insert(key.clone(), value.clone()),
                None => self.state.remove(&key),
            };
            batches.extend(push(&mut self.fold, self.changelog.len(), &key, &value));
            self.changelog.push((key, value));
        }
        // Folded on from the last commit; a restart folds from the beginning.
        for batch in batches {
            write(&mut self.folded, batch.writes);
        }
        assert!(self.state == self.folded, "state equals the fold of the changelog (I6)");
        self.next_timer = transition.next_timer;
        self.timer_floor = transition.timer_floor;
        self.held = transition.held;
        self.wants = transition.wants;
        for (count, value) in transition.counts {
            *self.counts.entry(count).or_default() += value;
        }
        self.gauges.extend(transition.gauges);
        let (outputs, traces) = transition.outputs.into_iter().unzip();
        let effects = transition.effects.into_iter().map(|Performed { effect, .. }| effect);
        Produced { outputs, traces, effects: effects.collect(), dead_letters }
    }

    /// Folds the whole changelog.
    fn fold_all(&self) -> State {
        let mut fold = Fold::after(None);
        let mut state = State::new();
        for (offset, (key, value)) in self.changelog.iter().enumerate() {
            if let Some(batch) = push(&mut fold, offset, key, value) {
                write(&mut state, batch.writes);
            }
        }
        state
    }
}

fn push(fold: &mut Fold, offset: usize, key: &[u8], value: &Option<Vec<u8>>) -> Option<Batch> {
    fold.push(offset as i64, key.to_vec(), value.clone())
        .expect("the driver writes a sound changelog")
}

fn write(state: &mut State, writes: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
    for (key, value) in writes {
        match value {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    }
}
