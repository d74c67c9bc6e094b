//! Templates and bulk that the provider does not take for now, and notices that change limits.

use AttemptEvent::{Accepted, Refused};
use Disposition::{Replan as GivenBack, Retry};
use sendplane_wire::record::{Notice, NoticeKind};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// With the templates of these tests.
fn plane() -> Plane {
    let mut plane = Plane::new();
    for name in ["bad", "good", "offer", "code", "other"] {
        plane.set_template(sample::template(TENANT, name, "utility", 1));
    }
    plane
}

/// Message `n` with template `name`, valid for three days.
fn templated(plane: &mut Plane, n: u64, name: &str, lane: Lane) {
    let valid_until = plane.now() + 72 * HOUR;
    let template_name = TemplateName::new(name);
    plane.feed(Dispatch { valid_until, template_name, ..dispatch(n, lane, plane.now()) });
}

fn notice(plane: &mut Plane, notice: Notice) {
    let record = Record::Notice(Box::new(notice));
    let produced = plane.driver.record(topic::NOTICES, record);
    plane.take(produced);
}

fn about(kind: NoticeKind, at: Timestamp) -> Notice {
    Notice {
        tenant: TenantId::new(TENANT),
        waba_id: "waba".into(),
        kind,
        phone_number_id: Some(PhoneNumberId::new(NUMBER)),
        messages_per_second: None,
        users_per_day: None,
        template_name: None,
        template_language: None,
        status: None,
        category: None,
        value: "{}".into(),
        received_at: at,
        occurred_at: None,
    }
}

fn status_of(name: &str, status: &str, at: Timestamp) -> Notice {
    Notice {
        template_name: Some(TemplateName::new(name)),
        template_language: Some("en".into()),
        status: Some(status.into()),
        ..about(NoticeKind::TemplateStatus, at)
    }
}

fn calls_since(plane: &Plane, from: usize) -> Vec<u64> {
    let n_of = |call: &CallProvider| (0..2_000).find(|n| message_id(*n) == call.message_id);
    plane.calls[from..].iter().map(|call| n_of(call).unwrap()).collect()
}

#[test]
fn a_refused_template_waits_and_is_tried_with_single_calls() {
    let mut plane = plane();
    templated(&mut plane, 0, "bad", Lane::Transactional);
    plane.answer_last(error(132015));
    for n in 1..20 {
        templated(&mut plane, n, "bad", Lane::Transactional);
    }
    templated(&mut plane, 20, "good", Lane::Transactional);
    assert_eq!(calls_since(&plane, 1), [20], "the other one is not held up");
    plane.driver.restart();
    plane.advance(secs(599));
    assert_eq!(plane.calls.len(), 2);
    plane.advance(secs(1));
    assert_eq!(calls_since(&plane, 2), [1], "one call to see");
    plane.answer_last(error(132015));
    plane.advance(30 * MINUTE - secs(1));
    assert_eq!(plane.calls.len(), 3);
    plane.advance(secs(1));
    assert_eq!(calls_since(&plane, 3), [2]);
    plane.answer_last(accepted("w"));
    plane.advance(secs(1));
    let in_order: Vec<u64> = (3..20).chain([1]).collect();
    assert_eq!(
        calls_since(&plane, 4),
        in_order,
        "released, and at last the probe that was refused"
    );
    assert_eq!(plane.driver.counted("sendplane_suspensions_total", "template"), 2);
}

/// Only policy's first look costs a decision: a suspension of hours must not end the messages it is
/// tried with.
#[test]
fn a_refused_probe_waits_and_costs_its_message_no_decision() {
    for (code, step) in [(132015, HOUR), (132016, HOUR), (131064, 24 * HOUR)] {
        let mut plane = plane();
        templated(&mut plane, 1, "bad", Lane::Transactional);
        plane.answer_last(error(code));
        assert_eq!(plane.events(1)[1..], [(1, Refused, GivenBack)], "{code}: policy looks once");
        let valid_until = START + 240 * HOUR;
        let again = dispatch(1, Lane::Transactional, START);
        let template_name = TemplateName::new("bad");
        plane.feed(Dispatch { decision_seq: 2, valid_until, template_name, ..again });
        for probe in 2..9 {
            plane.driver.restart();
            let since = plane.now();
            while plane.calls.len() < probe && plane.now() <= since + step {
                plane.advance(secs(10));
            }
            assert_eq!(plane.calls.len(), probe, "{code}");
            plane.answer_last(error(code));
            let last = plane.last();
            assert_eq!((last.event, last.disposition), (Refused, Retry), "{code}");
            let again_at = last.retry_at.expect("a time");
            assert!(again_at > plane.now() && again_at <= plane.now() + step, "{code}");
        }
        plane.advance(plane.last().retry_at.expect("a time").since(plane.now()));
        plane.answer_last(accepted("w"));
        assert_eq!((plane.last().event, plane.last().decision_seq), (Accepted, 2), "{code}");
        assert_eq!(plane.replans().len(), 1, "{code}");
    }
}

#[test]
fn calls_under_way_when_a_template_is_suspended_wait_for_it() {
    let mut plane = plane();
    (0..3).for_each(|n| templated(&mut plane, n, "bad", Lane::Bulk));
    for call in plane.calls.clone() {
        plane.answer(&call, error(132015));
    }
    assert_eq!(plane.replans().len(), 1);
    plane.advance(10 * MINUTE);
    assert_eq!(calls_since(&plane, 3), [1]);
    plane.answer_last(error(132015));
    plane.advance(30 * MINUTE);
    assert_eq!(calls_since(&plane, 4), [2], "the other one's turn");
    let paused =
        Template { status: "REJECTED".into(), ..sample::template(TENANT, "bad", "utility", 1) };
    plane.answer_last(error(132015));
    plane.set_template(paused);
    assert_eq!(plane.replans().len(), 3, "policy decides once it can know more");
}

#[test]
fn a_probe_that_says_nothing_is_replaced() {
    let mut plane = plane();
    templated(&mut plane, 0, "bad", Lane::Transactional);
    plane.answer_last(error(132016));
    for n in 1..5 {
        templated(&mut plane, n, "bad", Lane::Transactional);
    }
    plane.advance(10 * MINUTE);
    plane.answer_last(error(131026));
    plane.advance(secs(19));
    assert_eq!(calls_since(&plane, 1), [1], "refused for its recipient: nothing is known");
    plane.advance(secs(1));
    assert_eq!(calls_since(&plane, 1), [1, 2]);
}

#[test]
fn many_messages_of_a_suspended_template_cost_nothing() {
    let mut plane = plane();
    plane.set_tenant(tenant(1_000));
    notice(&mut plane, status_of("bad", "PAUSED", START));
    for n in 0..1_200 {
        templated(&mut plane, n, "bad", Lane::Bulk);
    }
    plane.advance(9 * MINUTE);
    assert_eq!(plane.calls.len(), 0);
    let parked = plane.driver.counted("sendplane_parked_total", "template");
    assert_eq!(parked, 1_200, "each once");
    plane.advance(MINUTE);
    assert_eq!(plane.calls.len(), 1);
    plane.advance(secs(10));
    let parked = plane.driver.counted("sendplane_parked_total", "template");
    assert_eq!(parked, 1_200, "only one was taken out to try");
    plane.answer_last(accepted("w"));
    plane.advance(secs(10));
    assert_eq!(plane.calls.len(), 1_200, "more than go back in one cycle");
}

#[test]
fn notices_and_new_rows_suspend_and_release() {
    let mut plane = plane();
    let mut n = 0;
    let mut goes = |plane: &mut Plane| {
        n += 1;
        let before = plane.calls.len();
        templated(plane, n, "offer", Lane::Bulk);
        plane.advance(secs(1));
        plane.calls.len() > before
    };
    for (event, expected) in [
        ("APPROVED", true),
        ("PAUSED", false),
        ("FLAGGED", false),
        ("UNPAUSED", true),
        ("FLAGGED", true),
        ("DISABLED", false),
        ("SOMETHING_NEW", false),
        ("REINSTATED", true),
        ("SOMETHING_NEW", false),
    ] {
        let news = status_of("offer", event, plane.now());
        notice(&mut plane, news);
        assert_eq!(goes(&mut plane), expected, "{event}");
    }
    let before = plane.calls.len();
    plane.control(sample::set_template(sample::template(TENANT, "offer", "utility", 1)));
    plane.advance(secs(1));
    assert_eq!(plane.calls.len(), before + 1, "the row was written anew");
    let news = status_of("offer", "PAUSED", plane.now());
    notice(&mut plane, news);
    assert!(!goes(&mut plane));
    plane.set_template(sample::template(TENANT, "offer", "utility", 1));
    assert!(goes(&mut plane));
}

#[test]
fn a_parked_message_of_a_suspended_template_expires() {
    let mut plane = plane();
    notice(&mut plane, status_of("order_update", "PAUSED", START));
    let valid_until = plane.now() + secs(30);
    plane.feed(Dispatch { valid_until, ..dispatch(0, Lane::Bulk, START) });
    plane.advance(secs(31));
    assert_eq!(plane.events(0), [(0, AttemptEvent::Expired, Disposition::None)]);
    plane.advance(10 * MINUTE);
    assert_eq!(plane.calls.len(), 0);
}

#[test]
fn a_number_restricted_for_spam_sends_no_bulk_for_hours() {
    let mut plane = plane();
    templated(&mut plane, 0, "offer", Lane::Bulk);
    plane.answer_last(error(131048));
    templated(&mut plane, 1, "offer", Lane::Bulk);
    templated(&mut plane, 2, "code", Lane::Transactional);
    assert_eq!(calls_since(&plane, 1), [2]);
    plane.answer_last(accepted("w2"));
    plane.driver.restart();
    plane.advance(HOUR - secs(1));
    assert_eq!(plane.calls.len(), 2, "an accepted one-time code proves nothing about bulk");
    plane.advance(secs(2));
    assert_eq!(plane.calls.len(), 3, "one to see");
    plane.answer_last(accepted("w1"));
    plane.advance(secs(2));
    assert_eq!(plane.calls.len(), 4);
    assert_eq!(plane.driver.counted("sendplane_suspensions_total", "spam"), 1);
}

#[test]
fn a_tenant_without_templates_is_tried_after_hours() {
    let mut plane = plane();
    templated(&mut plane, 0, "offer", Lane::Transactional);
    plane.answer_last(error(131064));
    templated(&mut plane, 1, "other", Lane::Transactional);
    plane.advance(HOUR - secs(1));
    assert_eq!(plane.calls.len(), 1);
    plane.advance(secs(1));
    assert_eq!(calls_since(&plane, 1), [1]);
    templated(&mut plane, 2, "other", Lane::Transactional);
    assert_eq!(plane.calls.len(), 2);
    plane.answer_last(accepted("w"));
    assert_eq!(calls_since(&plane, 2), [2]);
}

/// Calls within a second of a number with all it could use waiting.
fn rate(plane: &mut Plane, from: u64) -> usize {
    let before = plane.calls.len();
    plane.driver.limit_effects(0);
    for n in from..from + 150 {
        plane.send(n, Lane::Bulk);
    }
    plane.driver.limit_effects(usize::MAX);
    plane.advance(secs(1));
    let made = plane.calls.len() - before;
    plane.advance(secs(20));
    made
}

#[test]
fn the_newest_of_row_and_notice_is_the_ceiling() {
    let mut plane = plane();
    let upgrade = |limit, at| Notice {
        messages_per_second: Some(limit),
        ..about(NoticeKind::Throughput, at)
    };
    assert!((60..=80).contains(&rate(&mut plane, 0)));
    notice(&mut plane, upgrade(1_000, START + secs(5)));
    plane.driver.restart();
    assert_eq!(rate(&mut plane, 200), 150, "upgraded without a new row");
    notice(&mut plane, upgrade(20, START + secs(4)));
    assert_eq!(rate(&mut plane, 400), 150, "an older notice comes late");
    let mut row = tenant(20);
    row.updated_at = START + secs(6);
    plane.set_tenant(row);
    assert!((15..=20).contains(&rate(&mut plane, 600)), "a newer row knows better");
    notice(&mut plane, upgrade(80, START + secs(7)));
    assert!((60..=80).contains(&rate(&mut plane, 800)));
}

#[test]
fn of_notices_the_newest_by_metas_time_counts_whenever_it_comes() {
    let mut plane = plane();
    let said = |event: &str, said_at: Timestamp, received_at: Timestamp| Notice {
        occurred_at: Some(said_at),
        ..status_of("offer", event, received_at)
    };
    let goes = |plane: &mut Plane, n| {
        let before = plane.calls.len();
        templated(plane, n, "offer", Lane::Bulk);
        plane.advance(secs(1));
        plane.calls.len() > before
    };
    let at = |seconds| START + secs(seconds);
    plane.advance(secs(100));
    notice(&mut plane, said("PAUSED", at(50), at(100)));
    assert!(!goes(&mut plane, 1));
    notice(&mut plane, said("UNPAUSED", at(40), at(101)));
    assert!(!goes(&mut plane, 2), "said before the pause, delivered after it");
    plane.driver.restart();
    notice(&mut plane, said("UNPAUSED", at(60), at(102)));
    assert!(goes(&mut plane, 3));
    notice(&mut plane, said("PAUSED", at(50), at(103)));
    assert!(goes(&mut plane, 4), "the same pause once more");
    // Meta names whole seconds: of two in one, the one that comes last counts.
    notice(&mut plane, said("PAUSED", at(60), at(104)));
    assert!(!goes(&mut plane, 5));
    // A clock of theirs that is ahead puts nothing beyond what is said after it.
    notice(&mut plane, said("UNPAUSED", at(500), at(105)));
    notice(&mut plane, said("PAUSED", at(110), at(110)));
    assert!(!goes(&mut plane, 6));
}

#[test]
fn an_older_limit_that_comes_late_changes_nothing() {
    let mut plane = plane();
    let limit = |limit, said_at, received_at| Notice {
        messages_per_second: Some(limit),
        occurred_at: Some(START + secs(said_at)),
        ..about(NoticeKind::Throughput, START + secs(received_at))
    };
    notice(&mut plane, limit(1_000, 10, 30));
    notice(&mut plane, limit(20, 5, 31));
    assert_eq!(rate(&mut plane, 0), 150);
    // The tenant's record was written after it was said and before it came.
    let mut row = tenant(20);
    row.updated_at = START + secs(20);
    plane.set_tenant(row);
    assert!((15..=20).contains(&rate(&mut plane, 200)));
}
