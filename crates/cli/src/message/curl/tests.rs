use sendplane_domain::e164::E164;
use sendplane_domain::id::{IdempotencyKey, KeyedHash, PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::{Disposition, TemplateParameter};

use super::*;

const KEY: &str = "0123456789abcdef";

fn id() -> MessageId {
    MessageId::from_bytes([7; 16])
}

fn dispatch(decision_seq: i32, text: &str) -> Dispatch {
    Dispatch {
        decision_seq,
        idempotency_key: IdempotencyKey::new("key"),
        order_id: None,
        created_at: Timestamp::default(),
        admitted_at: Timestamp::default(),
        deadline: Timestamp::default(),
        message_id: id(),
        tenant: TenantId::new("acme"),
        lane: Lane::Bulk,
        phone_number_id: PhoneNumberId::new("106540352242922"),
        recipient: E164::parse("+4915112345678").unwrap(),
        contact_hash: KeyedHash::new("00"),
        template_name: TemplateName::new("season_sale"),
        template_language: "en_US".into(),
        template_version: 1,
        category: "marketing".into(),
        parameters: vec![TemplateParameter { name: None, value: text.into() }],
        campaign: None,
        consent_seq: 1,
        valid_until: Timestamp::default(),
        dispatched_at: Timestamp::default(),
    }
}

fn intent(attempt: i32, decision_seq: i32, policy: Option<&str>) -> Attempt {
    Attempt {
        message_id: id(),
        tenant: TenantId::new("acme"),
        attempt,
        event: AttemptEvent::Submitting,
        disposition: Disposition::None,
        phone_number_id: PhoneNumberId::new("106540352242922"),
        occurred_at: Timestamp::default(),
        wamid: None,
        wamid_hash: None,
        error_code: None,
        error_class: None,
        error_message: None,
        http_status: None,
        retry_at: None,
        latency_ms: None,
        decision_seq,
        doubt_until: None,
        raw_body: None,
        product_policy: policy.map(str::to_owned),
        ttl_seconds: None,
    }
}

fn view(hash_key: Option<&str>, redact: bool) -> View<'static> {
    View {
        provider_url: "https://graph.facebook.com",
        api_version: "v25.0",
        hash_key: hash_key.map(HashKey::new),
        redact,
    }
}

fn fault(found: &Found, wanted: Option<u32>) -> String {
    choose(id(), found, wanted).unwrap_err().to_string()
}

#[test]
fn the_command_is_exactly_this() {
    let request = request(&intent(2, 1, None), &dispatch(1, "Ada's"), &view(None, false)).unwrap();
    let expected = r#"curl --http1.1 --request POST 'https://graph.facebook.com/v25.0/106540352242922/messages' \
  --header "Authorization: Bearer $TOKEN" \
  --header 'Content-Type: application/json' \
  --header 'User-Agent: sendplane/VERSION' \
  --data-raw '{"messaging_product":"whatsapp","recipient_type":"individual","to":"+4915112345678","type":"template","template":{"name":"season_sale","language":{"code":"en_US"},"components":[{"type":"body","parameters":[{"type":"text","text":"Ada'\''s"}]}]},"biz_opaque_callback_data":"sp1.61636d65.0.07070707070707070707070707070707.2.[mac]"}'"#;
    let expected = expected.replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(as_curl(&request), expected);
}

#[test]
fn with_the_key_the_body_is_the_clients_own_byte_for_byte() {
    let (intent, dispatch) = (intent(2, 1, Some("STRICT")), dispatch(1, "10 %"));
    let shown = request(&intent, &dispatch, &view(Some(KEY), false)).unwrap();
    let shard = ShardKey::of(dispatch.tenant.clone());
    let data = OpaqueData { shard, message_id: id(), attempt: 2 };
    let route = Route::Marketing { product_policy: ProductPolicy::Strict };
    let body = template_body(route, &dispatch, &data.encode(&HashKey::new(KEY)));
    assert_eq!(shown.body.as_bytes(), body);
    assert!(shown.url.ends_with("/106540352242922/marketing_messages"), "{}", shown.url);
    assert!(shown.body.contains(r#""product_policy":"STRICT""#), "{}", shown.body);
}

#[test]
fn a_redacted_command_shows_nobody() {
    let request = request(&intent(1, 1, None), &dispatch(1, "Ada"), &view(None, true)).unwrap();
    let text = as_curl(&request);
    assert!(!text.contains("1511234") && !text.contains("Ada"), "{text}");
    assert!(text.contains(r#""to":"+49…78""#), "{text}");
    assert_eq!(warnings(&view(Some(KEY), true)), Vec::<&str>::new());
    assert!(warnings(&view(Some(KEY), false))[0].contains("--redact"));
    assert!(warnings(&view(None, true))[0].contains("--hash-key-file"));
}

#[test]
fn the_newest_attempt_is_shown_with_its_own_dispatch() {
    let found = Found {
        dispatches: vec![dispatch(1, "first"), dispatch(2, "second"), dispatch(2, "second")],
        intents: vec![intent(1, 1, None), intent(3, 2, None), intent(2, 2, None)],
    };
    let chosen = |wanted| {
        let (intent, dispatch) = choose(id(), &found, wanted).unwrap();
        (intent.attempt, dispatch.parameters[0].value.clone())
    };
    assert_eq!(chosen(None), (3, "second".to_owned()));
    assert_eq!(chosen(Some(1)), (1, "first".to_owned()));
    assert!(fault(&found, Some(4)).contains("had attempts 1 to 3"));
}

#[test]
fn what_is_missing_is_said_with_the_way_on() {
    let unknown = Found::default();
    assert!(fault(&unknown, None).contains("was not dispatched: check the id and --tenant"));
    let dispatched = Found { dispatches: vec![dispatch(1, "x")], ..Found::default() };
    for wanted in [None, Some(1)] {
        let text = fault(&dispatched, wanted);
        assert!(text.contains("was not called yet: `message show"), "{text}");
    }
    let forgotten = Found { intents: vec![intent(1, 1, None)], ..Found::default() };
    assert!(fault(&forgotten, None).contains("no longer in its topic"));
    let newer = request(&intent(1, 1, Some("LAX")), &dispatch(1, "x"), &view(None, false));
    assert!(newer.unwrap_err().to_string().contains("upgrade this tool"));
}

#[test]
fn arguments_are_checked_with_a_fix() {
    assert!(matches!(base_url("https://host/"), Ok("https://host")));
    for wrong in ["graph.facebook.com", "ftp://host", "https://"] {
        let Err(Fault::Input(text)) = base_url(wrong) else { panic!("{wrong} passed") };
        assert!(text.starts_with(&format!("--provider-url {wrong}: give scheme")), "{text}");
    }
    let Err(Fault::Input(text)) = hash_key(std::path::Path::new("/none")) else { panic!("none") };
    assert!(text.contains("--hash-key-file names /none, which cannot be read"), "{text}");
}

#[test]
fn json_has_the_same_parts() {
    let request = request(&intent(1, 1, None), &dispatch(1, "x"), &view(None, false)).unwrap();
    let json = as_json(&request);
    assert_eq!((&json["method"], &json["body"]), (&json!("POST"), &json!(request.body)));
    assert_eq!(json["headers"][0], json!({"name": "Authorization", "value": "Bearer $TOKEN"}));
}
