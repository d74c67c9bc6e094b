//! The whole plane under every fault: fixed seeds, the crash matrix, and bugs that must be found.

mod days;
mod matrix;
mod mutations;
mod seeds;
mod takeovers;

use sendplane_sim::run::{Plan, Report, run};

/// Runs every plan, on as many threads as there are cores here.
fn run_all(plans: &[Plan]) -> Vec<Report> {
    let half = plans.len().div_ceil(2).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = plans
            .chunks(half)
            .map(|part| scope.spawn(move || part.iter().map(run).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("a run does not panic")).collect()
    })
}
