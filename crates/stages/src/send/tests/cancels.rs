//! What a cancel does to a message, wherever it stands: whatever it is told, no call follows.

use AttemptEvent::{Accepted, Cancelled, Expired, InDoubt, NotSent, Refused, Submitting};
use Disposition::{DeadLetter, None as Nothing, Retry};
use sendplane_wire::record::{CancelAnswer, CancelResult, Cancellation};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn cancellation(n: u64) -> Cancellation {
    Cancellation {
        cancel_id: format!("c-{n}"),
        tenant: TenantId::new(TENANT),
        message_id: message_id(n),
        reason: "order withdrawn".into(),
        requested_by: "shop".into(),
        requested_at: START,
        messages: 1,
    }
}

impl Plane {
    fn cancel_as(&mut self, cancel: Cancellation) -> CancelAnswer {
        let before = self.others.len();
        let record = Record::Cancellation(Box::new(cancel));
        let produced = self.driver.record(topic::CANCELLATIONS, record);
        self.take(produced);
        match &self.others[before..] {
            [Output::CancelAnswer(answer)] => (**answer).clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Cancels message `n` twice; the answer, which is the same, and the state of the message.
    pub(super) fn cancel(&mut self, n: u64) -> (CancelResult, Option<String>) {
        let first = self.cancel_as(cancellation(n));
        let attempts = self.attempts.len();
        let second = self.cancel_as(cancellation(n));
        assert_eq!((second.result, &second.state), (first.result, &first.state));
        assert_eq!(self.attempts.len(), attempts, "a repetition changes nothing");
        assert_eq!((first.cancel_id, first.message_id), (format!("c-{n}"), Some(message_id(n))));
        assert!(first.detail.is_some());
        (first.result, first.state)
    }

    /// Whatever happens later, message `n` is called no more than so often.
    fn assert_calls(mut self, n: u64, calls: usize) {
        self.driver.restart();
        self.advance(2 * DAY);
        let found = self.calls.iter().filter(|call| call.message_id == message_id(n)).count();
        assert_eq!(found, calls);
    }
}

fn cancelled(state: &str) -> (CancelResult, Option<String>) {
    (CancelResult::Cancelled, Some(state.to_owned()))
}

fn too_late(state: &str) -> (CancelResult, Option<String>) {
    (CancelResult::TooLate, Some(state.to_owned()))
}

/// A plane in which nothing is granted.
fn closed() -> Plane {
    let mut plane = Plane::new();
    plane.set_tenant(tenant(0));
    plane
}

#[test]
fn what_waits_ends_and_is_never_called() {
    let mut plane = closed();
    plane.send(1, Lane::Bulk);
    plane.send(2, Lane::Bulk);
    assert_eq!(plane.cancel(1), cancelled("cancelled"));
    assert_eq!(plane.events(1), [(0, Cancelled, Nothing)]);
    plane.set_tenant(tenant(80));
    plane.advance(secs(10));
    assert_eq!(plane.calls.len(), 1, "the other one is called");
    plane.assert_calls(1, 0);
}

#[test]
fn what_is_parked_ends_and_leaves_its_pair_to_others() {
    let mut plane = Plane::new();
    for n in 0..47 {
        plane.feed(Dispatch { contact_hash: contact(0), ..dispatch(n, Lane::Bulk, START) });
        plane.advance(secs(0));
    }
    plane.advance(secs(1));
    let called = plane.calls.len() as u64;
    assert!(called < 47);
    assert_eq!(plane.cancel(called), cancelled("cancelled"));
    plane.advance(HOUR / 2);
    assert_eq!(plane.calls.len(), 46, "all but the cancelled one");
    plane.assert_calls(called, 0);
}

#[test]
fn what_a_pause_holds_ends_at_once() {
    let mut plane = Plane::new();
    plane.control(sample::set_switch(sample::switch("s", START + HOUR)));
    plane.send(1, Lane::Bulk);
    assert_eq!(plane.cancel(1), cancelled("cancelled"));
    plane.control(Change::Switch("s".into(), None));
    plane.assert_calls(1, 0);
}

#[test]
fn a_cancel_before_the_dispatch_ends_it_when_it_comes() {
    let mut plane = Plane::new();
    assert_eq!(plane.cancel(1), (CancelResult::Cancelled, None));
    plane.driver.restart();
    plane.advance(DAY);
    plane.feed(Dispatch { valid_until: START + 2 * DAY, ..dispatch(1, Lane::Bulk, START) });
    assert_eq!(plane.events(1), [(0, Cancelled, Nothing)]);
    assert_eq!(plane.cancel(1), cancelled("cancelled"));
    plane.assert_calls(1, 0);
}

#[test]
fn what_is_remembered_is_forgotten_when_no_dispatch_can_come() {
    let mut plane = Plane::new();
    let empty = plane.driver.state().len();
    assert_eq!(plane.cancel(1), (CancelResult::Cancelled, None));
    plane.advance(14 * DAY);
    assert!(plane.driver.state().len() > empty);
    plane.advance(2 * DAY);
    assert_eq!((plane.driver.next_timer(), plane.driver.state().len()), (None, empty));
    assert_eq!(plane.cancel(1), (CancelResult::NotFound, None), "too old to be known");
}

#[test]
fn a_call_under_way_is_too_late_and_stays_the_last() {
    let outcomes: [(CallOutcome, &[_], CancelResult); 4] = [
        (accepted("w"), &[(1, Submitting, Nothing), (1, Accepted, Nothing)], CancelResult::TooLate),
        (
            not_started(NotStarted::TooLate),
            &[(1, Submitting, Nothing), (1, NotSent, Retry), (2, Cancelled, Nothing)],
            CancelResult::Cancelled,
        ),
        (
            error(131_056),
            &[(1, Submitting, Nothing), (1, Refused, Retry), (2, Cancelled, Nothing)],
            CancelResult::Cancelled,
        ),
        (lost(), &[(1, Submitting, Nothing), (1, InDoubt, Nothing)], CancelResult::TooLate),
    ];
    for (outcome, events, then) in outcomes {
        let mut plane = Plane::new();
        plane.send(1, Lane::Transactional);
        assert_eq!(plane.cancel(1), too_late("submitting"));
        plane.driver.restart();
        plane.answer_last(outcome);
        assert_eq!(plane.events(1), events);
        assert_eq!(plane.cancel(1).0, then);
        plane.assert_calls(1, 1);
    }
}

#[test]
fn a_doubt_is_too_late_and_a_late_proof_ends_it_without_another_call() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    let call = plane.calls[0].clone();
    plane.answer(&call, lost());
    assert_eq!(plane.cancel(1), too_late("in_doubt"));
    plane.answer(&call, error(130_429));
    assert_eq!(plane.events(1).last(), Some(&(2, Cancelled, Nothing)));
    plane.assert_calls(1, 1);
}

#[test]
fn a_retry_that_waits_is_withdrawn() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(not_started(NotStarted::NoConnection));
    assert_eq!(plane.cancel(1), cancelled("cancelled"));
    assert_eq!(plane.events(1)[1..], [(1, NotSent, Retry), (2, Cancelled, Nothing)]);
    // The provider may say later what nobody expects any more.
    plane.feedback(1, 1, "w", ReceiptStatus::Delivered);
    assert_eq!(plane.cancel(1), too_late("accepted"));
    plane.assert_calls(1, 1);
}

#[test]
fn what_has_ended_is_too_late_and_a_replay_of_it_is_not_called() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(accepted("w"));
    assert_eq!(plane.cancel(1), too_late("accepted"));

    plane.feed(Dispatch { valid_until: START, ..dispatch(2, Lane::Bulk, START) });
    assert_eq!(plane.events(2), [(0, Expired, Nothing)]);
    assert_eq!(plane.cancel(2), too_late("expired"));

    plane.send(3, Lane::Transactional);
    while plane.last().disposition != DeadLetter {
        plane.answer_last(unparsed(404));
        plane.advance(secs(46));
    }
    let calls = plane.calls.len();
    assert_eq!(plane.cancel(3), too_late("dead_lettered"));
    plane.replay(dispatch(3, Lane::Transactional, START), None);
    assert_eq!(plane.events(3).last().map(|last| last.1), Some(Cancelled));
    assert_eq!(plane.cancel(3), cancelled("cancelled"));
    plane.advance(HOUR);
    assert_eq!(plane.calls.len(), calls);
}

#[test]
fn a_message_of_another_tenant_is_not_found() {
    let mut plane = closed();
    plane.send(1, Lane::Bulk);
    let foreign = Cancellation { tenant: TenantId::new("globex"), ..cancellation(1) };
    let answer = plane.cancel_as(foreign.clone());
    assert_eq!((answer.result, answer.state), (CancelResult::NotFound, None));
    // Nor does a foreign cancel that comes first hold the message up.
    let early = Cancellation { message_id: message_id(2), ..foreign };
    plane.cancel_as(early);
    plane.send(2, Lane::Bulk);
    plane.set_tenant(tenant(80));
    plane.advance(secs(10));
    assert_eq!(plane.calls.len(), 2);
}

/// Like I11: what the cycle has read before it grants counts, whatever stood in the queue.
#[test]
fn a_cancel_read_in_the_cycle_of_the_grant_wins() {
    let plane = closed();
    let mut open = plane.directory.clone();
    open.apply(&sample::set_tenant(tenant(80)));
    let time = CycleTime {
        now: plane.now(),
        partition: 0,
        partitions: 1,
        timer_floor: Timestamp::default(),
        allowance: Allowance::UNLIMITED,
        portion: Portion::Full,
    };
    for is_cancelled in [false, true] {
        let mut cycle = Cycle::open(plane.driver.stage(), plane.driver.state(), &open, time);
        let dispatch = Record::Dispatch(Box::new(dispatch(1, Lane::Transactional, START)));
        cycle.apply(record_input(dispatch, topic::DISPATCH_TRANSACTIONAL), TraceContext::default());
        if is_cancelled {
            let cancel = Record::Cancellation(Box::new(cancellation(1)));
            cycle.apply(record_input(cancel, topic::CANCELLATIONS), TraceContext::default());
        }
        let done = cycle.finish().unwrap();
        assert_eq!(done.effects.is_empty(), is_cancelled);
    }
}
