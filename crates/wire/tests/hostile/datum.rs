//! Any value of a schema, and its bytes as the Avro specification says: an encoder of its own, so
//! that the codec is not compared with itself.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::entropy::Entropy;

/// A value, as far as its encoding goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// No bytes.
    Null,
    /// One byte.
    Boolean(bool),
    /// `int`, `long`, and the index of an enum's symbol.
    Integer(i64),
    /// `string`.
    Text(String),
    /// `bytes`.
    Bytes(Vec<u8>),
    /// Branch and value.
    Union(usize, Box<Datum>),
    /// `array`.
    Array(Vec<Datum>),
    /// `map`.
    Map(BTreeMap<String, Datum>),
    /// Fields in order.
    Record(Vec<Datum>),
}

/// Any value of `schema`. `record` and `field` say whose it is: our structs are stricter than
/// their schemas with ids, lanes and numbers.
pub fn any(schema: &Json, record: &str, field: &str, entropy: &mut Entropy<'_>) -> Datum {
    match schema {
        Json::Array(branches) => {
            let branch = entropy.below(branches.len());
            Datum::Union(branch, Box::new(any(&branches[branch], record, field, entropy)))
        }
        Json::Object(object) => match object["type"].as_str() {
            Some("string") if object.contains_key("logicalType") => Datum::Text(uuid(entropy)),
            Some("record") => {
                let fields = object["fields"].as_array().expect("a record has fields");
                let name = |field: &Json| field["name"].as_str().expect("a name").to_owned();
                let value = |f: &Json| any(&f["type"], record, &name(f), entropy);
                Datum::Record(fields.iter().map(value).collect())
            }
            Some("enum") => {
                let symbols = object["symbols"].as_array().expect("an enum has symbols");
                Datum::Integer(entropy.below(symbols.len()) as i64)
            }
            Some("array") => {
                let len = entropy.below(5);
                let items = (0..len).map(|_| any(&object["items"], record, field, entropy));
                Datum::Array(items.collect())
            }
            Some("map") => {
                let len = entropy.below(5);
                let mut entries = BTreeMap::new();
                for _ in 0..len {
                    let key = entropy.text();
                    entries.insert(key, any(&object["values"], record, field, entropy));
                }
                Datum::Map(entries)
            }
            Some(name) => primitive(name, record, field, entropy),
            None => any(&object["type"], record, field, entropy),
        },
        other => primitive(other.as_str().expect("a type's name"), record, field, entropy),
    }
}

fn primitive(name: &str, record: &str, field: &str, entropy: &mut Entropy<'_>) -> Datum {
    let is_ours = ["AdmittedMessage", "Dispatch", "Replan"].contains(&record);
    match (name, field) {
        ("string", "recipient") if is_ours => {
            let digits = 10_i64.pow(7 + entropy.below(8) as u32) + entropy.integer().rem_euclid(10);
            Datum::Text(format!("+{digits}"))
        }
        ("string", "lane") if is_ours => {
            Datum::Text(entropy.pick(&["transactional", "bulk"]).to_owned())
        }
        ("null", _) => Datum::Null,
        ("boolean", _) => Datum::Boolean(entropy.byte() > 127),
        ("int", _) => Datum::Integer(i64::from(entropy.integer() as i32)),
        ("long", _) => Datum::Integer(entropy.integer()),
        ("string", _) => Datum::Text(entropy.text()),
        ("bytes", _) => {
            let len = entropy.below(24);
            Datum::Bytes(entropy.bytes(len))
        }
        (other, _) => panic!("no schema of ours has a {other}"),
    }
}

fn uuid(entropy: &mut Entropy<'_>) -> String {
    let mut digits = [0_u8; 16].map(|_| format!("{:02x}", entropy.byte())).concat();
    for at in [20, 16, 12, 8] {
        digits.insert(at, '-');
    }
    digits
}

/// The default of a field, as a value.
pub fn default_of(field: &Json) -> Datum {
    default_as(&field["type"], &field["default"])
}

fn default_as(schema: &Json, default: &Json) -> Datum {
    match (schema, default) {
        // The specification: a union's default is of its first branch.
        (Json::Array(branches), default) => {
            Datum::Union(0, Box::new(default_as(&branches[0], default)))
        }
        (_, Json::Null) => Datum::Null,
        (_, Json::Bool(value)) => Datum::Boolean(*value),
        (_, Json::Number(number)) => Datum::Integer(number.as_i64().expect("a whole number")),
        (_, Json::Array(items)) if items.is_empty() => Datum::Array(Vec::new()),
        (_, Json::Object(entries)) if entries.is_empty() => Datum::Map(BTreeMap::new()),
        (schema, Json::String(text)) => match schema["symbols"].as_array() {
            Some(symbols) => {
                let index = symbols.iter().position(|symbol| symbol == default);
                Datum::Integer(index.expect("a symbol of the enum") as i64)
            }
            None => Datum::Text(text.clone()),
        },
        other => panic!("no schema of ours has a default like {other:?}"),
    }
}

/// What stands in the bytes instead of a length, a count, a branch or a number.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The how manieth number of the datum.
    pub site: usize,
    /// What is written there.
    pub bytes: Vec<u8>,
}

/// The datum's bytes.
pub fn encode(datum: &Datum) -> Vec<u8> {
    encode_edited(datum, &[])
}

/// The datum's bytes, some of its numbers replaced.
pub fn encode_edited(datum: &Datum, edits: &[Edit]) -> Vec<u8> {
    let mut writer = Writer { out: Vec::new(), site: 0, edits };
    writer.write(datum);
    writer.out
}

/// A number as Avro writes it: zigzag, then seven bits a byte.
pub fn varint(number: i64) -> Vec<u8> {
    let mut rest = (number << 1 ^ number >> 63) as u64;
    let mut out = Vec::new();
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

struct Writer<'e> {
    out: Vec<u8>,
    site: usize,
    edits: &'e [Edit],
}

impl Writer<'_> {
    fn number(&mut self, number: i64) {
        let edit = self.edits.iter().find(|edit| edit.site == self.site);
        self.out.extend(edit.map_or_else(|| varint(number), |edit| edit.bytes.clone()));
        self.site += 1;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as i64);
        self.out.extend_from_slice(bytes);
    }

    fn write(&mut self, datum: &Datum) {
        match datum {
            Datum::Null => {}
            Datum::Boolean(value) => self.out.push(u8::from(*value)),
            Datum::Integer(number) => self.number(*number),
            Datum::Text(text) => self.bytes(text.as_bytes()),
            Datum::Bytes(bytes) => self.bytes(bytes),
            Datum::Union(branch, value) => {
                self.number(*branch as i64);
                self.write(value);
            }
            Datum::Array(items) => {
                if !items.is_empty() {
                    self.number(items.len() as i64);
                }
                items.iter().for_each(|item| self.write(item));
                self.number(0);
            }
            Datum::Map(entries) => {
                if !entries.is_empty() {
                    self.number(entries.len() as i64);
                }
                for (key, value) in entries {
                    self.bytes(key.as_bytes());
                    self.write(value);
                }
                self.number(0);
            }
            Datum::Record(fields) => fields.iter().for_each(|field| self.write(field)),
        }
    }
}
