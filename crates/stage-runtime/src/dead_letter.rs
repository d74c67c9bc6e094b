//! Dead letters: the record byte for byte, with the broker's own `__dlq.errors.*` headers
//! (KIP-1191) and ours.

use sendplane_stage_api::DeadLetter;

use crate::config::Names;
use crate::lanes::Fetched;

/// The headers of `record` as a dead letter.
pub(crate) fn headers(
    record: &Fetched,
    topic: &str,
    fault: &DeadLetter,
    names: &Names,
) -> Vec<(String, Option<Vec<u8>>)> {
    let mut headers = record.headers.clone();
    let mut add = |key: &str, value: String| {
        headers.push((key.to_owned(), Some(value.into_bytes())));
    };
    add("__dlq.errors.topic", topic.to_owned());
    add("__dlq.errors.partition", record.partition.to_string());
    add("__dlq.errors.offset", record.offset.to_string());
    add("__dlq.errors.group", names.group.clone());
    add("__dlq.errors.delivery.count", "1".to_owned());
    add("__dlq.errors.message", fault.detail.clone());
    add("sendplane.error.code", fault.code.to_owned());
    add("sendplane.stage", names.stage.to_owned());
    if let Some(tenant) = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) {
        add("sendplane.tenant", tenant.to_owned());
    }
    if let Some(id) = record.value.as_deref().and_then(schema_id) {
        add("sendplane.schema.id", id.to_string());
    }
    headers
}

/// The schema id of Confluent framing: a zero byte, then the id, big-endian.
fn schema_id(value: &[u8]) -> Option<u32> {
    match value.split_first_chunk::<5>()?.0 {
        [0, a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use sendplane_domain::time::Timestamp;

    use super::*;

    #[test]
    fn keeps_what_was_there_and_names_the_reason() {
        let record = Fetched {
            input: 0,
            partition: 2,
            offset: 40,
            timestamp: Timestamp::from_millis(1),
            key: Some(b"acme".to_vec()),
            value: Some(vec![0, 0, 0, 0, 9, 1]),
            headers: vec![("traceparent".into(), Some(b"00-a-b-01".to_vec())), ("x".into(), None)],
            globals_current: false,
        };
        let fault = DeadLetter { code: "undecodable", detail: "bad".into() };
        let headers = headers(&record, "in", &fault, &Names::of("ingest"));
        assert_eq!(headers[..2], record.headers[..]);
        let value = |key: &str| {
            let found = headers.iter().find(|(name, _)| name == key).expect(key);
            String::from_utf8(found.1.clone().expect("value")).expect("UTF-8")
        };
        assert_eq!(value("__dlq.errors.topic"), "in");
        assert_eq!(value("__dlq.errors.offset"), "40");
        assert_eq!(value("__dlq.errors.group"), "sendplane.ingest");
        assert_eq!(value("sendplane.error.code"), "undecodable");
        assert_eq!(value("sendplane.tenant"), "acme");
        assert_eq!(value("sendplane.schema.id"), "9");
    }
}
