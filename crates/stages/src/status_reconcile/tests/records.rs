//! Records that cannot be used, records with gaps, and the codec.

use sendplane_stage_api::{Codec, RawRecord, Undecoded};
use sendplane_wire::record::AvroRecord;

use super::*;
use crate::schemas::Schemas;

/// Code and detail of the dead letter; nothing else may happen.
fn dead(record: Record) -> (&'static str, String) {
    let mut driver = driver();
    let mut produced = driver.record(topic::DECISIONS, record);
    assert_eq!(produced.outputs, []);
    assert_eq!(stored(&driver), None);
    assert_eq!(driver.next_timer(), None);
    assert_eq!(produced.dead_letters.len(), 1);
    let letter = produced.dead_letters.remove(0);
    (letter.code, letter.detail)
}

#[test]
fn symbols_of_a_newer_release_are_dead_lettered_and_named() {
    let mut stage = decision(Verdict::Dispatch, None);
    stage.stage = DecidingStage::Unknown;
    let mut disposition = attempt(1, AttemptEvent::NotSent, 3);
    disposition.disposition = Disposition::Unknown;
    let cases = [
        (decided(Verdict::Unknown, None), "verdict: "),
        (Record::Decision(Box::new(stage)), "stage: "),
        (attempted(1, AttemptEvent::Unknown, 3), "event: "),
        (Record::Attempt(Box::new(disposition)), "disposition: "),
        (reported(ReceiptStatus::Unknown, 5), "status: "),
        (bare(ReceiptStatus::Unknown, "w1", 5), "status: "),
    ];
    for (record, field) in cases {
        let (code, detail) = dead(record);
        assert_eq!(code, "unknown_symbol");
        assert!(detail.starts_with(field), "{detail}");
    }
}

#[test]
fn impossible_records_are_dead_lettered_and_named() {
    let mut lane = decision(Verdict::Dispatch, None);
    lane.lane = Some("express".into());
    let mut negative = receipt(ReceiptStatus::Sent, "w1", 5);
    negative.attempt = Some(-1);
    let cases = [
        (decided(Verdict::Defer, None), "decision_invalid", "next_at: "),
        (Record::Decision(Box::new(lane)), "decision_invalid", "lane: "),
        (attempted(1, AttemptEvent::Accepted, 3), "attempt_invalid", "wamid_hash: "),
        (attempted(1, AttemptEvent::Held, 3), "attempt_invalid", "wamid_hash: "),
        (attempted(-1, AttemptEvent::Submitting, 3), "attempt_invalid", "attempt: "),
        (Record::Receipt(Box::new(negative)), "receipt_invalid", "attempt: "),
    ];
    for (record, code, field) in cases {
        let (found, detail) = dead(record);
        assert_eq!(found, code);
        assert!(detail.starts_with(field), "{detail}");
    }
}

#[test]
fn a_refusal_without_a_code_keeps_its_class() {
    let mut class_only = attempt(1, AttemptEvent::Refused, 4);
    class_only.error_class = Some("permanent_request".into());
    class_only.disposition = Disposition::Reject;
    let mut status_only = attempt(1, AttemptEvent::Refused, 4);
    status_only.http_status = Some(404);
    let mut code_only = attempt(1, AttemptEvent::Refused, 4);
    code_only.error_code = Some(131_026);
    let cases = [
        (class_only, "permanent_request", None),
        (status_only, "retry_message", None),
        (code_only, "permanent_recipient", Some(131_026)),
    ];
    for (attempt, reason, error_code) in cases {
        let rows = rows(&[admitted(), dispatched(), Record::Attempt(Box::new(attempt))]);
        let last = rows.last().unwrap();
        assert_eq!(last.state, State::Rejected);
        assert_eq!((last.reason.as_deref(), last.error_code), (Some(reason), error_code));
    }
}

/// A refusal of a request too broken to have anything.
#[test]
fn a_sparse_refusal_still_has_its_row() {
    let mut sparse = decision(Verdict::Refuse, Some("template_missing"));
    (sparse.lane, sparse.campaign, sparse.template_name) = (None, None, None);
    (sparse.category, sparse.contact_hash, sparse.phone_number_id) = (None, None, None);
    let rows = rows(&[Record::Decision(Box::new(sparse))]);
    assert_eq!(rows[0].state, State::Refused);
    assert_eq!(rows[0].lane.as_deref(), Some("bulk"), "never up");
    assert_eq!((&rows[0].template_name, &rows[0].template_language), (&None, &None));
}

#[test]
fn the_wamid_leaves_neither_through_rows_nor_through_the_store() {
    let mut driver = driver();
    let rows = feed_all(&mut driver, &[admitted(), accepted(1, "w1", 4)]);
    assert_eq!(rows.last().unwrap().wamid_hash, Some(hash("w1")));
    assert!(!format!("{rows:?}").contains("4915112345678"));
    let needle = b"4915112345678";
    let is_stored = |bytes: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
    assert!(!driver.state().iter().any(|(key, value)| is_stored(key) || is_stored(value)));
}

#[test]
fn event_ids_depend_on_message_and_sequence_only() {
    let other = MessageId::from_bytes([8; 16]);
    assert_eq!(outcome::event_id(id(), 1), outcome::event_id(id(), 1));
    assert_ne!(outcome::event_id(id(), 1), outcome::event_id(id(), 2));
    assert_ne!(outcome::event_id(id(), 1), outcome::event_id(other, 1));
    assert_eq!(&outcome::event_id(id(), 1)[14..15], "8");
}

#[test]
fn every_state_has_its_symbol() {
    let mut symbols = std::collections::HashSet::new();
    for state in MessageState::ALL {
        let symbol = outcome::wire_state(state);
        assert!(symbols.insert(symbol), "{symbol:?} stands for two states");
        let text = serde_json::to_value(symbol).unwrap();
        assert_eq!(text.as_str().unwrap().to_lowercase(), state.as_str());
    }
}

#[test]
fn the_codec_reads_each_topic_and_writes_outcomes() {
    let schemas = Schemas::fixed();
    let codec = StatusReconcileCodec::new(&schemas);
    fn value<R: AvroRecord>(schemas: &Schemas, topic: &'static str, record: &R) -> Vec<u8> {
        schemas.encoder::<R>(topic).encode(record).unwrap()
    }
    let Record::Admitted(message) = admitted() else { unreachable!() };
    let decision = decision(Verdict::Dispatch, None);
    let Record::Attempt(attempt) = accepted(1, "w1", 4) else { unreachable!() };
    let receipt = receipt(ReceiptStatus::Sent, "w1", 5);
    let cases = [
        (topic::ADMITTED_TRANSACTIONAL, value(&schemas, topic::ADMITTED_TRANSACTIONAL, &*message)),
        (topic::ADMITTED_BULK, value(&schemas, topic::ADMITTED_BULK, &*message)),
        (topic::DECISIONS, value(&schemas, topic::DECISIONS, &decision)),
        (topic::ATTEMPTS, value(&schemas, topic::ATTEMPTS, &*attempt)),
        (topic::RECEIPTS, value(&schemas, topic::RECEIPTS, &receipt)),
    ];
    let expected = [
        admitted(),
        admitted(),
        Record::Decision(Box::new(decision.clone())),
        Record::Attempt(attempt),
        Record::Receipt(Box::new(receipt)),
    ];
    let declared: Vec<_> = INPUTS.iter().map(|input| input.topic).collect();
    for ((topic, value), expected) in cases.iter().zip(expected) {
        assert!(declared.contains(topic));
        assert_eq!(codec.decode(&raw(topic, value)).unwrap(), expected);
    }
    assert_eq!(declared.len(), cases.len());
    for topic in [topic::TENANTS, topic::TEMPLATES, topic::OUTCOMES] {
        assert!(matches!(codec.decode_global(&raw(topic, b"")), Err(Undecoded::Reject(_))));
        assert!(matches!(codec.decode(&raw(topic, b"")), Err(Undecoded::Reject(_))));
    }

    let outcome = rows(&[admitted(), dispatched(), accepted(1, "w1", 4)]).remove(2);
    let encoded = codec.encode(&outcome).unwrap();
    assert_eq!((encoded.topic, encoded.key.as_str()), (topic::OUTCOMES, "acme"));
    let read = schemas.decoder::<Outcome>(topic::OUTCOMES).decode(Some(&encoded.value));
    assert_eq!(read, Ok(outcome));
}

fn raw<'r>(topic: &'r str, value: &'r [u8]) -> RawRecord<'r> {
    let key = Some(&b"acme"[..]);
    RawRecord {
        topic,
        partition: 0,
        offset: 0,
        timestamp: NOW,
        key,
        value: Some(value),
        headers: &[],
    }
}
