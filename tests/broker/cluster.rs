//! Three brokers, every record on three of them and acknowledged by at least two.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sendplane_tests::coordinator::{self, Kind};
use sendplane_tests::{stack, wait};

use crate::case::{Case, LIMIT};
use crate::worker::{spawn, stop_worker};

/// Ends the load, also when the test fails: the scope waits for it.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Goal: brokers may die and be rolled under load, those that coordinate the group and the
/// transactions included; every input is counted once. Method: two instances work while one broker
/// after the other is killed or restarted; after each the outputs must go on.
#[test]
#[ignore = "long: make chaos"]
fn counts_exactly_once_while_brokers_die() {
    let cluster = stack::start("-cluster", &["--brokers", "3"]);
    let case = Case::on("cluster", &cluster.bootstrap);
    let (first, second) =
        (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
    let a = spawn(&case, "a", first.path());
    let b = spawn(&case, "b", second.path());

    let restart = |node: i32, how: &[&str]| {
        let before = case.committed_end();
        let node = node.to_string();
        cluster.command(&[&["restart-kafka", "--node", &node], how].concat());
        wait::until("the outputs go on", LIMIT, || {
            (case.committed_end() > before + 100).then_some(())
        });
    };
    let kill: &[&str] = &["--kill", "--pause", "4"];
    let group = format!("sendplane.{}", case.stage());
    let coordinator = |kind, key: &str| coordinator::of(&case.bootstrap, kind, key);
    let moved = Cell::new(0);
    let kill_coordinator = |kind, key: &str| {
        let node = coordinator(kind, key);
        restart(node, kill);
        moved.set(moved.get() + i32::from(coordinator(kind, key) != node));
    };
    let done = AtomicBool::new(false);
    let expected = std::thread::scope(|scope| {
        let (case, done) = (&case, &done);
        let stop = StopAtEnd(done);
        let feeding = scope.spawn(move || {
            case.feed_while(|_| {
                std::thread::sleep(Duration::from_millis(40));
                !done.load(Ordering::Relaxed)
            })
        });
        case.await_outputs(100);
        restart(1, kill);
        kill_coordinator(Kind::Group, &group);
        kill_coordinator(Kind::Transaction, &case.transactional_id("a"));
        kill_coordinator(Kind::Transaction, &case.transactional_id("b"));
        for node in 1..=3 {
            restart(node, &[]);
        }
        drop(stop);
        feeding.join().expect("the load ends")
    });
    case.await_exactly(&expected);
    stop_worker(first.path(), a);
    stop_worker(second.path(), b);
    let transactions = case.audit(&[first.path(), second.path()]);
    println!("{} inputs, {transactions} transactions", expected.values().sum::<usize>());
    assert!(moved.get() >= 1, "a coordinator moved");
    cluster.command(&["down"]);
}
