//! The ids under which the registry knows our schemas, and where foreign schemas come from.

use std::collections::HashMap;
use std::sync::Arc;

use sendplane_stage_api::{DeadLetter, Encoded, Undecoded};
use sendplane_wire::codec::{
    AvroRecord, DecodeError, Decoder, Encoder, SchemaSource, StaticSchemas,
};
use sendplane_wire::registry;

/// Everything needed to make encoders and decoders.
#[derive(Clone)]
pub struct Schemas {
    ids: HashMap<&'static str, u32>,
    source: Arc<dyn SchemaSource>,
}

impl Schemas {
    /// `ids` by topic, as looked up at the start: every topic of [`registry::SUBJECTS`].
    pub fn new(ids: HashMap<&'static str, u32>, source: Arc<dyn SchemaSource>) -> Self {
        Self { ids, source }
    }

    /// Without a registry: for the driver and the simulator.
    pub fn fixed() -> Self {
        let fixed = StaticSchemas::new();
        let ids = registry::SUBJECTS
            .iter()
            .filter_map(|subject| Some((subject.topic, fixed.id(subject.topic)?)))
            .collect();
        Self { ids, source: Arc::new(fixed) }
    }

    /// An encoder for `topic`.
    pub fn encoder<R: AvroRecord>(&self, topic: &'static str) -> Encoder<R> {
        let id = self.ids.get(topic).copied();
        Encoder::new(topic, id.expect("ids of all topics are looked up before a codec is made"))
    }

    /// A decoder for `topic`.
    pub fn decoder<R: AvroRecord>(&self, topic: &'static str) -> Decoder<R> {
        Decoder::new(topic, self.ids.get(topic).copied(), self.source.clone())
    }
}

/// A decoding fault as the host understands it.
pub(crate) fn undecoded(fault: DecodeError) -> Undecoded {
    if fault.is_retryable() {
        Undecoded::Later(fault.to_string())
    } else {
        Undecoded::Reject(DeadLetter { code: fault.code(), detail: fault.to_string() })
    }
}

/// A topic that is not an input of the stage: a bug of the host, made visible.
pub(crate) fn unexpected_topic(topic: &str) -> Undecoded {
    Undecoded::Reject(DeadLetter {
        code: "unexpected_topic",
        detail: format!("{topic} is not an input of this stage"),
    })
}

/// Encodes `record` for the tenant `key`.
pub(crate) fn encoded<R: AvroRecord>(
    encoder: &Encoder<R>,
    key: &str,
    record: &R,
) -> Result<Encoded, String> {
    let value = encoder.encode(record).map_err(|error| error.to_string())?;
    Ok(Encoded {
        topic: encoder.topic(),
        key: key.to_owned(),
        partition_key: key.to_owned(),
        value,
        headers: Vec::new(),
    })
}
