//! A run: a plane under load, broken in chosen ways, and judged at the end.
//!
//! Every way of breaking proves that it hit something before it counts; a run whose faults hit
//! nothing fails. Reading order: [`Run`], `faults` (what can be broken).

mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::follow::Follower;
use crate::load::Load;
use crate::plane::{LIMIT, Plane, STAGES, Setup, Tally};
use crate::traffic::{Fate, Fates, Mix, with};
use crate::verify::{self, Begin, Evidence, Expected, OUTCOMES, Summary};
use crate::wait;

/// Intents become old while a commit waits for a broker; the stages give a commit 5 s here.
const COMMIT_MAX: Duration = Duration::from_secs(6);
/// A call starts at most this long after the commit of its intent (I3).
const CALL_START_MAX: Duration = Duration::from_secs(2);
/// How long the last message of a run may take: a lost call is doubted after 20 s, retries take
/// 5, 15 and 45 s.
const SETTLE_MAX: Duration = Duration::from_secs(240);

/// A plane under load.
pub struct Run {
    /// What runs.
    pub plane: Plane,
    name: String,
    load: Option<Load>,
    follower: Follower,
    begin: Begin,
    fates: Fates,
    calls_cut_off: bool,
    hits: BTreeMap<&'static str, Hits>,
    stores: BTreeSet<(String, String)>,
    began: Instant,
}

/// What faults of one kind hit.
#[derive(Clone, Copy, Debug, Default)]
struct Hits {
    times: usize,
    /// Requests without an end at that moment.
    under_way: usize,
    /// Calls that were not answered at that moment.
    calls: usize,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The verifier's counts.
    pub summary: Summary,
    /// What the processes counted.
    pub tally: Tally,
}

impl Run {
    /// Starts a plane and a load of `per_second` requests whose keys begin with `name`.
    pub fn start(name: &str, setup: Setup, mix: Mix, per_second: u32) -> Self {
        let plane = Plane::start_without_stages(setup);
        let begin = Begin::now(&plane.stack().bootstrap);
        let follower = Follower::start(&plane, OUTCOMES, &begin);
        // Calls take long enough that a fault finds some of them on the wire.
        plane.faults(&json!({"latency_ms": [150, 400]}));
        let mut run = Self {
            plane,
            name: name.to_owned(),
            load: None,
            follower,
            begin,
            fates: Fates::new(),
            calls_cut_off: false,
            hits: BTreeMap::new(),
            stores: BTreeSet::new(),
            began: wait::now(),
        };
        for instance in run.plane.setup().instances.clone() {
            run.start_instances(&STAGES, &instance);
        }
        run.load = Some(Load::start(&run.plane, name, mix, per_second));
        run
    }

    /// Starts an instance of each of these stages and waits until they are ready.
    pub fn start_instances(&mut self, stages: &[&str], instance: &str) {
        for stage in stages {
            self.plane.start_stage(stage, instance);
            self.stores.insert(((*stage).to_owned(), instance.to_owned()));
        }
        for stage in stages {
            self.plane.await_ready(stage, instance);
        }
    }

    /// Starts one instance and does not wait for it.
    pub fn start_instance(&mut self, stage: &str, instance: &str) {
        self.plane.start_stage(stage, instance);
        self.stores.insert((stage.to_owned(), instance.to_owned()));
    }

    /// Waits until all that runs is ready.
    pub fn await_all_ready(&mut self) {
        for (stage, instance) in self.plane.running() {
            self.plane.await_ready(&stage, &instance);
        }
    }

    /// The load.
    pub fn load(&self) -> &Load {
        self.load.as_ref().expect("the load flows until the end")
    }

    /// Lets `count` more requests flow.
    pub fn flow(&self, count: usize) {
        self.load().flow(count);
    }

    /// From now on another load flows; the one before is ended first.
    pub fn change_load(&mut self, start: impl FnOnce(&Plane, &str) -> Load) {
        let before = self.load.take().expect("the load flows until the end").stop();
        self.fates.extend(before);
        let prefix = format!("{}-{}", self.name, self.fates.len());
        self.load = Some(start(&self.plane, &prefix));
    }

    /// Produces requests beside the load, with more arguments for the client.
    pub fn produce(&mut self, requests: Vec<(Value, Fate)>, arguments: &[&str]) {
        let mut lines = Vec::new();
        for (number, (line, fate)) in requests.into_iter().enumerate() {
            let key = format!("{}-x{}-{number}", self.name, self.fates.len());
            lines.push(with(line, json!({"idempotency_key": key})));
            self.fates.insert(key, fate);
        }
        self.plane.produce_with(&lines, arguments);
    }

    /// Looks at the rows for analytics that were read so far.
    pub fn rows<T>(&self, look: impl FnOnce(&[Value]) -> T) -> T {
        self.follower.look(look)
    }

    /// Requests that have no final row yet.
    pub fn under_way(&self) -> usize {
        let written = self.fates.len() + self.load.as_ref().map_or(0, Load::written);
        let ended: BTreeSet<String> = self.follower.look(|rows| {
            let is_final = rows.iter().filter(|row| row["value"]["is_final"] == true);
            is_final.map(|row| row["value"]["idempotency_key"].to_string()).collect()
        });
        written.saturating_sub(ended.len())
    }

    fn note(&mut self, kind: &'static str, calls: usize) {
        let under_way = self.under_way();
        let hits = self.hits.entry(kind).or_default();
        hits.times += 1;
        hits.under_way += under_way;
        hits.calls += calls;
    }

    fn expected(&self) -> Expected {
        Expected {
            prefix: format!("{}-", self.name),
            fates: self.fates.clone(),
            calls_cut_off: self.calls_cut_off,
            call_delay_max: COMMIT_MAX + CALL_START_MAX,
        }
    }

    /// Ends the load, waits for every message's fate, stops all stages, judges, and prints one
    /// line. Panics with what is wrong.
    pub fn finish(mut self) -> Outcome {
        let name = self.name.clone();
        let rest = self.load.take().expect("the load flows until the end").stop();
        self.fates.extend(rest);
        self.plane.faults(&json!({"latency_ms": [1, 2]}));
        self.await_fates();
        let tally = self.plane.tally();
        self.plane.stop_all();
        let expected = self.expected();
        let evidence = Evidence::read(&self.plane, &self.begin);
        let (summary, mut problems) = verify::judge(&evidence, &expected);
        let stores: Vec<(String, String)> = self.stores.iter().cloned().collect();
        let transactions =
            verify::changelog::check(&self.plane, &self.begin, &stores, &mut problems);
        let rows = evidence.rows.get(OUTCOMES).map_or(&[][..], Vec::as_slice);
        self.print(&summary, &tally, transactions);
        let seen = self.follower.finish(rows.len());
        problems.extend(verify::compare_readers(&seen, rows));
        verify::assert_none(&name, &problems);
        for (kind, hits) in &self.hits {
            let vacuous = hits.under_way == 0 || (kind.contains("send") && hits.calls == 0);
            assert!(!vacuous, "{name}: {kind} hit nothing: {hits:?}");
        }
        Outcome { summary, tally }
    }

    fn await_fates(&self) {
        let expected = self.expected();
        let deadline = wait::now() + SETTLE_MAX;
        loop {
            let open = self.follower.look(<[_]>::to_vec);
            let (accepted, _) = verify::ledger(&self.plane);
            let open = verify::open(&open, &accepted, &expected);
            if open.is_empty() {
                return;
            }
            if wait::now() > deadline {
                verify::assert_none(&format!("{}, after {SETTLE_MAX:?}", self.name), &open);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn print(&self, summary: &Summary, tally: &Tally, transactions: usize) {
        let faults: Vec<String> = self
            .hits
            .iter()
            .map(|(kind, hits)| match hits.calls {
                0 => format!("{kind} {} ({} under way)", hits.times, hits.under_way),
                calls => {
                    format!("{kind} {} ({} under way, {calls} calls)", hits.times, hits.under_way)
                }
            })
            .collect();
        let Summary {
            intents, not_sent, proven, doubted, retries, cut_off, calls, accepted, ..
        } = summary;
        println!(
            "run {}: {} requests, states {:?}; faults: {}; {intents} intents ({not_sent} not sent, \
             {proven} proven, {doubted} doubted, {retries} retries), {calls} calls, {accepted} \
             accepted, {cut_off} unknown by faults; {transactions} transactions, {} recoveries, {} \
             rebalances, {} dead letters, {} tears, {} duplicates detected; {} s",
            self.name,
            self.fates.len(),
            summary.states,
            if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
            tally.recoveries,
            tally.rebalances,
            tally.dead_letters,
            tally.tears,
            tally.duplicates_detected,
            self.began.elapsed().as_secs(),
        );
    }

    /// Waits until `check` is true.
    pub fn until(&self, what: &str, mut check: impl FnMut(&Plane) -> bool) {
        wait::until(&format!("{}: {what}", self.name), LIMIT, || check(&self.plane).then_some(()));
    }
}
