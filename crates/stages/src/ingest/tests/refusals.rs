//! Every rule, and what is admitted when all of them pass.

use sendplane_domain::id::PhoneNumberId;
use sendplane_domain::limits::{CLOCK_SKEW_MAX, DEADLINE_MAX};
use sendplane_stage_api::{Globals, Stage};
use sendplane_wire::record::{DecidingStage, Verdict};

use super::*;
use crate::directory::Directory;

const MS: Duration = Duration::from_millis(1);

type Change = fn(&mut SendRequest);

/// What comes of [`request`] after a change.
const CASES: &[(&str, Change)] = &[
    ("admitted transactional", |_| {}),
    ("refuse idempotency_key_empty", |r| r.idempotency_key = IdempotencyKey::new("")),
    ("admitted transactional", |r| r.idempotency_key = IdempotencyKey::new("ä".repeat(256))),
    ("refuse idempotency_key_too_long", |r| {
        r.idempotency_key = IdempotencyKey::new("k".repeat(257));
    }),
    ("refuse tenant_inactive", |r| r.tenant = TenantId::new("idle")),
    ("dead unknown_tenant", |r| r.tenant = TenantId::new("nobody")),
    ("dead tenant_invalid", |r| r.tenant = TenantId::new("")),
    ("dead tenant_invalid", |r| r.tenant = TenantId::new("t".repeat(257))),
    ("refuse phone_number_not_owned", |r| {
        r.phone_number_id = Some(PhoneNumberId::new("idle-number"));
    }),
    ("refuse recipient_not_e164", |r| r.recipient = String::new()),
    ("refuse template_name_invalid", |r| r.template_name = TemplateName::new("")),
    ("refuse template_name_invalid", |r| r.template_name = TemplateName::new("Sale/1")),
    ("refuse template_name_invalid", |r| r.template_name = TemplateName::new("s".repeat(513))),
    ("admitted transactional", |r| r.template_name = TemplateName::new("s".repeat(512))),
    ("refuse template_language_invalid", |r| r.template_language = String::new()),
    ("refuse template_language_invalid", |r| r.template_language = "en US".into()),
    ("refuse template_language_invalid", |r| r.template_language = "e".repeat(17)),
    ("refuse variable_name_empty", |r| {
        r.variables.insert(String::new(), "x".into());
    }),
    ("admitted transactional", |r| {
        r.variables = (0..100).map(|n| (n.to_string(), "x".into())).collect();
    }),
    ("refuse variables_too_many", |r| {
        r.variables = (0..101).map(|n| (n.to_string(), "x".into())).collect();
    }),
    ("admitted transactional", |r| {
        r.variables.insert("n".repeat(128), "x".repeat(4096));
    }),
    ("refuse variables_too_large", |r| {
        r.variables.insert("n".repeat(129), "x".into());
    }),
    ("refuse variables_too_large", |r| {
        r.variables.insert("n".into(), "x".repeat(4097));
    }),
    ("refuse variables_too_large", |r| {
        r.variables = (0..17).map(|n| (n.to_string(), "x".repeat(4000))).collect();
    }),
    ("refuse campaign_too_long", |r| r.campaign = Some("c".repeat(257))),
    ("admitted transactional", |r| r.order_id = Some("o".repeat(256))),
    ("refuse order_id_invalid", |r| r.order_id = Some("o".repeat(257))),
    ("refuse order_id_invalid", |r| r.order_id = Some(String::new())),
    ("admitted transactional", |r| r.created_at = T0 + CLOCK_SKEW_MAX),
    ("refuse created_at_in_future", |r| r.created_at = T0 + CLOCK_SKEW_MAX + MS),
    ("refuse created_at_in_future", |r| r.created_at = Timestamp::from_millis(i64::MAX)),
    ("stale stale", |r| r.created_at = T0.minus(30 * DAY + MS)),
    ("stale stale", |r| r.created_at = Timestamp::from_millis(i64::MIN)),
    ("refuse deadline_passed", |r| r.created_at = T0.minus(30 * DAY)),
    ("refuse deadline_passed", |r| r.created_at = T0.minus(DEADLINE_MAX)),
    ("admitted transactional", |r| r.created_at = T0.minus(DEADLINE_MAX - MS)),
    ("refuse deadline_passed", |r| r.deadline = Some(T0)),
    ("admitted transactional", |r| r.deadline = Some(T0 + MS)),
    ("admitted transactional", |r| r.deadline = Some(T0 + DEADLINE_MAX)),
    ("refuse deadline_too_far", |r| r.deadline = Some(T0 + DEADLINE_MAX + MS)),
];

#[test]
fn each_rule_has_its_own_reason() {
    for (number, (expected, change)) in CASES.iter().enumerate() {
        let mut request = request();
        change(&mut request);
        let produced = send(&mut driver(), &request);
        assert_eq!(summary(&produced), *expected, "case {number}");
    }
}

#[test]
fn each_fault_of_a_recipient_says_what_to_do() {
    let cases = [
        ("4915112345678", "recipient: must start with '+' and the country code"),
        (
            "+49 151 1234",
            "recipient: must contain digits only after '+': no spaces, dashes or letters",
        ),
        ("+0491511234", "recipient: the country code must not start with 0"),
        ("+123456", "recipient: must have 7 to 15 digits"),
    ];
    for (recipient, expected) in cases {
        let request = SendRequest { recipient: recipient.into(), ..request() };
        let produced = send(&mut driver(), &request);
        let decision = decision(&produced);
        assert_eq!(decision.detail.as_deref(), Some(expected));
        assert_eq!(decision.contact_hash, None);
    }
}

#[test]
fn a_refusal_shows_every_rule_looked_at_and_no_personal_data() {
    let campaign = Some("c".repeat(300));
    let request = SendRequest { campaign, template_name: TemplateName::new("sale"), ..request() };
    let produced = send(&mut driver(), &request);
    let decision = decision(&produced);
    let rules: Vec<_> =
        decision.rules.iter().map(|rule| (rule.rule.as_str(), rule.passed)).collect();
    let expected = [
        ("idempotency_key", true),
        ("freshness", true),
        ("first_of_its_key", true),
        ("tenant_active", true),
        ("phone_number", true),
        ("recipient", true),
        ("template", true),
        ("variables", true),
        ("campaign", false),
    ];
    assert_eq!(rules, expected);
    assert_eq!(decision.stage, DecidingStage::Ingest);
    assert_eq!(decision.verdict, Verdict::Refuse);
    assert_eq!(decision.lane.as_deref(), Some("bulk"));
    assert_eq!(decision.category.as_deref(), Some("marketing"));
    assert_eq!(decision.contact_hash, Some(hash_key().hash("contact", "+4915112345678")));
    assert_eq!((decision.campaign.as_deref(), decision.decided_at), (None, T0));
    let text = format!("{decision:?}");
    assert!(!text.contains("4915112345678") && !text.contains("Ada"), "{text}");
}

#[test]
fn an_admitted_message_has_its_defaults() {
    let request = SendRequest { campaign: Some("autumn".into()), ..request() };
    let produced = send(&mut driver(), &request);
    let message = admitted(&produced);
    assert_eq!(message.deadline, T0 + DEADLINE_MAX);
    assert_eq!(message.phone_number_id, Some(PhoneNumberId::new("acme-number")));
    assert_eq!(message.contact_hash, hash_key().hash("contact", "+4915112345678"));
    assert_eq!(message.recipient.as_str(), request.recipient);
    assert_eq!((message.created_at, message.admitted_at), (T0, T0));
    assert_eq!((&message.variables, &message.campaign), (&request.variables, &request.campaign));
}

#[test]
fn marketing_is_moved_down_and_nothing_is_moved_up() {
    let cases = [
        (Lane::Transactional, "order_update", "admitted transactional"),
        (Lane::Transactional, "sale", "admitted bulk"),
        (Lane::Transactional, "not_known_yet", "admitted transactional"),
        (Lane::Bulk, "order_update", "admitted bulk"),
        (Lane::Bulk, "sale", "admitted bulk"),
    ];
    for (lane, template, expected) in cases {
        let request = SendRequest { template_name: TemplateName::new(template), ..request() };
        let produced = send_in(&mut driver(), lane, &request);
        assert_eq!(summary(&produced), expected, "{lane:?} {template}");
    }
}

#[test]
fn the_key_must_be_the_tenant() {
    let topic = topic::REQUESTS_TRANSACTIONAL;
    let value = value_of(topic, &request());
    for key in [None, Some(&b"idle"[..]), Some(b""), Some(b"acme\xff")] {
        let produced = driver().record(topic, decoded(topic, key, &value));
        assert_eq!(summary(&produced), "dead key_mismatch", "{key:?}");
    }
}

#[test]
fn the_host_catches_up_before_a_missing_row_counts() {
    let stage = stage();
    let mut directory = Directory::default();
    let own = request();
    let default = record(Lane::Bulk, &own);
    let number = Some(PhoneNumberId::new("acme-number"));
    let named = record(Lane::Bulk, &SendRequest { phone_number_id: number, ..own.clone() });
    let number = Some(PhoneNumberId::new("new-number"));
    let foreign = record(Lane::Bulk, &SendRequest { phone_number_id: number, ..own.clone() });
    let topic = topic::REQUESTS_BULK;
    let unattributed = decoded(topic, None, &value_of(topic, &own));
    let misses = |directory: &Directory| {
        [&default, &named, &foreign, &unattributed].map(|r| stage.misses_global(r, directory))
    };
    assert_eq!(misses(&directory), [true, true, true, false]);
    directory.apply(&sample::set_tenant(sample::tenant("acme")));
    assert_eq!(misses(&directory), [false, false, true, false]);
}

#[test]
fn a_default_number_that_is_not_owned_is_refused() {
    let mut driver = driver();
    let mut tenant = sample::tenant("acme");
    tenant.default_phone_number_id = PhoneNumberId::new("sold");
    driver.global(sample::set_tenant(tenant));
    assert_eq!(summary(&send(&mut driver, &request())), "refuse phone_number_not_owned");
}
