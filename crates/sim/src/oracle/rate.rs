//! I8 and I9: the pace of numbers, and who goes first.

use std::collections::BTreeMap;

use sendplane_domain::id::{MessageId, PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::provider_code::{CodeClass, classify_status};
use sendplane_wire::record::{AttemptEvent, Dispatch, Disposition};

use super::Verdict;
use super::grants::Grant;
use super::reading::{At, Facts};
use super::silence;
use crate::env::Env;
use crate::time::{Micros, ms, seconds};

const WINDOW: Micros = seconds(1);

/// Checks I8 and I9.
pub fn check(
    env: &mut Env,
    facts: &Facts,
    grants: &BTreeMap<&TenantId, Vec<Grant<'_>>>,
    verdict: &mut Verdict,
) {
    let ceilings = ceilings(facts, grants);
    let mut calls: BTreeMap<&PhoneNumberId, Vec<Use>> = BTreeMap::new();
    for call in env.seen.calls.iter().filter(|call| !call.was_frozen) {
        // Without an intent it is I3 that is broken.
        let about = (call.message_id, call.attempt as i32);
        let Some(ceiling) = ceilings.get(&about).copied() else { continue };
        let used = Use { at: call.written_at, message: call.message_id, ceiling };
        calls.entry(&call.number).or_default().push(used);
    }
    // The intents themselves keep the pace, by the time of the cycles that committed them: over
    // every restart, because that is what is stored.
    let mut intents: BTreeMap<&PhoneNumberId, Vec<Use>> = BTreeMap::new();
    for grant in grants.values().flatten() {
        let record = &grant.at.record;
        let Some(ceiling) = ceilings.get(&(record.message_id, record.attempt)) else { continue };
        let (at, message) = (ms(grant.cycle.now_ms), record.message_id);
        let of_number = intents.entry(&record.phone_number_id).or_default();
        of_number.push(Use { at, message, ceiling: *ceiling });
    }
    for (number, calls) in calls {
        pace("calls", number, calls, verdict);
    }
    for (number, intents) in intents {
        pace("intents by cycle time", number, intents, verdict);
    }
    if !env.shape.scarcity.holds_single_messages() {
        priority(facts, verdict);
    }
}

/// A call or an intent, and what its number was granted when it was decided on.
#[derive(Clone, Copy, Debug)]
struct Use {
    at: Micros,
    message: MessageId,
    ceiling: usize,
}

/// No second holds more than the number was granted. Where that changes meanwhile the higher one
/// counts.
fn pace(what: &str, number: &PhoneNumberId, mut uses: Vec<Use>, verdict: &mut Verdict) {
    uses.sort_by_key(|one| one.at);
    for (index, last) in uses.iter().enumerate() {
        let within = uses[..=index].iter().rev().take_while(|one| last.at - one.at < WINDOW);
        let (count, ceiling) =
            within.fold((0, 0), |(count, most), one| (count + 1, one.ceiling.max(most)));
        if count > ceiling {
            let detail = format!("{count} {what} of {number:?}, its limit is {ceiling} a second");
            return verdict.message("I8", last.message, detail);
        }
    }
}

/// What its number was granted when each intent was committed: the newer of the tenant's row and
/// the notices that send had read.
fn ceilings(
    facts: &Facts,
    grants: &BTreeMap<&TenantId, Vec<Grant<'_>>>,
) -> BTreeMap<(MessageId, i32), usize> {
    let mut found = BTreeMap::new();
    for (tenant, grants) in grants {
        for Grant { at, cycle, .. } in grants {
            let Some(row) = cycle.tenant(facts, tenant) else { continue };
            let id = &at.record.phone_number_id;
            let number = row.phone_numbers.iter().find(|number| number.phone_number_id == *id);
            let Some(number) = number else { continue };
            let noticed = cycle.notice(facts, tenant, |notice| {
                let is_meant = notice.phone_number_id.as_ref() == Some(id);
                notice.messages_per_second.filter(|_| is_meant)
            });
            let ceiling = match noticed {
                Some((at, ceiling)) if at > row.updated_at.as_millis() => ceiling,
                _ => number.messages_per_second,
            };
            let about = (at.record.message_id, at.record.attempt);
            found.insert(about, usize::try_from(ceiling).unwrap_or(0));
        }
    }
    found
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
/// became eligible and in which it was granted. One whose template may be suspended is not eligible;
/// asked only where nothing else holds up single messages.
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
