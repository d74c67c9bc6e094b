//! Webhooks: whose, which message, and what becomes of the rest.

use sendplane_domain::id::{MessageId, PhoneNumberId};
use sendplane_domain::opaque::OpaqueData;
use sendplane_domain::shard::ShardKey;
use sendplane_stage_api::Stage;
use sendplane_wire::record::{Feedback, Receipt, ReceiptStatus, WebhookBody, WebhookSecret};
use serde_json::{Value, json};

use super::*;
use crate::directory::Directory;

const RECEIVED: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn message() -> MessageId {
    MessageId::from_bytes([1, 2, 3, 4, 5, 6, 0x87, 8, 0x89, 10, 11, 12, 13, 14, 15, 16])
}

fn opaque(tenant: &str, key: &HashKey) -> String {
    let shard = ShardKey::of(TenantId::new(tenant));
    OpaqueData { shard, message_id: message(), attempt: 2 }.encode(key)
}

fn status(status: &str) -> Value {
    json!({
        "id": "wamid.SECRET", "status": status, "timestamp": "1789999999",
        "recipient_id": "4915112345678",
        "biz_opaque_callback_data": opaque("acme", &hash_key()),
    })
}

fn about(number: &str, key: &str, items: Vec<Value>) -> Value {
    json!({
        "messaging_product": "whatsapp", key: items,
        "metadata": {"display_phone_number": "1555", "phone_number_id": number},
    })
}

fn statuses(number: &str, items: Vec<Value>) -> Value {
    about(number, "statuses", items)
}

fn body(values: Vec<Value>) -> Vec<u8> {
    let changes: Vec<_> =
        values.into_iter().map(|value| json!({"field": "messages", "value": value})).collect();
    let entry = json!([{"id": "acme-waba", "changes": changes}]);
    json!({"object": "whatsapp_business_account", "entry": entry}).to_string().into_bytes()
}

pub(super) fn webhook(body: impl Into<Vec<u8>>) -> Record {
    let body = WebhookBody {
        app: "main".into(),
        received_at: RECEIVED,
        body: body.into(),
        secret: WebhookSecret::Current,
        gateway: "ingest-0".into(),
    };
    decoded(topic::WEBHOOKS, Some(b"acme-waba"), &value_of(topic::WEBHOOKS, &body))
}

fn receive(driver: &mut Driver<Ingest>, body: impl Into<Vec<u8>>) -> Produced<Ingest> {
    checked(driver.record(topic::WEBHOOKS, webhook(body)))
}

#[test]
fn a_status_is_evidence_and_a_receipt() {
    let mut failed = status("failed");
    failed["errors"] = json!([{
        "code": 131_026, "title": "Message undeliverable", "error_data": {"details": "why"},
    }]);
    failed["pricing"] = json!({
        "billable": false, "category": "authentication-international", "type": "regular",
    });
    let produced = receive(&mut driver(), body(vec![statuses("acme-number", vec![failed])]));
    let tenant = TenantId::new("acme");
    let phone_number_id = PhoneNumberId::new("acme-number");
    let wamid_hash = hash_key().hash("wamid", "wamid.SECRET");
    let occurred_at = Timestamp::from_millis(1_789_999_999_000);
    let feedback = Feedback {
        path_whole_since: Some(T0),
        waba_id: "acme-waba".into(),
        tenant: tenant.clone(),
        message_id: message(),
        attempt: 2,
        phone_number_id: phone_number_id.clone(),
        wamid_hash: wamid_hash.clone(),
        status: ReceiptStatus::Failed,
        error_code: Some(131_026),
        occurred_at,
        received_at: RECEIVED,
    };
    let receipt = Receipt {
        tenant,
        waba_id: "acme-waba".into(),
        phone_number_id,
        message_id: Some(message()),
        attempt: Some(2),
        wamid_hash,
        status: ReceiptStatus::Failed,
        status_text: "failed".into(),
        occurred_at,
        received_at: RECEIVED,
        error_code: Some(131_026),
        error_title: Some("Message undeliverable".into()),
        error_details: Some("why".into()),
        price_category: Some("authentication_international".into()),
        price_type: Some("regular".into()),
        billable: Some(false),
    };
    assert_eq!(produced.outputs, [Output::Feedback(feedback), Output::Receipt(receipt)]);
    assert!(produced.dead_letters.is_empty());
    let text = format!("{:?}", produced.outputs);
    assert!(!text.contains("wamid.SECRET") && !text.contains("4915112345678"), "{text}");
}

/// What Meta says of a code that nobody knows yet is all that a person has to go by.
#[test]
fn an_unknown_code_keeps_its_title_and_details() {
    let mut failed = status("failed");
    let error = json!({"code": 999_999, "title": "New", "error_data": {"details": "see there"}});
    failed["errors"] = json!([error]);
    let produced = receive(&mut driver(), body(vec![statuses("acme-number", vec![failed])]));
    let receipt = produced.outputs.iter().find_map(|output| match output {
        Output::Receipt(receipt) => Some(receipt),
        _ => None,
    });
    let receipt = receipt.expect("a receipt");
    let said =
        (receipt.error_code, receipt.error_title.as_deref(), receipt.error_details.as_deref());
    assert_eq!(said, (Some(999_999), Some("New"), Some("see there")));
}

#[test]
fn opaque_data_that_is_not_ours_gives_a_receipt_without_message() {
    let cases = [
        Value::Null,
        json!("order-17"),
        json!(opaque("acme", &HashKey::new("other"))),
        // The number was another tenant's when the message was sent.
        json!(opaque("idle", &hash_key())),
    ];
    for opaque in cases {
        let mut status = status("sent");
        status["biz_opaque_callback_data"] = opaque.clone();
        let produced = receive(&mut driver(), body(vec![statuses("acme-number", vec![status])]));
        assert_eq!(summary(&produced), "receipt sent", "{opaque}");
        let [Output::Receipt(receipt)] = &produced.outputs[..] else { panic!("one receipt") };
        assert_eq!((receipt.message_id, receipt.attempt), (None, None));
        assert_eq!(receipt.tenant, TenantId::new("acme"));
    }
}

#[test]
fn one_bad_item_costs_the_others_nothing() {
    let mut nameless = status("read");
    nameless["id"] = Value::Null;
    let mut timeless = status("delivered");
    timeless["timestamp"] = json!("soon");
    let items = vec![status("sent"), nameless, json!(7), timeless, status("hovering")];
    let unknown = statuses("foreign-number", vec![status("read")]);
    let other = statuses("idle-number", vec![status("played")]);
    let body = body(vec![statuses("acme-number", items), unknown, other]);
    let mut driver = driver();
    let produced = receive(&mut driver, body.clone());
    let expected = "feedback sent, receipt sent, feedback delivered, receipt delivered, \
                    feedback unknown, receipt hovering, receipt played, \
                    dead webhook_malformed_items";
    assert_eq!(summary(&produced), expected);
    let detail = &produced.dead_letters[0].detail;
    assert!(
        detail.starts_with("2 of the body's items") && detail.contains("/statuses/1:"),
        "{detail}"
    );
    let [.., Output::Receipt(last)] = &produced.outputs[..] else { panic!("a receipt comes last") };
    assert_eq!(last.tenant, TenantId::new("idle"), "several tenants in one body are split");
    let Output::Receipt(timeless) = &produced.outputs[3] else { panic!("a receipt") };
    assert_eq!(timeless.occurred_at, RECEIVED);
    // The dead letter can be replayed: a body that was not used whole is not remembered.
    assert_eq!(summary(&receive(&mut driver, body)), expected);
}

#[test]
fn bodies_without_use_are_dead_letters() {
    let foreign = |number: &str| statuses(number, vec![status("sent")]);
    let inbound = |number: &str| {
        about(number, "messages", vec![json!({"id": "wamid.in", "from": "4915", "type": "text"})])
    };
    let notice = json!({"event": "APPROVED", "message_template_id": 1});
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "dead webhook_not_json"),
        (b"{\"object\":".to_vec(), "dead webhook_not_json"),
        (b"[]".to_vec(), "dead webhook_no_entries"),
        (b"{\"object\":\"page\",\"entry\":[]}".to_vec(), "dead webhook_foreign_object"),
        (body(vec![foreign("x"), foreign("y"), inbound("z")]), "dead unknown_phone_number"),
        (body(vec![inbound("z")]), "dead unknown_phone_number"),
        (body(vec![foreign("x"), inbound("acme-number")]), ""),
        (body(vec![foreign("x"), notice]), "notice templatestatus"),
        (body(vec![foreign("x"), json!(1)]), "dead unknown_phone_number"),
        (body(vec![json!(1)]), "dead webhook_malformed_items"),
        (body(vec![]), ""),
    ];
    for (number, (body, expected)) in cases.into_iter().enumerate() {
        assert_eq!(summary(&receive(&mut driver(), body)), expected, "case {number}");
    }
}

#[test]
fn a_number_that_comes_to_be_known_makes_its_body_useful() {
    let mut driver = driver();
    let body = body(vec![statuses("new-number", vec![status("sent")])]);
    assert_eq!(summary(&receive(&mut driver, body.clone())), "dead unknown_phone_number");
    driver.global(sample::set_tenant(sample::tenant("new")));
    assert_eq!(summary(&receive(&mut driver, body)), "receipt sent");
}

#[test]
fn the_host_catches_up_before_a_number_counts_as_unknown() {
    let stage = stage();
    let known = webhook(body(vec![statuses("acme-number", vec![status("sent")])]));
    let both = statuses("new-number", vec![status("sent")]);
    let both = webhook(body(vec![statuses("acme-number", vec![status("read")]), both]));
    let nobody = webhook(body(vec![json!({"event": "APPROVED"})]));
    let broken = webhook("{");
    let misses = |directory: &Directory| {
        [&known, &both, &nobody, &broken].map(|record| stage.misses_global(record, directory))
    };
    let mut directory = Directory::default();
    assert_eq!(misses(&directory), [true, true, false, false]);
    directory.apply(&sample::set_tenant(sample::tenant("acme")));
    assert_eq!(misses(&directory), [false, true, false, false]);
}

#[test]
fn a_body_is_used_once_within_eight_days() {
    let mut driver = driver();
    let empty = driver.state().len();
    let body = body(vec![statuses("acme-number", vec![status("sent")])]);
    assert_eq!(summary(&receive(&mut driver, body.clone())), "feedback sent, receipt sent");
    assert_eq!(summary(&receive(&mut driver, body.clone())), "");
    driver.restart();
    driver.advance_to((T0 + BODY_MEMORY).minus(Duration::from_millis(1)));
    assert_eq!(summary(&receive(&mut driver, body.clone())), "");
    driver.advance_to(T0 + BODY_MEMORY);
    // The row of the account stays.
    assert_eq!((driver.next_timer(), driver.state().len()), (None, empty + 1));
    assert_eq!(summary(&receive(&mut driver, body)), "feedback sent, receipt sent");
}

#[test]
fn an_expired_body_is_new_before_its_timer_fires() {
    let mut driver = driver();
    let body = body(vec![statuses("acme-number", vec![status("sent")])]);
    receive(&mut driver, body.clone());
    let at = |now| before_timers(&driver, now, topic::WEBHOOKS, webhook(body.clone())).len();
    let expiry = T0 + BODY_MEMORY;
    assert_eq!([at(expiry.minus(Duration::from_millis(1))), at(expiry)], [0, 2]);
}

#[test]
fn a_webhook_carries_its_trace() {
    let trace = TraceContext { correlation_id: Some("c-1".into()), ..TraceContext::default() };
    let body = body(vec![statuses("acme-number", vec![status("sent")])]);
    let produced = driver().record_traced(topic::WEBHOOKS, webhook(body), trace.clone());
    assert_eq!(produced.traces, [trace.clone(), trace]);
}
