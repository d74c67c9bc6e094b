//! What can be broken in a run. Each fault waits until it hits something.

use std::time::Duration;

use serde_json::{Value, json};

use super::Run;
use crate::plane::{LIMIT, STAGES};
use crate::wait;

/// Transactions an instance commits while it is looked at, to count as busy.
const BUSY: u64 = 2;

impl Run {
    /// Waits until the instance commits transactions.
    pub fn await_busy(&self, stage: &str, instance: &str) {
        let transactions = || {
            self.plane.metrics(stage, instance).map(|now| now.sum("sendplane_transactions_total"))
        };
        let mut first = None;
        wait::until(&format!("{stage}-{instance} is busy"), LIMIT, || {
            let now = transactions()?;
            let first = *first.get_or_insert(now);
            (now >= first + BUSY).then_some(())
        });
    }

    /// Waits until an instance of send has calls on the wire; says how many.
    pub fn await_calls(&self, instance: &str) -> usize {
        wait::until("calls are on the wire", LIMIT, || {
            let now = self.plane.metrics("send", instance)?;
            let calls = now.sum("sendplane_meta_requests_in_flight") as usize;
            (calls > 0).then_some(calls)
        })
    }

    /// kill -9 while the instance is busy; send while it has calls on the wire.
    pub fn kill(&mut self, stage: &str, instance: &str) {
        self.await_busy(stage, instance);
        if stage == "send" {
            self.await_calls(instance);
            self.calls_cut_off = true;
        }
        let last = self.plane.kill(stage, instance);
        let kind = if stage == "send" { "kill -9 of send" } else { "kill -9" };
        self.note(kind, last.sum("sendplane_meta_requests_in_flight") as usize);
    }

    /// kill -9, start, and once more while it restores; then it starts again. Its store is wiped in
    /// between, so that there is something to restore.
    pub fn kill_twice(&mut self, stage: &str, instance: &str) {
        self.kill(stage, instance);
        for _ in 0..10 {
            self.wipe(stage, instance);
            self.start_instance(stage, instance);
            if self.catch_restoring(stage, instance) {
                self.plane.kill(stage, instance);
                self.note("kill -9 while restoring", 0);
                self.start_instance(stage, instance);
                self.plane.await_ready(stage, instance);
                return;
            }
            self.kill(stage, instance);
        }
        panic!("{stage}-{instance} was never caught restoring");
    }

    /// True if the instance was seen restoring, false if it was ready before that was seen.
    fn catch_restoring(&self, stage: &str, instance: &str) -> bool {
        wait::until(&format!("{stage}-{instance} restores"), LIMIT, || {
            let (status, text) = self.plane.admin(stage, instance, "/readyz")?;
            match (status, text.contains("restoring")) {
                (200, _) => Some(false),
                (_, true) => Some(true),
                (_, false) => None,
            }
        })
    }

    /// Removes the stores of an instance that does not run.
    pub fn wipe(&mut self, stage: &str, instance: &str) {
        let dir = self.plane.state_dir(stage, instance).join(stage);
        let stores = std::fs::read_dir(&dir).map_or(0, Iterator::count);
        assert!(stores > 0, "{} holds stores to wipe", dir.display());
        std::fs::remove_dir_all(dir).expect("the stores can be removed");
        self.note("store wiped", 0);
    }

    /// SIGSTOP for longer than the session, while busy (send with calls on the wire), then SIGCONT:
    /// a zombie. The others have taken its partitions over meanwhile, which they say by a
    /// rebalance.
    pub fn freeze(&mut self, stage: &str, instance: &str, other: &str) {
        self.await_busy(stage, instance);
        let rebalances = |run: &Self| {
            let metrics = run.plane.metrics(stage, other);
            metrics.map_or(0, |metrics| metrics.sum("sendplane_rebalances_total"))
        };
        let before = rebalances(self);
        let (mut kind, mut calls) = ("SIGSTOP beyond the session", 0);
        if stage == "send" {
            (kind, calls) = ("SIGSTOP of send beyond the session", self.await_calls(instance));
            self.calls_cut_off = true;
        }
        self.plane.freeze(stage, instance);
        self.note(kind, calls);
        let frozen_at = wait::now();
        let enough = self.plane.setup().session + Duration::from_secs(2);
        self.until("the others take over", |plane| {
            let metrics = plane.metrics(stage, other);
            let now = metrics.map_or(0, |metrics| metrics.sum("sendplane_rebalances_total"));
            now > before && frozen_at.elapsed() > enough
        });
        self.plane.wake(stage, instance);
        self.plane.await_ready(stage, instance);
    }

    /// SIGTERM while the instance is busy: it ends with 0.
    pub fn terminate(&mut self, stage: &str, instance: &str) {
        self.await_busy(stage, instance);
        let (kind, calls) = match stage {
            "send" => ("SIGTERM of send", self.await_calls(instance)),
            _ => ("SIGTERM", 0),
        };
        self.plane.stop_stage(stage, instance);
        self.note(kind, calls);
    }

    /// The broker ends and comes back on its port, as the arguments of the stack's `restart-kafka`
    /// say; the stages have to work again afterwards. The only broker must be killed: see
    /// `tests/chaos/broker.rs`.
    pub fn restart_broker(&mut self, arguments: &[&str]) {
        // Nobody's commit is certain to survive its broker.
        self.calls_cut_off = true;
        for stage in STAGES {
            self.await_busy(stage, "a");
        }
        self.note(
            if arguments.contains(&"--kill") { "broker killed" } else { "broker restarted" },
            0,
        );
        self.plane.stack().command(&[&["restart-kafka"][..], arguments].concat());
        self.await_all_ready();
        for stage in STAGES {
            self.await_busy(stage, "a");
        }
    }

    /// kill -9 of the registry, which stays down.
    pub fn registry_down(&mut self) {
        self.plane.stack().command(&["stop-registry", "--kill"]);
        self.note("registry down", 0);
    }

    /// The registry is back.
    pub fn registry_up(&mut self) {
        self.plane.stack().command(&["start-registry"]);
    }

    /// Changes the provider's faults while calls flow, and waits until `count` of its ledger's
    /// summary has grown by `at_least`.
    pub fn provider(&mut self, faults: &Value, count: impl Fn(&Value) -> u64, at_least: u64) {
        let before = count(&self.plane.metasim("/metasim/ledger?summary=true"));
        self.calls_cut_off = true;
        self.plane.faults(faults);
        self.until(&format!("the provider shows {faults}"), |plane| {
            count(&plane.metasim("/metasim/ledger?summary=true")) >= before + at_least
        });
        self.note("provider fault", 0);
    }

    /// The provider refuses connections until an instance of send has noticed that often.
    pub fn provider_refuses(&mut self, instance: &str, at_least: u64) {
        let refused = |run: &Self| {
            let metrics = run.plane.metrics("send", instance).unwrap_or_default();
            let label = "code_class=\"not_started_no_connection\"";
            metrics.sum_with("sendplane_meta_requests_total", label)
        };
        let before = refused(self);
        self.calls_cut_off = true;
        self.plane.faults(&json!({"down": "refuse"}));
        wait::until("send meets a closed port", LIMIT, || {
            (refused(self) >= before + at_least).then_some(())
        });
        self.note("provider refuses connections", 0);
    }

    /// The provider is well again.
    pub fn heal_provider(&self) {
        self.plane.faults(&json!({
            "down": "no", "errors": [], "lose_answer": 0.0, "reset_before_accept": 0.0,
            "garbage_answer": 0.0, "latency_ms": [150, 400],
        }));
    }
}
