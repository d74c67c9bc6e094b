//! Single requests of a transaction lost, repeated and late; members expelled while they commit.

use std::time::Duration;

use sendplane_tests::proxy::{Action, Api, Match};
use sendplane_tests::wait;
use tempfile::TempDir;

use crate::case::{Case, Expected, LIMIT, PARTITIONS, proxy};
use crate::worker::{config, start_here};

const UNKNOWN_MEMBER_ID: i16 = 25;

fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("temp dir")
}

/// One more record for the first key of every partition.
fn one_more(case: &Case, expected: &mut Expected) {
    for partition in 0..PARTITIONS {
        let key = case.key(partition, 0);
        case.send(partition, &key, "x");
        *expected.entry(key).or_default() += 1;
    }
}

/// Goal: whichever request of a transaction is not executed, or executed and not answered, or late,
/// every input is counted once. Method: a table of requests and faults; the outputs are compared
/// after each, transactions and stores at the end.
#[test]
fn a_lost_or_late_request_of_a_transaction_changes_nothing() {
    let case = Case::new("requests");
    let (proxy, through) = proxy();
    let state = temp_dir();
    let (runtime, _) = start_here(case.name, config("a", state.path(), &through));
    let mut expected = case.warm_up();
    let late = Action::Delay(Duration::from_millis(700));
    for api in [
        Api::PRODUCE,
        Api::ADD_PARTITIONS_TO_TXN,
        Api::ADD_OFFSETS_TO_TXN,
        Api::TXN_OFFSET_COMMIT,
        Api::END_TXN,
    ] {
        for (action, times) in
            [(Action::CutBefore, 1), (Action::CutAfter, 1), (Action::CutAfter, 3), (late, 1)]
        {
            let fault = proxy.fault(case.of_producer(api, "a").times(times), action);
            one_more(&case, &mut expected);
            fault.await_hits(times);
            drop(fault);
            case.await_exactly(&expected);
        }
    }
    runtime.stop().expect("stops");
    case.audit(&[state.path()]);
}

/// Goal: a producer that finds no coordinator, or is not told its epoch, tries again; so does a
/// member that cannot join.
#[test]
fn a_start_with_lost_requests_succeeds() {
    let case = Case::new("start");
    let (proxy, through) = proxy();
    let state = temp_dir();
    let mut expected = Expected::new();
    let client = "sendplane-a";
    for (matching, action) in [
        (Match::api(Api::FIND_COORDINATOR).client(client).times(3), Action::CutBefore),
        (case.of_producer(Api::INIT_PRODUCER_ID, "a").times(2), Action::CutBefore),
        (case.of_producer(Api::INIT_PRODUCER_ID, "a").times(2), Action::CutAfter),
        (case.of_member(Api::JOIN_GROUP, "a").times(1), Action::CutAfter),
        (case.of_member(Api::SYNC_GROUP, "a").times(1), Action::CutAfter),
        (Match::api(Api::OFFSET_FETCH).client(client).times(2), Action::CutAfter),
    ] {
        let fault = proxy.fault(matching, action);
        let (runtime, _) = start_here(case.name, config("a", state.path(), &through));
        one_more(&case, &mut expected);
        fault.await_hits(1);
        case.await_exactly(&expected);
        runtime.stop().expect("stops");
    }
    case.audit(&[state.path()]);
}

/// Goal: a member that the group has expelled commits nothing more, and comes back. Method: its
/// heartbeats are cut beyond the session timeout while a transaction of it waits right before its
/// offsets; meanwhile another member takes over what it had.
#[test]
fn an_expelled_member_does_not_commit_and_comes_back() {
    let case = Case::new("expelled");
    let (proxy, through) = proxy();
    let (first, second) = (temp_dir(), temp_dir());
    let (a, a_health) = start_here(case.name, config("a", first.path(), &through));
    let mut expected = case.warm_up();

    let offsets = proxy.fault(case.of_producer(Api::TXN_OFFSET_COMMIT, "a"), Action::Hold);
    let heartbeats = proxy.fault(case.of_member(Api::HEARTBEAT, "a"), Action::CutBefore);
    one_more(&case, &mut expected);
    offsets.await_hits(1);
    let synced = proxy.fault(case.of_member(Api::SYNC_GROUP, "b"), Action::Watch);
    let (b, _) = start_here(case.name, config("b", second.path(), &through));
    // b is given its share once the group has given a up.
    synced.await_answer(|_| true);
    offsets.release();
    case.await_exactly(&expected);
    assert!(a.recoveries() >= 1, "a's transaction was refused");
    one_more(&case, &mut expected);
    case.await_exactly(&expected);

    drop(heartbeats);
    let heartbeats = proxy.fault(case.of_member(Api::HEARTBEAT, "a"), Action::Watch);
    wait::until("a is a member again", LIMIT, || {
        let alive = heartbeats.answers().iter().any(|answer| answer.error() == 0);
        (alive && a_health.is_ready()).then_some(())
    });
    one_more(&case, &mut expected);
    case.await_exactly(&expected);
    assert!(
        heartbeats.answers().iter().filter(|answer| answer.error() == UNKNOWN_MEMBER_ID).count()
            <= 1,
        "a learned it once"
    );
    a.stop().expect("stops");
    b.stop().expect("stops");
    case.audit(&[first.path(), second.path()]);
}
