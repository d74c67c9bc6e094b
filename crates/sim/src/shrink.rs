//! A failing run made small: faults are taken away as long as the same promise breaks.

use crate::fault::Fault;
use crate::oracle::Violation;
use crate::run::{Plan, messages_of, run, run_traced};
use crate::trace::about;

/// Runs at most.
const TRIES_MAX: usize = 60;

/// The smallest plan found that still breaks `promise`.
pub fn shrink(plan: &Plan, promise: &str) -> Plan {
    let mut best = plan.clone();
    let mut tries = 0;
    let mut chunk = best.faults.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < best.faults.len() && tries < TRIES_MAX {
            let to = (from + chunk).min(best.faults.len());
            let rest: Vec<Fault> =
                best.faults[..from].iter().chain(&best.faults[to..]).copied().collect();
            let smaller = Plan { faults: rest, ..best.clone() };
            tries += 1;
            if breaks(&smaller, promise) {
                best = smaller;
            } else {
                from = to;
            }
        }
        if chunk == 1 || tries >= TRIES_MAX {
            return best;
        }
        chunk = chunk.div_ceil(2);
    }
}

fn breaks(plan: &Plan, promise: &str) -> bool {
    run(plan).violations.iter().any(|violation| violation.promise == promise)
}

/// What a person needs to see of a failing plan: the reduced faults, and the lines that concern
/// the first broken message or task.
pub fn explain(plan: &Plan, first: &Violation) -> String {
    let small = shrink(plan, first.promise);
    let report = run_traced(&small, true);
    let mut text = format!("seed {}, {} faults needed:\n", small.shape.seed, small.faults.len());
    for fault in &small.faults {
        text.push_str(&format!("  {fault:?}\n"));
    }
    let of_promise: Vec<Violation> = report
        .violations
        .iter()
        .filter(|violation| violation.promise == first.promise)
        .take(1)
        .cloned()
        .collect();
    for violation in &of_promise {
        text.push_str(&format!("{violation:?}\n"));
    }
    let messages = messages_of(&of_promise);
    let tasks: Vec<_> = of_promise.iter().filter_map(|violation| violation.task).collect();
    for line in about(&report.notes, &messages, &tasks) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}
