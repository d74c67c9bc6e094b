//! Errors, named by how to recover from them.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use sendplane_stage_api::StateFault;
use sendplane_stage_api::commit::FoldFault;

/// What to do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Call again; nothing has changed.
    Retry,
    /// The group has moved on: give the partitions up and join again.
    Rejoin,
    /// The outcome of a transaction is not known: new producer, replay the changelog's tail.
    Rebuild,
    /// Leave the group and end the process; a person has to act.
    Stop,
}

/// A failure of the runtime. Bad records are not errors: they are dead letters.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Kafka call failed.
    #[error("kafka: {doing}: {source}")]
    Kafka {
        /// The call.
        doing: &'static str,
        /// librdkafka's error.
        source: KafkaError,
    },
    /// Another process uses this transactional id.
    #[error(
        "transactional id {transactional_id} was taken over: another process runs with the same instance-id; give every instance its own"
    )]
    Fenced {
        /// The id.
        transactional_id: String,
    },
    /// A produced record was not delivered.
    #[error("a record of the transaction was not delivered: {0}")]
    Undelivered(String),
    /// A topic is not there, or its brokers are not.
    #[error(
        "topic {0} cannot be used: create it with `sendplane topics apply`, or wait for its brokers"
    )]
    MissingTopic(String),
    /// A deadline passed.
    #[error("{doing} took longer than {seconds} s")]
    TimedOut {
        /// What.
        doing: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// RocksDB failed.
    #[error("state store of partition {partition}: {detail}")]
    Store {
        /// Partition of the task.
        partition: i32,
        /// RocksDB's message.
        detail: String,
    },
    /// State could not be read by the stage.
    #[error("state of partition {partition}: {fault}")]
    State {
        /// Partition of the task.
        partition: i32,
        /// The fault.
        fault: StateFault,
    },
    /// The changelog cannot be folded.
    #[error("changelog of partition {partition}: {fault}")]
    Fold {
        /// Partition of the task.
        partition: i32,
        /// The fault.
        fault: FoldFault,
    },
    /// Changelog and group offsets disagree.
    #[error(
        "partition {partition}: changelog ends at transaction {changelog}, the group's offsets at {offsets}"
    )]
    SequenceMismatch {
        /// Partition of the task.
        partition: i32,
        /// `txn_seq` of the last commit record, 0 for none.
        changelog: u64,
        /// `txn_seq` in the offsets' metadata.
        offsets: String,
    },
    /// Something about the topics makes it unsafe to go on.
    #[error("{0}")]
    Unsafe(String),
    /// A handler panicked.
    #[error(
        "handler panicked at {topic}/{partition}/{offset}: {message}; to go on without this record add it to `quarantine`"
    )]
    HandlerPanicked {
        /// Topic of the input, or `timer`, `effect`, `control`.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// Panic message.
        message: String,
    },
}

impl Error {
    /// How to recover.
    pub fn recovery(&self) -> Recovery {
        match self {
            Error::Kafka { source, .. } => kafka_recovery(source),
            Error::Undelivered(_) | Error::SequenceMismatch { .. } | Error::TimedOut { .. } => {
                Recovery::Rebuild
            }
            Error::MissingTopic(_) => Recovery::Retry,
            Error::Fenced { .. }
            | Error::Store { .. }
            | Error::State { .. }
            | Error::Fold { .. }
            | Error::Unsafe(_)
            | Error::HandlerPanicked { .. } => Recovery::Stop,
        }
    }

    pub(crate) fn kafka(doing: &'static str) -> impl FnOnce(KafkaError) -> Error {
        move |source| Error::Kafka { doing, source }
    }
}

fn kafka_recovery(error: &KafkaError) -> Recovery {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::RebalanceInProgress
            | RDKafkaErrorCode::FencedInstanceId,
        ) => Recovery::Rejoin,
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed,
        ) => Recovery::Stop,
        _ => match error {
            KafkaError::Transaction(inner) if inner.is_retriable() && !inner.is_fatal() => {
                Recovery::Retry
            }
            KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => Recovery::Stop,
            // Neither fatal nor abortable nor retriable is treated like fatal: a new producer.
            _ => Recovery::Rebuild,
        },
    }
}
