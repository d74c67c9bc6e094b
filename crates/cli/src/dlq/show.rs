//! `dlq show`.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use sendplane_stage_api::replay::LetterId;
use sendplane_stage_runtime::dead_letter::{Found, Letter};
use sendplane_stage_runtime::tools::TailRecord;
use sendplane_wire::codec::SchemaSource;
use serde_json::{Value, json};

use super::advice::advice;
use super::index::{Entry, Index, scan};
use super::{format_of, list, stage_names, topic_of};
use crate::args::Format;
use crate::output::{self, moment};
use crate::render;
use crate::session::{Fault, Session};

/// Bytes of a value that are shown when it cannot be decoded.
const DUMP_BYTES_MAX: usize = 512;

pub fn run(session: &Session, id: &str, json: bool) -> Result<ExitCode, Fault> {
    let id = parse_id(id)?;
    let mut index = Index::default();
    let mut found = None;
    scan(&session.tools()?, &[&id.stage], Some(id.partition), &mut |at, record| {
        index.add(at.clone(), &record);
        if at == id {
            found = Some(record);
        }
        ControlFlow::Continue(())
    })?;
    index.join_markers();
    let gone = || {
        anyhow::anyhow!("{id} is not there: letters are kept for 30 days; see `dlq list --each`")
    };
    let record = found.ok_or_else(gone)?;
    let Found::Letter(letter) = Found::read(&record.headers) else {
        return Err(Fault::input(format!(
            "ID {id}: stands for no dead letter, but for a note of a replay or a record of somebody \
             else's"
        )));
    };
    let entry = index.entries.get(&id).ok_or_else(gone)?;
    // Without a registry there is still a dump.
    let registry = session.registry().ok();
    let source = registry.as_ref().map(|registry| registry as &dyn SchemaSource);
    match format_of(session, json) {
        Format::Json => output::json(&as_json(&id, entry, &letter, &record, source))?,
        Format::Table => output::line(&told(&id, entry, &letter, &record, source))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads an id and knows its stage.
pub fn parse_id(text: &str) -> Result<LetterId, Fault> {
    let id: LetterId = text.parse().map_err(|error| {
        Fault::input(format!("ID {text}: is {error}, as `dlq list --each` prints it"))
    })?;
    match topic_of(&id.stage) {
        Some(_) => Ok(id),
        None => Err(Fault::input(format!("ID {text}: the stage is one of {}", stage_names()))),
    }
}

/// The value by its schema, or why it cannot be read so.
fn decoded(record: &TailRecord, source: Option<&dyn SchemaSource>) -> Result<Value, String> {
    let Some(value) = record.value.as_deref() else {
        return Ok(Value::Null);
    };
    let source = source.ok_or("no registry was given (--registry)")?;
    render::decode(source, value).map_err(|error| format!("{error:#}"))
}

fn told(
    id: &LetterId,
    entry: &Entry,
    letter: &Letter,
    record: &TailRecord,
    source: Option<&dyn SchemaSource>,
) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<10}{value}");
    };
    line("letter", &id.to_string());
    line("code", &letter.code);
    line("detail", &letter.detail);
    line("to do", advice(&letter.code));
    line("at", &moment(entry.at));
    line("from", &list::from(entry));
    if let Some(first) = letter.first.as_ref().map(sendplane_stage_api::replay::position_text)
        && first != list::from(entry)
    {
        line("first", &first);
    }
    for one in &entry.replays {
        line("replayed", &format!("{}, as {}", one.told(), one.marker.to));
    }
    if entry.replays.is_empty() {
        line("replayed", "never");
    }
    line("key", &record.key.as_deref().map_or("none".into(), render::header_text));
    line("timestamp", &moment(record.timestamp));
    for (number, (name, value)) in record.headers.iter().enumerate() {
        let whose = if number < letter.own_headers { "header" } else { "added" };
        let value = value.as_deref().map_or("(null)".into(), render::header_text);
        line(whose, &format!("{name}: {value}"));
    }
    let bytes = record.value.as_deref().unwrap_or_default();
    match decoded(record, source) {
        Ok(Value::Null) => line("value", "none: a tombstone"),
        Ok(value) => line("value", &format!("{value:#}")),
        Err(why) => {
            line("value", &format!("{} bytes, not decoded: {why}", bytes.len()));
            text.push_str(&dump(bytes));
        }
    }
    text.trim_end().to_owned()
}

fn as_json(
    id: &LetterId,
    entry: &Entry,
    letter: &Letter,
    record: &TailRecord,
    source: Option<&dyn SchemaSource>,
) -> Value {
    let mut shown = list::as_json(id, entry);
    let headers = record.headers.iter().map(
        |(name, value)| json!({ "name": name, "value": value.as_deref().map(render::header_text) }),
    );
    shown["detail"] = json!(letter.detail);
    shown["to_do"] = json!(advice(&letter.code));
    shown["headers"] = headers.collect();
    shown["own_headers"] = json!(letter.own_headers);
    shown["key"] = json!(record.key.as_deref().map(render::header_text));
    match decoded(record, source) {
        Ok(value) => shown["value"] = value,
        Err(why) => {
            shown["value_error"] = json!(why);
            let bytes = record.value.as_deref().unwrap_or_default();
            shown["value_base64"] = json!(render::base64(bytes));
        }
    }
    shown
}

/// The first bytes, sixteen to a line.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in bytes[..bytes.len().min(DUMP_BYTES_MAX)].chunks(16).enumerate() {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let plain = |byte: &u8| if (0x20..0x7f).contains(byte) { *byte as char } else { '.' };
        let plain: String = line.iter().map(plain).collect();
        let _ = writeln!(text, "{:08x}  {:<47}  {plain}", number * 16, hex.join(" "));
    }
    if bytes.len() > DUMP_BYTES_MAX {
        let _ = writeln!(text, "and {} more", bytes.len() - DUMP_BYTES_MAX);
    }
    text
}

#[cfg(test)]
mod tests {
    use sendplane_wire::codec::StaticSchemas;

    use super::super::index::sample::{id, index, letter, marker};
    use super::*;

    fn shown(record: &TailRecord) -> String {
        let index = index([
            ("ingest/0/1", record.clone()),
            ("ingest/0/2", marker("ingest/0/1", 1_700_000_000_000)),
        ]);
        let Found::Letter(letter) = Found::read(&record.headers) else { panic!("a letter") };
        let id = id("ingest/0/1");
        told(&id, &index.entries[&id], &letter, record, Some(&StaticSchemas::new()))
    }

    #[test]
    fn a_letter_is_shown_whole() {
        let mut record = letter("unknown_tenant", "acme", 1_600_000_000_000);
        record.headers.insert(0, ("x-order".into(), Some(vec![0xff])));
        record.headers.insert(1, ("empty".into(), None));
        let text = shown(&record);
        for part in [
            "code      unknown_tenant\n",
            "detail    mend it\n",
            "to do     Apply the tenant",
            "from      sendplane.requests.transactional.v1/2/40\n",
            "replayed  2023-11-14T22:13:20.000Z by ada@host: healed, as t/2/50\n",
            "header    x-order: /w==\n",
            "header    empty: (null)\n",
            "added     __dlq.errors.offset: 40\n",
            "value     12 bytes, not decoded: ",
            "00000000  07 07 07 07 07 07 07 07 07 07 07 07              ............",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_long_value_is_cut_and_its_length_told() {
        let text = dump(&[b'a'; 600]);
        assert_eq!(text.lines().count(), 33);
        assert!(text.starts_with("00000000  61 61") && text.ends_with("and 88 more\n"), "{text}");
        assert_eq!(dump(&[]), "");
    }

    #[test]
    fn an_id_is_read_or_refused_with_a_hint() {
        assert_eq!(parse_id("send/1/2").expect("an id").to_string(), "send/1/2");
        for (text, hint) in [("send/1", "dlq list --each"), ("sent/1/2", "one of ingest")] {
            match parse_id(text) {
                Err(Fault::Input(found)) => assert!(found.contains(hint), "{found}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
