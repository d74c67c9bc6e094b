//! Budgets of a tenant, and the margin of a number.

use proptest::prelude::*;
use sendplane_domain::rate::{Gcra, Limit};
use sendplane_wire::record::TenantPrice;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An active tenant with a fast number, valid messages of two days, and these budgets.
fn budgeted(messages: Option<i64>, micros: Option<i64>) -> Plane {
    let mut plane = Plane::new();
    plane.set_tenant(row(messages, micros));
    plane
}

fn row(messages: Option<i64>, micros: Option<i64>) -> Tenant {
    let price = |category: &str, micros| TenantPrice { category: category.into(), micros };
    Tenant {
        messages_per_day: messages,
        spend_per_day_micros: micros,
        prices: vec![price("marketing", 100), price("authentication", 50)],
        ..tenant(1_000)
    }
}

fn send(plane: &mut Plane, n: u64, lane: Lane, category: &str) {
    let valid_until = plane.now() + 2 * DAY;
    let dispatch = dispatch(n, lane, plane.now());
    plane.feed(Dispatch { valid_until, ..of_category(category, dispatch) });
}

fn calls(plane: &Plane, lane: Lane) -> usize {
    plane.calls.iter().filter(|call| call.lane == lane).count()
}

/// Just after the midnight that follows [`START`].
fn midnight() -> Duration {
    let day = DAY.as_millis() as i64;
    Duration::from_millis((day - START.as_millis() % day) as u64)
}

#[test]
fn a_budget_of_messages_stops_hard_and_begins_anew_at_midnight() {
    let mut plane = budgeted(Some(20), None);
    for n in 0..30 {
        send(&mut plane, n, Lane::Bulk, "marketing");
    }
    plane.advance(secs(10));
    assert_eq!(calls(&plane, Lane::Bulk), 18, "a tenth is for transactional messages");
    for n in 30..33 {
        send(&mut plane, n, Lane::Transactional, "authentication");
    }
    plane.driver.restart();
    plane.advance(secs(10));
    assert_eq!(plane.calls.len(), 20);
    assert_eq!(calls(&plane, Lane::Transactional), 2);
    let before_midnight = midnight() - secs(21);
    plane.advance(before_midnight);
    assert_eq!(plane.calls.len(), 20);
    plane.advance(secs(11));
    assert_eq!(plane.calls.len(), 33, "and every refused one too");
}

#[test]
fn what_was_refused_is_paid_for() {
    let mut plane = budgeted(Some(2), None);
    send(&mut plane, 0, Lane::Transactional, "utility");
    plane.answer_last(not_started(NotStarted::NoConnection));
    plane.advance(secs(10));
    plane.answer_last(unparsed(404));
    send(&mut plane, 1, Lane::Transactional, "utility");
    plane.advance(secs(60));
    assert_eq!(plane.calls.len(), 2);
}

#[test]
fn a_budget_of_money_counts_by_category() {
    let mut plane = budgeted(None, Some(1_000));
    for n in 0..20 {
        send(&mut plane, n, Lane::Bulk, "marketing");
    }
    plane.advance(secs(1));
    assert_eq!(calls(&plane, Lane::Bulk), 9, "900 of 1,000");
    for n in 20..30 {
        send(&mut plane, n, Lane::Transactional, "utility");
    }
    plane.advance(secs(1));
    assert_eq!(calls(&plane, Lane::Transactional), 10, "without a price it costs nothing");
    for n in 30..40 {
        send(&mut plane, n, Lane::Transactional, "authentication");
    }
    plane.advance(secs(1));
    assert_eq!(calls(&plane, Lane::Transactional), 12, "the last 100");
}

#[test]
fn an_empty_budget_costs_no_cycles_and_delays_nobody_else() {
    let mut plane = budgeted(Some(0), None);
    for n in 0..50 {
        send(&mut plane, n, Lane::Bulk, "marketing");
    }
    plane.advance(HOUR);
    let waits = plane.driver.counted("sendplane_budget_waits_total", "messages");
    assert_eq!(waits, 50, "one look at each arrival, none without a cause");
    let mut other = sample::tenant("other");
    other.phone_numbers[0].messages_per_second = 1_000;
    plane.set_tenant(other);
    let theirs = Dispatch {
        tenant: TenantId::new("other"),
        phone_number_id: PhoneNumberId::new("other-number"),
        ..dispatch(60, Lane::Bulk, plane.now())
    };
    plane.feed(theirs);
    assert_eq!(plane.calls.len(), 1);
    plane.set_tenant(row(Some(1_000), None));
    plane.advance(secs(1));
    assert_eq!(plane.calls.len(), 51, "a raised budget releases at once");
}

#[test]
fn a_message_expires_while_the_budget_is_used_up() {
    let mut plane = budgeted(Some(0), None);
    plane.send(0, Lane::Transactional);
    plane.advance(HOUR + secs(1));
    assert_eq!(plane.events(0), [(0, AttemptEvent::Expired, Disposition::None)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

    /// I8 for each ceiling Meta grants and any margin. Grants: no closed second holds more than the
    /// ceiling, no instant more than 100 ms worth of it. Calls, which have no burst: no closed second
    /// holds more than one above the pace.
    #[test]
    fn a_pace_stays_below_its_ceiling_less_the_margin(
        ceiling in prop::sample::select(vec![20, 80, 1_000]),
        own in prop::option::of(0_i32..60),
        deployed in 0_u32..60,
        gaps_ms in prop::collection::vec(prop_oneof![9 => 0_u64..3, 1 => 0_u64..700], 200..1_500),
    ) {
        let settings = SendSettings { safety_percent: deployed, ..SendSettings::new(hash_key()) };
        let margin = own.map_or(u64::from(deployed), |own| own as u64);
        let kept = (ceiling as u64 * (100 - margin) / 100) as usize;
        let pace = settings.pace(ceiling, own);
        let burst = (kept / 10).max(1);
        for (limit, most, at_once) in
            [(pace, ceiling as usize, burst), (pace.even(), kept.min(ceiling as usize - 1) + 1, 1)]
        {
            let admitted = admissions(limit, &gaps_ms);
            for window in admitted.windows(most + 1) {
                prop_assert!(window[most] - window[0] > 1_000, "{} in a closed second", most + 1);
            }
            for window in admitted.windows(at_once + 1) {
                prop_assert!(window[at_once] > window[0], "more than {at_once} at once");
            }
        }
    }
}

/// When arrivals with these distances are admitted, each as early as the limit allows.
fn admissions(limit: Limit, gaps_ms: &[u64]) -> Vec<i64> {
    let mut bucket = Gcra::default();
    let mut now = START;
    let admit = |gap: &u64| {
        now = bucket.earliest(limit, now + Duration::from_millis(*gap));
        bucket.debit(limit, now);
        now.as_millis()
    };
    gaps_ms.iter().map(admit).collect()
}

#[test]
fn a_busy_number_reaches_its_pace() {
    let settings = SendSettings::new(hash_key());
    for (ceiling, own, at_least) in [(20, Some(0), 19), (80, None, 76), (1_000, Some(5), 950)] {
        let pace = settings.pace(ceiling, own);
        let mut bucket = Gcra::default();
        let mut now = START;
        let mut count = 0;
        while now < START + secs(10) {
            now = bucket.earliest(pace, now);
            bucket.debit(pace, now);
            count += 1;
        }
        assert!(count >= at_least * 10, "{ceiling}: {count} in ten seconds");
    }
}
