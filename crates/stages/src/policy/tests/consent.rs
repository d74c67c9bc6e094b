//! Sequences of consent changes, and what they do to messages.

use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::cycle::CycleTime;
use sendplane_stage_api::portion::Portion;
use sendplane_stage_api::slots::Allowance;
use sendplane_stage_api::{Codec, Cycle, TableKey, Undecoded};
use sendplane_wire::record::{ConsentScope::*, ConsentState::*};

use super::dispatch::raw;
use super::*;
use crate::policy::consent::{Applied, CONSENT_INVALID, Consent, ContactKey, Scope};
use crate::schemas::Schemas;

fn ready(category: &str) -> Driver<Policy> {
    let template = sample::template("acme", "order_update", category, 2);
    driver(Some(sample::tenant("acme")), Some(template))
}

/// Reason of the verdict on the passing message, and the consent counter it saw.
fn verdict(driver: &mut Driver<Policy>) -> Result<i64, String> {
    let (dispatch, decision) = outcome(admit(driver, message()));
    dispatch.map(|dispatch| dispatch.consent_seq).ok_or_else(|| decision.reason.unwrap())
}

/// Applies changes (scope, state, minute), each after a restart, then judges.
fn after(category: &str, changes: &[(ConsentScope, ConsentState, i64)]) -> Result<i64, String> {
    let mut driver = ready(category);
    for (scope, state, minute) in changes {
        driver.restart();
        let produced = consent(&mut driver, change(*scope, *state, *minute));
        let is_told = |output: &Output| matches!(output, Output::Suppression(_));
        assert!(produced.outputs.iter().all(is_told) && produced.dead_letters.is_empty());
    }
    driver.restart();
    verdict(&mut driver)
}

fn blocked(reason: &str) -> Result<i64, String> {
    Err(reason.into())
}

#[test]
fn a_scope_blocks_its_categories() {
    let marketing = [(Marketing, Withdrawn, 1)];
    let all = [(All, Withdrawn, 1)];
    assert_eq!(after("marketing", &marketing), blocked("consent_withdrawn_marketing"));
    assert_eq!(after("utility", &marketing), Ok(1));
    assert_eq!(after("authentication", &marketing), Ok(1));
    for category in ["marketing", "utility", "authentication"] {
        assert_eq!(after(category, &all), blocked("consent_withdrawn_all"));
        assert_eq!(after(category, &[]), Ok(0));
    }
}

#[test]
fn the_counter_rises_with_each_effective_change_only() {
    assert_eq!(after("marketing", &[(Marketing, Granted, 1)]), Ok(0));
    let changes = [
        (Marketing, Withdrawn, 1),
        (Marketing, Withdrawn, 1),
        (Marketing, Withdrawn, 2),
        (Marketing, Granted, 3),
        (Marketing, Granted, 4),
        (All, Withdrawn, 5),
        (All, Granted, 6),
    ];
    assert_eq!(after("marketing", &changes), Ok(4));
}

#[test]
fn the_later_decision_wins_in_any_order_of_arrival() {
    let withdrawn = (Marketing, Withdrawn, 10);
    let granted = (Marketing, Granted, 20);
    assert!(after("marketing", &[withdrawn, granted]).is_ok());
    assert!(after("marketing", &[granted, withdrawn]).is_ok());
    let again = (Marketing, Withdrawn, 30);
    let reason = blocked("consent_withdrawn_marketing");
    assert_eq!(after("marketing", &[again, withdrawn, granted]), reason);
    assert_eq!(after("marketing", &[granted, again, withdrawn]), reason);
    // Of one time the withdrawal counts, whichever comes first.
    let tie = (Marketing, Withdrawn, 20);
    assert_eq!(after("marketing", &[granted, tie]), reason);
    assert_eq!(after("marketing", &[tie, granted]), reason);
}

#[test]
fn an_older_change_is_told_apart_from_a_repetition() {
    let at = Timestamp::from_millis;
    let mut consent = Consent::default();
    assert_eq!(consent.change(Scope::All, true, at(10)), Applied::Effective);
    assert_eq!(consent.change(Scope::All, true, at(10)), Applied::Unchanged);
    assert_eq!(consent.change(Scope::All, false, at(9)), Applied::OutOfOrder);
    assert_eq!(consent.change(Scope::All, false, at(10)), Applied::OutOfOrder);
    assert_eq!(consent.change(Scope::Marketing, true, at(1)), Applied::Effective);
    assert_eq!(consent.consent_seq, 2);
}

/// Through a cycle of its own, because the driver drops counters.
#[test]
fn changes_are_counted_by_what_became_of_them() {
    let mut driver = ready("marketing");
    consent(&mut driver, change(Marketing, Withdrawn, 10));
    let counted = |state: ConsentState, minute: i64| {
        let time = CycleTime {
            now: NOW,
            partition: 0,
            partitions: 1,
            timer_floor: Timestamp::default(),
            allowance: Allowance::UNLIMITED,
            portion: Portion::Full,
        };
        let globals = Directory::default();
        let mut cycle = Cycle::open(driver.stage(), driver.state(), &globals, time);
        let meta = RecordMeta {
            topic: topic::CONSENT,
            partition: 0,
            offset: 1,
            timestamp: NOW,
            key: Some("acme".into()),
            replay_of: None,
        };
        let record = Record::Consent(Box::new(change(Marketing, state, minute)));
        cycle.apply(Input::Record { record, meta }, TraceContext::default());
        let counts: Vec<_> = cycle.finish().unwrap().counts.into_iter().collect();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].0.0, counts[0].1), ("sendplane_consent_changes_total", 1));
        counts[0].0.1
    };
    assert_eq!(counted(Granted, 11), "effective");
    assert_eq!(counted(Withdrawn, 10), "unchanged");
    assert_eq!(counted(Granted, 9), "out_of_order");
}

#[test]
fn scopes_do_not_lift_each_other() {
    let reason = blocked("consent_withdrawn_marketing");
    assert_eq!(after("marketing", &[(Marketing, Withdrawn, 1), (All, Granted, 2)]), reason);
    let reason = blocked("consent_withdrawn_all");
    assert_eq!(after("utility", &[(All, Withdrawn, 1), (Marketing, Granted, 2)]), reason);
}

#[test]
fn consent_is_of_one_person_and_one_tenant() {
    let mut driver = ready("utility");
    let mut other_person = change(All, Withdrawn, 1);
    other_person.recipient = "+4915112345679".into();
    consent(&mut driver, other_person);
    let mut other_tenant = change(All, Withdrawn, 1);
    other_tenant.tenant = TenantId::new("bolt");
    consent(&mut driver, other_tenant);
    assert_eq!(verdict(&mut driver), Ok(0));
}

/// Class Feedback is what makes the host apply consent before work of the same cycle.
#[test]
fn consent_is_drained_before_any_work() {
    let class = |name: &str| INPUTS.iter().find(|input| input.topic == name).unwrap().class;
    assert!(class(topic::CONSENT) < class(topic::ADMITTED_TRANSACTIONAL));
    assert!(class(topic::ADMITTED_TRANSACTIONAL) < class(topic::ADMITTED_BULK));
    assert_eq!(class(topic::CONSENT), InputClass::Feedback);
}

fn refused(change: ConsentChange) -> (String, Driver<Policy>) {
    let mut driver = ready("marketing");
    let mut produced = consent(&mut driver, change);
    assert_eq!(produced.dead_letters.len(), 1);
    let letter = produced.dead_letters.remove(0);
    assert_eq!(letter.code, CONSENT_INVALID);
    (letter.detail, driver)
}

#[test]
fn a_recipient_that_is_no_number_is_refused_without_naming_it() {
    let mut broken = change(All, Withdrawn, 1);
    broken.recipient = "0151 1234567".into();
    let (detail, _) = refused(broken);
    assert!(detail.starts_with("recipient: must start with '+'"), "{detail}");
    assert!(!detail.contains("1234567"));
}

#[test]
fn unknown_symbols_are_read_against_sending_and_shown() {
    let (detail, mut driver) = refused(change(ConsentScope::Unknown, Withdrawn, 1));
    assert!(detail.starts_with("scope: "), "{detail}");
    assert_eq!(verdict(&mut driver), blocked("consent_withdrawn_all"));

    let (detail, mut driver) = refused(change(ConsentScope::Unknown, Granted, 1));
    assert!(detail.starts_with("scope: "), "{detail}");
    assert_eq!(verdict(&mut driver), Ok(0));

    let (detail, mut driver) = refused(change(Marketing, ConsentState::Unknown, 1));
    assert!(detail.starts_with("state: "), "{detail}");
    assert_eq!(verdict(&mut driver), blocked("consent_withdrawn_marketing"));
}

/// A clock that runs ahead must not outrank the person's next decision.
#[test]
fn a_time_in_the_future_cannot_shut_a_later_withdrawal_out() {
    let (detail, mut driver) = refused(change(Marketing, Granted, 100_000));
    assert!(detail.starts_with("changed_at: "), "{detail}");
    consent(&mut driver, change(Marketing, Withdrawn, 1));
    assert_eq!(verdict(&mut driver), blocked("consent_withdrawn_marketing"));

    let mut driver = ready("marketing");
    let slightly_ahead = change(Marketing, Granted, 62);
    assert!(consent(&mut driver, slightly_ahead).dead_letters.is_empty());
    driver.advance_to(Timestamp::from_millis(NOW.as_millis() + 1));
    consent(&mut driver, change(Marketing, Withdrawn, 61));
    assert_eq!(verdict(&mut driver), blocked("consent_withdrawn_marketing"));

    let mut driver = ready("marketing");
    consent(&mut driver, change(Marketing, Withdrawn, 100_000));
    assert_eq!(verdict(&mut driver), blocked("consent_withdrawn_marketing"));
}

#[test]
fn a_change_in_another_tenant_s_partition_is_refused() {
    let owner = sendplane_domain::shard::ShardKey::of(TenantId::new("acme")).partition(4);
    for partition in 0..4 {
        let mut driver = Driver::new(policy(), NOW).placed(partition, 4);
        let letters = consent(&mut driver, change(All, Withdrawn, 1)).dead_letters;
        assert_eq!(letters.is_empty(), partition == owner, "partition {partition}: {letters:?}");
        assert!(letters.iter().all(|letter| letter.detail.contains("murmur2")));
    }
}

#[test]
fn the_record_key_must_be_the_tenant() {
    let schemas = Schemas::fixed();
    let codec = PolicyCodec::new(&schemas);
    let change = change(All, Withdrawn, 1);
    let value = schemas.encoder::<ConsentChange>(topic::CONSENT).encode(&change).unwrap();
    let decode = |key: Option<&'static [u8]>| codec.decode(&raw(topic::CONSENT, key, &value));
    assert_eq!(decode(Some(b"acme")).unwrap(), Record::Consent(Box::new(change.clone())));
    for key in [None, Some(&b"+4915112345678"[..]), Some(b"acm"), Some(b"\xff")] {
        let Err(Undecoded::Reject(letter)) = decode(key) else {
            panic!("{key:?} was accepted");
        };
        assert_eq!(letter.code, CONSENT_INVALID);
        assert!(letter.detail.starts_with("key: "));
    }
}

#[test]
fn contact_keys_round_trip_and_keep_tenants_together() {
    let key = |tenant: &str, number: &str| {
        ContactKey::new(TenantId::new(tenant), E164::parse(number).unwrap())
    };
    let encoded = |key: &ContactKey| {
        let mut out = Vec::new();
        key.encode(&mut out);
        out
    };
    let keys = [
        key("a", "+4915112345678"),
        key("a", "+4915112345679"),
        key("a\0", "+1234567"),
        key("ab", "+1234567"),
    ];
    for pair in keys.windows(2) {
        assert!(pair[0] < pair[1] && encoded(&pair[0]) < encoded(&pair[1]), "{pair:?}");
    }
    for key in keys {
        let bytes = encoded(&key);
        let mut rest = &bytes[..];
        assert_eq!(ContactKey::decode(&mut rest), Some(key));
        assert!(rest.is_empty());
    }
}
