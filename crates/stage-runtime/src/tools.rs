//! Kafka for everything that is not a stage: the operator's commands and the webhook gateway.
//!
//! [`Tools`] blocks and belongs to a thread of its own, and so does [`Writer`], which puts records
//! where they are told; [`AckProducer`] is async. Partitions are always explicit, elsewhere
//! `partition_of(key)`, so that no client default can move a tenant.

mod ack;
mod follow;
mod writer;

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sendplane_domain::shard::partition_of;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::Header as RecordHeader;

use crate::client;
use crate::clock::Deadline;
use crate::config::RuntimeConfig;
use crate::error::Error;

pub use ack::AckProducer;
pub use writer::{Placed, Writer};

const METADATA_MAX: Duration = Duration::from_secs(10);
const ADMIN_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Record headers; values are UTF-8 by convention.
pub type RecordHeaders = Vec<(String, Vec<u8>)>;

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Topic name.
    pub name: String,
    /// Partition count.
    pub partitions: u32,
    /// Replication factor, used at creation only.
    pub replication: u32,
    /// Topic settings as Kafka names and writes them.
    pub configs: Vec<(String, String)>,
}

/// How a topic stands against its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// Just created.
    Created,
    /// Exists as planned.
    Unchanged,
    /// Does not exist.
    Missing,
    /// Exists with other settings: one sentence per difference.
    Differs(Vec<String>),
    /// Could not be created.
    Failed(String),
}

/// What to read with [`Tools::tail`].
#[derive(Clone, Copy, Debug)]
pub struct TailQuery<'q> {
    /// Topics, read together in no particular order among each other.
    pub topics: &'q [&'q str],
    /// One partition of each, or all.
    pub partition: Option<i32>,
    /// From the oldest record; otherwise only what arrives from now on.
    pub from_beginning: bool,
    /// Return at the ends seen at the start; otherwise wait for more for ever.
    pub until_end: bool,
}

/// A committed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRecord {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Kafka timestamp; the epoch when the record has none.
    pub timestamp: Timestamp,
    /// Key bytes.
    pub key: Option<Vec<u8>>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order, byte for byte.
    pub headers: Vec<RecordHeader>,
}

/// Blocking access to a cluster. Every call connects anew: meant for commands, not for traffic.
#[derive(Clone, Debug)]
pub struct Tools {
    config: RuntimeConfig,
}

impl Tools {
    /// `kafka` are librdkafka properties, at least `bootstrap.servers`; `client_id` shows in the
    /// brokers' logs as `sendplane-<client_id>`.
    pub fn new(kafka: BTreeMap<String, String>, client_id: impl Into<String>) -> Self {
        let config =
            RuntimeConfig { kafka, instance_id: client_id.into(), ..RuntimeConfig::default() };
        Self { config }
    }

    /// Partition count of every topic of the cluster.
    pub fn topics(&self) -> Result<BTreeMap<String, u32>, Error> {
        partition_counts(&self.reader()?)
    }

    /// Partition count of `topic`.
    pub fn partition_count(&self, topic: &str) -> Result<u32, Error> {
        self.topics()?.remove(topic).ok_or_else(|| Error::MissingTopic(topic.to_owned()))
    }

    /// Compares each plan with the cluster; changes nothing.
    pub fn compare_topics(&self, plans: &[TopicPlan]) -> Result<Vec<(String, TopicState)>, Error> {
        let present = self.topics()?;
        let existing: Vec<&str> = plans
            .iter()
            .map(|plan| plan.name.as_str())
            .filter(|name| present.contains_key(*name))
            .collect();
        let settings = self.settings(&existing)?;
        let states = plans.iter().map(|plan| {
            let state = match present.get(&plan.name) {
                None => TopicState::Missing,
                Some(count) => against_plan(plan, *count, settings.get(&plan.name)),
            };
            (plan.name.clone(), state)
        });
        Ok(states.collect())
    }

    /// Creates missing topics and waits until they can be used. Existing topics are compared only:
    /// nothing is altered or deleted.
    pub fn apply_topics(&self, plans: &[TopicPlan]) -> Result<Vec<(String, TopicState)>, Error> {
        let mut states = self.compare_topics(plans)?;
        let missing: Vec<NewTopic<'_>> = plans
            .iter()
            .zip(&states)
            .filter(|(_, (_, state))| *state == TopicState::Missing)
            .map(|(plan, _)| new_topic(plan))
            .collect();
        if missing.is_empty() {
            return Ok(states);
        }
        let options =
            AdminOptions::new().operation_timeout(Some(ADMIN_MAX)).request_timeout(Some(ADMIN_MAX));
        let created = wait_for(self.admin()?.create_topics(&missing, &options))?
            .map_err(Error::kafka("create topics"))?;
        for result in created {
            let (name, state) = match result {
                Ok(name) => (name, TopicState::Created),
                Err((name, code)) => (name, TopicState::Failed(code.to_string())),
            };
            states.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, known)| {
                *known = state.clone();
            });
        }
        self.await_visible(&states)?;
        Ok(states)
    }

    /// Produces one record and waits for the acknowledgement of all in-sync replicas. Without
    /// `partition` the key decides.
    pub fn produce(
        &self,
        topic: &str,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &RecordHeaders,
        partition: Option<i32>,
    ) -> Result<(), Error> {
        self.produce_all(topic, partition, [(key, value, headers)])
    }

    /// Produces many records over one connection, in order; stops at the first that fails.
    pub fn produce_all<'r>(
        &self,
        topic: &str,
        partition: Option<i32>,
        records: impl IntoIterator<Item = (&'r [u8], Option<&'r [u8]>, &'r RecordHeaders)>,
    ) -> Result<(), Error> {
        let producer: FutureProducer = ack_config(&self.config, ADMIN_MAX)
            .create()
            .map_err(Error::kafka("create producer"))?;
        let counts = producer_counts(&producer)?;
        let count = *counts.get(topic).ok_or_else(|| Error::MissingTopic(topic.to_owned()))?;
        wait_for(async {
            let mut running = Vec::new();
            for (key, value, headers) in records {
                let partition = partition.unwrap_or_else(|| partition_of(key, count));
                let record = record(topic, key, value, headers, partition);
                let delivery = producer.send_result(record).map_err(|(error, _)| error);
                running.push(delivery.map_err(Error::kafka("produce"))?);
            }
            for delivery in running {
                delivery
                    .await
                    .map_err(|_| Error::Undelivered("the producer was dropped".into()))?
                    .map_err(|(error, _)| Error::Undelivered(error.to_string()))?;
            }
            Ok(())
        })?
    }

    /// Reads committed records until `visit` breaks or the query is exhausted.
    pub fn tail(
        &self,
        query: &TailQuery<'_>,
        visit: &mut dyn FnMut(TailRecord) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let reader = self.reader()?;
        let mut ends = assign(&reader, query)?;
        let mut idle = Deadline::after(ADMIN_MAX);
        loop {
            if query.until_end && ends.is_empty() {
                return Ok(());
            }
            match reader.poll(POLL) {
                Some(Ok(message)) => {
                    idle = Deadline::after(ADMIN_MAX);
                    let at = (message.topic().to_owned(), message.partition());
                    let wanted = !query.until_end
                        || ends.get(&at).is_some_and(|end| message.offset() < *end);
                    if wanted && visit(tail_record(&message)).is_break() {
                        return Ok(());
                    }
                }
                Some(Err(error)) => tracing::warn!(%error, "tail"),
                None => {}
            }
            if query.until_end {
                drop_finished(&reader, &mut ends)?;
                if idle.passed() {
                    return Err(Error::TimedOut { doing: "reading to the end", seconds: 30 });
                }
            }
        }
    }

    fn reader(&self) -> Result<BaseConsumer, Error> {
        client::reader(&self.config).create().map_err(Error::kafka("create reader"))
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, Error> {
        client::base(&self.config).create().map_err(Error::kafka("create admin client"))
    }

    fn settings(
        &self,
        topics: &[&str],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, Error> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let resources: Vec<ResourceSpecifier<'_>> =
            topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let options = AdminOptions::new().request_timeout(Some(ADMIN_MAX));
        let answers = wait_for(self.admin()?.describe_configs(&resources, &options))?
            .map_err(Error::kafka("describe topics"))?;
        let mut settings = BTreeMap::new();
        for (topic, answer) in topics.iter().zip(answers) {
            let answer =
                answer.map_err(KafkaError::AdminOp).map_err(Error::kafka("describe topics"))?;
            let entries = answer
                .entries
                .into_iter()
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect();
            settings.insert((*topic).to_owned(), entries);
        }
        Ok(settings)
    }

    /// Creation returns before every broker knows the topic.
    fn await_visible(&self, states: &[(String, TopicState)]) -> Result<(), Error> {
        let deadline = Deadline::after(ADMIN_MAX);
        loop {
            let present = self.topics()?;
            let hidden = states
                .iter()
                .find(|(name, state)| *state == TopicState::Created && !present.contains_key(name));
            match hidden {
                None => return Ok(()),
                Some((name, _)) if deadline.passed() => {
                    return Err(Error::MissingTopic(name.clone()));
                }
                Some(_) => std::thread::sleep(POLL),
            }
        }
    }
}

fn ack_config(config: &RuntimeConfig, ack_max: Duration) -> ClientConfig {
    let mut client = client::base(config);
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "1")
        .set("compression.type", "lz4")
        .set("message.max.bytes", "5242880")
        .set("delivery.timeout.ms", ack_max.as_millis().to_string())
        .set("allow.auto.create.topics", "false");
    client
}

fn record<'r>(
    topic: &'r str,
    key: &'r [u8],
    value: Option<&'r [u8]>,
    headers: &RecordHeaders,
    partition: i32,
) -> FutureRecord<'r, [u8], [u8]> {
    let owned = headers
        .iter()
        .fold(OwnedHeaders::new_with_capacity(headers.len()), |owned, (key, value)| {
            owned.insert(Header { key, value: Some(value) })
        });
    let mut record = FutureRecord::to(topic).key(key).headers(owned).partition(partition);
    record.payload = value;
    record
}

fn new_topic(plan: &TopicPlan) -> NewTopic<'_> {
    let topic = NewTopic::new(
        &plan.name,
        plan.partitions as i32,
        TopicReplication::Fixed(plan.replication as i32),
    );
    plan.configs.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
}

fn against_plan(
    plan: &TopicPlan,
    partitions: u32,
    settings: Option<&BTreeMap<String, String>>,
) -> TopicState {
    let mut differences = Vec::new();
    if partitions != plan.partitions {
        differences.push(format!("has {partitions} partitions, planned {}", plan.partitions));
    }
    for (key, planned) in &plan.configs {
        let found = settings.and_then(|settings| settings.get(key)).map_or("unset", |v| v);
        if found != planned {
            differences.push(format!("{key} is {found}, planned {planned}"));
        }
    }
    if differences.is_empty() { TopicState::Unchanged } else { TopicState::Differs(differences) }
}

fn partition_counts(reader: &BaseConsumer) -> Result<BTreeMap<String, u32>, Error> {
    let metadata =
        reader.fetch_metadata(None, METADATA_MAX).map_err(Error::kafka("look at topics"))?;
    Ok(counts_of(&metadata))
}

fn producer_counts(producer: &FutureProducer) -> Result<BTreeMap<String, u32>, Error> {
    let metadata = producer
        .client()
        .fetch_metadata(None, METADATA_MAX)
        .map_err(Error::kafka("look at topics"))?;
    Ok(counts_of(&metadata))
}

fn counts_of(metadata: &rdkafka::metadata::Metadata) -> BTreeMap<String, u32> {
    metadata
        .topics()
        .iter()
        .filter(|topic| topic.error().is_none() && !topic.partitions().is_empty())
        .map(|topic| (topic.name().to_owned(), topic.partitions().len() as u32))
        .collect()
}

/// Assigns the partitions of `query`; returns the end of each that has records to come.
fn assign(
    reader: &BaseConsumer,
    query: &TailQuery<'_>,
) -> Result<BTreeMap<(String, i32), i64>, Error> {
    let counts = partition_counts(reader)?;
    let mut assignment = TopicPartitionList::new();
    let mut ends = BTreeMap::new();
    for topic in query.topics {
        let count = *counts.get(*topic).ok_or_else(|| Error::MissingTopic((*topic).to_owned()))?;
        for partition in 0..count as i32 {
            if query.partition.is_some_and(|only| only != partition) {
                continue;
            }
            let (low, high) = reader
                .fetch_watermarks(topic, partition, METADATA_MAX)
                .map_err(Error::kafka("look at the ends"))?;
            let start = if query.from_beginning { low } else { high };
            if start < high {
                ends.insert(((*topic).to_owned(), partition), high);
            }
            assignment
                .add_partition_offset(topic, partition, Offset::Offset(start))
                .map_err(Error::kafka("set an offset"))?;
        }
    }
    reader.assign(&assignment).map_err(Error::kafka("assign"))?;
    Ok(ends)
}

/// Removes what has been read to its end. Positions move past the markers of transactions, records
/// alone would never reach an end that is one.
fn drop_finished(
    reader: &BaseConsumer,
    ends: &mut BTreeMap<(String, i32), i64>,
) -> Result<(), Error> {
    let positions = reader.position().map_err(Error::kafka("read positions"))?;
    for element in positions.elements() {
        let at = (element.topic().to_owned(), element.partition());
        if let Some(position) = element.offset().to_raw()
            && ends.get(&at).is_some_and(|end| position >= *end)
        {
            ends.remove(&at);
        }
    }
    Ok(())
}

fn tail_record(message: &impl Message) -> TailRecord {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    TailRecord {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(0)),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}

/// Runs one future of an otherwise blocking caller.
fn wait_for<F: Future>(future: F) -> Result<F::Output, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Unsafe(format!("cannot start a runtime: {error}")))?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> TopicPlan {
        TopicPlan {
            name: "sendplane.x.v1".into(),
            partitions: 4,
            replication: 1,
            configs: vec![("cleanup.policy".into(), "delete".into())],
        }
    }

    fn settings(policy: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("cleanup.policy".to_owned(), policy.to_owned()),
            ("segment.bytes".to_owned(), "1".to_owned()),
        ])
    }

    #[test]
    fn a_topic_is_compared_in_what_the_plan_names_only() {
        let same = against_plan(&plan(), 4, Some(&settings("delete")));
        assert_eq!(same, TopicState::Unchanged);
    }

    #[test]
    fn every_difference_is_named() {
        let found = against_plan(&plan(), 16, Some(&settings("compact")));
        let expected = vec![
            "has 16 partitions, planned 4".to_owned(),
            "cleanup.policy is compact, planned delete".to_owned(),
        ];
        assert_eq!(found, TopicState::Differs(expected));
    }
}
