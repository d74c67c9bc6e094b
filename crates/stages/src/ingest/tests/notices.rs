//! Notices and whom they concern.

use sendplane_domain::id::PhoneNumberId;
use sendplane_wire::record::{Notice, NoticeKind};
use serde_json::{Value, json};

use super::webhooks::webhook;
use super::*;

/// What comes of one change of account `waba`.
fn notices(driver: &mut Driver<Ingest>, waba: &str, field: &str, value: Value) -> Vec<Notice> {
    let entry = json!({"id": waba, "changes": [{"field": field, "value": value}]});
    let body = json!({"object": "whatsapp_business_account", "entry": [entry]});
    let record = webhook(body.to_string());
    let produced = checked(driver.record(topic::WEBHOOKS, record));
    assert_eq!(produced.dead_letters, []);
    let notice = |output| match output {
        Output::Notice(notice) => *notice,
        other => panic!("{other:?} is no notice"),
    };
    produced.outputs.into_iter().map(notice).collect()
}

/// Two tenants share the account `shared`.
fn sharing() -> Driver<Ingest> {
    let mut driver = driver();
    for (name, display) in [("one", "+1 555 000 0001"), ("two", "+1 555 000 0002")] {
        let mut row = sample::tenant(name);
        row.phone_numbers[0].waba_id = "shared".into();
        row.phone_numbers[0].display_number = display.into();
        driver.global(sample::set_tenant(row));
    }
    driver
}

fn tenants(notices: &[Notice]) -> Vec<&str> {
    notices.iter().map(|notice| notice.tenant.as_str()).collect()
}

#[test]
fn an_account_concerns_each_of_its_tenants_once() {
    let mut driver = sharing();
    let mut row = sample::tenant("one");
    row.phone_numbers[0].waba_id = "shared".into();
    let mut second = row.phone_numbers[0].clone();
    second.phone_number_id = PhoneNumberId::new("one-other");
    row.phone_numbers.push(second);
    driver.global(sample::set_tenant(row));
    let value = json!({"event": "PAUSED", "message_template_name": "offer",
        "message_template_language": "en", "message_template_id": 1});
    let found = notices(&mut driver, "shared", "message_template_status_update", value.clone());
    assert_eq!(tenants(&found), ["one", "two"]);
    assert_eq!(found[0].kind, NoticeKind::TemplateStatus);
    assert_eq!(serde_json::from_str::<Value>(&found[0].value).expect("JSON"), value);
    assert_eq!(found[0].waba_id, "shared");
    let limit = json!({"max_daily_conversations_per_business": 2_000});
    let found = notices(&mut driver, "acme-waba", "business_capability_update", limit);
    assert_eq!((tenants(&found), found[0].users_per_day), (vec!["acme"], Some(2_000)));
}

#[test]
fn a_number_named_by_its_digits_concerns_its_tenant() {
    let mut driver = sharing();
    let value = json!({"display_phone_number": "15550000002", "event": "THROUGHPUT_UPGRADE"});
    let found = notices(&mut driver, "shared", "phone_number_quality_update", value);
    assert_eq!(tenants(&found), ["two"]);
    assert_eq!(found[0].phone_number_id, Some(PhoneNumberId::new("two-number")));
    assert_eq!(found[0].messages_per_second, Some(1_000));
    let stranger = json!({"display_phone_number": "15559999999", "event": "THROUGHPUT_UPGRADE"});
    let found = notices(&mut driver, "shared", "phone_number_quality_update", stranger);
    assert_eq!(tenants(&found), ["one", "two"], "the account is all that is left");
    assert_eq!(found[0].phone_number_id, None);
}

#[test]
fn an_error_of_a_number_goes_to_its_owner_and_nothing_is_lost() {
    let mut driver = sharing();
    let value = json!({"metadata": {"phone_number_id": "one-number"},
        "errors": [{"code": 130_429}], "padding": "ü".repeat(5_000)});
    let found = notices(&mut driver, "shared", "messages", value);
    assert_eq!(tenants(&found), ["one"]);
    assert_eq!(found[0].kind, NoticeKind::Unknown);
    assert!(found[0].value.len() <= 4_096 && found[0].value.len() > 4_090);
    let odd = notices(&mut driver, "shared", "something_new", json!({"a": 1}));
    assert_eq!(odd[0].kind, NoticeKind::Unknown);
    assert_eq!(odd[0].value, r#"{"a":1}"#);
    assert_eq!(notices(&mut driver, "nobodys", "something_new", json!({"a": 2})), []);
    assert_eq!(driver.counted("sendplane_ingest_webhook_items_total", "notice_of_nobody"), 1);
}
