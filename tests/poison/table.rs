//! What a row of the table is: a record nobody can use, and what must become of it.

use sendplane_domain::lane::Lane;
use sendplane_domain::opaque::HashKey;
use sendplane_stage_api::{InputTopic, Stage};
use sendplane_stages::ingest::{Ingest, IngestSettings};
use sendplane_stages::policy::{Policy, PolicySettings};
use sendplane_stages::send::{SendSettings, SendStage};
use sendplane_stages::status_reconcile::StatusReconcile;
use sendplane_wire::topic;

use crate::records::Owner;

/// A record as it is produced.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Topic.
    pub topic: &'static str,
    /// Partition, always explicit.
    pub partition: i32,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// A header it brings along.
    pub header: Option<(&'static str, Vec<u8>)>,
    /// Whether it only fits its topic compressed.
    pub compressed: bool,
}

impl Raw {
    /// A record under its owner's key, where it belongs.
    pub fn of(owner: Owner, topic: &'static str, value: Vec<u8>) -> Self {
        Self {
            topic,
            partition: partition_of(owner.tenant),
            key: Some(owner.tenant.into()),
            value: Some(value),
            header: None,
            compressed: false,
        }
    }
}

/// What must become of a record.
#[derive(Clone, Debug)]
pub enum Expect {
    /// It stands in the dead letters of every stage that reads its topic, with this code.
    Dead(&'static str),
    /// It is used, and the message with this idempotency key ends in this state, for this reason if
    /// one is named.
    Ends(String, &'static str, Option<&'static str>),
    /// It is used: an attempt with this hash of a wamid is recorded.
    Attempted(String),
    /// It is used without a trace.
    Used,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Case {
    /// Family and parameters.
    pub name: String,
    /// The record.
    pub raw: Raw,
    /// What must become of it.
    pub expect: Expect,
}

/// Where a tenant's records belong.
pub fn partition_of(tenant: &str) -> i32 {
    sendplane_domain::shard::partition_of(tenant.as_bytes(), sendplane_tests::plane::PARTITIONS)
}

/// Every stage's name and inputs, as the stage itself says.
pub fn stages() -> [(&'static str, &'static [InputTopic]); 4] {
    let hash_key = HashKey::new("any");
    let ingest = Ingest::new(IngestSettings { hash_key: hash_key.clone() });
    let policy = Policy::new(PolicySettings { hash_key: hash_key.clone() });
    let send = SendStage::new(SendSettings::new(hash_key));
    let reconcile = StatusReconcile::default();
    [
        (ingest.name(), ingest.inputs()),
        (policy.name(), policy.inputs()),
        (send.name(), send.inputs()),
        (reconcile.name(), reconcile.inputs()),
    ]
}

/// Every input topic once.
pub fn input_topics() -> Vec<&'static str> {
    let mut topics: Vec<&str> = Vec::new();
    for input in stages().iter().flat_map(|(_, inputs)| inputs.iter()) {
        if !topics.contains(&input.topic) {
            topics.push(input.topic);
        }
    }
    topics
}

/// The stages that read `topic`, and the largest value each of them takes.
pub fn readers(topic: &str) -> Vec<(&'static str, usize)> {
    let mut found = Vec::new();
    for (stage, inputs) in stages() {
        let input = inputs.iter().find(|input| input.topic == topic);
        found.extend(input.map(|input| (stage, input.value_bytes_max)));
    }
    found
}

/// The lane that is part of a topic's name.
pub fn lane_of(topic: &str) -> Lane {
    let is_bulk = [topic::REQUESTS_BULK, topic::ADMITTED_BULK, topic::DISPATCH_BULK];
    if is_bulk.contains(&topic) { Lane::Bulk } else { Lane::Transactional }
}
