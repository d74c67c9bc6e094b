//! Where schemas of other writers come from.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;

use super::{AvroRecord, Decoder, Encoder};
use crate::registry;

/// Why a schema is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// The registry answered: no such id.
    #[error("no schema has id {0}")]
    UnknownId(u32),
    /// The registry did not answer. Try again.
    #[error("schema registry cannot be reached: {0}")]
    Unavailable(String),
}

/// Finds the schema a value was written with.
pub trait SchemaSource: Send + Sync {
    /// The parsed schema of `id`. Implementations cache: decoders ask once per id and type, but
    /// there are many decoders.
    fn writer_schema(&self, id: u32) -> Result<Arc<Schema>, SchemaFault>;
}

/// All of our schemas under fixed ids, without a registry: for tests, the driver and the simulator.
///
/// Like a registry it gives equal schemas equal ids, so two lanes of a dataset share one.
#[derive(Clone, Debug, Default)]
pub struct StaticSchemas {
    by_id: HashMap<u32, Arc<Schema>>,
    by_topic: HashMap<&'static str, u32>,
}

impl StaticSchemas {
    /// Every subject of [`registry::SUBJECTS`], ids from 1.
    pub fn new() -> Self {
        let mut schemas = Self::default();
        let mut ids: HashMap<&'static str, u32> = HashMap::new();
        for subject in registry::SUBJECTS {
            let id = *ids.entry(subject.schema_json).or_insert_with(|| {
                let schema = Schema::parse_str(subject.schema_json)
                    .expect("a compiled-in schema is valid, a test parses each of them");
                schemas.insert(schema)
            });
            schemas.by_topic.insert(subject.topic, id);
        }
        schemas
    }

    /// Adds a foreign writer's schema and returns its id.
    pub fn insert(&mut self, schema: Schema) -> u32 {
        let id = self.by_id.len() as u32 + 1;
        self.by_id.insert(id, Arc::new(schema));
        id
    }

    /// Id of our schema for `topic`.
    pub fn id(&self, topic: &str) -> Option<u32> {
        self.by_topic.get(topic).copied()
    }

    /// An encoder for `topic`, which must be one of [`registry::SUBJECTS`].
    pub fn encoder<R: AvroRecord>(&self, topic: &'static str) -> Encoder<R> {
        Encoder::new(topic, self.id(topic).expect("the caller names a topic that has a schema"))
    }

    /// A decoder for `topic`.
    pub fn decoder<R: AvroRecord>(&self, topic: &'static str) -> Decoder<R> {
        Decoder::new(topic, self.id(topic), Arc::new(self.clone()))
    }
}

impl SchemaSource for StaticSchemas {
    fn writer_schema(&self, id: u32) -> Result<Arc<Schema>, SchemaFault> {
        self.by_id.get(&id).cloned().ok_or(SchemaFault::UnknownId(id))
    }
}
