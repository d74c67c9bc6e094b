//! The only broker dies and comes back.
//!
//! It is killed, never stopped in good order: while the last broker of a cluster shuts down, its
//! partitions have no leader, and Kafka 4.3.1 then leaves out the markers of a transaction whose
//! commit it has confirmed ("these partitions are likely deleted already and hence can be
//! skipped"). The next transaction's abort takes the confirmed records with it, and the group's
//! offsets stay unstable. No client can survive that; with several brokers the leaders move first.
//! A broker that was killed meets the same when it starts: `deploy/stack/fencing.py` prevents it.

use sendplane_tests::plane::turn;
use sendplane_tests::run::Run;
use sendplane_tests::traffic::Mix;

use crate::two_instances;

/// Goal: a broker that dies, also for longer than sessions and transactions last, costs time and
/// nothing else. No stage process ends.
#[test]
#[ignore = "long: make chaos"]
fn the_broker_dies_and_stays_away() {
    let _turn = turn();
    let mut run = Run::start("broker", two_instances(), Mix::Everything, 40);
    run.flow(200);
    for arguments in [&["--kill"][..], &["--kill", "--pause", "10"], &["--kill"]] {
        run.restart_broker(arguments);
        run.flow(100);
    }
    let outcome = run.finish();
    assert!(outcome.tally.recoveries > 0, "transactions were in doubt: {outcome:?}");
}
