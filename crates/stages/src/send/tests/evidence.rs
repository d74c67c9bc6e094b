//! Webhooks: evidence in every state of a message.

use AttemptEvent::{Accepted, Expired, GaveUp, InDoubt, NotSent, Refused, Submitting};
use Disposition::{None as Nothing, Reject, Retry};

use super::*;

const DUPLICATE: (&str, &str) = ("sendplane_duplicate_sends_detected_total", "second_wamid");

#[test]
fn a_webhook_settles_a_doubt_whatever_its_status() {
    for status in [
        ReceiptStatus::Unknown,
        ReceiptStatus::Sent,
        ReceiptStatus::Delivered,
        ReceiptStatus::Read,
        ReceiptStatus::Played,
        ReceiptStatus::Failed,
    ] {
        let mut plane = Plane::new();
        plane.send(1, Lane::Transactional);
        plane.answer_last(lost());
        plane.feedback(1, 1, "w", status);
        assert_eq!(plane.events(1)[1..], [(1, InDoubt, Nothing), (1, Accepted, Nothing)]);
        assert_eq!(plane.last().wamid_hash, Some(wamid_hash("w")));
        plane.advance(2 * HOUR);
        assert_eq!((plane.calls.len(), plane.events(1).len()), (1, 3), "{status:?}");
    }
}

#[test]
fn a_webhook_before_the_doubt_begins_prevents_it() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.feedback(1, 1, "w", ReceiptStatus::Sent);
    assert_eq!(plane.events(1)[1..], [(1, Accepted, Nothing)]);
    plane.advance(secs(30));
    plane.answer_last(lost());
    plane.answer_last(error(131026));
    plane.advance(2 * HOUR);
    assert_eq!(plane.events(1).len(), 2);
}

#[test]
fn the_answer_after_its_webhook_adds_the_wamid_once() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.feedback(1, 1, "w", ReceiptStatus::Sent);
    plane.answer_last(accepted("w"));
    plane.answer_last(accepted("w"));
    assert_eq!(plane.events(1)[1..], [(1, Accepted, Nothing), (1, Accepted, Nothing)]);
    assert_eq!(plane.last().wamid, Some(Wamid::new("w")));
}

#[test]
fn repeated_webhooks_say_nothing_new() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(accepted("w"));
    for status in [ReceiptStatus::Sent, ReceiptStatus::Delivered, ReceiptStatus::Sent] {
        plane.feedback(1, 1, "w", status);
    }
    assert_eq!(plane.events(1).len(), 2);
}

#[test]
fn late_evidence_corrects_every_end() {
    let given_up = |plane: &mut Plane| {
        plane.answer_last(lost());
        plane.advance(HOUR);
    };
    let rejected = |plane: &mut Plane| plane.answer_last(error(100));
    let expired = |plane: &mut Plane| {
        plane.answer_last(not_started(NotStarted::NoCredential));
        plane.remove_tenant();
        plane.set_tenant(Tenant { active: false, ..tenant(80) });
        plane.advance(HOUR);
    };
    type End = fn(&mut Plane);
    let cases: [(End, i32, AttemptEvent, Disposition); 3] = [
        (given_up, 1, GaveUp, Nothing),
        (rejected, 1, Refused, Reject),
        (expired, 2, Expired, Nothing),
    ];
    for (end, attempt, event, disposition) in cases {
        let mut plane = Plane::new();
        plane.send(1, Lane::Transactional);
        end(&mut plane);
        assert_eq!(plane.events(1).last(), Some(&(attempt, event, disposition)));
        let before = plane.events(1).len();
        plane.feedback(1, 1, "w", ReceiptStatus::Delivered);
        plane.feedback(1, 1, "w", ReceiptStatus::Read);
        assert_eq!(plane.events(1)[before..], [(1, Accepted, Nothing)]);
    }
}

#[test]
fn evidence_for_a_refused_attempt_stops_the_retry() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(unparsed(404));
    plane.feedback(1, 1, "w", ReceiptStatus::Delivered);
    plane.advance(2 * HOUR);
    let expected = [(1, Submitting, Nothing), (1, Refused, Retry), (1, Accepted, Nothing)];
    assert_eq!(plane.events(1), expected);
    assert_eq!(plane.calls.len(), 1);
}

#[test]
fn evidence_for_an_earlier_attempt_ends_the_message_with_the_call_that_is_out() {
    for (outcome, event) in [(unparsed(404), Refused), (not_started(NotStarted::TooLate), NotSent)]
    {
        let mut plane = Plane::new();
        plane.send(1, Lane::Transactional);
        plane.answer_last(unparsed(404));
        plane.advance(secs(6));
        plane.feedback(1, 1, "first", ReceiptStatus::Delivered);
        plane.answer_last(outcome);
        assert_eq!(plane.events(1)[3..], [(1, Accepted, Nothing), (2, event, Nothing)]);
        plane.advance(2 * HOUR);
        assert_eq!(plane.calls.len(), 2);
    }
}

#[test]
fn a_second_wamid_is_a_duplicate_and_counted_once() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(unparsed(404));
    plane.advance(secs(6));
    plane.feedback(1, 1, "first", ReceiptStatus::Delivered);
    let answer = Input::Effect(result_of(&plane.calls[1], accepted("second")));
    assert_eq!(plane.counts(answer).get(&DUPLICATE), Some(&1), "told by the answer");
    let webhook = |plane: &Plane, wamid: &str| {
        let record = feedback(1, 2, wamid, ReceiptStatus::Sent, plane.now());
        plane.counts(record_input(Record::Feedback(record), topic::FEEDBACK))
    };
    assert_eq!(webhook(&plane, "second").get(&DUPLICATE), Some(&1), "told by a webhook");
    plane.answer_last(accepted("second"));
    assert_eq!(webhook(&plane, "second").get(&DUPLICATE), None, "known already");
    assert_eq!(webhook(&plane, "first").get(&DUPLICATE), None, "known already");
    assert_eq!(webhook(&plane, "third").get(&DUPLICATE), Some(&1));
}

#[test]
fn evidence_about_a_stranger_is_counted() {
    let plane = Plane::new();
    let record = feedback(7, 1, "w", ReceiptStatus::Sent, START);
    let transition =
        plane.preview(record_input(Record::Feedback(record), topic::FEEDBACK), usize::MAX);
    assert_eq!(transition.counts[&("sendplane_feedback_unmatched_total", "unknown_message")], 1);
    // That its account's webhooks come is worth knowing all the same.
    assert_eq!((transition.outputs.len(), transition.writes.len()), (0, 1));
}
