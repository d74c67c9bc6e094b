//! Framing and Avro: all records, on both paths of the decoder.

use std::fmt::Debug;
use std::sync::Arc;

use apache_avro::Schema;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use sendplane_wire::codec::{AvroRecord, DecodeError, Decoder, Encoder, StaticSchemas};
use sendplane_wire::record::*;
use sendplane_wire::{framing, topic};
use serde_json::Value as Json;

use crate::check;
use crate::datum::{self, Datum, Edit, varint};
use crate::entropy::Entropy;

/// Cases per record.
const CASES: u32 = 5_000;

/// Runs `$check::<R>(topic)` for every record.
macro_rules! for_every_record {
    ($check:ident) => {{
        $check::<SendRequest>(topic::REQUESTS_TRANSACTIONAL);
        $check::<ConsentChange>(topic::CONSENT);
        $check::<WebhookBody>(topic::WEBHOOKS);
        $check::<ReroutedRecord>(topic::REROUTED);
        $check::<AdmittedMessage>(topic::ADMITTED_BULK);
        $check::<Receipt>(topic::RECEIPTS);
        $check::<Feedback>(topic::FEEDBACK);
        $check::<Decision>(topic::DECISIONS);
        $check::<Dispatch>(topic::DISPATCH_TRANSACTIONAL);
        $check::<Attempt>(topic::ATTEMPTS);
        $check::<Outcome>(topic::OUTCOMES);
        $check::<Tenant>(topic::TENANTS);
        $check::<Template>(topic::TEMPLATES);
        $check::<Switch>(topic::CONTROL);
        $check::<Suppression>(topic::SUPPRESSIONS);
        $check::<Replan>(topic::POLICY_FEEDBACK);
        $check::<Notice>(topic::NOTICES);
        $check::<CancelRequest>(topic::CANCELS);
        $check::<Cancellation>(topic::CANCELLATIONS);
        $check::<CancelAnswer>(topic::CANCEL_ANSWERS);
        $check::<GatewayStatus>(topic::GATEWAYS);
    }};
}

/// Both ways to read a record, and the one to write it.
struct Paths<R> {
    schema: Json,
    header: [u8; framing::HEADER_LEN],
    encoder: Encoder<R>,
    direct: Decoder<R>,
    resolving: Decoder<R>,
}

impl<R: AvroRecord + Debug + PartialEq> Paths<R> {
    fn of(topic: &'static str) -> Self {
        let schemas = StaticSchemas::new();
        let id = schemas.id(topic).expect("a topic with a schema");
        Self {
            schema: serde_json::from_str(R::SCHEMA_JSON).expect("JSON"),
            header: framing::header(id),
            encoder: schemas.encoder(topic),
            direct: schemas.decoder(topic),
            resolving: Decoder::new(topic, None, Arc::new(schemas)),
        }
    }

    fn any(&self, entropy: &mut Entropy<'_>) -> Datum {
        datum::any(&self.schema, R::NAME, "", entropy)
    }

    fn framed(&self, datum: &[u8]) -> Vec<u8> {
        [self.header.as_slice(), datum].concat()
    }

    /// Reads on both paths; what both accept they must read alike.
    fn read(&self, value: &[u8]) -> Result<[Result<R, DecodeError>; 2], TestCaseError> {
        let (direct, resolved) =
            (self.direct.decode(Some(value)), self.resolving.decode(Some(value)));
        if let (Ok(direct), Ok(resolved)) = (&direct, &resolved) {
            prop_assert_eq!(direct, resolved);
        }
        Ok([direct, resolved])
    }
}

/// A value written by another implementation is read on both paths, and written again as the very
/// same bytes: nothing is dropped, invented or reordered.
#[test]
fn valid_records_round_trip() {
    fn of<R: AvroRecord + Debug + PartialEq>(topic: &'static str) {
        let paths = Paths::<R>::of(topic);
        check(CASES, 320, |bytes| {
            let value = paths.framed(&datum::encode(&paths.any(&mut Entropy::new(bytes))));
            let record = paths.direct.decode(Some(&value));
            prop_assert_eq!(&paths.resolving.decode(Some(&value)), &record);
            let record = record.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(paths.encoder.encode(&record).ok(), Some(value));
            Ok(())
        });
    }
    for_every_record!(of);
}

/// Rubbish after a valid header, and valid records cut, changed bit by bit, or with lengths, counts,
/// branches and symbols that are negative, huge or endless.
#[test]
fn broken_records_are_refused_without_panic() {
    fn of<R: AvroRecord + Debug + PartialEq>(topic: &'static str) {
        let paths = Paths::<R>::of(topic);
        check(CASES, 360, |bytes| break_one(&paths, &mut Entropy::new(bytes)));
    }
    for_every_record!(of);
}

fn break_one<R: AvroRecord + Debug + PartialEq>(
    paths: &Paths<R>,
    entropy: &mut Entropy<'_>,
) -> TestCaseResult {
    let way = entropy.below(4);
    let edits: Vec<Edit> = (0..1 + entropy.below(3)).map(|_| edit(entropy)).collect();
    let (at, bits) = (entropy.below(1 << 16), entropy.bytes(4));
    let noise = entropy.bytes(48);
    let datum = paths.any(entropy);
    let mut encoded = datum::encode(&datum);
    match way {
        0 => encoded = noise,
        1 => {
            let at = at % (encoded.len() + 1);
            let is_cut = at < encoded.len();
            encoded.truncate(at);
            let read = paths.read(&paths.framed(&encoded))?;
            let is_whole = read.iter().any(Result::is_ok);
            prop_assert!(!is_cut || !is_whole, "a record cut at {at} passes for a whole one");
            return Ok(());
        }
        2 => encoded = datum::encode_edited(&datum, &edits),
        _ => {
            for (step, bit) in bits.iter().enumerate() {
                let at = (at + step * usize::from(*bit)) % encoded.len();
                encoded[at] ^= 1 << (bit % 8);
            }
        }
    }
    for read in paths.read(&paths.framed(&encoded))? {
        match read {
            // What was accepted can be passed on.
            Ok(record) => prop_assert!(paths.encoder.encode(&record).is_ok()),
            Err(error) => prop_assert!(
                ["undecodable", "trailing_bytes"].contains(&error.code()) && !error.is_retryable(),
                "{error}"
            ),
        }
    }
    Ok(())
}

/// A number no writer of ours would put there.
fn edit(entropy: &mut Entropy<'_>) -> Edit {
    let site = entropy.below(40);
    let bytes = match entropy.below(6) {
        0 => varint(entropy.integer()),
        1 => varint(-(entropy.below(8) as i64)),
        // A block with a negative count also has its length in bytes.
        2 => [varint(-(entropy.below(8) as i64)), varint(entropy.integer())].concat(),
        3 => varint(entropy.pick(&[1 << 20, 1 << 23, (1 << 23) + 1, 1 << 31, 1 << 40, 1 << 62])),
        // More bits than any number has.
        4 => [vec![0xff; 9 + entropy.below(4)], vec![entropy.byte() & 0x7f]].concat(),
        // A number that never ends.
        _ => vec![0x80; 1 + entropy.below(200)],
    };
    Edit { site, bytes }
}

/// A record of a writer that did not know some of the fields yet: they get their defaults, the
/// others their values.
#[test]
fn records_of_older_writers_are_read() {
    fn of<R: AvroRecord + Debug + PartialEq>(topic: &'static str) {
        let paths = Paths::<R>::of(topic);
        let fields = paths.schema["fields"].as_array().expect("fields");
        let optional: Vec<usize> =
            (0..fields.len()).filter(|at| fields[*at].get("default").is_some()).collect();
        let writers = writers(&paths.schema, &optional);
        let mut decoders = StaticSchemas::new();
        let ids: Vec<u32> =
            writers.iter().map(|(_, schema)| decoders.insert(schema.clone())).collect();
        let decoder: Decoder<R> = decoders.decoder(topic);
        check(CASES, 320, |bytes| {
            let mut entropy = Entropy::new(bytes);
            let writer = entropy.below(writers.len());
            let Datum::Record(mut values) = paths.any(&mut entropy) else {
                panic!("a record's datum");
            };
            let unknown = &writers[writer].0;
            let old: Vec<Datum> = (0..values.len())
                .filter(|at| !unknown.contains(at))
                .map(|at| values[at].clone())
                .collect();
            let old = datum::encode(&Datum::Record(old));
            let read = decoder.decode(Some(&[&framing::header(ids[writer])[..], &old].concat()));
            unknown.iter().for_each(|at| values[*at] = datum::default_of(&fields[*at]));
            let expected = paths.framed(&datum::encode(&Datum::Record(values)));
            prop_assert_eq!(read, paths.direct.decode(Some(&expected)));
            Ok(())
        });
    }
    for_every_record!(of);
}

/// Schemas without some of the `optional` fields: each one alone, all, and every second.
fn writers(schema: &Json, optional: &[usize]) -> Vec<(Vec<usize>, Schema)> {
    let alone = optional.iter().map(|at| vec![*at]);
    let halves = (0..2).map(|odd| optional.iter().copied().skip(odd).step_by(2).collect());
    alone
        .chain(halves)
        .chain([optional.to_vec()])
        .map(|unknown: Vec<usize>| {
            let mut old = schema.clone();
            let fields = old["fields"].as_array_mut().expect("fields");
            let mut at = 0;
            fields.retain(|_| {
                at += 1;
                !unknown.contains(&(at - 1))
            });
            (unknown, Schema::parse_str(&old.to_string()).expect("a schema"))
        })
        .collect()
}

/// Any bytes at all as a value: each gets one of the known answers.
#[test]
fn any_bytes_are_framed_or_named() {
    let schemas = StaticSchemas::new();
    let decoder: Decoder<SendRequest> = schemas.decoder(topic::REQUESTS_BULK);
    let codes =
        ["no_schema_framing", "unknown_schema_id", "wrong_schema", "undecodable", "trailing_bytes"];
    check(100_000, 96, |bytes| {
        let mut entropy = Entropy::new(bytes);
        let len = entropy.below(12);
        let value = match entropy.below(4) {
            0 => entropy.bytes(len),
            1 => [vec![0], entropy.bytes(64)].concat(),
            // Ids of all of our schemas, and a few beyond.
            _ => [&framing::header(entropy.below(20) as u32)[..], &entropy.bytes(64)].concat(),
        };
        match framing::split(&value) {
            Ok((id, datum)) => {
                prop_assert_eq!([&framing::header(id)[..], datum].concat(), value.clone());
            }
            Err(_) => prop_assert!(value.len() < framing::HEADER_LEN || value[0] != framing::MAGIC),
        }
        if let Err(error) = decoder.decode(Some(&value)) {
            prop_assert!(codes.contains(&error.code()), "{error}");
            prop_assert!(error.to_string().len() < 2_000, "messages are bounded");
        }
        Ok(())
    });
}
