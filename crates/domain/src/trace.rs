//! What a record carries besides its content, so that one request can be followed everywhere.

use serde::{Deserialize, Serialize};

/// W3C trace context and our correlation id, as they arrived. Opaque to the stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TraceContext {
    /// Header `traceparent` (W3C Trace Context).
    pub traceparent: Option<String>,
    /// Header `tracestate`.
    pub tracestate: Option<String>,
    /// Header `sendplane-correlation-id`.
    pub correlation_id: Option<String>,
}

/// Header names, all UTF-8 values.
pub mod header {
    /// W3C `traceparent`.
    pub const TRACEPARENT: &str = "traceparent";
    /// W3C `tracestate`.
    pub const TRACESTATE: &str = "tracestate";
    /// Our correlation id.
    pub const CORRELATION_ID: &str = "sendplane-correlation-id";
}
