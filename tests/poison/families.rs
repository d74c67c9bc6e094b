//! What can be wrong with any value of any topic.

use sendplane_wire::{registry, topic};
use serde_json::{Value, json};

use crate::neighbours::neighbour;
use crate::records::{OWNERS, Owner, Records, register};
use crate::table::{Case, Expect, Raw, readers};

/// The largest batch a topic of `max.message.bytes` by default takes, in bytes.
const BATCH_BYTES_MAX: usize = 1_048_588;

/// What a batch and a record need besides the value, with some room.
const OVERHEAD: usize = 200;

/// A value that is all right but for one thing, and the code that names the thing.
type Family = (&'static str, &'static str, Option<Vec<u8>>);

/// Every family for `topic`, dealt out to the tenants.
pub fn cases(records: &mut Records, topic: &'static str) -> Vec<Case> {
    let good = neighbour(records, topic, OWNERS[0], None).raw.value.expect("a value");
    let mut families = framing(records, topic, &good);
    families.extend(datum(topic, &good));
    families.extend(foreign_writers(topic, &good));
    let mut cases: Vec<Case> = families
        .into_iter()
        .zip(OWNERS.iter().cycle())
        .map(|((name, code, value), owner)| Case {
            name: format!("{topic}: {name}"),
            raw: Raw { value, ..Raw::of(*owner, topic, Vec::new()) },
            expect: Expect::Dead(code),
        })
        .collect();
    cases.extend(sizes(records, topic));
    cases.extend(keys(records, topic, &good));
    cases
}

fn framing(records: &Records, topic: &'static str, good: &[u8]) -> Vec<Family> {
    let other = if topic == topic::CONSENT { topic::FEEDBACK } else { topic::CONSENT };
    let with_id = |id: u32| Some([&[0], &id.to_be_bytes()[..], &good[5..]].concat());
    let json = br#"{"tenant": "acme", "idempotency_key": "as-json"}"#;
    vec![
        ("null", "tombstone", None),
        ("empty", "no_schema_framing", Some(Vec::new())),
        ("one zero byte", "no_schema_framing", Some(vec![0])),
        ("framing cut", "no_schema_framing", Some(good[..4].to_vec())),
        ("wrong magic byte", "no_schema_framing", Some([&[1], &good[1..]].concat())),
        ("Avro without framing", "no_schema_framing", Some(good[5..].to_vec())),
        ("JSON", "no_schema_framing", Some(json.to_vec())),
        ("unknown schema id", "unknown_schema_id", with_id(0x7fff_fffe)),
        ("schema id 0", "unknown_schema_id", with_id(0)),
        ("another topic's schema", "wrong_schema", with_id(records.id(other))),
    ]
}

fn datum(topic: &'static str, good: &[u8]) -> Vec<Family> {
    // A string that every record of the topic has, with its length before it.
    let text = if topic == topic::WEBHOOKS { "demo" } else { OWNERS[0].tenant };
    let at = good.windows(text.len()).position(|window| window == text.as_bytes());
    let at = at.expect("the string is in the value");
    let splice = |len: &[u8]| Some([&good[..at - 1], len, &good[at..]].concat());
    let invalid = [&good[..at], &[0xff, 0xfe], &good[at + 2..]].concat();
    let lone = [&good[..at], &[0xed, 0xa0, 0xbd], &good[at + 3..]].concat();
    let endless = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let undecodable = [
        ("datum missing", Some(good[..5].to_vec())),
        ("cut in half", Some(good[..good.len() / 2].to_vec())),
        ("last byte missing", Some(good[..good.len() - 1].to_vec())),
        ("noise", Some([&good[..5], &[0xff; 64]].concat())),
        ("invalid UTF-8 in a string", Some(invalid)),
        ("half a surrogate pair in a string", Some(lone)),
        ("string of negative length", splice(&[0x01])),
        ("string of 2^62 bytes", splice(&endless)),
        ("string of 16 MiB", splice(&[0x80, 0x80, 0x80, 0x10])),
        ("length without end", splice(&[0xff; 40])),
    ];
    let mut families: Vec<Family> =
        undecodable.into_iter().map(|(name, value)| (name, "undecodable", value)).collect();
    families.push(("a byte too many", "trailing_bytes", Some([good, &[0]].concat())));
    families.push(("two records in one", "trailing_bytes", Some([good, &good[5..]].concat())));
    families
}

/// Values whose schema is in the registry, and of no use or made to hurt.
fn foreign_writers(topic: &'static str, good: &[u8]) -> Vec<Family> {
    let subject = registry::SUBJECTS.iter().find(|subject| subject.topic == topic);
    let own = subject.expect("a topic with a schema").schema_json;
    let own: Value = serde_json::from_str(own).expect("JSON");
    let with_field = |r#type: Value| {
        let mut schema = own.clone();
        let field = json!({"name": "extra", "type": r#type});
        schema["fields"].as_array_mut().expect("fields").push(field);
        schema
    };
    let deep = (0..40).fold(json!("int"), |inner, level| {
        json!({"type": "record", "name": format!("R{level}"),
            "fields": [{"name": "a", "type": inner}]})
    });
    let node = json!({"type": "record", "name": "Node", "fields": [
        {"name": "next", "type": ["null", "Node"]}]});
    let mut other_version = own.clone();
    other_version["namespace"] = "io.sendplane.v9".into();
    let mut incompatible = own.clone();
    incompatible["fields"][0]["type"] = json!({"type": "map", "values": "long"});
    let writers = [
        ("plain string", "wrong_schema", json!("string")),
        ("another major version", "wrong_schema", other_version),
        ("incompatible", "undecodable", incompatible),
        ("nested 40 levels", "undecodable", with_field(deep)),
        ("contains itself", "undecodable", with_field(node)),
    ];
    writers
        .into_iter()
        .map(|(name, code, schema)| {
            let id = register(&format!("poison.{topic}.{}", name.replace(' ', "-")), &schema);
            let value = [&[0], &id.to_be_bytes()[..], &good[5..], &[2; 64]].concat();
            (name, code, Some(value))
        })
        .collect()
}

/// As large as the topic takes, and just larger than each reader takes.
fn sizes(records: &Records, topic: &'static str) -> Vec<Case> {
    let spec = topic::spec(topic).expect("a topic");
    let batch_max = spec.message_bytes_max.map_or(BATCH_BYTES_MAX, |max| max as usize);
    let readers = readers(topic);
    let accepted_max = readers.iter().map(|(_, max)| *max).max().expect("a reader");
    let framed = |len: usize| {
        let mut value = noise(len);
        value[..5].copy_from_slice(&[&[0], &records.id(topic).to_be_bytes()[..]].concat());
        value
    };
    // Noise is as good as undecodable; too large is found out before.
    let code = |len: usize| if len > accepted_max { "record_too_large" } else { "undecodable" };
    let mut found = Vec::new();
    let mut add = |name: &str, owner: Owner, value: Vec<u8>, compressed: bool| {
        let expect = Expect::Dead(code(value.len()));
        let raw = Raw { compressed, ..Raw::of(owner, topic, value) };
        found.push(Case { name: format!("{topic}: {name}"), raw, expect });
    };
    add("as large as the topic takes", OWNERS[0], framed(batch_max - OVERHEAD), false);
    if accepted_max + 1 + OVERHEAD < batch_max {
        add("one byte too large", OWNERS[1], framed(accepted_max + 1), false);
        add("as large as the stage takes", OWNERS[2], framed(accepted_max), false);
    }
    // Compressed it passes the broker, which does not look inside.
    add("10 MB, compressed", OWNERS[3], [framed(64), vec![b'x'; 10_000_000]].concat(), true);
    found
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Keys and headers nobody expects. Keys count on the topics that come from outside only.
fn keys(records: &mut Records, topic: &'static str, good: &[u8]) -> Vec<Case> {
    let code = match topic {
        topic::REQUESTS_TRANSACTIONAL | topic::REQUESTS_BULK | topic::CANCELS => {
            Some("key_mismatch")
        }
        topic::CONSENT => Some("consent_invalid"),
        _ => None,
    };
    let keys: [(&str, Option<Vec<u8>>); 5] = [
        ("null key", None),
        ("empty key", Some(Vec::new())),
        ("key that is no UTF-8", Some(vec![0xff, 0xfe, 0x00])),
        ("key of 100 KB", Some(noise(100_000))),
        ("key of another tenant", Some(OWNERS[3].tenant.into())),
    ];
    let mut cases = Vec::new();
    for (name, key) in keys {
        let neighbour = neighbour(records, topic, OWNERS[1], None);
        let expect = match code {
            Some(code) => Expect::Dead(code),
            // What has to be known besides it is not produced: only that it is no dead letter.
            None => Expect::Used,
        };
        let name = format!("{topic}: good value, {name}");
        cases.push(Case { name, raw: Raw { key, ..neighbour.raw }, expect });
    }
    let broken = Raw::of(OWNERS[2], topic, good[..6].to_vec());
    let undecodable = |name: &str, raw: Raw| {
        let name = format!("{topic}: cut value, {name}");
        Case { name, raw, expect: Expect::Dead("undecodable") }
    };
    let forged = Some(("sendplane.error.code", b"forged".to_vec()));
    cases.extend([
        undecodable("null key", Raw { key: None, ..broken.clone() }),
        undecodable("key that is no UTF-8", Raw { key: Some(vec![0xc3]), ..broken.clone() }),
        undecodable(
            "header of 100 KB",
            Raw { header: Some(("x", noise(100_000))), ..broken.clone() },
        ),
        undecodable("header of ours", Raw { header: forged, ..broken }),
    ]);
    cases
}
