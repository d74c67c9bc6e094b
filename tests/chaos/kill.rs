//! kill -9.

use sendplane_tests::plane::{STAGES, turn};
use sendplane_tests::run::Run;
use sendplane_tests::traffic::Mix;

use crate::two_instances;

/// Goal: whichever stage dies, once and then again while it restores an empty disk, nothing is
/// lost and nothing doubled.
#[test]
#[ignore = "long: make chaos"]
fn each_stage_is_killed_and_killed_again_while_it_restores() {
    let _turn = turn();
    let mut run = Run::start("kill", two_instances(), Mix::Everything, 60);
    run.flow(200);
    for stage in STAGES {
        run.kill_twice(stage, "a");
        run.kill(stage, "b");
        run.start_instances(&[stage], "b");
    }
    let outcome = run.finish();
    assert!(outcome.summary.doubted > 0 && outcome.summary.retries > 0, "{outcome:?}");
}
