//! Goal: determinism, the throughput limit and an honest ledger under any calls. Method: random
//! calls to a model with tight limits and every knob turned on.

use proptest::prelude::*;

use super::*;
use crate::config::{CallLimit, Offline, Pacing};
use crate::fault::CodeRate;
use crate::report::LimitKind;

#[derive(Clone, Debug)]
struct Step {
    wait_ms: i64,
    number: &'static str,
    to: String,
    inbound: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let to = prop_oneof![
        (0..40_u32).prop_map(|serial| format!("+49151{serial:08}")),
        (0..52_u8, 0..3_u8, 0..5_u16)
            .prop_map(|(kind, times, serial)| { magic::number(kind, 131_000, times, serial) }),
    ];
    let step = (0..40_i64, any::<bool>(), to, 0..10_u8).prop_map(|(wait_ms, fast, to, inbound)| {
        Step { wait_ms, number: if fast { FAST } else { NUMBER }, to, inbound: inbound == 0 }
    });
    prop::collection::vec(step, 1..200)
}

/// A model with tight limits and every knob on, driven by `steps`.
fn run(seed: u64, steps: &[Step]) -> (Vec<Answer>, Vec<Webhook>, Model) {
    let mut config = Config { seed, ..config() };
    config.phone_numbers[0].throughput_per_second = 5;
    config.phone_numbers[1].throughput_per_second = 9;
    config.faults = Faults {
        errors: vec![CodeRate { code: 131_000, probability: 0.1 }],
        failures: vec![CodeRate { code: 131_026, probability: 0.1 }],
        lose_answer: 0.1,
        reset_before_accept: 0.1,
        garbage_answer: 0.1,
        webhook_duplicate: 0.1,
        webhook_reorder: 0.1,
        webhook_drop: 0.1,
        ..Faults::default()
    };
    config.limits.pacing = Pacing {
        quota: 3,
        all_categories: true,
        assess_ms: MsRange::new(100, 2_000),
        release: seed.is_multiple_of(2),
    };
    config.limits.app_calls = CallLimit { calls: 12, window_ms: 700 };
    config.limits.offline = Offline { share: 0.2, for_ms: MsRange::new(1, 2_000_000_000) };
    let mut model = Model::new(config).expect("valid");
    let (mut now_ms, mut answers, mut webhooks) = (START, Vec::new(), Vec::new());
    for step in steps {
        now_ms += step.wait_ms;
        if step.inbound {
            let injection = Injection::Text {
                phone_number_id: step.number.to_owned(),
                from: step.to.clone(),
                text: "hi".to_owned(),
                name: None,
            };
            model.inject(now_ms, injection).expect("known number");
        } else {
            answers.push(send_from(&mut model, now_ms, step.number, &order(&step.to, "o.1")));
        }
        webhooks.extend(model.due_webhooks(now_ms));
    }
    webhooks.extend(drain(&mut model).into_iter().map(|(_, webhook)| webhook));
    (answers, webhooks, model)
}

proptest! {
    #[test]
    fn the_same_calls_have_the_same_results(seed in any::<u64>(), steps in steps()) {
        let (first, second) = (run(seed, &steps), run(seed, &steps));
        prop_assert_eq!(first.0, second.0);
        prop_assert_eq!(first.1, second.1);
        prop_assert_eq!(first.2.ledger().accepted(), second.2.ledger().accepted());
        prop_assert_eq!(first.2.summary(), second.2.summary());
        prop_assert_eq!(first.2.violations(), second.2.violations());
    }

    #[test]
    fn no_sliding_second_exceeds_the_throughput(seed in any::<u64>(), steps in steps()) {
        let (_, _, model) = run(seed, &steps);
        for number in &model.config().phone_numbers {
            let times: Vec<i64> = model
                .ledger()
                .accepted()
                .iter()
                .filter(|accepted| accepted.phone_number_id == number.id)
                .map(|accepted| accepted.accepted_at_ms)
                .collect();
            let limit = number.throughput_per_second as usize;
            for window in times.windows(limit + 1) {
                prop_assert!(window[limit] - window[0] >= crate::WINDOW_MS, "{:?}", window);
            }
        }
    }

    /// The test range of these steps refuses with other codes.
    #[test]
    fn every_refusal_by_a_limit_is_a_violation_and_nothing_else_is(
        seed in any::<u64>(),
        steps in steps(),
    ) {
        let (_, _, model) = run(seed, &steps);
        let (report, refused) = (model.violations(), model.summary().refused_by_code);
        let by_code = [(LimitKind::Number, 130_429), (LimitKind::Pair, 131_056), (LimitKind::App, 4)];
        for (kind, code) in by_code {
            prop_assert_eq!(report.by_kind.get(&kind), refused.get(&code), "{:?}", kind);
        }
        prop_assert_eq!(report.by_kind.values().sum::<u64>(), report.total);
        let listed = report.first.iter().all(|violation| violation.observed > violation.limit);
        prop_assert!(listed && report.first.len() as u64 == report.total);
        for violation in &report.first {
            prop_assert!(violation.early_ms.is_some_and(|early_ms| early_ms > 0));
        }
    }

    #[test]
    fn the_ledger_agrees_with_the_answers(seed in any::<u64>(), steps in steps()) {
        let (answers, webhooks, model) = run(seed, &steps);
        let ledger = model.ledger();
        let accepted = answers.iter().filter(|a| matches!(a.truth, Truth::Accepted(_))).count();
        prop_assert_eq!(ledger.accepted().len(), accepted);
        let summary = model.summary();
        let refused: u64 = summary.refused_by_code.values().sum();
        prop_assert_eq!(accepted as u64 + refused + summary.untouched, summary.calls);
        prop_assert_eq!(ledger.calls_with_opaque("o.1"), summary.calls);
        prop_assert_eq!(ledger.by_opaque_prefix("o.").count(), accepted);
        for answer in &answers {
            let told = match &answer.body {
                Body::Json(value) => value["messages"][0]["id"].as_str(),
                _ => None,
            };
            match (answer.truth, told) {
                (Truth::Accepted(index), Some(wamid)) => {
                    prop_assert_eq!(&ledger.accepted()[index as usize].wamid, wamid);
                }
                (Truth::Accepted(index), None) => {
                    prop_assert!(ledger.accepted()[index as usize].answer_lost);
                }
                (_, told) => prop_assert_eq!(told, None),
            }
        }
        let emitted: usize = webhooks.iter().map(|webhook| webhook.updates).sum();
        prop_assert_eq!(summary.updates_by_kind.values().sum::<u64>(), emitted as u64);
        for webhook in &webhooks {
            for status in value_of(webhook)["statuses"].as_array().into_iter().flatten() {
                let id = status["id"].as_str().unwrap_or_default();
                prop_assert!(ledger.by_wamid(id).is_some());
            }
        }
    }
}
