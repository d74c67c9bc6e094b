//! The collection of facts and the join.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::evidence::{AttemptEvent, Decision, Evidence, PriceClass, Status, Subject};
use crate::id::KeyedHash;
use crate::time::Timestamp;

/// Everything ever said about one message. The default knows nothing.
///
/// Each field is a join semilattice (a maximum, a minimum, or a map of such), so the whole is one:
/// [`Self::join`] is commutative, associative and idempotent in its evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFacts {
    /// Who and what, with the sequence that said so: 0 the request, then decisions. Greatest wins.
    pub(super) subject: Option<(u32, Subject)>,
    /// Earliest admission.
    pub(super) admitted_at: Option<Timestamp>,
    /// Latest decision, see `decision_order`.
    pub(super) decision: Option<Decision>,
    /// By attempt number.
    pub(super) attempts: BTreeMap<u32, AttemptFacts>,
    /// What Meta accepted, by keyed hash of the wamid.
    pub(super) provider_messages: BTreeMap<KeyedHash, ProviderMessage>,
    /// Greatest attempt whose time for statuses is over.
    pub(super) status_deadline_attempt: Option<u32>,
}

/// What send said about one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptFacts {
    /// Sequence of the dispatch it was made under; greatest.
    pub decision_seq: u32,
    /// Time of its first record.
    pub started_at: Timestamp,
    /// The event of highest rank.
    pub event: AttemptEvent,
    /// Earliest time of that event.
    pub event_at: Timestamp,
}

/// One message at the provider: a wamid, and what webhooks said about it. A time is Meta's, and of
/// repeated ones the earliest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderMessage {
    /// The attempt that made it, by the answer or by our opaque data. One wamid has one attempt; if
    /// two are claimed, the greatest.
    pub attempt: Option<u32>,
    /// `sent`.
    pub sent_at: Option<Timestamp>,
    /// `delivered`.
    pub delivered_at: Option<Timestamp>,
    /// `read`.
    pub read_at: Option<Timestamp>,
    /// `played`.
    pub played_at: Option<Timestamp>,
    /// `failed`.
    pub failed: Option<Failure>,
    /// Its price class, with the rank of the status that named it: billing is on delivery, so the
    /// most advanced status is right, and one that names the kind before one that does not.
    pub(super) price: Option<(bool, u8, PriceClass)>,
}

/// The first `failed` status. Of several at one time, one with a code before one without.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    /// Meta's time.
    pub at: Timestamp,
    /// False sorts first: a failure that has a code.
    pub(super) is_without_code: bool,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's title.
    pub title: Option<String>,
}

impl MessageFacts {
    /// Adds what `evidence` says. Any order and any repetition gives the same facts (I10).
    pub fn join(&mut self, evidence: &Evidence) {
        match evidence {
            Evidence::Admitted { subject, admitted_at } => {
                self.resolve_subject(0, subject);
                keep_lesser(&mut self.admitted_at, *admitted_at);
            }
            Evidence::Decided { subject, decision } => {
                self.resolve_subject(decision.seq, subject);
                self.join_decision(decision);
            }
            Evidence::Attempted { attempt, decision_seq, at, event } => {
                self.join_attempt(*attempt, *decision_seq, *at, event);
            }
            Evidence::Status { status, occurred_at, wamid_hash, attempt, price } => {
                let message = self.provider_messages.entry(wamid_hash.clone()).or_default();
                message.attempt = message.attempt.max(*attempt);
                message.join_status(status, *occurred_at);
                if let Some(price) = price {
                    let price = (price.kind.is_some(), status_rank(status), price.clone());
                    keep_greater(&mut message.price, price);
                }
            }
            Evidence::StatusDeadlinePassed { attempt } => {
                keep_greater(&mut self.status_deadline_attempt, *attempt);
            }
        }
    }

    /// Who and what, as latest resolved. `None` until an admission or a decision is known.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref().map(|(_, subject)| subject)
    }

    /// Time of the admission.
    pub fn admitted_at(&self) -> Option<Timestamp> {
        self.admitted_at
    }

    /// The latest decision.
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// By attempt number, from 1. Attempts known only from webhooks are not among them.
    pub fn attempts(&self) -> &BTreeMap<u32, AttemptFacts> {
        &self.attempts
    }

    /// What Meta accepted, by keyed hash of the wamid.
    pub fn provider_messages(&self) -> &BTreeMap<KeyedHash, ProviderMessage> {
        &self.provider_messages
    }

    /// How many messages Meta made of this one. More than one is a duplicate at the customer (I5).
    pub fn distinct_wamids(&self) -> usize {
        self.provider_messages.len()
    }

    /// The highest attempt number that anything speaks of.
    pub fn current_attempt(&self) -> Option<u32> {
        let recorded = self.attempts.keys().next_back().copied();
        let reported = self.provider_messages.values().filter_map(|message| message.attempt).max();
        recorded.max(reported)
    }

    fn resolve_subject(&mut self, seq: u32, subject: &Subject) {
        let is_newer = match &self.subject {
            Some((known_seq, known)) => (*known_seq, known) < (seq, subject),
            None => true,
        };
        if is_newer {
            self.subject = Some((seq, subject.clone()));
        }
    }

    fn join_decision(&mut self, decision: &Decision) {
        let is_newer = match &self.decision {
            Some(known) => decision_order(known) < decision_order(decision),
            None => true,
        };
        if is_newer {
            self.decision = Some(decision.clone());
        }
    }

    fn join_attempt(&mut self, attempt: u32, seq: u32, at: Timestamp, event: &AttemptEvent) {
        if let Some(wamid_hash) = event.wamid_hash() {
            let message = self.provider_messages.entry(wamid_hash.clone()).or_default();
            message.attempt = message.attempt.max(Some(attempt));
        }
        let facts = self.attempts.entry(attempt).or_insert_with(|| AttemptFacts {
            decision_seq: seq,
            started_at: at,
            event: event.clone(),
            event_at: at,
        });
        facts.decision_seq = facts.decision_seq.max(seq);
        facts.started_at = facts.started_at.min(at);
        let known = (facts.event.rank(), &facts.event, Reverse(facts.event_at));
        if known < (event.rank(), event, Reverse(at)) {
            facts.event = event.clone();
            facts.event_at = at;
        }
    }
}

impl ProviderMessage {
    /// The price class, once a webhook named it.
    pub fn price(&self) -> Option<&PriceClass> {
        self.price.as_ref().map(|(_, _, price)| price)
    }

    fn join_status(&mut self, status: &Status, at: Timestamp) {
        match status {
            Status::Sent => keep_lesser(&mut self.sent_at, at),
            Status::Delivered => keep_lesser(&mut self.delivered_at, at),
            Status::Read => keep_lesser(&mut self.read_at, at),
            Status::Played => keep_lesser(&mut self.played_at, at),
            Status::Failed { code, title } => {
                let is_without_code = code.is_none();
                let failure = Failure { at, is_without_code, code: *code, title: title.clone() };
                keep_lesser(&mut self.failed, failure);
            }
        }
    }
}

/// A decision of policy replaces any refusal, whatever its sequence: a message that policy judges
/// was admitted. Among equals the rest of the record decides, which only has to be the same
/// everywhere.
fn decision_order(decision: &Decision) -> (bool, &Decision) {
    (!decision.verdict.is_refusal(), decision)
}

fn status_rank(status: &Status) -> u8 {
    match status {
        Status::Failed { .. } => 0,
        Status::Sent => 1,
        Status::Delivered => 2,
        Status::Read => 3,
        Status::Played => 4,
    }
}

fn keep_greater<T: Ord>(slot: &mut Option<T>, new: T) {
    if slot.as_ref().is_none_or(|known| *known < new) {
        *slot = Some(new);
    }
}

fn keep_lesser<T: Ord>(slot: &mut Option<T>, new: T) {
    if slot.as_ref().is_none_or(|known| new < *known) {
        *slot = Some(new);
    }
}
