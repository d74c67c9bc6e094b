//! `message show`: the life of a message, told from decisions, attempts and outcomes.
//! [`curl`]: one request of it.

mod curl;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::process::ExitCode;

use sendplane_domain::id::MessageId;
use sendplane_domain::shard::partition_of;
use sendplane_service::registry::Registry;
use sendplane_stage_runtime::tools::{TailQuery, TailRecord, Tools};
use sendplane_wire::topic;
use serde_json::{Value, json};

use crate::args::{Format, Message};
use crate::output;
use crate::render;
use crate::session::{Fault, Session};

/// In the order in which equal times are told.
const TOPICS: [&str; 3] = [topic::DECISIONS, topic::ATTEMPTS, topic::OUTCOMES];

/// Something that happened.
#[derive(Debug)]
struct Event {
    topic: usize,
    partition: i32,
    offset: i64,
    record: Value,
}

pub fn run(session: &Session, command: &Message) -> Result<ExitCode, Fault> {
    let (id, key, tenant) = match command {
        Message::Show { id, key, tenant } => (id, key, tenant),
        Message::Curl(args) => return curl::run(session, args),
    };
    let tools = session.tools()?;
    let registry = session.registry()?;
    let partition = match tenant {
        Some(tenant) => {
            let count = tools.partition_count(topic::OUTCOMES)?;
            Some(partition_of(tenant.as_bytes(), count))
        }
        None => None,
    };
    let wanted = match (id, key, tenant) {
        (Some(id), _, _) => BTreeSet::from([parse_id(id)?]),
        (None, Some(key), Some(tenant)) => ids_of_key(&tools, &registry, partition, tenant, key)?,
        // The argument parser sees to it that one of them is there.
        (None, _, _) => BTreeSet::new(),
    };
    let mut events = Vec::new();
    scan(&tools, &registry, partition, &TOPICS, &mut |event| {
        let found = event.record.get("message_id").and_then(Value::as_str);
        let tenant_fits =
            tenant.as_deref().is_none_or(|tenant| event.record["tenant"].as_str() == Some(tenant));
        if tenant_fits && found.is_some_and(|id| wanted.contains(id)) {
            events.push(event);
        }
    })?;
    if events.is_empty() {
        let what = id.as_deref().or(key.as_deref()).unwrap_or_default();
        return Err(anyhow::anyhow!(
            "nothing is known of {what}: check the tenant, and that the request was produced"
        )
        .into());
    }
    events.sort_by(|a, b| {
        (time_of(&a.record), a.topic, a.partition, a.offset).cmp(&(
            time_of(&b.record),
            b.topic,
            b.partition,
            b.offset,
        ))
    });
    match session.output {
        Format::Json => output::json(&events.iter().map(as_json).collect())?,
        Format::Table => {
            for id in &wanted {
                let of_id: Vec<&Event> =
                    events.iter().filter(|event| event.record["message_id"] == **id).collect();
                output::line(&told(id, &of_id))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_id(text: &str) -> Result<String, Fault> {
    let id: MessageId = text.parse().map_err(|error| {
        Fault::input(format!("ID: {error}; copy it from an outcome, or use --tenant and --key"))
    })?;
    Ok(id.to_string())
}

/// The messages a key stands for: the one that was admitted, and refused duplicates.
fn ids_of_key(
    tools: &Tools,
    registry: &Registry,
    partition: Option<i32>,
    tenant: &str,
    key: &str,
) -> Result<BTreeSet<String>, Fault> {
    let mut ids = BTreeSet::new();
    let topics = [topic::DECISIONS, topic::OUTCOMES];
    scan(tools, registry, partition, &topics, &mut |event| {
        let record = &event.record;
        if record["tenant"] == tenant && record["idempotency_key"] == key {
            ids.extend(record["message_id"].as_str().map(str::to_owned));
        }
    })?;
    Ok(ids)
}

/// Visits every decodable record up to the end.
fn scan(
    tools: &Tools,
    registry: &Registry,
    partition: Option<i32>,
    topics: &[&'static str],
    visit: &mut dyn FnMut(Event),
) -> Result<(), Fault> {
    let query = TailQuery { topics, partition, from_beginning: true, until_end: true };
    tools.tail(&query, &mut |record: TailRecord| {
        let decoded =
            record.value.as_deref().and_then(|value| render::decode(registry, value).ok());
        let position = TOPICS.iter().position(|topic| *topic == record.topic);
        if let (Some(value), Some(topic)) = (decoded, position) {
            let TailRecord { partition, offset, .. } = record;
            visit(Event { topic, partition, offset, record: value });
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

/// When an event counts as happened: when we took note of it, since foreign clocks do not order.
fn time_of(record: &Value) -> &str {
    ["ingested_at", "decided_at", "occurred_at"]
        .iter()
        .find_map(|field| record.get(field)?.as_str())
        .unwrap_or_default()
}

fn as_json(event: &Event) -> Value {
    json!({
        "at": time_of(&event.record), "topic": TOPICS[event.topic],
        "partition": event.partition, "offset": event.offset, "record": event.record,
    })
}

/// The story of one message.
fn told(id: &str, events: &[&Event]) -> String {
    let state = events
        .iter()
        .filter(|event| TOPICS[event.topic] == topic::OUTCOMES)
        .max_by_key(|event| event.record["sequence"].as_i64());
    let tenant = events.first().map_or("", |event| text(&event.record, "tenant"));
    let mut lines = vec![format!("message {id}, tenant {tenant}")];
    lines.push(match state {
        Some(event) => format!("state   {}{}", text(&event.record, "state"), why(&event.record)),
        None => "state   no outcome yet".to_owned(),
    });
    for event in events {
        let at = time_of(&event.record);
        match TOPICS[event.topic] {
            topic::DECISIONS => lines.extend(decision(at, &event.record)),
            topic::ATTEMPTS => lines.push(attempt(at, &event.record)),
            _ => lines.push(outcome(at, &event.record)),
        }
    }
    lines.join("\n")
}

fn decision(at: &str, record: &Value) -> Vec<String> {
    let stage = text(record, "stage").to_lowercase();
    let head = format!("{at}  {stage:<8} {}{}", text(record, "verdict"), why(record));
    let rules = record["rules"].as_array().into_iter().flatten().map(|rule| {
        let mark = if rule["passed"] == true { "passed" } else { "failed" };
        let detail = rule["detail"].as_str().map(|text| format!(": {text}")).unwrap_or_default();
        format!("{:26}{mark} {}{detail}", "", text(rule, "rule"))
    });
    std::iter::once(head).chain(rules).collect()
}

fn attempt(at: &str, record: &Value) -> String {
    let mut line =
        format!("{at}  send     attempt {} {}", record["attempt"], text(record, "event"));
    for (field, label) in [
        ("error_code", "code"),
        ("error_class", "class"),
        ("http_status", "HTTP"),
        ("latency_ms", "ms"),
        ("retry_at", "again at"),
        ("error_message", ""),
    ] {
        match &record[field] {
            Value::Null => {}
            Value::String(text) if label.is_empty() => line.push_str(&format!(", {text}")),
            Value::String(text) => line.push_str(&format!(", {label} {text}")),
            value => line.push_str(&format!(", {label} {value}")),
        }
    }
    line
}

fn outcome(at: &str, record: &Value) -> String {
    let last = if record["is_final"] == true { " (final)" } else { "" };
    let state = text(record, "state");
    format!("{at}  outcome  #{} {state}{last}{}", record["sequence"], why(record))
}

fn why(record: &Value) -> String {
    match (record["reason"].as_str(), record["detail"].as_str()) {
        (None, None) => String::new(),
        (Some(reason), None) => format!(", {reason}"),
        (None, Some(detail)) => format!(", {detail}"),
        (Some(reason), Some(detail)) => format!(", {reason}: {detail}"),
    }
}

fn text<'v>(record: &'v Value, field: &str) -> &'v str {
    record[field].as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_told_in_order() {
        let event = |topic, record| Event { topic, partition: 0, offset: 0, record };
        let events = [
            event(
                0,
                json!({"tenant": "acme", "decided_at": "2030-01-01T00:00:00.000Z", "stage": "POLICY",
                    "verdict": "DISPATCH", "reason": null, "detail": null,
                    "rules": [{"rule": "consent", "passed": true, "detail": "granted"}]}),
            ),
            event(
                1,
                json!({"tenant": "acme", "occurred_at": "2030-01-01T00:00:01.000Z", "attempt": 1,
                    "event": "REFUSED", "error_code": 131056, "error_class": "pair_limit",
                    "http_status": 400, "latency_ms": 12, "retry_at": null,
                    "error_message": "too many", "wamid": "wamid.secret"}),
            ),
            event(
                2,
                json!({"tenant": "acme", "ingested_at": "2030-01-01T00:00:02.000Z", "sequence": 4,
                    "state": "REJECTED", "is_final": true, "reason": "pair_limit",
                    "detail": null}),
            ),
        ];
        let told = told("id-1", &events.iter().collect::<Vec<_>>());
        let expected = "message id-1, tenant acme\n\
            state   REJECTED, pair_limit\n\
            2030-01-01T00:00:00.000Z  policy   DISPATCH\n                          passed consent: granted\n\
            2030-01-01T00:00:01.000Z  send     attempt 1 REFUSED, code 131056, class pair_limit, HTTP 400, ms 12, too many\n\
            2030-01-01T00:00:02.000Z  outcome  #4 REJECTED (final), pair_limit";
        assert_eq!(told, expected);
    }

    #[test]
    fn an_id_is_read_in_any_spelling_or_refused_with_a_hint() {
        let id = "0193A6F0000080008000000000000000";
        assert_eq!(parse_id(id).unwrap(), "0193a6f0-0000-8000-8000-000000000000");
        match parse_id("order-1") {
            Err(Fault::Input(text)) => assert!(text.contains("--key"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}
