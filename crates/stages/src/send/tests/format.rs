//! Stored bytes: a change of the format without a higher version would be read as something else.

use sendplane_domain::provider_code::CodeClass;
use sendplane_stage_api::table::{decode_value, encode_value};
use sendplane_stage_api::{Codec, RawRecord, TableKey, Undecoded};
use sendplane_wire::cloud_api::{ProductPolicy, Route};
use sendplane_wire::codec::{Decoder, Encoder, StaticSchemas};
use sha2::{Digest, Sha256};

use super::super::codec::SendCodec;
use super::super::state::{Doubt, End, Message, Number, QUEUE, Resource, State, Timer, Work};
use super::*;
use crate::schemas::Schemas;

fn pair() -> Resource {
    Resource::Pair(TenantId::new(TENANT), PhoneNumberId::new(NUMBER), contact(1))
}

fn messages() -> Vec<Message> {
    let work = Work {
        dispatch: Box::new(dispatch(1, Lane::Bulk, START)),
        lane: Lane::Bulk,
        failures: BTreeMap::from([(CodeClass::RetryMessage, 2)]),
        route: Route::Marketing { product_policy: ProductPolicy::Strict },
        rerouted: true,
    };
    let states = [
        State::Waiting { work: work.clone(), not_before: START },
        State::Submitting { work: work.clone(), granted_at: START },
        State::InDoubt {
            work: work.clone(),
            until: START,
            doubt: Doubt { window_end: START, heard_at: Some(START) },
        },
        State::Settled { end: End::Unknown, awaits_answer: true },
        State::Parked { work, not_before: START, resource: pair() },
    ];
    let message = |state| Message {
        decision_seq: 1,
        granted_at: Timestamp::default(),
        resends: 0,
        opt_out_of: Some(E164::parse("+4915112345678").unwrap()),
        template_name: TemplateName::new("order_update"),
        template_language: "en".into(),
        lane: Lane::Bulk,
        tenant: TenantId::new(TENANT),
        phone_number_id: PhoneNumberId::new(NUMBER),
        trace: TraceContext { tracestate: Some("x=1".into()), ..TraceContext::default() },
        attempt: 3,
        wamids: vec![wamid_hash("w")],
        state,
    };
    states.map(message).to_vec()
}

#[test]
fn stored_messages_keep_their_bytes() {
    let mut hasher = Sha256::new();
    for message in messages() {
        let bytes = encode_value(&message);
        assert_eq!(decode_value::<Message>(&bytes), Ok(message));
        hasher.update(bytes);
    }
    let digest = hex::encode(hasher.finalize());
    assert_eq!(
        &digest[..16],
        "1e59241fc81c2fb0",
        "the stored format changed: raise Message::VERSION and read the old one in upgrade()"
    );
}

#[test]
fn numbers_of_the_first_version_are_read() {
    // A bucket that is full until 150 ns after the epoch, and no timer.
    let number: Number = decode_value(&[0, 1, 0xac, 0x02, 0]).unwrap();
    assert_eq!(number.bucket.empty_at(), Timestamp::from_millis(1));
    assert_eq!(Number { bucket: Default::default(), ..number }, Number::default());
}

#[test]
fn stored_timers_keep_their_bytes() {
    // A variant keeps its number: timers outlive releases.
    let message = Timer::Message(message_id(1));
    let number = Timer::Number(TenantId::new("t"), PhoneNumberId::new("n"));
    let json = |timer: &Timer| serde_json::to_string(timer).unwrap();
    assert_eq!(json(&message), format!("{{\"Message\":\"{}\"}}", message_id(1)));
    assert_eq!(json(&number), "{\"Number\":[\"t\",\"n\"]}");
}

#[test]
fn the_queue_sorts_by_lane_then_time_then_message() {
    let key = |tenant: &str, number: &str, lane, at, n| {
        let number = (TenantId::new(tenant), PhoneNumberId::new(number));
        QUEUE.store_key(&(number, lane, Timestamp::from_millis(at), message_id(n)))
    };
    let sorted = [
        key("a", "n", 0, 10, 2),
        key("a", "n", 0, 20, 1),
        key("a", "n", 0, 20, 2),
        key("a", "n", 1, 0, 0),
        key("a", "n2", 0, 0, 0),
        key("b", "n", 0, 0, 0),
    ];
    assert!(sorted.is_sorted());
    let decoded = QUEUE.key_of(&sorted[1]).unwrap();
    let mut bytes = Vec::new();
    decoded.encode(&mut bytes);
    assert_eq!(bytes, sorted[1][2..]);
}

fn raw<'r>(topic: &'r str, value: &'r [u8]) -> RawRecord<'r> {
    RawRecord {
        topic,
        partition: 0,
        offset: 0,
        timestamp: START,
        key: None,
        value: Some(value),
        headers: &[],
    }
}

#[test]
fn records_cross_the_codec() {
    let fixed = StaticSchemas::new();
    let codec = SendCodec::new(&Schemas::fixed());
    for lane in [Lane::Transactional, Lane::Bulk] {
        let topic = topic::dispatch(lane);
        let sent = dispatch(1, lane, START);
        let value = Encoder::new(topic, fixed.id(topic).unwrap()).encode(&sent).unwrap();
        let record = codec.decode(&raw(topic, &value));
        assert_eq!(record, Ok(Record::Dispatch(Box::new(sent))));
    }
    let sent = feedback(1, 1, "w", ReceiptStatus::Sent, START);
    let encoder = Encoder::new(topic::FEEDBACK, fixed.id(topic::FEEDBACK).unwrap());
    let value = encoder.encode(&sent).unwrap();
    let record = codec.decode(&raw(topic::FEEDBACK, &value));
    assert_eq!(record, Ok(Record::Feedback(sent)));
    for (topic, value) in [(topic::FEEDBACK, &b"junk"[..]), (topic::ATTEMPTS, &value)] {
        assert!(matches!(codec.decode(&raw(topic, value)), Err(Undecoded::Reject(_))));
    }

    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    plane.answer_last(accepted("w"));
    let encoded = codec.encode(&plane.last().clone().into()).unwrap();
    assert_eq!((encoded.topic, encoded.key.as_str()), (topic::ATTEMPTS, TENANT));
    let decoder: Decoder<Attempt> = Schemas::fixed().decoder(topic::ATTEMPTS);
    assert_eq!(decoder.decode(Some(&encoded.value)).unwrap(), *plane.last());
}
