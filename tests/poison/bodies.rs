//! What the topics carry that have another record inside: webhook bodies, and re-routed requests.

use sendplane_domain::id::TenantId;
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::{ReroutedHeader, ReroutedRecord, SendRequest};
use sendplane_wire::topic;

use crate::fields::{Change, parse};
use crate::records::{Message, OWNERS, Owner, Records};
use crate::table::{Case, Expect, Raw};

const MIN: Timestamp = Timestamp::from_millis(i64::MIN);
const MAX: Timestamp = Timestamp::from_millis(i64::MAX);

/// What must become of a webhook, its name, and its body.
type Body = (&'static str, &'static str, Box<dyn Fn(&Message) -> Vec<u8>>);

/// What Meta would never write, in bodies whose signature was right.
pub fn webhooks(records: &mut Records) -> Vec<Case> {
    let mut cases = Vec::new();
    for (expect, name, body) in useless().into_iter().chain(usable()) {
        let message = records.message(OWNERS[0]);
        let value = records.encode(topic::WEBHOOKS, &message.webhook(body(&message)));
        let raw = Raw::of(OWNERS[0], topic::WEBHOOKS, value);
        let name = format!("{}: {name}", topic::WEBHOOKS);
        cases.push(Case { name, raw, expect: parse(expect, "") });
    }
    let mut ends = records.message(OWNERS[0]).webhook("{\"entry\":[{}]}");
    ends.received_at = MAX;
    let raw = Raw::of(OWNERS[0], topic::WEBHOOKS, records.encode(topic::WEBHOOKS, &ends));
    let name = format!("{}: received at the end", topic::WEBHOOKS);
    cases.push(Case { name, raw, expect: Expect::Dead("webhook_malformed_items") });
    cases
}

fn good(message: &Message) -> String {
    message.body(&format!("[{}]", message.status()))
}

fn deep(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// Bodies that end in the dead letters, whole or for a part of them.
fn useless() -> Vec<Body> {
    let cut = |message: &Message| good(message).as_bytes()[..100].to_vec();
    vec![
        ("dead webhook_not_json", "empty body", Box::new(|_| Vec::new())),
        ("dead webhook_not_json", "body cut", Box::new(cut)),
        ("dead webhook_not_json", "bytes", Box::new(|_| vec![0xff; 100])),
        ("dead webhook_not_json", "a million brackets", Box::new(|_| vec![b'['; 1_000_000])),
        ("dead webhook_no_entries", "a million levels", Box::new(|_| deep(1_000_000).into())),
        ("dead webhook_no_entries", "a number", Box::new(|_| b"1e999".to_vec())),
        ("dead webhook_no_entries", "entries by name", Box::new(|_| b"{\"entry\":{}}".to_vec())),
        (
            "dead webhook_foreign_object",
            "another product",
            Box::new(|_| b"{\"object\":\"page\",\"entry\":[]}".to_vec()),
        ),
        (
            "dead unknown_phone_number",
            "a number of nobody's",
            Box::new(|m| good(m).replace(OWNERS[0].number, "31337").into()),
        ),
        (
            "dead webhook_malformed_items",
            "status without an id",
            Box::new(|m| m.body(&format!("[{{\"status\":\"sent\"}},{}]", m.status())).into()),
        ),
        ("dead webhook_malformed_items", "statuses by name", Box::new(|m| m.body("{}").into())),
    ]
}

/// Bodies with something broken beside what can be used.
fn usable() -> Vec<Body> {
    vec![
        (
            "used",
            "12,000 levels beside a status",
            Box::new(|m| {
                good(m)
                    .replace("\"metadata\"", &format!("\"x\":{},\"metadata\"", deep(12_000)))
                    .into()
            }),
        ),
        (
            "used",
            "half a character beside a status",
            Box::new(|m| {
                good(m).replace("\"recipient_id\"", "\"x\":\"\\ud83d\",\"recipient_id\"").into()
            }),
        ),
        (
            "used",
            "invalid UTF-8 beside a status",
            Box::new(|m| {
                let text = good(m).replace("\"recipient_id\"", "\"x\":\"?\",\"recipient_id\"");
                text.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect()
            }),
        ),
        (
            "used",
            "a number beyond any",
            Box::new(|m| {
                good(m).replace("\"recipient_id\"", "\"x\":1e999,\"recipient_id\"").into()
            }),
        ),
        (
            "used",
            "opaque data of somebody else's",
            Box::new(|m| {
                let forged =
                    format!("sp1.{}.0.{}.1.{}", "61".repeat(4), "0".repeat(32), "0".repeat(16));
                let mut status = m.status();
                status["biz_opaque_callback_data"] = forged.into();
                m.body(&format!("[{status}]")).into()
            }),
        ),
        (
            "used",
            "times out of range",
            Box::new(|m| {
                let of = |time: &str| format!(r#"{{"id":"w","status":"sent","timestamp":{time}}}"#);
                let times =
                    ["-1", "\"-9223372036854775808\"", "18446744073709551615", "1e300", "[]"];
                m.body(&format!("[{}]", times.map(of).join(","))).into()
            }),
        ),
        ("used", "nothing", Box::new(|_| b"{\"entry\":[]}".to_vec())),
    ]
}

/// What a re-routed record carries.
pub fn rerouted(records: &mut Records) -> Vec<Case> {
    let table: &[Change<ReroutedRecord>] = &[
        ("dead no_schema_framing", "nothing inside", |r| r.value.clear()),
        ("dead no_schema_framing", "JSON inside", |r| r.value = b"{\"tenant\":1}".to_vec()),
        ("dead undecodable", "half a request inside", |r| r.value.truncate(r.value.len() / 2)),
        ("dead trailing_bytes", "two requests inside", |r| {
            let copy = r.value[5..].to_vec();
            r.value.extend(copy);
        }),
        ("dead unknown_schema_id", "unknown schema id inside", |r| r.value[1] = 0x7f),
        ("dead unexpected_topic", "from a topic of nobody's", |r| r.source_topic.clear()),
        ("dead unexpected_topic", "from its own topic", |r| {
            r.source_topic = topic::REROUTED.into()
        }),
        ("dead key_mismatch", "without a key", |r| r.key = None),
        ("dead key_mismatch", "with a key that is no UTF-8", |r| r.key = Some(vec![0xff, 0])),
        ("used", "from places out of range", |r| {
            r.source_partition = i32::MIN;
            r.source_offset = i64::MIN;
            r.source_timestamp = MIN;
        }),
        ("used", "from the end of time", |r| {
            r.source_timestamp = MAX;
            r.source_offset = i64::MAX;
        }),
        ("used", "1,000 headers", |r| {
            let header = |n: usize| ReroutedHeader { name: n.to_string(), value: Some(vec![0xff]) };
            r.headers = (0..1_000).map(header).collect();
        }),
        ("used", "outer tenant of controls", |r| r.tenant = TenantId::new("\0\u{202e}")),
    ];
    let mut cases = Vec::new();
    let mut add = |records: &Records, owner: Owner, expect, name: &str, record: &ReroutedRecord| {
        let raw = Raw::of(owner, topic::REROUTED, records.encode(topic::REROUTED, record));
        cases.push(Case { name: format!("{}: {name}", topic::REROUTED), raw, expect });
    };
    for ((expect, name, change), owner) in table.iter().zip(OWNERS.iter().cycle()) {
        let message = records.message(*owner);
        let inner = records.encode(topic::REQUESTS_TRANSACTIONAL, &message.request());
        let mut record = message.rerouted(inner);
        change(&mut record);
        add(records, *owner, parse(expect, ""), name, &record);
    }
    // A request of another partition's tenant: it was re-routed before, and nobody sends it on again.
    let message = records.message(OWNERS[1]);
    let inner = records.encode(topic::REQUESTS_TRANSACTIONAL, &message.request());
    let mut record = message.rerouted(inner);
    record.key = Some(OWNERS[1].tenant.into());
    add(records, OWNERS[0], Expect::Dead("misrouted"), "for another partition", &record);
    let other = records.encode(topic::CONSENT, &message.opt_out());
    let record = message.rerouted(other);
    add(records, OWNERS[1], Expect::Dead("wrong_schema"), "consent inside", &record);
    let inner = SendRequest { tenant: TenantId::new(""), ..message.request() };
    let inner = records.encode(topic::REQUESTS_TRANSACTIONAL, &inner);
    let record = message.rerouted(inner);
    add(records, OWNERS[1], Expect::Dead("tenant_invalid"), "empty tenant inside", &record);
    cases
}
