//! What an operator is shown of a number.

use sendplane_domain::rate::Limit;
use sendplane_wire::record::{Notice, NoticeKind};

use super::*;
use crate::send::view::{NumberView, Rows, Surroundings};

/// The view of the number, of the rows as they stand.
fn view(plane: &Plane) -> NumberView {
    let mut rows = Rows::of(TenantId::new(TENANT), PhoneNumberId::new(NUMBER));
    for (key, value) in plane.driver.state() {
        rows.take(key, Some(value)).expect("readable");
    }
    let tenant = plane.directory.tenant(&TenantId::new(TENANT)).expect("a tenant");
    rows.view(&Surroundings {
        settings: &SendSettings::new(hash_key()),
        tenant,
        number: &tenant.phone_numbers[0],
        switches: plane.directory.switches(),
        now: plane.now(),
    })
}

fn bound_by(view: &NumberView) -> [Option<&'static str>; 2] {
    [view.lanes[0].bound_by, view.lanes[1].bound_by]
}

fn level<'v>(view: &'v NumberView, name: &str) -> &'v str {
    &view.limits.iter().find(|limit| limit.name == name).expect("listed").level
}

#[test]
fn an_idle_number_is_bound_by_nothing() {
    let view = view(&Plane::new());
    assert_eq!((view.ceiling, view.ceiling_from, view.margin_percent), (80, "record", 5));
    assert!((view.pace - Limit::per_second(76, 1).rate()).abs() < 0.01, "{}", view.pace);
    assert_eq!(bound_by(&view), [None, None]);
    assert_eq!(level(&view, "users_per_day"), "no limit");
    assert_eq!((view.lanes[0].queued, view.lanes[1].queued), (0, 0));
}

#[test]
fn a_backlog_is_bound_by_the_pace_until_it_is_gone() {
    let mut plane = Plane::new();
    for n in 0..40 {
        plane.send(n, Lane::Bulk);
    }
    let busy = view(&plane);
    assert_eq!(bound_by(&busy), [Some("pace"), Some("pace")]);
    assert_eq!(busy.lanes[1].queued, 40 - plane.calls.len());
    plane.advance(secs(2));
    let idle = view(&plane);
    assert_eq!((idle.lanes[1].queued, bound_by(&idle)), (0, [None, None]));
}

#[test]
fn what_binds_longest_is_named() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(error(131057));
    assert_eq!(bound_by(&view(&plane)), [Some("hold"), Some("hold")]);
    let mut switch = sample::switch("p1", plane.now() + HOUR);
    switch.lane = Some("bulk".into());
    plane.control(sample::set_switch(switch));
    let paused = view(&plane);
    assert_eq!(bound_by(&paused), [Some("hold"), Some("pause")]);
    assert_eq!(level(&paused, "pause"), "p1 by tester: a test");
}

#[test]
fn refusals_show_in_the_pace() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(error(130429));
    let slow = view(&plane);
    assert!((slow.pace - 38.0).abs() < 0.1, "half of 76: {}", slow.pace);
    assert!(level(&slow, "pace").starts_with("throttled to 50 %, whole again in 1"));
}

#[test]
fn a_spent_budget_binds_bulk_before_the_rest() {
    let mut plane = Plane::new();
    plane.set_tenant(Tenant { messages_per_day: Some(10), ..tenant(1_000) });
    for n in 0..20 {
        plane.send(n, Lane::Bulk);
    }
    plane.advance(secs(1));
    let spent = view(&plane);
    assert_eq!(level(&spent, "messages_per_day"), "9 of 10 used, 9 of them open to bulk");
    assert_eq!(bound_by(&spent), [None, Some("messages_per_day")]);
    plane.send(20, Lane::Transactional);
    assert_eq!(bound_by(&view(&plane)), [Some("messages_per_day"); 2]);
}

#[test]
fn a_notice_says_the_ceiling_until_the_record_is_written_anew() {
    let mut plane = Plane::new();
    let notice = Notice {
        tenant: TenantId::new(TENANT),
        waba_id: "w".into(),
        kind: NoticeKind::Throughput,
        phone_number_id: Some(PhoneNumberId::new(NUMBER)),
        messages_per_second: Some(1_000),
        users_per_day: None,
        template_name: None,
        template_language: None,
        status: None,
        category: None,
        value: "{}".into(),
        received_at: START,
        occurred_at: None,
    };
    plane.driver.record(topic::NOTICES, Record::Notice(Box::new(notice)));
    let raised = view(&plane);
    assert_eq!((raised.ceiling, raised.ceiling_from), (1_000, "notice"));
    plane.set_tenant(Tenant { updated_at: START + secs(1), ..tenant(20) });
    let written = view(&plane);
    assert_eq!((written.ceiling, written.ceiling_from), (20, "record"));
}
