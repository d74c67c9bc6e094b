//! What is scarce in a run and what the provider takes away: budgets, users, retries, templates.
//!
//! A stream of its own: whether something is scarce changes nothing else about a seed.

use sendplane_provider_model::{Affects, Injection, Reported, Scope, Suspension, TemplateStatus};
use sendplane_wire::record::{Tenant, TenantPhoneNumber, TenantPrice, TenantRetries};
use serde_json::json;

use super::account::{TEMPLATES, second_number_id, tenant_name, tenants};
use crate::rng::{Concern, Rng};
use crate::shape::Shape;
use crate::time::{Micros, ms, seconds};

/// The kinds of scarcity in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scarcity {
    /// Tenants have budgets of a day, which change.
    pub budgets: bool,
    /// Portfolios have few users, and two numbers that share them.
    pub users: bool,
    /// The provider changes limits and says so.
    pub notices: bool,
    /// The provider pauses templates, stops a tenant's templates or the bulk of a number.
    pub suspensions: bool,
    /// Tenants want fewer retries.
    pub retries: bool,
}

impl Scarcity {
    /// Everything at once.
    pub const ALL: Self =
        Self { budgets: true, users: true, notices: true, suspensions: true, retries: true };

    /// Only what the provider does not take for a while.
    pub const SUSPENSIONS: Self =
        Self { budgets: false, users: false, notices: false, suspensions: true, retries: false };

    /// What `seed` decides. Little happens to messages in silent runs, so nothing is scarce there.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed, Concern::Scarcity);
        let drawn = [350, 300, 700, 300, 300].map(|per_mille| rng.chance(per_mille));
        let [budgets, users, notices, suspensions, retries] = drawn;
        if seed.is_multiple_of(4) {
            return Self::default();
        }
        Self { budgets, users, notices, suspensions, retries }
    }

    /// Whether a message may have to wait for something that others of its number need not have.
    pub fn holds_single_messages(self) -> bool {
        self.budgets || self.users || self.suspensions
    }
}

/// A stream for one tenant.
fn stream(shape: &Shape, tenant: &str, about: u64) -> Rng {
    let sum: u64 = tenant.bytes().map(u64::from).sum();
    Rng::new(shape.seed ^ (sum << 40) ^ (about << 32), Concern::Scarcity)
}

/// The `version`-th row of a tenant, as far as it is about what is scarce.
pub(super) fn limit(shape: &Shape, row: &mut Tenant, version: u64) {
    let tenant = row.tenant.as_str().to_owned();
    let mut rng = stream(shape, &tenant, version);
    let scarcity = shape.scarcity;
    if scarcity.budgets {
        row.messages_per_day = rng.chance(600).then(|| *rng.pick(&[2, 5, 10, 20]));
        row.spend_per_day_micros = rng.chance(600).then(|| *rng.pick(&[10, 25, 60]));
        let price = |category: &str, micros| TenantPrice { category: category.to_owned(), micros };
        row.prices = vec![price("utility", 2), price("marketing", 5)];
    }
    if scarcity.users {
        row.users_per_day = rng.chance(800).then(|| *rng.pick(&[1, 2, 4, 8]));
    }
    if scarcity.users || scarcity.notices {
        row.phone_numbers.push(TenantPhoneNumber {
            phone_number_id: second_number_id(&tenant),
            display_number: "+15550002222".into(),
            ..row.phone_numbers[0].clone()
        });
    }
    if scarcity.retries {
        let classes = [("provider_wide", 2), ("throttle_number", 1), ("throttle_pair", 2)];
        let own = classes.map(|(class, attempts_max)| TenantRetries {
            error_class: class.to_owned(),
            attempts_max,
        });
        row.retries = own.to_vec();
    }
}

/// When tenants' rows are written anew, with other limits; their number says with which.
pub(super) fn rows(shape: &Shape) -> Vec<(Micros, String, u64)> {
    let mut found = Vec::new();
    if !shape.scarcity.budgets && !shape.scarcity.users {
        return found;
    }
    for tenant in (0..shape.tenants).map(tenant_name) {
        let mut rng = stream(shape, &tenant, 100);
        for version in 1..=2 {
            if rng.chance(350) {
                found.push((rng.between(seconds(5), shape.traffic), tenant.clone(), version));
            }
        }
    }
    found
}

/// What happens at the provider, and when.
pub fn injections(shape: &Shape) -> Vec<(Micros, Injection)> {
    let mut found = Vec::new();
    let mut rng = Rng::new(shape.seed ^ 0xfeed, Concern::Scarcity);
    if shape.scarcity.notices {
        for tenant in tenants(shape) {
            limits(&mut rng, shape, &tenant, &mut found);
        }
    }
    if shape.scarcity.suspensions {
        for (name, ..) in TEMPLATES {
            if rng.chance(500) {
                pause(&mut rng, shape, name, &mut found);
            }
        }
        for tenant in 0..shape.tenants {
            stop(&mut rng, shape, tenant, &mut found);
        }
    }
    found
}

/// New limits of users where there are any, more and fewer; an upgrade of the number's throughput.
fn limits(rng: &mut Rng, shape: &Shape, tenant: &str, found: &mut Vec<(Micros, Injection)>) {
    let change = |field: &str, value| Injection::Change {
        waba_id: format!("{tenant}-waba"),
        field: field.to_owned(),
        value,
    };
    let most = if shape.scarcity.users { 3 } else { 0 };
    for _ in 0..rng.between(0, most) {
        let at = rng.between(seconds(3), shape.traffic + seconds(60));
        let users = *rng.pick(&[1, 2, 4, 8, 15, -1]);
        let value = json!({"max_daily_conversations_per_business": users});
        found.push((at, change("business_capability_update", value)));
    }
    if rng.chance(300) {
        let at = rng.between(seconds(3), shape.traffic);
        let value = json!({"event": "THROUGHPUT_UPGRADE", "display_phone_number": "15550001111"});
        found.push((at, change("phone_number_quality_update", value)));
    }
    if rng.chance(300) {
        let at = rng.between(seconds(3), shape.traffic);
        let value = json!({
            "message_template_name": "order", "message_template_language": "en",
            "previous_quality_score": "GREEN", "new_quality_score": "RED",
        });
        found.push((at, change("message_template_quality_update", value)));
    }
}

/// A template is paused for everybody, and comes back by itself or by hand.
fn pause(rng: &mut Rng, shape: &Shape, name: &str, found: &mut Vec<(Micros, Injection)>) {
    let (name, language) = (name.to_owned(), "en".to_owned());
    let at = rng.between(seconds(3), shape.traffic);
    let lasts = rng.between(seconds(2), seconds(500)) * (shape.patience / seconds(600));
    if rng.chance(500) {
        let for_ms = Some(lasts / ms(1));
        return found.push((at, Injection::TemplatePause { name, language, for_ms }));
    }
    for (at, status) in [(at, TemplateStatus::Paused), (at + lasts, TemplateStatus::Approved)] {
        let (name, language) = (name.clone(), language.clone());
        found.push((at, Injection::TemplateStatus { name, language, status }));
    }
}

/// A tenant's templates are refused for a while, or the bulk of its numbers, or one template. No
/// webhook says so.
fn stop(rng: &mut Rng, shape: &Shape, tenant: usize, found: &mut Vec<(Micros, Injection)>) {
    let kinds = [
        (131_064, Affects::Templates),
        (131_048, Affects::Marketing),
        (132_015, Affects::Marketing),
    ];
    let (code, affects) = kinds[(tenant + shape.seed as usize) % kinds.len()].clone();
    // The first two stop a tenant for hours: few of the short runs are to be about them.
    if shape.patience <= seconds(3_600) && rng.chance(450) {
        return;
    }
    let at = rng.between(seconds(3), shape.traffic);
    let lasts = rng.between(seconds(2), seconds(600)) * (shape.patience / seconds(600));
    let suspension = Suspension {
        scope: Scope::Account(format!("{}-waba", tenant_name(tenant))),
        code,
        reported: Reported::InAnswer,
        affects,
        for_ms: Some(lasts / ms(1)),
        announced: false,
    };
    found.push((at, Injection::Suspend(suspension)));
}
