//! The rules for one message.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::message::{Message, text};
use super::{Expected, Summary};
use crate::traffic::Fate;

/// Verdicts of ingest: the request was never admitted.
const NEVER_ADMITTED: [&str; 3] = ["REFUSE", "DUPLICATE", "STALE"];

pub(super) fn check(
    message: &Message<'_>,
    expected: &Expected,
    summary: &mut Summary,
    problems: &mut Vec<String>,
) {
    *summary.states.entry(message.state().to_owned()).or_default() += 1;
    let mut found = Vec::new();
    check_rows(message, &mut found);
    check_path(message, &mut found);
    let attempts = attempts_of(message, &mut found);
    check_calls(message, &attempts, expected, &mut found);
    if message.state() == "OUTCOME_UNKNOWN" {
        if !attempts.values().any(|attempt| attempt.doubted) {
            found.push("ends as unknown without a doubt".to_owned());
        }
        let need_not = Some(&Fate::Never("OUTCOME_UNKNOWN")) != expected.fates.get(&message.key)
            && Some(&Fate::Accepted("OUTCOME_UNKNOWN")) != expected.fates.get(&message.key);
        summary.cut_off += usize::from(need_not);
    }
    summary.intents += attempts.len();
    summary.retries += attempts.len().saturating_sub(1);
    for attempt in attempts.values() {
        summary.doubted += usize::from(attempt.doubted);
        match attempt.end {
            End::NotSent => summary.not_sent += 1,
            End::Refused | End::Accepted => summary.proven += 1,
            End::Open | End::Doubt | End::GaveUp | End::Resent => {}
        }
    }
    problems.extend(found.into_iter().map(|what| format!("{}: {what}", message.name())));
}

/// Rows for analytics: numbered from 1 in the order of the log, in one partition, none twice, time
/// never going back.
fn check_rows(message: &Message<'_>, found: &mut Vec<String>) {
    let sequences: Vec<i64> =
        message.outcomes.iter().filter_map(|row| row["value"]["sequence"].as_i64()).collect();
    let right: Vec<i64> = (1..=message.outcomes.len() as i64).collect();
    if sequences != right {
        found.push(format!("rows are numbered {sequences:?}"));
    }
    let events: BTreeSet<&str> = message.outcomes.iter().map(|row| text(row, "event_id")).collect();
    if events.len() != message.outcomes.len() {
        found.push("an event id stands twice".to_owned());
    }
    let times: Vec<Option<i64>> =
        message.outcomes.iter().map(|row| row["value"]["ingested_at"].as_i64()).collect();
    if !times.is_sorted() {
        found.push(format!("ingested_at goes back: {times:?}"));
    }
    let everything = [
        &message.outcomes,
        &message.decisions,
        &message.admitted,
        &message.dispatched,
        &message.attempts,
    ];
    let partitions: BTreeSet<Option<i64>> =
        everything.into_iter().flatten().map(|row| row["partition"].as_i64()).collect();
    if partitions.len() > 1 {
        found.push(format!("records stand in partitions {partitions:?}"));
    }
    if !message.is_final() {
        found.push(format!("is still {}", message.state()));
    }
}

/// From the request to the dispatch: each step once.
fn check_path(message: &Message<'_>, found: &mut Vec<String>) {
    let verdicts: Vec<&str> = message.decisions.iter().map(|row| text(row, "verdict")).collect();
    let [verdict] = verdicts[..] else {
        found.push(format!("was decided {} times: {verdicts:?}", verdicts.len()));
        return;
    };
    let admitted = usize::from(!NEVER_ADMITTED.contains(&verdict));
    let dispatched = usize::from(verdict == "DISPATCH");
    if message.admitted.len() != admitted {
        found.push(format!("{verdict}, but admitted {} times", message.admitted.len()));
    }
    if message.dispatched.len() != dispatched {
        found.push(format!("{verdict}, but dispatched {} times", message.dispatched.len()));
    }
    if dispatched == 0 && !message.attempts.is_empty() {
        found.push(format!("{verdict}, but attempted"));
    }
    if dispatched == 1 && message.attempts.is_empty() {
        found.push("dispatched, but never attempted".to_owned());
    }
}

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Doubt,
    NotSent,
    Refused,
    Accepted,
    GaveUp,
    /// In doubt until silence was proven: sent once more.
    Resent,
}

struct Attempt {
    end: End,
    intended_at: i64,
    doubted: bool,
    /// Acceptance may be said twice, by the answer and by a webhook.
    answered: bool,
    witnessed: bool,
}

/// Follows the events of the attempts in the order of the log. A new attempt needs proof that the
/// one before reached nobody (I4), or once the proof of a silence.
fn attempts_of(message: &Message<'_>, found: &mut Vec<String>) -> BTreeMap<i64, Attempt> {
    let mut attempts: BTreeMap<i64, Attempt> = BTreeMap::new();
    for row in &message.attempts {
        let event = text(row, "event");
        let number = row["value"]["attempt"].as_i64().unwrap_or(-1);
        if event == "SUBMITTING" {
            let last = attempts.last_key_value().map(|(number, attempt)| (*number, attempt.end));
            let allowed = match last {
                None => number == 1,
                Some((last, end)) => {
                    let has_cause = matches!(end, End::NotSent | End::Refused | End::Resent);
                    let resent = attempts.values().filter(|one| one.end == End::Resent).count();
                    number == last + 1 && has_cause && resent <= 1
                }
            };
            if !allowed {
                found.push(format!("attempt {number} is started after {last:?}"));
            }
            let intended_at = row["value"]["occurred_at"].as_i64().unwrap_or(0);
            let attempt = Attempt {
                end: End::Open,
                intended_at,
                doubted: false,
                answered: false,
                witnessed: false,
            };
            attempts.insert(number, attempt);
            continue;
        }
        let Some(attempt) = attempts.get_mut(&number) else {
            found.push(format!("{event} of attempt {number}, which was never started"));
            continue;
        };
        if let Err(before) = attempt.hear(event, row) {
            found.push(format!("{event} of attempt {number} after {before:?}"));
        }
    }
    for (number, attempt) in &attempts {
        if matches!(attempt.end, End::Open | End::Doubt) {
            found.push(format!("attempt {number} is left {:?}", attempt.end));
        }
    }
    attempts
}

impl Attempt {
    /// Takes an event; the end before it, if it cannot follow that.
    fn hear(&mut self, event: &str, row: &Value) -> Result<(), End> {
        let before = self.end;
        let open = matches!(before, End::Open | End::Doubt);
        let (end, allowed) = match event {
            "ACCEPTED" | "HELD" => {
                let seen = if row["value"]["wamid"].is_null() {
                    &mut self.witnessed
                } else {
                    &mut self.answered
                };
                let first = !std::mem::replace(seen, true);
                (End::Accepted, first && !matches!(before, End::NotSent | End::Refused))
            }
            "REFUSED" => (End::Refused, open),
            "NOT_SENT" => (End::NotSent, open),
            "IN_DOUBT" => {
                self.doubted = true;
                (End::Doubt, before == End::Open)
            }
            "GAVE_UP" if text(row, "disposition") == "RETRY" => (End::Resent, before == End::Doubt),
            "GAVE_UP" => (End::GaveUp, before == End::Doubt),
            _ => (before, false),
        };
        self.end = end;
        if allowed { Ok(()) } else { Err(before) }
    }
}

/// What the provider has: at most one message, a second one only after a re-send that silence
/// allowed, by a committed intent, in time (I3, I5).
fn check_calls(
    message: &Message<'_>,
    attempts: &BTreeMap<i64, Attempt>,
    expected: &Expected,
    found: &mut Vec<String>,
) {
    let resent = attempts.values().filter(|one| one.end == End::Resent).count();
    if message.accepted.len() > 1 + resent {
        found.push(format!("the provider has it {} times", message.accepted.len()));
    }
    for (number, accepted) in &message.accepted {
        let Some(attempt) = attempts.get(number) else {
            found.push(format!("the provider has attempt {number}, which was never intended"));
            continue;
        };
        if matches!(attempt.end, End::NotSent | End::Refused) {
            found.push(format!("the provider has attempt {number}, which ended {:?}", attempt.end));
        }
        let delay = accepted["accepted_at_ms"].as_i64().unwrap_or(0) - attempt.intended_at;
        if delay < 0 || delay > expected.call_delay_max.as_millis() as i64 {
            found.push(format!("the provider took attempt {number} {delay} ms after its intent"));
        }
    }
}
