//! Goal: every limit holds exactly at its boundary, says what it should, and is reported.

use super::*;
use crate::config::{
    CallLimit, Limits, MarketingRule, PairLimit, Portfolio, PortfolioRule, Reported, Tier,
};
use crate::report::{Gate, LimitKind, recipient_hash};

const WABA: &str = "200000000000001";
const DAY_MS: i64 = 24 * 3_600_000;
const INDIA: &str = "+919812345678";

pub(super) fn limited(limits: Limits) -> Model {
    Model::new(Config { limits, ..config() }).expect("valid")
}

pub(super) fn sale(to: &str) -> Value {
    let mut sale = order(to, "o");
    sale["template"] = json!({"name": "season_sale", "language": {"code": "en_US"}, "components": [
        {"type": "body", "parameters": [{"type": "text", "text": "10 %"}]}]});
    sale
}

fn to(serial: i64) -> String {
    format!("+9198{serial:08}")
}

fn inbound(from: &str) -> Injection {
    Injection::Text {
        phone_number_id: NUMBER.to_owned(),
        from: from.to_owned(),
        text: "hi".to_owned(),
        name: None,
    }
}

fn upgrade(maintenance_ms: i64) -> Injection {
    let phone_number_id = NUMBER.to_owned();
    Injection::ThroughputUpgrade { phone_number_id, per_second: 1_000, maintenance_ms }
}

#[test]
fn calls_above_the_throughput_are_reported_with_how_far() {
    let mut model = model();
    for serial in 0..80 {
        send(&mut model, START + serial, &order(&to(serial), "o"));
    }
    assert_eq!(model.violations().total, 0);
    for (at_ms, observed, early_ms) in [(500, 81, 500), (999, 82, 1)] {
        let answer = send(&mut model, START + at_ms, &order(INDIA, "o"));
        assert_eq!(error_code(&answer), Some(130_429));
        let violation = model.violations().first.last().expect("reported").clone();
        assert_eq!((violation.kind, violation.limit), (LimitKind::Number, 80));
        assert_eq!((violation.observed, violation.early_ms), (observed, Some(early_ms)));
        assert_eq!(violation.recipient_hash, recipient_hash(&INDIA[1..]));
        assert_eq!(violation.at_ms, START + at_ms);
    }
    assert_eq!(error_code(&send(&mut model, START + 1_000, &order(INDIA, "o"))), None);
    let report = model.violations();
    assert_eq!(report.by_kind, [(LimitKind::Number, 2)].into_iter().collect());
    let number = &report.numbers[NUMBER];
    assert_eq!(number.violations, report.by_kind);
    // 80, two refused and one more, of which the first is exactly a second before the last.
    assert_eq!((number.calls_per_second_max, number.calls_per_second_max_closed), (82, 83));
    assert_eq!((number.messages_per_second_max, number.messages_per_second_max_closed), (80, 81));
    assert_eq!(model.summary().violations_by_kind, report.by_kind);

    model.reset_violations();
    let report = model.violations();
    assert_eq!((report.total, report.first.len()), (0, 0));
    assert_eq!(report.numbers[NUMBER].calls_per_second_max, 0);
    assert_eq!(model.summary().numbers[NUMBER].calls_per_second_max, 82, "the summary goes on");
}

#[test]
fn the_series_shows_every_second() {
    let mut model = model();
    let start = START.div_euclid(1_000);
    send(&mut model, START, &order(INDIA, "o"));
    model.inject(START + 10, inbound(INDIA)).expect("known number");
    send(&mut model, START + 20, &order("1", "o"));
    send(&mut model, START + 2_000, &order(INDIA, "o"));
    let rates = model.rates(NUMBER, 0).expect("known number");
    let seen: Vec<_> =
        rates.iter().map(|r| (r.second - start, r.calls, r.accepted, r.inbound)).collect();
    assert_eq!(seen, [(0, 2, 1, 1), (1, 0, 0, 0), (2, 1, 1, 0)]);
    assert_eq!(model.rates(NUMBER, start + 1).map(|rates| rates.len()), Some(1));
    assert_eq!(model.rates("7", 0), None);
}

#[test]
fn an_upgrade_closes_the_number_and_then_widens_it() {
    let mut model = model();
    model.inject(START, upgrade(30_000)).expect("known number");
    assert_eq!(model.next_due(), Some(START + 30_000));
    let closed = send(&mut model, START + 29_999, &order(INDIA, "o"));
    assert_eq!((error_code(&closed), closed.http_status), (Some(131_057), 500));
    assert_eq!(model.throughput(NUMBER).expect("known")["throughput"]["level"], "STANDARD");
    assert_eq!(error_code(&send_from(&mut model, START, FAST, &order(INDIA, "o"))), None);
    for serial in 0..1_000 {
        let answer = send(&mut model, START + 30_000, &order(&to(serial), "o"));
        assert_eq!(error_code(&answer), None, "{serial}");
    }
    assert_eq!(error_code(&send(&mut model, START + 30_000, &order(INDIA, "o"))), Some(130_429));
    assert_eq!(model.throughput(NUMBER).expect("known")["throughput"]["level"], "HIGH");
    let values: Vec<Value> = drain(&mut model).iter().map(|(_, hook)| value_of(hook)).collect();
    let notices = values.iter().filter(|value| value["event"] == "THROUGHPUT_UPGRADE");
    assert_eq!(notices.count(), 1);
}

#[test]
fn a_later_upgrade_takes_the_place_of_a_running_one() {
    let mut model = model();
    model.inject(START, upgrade(10_000)).expect("known number");
    model.inject(START + 5_000, upgrade(10_000)).expect("known number");
    let at = |model: &mut Model, ms| error_code(&send(model, START + ms, &order(INDIA, "o")));
    assert_eq!(at(&mut model, 10_000), Some(131_057));
    assert_eq!(at(&mut model, 14_999), Some(131_057));
    assert_eq!(at(&mut model, 15_000), None);
}

#[test]
fn calls_into_a_closed_number_count_once_the_caller_knows() {
    let mut model = limited(Limits { answer_grace_ms: 1_000, ..Limits::default() });
    let latency_ms = MsRange::new(80, 80);
    model.set_faults(Faults { latency_ms, ..Faults::default() }).expect("valid");
    model.inject(START, upgrade(60_000)).expect("known number");
    // In flight together, then while the answer is on its way or within the grace.
    for at_ms in [100, 100, 179, 1_180] {
        send(&mut model, START + at_ms, &order(INDIA, "o"));
    }
    assert!(model.violations().after_refusal.is_empty());
    send(&mut model, START + 1_181, &order(INDIA, "o"));
    let expected = [(Gate::Maintenance, 1)].into_iter().collect();
    assert_eq!(model.violations().after_refusal, expected);
    assert_eq!(model.violations().total, 0, "no limit was exceeded");
    // Open again, and closed again: the caller has to be told anew.
    model.inject(START + 61_000, upgrade(60_000)).expect("known number");
    send(&mut model, START + 70_000, &order(INDIA, "o"));
    assert_eq!(model.violations().after_refusal, expected);
    assert_eq!(model.summary().calls_after_refusal, expected);
}

#[test]
fn the_pair_limit_can_be_read_as_borrowing() {
    let pair_model = crate::config::PairModel::Borrowing;
    let mut model = limited(Limits { pair_model, ..Limits::default() });
    let mut code = |at_ms| error_code(&send(&mut model, START + at_ms, &order(INDIA, "o")));
    assert!((0..20).all(|call| code(call).is_none()));
    assert_eq!(code(60_000), Some(131_056));
    assert_eq!(code(119_999), Some(131_056));
    assert_eq!(code(120_000), None);
    let report = model.violations();
    assert_eq!(report.by_kind, [(LimitKind::Pair, 2)].into_iter().collect());
    assert_eq!((report.first[0].observed, report.first[0].early_ms), (55, Some(60_000)));
    assert_eq!((report.first[1].observed, report.first[1].early_ms), (46, Some(1)));
}

fn portfolio(reported: Reported) -> Model {
    let portfolios = vec![Portfolio {
        id: "p".to_owned(),
        waba_ids: vec![WABA.to_owned()],
        tier: Tier::Tier250,
    }];
    let portfolio = PortfolioRule { reported, ..PortfolioRule::default() };
    limited(Limits { portfolios, portfolio, ..Limits::default() })
}

/// Sends to `users` and says how many calls were refused.
fn send_to(model: &mut Model, at_ms: i64, users: std::ops::Range<i64>) -> usize {
    let answers = users.map(|user| send_from(model, at_ms, FAST, &order(&to(user), "o")));
    answers.filter(|answer| error_code(answer).is_some()).count()
}

#[test]
fn a_portfolio_limit_counts_users_of_all_its_numbers() {
    let mut model = portfolio(Reported::InAnswer);
    assert_eq!(send_to(&mut model, START, 0..200), 0);
    for serial in 200..250 {
        let answer = send(&mut model, START + 1, &order(&to(serial), "o"));
        assert_eq!(error_code(&answer), None, "of another number");
    }
    let refused = send(&mut model, START + 2, &order(&to(250), "o"));
    assert_eq!(error_code(&refused), Some(131_048));
    assert_eq!(send_to(&mut model, START + 2, 0..50), 0, "they count already");
    model.inject(START + 3, inbound(&to(251))).expect("known number");
    let replied = send(&mut model, START + 3, &order(&to(251), "o"));
    assert_eq!(error_code(&replied), None, "inside a service window");
    let report = model.violations();
    assert_eq!(report.by_kind, [(LimitKind::Portfolio, 1)].into_iter().collect());
    let violation = &report.first[0];
    assert_eq!((violation.limit, violation.observed), (250, 251));
    // Users 50 to 199 were last messaged at the start; the others a moment later.
    assert_eq!(violation.early_ms, Some(DAY_MS - 2));
    assert_eq!(send_to(&mut model, START + DAY_MS - 1, 300..301), 1);
    assert_eq!(send_to(&mut model, START + DAY_MS, 300..451), 1, "150 have left");
}

#[test]
fn a_portfolio_limit_may_fail_messages_instead_of_calls() {
    let mut model = portfolio(Reported::ByWebhook);
    assert_eq!(send_to(&mut model, START, 0..251), 0);
    let failed: Vec<Value> =
        statuses(&mut model).into_iter().filter(|status| status["status"] == "failed").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["errors"][0]["code"], 131_048);
    assert_eq!(failed[0]["recipient_id"], to(250)[1..]);
    assert_eq!(model.violations().by_kind[&LimitKind::Portfolio], 1);
}

#[test]
fn a_portfolio_steps_up_after_half_its_limit() {
    let mut model = portfolio(Reported::InAnswer);
    let rule = PortfolioRule { steps_up: true, ..model.limits().portfolio };
    model.set_limits(Limits { portfolio: rule, ..model.limits().clone() }).expect("valid");
    send_to(&mut model, START, 0..124);
    assert!(drain(&mut model).iter().all(|(at_ms, _)| *at_ms < START + 3_600_000));
    send_to(&mut model, START + 3_600_000, 124..125);
    let (at_ms, hook) = drain(&mut model).pop().expect("a notice");
    assert_eq!(at_ms, START + 7 * 3_600_000);
    let body: Value = serde_json::from_slice(&hook.body).expect("JSON");
    assert_eq!(body["entry"][0]["changes"][0]["field"], "business_capability_update");
    assert_eq!(value_of(&hook)["max_daily_conversations_per_business"], "TIER_2K");
    assert_eq!(send_to(&mut model, at_ms, 1_000..1_300), 0);
    let tier = Injection::PortfolioTier { portfolio: "p".to_owned(), tier: Tier::Tier250 };
    model.inject(at_ms, tier).expect("known portfolio");
    assert_eq!(send_to(&mut model, at_ms, 2_000..2_001), 1, "425 users are above 250");
}

#[test]
fn a_number_that_earned_it_is_upgraded() {
    let mut model = portfolio(Reported::InAnswer);
    let upgrade =
        crate::config::Upgrade { automatic: true, unique_users: 10, ..Default::default() };
    model.set_limits(Limits { upgrade, ..model.limits().clone() }).expect("valid");
    let send_all = |model: &mut Model, at_ms: i64, users: std::ops::Range<i64>| -> Vec<_> {
        users.map(|user| error_code(&send(model, at_ms, &order(&to(user), "o")))).collect()
    };
    assert_eq!(send_all(&mut model, START, 0..12), [None; 12], "its portfolio has a limit");
    let tier = Injection::PortfolioTier { portfolio: "p".to_owned(), tier: Tier::Unlimited };
    model.inject(START + 1, tier).expect("known portfolio");
    assert_eq!(send_all(&mut model, START + 1, 12..14), [None, Some(131_057)]);
    assert_eq!(send_all(&mut model, START + 60_001, 14..15), [None]);
    assert_eq!(model.config().phone_numbers[0].throughput_per_second, 1_000);
}

fn capped(reported: Reported) -> Model {
    let marketing = MarketingRule { per_user: 1, reported, ..MarketingRule::default() };
    limited(Limits { marketing, ..Limits::default() })
}

#[test]
fn marketing_above_the_cap_fails_and_a_retry_within_a_day_is_reported() {
    let mut model = capped(Reported::ByWebhook);
    send(&mut model, START, &sale(INDIA));
    assert_eq!(names(&statuses(&mut model)), ["sent", "delivered", "read"]);
    // Utility is not concerned, nor is an exempt country.
    for _ in 0..3 {
        send(&mut model, START + 20_000, &order(INDIA, "o"));
        send(&mut model, START + 20_000, &sale("+4915112345678"));
    }
    assert!(statuses(&mut model).iter().all(|status| status["status"] != "failed"));
    assert_eq!(send(&mut model, START + 30_000, &sale(INDIA)).http_status, 200);
    let failed = drain(&mut model);
    let told_ms = failed[0].0;
    assert_eq!(value_of(&failed[0].1)["statuses"][0]["errors"][0]["code"], 131_049);
    let report = model.violations();
    assert_eq!((report.total, report.marketing_withheld), (0, 1), "nobody can foresee it");

    // In flight while the webhook comes in, then a retry.
    send(&mut model, told_ms + 10_000, &sale(INDIA));
    assert_eq!(model.violations().total, 0);
    send(&mut model, told_ms + 10_001, &sale(INDIA));
    let report = model.violations();
    assert_eq!(report.by_kind, [(LimitKind::MarketingRetry, 1)].into_iter().collect());
    assert_eq!(report.first[0].early_ms, Some(DAY_MS - 10_001));
    // A session opens the way, and does not count against the cap.
    model.inject(told_ms + 20_000, inbound(INDIA)).expect("known number");
    drain(&mut model);
    model.reset_violations();
    send(&mut model, told_ms + 20_001, &sale(INDIA));
    assert_eq!(names(&statuses(&mut model)), ["sent", "delivered", "read"]);
}

#[test]
fn a_cap_of_the_test_range_or_a_knob_counts_for_retries_too() {
    let mut model = model();
    let to = magic::number(10, 131_049, 0, 1);
    send(&mut model, START, &sale(&to));
    send(&mut model, START + 10_001, &order(&to, "o"));
    assert_eq!(model.violations().total, 0, "utility is no retry");
    // The second marketing call is a retry, and is itself told 131049 again.
    send(&mut model, START + 10_001, &sale(&to));
    send(&mut model, START + 10_001 + DAY_MS, &sale(&to));
    assert_eq!(model.violations().by_kind, BTreeMap::from([]));
}

#[test]
fn marketing_to_the_united_states_fails_when_set() {
    let marketing = MarketingRule {
        none_to_us: true,
        reported: Reported::InAnswer,
        ..MarketingRule::default()
    };
    let mut model = limited(Limits { marketing, ..Limits::default() });
    let mut code = |body: &Value| error_code(&send(&mut model, START, body));
    assert_eq!(code(&sale("+12125550100")), Some(131_049));
    assert_eq!(code(&sale("+14165550100")), None);
    assert_eq!(code(&order("+12125550100", "o")), None);
}

#[test]
fn call_limits_answer_their_code_and_press_before() {
    let limit = CallLimit { calls: 10, window_ms: 60_000 };
    for (limits, code, header, kind) in [
        (Limits { app_calls: limit, ..Limits::default() }, 4, "x-app-usage", LimitKind::App),
        (
            Limits { account_calls: limit, ..Limits::default() },
            80_007,
            "x-business-use-case-usage",
            LimitKind::Account,
        ),
    ] {
        let mut model = limited(limits);
        let mut call = |at_ms: i64| send(&mut model, START + at_ms, &order(INDIA, "o"));
        let answers: Vec<Answer> = (0..10).map(&mut call).collect();
        assert!(answers.iter().all(|answer| error_code(answer).is_none()));
        assert!(answers[..7].iter().all(|answer| answer.headers.is_empty()));
        let usage = |answer: &Answer| -> Value {
            assert_eq!(answer.headers[0].0, header);
            let value: Value = serde_json::from_str(&answer.headers[0].1).expect("JSON");
            value.get(WABA).map_or(value.clone(), |usages| usages[0].clone())
        };
        assert_eq!(usage(&answers[7])["call_count"], 80);
        let refused = call(30_000);
        assert_eq!((error_code(&refused), refused.http_status), (Some(code), 400));
        assert_eq!(usage(&refused)["call_count"], 100);
        if code == 80_007 {
            assert_eq!(usage(&refused)["estimated_time_to_regain_access"], 1);
            assert_eq!(usage(&answers[8])["estimated_time_to_regain_access"], 0);
        }
        assert_eq!(error_code(&call(59_999)), Some(code));
        assert_eq!(error_code(&call(60_000)), None, "the first one has left");
        assert_eq!(error_code(&call(60_000)), Some(code));
        assert_eq!(model.violations().by_kind, [(kind, 3)].into_iter().collect());
    }
}

#[test]
fn limits_change_while_running_but_portfolios_do_not() {
    let mut model = portfolio(Reported::InAnswer);
    let limits = model.limits().patched(&json!({"marketing": {"per_user": 3}})).expect("valid");
    model.set_limits(limits).expect("valid");
    assert_eq!(model.limits().marketing.per_user, 3);
    let refused = model.set_limits(Limits::default()).expect_err("refused").to_string();
    assert!(refused.contains("portfolio_tier"), "{refused}");
}

#[test]
fn an_account_without_limits_is_what_it_was() {
    // Enforcement beyond throughput and pair is opt-in: a busy day leaves no trace of it.
    let config = Config { pair_limit: PairLimit { burst: 0, refill_ms: 1 }, ..config() };
    let mut model = Model::new(config).expect("valid");
    for serial in 0..3_000 {
        let to = if serial % 2 == 0 { to(serial) } else { "+12125550100".to_owned() };
        let answer = send_from(&mut model, START + serial * 10, FAST, &sale(&to));
        assert_eq!((error_code(&answer), answer.headers.len()), (None, 0));
        let Body::Json(value) = &answer.body else { panic!("JSON") };
        assert_eq!(value["messages"][0]["message_status"], "accepted");
    }
    assert!(statuses(&mut model).iter().all(|status| status["status"] != "failed"));
    assert_eq!(model.violations().total, 0);
}
