//! The way of a webhook: each status on its own, so that a bad one costs the others nothing.
//!
//! | owner | key | value | kept |
//! |---|---|---|---|
//! | ingest | SHA-256 of a body | nothing | [`BODY_MEMORY`] |
//!
//! Meta repeats bodies for seven days. The memory only spares work: a receipt that comes twice
//! changes nothing (I10). It holds bodies that were used whole; what was dead-lettered can be
//! replayed once its cause is mended.

use std::time::Duration;

use sendplane_domain::id::{MessageId, PhoneNumberId, TenantId};
use sendplane_domain::opaque::{Foreign, OpaqueData};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Context, Table, TableKey, TableValue, TimerKey};
use sendplane_wire::record::{Feedback, Receipt, WebhookBody};
use sendplane_wire::webhook::{BodyFault, Item, Malformed, Status};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Ingest, IngestSettings, Output, Timer, notice, path};
use crate::directory::Directory;

/// Meta repeats for 7 days; one more for what waited in the log.
pub const BODY_MEMORY: Duration = Duration::from_secs(8 * 24 * 3600);

const BODIES: Table<BodyDigest, Seen> = Table::new(0x0101, "webhook_bodies");
const TIMER_KIND: u8 = 2;

const BODIES_TOTAL: &str = "sendplane_ingest_webhooks_total";
const ITEMS_TOTAL: &str = "sendplane_ingest_webhook_items_total";

/// A webhook and what it says. Parsed once, outside the handler, which is asked about it twice.
#[derive(Debug)]
pub struct Webhook {
    body: WebhookBody,
    /// The record key: the account that decides the partition.
    key: Option<String>,
    items: Result<Vec<Item>, BodyFault>,
}

/// SHA-256 of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyDigest([u8; 32]);

impl TableKey for BodyDigest {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(Self(*head))
    }
}

#[derive(Serialize, Deserialize)]
struct Seen {
    expires_at: Timestamp,
}

impl TableValue for Seen {}

impl Webhook {
    /// Parses `body`, which stands under the record key `key`.
    pub fn new(body: WebhookBody, key: Option<String>) -> Self {
        let items = sendplane_wire::webhook::parse(&body.body);
        Self { body, key, items }
    }

    /// See [`sendplane_stage_api::Stage::misses_global`].
    pub(super) fn misses_global(&self, directory: &Directory) -> bool {
        self.items.iter().flatten().filter_map(number_of).any(|n| directory.owner_of(n).is_none())
    }
}

/// The number an item is about, if that decides whose it is.
fn number_of(item: &Item) -> Option<&PhoneNumberId> {
    match item {
        Item::Status(status) => Some(&status.phone_number_id),
        Item::InboundMessage(message) => Some(&message.phone_number_id),
        Item::Notice(_) | Item::Malformed(_) => None,
    }
}

/// Applies a webhook.
pub(super) fn apply(
    settings: &IngestSettings,
    webhook: Webhook,
    ctx: &mut Context<'_, '_, Ingest>,
) {
    let received_at = webhook.body.received_at;
    let items = match webhook.items {
        Ok(items) => items,
        Err(fault) => {
            // A body of another product of Meta's says nothing about messages.
            if !matches!(fault, BodyFault::ForeignObject(_)) {
                path::broken_for_all(ctx, received_at);
            }
            return ctx.dead_letter(fault.code(), fault.to_string());
        }
    };
    let digest = BodyDigest(Sha256::digest(&webhook.body.body).into());
    let now = ctx.now();
    if ctx.get(&BODIES, &digest).is_some_and(|seen| now < seen.expires_at) {
        return ctx.count(BODIES_TOTAL, "repeated");
    }
    ctx.count(BODIES_TOTAL, "new");
    path::judge(settings, &items, received_at, ctx);
    let mut tally = Tally::default();
    let arrival = Arrival { received_at, key: webhook.key.as_deref() };
    for item in items {
        take(settings, item, arrival, &mut tally, ctx);
    }
    match tally.fault() {
        Some((code, detail)) => ctx.dead_letter(code, detail),
        None => {
            let expires_at = now + BODY_MEMORY;
            ctx.put(&BODIES, &digest, &Seen { expires_at });
            let timer_key = TimerKey::new(TIMER_KIND, &digest);
            ctx.schedule(timer_key, expires_at, &Timer::BodyExpires(digest));
        }
    }
}

/// Forgets a body.
pub(super) fn expire(digest: BodyDigest, ctx: &mut Context<'_, '_, Ingest>) {
    if ctx.get(&BODIES, &digest).is_some_and(|seen| seen.expires_at <= ctx.now()) {
        ctx.delete(&BODIES, &digest);
    }
}

/// When and under which key a body came.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    received_at: Timestamp,
    key: Option<&'a str>,
}

/// What a body's items were, as far as it decides what becomes of the body.
#[derive(Default)]
struct Tally {
    ours: usize,
    foreign: Vec<PhoneNumberId>,
    malformed: Vec<Malformed>,
}

impl Tally {
    /// Why the body must be kept for a person.
    fn fault(&self) -> Option<(&'static str, String)> {
        if let (0, Some(number)) = (self.ours, self.foreign.first()) {
            let detail = format!(
                "phone_number_id {:?} and all others in the body belong to no tenant; apply the \
                 tenant with its numbers and replay the record, or unsubscribe the app",
                number.as_str()
            );
            return Some(("unknown_phone_number", detail));
        }
        let first = self.malformed.first()?;
        let detail = format!(
            "{} of the body's items cannot be used, the first at {}: {}; the others were used",
            self.malformed.len(),
            first.pointer,
            first.reason
        );
        Some(("webhook_malformed_items", detail))
    }
}

fn take(
    settings: &IngestSettings,
    item: Item,
    arrival: Arrival<'_>,
    tally: &mut Tally,
    ctx: &mut Context<'_, '_, Ingest>,
) {
    let owner = number_of(&item).map(|number| ctx.globals().owner_of(number).cloned());
    match (item, owner) {
        (Item::Status(status), Some(Some(tenant))) => {
            tally.ours += 1;
            ctx.count(ITEMS_TOTAL, "status");
            take_status(settings, *status, tenant, arrival, ctx);
        }
        // Counted only: the topic of webhooks keeps the body itself.
        (Item::InboundMessage(_), Some(Some(_))) => {
            tally.ours += 1;
            ctx.count(ITEMS_TOTAL, "inbound");
        }
        (Item::Status(status), _) => {
            tally.foreign.push(status.phone_number_id);
            ctx.count(ITEMS_TOTAL, "foreign");
        }
        (Item::InboundMessage(message), _) => {
            tally.foreign.push(message.phone_number_id);
            ctx.count(ITEMS_TOTAL, "foreign");
        }
        // A notice that concerns nobody yet is no fault: the topic of webhooks keeps it.
        (Item::Notice(item), _) => {
            tally.ours += 1;
            let is_anybodys = notice::take(&item, arrival.received_at, ctx);
            ctx.count(ITEMS_TOTAL, if is_anybodys { "notice" } else { "notice_of_nobody" });
        }
        (Item::Malformed(malformed), _) => {
            ctx.count(ITEMS_TOTAL, malformed.reason);
            tally.malformed.push(malformed);
        }
    }
}

fn take_status(
    settings: &IngestSettings,
    status: Status,
    tenant: TenantId,
    Arrival { received_at, key }: Arrival<'_>,
    ctx: &mut Context<'_, '_, Ingest>,
) {
    let message = match status.opaque.as_deref() {
        None => None,
        Some(text) => match authenticated(settings, text, &tenant) {
            Ok(message) => Some(message),
            Err(label) => {
                ctx.count(ITEMS_TOTAL, label);
                None
            }
        },
    };
    let wamid_hash = settings.hash_key.hash("wamid", status.wamid.as_str());
    let occurred_at = status.occurred_at.unwrap_or(received_at);
    let path_whole_since = match message {
        Some(_) => path::whole_since(&status, key, ctx),
        None => None,
    };
    let error = status.error.unwrap_or_default();
    // The send stage waits for it, so it goes first.
    if let Some((message_id, attempt)) = message {
        ctx.emit(Output::Feedback(Feedback {
            tenant: tenant.clone(),
            message_id,
            attempt,
            phone_number_id: status.phone_number_id.clone(),
            wamid_hash: wamid_hash.clone(),
            status: status.status,
            error_code: error.code,
            occurred_at,
            received_at,
            waba_id: status.waba_id.clone(),
            path_whole_since,
        }));
    }
    let pricing = status.pricing.unwrap_or_default();
    ctx.emit(Output::Receipt(Receipt {
        tenant,
        waba_id: status.waba_id,
        phone_number_id: status.phone_number_id,
        message_id: message.map(|(message_id, _)| message_id),
        attempt: message.map(|(_, attempt)| attempt),
        wamid_hash,
        status: status.status,
        status_text: status.status_text,
        occurred_at,
        received_at,
        error_code: error.code,
        error_title: error.title,
        error_details: error.details,
        price_category: pricing.category,
        price_type: pricing.r#type,
        billable: pricing.billable,
    }));
}

/// The message and attempt that `text` names with our authority, for a number of `tenant`; else
/// what to count.
fn authenticated(
    settings: &IngestSettings,
    text: &str,
    tenant: &TenantId,
) -> Result<(MessageId, i32), &'static str> {
    let data = OpaqueData::decode(text, &settings.hash_key).map_err(|foreign| match foreign {
        Foreign::Form => "opaque_foreign_form",
        Foreign::Mac => "opaque_foreign_mac",
    })?;
    // A number that changed hands: its messages of before are not the new owner's.
    if data.shard.tenant != *tenant {
        return Err("opaque_other_tenant");
    }
    let attempt = i32::try_from(data.attempt).map_err(|_| "opaque_foreign_form")?;
    Ok((data.message_id, attempt))
}
