//! `ReroutedRecord`, `schemas/sendplane.rerouted.v1/ReroutedRecord.avsc`.

use sendplane_domain::id::TenantId;
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// An input record that its producer put on the wrong partition, forwarded to the owner of its
/// tenant. Written and read by ingest only. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "ReroutedRecord")]
pub struct ReroutedRecord {
    /// Tenant found in the value; also the record key.
    pub tenant: TenantId,
    /// Topic the record was first written to.
    pub source_topic: String,
    /// Partition it was first written to.
    pub source_partition: i32,
    /// Offset there. Topic, partition and offset stay part of the message's identity.
    pub source_offset: i64,
    /// Kafka timestamp of the source record.
    pub source_timestamp: Timestamp,
    /// Key of the source record, byte for byte.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub key: Option<Vec<u8>>,
    /// Value of the source record, byte for byte, with its schema framing.
    #[serde(with = "apache_avro::serde::bytes")]
    pub value: Vec<u8>,
    /// Headers of the source record in their order; names may repeat.
    pub headers: Vec<ReroutedHeader>,
}

avro_record!(ReroutedRecord, "sendplane.rerouted.v1/ReroutedRecord.avsc");

/// One header of the source record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "ReroutedHeader")]
pub struct ReroutedHeader {
    /// Header name.
    pub name: String,
    /// Header value, byte for byte.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub value: Option<Vec<u8>>,
}
