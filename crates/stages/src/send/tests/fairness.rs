//! Tenants among themselves, when slots are what they lack.

use super::*;

const TENANTS: [&str; 3] = ["t0", "t1", "t2"];

/// A plane with tenants whose numbers allow far more than the slots do.
fn crowded() -> Plane {
    let mut plane = Plane::new();
    for name in TENANTS {
        let mut row = sample::tenant(name);
        row.phone_numbers[0].messages_per_second = 1_000;
        plane.set_tenant(row);
    }
    plane
}

fn feed(plane: &mut Plane, tenant: &str, n: u64, lane: Lane) {
    let dispatch = Dispatch {
        tenant: TenantId::new(tenant),
        phone_number_id: PhoneNumberId::new(format!("{tenant}-number")),
        ..dispatch(n, lane, plane.now())
    };
    plane.feed(dispatch);
}

/// Calls by tenant, from the `from`th on.
fn shares(plane: &Plane, from: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for call in &plane.calls[from..] {
        *shares.entry(call.tenant.as_str().to_owned()).or_default() += 1;
    }
    shares
}

fn jain(shares: impl Iterator<Item = usize> + Clone) -> f64 {
    let count = shares.clone().count() as f64;
    let sum: f64 = shares.clone().map(|share| share as f64).sum();
    let squares: f64 = shares.map(|share| (share * share) as f64).sum();
    sum * sum / (count * squares)
}

/// Opens `slots` slots every 10 ms for `cycles` cycles.
fn run(plane: &mut Plane, slots: usize, cycles: usize) {
    plane.driver.limit_effects(slots);
    for _ in 0..cycles {
        plane.advance(Duration::from_millis(100));
    }
}

#[test]
fn equal_tenants_get_equal_shares_whatever_they_have_waiting() {
    let mut plane = crowded();
    plane.driver.limit_effects(0);
    for n in 0..600 {
        feed(&mut plane, "t0", n, Lane::Bulk);
    }
    for n in 600..700 {
        feed(&mut plane, "t1", n, Lane::Bulk);
        feed(&mut plane, "t2", n + 100, Lane::Bulk);
    }
    run(&mut plane, 5, 40);
    let shares = shares(&plane, 0);
    assert_eq!(plane.calls.len(), 200);
    assert!(jain(shares.values().copied()) >= 0.98, "{shares:?}");
}

#[test]
fn weights_are_shares() {
    let mut plane = crowded();
    for (name, weight) in [("t0", 1), ("t1", 3)] {
        let mut row = sample::tenant(name);
        row.phone_numbers[0].messages_per_second = 1_000;
        row.weight = weight;
        plane.set_tenant(row);
    }
    plane.driver.limit_effects(0);
    for n in 0..300 {
        feed(&mut plane, "t0", n, Lane::Bulk);
        feed(&mut plane, "t1", n + 300, Lane::Bulk);
    }
    run(&mut plane, 5, 64);
    let shares = shares(&plane, 0);
    assert_eq!(shares, BTreeMap::from([("t0".to_owned(), 80), ("t1".to_owned(), 240)]));
    // The bound in grants: one turn of the other, 3 x 8.
    let longest = |name: &str| {
        let others = |calls: &[CallProvider]| calls.iter().all(|call| call.tenant.as_str() != name);
        (1..100).rev().find(|n| plane.calls.windows(*n).any(others)).unwrap_or(0)
    };
    assert_eq!((longest("t0"), longest("t1")), (24, 8));
    // A weight out of its bounds is no reason to starve or to take all.
    let mut row = sample::tenant("t0");
    row.weight = -5;
    plane.set_tenant(row);
    run(&mut plane, 5, 8);
    assert!(plane.calls[320..].iter().any(|call| call.tenant.as_str() == "t0"));
}

#[test]
fn a_newcomer_waits_for_one_quantum_of_each_other_tenant_at_most() {
    let mut plane = crowded();
    plane.driver.limit_effects(0);
    for n in 0..300 {
        feed(&mut plane, "t0", n, Lane::Bulk);
        feed(&mut plane, "t1", n + 300, Lane::Bulk);
    }
    run(&mut plane, 3, 7);
    let before = plane.calls.len();
    plane.driver.limit_effects(0);
    feed(&mut plane, "t2", 900, Lane::Bulk);
    run(&mut plane, 3, 8);
    let position = plane.calls[before..].iter().position(|call| call.tenant.as_str() == "t2");
    assert!(position.is_some_and(|position| position <= 16), "{position:?}");
}

#[test]
fn transactional_messages_take_the_slots_before_any_bulk() {
    let mut plane = crowded();
    plane.driver.limit_effects(0);
    for n in 0..200 {
        feed(&mut plane, "t0", n, Lane::Bulk);
    }
    for n in 200..220 {
        feed(&mut plane, "t1", n, Lane::Transactional);
    }
    run(&mut plane, 4, 5);
    assert_eq!(shares(&plane, 0), BTreeMap::from([("t1".to_owned(), 20)]));
    run(&mut plane, 4, 1);
    assert_eq!(shares(&plane, 20), BTreeMap::from([("t0".to_owned(), 4)]));
}

#[test]
fn waiting_for_a_slot_survives_a_restart() {
    let mut plane = crowded();
    plane.driver.limit_effects(0);
    for n in 0..10 {
        feed(&mut plane, "t0", n, Lane::Bulk);
    }
    plane.driver.restart();
    run(&mut plane, 10, 1);
    assert_eq!(plane.calls.len(), 10);
}

#[test]
fn a_throttled_tenant_delays_nobody() {
    let mut plane = crowded();
    let mut slow = sample::tenant("t0");
    slow.phone_numbers[0].messages_per_second = 1;
    plane.set_tenant(slow);
    for n in 0..50 {
        feed(&mut plane, "t0", n, Lane::Transactional);
    }
    let before = plane.calls.len();
    for n in 50..60 {
        feed(&mut plane, "t1", n, Lane::Bulk);
    }
    assert_eq!(shares(&plane, before), BTreeMap::from([("t1".to_owned(), 10)]));
}

#[test]
fn bulk_leaves_slots_to_transactional_messages() {
    let mut plane = Plane::new();
    plane.set_tenant(tenant(1_000));
    let offer = |plane: &mut Plane| {
        let free = 10 - plane.calls.len();
        plane.driver.allow(Allowance { urgent: free, share: free.saturating_sub(3) });
    };
    for n in 0..20 {
        offer(&mut plane);
        plane.send(n, Lane::Bulk);
    }
    assert_eq!(plane.calls.len(), 7);
    for n in 20..24 {
        offer(&mut plane);
        plane.send(n, Lane::Transactional);
    }
    assert_eq!(plane.calls.len(), 10);
    assert!(plane.calls[7..].iter().all(|call| call.lane == Lane::Transactional));
}

#[test]
fn a_task_wants_what_its_tenants_weigh() {
    let mut plane = crowded();
    let mut heavy = sample::tenant("t1");
    heavy.phone_numbers[0].messages_per_second = 1_000;
    heavy.weight = 3;
    plane.set_tenant(heavy);
    assert_eq!(plane.driver.wants(), Wants::default());
    plane.driver.limit_effects(0);
    feed(&mut plane, "t0", 1, Lane::Bulk);
    feed(&mut plane, "t0", 2, Lane::Bulk);
    assert_eq!(plane.driver.wants(), Wants { urgent: false, weight: 1 });
    feed(&mut plane, "t1", 3, Lane::Bulk);
    assert_eq!(plane.driver.wants(), Wants { urgent: false, weight: 4 });
    feed(&mut plane, "t2", 4, Lane::Transactional);
    assert_eq!(plane.driver.wants(), Wants { urgent: true, weight: 4 });
    plane.driver.allow(Allowance { urgent: 1, share: 0 });
    plane.advance(Duration::from_millis(1));
    assert_eq!(shares(&plane, 0), BTreeMap::from([("t2".to_owned(), 1)]));
    assert_eq!(plane.driver.wants(), Wants { urgent: false, weight: 4 });
    plane.driver.limit_effects(10);
    plane.advance(Duration::from_millis(1));
    assert_eq!((plane.calls.len(), plane.driver.wants()), (4, Wants::default()));
}

#[test]
fn bulk_goes_in_small_portions_while_transactional_messages_flow() {
    let mut plane = crowded();
    plane.driver.limit_effects(0);
    for n in 0..200 {
        feed(&mut plane, TENANTS[n as usize % 3], n, Lane::Bulk);
    }
    for n in 200..230 {
        feed(&mut plane, TENANTS[n as usize % 3], n, Lane::Transactional);
    }
    plane.driver.limit_effects(usize::MAX);
    plane.driver.set_portion(Portion::Small);
    plane.advance(Duration::from_millis(1));
    let count = |plane: &Plane, lane| plane.calls.iter().filter(|call| call.lane == lane).count();
    assert_eq!(count(&plane, Lane::Transactional), 30, "they are not bounded by it");
    let brief = count(&plane, Lane::Bulk);
    assert!((1..=90).contains(&brief), "{brief}");
    assert_eq!(plane.driver.wants().weight, 3, "the rest is asked for again at once");
    plane.driver.set_portion(Portion::Full);
    plane.advance(Duration::from_millis(1));
    assert!(count(&plane, Lane::Bulk) > brief + 30);
}
