//! Goal: templates over time: pacing, pauses, quality, category, lifetimes.

use super::limits::{limited, sale};
use super::*;
use crate::config::{Category, Limits, Offline, Pacing, TemplateTtl, Ttl};
use crate::injection::Quality;
use crate::report::Gate;

const HOUR_MS: i64 = 3_600_000;

fn to(serial: i64) -> String {
    format!("+9198{serial:08}")
}

fn paced(pacing: Pacing) -> Model {
    let assess_ms = MsRange::new(60_000, 60_000);
    limited(Limits { pacing: Pacing { assess_ms, ..pacing }, ..Limits::default() })
}

fn status_of(answer: &Answer) -> String {
    let Body::Json(value) = &answer.body else { panic!("JSON") };
    value["messages"][0]["message_status"].as_str().unwrap_or_default().to_owned()
}

/// Marketing to `users` at one moment; how many were held.
fn campaign(model: &mut Model, at_ms: i64, users: std::ops::Range<i64>) -> usize {
    let answers = users.map(|user| send_from(model, at_ms, FAST, &sale(&to(user))));
    answers.filter(|answer| status_of(answer) == "held_for_quality_assessment").count()
}

/// (milliseconds after the start, event, title) of each notice about a template.
fn notices(hooks: &[(i64, Webhook)]) -> Vec<(i64, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let values = hooks.iter().map(|(at_ms, hook)| (at_ms - START, value_of(hook)));
    let about = values.filter(|(_, value)| value.get("message_template_id").is_some());
    about.map(|(at_ms, v)| (at_ms, text(&v["event"]), text(&v["other_info"]["title"]))).collect()
}

#[test]
fn messages_beyond_the_quota_are_held_and_released() {
    let mut model = paced(Pacing { quota: 5, ..Pacing::default() });
    assert_eq!(campaign(&mut model, START, 0..12), 7);
    assert_eq!(model.summary().messages_held, 7);
    let held: Vec<String> =
        model.ledger().accepted()[5..].iter().map(|accepted| accepted.wamid.clone()).collect();
    let hooks = drain(&mut model);
    let mut first_ms: BTreeMap<String, i64> = BTreeMap::new();
    for (at_ms, hook) in &hooks {
        for status in value_of(hook)["statuses"].as_array().into_iter().flatten() {
            assert_ne!(status["status"], "failed");
            first_ms.entry(status["id"].as_str().expect("text").to_owned()).or_insert(*at_ms);
        }
    }
    assert_eq!(first_ms.len(), 12, "every message is sent in the end");
    for (wamid, at_ms) in first_ms {
        assert_eq!(at_ms > START + 60_000, held.contains(&wamid), "{wamid} at {at_ms}");
    }
    assert_eq!(campaign(&mut model, START + HOUR_MS, 100..120), 0, "released for good");
    assert_eq!((notices(&hooks), model.summary().messages_held), (vec![], 0));
}

#[test]
fn a_bad_verdict_drops_what_is_held_and_pauses_the_template() {
    let mut model = paced(Pacing { quota: 5, release: false, ..Pacing::default() });
    campaign(&mut model, START, 0..12);
    let hooks = drain(&mut model);
    let values = hooks.iter().map(|(_, hook)| value_of(hook));
    let statuses: Vec<Value> =
        values.filter_map(|value| value["statuses"].as_array().cloned()).flatten().collect();
    let failed = statuses.iter().filter(|status| status["status"] == "failed");
    let codes: Vec<&Value> = failed.map(|status| &status["errors"][0]["code"]).collect();
    assert_eq!(codes, vec![&json!(132_015); 7]);
    let paused = (60_000, "PAUSED".to_owned(), "RATE_LIMITING_PAUSE".to_owned());
    assert_eq!(notices(&hooks), [paused]);
    let refused = send(&mut model, START + HOUR_MS, &sale(&to(1)));
    assert_eq!(error_code(&refused), Some(132_015));
    // 2 s later the caller knows.
    send(&mut model, START + HOUR_MS + 2_000, &sale(&to(1)));
    let expected = [(Gate::Template, 1)].into_iter().collect();
    assert_eq!(model.violations().after_refusal, expected);
    // It stays paused until somebody approves it; then the quota starts again.
    let approve = Injection::TemplateStatus {
        name: "season_sale".to_owned(),
        language: "en_US".to_owned(),
        status: TemplateStatus::Approved,
    };
    model.inject(START + 100 * HOUR_MS, approve).expect("known template");
    assert_eq!(campaign(&mut model, START + 100 * HOUR_MS, 0..6), 1);
}

#[test]
fn a_verdict_can_come_by_hand() {
    let mut model = paced(Pacing { quota: 1, release: false, ..Pacing::default() });
    assert_eq!(campaign(&mut model, START, 0..3), 2);
    let verdict = Injection::PacingVerdict {
        name: "season_sale".to_owned(),
        language: "en_US".to_owned(),
        release: true,
    };
    model.inject(START + 1_000, verdict).expect("known template");
    let hooks = drain(&mut model);
    assert!(notices(&hooks).is_empty(), "the planned verdict is void");
    assert!(hooks.iter().filter(|(at_ms, _)| *at_ms >= START + 1_000).count() >= 3);
}

#[test]
fn pacing_concerns_marketing_or_everything_or_utility_after_a_pause() {
    let utility = |model: &mut Model, at_ms: i64| {
        let answers = (0..3).map(|user| send(model, at_ms, &order(&to(user), "o")));
        answers.filter(|answer| status_of(answer) != "accepted").count()
    };
    let quota = Pacing { quota: 1, ..Pacing::default() };
    assert_eq!(utility(&mut paced(quota), START), 0);
    assert_eq!(utility(&mut paced(Pacing { all_categories: true, ..quota }), START), 2);
    let mut model = paced(quota);
    let shipped = Injection::TemplatePause {
        name: "order_shipped".to_owned(),
        language: "en_US".to_owned(),
        for_ms: None,
    };
    model.inject(START, shipped).expect("known template");
    let week_ms = 7 * 24 * HOUR_MS;
    assert_eq!(utility(&mut model, START + week_ms - 1), 2);
    let mut model = paced(quota);
    assert_eq!(utility(&mut model, START + week_ms), 0);
    // A recipient of the test range keeps its fixed result.
    let magic = send(&mut model, START, &sale(&magic::number(0, 0, 0, 1)));
    let magic_too = send(&mut model, START, &sale(&magic::number(0, 0, 0, 2)));
    assert_eq!((status_of(&magic), status_of(&magic_too)), ("accepted".into(), "accepted".into()));
}

#[test]
fn pauses_get_longer_and_end_by_themselves() {
    let mut model = model();
    let pause = |for_ms| Injection::TemplatePause {
        name: "order_confirmed".to_owned(),
        language: "en_US".to_owned(),
        for_ms,
    };
    let code = |model: &mut Model, at_ms: i64| {
        error_code(&send(model, START + at_ms, &order(&to(at_ms), "o")))
    };
    model.inject(START, pause(None)).expect("known template");
    assert_eq!(code(&mut model, 3 * HOUR_MS - 1), Some(132_015));
    assert_eq!(code(&mut model, 3 * HOUR_MS), None);
    model.inject(START + 4 * HOUR_MS, pause(None)).expect("known template");
    assert_eq!(code(&mut model, 10 * HOUR_MS - 1), Some(132_015));
    assert_eq!(code(&mut model, 10 * HOUR_MS), None);
    model.inject(START + 11 * HOUR_MS, pause(Some(1))).expect("known template");
    assert_eq!(code(&mut model, 1_000 * HOUR_MS), Some(132_016));
    let hooks = drain(&mut model);
    let seen: Vec<(String, String)> =
        notices(&hooks).into_iter().map(|(_, event, title)| (event, title)).collect();
    let expected = [
        ("PAUSED", "FIRST_PAUSE"),
        ("APPROVED", "UNPAUSE"),
        ("PAUSED", "SECOND_PAUSE"),
        ("APPROVED", "UNPAUSE"),
        ("DISABLED", "DISABLED"),
    ];
    assert_eq!(seen, expected.map(|(event, title)| (event.to_owned(), title.to_owned())));
}

#[test]
fn a_hand_on_the_status_voids_the_planned_end_of_a_pause() {
    let mut model = model();
    let (name, language) = ("order_confirmed".to_owned(), "en_US".to_owned());
    let (n, l) = (name.clone(), language.clone());
    let pause = Injection::TemplatePause { name: n, language: l, for_ms: Some(1_000) };
    model.inject(START, pause).expect("known template");
    let status = TemplateStatus::Disabled;
    let disable = Injection::TemplateStatus { name, language, status };
    model.inject(START + 1, disable).expect("known template");
    let answer = send(&mut model, START + 2_000, &order(&to(1), "o"));
    assert_eq!(error_code(&answer), Some(132_016));
}

#[test]
fn quality_and_category_are_announced() {
    let mut model = model();
    let (name, language) = ("order_confirmed".to_owned(), "en_US".to_owned());
    for quality in [Quality::Green, Quality::Red] {
        let (name, language) = (name.clone(), language.clone());
        let injection = Injection::TemplateQuality { name, language, quality };
        model.inject(START, injection).expect("known template");
    }
    let category = Category::Marketing;
    let injection = Injection::TemplateCategory { name, language, category };
    model.inject(START, injection).expect("known template");
    let values: Vec<Value> = drain(&mut model).iter().map(|(_, hook)| value_of(hook)).collect();
    let scores = |value: &Value| {
        (value["previous_quality_score"].clone(), value["new_quality_score"].clone())
    };
    assert_eq!(scores(&values[0]), (json!("UNKNOWN"), json!("GREEN")));
    assert_eq!(scores(&values[1]), (json!("GREEN"), json!("RED")));
    assert_eq!(values[2]["previous_category"], "UTILITY");
    assert_eq!(values[2]["new_category"], "MARKETING");
    send(&mut model, START, &order(&to(1), "o"));
    assert_eq!(model.ledger().accepted()[0].category, "marketing", "the price follows");
}

/// The statuses of one message to a recipient who is back after `offline_s`.
fn offline(ttl: Ttl, body: &Value) -> Vec<Value> {
    let mut model = limited(Limits { ttl, ..Limits::default() });
    send(&mut model, START, body);
    statuses(&mut model)
}

#[test]
fn a_message_that_cannot_be_delivered_in_time_is_dropped_in_silence() {
    let ttl = |seconds| Ttl {
        templates: vec![TemplateTtl {
            name: "order_confirmed".to_owned(),
            language: "en_US".to_owned(),
            seconds,
        }],
        ..Ttl::default()
    };
    let to = magic::number(36, 900, 0, 1);
    let order = order(&to, "o");
    assert_eq!(names(&offline(ttl(899), &order)), ["sent"]);
    assert_eq!(names(&offline(ttl(900), &order)), ["sent", "delivered", "read"]);
    assert_eq!(names(&offline(Ttl::default(), &order)), ["sent", "delivered", "read"]);
    let reported = Ttl { expiry_code: Some(131_043), ..ttl(899) };
    let statuses = offline(reported, &order);
    assert_eq!(names(&statuses), ["sent", "failed"]);
    assert_eq!(statuses[1]["errors"][0]["code"], 131_043);
    assert_eq!(statuses[1]["timestamp"], ((START + 899_000) / 1_000).to_string());
}

#[test]
fn a_login_code_lives_for_ten_minutes() {
    let code = |offline_s| {
        let mut body = order(&magic::number(36, offline_s, 0, 1), "o");
        let text = json!([{"type": "text", "text": "123"}]);
        body["template"] = json!({"name": "login_code", "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": text},
                {"type": "button", "sub_type": "url", "index": "0", "parameters": text}]});
        names(&offline(Ttl::default(), &body))
    };
    assert_eq!(code(600), ["sent", "delivered", "read"]);
    assert_eq!(code(601), ["sent"]);
}

#[test]
fn lifetimes_concern_everybody_when_enforced() {
    let offline = Offline { share: 1.0, for_ms: MsRange::new(5_000, 5_000) };
    let run = |ttl: Ttl, offline: Offline| {
        let mut model = limited(Limits { ttl, offline, ..Limits::default() });
        model.config.delays.delivered_ms = MsRange::new(3_000, 3_000);
        send(&mut model, START, &order("+919812345678", "o"));
        names(&statuses(&mut model)).len()
    };
    let short = |enforced| Ttl {
        enforced,
        templates: vec![TemplateTtl {
            name: "order_confirmed".to_owned(),
            language: "en_US".to_owned(),
            seconds: 1,
        }],
        ..Ttl::default()
    };
    assert_eq!(run(short(false), Offline::default()), 3);
    assert_eq!(run(short(true), Offline::default()), 1);
    assert_eq!(run(short(false), offline), 1, "an offline recipient in any case");
    assert_eq!(run(Ttl::default(), offline), 3);
}
