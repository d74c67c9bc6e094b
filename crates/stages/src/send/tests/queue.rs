//! Who is called next, and how fast.

use AttemptEvent::{Expired, Refused, Submitting};
use Disposition::{None as Nothing, Reject};

use super::*;

/// Numbers of the messages in the order of their calls.
fn order(plane: &Plane) -> Vec<u64> {
    let n_of = |call: &CallProvider| (0..500).find(|n| message_id(*n) == call.message_id).unwrap();
    plane.calls.iter().map(n_of).collect()
}

#[test]
fn the_margin_pays_for_a_burst_and_the_rest_follows_at_the_pace() {
    let mut plane = Plane::new();
    for n in 0..200 {
        plane.send(n, Lane::Bulk);
    }
    assert_eq!(plane.calls.len(), 4, "80 less 5 % is 76, and 4 are left");
    plane.advance(secs(1));
    assert_eq!(plane.calls.len(), 80, "the ceiling in a closed second, and not one more");
    plane.advance(secs(1));
    assert_eq!(plane.calls.len(), 156, "the pace from then on");
    plane.advance(secs(1));
    assert_eq!(order(&plane), (0..200).collect::<Vec<_>>());
    assert_eq!(plane.driver.next_timer(), Some(START + secs(20)), "no timer is left but intents");
}

#[test]
fn transactional_overtakes_a_backlog_of_bulk() {
    let mut plane = Plane::new();
    for n in 0..100 {
        plane.send(n, Lane::Bulk);
    }
    let granted = plane.calls.len();
    for n in 100..110 {
        plane.send(n, Lane::Transactional);
    }
    plane.advance(secs(3));
    let order = order(&plane);
    assert_eq!(order[granted..granted + 10], (100..110).collect::<Vec<_>>());
    assert_eq!(order.len(), 110);
}

#[test]
fn a_waiting_retry_in_the_transactional_lane_does_not_hold_up_bulk() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(unparsed(404));
    plane.send(2, Lane::Bulk);
    assert_eq!(order(&plane), [1, 2]);
    plane.advance(secs(6));
    assert_eq!(order(&plane), [1, 2, 1]);
}

#[test]
fn the_bulk_topic_moves_a_message_down_whatever_it_claims() {
    let mut plane = Plane::new();
    for n in 0..20 {
        plane.send(n, Lane::Bulk);
    }
    let claims = dispatch(20, Lane::Transactional, START);
    let record = Record::Dispatch(Box::new(claims));
    let produced = plane.driver.record(topic::DISPATCH_BULK, record);
    plane.take(produced);
    plane.advance(secs(2));
    assert_eq!(order(&plane), (0..=20).collect::<Vec<_>>());
    assert_eq!(plane.calls[20].lane, Lane::Bulk);
}

#[test]
fn numbers_do_not_wait_for_each_other() {
    let mut plane = Plane::new();
    let mut row = tenant(10);
    let mut second = row.phone_numbers[0].clone();
    second.phone_number_id = PhoneNumberId::new("second");
    row.phone_numbers.push(second);
    plane.set_tenant(row);
    for n in 0..5 {
        plane.send(n, Lane::Bulk);
    }
    let granted = plane.calls.len();
    let other = Dispatch {
        phone_number_id: PhoneNumberId::new("second"),
        ..dispatch(9, Lane::Bulk, START)
    };
    plane.feed(other);
    assert_eq!(plane.calls.len(), granted + 1);
    assert_eq!(plane.calls[granted].phone_number_id, PhoneNumberId::new("second"));
}

#[test]
fn a_message_expires_in_the_queue_without_a_call() {
    let mut plane = Plane::new();
    plane.set_tenant(tenant(2));
    for n in 0..4 {
        let valid_until = START + secs(1);
        plane.feed(Dispatch { valid_until, ..dispatch(n, Lane::Bulk, START) });
    }
    plane.advance(HOUR);
    let called = plane.calls.len() as u64;
    assert!((1..4).contains(&called));
    for n in called..4 {
        assert_eq!(plane.events(n), [(0, Expired, Nothing)]);
    }
    let late = plane.attempts.iter().filter(|record| record.event == Expired);
    assert!(late.clone().count() > 0 && late.clone().all(|r| r.occurred_at == START + secs(1)));
}

#[test]
fn a_message_that_arrives_too_late_expires() {
    let mut plane = Plane::new();
    plane.feed(Dispatch { valid_until: START, ..dispatch(1, Lane::Bulk, START) });
    assert_eq!(plane.events(1), [(0, Expired, Nothing)]);
    plane.advance(HOUR);
    assert_eq!((plane.calls.len(), plane.attempts.len()), (0, 1));
}

#[test]
fn an_inactive_tenant_waits_until_it_is_active_or_its_messages_expire() {
    let mut plane = Plane::new();
    plane.set_tenant(Tenant { active: false, ..tenant(80) });
    plane.send(1, Lane::Transactional);
    let soon = START + secs(60);
    plane.feed(Dispatch { valid_until: soon, ..dispatch(2, Lane::Transactional, START) });
    plane.advance(secs(90));
    plane.driver.restart();
    assert_eq!((plane.calls.len(), plane.events(2)), (0, vec![(0, Expired, Nothing)]));
    assert_eq!(plane.last().occurred_at, soon);
    plane.set_tenant(tenant(80));
    assert_eq!(order(&plane), [1]);
}

#[test]
fn a_closed_number_waits_for_a_new_ceiling() {
    let mut plane = Plane::new();
    plane.set_tenant(tenant(0));
    plane.send(1, Lane::Transactional);
    plane.advance(secs(60));
    assert_eq!(plane.calls.len(), 0);
    plane.set_tenant(tenant(20));
    assert_eq!(order(&plane), [1]);
}

#[test]
fn an_unknown_number_is_refused_and_known_to_be_missing() {
    use sendplane_stage_api::Stage;

    let mut plane = Plane::new();
    let foreign = Dispatch {
        phone_number_id: PhoneNumberId::new("nobodys"),
        ..dispatch(1, Lane::Bulk, START)
    };
    let record = Record::Dispatch(Box::new(foreign.clone()));
    assert!(plane.driver.stage().misses_global(&record, &plane.directory));
    let known = Record::Dispatch(Box::new(dispatch(1, Lane::Bulk, START)));
    assert!(!plane.driver.stage().misses_global(&known, &plane.directory));
    plane.feed(foreign);
    assert_eq!(plane.events(1), [(0, Refused, Reject)]);
    assert!(plane.last().error_message.as_deref().unwrap().contains("nobodys"));
}

#[test]
fn messages_of_a_number_that_is_taken_away_are_refused() {
    let mut plane = Plane::new();
    plane.set_tenant(tenant(2));
    for n in 0..3 {
        plane.send(n, Lane::Bulk);
    }
    let called = plane.calls.len() as u64;
    plane.remove_tenant();
    for n in called..3 {
        assert_eq!(plane.events(n), [(0, Refused, Reject)]);
    }
    assert!(called < 3);
    plane.advance(HOUR);
    assert_eq!(plane.calls.len() as u64, called);
}

#[test]
fn a_repeated_dispatch_is_ignored_and_counted_in_every_state() {
    let mut plane = Plane::new();
    let again = |plane: &mut Plane| {
        let (events, calls) = (plane.attempts.len(), plane.calls.len());
        let record = Record::Dispatch(Box::new(dispatch(1, Lane::Bulk, plane.now())));
        let counts = plane.counts(record_input(record, topic::DISPATCH_BULK));
        assert_eq!(counts[&("sendplane_duplicate_dispatches_total", "bulk")], 1);
        plane.send(1, Lane::Bulk);
        assert_eq!((plane.attempts.len(), plane.calls.len()), (events, calls));
    };
    plane.send(1, Lane::Bulk);
    again(&mut plane);
    plane.answer_last(unparsed(404));
    again(&mut plane);
    plane.advance(secs(6));
    plane.answer_last(lost());
    again(&mut plane);
    plane.advance(secs(660));
    again(&mut plane);
    assert_eq!(plane.calls.len(), 2);
}

#[test]
fn nothing_is_granted_while_the_task_may_not_perform() {
    let plane = Plane::new();
    let record = Record::Dispatch(Box::new(dispatch(1, Lane::Bulk, START)));
    let input = record_input(record, topic::DISPATCH_BULK);
    let transition = plane.preview(input, 0);
    assert!(transition.effects.is_empty() && transition.outputs.is_empty());
    assert_eq!(transition.wants, Wants { urgent: false, weight: 1 });
}

#[test]
fn events_of_a_message_never_called_have_attempt_0_and_of_another_the_next() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    plane.answer_last(unparsed(404));
    plane.set_tenant(Tenant { active: false, ..tenant(80) });
    plane.advance(HOUR);
    assert_eq!(plane.events(1)[0], (1, Submitting, Nothing));
    assert_eq!(plane.events(1).last(), Some(&(2, Expired, Nothing)));
}
