use sendplane_domain::id::PhoneNumberId;
use sendplane_domain::time::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::record::ReceiptStatus;

mod properties;

const WABA: &str = "201";
const NUMBER: &str = "301";

/// A body with one change of field `messages`.
fn messaging(extra: Value) -> Value {
    let mut value = json!({"messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "4930111", "phone_number_id": NUMBER}});
    let (value, extra) = (value.as_object_mut(), extra.as_object().cloned());
    let value = value.map(|value| {
        value.extend(extra.expect("an object"));
        value.clone()
    });
    change("messages", json!(value))
}

fn change(field: &str, value: Value) -> Value {
    json!({"object": "whatsapp_business_account",
        "entry": [{"id": WABA, "changes": [{"field": field, "value": value}]}]})
}

fn items(body: &Value) -> Vec<Item> {
    parse(body.to_string().as_bytes()).expect("a readable body")
}

fn statuses(list: Value) -> Vec<Item> {
    items(&messaging(json!({"statuses": list})))
}

fn only_status(status: Value) -> Status {
    match statuses(json!([status])).as_slice() {
        [Item::Status(status)] => status.as_ref().clone(),
        other => panic!("{other:?} is not one status"),
    }
}

fn delivered(wamid: &str) -> Value {
    json!({"id": wamid, "status": "delivered", "timestamp": "1790000000"})
}

fn malformed(reason: &'static str, pointer: &str) -> Item {
    malformed_of("", reason, pointer)
}

fn malformed_of(waba_id: &str, reason: &'static str, pointer: &str) -> Item {
    Item::Malformed(Malformed { waba_id: waba_id.into(), reason, pointer: pointer.to_owned() })
}

#[test]
fn a_full_status_is_read() {
    let status = only_status(json!({
        "id": "wamid.AAA", "status": "failed", "timestamp": "1790000000",
        "recipient_id": "4915112345678", "biz_opaque_callback_data": "sp1.a.0.b.1.c",
        "conversation": {"id": "c", "expiration_timestamp": 1_790_000_100},
        "pricing": {"billable": true, "pricing_model": "PMP", "type": "regular",
            "category": "authentication-international"},
        "errors": [{"code": 131_026, "title": "Undeliverable", "message": "m",
            "error_data": {"details": "not on WhatsApp"}, "href": "https://example.org"}],
        "brand_new": {"x": [1]},
    }));
    let expected = Status {
        waba_id: WABA.into(),
        phone_number_id: PhoneNumberId::new(NUMBER),
        wamid: sendplane_domain::id::Wamid::new("wamid.AAA"),
        status: ReceiptStatus::Failed,
        status_text: "failed".into(),
        occurred_at: Some(Timestamp::from_millis(1_790_000_000_000)),
        recipient_id: Some("4915112345678".into()),
        opaque: Some("sp1.a.0.b.1.c".into()),
        error: Some(StatusError {
            code: Some(131_026),
            title: Some("Undeliverable".into()),
            details: Some("not on WhatsApp".into()),
        }),
        pricing: Some(Pricing {
            category: Some("authentication_international".into()),
            r#type: Some("regular".into()),
            billable: Some(true),
        }),
    };
    assert_eq!(status, expected);
}

#[test]
fn a_status_needs_only_id_and_status() {
    let status = only_status(json!({"id": "wamid.AAA", "status": "sent"}));
    assert_eq!(status.status, ReceiptStatus::Sent);
    let rest =
        (status.occurred_at, status.recipient_id, status.opaque, status.error, status.pricing);
    assert_eq!(rest, (None, None, None, None, None));
}

#[test]
fn every_status_is_known_or_kept_as_text() {
    let cases = [
        ("sent", ReceiptStatus::Sent),
        ("delivered", ReceiptStatus::Delivered),
        ("read", ReceiptStatus::Read),
        ("played", ReceiptStatus::Played),
        ("failed", ReceiptStatus::Failed),
        ("deleted", ReceiptStatus::Unknown),
        ("SENT", ReceiptStatus::Unknown),
    ];
    for (text, expected) in cases {
        let status = only_status(json!({"id": "wamid.AAA", "status": text}));
        assert_eq!((status.status, status.status_text.as_str()), (expected, text));
    }
    let long = only_status(json!({"id": "wamid.AAA", "status": "x".repeat(9_000)}));
    assert_eq!(long.status_text.chars().count(), 65);
}

#[test]
fn errors_and_prices_come_in_older_forms() {
    let with = |errors: Value, pricing: Value| {
        only_status(json!({"id": "w", "status": "failed", "errors": errors, "pricing": pricing}))
    };
    let status = with(
        json!([{"code": "131053", "message": "Media", "error_data": "bare"}]),
        json!({"pricing_type": "free_entry_point", "category": "marketing_lite"}),
    );
    let error = status.error.expect("an error");
    assert_eq!(error.code, Some(131_053));
    assert_eq!((error.title.as_deref(), error.details.as_deref()), (Some("Media"), Some("bare")));
    let pricing = status.pricing.expect("a price");
    assert_eq!(pricing.r#type.as_deref(), Some("free_entry_point"));
    assert_eq!((pricing.category.as_deref(), pricing.billable), (Some("marketing_lite"), None));

    assert_eq!(with(json!([]), json!(null)).error, None);
    assert_eq!(with(json!("text"), json!("text")).pricing, None);
    // A code beyond 32 bits is no code of Meta's, but the status still says that it failed.
    let huge = with(json!([{"code": 1_u64 << 40, "title": "t".repeat(5_000)}]), json!(null));
    let error = huge.error.expect("an error");
    assert_eq!((error.code, error.title.map(|t| t.chars().count())), (None, Some(501)));
}

#[test]
fn opaque_data_that_cannot_be_ours_is_dropped() {
    for opaque in [json!(""), json!(5), json!("x".repeat(513))] {
        let status = json!({"id": "w", "status": "sent", "biz_opaque_callback_data": opaque});
        assert_eq!(only_status(status).opaque, None);
    }
}

#[test]
fn a_bad_item_costs_only_itself() {
    let list = json!([delivered("a"), {"status": "sent"}, 7, {"id": "b"}, delivered("c")]);
    let found = statuses(list);
    let at = "/entry/0/changes/0/value/statuses";
    assert_eq!(found[1], malformed_of(WABA, "status_without_id", &format!("{at}/1")));
    assert_eq!(found[2], malformed_of(WABA, "status_not_an_object", &format!("{at}/2")));
    assert_eq!(found[3], malformed_of(WABA, "status_without_status", &format!("{at}/3")));
    assert_eq!(found.len(), 5);
    assert!(matches!((&found[0], &found[4]), (Item::Status(a), Item::Status(c))
        if a.wamid.as_str() == "a" && c.wamid.as_str() == "c"));
}

#[test]
fn bad_levels_cost_only_themselves() {
    let mut body = messaging(json!({"statuses": [delivered("a")]}));
    let entries = body["entry"].as_array_mut().expect("entries");
    let good = entries[0].clone();
    *entries = vec![
        json!(null),
        json!({"id": "9", "changes": [{"field": "messages"}, {"value": {"statuses": {}}}]}),
        json!({"changes": [{"value": {"statuses": [delivered("x")]}}]}),
        good,
    ];
    let found = items(&body);
    let expected = [
        malformed("entry_without_changes", "/entry/0"),
        malformed_of("9", "change_without_value", "/entry/1/changes/0"),
        malformed_of("9", "list_not_an_array", "/entry/1/changes/1/value/statuses"),
        malformed("value_without_phone_number_id", "/entry/2/changes/0/value/statuses/0"),
    ];
    assert_eq!(found[..4], expected);
    assert!(matches!(&found[4..], [Item::Status(status)] if status.wamid.as_str() == "a"));
}

#[test]
fn repetitions_and_order_are_kept() {
    let found = statuses(json!([delivered("a"), delivered("b"), delivered("a")]));
    let wamids: Vec<&str> = found
        .iter()
        .map(|item| match item {
            Item::Status(status) => status.wamid.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(wamids, ["a", "b", "a"]);
}

#[test]
fn a_message_from_a_person_is_read() {
    let message = json!({"id": "wamid.IN", "timestamp": 1_790_000_000, "type": "text",
        "from": "4915112345678", "text": {"body": "STOP"}});
    let hidden = json!({"id": "wamid.IN", "from_user_id": "DE.77", "type": 3});
    let found = items(&messaging(json!({"messages": [message, hidden, {}]})));
    let full = InboundMessage {
        waba_id: WABA.into(),
        phone_number_id: PhoneNumberId::new(NUMBER),
        wamid: sendplane_domain::id::Wamid::new("wamid.IN"),
        from: Some("4915112345678".into()),
        from_user_id: None,
        occurred_at: Some(Timestamp::from_millis(1_790_000_000_000)),
        r#type: "text".into(),
    };
    let hidden = InboundMessage {
        from: None,
        from_user_id: Some("DE.77".into()),
        occurred_at: None,
        r#type: String::new(),
        ..full.clone()
    };
    let expected = [
        Item::InboundMessage(full.into()),
        Item::InboundMessage(hidden.into()),
        malformed_of(WABA, "message_without_id", "/entry/0/changes/0/value/messages/2"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_hidden_sender_is_found_in_the_only_contact() {
    let sender = |contacts: Value| {
        let body = json!({"contacts": contacts, "messages": [{"id": "wamid.IN", "type": "text"}]});
        match items(&messaging(body)).as_slice() {
            [Item::InboundMessage(message)] => message.from_user_id.clone(),
            other => panic!("{other:?} is not one message"),
        }
    };
    assert_eq!(sender(json!([{"user_id": "DE.77"}])).as_deref(), Some("DE.77"));
    assert_eq!(sender(json!([{"user_id": "DE.77"}, {"user_id": "DE.78"}])), None);
    assert_eq!(sender(json!({"user_id": "DE.77"})), None);
}

fn only_notice(body: &Value) -> Notice {
    match items(body).as_slice() {
        [Item::Notice(notice)] => notice.clone(),
        other => panic!("{other:?} is not one notice"),
    }
}

#[test]
fn everything_else_is_a_notice_with_its_value() {
    let value = json!({"event": "PAUSED", "message_template_id": 594_425_479_261_596_u64,
        "message_template_name": "offer", "reason": null});
    let notice = only_notice(&change("message_template_status_update", value.clone()));
    assert_eq!(notice.field, "message_template_status_update");
    assert_eq!((notice.waba_id.as_str(), notice.phone_number_id), (WABA, None));
    assert_eq!(serde_json::from_str::<Value>(&notice.value).expect("JSON"), value);
    assert_eq!(notice.occurred_at, None);

    let mut timed = change("message_template_status_update", value);
    timed["entry"][0]["time"] = json!(1_700_000_000);
    let occurred_at = only_notice(&timed).occurred_at;
    assert_eq!(occurred_at, Some(Timestamp::from_millis(1_700_000_000_000)));

    let errors = messaging(json!({"errors": [{"code": 130_429}]}));
    let notice = only_notice(&errors);
    assert_eq!(notice.field, "messages");
    assert_eq!(notice.phone_number_id, Some(PhoneNumberId::new(NUMBER)));

    let both = messaging(json!({"statuses": [delivered("a")], "errors": [{"code": 1}]}));
    assert!(matches!(items(&both).as_slice(), [Item::Status(_), Item::Notice(_)]));
    let empty = messaging(json!({"statuses": [], "errors": []}));
    assert_eq!(only_notice(&empty).field, "messages");
}

#[test]
fn the_shape_corrects_a_vague_field() {
    let cases = [
        ("message_template_status_update", "new_quality_score", "message_template_quality_update"),
        ("messages", "user_preferences", "user_preferences"),
        ("", "ban_info", "account_update"),
        (
            "template_correct_category_detection",
            "correct_category",
            "template_correct_category_detection",
        ),
        ("something_new", "new_quality_score", "something_new"),
        ("", "anything", ""),
    ];
    for (field, key, expected) in cases {
        assert_eq!(only_notice(&change(field, json!({key: "X"}))).field, expected, "{field} {key}");
    }
    let misplaced = json!({"entry": [{"id": 201, "field": "security", "changes": [
        {"value": {"event": "PIN_CHANGED"}}]}]});
    let notice = only_notice(&misplaced);
    assert_eq!((notice.field.as_str(), notice.waba_id.as_str()), ("security", WABA));
}

#[test]
fn statuses_of_calls_are_not_statuses_of_messages() {
    let body = change(
        "calls",
        json!({"metadata": {"phone_number_id": NUMBER},
        "statuses": [{"id": "wacid.1", "status": "RINGING", "type": "call"}]}),
    );
    assert_eq!(only_notice(&body).field, "calls");
    // Without a telling field the shape decides.
    let mut body = messaging(json!({"statuses": [delivered("a")]}));
    body["entry"][0]["changes"][0]["field"] = "renamed".into();
    assert!(matches!(items(&body).as_slice(), [Item::Status(_)]));
}

#[test]
fn bodies_of_no_use_are_named() {
    let cases = [
        ("", "webhook_not_json"),
        ("{\"entry\":[", "webhook_not_json"),
        ("[]", "webhook_no_entries"),
        ("{}", "webhook_no_entries"),
        ("{\"entry\":{}}", "webhook_no_entries"),
        ("{\"object\":\"page\",\"entry\":[]}", "webhook_foreign_object"),
    ];
    for (body, code) in cases {
        assert_eq!(parse(body.as_bytes()).map_err(|fault| fault.code()), Err(code), "{body}");
    }
    let deep = format!("{{\"entry\":{}", "[".repeat(200_000));
    assert_eq!(parse(deep.as_bytes()).map_err(|fault| fault.code()), Err("webhook_not_json"));
    assert_eq!(parse(br#"{"entry":[]}"#), Ok(Vec::new()));
}

#[test]
fn half_a_character_in_one_name_costs_nothing() {
    let body = messaging(json!({"contacts": [{"profile": {"name": "NAME"}}],
        "statuses": [delivered("a")]}))
    .to_string()
    .replace("NAME", "\\ud83d");
    let found = parse(body.as_bytes()).expect("repaired");
    assert!(matches!(found.as_slice(), [Item::Status(_)]));
    assert_eq!(entry0_id(body.as_bytes()).as_deref(), Some(WABA));
}

#[test]
fn the_record_key_is_the_first_account() {
    let cases = [
        (r#"{"object":"x","entry":[{"changes":[],"id":"17"},{"id":"18"}]}"#, Some("17")),
        (r#"{"entry":[{"id":17}]}"#, Some("17")),
        (r#"{"entry":[{}]}"#, None),
        (r#"{"entry":[{"id":""}]}"#, None),
        (r#"{"entry":[{"id":null}]}"#, None),
        (r#"{"entry":[]}"#, None),
        (r#"{"entry":{"id":"17"}}"#, None),
        (r#"{"entry":[["17"]]}"#, None),
        (r#"[{"id":"17"}]"#, None),
        (r#"{"entry":[{"id":"17"}"#, None),
        ("", None),
    ];
    for (body, expected) in cases {
        assert_eq!(entry0_id(body.as_bytes()).as_deref(), expected, "{body}");
    }
    let is_only = |body: &str| accounts(body.as_bytes()).map(|accounts| accounts.is_only);
    assert_eq!(is_only(r#"{"entry":[{"id":"17"},{"changes":[],"id":17}]}"#), Some(true));
    assert_eq!(is_only(r#"{"entry":[{"id":"17"},{"id":"18"},{"id":"17"}]}"#), Some(false));
    assert_eq!(is_only(r#"{"entry":[{"id":"17"},{}]}"#), Some(false));
    let long = json!({"entry": [{"id": "9".repeat(65)}]}).to_string();
    assert_eq!(entry0_id(long.as_bytes()), None);
}
