//! What other writers, broken producers and attackers can put on a topic.

use std::sync::atomic::{AtomicUsize, Ordering};

use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value as Json, json};

use super::*;
use crate::record::samples::{Sample, for_every_record};
use crate::record::{ConsentChange, ConsentState, Decision, RuleResult, Tenant};
use crate::topic;

/// Registers `schema` as another writer's and frames `datum` with its id.
fn foreign(schema: &Json, datum: &[u8]) -> (StaticSchemas, Vec<u8>) {
    let mut schemas = StaticSchemas::new();
    let id = schemas.insert(Schema::parse_str(&schema.to_string()).expect("valid schema"));
    (schemas, [framing::header(id).as_slice(), datum].concat())
}

/// Our schema of `R` as JSON, to be changed into what another version of us would have.
fn own_schema<R: AvroRecord>() -> Json {
    serde_json::from_str(R::SCHEMA_JSON).expect("valid JSON")
}

fn add_field(schema: &mut Json, field: Json) {
    schema["fields"].as_array_mut().expect("fields").push(field);
}

fn consent() -> ConsentChange {
    ConsentChange::samples()[0].clone()
}

#[test]
fn names_what_is_not_framed() {
    let decoder = StaticSchemas::new().decoder::<ConsentChange>(topic::CONSENT);
    let cases: [(Option<&[u8]>, DecodeError, &str); 5] = [
        (None, DecodeError::Tombstone, "tombstone"),
        (Some(b""), DecodeError::TooShort, "no_schema_framing"),
        (Some(&[0, 0, 0, 1]), DecodeError::TooShort, "no_schema_framing"),
        (Some(b"{\"tenant\":1}"), DecodeError::BadMagic(b'{'), "no_schema_framing"),
        (Some(&[0, 0, 0, 4, 0, 9]), DecodeError::UnknownSchemaId(1024), "unknown_schema_id"),
    ];
    for (value, error, code) in cases {
        assert_eq!(decoder.decode(value), Err(error.clone()));
        assert_eq!(error.code(), code);
        assert!(!error.is_retryable());
    }
}

#[test]
fn a_newer_writer_is_understood() {
    let mut schema = own_schema::<ConsentChange>();
    let state = &mut schema["fields"][3]["type"]["symbols"];
    assert_eq!(state[1], "GRANTED");
    state.as_array_mut().expect("symbols").push("PAUSED".into());
    add_field(
        &mut schema,
        json!({"name": "proof", "type": {"type": "record", "name": "Proof",
        "fields": [{"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A"]}}]}}),
    );
    let own = StaticSchemas::new().encoder(topic::CONSENT).encode(&consent()).expect("encodes");
    // The symbol is the one byte before `changed_at` and `source`; the new field is appended.
    let mut datum = own[framing::HEADER_LEN..].to_vec();
    let state_at = datum.len() - (1 + "web-form".len()) - 6 - 1;
    assert_eq!(datum[state_at], 2 * 2, "the index of WITHDRAWN");
    datum[state_at] = 2 * 3;
    datum.push(0);
    let (schemas, value) = foreign(&schema, &datum);
    let expected = ConsentChange { state: ConsentState::Unknown, ..consent() };
    assert_eq!(schemas.decoder(topic::CONSENT).decode(Some(&value)), Ok(expected));
}

#[test]
fn an_older_writer_is_understood() {
    let [full, sparse] = Decision::samples();
    let mut schema = own_schema::<Decision>();
    let fields = schema["fields"].as_array_mut().expect("fields");
    fields.retain(|field| field["name"] != "next_at" && field["name"] != "rules");
    let writer = Schema::parse_str(&schema.to_string()).expect("valid schema");
    let Ok(AvroValue::Record(mut old)) = apache_avro::to_value(&full) else {
        panic!("a struct becomes a record");
    };
    old.retain(|(name, _)| name != "next_at" && name != "rules");
    let old = AvroValue::Record(old).resolve(&writer).expect("fits the older schema");
    let datum = GenericDatumWriter::builder(&writer)
        .build()
        .and_then(|writer| writer.write_value_to_vec(old))
        .expect("encodes");
    let (schemas, value) = foreign(&schema, &datum);
    let expected = Decision { next_at: None, rules: sparse.rules, ..full };
    assert_eq!(schemas.decoder(topic::DECISIONS).decode(Some(&value)), Ok(expected));
}

#[test]
fn another_record_is_named() {
    let schemas = StaticSchemas::new();
    let [tenant, _] = Tenant::samples();
    let value = schemas.encoder(topic::TENANTS).encode(&tenant).expect("encodes");
    let error = schemas.decoder::<ConsentChange>(topic::CONSENT).decode(Some(&value));
    let expected = "io.sendplane.v1.ConsentChange".to_owned();
    let found = "io.sendplane.v1.Tenant".to_owned();
    assert_eq!(error, Err(DecodeError::WrongRecord { expected, found }));

    // The name alone is not enough: another namespace is another major version.
    let mut schema = own_schema::<ConsentChange>();
    schema["namespace"] = "com.example".into();
    for schema in [schema, json!("string")] {
        let (schemas, value) = foreign(&schema, &[0]);
        let error = schemas.decoder::<ConsentChange>(topic::CONSENT).decode(Some(&value));
        assert_eq!(error.map_err(|e| e.code()), Err("wrong_schema"));
    }
}

#[test]
fn schemas_that_cannot_be_read_are_refused() {
    let mut incompatible = own_schema::<ConsentChange>();
    incompatible["fields"][4]["type"] = "string".into();
    let mut missing = own_schema::<ConsentChange>();
    missing["fields"].as_array_mut().expect("fields").remove(0);
    for schema in [incompatible, missing] {
        assert_refused(&schema, "not compatible");
    }
}

/// Each of these costs memory or stack out of proportion to the bytes of the value.
#[test]
fn schemas_made_to_hurt_are_refused() {
    let mut chain = json!("int");
    for level in 0..40 {
        chain = json!({"type": "record", "name": format!("R{level}"),
            "fields": [{"name": "a", "type": chain}]});
    }
    let node = json!({"type": "record", "name": "Node", "fields": [
        {"name": "next", "type": ["null", "Node"]}]});
    let nothing = json!({"type": "record", "name": "Nothing", "fields": []});
    let cases = [
        (node, "contains itself"),
        (json!(["null", "ConsentChange"]), "contains itself"),
        (json!({"type": "array", "items": "null"}), "takes no bytes"),
        (json!({"type": "array", "items": nothing}), "takes no bytes"),
        (json!({"type": "fixed", "name": "F", "size": 0}), "has 0 bytes"),
        (json!({"type": "fixed", "name": "F", "size": 1_u64 << 60}), "bytes"),
        (chain, "nested deeper"),
    ];
    for (r#type, why) in cases {
        let mut schema = own_schema::<ConsentChange>();
        add_field(&mut schema, json!({"name": "extra", "type": r#type}));
        assert_refused(&schema, why);
    }
}

fn assert_refused(schema: &Json, why: &str) {
    let (schemas, value) = foreign(schema, &[0; 64]);
    let decoder = schemas.decoder::<ConsentChange>(topic::CONSENT);
    // Twice: the second judgement is a remembered one.
    for _ in 0..2 {
        match decoder.decode(Some(&value)) {
            Err(DecodeError::Undecodable(text)) => assert!(text.contains(why), "{text}"),
            other => panic!("{other:?} instead of a refusal because {why}"),
        }
    }
}

#[test]
fn a_value_cut_anywhere_or_continued_is_refused() {
    fn check<R: Sample>(topic: &'static str) {
        let schemas = StaticSchemas::new();
        let encoder = schemas.encoder::<R>(topic);
        let direct = schemas.decoder::<R>(topic);
        let resolving = Decoder::<R>::new(topic, None, Arc::new(schemas));
        for record in R::samples() {
            let value = encoder.encode(&record).expect("encodes");
            for len in 0..value.len() {
                for decoder in [&direct, &resolving] {
                    assert!(decoder.decode(Some(&value[..len])).is_err(), "{} at {len}", R::NAME);
                }
            }
            let longer = [value.as_slice(), &[0, 0]].concat();
            for decoder in [&direct, &resolving] {
                assert_eq!(decoder.decode(Some(&longer)), Err(DecodeError::TrailingBytes(2)));
            }
        }
    }
    for_every_record!(check);
}

#[test]
fn claimed_lengths_do_not_allocate() {
    let schemas = StaticSchemas::new();
    let direct = schemas.decoder::<Tenant>(topic::TENANTS);
    let id = schemas.id(topic::TENANTS).expect("known topic");
    let resolving = Decoder::<Tenant>::new(topic::TENANTS, None, Arc::new(schemas));
    // A string of 2^62 bytes; then five small strings, a boolean and an array of i64::MIN items.
    let text = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f].to_vec();
    let mut array = vec![2, b't', 2, b'n', 1, 2, b'c', 2, b'd'];
    array.extend([0xff; 9]);
    array.extend([1, 2]);
    for datum in [text, array] {
        let value = [framing::header(id).as_slice(), &datum].concat();
        for decoder in [&direct, &resolving] {
            let code = decoder.decode(Some(&value)).map_err(|error| error.code());
            assert_eq!(code, Err("undecodable"));
        }
    }
}

/// Fails once, then answers.
struct Flaky(AtomicUsize, StaticSchemas);

impl SchemaSource for Flaky {
    fn writer_schema(&self, id: u32) -> Result<Arc<Schema>, SchemaFault> {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => Err(SchemaFault::Unavailable("connection refused".into())),
            _ => self.1.writer_schema(id),
        }
    }
}

#[test]
fn an_outage_of_the_registry_passes_and_answers_are_kept() {
    let schemas = StaticSchemas::new();
    let value = schemas.encoder(topic::CONSENT).encode(&consent()).expect("encodes");
    let source = Arc::new(Flaky(AtomicUsize::new(0), schemas));
    let decoder = Decoder::<ConsentChange>::new(topic::CONSENT, None, source.clone());
    let error = decoder.decode(Some(&value)).expect_err("the registry is down");
    assert_eq!((error.code(), error.is_retryable()), ("registry_unavailable", true));
    for _ in 0..3 {
        assert_eq!(decoder.decode(Some(&value)), Ok(consent()));
    }
    assert_eq!(source.0.load(Ordering::Relaxed), 2, "one outage, one answer");
}

#[test]
fn quoted_causes_are_bounded() {
    let text = "ä".repeat(1_000);
    assert_eq!(error::cause(&text).chars().count(), 301);
    assert_eq!(error::cause("short"), "short");
}

/// 13 records × 1,600 values, each on both paths.
#[test]
fn no_input_panics() {
    fn check<R: Sample>(topic: &'static str) {
        let schemas = StaticSchemas::new();
        let encoder = schemas.encoder::<R>(topic);
        let id = schemas.id(topic).expect("known topic");
        let direct = schemas.decoder::<R>(topic);
        let resolving = Decoder::<R>::new(topic, None, Arc::new(schemas));
        let values = R::samples().map(|record| encoder.encode(&record).expect("encodes"));
        let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
        let noise = prop::collection::vec(any::<u8>(), 0..96);
        let mut runner = TestRunner::new(Config::with_cases(1_600));
        let inputs = (0..3_usize, edits, noise, any::<prop::sample::Index>());
        let outcome = runner.run(&inputs, |(base, edits, noise, cut)| {
            let mut value = match values.get(base) {
                Some(value) => value.clone(),
                None => [framing::header(id).as_slice(), &noise].concat(),
            };
            if base < 2 {
                for (at, byte) in edits {
                    // The header stays: other ids are not the subject here.
                    let at = framing::HEADER_LEN + at.index(value.len() - framing::HEADER_LEN);
                    value[at] = byte;
                }
                value.truncate(value.len() - cut.index(4));
            }
            let read = (direct.decode(Some(&value)), resolving.decode(Some(&value)));
            // What both paths accept, they must read alike.
            if let (Ok(a), Ok(b)) = read {
                prop_assert_eq!(a, b);
            }
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{}: {error}", R::NAME));
    }
    for_every_record!(check);
}

#[test]
fn rules_keep_their_order() {
    let rule = |n: i32| RuleResult { rule: format!("rule_{n}"), passed: n % 2 == 0, detail: None };
    let [sample, _] = Decision::samples();
    let decision = Decision { rules: (0..500).map(rule).collect(), ..sample };
    let schemas = StaticSchemas::new();
    let value = schemas.encoder(topic::DECISIONS).encode(&decision).expect("encodes");
    assert_eq!(schemas.decoder(topic::DECISIONS).decode(Some(&value)), Ok(decision));
}
