//! Codes that come by a status webhook, after the call was accepted: they suspend what the same code
//! in an answer suspends. Webhooks are late, repeated and out of order.

use sendplane_wire::record::{Notice, NoticeKind};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Each suspending code, how long its first suspension is, and what to count.
const CODES: [(i32, Duration, (&str, &str)); 8] = [
    (132015, Duration::from_secs(600), ("sendplane_suspensions_total", "template")),
    (132016, Duration::from_secs(600), ("sendplane_suspensions_total", "template")),
    (131048, Duration::from_secs(3_600), ("sendplane_suspensions_total", "spam")),
    (131064, Duration::from_secs(3_600), ("sendplane_suspensions_total", "tenant_templates")),
    (131031, Duration::from_secs(5), ("sendplane_breaker_openings_total", "tenant_refused")),
    (131042, Duration::from_secs(5), ("sendplane_breaker_openings_total", "tenant_refused")),
    (190, Duration::from_secs(5), ("sendplane_breaker_openings_total", "tenant_refused")),
    (133010, Duration::from_secs(5), ("sendplane_breaker_openings_total", "number_refused")),
];

/// A marketing message that is valid for three days.
fn feed(plane: &mut Plane, n: u64) {
    let valid_until = plane.now() + 72 * HOUR;
    plane.feed(Dispatch { valid_until, ..dispatch(n, Lane::Bulk, plane.now()) });
}

fn failed(n: u64, code: i32, occurred_at: Timestamp, received_at: Timestamp) -> Feedback {
    let record = feedback(n, 1, &format!("w{n}"), ReceiptStatus::Failed, received_at);
    Feedback { error_code: Some(code), occurred_at, ..record }
}

fn hear(plane: &mut Plane, record: Feedback) {
    let produced = plane.driver.record(topic::FEEDBACK, Record::Feedback(record));
    plane.take(produced);
}

/// Message `n` is called and accepted.
fn sent(plane: &mut Plane, n: u64) {
    let before = plane.calls.len();
    feed(plane, n);
    assert_eq!(plane.calls.len(), before + 1, "message {n} goes");
    plane.answer_last(accepted(&format!("w{n}")));
}

/// A plane where message 1 was accepted and failed afterwards, a second later.
fn told(code: i32) -> Plane {
    let mut plane = Plane::new();
    sent(&mut plane, 1);
    plane.advance(secs(1));
    let now = plane.now();
    hear(&mut plane, failed(1, code, now, now));
    plane
}

fn status_of_template(plane: &mut Plane, status: &str) {
    let record = Notice {
        tenant: TenantId::new(TENANT),
        waba_id: "waba".into(),
        kind: NoticeKind::TemplateStatus,
        phone_number_id: None,
        messages_per_second: None,
        users_per_day: None,
        template_name: Some(TemplateName::new("order_update")),
        template_language: Some("en".into()),
        status: Some(status.into()),
        category: None,
        value: "{}".into(),
        received_at: plane.now(),
        occurred_at: None,
    };
    let produced = plane.driver.record(topic::NOTICES, Record::Notice(Box::new(record)));
    plane.take(produced);
}

#[test]
fn a_code_in_a_webhook_suspends_what_it_suspends_in_an_answer() {
    for (code, step, (name, label)) in CODES {
        let mut plane = told(code);
        assert_eq!(plane.driver.counted(name, label), 1, "{code}");
        (2..5).for_each(|n| feed(&mut plane, n));
        plane.driver.restart();
        plane.advance(step - secs(1));
        assert_eq!(plane.calls.len(), 1, "{code} holds");
        plane.advance(secs(1));
        assert_eq!(plane.calls.len(), 2, "{code}: one call to see");
        plane.answer_last(accepted("w2"));
        plane.advance(secs(5));
        assert_eq!(plane.calls.len(), 2, "{code}: accepted like the one that failed");
        plane.feedback(2, 1, "w2", ReceiptStatus::Sent);
        plane.advance(secs(1));
        assert_eq!(plane.calls.len(), 4, "{code}: sent, so it works");
        let other = answered_with(code);
        assert_eq!(other.driver.counted(name, label), 1, "{code} in an answer");
    }
}

/// The same code, in the answer to message 1.
fn answered_with(code: i32) -> Plane {
    let mut plane = Plane::new();
    feed(&mut plane, 1);
    plane.answer_last(error(code.into()));
    plane
}

#[test]
fn calls_under_way_do_not_release_what_a_webhook_suspended() {
    for (code, step, _) in CODES {
        let mut plane = Plane::new();
        sent(&mut plane, 1);
        (2..5).for_each(|n| feed(&mut plane, n));
        let under_way = plane.calls[1..].to_vec();
        plane.advance(secs(1));
        let now = plane.now();
        hear(&mut plane, failed(1, code, now, now));
        for call in &under_way {
            plane.answer(call, accepted(&format!("{}", call.message_id)));
        }
        plane.feedback(2, 1, "w2", ReceiptStatus::Delivered);
        feed(&mut plane, 5);
        plane.advance(step - secs(1));
        assert_eq!(plane.calls.len(), 4, "{code}");
        plane.advance(secs(1));
        assert_eq!(plane.calls.len(), 5, "{code}");
    }
}

#[test]
fn a_probe_that_fails_by_webhook_waits_for_the_next_step() {
    let mut plane = told(132015);
    (2..5).for_each(|n| feed(&mut plane, n));
    plane.advance(10 * MINUTE);
    plane.answer_last(accepted("w2"));
    let now = plane.now();
    hear(&mut plane, failed(2, 132015, now, now));
    plane.advance(30 * MINUTE - secs(1));
    assert_eq!(plane.calls.len(), 2);
    plane.advance(secs(1));
    assert_eq!(plane.calls.len(), 3);
}

/// Rows and records that come of `record`.
fn effect(plane: &Plane, record: Feedback) -> (usize, usize) {
    let input = record_input(Record::Feedback(record), topic::FEEDBACK);
    let transition = plane.preview(input, usize::MAX);
    (transition.writes.len(), transition.outputs.len())
}

#[test]
fn the_same_webhook_again_changes_nothing() {
    for (code, step, _) in CODES {
        let mut plane = told(code);
        let again = failed(1, code, plane.now(), plane.now());
        assert_eq!(effect(&plane, again.clone()), (0, 0), "{code}");
        feed(&mut plane, 2);
        plane.advance(step);
        assert_eq!(effect(&plane, again.clone()), (0, 0), "{code}, while a probe is out");
        plane.answer_last(accepted("w2"));
        plane.feedback(2, 1, "w2", ReceiptStatus::Sent);
        assert_eq!(effect(&plane, again.clone()), (0, 0), "{code}, after it was released");
        let late = Feedback { received_at: plane.now(), ..again };
        hear(&mut plane, late);
        sent(&mut plane, 3);
    }
}

#[test]
fn an_old_webhook_does_not_suspend_what_was_released_since() {
    let mut plane = Plane::new();
    sent(&mut plane, 1);
    sent(&mut plane, 2);
    plane.advance(MINUTE);
    let (paused_at, before) = (plane.now(), START + secs(1));
    hear(&mut plane, failed(1, 132015, paused_at, paused_at));
    plane.advance(MINUTE);
    status_of_template(&mut plane, "UNPAUSED");
    plane.advance(MINUTE);
    let now = plane.now();
    hear(&mut plane, failed(2, 132015, before, now));
    hear(&mut plane, failed(2, 132015, paused_at + secs(30), now));
    sent(&mut plane, 3);
    sent(&mut plane, 4);
    let now = plane.now();
    hear(&mut plane, failed(2, 132015, now, now));
    feed(&mut plane, 5);
    assert_eq!(plane.calls.len(), 4, "what was held until now and dropped is news");
}

#[test]
fn a_release_counts_also_where_the_suspension_is_heard_of_later() {
    let mut plane = Plane::new();
    sent(&mut plane, 1);
    let paused_at = plane.now();
    plane.advance(3 * HOUR);
    status_of_template(&mut plane, "APPROVED");
    plane.advance(MINUTE);
    let now = plane.now();
    hear(&mut plane, failed(1, 132015, paused_at, now));
    sent(&mut plane, 2);
    sent(&mut plane, 3);
}

/// Nobody says any more what became of the probes.
#[test]
fn without_webhooks_accepted_probes_release_it_after_minutes() {
    let mut plane = told(131042);
    (2..80).for_each(|n| feed(&mut plane, n));
    let mut answered = 1;
    let mut at = |plane: &mut Plane, span: Duration| {
        let end = plane.now() + span;
        while plane.now() < end {
            plane.advance(secs(1));
            while answered < plane.calls.len() {
                let call = plane.calls[answered].clone();
                plane.answer(&call, accepted(&format!("{}", call.message_id)));
                answered += 1;
            }
        }
        plane.calls.len()
    };
    assert!((12..=16).contains(&at(&mut plane, 5 * MINUTE)), "one every 20 s");
    assert_eq!(at(&mut plane, MINUTE), 79);
}

#[test]
fn what_says_nothing_about_others_suspends_nothing() {
    let codes = [131026, 131049, 131047, 130472, 131000, 131016, 131053, 2, 999_999];
    for code in codes {
        let mut plane = told(code);
        sent(&mut plane, 2);
        sent(&mut plane, 3);
    }
    let mut plane = Plane::new();
    sent(&mut plane, 1);
    plane.feedback(1, 1, "w1", ReceiptStatus::Failed);
    sent(&mut plane, 2);
}

#[test]
fn a_throttle_told_late_has_passed() {
    let share = |late: Duration| {
        let mut plane = Plane::new();
        sent(&mut plane, 1);
        let said_at = plane.now() + secs(1);
        plane.advance(secs(1) + late);
        let now = plane.now();
        hear(&mut plane, failed(1, 130429, said_at, now));
        let again = failed(1, 130429, said_at, now);
        assert_eq!(effect(&plane, again), (0, 0));
        feed(&mut plane, 2);
        plane.calls.last().expect("a call").pace.rate()
    };
    let whole = share(HOUR);
    assert!(share(Duration::ZERO) < whole * 0.6);
    assert!(share(secs(5)) > whole * 0.7, "half of it is given back by then");
}
