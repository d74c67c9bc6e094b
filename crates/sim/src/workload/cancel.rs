//! Callers who change their mind: close to the request they are about, or while it waits.

use sendplane_wire::record::{CancelRequest, SendRequest};
use sendplane_wire::topic;

use super::{Upstream, home};
use crate::process::hosted::SCHEMAS;
use crate::rng::{Concern, Rng};
use crate::shape::Shape;
use crate::time::{Micros, ms, seconds, true_wall};

/// Cancels of some of the requests `asked`, each with its time. A stream of its own: whether there
/// are cancels changes nothing else.
pub(super) fn draw(shape: &Shape, asked: &[(Micros, SendRequest)]) -> Vec<Upstream> {
    let mut rng = Rng::new(shape.seed, Concern::Cancels);
    let mut records = Vec::new();
    for (asked_at, request) in asked {
        while rng.chance(150) {
            let wait = if rng.chance(650) {
                rng.between(-500_000, seconds(3))
            } else {
                rng.between(0, seconds(90))
            };
            let at = (asked_at + wait).max(ms(500));
            records.push(record(&mut rng, shape, at, request, records.len()));
        }
    }
    records
}

fn record(
    rng: &mut Rng,
    shape: &Shape,
    at: Micros,
    about: &SendRequest,
    number: usize,
) -> Upstream {
    let mut cancel = CancelRequest {
        cancel_id: format!("cancel-{number}"),
        tenant: about.tenant.clone(),
        message_id: None,
        idempotency_key: Some(about.idempotency_key.clone()),
        order_id: None,
        reason: "sim".to_owned(),
        requested_by: "sim".to_owned(),
        requested_at: true_wall(at),
    };
    if about.order_id.is_some() && rng.chance(400) {
        cancel.idempotency_key = None;
        cancel.order_id = about.order_id.clone();
    }
    if rng.chance(30) {
        cancel.idempotency_key = None;
        cancel.order_id = None;
    }
    let mut partition = home(&about.tenant, shape);
    if rng.chance(30) {
        partition = rng.below(u64::from(shape.partitions)) as i32;
    }
    let value = SCHEMAS.encoder::<CancelRequest>(topic::CANCELS).encode(&cancel);
    Upstream {
        at,
        topic: topic::CANCELS,
        partition,
        key: Some(about.tenant.as_str().as_bytes().to_vec()),
        value: Some(value.expect("a cancel can be encoded")),
        headers: Vec::new(),
    }
}
