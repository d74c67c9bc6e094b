//! Fixtures: one message, the records that speak of it, and checks that hold for every story.

mod convergence;
mod life;
mod records;
mod waiting;

use std::collections::BTreeMap;

use sendplane_domain::e164::E164;
use sendplane_domain::id::{IdempotencyKey, PhoneNumberId, TemplateName, TenantId, Wamid};
use sendplane_domain::lane::Lane;
use sendplane_domain::lifecycle::MessageFacts;
use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::cycle::CycleTime;
use sendplane_stage_api::driver::Driver;
use sendplane_stage_api::portion::Portion;
use sendplane_stage_api::slots::Allowance;
use sendplane_stage_api::table::decode_value;
use sendplane_stage_api::{Cycle, RecordMeta};
use sendplane_wire::record::{
    AttemptEvent, DecidingStage, Disposition, MessageState as State, ReceiptStatus, Verdict,
};

use super::*;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

pub(super) fn id() -> MessageId {
    MessageId::from_bytes([7; 16])
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + second * 1_000)
}

pub(super) fn hash(text: &str) -> KeyedHash {
    KeyedHash::new(text)
}

pub(super) fn admitted() -> Record {
    Record::Admitted(Box::new(AdmittedMessage {
        order_id: None,
        message_id: id(),
        tenant: TenantId::new("acme"),
        idempotency_key: IdempotencyKey::new("order-17"),
        lane: Lane::Transactional,
        recipient: E164::parse("+4915112345678").unwrap(),
        contact_hash: hash("c0ffee"),
        template_name: TemplateName::new("order_update"),
        template_language: "en".into(),
        variables: BTreeMap::new(),
        campaign: Some("autumn".into()),
        phone_number_id: None,
        created_at: at(0),
        admitted_at: at(1),
        deadline: at(3_600),
    }))
}

pub(super) fn decision(verdict: Verdict, reason: Option<&str>) -> Decision {
    let is_ingest = matches!(verdict, Verdict::Refuse | Verdict::Duplicate | Verdict::Stale);
    Decision {
        decision_seq: Some(1),
        message_id: id(),
        tenant: TenantId::new("acme"),
        idempotency_key: IdempotencyKey::new("order-17"),
        stage: if is_ingest { DecidingStage::Ingest } else { DecidingStage::Policy },
        verdict,
        reason: reason.map(str::to_owned),
        detail: None,
        duplicate_of: None,
        rules: Vec::new(),
        lane: Some("transactional".into()),
        campaign: Some("autumn".into()),
        template_name: Some(TemplateName::new("order_update")),
        template_language: Some("en".into()),
        template_version: Some(3),
        category: Some("utility".into()),
        contact_hash: Some(hash("c0ffee")),
        phone_number_id: Some(PhoneNumberId::new("acme-number")),
        next_at: None,
        decided_at: at(2),
    }
}

pub(super) fn decided(verdict: Verdict, reason: Option<&str>) -> Record {
    Record::Decision(Box::new(decision(verdict, reason)))
}

pub(super) fn dispatched() -> Record {
    decided(Verdict::Dispatch, None)
}

pub(super) fn attempt(number: i32, event: AttemptEvent, second: i64) -> Attempt {
    Attempt {
        decision_seq: 1,
        doubt_until: None,
        raw_body: None,
        product_policy: None,
        ttl_seconds: None,
        message_id: id(),
        tenant: TenantId::new("acme"),
        attempt: number,
        event,
        disposition: Disposition::None,
        phone_number_id: PhoneNumberId::new("acme-number"),
        occurred_at: at(second),
        wamid: None,
        wamid_hash: None,
        error_code: None,
        error_class: None,
        error_message: None,
        http_status: None,
        retry_at: None,
        latency_ms: None,
    }
}

pub(super) fn attempted(number: i32, event: AttemptEvent, second: i64) -> Record {
    Record::Attempt(Box::new(attempt(number, event, second)))
}

pub(super) fn accepted(number: i32, wamid: &str, second: i64) -> Record {
    Record::Attempt(Box::new(Attempt {
        wamid: Some(Wamid::new(format!("wamid.4915112345678.{wamid}"))),
        wamid_hash: Some(hash(wamid)),
        latency_ms: Some(80),
        ..attempt(number, AttemptEvent::Accepted, second)
    }))
}

pub(super) fn refused(number: i32, code: i32, disposition: Disposition, second: i64) -> Record {
    Record::Attempt(Box::new(Attempt {
        disposition,
        error_code: Some(code),
        retry_at: (disposition == Disposition::Retry).then(|| at(second + 5)),
        ..attempt(number, AttemptEvent::Refused, second)
    }))
}

pub(super) fn receipt(status: ReceiptStatus, wamid: &str, second: i64) -> Receipt {
    let is_failed = status == ReceiptStatus::Failed;
    Receipt {
        tenant: TenantId::new("acme"),
        waba_id: "acme-waba".into(),
        phone_number_id: PhoneNumberId::new("acme-number"),
        message_id: Some(id()),
        attempt: Some(1),
        wamid_hash: hash(wamid),
        status,
        status_text: format!("{status:?}").to_lowercase(),
        occurred_at: at(second),
        received_at: at(second + 1),
        error_code: is_failed.then_some(131_026),
        error_title: is_failed.then(|| "Message undeliverable".into()),
        error_details: None,
        price_category: None,
        price_type: None,
        billable: None,
    }
}

pub(super) fn reported(status: ReceiptStatus, second: i64) -> Record {
    Record::Receipt(Box::new(receipt(status, "w1", second)))
}

/// A status without our opaque data.
pub(super) fn bare(status: ReceiptStatus, wamid: &str, second: i64) -> Record {
    let receipt = receipt(status, wamid, second);
    Record::Receipt(Box::new(Receipt { message_id: None, attempt: None, ..receipt }))
}

pub(super) fn driver() -> Driver<StatusReconcile> {
    Driver::new(StatusReconcile::default(), NOW)
}

pub(super) fn feed(driver: &mut Driver<StatusReconcile>, record: &Record) -> Vec<Outcome> {
    let topic = match record {
        Record::Admitted(_) => topic::ADMITTED_TRANSACTIONAL,
        Record::Decision(_) => topic::DECISIONS,
        Record::Attempt(_) => topic::ATTEMPTS,
        Record::Receipt(_) => topic::RECEIPTS,
    };
    let produced = driver.record(topic, record.clone());
    assert_eq!(produced.dead_letters, [], "{record:?}");
    produced.outputs
}

pub(super) fn feed_all(driver: &mut Driver<StatusReconcile>, records: &[Record]) -> Vec<Outcome> {
    records.iter().flat_map(|record| feed(driver, record)).collect()
}

/// All rows of a fresh stage that reads `records`, checked as a sequence.
pub(super) fn rows(records: &[Record]) -> Vec<Outcome> {
    let rows = feed_all(&mut driver(), records);
    check_sequence(&rows);
    rows
}

/// Rows of one message: no gap, unique ids, and a row supersedes exactly a final one before it.
pub(super) fn check_sequence(rows: &[Outcome]) {
    let mut ids = std::collections::BTreeSet::new();
    let mut before: Option<&Outcome> = None;
    for row in rows {
        assert_eq!(row.sequence, before.map_or(1, |before| before.sequence + 1));
        let expected = before.filter(|before| before.is_final).map(|before| before.sequence);
        assert_eq!(row.supersedes, expected, "{row:?}");
        assert!(before.is_none_or(|before| before.ingested_at <= row.ingested_at));
        assert!(ids.insert(row.event_id.clone()), "event id twice: {row:?}");
        assert_eq!(row.event_id.len(), 36);
        before = Some(row);
    }
}

/// A row without what depends on the order of the inputs.
pub(super) fn content_of(row: &Outcome) -> Outcome {
    Outcome {
        event_id: String::new(),
        sequence: 0,
        supersedes: None,
        ingested_at: Timestamp::default(),
        ..row.clone()
    }
}

pub(super) fn stored(driver: &Driver<StatusReconcile>) -> Option<MessageRow> {
    let bytes = driver.state().get(&MESSAGES.store_key(&id()))?;
    Some(decode_value(bytes).unwrap())
}

pub(super) fn facts(driver: &Driver<StatusReconcile>) -> MessageFacts {
    stored(driver).expect("the message has a row").facts
}

pub(super) fn states(rows: &[Outcome]) -> Vec<State> {
    rows.iter().map(|row| row.state).collect()
}

/// What `input` counts in the state of `driver`, which stays as it is.
pub(super) fn counts(
    driver: &Driver<StatusReconcile>,
    input: Input<StatusReconcile>,
) -> Vec<(&'static str, &'static str, u64)> {
    let time = CycleTime {
        now: driver.now(),
        partition: 0,
        partitions: 1,
        timer_floor: Timestamp::default(),
        allowance: Allowance::UNLIMITED,
        portion: Portion::Full,
    };
    let mut cycle = Cycle::open(driver.stage(), driver.state(), &NoGlobals, time);
    cycle.apply(input, TraceContext::default());
    let counts = cycle.finish().unwrap().counts;
    counts.into_iter().map(|((name, label), count)| (name, label, count)).collect()
}

/// `record` as an input.
pub(super) fn input_of(record: Record) -> Input<StatusReconcile> {
    let meta = RecordMeta {
        topic: topic::RECEIPTS,
        partition: 0,
        offset: 0,
        timestamp: NOW,
        key: None,
        replay_of: None,
    };
    Input::Record { record, meta }
}
