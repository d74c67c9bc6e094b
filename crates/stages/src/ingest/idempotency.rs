//! Which idempotency keys are taken, and by which message (I2).
//!
//! | owner | key | value | kept |
//! |---|---|---|---|
//! | ingest | tenant, idempotency key | the message that took it | until `expires_at` |
//! | ingest | tenant, order id, message | that the message is of the order | as long as its key |
//!
//! Only an admitted request takes a key: a refused one may be corrected and sent again under it.

use sendplane_domain::id::{IdempotencyKey, MessageId, TenantId};
use sendplane_domain::limits::{CLOCK_SKEW_MAX, DEDUP_HORIZON};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Context, Table, TableValue, TimerKey};
use sendplane_wire::record::SendRequest;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Ingest, Timer};

type Key = (TenantId, IdempotencyKey);

const KEYS: Table<Key, Taken> = Table::new(0x0100, "idempotency_keys");
/// Messages by the order their request named.
const ORDERS: Table<(TenantId, String, MessageId), OfOrder> = Table::new(0x0140, "orders");
const TIMER_KIND: u8 = 1;

/// Who took a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// The message.
    pub message_id: MessageId,
    /// What it asked for, see [`content_hash`].
    pub content_hash: [u8; 32],
    /// When the key was taken.
    pub first_seen_at: Timestamp,
    /// The first request's own time.
    pub created_at: Timestamp,
    /// From then on the key is free.
    pub expires_at: Timestamp,
    /// The order its request named.
    pub order_id: Option<String>,
}

impl TableValue for Taken {}

/// An entry that says everything in its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OfOrder;

impl TableValue for OfOrder {}

/// Who holds the request's key now.
pub(super) fn holder(request: &SendRequest, ctx: &mut Context<'_, '_, Ingest>) -> Option<Taken> {
    let now = ctx.now();
    // At most so many timers fire in a cycle: an expired row may still stand.
    ctx.get(&KEYS, &key_of(request)).filter(|taken| now < taken.expires_at)
}

/// The message that was admitted under a key.
pub(super) fn message_of(
    tenant: &TenantId,
    key: &IdempotencyKey,
    ctx: &mut Context<'_, '_, Ingest>,
) -> Option<MessageId> {
    let now = ctx.now();
    let taken = ctx.get(&KEYS, &(tenant.clone(), key.clone()))?;
    (now < taken.expires_at).then_some(taken.message_id)
}

/// The admitted messages of an order, `max` of them at most.
pub(super) fn messages_of_order(
    tenant: &TenantId,
    order_id: &str,
    max: usize,
    ctx: &mut Context<'_, '_, Ingest>,
) -> Vec<MessageId> {
    let entries = ctx.scan(&ORDERS, &(tenant.clone(), order_id.to_owned()), max);
    entries.into_iter().map(|((_, _, message_id), OfOrder)| message_id).collect()
}

/// Gives the request's key to `message_id`.
pub(super) fn take(
    request: &SendRequest,
    message_id: MessageId,
    ctx: &mut Context<'_, '_, Ingest>,
) {
    let first_seen_at = ctx.now();
    // A copy of this request passes for fresh until its created_at is a horizon ago, and a caller's
    // clock may be ahead of ours: the key must outlive both.
    let expires_at = first_seen_at.max(request.created_at) + DEDUP_HORIZON + CLOCK_SKEW_MAX;
    let taken = Taken {
        message_id,
        content_hash: content_hash(request),
        first_seen_at,
        created_at: request.created_at,
        expires_at,
        order_id: request.order_id.clone(),
    };
    let key = key_of(request);
    // Expired, and its timer has not fired yet.
    if let Some(former) = ctx.get(&KEYS, &key) {
        leave_order(&key.0, &former, ctx);
    }
    if let Some(order_id) = &request.order_id {
        ctx.put(&ORDERS, &(key.0.clone(), order_id.clone(), message_id), &OfOrder);
    }
    ctx.put(&KEYS, &key, &taken);
    let timer_key = TimerKey::new(TIMER_KIND, &key);
    ctx.schedule(timer_key, expires_at, &Timer::KeyExpires(key.0, key.1));
}

/// Forgets a key that is free.
pub(super) fn expire(tenant: TenantId, key: IdempotencyKey, ctx: &mut Context<'_, '_, Ingest>) {
    let key = (tenant, key);
    if let Some(taken) = ctx.get(&KEYS, &key).filter(|taken| taken.expires_at <= ctx.now()) {
        leave_order(&key.0, &taken, ctx);
        ctx.delete(&KEYS, &key);
    }
}

fn leave_order(tenant: &TenantId, taken: &Taken, ctx: &mut Context<'_, '_, Ingest>) {
    if let Some(order_id) = &taken.order_id {
        ctx.delete(&ORDERS, &(tenant.clone(), order_id.clone(), taken.message_id));
    }
}

fn key_of(request: &SendRequest) -> Key {
    (request.tenant.clone(), request.idempotency_key.clone())
}

/// SHA-256 of everything that makes two requests the same. Not part of it: trace, correlation and
/// `created_at`, which differ between the attempts of one caller.
pub(super) fn content_hash(request: &SendRequest) -> [u8; 32] {
    // Named one by one, so that a new field of the request must be decided on here.
    let SendRequest {
        tenant,
        idempotency_key,
        created_at: _,
        recipient,
        template_name,
        template_language,
        variables,
        campaign,
        deadline,
        phone_number_id,
        order_id,
    } = request;
    let mut hasher = Sha256::new();
    // Lengths keep neighbouring fields apart, as do the marks of absent ones.
    let mut text = |text: &str| {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    };
    text(tenant.as_str());
    text(idempotency_key.as_str());
    text(recipient);
    text(template_name.as_str());
    text(template_language);
    text(&variables.len().to_string());
    for (name, value) in variables {
        text(name);
        text(value);
    }
    let deadline = deadline.map(|deadline| deadline.as_millis().to_string());
    for option in
        [campaign.as_deref(), deadline.as_deref(), phone_number_id.as_ref().map(|id| id.as_str())]
    {
        text(if option.is_some() { "some" } else { "none" });
        text(option.unwrap_or_default());
    }
    // Absent, it leaves no mark: keys taken before the field existed stay comparable.
    if let Some(order_id) = order_id {
        text(order_id);
    }
    hasher.finalize().into()
}
