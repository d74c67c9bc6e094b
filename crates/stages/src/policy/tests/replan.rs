//! Messages that send gave back: one decision for each time, by what is known then.

use sendplane_domain::limits::MESSAGE_RETENTION;
use sendplane_stage_api::{Codec, Replay};

use super::dispatch::raw;
use super::*;
use crate::schemas::Schemas;

fn ready(category: &str) -> Driver<Policy> {
    let template = sample::template("acme", "order_update", category, 2);
    driver(Some(sample::tenant("acme")), Some(template))
}

fn again(decision_seq: i32) -> Replan {
    given_back(message(), decision_seq, Replan::CONSENT_CHANGED)
}

fn seq_of(outcome: &(Option<Dispatch>, Decision)) -> (Option<i32>, Option<i32>) {
    (outcome.0.as_ref().map(|dispatch| dispatch.decision_seq), outcome.1.decision_seq)
}

#[test]
fn an_effective_change_of_consent_is_told_under_the_contact_s_hash() {
    let mut driver = ready("marketing");
    let told = |driver: &mut Driver<Policy>, change: ConsentChange| {
        let produced = consent(driver, change);
        let row = |output| match output {
            Output::Suppression(row) => *row,
            other => panic!("not a suppression: {other:?}"),
        };
        produced.outputs.into_iter().map(row).collect::<Vec<_>>()
    };
    let (all, marketing) = (ConsentScope::All, ConsentScope::Marketing);
    let (withdrawn, granted) = (ConsentState::Withdrawn, ConsentState::Granted);
    let first = change(marketing, withdrawn, 1);
    let row = Suppression {
        tenant: TenantId::new("acme"),
        contact_hash: hash_key().hash("contact", RECIPIENT),
        consent_seq: 1,
        marketing_withdrawn: true,
        all_withdrawn: false,
        changed_at: first.changed_at,
        published_at: NOW,
    };
    assert_eq!(told(&mut driver, first.clone()), std::slice::from_ref(&row));
    driver.restart();
    assert_eq!(told(&mut driver, first.clone()), [], "a repetition");
    assert_eq!(told(&mut driver, change(marketing, granted, 0)), [], "older");
    assert_eq!(told(&mut driver, change(marketing, withdrawn, 2)), [], "the same decision");
    let both = change(all, withdrawn, 3);
    let changed_at = both.changed_at;
    let row = Suppression { consent_seq: 2, all_withdrawn: true, changed_at, ..row };
    assert_eq!(told(&mut driver, both), std::slice::from_ref(&row));
    let lifted = change(marketing, granted, 4);
    let changed_at = lifted.changed_at;
    let row = Suppression { consent_seq: 3, marketing_withdrawn: false, changed_at, ..row };
    assert_eq!(told(&mut driver, lifted), std::slice::from_ref(&row));
    // Send finds it under the hash that ingest gave the message.
    let encoded = PolicyCodec::new(&Schemas::fixed())
        .encode(&Output::Suppression(Box::new(row.clone())))
        .unwrap();
    assert_eq!((encoded.topic, encoded.key.as_str()), (topic::SUPPRESSIONS, "acme"));
}

#[test]
fn what_was_given_back_is_judged_by_what_is_known_now() {
    let mut driver = ready("marketing");
    let (first, _) = outcome(admit(&mut driver, message()));
    consent(&mut driver, change(ConsentScope::All, ConsentState::Withdrawn, 1));
    let ended = outcome(replan(&mut driver, again(1)));
    assert_eq!(seq_of(&ended), (None, Some(2)));
    assert_eq!(ended.1.reason.as_deref(), Some("consent_withdrawn_all"));

    let mut driver = ready("utility");
    consent(&mut driver, change(ConsentScope::Marketing, ConsentState::Withdrawn, 1));
    let mut newer = template();
    newer.version = 9;
    drop(driver.global(sample::set_template(newer)));
    let released = outcome(replan(&mut driver, again(1)));
    assert_eq!(seq_of(&released), (Some(2), Some(2)));
    let (dispatch, first) = (released.0.unwrap(), first.unwrap());
    assert_eq!((dispatch.consent_seq, dispatch.template_version), (1, 9));
    // Nothing else is lost on the way there and back.
    let expected = Dispatch {
        consent_seq: 1,
        template_version: 9,
        decision_seq: 2,
        category: "utility".into(),
        lane: dispatch.lane,
        ..first
    };
    assert_eq!(dispatch, expected);
    assert_eq!(dispatch.lane, Lane::Transactional);
}

#[test]
fn a_repetition_has_no_second_decision() {
    let mut driver = ready("utility");
    assert_eq!(seq_of(&outcome(replan(&mut driver, again(1)))), (Some(2), Some(2)));
    driver.restart();
    consent(&mut driver, change(ConsentScope::All, ConsentState::Withdrawn, 1));
    assert_eq!(replan(&mut driver, again(1)).outputs, []);
    assert_eq!(seq_of(&outcome(replan(&mut driver, again(2)))), (None, Some(3)));
    for old in [1, 2] {
        assert_eq!(replan(&mut driver, again(old)).outputs, [], "{old}");
    }
    driver.advance_to(NOW + MESSAGE_RETENTION);
    assert_eq!(driver.next_timer(), None);
}

/// The admitted message of a later decision may still lie among the dead letters.
#[test]
fn a_letter_replayed_after_a_later_decision_is_not_judged() {
    let mut driver = ready("utility");
    outcome(replan(&mut driver, again(1)));
    let replay = Replay { letter: "policy/0/3".parse().expect("an id"), source: None };
    let record = Record::Admitted(Box::new(message()));
    let produced = driver.record_replayed(topic::ADMITTED_TRANSACTIONAL, record, NOW, replay);
    assert_eq!(produced.outputs, []);
}

#[test]
fn a_quarrel_ends_after_five_decisions() {
    let mut driver = ready("utility");
    admit(&mut driver, message());
    for seq in 1..5 {
        assert_eq!(seq_of(&outcome(replan(&mut driver, again(seq)))).0, Some(seq + 1));
    }
    let (dispatch, decision) = outcome(replan(&mut driver, again(5)));
    assert_eq!((dispatch, decision.verdict), (None, Verdict::Block));
    assert_eq!(decision.reason.as_deref(), Some("replanned_too_often"));
    let rule = decision.rules.iter().find(|rule| rule.rule == "decisions").unwrap();
    assert!(!rule.passed && rule.detail.as_deref().unwrap().contains("consent_changed"));
}

/// The decision rests on what send saw, or the message would come back at once.
#[test]
fn a_template_behind_what_send_saw_is_waited_for() {
    let mut directory = Directory::default();
    let apply = |directory: &mut Directory, change: &crate::directory::Change| {
        sendplane_stage_api::Globals::apply(directory, change);
    };
    let misses = |directory: &Directory, reason: &str, seen: Option<i32>| {
        let replan = Replan { template_version: seen, ..given_back(message(), 1, reason) };
        policy().misses_global(&Record::Replan(Box::new(replan)), directory)
    };
    assert!(misses(&directory, Replan::CONSENT_CHANGED, None), "nothing is known");
    apply(&mut directory, &sample::set_tenant(sample::tenant("acme")));
    assert!(misses(&directory, Replan::CONSENT_CHANGED, None), "the template is not");
    apply(&mut directory, &sample::set_template(template()));
    assert!(!misses(&directory, Replan::CONSENT_CHANGED, None));
    for reason in [Replan::TEMPLATE_CHANGED, Replan::TEMPLATE_NOT_APPROVED] {
        assert!(misses(&directory, reason, None), "send may have seen it removed");
        assert!(misses(&directory, reason, Some(2)));
        assert!(misses(&directory, reason, Some(1)), "a status changes without a version");
        assert!(!misses(&directory, reason, Some(0)), "policy is ahead");
    }
}

#[test]
fn a_record_that_names_no_decision_is_a_dead_letter() {
    let mut driver = ready("utility");
    for seq in [0, -1, i32::MIN] {
        let produced = replan(&mut driver, again(seq));
        assert_eq!(produced.outputs, []);
        assert_eq!(produced.dead_letters.len(), 1, "{seq}");
        assert!(produced.dead_letters[0].detail.starts_with("decision_seq: "));
    }
    let (dispatch, decision) = outcome(replan(&mut driver, again(i32::MAX)));
    assert_eq!((dispatch, decision.decision_seq), (None, Some(i32::MAX)));
}

#[test]
fn the_record_crosses_the_codec() {
    let schemas = Schemas::fixed();
    let replan = again(3);
    let topic = topic::POLICY_FEEDBACK;
    let value = schemas.encoder::<Replan>(topic).encode(&replan).unwrap();
    let record = PolicyCodec::new(&schemas).decode(&raw(topic, Some(b"acme"), &value)).unwrap();
    assert_eq!(record, Record::Replan(Box::new(replan)));
}
