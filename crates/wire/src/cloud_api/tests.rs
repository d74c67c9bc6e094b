use proptest::prelude::*;
use sendplane_domain::id::{PhoneNumberId, TemplateName, Wamid};
use serde_json::{Value, json};

use super::*;
use crate::record::samples::Sample;
use crate::record::{Dispatch, TemplateParameter};

fn body_of(dispatch: &Dispatch) -> Value {
    let body = template_body(Route::Messages, dispatch, "sp1.74.0.00.1.mac");
    serde_json::from_slice(&body).expect("JSON")
}

fn parameter(name: Option<&str>, value: &str) -> TemplateParameter {
    TemplateParameter { name: name.map(str::to_owned), value: value.to_owned() }
}

fn dispatch(category: &str, parameters: Vec<TemplateParameter>) -> Dispatch {
    let [sample, _] = Dispatch::samples();
    Dispatch {
        template_name: TemplateName::new("parcel_sent"),
        template_language: "pt_BR".into(),
        category: category.into(),
        parameters,
        ..sample
    }
}

#[test]
fn a_template_goes_out_with_its_parameters_in_order() {
    let parameters = vec![parameter(None, "Ada \"L\"\u{1f600}"), parameter(None, "17")];
    let expected = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+4915112345678",
        "type": "template",
        "template": {
            "name": "parcel_sent",
            "language": {"code": "pt_BR"},
            "components": [{"type": "body", "parameters": [
                {"type": "text", "text": "Ada \"L\"\u{1f600}"},
                {"type": "text", "text": "17"},
            ]}],
        },
        "biz_opaque_callback_data": "sp1.74.0.00.1.mac",
    });
    assert_eq!(body_of(&dispatch("utility", parameters)), expected);
}

#[test]
fn named_parameters_carry_their_names() {
    let body = body_of(&dispatch("utility", vec![parameter(Some("first_name"), "Ada")]));
    let expected = json!([{"type": "text", "parameter_name": "first_name", "text": "Ada"}]);
    assert_eq!(body["template"]["components"][0]["parameters"], expected);
}

#[test]
fn without_parameters_there_are_no_components() {
    for category in ["utility", "authentication"] {
        let body = body_of(&dispatch(category, Vec::new()));
        assert_eq!(body["template"].get("components"), None);
    }
}

#[test]
fn a_code_is_repeated_in_the_button() {
    let body = body_of(&dispatch("authentication", vec![parameter(None, "314159")]));
    let text = json!([{"type": "text", "text": "314159"}]);
    let expected = json!([
        {"type": "body", "parameters": text},
        {"type": "button", "sub_type": "url", "index": "0", "parameters": text},
    ]);
    assert_eq!(body["template"]["components"], expected);
}

#[test]
fn the_marketing_route_adds_its_policy_and_nothing_else() {
    let dispatch = dispatch("marketing", vec![parameter(None, "Ada")]);
    for product_policy in ProductPolicy::ALL {
        let route = Route::Marketing { product_policy };
        let body = template_body(route, &dispatch, "sp1.74.0.00.1.mac");
        let mut body: Value = serde_json::from_slice(&body).expect("JSON");
        let policy = body.as_object_mut().expect("an object").remove("product_policy");
        assert_eq!(policy, Some(json!(product_policy.as_str())));
        assert_eq!(body, body_of(&dispatch));
        assert_eq!(ProductPolicy::parse(product_policy.as_str()), Some(product_policy));
    }
    assert_eq!(body_of(&dispatch).get("product_policy"), None, "/messages refuses it");
    assert_eq!(ProductPolicy::parse("strict"), None);
}

#[test]
fn the_path_names_version_number_and_endpoint() {
    let of = |number: &str, route| path("v25.0", &PhoneNumberId::new(number), route);
    let marketing = Route::Marketing { product_policy: ProductPolicy::Strict };
    assert_eq!(of("1065", Route::Messages), Ok("/v25.0/1065/messages".into()));
    assert_eq!(of("1065", marketing), Ok("/v25.0/1065/marketing_messages".into()));
    for number in ["", "1/../2", "1?x", "1#", "%31", "1 2", "é"] {
        assert_eq!(of(number, marketing), Err(UnsafeNumber(number.into())));
    }
}

#[test]
fn a_redacted_body_differs_in_person_only() {
    let dispatch = dispatch("authentication", vec![parameter(Some("code"), "314159")]);
    let redacted = redacted_body(Route::Messages, &dispatch, "sp1.74.0.00.1.mac");
    let redacted = String::from_utf8(redacted).expect("text");
    for secret in ["15112345", "314159"] {
        assert!(!redacted.contains(secret), "{redacted}");
    }
    let clear = template_body(Route::Messages, &dispatch, "sp1.74.0.00.1.mac");
    let clear = String::from_utf8(clear).expect("text");
    let masked = clear.replace("+4915112345678", "+49…78").replace("314159", "[redacted]");
    assert_eq!(redacted, masked);
}

fn answer(http_status: u16, body: &Value) -> Answer {
    parse_answer(http_status, body.to_string().as_bytes())
}

#[test]
fn reads_acceptances() {
    let cases = [
        (json!({"id": "wamid.A"}), Acceptance::Accepted),
        (json!({"id": "wamid.A", "message_status": "accepted"}), Acceptance::Accepted),
        (
            json!({"id": "wamid.A", "message_status": "held_for_quality_assessment"}),
            Acceptance::Held,
        ),
        (json!({"id": "wamid.A", "message_status": "paused"}), Acceptance::Paused),
        (json!({"id": "wamid.A", "message_status": "new in 2027"}), Acceptance::Accepted),
        (json!({"id": "wamid.A", "message_status": 7}), Acceptance::Accepted),
    ];
    for (message, status) in cases {
        let body = json!({"messaging_product": "whatsapp", "success": true, "error": null,
            "contacts": [{"input": "+4915112345678", "user_id": "DE.1"}], "messages": [message]});
        let expected = Answer::Accepted { wamid: Wamid::new("wamid.A"), status };
        assert_eq!(answer(200, &body), expected);
        assert_eq!(answer(502, &body), expected, "an id is an id");
    }
}

#[test]
fn reads_errors() {
    let full = json!({"error": {"message": "(#131056) too fast", "type": "OAuthException",
        "code": 131_056, "error_subcode": 2_494_055, "is_transient": false,
        "error_data": {"messaging_product": "whatsapp", "details": "wait"}, "fbtrace_id": "A"}});
    let error = ApiError {
        code: 131_056,
        subcode: Some(2_494_055),
        message: "(#131056) too fast".into(),
        details: Some("wait".into()),
        is_transient: Some(false),
        raw: None,
    };
    assert_eq!(answer(400, &full), Answer::Error(error));

    let bare = |code: Value, data: Value| json!({"error": {"code": code, "error_data": data}});
    let error = |details: Option<&str>| ApiError {
        code: 2,
        subcode: None,
        message: String::new(),
        details: details.map(str::to_owned),
        is_transient: None,
        raw: None,
    };
    let cases = [
        (bare(json!(2), json!("a bare string")), Some("a bare string")),
        (bare(json!("2"), json!({})), None),
        (bare(json!(2), json!({"details": 5})), None),
        (bare(json!(2), json!([1])), None),
    ];
    for (body, details) in cases {
        assert_eq!(answer(503, &body), Answer::Error(error(details)));
    }
}

/// What a person has to read is kept as it came; what the table explains is not.
#[test]
fn the_raw_answer_of_an_unknown_code_is_kept() {
    let raw = |body: &[u8]| match parse_answer(400, body) {
        Answer::Error(error) => error.raw,
        other => panic!("{other:?}"),
    };
    let unknown = br#"{ "error":{"code":999999,"new_field":"\u00e9\u20ac"}}"#;
    assert_eq!(raw(unknown), Some(String::from_utf8_lossy(unknown).into_owned()));
    assert_eq!(raw(br#"{"error":{"code":131056}}"#), None);
    assert_eq!(raw(br#"{"error":{"code":100,"error_subcode":33}}"#), None);
    let long = format!(r#"{{"error":{{"code":7,"message":"x{}"}}}}"#, "€".repeat(2_000));
    let kept = raw(long.as_bytes()).expect("kept");
    assert!(kept.len() <= RAW_BYTES_MAX && kept.len() > RAW_BYTES_MAX - 3, "{}", kept.len());
    assert!(long.starts_with(&kept), "cut between characters");
    let answer = parse_answer(502, b"\xff\xfe<html>");
    let raw = "\u{fffd}\u{fffd}<html>".to_owned();
    assert_eq!(answer, Answer::Unparsed { reason: UnparsedReason::NotJson, raw });
}

#[test]
fn long_texts_are_cut() {
    let body = json!({"error": {"code": 1, "message": "é".repeat(9_000)}});
    let Answer::Error(error) = answer(500, &body) else { panic!("an error") };
    assert_eq!(error.message.chars().count(), 501);
}

#[test]
fn what_proves_nothing_says_why() {
    use UnparsedReason::*;
    let error = json!({"code": 131_000, "message": "later"});
    let cases = [
        (200, json!({"error": error}), ErrorInSuccess),
        (200, json!({"error": error, "messages": [{"id": "wamid.A"}]}), ErrorInSuccess),
        (400, json!({"error": error, "messages": [{"id": "wamid.A"}]}), ErrorInSuccess),
        (200, json!({"messages": [{}]}), NoMessageId),
        (200, json!({"messages": [{"id": ""}]}), NoMessageId),
        (200, json!({"messages": {"id": "wamid.A"}}), NoMessageId),
        (204, json!({}), NoMessageId),
        (500, json!({"error": {"message": "no code"}}), NoErrorCode),
        (500, json!({"error": "text"}), NoErrorCode),
        (302, json!({}), NoErrorCode),
        (200, json!([]), NotJson),
    ];
    for (http_status, body, reason) in cases {
        let expected = Answer::Unparsed { reason, raw: body.to_string() };
        assert_eq!(answer(http_status, &body), expected, "{body}");
    }
    for body in ["", "<html>", "{\"messages\":[{\"id\":\"wamid.A\"", "\u{0}"] {
        let expected = Answer::Unparsed { reason: NotJson, raw: body.into() };
        assert_eq!(parse_answer(200, body.as_bytes()), expected);
    }
    let names = [NotJson, ErrorInSuccess, NoMessageId, NoErrorCode].map(UnparsedReason::as_str);
    assert_eq!(names, ["not_json", "error_in_success", "no_message_id", "no_error_code"]);
}

/// Nesting beyond the parser's limit is a fault, not an overflow of the stack.
#[test]
fn deep_nesting_is_not_json() {
    let body = "[".repeat(100_000);
    let raw = body[..RAW_BYTES_MAX].to_owned();
    let expected = Answer::Unparsed { reason: UnparsedReason::NotJson, raw };
    assert_eq!(parse_answer(200, body.as_bytes()), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever happens to an acceptance on its way, it never becomes an error Meta stated.
    #[test]
    fn a_damaged_acceptance_is_no_refusal(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        http_status in 200_u16..600,
    ) {
        let mut body = json!({"contacts": [], "messages": [{"id": "wamid.A"}]}).to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        prop_assert!(!matches!(parse_answer(http_status, &body), Answer::Error(_)));
    }
}
