//! Dispatch records at a steady rate or all at once, as policy writes them.

use std::time::Duration;

use rdkafka::producer::BaseProducer;
use sendplane_domain::e164::E164;
use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
};
use sendplane_domain::lane::Lane;
use sendplane_domain::shard::ShardKey;
use sendplane_domain::time::Timestamp;
use sendplane_tests::plane::{PARTITIONS, Plane};
use sendplane_tests::{http, kafka};
use sendplane_wire::codec::Encoder;
use sendplane_wire::record::{Dispatch, TemplateParameter};
use sendplane_wire::{registry, topic};

/// Longer than any run.
const VALIDITY: Duration = Duration::from_secs(6 * 3600);

/// Writes dispatch records. The ids of its messages count from 0.
pub struct Feeder {
    producer: BaseProducer,
    transactional: Encoder<Dispatch>,
    bulk: Encoder<Dispatch>,
    next: u64,
}

/// Now, by the clock that metasim reads as well.
pub use sendplane_tests::counter::wall as now;

/// The id of the `n`th message. It is found again in the opaque data that metasim keeps.
pub fn message_id(n: u64) -> MessageId {
    let mut bytes = [0_u8; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    (bytes[6], bytes[8]) = (0x80, 0x80);
    MessageId::from_bytes(bytes)
}

impl Feeder {
    /// Produces to the plane's broker with the schemas of its registry.
    pub fn new(plane: &Plane) -> Self {
        let encoder = |lane| {
            let topic = topic::dispatch(lane);
            Encoder::new(topic, schema_id(&plane.stack().registry, topic))
        };
        Self {
            producer: kafka::producer(&plane.stack().bootstrap),
            transactional: encoder(Lane::Transactional),
            bulk: encoder(Lane::Bulk),
            next: 0,
        }
    }

    /// The number of the next message.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Writes a message to a contact that no other message has; returns its number.
    pub fn send(&mut self, tenant: &str, number: &str, lane: Lane) -> u64 {
        let n = self.next;
        self.next += 1;
        let now = now();
        let dispatch = dispatch(n, tenant, number, lane, now);
        let encoder = match lane {
            Lane::Transactional => &self.transactional,
            Lane::Bulk => &self.bulk,
        };
        let value = encoder.encode(&dispatch).expect("a dispatch can be encoded");
        let partition = ShardKey::of(TenantId::new(tenant)).partition(PARTITIONS);
        kafka::send(&self.producer, encoder.topic(), partition, tenant, &value);
        n
    }

    /// Waits until the broker has everything.
    pub fn flush(&self) {
        kafka::flush(&self.producer);
    }
}

fn dispatch(n: u64, tenant: &str, number: &str, lane: Lane, now: Timestamp) -> Dispatch {
    let (template, category) = match lane {
        Lane::Transactional => ("order_confirmed", "utility"),
        Lane::Bulk => ("season_sale", "marketing"),
    };
    let variables: &[&str] = match lane {
        Lane::Transactional => &["Ada", "order 4711"],
        Lane::Bulk => &["Ada"],
    };
    let parameter = |text: &&str| TemplateParameter { name: None, value: (*text).to_owned() };
    Dispatch {
        message_id: message_id(n),
        tenant: TenantId::new(tenant),
        lane,
        phone_number_id: PhoneNumberId::new(number),
        recipient: E164::parse(&format!("+4915{:09}", n + 1)).expect("a number"),
        contact_hash: KeyedHash::new(format!("{n:032x}")),
        template_name: TemplateName::new(template),
        template_language: "en_US".into(),
        template_version: 1,
        category: category.into(),
        parameters: variables.iter().map(parameter).collect(),
        campaign: (lane == Lane::Bulk).then(|| "bench".to_owned()),
        consent_seq: 0,
        valid_until: now + VALIDITY,
        dispatched_at: now,
        decision_seq: 1,
        idempotency_key: IdempotencyKey::new(format!("bench-{n}")),
        order_id: None,
        created_at: now,
        admitted_at: now,
        deadline: now + VALIDITY,
    }
}

fn schema_id(registry: &str, topic: &str) -> u32 {
    let rest = registry.strip_prefix("http://127.0.0.1:").expect("a registry on loopback");
    let (port, base) = rest.split_once('/').expect("a path");
    let port = port.parse().expect("a port");
    let subject = registry::subject_name(topic);
    let path = format!("/{}/subjects/{subject}/versions/latest", base.trim_end_matches('/'));
    let id = http::get_json(port, &path)["id"].as_u64().expect("an id");
    u32::try_from(id).expect("an id of 32 bits")
}
