//! The provider is unwell.

use std::time::Duration;

use sendplane_tests::plane::{Setup, turn};
use sendplane_tests::run::Run;
use sendplane_tests::traffic::Mix;
use serde_json::{Value, json};

/// Goal: slow, resetting, answering garbage or errors, losing answers, refusing connections, then
/// well again: a message is delivered if and only if the provider has it, none is there twice.
#[test]
fn a_provider_in_every_bad_mood() {
    let _turn = turn();
    let setup = Setup { doubt_window: Duration::from_secs(5), ..Setup::default() };
    let mut run = Run::start("provider", setup, Mix::Ordinary, 40);
    run.flow(40);
    let count = |name: &'static str| move |summary: &Value| summary[name].as_u64().unwrap_or(0);
    let code = |code: &'static str| {
        move |summary: &Value| summary["refused_by_code"][code].as_u64().unwrap_or(0)
    };
    run.provider(&json!({"reset_before_accept": 0.5}), count("untouched"), 20);
    run.heal_provider();
    run.provider(&json!({"garbage_answer": 0.7}), count("answers_lost"), 20);
    run.heal_provider();
    run.provider(&json!({"lose_answer": 0.5}), count("answers_lost"), 20);
    run.heal_provider();
    run.provider(&json!({"down": "unavailable"}), count("untouched"), 20);
    run.heal_provider();
    // Proven unsent, to be tried again; and a riddle, which is doubt.
    let errors = |code: i64| json!({"errors": [{"code": code, "probability": 0.5}]});
    run.provider(&errors(133_004), code("133004"), 20);
    run.provider(&errors(131_000), code("131000"), 20);
    run.heal_provider();
    // Longer than a call may take: the answer comes to nobody.
    run.provider(&json!({"latency_ms": [9_000, 12_000]}), count("calls"), 60);
    run.heal_provider();
    run.provider_refuses("a", 20);
    run.heal_provider();
    run.flow(80);
    let summary = run.finish().summary;
    assert!(
        summary.not_sent >= 20 && summary.doubted >= 50 && summary.retries >= 40,
        "{summary:?}"
    );
    assert!(summary.cut_off * 3 < summary.accepted, "most are delivered: {summary:?}");
}
