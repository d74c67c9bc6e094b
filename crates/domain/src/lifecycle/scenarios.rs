//! Histories with more than one attempt, decision or wamid, and what the summary says of them.

use std::time::Duration;

use super::matrix::{
    accepted, admitted, attempted, decided, facts, failed, refused, status, subject,
};
use super::*;
use crate::id::{KeyedHash, MessageId, TemplateName};
use crate::lane::Category;
use crate::limits::INTENT_ANSWER_MAX;
use crate::provider_code::CodeClass;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_700_000_060_000);
const RETRY: Disposition = Disposition::Retry { at: LATER };
const DOUBT: AttemptEvent = AttemptEvent::InDoubt { until: LATER };

/// Joins `evidence` after an admission and a first dispatch, expects `state` and sound invariants,
/// and that the reverse order gives the same.
fn check(evidence: &[Evidence], state: MessageState) -> MessageFacts {
    let mut all = vec![admitted(), decided(1, Verdict::Dispatch)];
    all.extend_from_slice(evidence);
    let reverse: Vec<_> = all.iter().rev().cloned().collect();
    assert_eq!(invariants::converges(&all, &reverse), Ok(()));
    let facts = facts(&all);
    for check in invariants::CHECKS {
        assert_eq!(check(&facts), Ok(()));
    }
    assert_eq!(facts.state(), Some(state), "{facts:#?}");
    facts
}

#[test]
fn a_retry_waits_for_its_time_and_then_takes_over() {
    let first = attempted(1, 1, refused(RETRY));
    let waiting = check(std::slice::from_ref(&first), MessageState::Dispatched);
    let summary = waiting.summary().unwrap();
    assert_eq!(summary.next_at(), Some(LATER));
    assert_eq!(summary.error_code, Some(131_026));
    assert_eq!(summary.reason, Some("permanent_recipient"));

    let second = attempted(2, 1, AttemptEvent::Submitting);
    let calling = check(&[first, second], MessageState::Submitting);
    assert_eq!(calling.current_attempt(), Some(2));
    assert_eq!(calling.summary().unwrap().next_at(), Some(NOW + INTENT_ANSWER_MAX));
}

#[test]
fn a_withdrawal_ends_a_message_that_nobody_may_have() {
    let never = check(&[attempted(0, 1, AttemptEvent::Cancelled)], MessageState::Cancelled);
    let summary = never.summary().unwrap();
    assert_eq!((summary.reason, summary.waits), (Some("cancelled"), Waits::Nothing));
    let retried = [attempted(1, 1, refused(RETRY)), attempted(2, 1, AttemptEvent::Cancelled)];
    check(&retried, MessageState::Cancelled);
    let late = status(Some(1), "w1", Status::Delivered);
    check(&[retried.to_vec(), vec![late]].concat(), MessageState::Delivered);
    // Policy decides once more about what it was given back; only then is the withdrawal told.
    let replan = attempted(1, 1, refused(Disposition::Replan));
    let again = [replan, decided(2, Verdict::Dispatch), attempted(2, 2, AttemptEvent::Cancelled)];
    check(&again, MessageState::Cancelled);
}

#[test]
fn a_newer_decision_supersedes_an_attempt_that_reached_nobody() {
    let unsent = attempted(1, 1, AttemptEvent::NotSent { disposition: RETRY });
    check(&[unsent.clone(), decided(2, Verdict::Suppress)], MessageState::Suppressed);

    let again = [unsent, decided(2, Verdict::Dispatch)];
    let again = check(&again, MessageState::Dispatched);
    assert_eq!(again.summary().unwrap().waits, Waits::On(Holder::Send), "the retry is void");

    let replan = attempted(1, 1, refused(Disposition::Replan));
    let waiting = check(std::slice::from_ref(&replan), MessageState::Dispatched);
    assert_eq!(waiting.summary().unwrap().waits, Waits::On(Holder::Policy));
    let later =
        check(&[replan, decided(2, Verdict::Defer { until: LATER })], MessageState::Deferred);
    assert_eq!(later.summary().unwrap().next_at(), Some(LATER));
}

/// Given back before its first call, then after a retry; each later decision takes over, and what
/// was said of an earlier one does not come back.
#[test]
fn a_message_given_back_follows_its_later_decisions() {
    let given_back = |number, seq| {
        attempted(number, seq, AttemptEvent::NotSent { disposition: Disposition::Replan })
    };
    let first = given_back(0, 1);
    let waiting = check(std::slice::from_ref(&first), MessageState::Dispatched);
    assert_eq!(waiting.summary().unwrap().waits, Waits::On(Holder::Policy));
    check(&[first.clone(), decided(2, Verdict::Suppress)], MessageState::Suppressed);

    let again = [first, decided(2, Verdict::Dispatch)];
    let waiting = check(&again, MessageState::Dispatched);
    assert_eq!(waiting.summary().unwrap().waits, Waits::On(Holder::Send));
    // No call was made in between: both reports stand under one number.
    check(&[&again[..], &[attempted(0, 2, AttemptEvent::Expired)]].concat(), MessageState::Expired);
    let twice = [&again[..], &[given_back(0, 2)]].concat();
    check(&[&twice[..], &[decided(3, Verdict::Block)]].concat(), MessageState::Blocked);

    let called = [&again[..], &[attempted(1, 2, refused(RETRY)), given_back(2, 2)]].concat();
    let waiting = check(&called, MessageState::Dispatched);
    assert_eq!(waiting.summary().unwrap().waits, Waits::On(Holder::Policy));
    let released = [&called[..], &[decided(3, Verdict::Dispatch)]].concat();
    let calling = attempted(3, 3, AttemptEvent::Submitting);
    check(&[&released[..], std::slice::from_ref(&calling)].concat(), MessageState::Submitting);
    let delivered = status(Some(3), "w3", Status::Delivered);
    check(&[&released[..], &[calling, delivered]].concat(), MessageState::Delivered);
}

/// The refusal was wrong, and policy has decided again: send says the acceptance once more under
/// the new decision, and nobody waits for a call that never comes.
#[test]
fn a_decision_about_a_message_that_was_accepted_after_all_waits_for_nothing() {
    let refusal = attempted(1, 1, refused(Disposition::Replan));
    let released = decided(2, Verdict::Dispatch);
    let wamid = status(Some(1), "w1", failed(131_026));
    let open = [refusal, released, wamid];
    check(&open, MessageState::Dispatched);
    let found = attempted(1, 2, accepted("w1"));
    check(&[&open[..], &[found]].concat(), MessageState::Failed);
}

#[test]
fn no_decision_talks_away_what_may_have_reached_the_provider() {
    let suppress = decided(2, Verdict::Suppress);
    let doubt = attempted(1, 1, DOUBT);
    check(&[doubt.clone(), suppress.clone()], MessageState::InDoubt);
    let gave_up = attempted(1, 1, AttemptEvent::GaveUp);
    check(&[doubt, suppress.clone(), gave_up], MessageState::OutcomeUnknown);
    check(&[attempted(1, 1, accepted("w1")), suppress], MessageState::Accepted);
}

#[test]
fn a_refused_resend_does_not_prove_that_the_first_call_was_lost() {
    let doubt = attempted(1, 1, DOUBT);
    let reject = attempted(2, 1, refused(Disposition::Reject));
    let unknown = check(&[doubt.clone(), reject.clone()], MessageState::OutcomeUnknown);
    let summary = unknown.summary().unwrap();
    assert_eq!((summary.attempt, summary.reason), (Some(1), Some("other_attempt_unproven")));

    let expired = attempted(2, 1, AttemptEvent::Expired);
    check(&[doubt.clone(), expired], MessageState::OutcomeUnknown);
    let cancelled = attempted(2, 1, AttemptEvent::Cancelled);
    check(&[doubt.clone(), cancelled], MessageState::OutcomeUnknown);
    let webhook = status(Some(2), "w2", failed(131_026));
    check(&[doubt.clone(), webhook], MessageState::OutcomeUnknown);
    let retry = attempted(2, 1, refused(RETRY));
    check(&[doubt, retry.clone()], MessageState::Dispatched);

    let first_failed = status(Some(1), "w1", failed(131_026));
    check(&[attempted(1, 1, DOUBT), reject, first_failed], MessageState::Rejected);
}

#[test]
fn a_resend_after_silence_waits_and_leaves_the_first_call_unproven() {
    let again = attempted(1, 1, AttemptEvent::Resending { at: LATER });
    let waiting = check(&[attempted(1, 1, DOUBT), again.clone()], MessageState::Dispatched);
    let summary = waiting.summary().unwrap();
    assert_eq!(
        (summary.next_at(), summary.reason),
        (Some(LATER), Some("sent_again_after_silence"))
    );
    assert_eq!(invariants::resend_has_cause(&waiting), Ok(()));

    check(&[again.clone(), decided(2, Verdict::Cancel)], MessageState::OutcomeUnknown);
    let ends = [
        AttemptEvent::Expired,
        AttemptEvent::Cancelled,
        refused(Disposition::Reject),
        AttemptEvent::GaveUp,
    ];
    for end in ends {
        check(&[again.clone(), attempted(2, 1, end)], MessageState::OutcomeUnknown);
    }
    let both = [again.clone(), attempted(2, 1, accepted("w2"))];
    check(&both, MessageState::Accepted);
    let late = status(Some(1), "w1", Status::Delivered);
    let twice = check(&[both[0].clone(), both[1].clone(), late], MessageState::Delivered);
    assert_eq!(twice.distinct_wamids(), 2);

    let third = [again, attempted(2, 1, AttemptEvent::GaveUp), attempted(3, 1, accepted("w3"))];
    let thrice = check(&third, MessageState::Accepted);
    assert!(invariants::resend_has_cause(&thrice).is_err(), "one re-send is allowed, not two");
}

#[test]
fn late_evidence_corrects_an_end_without_proof() {
    let gave_up = attempted(1, 1, AttemptEvent::GaveUp);
    check(std::slice::from_ref(&gave_up), MessageState::OutcomeUnknown);
    check(&[gave_up.clone(), status(Some(1), "w1", Status::Sent)], MessageState::Sent);
    check(&[gave_up.clone(), attempted(1, 1, accepted("w1"))], MessageState::Accepted);
    let refusal = attempted(1, 1, refused(Disposition::Reject));
    check(&[gave_up, refusal], MessageState::Rejected);
}

#[test]
fn a_second_wamid_is_a_duplicate_and_is_counted() {
    let evidence = [
        attempted(1, 1, DOUBT),
        attempted(2, 1, accepted("w2")),
        status(Some(1), "w1", Status::Sent),
    ];
    let facts = check(&evidence, MessageState::Sent);
    assert_eq!(facts.distinct_wamids(), 2);
    assert_eq!(facts.summary().unwrap().attempt, Some(1));

    let same = [attempted(1, 1, accepted("w1")), status(None, "w1", Status::Read)];
    assert_eq!(check(&same, MessageState::Read).distinct_wamids(), 1);
}

#[test]
fn a_failed_wamid_does_not_end_a_message_that_another_may_deliver() {
    let first = [attempted(1, 1, DOUBT), status(Some(1), "w1", Status::Sent)];
    let second = [attempted(2, 1, accepted("w2")), status(Some(2), "w2", failed(131_026))];
    check(&[first, second].concat(), MessageState::Sent);
}

#[test]
fn a_failure_stands_until_an_attempt_or_a_decision_is_beyond_it() {
    let failure = [attempted(1, 1, accepted("w1")), status(Some(1), "w1", failed(131_053))];
    let facts = check(&failure, MessageState::Failed);
    let summary = facts.summary().unwrap();
    assert_eq!(summary.error_code, Some(131_053));
    assert_eq!(summary.error_class, Some(CodeClass::RetryMedia));
    assert_eq!((summary.reason, summary.detail), (Some("retry_media"), Some("title")));

    let dispatch = decided(2, Verdict::Dispatch);
    check(&[&failure[..], &[dispatch]].concat(), MessageState::Dispatched);
    let second = attempted(2, 1, AttemptEvent::Submitting);
    check(&[&failure[..], std::slice::from_ref(&second)].concat(), MessageState::Submitting);
    let late_sent = status(Some(1), "w1", Status::Sent);
    check(&[&failure[..], &[second, late_sent.clone()]].concat(), MessageState::Submitting);
    check(&[&failure[..], &[late_sent]].concat(), MessageState::Failed);
    let second_fails = status(Some(2), "w2", failed(131_026));
    check(&[&failure[..], &[second_fails]].concat(), MessageState::Failed);
}

#[test]
fn a_failure_of_an_unknown_attempt_is_believed() {
    let failure = status(None, "w1", failed(131_026));
    check(std::slice::from_ref(&failure), MessageState::Failed);
    check(&[failure.clone(), attempted(1, 1, AttemptEvent::Submitting)], MessageState::Failed);
    // Its attempt becomes known, and another is beyond it.
    let first = attempted(1, 1, accepted("w1"));
    let second = attempted(2, 1, AttemptEvent::Submitting);
    check(&[failure, first, second], MessageState::Submitting);
}

#[test]
fn a_failure_without_a_code_is_a_failure_and_yields_to_one_with_a_code() {
    let bare = status(Some(1), "w1", Status::Failed { code: None, title: None });
    let facts = check(std::slice::from_ref(&bare), MessageState::Failed);
    assert_eq!(facts.summary().unwrap().reason, Some("failed_without_code"));
    let facts = check(&[bare, status(Some(1), "w1", failed(131_026))], MessageState::Failed);
    assert_eq!(facts.summary().unwrap().error_code, Some(131_026));
}

#[test]
fn the_time_for_statuses_concerns_the_attempts_up_to_its_own() {
    let passed = Evidence::StatusDeadlinePassed { attempt: 1 };
    let first = attempted(1, 1, accepted("w1"));
    let silent = check(&[passed.clone(), first.clone()], MessageState::OutcomeUnknown);
    assert_eq!(silent.summary().unwrap().reason, Some("no_status_in_time"));

    let sent = status(Some(1), "w1", Status::Sent);
    let dropped = check(&[passed.clone(), first.clone(), sent.clone()], MessageState::Expired);
    assert_eq!(dropped.summary().unwrap().reason, Some("not_delivered_in_time"));
    let delivered = status(Some(1), "w1", Status::Delivered);
    check(&[passed.clone(), first.clone(), sent.clone(), delivered], MessageState::Delivered);

    let second = attempted(2, 1, accepted("w2"));
    check(&[passed.clone(), first.clone(), second], MessageState::Accepted);
    let calling = attempted(2, 1, AttemptEvent::Submitting);
    check(&[passed.clone(), first.clone(), sent.clone(), calling], MessageState::Submitting);
    let reject = attempted(2, 1, refused(Disposition::Reject));
    check(&[passed.clone(), first.clone(), reject.clone()], MessageState::OutcomeUnknown);
    check(&[passed, first, sent, reject], MessageState::Rejected);
}

#[test]
fn the_later_decision_counts_whenever_it_comes() {
    let defer = decided(2, Verdict::Defer { until: LATER });
    check(std::slice::from_ref(&defer), MessageState::Deferred);
    check(&[defer.clone(), decided(3, Verdict::Dispatch)], MessageState::Dispatched);
    let refusal = decided(9, Verdict::Refuse);
    check(&[defer.clone(), refusal], MessageState::Deferred);
    let block = check(&[decided(3, Verdict::Block), defer], MessageState::Blocked);
    let summary = block.summary().unwrap();
    assert_eq!((summary.reason, summary.waits), (Some("rule"), Waits::Nothing));
}

#[test]
fn a_duplicate_names_the_message_that_has_the_key() {
    let of = Some(MessageId::from_bytes([9; 16]));
    let facts = facts(&[decided(0, Verdict::Duplicate { of })]);
    assert_eq!(facts.summary().unwrap().duplicate_of, of);
}

#[test]
fn the_subject_is_as_the_latest_decision_resolved_it() {
    let mut resolved = subject();
    resolved.template = Some(Template {
        name: TemplateName::new("order_shipped"),
        language: "de".into(),
        version: Some(4),
    });
    let Evidence::Decided { decision, .. } = decided(1, Verdict::Dispatch) else {
        unreachable!("decided() makes a decision");
    };
    let decision = Evidence::Decided { subject: resolved.clone(), decision };
    for evidence in [[admitted(), decision.clone()], [decision, admitted()]] {
        assert_eq!(facts(&evidence).subject(), Some(&*resolved));
    }
}

#[test]
fn the_price_is_that_of_the_most_advanced_status() {
    let priced = |what, seconds, kind: Option<&str>| Evidence::Status {
        status: what,
        occurred_at: NOW + Duration::from_secs(seconds),
        wamid_hash: KeyedHash::new("w1"),
        attempt: Some(1),
        price: Some(PriceClass { category: "utility".into(), kind: kind.map(str::to_owned) }),
    };
    let sent = priced(Status::Sent, 1, Some("regular"));
    let delivered = priced(Status::Delivered, 2, Some("free_customer_service"));
    let read = priced(Status::Read, 3, None);
    let facts = check(&[sent, delivered, read], MessageState::Read);
    let summary = facts.summary().unwrap();
    assert_eq!(summary.price.unwrap().kind.as_deref(), Some("free_customer_service"));
    assert_eq!(summary.occurred_at, Some(NOW + Duration::from_secs(3)));
}

#[test]
fn a_parked_message_has_no_state_until_somebody_owns_it() {
    let parked = [status(Some(1), "w1", Status::Read), attempted(1, 1, accepted("w1"))];
    let mut facts = facts(&parked);
    assert_eq!((facts.state(), facts.summary()), (None, None));
    facts.join(&admitted());
    assert_eq!(facts.state(), Some(MessageState::Read));
}

#[test]
fn a_resend_after_doubt_is_for_utility_and_only_once() {
    let resend = |category, attempts: &[AttemptEvent]| {
        let mut subject = subject();
        subject.category = category;
        let mut all = vec![Evidence::Admitted { subject, admitted_at: NOW }];
        for (number, event) in (1..).zip(attempts) {
            all.push(attempted(number, 1, event.clone()));
        }
        invariants::resend_has_cause(&facts(&all)).is_ok()
    };
    let doubted = [DOUBT, accepted("w2")];
    assert!(resend(Some(Category::Utility), &doubted));
    for category in
        [Some(Category::Marketing), Some(Category::Authentication), Some(Category::Service), None]
    {
        assert!(!resend(category, &doubted), "{category:?}");
        assert!(resend(category, &[refused(RETRY), accepted("w2")]), "{category:?}");
    }
    assert!(!resend(Some(Category::Utility), &[DOUBT, DOUBT, accepted("w3")]));
    assert!(!resend(Some(Category::Utility), &[accepted("w1"), accepted("w2")]));
}
