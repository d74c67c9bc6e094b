//! Status-reconcile: one row per message, joined from everything anybody says about it.
//!
//! ```text
//! admitted ─┐
//! decisions ┼─▶ evidence ─▶ join ─▶ facts ─▶ derive ─▶ outcome row, if it says something new
//! attempts ─┤                ▲
//! receipts ─┘                └── silence for too long (the message's timer)
//!     └─ no message id, wamid not known ─▶ parked ─▶ joined when an attempt names the wamid
//!                                               └──▶ counted as foreign after 8 days
//! ```
//!
//! Reading order: [`evidence`](mod@evidence) (record to evidence), [`row`] (the state), [`outcome`]
//! (what a row of the product says), [`StatusReconcile`], the codec. The life of a message itself
//! is [`sendplane_domain::lifecycle`].
//!
//! **A new row** is emitted exactly when its content differs from the newest row's. The content is
//! every field but `event_id`, `sequence`, `supersedes` and `ingested_at`, and is a function of the
//! message id and the facts. So a repeated input emits nothing, and the newest row says the same
//! whatever the order of the inputs was (I10).
//!
//! **Order.** All inputs but bulk admissions are of one class: any order converges, and the class
//! only keeps a campaign from delaying the statuses of everybody else.

mod codec;
pub mod evidence;
pub mod outcome;
pub mod row;
#[cfg(test)]
mod tests;

use std::time::Duration;

use sendplane_domain::id::{KeyedHash, MessageId};
use sendplane_domain::lifecycle::{Evidence, MessageState};
use sendplane_domain::limits::{MESSAGE_RETENTION, PARKED_STATUS_RETENTION};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::stage::NoGlobals;
use sendplane_stage_api::{Context, Input, InputClass, InputTopic, Stage, TimerKey};
use sendplane_wire::record::{AdmittedMessage, Attempt, Decision, Outcome, Receipt};
use sendplane_wire::topic;
use serde::{Deserialize, Serialize};

pub use codec::StatusReconcileCodec;

use evidence::Fault;
use row::{MESSAGES, MessageRow, PARKED, Parked, ParkedStatus, WAMIDS};

/// Largest value of any input, in bytes: twice what any stage writes. A row of the store and of the
/// product joins several of them, and has to fit its topic too.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;

const fn input(topic: &'static str, class: InputClass) -> InputTopic {
    InputTopic { topic, class, value_bytes_max: VALUE_BYTES_MAX }
}

const INPUTS: &[InputTopic] = &[
    input(topic::ADMITTED_TRANSACTIONAL, InputClass::Transactional),
    input(topic::DECISIONS, InputClass::Transactional),
    input(topic::ATTEMPTS, InputClass::Transactional),
    input(topic::RECEIPTS, InputClass::Transactional),
    input(topic::ADMITTED_BULK, InputClass::Bulk),
];

/// What may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Silence after which an accepted or held message counts as of unknown outcome. Every later
    /// status supersedes that; a `sent` alone then reads as expired, because for the lifecycle the
    /// attempt's time is over.
    pub status_deadline: Duration,
    /// Silence after which a sent message counts as expired: Meta's longest time to live (30 days)
    /// and a margin. At most [`MESSAGE_RETENTION`] counts. Where the template's own time to live is
    /// known, that and the status deadline count, if they are shorter.
    pub delivery_deadline: Duration,
    /// The doubt window of the send stage, as it is set there: until when a message in doubt waits.
    pub doubt_window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY_S: u64 = 24 * 3600;
        Self {
            status_deadline: Duration::from_secs(DAY_S),
            delivery_deadline: Duration::from_secs(31 * DAY_S),
            doubt_window: Duration::from_secs(600),
        }
    }
}

/// How much longer a held message waits for its first status. Meta: it is sent or dropped within
/// about an hour (p99).
const HOLD: Duration = Duration::from_secs(2 * 3600);

/// The status-reconcile stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusReconcile {
    settings: Settings,
}

/// An input of the status-reconcile stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Ingest took a request in.
    Admitted(Box<AdmittedMessage>),
    /// Ingest refused a request, or policy judged a message.
    Decision(Box<Decision>),
    /// Send made, answered or ended an attempt.
    Attempt(Box<Attempt>),
    /// Meta reported a status.
    Receipt(Box<Receipt>),
}

/// A stored timer. Variants are append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timer {
    /// Look at the message: silence, or the end of its retention. One per row.
    Message(MessageId),
    /// Nobody claimed the parked statuses of this wamid.
    Parked(KeyedHash),
}

/// Status-reconcile calls nothing outside.
#[derive(Clone, Copy, Debug)]
pub enum Effect {}

type Ctx<'c, 's> = Context<'c, 's, StatusReconcile>;

impl StatusReconcile {
    /// With these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl Stage for StatusReconcile {
    type Record = Record;
    type Output = Outcome;
    type Timer = Timer;
    type Effect = Effect;
    type EffectResult = Effect;
    type Globals = NoGlobals;

    fn name(&self) -> &'static str {
        "status-reconcile"
    }

    fn inputs(&self) -> &'static [InputTopic] {
        INPUTS
    }

    fn apply(&self, input: Input<Self>, ctx: &mut Context<'_, '_, Self>) {
        match input {
            Input::Record { record, .. } => self.apply_record(&record, ctx),
            Input::Timer(Timer::Message(id)) => self.look_at(id, ctx),
            Input::Timer(Timer::Parked(wamid_hash)) => give_up_on(&wamid_hash, ctx),
            Input::Effect(result) => match result {},
            Input::Control(()) => {}
        }
    }
}

impl StatusReconcile {
    fn apply_record(&self, record: &Record, ctx: &mut Ctx<'_, '_>) {
        let trace = ctx.trace().clone();
        let read = match record {
            Record::Admitted(admitted) => {
                Ok((admitted.message_id, evidence::of_admission(admitted, trace)))
            }
            Record::Decision(decision) => evidence::of_decision(decision, trace)
                .map(|evidence| (decision.message_id, evidence)),
            Record::Attempt(attempt) => evidence::of_attempt(attempt, self.settings.doubt_window)
                .map(|evidence| (attempt.message_id, evidence)),
            Record::Receipt(receipt) => match evidence::of_receipt(receipt) {
                Ok(status) => {
                    let known = ctx.get(&WAMIDS, &receipt.wamid_hash);
                    match receipt.message_id.or(known.map(|claim| claim.message_id)) {
                        Some(id) => Ok((id, status)),
                        None => return park(receipt, &status, ctx),
                    }
                }
                Err(fault) => Err(fault),
            },
        };
        match read {
            Ok((id, evidence)) => self.learn(id, &evidence, ttl_seconds(record), ctx),
            Err(Fault { code, detail }) => ctx.dead_letter(code, detail),
        }
    }

    /// Joins `evidence` to the message's facts. Says and writes nothing if they knew it all.
    fn learn(
        &self,
        id: MessageId,
        evidence: &Evidence,
        ttl_seconds: Option<u32>,
        ctx: &mut Ctx<'_, '_>,
    ) {
        let mut row = ctx.get(&MESSAGES, &id).unwrap_or_else(|| MessageRow::new(ctx.now()));
        let before = row.facts.clone();
        row.facts.join(evidence);
        if row.facts == before {
            return;
        }
        row.ttl_seconds = row.ttl_seconds.max(ttl_seconds);
        let claimed: Vec<KeyedHash> = row
            .facts
            .provider_messages()
            .keys()
            .filter(|wamid_hash| !before.provider_messages().contains_key(*wamid_hash))
            .cloned()
            .collect();
        for wamid_hash in claimed {
            claim(id, &mut row, wamid_hash, ctx);
        }
        for _ in before.distinct_wamids().max(1)..row.facts.distinct_wamids() {
            ctx.count("sendplane_duplicate_sends_detected_total", "second_wamid");
        }
        row.changed_at = ctx.now();
        self.settle(id, row, ctx);
    }

    /// The message's timer fired: whatever it was for is read off the row.
    fn look_at(&self, id: MessageId, ctx: &mut Ctx<'_, '_>) {
        let Some(mut row) = ctx.get(&MESSAGES, &id) else {
            return;
        };
        row.wake_at = None;
        if let Some((attempt, due)) = self.silence(&row)
            && due <= ctx.now()
        {
            row.facts.join(&Evidence::StatusDeadlinePassed { attempt });
            row.changed_at = ctx.now();
            ctx.count("sendplane_status_deadlines_passed_total", "message");
        } else if retained_until(&row) <= ctx.now() {
            return forget(id, &row, ctx);
        }
        self.settle(id, row, ctx);
    }

    /// Emits what is new, sets the timer if it must fire earlier than it would, stores the row.
    fn settle(&self, id: MessageId, mut row: MessageRow, ctx: &mut Ctx<'_, '_>) {
        if let Some(subject) = row.facts.subject() {
            // Whatever told us, a webhook or a timer: the row belongs to the request's trace.
            ctx.set_trace(subject.trace.clone());
        }
        if let Some(outcome) = row.publish(id, ctx.now()) {
            ctx.count("sendplane_outcomes_total", state_label(row.emitted.as_ref()));
            ctx.emit(outcome);
        }
        let retained_until = retained_until(&row);
        let due = self.silence(&row).map_or(retained_until, |(_, due)| due.min(retained_until));
        // A timer that fires too early is set again then. Most changes come within seconds, and so
        // they do not touch it.
        if row.wake_at.is_none_or(|wake_at| due < wake_at) {
            row.wake_at = Some(due);
            ctx.schedule(TimerKey::new(TIMER_MESSAGE, &id), due, &Timer::Message(id));
        }
        ctx.put(&MESSAGES, &id, &row);
    }

    /// Silence after which a sent message counts as expired. After its time to live a status may
    /// still be on its way, for as long as any status may.
    fn delivery_deadline(&self, row: &MessageRow) -> Duration {
        let longest = self.settings.delivery_deadline.min(MESSAGE_RETENTION);
        row.ttl_seconds.map_or(longest, |seconds| {
            let own = Duration::from_secs(seconds.into()) + self.settings.status_deadline;
            own.min(longest)
        })
    }

    /// When the silence of the provider becomes evidence, and about which attempt. Counted from
    /// when we last learned something, by our own clock: a backlog of webhooks is no silence of
    /// Meta's, and what has been read of it moves the time.
    fn silence(&self, row: &MessageRow) -> Option<(u32, Timestamp)> {
        let summary = row.facts.summary()?;
        let span = match summary.state {
            MessageState::Accepted => self.settings.status_deadline,
            MessageState::Held => self.settings.status_deadline + HOLD,
            MessageState::Sent => self.delivery_deadline(row),
            MessageState::Queued
            | MessageState::Deferred
            | MessageState::Dispatched
            | MessageState::Submitting
            | MessageState::InDoubt
            | MessageState::Delivered
            | MessageState::Read
            | MessageState::Played
            | MessageState::Failed
            | MessageState::Suppressed
            | MessageState::Blocked
            | MessageState::Expired
            | MessageState::Cancelled
            | MessageState::Rejected
            | MessageState::DeadLettered
            | MessageState::OutcomeUnknown
            | MessageState::Refused
            | MessageState::Duplicate
            | MessageState::Stale => return None,
        };
        Some((summary.attempt.unwrap_or(0), row.changed_at + span))
    }
}

/// What an attempt says about its time to live.
fn ttl_seconds(record: &Record) -> Option<u32> {
    match record {
        Record::Attempt(attempt) => attempt.ttl_seconds.and_then(|said| u32::try_from(said).ok()),
        Record::Admitted(_) | Record::Decision(_) | Record::Receipt(_) => None,
    }
}

/// Timer kinds; a number is never reused.
const TIMER_MESSAGE: u8 = 1;
const TIMER_PARKED: u8 = 2;

/// Until when a row is kept. A row known from webhooks alone waits only as long as a parked status:
/// its admission will hardly come any more.
fn retained_until(row: &MessageRow) -> Timestamp {
    let is_ours = row.facts.subject().is_some() || !row.facts.attempts().is_empty();
    row.changed_at + if is_ours { MESSAGE_RETENTION } else { PARKED_STATUS_RETENTION }
}

/// The wamid is the message's from now on: later statuses find it, parked ones join it.
fn claim(id: MessageId, row: &mut MessageRow, wamid_hash: KeyedHash, ctx: &mut Ctx<'_, '_>) {
    ctx.put(&WAMIDS, &wamid_hash, &row::Claim { message_id: id });
    let Some(parked) = ctx.get(&PARKED, &wamid_hash) else {
        return;
    };
    for status in &parked.statuses {
        row.facts.join(&status.evidence(&wamid_hash));
    }
    ctx.delete(&PARKED, &wamid_hash);
    ctx.cancel(&TimerKey::new(TIMER_PARKED, &wamid_hash));
}

/// Keeps a status until somebody says whose it is.
fn park(receipt: &Receipt, status: &Evidence, ctx: &mut Ctx<'_, '_>) {
    let wamid_hash = &receipt.wamid_hash;
    let Some(status) = ParkedStatus::of(status) else {
        return;
    };
    let parked = ctx.get(&PARKED, wamid_hash);
    let is_first = parked.is_none();
    let mut parked = parked.unwrap_or_else(|| Parked { statuses: Vec::new() });
    if parked.statuses.contains(&status) {
        return;
    }
    parked.statuses.push(status);
    ctx.put(&PARKED, wamid_hash, &parked);
    if is_first {
        let at = ctx.now() + PARKED_STATUS_RETENTION;
        let key = TimerKey::new(TIMER_PARKED, wamid_hash);
        ctx.schedule(key, at, &Timer::Parked(wamid_hash.clone()));
    }
}

/// Another system sends through the same number: these were its statuses.
fn give_up_on(wamid_hash: &KeyedHash, ctx: &mut Ctx<'_, '_>) {
    let Some(parked) = ctx.get(&PARKED, wamid_hash) else {
        return;
    };
    for _ in &parked.statuses {
        ctx.count("sendplane_foreign_statuses_total", "unclaimed");
    }
    ctx.delete(&PARKED, wamid_hash);
}

fn forget(id: MessageId, row: &MessageRow, ctx: &mut Ctx<'_, '_>) {
    for wamid_hash in row.facts.provider_messages().keys() {
        ctx.delete(&WAMIDS, wamid_hash);
    }
    ctx.delete(&MESSAGES, &id);
    ctx.count("sendplane_message_rows_forgotten_total", state_label(row.emitted.as_ref()));
}

fn state_label(emitted: Option<&row::Emitted>) -> &'static str {
    emitted.map_or("never_admitted_or_decided", |emitted| emitted.state.as_str())
}
