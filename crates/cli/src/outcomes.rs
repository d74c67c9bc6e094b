//! `outcomes summary`.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::process::ExitCode;

use sendplane_domain::shard::partition_of;
use sendplane_stage_runtime::tools::TailQuery;
use sendplane_wire::topic;
use serde_json::{Value, json};

use crate::args::{Format, Outcomes};
use crate::output;
use crate::render;
use crate::session::{Fault, Session};

pub fn run(session: &Session, command: &Outcomes) -> Result<ExitCode, Fault> {
    let Outcomes::Summary { tenant, campaign } = command;
    let tools = session.tools()?;
    let registry = session.registry()?;
    let partition = match tenant {
        Some(tenant) => {
            let count = tools.partition_count(topic::OUTCOMES)?;
            Some(partition_of(tenant.as_bytes(), count))
        }
        None => None,
    };
    let query =
        TailQuery { topics: &[topic::OUTCOMES], partition, from_beginning: true, until_end: true };
    let mut summary = Summary::default();
    tools.tail(&query, &mut |record| {
        let decoded =
            record.value.as_deref().and_then(|value| render::decode(&registry, value).ok());
        match decoded {
            Some(row)
                if fits(&row, "tenant", tenant.as_deref())
                    && fits(&row, "campaign", campaign.as_deref()) =>
            {
                summary.add(&row);
            }
            Some(_) => {}
            None => summary.undecodable += 1,
        }
        ControlFlow::Continue(())
    })?;
    if summary.undecodable > 0 {
        eprintln!("sendplane: {} rows cannot be decoded, see `tail`", summary.undecodable);
    }
    show(session, &summary.counts())?;
    Ok(ExitCode::SUCCESS)
}

fn fits(row: &Value, field: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| row[field].as_str() == Some(wanted))
}

/// The newest row of every message: the highest sequence, whatever the order of arrival.
#[derive(Debug, Default)]
struct Summary {
    newest: HashMap<String, (i64, String, bool)>,
    undecodable: usize,
}

impl Summary {
    fn add(&mut self, row: &Value) {
        let (Some(id), Some(sequence), Some(state)) =
            (row["message_id"].as_str(), row["sequence"].as_i64(), row["state"].as_str())
        else {
            self.undecodable += 1;
            return;
        };
        let known = self.newest.get(id).is_some_and(|(known, ..)| *known >= sequence);
        if !known {
            let is_final = row["is_final"] == true;
            self.newest.insert(id.to_owned(), (sequence, state.to_owned(), is_final));
        }
    }

    /// Messages by state, and whether the state is final.
    fn counts(&self) -> BTreeMap<(String, bool), usize> {
        let mut counts = BTreeMap::new();
        for (_, state, is_final) in self.newest.values() {
            *counts.entry((state.clone(), *is_final)).or_default() += 1;
        }
        counts
    }
}

fn show(session: &Session, counts: &BTreeMap<(String, bool), usize>) -> Result<(), Fault> {
    let total: usize = counts.values().sum();
    match session.output {
        Format::Table => {
            let word = |is_final: bool| if is_final { "final" } else { "on its way" }.to_owned();
            let rows = counts
                .iter()
                .map(|((state, is_final), n)| vec![state.clone(), word(*is_final), n.to_string()])
                .chain([vec!["total".into(), String::new(), total.to_string()]]);
            output::table(&["STATE", "", "MESSAGES"], rows)?;
        }
        Format::Json => {
            let rows = counts.iter().map(|((state, is_final), n)| {
                json!({ "state": state, "final": is_final, "messages": n })
            });
            let rows: Value = rows.collect();
            output::json(&json!({ "total": total, "states": rows }))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_sequence_counts_whatever_the_order() {
        let mut summary = Summary::default();
        let row = |id: &str, sequence: i64, state: &str, is_final: bool| json!({ "message_id": id, "sequence": sequence, "state": state, "is_final": is_final });
        summary.add(&row("a", 3, "DELIVERED", true));
        summary.add(&row("a", 1, "QUEUED", false));
        summary.add(&row("b", 1, "QUEUED", false));
        summary.add(&row("c", 2, "DELIVERED", true));
        summary.add(&json!({ "message_id": "d" }));
        let expected = BTreeMap::from([
            (("DELIVERED".to_owned(), true), 2),
            (("QUEUED".to_owned(), false), 1),
        ]);
        assert_eq!(summary.counts(), expected);
        assert_eq!(summary.undecodable, 1);
    }
}
