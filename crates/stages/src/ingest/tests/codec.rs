//! What the codec refuses, and where outputs go.

use sendplane_stage_api::{Codec, InputClass, Stage, Undecoded};

use super::*;

fn refused(topic: &str, value: Option<&[u8]>) -> String {
    let codec = IngestCodec::new(&Schemas::fixed());
    let key = Some(&b"acme"[..]);
    let raw = RawRecord { topic, partition: 0, offset: 0, timestamp: T0, key, value, headers: &[] };
    match codec.decode(&raw) {
        Err(Undecoded::Reject(dead)) => dead.code.to_owned(),
        other => panic!("expected a rejection, got {other:?}"),
    }
}

#[test]
fn what_is_no_record_is_rejected_with_a_code() {
    let bulk = topic::REQUESTS_BULK;
    assert_eq!(refused(bulk, None), "tombstone");
    assert_eq!(refused(bulk, Some(b"{}")), "no_schema_framing");
    assert_eq!(refused(topic::OUTCOMES, Some(b"")), "unexpected_topic");
    assert_eq!(refused(topic::REROUTED, None), "tombstone");
}

#[test]
fn a_re_routed_record_must_hold_a_request() {
    let rerouted = |source_topic: &str, value: Vec<u8>| ReroutedRecord {
        tenant: TenantId::new("acme"),
        source_topic: source_topic.into(),
        source_partition: 1,
        source_offset: 2,
        source_timestamp: T0,
        key: Some(b"acme".to_vec()),
        value,
        headers: Vec::new(),
    };
    let good = value_of(topic::REQUESTS_BULK, &request());
    let cut = good[..good.len() - 1].to_vec();
    let cases = [
        (rerouted(topic::WEBHOOKS, good), "unexpected_topic"),
        (rerouted(topic::REQUESTS_BULK, cut), "undecodable"),
    ];
    for (record, expected) in cases {
        let value = value_of(topic::REROUTED, &record);
        assert_eq!(refused(topic::REROUTED, Some(&value)), expected);
    }
}

#[test]
fn a_lane_is_a_topic() {
    let codec = IngestCodec::new(&Schemas::fixed());
    for lane in [Lane::Transactional, Lane::Bulk] {
        let produced = send_in(&mut driver(), lane, &request());
        let encoded = codec.encode(&produced.outputs[0]).expect("encodes");
        assert_eq!(encoded.topic, topic::admitted(lane));
    }
}

/// What ingest passes on must fit the topics it writes to.
#[test]
fn inputs_are_bounded_by_what_can_be_passed_on() {
    for input in stage().inputs() {
        let spec = topic::spec(input.topic).expect("a topic of ours");
        let broker_default = 1024 * 1024;
        let limit = spec.message_bytes_max.unwrap_or(broker_default) as usize;
        assert!(input.value_bytes_max <= limit, "{}", input.topic);
        let bulk = input.topic == topic::REQUESTS_BULK;
        assert_eq!(input.class == InputClass::Bulk, bulk, "{}", input.topic);
    }
    let request = SendRequest { campaign: Some("c".repeat(REQUEST_BYTES_MAX)), ..request() };
    let (topic, owner) = (topic::REQUESTS_BULK, sendplane_domain::shard::partition_of(b"acme", 4));
    let mut driver = with_tenants(Driver::new(stage(), T0).placed((owner + 1) % 4, 4));
    let produced = checked(driver.record(topic, record(Lane::Bulk, &request)));
    let codec = IngestCodec::new(&Schemas::fixed());
    let encoded = codec.encode(&produced.outputs[0]).expect("encodes");
    assert!(encoded.value.len() < 1024 * 1024, "{} bytes", encoded.value.len());
}
