//! Every class of result, and what follows.

use AttemptEvent::{Accepted, Expired, GaveUp, Held, InDoubt, NotSent, Refused, Submitting};
use Disposition::{DeadLetter, None as Nothing, Reject, Retry};

use sendplane_wire::record::TenantRetries;

use super::*;

#[test]
fn a_call_carries_all_it_needs() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    let [call] = &plane.calls[..] else { panic!("one call: {:?}", plane.calls) };
    assert_eq!((call.attempt, call.credential.as_str()), (1, "default"));
    assert_eq!(*call.content, dispatch(1, Lane::Transactional, START));
    assert_eq!(call.start_within, secs(2));
    let data = sendplane_domain::opaque::OpaqueData::decode(&call.opaque_data, &hash_key());
    let data = data.unwrap();
    assert_eq!((data.message_id, data.attempt), (message_id(1), 1));
    assert_eq!(data.shard.tenant, TenantId::new(TENANT));
    assert_eq!(plane.events(1), [(1, Submitting, Nothing)]);
}

#[test]
fn accepted_and_held_name_the_wamid() {
    for (status, event) in
        [(Acceptance::Accepted, Accepted), (Acceptance::Held, Held), (Acceptance::Paused, Held)]
    {
        let mut plane = Plane::new();
        plane.send(1, Lane::Transactional);
        let wamid = Wamid::new("wamid.1");
        plane.answer_last(accepted_as("wamid.1", status));
        assert_eq!(plane.events(1), [(1, Submitting, Nothing), (1, event, Nothing)]);
        assert_eq!(plane.last().wamid, Some(wamid));
        assert_eq!(plane.last().wamid_hash, Some(wamid_hash("wamid.1")));
        assert_eq!(plane.last().latency_ms, Some(120));
        plane.advance(10 * HOUR);
        assert_eq!((plane.calls.len(), plane.events(1).len()), (1, 2));
    }
}

#[test]
fn a_fault_of_the_message_is_tried_after_5_15_and_45_seconds_then_dead_lettered() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    for (failure, wait_s) in [5, 15, 45].into_iter().enumerate() {
        plane.answer_last(unparsed(404));
        let retry_at = plane.last().retry_at.expect("a retry");
        let wait = retry_at.since(plane.now());
        assert!(wait >= secs(wait_s) && wait < secs(wait_s) + Duration::from_millis(500));
        plane.advance(wait - Duration::from_millis(1));
        assert_eq!(plane.calls.len(), failure + 1, "not before its time");
        plane.advance(Duration::from_millis(1));
        assert_eq!(plane.calls.len(), failure + 2, "at its time");
    }
    plane.answer_last(unparsed(404));
    let mut expected = Vec::new();
    for attempt in 1..=4 {
        let end = if attempt < 4 { Retry } else { DeadLetter };
        expected.extend([(attempt, Submitting, Nothing), (attempt, Refused, end)]);
    }
    assert_eq!(plane.events(1), expected);
    assert_eq!(plane.last().error_class.as_deref(), Some("retry_message"));
    plane.advance(2 * HOUR);
    assert_eq!(plane.calls.len(), 4, "nothing is called after the dead letter");
    let [(message, calls, _)] = &plane.dead[..] else {
        panic!("one dead letter: {:?}", plane.dead)
    };
    assert_eq!((*message, *calls), (message_id(1), 4));
}

#[test]
fn an_outage_is_tried_until_the_deadline_and_blames_no_message() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    let mut calls = 0;
    while plane.calls.len() > calls {
        calls = plane.calls.len();
        let outcome = if calls % 2 == 0 { error(2) } else { not_started(NotStarted::NoConnection) };
        plane.answer_last(outcome);
        if let Some(retry_at) = plane.last().retry_at {
            assert!(retry_at.since(plane.now()) <= secs(45));
        }
        plane.advance(secs(46));
    }
    assert!(calls > 75, "an hour in steps of at most 45 s: {calls} calls");
    let events = plane.events(1);
    let (last, end) = (calls as i32, events.len());
    assert!(matches!(events[end - 2], (n, Refused | NotSent, Retry) if n == last));
    assert_eq!(events[end - 1], (last + 1, Expired, Nothing));
    assert!(plane.last().occurred_at < START + HOUR + secs(46));
}

#[test]
fn throttling_waits_and_a_second_class_starts_its_own_count() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    for (code, class, wait_s) in [
        (131056, "throttle_pair", 1),
        (131056, "throttle_pair", 4),
        (130429, "throttle_number", 5),
        (131056, "throttle_pair", 16),
        (4, "throttle_app", 5),
        (80007, "throttle_account", 60),
    ] {
        plane.answer_last(error(code));
        let last = plane.last();
        assert_eq!((last.event, last.disposition), (Refused, Retry));
        assert_eq!(last.error_class.as_deref(), Some(class));
        assert_eq!(last.error_code, Some(code as i32));
        assert_eq!(last.retry_at, Some(plane.now() + secs(wait_s)));
        plane.advance(secs(wait_s));
    }
    plane.answer_last(accepted("w"));
    assert_eq!((plane.calls.len(), plane.last().event), (7, Accepted));
}

#[test]
fn what_can_never_succeed_is_rejected_at_once() {
    for (code, class) in [
        (100, "permanent_request"),
        (131026, "permanent_recipient"),
        (131050, "recipient_opted_out"),
    ] {
        let mut plane = Plane::new();
        plane.send(1, Lane::Bulk);
        plane.answer_last(error(code));
        assert_eq!(plane.events(1)[1..], [(1, Refused, Reject)], "{code}");
        assert_eq!(plane.last().error_class.as_deref(), Some(class));
        assert_eq!(plane.last().http_status, Some(400));
        assert_eq!(plane.last().error_message.as_deref(), Some("told so"));
        plane.advance(2 * HOUR);
        assert_eq!(plane.calls.len(), 1, "{code}");
    }
}

#[test]
fn a_subcode_decides_and_details_are_told() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    let answer = Answer::Error(ApiError {
        code: 100,
        subcode: Some(33),
        message: "Unsupported post request".into(),
        details: Some("object does not exist".into()),
        is_transient: None,
        raw: None,
    });
    plane.answer_last(CallOutcome::Answered { http_status: 400, answer });
    assert_eq!(plane.last().error_class.as_deref(), Some("suspend_number"));
    let text = plane.last().error_message.as_deref();
    assert_eq!(text, Some("Unsupported post request: object does not exist"));
}

#[test]
fn an_unproven_outcome_is_doubted_and_given_up_and_not_sent_again_without_proof() {
    for outcome in [
        lost(),
        unparsed(200),
        unparsed(502),
        error(1),
        error(131000),
        error(131016),
        error(135000),
    ] {
        let mut plane = Plane::new();
        plane.send(1, Lane::Transactional);
        plane.answer_last(outcome.clone());
        assert_eq!(plane.events(1)[1..], [(1, InDoubt, Nothing)], "{outcome:?}");
        assert_eq!(plane.last().error_class.as_deref(), Some("ambiguous"));
        plane.advance(secs(660));
        assert_eq!(plane.events(1).len(), 2, "{outcome:?}: a proof may still come");
        plane.advance(HOUR - secs(660));
        assert_eq!(plane.events(1)[2..], [(1, GaveUp, Nothing)], "{outcome:?}");
        plane.advance(3 * HOUR);
        assert_eq!((plane.calls.len(), plane.events(1).len()), (1, 3), "{outcome:?}");
    }
}

#[test]
fn a_call_that_came_too_late_queues_again_at_once_and_counts_no_failure() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    for attempt in 1..=6 {
        plane.answer_last(not_started(NotStarted::TooLate));
        assert_eq!(plane.calls.len(), attempt + 1);
        assert_eq!(plane.events(1).len(), 2 * attempt + 1);
        assert_eq!(plane.events(1)[2 * attempt - 1], (attempt as i32, NotSent, Retry));
        plane.advance(secs(2));
    }
    plane.answer_last(unparsed(404));
    let wait = plane.last().retry_at.unwrap().since(plane.now());
    assert!(wait < secs(6), "the first failure, after six late starts: {wait:?}");
}

#[test]
fn a_late_start_after_the_deadline_expires() {
    let mut plane = Plane::new();
    let short =
        Dispatch { valid_until: START + secs(1), ..dispatch(1, Lane::Transactional, START) };
    plane.feed(short);
    assert_eq!(plane.calls[0].start_within, secs(1), "no call starts after valid_until");
    plane.advance(secs(1));
    plane.answer_last(not_started(NotStarted::TooLate));
    assert_eq!(plane.events(1)[1..], [(1, NotSent, Retry), (2, Expired, Nothing)]);
}

#[test]
fn a_missing_credential_waits_for_the_operator_and_bad_content_does_not() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(not_started(NotStarted::NoCredential));
    assert_eq!(plane.last().retry_at, Some(plane.now() + secs(5)));
    assert_eq!(plane.events(1)[1..], [(1, NotSent, Retry)]);
    let mut plane = Plane::new();
    plane.send(2, Lane::Transactional);
    plane.answer_last(not_started(NotStarted::Unbuildable));
    assert_eq!(plane.events(2)[1..], [(1, NotSent, Reject)]);
}

#[test]
fn a_retry_that_would_come_after_the_deadline_expires_now() {
    let mut plane = Plane::new();
    let short =
        Dispatch { valid_until: START + secs(4), ..dispatch(1, Lane::Transactional, START) };
    plane.feed(short);
    plane.answer_last(unparsed(404));
    assert_eq!(plane.events(1)[1..], [(1, Refused, Retry), (2, Expired, Nothing)]);
    plane.advance(HOUR);
    assert_eq!(plane.calls.len(), 1);
}

#[test]
fn results_that_answer_nothing_open_change_nothing() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    let first = plane.calls[0].clone();
    plane.answer(&first, unparsed(404));
    plane.advance(secs(6));
    let second = plane.calls[1].clone();
    let unknown = CallProvider { message_id: message_id(9), ..first.clone() };
    let settled = plane.driver.state().clone();
    for (call, outcome, why) in [
        (&first, accepted("w"), "other_attempt"),
        (&first, unparsed(404), "other_attempt"),
        (&unknown, accepted("w"), "unknown_message"),
    ] {
        let counts = plane.counts(Input::Effect(result_of(call, outcome)));
        assert_eq!(counts[&("sendplane_call_results_ignored_total", why)], 1);
    }
    plane.answer(&first, accepted("w"));
    let changed = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        *key != sendplane_stage_api::commit::COMMIT_KEY && settled.get(key) != Some(value)
    };
    assert!(!plane.driver.state().iter().any(changed));
    plane.answer(&second, accepted("w"));
    let events = plane.events(1).len();
    for outcome in [accepted("w"), accepted("other"), error(100), lost()] {
        plane.answer(&second, outcome);
    }
    assert_eq!(plane.events(1).len(), events);
}

#[test]
fn a_late_answer_settles_a_doubt_either_way() {
    for (outcome, event, disposition) in [
        (accepted("w"), Accepted, Nothing),
        (error(131026), Refused, Reject),
        (unparsed(404), Refused, Retry),
        (not_started(NotStarted::TooLate), NotSent, Retry),
    ] {
        let mut plane = Plane::new();
        plane.send(1, Lane::Transactional);
        plane.advance(secs(20));
        assert_eq!(plane.events(1)[1..], [(1, InDoubt, Nothing)]);
        let call = plane.calls[0].clone();
        plane.answer(&call, outcome);
        assert_eq!(plane.events(1)[2], (1, event, disposition));
    }
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.advance(secs(20));
    plane.answer_last(lost());
    assert_eq!(plane.events(1).len(), 2, "a doubt does not begin twice");
}

#[test]
fn records_and_effects_carry_the_messages_own_trace() {
    let trace = |n: u64| TraceContext {
        correlation_id: Some(format!("order-{n}")),
        ..TraceContext::default()
    };
    let mut plane = Plane::new();
    for n in 1..=20 {
        let record = Record::Dispatch(Box::new(dispatch(n, Lane::Bulk, START)));
        let produced = plane.driver.record_traced(topic::DISPATCH_BULK, record, trace(n));
        plane.take(produced);
    }
    plane.advance(secs(2));
    for call in plane.calls.clone() {
        plane.answer(&call, lost());
    }
    plane.advance(HOUR);
    assert_eq!(plane.attempts.len(), 60);
    for (record, carried) in plane.attempts.iter().zip(&plane.traces) {
        let n = (1..=20).find(|n| message_id(*n) == record.message_id).unwrap();
        assert_eq!(*carried, trace(n), "{record:?}");
    }
}

#[test]
fn a_tenant_may_want_fewer_calls() {
    let mut plane = Plane::new();
    let own = |class: &str, attempts_max| TenantRetries { error_class: class.into(), attempts_max };
    let retries = vec![own("retry_message", 2), own("provider_wide", 1)];
    plane.set_tenant(Tenant { retries, ..tenant(80) });
    plane.send(1, Lane::Transactional);
    plane.answer_last(unparsed(404));
    plane.advance(secs(6));
    plane.answer_last(unparsed(404));
    plane.advance(secs(60));
    assert_eq!(plane.calls.len(), 2);
    assert_eq!(plane.dead.len(), 1, "given up, not lost");
    plane.send(2, Lane::Transactional);
    plane.answer_last(error(2));
    assert_eq!(plane.dead.len(), 2);
}
