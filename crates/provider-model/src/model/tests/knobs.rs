//! Goal: each fault knob acts, on whom it should, and by the seed alone.

use super::*;
use crate::config::PairLimit;
use crate::fault::{CodeRate, Down};

#[test]
fn knobs_act_on_ordinary_recipients_only() {
    let cases: Vec<(Faults, Option<i64>, Option<TransportFault>)> = vec![
        (
            Faults {
                errors: vec![CodeRate { code: 131_000, probability: 1.0 }],
                ..Faults::default()
            },
            Some(131_000),
            None,
        ),
        (
            Faults { lose_answer: 1.0, ..Faults::default() },
            None,
            Some(TransportFault::ClosedAfterAccept),
        ),
        (
            Faults { reset_before_accept: 1.0, ..Faults::default() },
            None,
            Some(TransportFault::ResetBeforeRead),
        ),
    ];
    for (faults, code, fault) in cases {
        let mut model = model();
        model.set_faults(faults).expect("valid");
        let answer = send(&mut model, START, &order("+4915100000001", "o"));
        assert_eq!((error_code(&answer), answer.fault), (code, fault));
        let answer = send(&mut model, START, &order(&magic::number(0, 0, 0, 1), "o"));
        assert_eq!((error_code(&answer), answer.fault, answer.http_status), (None, None, 200));
    }
    let mut model = model();
    let failures = vec![CodeRate { code: 131_026, probability: 1.0 }];
    model.set_faults(Faults { failures, ..Faults::default() }).expect("valid");
    send(&mut model, START, &order("+4915100000001", "o"));
    assert_eq!(statuses(&mut model)[0]["errors"][0]["code"], 131_026);
}

#[test]
fn down_concerns_everybody() {
    let mut model = model();
    for (down, status, fault) in
        [(Down::Unavailable, 503, None), (Down::Refuse, 0, Some(TransportFault::Refused))]
    {
        model.set_faults(Faults { down, ..Faults::default() }).expect("valid");
        for to in ["+4915100000001", &magic::number(0, 0, 0, 1)] {
            let answer = send(&mut model, START, &order(to, "o"));
            assert_eq!((answer.http_status, answer.fault), (status, fault));
        }
    }
    assert_eq!((model.summary().untouched, model.summary().accepted), (4, 0));
}

#[test]
fn webhook_knobs_drop_repeat_and_reorder() {
    let run = |faults: Faults| {
        let config = Config { pair_limit: PairLimit { burst: 0, refill_ms: 1 }, ..config() };
        let mut model = Model::new(config).expect("valid");
        model.set_faults(faults).expect("valid");
        for serial in 0..300 {
            let to = format!("+49151{serial:08}");
            send_from(&mut model, START + serial * 20, FAST, &order(&to, "o"));
        }
        let statuses = statuses(&mut model);
        let mut order: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for status in &statuses {
            let id = status["id"].as_str().expect("text").to_owned();
            order.entry(id).or_default().push(status["status"].as_str().expect("text").to_owned());
        }
        (statuses.len(), order, model.summary())
    };
    let (count, order, _) = run(Faults::default());
    assert_eq!(count, 900);
    assert!(order.values().all(|names| names == &["sent", "delivered", "read"]));
    let (count, _, summary) = run(Faults { webhook_drop: 0.1, ..Faults::default() });
    assert!((770..850).contains(&count), "{count}");
    assert_eq!(summary.updates_dropped, 900 - count as u64);
    let (count, _, _) = run(Faults { webhook_duplicate: 0.1, ..Faults::default() });
    assert!((950..1_030).contains(&count), "{count}");
    let (count, order, _) = run(Faults { webhook_reorder: 0.2, ..Faults::default() });
    assert_eq!(count, 900);
    assert!(order.values().any(|names| names != &["sent", "delivered", "read"]));
    let (count, _, _) = run(Faults { webhook_drop: 1.0, ..Faults::default() });
    assert_eq!(count, 0);
}

#[test]
fn other_recipients_do_not_change_a_result() {
    let faults = Faults { lose_answer: 0.3, garbage_answer: 0.3, ..Faults::default() };
    let result = |others: i64| {
        let mut model = model();
        model.set_faults(faults.clone()).expect("valid");
        for other in 0..others {
            send_from(&mut model, START, FAST, &order(&format!("+49152{other:08}"), "o"));
        }
        let answer = send(&mut model, START, &order("+4915100000001", "o"));
        (answer.fault, answer.http_status, answer.delay_ms, answer.body)
    };
    assert_eq!(result(0), result(17));
}

#[test]
fn every_update_repeated_or_overtaken_still_comes_in_the_end() {
    let count = |faults: Faults, to: &str| {
        let mut model = model();
        model.set_faults(faults).expect("valid");
        send(&mut model, START, &order(to, "o"));
        statuses(&mut model).len()
    };
    let duplicate = Faults { webhook_duplicate: 1.0, ..Faults::default() };
    let reorder = Faults { webhook_reorder: 1.0, ..Faults::default() };
    let drop = Faults { webhook_drop: 1.0, ..Faults::default() };
    assert_eq!(count(duplicate.clone(), "+4915100000001"), 6);
    assert_eq!(count(reorder.clone(), "+4915100000001"), 3);
    assert_eq!(count(drop.clone(), "+4915100000001"), 0);
    for faults in [duplicate, reorder, drop] {
        assert_eq!(count(faults, &magic::number(0, 0, 0, 1)), 3, "a fixed result stays");
    }
}
