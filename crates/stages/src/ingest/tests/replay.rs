//! Dead letters that come back: the message is the one its first position stands for.

use sendplane_domain::id::{MessageId, SourcePosition};
use sendplane_domain::limits::{CLOCK_SKEW_MAX, DEDUP_HORIZON};
use sendplane_stage_api::Replay;

use super::*;

fn source(offset: i64) -> SourcePosition {
    SourcePosition { topic: topic::REQUESTS_TRANSACTIONAL.into(), partition: 0, offset }
}

fn replay(driver: &mut Driver<Ingest>, request: &SendRequest) -> Produced<Ingest> {
    let letter = "ingest/0/3".parse().expect("an id");
    let replay = Replay { letter, source: Some(source(0)) };
    let record = record(Lane::Transactional, request);
    checked(driver.record_replayed(topic::REQUESTS_TRANSACTIONAL, record, T0, replay))
}

fn first_id(request: &SendRequest) -> MessageId {
    MessageId::derive(T0, &request.tenant, &request.idempotency_key, &source(0))
}

#[test]
fn a_letter_replayed_twice_is_one_message() {
    // The tenant comes after its first request, which stands at offset 0.
    let mut driver = Driver::new(stage(), T0);
    assert_eq!(summary(&send(&mut driver, &request())), "dead unknown_tenant");
    let mut driver = with_tenants(driver);
    driver.advance_to(T0 + HOUR);
    let produced = replay(&mut driver, &request());
    assert_eq!(admitted(&produced).message_id, first_id(&request()));
    for restart in [false, true] {
        if restart {
            driver.restart();
        }
        assert_eq!(summary(&replay(&mut driver, &request())), "", "no outcome of its own");
    }
    // Beyond the horizon the key is forgotten, and the request says itself that it is old.
    driver.advance_to(T0 + HOUR + DEDUP_HORIZON + CLOCK_SKEW_MAX);
    let produced = replay(&mut driver, &request());
    assert_eq!(summary(&produced), "stale stale");
    assert_eq!(decision(&produced).message_id, first_id(&request()), "the same message");
}

#[test]
fn a_request_that_was_made_again_meanwhile_is_a_duplicate() {
    let mut driver = Driver::new(stage(), T0);
    send(&mut driver, &request());
    // Offset 0 went to the dead letters; its caller gave up waiting and asked again.
    let mut driver = with_tenants(driver);
    driver.advance_to(T0 + HOUR);
    let second = SendRequest { created_at: T0 + HOUR, ..request() };
    let id = admitted(&send(&mut driver, &second)).message_id;
    let produced = replay(&mut driver, &request());
    assert_eq!(decision(&produced).duplicate_of, Some(id));
    assert_eq!(decision(&produced).message_id, first_id(&request()));
}

#[test]
fn a_misplaced_letter_keeps_its_identity_on_its_way() {
    let owner = sendplane_domain::shard::partition_of(b"acme", 4);
    let wrong = (owner + 1) % 4;
    let mut elsewhere = with_tenants(Driver::new(stage(), T0 + HOUR).placed(wrong, 4));
    let first = SourcePosition { partition: wrong, ..source(5) };
    let letter = format!("ingest/{wrong}/3").parse().expect("an id");
    let replay = Replay { letter, source: Some(first.clone()) };
    let record = record(Lane::Transactional, &request());
    let produced = elsewhere.record_replayed(topic::REQUESTS_TRANSACTIONAL, record, T0, replay);
    let [Output::Rerouted(rerouted)] = &produced.outputs[..] else {
        panic!("expected one re-routed record, got {produced:?}");
    };
    let value = value_of(topic::REROUTED, rerouted);
    let mut driver = with_tenants(Driver::new(stage(), T0 + HOUR).placed(owner, 4));
    let produced = driver.record(topic::REROUTED, decoded(topic::REROUTED, None, &value));
    let request = request();
    let expected = MessageId::derive(T0, &request.tenant, &request.idempotency_key, &first);
    assert_eq!(admitted(&produced).message_id, expected);
}
