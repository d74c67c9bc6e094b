//! Limits above the single message: pairs, throttling, breakers, holds, the inbox.

use AttemptEvent::{Accepted, Expired, NotSent, Refused, Submitting};
use Disposition::{None as Nothing, Retry};
use sendplane_stage_api::InputClass;

use super::*;

/// Message `n` to the contact of message `to`.
fn to_contact(plane: &mut Plane, n: u64, to: u64, lane: Lane) {
    let dispatch = Dispatch { contact_hash: contact(to), ..dispatch(n, lane, plane.now()) };
    plane.feed(dispatch);
}

fn calls_since(plane: &Plane, from: usize) -> Vec<u64> {
    let n_of = |call: &CallProvider| (0..2_000).find(|n| message_id(*n) == call.message_id);
    plane.calls[from..].iter().map(|call| n_of(call).unwrap()).collect()
}

/// Answers every call that is not answered yet.
fn answer_all(plane: &mut Plane, from: usize, outcome: impl Fn(&CallProvider) -> CallOutcome) {
    let mut next = from;
    while next < plane.calls.len() {
        let call = plane.calls[next].clone();
        plane.answer(&call, outcome(&call));
        next += 1;
    }
}

#[test]
fn one_contact_takes_its_burst_and_holds_up_nobody() {
    let mut plane = Plane::new();
    plane.set_tenant(tenant(1_000));
    for n in 0..60 {
        to_contact(&mut plane, n, 0, Lane::Transactional);
    }
    plane.send(100, Lane::Transactional);
    plane.send(101, Lane::Bulk);
    plane.advance(secs(1));
    assert_eq!(plane.calls.len(), 44 + 2, "45 less one for the margin, and the others");
    plane.advance(secs(4));
    assert_eq!(plane.calls.len(), 46);
    plane.advance(secs(1));
    assert_eq!(calls_since(&plane, 46), [44], "one every 6 s, in the order they came");
    plane.driver.restart();
    plane.advance(secs(6 * 15));
    assert_eq!(calls_since(&plane, 46), (44..60).collect::<Vec<_>>());
}

#[test]
fn a_transactional_message_to_a_waiting_contact_comes_before_bulk_to_it() {
    let mut plane = Plane::new();
    plane.set_tenant(tenant(1_000));
    for n in 0..50 {
        to_contact(&mut plane, n, 0, Lane::Bulk);
    }
    plane.advance(secs(1));
    to_contact(&mut plane, 50, 0, Lane::Transactional);
    plane.advance(secs(6));
    assert_eq!(calls_since(&plane, 44), [50]);
    plane.advance(secs(60));
    assert_eq!(calls_since(&plane, 45), (44..50).collect::<Vec<_>>());
}

#[test]
fn a_parked_message_expires_and_the_next_one_takes_its_place() {
    let mut plane = Plane::new();
    plane.set_tenant(tenant(1_000));
    for n in 0..44 {
        to_contact(&mut plane, n, 0, Lane::Bulk);
    }
    plane.advance(secs(1));
    let soon = plane.now() + secs(2);
    for (n, valid_until) in [(44, soon), (45, soon), (46, START + HOUR)] {
        let parked = Dispatch { contact_hash: contact(0), ..dispatch(n, Lane::Bulk, START) };
        plane.feed(Dispatch { valid_until, ..parked });
    }
    plane.advance(secs(10));
    assert_eq!(plane.events(44), [(0, Expired, Nothing)]);
    assert_eq!(plane.events(45), [(0, Expired, Nothing)]);
    assert_eq!(calls_since(&plane, 44), [46]);
}

#[test]
fn a_refusal_for_the_pair_holds_that_pair_only() {
    let mut plane = Plane::new();
    to_contact(&mut plane, 1, 1, Lane::Transactional);
    plane.answer_last(error(131056));
    to_contact(&mut plane, 2, 1, Lane::Transactional);
    plane.send(3, Lane::Transactional);
    assert_eq!(calls_since(&plane, 1), [3]);
    plane.advance(secs(2));
    assert_eq!(calls_since(&plane, 2), [2, 1], "after 4^0 s; the retry is the younger one");
}

#[test]
fn a_refusal_for_going_too_fast_halves_the_pace_and_time_gives_it_back() {
    let mut plane = Plane::new();
    for n in 0..1_000 {
        plane.send(n, Lane::Bulk);
    }
    let call = plane.calls[0].clone();
    plane.answer(&call, error(130429));
    let refused = plane.calls.len();
    plane.advance(secs(1));
    let slow = plane.calls.len() - refused;
    assert!((30..=48).contains(&slow), "half of 76, recovering: {slow}");
    // Calls granted before the decrease say nothing new.
    let call = plane.calls[1].clone();
    plane.answer(&call, error(130429));
    plane.advance(secs(9));
    let before = plane.calls.len();
    plane.advance(secs(1));
    assert!(plane.calls.len() - before >= 68, "{}", plane.calls.len() - before);
    assert_eq!(plane.driver.counted("sendplane_throttles_total", "number"), 1);
}

#[test]
fn throttling_of_the_app_slows_every_number() {
    let mut plane = Plane::new();
    plane.send(0, Lane::Bulk);
    plane.answer_last(error(4));
    let before = plane.calls.len();
    for n in 1..200 {
        plane.send(n, Lane::Bulk);
    }
    plane.advance(secs(1));
    let slow = plane.calls.len() - before;
    assert!((30..=50).contains(&slow), "{slow}");
}

#[test]
fn maintenance_holds_the_number_for_a_minute() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(error(131057));
    plane.send(2, Lane::Transactional);
    plane.advance(secs(59));
    assert_eq!(plane.calls.len(), 1);
    plane.advance(secs(2));
    assert_eq!(calls_since(&plane, 1), [2, 1]);
}

#[test]
fn a_dead_provider_is_probed_and_its_messages_wait_until_they_expire() {
    let mut plane = Plane::new();
    for n in 0..30 {
        plane.send(n, Lane::Transactional);
    }
    plane.advance(Duration::from_millis(100));
    answer_all(&mut plane, 0, |_| not_started(NotStarted::NoConnection));
    let storm = plane.calls.len();
    assert!(storm < 15, "five failures open the breaker, what is out comes to its end: {storm}");
    for probes in 1..=3 {
        plane.advance([secs(6), secs(16), secs(46)][probes - 1]);
        assert_eq!(plane.calls.len(), storm + probes, "one call at a time");
        answer_all(&mut plane, storm + probes - 1, |_| not_started(NotStarted::NoConnection));
    }
    plane.advance(secs(46));
    plane.answer_last(accepted("w"));
    let mut answered = storm + 4;
    for _ in 0..100 {
        plane.advance(secs(1));
        answer_all(&mut plane, answered, |call| accepted(&format!("w{}", call.message_id)));
        answered = plane.calls.len();
    }
    for n in 0..30 {
        let events = plane.events(n);
        assert_eq!(events.last().map(|event| event.1), Some(Accepted), "{n}: {events:?}");
        assert!(events.iter().all(|e| [Submitting, NotSent, Accepted].contains(&e.1)));
    }
    assert_eq!(plane.dead, [], "nobody is blamed");
}

#[test]
fn lost_answers_open_the_breaker_too() {
    let mut plane = Plane::new();
    for n in 0..40 {
        plane.send(n, Lane::Transactional);
    }
    plane.advance(Duration::from_millis(100));
    answer_all(&mut plane, 0, |_| lost());
    let doubted = plane.calls.len();
    plane.advance(secs(4));
    assert_eq!(plane.calls.len(), doubted, "no more doubts are made");
    plane.advance(secs(2));
    assert_eq!(plane.calls.len(), doubted + 1);
}

#[test]
fn a_bad_token_stops_its_tenant_until_a_call_goes_through() {
    for refusal in [error(190), not_started(NotStarted::NoCredential)] {
        let mut plane = Plane::new();
        let mut other = sample::tenant("globex");
        other.phone_numbers[0].messages_per_second = 80;
        plane.set_tenant(other);
        plane.send(1, Lane::Transactional);
        plane.send(2, Lane::Transactional);
        answer_all(&mut plane, 0, |_| refusal.clone());
        plane.send(3, Lane::Transactional);
        let globex = Dispatch {
            tenant: TenantId::new("globex"),
            phone_number_id: PhoneNumberId::new("globex-number"),
            ..dispatch(4, Lane::Transactional, START)
        };
        plane.feed(globex);
        assert_eq!(calls_since(&plane, 2), [4], "only that tenant stands still");
        plane.answer_last(accepted("w4"));
        plane.advance(secs(6));
        assert_eq!(calls_since(&plane, 3).len(), 1, "a probe");
        plane.answer_last(refusal.clone());
        plane.advance(secs(17));
        assert_eq!(calls_since(&plane, 4).len(), 1);
        plane.answer_last(accepted("w"));
        plane.advance(secs(30));
        assert_eq!(calls_since(&plane, 5).len(), 2, "a new token releases the rest");
    }
}

#[test]
fn a_number_that_may_not_send_keeps_its_messages_until_they_expire() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    plane.answer_last(error(133010));
    assert_eq!(plane.events(1)[1..], [(1, Refused, Retry)]);
    for _ in 0..200 {
        plane.advance(secs(20));
        if plane.calls.len() > plane.events(1).iter().filter(|e| e.1 == Refused).count() {
            plane.answer_last(error(133010));
        }
    }
    assert_eq!(plane.events(1).last().map(|event| event.1), Some(Expired));
    assert!(plane.calls.len() < 90, "{}", plane.calls.len());
}

#[test]
fn bulk_is_left_in_kafka_beyond_the_budget() {
    let mut plane =
        Plane::with(SendSettings { inbox_bytes_max: 20_000, ..SendSettings::new(hash_key()) });
    for n in 0..60 {
        plane.send(n, Lane::Bulk);
    }
    assert!(plane.driver.held().contains(&InputClass::Bulk));
    plane.driver.restart();
    plane.send(60, Lane::Transactional);
    assert!(plane.driver.held().contains(&InputClass::Bulk), "transactional is still taken");
    let gauge = |plane: &Plane, name| plane.driver.gauged(name, "bulk");
    assert_eq!(gauge(&plane, "sendplane_inbox_full_seconds"), Some(1), "not 0 while it is full");
    assert!(gauge(&plane, "sendplane_inbox_bytes") >= Some(20_000));
    plane.advance(secs(1));
    assert!(plane.driver.held().is_empty(), "what is called makes room");
    assert_eq!(gauge(&plane, "sendplane_inbox_full_seconds"), Some(0));
    plane.advance(HOUR);
    assert_eq!(plane.calls.len(), 61);
    assert_eq!(gauge(&plane, "sendplane_inbox_messages"), Some(0));
    assert_eq!(gauge(&plane, "sendplane_inbox_bytes"), Some(0), "what came has gone");
}

#[test]
fn rows_of_pairs_are_swept() {
    let mut plane = Plane::new();
    let empty = plane.driver.state().len();
    for n in 0..100 {
        plane.send(n, Lane::Bulk);
    }
    plane.advance(secs(2));
    answer_all(&mut plane, 0, |call| accepted(&format!("w{}", call.message_id)));
    let full = plane.driver.state().len();
    plane.advance(secs(200));
    let swept = plane.driver.state().len();
    assert_eq!(full - swept, 202, "a row and its end for each pair, and the sweep's timer");
    plane.advance(super::super::SETTLED_RETENTION);
    assert_eq!(plane.driver.state().len(), empty + 4);
    assert_eq!(plane.driver.next_timer(), None);
}

/// Nothing tells the stage that a token was mended: it finds out by its probes. Measured here: how
/// long that takes at worst, from the moment on which calls would go through.
#[test]
fn a_mended_token_is_found_out_within_45_seconds() {
    let mut worst = Duration::ZERO;
    for mended_after in (5..400).step_by(19) {
        for messages in [1, 5] {
            let mut plane = Plane::new();
            for n in 1..=messages {
                plane.send(n, Lane::Transactional);
            }
            let mended_at = START + secs(mended_after);
            let mut answered = 0;
            while plane.last().event != AttemptEvent::Accepted {
                while answered < plane.calls.len() {
                    let is_mended = plane.now() >= mended_at;
                    let outcome = if is_mended { accepted("w") } else { error(190) };
                    let call = plane.calls[answered].clone();
                    plane.answer(&call, outcome);
                    answered += 1;
                }
                plane.advance(secs(1));
            }
            worst = worst.max(plane.last().occurred_at.since(mended_at));
        }
    }
    assert!(worst <= secs(45), "{worst:?}");
    assert!(worst > secs(30), "the probes became more frequent: say so where it is promised");
}
