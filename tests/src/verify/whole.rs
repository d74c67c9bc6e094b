//! The rules for all messages of a run together.

use std::collections::BTreeMap;

use super::message::{Message, text};
use super::{Evidence, Expected, Summary};
use crate::traffic::Fate;

pub(super) fn check(
    evidence: &Evidence,
    expected: &Expected,
    messages: &BTreeMap<String, Message<'_>>,
    summary: &Summary,
    problems: &mut Vec<String>,
) {
    check_keys(messages, expected, problems);
    check_requests(evidence, expected, messages, problems);
    let Summary { intents, not_sent, proven, calls, .. } = summary;
    let calls = *calls as usize;
    // What is neither proven nor disproven may or may not have been called.
    if calls < *proven || calls > intents - not_sent {
        problems.push(format!(
            "the provider got {calls} calls for {intents} intents, of which {not_sent} were never \
             sent and {proven} proven"
        ));
    }
    for repeated in &evidence.repeated_calls {
        problems.push(format!("one attempt reached the provider more than once: {repeated}"));
    }
}

/// Every request has exactly one message that counts, and it has met its fate.
pub(super) fn check_keys(
    messages: &BTreeMap<String, Message<'_>>,
    expected: &Expected,
    problems: &mut Vec<String>,
) {
    let mut by_key: BTreeMap<&str, Vec<&Message<'_>>> = BTreeMap::new();
    for message in messages.values() {
        by_key.entry(&message.key).or_default().push(message);
    }
    for (key, fate) in &expected.fates {
        let all = by_key.remove(key.as_str()).unwrap_or_default();
        let mut count = all.iter().filter(|message| message.state() != "DUPLICATE");
        match (count.next(), count.next()) {
            (Some(message), None) => {
                if let Some(problem) = check_fate(message, *fate, expected) {
                    problems.push(format!("{}: {problem}", message.name()));
                }
            }
            (None, _) => problems.push(format!("{key}: no message")),
            (Some(one), Some(other)) => {
                problems.push(format!("{key}: both {} and {} count", one.name(), other.name()));
            }
        }
    }
    problems.extend(by_key.keys().map(|key| format!("{key}: nobody asked for it")));
}

fn check_fate(message: &Message<'_>, fate: Fate, expected: &Expected) -> Option<String> {
    let state = message.state();
    let has = !message.accepted.is_empty();
    let honest = state == "OUTCOME_UNKNOWN" && !has && expected.calls_cut_off;
    let right = match fate {
        Fate::Accepted(right) => (state == right && has) || honest,
        Fate::Never(right) => (state == right && !has) || honest,
        Fate::AsProviderSays if has => ["DELIVERED", "READ"].contains(&state),
        Fate::AsProviderSays => state == "OUTCOME_UNKNOWN",
    };
    let has = if has { "has" } else { "does not have" };
    (!right || !message.is_final())
        .then(|| format!("is {state}, the provider {has} it, its fate is {fate:?}"))
}

/// As many messages under a key as records ask for it.
fn check_requests(
    evidence: &Evidence,
    expected: &Expected,
    messages: &BTreeMap<String, Message<'_>>,
    problems: &mut Vec<String>,
) {
    let mut asked: BTreeMap<&str, i64> = BTreeMap::new();
    for (_, rows) in evidence.rows.iter().filter(|(topic, _)| topic.contains(".requests.")) {
        for row in rows {
            let key = text(row, "idempotency_key");
            if key.starts_with(&expected.prefix) {
                *asked.entry(key).or_default() += 1;
            }
        }
    }
    for message in messages.values() {
        *asked.entry(&message.key).or_default() -= 1;
    }
    let off = asked.into_iter().filter(|(_, count)| *count != 0);
    problems.extend(off.map(|(key, count)| format!("{key}: {count} more records than messages")));
}
