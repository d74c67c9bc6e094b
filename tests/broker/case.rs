//! What a test of the runtime needs: topics and a turn of its own, a load whose right output is
//! known, and the audit of what the broker and the stores hold afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::BaseProducer;
use sendplane_stage_runtime::config::Names;
use sendplane_stage_runtime::verify::verify;
use sendplane_tests::counter::{Counter, Topics, keys_of};
use sendplane_tests::kafka;
use sendplane_tests::proxy::{Api, Match, Proxy};
use sendplane_tests::verify::changelog;
use sendplane_tests::{stack, wait};

use crate::worker::config;

pub const PARTITIONS: i32 = 4;
pub const LIMIT: Duration = Duration::from_secs(90);

/// A counter's name, topics and expectations. The turn lasts as long as the case: timings of frozen
/// and killed processes want the machine for themselves.
pub struct Case {
    pub name: &'static str,
    pub bootstrap: String,
    pub topics: Topics,
    names: Names,
    producer: BaseProducer,
    probe: BaseConsumer,
    _turn: MutexGuard<'static, ()>,
}

/// How often each key is to be counted.
pub type Expected = BTreeMap<String, usize>;

impl Case {
    /// A case on the shared stack.
    pub fn new(name: &'static str) -> Self {
        Self::on(name, &stack::shared().bootstrap)
    }

    /// A case on any brokers.
    pub fn on(name: &'static str, bootstrap: &str) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (stage, topics): (Counter, _) = Counter::named(name);
        topics.create(bootstrap, PARTITIONS);
        let names = Names::of(sendplane_stage_api::Stage::name(&stage));
        let probe = kafka::config(bootstrap)
            .set("group.id", "sendplane.tests")
            .set("isolation.level", "read_committed")
            .create()
            .expect("a consumer");
        let (bootstrap, producer) = (bootstrap.to_owned(), kafka::producer(bootstrap));
        Self { name, bootstrap, topics, names, producer, probe, _turn: turn }
    }

    /// The transactional id of an instance's only thread.
    pub fn transactional_id(&self, instance: &str) -> String {
        self.names.transactional_id(instance, 0)
    }

    /// The name of the stage.
    pub fn stage(&self) -> &'static str {
        self.names.stage
    }

    /// Requests about the transactions of `instance`.
    pub fn of_producer(&self, api: Api, instance: &str) -> Match {
        Match::api(api).subject(&self.transactional_id(instance))
    }

    /// Requests of the group member of `instance`.
    pub fn of_member(&self, api: Api, instance: &str) -> Match {
        Match::api(api).subject(&self.names.group).client(&format!("sendplane-{instance}"))
    }

    /// The `count`th key of `partition`, from 0.
    pub fn key(&self, partition: i32, count: usize) -> String {
        keys_of(partition, PARTITIONS as u32, count + 1).remove(count)
    }

    /// Sends one record to the transactional input.
    pub fn send(&self, partition: i32, key: &str, value: &str) {
        kafka::send(&self.producer, self.topics.input, partition, key, value.as_bytes());
        kafka::flush(&self.producer);
    }

    /// Sends `per_key` records for each of five keys per partition, round robin, and returns what is
    /// to be counted.
    pub fn feed(&self, per_key: usize, mut between: impl FnMut(usize)) -> Expected {
        self.feed_while(|round| {
            between(round);
            round + 1 < per_key
        })
    }

    /// As [`Self::feed`], as long as `go_on` says so after a round.
    pub fn feed_while(&self, mut go_on: impl FnMut(usize) -> bool) -> Expected {
        let keys: Vec<(i32, String)> = (0..PARTITIONS)
            .flat_map(|p| keys_of(p, PARTITIONS as u32, 5).into_iter().map(move |key| (p, key)))
            .collect();
        let mut rounds = 0;
        loop {
            for (partition, key) in &keys {
                kafka::send(&self.producer, self.topics.input, *partition, key, b"x");
            }
            rounds += 1;
            if !go_on(rounds - 1) {
                break;
            }
        }
        kafka::flush(&self.producer);
        keys.into_iter().map(|(_, key)| (key, rounds)).collect()
    }

    /// One record for one key of each partition: afterwards all tasks have committed.
    pub fn warm_up(&self) -> Expected {
        let keys: Vec<String> = (0..PARTITIONS).map(|partition| self.key(partition, 0)).collect();
        for (partition, key) in (0..).zip(&keys) {
            self.send(partition, key, "x");
        }
        self.await_outputs(keys.len());
        keys.into_iter().map(|key| (key, 1)).collect()
    }

    /// All committed outputs by key.
    pub fn outputs(&self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for read in kafka::read_all(&self.bootstrap, self.topics.output, PARTITIONS) {
            let key = String::from_utf8(read.key.clone().expect("a key")).expect("text");
            found.entry(key).or_default().push(read.text());
        }
        found
    }

    /// The committed outputs as soon as there are `count`.
    pub fn await_outputs(&self, count: usize) -> BTreeMap<String, Vec<String>> {
        let what = format!("{count} outputs in {}", self.topics.output);
        wait::until(&what, LIMIT, || {
            // Control records count as well, so this is a lower bound only; it is cheap.
            (self.committed_end() >= count as i64)
                .then(|| self.outputs())
                .filter(|found| found.values().map(Vec::len).sum::<usize>() >= count)
        })
    }

    /// The sum of the output's last stable offsets.
    pub fn committed_end(&self) -> i64 {
        let end = |partition| {
            let limit = Duration::from_secs(20);
            let found = self.probe.fetch_watermarks(self.topics.output, partition, limit);
            // After a broker has died, librdkafka fails until it has looked for the leaders again.
            let found = found.or_else(|_| {
                self.probe.fetch_metadata(Some(self.topics.output), limit)?;
                self.probe.fetch_watermarks(self.topics.output, partition, limit)
            });
            found.expect("watermarks can be read").1
        };
        (0..PARTITIONS).map(end).sum()
    }

    /// Waits for all expected outputs and fails on a gap, a repetition or a wrong order.
    pub fn await_exactly(&self, expected: &Expected) {
        let found = self.await_outputs(expected.values().sum());
        assert_exact(&found, expected);
    }

    /// The stores equal the fold of the changelog (I6); returns how many keys were compared.
    pub fn verified(&self, state: &Path) -> usize {
        let dir = state.join(self.stage());
        let config = config("verifier", state, &self.bootstrap);
        let reports = verify(&config, self.stage(), &dir).expect("verifies");
        for report in &reports {
            assert!(report.holds(), "{report:?}");
        }
        reports.iter().map(|report| report.compared).sum()
    }

    /// Once everything is stopped: transactions are numbered without gap or repetition and whole,
    /// the group's offsets are those of the last ones (I7), stores equal the changelog (I6).
    /// Returns the number of transactions.
    pub fn audit(&self, stores: &[&Path]) -> usize {
        let mut problems = Vec::new();
        let mut last = BTreeMap::new();
        let mut transactions = 0;
        let records = kafka::read_all(&self.bootstrap, &self.topics.changelog, PARTITIONS);
        for partition in 0..PARTITIONS {
            let records = records.iter().filter(|record| record.partition == partition);
            let name = format!("{}/{partition}", self.topics.changelog);
            let (count, commit) = changelog::follow(&name, records, &mut problems);
            transactions += count;
            last.extend(commit.map(|commit| (partition, commit)));
        }
        changelog::check_offsets(&self.bootstrap, self.stage(), &last, &mut problems);
        assert!(problems.is_empty(), "{problems:#?}");
        for store in stores {
            assert!(self.verified(store) > 0, "{} holds something", store.display());
        }
        transactions
    }
}

/// The proxy and the `bootstrap.servers` through it.
pub fn proxy() -> (&'static Proxy, String) {
    stack::proxy()
}

/// Every key counted 1, 2, 3 … without gap or repetition. Outputs of timers and effects are not
/// looked at.
pub fn assert_exact(found: &BTreeMap<String, Vec<String>>, expected: &Expected) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, count) in expected {
        let right: Vec<String> = (1..=*count).map(|n| n.to_string()).collect();
        let counts: Vec<&String> =
            found[key].iter().filter(|text| text.parse::<u64>().is_ok()).collect();
        assert_eq!(counts, right.iter().collect::<Vec<_>>(), "{key}");
    }
}
