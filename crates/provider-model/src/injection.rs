//! What a tester does to the account by hand: customer messages, statuses, notices.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Category, MarketingAccount, TemplateStatus, Tier};
use crate::model::Model;
use crate::model::state::TokenEntry;
use crate::report::Gate;
use crate::script::Update;
use crate::suspension::{Scope, Suspended, Suspension, TokenState};

/// Something that happens at the provider without a send request. Its webhook is due at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Injection {
    /// A customer writes: opens the service window, uses up throughput.
    Text {
        /// The business number.
        phone_number_id: String,
        /// Digits of the customer; a plus sign is removed.
        from: String,
        /// What is written.
        text: String,
        /// Profile name.
        #[serde(default)]
        name: Option<String>,
    },
    /// A customer stops or resumes marketing (`user_preferences`).
    Preference {
        /// The business number.
        phone_number_id: String,
        /// Digits of the customer; a plus sign is removed.
        from: String,
        /// True: stop; false: resume.
        stop: bool,
    },
    /// One element of `statuses[]`, verbatim, whether or not such a message exists.
    Status {
        /// The business number.
        phone_number_id: String,
        /// The element.
        status: Value,
    },
    /// A change of any field, verbatim.
    Change {
        /// `entry[].id`.
        waba_id: String,
        /// `changes[].field`.
        field: String,
        /// `changes[].value`.
        value: Value,
    },
    /// A template changes its review state; sends follow it from now on.
    TemplateStatus {
        /// Name of the template.
        name: String,
        /// Its language.
        language: String,
        /// The new state.
        status: TemplateStatus,
    },
    /// A number gets another throughput; sends follow it from now on.
    Throughput {
        /// The business number.
        phone_number_id: String,
        /// Messages per second.
        per_second: u32,
    },
    /// A throughput upgrade as Meta does it: the number answers 131057 for a while, then it has
    /// the new throughput and `phone_number_quality_update` says so.
    ThroughputUpgrade {
        /// The business number.
        phone_number_id: String,
        /// Messages per second afterwards.
        #[serde(default = "upgraded_per_second")]
        per_second: u32,
        /// How long it takes, in milliseconds (Meta: up to a minute).
        #[serde(default = "maintenance_ms")]
        maintenance_ms: i64,
    },
    /// A portfolio gets another messaging limit (`business_capability_update`).
    PortfolioTier {
        /// Id of the portfolio in the configuration.
        portfolio: String,
        /// The new tier.
        tier: Tier,
    },
    /// A token becomes valid, expires or is revoked; an unknown one is made known.
    Token {
        /// The secret.
        token: String,
        /// What it is worth from now on.
        state: TokenState,
        /// From when on it is expired, Unix milliseconds; absent: as before.
        #[serde(default)]
        expires_at_ms: Option<i64>,
    },
    /// A part of the account refuses messages with a code.
    Suspend(Suspension),
    /// Suspensions of a part end.
    Release {
        /// The part, exactly as it was suspended.
        scope: Scope,
        /// Only those with this code; absent: all of them.
        #[serde(default)]
        code: Option<i64>,
    },
    /// A template is paused for low quality: the first time for 3 h, the second for 6 h, the third
    /// time it is disabled. Pauses end by themselves.
    TemplatePause {
        /// Name of the template.
        name: String,
        /// Its language.
        language: String,
        /// Instead of the usual time, in milliseconds.
        #[serde(default)]
        for_ms: Option<i64>,
    },
    /// A template gets another quality score (`message_template_quality_update`).
    TemplateQuality {
        /// Name of the template.
        name: String,
        /// Its language.
        language: String,
        /// The new score.
        quality: Quality,
    },
    /// A template gets another category (`template_category_update`).
    TemplateCategory {
        /// Name of the template.
        name: String,
        /// Its language.
        language: String,
        /// The new category.
        category: Category,
    },
    /// The verdict about a paced template comes now.
    PacingVerdict {
        /// Name of the template.
        name: String,
        /// Its language.
        language: String,
        /// True: what is held is sent. False: it fails with 132015, and the template is paused.
        release: bool,
    },
    /// An account's state at the marketing endpoint is set (onboarding, switch of the Cloud API).
    MarketingAccount(MarketingAccount),
}

fn upgraded_per_second() -> u32 {
    crate::limit::THROUGHPUT_HIGH
}

fn maintenance_ms() -> i64 {
    60_000
}

/// Quality score of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Quality {
    /// Well received.
    Green,
    /// Middling.
    Yellow,
    /// Badly received: about to be paused.
    Red,
    /// Too few messages to tell.
    Unknown,
}

/// What an injection refers to does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No such business number.
    #[error("no phone number with id {0}")]
    PhoneNumber(String),
    /// No such template.
    #[error("no template {0} in {1}")]
    Template(String, String),
    /// No such portfolio.
    #[error("no portfolio with id {0}")]
    Portfolio(String),
    /// No number belongs to the part, or no such suspension was found in it.
    #[error("{0:?} holds no number, or no such suspension")]
    Scope(Scope),
    /// A time that is not possible.
    #[error("a time must be 0 or more milliseconds")]
    TimeNegative,
    /// Throughput 0.
    #[error("a throughput must be at least 1 per second")]
    ThroughputZero,
}

impl Model {
    /// Lets `injection` happen at `now_ms` (Unix milliseconds); the id of the customer's message,
    /// if it is one.
    pub fn inject(&mut self, now_ms: i64, injection: Injection) -> Result<Option<String>, Unknown> {
        let now_ms = self.advance(now_ms);
        match injection {
            Injection::Text { phone_number_id, from, text, name } => {
                let number = self.number(&phone_number_id)?;
                return Ok(Some(self.receive_text(now_ms, number, &from, text, name)));
            }
            Injection::Preference { phone_number_id, from, stop } => {
                let number = self.number(&phone_number_id)?;
                let from = digits(&from);
                self.note_preference(number, &from, stop);
                let counted = true;
                let update = Update::Preference { from, stop, counted };
                self.announce(now_ms, Some(number), update);
            }
            Injection::Status { phone_number_id, status } => {
                let number = self.number(&phone_number_id)?;
                self.announce(now_ms, Some(number), Update::RawStatus { status });
            }
            Injection::Change { waba_id, field, value } => {
                let update = Update::RawChange { waba_id, field, value };
                self.announce(now_ms, None, update);
            }
            Injection::TemplateStatus { name, language, status } => {
                for index in self.templates(name, language)? {
                    self.set_template_status(now_ms, index, status);
                }
            }
            Injection::Throughput { phone_number_id, per_second } => {
                let number = self.number(&phone_number_id)?;
                if per_second == 0 {
                    return Err(Unknown::ThroughputZero);
                }
                self.set_throughput(now_ms, number, per_second);
            }
            other => self.inject_into_limits(now_ms, other)?,
        }
        Ok(None)
    }

    /// Injections about limits, tokens, suspensions and the life of templates.
    fn inject_into_limits(&mut self, now_ms: i64, injection: Injection) -> Result<(), Unknown> {
        match injection {
            Injection::ThroughputUpgrade { phone_number_id, per_second, maintenance_ms } => {
                let number = self.number(&phone_number_id)?;
                if per_second == 0 {
                    return Err(Unknown::ThroughputZero);
                }
                self.begin_upgrade(now_ms, number, per_second, not_negative(maintenance_ms)?);
            }
            Injection::PortfolioTier { portfolio, tier } => {
                let mut portfolios = self.config.limits.portfolios.iter();
                let found = portfolios.position(|known| known.id == portfolio);
                let index = found.ok_or(Unknown::Portfolio(portfolio))?;
                self.set_tier(now_ms, index, tier);
            }
            Injection::Token { token, state, expires_at_ms } => {
                self.set_token(token, state, expires_at_ms);
            }
            Injection::Suspend(suspension) => {
                let mut numbers = 0..self.config.phone_numbers.len();
                if !numbers.any(|number| suspension.scope.holds(&self.config, number)) {
                    return Err(Unknown::Scope(suspension.scope));
                }
                not_negative(suspension.for_ms.unwrap_or_default())?;
                self.suspend(now_ms, suspension);
            }
            Injection::Release { scope, code } => {
                let ends = |suspended: &Suspended| {
                    suspended.suspension.scope == scope
                        && code.is_none_or(|code| code == suspended.suspension.code)
                };
                if !self.state.suspended.iter().any(ends) {
                    return Err(Unknown::Scope(scope));
                }
                self.release(now_ms, ends);
            }
            Injection::TemplatePause { name, language, for_ms } => {
                not_negative(for_ms.unwrap_or_default())?;
                for index in self.templates(name, language)? {
                    self.pause_template(now_ms, index, for_ms);
                }
            }
            Injection::TemplateQuality { name, language, quality } => {
                for index in self.templates(name, language)? {
                    self.set_template_quality(now_ms, index, quality);
                }
            }
            Injection::TemplateCategory { name, language, category } => {
                for index in self.templates(name, language)? {
                    self.set_template_category(now_ms, index, category);
                }
            }
            Injection::PacingVerdict { name, language, release } => {
                for index in self.templates(name, language)? {
                    self.decide_template(now_ms, index, release);
                }
            }
            Injection::MarketingAccount(account) => self.set_marketing_account(now_ms, account),
            Injection::Text { .. }
            | Injection::Preference { .. }
            | Injection::Status { .. }
            | Injection::Change { .. }
            | Injection::TemplateStatus { .. }
            | Injection::Throughput { .. } => unreachable!("handled by the caller"),
        }
        Ok(())
    }

    fn set_token(&mut self, token: String, state: TokenState, expires_at_ms: Option<i64>) {
        if state == TokenState::Valid {
            self.state.reopen(Gate::Token, Some(&token));
        }
        let entry = self.state.tokens.entry(token).or_insert_with(|| TokenEntry {
            state,
            expires_at_ms: None,
            waba_ids: Vec::new(),
        });
        entry.state = state;
        entry.expires_at_ms = expires_at_ms.or(entry.expires_at_ms);
    }

    fn templates(&self, name: String, language: String) -> Result<Vec<usize>, Unknown> {
        let found = self.templates_named(&name, &language);
        match found.is_empty() {
            true => Err(Unknown::Template(name, language)),
            false => Ok(found),
        }
    }

    fn receive_text(
        &mut self,
        now_ms: i64,
        number: usize,
        from: &str,
        text: String,
        name: Option<String>,
    ) -> String {
        let from = digits(from);
        self.note_inbound(number, &from, now_ms);
        let id = self.inbound_id(&from);
        let update = Update::Text { from, id: Some(id.clone()), name, text, counted: true };
        self.announce(now_ms, Some(number), update);
        id
    }

    fn number(&self, id: &str) -> Result<usize, Unknown> {
        self.by_id.get(id).copied().ok_or_else(|| Unknown::PhoneNumber(id.to_owned()))
    }
}

fn not_negative(ms: i64) -> Result<i64, Unknown> {
    if ms < 0 { Err(Unknown::TimeNegative) } else { Ok(ms) }
}

fn digits(from: &str) -> String {
    from.trim_start_matches('+').to_owned()
}
