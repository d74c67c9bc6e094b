//! The records on the topics. One file per record; `schemas/<topic>/<Record>.avsc` is the contract.
//!
//! A struct never leads its schema: the tests write every record with the compiled-in schema and
//! read it back on both paths of [`crate::codec`]. `i32` is Avro `int`, because the reader of
//! apache-avro accepts unsigned types for `long` only.

mod admitted_message;
mod attempt;
mod cancel_answer;
mod cancel_request;
mod cancellation;
mod consent_change;
mod decision;
mod dispatch;
mod feedback;
mod gateway_status;
mod notice;
mod outcome;
mod receipt;
mod replan;
mod rerouted_record;
mod send_request;
mod suppression;
mod switch;
mod template;
mod tenant;
mod webhook_body;

use apache_avro::Schema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use admitted_message::AdmittedMessage;
pub use attempt::{Attempt, AttemptEvent, Disposition};
pub use cancel_answer::{CancelAnswer, CancelResult};
pub use cancel_request::CancelRequest;
pub use cancellation::Cancellation;
pub use consent_change::{ConsentChange, ConsentScope, ConsentState};
pub use decision::{DecidingStage, Decision, RuleResult, Verdict};
pub use dispatch::{Dispatch, TemplateParameter};
pub use feedback::Feedback;
pub use gateway_status::{GatewayGap, GatewayStatus};
pub use notice::{Notice, NoticeKind};
pub use outcome::{MessageState, Outcome};
pub use receipt::{Receipt, ReceiptStatus};
pub use replan::Replan;
pub use rerouted_record::{ReroutedHeader, ReroutedRecord};
pub use send_request::SendRequest;
pub use suppression::Suppression;
pub use switch::Switch;
pub use template::{ParameterFormat, Template};
pub use tenant::{Tenant, TenantPhoneNumber, TenantPrice, TenantRetries};
pub use webhook_body::{WebhookBody, WebhookSecret};

/// Namespace of every record; its last part is the major version.
pub const NAMESPACE: &str = "io.sendplane.v1";

/// A record with its schema compiled in.
pub trait AvroRecord: Serialize + DeserializeOwned + 'static {
    /// Name of the record in its schema, without [`NAMESPACE`].
    const NAME: &'static str;
    /// The `.avsc` file, as it is registered.
    const SCHEMA_JSON: &'static str;

    /// The schema, parsed once per process.
    fn schema() -> &'static Schema;
}

/// Binds a struct to its file under `schemas/`.
macro_rules! avro_record {
    ($record:ident, $file:literal) => {
        impl crate::record::AvroRecord for $record {
            const NAME: &'static str = stringify!($record);
            const SCHEMA_JSON: &'static str =
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/", $file));

            fn schema() -> &'static apache_avro::Schema {
                static SCHEMA: std::sync::LazyLock<apache_avro::Schema> =
                    std::sync::LazyLock::new(|| {
                        apache_avro::Schema::parse_str($record::SCHEMA_JSON)
                            .expect("a compiled-in schema is valid, a test parses each of them")
                    });
                &SCHEMA
            }
        }
    };
}
use avro_record;

/// A lane as its name. The domain's enum is not an Avro enum: lanes are part of topic names.
mod lane_text {
    use sendplane_domain::lane::Lane;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(lane: &Lane, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(lane.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lane, D::Error> {
        let text = String::deserialize(deserializer)?;
        [Lane::Transactional, Lane::Bulk]
            .into_iter()
            .find(|lane| lane.as_str() == text)
            .ok_or_else(|| de::Error::custom("lane is neither transactional nor bulk"))
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
