//! What a released message carries.

use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::{Codec, RawRecord};
use sendplane_wire::record::TemplateParameter;

use super::*;
use crate::schemas::Schemas;

fn released(message: AdmittedMessage, template: Template) -> (Dispatch, Decision) {
    let mut driver = driver(Some(sample::tenant("acme")), Some(template));
    let (dispatch, decision) = outcome(admit(&mut driver, message));
    (dispatch.unwrap_or_else(|| panic!("not released: {decision:?}")), decision)
}

#[test]
fn positional_parameters_stand_in_the_body_s_order() {
    let mut template = sample::template("acme", "order_update", "utility", 0);
    template.body_variables = (1..=11).map(|n| n.to_string()).collect();
    let mut message = message();
    // As text "10" sorts before "2": only the template knows the order.
    message.variables = (1..=11).map(|n| (n.to_string(), format!("value {n}"))).collect();
    let (dispatch, _) = released(message, template);
    let expected: Vec<_> =
        (1..=11).map(|n| TemplateParameter { name: None, value: format!("value {n}") }).collect();
    assert_eq!(dispatch.parameters, expected);
}

#[test]
fn named_parameters_carry_their_names() {
    let mut template = template();
    template.parameter_format = ParameterFormat::Named;
    template.body_variables = vec!["order".into(), "customer".into()];
    let mut message = message();
    message.variables =
        BTreeMap::from([("customer".into(), "Ada".into()), ("order".into(), "17".into())]);
    let (dispatch, _) = released(message, template);
    let named = |name: &str, value: &str| TemplateParameter {
        name: Some(name.into()),
        value: value.into(),
    };
    assert_eq!(dispatch.parameters, [named("order", "17"), named("customer", "Ada")]);
}

/// Meta would deliver it until its time to live is over, whatever our deadline says.
#[test]
fn a_code_is_called_early_enough_for_its_time_to_live() {
    let secs = std::time::Duration::from_secs;
    let mut message = message();
    message.admitted_at = NOW;
    message.deadline = NOW + secs(900);
    let valid_for = |category: &str, ttl_seconds: Option<i32>, message: &AdmittedMessage| {
        let template = Template { category: category.into(), ttl_seconds, ..template() };
        released(message.clone(), template).0.valid_until.since(NOW)
    };
    assert_eq!(valid_for("authentication", Some(120), &message), secs(780));
    assert_eq!(valid_for("authentication", None, &message), secs(900), "nobody said how long");
    assert_eq!(valid_for("utility", Some(120), &message), secs(900), "late is better than never");
    message.deadline = NOW + secs(120);
    assert_eq!(valid_for("authentication", Some(120), &message), secs(120), "or never sent");
}

#[test]
fn dispatch_and_decision_say_the_same() {
    let mut template = template();
    template.version = 7;
    let (dispatch, decision) = released(message(), template);
    let message = message();
    assert_eq!(dispatch.message_id, message.message_id);
    assert_eq!(dispatch.recipient, message.recipient);
    assert_eq!(dispatch.valid_until, message.deadline);
    assert_eq!(dispatch.dispatched_at, NOW);
    assert_eq!(dispatch.consent_seq, 0);
    assert_eq!(dispatch.phone_number_id, PhoneNumberId::new("acme-number"));
    assert_eq!((decision.verdict, decision.stage), (Verdict::Dispatch, DecidingStage::Policy));
    assert_eq!((decision.reason, decision.detail), (None, None));
    assert_eq!(decision.message_id, dispatch.message_id);
    assert_eq!(decision.template_version, Some(dispatch.template_version));
    assert_eq!(dispatch.template_version, 7);
    assert_eq!(decision.category, Some(dispatch.category));
    assert_eq!(decision.campaign, dispatch.campaign);
    assert_eq!(decision.contact_hash, Some(dispatch.contact_hash));
    assert_eq!(decision.phone_number_id, Some(dispatch.phone_number_id));
    assert_eq!(decision.lane.as_deref(), Some(dispatch.lane.as_str()));
    assert_eq!(decision.decided_at, NOW);
}

#[test]
fn the_number_asked_for_is_used() {
    let mut tenant = sample::tenant("acme");
    let mut second = tenant.phone_numbers[0].clone();
    second.phone_number_id = PhoneNumberId::new("acme-second");
    tenant.phone_numbers.push(second);
    let mut message = message();
    message.phone_number_id = Some(PhoneNumberId::new("acme-second"));
    let mut driver = driver(Some(tenant), Some(template()));
    let (dispatch, _) = outcome(admit(&mut driver, message));
    assert_eq!(dispatch.unwrap().phone_number_id, PhoneNumberId::new("acme-second"));
}

#[test]
fn the_category_moves_a_message_down_and_never_up() {
    let cases = [
        (Lane::Transactional, "utility", Lane::Transactional),
        (Lane::Transactional, "authentication", Lane::Transactional),
        (Lane::Transactional, "marketing", Lane::Bulk),
        (Lane::Bulk, "marketing", Lane::Bulk),
        (Lane::Bulk, "utility", Lane::Bulk),
        (Lane::Bulk, "authentication", Lane::Bulk),
    ];
    for (asked, category, expected) in cases {
        let mut message = message();
        message.lane = asked;
        let template = sample::template("acme", "order_update", category, 2);
        let (dispatch, decision) = released(message, template);
        assert_eq!(dispatch.lane, expected, "{asked:?} {category}");
        assert_eq!(decision.lane.as_deref(), Some(expected.as_str()));
        assert_eq!(dispatch.category, category);
    }
}

#[test]
fn every_output_continues_the_trace_of_its_message() {
    let mut driver = driver(Some(sample::tenant("acme")), Some(template()));
    let trace = TraceContext {
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        tracestate: None,
        correlation_id: Some("checkout-9".into()),
    };
    let record = Record::Admitted(Box::new(message()));
    let produced = driver.record_traced(topic::ADMITTED_TRANSACTIONAL, record, trace.clone());
    assert_eq!(produced.traces, [trace.clone(), trace]);
}

#[test]
fn judging_again_gives_the_same_and_writes_nothing() {
    let mut driver = driver(Some(sample::tenant("acme")), Some(template()));
    consent(&mut driver, change(ConsentScope::Marketing, ConsentState::Withdrawn, 1));
    let rows =
        |driver: &Driver<Policy>| driver.state().iter().filter(|(key, _)| key[0] != 0xff).count();
    let before = rows(&driver);
    let first = admit(&mut driver, message()).outputs;
    driver.restart();
    assert_eq!(admit(&mut driver, message()).outputs, first);
    assert_eq!(rows(&driver), before);
}

#[test]
fn the_codec_chooses_the_topic_by_lane_and_round_trips_inputs() {
    let schemas = Schemas::fixed();
    let codec = PolicyCodec::new(&schemas);
    let (mut dispatch, decision) = released(message(), template());
    for lane in [Lane::Transactional, Lane::Bulk] {
        dispatch.lane = lane;
        let encoded = codec.encode(&Output::Dispatch(Box::new(dispatch.clone()))).unwrap();
        assert_eq!((encoded.topic, encoded.key.as_str()), (topic::dispatch(lane), "acme"));
        let read = schemas.decoder::<Dispatch>(encoded.topic).decode(Some(&encoded.value));
        assert_eq!(read, Ok(dispatch.clone()));
    }
    let encoded = codec.encode(&Output::Decision(Box::new(decision.clone()))).unwrap();
    let read = schemas.decoder::<Decision>(topic::DECISIONS).decode(Some(&encoded.value));
    assert_eq!((encoded.topic, read), (topic::DECISIONS, Ok(decision)));

    for lane in [Lane::Transactional, Lane::Bulk] {
        let topic = topic::admitted(lane);
        let value = schemas.encoder::<AdmittedMessage>(topic).encode(&message()).unwrap();
        let record = codec.decode(&raw(topic, Some(b"acme"), &value)).unwrap();
        assert_eq!(record, Record::Admitted(Box::new(message())));
    }
}

pub(super) fn raw<'r>(topic: &'r str, key: Option<&'r [u8]>, value: &'r [u8]) -> RawRecord<'r> {
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
