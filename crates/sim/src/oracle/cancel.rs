//! Cancels: each is answered, and after an answer nothing is called any more.

use std::collections::BTreeMap;

use sendplane_domain::id::MessageId;
use sendplane_wire::record::{
    Attempt, AttemptEvent, CancelAnswer, CancelRequest, CancelResult, MessageState,
};
use sendplane_wire::topic;

use super::Verdict;
use super::reading::{At, Facts};
use super::{call, fate};
use crate::env::Env;

/// The name under which it is reported: cancels have no promise with a number.
const CANCEL: &str = "cancel";

/// Checks the answers.
pub fn check(env: &mut Env, facts: &Facts, verdict: &mut Verdict) {
    let mut answers: BTreeMap<&str, Vec<&At<CancelAnswer>>> = BTreeMap::new();
    for at in &facts.cancel_answers {
        answers.entry(&at.record.cancel_id).or_default().push(at);
    }
    let dead = fate::places_of_dead(facts);
    for at in &facts.cancels {
        let of_it = answers.get(at.record.cancel_id.as_str()).map_or(&[][..], Vec::as_slice);
        let place = (topic::CANCELS.to_owned(), at.partition, at.offset);
        let as_dead = dead.get(&place).copied().unwrap_or(0);
        answered(at, of_it, as_dead, verdict);
        for answer in of_it.iter().filter(|answer| answer.record.message_id.is_none()) {
            not_found(facts, &at.record, answer, verdict);
        }
    }
    let accepted = call::accepted(env);
    for at in &facts.cancel_answers {
        let Some(id) = at.record.message_id else { continue };
        let attempts = facts.attempts.get(&id).map_or(&[][..], Vec::as_slice);
        last_call(id, at, attempts, verdict);
        match at.record.result {
            CancelResult::Cancelled => {
                let is_sent = accepted.keys().any(|(message, _)| *message == id);
                let last = facts.outcomes.get(&id).and_then(|rows| rows.last());
                not_sent(id, at, is_sent, last.map(|last| last.record.state), verdict);
            }
            CancelResult::TooLate => was_there(id, at, attempts, verdict),
            CancelResult::NotFound | CancelResult::Invalid | CancelResult::Unknown => {
                let detail = format!("send answers {:?}", at.record.result);
                verdict.message(CANCEL, id, detail);
            }
        }
    }
    count(env, facts);
}

/// A dead letter, an answer of ingest, or one answer for each message.
fn answered(
    cancel: &At<CancelRequest>,
    answers: &[&At<CancelAnswer>],
    as_dead: u64,
    verdict: &mut Verdict,
) {
    let expected = answers.first().map_or(0, |first| first.record.messages.max(1) as usize);
    let is_whole = answers.len() == expected && (expected == 0) == (as_dead == 1);
    if !is_whole {
        let detail = format!(
            "{} has {} of {expected} answers and {as_dead} dead letters",
            cancel.record.cancel_id,
            answers.len()
        );
        verdict.plain(CANCEL, detail);
    }
    let mut named: Vec<_> = answers.iter().map(|answer| answer.record.message_id).collect();
    named.sort_unstable();
    named.dedup();
    if named.len() != answers.len() {
        let id = &cancel.record.cancel_id;
        verdict.plain(CANCEL, format!("{id} is answered twice for one message"));
    }
}

/// What ingest had admitted before it is found.
fn not_found(
    facts: &Facts,
    cancel: &CancelRequest,
    answer: &At<CancelAnswer>,
    verdict: &mut Verdict,
) {
    if answer.record.result != CancelResult::NotFound {
        return;
    }
    let is_named = |message: &&At<sendplane_wire::record::AdmittedMessage>| {
        let one = &message.record;
        let by_key = cancel.idempotency_key.as_ref() == Some(&one.idempotency_key);
        let by_order = cancel.order_id.is_some() && cancel.order_id == one.order_id;
        one.tenant == cancel.tenant && (by_key || by_order)
    };
    let before = |message: &&At<_>| message.visible_at < answer.visible_at;
    if let Some(found) = facts.admitted.iter().filter(before).find(is_named) {
        let detail = format!("{} does not find it", cancel.cancel_id);
        verdict.message(CANCEL, found.record.message_id, detail);
    }
}

/// No intent is committed with an answer, or after it: grants come last in a cycle.
fn last_call(
    id: MessageId,
    answer: &At<CancelAnswer>,
    attempts: &[At<Attempt>],
    verdict: &mut Verdict,
) {
    let later = attempts.iter().find(|at| {
        at.record.event == AttemptEvent::Submitting && at.visible_at >= answer.visible_at
    });
    if let Some(later) = later {
        let detail = format!(
            "attempt {} was begun after the answer {:?}",
            later.record.attempt, answer.record.result
        );
        verdict.message(CANCEL, id, detail);
    }
}

/// Cancelled: the provider has nothing, and the message ends without having been sent.
fn not_sent(
    id: MessageId,
    answer: &At<CancelAnswer>,
    is_sent: bool,
    last: Option<MessageState>,
    verdict: &mut Verdict,
) {
    // What was known to send is cancelled; what came later may have ended before.
    let ends: &[MessageState] = if answer.record.state.is_some() {
        &[MessageState::Cancelled]
    } else {
        &[
            MessageState::Cancelled,
            MessageState::Suppressed,
            MessageState::Blocked,
            MessageState::Expired,
            MessageState::Rejected,
        ]
    };
    if is_sent || !last.is_some_and(|state| ends.contains(&state)) {
        let detail = format!("cancelled, ends as {last:?}, at the provider: {is_sent}");
        verdict.message(CANCEL, id, detail);
    }
}

/// Too late: an intent was committed before the answer, or the message had ended.
fn was_there(
    id: MessageId,
    answer: &At<CancelAnswer>,
    attempts: &[At<Attempt>],
    verdict: &mut Verdict,
) {
    let was_there = attempts.iter().any(|at| at.visible_at <= answer.visible_at);
    if !was_there {
        verdict.message(CANCEL, id, "too late for what was never attempted".to_owned());
    }
}

fn count(env: &mut Env, facts: &Facts) {
    env.counts.add("cancels", facts.cancels.len() as u64);
    for at in &facts.cancel_answers {
        let answer = &at.record;
        let name = match (answer.result, answer.state.as_deref(), answer.message_id) {
            (CancelResult::Cancelled, None, _) => "cancels before the dispatch",
            (CancelResult::Cancelled, Some(_), _) => "cancels that won",
            (CancelResult::TooLate, Some("submitting"), _) => "cancels during a call",
            (CancelResult::TooLate, ..) => "cancels too late",
            (_, _, None) => "cancels that named nothing",
            (_, _, Some(_)) => "cancels answered otherwise",
        };
        env.counts.one(name);
        if answer.messages > 1 {
            env.counts.one("cancels of an order");
        }
    }
    let ended = facts.attempts.values().flatten();
    let ended =
        ended.filter(|at| at.record.event == AttemptEvent::Cancelled && at.record.attempt > 1);
    env.counts.add("retries cancelled", ended.count() as u64);
}
