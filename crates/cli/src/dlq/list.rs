//! `dlq list`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use sendplane_domain::time::Timestamp;
use sendplane_service::clock;
use sendplane_stage_api::replay::LetterId;
use serde_json::{Value, json};

use super::filter::Filter;
use super::format_of;
use super::index::{Entry, Index};
use crate::args::{DlqList, Format};
use crate::output::{self, moment};
use crate::session::{Fault, Session};

pub fn run(session: &Session, args: &DlqList) -> Result<ExitCode, Fault> {
    let filter = Filter::read(&args.filter, args.code.as_deref(), clock::now())?;
    let index = Index::read(&session.tools()?, &filter.stages())?;
    let mut found: Vec<(&LetterId, &Entry)> = index
        .entries
        .iter()
        .filter(|(id, entry)| filter.lets_pass(id, entry))
        .filter(|(_, entry)| !args.pending || entry.replays.is_empty())
        .collect();
    let limit = args.filter.limit.unwrap_or(usize::MAX);
    let format = format_of(session, args.filter.json);
    if args.each {
        found.sort_by_key(|(id, entry)| (entry.at, *id));
        let newest = &found[found.len().saturating_sub(limit)..];
        each(format, newest)?;
    } else {
        counts(format, &groups(&found, limit))?;
    }
    if index.foreign > 0 {
        eprintln!("sendplane: {} records there are not dead letters of a stage", index.foreign);
    }
    Ok(ExitCode::SUCCESS)
}

/// Letters of one stage, code and tenant.
#[derive(Clone, Debug, PartialEq)]
struct Group<'i> {
    stage: &'i str,
    code: &'i str,
    tenant: Option<&'i str>,
    count: usize,
    replayed: usize,
    first: Timestamp,
    last: Timestamp,
}

/// The groups that grew last, latest first.
fn groups<'i>(found: &[(&'i LetterId, &'i Entry)], limit: usize) -> Vec<Group<'i>> {
    let mut groups: BTreeMap<(&str, &str, Option<&str>), Group<'i>> = BTreeMap::new();
    for (id, entry) in found {
        let (stage, code) = (id.stage.as_str(), entry.letter.code.as_str());
        let tenant = entry.letter.tenant.as_deref();
        let group = groups.entry((stage, code, tenant)).or_insert(Group {
            stage,
            code,
            tenant,
            count: 0,
            replayed: 0,
            first: entry.at,
            last: entry.at,
        });
        group.count += 1;
        group.replayed += usize::from(!entry.replays.is_empty());
        group.first = group.first.min(entry.at);
        group.last = group.last.max(entry.at);
    }
    let mut groups: Vec<Group<'i>> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.last));
    groups.truncate(limit);
    groups
}

fn counts(format: Format, groups: &[Group<'_>]) -> Result<(), Fault> {
    match format {
        Format::Json => {
            let rows = groups.iter().map(|group| {
                json!({
                    "stage": group.stage, "code": group.code, "tenant": group.tenant,
                    "count": group.count, "replayed": group.replayed,
                    "first": moment(group.first), "last": moment(group.last),
                })
            });
            Ok(output::json(&rows.collect())?)
        }
        Format::Table => {
            let header = ["STAGE", "CODE", "TENANT", "COUNT", "REPLAYED", "FIRST", "LAST"];
            let rows = groups.iter().map(|group| {
                vec![
                    group.stage.to_owned(),
                    group.code.to_owned(),
                    group.tenant.unwrap_or("-").to_owned(),
                    group.count.to_string(),
                    group.replayed.to_string(),
                    moment(group.first),
                    moment(group.last),
                ]
            });
            Ok(output::table(&header, rows)?)
        }
    }
}

fn each(format: Format, found: &[(&LetterId, &Entry)]) -> Result<(), Fault> {
    match format {
        Format::Json => {
            Ok(output::json(&found.iter().map(|(id, entry)| as_json(id, entry)).collect())?)
        }
        Format::Table => {
            let header = ["ID", "AT", "CODE", "TENANT", "FROM", "BYTES", "REPLAYED"];
            let rows = found.iter().map(|(id, entry)| {
                vec![
                    id.to_string(),
                    moment(entry.at),
                    entry.letter.code.clone(),
                    entry.letter.tenant.clone().unwrap_or_else(|| "-".into()),
                    from(entry),
                    entry.bytes.to_string(),
                    entry.replays.last().map_or_else(|| "-".into(), |one| one.told()),
                ]
            });
            Ok(output::table(&header, rows)?)
        }
    }
}

/// Where a letter came from.
pub fn from(entry: &Entry) -> String {
    match entry.letter.place {
        Some((partition, offset)) => format!("{}/{partition}/{offset}", entry.letter.topic),
        None => entry.letter.topic.clone(),
    }
}

/// A letter without its value.
pub fn as_json(id: &LetterId, entry: &Entry) -> Value {
    let replays = entry.replays.iter().map(|one| {
        json!({
            "at": moment(one.at), "by": one.marker.by, "reason": one.marker.reason,
            "to": one.marker.to,
        })
    });
    json!({
        "id": id.to_string(), "at": moment(entry.at), "stage": id.stage,
        "code": entry.letter.code, "tenant": entry.letter.tenant, "topic": entry.letter.topic,
        "partition": entry.letter.place.map(|(partition, _)| partition),
        "offset": entry.letter.place.map(|(_, offset)| offset),
        "timestamp": moment(entry.timestamp), "bytes": entry.bytes,
        "replays": replays.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::index::sample::{index, letter, marker};
    use super::*;

    #[test]
    fn letters_are_counted_by_stage_code_and_tenant() {
        let index = index([
            ("ingest/0/1", letter("undecodable", "acme", 100)),
            ("ingest/0/2", letter("undecodable", "acme", 300)),
            ("ingest/0/3", letter("undecodable", "globex", 400)),
            ("send/0/3", letter("undecodable", "acme", 200)),
            ("ingest/0/9", marker("ingest/0/1", 500)),
        ]);
        let found: Vec<_> = index.entries.iter().collect();
        let told = |limit| {
            let groups = groups(&found, limit).into_iter();
            let told = groups.map(|group| {
                let Group { stage, tenant, count, replayed, first, last, .. } = group;
                let (first, last) = (first.as_millis(), last.as_millis());
                format!("{stage} {} {count} {replayed} {first} {last}", tenant.unwrap_or("-"))
            });
            told.collect::<Vec<_>>()
        };
        let expected =
            ["ingest globex 1 0 400 400", "ingest acme 2 1 100 300", "send acme 1 0 200 200"];
        assert_eq!(told(9), expected);
        assert_eq!(told(1), expected[..1]);
    }
}
