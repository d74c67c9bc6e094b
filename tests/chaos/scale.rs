//! Instances come and go in good order.

use std::time::Duration;

use sendplane_tests::plane::{STAGES, Setup, turn};
use sendplane_tests::run::Run;
use sendplane_tests::traffic::Mix;

/// Goal: from one to three instances of every stage and back to one, under load: every instance
/// works, leaves with exit code 0, and not one call is cut off.
#[test]
#[ignore = "long: make chaos"]
fn one_to_three_to_one_loses_nothing_and_cuts_no_call_off() {
    let _turn = turn();
    let setup = Setup { doubt_window: Duration::from_secs(5), ..Setup::default() };
    let mut run = Run::start("scale", setup, Mix::Everything, 50);
    run.flow(100);
    for instance in ["b", "c"] {
        run.start_instances(&STAGES, instance);
    }
    for stage in STAGES {
        for instance in ["a", "b", "c"] {
            run.await_busy(stage, instance);
        }
    }
    for instance in ["b", "c"] {
        for stage in STAGES {
            run.terminate(stage, instance);
        }
    }
    for stage in STAGES {
        run.await_busy(stage, "a");
    }
    run.finish();
}
