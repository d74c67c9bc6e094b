//! Goal: limits that are counted by the day hold over days: budgets begin anew at each midnight, a
//! user counts for 24 h, what is suspended for hours is tried at its pace.
//!
//! Method: two days of little traffic, requests that wait for longer than a day, everything scarce
//! or suspensions only; now and then send dies, with or without its disk.

use sendplane_sim::counts::Counts;
use sendplane_sim::fault::{Fault, Point};
use sendplane_sim::mutation::Mutation;
use sendplane_sim::run::{Plan, run};
use sendplane_sim::shape::Shape;
use sendplane_sim::shrink;
use sendplane_sim::time::{ms, seconds};
use sendplane_sim::workload::scarce::Scarcity;

use crate::run_all;

const DAYS: i64 = 2;
const REQUESTS: usize = 240;

/// Not silent ones, and what is scarce in them.
const SEEDS: [(u64, Scarcity); 3] =
    [(1, Scarcity::ALL), (2, Scarcity::SUSPENSIONS), (3, Scarcity::ALL)];

fn plan((seed, scarcity): (u64, Scarcity)) -> Plan {
    let shape = Shape::days(seed, DAYS, REQUESTS, scarcity);
    let process = shape.first_of(shape.send());
    let points = [Point::BeforeEndTxn, Point::BeforeStore, Point::AfterEffects];
    let crash = |number: i64| Fault::Crash {
        process,
        after: seconds(3_600 * (2 + 5 * number)),
        point: points[number as usize % points.len()],
        wipe: number % 2 == 0,
        restart_after: ms(400),
        again: None,
    };
    let storm = Fault::Storm { stage: shape.send(), from: seconds(30_000), times: 4, gap: ms(700) };
    let faults = (0..9).map(crash).chain([storm]).collect();
    Plan { shape, faults, mutation: None }
}

#[test]
fn limits_hold_over_days() {
    let plans: Vec<Plan> = SEEDS.iter().map(|seed| plan(*seed)).collect();
    let mut counts = Counts::default();
    for (plan, report) in plans.iter().zip(run_all(&plans)) {
        if let Some(first) = report.violations.first() {
            panic!("{}", shrink::explain(plan, first));
        }
        counts.merge(&report.counts);
    }
    for (name, count) in counts.iter() {
        println!("{count:>10}  {name}");
    }
    let required = [
        "calls with all users taken",
        "probes of a template",
        "probes of a tenant's templates",
        "probes of bulk of a number",
        "tenants that called on two days",
        "users that stopped counting",
    ];
    assert_eq!(counts.missing(&required), Vec::<&str>::new());
}

#[test]
fn a_user_who_counts_for_half_a_day_is_found() {
    let found = SEEDS.into_iter().find(|seed| {
        let report = run(&plan(*seed).with(Mutation::UsersCountHalfADay));
        report.violations.iter().any(|violation| violation.promise == "users")
    });
    println!("found under seed {found:?}");
    assert!(found.is_some());
}
