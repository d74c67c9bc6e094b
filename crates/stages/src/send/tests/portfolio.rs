//! The limit of users a portfolio opens a conversation with in any 24 h.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(24 * 3600);

fn limited(users: Option<i32>) -> Plane {
    let mut plane = Plane::new();
    plane.set_tenant(Tenant { users_per_day: users, ..tenant(1_000) });
    plane
}

/// Message `n` to contact `to`, valid for long.
fn to(plane: &mut Plane, n: u64, to: u64, lane: Lane) {
    let valid_until = plane.now() + 60 * WINDOW;
    let row = dispatch(n, lane, plane.now());
    plane.feed(Dispatch { valid_until, contact_hash: contact(to), ..row });
}

fn contacts(plane: &Plane, from: usize) -> Vec<String> {
    plane.calls[from..].iter().map(|call| call.content.contact_hash.as_str().to_owned()).collect()
}

#[test]
fn a_new_contact_beyond_the_limit_waits_and_a_known_one_passes() {
    let mut plane = limited(Some(3));
    for n in 0..6 {
        to(&mut plane, n, n, Lane::Bulk);
    }
    plane.advance(secs(1));
    assert_eq!(plane.calls.len(), 3);
    plane.advance(secs(900));
    to(&mut plane, 10, 1, Lane::Bulk);
    plane.advance(secs(1));
    assert_eq!(contacts(&plane, 3), ["01"]);
    plane.driver.restart();
    plane.advance(WINDOW - secs(910));
    assert_eq!(plane.calls.len(), 4);
    plane.advance(secs(240));
    assert_eq!(contacts(&plane, 4), ["03", "04"], "contact 1 counts from its newest call");
    plane.advance(secs(900));
    assert_eq!(contacts(&plane, 6), ["05"]);
}

#[test]
fn transactional_contacts_come_first_when_there_is_room() {
    let mut plane = limited(Some(1));
    to(&mut plane, 0, 0, Lane::Bulk);
    for n in 1..4 {
        to(&mut plane, n, n, Lane::Bulk);
    }
    to(&mut plane, 4, 4, Lane::Transactional);
    plane.advance(WINDOW + secs(200));
    assert_eq!(contacts(&plane, 0), ["00", "04"]);
    plane.advance(WINDOW + secs(200));
    assert_eq!(contacts(&plane, 2), ["01"]);
}

#[test]
fn newcomers_do_not_pass_those_who_wait() {
    let mut plane = limited(Some(1));
    to(&mut plane, 0, 0, Lane::Transactional);
    to(&mut plane, 1, 1, Lane::Transactional);
    plane.advance(WINDOW - secs(120));
    // More than one a minute, before and after there is room.
    for n in 2..16 {
        to(&mut plane, n, n, Lane::Transactional);
        plane.advance(secs(30));
    }
    assert_eq!(contacts(&plane, 0), ["00", "01"]);
    plane.advance(WINDOW);
    assert_eq!(contacts(&plane, 2), ["02"]);
}

#[test]
fn a_raised_limit_releases_as_many_as_it_has_room_for() {
    let mut plane = limited(Some(1));
    for n in 0..10 {
        to(&mut plane, n, n, Lane::Transactional);
    }
    assert_eq!(plane.calls.len(), 1);
    plane.set_tenant(Tenant { users_per_day: Some(4), ..tenant(1_000) });
    plane.advance(secs(30));
    assert_eq!(plane.calls.len(), 4);
    let parked = plane.driver.counted("sendplane_parked_total", "portfolio");
    assert_eq!(parked, 9, "nobody was taken out in vain");
    plane.set_tenant(Tenant { users_per_day: None, ..tenant(1_000) });
    plane.advance(secs(1));
    assert_eq!(plane.calls.len(), 10);
}

#[test]
fn parked_messages_of_a_contact_that_counts_meanwhile_go_too() {
    let mut plane = limited(Some(1));
    to(&mut plane, 0, 0, Lane::Bulk);
    for n in 1..6 {
        to(&mut plane, n, 1, Lane::Bulk);
    }
    plane.set_tenant(Tenant { users_per_day: Some(3), ..tenant(1_000) });
    plane.advance(secs(10));
    assert_eq!(plane.calls.len(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 12, ..<_>::default() })]

    /// Against a model that counts: in no 24 h, ends included, more contacts than the limit; and
    /// whoever waited is called once there was room.
    #[test]
    fn no_window_holds_more_contacts_than_the_limit(
        limit in 1_i32..6,
        sends in prop::collection::vec(
            (0_u64..12, any::<bool>(), prop_oneof![3 => 0_u64..120, 1 => 0_u64..20_000], 0_u8..20),
            1..40,
        ),
    ) {
        let mut plane = limited(Some(limit));
        for (n, (contact, transactional, gap_s, crash)) in sends.iter().enumerate() {
            plane.advance(secs(*gap_s));
            if *crash == 0 {
                plane.driver.restart();
            }
            let lane = if *transactional { Lane::Transactional } else { Lane::Bulk };
            to(&mut plane, n as u64, *contact, lane);
        }
        // A contact with messages in both lanes may need a place more than once.
        for _ in 0..sends.len() {
            if plane.calls.len() < sends.len() {
                plane.advance(WINDOW + secs(240));
            }
        }
        let made = grants(&plane);
        for (at, _) in &made {
            let in_window = made.iter().filter(|(other, _)| {
                *other <= *at && at.since(*other) <= WINDOW
            });
            let users: BTreeSet<&str> = in_window.map(|(_, user)| user.as_str()).collect();
            prop_assert!(users.len() <= limit as usize, "{users:?} before {at:?}");
        }
        prop_assert_eq!(made.len(), sends.len(), "everybody had their turn");
    }
}

/// When each call was granted, and to whom.
fn grants(plane: &Plane) -> Vec<(Timestamp, String)> {
    let to: BTreeMap<MessageId, &str> = plane
        .calls
        .iter()
        .map(|call| (call.message_id, call.content.contact_hash.as_str()))
        .collect();
    let intents = plane.attempts.iter().filter(|one| one.event == AttemptEvent::Submitting);
    intents.map(|one| (one.occurred_at, to[&one.message_id].to_owned())).collect()
}
