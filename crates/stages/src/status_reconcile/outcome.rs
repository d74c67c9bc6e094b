//! What an outcome row says: a function of the message id and the facts.

use sendplane_domain::id::{CorrelationId, KeyedHash, MessageId};
use sendplane_domain::lane::Category;
use sendplane_domain::lifecycle::{
    AttemptEvent, MessageFacts, MessageState, PriceClass, ProviderMessage, Summary,
};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::TableValue;
use sendplane_stage_api::table::encode_value;
use sendplane_wire::record::{self, Outcome};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The content of the row for these facts: all but `event_id`, `sequence`, `supersedes` and
/// `ingested_at`, which are left blank. `None` while nobody has said whose message it is.
pub fn content(id: MessageId, facts: &MessageFacts) -> Option<Outcome> {
    let summary = facts.summary()?;
    let subject = facts.subject()?;
    let template = subject.template.as_ref();
    Some(Outcome {
        event_id: String::new(),
        message_id: id,
        tenant: subject.tenant.clone(),
        sequence: 0,
        supersedes: None,
        state: wire_state(summary.state),
        is_final: summary.state.is_final(),
        reason: summary.reason.map(str::to_owned),
        detail: detail(facts, &summary),
        correlation_id: subject.trace.correlation_id.as_deref().map(CorrelationId::new),
        idempotency_key: subject.idempotency_key.clone(),
        duplicate_of: summary.duplicate_of,
        lane: Some(subject.lane.as_str().to_owned()),
        campaign: subject.campaign.clone(),
        template_name: template.map(|template| template.name.clone()),
        template_language: template.map(|template| template.language.clone()),
        template_version: template.and_then(|template| template.version).map(int),
        category: subject.category.map(|category| category_text(category).to_owned()),
        price_class: summary.price.map(price_text),
        attempt: int(attempts_started(facts)),
        contact_hash: subject.contact_hash.clone(),
        wamid_hash: wamid_hash(facts, &summary).cloned(),
        phone_number_id: subject.phone_number_id.clone(),
        // Below zero stands our mark of an error without a code.
        error_code: summary
            .error_code
            .filter(|code| *code >= 0)
            .and_then(|code| i32::try_from(code).ok()),
        holdout_arm: summary.holdout_arm.map(str::to_owned),
        next_at: summary.next_at(),
        occurred_at: summary.occurred_at.unwrap_or_else(|| created_at(id)),
        ingested_at: Timestamp::default(),
    })
}

/// Equal exactly for equal content.
pub fn digest(content: &Outcome) -> [u8; 16] {
    truncated(Sha256::digest(encode_value(&Content(content.clone()))).as_slice())
}

/// The row's id, a version-8 UUID: the same whenever the row is made again.
pub fn event_id(id: MessageId, sequence: u32) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"outcome");
    hasher.update(id.as_bytes());
    hasher.update(sequence.to_be_bytes());
    let mut bytes = truncated(hasher.finalize().as_slice());
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    MessageId::from_bytes(bytes).to_string()
}

/// Avro has no unsigned integers. No message has two milliards of anything.
pub fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Stored nowhere; it only borrows the encoding of state values.
#[derive(Serialize, Deserialize)]
struct Content(Outcome);

impl TableValue for Content {}

fn truncated(hash: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes
}

/// The reason in words, and a warning if Meta made more than one message of this one.
fn detail(facts: &MessageFacts, summary: &Summary<'_>) -> Option<String> {
    let made = facts.distinct_wamids();
    let duplicate = (made > 1).then(|| {
        format!("{made} messages at the provider: the recipient may have it {made} times")
    });
    let parts: Vec<String> =
        summary.detail.map(str::to_owned).into_iter().chain(duplicate).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The greatest attempt that was started. An end before a call carries the number of the attempt
/// that would have come next.
fn attempts_started(facts: &MessageFacts) -> u32 {
    let is_started = |event: &AttemptEvent| match event {
        AttemptEvent::Expired | AttemptEvent::Cancelled => false,
        AttemptEvent::Submitting
        | AttemptEvent::NotSent { .. }
        | AttemptEvent::InDoubt { .. }
        | AttemptEvent::GaveUp
        | AttemptEvent::Resending { .. }
        | AttemptEvent::Refused { .. }
        | AttemptEvent::Held { .. }
        | AttemptEvent::Accepted { .. } => true,
    };
    let recorded =
        facts.attempts().iter().filter(|(_, attempt)| is_started(&attempt.event)).map(|(n, _)| *n);
    let reported = facts.provider_messages().values().filter_map(|message| message.attempt);
    recorded.chain(reported).max().unwrap_or(0)
}

/// The wamid of the attempt the row is about. Of several the delivered one.
fn wamid_hash<'a>(facts: &'a MessageFacts, summary: &Summary<'_>) -> Option<&'a KeyedHash> {
    let is_meant = |message: &ProviderMessage| {
        message.attempt.is_none() || summary.attempt.is_none() || message.attempt == summary.attempt
    };
    facts
        .provider_messages()
        .iter()
        .filter(|(_, message)| is_meant(message))
        .max_by_key(|(wamid_hash, message)| {
            let is_delivered = message.delivered_at.is_some()
                || message.read_at.is_some()
                || message.played_at.is_some();
            (is_delivered, message.attempt, *wamid_hash)
        })
        .map(|(wamid_hash, _)| wamid_hash)
}

/// The time in a message id. Stands in where no fact has one.
fn created_at(id: MessageId) -> Timestamp {
    let millis = id.as_bytes()[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte));
    Timestamp::from_millis(millis)
}

fn price_text(price: &PriceClass) -> String {
    match &price.kind {
        Some(kind) => format!("{}/{kind}", price.category),
        None => price.category.clone(),
    }
}

const fn category_text(category: Category) -> &'static str {
    match category {
        Category::Authentication => "authentication",
        Category::Utility => "utility",
        Category::Marketing => "marketing",
        Category::Service => "service",
    }
}

/// The state as the public schema spells it.
pub const fn wire_state(state: MessageState) -> record::MessageState {
    match state {
        MessageState::Queued => record::MessageState::Queued,
        MessageState::Deferred => record::MessageState::Deferred,
        MessageState::Dispatched => record::MessageState::Dispatched,
        MessageState::Submitting => record::MessageState::Submitting,
        MessageState::Held => record::MessageState::Held,
        MessageState::InDoubt => record::MessageState::InDoubt,
        MessageState::Accepted => record::MessageState::Accepted,
        MessageState::Sent => record::MessageState::Sent,
        MessageState::Delivered => record::MessageState::Delivered,
        MessageState::Read => record::MessageState::Read,
        MessageState::Played => record::MessageState::Played,
        MessageState::Failed => record::MessageState::Failed,
        MessageState::Suppressed => record::MessageState::Suppressed,
        MessageState::Blocked => record::MessageState::Blocked,
        MessageState::Expired => record::MessageState::Expired,
        MessageState::Cancelled => record::MessageState::Cancelled,
        MessageState::Rejected => record::MessageState::Rejected,
        MessageState::DeadLettered => record::MessageState::DeadLettered,
        MessageState::OutcomeUnknown => record::MessageState::OutcomeUnknown,
        MessageState::Refused => record::MessageState::Refused,
        MessageState::Duplicate => record::MessageState::Duplicate,
        MessageState::Stale => record::MessageState::Stale,
    }
}
