//! Starting and stopping a stage in this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use sendplane_stage_api::{Codec, Globals, Stage};

use crate::client;
use crate::clock;
use crate::config::{Names, RuntimeConfig};
use crate::effect::Effects;
use crate::error::{Error, Recovery};
use crate::globals;
use crate::health::Health;
use crate::store::Stores;
use crate::thread::{Shared, StageThread};

/// A stage with all it needs to run.
pub struct StageHost<S: Stage> {
    /// The stage.
    pub stage: S,
    /// Its codec.
    pub codec: Arc<dyn Codec<S>>,
    /// Performs its effects.
    pub effects: Effects<S>,
}

/// A running stage.
pub struct Runtime {
    threads: Vec<std::thread::JoinHandle<Result<(), Error>>>,
    stop: Arc<dyn Fn() + Send + Sync>,
    recoveries: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Runtime {
    /// Checks the topics and starts the stage's threads. Waits for the brokers, and for missing
    /// topics, until `give_up` says otherwise; meanwhile `health` names what is missing.
    pub fn start<S: Stage>(
        config: RuntimeConfig,
        host: StageHost<S>,
        health: Health,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, Error> {
        if config.instance_id.is_empty() {
            return Err(Error::Unsafe(
                "instance-id is empty: give every instance of a stage a stable, unique id".into(),
            ));
        }
        let names = Names::of(host.stage.name());
        let stores = Stores::new(&config, names.stage);
        stores.probe()?;
        let Some(partitions) = await_topics::<S>(&config, &names, &host.stage, &health, give_up)?
        else {
            return Ok(None);
        };
        let globals = globals::start::<S>(&config, host.codec.clone(), health.clone())?;
        let shared = Arc::new(Shared {
            stage: Arc::new(host.stage),
            codec: host.codec,
            effects: host.effects,
            config,
            names,
            stores,
            globals,
            health,
            partitions,
            stop: AtomicBool::new(false),
            watchdog: Watchdog::start(),
            recoveries: AtomicU64::new(0),
        });
        let mut threads = Vec::new();
        for index in 0..shared.config.threads.max(1) {
            let thread = StageThread::new(shared.clone(), index)?;
            let handle = std::thread::Builder::new()
                .name(format!("{}-{index}", shared.names.stage))
                .spawn(move || thread.run())
                .map_err(|error| Error::Unsafe(format!("cannot start a thread: {error}")))?;
            threads.push(handle);
        }
        let counting = shared.clone();
        let recoveries = Arc::new(move || counting.recoveries.load(Ordering::Relaxed));
        let stop = Arc::new(move || shared.stop.store(true, Ordering::Relaxed));
        Ok(Some(Self { threads, stop, recoveries }))
    }

    /// True while all threads run. One that ended has met an error that stops the process.
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// How often a doubt was recovered from by rebuilding from the changelog.
    pub fn recoveries(&self) -> u64 {
        (self.recoveries)()
    }

    /// Tells the threads to drain, without waiting for them.
    pub fn ask_to_stop(&self) {
        (self.stop)();
    }

    /// Drains, commits, leaves the group; returns the first thread's error.
    pub fn stop(self) -> Result<(), Error> {
        self.ask_to_stop();
        let mut result = Ok(());
        for thread in self.threads {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err(Error::Unsafe("a stage thread panicked".into())));
            result = result.and(ended);
        }
        result
    }
}

/// Waits until all topics of the stage exist and agree on the partition count.
fn await_topics<S: Stage>(
    config: &RuntimeConfig,
    names: &Names,
    stage: &S,
    health: &Health,
    give_up: &dyn Fn() -> bool,
) -> Result<Option<u32>, Error> {
    let probe: BaseConsumer =
        client::probe(config).create().map_err(Error::kafka("create probe"))?;
    let mut work: Vec<&str> = stage.inputs().iter().map(|input| input.topic).collect();
    work.extend([names.changelog.as_str(), names.dead_letters.as_str()]);
    loop {
        let reason = match look_at_topics(&probe, &work, S::Globals::topics()) {
            Ok(partitions) => {
                health.clear("topics");
                return Ok(Some(partitions));
            }
            Err(error) if matches!(error, Error::Unsafe(_)) => return Err(error),
            Err(error) if error.recovery() == Recovery::Stop => return Err(error),
            Err(error) => error.to_string(),
        };
        tracing::warn!(reason, "not all topics can be used yet");
        health.obstruct("topics", reason);
        if give_up() {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn look_at_topics(probe: &BaseConsumer, work: &[&str], globals: &[&str]) -> Result<u32, Error> {
    let mut agreed: Option<(&str, usize)> = None;
    for topic in work {
        let count = partition_count(probe, topic)?;
        match agreed {
            None => agreed = Some((topic, count)),
            Some((first, expected)) if expected != count => {
                return Err(Error::Unsafe(format!(
                    "{topic} has {count} partitions, {first} has {expected}: all topics of the \
                     plane need the same number"
                )));
            }
            Some(_) => {}
        }
    }
    for topic in globals {
        let count = partition_count(probe, topic)?;
        if count != 1 {
            return Err(Error::Unsafe(format!(
                "global topic {topic} has {count} partitions, it needs exactly 1"
            )));
        }
    }
    Ok(agreed.map_or(0, |(_, count)| count) as u32)
}

fn partition_count(probe: &BaseConsumer, topic: &str) -> Result<usize, Error> {
    let metadata = probe
        .fetch_metadata(Some(topic), Duration::from_secs(5))
        .map_err(Error::kafka("look at topics"))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found {
        Some(found) if found.error().is_none() && !found.partitions().is_empty() => {
            Ok(found.partitions().len())
        }
        _ => Err(Error::MissingTopic(topic.to_owned())),
    }
}

/// Ends the process when a commit hangs: `send_offsets_to_transaction` has no way out when the
/// group coordinator is decommissioned (librdkafka#5511), and a restart is safe at any time.
#[derive(Clone)]
pub(crate) struct Watchdog {
    commits: Commits,
}

/// By thread: when its running commit began.
type Commits = Arc<Mutex<BTreeMap<usize, Instant>>>;

/// Longer than any timeout inside a commit.
const HUNG_AFTER: Duration = Duration::from_secs(120);

impl Watchdog {
    fn start() -> Self {
        let commits = Commits::default();
        let watched = Arc::downgrade(&commits);
        std::thread::spawn(move || {
            while let Some(commits) = watched.upgrade() {
                let longest = lock(&commits).values().map(Instant::elapsed).max();
                if longest.is_some_and(|waited| waited > HUNG_AFTER) {
                    tracing::error!(waited = ?longest, "a commit hangs: the process ends");
                    std::process::exit(70);
                }
                drop(commits);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Self { commits }
    }

    /// Watches a commit of `thread` until the guard is dropped.
    pub fn arm(&self, thread: usize) -> Armed {
        lock(&self.commits).insert(thread, clock::monotonic());
        Armed(self.commits.clone(), thread)
    }
}

pub(crate) struct Armed(Commits, usize);

impl Drop for Armed {
    fn drop(&mut self) {
        lock(&self.0).remove(&self.1);
    }
}

fn lock(commits: &Commits) -> MutexGuard<'_, BTreeMap<usize, Instant>> {
    commits.lock().unwrap_or_else(PoisonError::into_inner)
}
