//! I4 and I5: a call after a doubt. Was it allowed, and was silence proven? Judged by what stands in
//! the log, and by posts that nobody in the plane has seen.

use std::collections::BTreeSet;

use sendplane_domain::id::MessageId;
use sendplane_domain::opaque::OpaqueData;
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::{Attempt, AttemptEvent, Disposition};
use serde_json::Value;

use super::Verdict;
use super::reading::{At, Facts};
use crate::env::Env;
use crate::process::hosted::HASH_KEY;
use crate::time::{Micros, at_wall, span};

/// One status in a body of the log.
#[derive(Clone, Debug)]
pub struct Told {
    /// Of which message.
    pub message: MessageId,
    /// Of which attempt.
    pub attempt: u32,
    /// Account of its entry.
    pub account: String,
    /// Why it failed, if it did.
    pub code: Option<i64>,
    /// When the body arrived.
    pub received_at: Timestamp,
    /// From when on the body could be read.
    pub visible_at: Micros,
}

/// Every status of ours in the log's webhooks.
pub fn statuses(facts: &Facts) -> impl Iterator<Item = Told> {
    facts.webhooks.iter().flat_map(|at| {
        let found = told(&at.record.body);
        let (received_at, visible_at) = (at.record.received_at, at.visible_at);
        found.into_iter().map(move |(message, attempt, account, code)| Told {
            message,
            attempt,
            account,
            code,
            received_at,
            visible_at,
        })
    })
}

fn told(body: &[u8]) -> Vec<(MessageId, u32, String, Option<i64>)> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in body["entry"].as_array().into_iter().flatten() {
        let account = entry["id"].as_str().unwrap_or_default();
        for change in entry["changes"].as_array().into_iter().flatten() {
            for status in change["value"]["statuses"].as_array().into_iter().flatten() {
                let opaque = status["biz_opaque_callback_data"].as_str().unwrap_or_default();
                if let Ok(data) = OpaqueData::decode(opaque, &HASH_KEY) {
                    let code = status["errors"][0]["code"].as_i64();
                    found.push((data.message_id, data.attempt, account.to_owned(), code));
                }
            }
        }
    }
    found
}

/// The ends of doubts of a message after which it was to be sent again.
pub fn resent(facts: &Facts, message: MessageId) -> impl Iterator<Item = &At<Attempt>> {
    facts.attempts.get(&message).into_iter().flatten().filter(|at| {
        at.record.event == AttemptEvent::GaveUp && at.record.disposition == Disposition::Retry
    })
}

/// Checks every re-send after a doubt.
pub fn check(env: &mut Env, facts: &Facts, verdict: &mut Verdict) {
    let told: Vec<Told> = statuses(facts).collect();
    for message in facts.attempts.keys() {
        let ends: Vec<&At<Attempt>> = resent(facts, *message).collect();
        if ends.len() > 1 {
            let detail = format!("sent again after {} doubts", ends.len());
            verdict.message("I4", *message, detail);
        }
        for end in ends {
            env.counts.one("re-sends after silence");
            let category = facts.dispatched.get(message).and_then(|found| found.first());
            let category = category.map_or("", |at| at.record.category.as_str());
            if category != "utility" {
                let detail = format!("{category:?} was sent again after a doubt");
                verdict.message("I4", *message, detail);
            }
            if let Err(detail) = proven(env, facts, &told, *message, end) {
                verdict.message("I5", *message, format!("sent again, but {detail}"));
            }
        }
    }
}

/// Whether the silence of one doubt was proven when it ended.
fn proven(
    env: &Env,
    facts: &Facts,
    told: &[Told],
    message: MessageId,
    end: &At<Attempt>,
) -> Result<(), String> {
    let records = facts.attempts.get(&message).into_iter().flatten();
    let intent = records
        .into_iter()
        .find(|at| {
            at.record.event == AttemptEvent::Submitting && at.record.attempt == end.record.attempt
        })
        .ok_or("there was no call")?;
    let from = intent.record.occurred_at;
    let to = from + env.shape.doubt_window;
    let is_within = |at: Timestamp| from <= at && at <= to;
    if let Some(one) = told.iter().find(|one| one.message == message && is_within(one.received_at))
    {
        return Err(format!("a webhook of it came at {:?}", one.received_at));
    }
    turned_away(env, message, at_wall(from), at_wall(from) + span(env.shape.doubt_window))?;
    let known = || told.iter().filter(|one| one.visible_at < end.visible_at);
    let number = &intent.record.phone_number_id;
    let witnesses: BTreeSet<MessageId> = known()
        .filter(|one| {
            facts.attempts.get(&one.message).into_iter().flatten().any(|at| {
                at.record.event == AttemptEvent::Submitting
                    && at.record.attempt == one.attempt as i32
                    && at.record.phone_number_id == *number
                    && at.record.occurred_at > from
            })
        })
        .map(|one| one.message)
        .collect();
    if witnesses.len() < 3 {
        return Err(format!("only {} later messages were heard of", witnesses.len()));
    }
    let account = format!("{}-waba", intent.record.tenant);
    if !known().any(|one| one.account == account && one.received_at > to) {
        return Err("nothing of its account came after the window".to_owned());
    }
    accounted(facts, from, to, end.visible_at)
}

/// Nobody in the plane saw these posts; the gateway has to have said that it turned some away.
fn turned_away(env: &Env, message: MessageId, from: Micros, to: Micros) -> Result<(), String> {
    for post in env.seen.posts.iter().filter(|post| !post.is_forged) {
        let is_lost = post.turned_away.iter().any(|at| (from..=to).contains(at));
        if is_lost && told(&post.body).iter().any(|(of, ..)| *of == message) {
            return Err(format!("a webhook of it was turned away at {:?}", post.turned_away));
        }
    }
    Ok(())
}

/// The gateway's newest record at that time covers the window.
fn accounted(
    facts: &Facts,
    from: Timestamp,
    to: Timestamp,
    visible_at: Micros,
) -> Result<(), String> {
    let mut known = facts.gateways.iter().filter(|at| at.visible_at < visible_at);
    let Some(newest) = known.next_back().map(|at| &at.record) else {
        return Err("no gateway had said anything".to_owned());
    };
    let overlaps = newest.gaps.iter().any(|gap| gap.since <= to && from <= gap.until);
    if overlaps || newest.alive_at < to || newest.started_at > from {
        return Err(format!("the gateway says {newest:?} of {from:?} to {to:?}"));
    }
    Ok(())
}
