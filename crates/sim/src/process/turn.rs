//! One task's part of a group commit: what is queued becomes a draft. The runtime's rules, in its
//! order: global changes, records by class, timers, results.

use std::collections::{BTreeMap, VecDeque};

use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::{TraceContext, header};
use sendplane_stage_api::cycle::CycleTime;
use sendplane_stage_api::portion::Portion;
use sendplane_stage_api::slots::{Room, Wants};
use sendplane_stage_api::table::{TableValue, decode_value, encode_value};
use sendplane_stage_api::{
    Codec, Cycle, DeadLetter, Encoded, Input, InputClass, RawRecord, RecordMeta, Transition,
    Undecoded,
};
use sendplane_wire::topic;
use serde::{Deserialize, Serialize};

use super::globals::View;
use super::hosted::Hosted;
use super::task::{Arrived, Fetched, Task};
use crate::log::partition::Headers;
use crate::mutation::Mutation;
use crate::repeat;

/// System row: the global offsets a task has been told of.
const GLOBALS_KEY: [u8; 2] = [0x00, 0x03];

#[derive(Serialize, Deserialize)]
struct GlobalsApplied(Vec<i64>);

impl TableValue for GlobalsApplied {}

/// The global offsets that a restored task had been told of.
pub(super) fn globals_applied(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<Vec<i64>> {
    decode_value::<GlobalsApplied>(rows.get(&GLOBALS_KEY[..])?).ok().map(|row| row.0)
}

/// What a turn sees besides its task.
pub(super) struct Surroundings<'a, S: Hosted> {
    pub stage: &'a S,
    pub codec: &'a dyn Codec<S>,
    pub view: &'a View<S::Globals>,
    pub wall: Timestamp,
    pub partitions: u32,
    /// False while the task is given up or the clock cannot be trusted: only results of running
    /// effects are applied then.
    pub begin_work: bool,
    /// What the cycle takes.
    pub portion: Portion,
    pub mutation: Option<Mutation>,
}

/// A transaction's part of one task, not yet produced.
pub(crate) struct Draft<S: Hosted> {
    pub partition: i32,
    pub transition: Transition<S>,
    pub outputs: Vec<(Encoded, TraceContext)>,
    pub dead: Vec<(Fetched, DeadLetter)>,
    pub offsets: Vec<i64>,
    /// Whether any record was taken, as opposed to timers and results only.
    pub has_records: bool,
    pub globals_applied: Option<Vec<i64>>,
    /// Results in it: given again if it is not committed.
    pub consumed: Vec<Arrived<S>>,
}

/// Why a turn ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// A global row is missing: catch up first.
    Globals,
}

/// The outcome of a turn.
pub(super) struct Turn<S: Hosted> {
    pub draft: Option<Draft<S>>,
    pub hold: Option<Hold>,
    /// What it would have started besides; `None` if it was not asked.
    pub wants: Option<Wants>,
}

#[derive(Default)]
struct Progress {
    outputs: Vec<(Encoded, TraceContext)>,
    dead: Vec<(Fetched, DeadLetter)>,
    offsets: Vec<i64>,
    inputs: usize,
    records: usize,
    hold: Option<Hold>,
}

impl Progress {
    fn encode<S: Hosted>(
        &mut self,
        env: &Surroundings<'_, S>,
        cycle: &Cycle<'_, S>,
        range: std::ops::Range<usize>,
    ) {
        for (output, trace) in &cycle.outputs()[range] {
            let encoded = env.codec.encode(output).expect("the stages' outputs can be encoded");
            self.outputs.push((encoded, trace.clone()));
        }
    }
}

/// Applies what is queued for `task`, within `budget`.
pub(super) fn take<S: Hosted>(
    env: &Surroundings<'_, S>,
    task: &mut Task<S>,
    rows: &BTreeMap<Vec<u8>, Vec<u8>>,
    room: Room,
    budget: &mut usize,
) -> Turn<S> {
    let now = env.wall.max(task.last_now);
    let time = CycleTime {
        now,
        partition: task.partition,
        partitions: env.partitions,
        timer_floor: task.timer_floor,
        allowance: room.allowance,
        portion: env.portion,
    };
    let mut cycle = Cycle::open(env.stage, rows, &env.view.tables, time);
    let mut progress = Progress { offsets: task.offsets.clone(), ..Progress::default() };
    for key in &task.torn {
        cycle.rewrite(key.clone());
    }
    let mut globals_applied = None;
    if env.begin_work {
        globals_applied = apply_globals(env, task, &mut cycle, &mut progress);
        let mut queues = std::mem::take(&mut task.queues);
        take_records(env, task, &mut queues, &mut cycle, budget, &mut progress);
        task.queues = queues;
    }
    let serves_all = env.portion.serves_all();
    if env.begin_work && serves_all && task.next_timer.is_some_and(|at| at <= time.now) {
        let before = cycle.outputs().len();
        progress.inputs += cycle.fire_timers();
        let range = before..cycle.outputs().len();
        progress.encode(env, &cycle, range);
        // Nothing was due after all: the next look is when the next one is.
        if progress.inputs == 0 && !task.fresh && task.torn.is_empty() && !room.is_due {
            task.next_timer = cycle.finish().expect("a map can be read").next_timer;
            return Turn { draft: None, hold: progress.hold, wants: None };
        }
    }
    let mut consumed = Vec::new();
    while serves_all && let Some(arrived) = task.results.pop_front() {
        let result = arrived.result.clone();
        consumed.push(arrived);
        if env.mutation == Some(Mutation::RefusalsPaidBack) {
            S::pay_back(&result, &mut cycle);
        }
        let applied = cycle.apply(Input::Effect(result), TraceContext::default());
        progress.inputs += 1;
        progress.encode(env, &cycle, applied.outputs);
    }
    let is_idle = progress.inputs == 0 && !task.fresh && task.torn.is_empty();
    if is_idle && !room.is_due {
        return Turn { draft: None, hold: progress.hold, wants: None };
    }
    let concluded = cycle.conclude();
    progress.encode(env, &cycle, concluded);
    let transition = cycle.finish().expect("a map can be read, and what this build wrote decoded");
    let wants = Some(transition.wants);
    if is_idle && transition.changes_nothing() {
        task.next_timer = transition.next_timer;
        return Turn { draft: None, hold: progress.hold, wants };
    }
    let Progress { outputs, dead, offsets, records, hold, .. } = progress;
    let draft = Draft {
        partition: task.partition,
        transition,
        outputs,
        dead,
        offsets,
        has_records: records > 0,
        globals_applied,
        consumed,
    };
    Turn { draft: Some(draft), hold, wants }
}

fn apply_globals<S: Hosted>(
    env: &Surroundings<'_, S>,
    task: &Task<S>,
    cycle: &mut Cycle<'_, S>,
    progress: &mut Progress,
) -> Option<Vec<i64>> {
    let applied = task.globals_applied.as_ref();
    if applied == Some(&env.view.ends) {
        return None;
    }
    let changes = applied.map_or_else(Vec::new, |applied| env.view.changes_after(applied));
    for change in &changes {
        let result = cycle.apply(Input::Control(change.clone()), TraceContext::default());
        progress.encode(env, cycle, result.outputs);
    }
    if applied.is_none() || !changes.is_empty() {
        let row = encode_value(&GlobalsApplied(env.view.ends.clone()));
        cycle.set_system(GLOBALS_KEY.to_vec(), Some(row));
        progress.inputs += changes.len();
    }
    Some(env.view.ends.clone())
}

fn take_records<S: Hosted>(
    env: &Surroundings<'_, S>,
    task: &Task<S>,
    queues: &mut BTreeMap<InputClass, VecDeque<Fetched>>,
    cycle: &mut Cycle<'_, S>,
    budget: &mut usize,
    progress: &mut Progress,
) {
    for (class, queue) in queues.iter_mut() {
        if *class != InputClass::Feedback && !task.feedback_marks.is_empty() {
            continue;
        }
        if !env.portion.takes(*class) {
            continue;
        }
        while *budget > 0 {
            let Some(record) = queue.pop_front() else { break };
            if let Some(hold) = take_record(env, task, &record, cycle, progress) {
                queue.push_front(record);
                progress.hold = Some(hold);
                return;
            }
            *budget -= 1;
            progress.offsets[record.input] = record.offset + 1;
            progress.inputs += 1;
            progress.records += 1;
        }
    }
}

fn take_record<S: Hosted>(
    env: &Surroundings<'_, S>,
    task: &Task<S>,
    record: &Fetched,
    cycle: &mut Cycle<'_, S>,
    progress: &mut Progress,
) -> Option<Hold> {
    let input = &env.stage.inputs()[record.input];
    let entry = &record.entry;
    if input.topic == topic::CONSENT && env.mutation == Some(Mutation::OptOutIgnored) {
        return None;
    }
    if input.topic == topic::NOTICES && env.mutation == Some(Mutation::NoticesIgnored) {
        return None;
    }
    if input.topic == topic::SUPPRESSIONS && env.mutation == Some(Mutation::SuppressionIgnored) {
        return None;
    }
    let bytes = entry.value.as_ref().map_or(0, Vec::len);
    if bytes > input.value_bytes_max {
        let fault = DeadLetter { code: "record_too_large", detail: format!("{bytes} bytes") };
        progress.dead.push((record.clone(), fault));
        return None;
    }
    let raw = RawRecord {
        topic: input.topic,
        partition: task.partition,
        offset: record.offset,
        timestamp: entry.timestamp,
        key: entry.key.as_deref(),
        value: entry.value.as_deref(),
        headers: &entry.headers,
    };
    let mut decoded = match env.codec.decode(&raw) {
        Ok(decoded) => decoded,
        Err(Undecoded::Reject(fault)) => {
            progress.dead.push((record.clone(), fault));
            return None;
        }
        Err(Undecoded::Later(reason)) => panic!("the model's registry is always there: {reason}"),
    };
    if !record.globals_current && env.stage.misses_global(&decoded, &env.view.tables) {
        return Some(Hold::Globals);
    }
    let meta = RecordMeta::of(input.topic, &raw);
    if env.mutation == Some(Mutation::LastStatusWins) {
        S::forget_statuses(&decoded, cycle);
    }
    let is_repeated = entry.headers.iter().any(|(name, _)| name == repeat::MARK);
    if is_repeated && env.mutation == Some(Mutation::DecisionUnchecked) {
        S::take_for_later(&mut decoded);
    }
    if let Some(mutation) = env.mutation {
        S::deceive(mutation, &mut decoded, cycle);
    }
    let trace = trace_of(&entry.headers);
    let applied = cycle.apply(Input::Record { record: decoded, meta }, trace);
    progress.encode(env, cycle, applied.outputs);
    progress.dead.extend(applied.dead_letter.map(|fault| (record.clone(), fault)));
    None
}

fn trace_of(headers: &Headers) -> TraceContext {
    let text = |name: &str| {
        let value = &headers.iter().find(|(key, _)| key == name)?.1;
        String::from_utf8(value.clone()?).ok()
    };
    TraceContext {
        traceparent: text(header::TRACEPARENT),
        tracestate: text(header::TRACESTATE),
        correlation_id: text(header::CORRELATION_ID),
    }
}

/// The headers that carry a trace.
pub(super) fn trace_headers(trace: &TraceContext) -> Headers {
    let header = |name: &str, value: &Option<String>| {
        Some((name.to_owned(), Some(value.clone()?.into_bytes())))
    };
    [
        header(header::TRACEPARENT, &trace.traceparent),
        header(header::TRACESTATE, &trace.tracestate),
        header(header::CORRELATION_ID, &trace.correlation_id),
    ]
    .into_iter()
    .flatten()
    .collect()
}
