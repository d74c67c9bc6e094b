//! EndTxn late, lost and unknown: what a transaction came to is decided by the broker, and nothing
//! is built on a guess.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::Producer;
use sendplane_stage_runtime::RuntimeConfig;
use sendplane_tests::counter::{CountV1, Echo, Gate};
use sendplane_tests::kafka;
use sendplane_tests::proxy::{Action, Api, Fault};
use sendplane_tests::wait;
use tempfile::TempDir;

use crate::case::{Case, LIMIT, proxy};
use crate::worker::{config, start_as, start_here};

/// Kafka's error codes for a producer whose epoch is not the newest.
const FENCED: [i16; 2] = [47, 90];
const REBALANCE_IN_PROGRESS: i16 = 27;
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(2);

/// An instance behind the proxy, whose transactions time out soon.
fn hasty(instance: &str, state: &TempDir) -> RuntimeConfig {
    let transaction_timeout = TRANSACTION_TIMEOUT;
    RuntimeConfig { transaction_timeout, ..config(instance, state.path(), &proxy().1) }
}

fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("temp dir")
}

/// Goal: an EndTxn that was lost on its way and arrives during a later transaction commits nothing
/// of it. librdkafka repeats the request silently and the first one is still out there
/// (confluentinc/librdkafka#5423); what protects is the producer's new epoch.
#[test]
fn a_late_end_txn_commits_nothing_of_a_later_transaction() {
    let case = Case::new("late");
    let state = temp_dir();
    let (runtime, _) = start_here(case.name, hasty("a", &state));
    let mut expected = case.warm_up();
    let key = case.key(0, 0);

    let stray = proxy().0.fault(case.of_producer(Api::END_TXN, "a").times(1), Action::Stray);
    case.send(0, &key, "x");
    case.await_outputs(5);
    assert_eq!(stray.hits(), 1, "the first EndTxn is still on its way");

    let held =
        proxy().0.fault(case.of_producer(Api::TXN_OFFSET_COMMIT, "a").times(1), Action::Hold);
    case.send(0, &key, "x");
    held.await_hits(1);
    let before = case.committed_end();
    stray.release();
    let error = stray.await_answer(|_| true).error();
    assert!(FENCED.contains(&error), "the late EndTxn was answered with {error}");
    assert_eq!(case.committed_end(), before, "nothing of the open transaction shows");
    held.release();

    expected.insert(key, 3);
    case.await_exactly(&expected);
    runtime.stop().expect("stops");
    case.audit(&[state.path()]);
}

/// Goal: an EndTxn that is held until the broker has given the transaction up is known as such: the
/// inputs are counted again, once.
#[test]
fn a_transaction_that_the_broker_timed_out_is_done_again() {
    let case = Case::new("timed-out");
    let state = temp_dir();
    let (runtime, _) = start_here(case.name, hasty("a", &state));
    let mut expected = case.warm_up();
    let key = case.key(0, 0);
    let held = proxy().0.fault(case.of_producer(Api::END_TXN, "a"), Action::Hold);
    case.send(0, &key, "x");
    held.await_hits(1);
    let before = case.committed_end();
    wait::until("the broker has aborted the transaction", LIMIT, || {
        (case.committed_end() > before).then_some(())
    });
    held.release();
    expected.insert(key, 2);
    case.await_exactly(&expected);
    let error = held.answers().first().expect("an answer").error();
    assert!(FENCED.contains(&error), "the held EndTxn was answered with {error}");
    assert!(runtime.recoveries() >= 1, "it was in doubt");
    runtime.stop().expect("stops");
    case.audit(&[state.path()]);
}

/// An instance whose last transaction is committed, who does not know it, and never will by itself:
/// the EndTxn was executed, its answer lost, a newer epoch exists. The result of an effect has
/// arrived meanwhile, so that a drain would have something to commit.
struct InDoubt {
    repeated: Fault,
    _lost: Fault,
}

impl InDoubt {
    fn begin(case: &Case, gate: &Gate) -> Self {
        let key = case.key(0, 0);
        case.send(0, &key, "call");
        wait::until("the effect runs", LIMIT, || (gate.waiting() == 1).then_some(()));
        let end_txn = || case.of_producer(Api::END_TXN, "a");
        let lost = proxy().0.fault(end_txn().times(1), Action::CutAfter);
        let repeated = proxy().0.fault(end_txn(), Action::Hold);
        case.send(0, &key, "x");
        repeated.await_hits(1);
        let began = wait::now();
        assert_eq!(lost.answers()[0].error(), 0, "the lost EndTxn was executed");
        let usurper: rdkafka::producer::BaseProducer = kafka::config(&case.bootstrap)
            .set("transactional.id", case.transactional_id("a"))
            .create()
            .expect("a producer");
        usurper.init_transactions(LIMIT).expect("takes the next epoch");
        gate.open();
        wait::until("the transaction is older than its timeout", LIMIT, || {
            (began.elapsed() > TRANSACTION_TIMEOUT).then_some(())
        });
        Self { repeated, _lost: lost }
    }

    /// Now the instance learns that it was fenced, and no more.
    fn reveal(self) {
        self.repeated.release();
        let error = self.repeated.await_answer(|_| true).error();
        assert!(FENCED.contains(&error), "the repeated EndTxn was answered with {error}");
    }
}

/// Goal: a stop that meets a transaction of unknown outcome commits nothing on top of it. The guard
/// is that there is no producer while in doubt; a drain that made itself one would number its
/// transaction like the one that was committed.
#[test]
fn a_stop_in_doubt_commits_nothing() {
    let case = Case::new("doubt-stop");
    let (first, second) = (temp_dir(), temp_dir());
    let gate = Arc::new(Gate::default());
    let (runtime, _) = start_as::<CountV1>(case.name, hasty("a", &first), gate.clone());
    let mut expected = case.warm_up();
    let doubt = InDoubt::begin(&case, &gate);
    runtime.ask_to_stop();
    doubt.reveal();
    runtime.stop().expect("stops");

    let key = case.key(0, 0);
    case.send(0, &key, "x");
    expected.insert(key, 4);
    let (runtime, _) = start_here(case.name, hasty("b", &second));
    case.await_exactly(&expected);
    runtime.stop().expect("stops");
    case.audit(&[first.path(), second.path()]);
}

/// Goal: the same when the partitions are asked back, because another member joins.
#[test]
fn a_revocation_in_doubt_commits_nothing() {
    let case = Case::new("doubt-revoke");
    let (first, second) = (temp_dir(), temp_dir());
    let gate = Arc::new(Gate::default());
    let (a, _) = start_as::<CountV1>(case.name, hasty("a", &first), gate.clone());
    let mut expected = case.warm_up();
    let doubt = InDoubt::begin(&case, &gate);
    let heartbeats = proxy().0.fault(case.of_member(Api::HEARTBEAT, "a"), Action::Watch);
    let (b, _) = start_as::<CountV1>(case.name, hasty("b", &second), Arc::new(Echo));
    heartbeats.await_answer(|answer| answer.error() == REBALANCE_IN_PROGRESS);
    doubt.reveal();

    let key = case.key(0, 0);
    case.send(0, &key, "x");
    expected.insert(key, 4);
    case.await_exactly(&expected);
    assert!(a.recoveries() >= 1, "a was in doubt");
    a.stop().expect("stops");
    b.stop().expect("stops");
    case.audit(&[first.path(), second.path()]);
}
