//! The log as a committed reader sees it, decoded.

use std::collections::BTreeMap;

use sendplane_domain::id::{MessageId, TenantId};
use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord};
use sendplane_wire::codec::AvroRecord;
use sendplane_wire::record::{
    AdmittedMessage, Attempt, CancelAnswer, CancelRequest, ConsentChange, DecidingStage, Decision,
    Dispatch, GatewayStatus, Notice, Outcome, ReroutedRecord, SendRequest, Suppression, Template,
    Tenant, WebhookBody,
};
use sendplane_wire::topic;

use crate::env::Env;
use crate::log::TxnNo;
use crate::log::partition::Entry;
use crate::process::hosted::SCHEMAS;
use crate::shape::STAGES;
use crate::time::Micros;

/// A committed record and where it stands.
#[derive(Clone, Debug)]
pub struct At<R> {
    /// Topic.
    pub topic: &'static str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Its transaction.
    pub txn: Option<TxnNo>,
    /// From when on it could be read.
    pub visible_at: Micros,
    /// The record.
    pub record: R,
}

/// The end of one transaction of one task.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Offset in the changelog.
    pub offset: i64,
    /// Its transaction.
    pub txn: TxnNo,
    /// From when on it could be read.
    pub visible_at: Micros,
    /// What it says.
    pub record: CommitRecord,
    /// Changelog records of this transaction that stand before it.
    pub writes: u32,
}

/// A stage and one of its partitions.
pub type TaskName = (&'static str, i32);

/// Everything.
pub struct Facts {
    /// Requests of both lanes, also those that cannot be read.
    pub requests: Vec<At<(Entry, Option<SendRequest>)>>,
    /// Requests that another task passed on.
    pub rerouted: Vec<At<ReroutedRecord>>,
    /// Admitted messages.
    pub admitted: Vec<At<AdmittedMessage>>,
    /// Decisions of ingest, by message.
    pub refused: BTreeMap<MessageId, Vec<At<Decision>>>,
    /// Decisions of policy, by message.
    pub judged: BTreeMap<MessageId, Vec<At<Decision>>>,
    /// Dispatched messages.
    pub dispatched: BTreeMap<MessageId, Vec<At<Dispatch>>>,
    /// Attempts, by message.
    pub attempts: BTreeMap<MessageId, Vec<At<Attempt>>>,
    /// Outcomes, by message.
    pub outcomes: BTreeMap<MessageId, Vec<At<Outcome>>>,
    /// Changes of consent that can be read.
    pub consents: Vec<At<ConsentChange>>,
    /// Cancels that can be read.
    pub cancels: Vec<At<CancelRequest>>,
    /// What became of them.
    pub cancel_answers: Vec<At<CancelAnswer>>,
    /// What policy told send of consent.
    pub suppressions: Vec<At<Suppression>>,
    /// Rows of tenants, in the order of the log.
    pub tenants: Vec<At<Tenant>>,
    /// Rows of templates, in the order of the log.
    pub templates: Vec<At<Template>>,
    /// What webhooks said of accounts, numbers and templates, by tenant.
    pub notices: BTreeMap<TenantId, Vec<At<Notice>>>,
    /// Bodies of webhooks that can be read.
    pub webhooks: Vec<At<WebhookBody>>,
    /// What gateways said of themselves, in the order of the log.
    pub gateways: Vec<At<GatewayStatus>>,
    /// Dead letters of every stage.
    pub dead: Vec<At<Entry>>,
    /// The transactions of every task.
    pub commits: BTreeMap<TaskName, Vec<Commit>>,
}

impl Facts {
    /// Reads the whole log.
    pub fn read(env: &Env) -> Self {
        let lanes = [topic::REQUESTS_TRANSACTIONAL, topic::REQUESTS_BULK];
        let decisions: Vec<At<Decision>> = read(env, &[topic::DECISIONS]);
        let (refused, judged): (Vec<_>, Vec<_>) =
            decisions.into_iter().partition(|at| at.record.stage == DecidingStage::Ingest);
        let dispatch = [topic::DISPATCH_TRANSACTIONAL, topic::DISPATCH_BULK];
        Self {
            requests: requests(env, &lanes),
            rerouted: read(env, &[topic::REROUTED]),
            admitted: read(env, &[topic::ADMITTED_TRANSACTIONAL, topic::ADMITTED_BULK]),
            refused: by_message(refused, |record| record.message_id),
            judged: by_message(judged, |record| record.message_id),
            dispatched: by_message(read(env, &dispatch), |record: &Dispatch| record.message_id),
            attempts: by_message(read(env, &[topic::ATTEMPTS]), |r: &Attempt| r.message_id),
            outcomes: by_message(read(env, &[topic::OUTCOMES]), |r: &Outcome| r.message_id),
            consents: read(env, &[topic::CONSENT]),
            cancels: read(env, &[topic::CANCELS]),
            cancel_answers: read(env, &[topic::CANCEL_ANSWERS]),
            suppressions: read(env, &[topic::SUPPRESSIONS]),
            tenants: read(env, &[topic::TENANTS]),
            templates: read(env, &[topic::TEMPLATES]),
            notices: by_tenant(read(env, &[topic::NOTICES])),
            webhooks: read(env, &[topic::WEBHOOKS]),
            gateways: read(env, &[topic::GATEWAYS]),
            dead: dead_letters(env),
            commits: commits(env),
        }
    }

    /// The end of `stage`'s transaction `txn` on a partition.
    pub fn commit_of(
        &self,
        stage: &'static str,
        partition: i32,
        txn: Option<TxnNo>,
    ) -> Option<&Commit> {
        let commits = self.commits.get(&(stage, partition))?;
        commits.iter().find(|commit| Some(commit.txn) == txn)
    }

    /// The dispatch of decision `decision_seq` about a message.
    pub fn dispatch_of(&self, message: &MessageId, decision_seq: i32) -> Option<&At<Dispatch>> {
        let found = self.dispatched.get(message)?;
        found.iter().find(|at| at.record.decision_seq == decision_seq)
    }

    /// The transaction in which `stage` took the record at (`topic`, `partition`, `offset`).
    pub fn taken(
        &self,
        stage: &'static str,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Option<&Commit> {
        let commits = self.commits.get(&(stage, partition))?;
        let position = |commit: &Commit| commit.record.inputs.get(topic).copied().unwrap_or(0);
        let index = commits.partition_point(|commit| position(commit) <= offset);
        commits.get(index)
    }
}

fn read<R: AvroRecord>(env: &Env, topics: &[&'static str]) -> Vec<At<R>> {
    let mut found = Vec::new();
    for topic in topics {
        let decoder = SCHEMAS.decoder::<R>(topic);
        for partition in 0..env.shape.partitions as i32 {
            for (offset, entry, txn, visible_at) in env.log.committed(topic, partition) {
                if let Ok(record) = decoder.decode(entry.value.as_deref()) {
                    found.push(At { topic, partition, offset, txn, visible_at, record });
                }
            }
        }
    }
    found
}

fn requests(env: &Env, topics: &[&'static str]) -> Vec<At<(Entry, Option<SendRequest>)>> {
    let mut found = Vec::new();
    for topic in topics {
        let decoder = SCHEMAS.decoder::<SendRequest>(topic);
        for partition in 0..env.shape.partitions as i32 {
            for (offset, entry, txn, visible_at) in env.log.committed(topic, partition) {
                let request = decoder.decode(entry.value.as_deref()).ok();
                let record = (entry.clone(), request);
                found.push(At { topic, partition, offset, txn, visible_at, record });
            }
        }
    }
    found
}

fn dead_letters(env: &Env) -> Vec<At<Entry>> {
    let topics = [
        topic::DEAD_LETTERS_INGEST,
        topic::DEAD_LETTERS_POLICY,
        topic::DEAD_LETTERS_SEND,
        topic::DEAD_LETTERS_STATUS_RECONCILE,
    ];
    let mut found = Vec::new();
    for topic in topics {
        for partition in 0..env.shape.partitions as i32 {
            for (offset, entry, txn, visible_at) in env.log.committed(topic, partition) {
                let record = entry.clone();
                found.push(At { topic, partition, offset, txn, visible_at, record });
            }
        }
    }
    found
}

fn commits(env: &Env) -> BTreeMap<TaskName, Vec<Commit>> {
    let mut found: BTreeMap<TaskName, Vec<Commit>> = BTreeMap::new();
    for stage in STAGES {
        let changelog = format!("sendplane.{stage}.changelog");
        for partition in 0..env.shape.partitions as i32 {
            let list = found.entry((stage, partition)).or_default();
            let mut writes: BTreeMap<TxnNo, u32> = BTreeMap::new();
            for (offset, entry, txn, visible_at) in env.log.committed(&changelog, partition) {
                let Some(txn) = txn else { continue };
                if entry.key.as_deref() != Some(&COMMIT_KEY[..]) {
                    *writes.entry(txn).or_default() += 1;
                    continue;
                }
                let value = entry.value.as_deref().unwrap_or_default();
                let Ok(record) = CommitRecord::decode(value) else { continue };
                let writes = writes.remove(&txn).unwrap_or(0);
                list.push(Commit { offset, txn, visible_at, record, writes });
            }
        }
    }
    found
}

fn by_message<R>(
    records: Vec<At<R>>,
    id: impl Fn(&R) -> MessageId,
) -> BTreeMap<MessageId, Vec<At<R>>> {
    let mut found: BTreeMap<MessageId, Vec<At<R>>> = BTreeMap::new();
    for at in records {
        found.entry(id(&at.record)).or_default().push(at);
    }
    found
}

fn by_tenant(notices: Vec<At<Notice>>) -> BTreeMap<TenantId, Vec<At<Notice>>> {
    let mut found: BTreeMap<TenantId, Vec<At<Notice>>> = BTreeMap::new();
    for at in notices {
        found.entry(at.record.tenant.clone()).or_default().push(at);
    }
    found
}
