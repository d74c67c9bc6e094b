//! One request: most are sound, some are not.

use std::time::Duration;

use sendplane_domain::id::{IdempotencyKey, PhoneNumberId, TemplateName, TenantId};
use sendplane_provider_model::magic;
use sendplane_wire::record::SendRequest;
use sendplane_wire::topic;

use super::account::{
    LATE_TENANT, PAUSED, TEMPLATES, has_second_number, second_number_id, tenant_name,
};
use super::{Upstream, home, variables};
use crate::process::hosted::SCHEMAS;
use crate::rng::Rng;
use crate::shape::Shape;
use crate::time::{Micros, seconds, true_wall};

/// A request, which is also remembered in `asked`.
pub(super) fn draw(
    rng: &mut Rng,
    shape: &Shape,
    at: Micros,
    number: usize,
    asked: &mut Vec<SendRequest>,
) -> Upstream {
    let mut request = fresh(rng, shape, at, number);
    share(shape, &mut request, number);
    if rng.chance(90) && !asked.is_empty() {
        request = repeat(rng, asked, at);
    }
    let is_marketing = request.template_name.as_str() == "sale";
    // A request in the wrong lane is moved down, never up.
    let is_bulk = is_marketing ^ rng.chance(100);
    if rng.chance(60) {
        spoil(rng, &mut request, at);
    }
    let mut key = Some(request.tenant.as_str().as_bytes().to_vec());
    let mut partition = home(&request.tenant, shape);
    if rng.chance(60) {
        partition = rng.below(u64::from(shape.partitions)) as i32;
    }
    if rng.chance(10) {
        key = Some(b"somebody else".to_vec());
    }
    let record = record(&request, at, is_bulk, (key, partition), number);
    asked.push(request);
    record
}

/// A request as it stands in the log.
pub(super) fn record(
    request: &SendRequest,
    at: Micros,
    is_bulk: bool,
    (key, partition): (Option<Vec<u8>>, i32),
    number: usize,
) -> Upstream {
    let topic = if is_bulk { topic::REQUESTS_BULK } else { topic::REQUESTS_TRANSACTIONAL };
    let value = SCHEMAS.encoder::<SendRequest>(topic).encode(request);
    let correlation = ("sendplane-correlation-id".to_owned(), Some(format!("c{number}").into()));
    let value = Some(value.expect("a request can be encoded"));
    Upstream { at, topic, partition, key, value, headers: vec![correlation] }
}

fn fresh(rng: &mut Rng, shape: &Shape, at: Micros, number: usize) -> SendRequest {
    let late = rng.chance(30);
    let tenant = if late {
        LATE_TENANT.to_owned()
    } else {
        tenant_name(rng.below(shape.tenants as u64) as usize)
    };
    let (name, _, count) = *rng.pick(&TEMPLATES);
    let lives = if rng.chance(80) {
        rng.between(seconds(1), seconds(20))
    } else {
        rng.between(seconds(60), seconds(600)) * (shape.patience / seconds(600))
    };
    SendRequest {
        // Of the requests of an order some are of other tenants: those are other orders.
        order_id: number.is_multiple_of(3).then(|| format!("order-{}", number / 12)),
        tenant: TenantId::new(tenant),
        idempotency_key: IdempotencyKey::new(format!("key-{number}")),
        created_at: true_wall(at),
        recipient: recipient(rng),
        template_name: TemplateName::new(name),
        template_language: "en".into(),
        variables: variables(count),
        campaign: rng.chance(300).then(|| "spring".to_owned()),
        deadline: Some(true_wall(at) + Duration::from_micros(lives as u64)),
        phone_number_id: None,
    }
}

/// Where users are few, some requests are for the same ones; where a tenant has two numbers, some
/// go by the second.
fn share(shape: &Shape, request: &mut SendRequest, number: usize) {
    if shape.scarcity.users && number.is_multiple_of(2) {
        request.recipient = format!("+49151{:08}", number % 7);
    }
    if has_second_number(shape) && number.is_multiple_of(3) {
        request.phone_number_id = Some(second_number_id(request.tenant.as_str()));
    }
}

/// The same key again, with the same content or other.
fn repeat(rng: &mut Rng, asked: &[SendRequest], at: Micros) -> SendRequest {
    let mut request = rng.pick(asked).clone();
    request.created_at = true_wall(at);
    if rng.chance(300) {
        request.recipient = recipient(rng);
        request.campaign = Some("other".to_owned());
    }
    request
}

/// A fault that a caller makes.
fn spoil(rng: &mut Rng, request: &mut SendRequest, at: Micros) {
    match rng.below(8) {
        0 => request.template_name = TemplateName::new("never_heard_of"),
        1 => request.recipient = "0151 1234".into(),
        2 => request.created_at = true_wall(at).minus(Duration::from_secs(31 * 24 * 3600)),
        3 => request.tenant = TenantId::new("nobody"),
        4 => request.variables = variables(0),
        5 => request.template_name = TemplateName::new(PAUSED),
        6 => request.phone_number_id = Some(PhoneNumberId::new("somebody-elses")),
        _ => request.idempotency_key = IdempotencyKey::new(""),
    }
}

/// An ordinary recipient, or one whose result is fixed.
fn recipient(rng: &mut Rng) -> String {
    if rng.chance(550) {
        return format!("+49151{:08}", rng.below(400));
    }
    let kinds = magic::TABLE;
    let row = rng.pick(kinds);
    let code = *rng.pick(&[131_026, 130_429, 131_056, 131_000, 131_047, 190, 131_042, 2, 133_004]);
    let parameter = match row.parameter {
        magic::Parameter::None => 0,
        magic::Parameter::Code => code,
        magic::Parameter::Milliseconds => *rng.pick(&[400, 3_000, 12_000]),
        magic::Parameter::Seconds => *rng.pick(&[5, 20, 60]),
    };
    let times = rng.below(4) as u8;
    magic::number(row.kind, parameter, times, rng.below(20) as u16)
}
