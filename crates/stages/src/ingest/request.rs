//! The way of a request: attributed, placed, judged, and then admitted or refused.

use sendplane_domain::e164::E164;
use sendplane_domain::id::{IdempotencyKey, MessageId, SourcePosition, TemplateName, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::opaque::HashKey;
use sendplane_domain::shard::ShardKey;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Context, DeadLetter};
use sendplane_wire::record::{
    AdmittedMessage, DecidingStage, Decision, ReroutedHeader, ReroutedRecord, RuleResult,
    SendRequest, Template,
};

use super::idempotency;
use super::rules::{self, Accepted, Facts, Refusal};
use super::{Incoming, Ingest, IngestSettings, Output, REROUTED_BYTES_MAX};
use crate::directory::{Directory, TemplateKey};

/// In bytes.
const TENANT_BYTES_MAX: usize = 256;

/// How a request came here.
pub(super) struct Arrival {
    /// Where its producer put it: part of the message's identity.
    pub source: SourcePosition,
    /// Kafka timestamp there.
    pub timestamp: Timestamp,
    /// Whether another task has sent it on to this one.
    pub moved: bool,
}

/// See [`sendplane_stage_api::Stage::misses_global`].
pub(super) fn misses_global(incoming: &Incoming, directory: &Directory) -> bool {
    let request = &incoming.request;
    if attribute(incoming.key.as_deref(), &request.tenant).is_err() {
        return false;
    }
    let number = request.phone_number_id.as_ref();
    directory.tenant(&request.tenant).is_none()
        || number.is_some_and(|number| directory.number(&request.tenant, number).is_none())
}

/// Applies a request.
pub(super) fn apply(
    settings: &IngestSettings,
    incoming: Incoming,
    arrival: Arrival,
    ctx: &mut Context<'_, '_, Ingest>,
) {
    if let Err(fault) = attribute(incoming.key.as_deref(), &incoming.request.tenant) {
        return ctx.dead_letter(fault.code, fault.detail);
    }
    let tenant = &incoming.request.tenant;
    let owner = ShardKey::of(tenant.clone()).partition(ctx.partitions());
    if owner != ctx.partition() {
        return misplaced(incoming, arrival, owner, ctx);
    }
    let Some(tenant) = ctx.globals().tenant(tenant).cloned() else {
        let detail = format!(
            "tenant {:?} is not in the tenants topic; apply the tenant, then replay the record",
            tenant.as_str()
        );
        return ctx.dead_letter("unknown_tenant", detail);
    };
    let request = &incoming.request;
    let id = MessageId::derive(
        arrival.timestamp,
        &request.tenant,
        &request.idempotency_key,
        &arrival.source,
    );
    let holder = idempotency::holder(request, ctx);
    if holder.as_ref().is_some_and(|holder| holder.message_id == id) {
        // This very record took the key, and what it caused was committed with it.
        return ctx.count("sendplane_ingest_requests_total", "reprocessed");
    }
    let now = ctx.now();
    let facts = Facts { request, tenant: &tenant, holder: holder.as_ref(), now };
    let asked = Asked { id, lane: lane(&incoming, ctx.globals()), category: None };
    match rules::judge(&facts) {
        Ok(accepted) => {
            idempotency::take(request, id, ctx);
            ctx.count("sendplane_ingest_requests_total", "admitted");
            let message = admitted(&settings.hash_key, incoming.request, asked, accepted, now);
            ctx.emit(Output::Admitted(message));
        }
        Err((refusal, results)) => {
            ctx.count("sendplane_ingest_requests_total", refusal.reason);
            let asked = Asked {
                category: template(request, ctx.globals()).map(|row| row.category.clone()),
                ..asked
            };
            let decision =
                refused(&settings.hash_key, incoming.request, asked, refusal, results, now);
            ctx.emit(Output::Decision(decision));
        }
    }
}

/// A tenant to whom an outcome can be reported, or why there is none.
pub(super) fn attribute(key: Option<&[u8]>, tenant: &TenantId) -> Result<(), DeadLetter> {
    let tenant = tenant.as_str();
    if tenant.is_empty() || tenant.len() > TENANT_BYTES_MAX {
        return Err(DeadLetter {
            code: "tenant_invalid",
            detail: format!(
                "tenant has {} bytes, it must have 1 to {TENANT_BYTES_MAX}",
                tenant.len()
            ),
        });
    }
    match key {
        Some(key) if key == tenant.as_bytes() => Ok(()),
        Some(_) => Err(DeadLetter {
            code: "key_mismatch",
            detail: "the record key is not the tenant of the value; produce with the tenant as \
                     key, in plain UTF-8"
                .into(),
        }),
        None => Err(DeadLetter {
            code: "key_mismatch",
            detail: "the record has no key; produce with the tenant as key, in plain UTF-8".into(),
        }),
    }
}

/// Sends a record on to the task that owns its tenant, once.
fn misplaced(incoming: Incoming, arrival: Arrival, owner: i32, ctx: &mut Context<'_, '_, Ingest>) {
    if arrival.moved {
        let detail = format!(
            "the re-routed record belongs to partition {owner} of {} and stands in {}; compare \
             the partition counts of the topics",
            ctx.partitions(),
            ctx.partition()
        );
        return ctx.dead_letter("misrouted", detail);
    }
    let bytes = bytes_of(&incoming);
    if bytes > REROUTED_BYTES_MAX {
        let detail = format!(
            "the record belongs to partition {owner} of {} and stands in {}, and with {bytes} bytes \
             of key, value and headers it is too large to be sent on (at most {REROUTED_BYTES_MAX}); \
             produce it with the murmur2 partitioner, or with smaller headers",
            ctx.partitions(),
            ctx.partition()
        );
        return ctx.dead_letter("misplaced_too_large", detail);
    }
    ctx.count("sendplane_ingest_requests_total", "rerouted");
    let headers = incoming.headers.into_iter();
    let record = ReroutedRecord {
        tenant: incoming.request.tenant,
        source_topic: arrival.source.topic,
        source_partition: arrival.source.partition,
        source_offset: arrival.source.offset,
        source_timestamp: arrival.timestamp,
        key: incoming.key,
        value: incoming.value,
        headers: headers.map(|(name, value)| ReroutedHeader { name, value }).collect(),
    };
    ctx.emit(Output::Rerouted(record));
}

/// What a re-routed record carries of this one; each header costs a few bytes of framing.
fn bytes_of(incoming: &Incoming) -> usize {
    let headers = incoming.headers.iter();
    let headers = headers.map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len) + 16);
    incoming.value.len() + incoming.key.as_ref().map_or(0, Vec::len) + headers.sum::<usize>()
}

/// Down to bulk when the template is marketing, never up: who asks for bulk gets it.
fn lane(incoming: &Incoming, directory: &Directory) -> Lane {
    let marketing = template(&incoming.request, directory)
        .is_some_and(|template| template.category.eq_ignore_ascii_case("marketing"));
    if marketing { Lane::Bulk } else { incoming.lane }
}

fn template<'d>(request: &SendRequest, directory: &'d Directory) -> Option<&'d Template> {
    let SendRequest { tenant, template_name, template_language, .. } = request;
    directory.template(&TemplateKey::new(tenant, template_name, template_language))
}

/// What is known of a message apart from its request.
struct Asked {
    id: MessageId,
    lane: Lane,
    category: Option<String>,
}

fn admitted(
    key: &HashKey,
    request: SendRequest,
    asked: Asked,
    accepted: Accepted,
    now: Timestamp,
) -> AdmittedMessage {
    AdmittedMessage {
        message_id: asked.id,
        tenant: request.tenant,
        idempotency_key: request.idempotency_key,
        lane: asked.lane,
        contact_hash: key.contact(&accepted.recipient),
        recipient: accepted.recipient,
        template_name: request.template_name,
        template_language: request.template_language,
        variables: request.variables,
        campaign: request.campaign,
        phone_number_id: Some(accepted.phone_number_id),
        created_at: request.created_at,
        admitted_at: now,
        deadline: accepted.deadline,
        order_id: request.order_id,
    }
}

fn refused(
    key: &HashKey,
    request: SendRequest,
    asked: Asked,
    refusal: Refusal,
    rules: Vec<RuleResult>,
    now: Timestamp,
) -> Decision {
    let recipient = E164::parse(&request.recipient).ok();
    // What is over its bound is left out: a decision is kept for weeks by every stage after this.
    let within = |text: &str, max: usize| !text.is_empty() && text.chars().count() <= max;
    Decision {
        message_id: asked.id,
        tenant: request.tenant,
        // The one field that cannot be left out: its start is enough to find the caller.
        idempotency_key: IdempotencyKey::new(
            request.idempotency_key.as_str().chars().take(rules::KEY_LEN_MAX).collect::<String>(),
        ),
        stage: DecidingStage::Ingest,
        verdict: refusal.verdict,
        reason: Some(refusal.reason.to_owned()),
        detail: Some(refusal.detail),
        duplicate_of: refusal.duplicate_of,
        rules,
        lane: Some(asked.lane.as_str().to_owned()),
        campaign: request.campaign.filter(|text| within(text, rules::CAMPAIGN_LEN_MAX)),
        template_name: Some(request.template_name)
            .filter(|name: &TemplateName| within(name.as_str(), rules::TEMPLATE_NAME_LEN_MAX)),
        template_language: Some(request.template_language)
            .filter(|text| within(text, rules::LANGUAGE_LEN_MAX)),
        template_version: None,
        category: asked.category,
        contact_hash: recipient.map(|recipient| key.contact(&recipient)),
        phone_number_id: None,
        next_at: None,
        decided_at: now,
        decision_seq: None,
    }
}
