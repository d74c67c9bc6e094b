//! Goal: tokens, suspensions, the marketing endpoint, and what a number says about itself.

use super::limits::{limited, sale};
use super::*;
use crate::config::{Limits, MarketingAccount, PairLimit, Portfolio, Reported, Tier, Token};
use crate::report::{Gate, LimitKind};
use crate::suspension::{Affects, Scope, Suspension, TokenState};

const WABA: &str = "200000000000001";
const TO: &str = "+919812345678";

fn send_with(model: &mut Model, now_ms: i64, token: &str) -> (Option<i64>, Option<i64>) {
    let body = order(TO, "o").to_string();
    let call = Call {
        endpoint: Endpoint::Messages,
        phone_number_id: NUMBER,
        bearer_token: Some(token),
        body: body.as_bytes(),
    };
    let answer = model.handle_send(now_ms, &call);
    let Body::Json(value) = &answer.body else { panic!("JSON") };
    (error_code(&answer), value["error"]["error_subcode"].as_i64())
}

fn token(state: TokenState, expires_at_ms: Option<i64>) -> Injection {
    Injection::Token { token: "metasim-token".to_owned(), state, expires_at_ms }
}

#[test]
fn tokens_expire_are_revoked_and_come_back() {
    let limited = |token: &str, waba: &str| Token {
        token: token.to_owned(),
        expires_at_ms: Some(START + 100),
        waba_ids: vec![waba.to_owned()],
    };
    let tokens = vec![limited("here", WABA), limited("elsewhere", "7")];
    let mut model = Model::new(Config { tokens, ..config() }).expect("valid");
    assert_eq!(send_with(&mut model, START + 99, "here"), (None, None));
    assert_eq!(send_with(&mut model, START + 99, "elsewhere"), (Some(10), None));
    assert!(model.token_is_valid("here"));
    assert_eq!(model.debug_token(START + 99, "here")["data"]["is_valid"], true);
    assert_eq!(send_with(&mut model, START + 100, "here"), (Some(190), Some(463)));
    assert!(!model.token_is_valid("here"));
    let debug = model.debug_token(START + 100, "here");
    assert_eq!(debug["data"]["expires_at"], (START + 100).div_euclid(1_000));
    assert_eq!(
        (&debug["data"]["is_valid"], &debug["data"]["error"]["code"]),
        (&json!(false), &json!(190))
    );

    model.inject(START + 200, token(TokenState::Revoked, None)).expect("any token");
    assert_eq!(send_with(&mut model, START + 200, "metasim-token"), (Some(190), None));
    // 10 s later the caller knows; a new token is told anew.
    send_with(&mut model, START + 10_200, "metasim-token");
    let expected = [(Gate::Token, 1)].into_iter().collect();
    assert_eq!(model.violations().after_refusal, expected);
    let new = Injection::Token {
        token: "new".to_owned(),
        state: TokenState::Valid,
        expires_at_ms: Some(START + 90_000),
    };
    model.inject(START + 10_300, new).expect("any token");
    assert_eq!(send_with(&mut model, START + 89_999, "new"), (None, None));
    assert_eq!(send_with(&mut model, START + 90_000, "new"), (Some(190), Some(463)));
    model.inject(START + 90_000, token(TokenState::Valid, None)).expect("any token");
    assert_eq!(send_with(&mut model, START + 90_000, "metasim-token"), (None, None));
    assert_eq!(model.violations().after_refusal, expected);
}

fn suspension(scope: Scope, code: i64) -> Suspension {
    let (reported, affects) = (Reported::InAnswer, Affects::All);
    Suspension { scope, code, reported, affects, for_ms: None, announced: false }
}

fn two_accounts() -> Model {
    let mut config = config();
    config.phone_numbers[1].waba_id = "200000000000002".to_owned();
    config.limits.portfolios = vec![Portfolio {
        id: "p".to_owned(),
        waba_ids: vec![WABA.to_owned(), "200000000000002".to_owned()],
        tier: Tier::Unlimited,
    }];
    Model::new(config).expect("valid")
}

#[test]
fn a_suspension_closes_its_part_and_nothing_else() {
    let account = || Scope::Account(WABA.to_owned());
    for (scope, concerned) in [
        (Scope::PhoneNumber(NUMBER.to_owned()), [true, false]),
        (account(), [true, false]),
        (Scope::Portfolio("p".to_owned()), [true, true]),
        (Scope::App, [true, true]),
    ] {
        let mut model = two_accounts();
        let suspend = Injection::Suspend(suspension(scope.clone(), 131_031));
        model.inject(START, suspend).expect("a part");
        for (number, concerned) in [NUMBER, FAST].into_iter().zip(concerned) {
            let answer = send_from(&mut model, START, number, &order(TO, "o"));
            assert_eq!(error_code(&answer), concerned.then_some(131_031), "{scope:?} {number}");
        }
        let release = |code| Injection::Release { scope: scope.clone(), code };
        model.inject(START, release(Some(368))).expect_err("another code");
        model.inject(START, release(Some(131_031))).expect("suspended");
        assert_eq!(error_code(&send(&mut model, START, &order(TO, "o"))), None);
        model.inject(START, release(None)).expect_err("released");
    }
    let nowhere = Injection::Suspend(suspension(Scope::Account("7".to_owned()), 368));
    two_accounts().inject(START, nowhere).expect_err("no such part");
}

#[test]
fn a_suspension_may_concern_some_messages_and_end_by_itself() {
    let mut model = two_accounts();
    let base = suspension(Scope::Account(WABA.to_owned()), 131_042);
    let marketing = Suspension {
        reported: Reported::ByWebhook,
        affects: Affects::Marketing,
        for_ms: Some(60_000),
        ..base.clone()
    };
    let country = Suspension {
        code: 130_497,
        affects: Affects::DiallingCode("91".to_owned()),
        ..base.clone()
    };
    model.inject(START, Injection::Suspend(marketing)).expect("a part");
    let german = "+4915112345678";
    send(&mut model, START + 59_999, &sale(german));
    assert_eq!(statuses(&mut model)[0]["errors"][0]["code"], 131_042);
    send(&mut model, START + 59_999, &order(german, "o"));
    assert_eq!(names(&statuses(&mut model)).len(), 3);
    send(&mut model, START + 60_000, &sale(german));
    assert_eq!(names(&statuses(&mut model)).len(), 3, "released");
    model.inject(START + 70_000, Injection::Suspend(country)).expect("a part");
    assert_eq!(error_code(&send(&mut model, START + 70_000, &order(TO, "o"))), Some(130_497));
    assert_eq!(error_code(&send(&mut model, START + 70_000, &order(german, "o"))), None);
    let templates = Suspension { code: 131_064, affects: Affects::Templates, ..base };
    model.inject(START + 80_000, Injection::Suspend(templates)).expect("a part");
    assert_eq!(error_code(&send(&mut model, START + 80_000, &order(german, "o"))), Some(131_064));
    assert_eq!(error_code(&send(&mut model, START + 80_000, &text(german))), None);
}

#[test]
fn a_suspension_can_be_announced_at_both_ends() {
    for (code, event) in [(368, "ACCOUNT_RESTRICTION"), (131_031, "DISABLED_UPDATE")] {
        let mut model = two_accounts();
        let suspension = Suspension {
            announced: true,
            for_ms: Some(1_000),
            ..suspension(Scope::Portfolio("p".to_owned()), code)
        };
        model.inject(START, Injection::Suspend(suspension)).expect("a part");
        let hooks = drain(&mut model);
        let seen: Vec<_> =
            hooks.iter().map(|(at, hook)| (at - START, value_of(hook)["event"].clone())).collect();
        let end = (1_000, json!("DISABLED_UPDATE"));
        let begin = (0, json!(event));
        assert_eq!(seen, [begin.clone(), begin, end.clone(), end], "for each account");
    }
}

#[test]
fn a_number_says_what_it_is_worth() {
    let mut model = two_accounts();
    let get = |model: &mut Model, id: &str, fields: Option<&str>| {
        let call = NodeCall { id, fields, bearer_token: Some("metasim-token") };
        let answer = model.handle_get(START, &call);
        let Body::Json(value) = answer.body else { panic!("JSON") };
        (answer.http_status, value)
    };
    let fields = "throughput, whatsapp_business_manager_messaging_limit";
    let expected = json!({"id": NUMBER, "throughput": {"level": "STANDARD"},
        "whatsapp_business_manager_messaging_limit": "TIER_UNLIMITED"});
    assert_eq!(get(&mut model, NUMBER, Some(fields)), (200, expected));
    assert_eq!(get(&mut model, NUMBER, None).1["throughput"]["level"], "STANDARD");
    assert_eq!(get(&mut model, NUMBER, Some("nonsense")).1["error"]["code"], 100);
    assert_eq!(get(&mut model, "7", None).1["error"]["error_subcode"], 33);
    let health = |value: &Value| value["health_status"]["can_send_message"].clone();
    let healthy = get(&mut model, WABA, Some("health_status")).1;
    assert_eq!(health(&healthy), "AVAILABLE");
    let account = suspension(Scope::Account(WABA.to_owned()), 368);
    let limited = Suspension { affects: Affects::Marketing, ..account.clone() };
    model.inject(START, Injection::Suspend(limited)).expect("a part");
    assert_eq!(health(&get(&mut model, NUMBER, Some("health_status")).1), "LIMITED");
    model.inject(START, Injection::Suspend(account)).expect("a part");
    let blocked = get(&mut model, NUMBER, Some("health_status")).1;
    assert_eq!(health(&blocked), "BLOCKED");
    let entities = blocked["health_status"]["entities"].as_array().expect("entities");
    let kinds: Vec<_> =
        entities.iter().map(|e| (&e["entity_type"], &e["can_send_message"])).collect();
    let (open, closed) = (json!("AVAILABLE"), json!("BLOCKED"));
    let expected = [
        (&json!("PHONE_NUMBER"), &open),
        (&json!("WABA"), &closed),
        (&json!("BUSINESS"), &open),
        (&json!("APP"), &open),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(entities[1]["errors"][0]["error_code"], 368);
    assert_eq!(health(&get(&mut model, FAST, Some("health_status")).1), "AVAILABLE");
    assert_eq!(model.summary().calls, 0, "questions are no sends");
}

fn marketing_call(model: &mut Model, now_ms: i64, policy: Option<&str>) -> Answer {
    let mut body = sale(TO);
    if let Some(policy) = policy {
        body["product_policy"] = policy.into();
    }
    let body = body.to_string();
    let call = Call {
        endpoint: Endpoint::MarketingMessages,
        phone_number_id: NUMBER,
        bearer_token: Some("metasim-token"),
        body: body.as_bytes(),
    };
    model.handle_send(now_ms, &call)
}

fn account(onboarded: bool, cloud_api_disabled: bool) -> MarketingAccount {
    MarketingAccount {
        waba_id: WABA.to_owned(),
        onboarded,
        cloud_api_disabled,
        template_sync_ms: 0,
        unavailable_templates: Vec::new(),
        not_marketing_code: 134_100,
    }
}

fn onboarded(account: MarketingAccount) -> Model {
    limited(Limits { marketing_accounts: vec![account], ..Limits::default() })
}

#[test]
fn the_marketing_endpoint_follows_onboarding_and_policy() {
    const FALLBACK: Option<&str> = Some("CLOUD_API_FALLBACK");
    const STRICT: Option<&str> = Some("STRICT");
    // onboarded, Cloud API off, policy, code, category
    let cases = [
        (true, false, STRICT, None, "marketing_lite"),
        (true, true, None, None, "marketing_lite"),
        (false, false, FALLBACK, None, "marketing"),
        (false, false, None, None, "marketing"),
        (false, false, STRICT, Some(134_102), ""),
        (false, true, FALLBACK, Some(131_063), ""),
        (false, true, STRICT, Some(134_102), ""),
    ];
    for (is_onboarded, disabled, policy, code, category) in cases {
        let mut model = onboarded(account(is_onboarded, disabled));
        let answer = marketing_call(&mut model, START, policy);
        assert_eq!(error_code(&answer), code, "{is_onboarded} {disabled} {policy:?}");
        let Some(accepted) = model.ledger().accepted().first() else { continue };
        assert_eq!(accepted.category, category);
        let Body::Json(value) = &answer.body else { panic!("JSON") };
        assert_eq!(value["success"], true);
        let priced = statuses(&mut model);
        let price = priced.iter().find_map(|status| status.get("pricing")).expect("priced");
        assert_eq!(price["category"], category);
    }
    let mut model = onboarded(account(true, true));
    assert_eq!(error_code(&send(&mut model, START, &sale(TO))), Some(131_063));
    assert_eq!(error_code(&send(&mut model, START, &order(TO, "o"))), None, "utility may");
    let body = order(TO, "o").to_string();
    let call = Call {
        endpoint: Endpoint::MarketingMessages,
        phone_number_id: NUMBER,
        bearer_token: Some("metasim-token"),
        body: body.as_bytes(),
    };
    assert_eq!(error_code(&model.handle_send(START, &call)), Some(134_100));
}

#[test]
fn a_template_may_be_unavailable_to_the_marketing_endpoint_under_either_policy() {
    let unavailable_templates = vec!["season_sale".to_owned()];
    let mut model = onboarded(MarketingAccount { unavailable_templates, ..account(true, false) });
    for policy in [None, Some("CLOUD_API_FALLBACK"), Some("STRICT")] {
        let answer = marketing_call(&mut model, START, policy);
        assert_eq!(error_code(&answer), Some(134_102), "{policy:?}");
        assert_eq!(answer.http_status, 500, "as Meta documents it");
    }
    assert_eq!(error_code(&send(&mut model, START, &sale(TO))), None, "the other endpoint may");
}

/// Meta counts a number's and a pair's messages wherever they came in.
#[test]
fn both_endpoints_share_the_limits_of_number_and_pair() {
    let limits = Limits { marketing_accounts: vec![account(true, false)], ..Limits::default() };
    let model = || limited(limits.clone());
    // All but one by one endpoint; the last one and one too many by the other.
    for by_marketing_first in [true, false] {
        let mut model = model();
        let call = |model: &mut Model, marketing: bool, recipient: &str, at_ms: i64| {
            let body = sale(recipient).to_string();
            let endpoint = if marketing { Endpoint::MarketingMessages } else { Endpoint::Messages };
            let bearer_token = Some("metasim-token");
            let body = body.as_bytes();
            let call = Call { endpoint, phone_number_id: NUMBER, bearer_token, body };
            error_code(&model.handle_send(START + at_ms, &call))
        };
        for serial in 0..79 {
            let recipient = format!("+9198{serial:08}");
            assert_eq!(call(&mut model, by_marketing_first, &recipient, serial), None);
        }
        assert_eq!(call(&mut model, !by_marketing_first, TO, 100), None);
        for marketing in [true, false] {
            assert_eq!(call(&mut model, marketing, TO, 101), Some(130_429));
        }
        assert_eq!(model.violations().by_kind, [(LimitKind::Number, 2)].into_iter().collect());
    }
    let mut config = Config { limits: limits.clone(), ..config() };
    config.pair_limit = PairLimit { burst: 2, refill_ms: 6_000 };
    // The cap of marketing per user would come first.
    config.limits.marketing.per_user = 0;
    let mut model = Model::new(config).expect("valid");
    assert_eq!(error_code(&marketing_call(&mut model, START, None)), None);
    assert_eq!(error_code(&send(&mut model, START, &sale(TO))), None);
    assert_eq!(error_code(&marketing_call(&mut model, START, None)), Some(131_056));
    assert_eq!(error_code(&send(&mut model, START, &sale(TO))), Some(131_056));
    assert_eq!(model.violations().by_kind, [(LimitKind::Pair, 2)].into_iter().collect());
}

#[test]
fn templates_synchronise_when_they_are_new_or_idle() {
    let mut model =
        onboarded(MarketingAccount { template_sync_ms: 600_000, ..account(true, false) });
    let week_ms = 7 * 24 * 3_600_000;
    let mut code = |at_ms: i64| error_code(&marketing_call(&mut model, START + at_ms, None));
    assert_eq!(code(0), Some(134_101));
    assert_eq!(code(599_999), Some(134_101));
    assert_eq!(code(600_000), None);
    assert_eq!(code(600_000 + week_ms), None);
    assert_eq!(code(600_001 + 2 * week_ms), Some(134_101), "idle for more than a week");
    assert_eq!(code(1_200_001 + 2 * week_ms), None);
}

#[test]
fn onboarding_happens_while_running() {
    let mut model = onboarded(account(false, false));
    let onboard = Injection::MarketingAccount(account(true, false));
    model.inject(START, onboard.clone()).expect("any account");
    let hooks = drain(&mut model);
    assert_eq!(value_of(&hooks[0].1)["event"], "MM_LITE_TERMS_SIGNED");
    marketing_call(&mut model, START, Some("STRICT"));
    assert_eq!(model.ledger().accepted()[0].category, "marketing_lite");
    drain(&mut model);
    model.inject(START, onboard).expect("any account");
    assert!(drain(&mut model).is_empty(), "nothing new");
}
