//! Every topic by name, and the settings it is created with. The only place with topic names.
//!
//! `sendplane.<dataset>[.<lane>].v<major>`, dead letters `dlq.sendplane.<stage>`, changelogs
//! `sendplane.<stage>.changelog`.

use std::time::Duration;

use sendplane_domain::lane::Lane;

/// [`crate::record::SendRequest`], authentication and utility.
pub const REQUESTS_TRANSACTIONAL: &str = "sendplane.requests.transactional.v1";
/// [`crate::record::SendRequest`], marketing.
pub const REQUESTS_BULK: &str = "sendplane.requests.bulk.v1";
/// [`crate::record::ConsentChange`].
pub const CONSENT: &str = "sendplane.consent.v1";
/// [`crate::record::WebhookBody`].
pub const WEBHOOKS: &str = "sendplane.webhooks.v1";
/// [`crate::record::ReroutedRecord`].
pub const REROUTED: &str = "sendplane.rerouted.v1";
/// [`crate::record::AdmittedMessage`], transactional lane.
pub const ADMITTED_TRANSACTIONAL: &str = "sendplane.admitted.transactional.v1";
/// [`crate::record::AdmittedMessage`], bulk lane.
pub const ADMITTED_BULK: &str = "sendplane.admitted.bulk.v1";
/// [`crate::record::Receipt`].
pub const RECEIPTS: &str = "sendplane.receipts.v1";
/// [`crate::record::Feedback`].
pub const FEEDBACK: &str = "sendplane.feedback.v1";
/// [`crate::record::Decision`].
pub const DECISIONS: &str = "sendplane.decisions.v1";
/// [`crate::record::Dispatch`], transactional lane.
pub const DISPATCH_TRANSACTIONAL: &str = "sendplane.dispatch.transactional.v1";
/// [`crate::record::Dispatch`], bulk lane.
pub const DISPATCH_BULK: &str = "sendplane.dispatch.bulk.v1";
/// [`crate::record::Attempt`].
pub const ATTEMPTS: &str = "sendplane.attempts.v1";
/// [`crate::record::Outcome`]; the public product.
pub const OUTCOMES: &str = "sendplane.outcomes.v1";
/// [`crate::record::Suppression`].
pub const SUPPRESSIONS: &str = "sendplane.suppressions.v1";
/// [`crate::record::Replan`].
pub const POLICY_FEEDBACK: &str = "sendplane.policy-feedback.v1";
/// [`crate::record::Notice`].
pub const NOTICES: &str = "sendplane.notices.v1";
/// [`crate::record::CancelRequest`].
pub const CANCELS: &str = "sendplane.cancels.v1";
/// [`crate::record::Cancellation`].
pub const CANCELLATIONS: &str = "sendplane.cancellations.v1";
/// [`crate::record::CancelAnswer`].
pub const CANCEL_ANSWERS: &str = "sendplane.cancel-answers.v1";
/// [`crate::record::Tenant`].
pub const TENANTS: &str = "sendplane.tenants.v1";
/// [`crate::record::Template`].
pub const TEMPLATES: &str = "sendplane.templates.v1";
/// [`crate::record::Switch`].
pub const CONTROL: &str = "sendplane.control.v1";
/// [`crate::record::GatewayStatus`].
pub const GATEWAYS: &str = "sendplane.gateways.v1";

/// State of ingest.
pub const CHANGELOG_INGEST: &str = "sendplane.ingest.changelog";
/// State of policy.
pub const CHANGELOG_POLICY: &str = "sendplane.policy.changelog";
/// State of send.
pub const CHANGELOG_SEND: &str = "sendplane.send.changelog";
/// State of status-reconcile.
pub const CHANGELOG_STATUS_RECONCILE: &str = "sendplane.status-reconcile.changelog";

/// Input that ingest cannot use, byte for byte.
pub const DEAD_LETTERS_INGEST: &str = "dlq.sendplane.ingest";
/// Input that policy cannot use, byte for byte.
pub const DEAD_LETTERS_POLICY: &str = "dlq.sendplane.policy";
/// Input that send cannot use, byte for byte.
pub const DEAD_LETTERS_SEND: &str = "dlq.sendplane.send";
/// Input that status-reconcile cannot use, byte for byte.
pub const DEAD_LETTERS_STATUS_RECONCILE: &str = "dlq.sendplane.status-reconcile";

/// The request topic of a lane.
pub const fn requests(lane: Lane) -> &'static str {
    match lane {
        Lane::Transactional => REQUESTS_TRANSACTIONAL,
        Lane::Bulk => REQUESTS_BULK,
    }
}

/// The admitted topic of a lane.
pub const fn admitted(lane: Lane) -> &'static str {
    match lane {
        Lane::Transactional => ADMITTED_TRANSACTIONAL,
        Lane::Bulk => ADMITTED_BULK,
    }
}

/// The dispatch topic of a lane.
pub const fn dispatch(lane: Lane) -> &'static str {
    match lane {
        Lane::Transactional => DISPATCH_TRANSACTIONAL,
        Lane::Bulk => DISPATCH_BULK,
    }
}

/// What a topic is for; its settings follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Records on their way; deleted by age.
    Work,
    /// A small table that every instance holds whole; compacted, one partition.
    Global,
    /// A stage's state; compacted only, never deleted by age.
    Changelog,
    /// Input that could not be used; deleted by age.
    DeadLetter,
}

/// `cleanup.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cleanup {
    /// By age.
    Delete,
    /// The newest record per key stays.
    Compact,
}

/// `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's time, Kafka's default.
    Create,
    /// The broker's time: what clocks of instances are compared with.
    LogAppend,
}

/// How many partitions a topic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Partitions {
    /// One.
    One,
    /// The one number P that all partitioned topics share.
    Shared,
}

/// A topic and how to create it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Topic name.
    pub name: &'static str,
    /// What it is for.
    pub kind: Kind,
    /// Number of partitions.
    pub partitions: Partitions,
    /// Cleanup policy.
    pub cleanup: Cleanup,
    /// `retention.ms`; `None` for a compacted topic.
    pub retention: Option<Duration>,
    /// `min.compaction.lag.ms`; a reader that far behind still sees every version.
    pub compaction_lag_min: Option<Duration>,
    /// `max.message.bytes`; `None` leaves the broker's default (1 MiB).
    pub message_bytes_max: Option<u32>,
    /// Whose time the records carry.
    pub timestamp_type: TimestampType,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Work topics keep twice [`sendplane_domain::limits::DEADLINE_MAX`].
pub const WORK_RETENTION: Duration = Duration::from_secs(14 * DAY.as_secs());

/// How long outcomes and dead letters are kept.
pub const LONG_RETENTION: Duration = Duration::from_secs(30 * DAY.as_secs());

/// Meta's largest webhook body is 3 MB; framing comes on top.
pub const WEBHOOK_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// What a dead letter may need: the largest record that any input topic takes, its key and headers,
/// and the headers that name the fault. A record that was compressed on its way in may be larger,
/// and is compressed again on its way out.
pub const DEAD_LETTER_BYTES_MAX: u32 = 16 * 1024 * 1024;

const COMPACTION_LAG_MIN: Duration = Duration::from_secs(3600);

const _: () = assert!(
    WORK_RETENTION.as_secs() >= 2 * sendplane_domain::limits::DEADLINE_MAX.as_secs(),
    "a record may wait in a topic as long as in a store"
);

impl TopicSpec {
    const fn work(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Work,
            partitions: Partitions::Shared,
            cleanup: Cleanup::Delete,
            retention: Some(WORK_RETENTION),
            compaction_lag_min: None,
            message_bytes_max: None,
            timestamp_type: TimestampType::Create,
        }
    }

    const fn global(name: &'static str) -> Self {
        Self {
            kind: Kind::Global,
            partitions: Partitions::One,
            cleanup: Cleanup::Compact,
            retention: None,
            ..Self::work(name)
        }
    }

    const fn changelog(name: &'static str) -> Self {
        Self {
            kind: Kind::Changelog,
            cleanup: Cleanup::Compact,
            retention: None,
            compaction_lag_min: Some(COMPACTION_LAG_MIN),
            timestamp_type: TimestampType::LogAppend,
            ..Self::work(name)
        }
    }

    const fn dead_letters(name: &'static str) -> Self {
        Self {
            kind: Kind::DeadLetter,
            retention: Some(LONG_RETENTION),
            message_bytes_max: Some(DEAD_LETTER_BYTES_MAX),
            ..Self::work(name)
        }
    }

    /// Partition count, given the shared one.
    pub const fn partition_count(&self, shared: u32) -> u32 {
        match self.partitions {
            Partitions::One => 1,
            Partitions::Shared => shared,
        }
    }

    /// The topic's own settings, as Kafka names and writes them.
    pub fn configs(&self) -> Vec<(&'static str, String)> {
        let cleanup = match self.cleanup {
            Cleanup::Delete => "delete",
            Cleanup::Compact => "compact",
        };
        let timestamp_type = match self.timestamp_type {
            TimestampType::Create => "CreateTime",
            TimestampType::LogAppend => "LogAppendTime",
        };
        let mut configs = vec![
            ("cleanup.policy", cleanup.to_owned()),
            ("message.timestamp.type", timestamp_type.to_owned()),
        ];
        let millis = |span: Duration| span.as_millis().to_string();
        configs.extend(self.retention.map(|span| ("retention.ms", millis(span))));
        configs.extend(self.compaction_lag_min.map(|span| ("min.compaction.lag.ms", millis(span))));
        configs.extend(self.message_bytes_max.map(|max| ("max.message.bytes", max.to_string())));
        configs
    }
}

/// Every topic.
pub const TOPICS: &[TopicSpec] = &[
    TopicSpec::work(REQUESTS_TRANSACTIONAL),
    TopicSpec::work(REQUESTS_BULK),
    TopicSpec::work(CONSENT),
    TopicSpec { message_bytes_max: Some(WEBHOOK_BYTES_MAX), ..TopicSpec::work(WEBHOOKS) },
    TopicSpec::work(REROUTED),
    TopicSpec::work(ADMITTED_TRANSACTIONAL),
    TopicSpec::work(ADMITTED_BULK),
    TopicSpec::work(RECEIPTS),
    TopicSpec::work(FEEDBACK),
    TopicSpec::work(DECISIONS),
    TopicSpec::work(DISPATCH_TRANSACTIONAL),
    TopicSpec::work(DISPATCH_BULK),
    TopicSpec::work(ATTEMPTS),
    TopicSpec { retention: Some(LONG_RETENTION), ..TopicSpec::work(OUTCOMES) },
    TopicSpec::work(SUPPRESSIONS),
    TopicSpec::work(POLICY_FEEDBACK),
    TopicSpec::work(NOTICES),
    TopicSpec::work(CANCELS),
    TopicSpec::work(CANCELLATIONS),
    TopicSpec::work(CANCEL_ANSWERS),
    TopicSpec::global(TENANTS),
    TopicSpec::global(TEMPLATES),
    TopicSpec::global(CONTROL),
    TopicSpec::global(GATEWAYS),
    TopicSpec::changelog(CHANGELOG_INGEST),
    TopicSpec::changelog(CHANGELOG_POLICY),
    TopicSpec::changelog(CHANGELOG_SEND),
    TopicSpec::changelog(CHANGELOG_STATUS_RECONCILE),
    TopicSpec::dead_letters(DEAD_LETTERS_INGEST),
    TopicSpec::dead_letters(DEAD_LETTERS_POLICY),
    TopicSpec::dead_letters(DEAD_LETTERS_SEND),
    TopicSpec::dead_letters(DEAD_LETTERS_STATUS_RECONCILE),
];

/// The topic called `name`.
pub fn spec(name: &str) -> Option<&'static TopicSpec> {
    TOPICS.iter().find(|topic| topic.name == name)
}

#[cfg(test)]
mod tests;
