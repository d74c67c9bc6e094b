//! One transactional producer, with the guards against what librdkafka hides.
//!
//! * A commit drains first: with a message in flight `commit_transaction` of rdkafka 0.39 sleeps
//!   100 ms.
//! * librdkafka has no KIP-890 client side: a late EndTxn can commit half of the *next*
//!   transaction. It retries EndTxn silently; the only signs are duration and statistics. After
//!   any of them the producer is re-created before the next `begin`: the new epoch fences what is
//!   late.
//! * There is no abort here. Whatever fails, the producer is dropped; `init_transactions` of its
//!   successor aborts what is open.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::util::Timeout;

use crate::client::{self, CommitDelivery, ProducerEvents};
use crate::clock::{Deadline, monotonic};
use crate::config::RuntimeConfig;
use crate::error::Error;

/// How often acknowledgements are looked for: short beside the few milliseconds a broker needs.
const DRAIN_STEP: Duration = Duration::from_micros(200);

/// After EndTxn was answered, the coordinator still writes the transaction's markers. Whoever adds a
/// partition before they are written is turned away with CONCURRENT_TRANSACTIONS and waits for
/// 20 ms. Measured on one broker: one in eleven of those that came within 2 ms, hardly one later.
const MARKERS_WRITTEN: Duration = Duration::from_millis(2);

const INIT_MAX: Duration = Duration::from_secs(30);
/// How long a stop or a rebalance may have to wait for `init_transactions`.
const INIT_STEP: Duration = Duration::from_secs(1);
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// librdkafka caps it at what is left of the transaction's timeout.
const OFFSETS_MAX: Duration = Duration::from_secs(30);
/// Beyond the cap, the call hangs.
const OFFSETS_MARGIN: Duration = Duration::from_secs(2);

/// How librdkafka says that a newer epoch of our transactional id exists.
const FENCED: [RDKafkaErrorCode; 2] = [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced];

/// A record to produce, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'r> {
    /// Topic.
    pub topic: &'r str,
    /// Partition; always explicit.
    pub partition: i32,
    /// Key.
    pub key: Option<&'r [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'r [u8]>,
    /// Headers.
    pub headers: &'r [(String, Option<Vec<u8>>)],
    /// Timestamp in ms; `None` for now.
    pub timestamp: Option<i64>,
    /// 0, or for a commit record its task's number from 1.
    pub commit_of: usize,
}

/// How long the parts of a commit took.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitTimes {
    /// Waiting for deliveries.
    pub drain: Duration,
    /// `send_offsets_to_transaction`.
    pub offsets: Duration,
    /// `commit_transaction`.
    pub commit: Duration,
}

/// A transactional producer that owns its transactional id.
pub struct TransactionalProducer {
    producer: Arc<BaseProducer<ProducerEvents>>,
    transactional_id: String,
    slow_commit: Duration,
    offsets_max: Duration,
    trouble_seen: u64,
    suspect: Option<&'static str>,
    committed_at: Option<Instant>,
}

impl TransactionalProducer {
    /// Connects and fences whoever used `transactional_id` before; aborts what it left open.
    /// `keep_going` is asked while the coordinator does not answer; when it says no, the result is
    /// [`Error::TimedOut`].
    pub fn create(
        config: &RuntimeConfig,
        transactional_id: &str,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let producer: BaseProducer<ProducerEvents> = client::producer(config, transactional_id)
            .create_with_context(ProducerEvents::default())
            .map_err(Error::kafka("create producer"))?;
        let deadline = Deadline::after(INIT_MAX);
        while let Err(source) = producer.init_transactions(INIT_STEP) {
            let retriable =
                matches!(&source, KafkaError::Transaction(error) if error.is_retriable());
            if !retriable {
                return Err(Error::Kafka { doing: "init_transactions", source });
            }
            if deadline.passed() || !keep_going() {
                let seconds = INIT_MAX.as_secs();
                return Err(Error::TimedOut { doing: "init_transactions", seconds });
            }
            tracing::debug!(error = %source, "init_transactions is repeated");
        }
        Ok(Self {
            producer: Arc::new(producer),
            transactional_id: transactional_id.to_owned(),
            slow_commit: config.slow_commit,
            offsets_max: config.transaction_timeout + OFFSETS_MARGIN,
            trouble_seen: 0,
            suspect: None,
            committed_at: None,
        })
    }

    /// Why this producer must not begin another transaction, if so.
    pub fn suspect(&mut self) -> Option<&'static str> {
        let trouble = self.producer.context().trouble();
        if trouble > self.trouble_seen {
            self.trouble_seen = trouble;
            self.suspect.get_or_insert("requests were retried");
        }
        self.suspect
    }

    /// Begins a transaction, once the markers of the last one should be written.
    pub fn begin(&self) -> Result<(), Error> {
        let early = self.committed_at.map(|at| MARKERS_WRITTEN.saturating_sub(at.elapsed()));
        std::thread::sleep(early.unwrap_or_default());
        self.producer.begin_transaction().map_err(|source| self.classify("begin", source))
    }

    /// Adds a record.
    pub fn send(&self, outgoing: &Outgoing<'_>) -> Result<(), Error> {
        let mut headers = OwnedHeaders::new_with_capacity(outgoing.headers.len());
        for (key, value) in outgoing.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(outgoing.topic, outgoing.commit_of)
                .partition(outgoing.partition)
                .headers(headers);
        record.key = outgoing.key;
        record.payload = outgoing.value;
        record.timestamp = outgoing.timestamp;
        let deadline = Deadline::after(DRAIN_MAX);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if !deadline.passed() =>
                {
                    record = back;
                    self.producer.poll(Duration::ZERO);
                    std::thread::sleep(DRAIN_STEP);
                }
                Err((source, _)) => return Err(self.classify("produce", source)),
            }
        }
    }

    /// Waits until every record is acknowledged, adds the offsets and commits.
    ///
    /// `offsets` must not be empty: librdkafka would send nothing, and the group would not fence.
    pub(crate) fn commit(
        &mut self,
        offsets: TopicPartitionList,
        group: ConsumerGroupMetadata,
    ) -> Result<(CommitTimes, Vec<CommitDelivery>), Error> {
        assert!(offsets.count() > 0, "a transaction without offsets is not fenced by the group");
        let started = monotonic();
        self.drain()?;
        let drained = monotonic();
        self.send_offsets(offsets, group)?;
        let sent = monotonic();
        // Any other timeout than "never" risks that librdkafka's state and the broker's part ways.
        self.producer
            .commit_transaction(Timeout::Never)
            .map_err(|source| self.classify("commit", source))?;
        let committed = monotonic();
        self.committed_at = Some(committed);
        let times = CommitTimes {
            drain: drained - started,
            offsets: sent - drained,
            commit: committed - sent,
        };
        if times.commit > self.slow_commit {
            self.suspect.get_or_insert("the commit was slow");
        }
        Ok((times, self.producer.context().take_commits()))
    }

    /// On a thread of its own, because librdkafka can wait for ever here when the group's
    /// coordinator dies (confluentinc/librdkafka#5511). A call that hangs is left behind with its
    /// producer; the next producer's epoch fences whatever it may still do.
    fn send_offsets(
        &self,
        offsets: TopicPartitionList,
        group: ConsumerGroupMetadata,
    ) -> Result<(), Error> {
        let producer = self.producer.clone();
        let (done, answer) = mpsc::channel();
        std::thread::Builder::new()
            .name("offsets".into())
            .spawn(move || {
                let sent = producer.send_offsets_to_transaction(&offsets, &group, OFFSETS_MAX);
                // Before the answer: whoever drops the producer next must be its last owner.
                drop(producer);
                let _ = done.send(sent);
            })
            .map_err(|error| Error::Unsafe(format!("cannot start a thread: {error}")))?;
        match answer.recv_timeout(self.offsets_max) {
            Ok(sent) => sent.map_err(|source| self.classify("send offsets", source)),
            Err(_) => {
                metrics::counter!("sendplane_producers_abandoned_total").increment(1);
                let seconds = self.offsets_max.as_secs();
                Err(Error::TimedOut { doing: "send offsets", seconds })
            }
        }
    }

    fn drain(&self) -> Result<(), Error> {
        let deadline = Deadline::after(DRAIN_MAX);
        while self.producer.in_flight_count() > 0 {
            if deadline.passed() {
                let seconds = DRAIN_MAX.as_secs();
                return Err(Error::TimedOut { doing: "delivery", seconds });
            }
            // `poll` with a timeout spins: what is left of it, below a millisecond, is rounded to
            // none (rdkafka 0.39, `BaseProducer::poll`). Half the processor time of a stage went
            // there.
            self.producer.poll(Duration::ZERO);
            std::thread::sleep(DRAIN_STEP);
        }
        match self.producer.context().take_undelivered() {
            None => Ok(()),
            // A fenced producer purges its queue; the purged records are not the cause.
            Some(_) if self.is_fenced() => Err(self.fenced()),
            Some(text) => Err(Error::Undelivered(text)),
        }
    }

    fn is_fenced(&self) -> bool {
        let fatal = self.producer.client().fatal_error();
        fatal.is_some_and(|(code, _)| FENCED.contains(&code))
    }

    fn fenced(&self) -> Error {
        Error::Fenced { transactional_id: self.transactional_id.clone() }
    }

    fn classify(&self, doing: &'static str, source: KafkaError) -> Error {
        if self.is_fenced() || source.rdkafka_error_code().is_some_and(|c| FENCED.contains(&c)) {
            return self.fenced();
        }
        Error::Kafka { doing, source }
    }
}
