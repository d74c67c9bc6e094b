//! The row of a tenant.

use sendplane_domain::breaker::Breaker;
use sendplane_stage_api::TableValue;
use serde::{Deserialize, Serialize};

/// What is known about a tenant's account, and what it has used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::send) struct TenantState {
    /// Open while the access token or the account is refused.
    pub account: Breaker,
    /// What it used of its budget.
    pub spent: Spent,
}

impl TableValue for TenantState {}

/// What a tenant used in a UTC day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::send) struct Spent {
    /// Days since the epoch.
    pub day: i64,
    /// Calls granted.
    pub messages: u64,
    /// Millionths of the tenant's currency, by the prices of the time of each call.
    pub micros: u64,
}
