//! Goal: the oracle would see these bugs. Each is planted in turn, and the promise it breaks must
//! be named within the fixed seeds.

use sendplane_sim::mutation::Mutation;
use sendplane_sim::run::{Plan, run};
use sendplane_sim::shrink;

/// Seeds tried for one bug.
const SEEDS: u64 = 400;

/// The first seed under which the oracle names `promise`, and what else it saw until then.
fn caught(mutation: Mutation, promise: &str) -> Result<u64, Vec<String>> {
    let mut others = Vec::new();
    for seed in 1..=SEEDS {
        let report = run(&Plan::of(seed).with(mutation));
        if report.violations.iter().any(|violation| violation.promise == promise) {
            return Ok(seed);
        }
        others.extend(report.violations.into_iter().map(|one| format!("{seed}: {one:?}")));
    }
    Err(others)
}

#[test]
fn every_planted_bug_is_found() {
    let results: Vec<_> = std::thread::scope(|scope| {
        let parts: Vec<_> = Mutation::ALL
            .iter()
            .map(|(mutation, promise)| scope.spawn(move || caught(*mutation, promise)))
            .collect();
        parts.into_iter().map(|part| part.join()).collect()
    });
    let mut missed = Vec::new();
    for ((mutation, promise), result) in Mutation::ALL.iter().zip(results) {
        match result {
            Ok(Ok(seed)) => println!("{mutation:?} breaks {promise} under seed {seed}"),
            Ok(Err(others)) => missed.push(format!("{mutation:?}, {promise}: {others:?}")),
            Err(_) => missed.push(format!("{mutation:?}: a run panicked")),
        }
    }
    assert_eq!(missed, Vec::<String>::new());
}

/// A failing seed ends in a report that a person can read: few faults, and only lines that concern
/// the broken message.
#[test]
fn a_failing_seed_is_made_small_and_explained() {
    let plan = Plan::of(1).with(Mutation::ResendOnTimeout);
    let violations = run(&plan).violations;
    let first = violations.iter().find(|one| one.promise == "I4").expect("the bug is found");
    let text = shrink::explain(&plan, first);
    println!("{text}");
    assert!(text.contains("seed 1, 0 faults needed"), "{text}");
    let calls = text.lines().filter(|line| line.contains("is written")).count();
    assert_eq!(calls, 2, "the doubled call and nobody else's: {text}");
    assert!(text.lines().count() < 40, "{text}");
}
