//! Pause switches: what they hold, and what they leave alone.

use AttemptEvent::Expired;
use Disposition::None as Nothing;
use sendplane_wire::record::Switch;

use super::*;

fn called(plane: &Plane) -> Vec<u64> {
    let n_of = |call: &CallProvider| (0..2_000).find(|n| message_id(*n) == call.message_id);
    plane.calls.iter().map(|call| n_of(call).unwrap()).collect()
}

fn pause(plane: &mut Plane, switch: Switch) {
    plane.control(sample::set_switch(switch));
}

fn all() -> Switch {
    sample::switch("s", START + HOUR)
}

#[test]
fn each_part_of_the_scope_narrows_it() {
    let message = |n| Dispatch {
        campaign: Some("autumn".into()),
        category: "marketing".into(),
        ..dispatch(n, Lane::Bulk, START)
    };
    let hits: [fn(&mut Switch); 7] = [
        |s| s.tenant = Some(TenantId::new(TENANT)),
        |s| s.lane = Some("bulk".into()),
        |s| s.category = Some("marketing".into()),
        |s| s.campaign = Some("autumn".into()),
        |s| s.template_name = Some(TemplateName::new("order_update")),
        |s| s.template_language = Some("en".into()),
        |s| s.phone_number_id = Some(PhoneNumberId::new(NUMBER)),
    ];
    let misses: [fn(&mut Switch); 7] = [
        |s| s.tenant = Some(TenantId::new("globex")),
        |s| s.lane = Some("transactional".into()),
        |s| s.category = Some("utility".into()),
        |s| s.campaign = Some("winter".into()),
        |s| s.template_name = Some(TemplateName::new("other")),
        |s| s.template_language = Some("de".into()),
        |s| s.phone_number_id = Some(PhoneNumberId::new("other")),
    ];
    for n in 0..7 {
        for (change, is_held) in [(hits[n], true), (misses[n], false)] {
            let mut plane = Plane::new();
            plane.set_template(template("marketing"));
            let mut switch = all();
            // Everything fits but the part that is changed.
            hits.iter().for_each(|hit| hit(&mut switch));
            change(&mut switch);
            pause(&mut plane, switch);
            plane.feed(message(1));
            assert_eq!(plane.calls.is_empty(), is_held, "part {n}");
        }
    }
    let mut plane = Plane::new();
    let mut switch = all();
    switch.campaign = Some("autumn".into());
    pause(&mut plane, switch);
    plane.send(1, Lane::Bulk);
    assert_eq!(called(&plane), [1], "a message without a campaign belongs to none");
}

#[test]
fn password_resets_flow_while_marketing_stands_still() {
    let mut plane = Plane::new();
    for n in 0..300 {
        plane.send(n, Lane::Bulk);
    }
    let before = plane.calls.len();
    pause(&mut plane, Switch { lane: Some("bulk".into()), ..all() });
    for n in 300..320 {
        plane.send(n, Lane::Transactional);
    }
    plane.advance(secs(5));
    assert_eq!(called(&plane)[before..], (300..320).collect::<Vec<_>>());
}

#[test]
fn what_was_paused_goes_on_in_its_old_order_when_it_is_lifted_or_expires() {
    for lifts in [true, false] {
        let mut plane = Plane::new();
        pause(&mut plane, Switch { expires_at: START + secs(60), ..all() });
        for n in 0..1_200 {
            plane
                .feed(Dispatch { valid_until: START + 2 * HOUR, ..dispatch(n, Lane::Bulk, START) });
        }
        plane.driver.restart();
        plane.advance(secs(30));
        assert_eq!(plane.calls.len(), 0);
        if lifts {
            plane.control(Change::Switch("s".into(), None));
            plane.advance(secs(1));
            assert!(!plane.calls.is_empty());
        }
        plane.advance(secs(60));
        assert!(plane.calls.len() > 1_000);
        assert!(called(&plane).is_sorted());
    }
}

#[test]
fn a_longer_pause_goes_on_holding_what_the_shorter_one_held() {
    let mut plane = Plane::new();
    pause(&mut plane, Switch { expires_at: START + secs(10), ..all() });
    plane.send(1, Lane::Bulk);
    pause(&mut plane, Switch { expires_at: START + secs(20), ..all() });
    pause(&mut plane, sample::switch("other", START + secs(30)));
    plane.advance(secs(29));
    assert_eq!(plane.calls.len(), 0);
    plane.advance(secs(1));
    assert_eq!(called(&plane), [1]);
}

/// Rows that the cycle of a control change touches.
fn touched(plane: &mut Plane, switch: Switch) -> usize {
    let change = sample::set_switch(switch);
    plane.directory.apply(&change);
    plane.preview(Input::Control(change), usize::MAX).writes.len()
}

/// Whatever waits: a pause of a lane, a number, a tenant or everything rewrites none of it, and one
/// that must look at each message does so in bounded steps.
#[test]
fn a_pause_of_whole_lanes_touches_no_message() {
    let campaign = |n| Dispatch { campaign: Some("a".into()), ..dispatch(n, Lane::Bulk, START) };
    let mut plane = Plane::new();
    plane.set_tenant(tenant(0));
    (0..2_500).for_each(|n| plane.feed(campaign(n)));
    plane.directory.apply(&sample::set_tenant(tenant(80)));
    let scopes: [fn(&mut Switch); 4] = [
        |_| {},
        |s| s.tenant = Some(TenantId::new(TENANT)),
        |s| s.lane = Some("bulk".into()),
        |s| s.phone_number_id = Some(PhoneNumberId::new(NUMBER)),
    ];
    for scope in scopes {
        let mut switch = all();
        scope(&mut switch);
        let rows = touched(&mut plane, switch);
        assert!(rows <= 4, "{rows} rows");
    }
    let rows = touched(&mut plane, Switch { campaign: Some("a".into()), ..all() });
    assert!((2_000..=2_000 * 6).contains(&rows), "{rows} rows");
}

/// A pause that is changed while more is parked under it than goes back in one cycle.
#[test]
fn a_narrower_pause_lets_go_what_it_does_not_hold_and_leaves_alone_what_it_does() {
    let mut plane = Plane::new();
    let utility = Switch { category: Some("utility".into()), ..all() };
    pause(&mut plane, utility.clone());
    let valid_until = START + 3 * HOUR;
    for n in 0..1_300 {
        let campaign = (n < 700).then(|| "a".to_owned());
        plane.feed(Dispatch { campaign, valid_until, ..dispatch(n, Lane::Bulk, START) });
    }
    let expires_at = START + 2 * HOUR;
    let longer = Switch { expires_at, ..utility.clone() };
    let rows = touched(&mut plane, longer.clone());
    assert!(rows <= 6, "a longer pause touches no message: {rows} rows");
    pause(&mut plane, longer);
    plane.advance(HOUR + secs(60));
    assert_eq!(plane.calls.len(), 0, "all of them, not the first ones only");
    pause(&mut plane, Switch { campaign: Some("a".into()), expires_at, ..utility });
    plane.advance(secs(60));
    assert_eq!(called(&plane), (700..1_300).collect::<Vec<_>>());
    plane.advance(HOUR);
    assert_eq!(plane.calls.len(), 1_300);
}

#[test]
fn of_two_pauses_of_a_lane_the_longer_one_holds() {
    let mut plane = Plane::new();
    pause(&mut plane, Switch { lane: Some("bulk".into()), ..all() });
    pause(&mut plane, sample::switch("short", START + secs(10)));
    plane.send(1, Lane::Bulk);
    plane.send(2, Lane::Transactional);
    plane.advance(secs(9));
    assert_eq!(plane.calls.len(), 0);
    plane.driver.restart();
    plane.advance(secs(1));
    assert_eq!(called(&plane), [2], "bulk is held by the other one");
    plane.control(Change::Switch("s".into(), None));
    plane.advance(secs(1));
    assert_eq!(called(&plane), [2, 1]);
}

#[test]
fn a_paused_message_expires_in_its_time() {
    let mut plane = Plane::new();
    pause(&mut plane, all());
    plane.feed(Dispatch { valid_until: START + secs(5), ..dispatch(1, Lane::Bulk, START) });
    plane.advance(secs(5));
    assert_eq!(plane.events(1), [(0, Expired, Nothing)]);
    plane.advance(2 * HOUR);
    assert_eq!(plane.calls.len(), 0);
}
