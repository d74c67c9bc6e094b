//! The life of a message through the driver: what each record makes of it, row by row.

mod convergence;
mod records;
mod waiting;

use std::collections::BTreeMap;

use sendplane_domain::e164::E164;
use sendplane_domain::id::{IdempotencyKey, PhoneNumberId, TemplateName, TenantId, Wamid};
use sendplane_domain::lane::Lane;
use sendplane_domain::lifecycle::MessageFacts;
use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::driver::{Driver, Produced};
use sendplane_stage_api::table::decode_value;
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
    let is_ingest = matches!(
        verdict,
        Verdict::Refuse | Verdict::Duplicate | Verdict::Stale
    );
    Decision {
        message_id: id(),
        tenant: TenantId::new("acme"),
        idempotency_key: IdempotencyKey::new("order-17"),
        stage: if is_ingest {
            DecidingStage::Ingest
        } else {
            DecidingStage::Policy
        },
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
    Record::Receipt(Box::new(Receipt {
        message_id: None,
        attempt: None,
        ..receipt
    }))
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
    records
        .iter()
        .flat_map(|record| feed(driver, record))
        .collect()
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
        let expected = before
            .filter(|before| before.is_final)
            .map(|before| before.sequence);
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

fn states(rows: &[Outcome]) -> Vec<State> {
    rows.iter().map(|row| row.state).collect()
}

#[test]
fn a_message_is_followed_from_admission_to_reading() {
    let rows = rows(&[
        admitted(),
        dispatched(),
        attempted(1, AttemptEvent::Submitting, 3),
        accepted(1, "w1", 4),
        reported(ReceiptStatus::Sent, 5),
        reported(ReceiptStatus::Delivered, 6),
        reported(ReceiptStatus::Read, 7),
    ]);
    let expected = [
        (State::Queued, false, 0, at(1)),
        (State::Dispatched, false, 0, at(2)),
        (State::Submitting, false, 1, at(3)),
        (State::Accepted, false, 1, at(4)),
        (State::Sent, false, 1, at(5)),
        (State::Delivered, true, 1, at(6)),
        (State::Read, true, 1, at(7)),
    ];
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.state, row.is_final, row.attempt, row.occurred_at))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(rows[6].supersedes, Some(6));
    let last = &rows[6];
    assert_eq!(last.tenant, TenantId::new("acme"));
    assert_eq!(last.idempotency_key, Some(IdempotencyKey::new("order-17")));
    assert_eq!(last.lane.as_deref(), Some("transactional"));
    assert_eq!(last.campaign.as_deref(), Some("autumn"));
    assert_eq!(last.template_name, Some(TemplateName::new("order_update")));
    assert_eq!(last.template_language.as_deref(), Some("en"));
    assert_eq!(
        (rows[0].template_version, last.template_version),
        (None, Some(3))
    );
    assert_eq!(last.category.as_deref(), Some("utility"));
    assert_eq!(last.contact_hash, Some(hash("c0ffee")));
    assert_eq!(last.wamid_hash, Some(hash("w1")));
    assert_eq!(
        last.phone_number_id,
        Some(PhoneNumberId::new("acme-number"))
    );
    assert_eq!(
        rows[2].next_at,
        Some(at(3) + sendplane_domain::limits::INTENT_ANSWER_MAX)
    );
    assert_eq!(last.next_at, None);
}

/// Each case: records after admission and dispatch, then state, reason and error code of the newest
/// row, and how many provider attempts it counts.
#[test]
fn every_end_is_told_apart() {
    use AttemptEvent as Event;
    let held = Record::Attempt(Box::new(Attempt {
        wamid_hash: Some(hash("w1")),
        ..attempt(1, Event::Held, 4)
    }));
    let failed = reported(ReceiptStatus::Failed, 6);
    let retry = Disposition::Retry;
    type Expected = (State, Option<&'static str>, Option<i32>, i32);
    let cases: Vec<(Vec<Record>, Expected)> = vec![
        (vec![held], (State::Held, None, None, 1)),
        (
            vec![attempted(1, Event::InDoubt, 4)],
            (State::InDoubt, Some("answer_lost"), None, 1),
        ),
        (
            vec![attempted(1, Event::InDoubt, 4), accepted(1, "w1", 5)],
            (State::Accepted, None, None, 1),
        ),
        (
            vec![
                attempted(1, Event::InDoubt, 4),
                attempted(1, Event::GaveUp, 9),
            ],
            (State::OutcomeUnknown, Some("no_evidence_in_time"), None, 1),
        ),
        (
            vec![refused(1, 131_000 + 26, Disposition::Reject, 4)],
            (
                State::Rejected,
                Some("permanent_recipient"),
                Some(131_026),
                1,
            ),
        ),
        (
            vec![refused(1, 131_056, retry, 4)],
            (State::Dispatched, Some("throttle_pair"), Some(131_056), 1),
        ),
        (
            vec![refused(1, 131_056, Disposition::DeadLetter, 4)],
            (State::DeadLettered, Some("throttle_pair"), Some(131_056), 1),
        ),
        (
            vec![attempted(0, Event::Expired, 4)],
            (State::Expired, Some("deadline_passed"), None, 0),
        ),
        (
            vec![
                refused(1, 131_056, retry, 4),
                attempted(2, Event::Expired, 9),
            ],
            (State::Expired, Some("deadline_passed"), None, 1),
        ),
        (
            vec![accepted(1, "w1", 4), failed.clone()],
            (State::Failed, Some("permanent_recipient"), Some(131_026), 1),
        ),
        (
            vec![
                accepted(1, "w1", 4),
                failed,
                reported(ReceiptStatus::Delivered, 7),
            ],
            (State::Delivered, None, None, 1),
        ),
    ];
    for (tail, expected) in cases {
        let mut story = vec![admitted(), dispatched()];
        story.extend(tail);
        let rows = rows(&story);
        let last = rows.last().unwrap();
        let found = (
            last.state,
            last.reason.as_deref(),
            last.error_code,
            last.attempt,
        );
        assert_eq!(found, expected, "{story:?}");
    }
}

#[test]
fn policy_s_verdicts_end_or_delay_a_message() {
    let mut deferral = decision(Verdict::Defer, Some("quiet_hours"));
    deferral.next_at = Some(at(500));
    let cases = [
        (Record::Decision(Box::new(deferral)), State::Deferred, false),
        (
            decided(Verdict::Suppress, Some("consent_withdrawn_all")),
            State::Suppressed,
            true,
        ),
        (
            decided(Verdict::Block, Some("template_not_approved")),
            State::Blocked,
            true,
        ),
        (
            decided(Verdict::Block, Some("deadline_passed")),
            State::Expired,
            true,
        ),
    ];
    for (record, state, is_final) in cases {
        let rows = rows(&[admitted(), record.clone()]);
        assert_eq!(states(&rows), [State::Queued, state]);
        let Record::Decision(decision) = record else {
            unreachable!()
        };
        assert_eq!(
            (rows[1].is_final, &rows[1].reason),
            (is_final, &decision.reason)
        );
        assert_eq!(rows[1].next_at, decision.next_at);
    }
}

/// Requests that never became a message have a row all the same (who asked must learn of it).
#[test]
fn refusals_of_ingest_are_outcomes() {
    let holder = MessageId::from_bytes([9; 16]);
    let mut duplicate = decision(Verdict::Duplicate, Some("idempotency_key_taken"));
    duplicate.duplicate_of = Some(holder);
    let cases = [
        (
            decision(Verdict::Refuse, Some("recipient_invalid")),
            State::Refused,
        ),
        (duplicate, State::Duplicate),
        (
            decision(Verdict::Stale, Some("older_than_horizon")),
            State::Stale,
        ),
    ];
    for (decision, state) in cases {
        let rows = rows(&[Record::Decision(Box::new(decision.clone()))]);
        assert_eq!(states(&rows), [state]);
        assert!(rows[0].is_final);
        assert_eq!(rows[0].reason, decision.reason);
        assert_eq!(rows[0].duplicate_of, decision.duplicate_of);
        assert_eq!(rows[0].message_id, id());
    }
}

#[test]
fn a_repetition_says_and_writes_nothing() {
    let story = [
        admitted(),
        dispatched(),
        attempted(1, AttemptEvent::Submitting, 3),
        accepted(1, "w1", 4),
        reported(ReceiptStatus::Sent, 5),
        bare(ReceiptStatus::Delivered, "w1", 6),
    ];
    let mut driver = driver();
    feed_all(&mut driver, &story);
    driver.advance_to(at(60));
    let before = stored(&driver);
    assert_eq!(feed_all(&mut driver, &story), []);
    assert_eq!(
        stored(&driver),
        before,
        "not even the time of the last change moves"
    );
}

#[test]
fn a_later_price_is_a_row_of_its_own() {
    let mut priced = receipt(ReceiptStatus::Delivered, "w1", 6);
    priced.price_category = Some("utility".into());
    priced.price_type = Some("regular".into());
    let rows = rows(&[
        admitted(),
        accepted(1, "w1", 4),
        reported(ReceiptStatus::Delivered, 6),
        Record::Receipt(Box::new(priced)),
    ]);
    assert_eq!(
        states(&rows),
        [
            State::Queued,
            State::Accepted,
            State::Delivered,
            State::Delivered
        ]
    );
    assert_eq!(
        (rows[2].price_class.as_deref(), rows[2].is_final),
        (None, true)
    );
    assert_eq!(rows[3].price_class.as_deref(), Some("utility/regular"));
    assert_eq!(rows[3].supersedes, Some(3));
}

/// Two wamids are two messages at the customer: said in the row, whichever wins.
#[test]
fn a_second_wamid_is_a_duplicate_and_shown() {
    let second = Receipt {
        attempt: Some(2),
        ..receipt(ReceiptStatus::Delivered, "w2", 30)
    };
    let rows = rows(&[
        admitted(),
        dispatched(),
        attempted(1, AttemptEvent::InDoubt, 4),
        accepted(2, "w2", 20),
        Record::Receipt(Box::new(second)),
        reported(ReceiptStatus::Delivered, 40),
    ]);
    let (before, last) = (&rows[rows.len() - 2], rows.last().unwrap());
    assert_eq!(
        (before.state, before.detail.as_deref()),
        (State::Delivered, None)
    );
    assert_eq!(last.state, State::Delivered);
    assert!(
        last.detail
            .as_deref()
            .unwrap()
            .contains("2 messages at the provider")
    );
    assert_eq!(last.attempt, 2);
}

#[test]
fn every_row_continues_the_request_s_trace() {
    let trace = |name: &str| TraceContext {
        traceparent: Some(format!("00-{name}")),
        tracestate: None,
        correlation_id: Some(name.into()),
    };
    let mut driver = driver();
    let mut check = |topic, record: Record, own: &str| {
        let Produced {
            outputs, traces, ..
        } = driver.record_traced(topic, record, trace(own));
        assert_eq!(traces, [trace("checkout")], "{own}");
        assert_eq!(
            outputs[0].correlation_id.as_ref().unwrap().as_str(),
            "checkout"
        );
    };
    check(topic::ADMITTED_TRANSACTIONAL, admitted(), "checkout");
    check(topic::ATTEMPTS, accepted(1, "w1", 4), "attempt");
    check(topic::RECEIPTS, reported(ReceiptStatus::Sent, 5), "webhook");
    let timed = driver.advance_to(at(40 * 24 * 3600));
    assert_eq!(timed.outputs.len(), 1);
    assert_eq!(timed.traces, [trace("checkout")]);
}
