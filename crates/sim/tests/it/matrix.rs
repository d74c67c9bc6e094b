//! Goal: whatever boundary a process of whatever stage dies at, once or twice in a row, with its
//! disk kept or lost, no promise breaks.
//!
//! Method: a small workload, one process per stage, a rebalance in the middle; every point, and
//! every pair of points, of every stage.

use std::collections::BTreeMap;

use sendplane_sim::fault::{Fault, Point};
use sendplane_sim::run::Plan;
use sendplane_sim::shape::{STAGES, Shape};
use sendplane_sim::shrink;
use sendplane_sim::time::{ms, seconds};

use crate::run_all;

const SEED: u64 = 11;
const REQUESTS: usize = 12;

fn plan(stage: usize, point: Point, again: Option<Point>, wipe: bool) -> Plan {
    let shape = Shape::small(SEED, 2, REQUESTS);
    let process = shape.first_of(stage);
    let restart_after = ms(400);
    let crash = Fault::Crash { process, after: seconds(2), point, wipe, restart_after, again };
    let storm = Fault::Storm { stage, from: seconds(3), times: 2, gap: seconds(1) };
    Plan { shape, faults: vec![crash, storm], mutation: None }
}

fn check(plans: &[Plan]) -> BTreeMap<String, u64> {
    let mut crashes = BTreeMap::new();
    for (plan, report) in plans.iter().zip(run_all(plans)) {
        if let Some(first) = report.violations.first() {
            panic!("{}", shrink::explain(plan, first));
        }
        for (name, count) in report.counts.iter().filter(|(name, _)| name.starts_with("crashes")) {
            *crashes.entry(name.to_owned()).or_default() += count;
        }
    }
    crashes
}

#[test]
fn one_crash_anywhere_breaks_nothing() {
    let mut plans = Vec::new();
    for (stage, name) in STAGES.iter().enumerate() {
        for point in Point::of(name) {
            plans.extend([false, true].map(|wipe| plan(stage, point, None, wipe)));
        }
    }
    let crashes = check(&plans);
    // Nothing is restored in pieces without a crash before it; two stores at once need luck.
    for point in Point::of("send") {
        let rare = [Point::AmongRestore, Point::AmongStores].contains(&point);
        let found = crashes.get(&format!("crashes at {point:?}")).copied().unwrap_or(0);
        let expected = if Point::CALLS.contains(&point) { 2 } else { 8 };
        assert!(rare || found == expected, "{point:?}: {found} of {expected} in {crashes:?}");
    }
}

#[test]
fn two_crashes_in_a_row_break_nothing() {
    let mut plans = Vec::new();
    for (stage, name) in STAGES.iter().enumerate() {
        for first in Point::of(name) {
            for second in Point::of(name) {
                plans.push(plan(stage, first, Some(second), true));
            }
        }
    }
    let crashes = check(&plans);
    for point in Point::of("send") {
        let found = crashes.get(&format!("crashes at {point:?}")).copied().unwrap_or(0);
        assert!(found > 0, "{point:?} was never reached: {crashes:?}");
    }
    assert!(crashes["crashes, second in a row"] as usize > plans.len() / 2, "{crashes:?}");
}
