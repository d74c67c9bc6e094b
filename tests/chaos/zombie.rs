//! SIGSTOP beyond the session timeout, then SIGCONT: the process believes to own what others own.

use sendplane_tests::plane::{STAGES, turn};
use sendplane_tests::run::Run;
use sendplane_tests::traffic::Mix;

use crate::two_instances;

/// Goal: a zombie of any stage commits nothing and calls nobody; what it had begun is done once by
/// the others.
#[test]
#[ignore = "long: make chaos"]
fn a_zombie_of_each_stage_does_no_harm() {
    let _turn = turn();
    let mut run = Run::start("zombie", two_instances(), Mix::Everything, 60);
    run.flow(200);
    for stage in STAGES {
        for (instance, other) in [("a", "b"), ("b", "a")] {
            run.freeze(stage, instance, other);
        }
    }
    let outcome = run.finish();
    assert!(outcome.tally.rebalances >= 2 * 8, "each zombie left and came back: {outcome:?}");
}
