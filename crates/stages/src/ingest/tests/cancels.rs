//! Which messages a cancel names.

use std::collections::BTreeSet;

use sendplane_domain::id::MessageId;
use sendplane_wire::record::{CancelAnswer, CancelRequest, CancelResult};

use super::*;

fn cancel() -> CancelRequest {
    CancelRequest {
        cancel_id: "c-1".into(),
        tenant: TenantId::new("acme"),
        message_id: None,
        idempotency_key: None,
        order_id: None,
        reason: "order withdrawn".into(),
        requested_by: "shop".into(),
        requested_at: T0,
    }
}

fn by_key(key: &str) -> CancelRequest {
    CancelRequest { idempotency_key: Some(IdempotencyKey::new(key)), ..cancel() }
}

fn by_order(order_id: &str) -> CancelRequest {
    CancelRequest { order_id: Some(order_id.into()), ..cancel() }
}

fn of_order(key: &str, order_id: &str) -> SendRequest {
    SendRequest { order_id: Some(order_id.into()), ..keyed(key) }
}

fn record_of(request: &CancelRequest) -> Record {
    let value = value_of(topic::CANCELS, request);
    decoded(topic::CANCELS, Some(request.tenant.as_str().as_bytes()), &value)
}

fn ask(driver: &mut Driver<Ingest>, request: &CancelRequest) -> Produced<Ingest> {
    checked(driver.record(topic::CANCELS, record_of(request)))
}

fn named(produced: &Produced<Ingest>) -> Vec<MessageId> {
    assert_eq!(produced.dead_letters, []);
    let count = produced.outputs.len();
    let message_of = |output: &Output| match output {
        Output::Cancellation(one) => {
            assert_eq!((one.messages, one.cancel_id.as_str()), (count as i32, "c-1"));
            one.message_id
        }
        other => panic!("{other:?}"),
    };
    produced.outputs.iter().map(message_of).collect()
}

fn answer(produced: &Produced<Ingest>) -> &CancelAnswer {
    match &produced.outputs[..] {
        [Output::CancelAnswer(answer)] => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_named_by_its_id_its_key_or_its_order() {
    let mut driver = driver();
    let first = admitted(&send(&mut driver, &of_order("k-1", "17"))).message_id;
    let second = admitted(&send(&mut driver, &of_order("k-2", "17"))).message_id;
    let other = admitted(&send(&mut driver, &of_order("k-3", "170"))).message_id;
    driver.restart();
    let by_id = CancelRequest { message_id: Some(first), ..cancel() };
    assert_eq!(named(&ask(&mut driver, &by_id)), [first]);
    assert_eq!(named(&ask(&mut driver, &by_key("k-2"))), [second]);
    let of_order: BTreeSet<_> = named(&ask(&mut driver, &by_order("17"))).into_iter().collect();
    assert_eq!(of_order, BTreeSet::from([first, second]));
    assert_eq!(named(&ask(&mut driver, &by_order("170"))), [other]);
}

#[test]
fn a_repeated_request_is_cancelled_as_the_one_that_was_admitted() {
    let mut driver = driver();
    let id = admitted(&send(&mut driver, &of_order("k-1", "17"))).message_id;
    assert_eq!(summary(&send(&mut driver, &of_order("k-1", "17"))), "duplicate duplicate");
    assert_eq!(
        summary(&send(&mut driver, &of_order("k-1", "18"))),
        "refuse idempotency_key_reused"
    );
    assert_eq!(named(&ask(&mut driver, &by_key("k-1"))), [id]);
    assert_eq!(named(&ask(&mut driver, &by_order("17"))), [id]);
    assert_eq!(summary(&ask(&mut driver, &by_order("18"))), "cancel notfound");
}

#[test]
fn what_is_not_found_is_answered_with_what_to_do() {
    let mut driver = driver();
    send(&mut driver, &of_order("k-1", "17"));
    for (request, field) in [
        (by_key("k-2"), "idempotency_key"),
        (by_key(""), "idempotency_key"),
        (by_order("1"), "order_id"),
        (by_order(""), "order_id"),
        (CancelRequest { tenant: TenantId::new("idle"), ..by_key("k-1") }, "idempotency_key"),
        (CancelRequest { tenant: TenantId::new("nobody"), ..by_order("17") }, "order_id"),
    ] {
        let produced = ask(&mut driver, &request);
        let answer = answer(&produced);
        assert_eq!((answer.result, answer.message_id), (CancelResult::NotFound, None));
        let detail = answer.detail.as_deref().unwrap();
        assert!(detail.starts_with(field) && detail.contains("cancel once more"), "{detail}");
    }
}

#[test]
fn a_message_is_named_in_one_way() {
    let mut driver = driver();
    let both = CancelRequest { order_id: Some("17".into()), ..by_key("k") };
    for (request, fix) in [(cancel(), "all absent"), (both, "more than one")] {
        let produced = ask(&mut driver, &request);
        let answer = answer(&produced);
        assert_eq!((answer.result, answer.messages), (CancelResult::Invalid, 0));
        let detail = answer.detail.as_deref().unwrap();
        assert!(detail.contains(fix) && detail.contains("message_id"), "{detail}");
    }
}

#[test]
fn what_cannot_be_answered_is_a_dead_letter() {
    let value = value_of(topic::CANCELS, &by_key("k"));
    for key in [None, Some(&b"idle"[..])] {
        let produced = driver().record(topic::CANCELS, decoded(topic::CANCELS, key, &value));
        assert_eq!(summary(&produced), "dead key_mismatch");
        assert!(produced.dead_letters[0].detail.contains("tenant as key"));
    }
    for cancel_id in [String::new(), "c".repeat(257)] {
        let request = CancelRequest { cancel_id, ..by_key("k") };
        assert_eq!(summary(&ask(&mut driver(), &request)), "dead cancel_id_invalid");
    }
    // Nothing is sent on: who produces cancels can be told where they belong.
    let wrong = (sendplane_domain::shard::partition_of(b"acme", 4) + 1) % 4;
    let mut driver = with_tenants(Driver::new(stage(), T0).placed(wrong, 4));
    let produced = ask(&mut driver, &by_key("k"));
    assert_eq!(summary(&produced), "dead misplaced");
    assert!(produced.dead_letters[0].detail.contains("partition"), "{produced:?}");
}

#[test]
fn an_order_is_forgotten_with_the_keys_of_its_messages() {
    let mut driver = driver();
    let empty = driver.state().len();
    send(&mut driver, &of_order("k-1", "17"));
    driver.advance_to(T0 + DAY);
    let second = SendRequest { created_at: T0 + DAY, ..of_order("k-2", "17") };
    let second = admitted(&send(&mut driver, &second)).message_id;
    driver.advance_to(T0 + 30 * DAY + HOUR);
    assert_eq!(named(&ask(&mut driver, &by_order("17"))), [second]);
    driver.advance_to(T0 + 31 * DAY + HOUR);
    assert_eq!(summary(&ask(&mut driver, &by_order("17"))), "cancel notfound");
    assert_eq!((driver.next_timer(), driver.state().len()), (None, empty));
}

#[test]
fn an_expired_key_names_nothing_before_its_timer_fires() {
    let mut driver = driver();
    send(&mut driver, &keyed("k-1"));
    let late = T0 + 31 * DAY;
    let outputs = before_timers(&driver, late, topic::CANCELS, record_of(&by_key("k-1")));
    let [Output::CancelAnswer(answer)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(answer.result, CancelResult::NotFound);
}

#[test]
fn too_many_messages_of_an_order_are_refused_as_a_whole() {
    let mut driver = driver();
    for n in 0..1_000 {
        send(&mut driver, &of_order(&format!("k-{n}"), "17"));
    }
    assert_eq!(named(&ask(&mut driver, &by_order("17"))).len(), 1_000);
    send(&mut driver, &of_order("k-1000", "17"));
    let produced = ask(&mut driver, &by_order("17"));
    assert_eq!(answer(&produced).result, CancelResult::Invalid);
    assert!(answer(&produced).detail.as_deref().unwrap().contains("pause"), "{produced:?}");
}
