//! The stage in the in-memory driver. Records go in and come out through the codec, so that every
//! case also checks what stands on the topics.

mod cancels;
mod codec;
mod identity;
mod notices;
mod path;
mod properties;
mod refusals;
mod replay;
mod webhooks;

use std::collections::BTreeMap;
use std::time::Duration;

use sendplane_domain::id::{IdempotencyKey, TemplateName, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::opaque::HashKey;
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::cycle::CycleTime;
use sendplane_stage_api::driver::{Driver, Produced};
use sendplane_stage_api::portion::Portion;
use sendplane_stage_api::slots::Allowance;
use sendplane_stage_api::{Codec, Cycle, Globals, RawRecord};
use sendplane_wire::codec::AvroRecord;
use sendplane_wire::record::{AdmittedMessage, Decision, SendRequest};
use sendplane_wire::topic;

use super::*;
use crate::directory::sample;
use crate::schemas::Schemas;

const T0: Timestamp = Timestamp::from_millis(1_790_000_000_123);
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

fn hash_key() -> HashKey {
    HashKey::new("secret")
}

fn stage() -> Ingest {
    Ingest::new(IngestSettings { hash_key: hash_key() })
}

/// A task that knows the tenants `acme` (active) and `idle` (not), and two templates of `acme`.
fn driver() -> Driver<Ingest> {
    with_tenants(Driver::new(stage(), T0))
}

fn with_tenants(mut driver: Driver<Ingest>) -> Driver<Ingest> {
    driver.global(sample::set_tenant(sample::tenant("acme")));
    let idle = sendplane_wire::record::Tenant { active: false, ..sample::tenant("idle") };
    driver.global(sample::set_tenant(idle));
    driver.global(sample::set_template(sample::template("acme", "order_update", "utility", 1)));
    driver.global(sample::set_template(sample::template("acme", "sale", "marketing", 0)));
    driver
}

fn request() -> SendRequest {
    SendRequest {
        order_id: None,
        tenant: TenantId::new("acme"),
        idempotency_key: IdempotencyKey::new("order-17"),
        created_at: T0,
        recipient: "+4915112345678".into(),
        template_name: TemplateName::new("order_update"),
        template_language: "en".into(),
        variables: BTreeMap::from([("1".into(), "Ada".into())]),
        campaign: None,
        deadline: None,
        phone_number_id: None,
    }
}

fn keyed(key: &str) -> SendRequest {
    SendRequest { idempotency_key: IdempotencyKey::new(key), ..request() }
}

fn value_of<R: AvroRecord>(topic: &'static str, record: &R) -> Vec<u8> {
    Schemas::fixed().encoder(topic).encode(record).expect("encodes")
}

/// `value` as the codec gives it to the stage.
fn decoded(topic: &'static str, key: Option<&[u8]>, value: &[u8]) -> Record {
    decoded_with(topic, key, value, &[])
}

fn decoded_with(
    topic: &'static str,
    key: Option<&[u8]>,
    value: &[u8],
    headers: &[Header],
) -> Record {
    let codec = IngestCodec::new(&Schemas::fixed());
    let value = Some(value);
    let raw = RawRecord { topic, partition: 0, offset: 0, timestamp: T0, key, value, headers };
    codec.decode(&raw).expect("decodes")
}

/// A request with its tenant as key.
fn record(lane: Lane, request: &SendRequest) -> Record {
    let topic = topic::requests(lane);
    decoded(topic, Some(request.tenant.as_str().as_bytes()), &value_of(topic, request))
}

fn send_in(driver: &mut Driver<Ingest>, lane: Lane, request: &SendRequest) -> Produced<Ingest> {
    checked(driver.record(topic::requests(lane), record(lane, request)))
}

fn send(driver: &mut Driver<Ingest>, request: &SendRequest) -> Produced<Ingest> {
    send_in(driver, Lane::Transactional, request)
}

/// Every output can be encoded, and its tenant decides where it goes.
fn checked(produced: Produced<Ingest>) -> Produced<Ingest> {
    let codec = IngestCodec::new(&Schemas::fixed());
    for output in &produced.outputs {
        let encoded = codec.encode(output).expect("encodes");
        let tenant = match output {
            Output::Admitted(record) => &record.tenant,
            Output::Decision(record) => &record.tenant,
            Output::Receipt(record) => &record.tenant,
            Output::Feedback(record) => &record.tenant,
            Output::Rerouted(record) => &record.tenant,
            Output::Notice(record) => &record.tenant,
            Output::Cancellation(record) => &record.tenant,
            Output::CancelAnswer(record) => &record.tenant,
        };
        assert_eq!((encoded.key.as_str(), &encoded.partition_key), (tenant.as_str(), &encoded.key));
    }
    produced
}

/// What came out, in words: `admitted bulk`, `refuse recipient_not_e164`, `dead unknown_tenant`.
fn summary(produced: &Produced<Ingest>) -> String {
    let outputs = produced.outputs.iter().map(|output| match output {
        Output::Admitted(message) => format!("admitted {}", message.lane.as_str()),
        Output::Decision(decision) => {
            let verdict = format!("{:?}", decision.verdict).to_lowercase();
            format!("{verdict} {}", decision.reason.as_deref().unwrap_or("-"))
        }
        Output::Receipt(receipt) => format!("receipt {}", receipt.status_text),
        Output::Feedback(feedback) => format!("feedback {:?}", feedback.status).to_lowercase(),
        Output::Rerouted(_) => "rerouted".to_owned(),
        Output::Notice(notice) => format!("notice {:?}", notice.kind).to_lowercase(),
        Output::Cancellation(_) => "cancellation".to_owned(),
        Output::CancelAnswer(answer) => format!("cancel {:?}", answer.result).to_lowercase(),
    });
    let dead = produced.dead_letters.iter().map(|dead| format!("dead {}", dead.code));
    outputs.chain(dead).collect::<Vec<_>>().join(", ")
}

fn admitted(produced: &Produced<Ingest>) -> &AdmittedMessage {
    match &produced.outputs[..] {
        [Output::Admitted(message)] => message,
        other => panic!("expected one admitted message, got {other:?}, {produced:?}"),
    }
}

fn decision(produced: &Produced<Ingest>) -> &Decision {
    match &produced.outputs[..] {
        [Output::Decision(decision)] => decision,
        other => panic!("expected one decision, got {other:?}"),
    }
}

/// What `record` gives at `now` over the driver's state while no timer has fired: a cycle fires
/// only so many.
fn before_timers(
    driver: &Driver<Ingest>,
    now: Timestamp,
    topic: &'static str,
    record: Record,
) -> Vec<Output> {
    let mut directory = Directory::default();
    directory.apply(&sample::set_tenant(sample::tenant("acme")));
    let time = CycleTime {
        now,
        partition: 0,
        partitions: 1,
        timer_floor: Timestamp::default(),
        allowance: Allowance::UNLIMITED,
        portion: Portion::Full,
    };
    let stage = stage();
    let mut cycle = Cycle::open(&stage, driver.state(), &directory, time);
    let meta = RecordMeta {
        topic,
        partition: 0,
        offset: 1_000,
        timestamp: now,
        key: None,
        replay_of: None,
    };
    cycle.apply(Input::Record { record, meta }, TraceContext::default());
    let transition = cycle.finish().expect("the state can be read");
    transition.outputs.into_iter().map(|(output, _)| output).collect()
}
