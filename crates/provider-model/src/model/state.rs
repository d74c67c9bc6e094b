//! What the limits remember.

use std::collections::BTreeMap;

use crate::config::{Config, MsRange};
use crate::limit::{Marketing, Portfolio, TemplatePacing};
use crate::report::{Gate, Violations};
use crate::rng::{Concern, Rng, mix};
use crate::suspension::{Suspended, TokenState, Usage};

/// A change of the account whose time has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The throughput upgrade of a number (by index) ends.
    Upgrade { number: usize },
    /// A portfolio (by index) steps up.
    StepUp { portfolio: usize },
    /// The verdict about a template (by index).
    Verdict { template: usize },
    /// A pause for low quality ends.
    Unpause { template: usize },
    /// A suspension ends.
    Release { id: u64 },
}

/// Changes by their time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agenda {
    changes: BTreeMap<(i64, u64), Change>,
    added: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at_ms: i64, change: Change) {
        self.changes.insert((at_ms, self.added), change);
        self.added += 1;
    }

    pub(crate) fn next(&self) -> Option<i64> {
        self.changes.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    pub(crate) fn pop(&mut self, now_ms: i64) -> Option<(i64, Change)> {
        if self.next()? > now_ms {
            return None;
        }
        self.changes.pop_first().map(|((at_ms, _), change)| (at_ms, change))
    }
}

/// A token and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct TokenEntry {
    pub(crate) state: TokenState,
    pub(crate) expires_at_ms: Option<i64>,
    /// Empty: every account.
    pub(crate) waba_ids: Vec<String>,
}

impl TokenEntry {
    pub(crate) fn state_at(&self, now_ms: i64) -> TokenState {
        match self.state {
            TokenState::Valid if self.expires_at_ms.is_some_and(|end| end <= now_ms) => {
                TokenState::Expired
            }
            state => state,
        }
    }
}

/// Pauses of a template for low quality.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pauses {
    /// So far: the third one disables.
    pub(crate) count: u32,
    pub(crate) ends_at_ms: Option<i64>,
}

/// The first use of a template at the marketing endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sync {
    pub(crate) ready_at_ms: i64,
    pub(crate) used_at_ms: i64,
}

/// Everything beside numbers, contacts and the ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) agenda: Agenda,
    /// In the order of the configuration.
    pub(crate) portfolios: Vec<Portfolio>,
    /// By index of the number.
    pub(crate) portfolio_of: Vec<Option<usize>>,
    pub(crate) marketing: Marketing,
    /// By index of the template.
    pub(crate) pacing: BTreeMap<usize, TemplatePacing>,
    pub(crate) pauses: BTreeMap<usize, Pauses>,
    pub(crate) qualities: BTreeMap<usize, crate::injection::Quality>,
    /// Until when an account's utility templates are paced.
    pub(crate) utility_paced_until_ms: BTreeMap<String, i64>,
    /// By account and index of the template.
    pub(crate) syncs: BTreeMap<(String, usize), Sync>,
    pub(crate) usage: Usage,
    pub(crate) tokens: BTreeMap<String, TokenEntry>,
    pub(crate) suspended: Vec<Suspended>,
    pub(crate) suspensions: u64,
    pub(crate) violations: Violations,
    /// What closed the gate for the call at hand.
    pub(crate) closed: Option<(Gate, String)>,
    /// Since when callers know that a gate is closed.
    told: BTreeMap<(Gate, String), i64>,
}

impl State {
    pub(crate) fn new(config: &Config) -> Self {
        let portfolios = &config.limits.portfolios;
        let of = |waba_id: &String| portfolios.iter().position(|p| p.waba_ids.contains(waba_id));
        let valid = |expires_at_ms, waba_ids| TokenEntry {
            state: TokenState::Valid,
            expires_at_ms,
            waba_ids,
        };
        let ever = config.access_tokens.iter().map(|token| (token.clone(), valid(None, vec![])));
        let limited = config
            .tokens
            .iter()
            .map(|token| (token.token.clone(), valid(token.expires_at_ms, token.waba_ids.clone())));
        Self {
            portfolios: portfolios.iter().map(|p| Portfolio::new(p.tier)).collect(),
            portfolio_of: config.phone_numbers.iter().map(|n| of(&n.waba_id)).collect(),
            tokens: ever.chain(limited).collect(),
            ..Self::default()
        }
    }

    /// The answer that names a closed gate is on its way; or the caller knew already.
    pub(crate) fn tell(&mut self, now_ms: i64, delay_ms: u64, grace_ms: i64) {
        let Some(key) = self.closed.take() else { return };
        let gate = key.0;
        match self.told.get(&key) {
            Some(since) if now_ms > since + grace_ms => {
                *self.violations.after_refusal.entry(gate).or_default() += 1;
            }
            Some(_) => {}
            None => {
                self.told.insert(key, now_ms.saturating_add_unsigned(delay_ms));
            }
        }
    }

    /// A gate is open again, for one key or, without, for all of them.
    pub(crate) fn reopen(&mut self, gate: Gate, key: Option<&str>) {
        self.told.retain(|(g, k), _| *g != gate || key.is_some_and(|key| key != k));
    }
}

/// A draw that belongs to a moment of a thing, e.g. the verdict about a template.
pub(crate) fn draw_at(seed: u64, concern: Concern, thing: u64, at_ms: i64, range: MsRange) -> i64 {
    let key = thing.wrapping_add(mix(at_ms.unsigned_abs()));
    i64::try_from(range.draw(&mut Rng::keyed(seed, concern, key))).unwrap_or(i64::MAX)
}
