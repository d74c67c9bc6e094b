//! Stopping while the brokers do not answer.

use std::time::Duration;

use sendplane_stage_runtime::Runtime;
use sendplane_tests::proxy::{Action, Api, Match};
use sendplane_tests::wait;

use crate::case::{Case, Expected, proxy};
use crate::worker::{config, start_here};

const REBALANCE_IN_PROGRESS: i16 = 27;

/// Longest orderly stop: effects settle, then the clients close.
const STOP_MAX: Duration = Duration::from_secs(20);

fn stop_in_time(runtime: Runtime, what: &str) {
    let began = wait::now();
    runtime.stop().expect("stops");
    let took = began.elapsed();
    println!("stopped in {took:?} with {what}");
    assert!(took < STOP_MAX, "{what}: {took:?}");
}

fn of_a(api: Api) -> Match {
    Match::api(api).client("sendplane-a")
}

/// Goal: a stop ends in bounded time and without an error, whatever is not answered meanwhile, and
/// nothing is lost or repeated.
#[test]
fn a_stop_ends_in_time_whatever_is_not_answered() {
    let case = Case::new("shutdown");
    let (proxy, through) = proxy();
    let state = tempfile::tempdir().expect("temp dir");
    let mut expected = Expected::new();
    for (what, matching, action) in [
        ("LeaveGroup held", of_a(Api::LEAVE_GROUP), Action::Hold),
        ("LeaveGroup cut", of_a(Api::LEAVE_GROUP), Action::CutBefore),
        ("everything held", Match::any().client("sendplane-a"), Action::Hold),
        ("everything cut", Match::any().client("sendplane-a"), Action::CutBefore),
    ] {
        let (runtime, _) = start_here(case.name, config("a", state.path(), &through));
        let key = case.key(0, 0);
        case.send(0, &key, "x");
        *expected.entry(key).or_default() += 1;
        case.await_exactly(&expected);
        let _fault = proxy.fault(matching, action);
        stop_in_time(runtime, what);
    }
    case.audit(&[state.path()]);
}

/// Goal: the same for a stop that comes while the instance starts, joins, takes over or is asked
/// for its partitions.
#[test]
fn a_stop_ends_in_time_whatever_it_interrupts() {
    let case = Case::new("interrupted");
    let (proxy, through) = proxy();
    let (first, second) =
        (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
    for (what, matching, action) in [
        ("no coordinator", of_a(Api::FIND_COORDINATOR), Action::CutBefore),
        ("InitProducerId held", of_a(Api::INIT_PRODUCER_ID), Action::Hold),
        ("JoinGroup held", of_a(Api::JOIN_GROUP), Action::Hold),
        ("SyncGroup held", of_a(Api::SYNC_GROUP), Action::Hold),
        ("OffsetFetch held", of_a(Api::OFFSET_FETCH), Action::Hold),
        ("ListOffsets held", of_a(Api::LIST_OFFSETS), Action::Hold),
    ] {
        let fault = proxy.fault(matching, action);
        let (runtime, _) = start_here(case.name, config("a", first.path(), &through));
        fault.await_hits(1);
        stop_in_time(runtime, what);
    }
    let (a, _) = start_here(case.name, config("a", first.path(), &through));
    let expected = case.warm_up();
    let joined = proxy.fault(of_a(Api::HEARTBEAT), Action::Watch);
    let (b, _) = start_here(case.name, config("b", second.path(), &case.bootstrap));
    joined.await_answer(|answer| answer.error() == REBALANCE_IN_PROGRESS);
    stop_in_time(a, "a rebalance");
    case.await_exactly(&expected);
    b.stop().expect("stops");
    case.audit(&[first.path()]);
}
