//! Goal: no second holds more calls of a number than its limit, whoever makes them (I8): also when
//! the owner before has lost its partition and its calls still start, late.
//!
//! Method: a dense workload and two send processes, of which one needs long for a connection. In
//! turn the group forgets one of them, whose calls go on, and the other one takes over at once.

use sendplane_sim::fault::Fault;
use sendplane_sim::mutation::Mutation;
use sendplane_sim::run::{Plan, run};
use sendplane_sim::shape::Shape;
use sendplane_sim::shrink;
use sendplane_sim::time::{ms, seconds};

use crate::run_all;

const SEEDS: u64 = 24;

fn plan(seed: u64) -> Plan {
    let traffic = seconds(24);
    let mut shape = Shape { traffic, ..Shape::small(seed, 1, 700) };
    shape.tenants = 1;
    shape.batch_inputs = 500;
    let stage = shape.send();
    shape.processes[stage] = 2;
    let first = shape.first_of(stage);
    let connect = ms(1_700);
    let mut faults =
        vec![Fault::Far { process: first, from: ms(500), to: seconds(3_600), connect }];
    for round in 0..6 {
        let after = seconds(3 + 4 * round);
        faults.push(Fault::Forget { process: first + round as usize % 2, at: after });
    }
    Plan { shape, faults, mutation: None }
}

#[test]
fn calls_of_two_owners_keep_the_limit_together() {
    let plans: Vec<Plan> = (1..=SEEDS).map(plan).collect();
    for (plan, report) in plans.iter().zip(run_all(&plans)) {
        if let Some(first) = report.violations.first() {
            panic!("{}", shrink::explain(plan, first));
        }
    }
}

#[test]
fn without_the_wait_after_a_takeover_they_would_not() {
    let found = (1..=SEEDS).find(|seed| {
        let report = run(&plan(*seed).with(Mutation::NoTakeoverWait));
        report.violations.iter().any(|violation| violation.promise == "I8")
    });
    println!("found under seed {found:?}");
    assert!(found.is_some());
}
