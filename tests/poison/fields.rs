//! Records that decode, with field values nobody should send.
//!
//! An expectation is written as `dead CODE`, `ends STATE`, `ends STATE reason` or `used`. Where a
//! stage refuses by design, the table says so: a refusal is an outcome its caller sees.

use sendplane_domain::id::{IdempotencyKey, KeyedHash, PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::time::Timestamp;
use sendplane_tests::counter::wall;
use sendplane_wire::codec::AvroRecord;
use sendplane_wire::record::*;
use sendplane_wire::topic;

use crate::records::{Message, OWNERS, Records};
use crate::table::{Case, Expect, Raw, lane_of, partition_of};
use crate::{between, bodies};

pub const MIN: Timestamp = Timestamp::from_millis(i64::MIN);
pub const MAX: Timestamp = Timestamp::from_millis(i64::MAX);

/// A family's parameters: what must become of it, its name, and what is changed in a good record.
pub type Change<R> = (&'static str, &'static str, fn(&mut R));

/// Every case of `topic`.
pub fn cases(records: &mut Records, topic: &'static str) -> Vec<Case> {
    let lane = lane_of(topic);
    match topic {
        topic::REQUESTS_TRANSACTIONAL | topic::REQUESTS_BULK => {
            changed(records, topic, REQUESTS, Message::request, |request| {
                // Of a key that is too long ingest passes on the start.
                let key: String = request.idempotency_key.as_str().chars().take(256).collect();
                (request.tenant.as_str().to_owned(), key)
            })
        }
        topic::ADMITTED_TRANSACTIONAL | topic::ADMITTED_BULK => {
            let mut cases = changed(
                records,
                topic,
                ADMITTED,
                |m| m.admitted(lane),
                |admitted| {
                    (admitted.tenant.as_str().to_owned(), admitted.idempotency_key.to_string())
                },
            );
            cases.extend(patched(records, topic, |m| m.admitted(lane)));
            cases
        }
        topic::DISPATCH_TRANSACTIONAL | topic::DISPATCH_BULK => {
            let key = |dispatch: &Dispatch| (dispatch.tenant.to_string(), String::new());
            let mut cases = changed(records, topic, DISPATCHES, |m| m.dispatch(lane), key);
            cases.extend(patched(records, topic, |m| m.dispatch(lane)));
            cases
        }
        topic::CONSENT => changed(records, topic, CONSENT, Message::opt_out, |change| {
            (change.tenant.to_string(), String::new())
        }),
        topic::FEEDBACK => {
            let good = |m: &Message| m.feedback(KeyedHash::new("00"));
            let key = |feedback: &Feedback| (feedback.tenant.to_string(), String::new());
            changed(records, topic, FEEDBACK, good, key)
        }
        topic::DECISIONS => {
            let good = |m: &Message| m.decision(DecidingStage::Ingest, Verdict::Refuse);
            changed(records, topic, DECISIONS, good, |decision| {
                (decision.tenant.to_string(), decision.idempotency_key.to_string())
            })
        }
        topic::ATTEMPTS => {
            let good = |m: &Message| m.attempt(AttemptEvent::Submitting, None);
            let key = |attempt: &Attempt| (attempt.tenant.to_string(), String::new());
            changed(records, topic, ATTEMPTS, good, key)
        }
        topic::RECEIPTS => {
            let good = |m: &Message| m.receipt(ReceiptStatus::Delivered);
            let key = |receipt: &Receipt| (receipt.tenant.to_string(), String::new());
            changed(records, topic, RECEIPTS, good, key)
        }
        topic::WEBHOOKS => bodies::webhooks(records),
        topic::REROUTED => bodies::rerouted(records),
        other => between::cases(records, other),
    }
}

/// One case for each change; `identity` gives the record's key and what it is found by.
pub fn changed<R: AvroRecord>(
    records: &mut Records,
    topic: &'static str,
    table: &[Change<R>],
    good: impl Fn(&Message) -> R,
    identity: impl Fn(&R) -> (String, String),
) -> Vec<Case> {
    let mut cases = Vec::new();
    for ((expect, name, change), owner) in table.iter().zip(OWNERS.iter().cycle()) {
        let message = records.message(*owner);
        let mut record = good(&message);
        change(&mut record);
        let (tenant, found_by) = identity(&record);
        let raw = Raw {
            key: Some(tenant.clone().into_bytes()),
            partition: partition_of(&tenant),
            ..Raw::of(*owner, topic, records.encode(topic, &record))
        };
        let name = format!("{topic}: {name}");
        cases.push(Case { name, raw, expect: parse(expect, &found_by) });
    }
    cases
}

/// Reads an expectation; `found_by` is the idempotency key of the message it is about.
pub fn parse(expect: &'static str, found_by: &str) -> Expect {
    match expect.split(' ').collect::<Vec<&'static str>>()[..] {
        ["dead", code] => Expect::Dead(code),
        ["ends", state] => Expect::Ends(found_by.to_owned(), state, None),
        ["ends", state, reason] => Expect::Ends(found_by.to_owned(), state, Some(reason)),
        ["used"] => Expect::Used,
        _ => panic!("{expect:?} is no expectation"),
    }
}

pub fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

const REQUESTS: &[Change<SendRequest>] = &[
    ("dead tenant_invalid", "empty tenant", |r| r.tenant = TenantId::new("")),
    ("dead tenant_invalid", "tenant of 300 bytes", |r| r.tenant = TenantId::new("t".repeat(300))),
    ("dead unknown_tenant", "unknown tenant", |r| r.tenant = TenantId::new("nobody")),
    ("dead unknown_tenant", "NUL in the tenant", |r| r.tenant = TenantId::new("ac\0me")),
    ("dead unknown_tenant", "zero width space in the tenant", |r| {
        r.tenant = TenantId::new("acme\u{200b}");
    }),
    ("dead unknown_tenant", "tenant turned to the left", |r| {
        r.tenant = TenantId::new("\u{202e}emca");
    }),
    ("ends REFUSED idempotency_key_empty", "empty key", |r| {
        r.idempotency_key = IdempotencyKey::new("");
    }),
    ("ends REFUSED idempotency_key_too_long", "key of 257 characters", |r| {
        r.idempotency_key = IdempotencyKey::new("k".repeat(257));
    }),
    ("ends REFUSED idempotency_key_too_long", "key of 400 KB", |r| {
        r.idempotency_key = IdempotencyKey::new("ß".repeat(200_000));
    }),
    ("ends STALE stale", "created at the beginning", |r| r.created_at = MIN),
    ("ends STALE stale", "created in 1970", |r| r.created_at = Timestamp::from_millis(0)),
    ("ends REFUSED created_at_in_future", "created at the end", |r| r.created_at = MAX),
    ("ends REFUSED created_at_in_future", "created in microseconds", |r| {
        r.created_at = Timestamp::from_millis(wall().as_millis() * 1_000);
    }),
    ("ends REFUSED recipient_not_e164", "empty recipient", |r| r.recipient = String::new()),
    ("ends REFUSED recipient_not_e164", "recipient without plus", |r| {
        r.recipient = "4915112345678".into();
    }),
    ("ends REFUSED recipient_not_e164", "recipient with other digits", |r| {
        r.recipient = "+٤٩١٥١١٢٣٤".into();
    }),
    ("ends REFUSED recipient_not_e164", "recipient with NUL", |r| r.recipient.push('\0')),
    ("ends REFUSED recipient_not_e164", "recipient turned to the left", |r| {
        r.recipient.insert(1, '\u{202e}');
    }),
    ("ends REFUSED recipient_not_e164", "recipient of 300 KB", |r| {
        r.recipient = format!("+{}", "9".repeat(300_000));
    }),
    ("ends REFUSED template_name_invalid", "empty template name", |r| {
        r.template_name = TemplateName::new("");
    }),
    ("ends REFUSED template_name_invalid", "template name with a path", |r| {
        r.template_name = TemplateName::new("../../order_confirmed");
    }),
    ("ends REFUSED template_name_invalid", "template name with controls", |r| {
        r.template_name = TemplateName::new("order\n_confirmed\0");
    }),
    ("ends REFUSED template_language_invalid", "language of zero width", |r| {
        r.template_language = "en\u{200b}_US".into();
    }),
    ("ends REFUSED variables_too_many", "10,000 variables", |r| {
        r.variables = (0..10_000).map(|n| (n.to_string(), "x".into())).collect();
    }),
    ("ends REFUSED variables_too_large", "variable of 400 KB", |r| {
        r.variables.insert("1".into(), "x".repeat(400_000));
    }),
    ("ends REFUSED variables_too_large", "variable name of 1 KB", |r| {
        r.variables.insert("n".repeat(1_000), "x".into());
    }),
    ("ends REFUSED variable_name_empty", "variable without a name", |r| {
        r.variables.insert(String::new(), "x".into());
    }),
    ("ends BLOCKED variable_malformed", "line break in a variable", |r| {
        r.variables.insert("1".into(), "a\r\nb".into());
    }),
    ("ends BLOCKED variables_unknown", "variable no template has", |r| {
        r.variables.insert("\u{202e}1".into(), "x".into());
    }),
    ("ends BLOCKED template_unknown", "template no tenant has", |r| {
        r.template_name = TemplateName::new("s".repeat(512));
    }),
    ("ends REFUSED campaign_too_long", "campaign of 300 KB", |r| {
        r.campaign = Some("c".repeat(300_000));
    }),
    ("ends READ", "campaign of controls", |r| r.campaign = text("\0\u{1}\u{7f}\u{feff}")),
    ("ends REFUSED deadline_passed", "deadline at the beginning", |r| r.deadline = Some(MIN)),
    ("ends REFUSED deadline_too_far", "deadline at the end", |r| r.deadline = Some(MAX)),
    ("ends REFUSED phone_number_not_owned", "a number of another tenant's", |r| {
        r.phone_number_id = Some(PhoneNumberId::new("not-a-number-of-anybody"));
    }),
    ("ends REFUSED phone_number_not_owned", "a number of nothing", |r| {
        r.phone_number_id = Some(PhoneNumberId::new(""));
    }),
];

const CONSENT: &[Change<ConsentChange>] = &[
    ("dead consent_invalid", "empty recipient", |c| c.recipient = String::new()),
    ("dead consent_invalid", "recipient without plus", |c| c.recipient = "4915112345678".into()),
    ("dead consent_invalid", "recipient with a letter", |c| c.recipient = "+49151abc4567".into()),
    ("dead consent_invalid", "recipient with other digits", |c| c.recipient = "+٤٩١٥١١٢٣٤".into()),
    ("dead consent_invalid", "recipient with NUL", |c| c.recipient.push('\0')),
    ("dead consent_invalid", "recipient of 100 KB", |c| c.recipient = "+9".repeat(50_000)),
    ("dead consent_invalid", "scope nobody knows", |c| c.scope = ConsentScope::Unknown),
    ("dead consent_invalid", "state nobody knows", |c| c.state = ConsentState::Unknown),
    ("dead consent_invalid", "granted at the end", |c| {
        c.state = ConsentState::Granted;
        c.changed_at = MAX;
    }),
    ("used", "withdrawn at the end", |c| c.changed_at = MAX),
    ("used", "withdrawn at the beginning", |c| c.changed_at = MIN),
    ("used", "empty tenant", |c| c.tenant = TenantId::new("")),
    ("used", "source of controls", |c| c.source = "\0\u{202e}".repeat(1_000)),
];

const ADMITTED: &[Change<AdmittedMessage>] = &[
    ("ends BLOCKED tenant_unknown", "empty tenant", |a| a.tenant = TenantId::new("")),
    ("ends BLOCKED tenant_unknown", "NUL in the tenant", |a| a.tenant = TenantId::new("ac\0me")),
    ("ends BLOCKED template_unknown", "empty template name", |a| {
        a.template_name = TemplateName::new("");
    }),
    ("ends BLOCKED template_unknown", "template name with slashes", |a| {
        a.template_name = TemplateName::new("a/b/c");
    }),
    ("ends BLOCKED variables_unknown", "5,000 variables", |a| {
        let more = (3..5_000).map(|n| (n.to_string(), "x".into()));
        a.variables.extend(more);
    }),
    ("ends BLOCKED variables_incomplete", "no variables", |a| a.variables.clear()),
    ("ends BLOCKED variable_malformed", "tab in a variable", |a| {
        a.variables.insert("1".into(), "\t".repeat(100) + "x");
    }),
    ("ends BLOCKED variable_too_long", "variable of 100 KB", |a| {
        a.variables.insert("1".into(), "x".repeat(100_000));
    }),
    ("ends EXPIRED deadline_passed", "deadline at the beginning", |a| a.deadline = MIN),
    ("ends READ", "times at the ends", |a| {
        a.deadline = MAX;
        a.created_at = MIN;
        a.admitted_at = MAX;
    }),
    ("ends BLOCKED phone_number_unknown", "a number of nothing", |a| {
        a.phone_number_id = Some(PhoneNumberId::new("\0"));
    }),
    ("ends READ", "key and hash of controls", |a| a.contact_hash = KeyedHash::new("\0\u{202e}")),
    ("ends READ", "campaign of 20 KB", |a| a.campaign = Some("\u{200b}".repeat(7_000))),
    ("dead record_too_large", "campaign of 900 KB", |a| a.campaign = Some("c".repeat(900_000))),
];

const DISPATCHES: &[Change<Dispatch>] = &[
    ("used", "empty tenant", |d| d.tenant = TenantId::new("")),
    ("used", "unknown tenant", |d| d.tenant = TenantId::new("nobody")),
    ("used", "a number of nothing", |d| d.phone_number_id = PhoneNumberId::new("")),
    ("used", "valid until the beginning", |d| d.valid_until = MIN),
    ("used", "times at the ends", |d| {
        d.valid_until = MAX;
        d.dispatched_at = MIN;
    }),
    ("used", "negative numbers", |d| {
        d.template_version = i32::MIN;
        d.consent_seq = i64::MIN;
    }),
    ("used", "category of controls", |d| d.category = "\0\u{202e}".into()),
    ("used", "template name with a path", |d| {
        d.template_name = TemplateName::new("../../messages?x=y#z");
    }),
    ("used", "no parameters", |d| d.parameters.clear()),
    ("used", "10,000 parameters", |d| {
        let parameter =
            |n: usize| TemplateParameter { name: Some(n.to_string()), value: "x".into() };
        d.parameters = (0..10_000).map(parameter).collect();
    }),
    ("used", "parameter of 200 KB", |d| {
        d.parameters = vec![TemplateParameter { name: None, value: "\u{feff}x\0".repeat(40_000) }];
    }),
    ("dead record_too_large", "parameter of 900 KB", |d| {
        d.parameters = vec![TemplateParameter { name: None, value: "x".repeat(900_000) }];
    }),
];

const FEEDBACK: &[Change<Feedback>] = &[
    ("used", "negative attempt", |f| f.attempt = i32::MIN),
    ("used", "empty fields", |f| {
        f.tenant = TenantId::new("");
        f.phone_number_id = PhoneNumberId::new("");
        f.wamid_hash = KeyedHash::new("");
    }),
    ("used", "times at the ends", |f| {
        f.occurred_at = MIN;
        f.received_at = MAX;
    }),
    ("used", "status nobody knows", |f| f.status = ReceiptStatus::Unknown),
    ("used", "hash of 100 KB", |f| f.wamid_hash = KeyedHash::new("\0".repeat(100_000))),
];

const DECISIONS: &[Change<Decision>] = &[
    ("dead unknown_symbol", "stage nobody knows", |d| d.stage = DecidingStage::Unknown),
    ("dead unknown_symbol", "verdict nobody knows", |d| d.verdict = Verdict::Unknown),
    ("dead decision_invalid", "deferred without end", |d| d.verdict = Verdict::Defer),
    ("dead decision_invalid", "lane nobody knows", |d| d.lane = text("express")),
    ("dead decision_invalid", "lane with a zero width space", |d| d.lane = text("bulk\u{200b}")),
    ("ends DEFERRED", "deferred to the end", |d| {
        d.verdict = Verdict::Defer;
        d.next_at = Some(MAX);
    }),
    ("ends REFUSED", "decided at the beginning", |d| d.decided_at = MIN),
    ("ends REFUSED", "decided at the end", |d| d.decided_at = MAX),
    ("ends REFUSED", "1,000 rules", |d| {
        let rule =
            |n: usize| RuleResult { rule: format!("r{n}"), passed: false, detail: text("\0") };
        d.rules = (0..1_000).map(rule).collect();
    }),
    ("ends REFUSED", "reason of controls", |d| d.reason = text("\0\u{202e}\u{200b}")),
    ("ends REFUSED", "detail of 100 KB", |d| d.detail = Some("d".repeat(100_000))),
    ("dead record_too_large", "detail of 900 KB", |d| d.detail = Some("d".repeat(900_000))),
    ("ends DUPLICATE", "a duplicate of nothing", |d| d.verdict = Verdict::Duplicate),
    ("ends REFUSED", "category nobody knows", |d| d.category = text("\u{202e}gnitekram")),
    ("ends REFUSED", "negative version", |d| {
        d.template_name = Some(TemplateName::new("t"));
        d.template_version = Some(i32::MIN);
    }),
];

const ATTEMPTS: &[Change<Attempt>] = &[
    ("dead attempt_invalid", "negative attempt", |a| a.attempt = -1),
    ("dead attempt_invalid", "least attempt", |a| a.attempt = i32::MIN),
    ("dead attempt_invalid", "accepted without a wamid", |a| a.event = AttemptEvent::Accepted),
    ("dead attempt_invalid", "held without a wamid", |a| a.event = AttemptEvent::Held),
    ("dead unknown_symbol", "event nobody knows", |a| a.event = AttemptEvent::Unknown),
    ("dead unknown_symbol", "disposition nobody knows", |a| {
        a.event = AttemptEvent::Refused;
        a.disposition = Disposition::Unknown;
    }),
    ("used", "greatest attempt", |a| a.attempt = i32::MAX),
    ("used", "in doubt at the end", |a| {
        a.event = AttemptEvent::InDoubt;
        a.occurred_at = MAX;
    }),
    ("used", "retry at the beginning", |a| {
        a.event = AttemptEvent::NotSent;
        a.disposition = Disposition::Retry;
        a.retry_at = Some(MIN);
        a.occurred_at = MIN;
    }),
    ("used", "codes out of range", |a| {
        a.event = AttemptEvent::Refused;
        a.error_code = Some(i32::MIN);
        a.http_status = Some(-200);
        a.error_class = text("\u{202e}");
        a.latency_ms = Some(i64::MIN);
    }),
    ("dead record_too_large", "message of 900 KB", |a| a.error_message = Some("m".repeat(900_000))),
];

const RECEIPTS: &[Change<Receipt>] = &[
    ("dead unknown_symbol", "status nobody knows", |r| r.status = ReceiptStatus::Unknown),
    ("dead receipt_invalid", "negative attempt", |r| r.attempt = Some(-1)),
    ("dead receipt_invalid", "least attempt of no message", |r| {
        r.attempt = Some(i32::MIN);
        r.message_id = None;
    }),
    ("used", "a wamid nobody knows", |r| {
        r.message_id = None;
        r.attempt = None;
        r.wamid_hash = KeyedHash::new("");
    }),
    ("used", "times at the ends", |r| {
        r.occurred_at = MAX;
        r.received_at = MIN;
    }),
    ("used", "fields of controls", |r| {
        r.status = ReceiptStatus::Failed;
        r.error_code = Some(i32::MIN);
        r.error_title = text("\0\u{202e}\u{200b}");
        r.price_category = text("\0");
    }),
    ("dead record_too_large", "title of 900 KB", |r| r.error_title = Some("t".repeat(900_000))),
];

/// Values that no writer of ours can produce: other text in the place of ids, numbers and lanes.
fn patched<R: AvroRecord>(
    records: &mut Records,
    topic: &'static str,
    good: impl Fn(&Message) -> R,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for (owner, at) in OWNERS.into_iter().zip(0..) {
        let message = records.message(owner);
        let mut value = records.encode(topic, &good(&message));
        let patches = [
            ("message id that is none", message.id.to_string(), b'z'),
            ("recipient without plus", message.recipient(), b'9'),
            ("recipient that is none", message.recipient(), 0),
            ("lane nobody knows", lane_of(topic).as_str().to_owned(), b'x'),
        ];
        let (name, find, put): &(&str, String, u8) = &patches[at];
        let at = value.windows(find.len()).position(|window| window == find.as_bytes());
        value[at.expect("the text is in the value")] = *put;
        let raw = Raw::of(owner, topic, value);
        cases.push(Case {
            name: format!("{topic}: {name}"),
            raw,
            expect: Expect::Dead("undecodable"),
        });
    }
    cases
}
