//! Changes of the account, at once or when their time has come, and their webhooks.

use serde_json::json;

use super::state::Change;
use super::{Model, Upgrading};
use crate::config::{MarketingAccount, Tier};
use crate::limit::THROUGHPUT_COEXISTENCE;
use crate::report::Gate;
use crate::script::{Planned, Update};
use crate::suspension::{Scope, Suspended, Suspension};

impl Model {
    /// Lets a planned change happen at its time.
    pub(super) fn change(&mut self, at_ms: i64, change: Change) {
        match change {
            Change::Upgrade { number } => {
                // Another upgrade may have taken the place of the planned one.
                let due = |upgrade: &Upgrading| upgrade.until_ms == at_ms;
                if let Some(upgrade) = self.numbers[number].upgrade.filter(due) {
                    self.numbers[number].upgrade = None;
                    let id = self.config.phone_numbers[number].id.clone();
                    self.state.reopen(Gate::Maintenance, Some(&id));
                    self.set_throughput(at_ms, number, upgrade.per_second);
                }
            }
            Change::StepUp { portfolio } => {
                let state = &mut self.state.portfolios[portfolio];
                state.step_pending = false;
                if let Some(tier) = state.tier.next() {
                    self.set_tier(at_ms, portfolio, tier);
                }
            }
            Change::Verdict { template } => {
                let pacing = self.state.pacing.get(&template);
                if pacing.is_some_and(|pacing| pacing.verdict_at_ms == Some(at_ms)) {
                    let release = self.config.limits.pacing.release;
                    self.decide_template(at_ms, template, release);
                }
            }
            Change::Unpause { template } => self.unpause_template(at_ms, template),
            Change::Release { id } => self.release(at_ms, |suspended| suspended.id == id),
        }
    }

    pub(crate) fn announce(&mut self, now_ms: i64, number: Option<usize>, update: Update) {
        self.queue.push(number, Planned { due_ms: now_ms, at_ms: now_ms, update }, true);
    }

    /// Starts a throughput upgrade: the number answers 131057 until it is done.
    pub(crate) fn begin_upgrade(
        &mut self,
        now_ms: i64,
        number: usize,
        per_second: u32,
        for_ms: i64,
    ) {
        let until_ms = now_ms.saturating_add(for_ms);
        self.numbers[number].upgrade = Some(Upgrading { until_ms, per_second });
        self.state.agenda.add(until_ms, Change::Upgrade { number });
    }

    pub(crate) fn set_throughput(&mut self, now_ms: i64, number: usize, per_second: u32) {
        let tier = self.tier_of(number).name();
        let config = &mut self.config.phone_numbers[number];
        let upgraded = per_second > config.throughput_per_second;
        config.throughput_per_second = per_second;
        if !upgraded {
            return;
        }
        // Meta has a notice for the upgrade only.
        let value = json!({
            "display_phone_number": config.display_number, "event": "THROUGHPUT_UPGRADE",
            "max_daily_conversations_per_business": tier,
        });
        let waba_id = config.waba_id.clone();
        let field = "phone_number_quality_update".to_owned();
        self.announce(now_ms, None, Update::RawChange { waba_id, field, value });
    }

    /// Upgrades a number that has earned it, if the account is set to.
    pub(super) fn maybe_upgrade(&mut self, now_ms: i64, number: usize) {
        let rule = self.config.limits.upgrade;
        let per_second = self.config.phone_numbers[number].throughput_per_second;
        let eligible = rule.automatic
            && self.numbers[number].upgrade.is_none()
            && per_second > THROUGHPUT_COEXISTENCE
            && per_second < rule.per_second;
        let Some(portfolio) = self.state.portfolio_of[number].filter(|_| eligible) else { return };
        let portfolio = &mut self.state.portfolios[portfolio];
        if portfolio.tier == Tier::Unlimited && portfolio.users(now_ms) >= rule.unique_users {
            self.begin_upgrade(now_ms, number, rule.per_second, rule.maintenance_ms);
        }
    }

    /// The tier of a number's portfolio.
    pub(super) fn tier_of(&self, number: usize) -> Tier {
        let portfolio = self.state.portfolio_of[number];
        portfolio.map_or(Tier::Unlimited, |index| self.state.portfolios[index].tier)
    }

    /// Changes a portfolio's limit and announces it to its accounts.
    pub(crate) fn set_tier(&mut self, now_ms: i64, portfolio: usize, tier: Tier) {
        self.state.portfolios[portfolio].tier = tier;
        for waba_id in self.config.limits.portfolios[portfolio].waba_ids.clone() {
            let value = json!({
                "max_daily_conversations_per_business": tier.name(),
                "max_phone_numbers_per_business": 20, "max_phone_numbers_per_waba": 20,
            });
            let field = "business_capability_update".to_owned();
            self.announce(now_ms, None, Update::RawChange { waba_id, field, value });
        }
    }

    /// Steps a portfolio up after a while, if it has earned it and is set to.
    pub(super) fn maybe_step_up(&mut self, now_ms: i64, portfolio: usize) {
        let rule = self.config.limits.portfolio;
        let state = &mut self.state.portfolios[portfolio];
        if rule.steps_up && !state.step_pending && state.earns_step(now_ms) {
            state.step_pending = true;
            self.state.agenda.add(now_ms + rule.step_after_ms, Change::StepUp { portfolio });
        }
    }

    /// Changes what an account may do at the marketing endpoint.
    pub(crate) fn set_marketing_account(&mut self, now_ms: i64, account: MarketingAccount) {
        let accounts = &mut self.config.limits.marketing_accounts;
        let found = accounts.iter().position(|other| other.waba_id == account.waba_id);
        let before = found.map(|index| accounts.remove(index));
        let signed = account.onboarded && !before.is_some_and(|before| before.onboarded);
        let waba_id = account.waba_id.clone();
        accounts.push(account);
        if signed {
            let value = json!({"event": "MM_LITE_TERMS_SIGNED", "waba_info": {"waba_id": waba_id}});
            let field = "account_update".to_owned();
            self.announce(now_ms, None, Update::RawChange { waba_id, field, value });
        }
    }

    /// Suspends a part of the account.
    pub(crate) fn suspend(&mut self, now_ms: i64, suspension: Suspension) {
        let id = self.state.suspensions;
        self.state.suspensions += 1;
        let ends_at_ms = suspension.for_ms.map(|for_ms| now_ms.saturating_add(for_ms));
        if let Some(ends_at_ms) = ends_at_ms {
            self.state.agenda.add(ends_at_ms, Change::Release { id });
        }
        if suspension.announced {
            let value = match suspension.code {
                131_031 => json!({
                    "event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"},
                }),
                _ => {
                    let mut info =
                        json!({"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING"});
                    if let Some(ends_at_ms) = ends_at_ms {
                        info["expiration"] = ends_at_ms.div_euclid(1_000).into();
                    }
                    json!({"event": "ACCOUNT_RESTRICTION", "restriction_info": [info]})
                }
            };
            self.announce_to_accounts(now_ms, &suspension.scope, &value);
        }
        self.state.suspended.push(Suspended { id, suspension });
    }

    /// Ends suspensions; how many there are left does not matter to the ended ones.
    pub(crate) fn release(&mut self, now_ms: i64, ends: impl Fn(&Suspended) -> bool) {
        let suspended = std::mem::take(&mut self.state.suspended);
        let (ended, left) = suspended.into_iter().partition::<Vec<_>, _>(ends);
        self.state.suspended = left;
        for Suspended { id, suspension } in ended {
            self.state.reopen(Gate::Suspension, Some(&id.to_string()));
            if suspension.announced {
                let value = json!({
                    "event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"},
                });
                self.announce_to_accounts(now_ms, &suspension.scope, &value);
            }
        }
    }

    fn announce_to_accounts(&mut self, now_ms: i64, scope: &Scope, value: &serde_json::Value) {
        let numbers = 0..self.config.phone_numbers.len();
        let mut waba_ids: Vec<String> = numbers
            .filter(|number| scope.holds(&self.config, *number))
            .map(|number| self.config.phone_numbers[number].waba_id.clone())
            .collect();
        waba_ids.sort_unstable();
        waba_ids.dedup();
        for waba_id in waba_ids {
            let (field, value) = ("account_update".to_owned(), value.clone());
            self.announce(now_ms, None, Update::RawChange { waba_id, field, value });
        }
    }
}
