use serde_json::json;

use super::*;
use crate::config::{Header, Template, TemplateStatus, Variables};

/// An approved utility template without variables.
fn named(name: &str) -> Template {
    Template {
        waba_id: None,
        name: name.to_owned(),
        language: "en_US".to_owned(),
        status: TemplateStatus::Approved,
        category: Category::Utility,
        body: Variables::Positional(0),
        header: Header::None,
        url_buttons: 0,
    }
}

fn config() -> Config {
    let templates = vec![
        named("plain"),
        Template { body: Variables::Positional(2), ..named("two") },
        Template { body: Variables::Named(vec!["a".into(), "b".into()]), ..named("named") },
        Template { header: Header::Image, ..named("image") },
        Template { header: Header::Text, ..named("titled") },
        Template { url_buttons: 1, ..named("link") },
        Template {
            url_buttons: 1,
            body: Variables::Positional(1),
            category: Category::Authentication,
            ..named("code")
        },
        Template { category: Category::Marketing, ..named("sale") },
        Template { status: TemplateStatus::Paused, ..named("paused") },
        Template { status: TemplateStatus::Disabled, ..named("disabled") },
        Template { status: TemplateStatus::Pending, ..named("pending") },
        Template { status: TemplateStatus::Rejected, ..named("rejected") },
        Template { waba_id: Some("other".to_owned()), ..named("foreign") },
    ];
    Config { templates, ..Config::default() }
}

fn check(endpoint: Endpoint, body: &Value) -> Result<Request, (i64, String)> {
    let config = config();
    validate(&config, &config.phone_numbers[0], endpoint, Some(body))
        .map_err(|refusal| (refusal.code, refusal.details))
}

fn code(body: &Value) -> Option<i64> {
    check(Endpoint::Messages, body).err().map(|(code, _)| code)
}

fn text_message() -> Value {
    json!({
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": "+4915112345678",
        "type": "text", "text": {"body": "hello"},
    })
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    body.pointer_mut(parent).expect("parent exists")[key] = value;
    body
}

fn without(mut body: Value, key: &str) -> Value {
    body.as_object_mut().expect("object").remove(key).expect("key was there");
    body
}

fn template(name: &str, components: Value) -> Value {
    json!({
        "messaging_product": "whatsapp", "to": "+4915112345678", "type": "template",
        "template": {"name": name, "language": {"code": "en_US"}, "components": components},
    })
}

fn body(values: &[&str]) -> Value {
    let parameters: Vec<Value> =
        values.iter().map(|value| json!({"type": "text", "text": value})).collect();
    json!([{"type": "body", "parameters": parameters}])
}

#[test]
fn a_good_text_is_read_completely() {
    let request = with(text_message(), "/biz_opaque_callback_data", json!("o"));
    let expected = Request {
        recipient: Recipient::Phone("4915112345678".to_owned()),
        input: "+4915112345678".to_owned(),
        content: Content::SessionMessage("text"),
        opaque: Some("o".to_owned()),
    };
    assert_eq!(check(Endpoint::Messages, &request), Ok(expected));
}

#[test]
fn the_envelope_is_checked() {
    let base = text_message;
    let cases = [
        (base(), None),
        (json!([]), Some(100)),
        (without(base(), "messaging_product"), Some(100)),
        (with(base(), "/messaging_product", json!("telegram")), Some(100)),
        (without(base(), "recipient_type"), None),
        (with(base(), "/recipient_type", json!("group")), Some(100)),
        (with(base(), "/recipient_type", json!(null)), Some(100)),
        (without(base(), "to"), Some(100)),
        (with(base(), "/to", json!(4915112345678_u64)), Some(100)),
        (with(base(), "/to", json!("+49 (151) 1234-5678")), None),
        (with(base(), "/to", json!("4915112345678")), None),
        (with(base(), "/to", json!("+49151x2345678")), Some(131_009)),
        (with(base(), "/to", json!("+123456")), Some(131_009)),
        (with(base(), "/to", json!("+1234567890123456")), Some(131_009)),
        (with(base(), "/to", json!("+0491511234567")), Some(131_009)),
        (with(base(), "/to", json!("+15550100001")), Some(131_021)),
        (without(base(), "type"), Some(100)),
        (with(base(), "/type", json!("pigeon")), Some(100)),
        (with(base(), "/txet", json!({})), Some(100)),
        (with(base(), "/product_policy", json!("STRICT")), Some(100)),
        (with(base(), "/context", json!({"message_id": "wamid.x"})), None),
    ];
    for (body, expected) in cases {
        assert_eq!(code(&body), expected, "{body}");
    }
}

#[test]
fn lengths_are_in_characters() {
    let opaque =
        |length| with(text_message(), "/biz_opaque_callback_data", json!("é".repeat(length)));
    assert_eq!(code(&opaque(512)), None);
    assert_eq!(code(&opaque(513)), Some(100));
    assert_eq!(code(&with(text_message(), "/biz_opaque_callback_data", json!(1))), Some(100));
    let text = |length| with(text_message(), "/text", json!({"body": "é".repeat(length)}));
    assert_eq!(code(&text(4096)), None);
    assert_eq!(code(&text(4097)), Some(100));
    assert_eq!(code(&text(0)), Some(100));
}

#[test]
fn other_contents_need_their_object() {
    let message = |kind: &str, value: Value| {
        with(
            with(without(text_message(), "text"), "/type", json!(kind)),
            &format!("/{kind}"),
            value,
        )
    };
    assert_eq!(code(&message("image", json!({"id": "1"}))), None);
    assert_eq!(code(&message("image", json!({"link": "https://x/y"}))), None);
    assert_eq!(code(&message("image", json!({"caption": "c"}))), Some(100));
    assert_eq!(code(&message("image", json!("1"))), Some(100));
    assert_eq!(code(&message("contacts", json!([{}]))), None);
    assert_eq!(code(&message("interactive", json!({"type": "list"}))), None);
    assert_eq!(code(&with(without(text_message(), "text"), "/type", json!("text"))), Some(100));
}

#[test]
fn a_business_scoped_id_can_stand_for_the_number() {
    let to = |id: &str| with(without(text_message(), "to"), "/recipient", json!(id));
    let recipient = check(Endpoint::Messages, &to("DE.13491208655302741918")).map(|r| r.recipient);
    assert_eq!(recipient, Ok(Recipient::BusinessScoped("DE.13491208655302741918".to_owned())));
    for wrong in ["13491208655302741918", "de.1349", "DE.", "DE.13-49"] {
        assert_eq!(code(&to(wrong)), Some(131_009), "{wrong}");
    }
    let both = with(text_message(), "/recipient", json!("DE.1349"));
    let recipient = check(Endpoint::Messages, &both).map(|request| request.recipient);
    assert_eq!(recipient, Ok(Recipient::Phone("4915112345678".to_owned())));
    let login = template(
        "code",
        json!([
            {"type": "body", "parameters": [{"type": "text", "text": "1234"}]},
            {"type": "button", "sub_type": "url", "index": "0",
             "parameters": [{"type": "text", "text": "1234"}]},
        ]),
    );
    assert_eq!(code(&login), None);
    let login = with(without(login, "to"), "/recipient", json!("DE.1349"));
    assert_eq!(code(&login), Some(131_062));
}

#[test]
fn templates_are_found_by_name_language_and_account() {
    let language = |code: &str| {
        with(template("plain", json!([])), "/template/language", json!({"code": code}))
    };
    let cases = [
        (template("plain", json!([])), None),
        (template("plain", json!(null)), None),
        (template("plain", json!({})), Some(100)),
        (language("de"), Some(132_001)),
        (language(""), Some(100)),
        (template("absent", json!([])), Some(132_001)),
        (template("foreign", json!([])), Some(132_001)),
        (template("pending", json!([])), Some(132_001)),
        (template("rejected", json!([])), Some(132_001)),
        (template("paused", json!([])), Some(132_015)),
        (template("disabled", json!([])), Some(132_016)),
        (template("", json!([])), Some(100)),
        (template("plain", json!([{"type": "tail"}])), Some(100)),
    ];
    for (body, expected) in cases {
        assert_eq!(code(&body), expected, "{body}");
    }
}

#[test]
fn body_parameters_are_counted_and_cleaned() {
    let long = "x".repeat(1024);
    let cases = [
        (template("two", body(&["a", "b"])), None),
        (
            template(
                "two",
                json!([{"type": "BODY", "parameters": [
            {"type": "currency", "currency": {"fallback_value": "$1"}},
            {"type": "date_time", "date_time": {"fallback_value": "today"}}]}]),
            ),
            None,
        ),
        (template("two", body(&["a"])), Some(132_000)),
        (template("two", body(&["a", "b", "c"])), Some(132_000)),
        (template("two", json!([])), Some(132_000)),
        (template("plain", body(&["a"])), Some(132_000)),
        (template("two", body(&["a", ""])), Some(131_008)),
        (template("two", body(&["a\nb", "c"])), Some(132_018)),
        (template("two", body(&["a\tb", "c"])), Some(132_018)),
        (template("two", body(&["a    b", "c"])), None),
        (template("two", body(&["a     b", "c"])), Some(132_018)),
        (template("two", body(&["a", long.as_str()])), Some(132_005)),
        (template("two", body(&["a", &long[1..]])), None),
        (
            template(
                "two",
                json!([{"type": "body", "parameters": [
            {"type": "text", "text": "a"}, {"type": "image", "image": {"id": "1"}}]}]),
            ),
            Some(132_012),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(code(&body), expected, "{body}");
    }
}

#[test]
fn named_parameters_need_their_names() {
    let named = |names: [&str; 2]| {
        let parameters =
            names.map(|name| json!({"type": "text", "text": "x", "parameter_name": name}));
        template("named", json!([{"type": "body", "parameters": parameters}]))
    };
    assert_eq!(code(&named(["b", "a"])), None);
    assert_eq!(code(&named(["a", "c"])), Some(100));
    assert_eq!(code(&named(["a", "a"])), Some(100));
    assert_eq!(code(&template("named", body(&["x", "y"]))), Some(100));
    assert_eq!(code(&template("named", body(&["x"]))), Some(132_000));
}

#[test]
fn headers_and_buttons_need_their_values() {
    let header = |parameters: Value| json!([{"type": "header", "parameters": parameters}]);
    let button = |index: Value| {
        json!([{"type": "button", "sub_type": "url", "index": index,
                "parameters": [{"type": "text", "text": "x"}]}])
    };
    let image = json!({"type": "image", "image": {"id": "1"}});
    let cases = [
        (template("image", header(json!([image]))), None),
        (template("image", json!([])), Some(132_012)),
        (
            template("image", header(json!([{"type": "video", "video": {"id": "1"}}]))),
            Some(132_012),
        ),
        (template("image", header(json!([{"type": "image"}]))), Some(132_012)),
        (template("image", header(json!([image, image]))), Some(132_000)),
        (template("titled", header(json!([{"type": "text", "text": "t"}]))), None),
        (template("titled", json!([])), Some(132_000)),
        (template("titled", header(json!([image]))), Some(132_012)),
        (template("plain", header(json!([image]))), Some(132_000)),
        (template("link", button(json!("0"))), None),
        (template("link", button(json!(0))), None),
        (template("link", button(json!("1"))), Some(131_008)),
        (template("link", json!([])), Some(131_008)),
        (template("code", body(&["1234"])), Some(132_000)),
    ];
    for (body, expected) in cases {
        assert_eq!(code(&body), expected, "{body}");
    }
}

#[test]
fn the_marketing_endpoint_takes_marketing_templates_only() {
    let marketing = |body: &Value| check(Endpoint::MarketingMessages, body).err().map(|e| e.0);
    let sale = template("sale", json!([]));
    assert_eq!(marketing(&sale), None);
    assert_eq!(marketing(&with(sale.clone(), "/product_policy", json!("STRICT"))), None);
    assert_eq!(marketing(&with(sale.clone(), "/product_policy", json!("LAX"))), Some(100));
    assert_eq!(marketing(&template("plain", json!([]))), Some(131_055));
    assert_eq!(marketing(&text_message()), Some(100));
    assert_eq!(code(&sale), None, "the ordinary endpoint takes them too");
}
