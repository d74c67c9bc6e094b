//! Producing any bytes anywhere and knowing where they landed; reading what came of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use sendplane_tests::kafka;
use sendplane_tests::plane::PARTITIONS;
use sendplane_wire::codec::{AvroRecord, Decoder, StaticSchemas};

use crate::records::Records;
use crate::table::Raw;

/// Where each record landed, by its number; or why it did not.
#[derive(Default)]
struct Landed(Mutex<BTreeMap<usize, Result<i64, String>>>);

impl ClientContext for Landed {}

impl ProducerContext for Landed {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let landed = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.to_string()),
        };
        self.0.lock().expect("no panic inside").insert(number, landed);
    }
}

/// Produces any bytes in order.
pub struct Writer {
    plain: BaseProducer<Landed>,
    compressing: BaseProducer<Landed>,
}

impl Writer {
    /// Connects.
    pub fn new(bootstrap: &str) -> Self {
        let create = |config: &mut ClientConfig| {
            config.set("acks", "all").set("message.max.bytes", "20000000").set("linger.ms", "0");
            config.create_with_context(Landed::default()).expect("a producer")
        };
        Self {
            plain: create(&mut kafka::config(bootstrap)),
            compressing: create(kafka::config(bootstrap).set("compression.type", "zstd")),
        }
    }

    /// Produces all of them, each partition's in order. Returns their offsets; the broker's reason
    /// for one it did not take.
    pub fn write(&self, records: &[Raw]) -> Vec<Result<i64, String>> {
        for (number, raw) in records.iter().enumerate() {
            let producer = if raw.compressed { &self.compressing } else { &self.plain };
            let mut record: BaseRecord<'_, [u8], [u8], usize> =
                BaseRecord::with_opaque_to(raw.topic, number).partition(raw.partition);
            record.key = raw.key.as_deref();
            record.payload = raw.value.as_deref();
            if let Some((key, value)) = &raw.header {
                let header = Header { key, value: Some(value) };
                record = record.headers(OwnedHeaders::new().insert(header));
            }
            send(producer, record);
            // One producer at a time, or the order between the two is nobody's.
            if raw.compressed || records.get(number + 1).is_some_and(|next| next.compressed) {
                producer.flush(Duration::from_secs(60)).expect("everything is answered");
            }
        }
        let mut landed = BTreeMap::new();
        for producer in [&self.plain, &self.compressing] {
            producer.flush(Duration::from_secs(60)).expect("everything is answered");
            landed.append(&mut producer.context().0.lock().expect("no panic inside"));
        }
        (0..records.len()).map(|at| landed.remove(&at).expect("a delivery report")).collect()
    }
}

fn send(producer: &BaseProducer<Landed>, mut record: BaseRecord<'_, [u8], [u8], usize>) {
    while let Err((error, back)) = producer.send(record) {
        assert!(
            matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)),
            "{error}"
        );
        producer.poll(Duration::from_millis(5));
        record = back;
    }
    producer.poll(Duration::ZERO);
}

/// Reads one of our topics whole.
pub struct Reader<R> {
    bootstrap: String,
    decoder: Decoder<R>,
}

impl<R: AvroRecord> Reader<R> {
    /// A reader of `topic`.
    pub fn new(bootstrap: &str, records: &Records, topic: &'static str) -> Self {
        let nothing = Arc::new(StaticSchemas::default());
        let decoder = Decoder::new(topic, Some(records.id(topic)), nothing);
        Self { bootstrap: bootstrap.to_owned(), decoder }
    }

    /// Every committed record that can be read: what the test itself broke is left out.
    pub fn read(&self) -> Vec<R> {
        let found = kafka::read_all(&self.bootstrap, self.decoder.topic(), PARTITIONS as i32);
        found.iter().filter_map(|read| self.decoder.decode(read.value.as_deref()).ok()).collect()
    }
}
