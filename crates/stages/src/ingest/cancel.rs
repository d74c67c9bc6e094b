//! The way of a cancel: which messages does it name?
//!
//! ```text
//! cancel ─▶ key = tenant? ─▶ here? ─▶ names one way? ─▶ found? ─▶ cancellation for each, to send
//!              │no            │no        │no              │no
//!              ▼              ▼          ▼                ▼
//!          dead letter    dead letter  answer: invalid  answer: not found
//! ```
//!
//! A message id is passed on as it is: send knows whose it is. Requests and cancels are different
//! topics, so a cancel may overtake the request it is about: then nothing is found, and the answer
//! says so.

use sendplane_domain::id::{IdempotencyKey, MessageId, TenantId};
use sendplane_domain::shard::ShardKey;
use sendplane_stage_api::{Context, DeadLetter};
use sendplane_wire::record::{CancelAnswer, CancelRequest, CancelResult, Cancellation};

use super::{Ingest, Output, idempotency, request};

/// In characters; longer ones, and none, could not be found in the answers.
const CANCEL_ID_LEN_MAX: usize = 256;

/// Messages of an order that one cancel withdraws: its outputs have to fit a transaction.
const ORDER_MESSAGES_MAX: usize = 1_000;

const CANCELS_TOTAL: &str = "sendplane_ingest_cancels_total";

const OVERTAKEN: &str = "requests and cancels are different topics: if the request was produced \
                         just before, cancel once more";

/// What a cancel names.
enum Named<'r> {
    Message(MessageId),
    Key(&'r IdempotencyKey),
    Order(&'r str),
}

/// Resolves a cancel to its messages.
pub(super) fn apply(key: Option<&[u8]>, request: CancelRequest, ctx: &mut Context<'_, '_, Ingest>) {
    if let Err(fault) = attribute(key, &request, ctx) {
        ctx.count(CANCELS_TOTAL, fault.code);
        return ctx.dead_letter(fault.code, fault.detail);
    }
    match messages(&request, ctx) {
        Ok(found) => {
            ctx.count(CANCELS_TOTAL, "resolved");
            let messages = i32::try_from(found.len()).unwrap_or(i32::MAX);
            for message_id in found {
                ctx.emit(Output::Cancellation(Cancellation {
                    cancel_id: request.cancel_id.clone(),
                    tenant: request.tenant.clone(),
                    message_id,
                    reason: request.reason.clone(),
                    requested_by: request.requested_by.clone(),
                    requested_at: request.requested_at,
                    messages,
                }));
            }
        }
        Err((result, detail)) => {
            let is_invalid = result == CancelResult::Invalid;
            ctx.count(CANCELS_TOTAL, if is_invalid { "invalid" } else { "not_found" });
            ctx.emit(Output::CancelAnswer(CancelAnswer {
                cancel_id: request.cancel_id,
                tenant: request.tenant,
                message_id: None,
                result,
                state: None,
                detail: Some(detail),
                answered_at: ctx.now(),
                messages: 0,
            }));
        }
    }
}

/// Somebody who can be answered, here; or why not.
fn attribute(
    key: Option<&[u8]>,
    request: &CancelRequest,
    ctx: &Context<'_, '_, Ingest>,
) -> Result<(), DeadLetter> {
    request::attribute(key, &request.tenant)?;
    let owner = ShardKey::of(request.tenant.clone()).partition(ctx.partitions());
    if owner != ctx.partition() {
        return Err(DeadLetter {
            code: "misplaced",
            detail: format!(
                "the cancel belongs to partition {owner} of {} and stands in {}; produce it with \
                 the tenant as key and the murmur2 partitioner",
                ctx.partitions(),
                ctx.partition()
            ),
        });
    }
    let length = request.cancel_id.chars().count();
    if length == 0 || length > CANCEL_ID_LEN_MAX {
        return Err(DeadLetter {
            code: "cancel_id_invalid",
            detail: format!(
                "cancel_id has {length} characters, it must have 1 to {CANCEL_ID_LEN_MAX}: the \
                 answers are found by it"
            ),
        });
    }
    Ok(())
}

fn messages(
    request: &CancelRequest,
    ctx: &mut Context<'_, '_, Ingest>,
) -> Result<Vec<MessageId>, (CancelResult, String)> {
    match named(request).map_err(|detail| (CancelResult::Invalid, detail))? {
        Named::Message(message_id) => Ok(vec![message_id]),
        Named::Key(key) => match idempotency::message_of(&request.tenant, key, ctx) {
            Some(message_id) => Ok(vec![message_id]),
            None => Err(not_found("idempotency_key: the tenant has no admitted request under it")),
        },
        Named::Order(order_id) => order(&request.tenant, order_id, ctx),
    }
}

fn order(
    tenant: &TenantId,
    order_id: &str,
    ctx: &mut Context<'_, '_, Ingest>,
) -> Result<Vec<MessageId>, (CancelResult, String)> {
    let found = idempotency::messages_of_order(tenant, order_id, ORDER_MESSAGES_MAX + 1, ctx);
    if found.is_empty() {
        return Err(not_found("order_id: the tenant has no admitted request of it"));
    }
    if found.len() > ORDER_MESSAGES_MAX {
        let detail = format!(
            "order_id: more than {ORDER_MESSAGES_MAX} messages are of it; cancel them by \
             message_id, or pause their campaign"
        );
        return Err((CancelResult::Invalid, detail));
    }
    Ok(found)
}

fn not_found(what: &str) -> (CancelResult, String) {
    (CancelResult::NotFound, format!("{what}, or it is older than 30 days; {OVERTAKEN}"))
}

/// The one way in which the message is named.
fn named(request: &CancelRequest) -> Result<Named<'_>, String> {
    match (request.message_id, &request.idempotency_key, request.order_id.as_deref()) {
        (Some(message_id), None, None) => Ok(Named::Message(message_id)),
        (None, Some(key), None) => Ok(Named::Key(key)),
        (None, None, Some(order_id)) => Ok(Named::Order(order_id)),
        (None, None, None) => Err("message_id, idempotency_key and order_id are all absent; set \
                                   the one that names the message"
            .to_owned()),
        _ => Err("of message_id, idempotency_key and order_id more than one is set; set the one \
                  that names the message"
            .to_owned()),
    }
}
