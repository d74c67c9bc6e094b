//! `GatewayStatus`, `schemas/sendplane.gateways.v1/GatewayStatus.avsc`.

use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// How well one webhook gateway has served. Compacted: the newest record per instance counts, a
/// tombstone removes it. Silence of webhooks proves something only over time in which no gateway
/// had a gap. Key: the instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "GatewayStatus")]
pub struct GatewayStatus {
    /// Instance id of the gateway; also the record key.
    pub instance: String,
    /// When this process began to serve.
    pub started_at: Timestamp,
    /// Until when the account of gaps is complete: no request that began before it is still open.
    /// Close to when the record was written, which happens at least every 10 s.
    pub alive_at: Timestamp,
    /// Stopped in good order, after its last answer.
    pub is_stopped: bool,
    /// Gaps of the last 24 h, oldest first; 100 at most, the oldest become one.
    pub gaps: Vec<GatewayGap>,
}

avro_record!(GatewayStatus, "sendplane.gateways.v1/GatewayStatus.avsc");

/// Time in which a webhook may have been turned away or lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "GatewayGap")]
pub struct GatewayGap {
    /// From when webhooks may have been lost.
    pub since: Timestamp,
    /// Until when webhooks may have been lost.
    pub until: Timestamp,
}
