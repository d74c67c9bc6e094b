//! I2: one key, one message; and an identity that no detour changes.

use sendplane_domain::id::MessageId;
use sendplane_domain::limits::{CLOCK_SKEW_MAX, DEDUP_HORIZON};
use sendplane_domain::shard::partition_of;

use super::*;

#[test]
fn a_repetition_is_a_duplicate_of_the_first() {
    let mut driver = driver();
    let first = admitted(&send(&mut driver, &request())).message_id;
    for restart in [false, true] {
        if restart {
            driver.restart();
        }
        // Another attempt of the same caller: decided later, from the other lane's topic.
        let again = SendRequest { created_at: T0 + Duration::from_secs(1), ..request() };
        let produced = send_in(&mut driver, Lane::Bulk, &again);
        assert_eq!(summary(&produced), "duplicate duplicate");
        let decision = decision(&produced);
        assert_eq!(decision.duplicate_of, Some(first));
        assert_ne!(decision.message_id, first);
    }
}

#[test]
fn a_repetition_stays_a_duplicate_when_the_request_would_be_refused_by_now() {
    let mut driver = driver();
    send(&mut driver, &request());
    let inactive = sendplane_wire::record::Tenant { active: false, ..sample::tenant("acme") };
    driver.global(sample::set_tenant(inactive));
    driver.advance_to(T0 + 8 * DAY);
    assert_eq!(summary(&send(&mut driver, &request())), "duplicate duplicate");
}

#[test]
fn other_content_under_the_same_key_is_refused() {
    type Change = fn(&mut SendRequest);
    let changes: &[Change] = &[
        |r| r.recipient = "+4915112345679".into(),
        |r| r.template_name = TemplateName::new("sale"),
        |r| r.template_language = "de".into(),
        |r| r.variables = BTreeMap::from([("1".into(), "Bob".into())]),
        |r| r.variables = BTreeMap::from([("1A".into(), "da".into())]),
        |r| r.variables.clear(),
        |r| r.campaign = Some(String::new()),
        |r| r.deadline = Some(T0 + HOUR),
        |r| r.phone_number_id = Some(sendplane_domain::id::PhoneNumberId::new("acme-number")),
    ];
    let mut driver = driver();
    let first = admitted(&send(&mut driver, &request())).message_id;
    for (number, change) in changes.iter().enumerate() {
        let mut other = request();
        change(&mut other);
        let produced = send(&mut driver, &other);
        assert_eq!(summary(&produced), "refuse idempotency_key_reused", "change {number}");
        let decision = decision(&produced);
        assert_eq!(decision.duplicate_of, None);
        assert!(decision.detail.as_deref().is_some_and(|text| text.contains(&first.to_string())));
    }
}

#[test]
fn keys_are_per_tenant_and_a_refused_request_takes_none() {
    let mut driver = driver();
    driver.global(sample::set_tenant(sample::tenant("other")));
    let faulty = SendRequest { recipient: "1".into(), ..request() };
    assert_eq!(summary(&send(&mut driver, &faulty)), "refuse recipient_not_e164");
    assert_eq!(summary(&send(&mut driver, &request())), "admitted transactional");
    let other = SendRequest { tenant: TenantId::new("other"), ..request() };
    assert_eq!(summary(&send(&mut driver, &other)), "admitted transactional");
}

#[test]
fn a_key_is_remembered_as_long_as_its_request_passes_for_fresh() {
    // The caller's clock is ahead as far as it may be.
    let ahead = SendRequest { created_at: T0 + CLOCK_SKEW_MAX, ..request() };
    let mut driver = driver();
    send(&mut driver, &ahead);
    let last_fresh = ahead.created_at + DEDUP_HORIZON;
    driver.advance_to(last_fresh);
    assert_eq!(summary(&send(&mut driver, &ahead)), "duplicate duplicate");
    driver.advance_to(last_fresh + Duration::from_millis(1));
    assert_eq!(summary(&send(&mut driver, &ahead)), "stale stale");
}

#[test]
fn an_expired_key_is_free_and_leaves_nothing_behind() {
    let mut driver = driver();
    let empty = driver.state().len();
    let first = admitted(&send(&mut driver, &request())).message_id;
    let expiry = T0 + DEDUP_HORIZON + CLOCK_SKEW_MAX;
    assert_eq!(driver.next_timer(), Some(expiry));
    let later = |now| SendRequest { created_at: now, ..request() };
    let just_before = expiry.minus(Duration::from_millis(1));
    driver.advance_to(just_before);
    let produced = send(&mut driver, &later(just_before));
    assert_eq!(decision(&produced).duplicate_of, Some(first));
    driver.restart();
    driver.advance_to(expiry);
    assert_eq!((driver.next_timer(), driver.state().len()), (None, empty));
    let second = admitted(&send(&mut driver, &later(expiry))).message_id;
    assert_ne!(second, first);
}

#[test]
fn an_expired_key_is_free_before_its_timer_fires() {
    let mut driver = driver();
    send(&mut driver, &request());
    let expiry = T0 + DEDUP_HORIZON + CLOCK_SKEW_MAX;
    let at = |now: Timestamp| {
        let again = record(Lane::Bulk, &SendRequest { created_at: now, ..request() });
        let outputs = before_timers(&driver, now, topic::REQUESTS_BULK, again);
        matches!(outputs[..], [Output::Admitted(_)])
    };
    assert_eq!([at(expiry.minus(Duration::from_millis(1))), at(expiry)], [false, true]);
}

#[test]
fn an_old_timer_does_not_free_a_key_that_was_taken_again() {
    let mut driver = driver();
    send(&mut driver, &request());
    let expiry = T0 + DEDUP_HORIZON + CLOCK_SKEW_MAX;
    driver.advance_to(expiry);
    let second = SendRequest { created_at: expiry, ..request() };
    let id = admitted(&send(&mut driver, &second)).message_id;
    driver.advance_to(expiry + DEDUP_HORIZON);
    let third = SendRequest { created_at: driver.now(), ..request() };
    assert_eq!(decision(&send(&mut driver, &third)).duplicate_of, Some(id));
}

/// A partition that does not own `acme` among `PARTITIONS`, and the one that does.
fn partitions() -> (i32, i32) {
    let owner = partition_of(b"acme", PARTITIONS);
    ((owner + 1) % PARTITIONS as i32, owner)
}

const PARTITIONS: u32 = 4;

/// A record of `lane` read on the wrong partition: its value and what the stage made of it.
fn misplaced(lane: Lane, trace: TraceContext) -> (Vec<u8>, Produced<Ingest>) {
    let (wrong, _) = partitions();
    let mut driver = with_tenants(Driver::new(stage(), T0).placed(wrong, PARTITIONS));
    let topic = topic::requests(lane);
    let value = value_of(topic, &request());
    let record = decoded_with(topic, Some(b"acme"), &value, &headers());
    (value, checked(driver.record_traced(topic, record, trace)))
}

/// Headers of the producer's own, beside those of the trace.
fn headers() -> Vec<Header> {
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    vec![
        header("x-order", Some(b"17")),
        header("traceparent", Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        header("x-order", Some(&[0xff, 0])),
        header("", None),
    ]
}

fn trace() -> TraceContext {
    TraceContext {
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        tracestate: Some("vendor=1".into()),
        correlation_id: Some("order-17".into()),
    }
}

/// The re-routed record as the owner reads it.
fn arrived(produced: &Produced<Ingest>) -> (ReroutedRecord, Record) {
    let [Output::Rerouted(rerouted)] = &produced.outputs[..] else {
        panic!("expected one re-routed record, got {produced:?}");
    };
    let value = value_of(topic::REROUTED, rerouted);
    (rerouted.clone(), decoded(topic::REROUTED, Some(b"acme"), &value))
}

#[test]
fn a_misplaced_record_is_sent_on_byte_for_byte() {
    let (value, produced) = misplaced(Lane::Bulk, trace());
    let (rerouted, _) = arrived(&produced);
    assert_eq!((rerouted.key.as_deref(), rerouted.value), (Some(&b"acme"[..]), value));
    assert_eq!(rerouted.source_topic, topic::REQUESTS_BULK);
    assert_eq!((rerouted.source_partition, rerouted.source_offset), (partitions().0, 0));
    assert_eq!(rerouted.source_timestamp, T0);
    let found: Vec<Header> =
        rerouted.headers.into_iter().map(|header| (header.name, header.value)).collect();
    assert_eq!(found, headers());
    assert_eq!(produced.traces, [trace()]);
}

#[test]
fn what_does_not_fit_one_record_is_not_re_routed() {
    let topic = topic::REQUESTS_BULK;
    let value = value_of(topic, &request());
    let (wrong, _) = partitions();
    let sent_on = |bytes: usize| {
        let headers = [("x".to_owned(), Some(vec![7; bytes]))];
        let record = decoded_with(topic, Some(b"acme"), &value, &headers);
        let mut driver = with_tenants(Driver::new(stage(), T0).placed(wrong, PARTITIONS));
        checked(driver.record(topic, record))
    };
    let room = REROUTED_BYTES_MAX - value.len() - 4 - 17;
    let fits = sent_on(room);
    assert_eq!(summary(&fits), "rerouted");
    let encoded = IngestCodec::new(&Schemas::fixed()).encode(&fits.outputs[0]).expect("encodes");
    assert!(encoded.value.len() < 1024 * 1024 - 8 * 1024, "{} bytes", encoded.value.len());
    assert_eq!(summary(&sent_on(room + 1)), "dead misplaced_too_large");
}

#[test]
fn re_routing_changes_neither_identity_nor_lane_nor_trace() {
    for lane in [Lane::Transactional, Lane::Bulk] {
        let (_, produced) = misplaced(lane, trace());
        let (_, owner) = partitions();
        let later = T0 + HOUR;
        let mut driver = with_tenants(Driver::new(stage(), later).placed(owner, PARTITIONS));
        let (rerouted, first) = arrived(&produced);
        let produced = checked(driver.record_traced(topic::REROUTED, first, trace()));
        let source = SourcePosition {
            topic: topic::requests(lane).into(),
            partition: partitions().0,
            offset: 0,
        };
        let request = request();
        let expected = MessageId::derive(T0, &request.tenant, &request.idempotency_key, &source);
        let message = admitted(&produced);
        assert_eq!((message.message_id, message.lane), (expected, lane));
        assert_eq!((message.admitted_at, &produced.traces[..]), (later, &[trace()][..]));
        // The same source record once more: after a tear, or re-routed twice by a zombie.
        let value = value_of(topic::REROUTED, &rerouted);
        driver.restart();
        let again = driver.record(topic::REROUTED, decoded(topic::REROUTED, None, &value));
        assert_eq!(summary(&again), "");
        // The producer's own repetition, now on the right partition.
        let produced = send_in(&mut driver, lane, &request);
        assert_eq!(decision(&produced).duplicate_of, Some(expected));
    }
}

#[test]
fn a_record_is_re_routed_once() {
    let (_, produced) = misplaced(Lane::Bulk, trace());
    let (wrong, _) = partitions();
    let mut driver = with_tenants(Driver::new(stage(), T0).placed(wrong, PARTITIONS));
    let produced = driver.record(topic::REROUTED, arrived(&produced).1);
    assert_eq!(summary(&produced), "dead misrouted");
}

#[test]
fn a_re_routed_record_is_checked_like_any_other() {
    let topic = topic::REQUESTS_TRANSACTIONAL;
    let value = value_of(topic, &request());
    let incoming = |key: Option<&[u8]>| {
        let Record::Request(incoming) = decoded(topic, key, &value) else {
            panic!("a request");
        };
        incoming
    };
    let source = SourcePosition { topic: topic.into(), partition: 2, offset: 9 };
    for (key, expected) in
        [(None, "dead key_mismatch"), (Some(&b"acme"[..]), "dead unknown_tenant")]
    {
        let mut driver = Driver::new(stage(), T0);
        let incoming = incoming(key);
        let record = Record::Rerouted { source: source.clone(), timestamp: T0, incoming };
        assert_eq!(summary(&driver.record(topic::REROUTED, record)), expected);
    }
}

#[test]
fn a_trace_is_carried_unless_it_is_absurdly_long() {
    let mut driver = driver();
    let long = TraceContext { tracestate: Some("x".repeat(TRACE_FIELD_BYTES_MAX + 1)), ..trace() };
    let cases =
        [("a", trace(), trace()), ("b", long, TraceContext { tracestate: None, ..trace() })];
    for (key, given, expected) in cases {
        let record = record(Lane::Bulk, &keyed(key));
        let produced = driver.record_traced(topic::REQUESTS_BULK, record, given);
        assert_eq!(summary(&produced), "admitted bulk");
        assert_eq!(produced.traces, [expected]);
    }
}
