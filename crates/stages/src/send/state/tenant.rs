//! The row of a tenant.

use sendplane_domain::breaker::Breaker;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::TableValue;
use serde::{Deserialize, Serialize};

use super::Noticed;

/// What is known about a tenant's account, and what it has used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::send) struct TenantState {
    /// Open while the access token or the account is refused.
    pub account: Breaker,
    /// Open while it may send no templates.
    pub templates: Breaker,
    /// What a notice said last about its users per 24 h; negative for no limit.
    pub user_limit: Option<Noticed>,
    /// Contacts that count against it: rows of the table of users.
    pub users: u32,
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

/// A contact that counts against its portfolio's limit of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::send) struct User {
    /// When its newest call was granted.
    pub called_at: Timestamp,
    /// The minute under which the row stands in the table of ends.
    pub end_minute: u64,
}

impl TableValue for User {}

/// What is known about a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::send) struct TemplateState {
    /// Open while it is suspended.
    pub breaker: Breaker,
    /// When Meta said the newest notice of its status that was heard.
    pub noticed_at: Timestamp,
}

impl TableValue for TemplateState {}
