//! Records as JSON, whoever wrote them.

use std::io::{self, Read};

use anyhow::{Context, bail};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sendplane_domain::time::Timestamp;
use sendplane_stage_runtime::tools::TailRecord;
use sendplane_wire::codec::{ALLOCATION_MAX, SchemaSource};
use sendplane_wire::framing;
use serde_json::{Map, Value, json};

use crate::output::moment;

/// Decodes a framed value by the schema it was written with.
pub fn decode(source: &dyn SchemaSource, framed: &[u8]) -> anyhow::Result<Value> {
    let (id, datum) = framing::split(framed)?;
    let schema = source.writer_schema(id)?;
    Ok(json_of(&read(&schema, datum).with_context(|| format!("schema id {id}"))?))
}

fn read(schema: &Schema, datum: &[u8]) -> anyhow::Result<Avro> {
    apache_avro::util::max_allocation_bytes(ALLOCATION_MAX);
    let mut rest = Datum(datum);
    let value = GenericDatumReader::builder(schema).build()?.read_value(&mut rest)?;
    match rest.0.len() {
        0 => Ok(value),
        left => bail!("{left} bytes follow the record"),
    }
}

/// apache-avro takes the end of the input inside a field for a null; another error it passes on.
struct Datum<'d>(&'d [u8]);

impl Read for Datum<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "value ends inside a field"));
        }
        self.0.read(buffer)
    }
}

/// Avro as JSON: times as RFC 3339, bytes as base64, unions as what they hold.
pub fn json_of(value: &Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(value) => json!(value),
        Avro::Int(value) | Avro::Date(value) | Avro::TimeMillis(value) => json!(value),
        Avro::Long(value)
        | Avro::TimeMicros(value)
        | Avro::TimestampMicros(value)
        | Avro::TimestampNanos(value)
        | Avro::LocalTimestampMillis(value)
        | Avro::LocalTimestampMicros(value)
        | Avro::LocalTimestampNanos(value) => json!(value),
        Avro::Float(value) => json!(value),
        Avro::Double(value) => json!(value),
        Avro::Bytes(bytes) | Avro::Fixed(_, bytes) => json!(BASE64.encode(bytes)),
        Avro::String(text) | Avro::Enum(_, text) => json!(text),
        Avro::Union(_, inner) => json_of(inner),
        Avro::Array(items) => items.iter().map(json_of).collect(),
        Avro::Map(entries) => {
            let sorted: std::collections::BTreeMap<_, _> = entries.iter().collect();
            let entries = sorted.into_iter().map(|(key, value)| (key.clone(), json_of(value)));
            Value::Object(entries.collect())
        }
        Avro::Record(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), json_of(value)));
            Value::Object(fields.collect())
        }
        Avro::TimestampMillis(millis) => json!(moment(Timestamp::from_millis(*millis))),
        Avro::Uuid(uuid) => json!(uuid.to_string()),
        other @ (Avro::Decimal(_) | Avro::BigDecimal(_) | Avro::Duration(_)) => {
            json!(format!("{other:?}"))
        }
    }
}

/// Bytes as base64.
pub fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// A header's value, as base64 if it is no text.
pub fn header_text(value: &[u8]) -> String {
    std::str::from_utf8(value).map_or_else(|_| BASE64.encode(value), str::to_owned)
}

/// A record as one JSON object. What cannot be decoded is there as `value_base64` with the `error`.
pub fn line_of(source: &dyn SchemaSource, record: &TailRecord) -> Value {
    let mut line = Map::new();
    line.insert("topic".into(), json!(record.topic));
    line.insert("partition".into(), json!(record.partition));
    line.insert("offset".into(), json!(record.offset));
    line.insert("timestamp".into(), json!(moment(record.timestamp)));
    match record.key.as_deref().map(std::str::from_utf8) {
        None => drop(line.insert("key".into(), Value::Null)),
        Some(Ok(key)) => drop(line.insert("key".into(), json!(key))),
        Some(Err(_)) => {
            let key = record.key.as_deref().unwrap_or_default();
            line.insert("key_base64".into(), json!(BASE64.encode(key)));
        }
    }
    let headers = record.headers.iter().map(|(name, value)| {
        (name.clone(), json!(header_text(value.as_deref().unwrap_or_default())))
    });
    line.insert("headers".into(), Value::Object(headers.collect()));
    match record.value.as_deref() {
        None => drop(line.insert("value".into(), Value::Null)),
        Some(bytes) => match decode(source, bytes) {
            Ok(value) => drop(line.insert("value".into(), value)),
            Err(error) => {
                line.insert("value_base64".into(), json!(BASE64.encode(bytes)));
                line.insert("error".into(), json!(format!("{error:#}")));
            }
        },
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sendplane_domain::id::TenantId;
    use sendplane_wire::codec::{SchemaFault, StaticSchemas};
    use sendplane_wire::record::WebhookSecret;
    use sendplane_wire::record::{ConsentChange, ConsentScope, ConsentState, WebhookBody};
    use sendplane_wire::topic;

    use super::*;

    struct One(Arc<Schema>);

    impl SchemaSource for One {
        fn writer_schema(&self, _id: u32) -> Result<Arc<Schema>, SchemaFault> {
            Ok(self.0.clone())
        }
    }

    fn record(value: Option<Vec<u8>>) -> TailRecord {
        TailRecord {
            topic: topic::CONSENT.into(),
            partition: 3,
            offset: 14,
            timestamp: Timestamp::from_millis(1_700_000_000_000),
            key: Some(b"acme".to_vec()),
            value,
            headers: vec![
                ("traceparent".into(), Some(b"00-a".to_vec())),
                ("x".into(), Some(vec![0xff])),
                ("none".into(), None),
            ],
        }
    }

    fn consent() -> Vec<u8> {
        let change = ConsentChange {
            tenant: TenantId::new("acme"),
            recipient: "+15550001111".into(),
            scope: ConsentScope::All,
            state: ConsentState::Withdrawn,
            changed_at: Timestamp::from_millis(1_700_000_000_120),
            source: "cli".into(),
        };
        StaticSchemas::new().encoder(topic::CONSENT).encode(&change).unwrap()
    }

    #[test]
    fn a_record_is_shown_whole() {
        let line = line_of(&StaticSchemas::new(), &record(Some(consent())));
        let expected = json!({
            "topic": "sendplane.consent.v1", "partition": 3, "offset": 14,
            "timestamp": "2023-11-14T22:13:20.000Z", "key": "acme",
            "headers": { "traceparent": "00-a", "x": "/w==", "none": "" },
            "value": {
                "tenant": "acme", "recipient": "+15550001111", "scope": "ALL",
                "state": "WITHDRAWN", "changed_at": "2023-11-14T22:13:20.120Z", "source": "cli",
            },
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn what_cannot_be_decoded_is_shown_with_the_reason() {
        let source = StaticSchemas::new();
        let plain = line_of(&source, &record(Some(b"{}".to_vec())));
        assert_eq!(plain["value_base64"], "e30=");
        assert!(plain["error"].as_str().unwrap().contains("magic byte"), "{plain}");
        let mut long = consent();
        long.push(0);
        let long = line_of(&source, &record(Some(long)));
        assert!(long["error"].as_str().unwrap().contains("1 bytes follow"), "{long}");
        // Wherever a value is cut off, that is an error and never a shorter record.
        for cut in 5..consent().len() {
            let cut = line_of(&source, &record(Some(consent()[..cut].to_vec())));
            assert!(cut.get("error").is_some(), "{cut}");
        }
        assert_eq!(line_of(&source, &record(None))["value"], Value::Null);
    }

    #[test]
    fn bytes_are_base64() {
        let body = WebhookBody {
            app: "main".into(),
            received_at: Timestamp::from_millis(0),
            body: b"{}".to_vec(),
            secret: WebhookSecret::Current,
            gateway: "g".into(),
        };
        let schemas = StaticSchemas::new();
        let value = schemas.encoder(topic::WEBHOOKS).encode(&body).unwrap();
        assert_eq!(decode(&schemas, &value).unwrap()["body"], "e30=");
    }

    #[test]
    fn a_foreign_schema_needs_no_struct_of_ours() {
        let schema = Schema::parse_str(
            r#"{"type":"record","name":"F","fields":[
                {"name":"n","type":["null","long"]},
                {"name":"m","type":{"type":"map","values":"int"}},
                {"name":"u","type":{"type":"string","logicalType":"uuid"}},
                {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}},
                {"name":"f","type":{"type":"fixed","name":"X","size":2}}]}"#,
        )
        .unwrap();
        let id = "0193a6f0-0000-8000-8000-000000000000";
        let mut datum = vec![0, 0, 0, 0, 9, 2, 14, 2, 2, b'k', 6, 0, 72];
        datum.extend_from_slice(id.as_bytes());
        datum.extend_from_slice(&[4, 1, 0, 0xff, 0xff]);
        let json = decode(&One(Arc::new(schema)), &datum).unwrap();
        assert_eq!(json["n"], 7);
        assert_eq!(json["m"], json!({ "k": 3 }));
        assert_eq!(json["u"], id);
        assert_eq!(json["f"], "//8=");
        assert!(json["d"].as_str().unwrap().starts_with("Decimal"), "{json}");
    }
}
