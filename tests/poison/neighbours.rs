//! Records that are all right, and what must become of them in spite of what stands beside them.

use sendplane_domain::lane::Lane;
use sendplane_wire::record::{
    AttemptEvent, DecidingStage, Disposition, ReceiptStatus, SendRequest, Verdict,
};
use sendplane_wire::topic;

use crate::records::{Message, Owner, Records};
use crate::table::{Expect, Raw, lane_of};

/// A good record of a topic, what has to be known before it, and what must become of it.
pub struct Neighbour {
    /// On other topics; the order between topics does not matter.
    pub before: Vec<Raw>,
    /// The record.
    pub raw: Raw,
    /// On other topics, after everything else.
    pub after: Vec<Raw>,
    /// What must become of it.
    pub expect: Expect,
}

/// What has to be known before, the value, what follows, and what must become of it.
type Parts = (Vec<Raw>, Vec<u8>, Vec<Raw>, Expect);

/// A good record of `topic`. `heard` is a message that send knows, for evidence about it.
pub fn neighbour(
    records: &mut Records,
    topic: &'static str,
    owner: Owner,
    heard: Option<&Message>,
) -> Neighbour {
    let message = records.message(owner);
    let raw = |topic: &'static str, value: Vec<u8>| Raw::of(owner, topic, value);
    // Says whose message it is, which status-reconcile wants to know before it tells anybody.
    let known = records
        .encode(topic::DECISIONS, &message.decision(DecidingStage::Policy, Verdict::Dispatch));
    let known = vec![raw(topic::DECISIONS, known)];
    let ends = |state: &'static str| Expect::Ends(message.key.clone(), state, None);
    let request = |request: &SendRequest| records.encode(topic::REQUESTS_TRANSACTIONAL, request);
    let lane = lane_of(topic);
    let (before, value, after, expect) = match topic {
        topic::REQUESTS_TRANSACTIONAL | topic::REQUESTS_BULK => {
            (vec![], records.encode(topic, &message.request()), vec![], ends("READ"))
        }
        topic::REROUTED => {
            let inner = request(&message.request());
            (vec![], records.encode(topic, &message.rerouted(inner)), vec![], ends("READ"))
        }
        topic::ADMITTED_TRANSACTIONAL | topic::ADMITTED_BULK => {
            (vec![], records.encode(topic, &message.admitted(lane)), vec![], ends("READ"))
        }
        topic::DISPATCH_TRANSACTIONAL | topic::DISPATCH_BULK => {
            (known, records.encode(topic, &message.dispatch(lane)), vec![], ends("READ"))
        }
        topic::CONSENT => {
            let asked = request(&message.request());
            let after = vec![raw(topic::REQUESTS_TRANSACTIONAL, asked)];
            (vec![], records.encode(topic, &message.opt_out()), after, ends("SUPPRESSED"))
        }
        topic::WEBHOOKS => {
            let hash = records.wamid_hash(&message.wamid());
            let attempt = message.attempt(AttemptEvent::Accepted, Some(hash));
            let claim = raw(topic::ATTEMPTS, records.encode(topic::ATTEMPTS, &attempt));
            let body = message.body(&format!("[{}]", message.status()));
            let before = [known, vec![claim]].concat();
            (before, records.encode(topic, &message.webhook(body)), vec![], ends("DELIVERED"))
        }
        topic::FEEDBACK => {
            let heard = heard.unwrap_or(&message);
            let hash = records.wamid_hash(&message.wamid());
            let feedback = heard.feedback(hash.clone());
            let expect = Expect::Attempted(hash.to_string());
            (vec![], records.encode(topic, &feedback), vec![], expect)
        }
        topic::DECISIONS => {
            let refused = message.decision(DecidingStage::Ingest, Verdict::Refuse);
            (vec![], records.encode(topic, &refused), vec![], ends("REFUSED"))
        }
        topic::ATTEMPTS => {
            let mut attempt = message.attempt(AttemptEvent::Refused, None);
            attempt.disposition = Disposition::Reject;
            (known, records.encode(topic, &attempt), vec![], ends("REJECTED"))
        }
        topic::RECEIPTS => {
            let receipt = message.receipt(ReceiptStatus::Delivered);
            (known, records.encode(topic, &receipt), vec![], ends("DELIVERED"))
        }
        _ => under_way(records, topic, &message, known),
    };
    Neighbour { before, raw: raw(topic, value), after, expect }
}

/// Of the topics on which stages speak to each other about what is under way.
fn under_way(records: &Records, topic: &'static str, message: &Message, known: Vec<Raw>) -> Parts {
    let ends = |state: &'static str| Expect::Ends(message.key.clone(), state, None);
    let dispatch = message.dispatch(Lane::Transactional);
    let dispatch = records.encode(topic::DISPATCH_TRANSACTIONAL, &dispatch);
    let dispatch = vec![Raw::of(message.owner, topic::DISPATCH_TRANSACTIONAL, dispatch)];
    match topic {
        // Withdrawn before it is dispatched: the dispatch ends at once.
        topic::CANCELS => {
            (known, records.encode(topic, &message.cancel()), dispatch, ends("CANCELLED"))
        }
        topic::CANCELLATIONS => {
            (known, records.encode(topic, &message.cancellation()), dispatch, ends("CANCELLED"))
        }
        // Policy knows of no change: it releases the message again and again, and then no more.
        topic::SUPPRESSIONS => {
            (known, records.encode(topic, &message.suppression()), dispatch, ends("BLOCKED"))
        }
        topic::POLICY_FEEDBACK => {
            (vec![], records.encode(topic, &message.replan()), vec![], ends("READ"))
        }
        topic::NOTICES => (vec![], records.encode(topic, &message.notice()), vec![], Expect::Used),
        other => panic!("{other} has a neighbour as well: say which"),
    }
}
