use sendplane_sim::mutation::Mutation;
use sendplane_sim::run::{Plan, run};

#[test]
fn probe() {
    for (mutation, promise) in [
        (Some(Mutation::StartCountedFromAnswer), "I3"),
        (Some(Mutation::GapsForgotten), "I5"),
        (Some(Mutation::MarketingResent), "I4"),
        (None, ""),
    ] {
        let mut found = Vec::new();
        for seed in 1..=500 {
            match mutation {
                Some(mutation) => {
                    let report = run(&Plan::of(seed).with(mutation));
                    if report.violations.iter().any(|one| one.promise == promise) {
                        found.push(seed);
                    }
                }
                None => {
                    let report = run(&Plan::of(seed));
                    if let Some(one) = report.violations.first() {
                        println!("seed {seed}: {one:?}");
                    }
                    if report.counts.get("duplicates detected") > 0 {
                        found.push(seed);
                    }
                }
            }
            if found.len() >= 4 {
                break;
            }
        }
        println!("{mutation:?}: {found:?}");
    }
}
