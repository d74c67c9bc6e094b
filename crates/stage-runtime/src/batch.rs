//! One group commit of one task: what is queued becomes a draft of a transaction.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::{TraceContext, header};
use sendplane_stage_api::cycle::{Applied, CycleTime, may_start_effects};
use sendplane_stage_api::portion::Portion;
use sendplane_stage_api::slots::{Allowance, Room, Wants};
use sendplane_stage_api::table::{TableValue, decode_value, encode_value};
use sendplane_stage_api::{
    Codec, Cycle, DeadLetter, Encoded, Input, InputClass, RawRecord, RecordMeta, Stage,
    StateReader, Transition, Undecoded,
};
use serde::{Deserialize, Serialize};

use crate::breaker::Breakers;
use crate::budget::Budget;
use crate::config::BreakerLimits;
use crate::effect::Arrived;
use crate::error::Error;
use crate::globals::View;
use crate::lanes::Fetched;
use crate::task::Task;

/// System row: the global offsets a task has been told of.
const GLOBALS_KEY: [u8; 2] = [0x00, 0x03];

/// Largest record a transaction can carry: the producer's and the topics' limit, less framing.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
struct GlobalsApplied(Vec<i64>);

impl TableValue for GlobalsApplied {}

/// Reads the global offsets that a restored task had been told of.
pub(crate) fn globals_applied(state: &dyn StateReader) -> Result<Option<Vec<i64>>, String> {
    let row = state.get(&GLOBALS_KEY)?;
    Ok(row.and_then(|bytes| decode_value::<GlobalsApplied>(&bytes).ok()).map(|row| row.0))
}

/// What the thread shares with the functions here.
pub(crate) struct Surroundings<'a, S: Stage> {
    pub stage: &'a S,
    pub codec: &'a dyn Codec<S>,
    pub quarantine: &'a [String],
    pub breaker: BreakerLimits,
    pub view: &'a View<S::Globals>,
    pub wall: Timestamp,
    pub partitions: u32,
    /// False while the task is given up or the clock cannot be trusted: only results of running
    /// effects are applied then.
    pub begin_work: bool,
    /// What the cycle takes.
    pub portion: Portion,
}

/// A record for the dead-letter topic.
pub(crate) struct DeadRecord {
    pub record: Fetched,
    pub fault: DeadLetter,
}

/// A transaction's part of one task, not yet produced.
pub(crate) struct Draft<S: Stage> {
    pub partition: i32,
    pub transition: Transition<S>,
    pub outputs: Vec<(Encoded, TraceContext)>,
    pub dead: Vec<DeadRecord>,
    pub offsets: Vec<i64>,
    pub inputs: usize,
    pub globals_applied: Option<Vec<i64>>,
    pub oldest_input: Option<Timestamp>,
    /// Results this draft has consumed: put back if it is not committed.
    pub consumed: Vec<Arrived<S>>,
}

/// Why a task's turn ended early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The registry cannot be asked: the record stays at the head.
    Schema(String),
    /// A global row is missing: catch up first.
    Globals,
}

/// The outcome of a task's turn.
pub(crate) struct Turn<S: Stage> {
    pub draft: Option<Draft<S>>,
    pub hold: Option<Hold>,
    /// What it would have started besides; `None` if it was not asked.
    pub wants: Option<Wants>,
}

/// Applies what is queued for `task`, within `budget`.
pub(crate) fn take_turn<S: Stage>(
    env: &Surroundings<'_, S>,
    task: &mut Task<S>,
    room: Room,
    budget: &mut Budget,
) -> Result<Turn<S>, Error> {
    let at_start = *budget;
    loop {
        let mut taken = Taken::from(task);
        match try_turn(env, task, room, budget, &mut taken) {
            Ok(turn) => {
                taken.keep(task);
                return Ok(turn);
            }
            Err(Failed::Error(error)) => {
                taken.put_back(task);
                return Err(error);
            }
            // Its topic is open now: the turn starts over without the record that tripped it.
            Err(Failed::Tripped) => {
                taken.put_back(task);
                *budget = at_start;
            }
            Err(Failed::Quarantine { input, offset, fault }) => {
                // The record's state changes are in the overlay already: start over without it.
                tracing::error!(
                    partition = task.partition,
                    offset,
                    detail = fault.detail,
                    "output cannot be encoded: its input record is dead-lettered"
                );
                task.quarantined.insert((input, offset), fault);
                taken.put_back(task);
                *budget = at_start;
            }
        }
    }
}

pub(crate) enum Failed {
    Error(Error),
    Quarantine {
        input: usize,
        offset: i64,
        fault: DeadLetter,
    },
    /// A breaker opened.
    Tripped,
}

/// Records taken from the queues in this turn, and who counts them.
struct Taken {
    records: Vec<(InputClass, Fetched)>,
    breakers: Breakers,
}

impl Taken {
    fn from<S: Stage>(task: &mut Task<S>) -> Self {
        Self { records: Vec::new(), breakers: std::mem::take(&mut task.breakers) }
    }

    fn put_back<S: Stage>(mut self, task: &mut Task<S>) {
        for (class, record) in self.records.into_iter().rev() {
            task.queues.entry(class).or_default().push_front(record);
        }
        self.breakers.roll_back();
        task.breakers = self.breakers;
    }

    fn keep<S: Stage>(mut self, task: &mut Task<S>) {
        self.breakers.settle();
        task.breakers = self.breakers;
    }
}

fn try_turn<S: Stage>(
    env: &Surroundings<'_, S>,
    task: &mut Task<S>,
    room: Room,
    budget: &mut Budget,
    taken: &mut Taken,
) -> Result<Turn<S>, Failed> {
    // The queues change while the cycle borrows the store.
    let mut queues = std::mem::take(&mut task.queues);
    let mut results = std::mem::take(&mut task.results);
    let outcome = apply_all(env, task, room, &mut queues, &mut results, budget, taken);
    (task.queues, task.results) = (queues, results);
    outcome
}

fn apply_all<S: Stage>(
    env: &Surroundings<'_, S>,
    task: &Task<S>,
    room: Room,
    queues: &mut BTreeMap<InputClass, VecDeque<Fetched>>,
    results: &mut VecDeque<Arrived<S>>,
    budget: &mut Budget,
    taken: &mut Taken,
) -> Result<Turn<S>, Failed> {
    let mut turn = TurnState::of(&task.offsets);
    let now = env.wall.max(task.last_now);
    let mut cycle = open_cycle(env, task, room.allowance);
    for key in &task.torn {
        cycle.rewrite(key.clone());
    }
    let globals_applied = if env.begin_work {
        apply_globals(env, task, &mut cycle, budget, &mut turn)?
    } else {
        None
    };
    // Records before results: a quarantine starts the turn over, and results cannot be taken back.
    // Within a cycle the order of results and records is free.
    if env.begin_work {
        take_records(env, task, queues, &mut cycle, budget, &mut turn, taken)?;
    }
    let serves_all = env.portion.serves_all();
    if env.begin_work && serves_all && task.next_timer.is_some_and(|at| at <= now) {
        let before = cycle.outputs().len();
        turn.inputs += guard(task.partition, "timer", 0, || cycle.fire_timers())?;
        encode_new(env, &cycle, before..cycle.outputs().len(), None, budget, &mut turn)?;
    }
    let consumed = if serves_all {
        take_results(env, task.partition, results, &mut cycle, budget, &mut turn)?
    } else {
        Vec::new()
    };
    let is_idle = turn.inputs == 0 && !task.fresh && task.torn.is_empty();
    if is_idle && !room.is_due {
        return Ok(Turn { draft: None, hold: turn.hold, wants: None });
    }
    let concluded = guard(task.partition, "end of the cycle", 0, || cycle.conclude())?;
    encode_new(env, &cycle, concluded, None, budget, &mut turn)?;
    let transition = cycle
        .finish()
        .map_err(|fault| Failed::Error(Error::State { partition: task.partition, fault }))?;
    let wants = Some(transition.wants);
    if is_idle && transition.changes_nothing() {
        return Ok(Turn { draft: None, hold: turn.hold, wants });
    }
    let TurnState { outputs, dead, offsets, inputs, hold, oldest_input } = turn;
    let draft = Draft {
        partition: task.partition,
        transition,
        outputs,
        dead,
        offsets,
        inputs,
        globals_applied,
        oldest_input,
        consumed,
    };
    Ok(Turn { draft: Some(draft), hold, wants })
}

/// Whether `task` may start effects at all: it has heard all that was said before it was opened, and
/// none of its owner before may still start.
pub(crate) fn may_start<S: Stage>(env: &Surroundings<'_, S>, task: &Task<S>) -> bool {
    let (opened_at, committed) = task.opened;
    let now = env.wall.max(task.last_now);
    let heard_all = task.feedback_marks.is_empty();
    env.begin_work && heard_all && may_start_effects(opened_at.elapsed(), committed, now)
}

/// A cycle over what the task has committed.
pub(crate) fn open_cycle<'t, S: Stage>(
    env: &Surroundings<'t, S>,
    task: &'t Task<S>,
    allowance: Allowance,
) -> Cycle<'t, S> {
    let now = env.wall.max(task.last_now);
    let time = CycleTime {
        now,
        partition: task.partition,
        partitions: env.partitions,
        timer_floor: task.timer_floor,
        allowance,
        portion: env.portion,
    };
    Cycle::open(env.stage, &task.store, &env.view.tables, time)
}

/// Applies the results that have arrived and returns them: if the transaction fails they are given
/// again.
fn take_results<S: Stage>(
    env: &Surroundings<'_, S>,
    partition: i32,
    results: &mut VecDeque<Arrived<S>>,
    cycle: &mut Cycle<'_, S>,
    budget: &mut Budget,
    turn: &mut TurnState,
) -> Result<Vec<Arrived<S>>, Failed> {
    let mut consumed = Vec::new();
    while let Some(arrived) = results.pop_front() {
        let Arrived { result, trace, .. } = arrived.clone();
        consumed.push(arrived);
        let applied = guard(partition, "effect", 0, || cycle.apply(Input::Effect(result), trace))?;
        turn.inputs += 1;
        encode_new(env, cycle, applied.outputs, None, budget, turn)?;
    }
    Ok(consumed)
}

pub(crate) struct TurnState {
    outputs: Vec<(Encoded, TraceContext)>,
    dead: Vec<DeadRecord>,
    offsets: Vec<i64>,
    inputs: usize,
    hold: Option<Hold>,
    oldest_input: Option<Timestamp>,
}

impl TurnState {
    pub fn of(offsets: &[i64]) -> Self {
        Self {
            outputs: Vec::new(),
            dead: Vec::new(),
            offsets: offsets.to_vec(),
            inputs: 0,
            hold: None,
            oldest_input: None,
        }
    }

    pub fn dead_letters(&self) -> usize {
        self.dead.len()
    }
}

/// Tells the stage what changed in the global tables since this task last looked.
fn apply_globals<S: Stage>(
    env: &Surroundings<'_, S>,
    task: &Task<S>,
    cycle: &mut Cycle<'_, S>,
    budget: &mut Budget,
    turn: &mut TurnState,
) -> Result<Option<Vec<i64>>, Failed> {
    let applied = task.globals_applied.as_ref();
    if applied == Some(&env.view.ends) {
        return Ok(None);
    }
    // A task without a mark has no state that an old change could concern.
    let changes = applied.map_or_else(Vec::new, |applied| env.view.changes_after(applied));
    for change in &changes {
        let result = guard(task.partition, "control", 0, || {
            cycle.apply(Input::Control(change.clone()), TraceContext::default())
        })?;
        encode_new(env, cycle, result.outputs, None, budget, turn)?;
    }
    if applied.is_none() || !changes.is_empty() {
        let row = encode_value(&GlobalsApplied(env.view.ends.clone()));
        cycle.set_system(GLOBALS_KEY.to_vec(), Some(row));
        turn.inputs += changes.len();
    }
    Ok(Some(env.view.ends.clone()))
}

fn take_records<S: Stage>(
    env: &Surroundings<'_, S>,
    task: &Task<S>,
    queues: &mut BTreeMap<InputClass, VecDeque<Fetched>>,
    cycle: &mut Cycle<'_, S>,
    budget: &mut Budget,
    turn: &mut TurnState,
    taken: &mut Taken,
) -> Result<(), Failed> {
    let is_feedback = |input: usize| env.stage.inputs()[input].class == InputClass::Feedback;
    for (class, queue) in queues.iter_mut() {
        let feedback_first = !task.feedback_marks.is_empty() || taken.breakers.is_open(is_feedback);
        let waits = feedback_first && *class != InputClass::Feedback;
        if waits || task.held.contains(class) || !env.portion.takes(*class) {
            continue;
        }
        while !queue.is_empty() && budget.admits(*class) {
            let Some(record) = queue.pop_front() else { break };
            let Some(record) = taken.breakers.pass(record) else { continue };
            let dead = turn.dead.len();
            match take_record(env, task, &record, cycle, budget, turn) {
                Ok(None) => {
                    let code = turn.dead.get(dead).map(|dead| dead.fault.code);
                    if taken.breakers.trips(&record, code, &env.breaker) {
                        taken.records.push((*class, record));
                        return Err(Failed::Tripped);
                    }
                    turn.offsets[record.input] = record.offset + 1;
                    turn.inputs += 1;
                    let oldest = turn.oldest_input.unwrap_or(record.timestamp);
                    turn.oldest_input = Some(oldest.min(record.timestamp));
                    taken.records.push((*class, record));
                }
                Ok(Some(hold)) => {
                    queue.push_front(record);
                    turn.hold = Some(hold);
                    return Ok(());
                }
                Err(failed) => {
                    taken.records.push((*class, record));
                    return Err(failed);
                }
            }
        }
    }
    Ok(())
}

/// Applies one record. Its dead letter, if it is one, is the turn's last.
pub(crate) fn take_record<S: Stage>(
    env: &Surroundings<'_, S>,
    task: &Task<S>,
    record: &Fetched,
    cycle: &mut Cycle<'_, S>,
    budget: &mut Budget,
    turn: &mut TurnState,
) -> Result<Option<Hold>, Failed> {
    let input = &env.stage.inputs()[record.input];
    let mut bury = |fault: DeadLetter, budget: &mut Budget| {
        budget.spend(1, record.value.as_ref().map_or(0, Vec::len));
        turn.dead.push(DeadRecord { record: record.clone(), fault });
        Ok(None)
    };
    if let Some(fault) = task.quarantined.get(&(record.input, record.offset)) {
        return bury(fault.clone(), budget);
    }
    if let Some(fault) = refused_unseen(env, input.topic, input.value_bytes_max, record) {
        return bury(fault, budget);
    }
    let raw = RawRecord {
        topic: input.topic,
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
    };
    let decoded = match env.codec.decode(&raw) {
        Ok(decoded) => decoded,
        Err(Undecoded::Later(reason)) => return Ok(Some(Hold::Schema(reason))),
        Err(Undecoded::Reject(fault)) => return bury(fault, budget),
    };
    if !record.globals_current && env.stage.misses_global(&decoded, &env.view.tables) {
        return Ok(Some(Hold::Globals));
    }
    let meta = RecordMeta::of(input.topic, &raw);
    let trace = trace_of(&record.headers);
    let Applied { dead_letter, outputs } =
        guard(task.partition, input.topic, record.offset, || {
            cycle.apply(Input::Record { record: decoded, meta }, trace)
        })?;
    encode_new(env, cycle, outputs, Some(record), budget, turn)?;
    turn.dead.extend(dead_letter.map(|fault| DeadRecord { record: record.clone(), fault }));
    Ok(None)
}

/// Reasons that need no decoding.
fn refused_unseen<S: Stage>(
    env: &Surroundings<'_, S>,
    topic: &str,
    value_bytes_max: usize,
    record: &Fetched,
) -> Option<DeadLetter> {
    let bytes = record.value.as_ref().map_or(0, Vec::len);
    if bytes > value_bytes_max {
        return Some(DeadLetter {
            code: "record_too_large",
            detail: format!("the value has {bytes} bytes, {topic} takes at most {value_bytes_max}"),
        });
    }
    let position = format!("{topic}/{}/{}", record.partition, record.offset);
    env.quarantine.contains(&position).then(|| DeadLetter {
        code: "quarantined",
        detail: format!("{position} is listed in `quarantine` of this stage's configuration"),
    })
}

/// Runs a handler; a panic is a stop that names its input.
fn guard<R>(
    partition: i32,
    topic: &str,
    offset: i64,
    body: impl FnOnce() -> R,
) -> Result<R, Failed> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "no message".into());
        Failed::Error(Error::HandlerPanicked {
            topic: topic.to_owned(),
            partition,
            offset,
            message,
        })
    })
}

/// Encodes the outputs that an input added. `cause` is the record to blame.
fn encode_new<S: Stage>(
    env: &Surroundings<'_, S>,
    cycle: &Cycle<'_, S>,
    range: std::ops::Range<usize>,
    cause: Option<&Fetched>,
    budget: &mut Budget,
    turn: &mut TurnState,
) -> Result<(), Failed> {
    let mut bytes = 0;
    let count = range.len();
    for (output, trace) in &cycle.outputs()[range] {
        let encoded = env.codec.encode(output).and_then(|encoded| {
            if encoded.value.len() > OUTPUT_BYTES_MAX {
                Err(format!("output for {} has {} bytes", encoded.topic, encoded.value.len()))
            } else {
                Ok(encoded)
            }
        });
        match (encoded, cause) {
            (Ok(encoded), _) => {
                bytes += encoded.value.len();
                turn.outputs.push((encoded, trace.clone()));
            }
            (Err(detail), Some(record)) => {
                let fault = DeadLetter { code: "output_not_encodable", detail };
                let (input, offset) = (record.input, record.offset);
                return Err(Failed::Quarantine { input, offset, fault });
            }
            (Err(detail), None) => {
                return Err(Failed::Error(Error::Unsafe(format!(
                    "an output of a timer or an effect cannot be encoded: {detail}"
                ))));
            }
        }
    }
    budget.spend(count, bytes);
    Ok(())
}

fn trace_of(headers: &[(String, Option<Vec<u8>>)]) -> TraceContext {
    let text = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key == name)
            .and_then(|(_, value)| value.clone())
            .and_then(|value| String::from_utf8(value).ok())
    };
    TraceContext {
        traceparent: text(header::TRACEPARENT),
        tracestate: text(header::TRACESTATE),
        correlation_id: text(header::CORRELATION_ID),
    }
}

/// The headers that carry a trace.
pub(crate) fn trace_headers(trace: &TraceContext) -> Vec<(String, Option<Vec<u8>>)> {
    [
        (header::TRACEPARENT, &trace.traceparent),
        (header::TRACESTATE, &trace.tracestate),
        (header::CORRELATION_ID, &trace.correlation_id),
    ]
    .into_iter()
    .filter_map(|(name, value)| {
        value.as_ref().map(|value| (name.to_owned(), Some(value.clone().into_bytes())))
    })
    .collect()
}
