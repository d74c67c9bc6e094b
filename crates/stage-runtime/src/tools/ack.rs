//! A producer for whoever may answer only once a record is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, Producer};
use rdkafka::util::Timeout;
use sendplane_domain::shard::partition_of;

use super::{RecordHeaders, Tools, ack_config, producer_counts, record};
use crate::clock::monotonic;
use crate::error::Error;

/// Longest pause between attempts to reach a broker again.
const RECONNECT_MAX: &str = "reconnect.backoff.max.ms";

/// A producer that has acknowledged nothing for so long, although it was asked to, is replaced.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// An idempotent producer whose `publish` returns once all in-sync replicas have the record.
///
/// A fatal error of librdkafka's idempotence makes a producer useless for ever; it is replaced. So is
/// one that acknowledges nothing any more: after a broker had been frozen for some seconds, one
/// producer in ten still let every record time out a minute after the leaders were back (librdkafka
/// 2.12), while a fresh one works at once.
pub struct AckProducer {
    settings: ClientConfig,
    counts: BTreeMap<String, u32>,
    producer: ArcSwap<FutureProducer>,
    /// Since when records wait without any being acknowledged; `None` if none waits.
    waiting_since: Mutex<Option<Instant>>,
}

impl AckProducer {
    /// Connects and looks up the partition counts of `topics`, so it blocks for up to 10 s: not for
    /// an async thread. An `Err` may pass, try again. A `publish` that is not acknowledged within
    /// `ack_max` fails; the record may still be in the log.
    pub fn connect(
        kafka: &BTreeMap<String, String>,
        client_id: &str,
        topics: &[&str],
        ack_max: Duration,
    ) -> Result<Self, Error> {
        let tools = Tools::new(kafka.clone(), client_id);
        let mut settings = ack_config(&tools.config, ack_max);
        if !kafka.contains_key(RECONNECT_MAX) {
            // librdkafka's 10 s would be the wait of the first caller after an outage.
            settings.set(RECONNECT_MAX, "1000");
        }
        let producer: FutureProducer =
            settings.create().map_err(Error::kafka("create producer"))?;
        let mut counts = producer_counts(&producer)?;
        counts.retain(|topic, _| topics.contains(&topic.as_str()));
        match topics.iter().find(|topic| !counts.contains_key(**topic)) {
            Some(missing) => Err(Error::MissingTopic((*missing).to_owned())),
            None => Ok(Self {
                settings,
                counts,
                producer: ArcSwap::from_pointee(producer),
                waiting_since: Mutex::default(),
            }),
        }
    }

    /// Publishes one record to a topic named at [`Self::connect`]. Never waits for room in the
    /// local queue: a full queue is an error, so that the caller can push back.
    pub async fn publish(
        &self,
        topic: &str,
        key: &[u8],
        value: &[u8],
        headers: &RecordHeaders,
    ) -> Result<(), String> {
        let count = *self
            .counts
            .get(topic)
            .ok_or_else(|| format!("{topic} was not named when the producer connected"))?;
        if self.is_stuck() {
            self.replace(&self.producer.load_full(), "nothing was acknowledged for 10 s");
        }
        let producer = self.producer.load_full();
        let record = record(topic, key, Some(value), headers, partition_of(key, count));
        let sent = producer.send(record, Timeout::After(Duration::ZERO)).await;
        match sent {
            Ok(_) => {
                *self.waiting_since() = None;
                Ok(())
            }
            Err((error, _)) => {
                if let Some((code, reason)) = producer.client().fatal_error() {
                    self.replace(&producer, &format!("{code}: {reason}"));
                }
                Err(error.to_string())
            }
        }
    }

    /// Takes note that a record waits. The caller may give up before its answer is here, so this is
    /// asked before each record and not when one fails.
    fn is_stuck(&self) -> bool {
        let now = monotonic();
        let mut since = self.waiting_since();
        let since = since.get_or_insert(now);
        let is_stuck = now.duration_since(*since) > STUCK_AFTER;
        if is_stuck {
            // The next one has its time as well, and only one caller replaces this one.
            *since = now;
        }
        is_stuck
    }

    fn waiting_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything published so far is acknowledged or has failed. Blocks.
    pub fn flush(&self, longest: Duration) -> Result<(), Error> {
        self.producer.load().flush(longest).map_err(Error::kafka("flush"))
    }

    /// Asks the brokers whether every partition of the topics has a leader that could take a record.
    /// Blocks for up to `longest`.
    pub fn probe(&self, longest: Duration) -> Result<(), Error> {
        let producer = self.producer.load_full();
        for (topic, count) in &self.counts {
            let metadata = producer
                .client()
                .fetch_metadata(Some(topic), longest)
                .map_err(Error::kafka("look for the leaders"))?;
            let led = metadata
                .topics()
                .iter()
                .flat_map(|topic| topic.partitions())
                .filter(|partition| partition.leader() >= 0 && partition.error().is_none());
            if led.count() < *count as usize {
                return Err(Error::MissingTopic(topic.clone()));
            }
        }
        Ok(())
    }

    fn replace(&self, failed: &Arc<FutureProducer>, reason: &str) {
        tracing::error!(reason, "the producer is of no use, a new one takes its place");
        match self.settings.create::<FutureProducer>() {
            // Only the first of several failed publishes replaces it.
            Ok(fresh) => {
                let replaced = self.producer.compare_and_swap(failed, Arc::new(fresh));
                if Arc::ptr_eq(&replaced, failed) {
                    drop_aside(failed.clone());
                }
            }
            Err(error) => tracing::error!(%error, "no new producer"),
        }
    }
}

/// Drops a producer once nobody waits for it any more, on a thread of its own: that may take seconds,
/// which an async thread has not.
fn drop_aside(producer: Arc<FutureProducer>) {
    let dropping = std::thread::Builder::new().name("old-producer".into()).spawn(move || {
        while Arc::strong_count(&producer) > 1 {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    if let Err(error) = dropping {
        tracing::error!(%error, "no thread to drop a producer with");
    }
}
