//! Global tables: compacted topics held in memory, complete before the first record, pinned for a
//! cycle.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Codec, Globals, RawRecord, Stage, Undecoded};

use crate::client;
use crate::clock::Deadline;
use crate::config::RuntimeConfig;
use crate::error::Error;
use crate::health::Health;

/// A consistent state of all global tables.
#[derive(Clone, Debug)]
pub struct View<G: Globals> {
    /// The tables.
    pub tables: Arc<G>,
    /// Per topic: the offset up to which they are applied.
    pub ends: Vec<i64>,
    /// The latest change of every key, by (topic, offset).
    changes: Arc<BTreeMap<(usize, i64), G::Change>>,
}

impl<G: Globals> View<G> {
    fn empty() -> Self {
        Self {
            tables: Arc::new(G::default()),
            ends: vec![0; G::topics().len()],
            changes: Arc::new(BTreeMap::new()),
        }
    }

    /// The changes a task that has applied up to `applied` has not seen, in log order per topic.
    pub fn changes_after(&self, applied: &[i64]) -> Vec<G::Change> {
        let mut found = Vec::new();
        for topic in 0..self.ends.len() {
            let from = applied.get(topic).copied().unwrap_or(0);
            let range = self.changes.range((topic, from)..(topic, i64::MAX));
            found.extend(range.map(|(_, change)| change.clone()));
        }
        found
    }
}

/// Handle on the tables of one process; cheap to clone.
pub struct GlobalTables<G: Globals> {
    view: Arc<ArcSwap<View<G>>>,
    complete: Arc<AtomicBool>,
    requests: mpsc::Sender<mpsc::Sender<()>>,
}

impl<G: Globals> Clone for GlobalTables<G> {
    fn clone(&self) -> Self {
        Self {
            view: self.view.clone(),
            complete: self.complete.clone(),
            requests: self.requests.clone(),
        }
    }
}

impl<G: Globals> GlobalTables<G> {
    /// The newest state.
    pub fn view(&self) -> Arc<View<G>> {
        self.view.load_full()
    }

    /// True once everything that stood in the topics at the start has been read.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Reads up to the end that the topics have now. False if that did not work within `timeout`.
    pub fn catch_up(&self, timeout: Duration) -> bool {
        if G::topics().is_empty() {
            return true;
        }
        let (reply, answer) = mpsc::channel();
        self.requests.send(reply).is_ok() && answer.recv_timeout(timeout).is_ok()
    }
}

/// Starts the thread that follows the global topics; it ends when all handles are gone.
pub fn start<S: Stage>(
    config: &RuntimeConfig,
    codec: Arc<dyn Codec<S>>,
    health: Health,
) -> Result<GlobalTables<S::Globals>, Error> {
    let view = Arc::new(ArcSwap::from_pointee(View::<S::Globals>::empty()));
    let topics = S::Globals::topics();
    let complete = Arc::new(AtomicBool::new(topics.is_empty()));
    let (requests, inbox) = mpsc::channel();
    let tables = GlobalTables { view: view.clone(), complete: complete.clone(), requests };
    if topics.is_empty() {
        return Ok(tables);
    }
    health.obstruct(OBSTACLE, "not read to their end yet");
    let consumer: BaseConsumer =
        client::reader(config).create().map_err(Error::kafka("create global reader"))?;
    let probe: BaseConsumer =
        client::probe(config).create().map_err(Error::kafka("create probe"))?;
    let follower = Follower::<S> {
        consumer,
        probe,
        codec,
        health,
        view,
        complete,
        newest: HashMap::new(),
        waiting: Vec::new(),
        held: None,
    };
    std::thread::Builder::new()
        .name("globals".into())
        .spawn(move || follower.run(&inbox))
        .map_err(|error| Error::Unsafe(format!("cannot start a thread: {error}")))?;
    Ok(tables)
}

const OBSTACLE: &str = "global-tables";
const TICK: Duration = Duration::from_millis(20);

struct Follower<S: Stage> {
    consumer: BaseConsumer<DefaultConsumerContext>,
    probe: BaseConsumer<DefaultConsumerContext>,
    codec: Arc<dyn Codec<S>>,
    health: Health,
    view: Arc<ArcSwap<View<S::Globals>>>,
    complete: Arc<AtomicBool>,
    /// Offset of the newest change per (topic, key).
    newest: HashMap<(usize, Vec<u8>), i64>,
    /// Who waits for which ends.
    waiting: Vec<(Vec<i64>, mpsc::Sender<()>)>,
    /// A record whose schema cannot be had right now.
    held: Option<Held>,
}

struct Held {
    topic: usize,
    offset: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl<S: Stage> Follower<S> {
    fn run(mut self, inbox: &mpsc::Receiver<mpsc::Sender<()>>) {
        let Some(first_ends) = self.begin(inbox) else {
            return;
        };
        let (reply, _first) = mpsc::channel();
        self.waiting.push((first_ends, reply));
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(reply) => match self.ends() {
                        Ok(ends) => self.waiting.push((ends, reply)),
                        Err(error) => tracing::warn!(%error, "cannot see the global topics' end"),
                    },
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.read_some();
            self.answer();
        }
    }

    /// Waits until the topics can be read. `None` when nobody is interested any more.
    fn begin(&mut self, inbox: &mpsc::Receiver<mpsc::Sender<()>>) -> Option<Vec<i64>> {
        let mut assignment = TopicPartitionList::new();
        for topic in S::Globals::topics() {
            assignment
                .add_partition_offset(topic, 0, Offset::Beginning)
                .expect("a fresh list takes any offset");
        }
        loop {
            match self.ends().and_then(|ends| {
                self.consumer.assign(&assignment).map_err(Error::kafka("assign globals"))?;
                Ok(ends)
            }) {
                Ok(ends) => return Some(ends),
                Err(error) => {
                    self.health.obstruct(OBSTACLE, error.to_string());
                    tracing::warn!(%error, "global topics cannot be read yet");
                }
            }
            match inbox.recv_timeout(Duration::from_secs(1)) {
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn ends(&self) -> Result<Vec<i64>, Error> {
        S::Globals::topics()
            .iter()
            .map(|topic| {
                self.probe
                    .fetch_watermarks(topic, 0, Duration::from_secs(10))
                    .map(|(_, high)| high)
                    .map_err(Error::kafka("look at a global topic's end"))
            })
            .collect()
    }

    fn read_some(&mut self) {
        if let Some(held) = self.held.take() {
            self.take(held);
            if self.held.is_some() {
                std::thread::sleep(Duration::from_millis(200));
                return;
            }
        }
        let deadline = Deadline::after(TICK);
        while !deadline.passed() && self.held.is_none() {
            let polled = self
                .consumer
                .poll(deadline.remaining())
                .map(|polled| polled.map(|message| owned::<S>(&message)));
            match polled {
                Some(Ok(Some(record))) => self.take(record),
                Some(Ok(None)) | None => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "global reader");
                    std::thread::sleep(TICK);
                }
            }
        }
        self.publish_positions();
    }

    fn take(&mut self, record: Held) {
        let topic = S::Globals::topics()[record.topic];
        let raw = RawRecord {
            topic,
            partition: 0,
            offset: record.offset,
            timestamp: Timestamp::default(),
            key: Some(&record.key),
            value: record.value.as_deref(),
            headers: &[],
        };
        match self.codec.decode_global(&raw) {
            Ok(change) => {
                let mut view = View::clone(&self.view.load());
                Arc::make_mut(&mut view.tables).apply(&change);
                let changes = Arc::make_mut(&mut view.changes);
                let key = (record.topic, record.key);
                if let Some(older) = self.newest.insert(key, record.offset) {
                    changes.remove(&(record.topic, older));
                }
                changes.insert((record.topic, record.offset), change);
                view.ends[record.topic] = record.offset + 1;
                self.view.store(Arc::new(view));
                self.health.clear("global-schema");
            }
            Err(Undecoded::Reject(fault)) => {
                // There is no owner to dead-letter it: the row keeps its previous value.
                metrics::counter!("sendplane_global_records_rejected_total", "topic" => topic)
                    .increment(1);
                tracing::error!(
                    topic,
                    offset = record.offset,
                    code = fault.code,
                    detail = fault.detail,
                    "global record cannot be used"
                );
            }
            Err(Undecoded::Later(reason)) => {
                self.health.obstruct("global-schema", reason);
                self.held = Some(record);
            }
        }
    }

    /// Control records and rejected ones move the position without a change.
    fn publish_positions(&self) {
        if self.held.is_some() {
            return;
        }
        let Ok(positions) = self.consumer.position() else {
            return;
        };
        let mut view = View::clone(&self.view.load());
        let mut moved = false;
        for (index, topic) in S::Globals::topics().iter().enumerate() {
            if let Some(element) = positions.find_partition(topic, 0)
                && let Offset::Offset(next) = element.offset()
                && next > view.ends[index]
            {
                view.ends[index] = next;
                moved = true;
            }
        }
        if moved {
            self.view.store(Arc::new(view));
        }
    }

    fn answer(&mut self) {
        let ends = self.view.load().ends.clone();
        let reached =
            |targets: &[i64]| targets.iter().zip(&ends).all(|(target, end)| end >= target);
        let before = self.waiting.len();
        self.waiting.retain(|(targets, reply)| {
            let done = reached(targets);
            if done {
                // The asker may have given up; that is its right.
                let _ = reply.send(());
            }
            !done
        });
        if self.waiting.len() < before && !self.complete.swap(true, Ordering::AcqRel) {
            self.health.clear(OBSTACLE);
            tracing::info!(?ends, "global tables are complete");
        }
    }
}

fn owned<S: Stage>(message: &BorrowedMessage<'_>) -> Option<Held> {
    let topic = S::Globals::topics().iter().position(|topic| *topic == message.topic())?;
    Some(Held {
        topic,
        offset: message.offset(),
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload().map(<[u8]>::to_vec),
    })
}
