//! One task of one stage over the modelled log, with a crash point at every commit boundary.
//!
//! It follows the runtime's protocol step by step and shares its pure parts (cycle, overlay,
//! commit record, fold), so that what is proven here is what the runtime relies on.

use std::collections::BTreeMap;

use sendplane_domain::shard::partition_of;
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord, Fold};
use sendplane_stage_api::cycle::CycleTime;
use sendplane_stage_api::{
    Codec, Cycle, Encoded, Input, RawRecord, RecordMeta, Stage, Transition, Undecoded,
};

use crate::log::{Entry, Log, Refused, Session};

/// Where the process dies, in the order of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashPoint {
    /// Inputs applied, nothing produced.
    BeforeBegin,
    /// Some outputs produced.
    AmongOutputs,
    /// Outputs produced, the changelog half.
    AmongChangelog,
    /// Everything produced, offsets not sent.
    BeforeOffsets,
    /// Offsets sent, EndTxn not.
    BeforeEndTxn,
    /// EndTxn executed, its answer lost.
    EndTxnAnswerLost,
    /// Commit known, store not written.
    BeforeStore,
    /// Store written, effects not started.
    BeforeEffects,
    /// Effects started, their results not applied.
    AfterEffects,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [CrashPoint; 9] = [
        CrashPoint::BeforeBegin,
        CrashPoint::AmongOutputs,
        CrashPoint::AmongChangelog,
        CrashPoint::BeforeOffsets,
        CrashPoint::BeforeEndTxn,
        CrashPoint::EndTxnAnswerLost,
        CrashPoint::BeforeStore,
        CrashPoint::BeforeEffects,
        CrashPoint::AfterEffects,
    ];
}

/// Why a process came to its end. What is in the log and on the disk is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It died here.
    Crashed(CrashPoint),
    /// The log refused it.
    Refused(Refused),
}

/// What survives a process: its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    next_offset: i64,
}

/// A running task.
pub struct Host<'a, S: Stage> {
    stage: &'a S,
    codec: &'a dyn Codec<S>,
    globals: &'a S::Globals,
    /// The disk, to be handed to the next process or thrown away.
    pub disk: Disk,
    session: Session,
    generation: u32,
    partition: i32,
    partitions: u32,
    txn_seq: u64,
    last_now: Timestamp,
    timer_floor: Timestamp,
    offsets: Vec<i64>,
    fresh: bool,
    /// Effects started by this process.
    pub effects: Vec<S::Effect>,
    /// Dead letters of this process.
    pub dead: Vec<&'static str>,
}

/// What a task runs with.
pub struct Setting<'a, S: Stage> {
    /// The stage.
    pub stage: &'a S,
    /// Its codec.
    pub codec: &'a dyn Codec<S>,
    /// Its global tables.
    pub globals: &'a S::Globals,
    /// The partition of the task.
    pub partition: i32,
    /// Partitions of every topic.
    pub partitions: u32,
}

impl<'a, S: Stage> Host<'a, S> {
    /// Takes the task over: producer first, then stable offsets, high watermark, changelog.
    pub fn take_over(log: &mut Log, setting: &Setting<'a, S>, disk: Disk) -> Result<Self, Refused> {
        let Setting { stage, codec, globals, partition, partitions } = *setting;
        let generation = log.next_generation();
        let session = log.init(&format!("sendplane.{}-0", stage.name()));
        let mut committed = Vec::new();
        for input in stage.inputs() {
            committed.push(log.stable_offset(input.topic, partition)?);
        }
        let changelog = changelog_of(stage);
        let end = log.high_watermark(&changelog, partition);
        let (entries, position) = log.read_committed(&changelog, partition, disk.next_offset);
        if position < end {
            return Err(Refused::Unstable);
        }
        let mut disk = disk;
        let last = disk.rows.get(&COMMIT_KEY[..]).map(|bytes| decode_commit(bytes));
        let mut fold = Fold::after(last);
        for (offset, entry) in entries {
            let batch = fold.push(offset, entry.key, entry.value).expect("the log is sound");
            if let Some(batch) = batch {
                assert!(batch.commit.is_some(), "the model's changelogs are short");
                disk.write(batch.writes, batch.next_offset);
            }
        }
        let last = fold.last().cloned();
        assert_eq!(fold.finish(), Vec::<Vec<u8>>::new(), "epochs fence tears");
        let offsets = agree(stage, last.as_ref(), &committed);
        Ok(Self {
            stage,
            codec,
            globals,
            disk,
            session,
            generation,
            partition,
            partitions,
            txn_seq: last.as_ref().map_or(0, |last| last.txn_seq),
            last_now: last.as_ref().map_or(Timestamp::default(), |last| last.now),
            timer_floor: Timestamp::default(),
            offsets,
            fresh: last.is_none(),
            effects: Vec::new(),
            dead: Vec::new(),
        })
    }

    /// Runs one group commit of at most `limit` records at wall time `wall`. `Ok(false)`: nothing
    /// to do.
    pub fn cycle(
        &mut self,
        log: &mut Log,
        wall: Timestamp,
        limit: usize,
        crash: Option<CrashPoint>,
    ) -> Result<bool, Ended> {
        let die = Death(crash);
        let Some(applied) = self.apply(log, wall, limit) else { return Ok(false) };
        die.at(CrashPoint::BeforeBegin)?;
        let (commit, next_offset) = self.commit(log, wall, &applied, die)?;
        die.at(CrashPoint::EndTxnAnswerLost)?;
        die.at(CrashPoint::BeforeStore)?;
        let Applied { transition, offsets, dead } = applied;
        let mut writes: Vec<_> = transition.writes.into_iter().collect();
        writes.push((COMMIT_KEY.to_vec(), Some(commit.encode())));
        self.disk.write(writes, next_offset);
        (self.txn_seq, self.last_now, self.offsets) = (commit.txn_seq, commit.now, offsets);
        (self.timer_floor, self.fresh) = (transition.timer_floor, false);
        self.dead.extend(dead);
        die.at(CrashPoint::BeforeEffects)?;
        self.effects.extend(transition.effects.into_iter().map(|performed| performed.effect));
        die.at(CrashPoint::AfterEffects)?;
        Ok(true)
    }

    /// Inputs to an overlay. `None`: there were none.
    fn apply(&self, log: &Log, wall: Timestamp, limit: usize) -> Option<Applied<S>> {
        let time = CycleTime {
            now: wall.max(self.last_now),
            partition: self.partition,
            partitions: self.partitions,
            timer_floor: self.timer_floor,
            may_perform: true,
        };
        let mut cycle = Cycle::open(self.stage, &self.disk.rows, self.globals, time);
        let mut offsets = self.offsets.clone();
        let mut dead = Vec::new();
        let mut inputs = cycle.fire_timers();
        for (index, input) in self.stage.inputs().iter().enumerate() {
            let (records, _) = log.read_committed(input.topic, self.partition, offsets[index]);
            for (offset, entry) in records.into_iter().take(limit.saturating_sub(inputs)) {
                offsets[index] = offset + 1;
                inputs += 1;
                let at = (input.topic, self.partition, offset);
                dead.extend(take_record(self.codec, &mut cycle, at, &entry));
            }
        }
        let transition = cycle.finish().expect("a map can always be read");
        (inputs > 0 || self.fresh).then_some(Applied { transition, offsets, dead })
    }

    /// One transaction: outputs, changelog, commit record, offsets, EndTxn. Returns the commit
    /// record and the changelog offset after it.
    fn commit(
        &self,
        log: &mut Log,
        wall: Timestamp,
        applied: &Applied<S>,
        die: Death,
    ) -> Result<(CommitRecord, i64), Ended> {
        let Applied { transition, offsets, .. } = applied;
        let refused = Ended::Refused;
        let transaction = log.begin(&self.session).map_err(refused)?;
        for (number, (output, _)) in transition.outputs.iter().enumerate() {
            if number == transition.outputs.len() / 2 {
                die.at(CrashPoint::AmongOutputs)?;
            }
            let Encoded { topic, key, partition_key, value, .. } =
                self.codec.encode(output).expect("outputs can be encoded");
            let to = partition_of(partition_key.as_bytes(), self.partitions);
            let entry = Entry { key: key.into_bytes(), value: Some(value), timestamp: wall };
            log.produce(transaction, topic, to, entry).map_err(refused)?;
        }
        die.at(CrashPoint::AmongOutputs)?;
        let changelog = changelog_of(self.stage);
        for (number, (key, value)) in transition.writes.iter().enumerate() {
            if number == transition.writes.len() / 2 {
                die.at(CrashPoint::AmongChangelog)?;
            }
            let entry = Entry { key: key.clone(), value: value.clone(), timestamp: wall };
            log.produce(transaction, &changelog, self.partition, entry).map_err(refused)?;
        }
        die.at(CrashPoint::AmongChangelog)?;
        let topics = self.stage.inputs().iter().map(|input| input.topic.to_owned());
        let commit = CommitRecord {
            txn_seq: self.txn_seq + 1,
            inputs: topics.clone().zip(offsets.iter().copied()).collect(),
            records: transition.writes.len() as u32,
            now: transition.now,
            partitions: self.partitions,
        };
        let value = Some(commit.encode());
        let entry = Entry { key: COMMIT_KEY.to_vec(), value, timestamp: wall };
        let at = log.produce(transaction, &changelog, self.partition, entry).map_err(refused)?;
        die.at(CrashPoint::BeforeOffsets)?;
        let sequence = commit.txn_seq.to_string();
        let group = topics
            .zip(offsets)
            .map(|(topic, offset)| ((topic, self.partition), (*offset, sequence.clone())))
            .collect();
        log.send_offsets(transaction, self.generation, group).map_err(refused)?;
        die.at(CrashPoint::BeforeEndTxn)?;
        log.commit(transaction).map_err(refused)?;
        Ok((commit, at + 1))
    }
}

/// Inputs that were applied, not yet committed.
struct Applied<S: Stage> {
    transition: Transition<S>,
    offsets: Vec<i64>,
    dead: Vec<&'static str>,
}

/// Where this cycle's process dies, if it does.
#[derive(Clone, Copy)]
struct Death(Option<CrashPoint>);

impl Death {
    fn at(self, point: CrashPoint) -> Result<(), Ended> {
        if self.0 == Some(point) { Err(Ended::Crashed(point)) } else { Ok(()) }
    }
}

impl Disk {
    fn write(&mut self, writes: Vec<(Vec<u8>, Option<Vec<u8>>)>, next_offset: i64) {
        for (key, value) in writes {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        self.next_offset = next_offset;
    }

    /// The rows.
    pub fn rows(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.rows
    }
}

/// State of `partition` as the changelog alone tells it.
pub fn folded<S: Stage>(log: &Log, stage: &S, partition: i32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut disk = Disk::default();
    let mut fold = Fold::after(None);
    for (offset, entry) in log.read_committed(&changelog_of(stage), partition, 0).0 {
        if let Some(batch) = fold.push(offset, entry.key, entry.value).expect("the log is sound") {
            disk.write(batch.writes, batch.next_offset);
        }
    }
    disk.rows
}

fn changelog_of<S: Stage>(stage: &S) -> String {
    format!("sendplane.{}.changelog", stage.name())
}

fn decode_commit(bytes: &[u8]) -> CommitRecord {
    CommitRecord::decode(bytes).expect("written by this build")
}

fn take_record<S: Stage>(
    codec: &dyn Codec<S>,
    cycle: &mut Cycle<'_, S>,
    (topic, partition, offset): (&'static str, i32, i64),
    entry: &Entry,
) -> Option<&'static str> {
    let raw = RawRecord {
        topic,
        partition,
        offset,
        timestamp: entry.timestamp,
        key: Some(&entry.key),
        value: entry.value.as_deref(),
    };
    let record = match codec.decode(&raw) {
        Ok(record) => record,
        Err(Undecoded::Reject(fault)) => return Some(fault.code),
        Err(Undecoded::Later(reason)) => panic!("the model's registry is always there: {reason}"),
    };
    let meta = RecordMeta {
        topic,
        partition,
        offset,
        timestamp: entry.timestamp,
        key: String::from_utf8(entry.key.clone()).ok(),
    };
    let applied = cycle.apply(Input::Record { record, meta }, TraceContext::default());
    applied.dead_letter.map(|fault| fault.code)
}

/// The runtime's rule: state and offsets are of one transaction, or the task does not start.
fn agree<S: Stage>(
    stage: &S,
    last: Option<&CommitRecord>,
    committed: &[Option<(i64, String)>],
) -> Vec<i64> {
    let Some(last) = last else {
        assert!(committed.iter().all(Option::is_none), "offsets without state");
        return vec![0; stage.inputs().len()];
    };
    stage
        .inputs()
        .iter()
        .zip(committed)
        .map(|(input, found)| {
            let (offset, metadata) = found.clone().expect("state without an offset");
            assert_eq!(metadata, last.txn_seq.to_string(), "offsets and state of one transaction");
            assert_eq!(Some(&offset), last.inputs.get(input.topic));
            offset
        })
        .collect()
}
