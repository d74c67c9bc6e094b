//! The stage in the in-memory driver, which proves at each commit that the state equals the fold of
//! the changelog. A restart there loses everything but the changelog.

mod budget;
mod cancels;
mod codes;
mod crashes;
mod evidence;
mod fairness;
mod format;
mod give_back;
mod limits;
mod opt_out;
mod outcomes;
mod pause_cost;
mod pauses;
mod portfolio;
mod properties;
mod queue;
mod recheck;
mod replay;
mod routes;
mod silence;
mod suspensions;
mod told;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use sendplane_domain::e164::E164;
use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, SourcePosition, TemplateName, TenantId,
    Wamid,
};
use sendplane_domain::lane::Lane;
use sendplane_domain::opaque::HashKey;
use sendplane_domain::provider_code;
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::cycle::CycleTime;
use sendplane_stage_api::driver::{Driver, Produced};
use sendplane_stage_api::portion::Portion;
use sendplane_stage_api::slots::{Allowance, Wants};
use sendplane_stage_api::{Cycle, Globals, Input, RecordMeta, Transition};
use sendplane_wire::cloud_api::{Acceptance, Answer, ApiError, UnparsedReason};
use sendplane_wire::record::{
    Attempt, AttemptEvent, Dispatch, Disposition, Feedback, ReceiptStatus, Template,
    TemplateParameter, Tenant,
};
use sendplane_wire::topic;

use super::Output;
use super::call::{CallOutcome, CallProvider, CallResult, NotStarted};
use super::{Record, SendSettings, SendStage};
use crate::directory::{Change, Directory, TemplateKey, sample};

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const TENANT: &str = "acme";
const NUMBER: &str = "acme-number";
const HOUR: Duration = Duration::from_secs(3600);

/// An answer nobody understands.
const RAW: &str = "<html>né";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn hash_key() -> HashKey {
    HashKey::new("secret")
}

fn wamid_hash(wamid: &str) -> KeyedHash {
    hash_key().hash("wamid", wamid)
}

fn message_id(n: u64) -> MessageId {
    let source = SourcePosition { topic: "t".into(), partition: 0, offset: n as i64 };
    let at = START + Duration::from_millis(n);
    MessageId::derive(at, &TenantId::new(TENANT), &IdempotencyKey::new("k"), &source)
}

/// The contact of message `n`: each has its own.
fn contact(n: u64) -> KeyedHash {
    KeyedHash::new(format!("{n:02x}"))
}

/// Message `n`, valid for an hour.
fn dispatch(n: u64, lane: Lane, now: Timestamp) -> Dispatch {
    Dispatch {
        decision_seq: 1,
        idempotency_key: IdempotencyKey::new(format!("key-{n}")),
        order_id: None,
        created_at: now,
        admitted_at: now,
        deadline: now + HOUR,
        message_id: message_id(n),
        tenant: TenantId::new(TENANT),
        lane,
        phone_number_id: PhoneNumberId::new(NUMBER),
        recipient: E164::parse("+4915112345678").unwrap(),
        contact_hash: contact(n),
        template_name: TemplateName::new("order_update"),
        template_language: "en".into(),
        template_version: 1,
        category: "utility".into(),
        parameters: vec![TemplateParameter { name: None, value: "17".into() }],
        campaign: None,
        consent_seq: 1,
        valid_until: now + HOUR,
        dispatched_at: now,
    }
}

fn accepted(wamid: &str) -> CallOutcome {
    accepted_as(wamid, Acceptance::Accepted)
}

fn accepted_as(wamid: &str, status: Acceptance) -> CallOutcome {
    let answer = Answer::Accepted { wamid: Wamid::new(wamid), status };
    CallOutcome::Answered { http_status: 200, answer }
}

fn error(code: i64) -> CallOutcome {
    refusal(code, None, 400)
}

/// An answer with Meta's `code`; the raw text is there where the code is unknown, as the parser has
/// it.
fn refusal(code: i64, is_transient: Option<bool>, http_status: u16) -> CallOutcome {
    let answer = Answer::Error(ApiError {
        code,
        subcode: None,
        message: "told so".into(),
        details: None,
        is_transient,
        raw: provider_code::row(code).is_none().then(|| RAW.to_owned()),
    });
    CallOutcome::Answered { http_status, answer }
}

fn unparsed(http_status: u16) -> CallOutcome {
    let answer = Answer::Unparsed { reason: UnparsedReason::NotJson, raw: RAW.into() };
    CallOutcome::Answered { http_status, answer }
}

fn lost() -> CallOutcome {
    CallOutcome::Lost { reason: "timed out".into() }
}

fn not_started(cause: NotStarted) -> CallOutcome {
    CallOutcome::NotStarted { cause, reason: "kept".into() }
}

fn tenant(messages_per_second: i32) -> Tenant {
    let mut tenant = sample::tenant(TENANT);
    tenant.phone_numbers[0].messages_per_second = messages_per_second;
    tenant
}

/// The same message by a template of this category.
fn of_category(category: &str, dispatch: Dispatch) -> Dispatch {
    let template_name = TemplateName::new(format!("{category}_template"));
    Dispatch { category: category.into(), template_name, ..dispatch }
}

/// The template of every message that is not [`of_category`].
fn template(category: &str) -> Template {
    sample::template(TENANT, "order_update", category, 1)
}

/// A task of the stage, and all that came out of it.
struct Plane {
    driver: Driver<SendStage>,
    directory: Directory,
    attempts: Vec<Attempt>,
    /// Dispatches given up: message, calls, the provider's last words.
    dead: Vec<(MessageId, u32, String)>,
    /// What goes to others than status-reconcile.
    others: Vec<Output>,
    traces: Vec<TraceContext>,
    calls: Vec<CallProvider>,
}

impl Plane {
    /// With one active tenant, whose number has Meta's default of 80 messages a second.
    fn new() -> Self {
        Self::with(SendSettings::new(hash_key()))
    }

    fn with(settings: SendSettings) -> Self {
        let mut plane = Self {
            driver: Driver::new(SendStage::new(settings), START),
            directory: Directory::default(),
            attempts: Vec::new(),
            dead: Vec::new(),
            others: Vec::new(),
            traces: Vec::new(),
            calls: Vec::new(),
        };
        plane.set_tenant(tenant(80));
        plane
    }

    fn take(&mut self, produced: Produced<SendStage>) -> usize {
        assert_eq!(produced.dead_letters, []);
        let calls = produced.effects.len();
        for (output, trace) in produced.outputs.into_iter().zip(produced.traces) {
            match output {
                Output::Attempt(attempt) => {
                    self.attempts.push(*attempt);
                    self.traces.push(trace);
                }
                Output::DeadLetter { dispatch, attempts, why } => {
                    self.dead.push((dispatch.message_id, attempts, why));
                }
                Output::Replan(_) | Output::OptOut(_) | Output::CancelAnswer(_) => {
                    self.others.push(output);
                }
            }
        }
        self.calls.extend(produced.effects);
        calls
    }

    fn now(&self) -> Timestamp {
        self.driver.now()
    }

    /// With the templates of all messages, approved, where it has none.
    fn set_tenant(&mut self, row: Tenant) {
        let of_category = |category: &str| {
            sample::template(row.tenant.as_str(), &format!("{category}_template"), category, 1)
        };
        let template = Template { tenant: row.tenant.clone(), ..template("utility") };
        let categories = ["utility", "marketing", "authentication"].map(of_category);
        for template in categories.into_iter().chain([template]) {
            if self.directory.template(&TemplateKey::of(&template)).is_none() {
                self.set_template(template);
            }
        }
        self.control(sample::set_tenant(row));
    }

    fn set_template(&mut self, row: Template) {
        self.control(sample::set_template(row));
    }

    fn control(&mut self, change: Change) {
        self.directory.apply(&change);
        let produced = self.driver.global(change);
        self.take(produced);
    }

    fn remove_tenant(&mut self) {
        self.control(Change::Tenant(TenantId::new(TENANT), None));
    }

    fn feed(&mut self, dispatch: Dispatch) {
        let topic = topic::dispatch(dispatch.lane);
        let produced = self.driver.record(topic, Record::Dispatch(Box::new(dispatch)));
        self.take(produced);
    }

    fn send(&mut self, n: u64, lane: Lane) {
        self.feed(dispatch(n, lane, self.now()));
    }

    fn feedback(&mut self, n: u64, attempt: i32, wamid: &str, status: ReceiptStatus) {
        let record = feedback(n, attempt, wamid, status, self.now());
        let produced = self.driver.record(topic::FEEDBACK, Record::Feedback(record));
        self.take(produced);
    }

    fn answer(&mut self, call: &CallProvider, outcome: CallOutcome) {
        let produced = self.driver.effect_result(result_of(call, outcome));
        self.take(produced);
    }

    /// Answers the newest call.
    fn answer_last(&mut self, outcome: CallOutcome) {
        let call = self.calls.last().expect("a call").clone();
        self.answer(&call, outcome);
    }

    fn advance(&mut self, span: Duration) {
        let produced = self.driver.advance_to(self.now() + span);
        self.take(produced);
    }

    /// Events of message `n` as (attempt, event, disposition).
    fn events(&self, n: u64) -> Vec<(i32, AttemptEvent, Disposition)> {
        let id = message_id(n);
        self.attempts
            .iter()
            .filter(|record| record.message_id == id)
            .map(|record| (record.attempt, record.event, record.disposition))
            .collect()
    }

    fn last(&self) -> &Attempt {
        self.attempts.last().expect("an attempt record")
    }

    /// What `input` would do, without doing it: the driver shows no counters.
    fn preview(&self, input: Input<SendStage>, effects_max: usize) -> Transition<SendStage> {
        let time = CycleTime {
            now: self.now(),
            partition: 0,
            partitions: 1,
            timer_floor: Timestamp::default(),
            allowance: Allowance { urgent: effects_max, share: effects_max },
            portion: Portion::Full,
        };
        let mut cycle =
            Cycle::open(self.driver.stage(), self.driver.state(), &self.directory, time);
        cycle.apply(input, TraceContext::default());
        cycle.finish().unwrap()
    }

    fn counts(&self, input: Input<SendStage>) -> BTreeMap<(&'static str, &'static str), u64> {
        self.preview(input, usize::MAX).counts
    }
}

fn result_of(call: &CallProvider, outcome: CallOutcome) -> CallResult {
    CallResult {
        message_id: call.message_id,
        attempt: call.attempt,
        phone_number_id: call.phone_number_id.clone(),
        outcome,
        latency_ms: Some(120),
    }
}

fn feedback(n: u64, attempt: i32, wamid: &str, status: ReceiptStatus, now: Timestamp) -> Feedback {
    Feedback {
        path_whole_since: None,
        waba_id: "waba".into(),
        tenant: TenantId::new(TENANT),
        message_id: message_id(n),
        attempt,
        phone_number_id: PhoneNumberId::new(NUMBER),
        wamid_hash: wamid_hash(wamid),
        status,
        error_code: None,
        occurred_at: now,
        received_at: now,
    }
}

fn record_input(record: Record, topic: &'static str) -> Input<SendStage> {
    let meta =
        RecordMeta { topic, partition: 0, offset: 0, timestamp: START, key: None, replay_of: None };
    Input::Record { record, meta }
}
