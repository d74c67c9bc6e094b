//! What each record makes of a message, row by row.

use sendplane_stage_api::driver::Produced;

use super::*;

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
    let found: Vec<_> =
        rows.iter().map(|row| (row.state, row.is_final, row.attempt, row.occurred_at)).collect();
    assert_eq!(found, expected);
    assert_eq!(rows[6].supersedes, Some(6));
    let last = &rows[6];
    assert_eq!(last.tenant, TenantId::new("acme"));
    assert_eq!(last.idempotency_key, Some(IdempotencyKey::new("order-17")));
    assert_eq!(last.lane.as_deref(), Some("transactional"));
    assert_eq!(last.campaign.as_deref(), Some("autumn"));
    assert_eq!(last.template_name, Some(TemplateName::new("order_update")));
    assert_eq!(last.template_language.as_deref(), Some("en"));
    assert_eq!((rows[0].template_version, last.template_version), (None, Some(3)));
    assert_eq!(last.category.as_deref(), Some("utility"));
    assert_eq!(last.contact_hash, Some(hash("c0ffee")));
    assert_eq!(last.wamid_hash, Some(hash("w1")));
    assert_eq!(last.phone_number_id, Some(PhoneNumberId::new("acme-number")));
    assert_eq!(rows[2].next_at, Some(at(3) + sendplane_domain::limits::INTENT_ANSWER_MAX));
    assert_eq!(last.next_at, None);
}

/// State, reason and error code of the newest row, and how many provider attempts it counts.
type Expected = (State, Option<&'static str>, Option<i32>, i32);

/// Reads `tail` after an admission and a dispatch.
fn check(tail: &[Record], expected: Expected) {
    let rows = rows(&[&[admitted(), dispatched()], tail].concat());
    let last = rows.last().unwrap();
    let reason = last.reason.as_deref();
    assert_eq!((last.state, reason, last.error_code, last.attempt), expected, "{tail:?}");
}

#[test]
fn answers_of_the_provider_are_told_apart() {
    let held = Attempt { wamid_hash: Some(hash("w1")), ..attempt(1, AttemptEvent::Held, 4) };
    check(&[Record::Attempt(Box::new(held))], (State::Held, None, None, 1));
    let throttled = Some("throttle_pair");
    let refusals = [
        (131_056, Disposition::Retry, State::Dispatched, throttled),
        (131_056, Disposition::DeadLetter, State::DeadLettered, throttled),
        (131_026, Disposition::Reject, State::Rejected, Some("permanent_recipient")),
        (131_026, Disposition::None, State::Rejected, Some("permanent_recipient")),
    ];
    for (code, disposition, state, reason) in refusals {
        check(&[refused(1, code, disposition, 4)], (state, reason, Some(code), 1));
    }
    let answer = accepted(1, "w1", 4);
    let failed = reported(ReceiptStatus::Failed, 6);
    let reason = Some("permanent_recipient");
    check(&[answer.clone(), failed.clone()], (State::Failed, reason, Some(131_026), 1));
    let delivered = reported(ReceiptStatus::Delivered, 7);
    check(&[answer, failed, delivered], (State::Delivered, None, None, 1));
}

#[test]
fn doubt_and_time_are_told_apart() {
    let doubt = attempted(1, AttemptEvent::InDoubt, 4);
    check(std::slice::from_ref(&doubt), (State::InDoubt, Some("answer_lost"), None, 1));
    check(&[doubt.clone(), accepted(1, "w1", 5)], (State::Accepted, None, None, 1));
    let gave_up = attempted(1, AttemptEvent::GaveUp, 9);
    let unknown = (State::OutcomeUnknown, Some("no_evidence_in_time"), None, 1);
    check(&[doubt, gave_up], unknown);
    let late = Some("deadline_passed");
    check(&[attempted(0, AttemptEvent::Expired, 4)], (State::Expired, late, None, 0));
    let retried = refused(1, 131_056, Disposition::Retry, 4);
    let expired = attempted(2, AttemptEvent::Expired, 9);
    check(&[retried.clone(), expired], (State::Expired, late, None, 1));
    let withdrawn = Some("cancelled");
    check(&[attempted(0, AttemptEvent::Cancelled, 4)], (State::Cancelled, withdrawn, None, 0));
    let cancelled = attempted(2, AttemptEvent::Cancelled, 9);
    check(&[retried, cancelled], (State::Cancelled, withdrawn, None, 1));
}

#[test]
fn policy_s_verdicts_end_or_delay_a_message() {
    let mut deferral = decision(Verdict::Defer, Some("quiet_hours"));
    deferral.next_at = Some(at(500));
    let cases = [
        (Record::Decision(Box::new(deferral)), State::Deferred, false),
        (decided(Verdict::Suppress, Some("consent_withdrawn_all")), State::Suppressed, true),
        (decided(Verdict::Block, Some("template_not_approved")), State::Blocked, true),
        (decided(Verdict::Block, Some("deadline_passed")), State::Expired, true),
    ];
    for (record, state, is_final) in cases {
        let rows = rows(&[admitted(), record.clone()]);
        assert_eq!(states(&rows), [State::Queued, state]);
        let Record::Decision(decision) = record else { unreachable!() };
        assert_eq!((rows[1].is_final, &rows[1].reason), (is_final, &decision.reason));
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
        (decision(Verdict::Refuse, Some("recipient_invalid")), State::Refused),
        (duplicate, State::Duplicate),
        (decision(Verdict::Stale, Some("older_than_horizon")), State::Stale),
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
    assert_eq!(stored(&driver), before, "not even the time of the last change moves");
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
    assert_eq!(states(&rows), [State::Queued, State::Accepted, State::Delivered, State::Delivered]);
    assert_eq!((rows[2].price_class.as_deref(), rows[2].is_final), (None, true));
    assert_eq!(rows[3].price_class.as_deref(), Some("utility/regular"));
    assert_eq!(rows[3].supersedes, Some(3));
}

/// Two wamids are two messages at the customer: said in the row, whichever wins.
#[test]
fn a_second_wamid_is_a_duplicate_and_shown() {
    let second = Receipt { attempt: Some(2), ..receipt(ReceiptStatus::Delivered, "w2", 30) };
    let rows = rows(&[
        admitted(),
        dispatched(),
        attempted(1, AttemptEvent::InDoubt, 4),
        accepted(2, "w2", 20),
        Record::Receipt(Box::new(second)),
        reported(ReceiptStatus::Delivered, 40),
    ]);
    let (before, last) = (&rows[rows.len() - 2], rows.last().unwrap());
    assert_eq!((before.state, before.detail.as_deref()), (State::Delivered, None));
    assert_eq!(last.state, State::Delivered);
    assert!(last.detail.as_deref().unwrap().contains("2 messages at the provider"));
    assert_eq!(last.attempt, 2);
}

#[test]
fn each_wamid_beyond_the_first_is_counted_once() {
    let mut driver = driver();
    let is_counted = |driver: &Driver<_>, record: Record| {
        let name = "sendplane_duplicate_sends_detected_total";
        counts(driver, input_of(record)).contains(&(name, "second_wamid", 1))
    };
    feed_all(&mut driver, &[admitted(), dispatched()]);
    assert!(!is_counted(&driver, accepted(1, "w1", 4)));
    feed(&mut driver, &accepted(1, "w1", 4));
    assert!(is_counted(&driver, accepted(2, "w2", 20)));
    feed(&mut driver, &accepted(2, "w2", 20));
    assert!(!is_counted(&driver, bare(ReceiptStatus::Sent, "w2", 21)));
    assert!(is_counted(&driver, accepted(3, "w3", 30)));
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
        let Produced { outputs, traces, .. } = driver.record_traced(topic, record, trace(own));
        assert_eq!(traces, [trace("checkout")], "{own}");
        assert_eq!(outputs[0].correlation_id.as_ref().unwrap().as_str(), "checkout");
    };
    check(topic::ADMITTED_TRANSACTIONAL, admitted(), "checkout");
    check(topic::ATTEMPTS, accepted(1, "w1", 4), "attempt");
    check(topic::RECEIPTS, reported(ReceiptStatus::Sent, 5), "webhook");
    let timed = driver.advance_to(at(40 * 24 * 3600));
    assert_eq!(timed.outputs.len(), 1);
    assert_eq!(timed.traces, [trace("checkout")]);
}
