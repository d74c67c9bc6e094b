//! Goal: no seed breaks a promise, and together the seeds have had everything that can go wrong.

use sendplane_sim::counts::{Counts, REQUIRED};
use sendplane_sim::fault::Point;
use sendplane_sim::run::{Plan, run, run_traced};
use sendplane_sim::shrink;

use crate::run_all;

const SEEDS: u64 = 160;

/// Silent runs beyond: that a customer has a message twice, and both are heard of, is rare.
const SILENT_UP_TO: u64 = 640;

#[test]
fn every_promise_holds_under_every_seed() {
    let silent = (SEEDS + 1..=SILENT_UP_TO).filter(|seed| seed.is_multiple_of(4));
    let plans: Vec<Plan> = (1..=SEEDS).chain(silent).map(Plan::of).collect();
    let mut counts = Counts::default();
    for (plan, report) in plans.iter().zip(run_all(&plans)) {
        if let Some(first) = report.violations.first() {
            panic!("{}", shrink::explain(plan, first));
        }
        counts.merge(&report.counts);
    }
    let missing = counts.missing(REQUIRED);
    assert_eq!(missing, Vec::<&str>::new(), "the seeds never had these");
    for point in Point::of("send") {
        for kind in ["crashes", "freezes"] {
            let name = format!("{kind} at {point:?}");
            assert!(counts.get(&name) > 0, "the seeds never had {name}");
        }
    }
    for (name, count) in counts.iter() {
        println!("{count:>10}  {name}");
    }
}

/// A failing seed is worth something only if it fails again in the same way.
#[test]
fn a_seed_replays_exactly() {
    for seed in [7, 12, 23] {
        let plan = Plan::of(seed);
        let lines = || {
            let notes = run_traced(&plan, true).notes;
            notes.into_iter().map(|note| format!("{} {}", note.at, note.text)).collect::<Vec<_>>()
        };
        let first = lines();
        assert!(first.len() > 1_000, "{} lines", first.len());
        assert_eq!(first, lines());
        assert_eq!(run(&plan).counts, run(&plan).counts);
    }
}
