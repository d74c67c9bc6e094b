//! A thread's part in the group: answering rebalances, draining, restoring.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use sendplane_stage_api::Stage;

use crate::assignment;
use crate::breaker::Breakers;
use crate::client::Rebalance;
use crate::clock::{Deadline, monotonic};
use crate::effect::Arrived;
use crate::error::Error;
use crate::restore::{self, Clients};
use crate::store::Store;
use crate::task::Task;
use crate::thread::{Mode, StageThread};

/// What outlives a rebuild of a task: results not yet applied, effects that run, open breakers.
type Kept<S> = (VecDeque<Arrived<S>>, Arc<AtomicUsize>, Breakers);

impl<S: Stage> StageThread<S> {
    pub(crate) fn answer_rebalances(&mut self) -> Result<(), Error> {
        assignment::serve(&self.member);
        for rebalance in self.member.context().take() {
            match rebalance {
                Rebalance::Assigned(assigned) => self.on_assigned(&assigned)?,
                Rebalance::Revoked => self.on_revoked()?,
            }
        }
        Ok(())
    }

    fn on_assigned(&mut self, assigned: &[(String, i32)]) -> Result<(), Error> {
        metrics::counter!("sendplane_rebalances_total", "stage" => self.shared.names.stage)
            .increment(1);
        let partitions = assignment::tasks_of(assigned, self.shared.stage.inputs())?;
        tracing::info!(stage = self.shared.names.stage, ?partitions, "assigned");
        assignment::accept(&self.member)?;
        self.epoch += 1;
        self.owned = partitions;
        // In this order, so that there is always an obstacle until the tasks are there.
        self.shared.health.obstruct(self.obstacle("restore"), "partitions were assigned");
        self.shared.health.clear(&self.obstacle("assignment"));
        self.restore_owned()
    }

    fn on_revoked(&mut self) -> Result<(), Error> {
        let lost = self.member.assignment_lost();
        tracing::info!(stage = self.shared.names.stage, lost, "revoked");
        if lost {
            // Somebody else may own them already: whatever is uncommitted is theirs to redo.
            self.producer = None;
        } else {
            self.drain();
        }
        self.tasks.clear();
        self.owned.clear();
        self.shared.health.obstruct(self.obstacle("assignment"), "waiting for partitions");
        self.lanes.assign(&[])?;
        assignment::release(&self.member)
    }

    /// Waits for running effects, commits their results, starts nothing new.
    pub(crate) fn drain(&mut self) {
        if self.producer.is_none() {
            // In doubt: nothing can be committed, so there is nothing to wait for.
            return;
        }
        let deadline = Deadline::after(self.shared.config.settle_max);
        loop {
            let running: usize = self.tasks.values().map(Task::running_effects).sum();
            match self.cycle(Mode::Draining) {
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not commit while draining; the next owner redoes it");
                    self.producer = None;
                    return;
                }
            }
            if running == 0 || deadline.passed() {
                if running > 0 {
                    tracing::warn!(running, "effects outlast the drain limit; they are in doubt");
                }
                return;
            }
            assignment::serve(&self.member);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Restores every owned partition behind a producer of this thread, whose epoch fences whatever
    /// is late: from an empty disk the whole changelog, from a kept one its
    /// tail. Effects that run go on; their results stay valid as long as the ownership lasts.
    pub(crate) fn restore_owned(&mut self) -> Result<(), Error> {
        if self.producer.is_none() {
            self.renew_producer()?;
        }
        let mut kept: BTreeMap<i32, Kept<S>> = BTreeMap::new();
        let mut stores = Vec::new();
        let mut tasks = std::mem::take(&mut self.tasks);
        for partition in &self.owned {
            let store = match tasks.remove(partition) {
                Some(task) => {
                    kept.insert(*partition, (task.results, task.running, task.breakers));
                    task.store
                }
                None => self.shared.stores.open(*partition)?,
            };
            stores.push((*partition, store));
        }
        drop(tasks);
        self.restore_into_tasks(stores)?;
        for (partition, (results, running, mut breakers)) in kept {
            if let Some(task) = self.tasks.get_mut(&partition) {
                breakers.rewind();
                (task.results, task.running, task.breakers) = (results, running, breakers);
            }
        }
        Ok(())
    }

    fn restore_into_tasks(&mut self, stores: Vec<(i32, Store)>) -> Result<(), Error> {
        if stores.is_empty() {
            self.shared.health.clear(&self.obstacle("restore"));
            return self.read_from_offsets();
        }
        let shared = self.shared.clone();
        let obstacle = self.obstacle("restore");
        shared.health.obstruct(obstacle.clone(), format!("restoring {} tasks", stores.len()));
        let started = monotonic();
        let clients = Clients {
            config: &shared.config,
            names: &shared.names,
            member: &self.member,
            probe: &self.probe,
            inputs: shared.stage.inputs(),
            partitions: shared.partitions,
        };
        let restored = restore::restore(&clients, stores, &mut || self.keep_going())?;
        let Some(restored) = restored else {
            tracing::info!("restore was interrupted");
            return Ok(());
        };
        for one in restored {
            tracing::info!(
                partition = one.partition,
                txn_seq = one.last.as_ref().map_or(0, |last| last.txn_seq),
                "restored"
            );
            let task = assignment::open_task(&clients, one, self.epoch)?;
            self.slots.forget(task.partition);
            self.tasks.insert(task.partition, task);
        }
        metrics::histogram!("sendplane_restore_seconds", "stage" => shared.names.stage)
            .record((monotonic() - started).as_secs_f64());
        shared.health.clear(&obstacle);
        self.read_from_offsets()
    }

    /// Points the readers at the tasks' offsets and forgets what was fetched beyond them.
    fn read_from_offsets(&mut self) -> Result<(), Error> {
        let mut positions = Vec::new();
        for task in self.tasks.values_mut() {
            task.queues.clear();
            for (input, offset) in task.offsets.iter().enumerate() {
                positions.push((input, task.partition, *offset));
            }
        }
        self.lanes.assign(&positions)
    }
}
