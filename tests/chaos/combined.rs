//! The short form of everything that happens to processes, in one run.

use sendplane_tests::plane::{STAGES, turn};
use sendplane_tests::run::Run;
use sendplane_tests::traffic::Mix;

use crate::two_instances;

/// Goal: with kills, a zombie, scaling, orderly stops and a dead broker under one load, every
/// request meets its fate once. Each fault alone, with every stage, is in the other files.
#[test]
fn every_request_meets_its_fate_whatever_dies() {
    let _turn = turn();
    let mut run = Run::start("combined", two_instances(), Mix::Everything, 50);
    run.flow(100);
    run.freeze("send", "b", "a");
    for stage in STAGES {
        run.kill(stage, "a");
        run.start_instance(stage, "a");
    }
    run.await_all_ready();
    run.kill_twice("send", "b");
    run.restart_broker(&["--kill"]);
    run.start_instances(&["policy", "send"], "c");
    for stage in STAGES {
        run.terminate(stage, "b");
    }
    let outcome = run.finish();
    assert!(outcome.summary.doubted > 0 && outcome.summary.retries > 0, "{outcome:?}");
    assert!(outcome.tally.rebalances > 0 && outcome.tally.recoveries > 0, "{outcome:?}");
}
