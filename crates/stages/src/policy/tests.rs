//! Verdicts through the driver, one table of cases over one message.

mod consent;
mod dispatch;
mod replan;
mod replay;

use std::collections::BTreeMap;

use sendplane_domain::e164::E164;
use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::driver::{Driver, Produced};
use sendplane_wire::record::{
    ConsentScope, ConsentState, DecidingStage, ParameterFormat, Template, Tenant, Verdict,
};

use super::*;
use crate::directory::sample;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
pub(super) const RECIPIENT: &str = "+4915112345678";

/// A utility message of two positional variables that every rule passes.
pub(super) fn message() -> AdmittedMessage {
    AdmittedMessage {
        order_id: None,
        message_id: MessageId::from_bytes([7; 16]),
        tenant: TenantId::new("acme"),
        idempotency_key: IdempotencyKey::new("order-17"),
        lane: Lane::Transactional,
        recipient: E164::parse(RECIPIENT).unwrap(),
        contact_hash: KeyedHash::new("c0ffee"),
        template_name: TemplateName::new("order_update"),
        template_language: "en".into(),
        variables: BTreeMap::from([("1".into(), "Ada".into()), ("2".into(), "№ 17".into())]),
        campaign: Some("autumn".into()),
        phone_number_id: None,
        created_at: NOW,
        admitted_at: NOW,
        deadline: Timestamp::from_millis(NOW.as_millis() + 60_000),
    }
}

pub(super) fn hash_key() -> HashKey {
    HashKey::new("secret")
}

pub(super) fn policy() -> Policy {
    Policy::new(PolicySettings { hash_key: hash_key() })
}

/// `message`, released by decision `decision_seq` and given back.
pub(super) fn given_back(message: AdmittedMessage, decision_seq: i32, reason: &str) -> Replan {
    Replan {
        message_id: message.message_id,
        tenant: message.tenant,
        decision_seq,
        reason: reason.into(),
        template_version: None,
        idempotency_key: message.idempotency_key,
        order_id: message.order_id,
        lane: message.lane,
        recipient: message.recipient,
        contact_hash: message.contact_hash,
        template_name: message.template_name,
        template_language: message.template_language,
        variables: message.variables,
        campaign: message.campaign,
        phone_number_id: message.phone_number_id,
        created_at: message.created_at,
        admitted_at: message.admitted_at,
        deadline: message.deadline,
        given_back_at: NOW,
    }
}

pub(super) fn template() -> Template {
    sample::template("acme", "order_update", "utility", 2)
}

pub(super) fn change(scope: ConsentScope, state: ConsentState, minute: i64) -> ConsentChange {
    ConsentChange {
        tenant: TenantId::new("acme"),
        recipient: RECIPIENT.into(),
        scope,
        state,
        changed_at: Timestamp::from_millis(NOW.as_millis() - 3_600_000 + minute * 60_000),
        source: "web-form".into(),
    }
}

pub(super) fn driver(tenant: Option<Tenant>, template: Option<Template>) -> Driver<Policy> {
    let mut driver = Driver::new(policy(), NOW);
    tenant.into_iter().for_each(|row| drop(driver.global(sample::set_tenant(row))));
    template.into_iter().for_each(|row| drop(driver.global(sample::set_template(row))));
    driver
}

pub(super) fn admit(driver: &mut Driver<Policy>, message: AdmittedMessage) -> Produced<Policy> {
    driver.record(topic::admitted(message.lane), Record::Admitted(Box::new(message)))
}

pub(super) fn replan(driver: &mut Driver<Policy>, replan: Replan) -> Produced<Policy> {
    driver.record(topic::POLICY_FEEDBACK, Record::Replan(Box::new(replan)))
}

pub(super) fn consent(driver: &mut Driver<Policy>, change: ConsentChange) -> Produced<Policy> {
    driver.record(topic::CONSENT, Record::Consent(Box::new(change)))
}

/// The dispatch, if there is one, and the one decision.
pub(super) fn outcome(produced: Produced<Policy>) -> (Option<Dispatch>, Decision) {
    assert_eq!(produced.dead_letters, []);
    let mut dispatch = None;
    let mut decisions = Vec::new();
    for output in produced.outputs {
        match output {
            Output::Dispatch(one) => assert_eq!(dispatch.replace(*one), None, "one dispatch"),
            Output::Decision(one) => decisions.push(*one),
            Output::Suppression(one) => panic!("no consent changed: {one:?}"),
        }
    }
    assert_eq!(decisions.len(), 1, "every message has one decision: {decisions:?}");
    (dispatch, decisions.remove(0))
}

/// What a case changes about the passing message.
struct Given {
    message: AdmittedMessage,
    tenant: Option<Tenant>,
    template: Option<Template>,
    withdrawn: Vec<ConsentScope>,
    /// The decision before, and why send did not go by it.
    given_back: Option<(i32, &'static str)>,
}

fn judged(change: impl FnOnce(&mut Given)) -> (Option<Dispatch>, Decision) {
    let mut given = Given {
        message: message(),
        tenant: Some(sample::tenant("acme")),
        template: Some(template()),
        withdrawn: Vec::new(),
        given_back: None,
    };
    change(&mut given);
    let mut driver = driver(given.tenant, given.template);
    for scope in given.withdrawn {
        consent(&mut driver, self::change(scope, ConsentState::Withdrawn, 0));
    }
    outcome(match given.given_back {
        None => admit(&mut driver, given.message),
        Some((seq, reason)) => replan(&mut driver, self::given_back(given.message, seq, reason)),
    })
}

fn set(given: &mut Given, name: &str, value: impl Into<String>) {
    given.message.variables.insert(name.into(), value.into());
}

type Case = (&'static str, Verdict, &'static str, fn(&mut Given));

/// Name of the rule that fails, verdict, reason, and what makes it fail.
const CASES: &[Case] = &[
    ("tenant_known", Verdict::Block, "tenant_unknown", |given| given.tenant = None),
    ("tenant_active", Verdict::Block, "tenant_inactive", |given| {
        given.tenant.as_mut().unwrap().active = false;
    }),
    ("deadline", Verdict::Block, "deadline_passed", |given| {
        given.message.deadline = Timestamp::from_millis(NOW.as_millis() - 1);
    }),
    ("consent", Verdict::Suppress, "consent_withdrawn_all", |given| {
        given.withdrawn = vec![ConsentScope::All];
    }),
    ("consent", Verdict::Suppress, "consent_withdrawn_marketing", |given| {
        given.withdrawn = vec![ConsentScope::Marketing];
        given.template = Some(sample::template("acme", "order_update", "marketing", 2));
    }),
    ("provider_refusal", Verdict::Suppress, "recipient_marketing_cap", |given| {
        given.given_back = Some((1, "recipient_marketing_cap"));
    }),
    ("provider_refusal", Verdict::Block, "window_closed", |given| {
        given.given_back = Some((1, "window_closed"));
    }),
    ("provider_refusal", Verdict::Block, "route_marketing", |given| {
        given.given_back = Some((1, "route_marketing"));
    }),
    ("decisions", Verdict::Block, "replanned_too_often", |given| {
        given.given_back = Some((5, "consent_changed"));
    }),
    ("template_known", Verdict::Block, "template_unknown", |given| given.template = None),
    ("template_known", Verdict::Block, "template_unknown", |given| {
        given.message.template_language = "de".into();
    }),
    ("template_approved", Verdict::Block, "template_not_approved", |given| {
        given.template.as_mut().unwrap().status = "PAUSED".into();
    }),
    ("category_known", Verdict::Block, "category_unknown", |given| {
        given.template.as_mut().unwrap().category = "service".into();
    }),
    ("parameter_format_known", Verdict::Block, "parameter_format_unknown", |given| {
        given.template.as_mut().unwrap().parameter_format = ParameterFormat::Unknown;
    }),
    ("phone_number", Verdict::Block, "phone_number_unknown", |given| {
        given.message.phone_number_id = Some(PhoneNumberId::new("bolt-number"));
    }),
    ("phone_number", Verdict::Block, "phone_number_unknown", |given| {
        given.tenant.as_mut().unwrap().phone_numbers.clear();
    }),
    ("variables_complete", Verdict::Block, "variables_incomplete", |given| {
        given.message.variables.remove("2");
    }),
    ("variables_complete", Verdict::Block, "variables_incomplete", |given| set(given, "2", " ")),
    ("variables_known", Verdict::Block, "variables_unknown", |given| set(given, "3", "x")),
    ("variables_well_formed", Verdict::Block, "variable_malformed", |given| {
        set(given, "1", "a\nb")
    }),
    ("variables_well_formed", Verdict::Block, "variable_malformed", |given| {
        set(given, "1", "a\tb")
    }),
    ("variables_well_formed", Verdict::Block, "variable_malformed", |given| {
        set(given, "1", "a     b");
    }),
    ("variables_length", Verdict::Block, "variable_too_long", |given| {
        set(given, "1", "ä".repeat(1_025));
    }),
];

#[test]
fn every_rule_decides_alone() {
    for (rule, verdict, reason, break_it) in CASES {
        let (dispatch, decision) = judged(break_it);
        assert_eq!(dispatch, None, "{reason}");
        assert_eq!((decision.verdict, decision.reason.as_deref()), (*verdict, Some(*reason)));
        let failed: Vec<_> = decision.rules.iter().filter(|rule| !rule.passed).collect();
        assert_eq!(failed.len(), 1, "{reason}: {failed:?}");
        assert_eq!(failed[0].rule, *rule);
        assert_eq!(failed[0].detail, decision.detail, "the deciding rule explains the decision");
    }
    let covered: std::collections::BTreeSet<_> = CASES.iter().map(|case| case.0).collect();
    let all: std::collections::BTreeSet<_> = rules::RULES.iter().map(|rule| rule.0).collect();
    assert_eq!(covered, all, "each rule has a case");
}

/// Any two faults together: the rule that stands first decides, and the other is shown as well.
#[test]
fn the_first_failed_rule_decides() {
    let position = |name: &str| rules::RULES.iter().position(|rule| rule.0 == name).unwrap();
    let mut compared = 0;
    for first in CASES {
        for second in CASES.iter().filter(|case| position(case.0) > position(first.0)) {
            let (dispatch, decision) = judged(|given| {
                second.3(given);
                first.3(given);
            });
            let is_shown =
                |rule: &str| decision.rules.iter().any(|found| found.rule == rule && !found.passed);
            assert_eq!(dispatch, None);
            let pair = format!("{} before {}", first.2, second.2);
            let reason = decision.reason.as_deref();
            if first.2 == "consent_withdrawn_marketing" && !is_shown(first.0) {
                // Without a template nobody knows whether the message is marketing.
                assert_eq!(reason, Some("template_unknown"), "{pair}");
                continue;
            }
            assert!(is_shown(first.0), "{pair}");
            assert_eq!(reason, Some(first.2), "{pair}");
            compared += usize::from(is_shown(second.0));
        }
    }
    assert!(compared > 80, "only {compared} pairs had both faults in view");
}

#[test]
fn rules_are_listed_in_order_and_completely() {
    let (dispatch, decision) = judged(|_| {});
    assert!(dispatch.is_some());
    let listed: Vec<_> = decision.rules.iter().map(|rule| rule.rule.as_str()).collect();
    let all: Vec<_> = rules::RULES.iter().map(|rule| rule.0).collect();
    assert_eq!(listed, all);
    assert!(decision.rules.iter().all(|rule| rule.passed && rule.detail.is_some()));

    let (_, decision) = judged(|given| given.template = None);
    let listed: Vec<_> = decision.rules.iter().map(|rule| rule.rule.as_str()).collect();
    assert_eq!(
        listed,
        [
            "tenant_known",
            "tenant_active",
            "deadline",
            "consent",
            "provider_refusal",
            "decisions",
            "template_known",
            "phone_number",
            "variables_well_formed",
            "variables_length",
        ],
        "what needs the template is left out, the rest is still looked at"
    );
}

#[test]
fn boundaries_pass() {
    let passing: [fn(&mut Given); 6] = [
        |given| given.message.deadline = NOW,
        |given| set(given, "1", "a    b"),
        |given| set(given, "1", "ä".repeat(1_024)),
        |given| given.withdrawn = vec![ConsentScope::Marketing],
        |given| given.given_back = Some((4, "consent_changed")),
        |given| given.given_back = Some((1, "suspend_template")),
    ];
    for (index, change) in passing.into_iter().enumerate() {
        let (dispatch, decision) = judged(change);
        assert!(dispatch.is_some(), "case {index}: {decision:?}");
    }
}

#[test]
fn details_name_what_to_mend_and_nothing_personal() {
    let detail = |change: fn(&mut Given)| judged(change).1.detail.unwrap();
    assert_eq!(detail(|given| given.message.variables.clear()), "missing or empty: 1, 2",);
    assert_eq!(detail(|given| set(given, "3", "secret")), "not in the template: 3");
    let rejected = detail(|given| given.template.as_mut().unwrap().status = "REJECTED".into());
    assert_eq!(rejected, "status REJECTED");
    let many = detail(|given| (10..18).for_each(|n| set(given, &n.to_string(), "x")));
    assert_eq!(many, "not in the template: 10, 11, 12, 13, 14 and 3 more");
    for case in CASES {
        let (_, decision) = judged(case.3);
        let text = format!("{decision:?}");
        assert!(!text.contains(&RECIPIENT[3..]) && !text.contains("Ada"), "{text}");
    }
}

#[test]
fn only_a_missing_row_is_waited_for() {
    let mut directory = Directory::default();
    let record = Record::Admitted(Box::new(message()));
    assert!(policy().misses_global(&record, &directory));
    sendplane_stage_api::Globals::apply(
        &mut directory,
        &sample::set_tenant(sample::tenant("acme")),
    );
    assert!(policy().misses_global(&record, &directory), "the template is still missing");
    let mut paused = template();
    paused.status = "PAUSED".into();
    sendplane_stage_api::Globals::apply(&mut directory, &sample::set_template(paused));
    assert!(!policy().misses_global(&record, &directory));
    let change = change(ConsentScope::All, ConsentState::Granted, 0);
    assert!(!policy().misses_global(&Record::Consent(Box::new(change)), &Directory::default()));
}
