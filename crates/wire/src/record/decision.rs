//! `Decision`, `schemas/sendplane.decisions.v1/Decision.avsc`.

use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// What ingest or policy decided about one message, with every rule it looked at. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Decision")]
pub struct Decision {
    /// Message id, a version-8 UUID that sorts by creation time.
    pub message_id: MessageId,
    /// Tenant that owns the message; also the record key.
    pub tenant: TenantId,
    /// The caller's key; one key of one tenant gives one message within 30 days.
    pub idempotency_key: IdempotencyKey,
    /// The stage that decided.
    pub stage: DecidingStage,
    /// The decision.
    pub verdict: Verdict,
    /// Stable code of the deciding rule in snake_case; absent when the message is dispatched.
    pub reason: Option<String>,
    /// The reason in words, for people. Not stable, holds no personal data.
    pub detail: Option<String>,
    /// Message that holds the same idempotency key, when the verdict is DUPLICATE.
    pub duplicate_of: Option<MessageId>,
    /// Every rule looked at, in order; the last one is the one that decided.
    pub rules: Vec<RuleResult>,
    /// transactional or bulk.
    pub lane: Option<String>,
    /// Campaign the message belongs to, in the tenant's own naming.
    pub campaign: Option<String>,
    /// Template asked for.
    pub template_name: Option<TemplateName>,
    /// Template language asked for.
    pub template_language: Option<String>,
    /// Version of the template the decision was made with.
    pub template_version: Option<i32>,
    /// Category of the template: authentication, utility or marketing.
    pub category: Option<String>,
    /// Keyed hash of the recipient, hexadecimal; the same recipient of one tenant always gives the
    /// same value.
    pub contact_hash: Option<KeyedHash>,
    /// Meta's id of the business phone number (not the number itself) chosen.
    pub phone_number_id: Option<PhoneNumberId>,
    /// When the message is judged again, if the verdict is DEFER.
    pub next_at: Option<Timestamp>,
    /// When the stage decided.
    pub decided_at: Timestamp,
    /// Counts the decisions of policy about this message, from 1; absent where ingest decided.
    pub decision_seq: Option<i32>,
}

avro_record!(Decision, "sendplane.decisions.v1/Decision.avsc");

/// The stage that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "DecidingStage", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DecidingStage {
    /// A symbol this version does not know.
    Unknown,
    /// The ingest stage.
    Ingest,
    /// The policy stage.
    Policy,
}

/// The decision. REFUSE, DUPLICATE and STALE come from ingest and mean that the message was never
/// admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "Verdict", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// A symbol this version does not know.
    Unknown,
    /// Release it to send.
    Dispatch,
    /// Judge it again at `next_at`.
    Defer,
    /// Drop it: the person must not be written to.
    Suppress,
    /// Drop it and alert: something is wrong on our side.
    Block,
    /// Never admitted: the request is faulty.
    Refuse,
    /// Never admitted: the idempotency key is taken.
    Duplicate,
    /// Never admitted: older than the deduplication horizon.
    Stale,
}

/// One rule and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "RuleResult")]
pub struct RuleResult {
    /// Stable name of the rule in snake_case.
    pub rule: String,
    /// Whether the message passed it.
    pub passed: bool,
    /// What the rule compared, for people; no personal data.
    pub detail: Option<String>,
}
