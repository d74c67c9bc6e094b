//! I3, I4 and I5: calls, intents and what the provider really accepted.

use std::collections::BTreeMap;

use sendplane_domain::id::MessageId;
use sendplane_domain::opaque::OpaqueData;
use sendplane_wire::record::{Attempt, AttemptEvent, Disposition};

use super::reading::{At, Facts};
use super::{Verdict, silence};
use crate::env::Env;
use crate::evidence::CallSeen;
use crate::process::hosted::HASH_KEY;
use crate::time::{Micros, ms, seconds};

/// A call starts at most this long after the commit of its intent (I3).
const START_WITHIN: Micros = seconds(2);
/// Between the check of the deadline and the first byte lies the client's own write.
const WRITE_WITHIN: Micros = ms(1);

/// What the provider accepted, by message and attempt.
pub(super) type Accepted = BTreeMap<(MessageId, u32), usize>;

/// Checks I3, I4 and I5.
pub fn check(env: &mut Env, facts: &Facts, verdict: &mut Verdict) {
    let accepted = accepted(env);
    let mut written: BTreeMap<(MessageId, u32), Vec<&CallSeen>> = BTreeMap::new();
    for call in &env.seen.calls {
        written.entry((call.message_id, call.attempt)).or_default().push(call);
        in_time(facts, call, verdict);
    }
    for ((message, attempt), calls) in &written {
        if calls.len() > 1 {
            let detail = format!("{} calls under the intent of attempt {attempt}", calls.len());
            verdict.message("I4", *message, detail);
        }
    }
    let (mut intents, mut retries, mut doubts) = (0, 0, 0);
    for (message, attempts) in &facts.attempts {
        let events: Vec<&Attempt> = attempts.iter().map(|at| &at.record).collect();
        causes(facts, *message, &events, verdict);
        proofs(*message, &events, &accepted, verdict);
        let count = |wanted| events.iter().filter(|one| one.event == wanted).count() as u64;
        intents += count(AttemptEvent::Submitting);
        retries += count(AttemptEvent::Submitting).saturating_sub(1);
        doubts += count(AttemptEvent::InDoubt);
        expired(*message, &events, verdict);
    }
    duplicates(env, facts, &accepted, verdict);
    env.counts.add("intents", intents);
    env.counts.add("retries", retries);
    env.counts.add("doubts", doubts);
    let all = || facts.attempts.values().flatten();
    let ended = |wanted| all().filter(|at| at.record.event == wanted).count() as u64;
    env.counts.add("deadlines passed", ended(AttemptEvent::Expired));
    let rejected = all().filter(|at| at.record.disposition == Disposition::Reject).count() as u64;
    env.counts.add("rejected by the provider", rejected);
    for (name, reason) in [
        ("given back for consent", "consent_changed"),
        ("given back for a template", "template_changed"),
    ] {
        let is_meant = |at: &&At<Attempt>| {
            let text = at.record.error_message.as_deref();
            at.record.disposition == Disposition::Replan && text == Some(reason)
        };
        env.counts.add(name, all().filter(is_meant).count() as u64);
    }
    let refused = |at: &&At<Attempt>| {
        at.record.disposition == Disposition::Replan && at.record.event == AttemptEvent::Refused
    };
    env.counts.add("given back for a refusal", all().filter(refused).count() as u64);
    let again = all()
        .filter(|at| at.record.event == AttemptEvent::Submitting && at.record.decision_seq > 1);
    env.counts.add("intents of a later decision", again.count() as u64);
}

pub(super) fn accepted(env: &Env) -> Accepted {
    let mut found = Accepted::new();
    for one in env.provider.model.ledger().accepted() {
        let opaque = one.opaque.as_deref().unwrap_or_default();
        if let Ok(data) = OpaqueData::decode(opaque, &HASH_KEY) {
            *found.entry((data.message_id, data.attempt)).or_default() += 1;
        }
    }
    found
}

/// I3: the intent was committed before the call, and not long before.
fn in_time(facts: &Facts, call: &CallSeen, verdict: &mut Verdict) {
    let CallSeen { message_id, attempt, written_at, checked_at, .. } = *call;
    let attempts = facts.attempts.get(&message_id).into_iter().flatten();
    let intent = attempts.into_iter().find(|at| {
        at.record.event == AttemptEvent::Submitting && at.record.attempt == attempt as i32
    });
    let Some(intent) = intent else {
        let detail = format!("attempt {attempt} was called without a committed intent");
        return verdict.message("I3", message_id, detail);
    };
    let late = written_at - intent.visible_at;
    let is_kept = (0..=START_WITHIN + WRITE_WITHIN).contains(&late);
    let was_checked = checked_at - intent.visible_at < START_WITHIN;
    if !was_checked || late < 0 || !is_kept && !call.was_frozen {
        let detail = format!("attempt {attempt} was called {late} us after the commit");
        verdict.message("I3", message_id, detail);
    }
}

/// I4: one intent per attempt, each after the attempt before was refused or proven unsent, with
/// another one promised; and under a decision that released it and was not given back.
fn causes(facts: &Facts, message: MessageId, events: &[&Attempt], verdict: &mut Verdict) {
    let mut before: Option<i32> = None;
    for (index, intent) in events.iter().enumerate() {
        if intent.event != AttemptEvent::Submitting {
            continue;
        }
        let (attempt, earlier) = (intent.attempt, &events[..index]);
        // A number between is one that a return to policy has used up.
        let is_used_up = |number: i32| {
            earlier.iter().any(|one| {
                one.attempt == number
                    && one.event == AttemptEvent::NotSent
                    && one.disposition == Disposition::Replan
            })
        };
        let last = before.replace(attempt);
        let from = last.unwrap_or(0) + 1;
        if attempt < from || !(from..attempt).all(is_used_up) {
            let detail = format!("an intent of attempt {attempt} follows that of {last:?}");
            verdict.message("I4", message, detail);
        }
        let is_failed = |one: &&Attempt| {
            // A re-send after doubt has an oracle of its own.
            let ends = [AttemptEvent::Refused, AttemptEvent::NotSent, AttemptEvent::GaveUp];
            let goes_on = [Disposition::Retry, Disposition::Replan].contains(&one.disposition);
            ends.contains(&one.event) && Some(one.attempt) == last && goes_on
        };
        if last.is_some() && !earlier.iter().any(is_failed) {
            let detail = format!("attempt {attempt} was made though the one before may have come");
            verdict.message("I4", message, detail);
        }
        let decision = intent.decision_seq;
        let is_given_back = earlier
            .iter()
            .any(|one| one.disposition == Disposition::Replan && one.decision_seq >= decision);
        if is_given_back || facts.dispatch_of(&message, decision).is_none() {
            let detail =
                format!("attempt {attempt} was made under {decision}, which is no release");
            verdict.message("I4", message, detail);
        }
    }
}

/// What is reported as unsent or refused was not accepted.
fn proofs(message: MessageId, events: &[&Attempt], accepted: &Accepted, verdict: &mut Verdict) {
    for one in events {
        let attempt = u32::try_from(one.attempt).unwrap_or(0);
        let is_there = accepted.contains_key(&(message, attempt));
        let denies = matches!(one.event, AttemptEvent::Refused | AttemptEvent::NotSent);
        if denies && is_there {
            let detail = format!("attempt {attempt} is {:?}, the provider has it", one.event);
            verdict.message("I4", message, detail);
        }
        let claims = matches!(one.event, AttemptEvent::Accepted | AttemptEvent::Held);
        if claims && !is_there {
            let detail = format!("attempt {attempt} is {:?}, the provider has nothing", one.event);
            verdict.message("I4", message, detail);
        }
    }
}

/// Nothing is begun after a message's end.
fn expired(message: MessageId, events: &[&Attempt], verdict: &mut Verdict) {
    let end = events.iter().position(|one| {
        let is_final = matches!(one.disposition, Disposition::Reject | Disposition::DeadLetter);
        let gave_up = one.event == AttemptEvent::GaveUp && one.disposition != Disposition::Retry;
        let is_over = matches!(one.event, AttemptEvent::Expired | AttemptEvent::Cancelled);
        is_final || gave_up || is_over
    });
    let Some(end) = end else { return };
    if events[end + 1..].iter().any(|one| one.event == AttemptEvent::Submitting) {
        verdict.message("I4", message, "an intent after the end".to_owned());
    }
}

/// I5: nobody has a message twice, but after a re-send that silence allowed. Where somebody has, and
/// an answer or a webhook told of each, it is said.
fn duplicates(env: &mut Env, facts: &Facts, accepted: &Accepted, verdict: &mut Verdict) {
    let mut by_message: BTreeMap<MessageId, Vec<(u32, usize)>> = BTreeMap::new();
    for ((message, attempt), times) in accepted {
        by_message.entry(*message).or_default().push((*attempt, *times));
    }
    for (message, attempts) in by_message {
        let times: usize = attempts.iter().map(|(_, times)| times).sum();
        if times < 2 {
            continue;
        }
        env.counts.one("duplicates at the customer");
        let is_allowed = silence::resent(facts, message).count() + 1 >= times
            && attempts.iter().all(|(_, times)| *times == 1);
        let known = attempts.iter().filter(|(attempt, _)| is_known(facts, message, *attempt));
        let known = known.count();
        let rows = facts.outcomes.get(&message).into_iter().flatten();
        let is_told = rows.into_iter().any(|at: &At<_>| {
            at.record
                .detail
                .as_deref()
                .is_some_and(|text| text.contains("messages at the provider"))
        });
        if is_told {
            env.counts.one("duplicates detected");
        }
        if !is_allowed || known > 1 && !is_told {
            let detail = format!("the customer has it {times} times, reported: {is_told}");
            verdict.message("I5", message, detail);
        }
    }
}

/// Whether an answer or a webhook told of the wamid of this attempt.
fn is_known(facts: &Facts, message: MessageId, attempt: u32) -> bool {
    let is_answered = facts
        .attempts
        .get(&message)
        .into_iter()
        .flatten()
        .any(|at| at.record.wamid.is_some() && u32::try_from(at.record.attempt) == Ok(attempt));
    is_answered
        || silence::statuses(facts).any(|one| (one.message, one.attempt) == (message, attempt))
}
