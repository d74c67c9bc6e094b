//! Client settings that exactly-once depends on, and what librdkafka reports about itself.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message, Timestamp as KafkaTimestamp};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::InputClass;

use crate::config::{Names, RuntimeConfig};

/// The user's properties; every client starts from these.
pub(crate) fn base(config: &RuntimeConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (key, value) in &config.kafka {
        client.set(key, value);
    }
    client.set("client.id", format!("sendplane-{}", config.instance_id));
    client
}

/// A consumer that reads explicit partitions from explicit offsets. It never commits.
pub(crate) fn reader(config: &RuntimeConfig) -> ClientConfig {
    let mut client = base(config);
    client
        .set("group.id", "sendplane.unused")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        // Defaults would prefetch 100,000 records and sleep a second when the queue is full.
        .set("queued.min.messages", "2000")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.message.max.bytes", "5242880")
        .set("fetch.max.bytes", "16777216")
        .set("receive.message.max.bytes", "33554432")
        .set("allow.auto.create.topics", "false");
    client
}

/// The reader of one class of inputs.
pub(crate) fn lane(config: &RuntimeConfig, class: InputClass) -> ClientConfig {
    let mut client = reader(config);
    if class == InputClass::Bulk {
        // What is prefetched of one partition stands before what comes in another one, and of bulk
        // little may be taken in a cycle: a campaign must not hold up a partition it is not in.
        client.set("queued.min.messages", "500").set("fetch.message.max.bytes", "262144");
    }
    client
}

/// The group member. It holds the membership only; other consumers read its partitions, so that
/// lanes can be read at different speeds without `pause`, which throws the prefetch away.
pub(crate) fn member(config: &RuntimeConfig, names: &Names) -> ClientConfig {
    let mut client = reader(config);
    let session_ms = config.session_timeout.as_millis();
    client
        .set("group.id", &names.group)
        .set("group.protocol", "classic")
        // Only `range` gives the same partition number of every topic to one member.
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", session_ms.to_string())
        .set("heartbeat.interval.ms", (session_ms / 5).max(100).to_string())
        .set("max.poll.interval.ms", session_ms.max(60_000).to_string());
    client
}

/// The transactional producer of one thread.
pub(crate) fn producer(config: &RuntimeConfig, transactional_id: &str) -> ClientConfig {
    let mut client = base(config);
    client
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", config.transaction_timeout.as_millis().to_string())
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0")
        .set("compression.type", "lz4")
        // The broker limits what is sent, by topic and after compression. This limit is on a record
        // before it: an input that came compressed must fit into its dead letter.
        .set("message.max.bytes", "67108864")
        .set("queue.buffering.max.messages", "200000")
        .set("statistics.interval.ms", "1000")
        .set("allow.auto.create.topics", "false");
    client
}

/// A client that looks at watermarks as they are on the broker, open transactions included.
pub(crate) fn probe(config: &RuntimeConfig) -> ClientConfig {
    let mut client = reader(config);
    client.set("isolation.level", "read_uncommitted");
    client
}

/// A change of ownership, in the order librdkafka reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rebalance {
    /// These (topic, partition) pairs are ours.
    Assigned(Vec<(String, i32)>),
    /// All our partitions are to be given up.
    Revoked,
}

/// Collects rebalances. The callback only takes note: the thread answers them after `poll`
/// returned, so that committing before releasing needs no lock.
#[derive(Default)]
pub(crate) struct MemberContext {
    rebalances: Mutex<Vec<Rebalance>>,
    closing: AtomicBool,
}

impl MemberContext {
    /// The unanswered rebalances, oldest first.
    pub fn take(&self) -> Vec<Rebalance> {
        std::mem::take(&mut *self.rebalances.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True when a revocation waits for its answer.
    pub fn pending_revocation(&self) -> bool {
        let rebalances = self.rebalances.lock().unwrap_or_else(PoisonError::into_inner);
        rebalances.contains(&Rebalance::Revoked)
    }

    /// From now on revocations are accepted at once: dropping a consumer runs the callback.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl ClientContext for MemberContext {}

impl ConsumerContext for MemberContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Relaxed) {
            if let Err(error) = consumer.unassign() {
                tracing::warn!(%error, "cannot release partitions while closing");
            }
            return;
        }
        let rebalance = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assigned(
                partitions
                    .elements()
                    .iter()
                    .map(|element| (element.topic().to_owned(), element.partition()))
                    .collect(),
            ),
            _ => Rebalance::Revoked,
        };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push(rebalance);
    }
}

/// Where a commit record landed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitDelivery {
    /// The opaque given when it was produced.
    pub task: usize,
    /// Its changelog offset.
    pub offset: i64,
    /// When the broker appended it, if the changelog uses `LogAppendTime`.
    pub appended: Option<Timestamp>,
}

/// What the producer learns in the background.
#[derive(Default)]
pub(crate) struct ProducerEvents {
    commits: Mutex<Vec<CommitDelivery>>,
    undelivered: Mutex<Option<String>>,
    trouble: AtomicU64,
}

impl ProducerEvents {
    /// Deliveries of commit records since the last call.
    pub fn take_commits(&self) -> Vec<CommitDelivery> {
        std::mem::take(&mut *self.commits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first failed delivery since the last call.
    pub fn take_undelivered(&self) -> Option<String> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Grows whenever a request was retried, timed out or lost its connection: librdkafka hides a
    /// retried EndTxn from the application, the statistics do not.
    pub fn trouble(&self) -> u64 {
        self.trouble.load(Ordering::Relaxed)
    }
}

impl ClientContext for ProducerEvents {
    fn stats(&self, statistics: Statistics) {
        let trouble = statistics
            .brokers
            .values()
            .map(|broker| {
                broker.txretries
                    + broker.req_timeouts
                    + broker.disconnects.unwrap_or(0).unsigned_abs()
            })
            .sum();
        self.trouble.store(trouble, Ordering::Relaxed);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "producer");
    }
}

impl ProducerContext for ProducerEvents {
    /// 0 for ordinary records; a commit record carries its task's number, from 1.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        match result {
            Ok(message) if opaque > 0 => {
                let appended = match message.timestamp() {
                    KafkaTimestamp::LogAppendTime(millis) => Some(Timestamp::from_millis(millis)),
                    KafkaTimestamp::NotAvailable | KafkaTimestamp::CreateTime(_) => None,
                };
                let delivery = CommitDelivery { task: opaque, offset: message.offset(), appended };
                self.commits.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
            }
            Ok(_) => {}
            Err((error, message)) => {
                let text = format!("{error} (topic {})", message.topic());
                self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
            }
        }
    }
}
