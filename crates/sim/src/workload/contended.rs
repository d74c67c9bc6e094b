//! Tenants that want more calls at once than there are slots, and nothing else that is scarce: every
//! request is sound and for a person of its own. One tenant asks for as much as all the others.

use std::time::Duration;

use sendplane_domain::id::{IdempotencyKey, TemplateName, TenantId};
use sendplane_wire::record::SendRequest;

use super::account::{TEMPLATES, globals, tenant_name};
use super::{Upstream, request, variables};
use crate::rng::{Concern, Rng};
use crate::shape::Shape;
use crate::time::{seconds, true_wall};

/// All of them come within this time.
const WITHIN: i64 = seconds(15);

const LIVES: Duration = Duration::from_secs(590);

/// Everything upstream systems produce, by time.
pub(super) fn upstream(shape: &Shape) -> Vec<Upstream> {
    let mut rng = Rng::new(shape.seed, Concern::Workload);
    let mut records = globals(shape, &mut rng);
    for number in 0..shape.requests {
        let at = rng.between(seconds(3), seconds(3) + WITHIN);
        let of_first = rng.chance(500);
        let tenant = if of_first { 0 } else { rng.below(shape.tenants as u64) as usize };
        let (name, category, count) = *rng.pick(&TEMPLATES);
        let request = SendRequest {
            order_id: None,
            tenant: TenantId::new(tenant_name(tenant)),
            idempotency_key: IdempotencyKey::new(format!("key-{number}")),
            created_at: true_wall(at),
            recipient: format!("+49151{number:08}"),
            template_name: TemplateName::new(name),
            template_language: "en".into(),
            variables: variables(count),
            campaign: None,
            deadline: Some(true_wall(at) + LIVES),
            phone_number_id: None,
        };
        let partition = super::home(&request.tenant, shape);
        let key = Some(request.tenant.as_str().as_bytes().to_vec());
        let is_bulk = category == "marketing";
        records.push(request::record(&request, at, is_bulk, (key, partition), number));
    }
    records.sort_by_key(|record| record.at);
    records
}
