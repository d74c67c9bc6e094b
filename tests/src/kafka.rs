//! A plain Kafka client for tests: creates topics, produces, reads everything that is committed.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::wait;

/// As the brokers are configured.
const DEFAULT_REPLICATION: TopicReplication<'_> = TopicReplication::Fixed(-1);

/// A record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Timestamp in ms.
    pub timestamp: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Read {
    /// The value as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
    }
}

/// A client configuration.
pub fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// Creates topics with `partitions` each and these settings.
pub fn create_topics(bootstrap: &str, topics: &[&str], partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        config(bootstrap).create().expect("an admin client");
    let runtime = futures_block_on();
    let topics: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|name| {
            let mut topic = NewTopic::new(name, partitions, DEFAULT_REPLICATION);
            for (key, value) in settings {
                topic = topic.set(key, value);
            }
            topic
        })
        .collect();
    let created = runtime
        .block_on(admin.create_topics(&topics, &AdminOptions::new()))
        .expect("topics can be created");
    for result in created {
        result.unwrap_or_else(|(topic, code)| panic!("{topic}: {code}"));
    }
}

fn futures_block_on() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a small runtime")
}

/// A producer with acknowledgements from all replicas, and without repetitions when brokers fail.
pub fn producer(bootstrap: &str) -> BaseProducer {
    config(bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .create()
        .expect("a producer")
}

/// Produces to an explicit partition.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, key: &str, value: &[u8]) {
    let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
    while let Err((_, back)) = producer.send(record) {
        producer.poll(Duration::from_millis(5));
        record = back;
    }
    producer.poll(Duration::ZERO);
}

/// Waits for all acknowledgements.
pub fn flush(producer: &BaseProducer) {
    producer.flush(Duration::from_secs(60)).expect("everything is acknowledged");
}

/// Offset after the last record of a partition, for `isolation`.
pub fn end(bootstrap: &str, topic: &str, partition: i32, isolation: &str) -> i64 {
    let consumer: BaseConsumer = config(bootstrap)
        .set("group.id", "sendplane.tests")
        .set("isolation.level", isolation)
        .create()
        .expect("a consumer");
    let (_, high) = consumer
        .fetch_watermarks(topic, partition, Duration::from_secs(20))
        .expect("watermarks can be read");
    high
}

/// Offsets after the last record of every partition, open transactions included.
pub fn ends(bootstrap: &str, topic: &str, partitions: u32) -> Vec<i64> {
    let consumer: BaseConsumer = config(bootstrap)
        .set("group.id", "sendplane.tests")
        .set("isolation.level", "read_uncommitted")
        .create()
        .expect("a consumer");
    let end = |partition| {
        let timeout = Duration::from_secs(20);
        consumer.fetch_watermarks(topic, partition, timeout).expect("watermarks can be read").1
    };
    (0..partitions as i32).map(end).collect()
}

/// What a consumer group has committed for every partition: offset and metadata, `None` where it
/// has not.
pub fn committed(
    bootstrap: &str,
    group: &str,
    topic: &str,
    partitions: u32,
) -> Vec<Option<(i64, String)>> {
    let consumer: BaseConsumer =
        config(bootstrap).set("group.id", group).create().expect("a consumer");
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, partitions as i32 - 1);
    let found = consumer
        .committed_offsets(asked, Duration::from_secs(20))
        .expect("committed offsets can be read");
    let offset = |partition| {
        let element = found.find_partition(topic, partition)?;
        Some((element.offset().to_raw().filter(|raw| *raw >= 0)?, element.metadata().to_owned()))
    };
    (0..partitions as i32).map(offset).collect()
}

/// Every committed record of `topic`, by partition and offset, up to the current end. Open
/// transactions are waited for.
pub fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> Vec<Read> {
    read_from(bootstrap, topic, &vec![0; partitions as usize])
}

/// As [`read_all`], from an offset on in each partition.
pub fn read_from(bootstrap: &str, topic: &str, starts: &[i64]) -> Vec<Read> {
    let partitions = starts.len() as i32;
    let consumer: BaseConsumer = config(bootstrap)
        .set("group.id", "sendplane.tests")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .create()
        .expect("a consumer");
    let ends = ends(bootstrap, topic, partitions as u32);
    let mut list = TopicPartitionList::new();
    for (partition, start) in (0..).zip(starts) {
        let start = if *start == 0 { Offset::Beginning } else { Offset::Offset(*start) };
        list.add_partition_offset(topic, partition, start).expect("fits");
    }
    consumer.assign(&list).expect("assigns");
    let mut found = Vec::new();
    wait::until(&format!("{topic} is read to its end"), Duration::from_secs(60), || {
        while let Some(polled) = consumer.poll(Duration::from_millis(50)) {
            if let Ok(message) = polled {
                found.push(owned(&message));
            }
        }
        let positions = consumer.position().expect("a position");
        (0..partitions)
            .all(|partition| {
                let element = positions.find_partition(topic, partition);
                let position = element.and_then(|e| e.offset().to_raw()).unwrap_or(-1);
                let end = ends[partition as usize];
                end <= starts[partition as usize] || position >= end
            })
            .then_some(())
    });
    found.sort_by_key(|read: &Read| (read.partition, read.offset));
    found
}

fn owned(message: &rdkafka::message::BorrowedMessage<'_>) -> Read {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
    });
    Read {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
