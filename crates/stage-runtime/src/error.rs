//! Errors, named by how to recover from them.

use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// The volume of the state stores is full.
    #[error(
        "no space left in the state directory {}: {detail}. Free space or enlarge its volume, then start this instance again; nothing is lost, the changelog has what the store lacks",
        dir.display()
    )]
    DiskFull {
        /// Directory of the store.
        dir: PathBuf,
        /// The system's message.
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
    /// The group's offsets were pending for longer than a transaction can be open.
    #[error(
        "the offsets of group {group} were not stable for {seconds} s: its coordinator does not answer, or holds them for a transaction that was ended without its markers; `kafka-transactions.sh find-hanging` names that one, README \"Stopping brokers\" says what then"
    )]
    UnstableOffsets {
        /// The group.
        group: String,
        /// How long they were asked for.
        seconds: u64,
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
            Error::Undelivered(_)
            | Error::SequenceMismatch { .. }
            | Error::UnstableOffsets { .. }
            | Error::TimedOut { .. } => Recovery::Rebuild,
            Error::MissingTopic(_) => Recovery::Retry,
            Error::Fenced { .. }
            | Error::Store { .. }
            | Error::DiskFull { .. }
            | Error::State { .. }
            | Error::Fold { .. }
            | Error::Unsafe(_)
            | Error::HandlerPanicked { .. } => Recovery::Stop,
        }
    }

    /// How to recover when the transaction was begun `open` ago.
    ///
    /// An open transaction that outlived its `timeout` is ended by the broker, which librdkafka
    /// reports like a take-over: a thread that slept that long is not fenced by anybody.
    pub fn recovery_after(&self, open: Duration, timeout: Duration) -> Recovery {
        match self {
            Error::Fenced { .. } if open >= timeout.mul_f32(0.9) => Recovery::Rebuild,
            _ => self.recovery(),
        }
    }

    /// A failure of the store in `dir`. RocksDB and the system say "full" in the same words.
    pub(crate) fn store(dir: &Path, partition: i32, detail: String) -> Error {
        Self::full(dir, &detail).unwrap_or_else(|| Error::Store {
            partition,
            detail: format!("{}: {detail}", dir.display()),
        })
    }

    /// The error for a full disk, if `detail` says that it is.
    pub(crate) fn full(dir: &Path, detail: &str) -> Option<Error> {
        let words = ["No space left on device", "Disk quota exceeded"];
        let full = words.iter().any(|words| detail.contains(words));
        full.then(|| Error::DiskFull { dir: dir.to_owned(), detail: detail.to_owned() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fenced_is_a_take_over_unless_the_broker_may_have_timed_the_transaction_out() {
        let fenced = Error::Fenced { transactional_id: "t".into() };
        let timeout = Duration::from_secs(10);
        let after =
            |error: &Error, seconds| error.recovery_after(Duration::from_secs(seconds), timeout);
        assert_eq!(after(&fenced, 8), Recovery::Stop);
        assert_eq!(after(&fenced, 9), Recovery::Rebuild);
        assert_eq!(after(&Error::Unsafe("x".into()), 9), Recovery::Stop);
    }

    #[test]
    fn a_full_disk_names_the_directory_and_the_fix() {
        let detail = "IO error: No space left on device: While appending to file: /s/000004.log";
        let error = Error::store(Path::new("/s/send/0"), 0, detail.into());
        assert_eq!(error.recovery(), Recovery::Stop);
        let text = error.to_string();
        for part in ["/s/send/0", "Free space", "nothing is lost"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let other = Error::store(Path::new("/s/send/3"), 3, "Corruption: checksum".into());
        let expected = "state store of partition 3: /s/send/3: Corruption: checksum";
        assert_eq!(other.to_string(), expected);
    }
}
