//! I8 and I9: the pace of numbers, and who goes first.

use std::collections::BTreeMap;

use sendplane_domain::id::{MessageId, PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::provider_code::{CodeClass, classify_status};
use sendplane_wire::record::{AttemptEvent, Dispatch, Disposition};

use super::Verdict;
use super::reading::{At, Facts};
use super::silence;
use crate::env::Env;
use crate::time::{Micros, seconds};
use crate::workload::account;

const WINDOW: Micros = seconds(1);
const WINDOW_MS: i64 = 1_000;

/// Checks I8 and I9.
pub fn check(env: &mut Env, facts: &Facts, verdict: &mut Verdict) {
    let mut calls: BTreeMap<&PhoneNumberId, Vec<(Micros, MessageId)>> = BTreeMap::new();
    for call in env.seen.calls.iter().filter(|call| !call.was_frozen) {
        calls.entry(&call.number).or_default().push((call.written_at, call.message_id));
    }
    for (number, mut calls) in calls {
        calls.sort_unstable();
        let ceiling = ceiling_of(env, number);
        for window in calls.windows(ceiling + 1) {
            let (first, last) = (window[0], window[ceiling]);
            if last.0 - first.0 < WINDOW {
                let detail = format!(
                    "{} calls of {number:?} within {} us, its limit is {ceiling} a second",
                    ceiling + 1,
                    last.0 - first.0
                );
                verdict.message("I8", last.1, detail);
                break;
            }
        }
    }
    debits(env, facts, verdict);
    priority(facts, verdict);
}

fn ceiling_of(env: &Env, number: &PhoneNumberId) -> usize {
    let tenant = number.as_str().trim_end_matches("-number");
    account::ceiling(&env.shape, tenant).max(1) as usize
}

/// The intents themselves keep the pace, by the time of the cycles that committed them: over
/// every restart, because that is what is stored.
fn debits(env: &Env, facts: &Facts, verdict: &mut Verdict) {
    let mut intents: BTreeMap<&PhoneNumberId, Vec<(i64, MessageId)>> = BTreeMap::new();
    for at in facts.attempts.values().flatten() {
        if at.record.event == AttemptEvent::Submitting {
            let time = at.record.occurred_at.as_millis();
            let of_number = intents.entry(&at.record.phone_number_id).or_default();
            of_number.push((time, at.record.message_id));
        }
    }
    for (number, mut intents) in intents {
        intents.sort_unstable();
        let ceiling = ceiling_of(env, number);
        for window in intents.windows(ceiling + 1) {
            let (first, last) = (window[0], window[ceiling]);
            if last.0 - first.0 < WINDOW_MS {
                let detail = format!(
                    "{} intents of {number:?} within {} ms of cycle time, its limit is {ceiling}",
                    ceiling + 1,
                    last.0 - first.0
                );
                verdict.message("I8", last.1, detail);
                break;
            }
        }
    }
}

/// A span of cycles in which a transactional message waited although it could have been granted.
struct Wait {
    message: MessageId,
    number: PhoneNumberId,
    partition: i32,
    from_seq: u64,
    from_ms: i64,
    until_seq: u64,
}

/// A template, by tenant, name and language.
type Template<'f> = (&'f TenantId, &'f TemplateName, &'f str);

/// From when on a webhook could be read that suspends the template.
fn suspended(facts: &Facts) -> BTreeMap<Template<'_>, Micros> {
    let mut found = BTreeMap::new();
    for told in silence::statuses(facts) {
        let class = told.code.map(|code| classify_status(code).class);
        let dispatch = facts.dispatched.get(&told.message).and_then(|found| found.first());
        if let (Some(CodeClass::SuspendTemplate), Some(at)) = (class, dispatch) {
            let first = found.entry(template_of(&at.record)).or_insert(told.visible_at);
            *first = told.visible_at.min(*first);
        }
    }
    found
}

fn template_of(dispatch: &Dispatch) -> Template<'_> {
    (&dispatch.tenant, &dispatch.template_name, &dispatch.template_language)
}

/// I9: no marketing intent of a number in a cycle between those in which a transactional message
/// became eligible and in which it was granted. One whose template may be suspended is not eligible.
fn priority(facts: &Facts, verdict: &mut Verdict) {
    let seq_of = txn_to_seq(facts);
    let suspended = suspended(facts);
    let mut waits = Vec::new();
    let mut marketing: Vec<(PhoneNumberId, i32, u64, i64, MessageId)> = Vec::new();
    for (message, attempts) in &facts.attempts {
        let Some(dispatch) = facts.dispatched.get(message).and_then(|found| found.first()) else {
            continue;
        };
        let Some(mut eligible) = taken_by_send(facts, dispatch) else { continue };
        // Whoever came through the bulk topic is bulk, whatever the record says.
        let mut is_bulk = dispatch.record.lane == Lane::Bulk || dispatch.topic.contains("bulk");
        for at in attempts {
            let Some(seq) = at.txn.and_then(|txn| seq_of.get(&(txn, dispatch.partition))) else {
                continue;
            };
            let number = at.record.phone_number_id.clone();
            if at.record.disposition == Disposition::Replan {
                let next = facts.dispatch_of(message, at.record.decision_seq + 1);
                let Some(next) = next else { break };
                is_bulk = next.record.lane == Lane::Bulk || next.topic.contains("bulk");
                let Some(taken) = taken_by_send(facts, next) else { break };
                eligible = taken;
            } else if at.record.event == AttemptEvent::Submitting && is_bulk {
                let now = at.record.occurred_at.as_millis();
                marketing.push((number, dispatch.partition, *seq, now, *message));
            } else if at.record.event == AttemptEvent::Submitting {
                let since = suspended.get(&template_of(&dispatch.record));
                if since.is_some_and(|since| *since < at.visible_at) {
                    continue;
                }
                waits.push(Wait {
                    message: *message,
                    number,
                    partition: dispatch.partition,
                    from_seq: eligible.0,
                    from_ms: eligible.1,
                    until_seq: *seq,
                });
            } else if at.record.disposition == Disposition::Retry {
                let retry_at = at.record.retry_at.unwrap_or(at.record.occurred_at);
                eligible = (*seq, retry_at.as_millis());
            }
        }
    }
    for wait in &waits {
        let passed = marketing.iter().find(|(number, partition, seq, now, _)| {
            *number == wait.number
                && *partition == wait.partition
                && *seq > wait.from_seq
                && *seq < wait.until_seq
                && *now >= wait.from_ms
        });
        if let Some((.., other)) = passed {
            let detail = format!("marketing {other} was granted while it waited");
            verdict.message("I9", wait.message, detail);
        }
    }
}

/// In which cycle send took the dispatch, and its time.
fn taken_by_send(facts: &Facts, at: &At<Dispatch>) -> Option<(u64, i64)> {
    let taken = facts.taken("send", at.topic, at.partition, at.offset)?;
    Some((taken.record.txn_seq, taken.record.now.as_millis()))
}

fn txn_to_seq(facts: &Facts) -> BTreeMap<(usize, i32), u64> {
    let mut found = BTreeMap::new();
    for ((stage, partition), commits) in &facts.commits {
        if *stage == "send" {
            found.extend(commits.iter().map(|one| ((one.txn, *partition), one.record.txn_seq)));
        }
    }
    found
}
