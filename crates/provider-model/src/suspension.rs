//! What an account can be shut out of: tokens, and suspended parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Category, Config, Reported};
use crate::limit::Window;

/// What a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// Accepted.
    Valid,
    /// Answers 190 with subcode 463.
    Expired,
    /// Answers 190.
    Revoked,
}

/// Which part of an account is suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything.
    App,
    /// The accounts of a portfolio.
    Portfolio(String),
    /// One account (WABA).
    Account(String),
    /// One number, by its Graph id.
    PhoneNumber(String),
}

/// Which messages a suspension concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affects {
    /// All of them.
    #[default]
    All,
    /// Templates, e.g. for 131064.
    Templates,
    /// Marketing templates.
    Marketing,
    /// Recipients whose digits start so, e.g. for 130497.
    DiallingCode(String),
}

/// A part of an account that refuses messages with a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// The part.
    pub scope: Scope,
    /// The code, e.g. 131031, 368, 131042, 131064, 133010.
    pub code: i64,
    /// Whether calls are refused or messages fail.
    #[serde(default = "in_answer")]
    pub reported: Reported,
    /// Which messages.
    #[serde(default)]
    pub affects: Affects,
    /// Until released by itself, in milliseconds; absent: until released by hand.
    #[serde(default)]
    pub for_ms: Option<i64>,
    /// Whether `account_update` is sent for the accounts concerned, at both ends.
    #[serde(default)]
    pub announced: bool,
}

fn in_answer() -> Reported {
    Reported::InAnswer
}

/// A suspension at work.
#[derive(Clone, Debug)]
pub(crate) struct Suspended {
    pub(crate) id: u64,
    pub(crate) suspension: Suspension,
}

impl Suspended {
    /// Whether it concerns a message of a number (by index) of this account.
    pub(crate) fn concerns(
        &self,
        config: &Config,
        number: usize,
        category: Option<Category>,
        to: &str,
    ) -> bool {
        let affected = match &self.suspension.affects {
            Affects::All => true,
            Affects::Templates => category.is_some(),
            Affects::Marketing => category == Some(Category::Marketing),
            Affects::DiallingCode(code) => to.starts_with(code.as_str()),
        };
        affected && self.suspension.scope.holds(config, number)
    }
}

impl Scope {
    /// Whether a number (by index) belongs to it.
    pub(crate) fn holds(&self, config: &Config, number: usize) -> bool {
        let number = &config.phone_numbers[number];
        match self {
            Self::App => true,
            Self::Portfolio(id) => {
                let portfolio = config.limits.portfolios.iter().find(|p| p.id == *id);
                portfolio.is_some_and(|portfolio| portfolio.waba_ids.contains(&number.waba_id))
            }
            Self::Account(id) => number.waba_id == *id,
            Self::PhoneNumber(id) => number.id == *id,
        }
    }
}

/// Calls of the app and of each account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) app: Option<Window>,
    pub(crate) accounts: BTreeMap<String, Window>,
}
