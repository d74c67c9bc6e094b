//! I1 for requests and admitted messages, I2.

use std::collections::{BTreeMap, BTreeSet};

use sendplane_domain::id::{IdempotencyKey, MessageId, SourcePosition, TenantId};
use sendplane_wire::record::{Decision, Dispatch, Disposition, SendRequest, Verdict as Judged};
use sendplane_wire::topic;

use super::Verdict;
use super::reading::{At, Facts};
use crate::env::Env;
use crate::log::partition::Entry;

/// A place in the log.
pub(super) type Place = (String, i32, i64);

/// Checks I1 as far as requests go, and I2.
pub fn check(env: &mut Env, facts: &Facts, verdict: &mut Verdict) {
    let dead = places_of_dead(facts);
    let fates = Fates::of(facts);
    let mut by_key: BTreeMap<(TenantId, IdempotencyKey), Vec<(MessageId, &SendRequest)>> =
        BTreeMap::new();
    let mut poison = 0;
    for at in &facts.requests {
        let place = (at.topic.to_owned(), at.partition, at.offset);
        let moved = fates.moved.get(&place);
        let (entry, request) = &at.record;
        let as_dead = dead.get(&place).copied().unwrap_or(0)
            + moved
                .iter()
                .flat_map(|places| places.iter())
                .filter_map(|p| dead.get(p))
                .sum::<u64>();
        let Some(request) = request else {
            poison += 1;
            if as_dead != 1 {
                verdict.plain("I1", format!("unreadable {place:?} has {as_dead} dead letters"));
            }
            continue;
        };
        let id = identity(at, entry, request);
        let (admitted, refused) = (fates.admitted(&id), fates.refused(&id));
        let all = as_dead + admitted + refused;
        if all != 1 {
            let detail = format!(
                "{place:?}: {admitted} times admitted, {refused} refused, {as_dead} dead letters"
            );
            verdict.message("I1", id, detail);
        }
        if moved.is_some_and(|places| places.len() > 1) {
            verdict.message("I1", id, format!("{place:?} was re-routed more than once"));
        }
        if as_dead == 0 {
            let key = (request.tenant.clone(), request.idempotency_key.clone());
            by_key.entry(key).or_default().push((id, request));
        }
    }
    for ((tenant, key), requests) in &by_key {
        one_message(facts, &fates, (tenant, key), requests, verdict);
    }
    dead_letters_are_whole(env, facts, verdict);
    further(facts, verdict);
    env.counts.add("poison", poison);
    let judged = |wanted: fn(&Judged) -> bool| {
        facts.refused.values().flatten().filter(|at| wanted(&at.record.verdict)).count() as u64
    };
    env.counts.add("duplicate requests", judged(|one| *one == Judged::Duplicate));
    let reused = facts.refused.values().flatten();
    let reused = reused.filter(|at| at.record.reason.as_deref() == Some("idempotency_key_reused"));
    env.counts.add("keys reused", reused.count() as u64);
}

struct Fates<'f> {
    facts: &'f Facts,
    admitted: BTreeMap<MessageId, u64>,
    moved: BTreeMap<Place, Vec<Place>>,
}

impl<'f> Fates<'f> {
    fn of(facts: &'f Facts) -> Self {
        let mut admitted = BTreeMap::new();
        for at in &facts.admitted {
            *admitted.entry(at.record.message_id).or_default() += 1;
        }
        let mut moved: BTreeMap<Place, Vec<Place>> = BTreeMap::new();
        for at in &facts.rerouted {
            let one = &at.record;
            let from = (one.source_topic.clone(), one.source_partition, one.source_offset);
            let to = (topic::REROUTED.to_owned(), at.partition, at.offset);
            moved.entry(from).or_default().push(to);
        }
        Self { facts, admitted, moved }
    }

    fn admitted(&self, id: &MessageId) -> u64 {
        self.admitted.get(id).copied().unwrap_or(0)
    }

    fn refused(&self, id: &MessageId) -> u64 {
        self.facts.refused.get(id).map_or(0, |found| found.len() as u64)
    }
}

/// The id that the record at this place stands for, whoever reads it and how often.
fn identity(
    at: &At<(Entry, Option<SendRequest>)>,
    entry: &Entry,
    request: &SendRequest,
) -> MessageId {
    let source =
        SourcePosition { topic: at.topic.to_owned(), partition: at.partition, offset: at.offset };
    MessageId::derive(entry.timestamp, &request.tenant, &request.idempotency_key, &source)
}

/// I2: at most one of the requests with one key is admitted, and the others are told why not.
fn one_message(
    facts: &Facts,
    fates: &Fates<'_>,
    key: (&TenantId, &IdempotencyKey),
    requests: &[(MessageId, &SendRequest)],
    verdict: &mut Verdict,
) {
    let winners: Vec<_> = requests.iter().filter(|(id, _)| fates.admitted(id) > 0).collect();
    if winners.len() > 1 {
        let detail = format!("{} messages of key {:?}", winners.len(), key);
        verdict.message("I2", winners[1].0, detail);
    }
    for (id, request) in requests {
        for at in facts.refused.get(id).into_iter().flatten() {
            let holder = winners.first();
            let is_same = holder.is_some_and(|(_, other)| is_same_content(request, other));
            let reason = at.record.reason.as_deref().unwrap_or_default();
            if at.record.verdict == Judged::Duplicate
                && (!is_same || at.record.duplicate_of != holder.map(|(id, _)| *id))
            {
                verdict.message("I2", *id, "a duplicate of nothing that is the same".to_owned());
            }
            if reason == "idempotency_key_reused" && (is_same || holder.is_none()) {
                verdict.message("I2", *id, "the same content was called another".to_owned());
            }
        }
    }
}

/// Everything but the time of asking.
fn is_same_content(left: &SendRequest, right: &SendRequest) -> bool {
    SendRequest { created_at: right.created_at, ..left.clone() } == *right
}

/// How often each record was dead-lettered.
pub(super) fn places_of_dead(facts: &Facts) -> BTreeMap<Place, u64> {
    let mut places = BTreeMap::new();
    for at in &facts.dead {
        if let Some(place) = source_of(&at.record) {
            *places.entry(place).or_default() += 1;
        }
    }
    places
}

/// Where a dead letter came from. One given up by send has been out of the log for long.
fn source_of(entry: &Entry) -> Option<Place> {
    let text = |name: &str| {
        let value = entry.headers.iter().rev().find(|(key, _)| key == name)?.1.clone()?;
        String::from_utf8(value).ok()
    };
    let topic = text("__dlq.errors.topic")?;
    let partition = text("__dlq.errors.partition")?.parse().ok()?;
    Some((topic, partition, text("__dlq.errors.offset")?.parse().ok()?))
}

/// A dead letter is the record, byte for byte, and stands there once.
fn dead_letters_are_whole(env: &Env, facts: &Facts, verdict: &mut Verdict) {
    let mut seen = BTreeSet::new();
    for at in &facts.dead {
        let Some(place) = source_of(&at.record) else { continue };
        let original = env
            .log
            .committed(&place.0, place.1)
            .find(|(offset, ..)| *offset == place.2)
            .map(|(_, entry, ..)| (entry.key.clone(), entry.value.clone()));
        if original != Some((at.record.key.clone(), at.record.value.clone())) {
            verdict.plain("I1", format!("the dead letter of {place:?} is not the record"));
        }
        if !seen.insert((at.topic, place.clone())) {
            verdict.plain("I1", format!("{place:?} is dead-lettered twice by one stage"));
        }
    }
}

/// Every admitted message is judged once, and once more for each time send gave it back; every
/// release is dispatched once, and nothing else.
fn further(facts: &Facts, verdict: &mut Verdict) {
    for at in &facts.admitted {
        let id = at.record.message_id;
        let judged = facts.judged.get(&id).map_or(&[][..], Vec::as_slice);
        let mut numbers: Vec<i32> =
            judged.iter().map(|at| at.record.decision_seq.unwrap_or(0)).collect();
        numbers.sort_unstable();
        let attempts = facts.attempts.get(&id).map_or(&[][..], Vec::as_slice);
        let given_back = attempts.iter().filter(|at| at.record.disposition == Disposition::Replan);
        let mut expected: Vec<i32> = given_back.map(|at| at.record.decision_seq + 1).collect();
        expected.push(1);
        expected.sort_unstable();
        if numbers != expected || !expected.iter().zip(1..).all(|(found, wanted)| *found == wanted)
        {
            let detail = format!("has decisions {numbers:?}, and should have {expected:?}");
            verdict.message("I1", id, detail);
            continue;
        }
        for one in judged {
            released_or_not(facts, id, &one.record, verdict);
        }
    }
}

fn released_or_not(facts: &Facts, id: MessageId, decision: &Decision, verdict: &mut Verdict) {
    let number = decision.decision_seq.unwrap_or(0);
    let found = facts.dispatched.get(&id).into_iter().flatten();
    // A dispatch may be repeated, but not with other contents.
    let mut dispatched: Vec<&Dispatch> =
        found.map(|at| &at.record).filter(|one| one.decision_seq == number).collect();
    dispatched.dedup();
    let expected = usize::from(decision.verdict == Judged::Dispatch);
    if dispatched.len() != expected {
        let times = dispatched.len();
        let detail = format!("{:?} {number}, dispatched {times} times", decision.verdict);
        verdict.message("I1", id, detail);
    }
    let mut attempts = facts.attempts.get(&id).into_iter().flatten();
    if expected == 1 && !attempts.any(|at| at.record.decision_seq == number) {
        let detail = format!("dispatched by decision {number} and never heard of again");
        verdict.message("I1", id, detail);
    }
}
