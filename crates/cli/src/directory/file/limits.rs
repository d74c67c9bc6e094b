//! What a tenant may use and wants: shares, budgets, prices, limits, routes, retries.

use std::collections::BTreeMap;

use sendplane_domain::provider_code::CodeClass;
use sendplane_wire::record::{TenantPrice, TenantRetries};

use super::{CATEGORIES, Faults, TenantRow};

/// What Meta calls `product_policy`.
const PRODUCT_POLICIES: [&str; 2] = ["CLOUD_API_FALLBACK", "STRICT"];

/// Adds the faults of `row`, which stands at `at`.
pub(super) fn check(faults: &mut Faults, at: &str, row: &TenantRow) {
    let fix = "is out of range; give a share from 1 to 100";
    faults.within(at, "weight", Some(row.weight), 1..=100, fix);
    let fix = "is negative; give 0 to stop everything, or leave it out for no limit";
    faults.within(at, "messages-per-day", row.messages_per_day, 0..=i64::MAX, fix);
    faults.within(at, "spend-per-day-micros", row.spend_per_day_micros, 0..=i64::MAX, fix);
    let fix = "is negative; give the portfolio's limit, or leave it out for none";
    faults.within(at, "users-per-day", row.users_per_day, 0..=i32::MAX, fix);
    for (category, micros) in &row.prices {
        let field = format!("prices.{category}");
        if !CATEGORIES.contains(&category.as_str()) {
            let fix = "is no category; use authentication, utility or marketing";
            faults.add(at, &field, "", fix);
        }
        let fix = "is negative; give millionths of the tenant's currency";
        faults.within(at, &field, Some(*micros), 0..=i64::MAX, fix);
    }
    if row.spend_per_day_micros.is_some() && row.prices.is_empty() {
        let fix = "is missing; without a price nothing counts towards spend-per-day-micros";
        faults.add(at, "prices", "", fix);
    }
    route(faults, at, row);
    for (class, attempts) in &row.retries {
        let field = format!("retries.{class}");
        if !CodeClass::ALL.iter().any(|known| known.as_str() == class) {
            let fix = "is no class of errors; use one that outcomes show, such as retry_message";
            faults.add(at, &field, "", fix);
        }
        let fix = "is out of range; give the calls to make at most, from 1 to 100";
        faults.within(at, &field, Some(*attempts), 1..=100, fix);
    }
}

fn route(faults: &mut Faults, at: &str, row: &TenantRow) {
    let Some(policy) = &row.product_policy else { return };
    if !PRODUCT_POLICIES.contains(&policy.as_str()) {
        let fix = "is none of Meta's; use CLOUD_API_FALLBACK or STRICT";
        faults.add(at, "product-policy", policy, fix);
    }
    if !row.marketing_route {
        let fix = "has no effect; set marketing-route: true or leave it out";
        faults.add(at, "product-policy", policy, fix);
    }
}

/// As the record has them.
pub(super) fn prices(prices: BTreeMap<String, i64>) -> Vec<TenantPrice> {
    prices.into_iter().map(|(category, micros)| TenantPrice { category, micros }).collect()
}

/// As the record has them.
pub(super) fn retries(retries: BTreeMap<String, i32>) -> Vec<TenantRetries> {
    let row = |(error_class, attempts_max)| TenantRetries { error_class, attempts_max };
    retries.into_iter().map(row).collect()
}
