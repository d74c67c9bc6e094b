//! The provider behind the send stage's effects, in virtual time.
//!
//! ```text
//! start ─▶ pace ─▶ connection ─▶ check of the deadline ─▶ write ─▶ provider ─▶ answer ─▶ settle
//!                      └ refused       └ too late            └ frozen here: a zombie's call
//! ```
//!
//! The request's body and the judgement of the answer are production's own
//! ([`sendplane_wire::cloud_api`]); what the provider accepts, and which webhooks follow, is
//! [`sendplane_provider_model`]'s. The steps between are those of `send::runner` and of the
//! provider client, whose rules are repeated here: the pacer, the gate in front of the body.
//!
//! Reading order: this file (calls), [`gateway`] (webhooks), [`account`] (what the gateway says of
//! itself), [`trouble`] (faults of the provider).

pub mod account;
pub mod gateway;
pub mod trouble;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use sendplane_domain::id::{MessageId, PhoneNumberId};
use sendplane_domain::limits::CALL_TOTAL_MAX;
use sendplane_domain::rate::Gcra;
use sendplane_provider_model::{
    Answer, Call, Config, Down, Endpoint, Injection, Model, TransportFault, Truth,
};
use sendplane_stages::send::call::{CallOutcome, CallProvider, CallResult, NotStarted};
use sendplane_wire::cloud_api::{Route, parse_answer, template_body};

use crate::env::{CallStep, Env, Event, Passage};
use crate::evidence::{CallSeen, Owned, RunningSeen};
use crate::fault::Point;
use crate::mutation::Mutation;
use crate::process::Process;
use crate::process::core::Core;
use crate::rng::{Concern, Rng};
use crate::time::{Micros, START_MS, ms, span, true_wall};
use crate::trace::Note;
use gateway::Post;

/// The access token that the deployment and the provider share.
pub const TOKEN: &str = "sim-token";

/// A call under way.
pub struct Flight {
    effect: CallProvider,
    process: usize,
    incarnation: u64,
    started: Started,
    start_by: Micros,
    connected_at: Micros,
    checked_at: Micros,
    written_at: Option<Micros>,
    /// The provider took no connection.
    is_refused: bool,
    answer: Option<Answer>,
    is_repeated: bool,
}

impl Flight {
    /// The process that makes the call.
    pub fn process(&self) -> usize {
        self.process
    }

    fn running(&self, begins: bool) -> RunningSeen {
        let Self { process, incarnation, .. } = *self;
        let owned = Owned { process, incarnation, epoch: self.started.epoch };
        RunningSeen { owned, message_id: self.effect.message_id, begins }
    }
}

/// Under which circumstances a call was asked for.
#[derive(Clone, Debug)]
pub struct Started {
    /// The task.
    pub partition: i32,
    /// Its ownership.
    pub epoch: u64,
    /// Its running effects.
    pub running: Rc<Cell<usize>>,
    /// From when on the time to start it counts: not after the commit of its intent.
    pub counted_from: Micros,
}

/// The provider, the calls to it and the webhooks from it.
pub struct Provider {
    /// What it accepts, and the ground truth.
    pub model: Model,
    flights: Vec<Flight>,
    pacers: BTreeMap<(usize, u64, PhoneNumberId), Gcra>,
    /// Webhooks posted.
    posts: Vec<Post>,
    webhooks_at: Option<Micros>,
    account: account::Account,
    rng: Rng,
    troubles: Vec<crate::fault::Trouble>,
}

impl Provider {
    /// A provider with this account.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            model: Model::new(config).expect("the workload's account is sound"),
            flights: Vec::new(),
            pacers: BTreeMap::new(),
            posts: Vec::new(),
            webhooks_at: None,
            account: account::Account::new(),
            rng: Rng::new(seed, Concern::Webhooks),
            troubles: Vec::new(),
        }
    }

    /// A call.
    pub fn flight(&self, call: usize) -> &Flight {
        &self.flights[call]
    }
}

/// Starts a call, as the runner does when the commit of its intent has returned.
pub fn start(env: &mut Env, core: &Core, started: Started, effect: CallProvider) {
    started.running.set(started.running.get() + 1);
    env.counts.one("calls asked for");
    let start_by = started.counted_from + span(effect.start_within);
    let at = reserve(env, core, &effect, start_by);
    let call = env.provider.flights.len();
    let message = effect.message_id;
    env.provider.flights.push(Flight {
        effect,
        process: core.index,
        incarnation: core.incarnation,
        started,
        start_by,
        connected_at: 0,
        checked_at: 0,
        written_at: None,
        is_refused: false,
        answer: None,
        is_repeated: false,
    });
    let begins = env.provider.flights[call].running(true);
    env.seen.running.push(begins);
    let connect = env.latency(0, 20) + core.connect_takes;
    match at {
        Some(at) => env.at(at + connect, Event::Call { call, step: CallStep::Check }),
        None => {
            say(env, core, message, "call not started: the pace left no start in time");
            env.after(ms(1), Event::Call { call, step: CallStep::Answer });
        }
    }
}

/// The pacer of `send::runner`: the number's next start, unless it comes too late.
fn reserve(env: &mut Env, core: &Core, effect: &CallProvider, start_by: Micros) -> Option<Micros> {
    let key = (core.index, core.incarnation, effect.phone_number_id.clone());
    let now = env.now;
    let pace = effect.pace;
    let bucket = env.provider.pacers.entry(key).or_default();
    let at_wall = bucket.earliest(pace, true_wall(now));
    let at = now + span(at_wall.since(true_wall(now)));
    if at >= start_by && !(env.mutation == Some(Mutation::DeadlineIgnored)) {
        return None;
    }
    bucket.debit(pace, at_wall);
    Some(at)
}

/// Something happens to the account. What it concerns may be gone by then, like a suspension that
/// has ended.
pub fn inject(env: &mut Env, injection: &Injection) {
    let now_ms = START_MS + env.now / 1_000;
    if env.provider.model.inject(now_ms, injection.clone()).is_ok() {
        env.counts.one("changes of the account");
    }
    gateway::schedule_webhooks(env);
}

/// Takes a call one step further. `process` is the one that makes it.
pub fn go_on(env: &mut Env, process: &mut dyn Process, call: usize, step: CallStep) {
    let flight = &env.provider.flights[call];
    let core = process.core();
    let lives = core.is_up && core.incarnation == flight.incarnation;
    match step {
        CallStep::Arrive => arrive(env, call),
        _ if !lives => {}
        CallStep::Check => check(env, process, call),
        CallStep::Write => write(env, process, call),
        CallStep::Answer => settle(env, process, call),
    }
}

/// True when the process died or froze; the step is repeated once it wakes up.
fn is_stopped(
    env: &mut Env,
    process: &mut dyn Process,
    point: Point,
    call: usize,
    step: CallStep,
) -> bool {
    match env.pass(process.core(), point) {
        Passage::Free => false,
        Passage::Frozen => {
            env.after(0, Event::Call { call, step });
            true
        }
        Passage::Dead { wipe, restart_after } => {
            process.crash(env, wipe, restart_after);
            true
        }
    }
}

/// The gate in front of the body: a connection is there, the deadline is checked.
fn check(env: &mut Env, process: &mut dyn Process, call: usize) {
    if is_stopped(env, process, Point::CallBeforeCheck, call, CallStep::Check) {
        return;
    }
    let now = env.now;
    let is_refused = env.provider.model.faults().down == Down::Refuse;
    let flight = &mut env.provider.flights[call];
    let is_late = now >= flight.start_by && env.mutation != Some(Mutation::DeadlineIgnored);
    if is_refused || is_late {
        flight.is_refused = is_refused && !is_late;
        env.after(0, Event::Call { call, step: CallStep::Answer });
        return;
    }
    (flight.connected_at, flight.checked_at) = (now, now);
    process.core().was_frozen_at = None;
    let wait = env.latency.between(0, 300);
    env.after(wait, Event::Call { call, step: CallStep::Write });
}

fn write(env: &mut Env, process: &mut dyn Process, call: usize) {
    if is_stopped(env, process, Point::CallBeforeWrite, call, CallStep::Write) {
        return;
    }
    let now = env.now;
    let flight = &mut env.provider.flights[call];
    flight.written_at = Some(now);
    let was_frozen = now - flight.checked_at > ms(1);
    let effect = &flight.effect;
    let (message, attempt) = (effect.message_id, effect.attempt);
    env.seen.calls.push(CallSeen {
        message_id: message,
        attempt,
        tenant: effect.tenant.clone(),
        number: effect.phone_number_id.clone(),
        lane: effect.lane,
        checked_at: flight.checked_at,
        written_at: now,
        was_frozen,
    });
    env.counts.one("calls");
    if was_frozen {
        env.counts.one("calls while frozen before the write");
    }
    say(env, process.core(), message, &format!("call of attempt {attempt} is written"));
    let wait = env.latency(1, 8);
    env.after(wait, Event::Call { call, step: CallStep::Arrive });
}

/// The provider has the request, whatever became of the caller.
fn arrive(env: &mut Env, call: usize) {
    let now = env.now;
    let flight = &mut env.provider.flights[call];
    let effect = &flight.effect;
    let body = template_body(effect.route, &effect.content, &effect.opaque_data);
    let request = Call {
        endpoint: match effect.route {
            Route::Messages => Endpoint::Messages,
            Route::Marketing { .. } => Endpoint::MarketingMessages,
        },
        phone_number_id: effect.phone_number_id.as_str(),
        bearer_token: Some(TOKEN),
        body: &body,
    };
    if request.endpoint == Endpoint::MarketingMessages {
        env.counts.one("calls to the marketing endpoint");
    }
    let answer = env.provider.model.handle_send(START_MS + now / 1_000, &request);
    let (message, truth) = (effect.message_id, answer.truth);
    if truth == Truth::Refused(134_102) {
        env.counts.one("calls sent over to the other endpoint");
    }
    let wait = match answer.fault {
        Some(_) => ms(2),
        None => ms(answer.delay_ms as i64 + 1),
    };
    flight.answer = Some(answer);
    // A client waits so long and no longer.
    let most = flight.connected_at + span(CALL_TOTAL_MAX) - now;
    if wait > most {
        env.counts.one("calls answered too late");
    }
    env.trace.note(|| Note {
        at: now,
        who: "provider".to_owned(),
        task: None,
        message: Some(message),
        text: format!("{truth:?}"),
    });
    env.after(wait.min(most).max(0), Event::Call { call, step: CallStep::Answer });
    gateway::schedule_webhooks(env);
}

fn settle(env: &mut Env, process: &mut dyn Process, call: usize) {
    let is_answer = env.provider.flights[call].answer.is_some();
    if is_answer && is_stopped(env, process, Point::CallBeforeAnswer, call, CallStep::Answer) {
        return;
    }
    let now = env.now;
    let flight = &mut env.provider.flights[call];
    let outcome = outcome_of(flight, now);
    let is_lost = matches!(outcome, CallOutcome::Lost { .. });
    if is_lost && !flight.is_repeated && env.mutation == Some(Mutation::ResendOnTimeout) {
        flight.is_repeated = true;
        flight.checked_at = now;
        env.after(ms(1), Event::Call { call, step: CallStep::Write });
        return;
    }
    env.counts.one(match &outcome {
        CallOutcome::Lost { .. } => "calls lost",
        CallOutcome::Answered { .. } => "calls answered",
        CallOutcome::NotStarted { cause: NotStarted::TooLate, .. } => "calls not started in time",
        CallOutcome::NotStarted { .. } => "calls without a connection",
    });
    let latency = flight.written_at.map(|written| (now - written) / 1_000);
    let running = flight.started.running.clone();
    let (partition, epoch) = (flight.started.partition, flight.started.epoch);
    let message = flight.effect.message_id;
    let result = CallResult {
        message_id: message,
        attempt: flight.effect.attempt,
        phone_number_id: flight.effect.phone_number_id.clone(),
        outcome,
        latency_ms: latency.and_then(|millis| u64::try_from(millis).ok()),
    };
    say(env, process.core(), message, &format!("call ends: {:?}", result.outcome));
    process.settle(env, partition, epoch, result);
    running.set(running.get() - 1);
    let ends = env.provider.flights[call].running(false);
    env.seen.running.push(ends);
}

/// What the client says about a call that has ended: no more than is proven.
fn outcome_of(flight: &Flight, now: Micros) -> CallOutcome {
    if flight.written_at.is_none() {
        let cause = if flight.is_refused { NotStarted::NoConnection } else { NotStarted::TooLate };
        return CallOutcome::NotStarted { cause, reason: "proven unsent".to_owned() };
    }
    let waited = now - flight.connected_at;
    match &flight.answer {
        Some(answer) if answer.fault == Some(TransportFault::Refused) => {
            let reason = "connection refused".to_owned();
            CallOutcome::NotStarted { cause: NotStarted::NoConnection, reason }
        }
        Some(answer) if answer.fault.is_none() && waited < span(CALL_TOTAL_MAX) => {
            let http_status = answer.http_status;
            let answer = parse_answer(http_status, &answer.body.to_bytes());
            CallOutcome::Answered { http_status, answer }
        }
        _ => CallOutcome::Lost { reason: "no whole answer".to_owned() },
    }
}

fn say(env: &mut Env, core: &Core, message: MessageId, text: &str) {
    let at = env.now;
    env.trace.note(|| Note {
        at,
        who: core.name.clone(),
        task: None,
        message: Some(message),
        text: text.to_owned(),
    });
}
