//! A producer for whoever may answer only once a record is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, Producer};
use rdkafka::util::Timeout;
use sendplane_domain::shard::partition_of;

use super::{RecordHeaders, Tools, ack_config, producer_counts, record};
use crate::error::Error;

/// Longest pause between attempts to reach a broker again.
const RECONNECT_MAX: &str = "reconnect.backoff.max.ms";

/// An idempotent producer whose `publish` returns once all in-sync replicas have the record.
///
/// A fatal error of librdkafka's idempotence makes a producer useless for ever; it is replaced.
pub struct AckProducer {
    settings: ClientConfig,
    counts: BTreeMap<String, u32>,
    producer: ArcSwap<FutureProducer>,
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
            None => Ok(Self { settings, counts, producer: ArcSwap::from_pointee(producer) }),
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
        let producer = self.producer.load_full();
        let record = record(topic, key, Some(value), headers, partition_of(key, count));
        let sent = producer.send(record, Timeout::After(Duration::ZERO)).await;
        sent.map(drop).map_err(|(error, _)| {
            self.replace_if_fatal(&producer);
            error.to_string()
        })
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

    fn replace_if_fatal(&self, failed: &Arc<FutureProducer>) {
        let Some((code, reason)) = failed.client().fatal_error() else {
            return;
        };
        tracing::error!(%code, reason, "producer failed for good, a new one takes its place");
        match self.settings.create::<FutureProducer>() {
            // Only the first of several failed publishes replaces it.
            Ok(fresh) => drop(self.producer.compare_and_swap(failed, Arc::new(fresh))),
            Err(error) => tracing::error!(%error, "no new producer"),
        }
    }
}
