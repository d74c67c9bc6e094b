//! The records of a run, grouped by message.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Evidence, OUTCOMES};

/// Everything about one message, each list in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    pub id: String,
    pub key: String,
    pub outcomes: Vec<&'a Value>,
    pub decisions: Vec<&'a Value>,
    pub admitted: Vec<&'a Value>,
    pub dispatched: Vec<&'a Value>,
    pub attempts: Vec<&'a Value>,
    /// Messages at the provider, with the number of the attempt each was sent by.
    pub accepted: Vec<(i64, &'a Value)>,
}

impl Message<'_> {
    /// The state of the newest row.
    pub fn state(&self) -> &str {
        self.outcomes.last().map_or("", |row| text(row, "state"))
    }

    pub fn is_final(&self) -> bool {
        self.outcomes.last().is_some_and(|row| row["value"]["is_final"] == true)
    }

    /// For a problem.
    pub fn name(&self) -> String {
        format!("{} ({})", self.key, self.id)
    }
}

/// A text field of a row's record.
pub(super) fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row["value"][field].as_str().unwrap_or_default()
}

/// Groups by message id. A message belongs to the run if any record names a key with its prefix;
/// records of a message that nobody names are a problem, those of other runs are left out.
pub(super) fn group<'a>(
    evidence: &'a Evidence,
    prefix: &str,
    problems: &mut Vec<String>,
) -> BTreeMap<String, Message<'a>> {
    let mut all: BTreeMap<String, Message<'a>> = BTreeMap::new();
    for (topic, rows) in &evidence.rows {
        for row in rows.iter().filter(|_| !topic.contains(".requests.")) {
            let id = text(row, "message_id");
            let message = entry(&mut all, id);
            let key = text(row, "idempotency_key");
            if !key.is_empty() {
                message.key = key.to_owned();
            }
            let list = match topic.as_str() {
                OUTCOMES => &mut message.outcomes,
                "sendplane.decisions.v1" => &mut message.decisions,
                "sendplane.attempts.v1" => &mut message.attempts,
                topic if topic.contains(".admitted.") => &mut message.admitted,
                _ => &mut message.dispatched,
            };
            list.push(row);
            if row["key"] != row["value"]["tenant"] {
                problems.push(format!("{topic}: key {} of a record of {id}", row["key"]));
            }
        }
    }
    for accepted in &evidence.accepted {
        match sent_by(accepted) {
            Some((id, attempt)) => entry(&mut all, &id).accepted.push((attempt, accepted)),
            None => problems.push(format!("the provider has what we never sent: {accepted}")),
        }
    }
    let nobody = all.values().filter(|message| message.key.is_empty());
    problems.extend(nobody.map(|message| format!("no record names the request of {}", message.id)));
    all.retain(|_, message| message.key.starts_with(prefix));
    all
}

fn entry<'m, 'a>(all: &'m mut BTreeMap<String, Message<'a>>, id: &str) -> &'m mut Message<'a> {
    all.entry(id.to_owned()).or_insert_with(|| Message { id: id.to_owned(), ..Message::default() })
}

/// Message id and attempt in the opaque data of a message at the provider:
/// `sp1.<tenant>.<slot>.<message id>.<attempt>.<MAC>`.
fn sent_by(accepted: &Value) -> Option<(String, i64)> {
    let parts: Vec<&str> = accepted["opaque"].as_str()?.split('.').collect();
    let [_, _, _, id, attempt, _] = parts[..] else {
        return None;
    };
    let dashed = [id.get(..8)?, id.get(8..12)?, id.get(12..16)?, id.get(16..20)?, id.get(20..)?];
    Some((dashed.join("-"), attempt.parse().ok()?))
}
