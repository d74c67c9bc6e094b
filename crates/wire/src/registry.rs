//! What the schema registry has to hold: one subject per topic with records, `<topic>-value`.
//!
//! Deployment registers these; services look the ids up at start and never register.

use crate::record::{
    AdmittedMessage, Attempt, AvroRecord, CancelAnswer, CancelRequest, Cancellation, ConsentChange,
    Decision, Dispatch, Feedback, GatewayStatus, Notice, Outcome, Receipt, Replan, ReroutedRecord,
    SendRequest, Suppression, Switch, Template, Tenant, WebhookBody,
};
use crate::topic;

/// A subject's compatibility level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compatibility {
    /// New readers read all old records. For topics whose readers we deploy first.
    BackwardTransitive,
    /// Old readers read new records as well. For topics with readers we do not know.
    FullTransitive,
}

impl Compatibility {
    /// As the registry writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Compatibility::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Compatibility::FullTransitive => "FULL_TRANSITIVE",
        }
    }
}

/// One subject to register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The topic whose values it describes.
    pub topic: &'static str,
    /// Name of the record.
    pub record: &'static str,
    /// The schema, as in `schemas/`.
    pub schema_json: &'static str,
    /// How it may change.
    pub compatibility: Compatibility,
}

impl Subject {
    const fn of<R: AvroRecord>(topic: &'static str) -> Self {
        Self {
            topic,
            record: R::NAME,
            schema_json: R::SCHEMA_JSON,
            compatibility: Compatibility::BackwardTransitive,
        }
    }

    const fn public(self) -> Self {
        Self { compatibility: Compatibility::FullTransitive, ..self }
    }

    /// The subject's name: Confluent's TopicNameStrategy.
    pub fn name(&self) -> String {
        subject_name(self.topic)
    }
}

/// The subject of a topic's values.
pub fn subject_name(topic: &str) -> String {
    format!("{topic}-value")
}

/// Every subject.
pub const SUBJECTS: &[Subject] = &[
    Subject::of::<SendRequest>(topic::REQUESTS_TRANSACTIONAL),
    Subject::of::<SendRequest>(topic::REQUESTS_BULK),
    Subject::of::<ConsentChange>(topic::CONSENT),
    Subject::of::<WebhookBody>(topic::WEBHOOKS),
    Subject::of::<ReroutedRecord>(topic::REROUTED),
    Subject::of::<AdmittedMessage>(topic::ADMITTED_TRANSACTIONAL),
    Subject::of::<AdmittedMessage>(topic::ADMITTED_BULK),
    Subject::of::<Receipt>(topic::RECEIPTS),
    Subject::of::<Feedback>(topic::FEEDBACK),
    Subject::of::<Decision>(topic::DECISIONS),
    Subject::of::<Dispatch>(topic::DISPATCH_TRANSACTIONAL),
    Subject::of::<Dispatch>(topic::DISPATCH_BULK),
    Subject::of::<Attempt>(topic::ATTEMPTS),
    Subject::of::<Outcome>(topic::OUTCOMES).public(),
    Subject::of::<Suppression>(topic::SUPPRESSIONS),
    Subject::of::<Replan>(topic::POLICY_FEEDBACK),
    Subject::of::<Notice>(topic::NOTICES),
    Subject::of::<CancelRequest>(topic::CANCELS),
    Subject::of::<Cancellation>(topic::CANCELLATIONS),
    Subject::of::<CancelAnswer>(topic::CANCEL_ANSWERS),
    Subject::of::<Tenant>(topic::TENANTS),
    Subject::of::<Template>(topic::TEMPLATES),
    Subject::of::<Switch>(topic::CONTROL),
    Subject::of::<GatewayStatus>(topic::GATEWAYS),
];

#[cfg(test)]
mod tests;
