//! The crash matrix (one message, one attempt): what is durable, what is true at Meta, and what the
//! next owner does. A crash is a restart from the changelog with every effect and result in flight
//! lost; a cycle that did not commit is a cycle that was never taken.

use AttemptEvent::{Accepted, GaveUp, InDoubt, Submitting};
use Disposition::None as Nothing;

use super::*;

/// Advances a crashed plane and asserts that the attempt is doubted and never called again.
fn doubts_after_a_crash(plane: &mut Plane) {
    plane.driver.restart();
    plane.advance(Duration::from_millis(19_999));
    assert_eq!(plane.events(1), [(1, Submitting, Nothing)]);
    plane.advance(Duration::from_millis(1));
    assert_eq!(plane.events(1), [(1, Submitting, Nothing), (1, InDoubt, Nothing)]);
    assert_eq!(plane.calls.len(), 1);
}

#[test]
fn before_the_intent_commits() {
    let mut plane = Plane::new();
    let record = || Record::Dispatch(Box::new(dispatch(1, Lane::Transactional, START)));
    let dropped = plane.preview(record_input(record(), topic::DISPATCH_TRANSACTIONAL), usize::MAX);
    assert_eq!(dropped.effects.len(), 1, "the effect of a dropped cycle is dropped with it");
    drop(dropped);
    plane.driver.restart();
    plane.feed(dispatch(1, Lane::Transactional, START));
    plane.answer_last(accepted("w"));
    assert_eq!(plane.events(1), [(1, Submitting, Nothing), (1, Accepted, Nothing)]);
    assert_eq!(plane.calls.len(), 1);
}

#[test]
fn after_the_commit_before_the_call() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    doubts_after_a_crash(&mut plane);
    plane.driver.restart();
    plane.advance(2 * HOUR);
    assert_eq!(plane.events(1)[2..], [(1, GaveUp, Nothing)]);
    assert_eq!(plane.calls.len(), 1);
}

#[test]
fn with_the_call_on_the_wire_or_its_result_not_committed() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    doubts_after_a_crash(&mut plane);
    plane.driver.restart();
    plane.feedback(1, 1, "w", ReceiptStatus::Sent);
    assert_eq!(plane.events(1)[2..], [(1, Accepted, Nothing)]);
    plane.advance(2 * HOUR);
    assert_eq!((plane.calls.len(), plane.events(1).len()), (1, 3));
}

#[test]
fn a_webhook_between_the_crash_and_the_doubt() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.driver.restart();
    plane.feedback(1, 1, "w", ReceiptStatus::Failed);
    plane.driver.restart();
    plane.advance(2 * HOUR);
    assert_eq!(plane.events(1), [(1, Submitting, Nothing), (1, Accepted, Nothing)]);
}

#[test]
fn a_result_whose_commit_was_in_doubt_is_given_again() {
    for outcome in [accepted("w"), unparsed(404), lost(), error(100)] {
        let mut plane = Plane::new();
        plane.send(1, Lane::Transactional);
        plane.answer_last(outcome.clone());
        let (events, calls) = (plane.events(1), plane.calls.len());
        plane.driver.restart();
        plane.answer_last(outcome.clone());
        assert_eq!((plane.events(1), plane.calls.len()), (events, calls), "{outcome:?}");
    }
}

#[test]
fn after_the_result_is_committed() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(accepted("w"));
    plane.driver.restart();
    plane.advance(2 * HOUR);
    assert_eq!((plane.calls.len(), plane.events(1).len()), (1, 2));
}

#[test]
fn a_read_timeout_without_a_crash_is_doubted_at_once() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(lost());
    assert_eq!(plane.last().occurred_at, START);
    assert_eq!(plane.events(1)[1..], [(1, InDoubt, Nothing)]);
}

#[test]
fn every_step_of_a_long_life_may_be_followed_by_a_crash() {
    let steps: [fn(&mut Plane); 8] = [
        |plane| plane.send(1, Lane::Bulk),
        |plane| plane.answer_last(not_started(NotStarted::TooLate)),
        |plane| plane.answer_last(unparsed(404)),
        |plane| plane.advance(secs(6)),
        |plane| plane.answer_last(error(130429)),
        |plane| plane.advance(secs(6)),
        |plane| plane.answer_last(lost()),
        |plane| plane.feedback(1, 4, "w", ReceiptStatus::Sent),
    ];
    let run = |crash_after: Option<usize>| {
        let mut plane = Plane::new();
        for (i, step) in steps.iter().enumerate() {
            step(&mut plane);
            if crash_after == Some(i) {
                plane.driver.restart();
            }
        }
        plane.advance(2 * HOUR);
        plane
    };
    let smooth = run(None);
    assert_eq!(smooth.calls.len(), 4);
    assert_eq!(smooth.events(1).last(), Some(&(4, Accepted, Nothing)));
    for i in 0..steps.len() {
        let crashed = run(Some(i));
        assert_eq!(crashed.attempts, smooth.attempts, "a crash after step {i}");
        assert_eq!(crashed.calls, smooth.calls, "a crash after step {i}");
    }
}

#[test]
fn a_row_goes_after_its_retention_and_takes_everything_with_it() {
    let mut plane = Plane::new();
    let empty = plane.driver.state().len();
    plane.send(1, Lane::Transactional);
    plane.answer_last(accepted("w"));
    plane.advance(super::super::SETTLED_RETENTION - secs(1));
    plane.feedback(1, 1, "w", ReceiptStatus::Read);
    assert_eq!(plane.events(1).len(), 2, "the row still knows the wamid");
    plane.advance(secs(1));
    // The rows of the number, the tenant, the inbox, the lane's turns, the account and its witnesses
    // stay.
    assert_eq!(plane.driver.state().len(), empty + 6);
    assert_eq!(plane.driver.next_timer(), None);
}
