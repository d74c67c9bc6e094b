//! What upstream systems produce, all of it decided by the seed before the run.
//!
//! Reading order: [`account`] (tenants, numbers, templates, on both sides), this file (records in
//! the order of their time), `request` (one request), `cancel` (callers who change their mind), [`scarce`] (limits and
//! suspensions), `contended` (nothing scarce but slots).

pub mod account;
mod cancel;
mod contended;
mod request;
pub mod scarce;

use std::collections::BTreeMap;

use sendplane_domain::id::TenantId;
use sendplane_domain::shard::partition_of;
use sendplane_wire::record::{ConsentChange, ConsentScope, ConsentState, SendRequest};
use sendplane_wire::topic;

use crate::log::partition::{Entry, Headers};
use crate::process::hosted::SCHEMAS;
use crate::rng::{Concern, Rng};
use crate::shape::Shape;
use crate::time::{Micros, ms, seconds, true_wall};

/// A record to be produced.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// When.
    pub at: Micros,
    /// Topic.
    pub topic: &'static str,
    /// Partition, which is not always the right one.
    pub partition: i32,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value, which cannot always be read.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Headers,
}

impl Upstream {
    /// The record as it stands in the log.
    pub fn entry(&self) -> Entry {
        Entry {
            key: self.key.clone(),
            value: self.value.clone(),
            headers: self.headers.clone(),
            timestamp: true_wall(self.at),
        }
    }
}

/// Everything upstream systems produce in a run of this shape, by time.
pub fn upstream(shape: &Shape) -> Vec<Upstream> {
    if shape.contended {
        return contended::upstream(shape);
    }
    let mut rng = Rng::new(shape.seed, Concern::Workload);
    let mut records = account::globals(shape, &mut rng);
    let mut asked: Vec<SendRequest> = Vec::new();
    let mut moments: Vec<Micros> = Vec::new();
    for number in 0..shape.requests {
        let at = rng.between(seconds(1), shape.traffic);
        moments.push(at);
        let record = request::draw(&mut rng, shape, at, number, &mut asked);
        if rng.chance(80) {
            let close = at + rng.between(-2_000_000, 500_000);
            records.push(consent(&mut rng, shape, close, &asked));
        }
        records.push(record);
        if rng.chance(30) {
            records.push(poison(&mut rng, shape, at));
        }
    }
    let timed: Vec<(Micros, SendRequest)> = moments.iter().copied().zip(asked.clone()).collect();
    if shape.is_silent() {
        records.sort_by_key(|record| record.at);
        return records;
    }
    records.extend(cancel::draw(shape, &timed));
    let mut rng = Rng::new(shape.seed, Concern::Changes);
    records.extend(account::changes(shape, &mut rng));
    for (at, request) in moments.into_iter().zip(&asked) {
        // Late enough to find the message waiting at send, if it waits at all.
        if rng.chance(100) {
            let after = at + rng.between(ms(100), seconds(6));
            records.push(consent(&mut rng, shape, after, std::slice::from_ref(request)));
        }
    }
    records.sort_by_key(|record| record.at);
    records
}

/// A person changes their mind, close to a message that is on its way.
fn consent(rng: &mut Rng, shape: &Shape, at: Micros, asked: &[SendRequest]) -> Upstream {
    let at = at.max(ms(500));
    let about = rng.pick(asked);
    let change = ConsentChange {
        tenant: about.tenant.clone(),
        recipient: about.recipient.clone(),
        scope: if rng.chance(700) { ConsentScope::Marketing } else { ConsentScope::All },
        state: if rng.chance(750) { ConsentState::Withdrawn } else { ConsentState::Granted },
        changed_at: true_wall(at - rng.between(0, seconds(2))),
        source: "sim".to_owned(),
    };
    let value = SCHEMAS.encoder::<ConsentChange>(topic::CONSENT).encode(&change);
    Upstream {
        at,
        topic: topic::CONSENT,
        partition: home(&about.tenant, shape),
        key: Some(about.tenant.as_str().as_bytes().to_vec()),
        value: Some(value.expect("a consent can be encoded")),
        headers: Vec::new(),
    }
}

/// Bytes that no stage can read.
fn poison(rng: &mut Rng, shape: &Shape, at: Micros) -> Upstream {
    let topics = [
        topic::REQUESTS_TRANSACTIONAL,
        topic::REQUESTS_BULK,
        topic::CONSENT,
        topic::WEBHOOKS,
        topic::DISPATCH_BULK,
        topic::FEEDBACK,
        topic::ATTEMPTS,
    ];
    let values: [Option<Vec<u8>>; 5] = [
        Some(Vec::new()),
        Some(vec![1, 2, 3]),
        Some(vec![0, 0, 0, 0, 1, 0xff, 0xff, 0xff]),
        Some(vec![0, 0x7f, 0xff, 0xff, 0xff, 1]),
        None,
    ];
    let key = rng.chance(700).then(|| account::tenant_name(0).into_bytes());
    Upstream {
        at,
        topic: rng.pick::<&'static str>(&topics),
        partition: rng.below(u64::from(shape.partitions)) as i32,
        key,
        value: rng.pick(&values).clone(),
        headers: Vec::new(),
    }
}

/// The partition of a tenant.
fn home(tenant: &TenantId, shape: &Shape) -> i32 {
    partition_of(tenant.as_str().as_bytes(), shape.partitions)
}

/// Values of the variables of a template with `count` of them.
fn variables(count: usize) -> BTreeMap<String, String> {
    (1..=count).map(|number| (number.to_string(), format!("value {number}"))).collect()
}
