//! Judges a run by what an outside observer could know: the log, the provider's ledger, the calls
//! and webhooks with their true times, the stores. It asks no stage and shares no logic with one.
//!
//! | promise | check | where |
//! |---|---|---|
//! | I1 | every request has exactly one fate; every admitted message is judged once and again each time it is given back, every dispatched one attempted; outcome rows without gaps; all final at the end of all deadlines; a wait names its time | [`fate`], [`outcome`] |
//! | I2 | one message per key; repetitions and other contents are told apart | [`fate`] |
//! | I3 | each call follows the commit of its attempt's intent, within 2 s of it by true time | [`call`] |
//! | I4 | one call per intent; a further intent only after the one before was refused or proven unsent, which the ledger confirms, and only under a decision that released it | [`call`] |
//! | I5 | a call after a doubt only for a utility, once, and only where bodies, posts and the gateway's records say that silence was proven; no customer has a message twice otherwise, and where both are known it is said; no end claims "undelivered" of what the ledger accepted and no webhook denied | [`silence`], [`call`], [`outcome`] |
//! | I6 | every store, at any time, is the fold of a committed prefix that ends at a commit record; transactions are whole; a restore finds state and offsets of one transaction | [`state`] |
//! | I7 | per task: `txn_seq` without gap, generations never backwards, one session per generation, group offsets in the same transaction; results applied under the ownership that started them | [`state`] |
//! | I8 | calls per number in any sliding second, and committed debits by the cycles' own time | [`rate`] |
//! | I9 | no marketing intent in a cycle after a transactional message became eligible and before it was granted; while a tenant waits for nothing but a slot no other one is granted more than one turn | [`rate`], [`turns`] |
//! | I10 | the final row equals a small join of webhooks, attempts and decisions | [`outcome`] |
//! | I11 | no dispatch against a consent that policy had read, or could have for a second; no intent against one that send had been told of | [`consent`] |
//! | cancel | each cancel is answered for each of its messages; no intent in the transaction of an answer or after it; cancelled means not sent | [`cancel`] |
//! | slots | no more calls run under one ownership than the process has slots | [`slots`] |
//! | budget | no UTC day of a tenant holds more intents or money than its row allowed, a tenth of it for transactional messages | [`budget`] |
//! | users | no 24 h hold more contacts of a tenant than row or notice allowed, as send had read them; nor does the ledger | [`users`] |
//! | suspension | what the provider does not take is tried with single calls at the documented pace | [`gates`] |
//! | retries | no further call beyond what the tenant wants | [`retries`] |
//! | I12 | 200 only after the append; nothing forged in the log | [`webhook`] |
//!
//! Calls of a process that froze between the check
//! of the deadline and the first byte are exempt from the times of I3 and I8: nothing inside a
//! process could keep them.

pub mod budget;
pub mod call;
pub mod cancel;
pub mod consent;
pub mod fate;
pub mod gates;
pub mod grants;
pub mod outcome;
pub mod rate;
pub mod reading;
pub mod retries;
pub mod silence;
pub mod slots;
pub mod state;
pub mod turns;
pub mod users;
pub mod webhook;

use sendplane_domain::id::MessageId;

use crate::env::Env;
use crate::trace::Note;
use crate::workload::Upstream;
use reading::Facts;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: &'static str,
    /// How.
    pub detail: String,
    /// Of which message.
    pub message: Option<MessageId>,
    /// In which task.
    pub task: Option<(&'static str, i32)>,
}

/// Collects violations.
#[derive(Debug, Default)]
pub struct Verdict(Vec<Violation>);

impl Verdict {
    /// `promise` is broken for a message.
    pub fn message(&mut self, promise: &'static str, message: MessageId, detail: String) {
        self.0.push(Violation { promise, detail, message: Some(message), task: None });
    }

    /// `promise` is broken in a task.
    pub fn task(&mut self, promise: &'static str, task: (&'static str, i32), detail: String) {
        self.0.push(Violation { promise, detail, message: None, task: Some(task) });
    }

    /// `promise` is broken.
    pub fn plain(&mut self, promise: &'static str, detail: String) {
        self.0.push(Violation { promise, detail, message: None, task: None });
    }
}

/// Judges a run.
pub fn judge(env: &mut Env, upstream: &[Upstream]) -> Vec<Violation> {
    let facts = Facts::read(env);
    let mut verdict = Verdict::default();
    for (process, why) in &env.seen.stopped {
        verdict.plain("I1", format!("{process} stopped by itself: {why}"));
    }
    state::check(env, &facts, &mut verdict);
    fate::check(env, &facts, &mut verdict);
    call::check(env, &facts, &mut verdict);
    silence::check(env, &facts, &mut verdict);
    let cycles = grants::Cycles::of(env, &facts);
    let grants = grants::grants(&facts, &cycles);
    rate::check(env, &facts, &grants, &mut verdict);
    outcome::check(env, &facts, &mut verdict);
    consent::check(env, &facts, &mut verdict);
    cancel::check(env, &facts, &mut verdict);
    webhook::check(env, &facts, &mut verdict);
    slots::check(env, &mut verdict);
    turns::check(env, &facts, &grants, &mut verdict);
    budget::check(env, &facts, &grants, &mut verdict);
    users::check(env, &facts, &grants, &mut verdict);
    gates::check(env, &facts, &cycles, &grants, &mut verdict);
    retries::check(env, &facts, &cycles, &mut verdict);
    count(env, &facts, upstream);
    if env.trace.is_on() {
        tell_lives(env, &facts);
    }
    verdict.0
}

/// What the log says about each message, for people.
fn tell_lives(env: &mut Env, facts: &Facts) {
    let mut tell = |at, topic: &str, message, text: String| {
        let who = topic.to_owned();
        env.trace.note(|| Note { at, who, task: None, message: Some(message), text });
    };
    for at in &facts.admitted {
        let text = format!("{:?} to {}", at.record.lane, at.record.recipient.as_str());
        tell(at.visible_at, at.topic, at.record.message_id, text);
    }
    for at in facts.judged.values().chain(facts.refused.values()).flatten() {
        let text = format!("{:?} {:?}", at.record.verdict, at.record.reason);
        tell(at.visible_at, at.topic, at.record.message_id, text);
    }
    for at in facts.attempts.values().flatten() {
        let one = &at.record;
        let text = format!(
            "attempt {} {:?} {:?} at {:?}, {:?}",
            one.attempt, one.event, one.disposition, one.occurred_at, one.error_message
        );
        tell(at.visible_at, at.topic, one.message_id, text);
    }
    for at in facts.outcomes.values().flatten() {
        let one = &at.record;
        let text = format!("{} {:?} {:?}", one.sequence, one.state, one.reason);
        tell(at.visible_at, at.topic, one.message_id, text);
    }
}

/// What the oracle alone can count.
fn count(env: &mut Env, facts: &Facts, upstream: &[Upstream]) {
    env.counts.add("upstream records", upstream.len() as u64);
    env.counts.add("admitted", facts.admitted.len() as u64);
    env.counts.add("rerouted", facts.rerouted.len() as u64);
    env.counts.add("dead letters", facts.dead.len() as u64);
    let summary = env.provider.model.summary();
    env.counts.add("webhooks dropped", summary.updates_dropped);
    env.counts.add("accepted by the provider", summary.accepted);
    let (mut rebalances, mut expelled) = (0, 0);
    for (_, group) in env.log.groups() {
        rebalances += group.rebalances;
        expelled += group.expelled;
    }
    env.counts.add("rebalances", rebalances);
    env.counts.add("members expelled", expelled);
}
