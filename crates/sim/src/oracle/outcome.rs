//! I1 for outcomes, I10, and the half of I5 that says when a message may be called undelivered.

use std::collections::BTreeMap;

use sendplane_domain::id::MessageId;
use sendplane_domain::opaque::OpaqueData;
use sendplane_wire::record::{
    Attempt, AttemptEvent, Decision, Disposition, MessageState, Outcome, Verdict as Judged,
};
use serde_json::Value;

use super::Verdict;
use super::reading::{At, Facts};
use crate::env::Env;
use crate::process::hosted::HASH_KEY;

/// What webhooks said about one message at the provider.
#[derive(Clone, Debug, Default)]
struct Statuses {
    attempt: u32,
    sent: bool,
    failed: bool,
    delivered: bool,
    read: bool,
    played: bool,
}

/// By message, by wamid.
type Heard = BTreeMap<MessageId, BTreeMap<String, Statuses>>;

/// Checks I1 as far as outcomes go, and I10.
pub fn check(env: &mut Env, facts: &Facts, verdict: &mut Verdict) {
    let heard = heard(facts);
    let mut known: Vec<MessageId> = facts.admitted.iter().map(|at| at.record.message_id).collect();
    known.extend(facts.refused.keys());
    for id in known {
        let rows = facts.outcomes.get(&id).map_or(&[][..], Vec::as_slice);
        sequence(id, rows, verdict);
        let Some(last) = rows.last() else { continue };
        let wamids = heard.get(&id).cloned().unwrap_or_default();
        let expected = expected(facts, id, &wamids);
        if expected != Some(last.record.state) {
            let detail = format!("ends as {:?}, the evidence says {expected:?}", last.record.state);
            verdict.message("I10", id, detail);
        }
        undelivered(env, id, last.record.state, &wamids, verdict);
    }
    let early = heard.iter().filter(|(id, _)| came_before_answer(facts, **id)).count() as u64;
    env.counts.add("webhooks before our own commit", early);
}

/// Rows count from 1 without gaps, name what they replace, and the last one is final.
fn sequence(id: MessageId, rows: &[At<Outcome>], verdict: &mut Verdict) {
    let Some(last) = rows.last() else {
        return verdict.message("I1", id, "has no outcome".to_owned());
    };
    let mut before: Option<&Outcome> = None;
    for at in rows {
        let row = &at.record;
        let expected = before.map_or(1, |before| before.sequence + 1);
        if row.sequence != expected {
            let detail = format!("outcome {} stands where {expected} should", row.sequence);
            verdict.message("I1", id, detail);
        }
        let replaced = before.filter(|before| before.is_final).map(|before| before.sequence);
        if row.supersedes != replaced {
            let detail = format!("outcome {} supersedes {:?}", row.sequence, row.supersedes);
            verdict.message("I1", id, detail);
        }
        if before.is_some_and(|before| before.ingested_at > row.ingested_at) {
            verdict.message("I1", id, format!("outcome {} was recorded earlier", row.sequence));
        }
        if before.is_some_and(|before| before.event_id == row.event_id) {
            verdict.message("I1", id, format!("outcome {} has an old event id", row.sequence));
        }
        let waits = [MessageState::Deferred, MessageState::Submitting, MessageState::InDoubt];
        if waits.contains(&row.state) && row.next_at.is_none() {
            verdict.message("I1", id, format!("{:?} waits for no time", row.state));
        }
        before = Some(row);
    }
    if !last.record.is_final {
        let detail = format!("is still {:?} after every deadline", last.record.state);
        verdict.message("I1", id, detail);
    }
}

/// Every status in the log's webhooks, read from the bodies themselves.
fn heard(facts: &Facts) -> Heard {
    let mut heard = Heard::new();
    for at in &facts.webhooks {
        let Ok(body) = serde_json::from_slice::<Value>(&at.record.body) else { continue };
        let entries = body["entry"].as_array().into_iter().flatten();
        let changes = entries.flat_map(|entry| entry["changes"].as_array().into_iter().flatten());
        let statuses =
            changes.flat_map(|change| change["value"]["statuses"].as_array().into_iter().flatten());
        for status in statuses {
            let opaque = status["biz_opaque_callback_data"].as_str().unwrap_or_default();
            let Ok(data) = OpaqueData::decode(opaque, &HASH_KEY) else { continue };
            let wamid = status["id"].as_str().unwrap_or_default().to_owned();
            let one = heard.entry(data.message_id).or_default().entry(wamid).or_default();
            one.attempt = data.attempt;
            match status["status"].as_str().unwrap_or_default() {
                "sent" => one.sent = true,
                "failed" => one.failed = true,
                "delivered" => one.delivered = true,
                "read" => one.read = true,
                "played" => one.played = true,
                _ => {}
            }
        }
    }
    heard
}

/// The join, once all deadlines are over: a delivery beats everything; what may have arrived is
/// unknown; else the end of the newest attempt, else the decision.
fn expected(
    facts: &Facts,
    id: MessageId,
    heard: &BTreeMap<String, Statuses>,
) -> Option<MessageState> {
    let any = |wanted: fn(&Statuses) -> bool| heard.values().any(wanted);
    if any(|one| one.played) {
        return Some(MessageState::Played);
    }
    if any(|one| one.read) {
        return Some(MessageState::Read);
    }
    if any(|one| one.delivered) {
        return Some(MessageState::Delivered);
    }
    let attempts: Vec<&Attempt> =
        facts.attempts.get(&id).into_iter().flatten().map(|at| &at.record).collect();
    let numbers = attempts.iter().map(|one| one.attempt).max();
    let Some(newest) = numbers.max(heard.values().map(|one| one.attempt as i32).max()) else {
        return decided(facts, id);
    };
    let spoken = |number: i32| heard.values().find(|one| one.attempt as i32 == number);
    let is_open = |number: i32| {
        let events: Vec<AttemptEvent> =
            attempts.iter().filter(|one| one.attempt == number).map(|one| one.event).collect();
        let has = |wanted| events.contains(&wanted);
        let accepted = has(AttemptEvent::Accepted) || has(AttemptEvent::Held);
        let proven =
            has(AttemptEvent::Refused) || has(AttemptEvent::NotSent) && !has(AttemptEvent::InDoubt);
        let lost = has(AttemptEvent::InDoubt) || has(AttemptEvent::Submitting);
        // Accepted and never spoken of, or lost without proof either way.
        spoken(number).is_none() && (accepted || lost && !proven && !has(AttemptEvent::Expired))
    };
    if (0..=newest).any(is_open) {
        return Some(MessageState::OutcomeUnknown);
    }
    let of_newest = attempts.iter().filter(|one| one.attempt == newest);
    let made_under = of_newest.map(|one| one.decision_seq).max();
    let decided_last = last_decision(facts, id).and_then(|one| one.decision_seq);
    if made_under.is_some() && decided_last > made_under {
        return decided(facts, id);
    }
    if let Some(statuses) = spoken(newest) {
        let state = if statuses.failed { MessageState::Failed } else { MessageState::Expired };
        return Some(state);
    }
    let of_newest = attempts.iter().filter(|one| one.attempt == newest);
    let ends: Vec<&&Attempt> = of_newest.collect();
    let has = |wanted| ends.iter().any(|one| one.disposition == wanted);
    if ends.iter().any(|one| one.event == AttemptEvent::Expired) {
        Some(MessageState::Expired)
    } else if ends.iter().any(|one| one.event == AttemptEvent::Cancelled) {
        Some(MessageState::Cancelled)
    } else if has(Disposition::Reject) {
        Some(MessageState::Rejected)
    } else if has(Disposition::DeadLetter) {
        Some(MessageState::DeadLettered)
    } else {
        None
    }
}

fn last_decision(facts: &Facts, id: MessageId) -> Option<&Decision> {
    let decisions = facts.judged.get(&id).or(facts.refused.get(&id))?;
    decisions.iter().map(|at| &at.record).max_by_key(|one| one.decision_seq)
}

fn decided(facts: &Facts, id: MessageId) -> Option<MessageState> {
    let decision = last_decision(facts, id)?;
    let is_late = decision.reason.as_deref() == Some("deadline_passed");
    Some(match decision.verdict {
        Judged::Suppress => MessageState::Suppressed,
        Judged::Block if is_late => MessageState::Expired,
        Judged::Block => MessageState::Blocked,
        Judged::Refuse => MessageState::Refused,
        Judged::Duplicate => MessageState::Duplicate,
        Judged::Stale => MessageState::Stale,
        Judged::Dispatch => MessageState::Dispatched,
        Judged::Defer => MessageState::Deferred,
        Judged::Unknown => MessageState::Unknown,
    })
}

/// I5: nobody is told "it did not arrive" of a message that the provider accepted, unless a
/// webhook said that it failed or got no further than `sent`.
fn undelivered(
    env: &Env,
    id: MessageId,
    state: MessageState,
    heard: &BTreeMap<String, Statuses>,
    verdict: &mut Verdict,
) {
    let claims = [
        MessageState::Failed,
        MessageState::Suppressed,
        MessageState::Blocked,
        MessageState::Expired,
        MessageState::Cancelled,
        MessageState::Rejected,
        MessageState::DeadLettered,
    ];
    if !claims.contains(&state) {
        return;
    }
    let needle = format!(".{}.", hex::encode(id.as_bytes()));
    for one in env.provider.model.ledger().by_opaque_prefix("sp1.") {
        let is_ours = one.opaque.as_deref().is_some_and(|text| text.contains(&needle));
        let spoken = heard.get(&one.wamid);
        let is_denied = spoken.is_some_and(|statuses| statuses.failed || statuses.sent);
        if is_ours && !is_denied {
            verdict.message("I5", id, format!("ends as {state:?}, the provider has it"));
        }
    }
}

/// A webhook of it was in the log before the answer of its call.
fn came_before_answer(facts: &Facts, id: MessageId) -> bool {
    let attempts = facts.attempts.get(&id).into_iter().flatten();
    let answer = attempts.into_iter().find(|at| at.record.wamid.is_some());
    let Some(answer) = answer else { return false };
    let key = format!(".{}.", hex::encode(id.as_bytes()));
    facts.webhooks.iter().any(|at| {
        at.visible_at < answer.visible_at
            && at.record.body.windows(key.len()).any(|part| part == key.as_bytes())
    })
}
