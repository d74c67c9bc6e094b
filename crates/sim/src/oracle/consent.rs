//! I11: what policy knew of a person's consent when it released a message, and what send had been
//! told when it committed an intent.

use sendplane_domain::lane::Lane;
use sendplane_wire::record::{
    AdmittedMessage, AttemptEvent, ConsentChange, ConsentScope, ConsentState, Verdict as Judged,
};
use sendplane_wire::topic;

use super::Verdict;
use super::reading::{At, Facts};
use crate::env::Env;
use crate::time::{Micros, seconds};

/// A change that could be read for this long must have been.
const READ_WITHIN: i64 = seconds(1);

/// Checks I11.
pub fn check(env: &mut Env, facts: &Facts, verdict: &mut Verdict) {
    let mut blocked = 0;
    let lags = Lags::of(env, facts);
    for message in &facts.admitted {
        let id = message.record.message_id;
        let taken = facts.taken("policy", message.topic, message.partition, message.offset);
        let (Some(commit), Some(judged)) = (taken, facts.judged.get(&id)) else { continue };
        let about: Vec<&At<ConsentChange>> =
            facts.consents.iter().filter(|change| concerns(change, message)).collect();
        let read = commit.record.inputs.get(topic::CONSENT).copied().unwrap_or(0);
        let opened = env.seen.cycles.get(&commit.txn).map_or(0, |cycle| cycle.at);
        for change in &about {
            let is_late = change.offset >= read && change.visible_at + READ_WITHIN <= opened;
            if is_late && !lags.overlap(message.partition, change.visible_at, opened) {
                let detail = format!(
                    "policy judged it at {opened} us without the consent it could read from {} us",
                    change.visible_at
                );
                verdict.message("I11", id, detail);
            }
        }
        for one in judged {
            let is_marketing = one.record.category.as_deref() == Some("marketing");
            let commit = facts.commit_of("policy", one.partition, one.txn);
            let read = commit.and_then(|commit| commit.record.inputs.get(topic::CONSENT).copied());
            let read = read.unwrap_or(0);
            let Some(forbidden) = is_forbidden(&about, read, is_marketing) else { continue };
            let is_sent = one.record.verdict == Judged::Dispatch;
            let reason = one.record.reason.as_deref().unwrap_or_default();
            let is_suppressed = reason.starts_with("consent_withdrawn");
            if forbidden && is_sent {
                verdict.message("I11", id, "released against a withdrawal of consent".to_owned());
            }
            if !forbidden && is_suppressed {
                verdict.message("I11", id, format!("suppressed with consent: {reason}"));
            }
            blocked += u64::from(is_suppressed);
        }
    }
    env.counts.add("opt-outs that blocked", blocked);
    at_send(facts, verdict);
    let withdrawn = |at: &&At<ConsentChange>| at.record.state == ConsentState::Withdrawn;
    let opt_outs = facts.consents.iter().filter(withdrawn).count() as u64;
    env.counts.add("opt-outs", opt_outs);
    let bulk = facts.admitted.iter().filter(|at| at.record.lane == Lane::Bulk).count() as u64;
    env.counts.add("admitted in bulk", bulk);
}

/// No intent is committed for a person who had withdrawn by what send had read in that cycle,
/// whatever the message was released by.
fn at_send(facts: &Facts, verdict: &mut Verdict) {
    for at in facts.attempts.values().flatten() {
        let intent = &at.record;
        if intent.event != AttemptEvent::Submitting {
            continue;
        }
        let dispatch = facts.dispatch_of(&intent.message_id, intent.decision_seq);
        let commit = facts.commit_of("send", at.partition, at.txn);
        let (Some(dispatch), Some(commit)) = (dispatch, commit) else { continue };
        let dispatch = &dispatch.record;
        let read = commit.record.inputs.get(topic::SUPPRESSIONS).copied().unwrap_or(0);
        let about = facts.suppressions.iter().filter(|row| {
            row.partition == at.partition
                && row.offset < read
                && row.record.tenant == dispatch.tenant
                && row.record.contact_hash == dispatch.contact_hash
        });
        let Some(last) = about.max_by_key(|row| row.offset) else { continue };
        let is_marketing = dispatch.category == "marketing";
        if last.record.all_withdrawn || is_marketing && last.record.marketing_withdrawn {
            let detail = format!(
                "attempt {} was granted after send had read a withdrawal at {}",
                intent.attempt, last.offset
            );
            verdict.message("I11", intent.message_id, detail);
        }
    }
}

/// When policy's tasks were more than a second behind: then an opt-out comes as late as the rest.
struct Lags(Vec<(i32, Micros, Micros)>);

impl Lags {
    fn of(env: &Env, facts: &Facts) -> Self {
        let span = |message: &At<AdmittedMessage>| {
            let At { topic, partition, offset, visible_at, .. } = message;
            let commit = facts.taken("policy", topic, *partition, *offset)?;
            let opened = env.seen.cycles.get(&commit.txn)?.at;
            (opened - visible_at > READ_WITHIN).then_some((*partition, *visible_at, opened))
        };
        Self(facts.admitted.iter().filter_map(span).collect())
    }

    fn overlap(&self, partition: i32, from: Micros, to: Micros) -> bool {
        self.0.iter().any(|(at, began, ended)| *at == partition && *began < to && from < *ended)
    }
}

fn concerns(change: &At<ConsentChange>, message: &At<AdmittedMessage>) -> bool {
    change.partition == message.partition
        && change.record.tenant == message.record.tenant
        && change.record.recipient == message.record.recipient.as_str()
}

/// Whether the changes read so far forbid the message. `None` where the order of the log and that
/// of the decisions' own times differ: which one counts is the stage's rule, tested there.
fn is_forbidden(about: &[&At<ConsentChange>], read: i64, is_marketing: bool) -> Option<bool> {
    let mut forbidden = false;
    for scope in [ConsentScope::Marketing, ConsentScope::All] {
        let known: Vec<&ConsentChange> = about
            .iter()
            .filter(|change| change.offset < read && change.record.scope == scope)
            .map(|change| &change.record)
            .collect();
        if !known.is_sorted_by(|left, right| left.changed_at < right.changed_at) {
            return None;
        }
        let is_withdrawn = known.last().is_some_and(|last| last.state == ConsentState::Withdrawn);
        forbidden |= is_withdrawn && (scope == ConsentScope::All || is_marketing);
    }
    Some(forbidden)
}
