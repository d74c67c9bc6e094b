//! Suspensions: what the provider said it would not take is left alone, and tried with single calls
//! at the documented pace, until something says that it works again.
//!
//! | suspended | by | called again after | until |
//! |---|---|---|---|
//! | a template | classes `suspend_template`, `throttle_template`; a notice of its status | 10, 30, 60 min | an accepted call, a notice, a new row of the directory |
//! | a tenant's templates | class `suspend_tenant_templates` | 1, 6, 24 h | an accepted call |
//! | bulk of a number | class `throttle_spam` | 1, 6, 24 h | an accepted call of bulk |
//!
//! What counts is what send had read: in a cycle rows come first, then notices, then answers, then
//! intents. A call that follows a probe keeps 20 s distance from it, unless the probe was refused:
//! then the next step counts from the refusal. A refusal of a call that is older than the newest
//! probe, or whose attempt had been in doubt, says nothing new. A webhook that settles an attempt may
//! say that it was sent, which releases if the call was made since the suspension. What a webhook may
//! have suspended goes by the webhook's own time and is released by others: it is not judged from
//! then on.

use std::collections::{BTreeMap, BTreeSet};

use sendplane_domain::id::{MessageId, PhoneNumberId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::provider_code::classify_status;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::Globals;
use sendplane_stages::directory::Directory;
use sendplane_wire::record::{Attempt, AttemptEvent, Dispatch, Notice, NoticeKind};
use sendplane_wire::topic;

use super::Verdict;
use super::grants::{Cycle, Cycles, Grant};
use super::reading::Facts;
use super::silence;
use crate::env::Env;
use crate::time::{Micros, at_wall, seconds};

/// The name under which it is reported: suspensions have no promise with a number.
const SUSPENSION: &str = "suspension";

const MINUTE_MS: i64 = 60_000;
const TEMPLATE_STEPS: [i64; 3] = [10 * MINUTE_MS, 30 * MINUTE_MS, 60 * MINUTE_MS];
const HOURS: [i64; 3] = [60 * MINUTE_MS, 6 * 60 * MINUTE_MS, 24 * 60 * MINUTE_MS];

/// A cycle's time may be behind the true one by this much.
const CLOCKS_DIFFER: Micros = seconds(10);

/// A probe whose result never came is replaced after this long.
const PROBE_MS: i64 = 20_000;

/// Events after which a template can be sent again.
const RELEASING: [&str; 4] = ["APPROVED", "REINSTATED", "UNARCHIVED", "UNPAUSED"];

/// What may be suspended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    Template(TenantId, String),
    Templates(TenantId),
    Bulk(PhoneNumberId),
}

impl Gate {
    fn steps(&self) -> [i64; 3] {
        match self {
            Self::Template(..) => TEMPLATE_STEPS,
            Self::Templates(_) | Self::Bulk(_) => HOURS,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Template(..) => "a template",
            Self::Templates(_) => "a tenant's templates",
            Self::Bulk(_) => "bulk of a number",
        }
    }
}

/// A suspension at work.
#[derive(Clone, Copy, Debug)]
struct Suspended {
    /// How often in a row, from 1.
    times: usize,
    /// The newest probe.
    probed_at: Option<i64>,
    /// No call before.
    not_before: i64,
    /// When it began, or began anew.
    since: i64,
}

/// What happens in a cycle, in its order.
#[derive(Clone, Copy, Debug)]
enum Step<'f> {
    Row(&'f TenantId, &'f str),
    Notice(&'f Notice),
    Answer(&'f Attempt),
    Intent(&'f Grant<'f>),
}

/// Checks every intent.
pub fn check(
    env: &mut Env,
    facts: &Facts,
    cycles: &Cycles<'_>,
    grants: &BTreeMap<&TenantId, Vec<Grant<'_>>>,
    verdict: &mut Verdict,
) {
    let by_call: BTreeMap<(MessageId, i32), &Grant<'_>> = grants
        .values()
        .flatten()
        .map(|grant| ((grant.at.record.message_id, grant.at.record.attempt), grant))
        .collect();
    let mut judge = Judge { by_call, told: told(facts), ..Judge::default() };
    for ((_, seq), (cycle, steps)) in steps(env, facts, cycles, grants) {
        for step in steps.into_values() {
            judge.take(env, step, &cycle, seq, verdict);
        }
    }
}

/// From when on a webhook could be read that suspends something.
fn told(facts: &Facts) -> BTreeMap<Gate, Micros> {
    let mut found = BTreeMap::new();
    for told in silence::statuses(facts) {
        let Some(class) = told.code.map(|code| classify_status(code).class) else { continue };
        let Some(at) = facts.dispatched.get(&told.message).and_then(|found| found.first()) else {
            continue;
        };
        if let Some(gate) = gate_of(class.as_str(), all_gates(&at.record)) {
            let first = found.entry(gate).or_insert(told.visible_at);
            *first = told.visible_at.min(*first);
        }
    }
    found
}

/// What a refusal of `class` suspends.
fn gate_of(class: &str, [template, templates, bulk]: [Gate; 3]) -> Option<Gate> {
    match class {
        "suspend_template" | "throttle_template" => Some(template),
        "suspend_tenant_templates" => Some(templates),
        "throttle_spam" => Some(bulk),
        _ => None,
    }
}

/// What happened in a cycle, by kind and offset.
type Happened<'f> = (Cycle<'f>, BTreeMap<(u8, i64), Step<'f>>);

/// The same of each cycle, by partition and sequence.
type Steps<'f> = BTreeMap<(i32, u64), Happened<'f>>;

fn steps<'f>(
    env: &Env,
    facts: &'f Facts,
    cycles: &Cycles<'f>,
    grants: &'f BTreeMap<&TenantId, Vec<Grant<'f>>>,
) -> Steps<'f> {
    let mut found = Steps::new();
    let mut add = |partition: i32, cycle: Cycle<'f>, phase: u8, offset: i64, step: Step<'f>| {
        let (_, steps) =
            found.entry((partition, cycle.seq)).or_insert_with(|| (cycle, BTreeMap::new()));
        steps.insert((phase, offset), step);
    };
    for (partition, cycle, at) in rows(env, facts, cycles) {
        add(partition, cycle, 0, at.0, Step::Row(at.1, at.2));
    }
    for at in facts.notices.values().flatten() {
        let taken = facts.taken("send", topic::NOTICES, at.partition, at.offset);
        let cycle = taken.and_then(|commit| cycles.of_commit(commit, at.partition));
        if let Some(cycle) = cycle {
            add(at.partition, cycle, 1, at.offset, Step::Notice(&at.record));
        }
    }
    for at in facts.attempts.values().flatten() {
        if let Some(cycle) = cycles.of_record(at) {
            add(at.partition, cycle, 2, at.offset, Step::Answer(&at.record));
        }
    }
    for grant in grants.values().flatten() {
        add(grant.at.partition, grant.cycle, 3, grant.at.offset, Step::Intent(grant));
    }
    found
}

/// A new row of a template: its place in the topic, tenant and name.
type Row<'f> = (i64, &'f TenantId, &'f str);

/// When tasks were told of new rows of templates.
fn rows<'f>(env: &Env, facts: &'f Facts, cycles: &Cycles<'f>) -> Vec<(i32, Cycle<'f>, Row<'f>)> {
    let index = Directory::topics().iter().take_while(|name| **name != topic::TEMPLATES).count();
    let mut found = Vec::new();
    for ((stage, partition), commits) in &facts.commits {
        let mut known = 0;
        for commit in commits.iter().filter(|_| *stage == "send") {
            let Some(seen) = env.seen.cycles.get(&commit.txn) else { continue };
            let Some(cycle) = cycles.of_commit(commit, *partition) else { continue };
            if !seen.told.contains(partition) {
                continue;
            }
            let until = seen.tables.get(index).copied().unwrap_or(0);
            let new = facts.templates.iter().filter(|at| (known..until).contains(&at.offset));
            found.extend(new.map(|at| {
                (*partition, cycle, (at.offset, &at.record.tenant, at.record.name.as_str()))
            }));
            known = until;
        }
    }
    found
}

#[derive(Default)]
struct Judge<'f> {
    by_call: BTreeMap<(MessageId, i32), &'f Grant<'f>>,
    /// From when on a webhook may have suspended each.
    told: BTreeMap<Gate, Micros>,
    gates: BTreeMap<Gate, Suspended>,
    /// When Meta said the newest notice about each.
    noticed: BTreeMap<Gate, Timestamp>,
    /// In which cycle each was released last.
    released: BTreeMap<Gate, u64>,
    /// Attempts that had been in doubt.
    doubted: BTreeSet<(MessageId, i32)>,
}

impl Judge<'_> {
    fn take(
        &mut self,
        env: &mut Env,
        step: Step<'_>,
        cycle: &Cycle<'_>,
        seq: u64,
        verdict: &mut Verdict,
    ) {
        match step {
            Step::Row(tenant, name) => {
                self.release(env, Gate::Template(tenant.clone(), name.to_owned()), seq);
            }
            Step::Notice(notice) => self.hear(env, notice, cycle.now_ms, seq),
            Step::Answer(answer) => self.answered(env, answer, cycle.now_ms, seq),
            Step::Intent(grant) => {
                for gate in gates_of(grant) {
                    self.call(env, gate, grant, verdict);
                }
            }
        }
    }

    fn hear(&mut self, env: &mut Env, notice: &Notice, now_ms: i64, seq: u64) {
        let (Some(name), Some(event)) = (&notice.template_name, notice.status.as_deref()) else {
            return;
        };
        if notice.kind != NoticeKind::TemplateStatus {
            return;
        }
        let gate = Gate::Template(notice.tenant.clone(), name.as_str().to_owned());
        let newest = self.noticed.entry(gate.clone()).or_default();
        if notice.said_at() < *newest {
            return;
        }
        *newest = notice.said_at();
        if RELEASING.contains(&event) {
            self.release(env, gate, seq);
        } else if event != "FLAGGED" {
            self.suspend(env, gate, now_ms, now_ms);
        }
    }

    fn answered(&mut self, env: &mut Env, answer: &Attempt, now_ms: i64, seq: u64) {
        let Some(grant) = self.by_call.get(&(answer.message_id, answer.attempt)).copied() else {
            return;
        };
        let about = (answer.message_id, answer.attempt);
        let gates = all_gates(grant.dispatch);
        if answer.event == AttemptEvent::InDoubt {
            self.doubted.insert(about);
        }
        if [AttemptEvent::Accepted, AttemptEvent::Held].contains(&answer.event) {
            // Whatever call an answer is of, it says that calls are taken now.
            let is_told = answer.wamid.is_none();
            for gate in gates {
                let since = self.gates.get(&gate).map_or(i64::MAX, |suspended| suspended.since);
                let is_meant = grant.lane == Lane::Bulk || !matches!(gate, Gate::Bulk(_));
                if is_meant && (!is_told || grant.cycle.now_ms >= since) {
                    self.release(env, gate, seq);
                }
            }
            return;
        }
        let class = answer.error_class.as_deref();
        let Some(gate) = class.and_then(|class| gate_of(class, gates)) else { return };
        // Whether a call from before the release says anything is the stage's affair.
        let is_old = self.released.get(&gate).is_some_and(|released| grant.cycle.seq < *released);
        if !is_old {
            let is_doubted = self.doubted.contains(&about);
            let granted_ms = if is_doubted { 0 } else { grant.cycle.now_ms };
            self.suspend(env, gate, granted_ms, now_ms);
        }
    }

    fn release(&mut self, env: &mut Env, gate: Gate, seq: u64) {
        if self.gates.remove(&gate).is_some() {
            env.counts.one(&format!("releases of {}", gate.name()));
        }
        self.released.insert(gate, seq);
    }

    fn suspend(&mut self, env: &mut Env, gate: Gate, granted_ms: i64, now_ms: i64) {
        let steps = gate.steps();
        let known = self.gates.get(&gate).copied();
        let times = match known {
            None => 1,
            Some(Suspended { times, probed_at: Some(probed), .. }) if granted_ms >= probed => {
                times + 1
            }
            Some(_) => return,
        };
        env.counts.one(&format!("suspensions of {}", gate.name()));
        let not_before = now_ms + steps[times.min(steps.len()) - 1];
        self.gates.insert(gate, Suspended { times, probed_at: None, not_before, since: now_ms });
    }

    fn call(&mut self, env: &mut Env, gate: Gate, grant: &Grant<'_>, verdict: &mut Verdict) {
        let now_ms = grant.cycle.now_ms;
        let Some(suspended) = self.gates.get_mut(&gate) else { return };
        let is_told = self
            .told
            .get(&gate)
            .is_some_and(|told| at_wall(Timestamp::from_millis(now_ms)) + CLOCKS_DIFFER >= *told);
        if now_ms < suspended.not_before && !is_told {
            let early = suspended.not_before - now_ms;
            let detail = format!("{gate:?} is suspended, called {early} ms early: {suspended:?}");
            verdict.message(SUSPENSION, grant.at.record.message_id, detail);
        }
        suspended.probed_at = Some(now_ms);
        suspended.not_before = now_ms + PROBE_MS;
        env.counts.one(&format!("probes of {}", gate.name()));
    }
}

fn all_gates(dispatch: &Dispatch) -> [Gate; 3] {
    let name = dispatch.template_name.as_str().to_owned();
    [
        Gate::Template(dispatch.tenant.clone(), name),
        Gate::Templates(dispatch.tenant.clone()),
        Gate::Bulk(dispatch.phone_number_id.clone()),
    ]
}

/// What an intent has to pass.
fn gates_of(grant: &Grant<'_>) -> Vec<Gate> {
    let is_passed = |gate: &Gate| grant.lane == Lane::Bulk || !matches!(gate, Gate::Bulk(_));
    all_gates(grant.dispatch).into_iter().filter(is_passed).collect()
}
