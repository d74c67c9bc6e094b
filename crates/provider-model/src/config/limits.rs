//! Limits above throughput and the pair limit, and their consequences. Every default leaves the
//! limit off or out of reach, so that an account without this section only knows the two.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Invalid, MsRange};
use crate::region;

/// Limits of the account; see [`crate::limit`] for what each of them means exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How the pair limit is counted.
    pub pair_model: PairModel,
    /// Portfolios with a limit; an account (WABA) in none of them is unlimited.
    pub portfolios: Vec<Portfolio>,
    /// What happens at the end of a portfolio's limit, and how it grows.
    pub portfolio: PortfolioRule,
    /// Marketing per user.
    pub marketing: MarketingRule,
    /// Accounts with a state at the marketing endpoint; any other account may use both endpoints.
    pub marketing_accounts: Vec<MarketingAccount>,
    /// Pacing of new templates.
    pub pacing: Pacing,
    /// Calls of the app (code 4), on every endpoint.
    pub app_calls: CallLimit,
    /// Calls per account (code 80007). Meta documents it for management calls only; here it
    /// concerns every call, so that a test can press a sender with it.
    pub account_calls: CallLimit,
    /// Share of a call limit, in percent, from which answers carry usage headers.
    pub usage_headers_from_percent: u32,
    /// Lifetime of messages.
    pub ttl: Ttl,
    /// Recipients who cannot be reached for a while.
    pub offline: Offline,
    /// Throughput upgrades.
    pub upgrade: Upgrade,
    /// A call this long after the answer that told the caller to stop counts as
    /// [`crate::Violations::after_refusal`].
    pub answer_grace_ms: i64,
    /// The same after a webhook, which takes longer to be noticed.
    pub webhook_grace_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pair_model: PairModel::default(),
            portfolios: Vec::new(),
            portfolio: PortfolioRule::default(),
            marketing: MarketingRule::default(),
            marketing_accounts: Vec::new(),
            pacing: Pacing::default(),
            app_calls: CallLimit::default(),
            account_calls: CallLimit::default(),
            usage_headers_from_percent: 80,
            ttl: Ttl::default(),
            offline: Offline::default(),
            upgrade: Upgrade::default(),
            answer_grace_ms: 1_000,
            webhook_grace_ms: 10_000,
        }
    }
}

/// How the pair limit (1 message per 6 s, burst of 45 on credit) is counted. Meta's text allows
/// both readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairModel {
    /// A bucket of `burst` messages that earns one back per `refill_ms`: 20 at once leave 25.
    #[default]
    TokenBucket,
    /// A burst of at most `burst` within one `refill_ms` from its first message borrows from the
    /// future: 20 at once mean 120 s of silence from the first one. Whatever this reading allows,
    /// the other one allows too.
    Borrowing,
}

/// How a caller learns of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reported {
    /// The call is refused.
    InAnswer,
    /// The call is accepted, the message fails later.
    ByWebhook,
}

/// Steps of the portfolio limit: unique users per rolling 24 h outside a service window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    /// 250 users.
    #[serde(rename = "TIER_250")]
    Tier250,
    /// 2,000 users.
    #[serde(rename = "TIER_2K")]
    Tier2K,
    /// 10,000 users.
    #[serde(rename = "TIER_10K")]
    Tier10K,
    /// 100,000 users.
    #[serde(rename = "TIER_100K")]
    Tier100K,
    /// No limit.
    #[serde(rename = "TIER_UNLIMITED")]
    Unlimited,
}

impl Tier {
    /// The limit; none when there is none.
    pub fn users(self) -> Option<u64> {
        match self {
            Self::Tier250 => Some(250),
            Self::Tier2K => Some(2_000),
            Self::Tier10K => Some(10_000),
            Self::Tier100K => Some(100_000),
            Self::Unlimited => None,
        }
    }

    /// The tier above.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Tier250 => Some(Self::Tier2K),
            Self::Tier2K => Some(Self::Tier10K),
            Self::Tier10K => Some(Self::Tier100K),
            Self::Tier100K => Some(Self::Unlimited),
            Self::Unlimited => None,
        }
    }

    /// Meta's name, e.g. `TIER_2K`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tier250 => "TIER_250",
            Self::Tier2K => "TIER_2K",
            Self::Tier10K => "TIER_10K",
            Self::Tier100K => "TIER_100K",
            Self::Unlimited => "TIER_UNLIMITED",
        }
    }
}

/// A business portfolio: accounts that share one messaging limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Portfolio {
    /// Names it for testers.
    pub id: String,
    /// Its accounts; an account has one portfolio.
    pub waba_ids: Vec<String>,
    /// The limit at the start.
    pub tier: Tier,
}

/// The end of a portfolio's limit, and its growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PortfolioRule {
    /// The code above the limit. Meta documents none. Our choice is 131048, whose text sends the
    /// reader to the messaging limits.
    pub exceeded_code: i64,
    /// How it is reported. Our choice is the webhook, as for most business failures.
    pub reported: Reported,
    /// Whether a portfolio steps up by itself after half its limit was used within 7 days.
    pub steps_up: bool,
    /// From there until the step (Meta: within 6 h).
    pub step_after_ms: i64,
}

impl Default for PortfolioRule {
    fn default() -> Self {
        Self {
            exceeded_code: 131_048,
            reported: Reported::ByWebhook,
            steps_up: false,
            step_after_ms: 6 * 3_600_000,
        }
    }
}

/// Marketing templates per user (131049). Meta's cap is adaptive, counts all businesses and cannot
/// be queried; this one is fixed, with a share that stands for other businesses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarketingRule {
    /// Marketing messages to one user, from all numbers, within the window; 0 switches it off.
    pub per_user: u32,
    /// The rolling window.
    pub window_ms: i64,
    /// Share of users whose cap other businesses have used up on a given day.
    pub used_up_by_others: f64,
    /// How it is reported, for the United States too.
    pub reported: Reported,
    /// Dialling codes without the cap. Default: EEA, UK, Japan, South Korea, as Meta says.
    pub exempt_dialling_codes: Vec<String>,
    /// The same as ISO codes, for business-scoped user ids.
    pub exempt_countries: Vec<String>,
    /// Whether marketing templates to the United States always fail, also in a service window
    /// (Meta: since 1 April 2025).
    pub none_to_us: bool,
}

impl Default for MarketingRule {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            per_user: 0,
            window_ms: 24 * 3_600_000,
            used_up_by_others: 0.0,
            reported: Reported::ByWebhook,
            exempt_dialling_codes: owned(region::UNCAPPED_DIALLING_CODES),
            exempt_countries: owned(region::UNCAPPED_COUNTRIES),
            none_to_us: false,
        }
    }
}

/// An account at `/marketing_messages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketingAccount {
    /// The account.
    pub waba_id: String,
    /// Onboarded: messages go out as `marketing_lite`. Otherwise they silently go through the
    /// Cloud API, unless `product_policy` is `STRICT` (134102).
    #[serde(default)]
    pub onboarded: bool,
    /// `disable_marketing_messages_on_cloud_api`: marketing through the Cloud API fails (131063).
    #[serde(default)]
    pub cloud_api_disabled: bool,
    /// How long a template that is new here, or idle for 7 days, answers 134101 from its first
    /// call on (Meta: up to 10 min). 0: never.
    #[serde(default)]
    pub template_sync_ms: i64,
    /// Templates that the endpoint does not take, by name and whatever the policy (134102).
    #[serde(default)]
    pub unavailable_templates: Vec<String>,
    /// The code for a template of another category: 131055 or 134100.
    #[serde(default = "not_marketing_code_default")]
    pub not_marketing_code: i64,
}

fn not_marketing_code_default() -> i64 {
    131_055
}

/// Pacing: beyond a first quota, messages of a template are held until it was assessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pacing {
    /// Messages of a template before it is held; 0 switches pacing off. Meta names no number.
    /// Marketing is always paced, utility for 7 days after a utility template was paused.
    pub quota: u32,
    /// Every category is paced, as for portfolios with few template messages in a year.
    pub all_categories: bool,
    /// From the first held message until the verdict (Meta: p99 within 1 h).
    pub assess_ms: MsRange,
    /// The verdict: released, or every held message fails with 132015 and the template is paused.
    pub release: bool,
}

impl Default for Pacing {
    fn default() -> Self {
        let assess_ms = MsRange::new(60_000, 1_800_000);
        Self { quota: 0, all_categories: false, assess_ms, release: true }
    }
}

/// Calls within a rolling window. A refused call does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallLimit {
    /// Calls; 0 switches the limit off.
    pub calls: u32,
    /// The window.
    pub window_ms: i64,
}

impl Default for CallLimit {
    fn default() -> Self {
        Self { calls: 0, window_ms: 3_600_000 }
    }
}

/// Lifetime of messages from their acceptance on. What is not delivered by then is dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ttl {
    /// Whether it concerns every message; otherwise only those to offline recipients.
    pub enforced: bool,
    /// Templates with a lifetime of their own. Without: 10 min for authentication, else 30 days.
    pub templates: Vec<TemplateTtl>,
    /// The code of the webhook that reports an expiry (131043 in older lists). Default: none
    /// comes, as Meta's documentation tells callers to assume.
    pub expiry_code: Option<i64>,
}

/// `message_send_ttl_seconds` of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateTtl {
    /// Name of the template.
    pub name: String,
    /// Its language.
    pub language: String,
    /// Seconds, 1 to 2,592,000. For marketing it counts at `/marketing_messages` only.
    pub seconds: u32,
}

/// Ordinary recipients who get a message late.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Offline {
    /// Share of messages to such a recipient.
    pub share: f64,
    /// Until the recipient is back.
    pub for_ms: MsRange,
}

impl Default for Offline {
    fn default() -> Self {
        Self { share: 0.0, for_ms: MsRange::new(60_000, 86_400_000) }
    }
}

/// The automatic upgrade of a number; numbers of 20 per second (coexistence) never get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upgrade {
    /// Whether it happens by itself. It needs an unlimited portfolio.
    pub automatic: bool,
    /// Users the portfolio messaged within a day outside service windows (Meta: 100,000).
    pub unique_users: u64,
    /// The new level.
    pub per_second: u32,
    /// How long the number answers 131057 meanwhile (Meta: up to a minute).
    pub maintenance_ms: i64,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { automatic: false, unique_users: 100_000, per_second: 1_000, maintenance_ms: 60_000 }
    }
}

/// Meta's longest lifetime, and that of messages without one.
pub(crate) const TTL_SECONDS_MAX: u32 = 2_592_000;

impl Limits {
    /// These limits with the given ones changed: a JSON object with any subset of the fields,
    /// sections included. Lists are replaced as a whole.
    pub fn patched(&self, patch: &Value) -> Result<Self, Invalid> {
        let knob = |err: serde_json::Error| Invalid::Knob(err.to_string());
        let mut merged = serde_json::to_value(self).map_err(knob)?;
        if !patch.is_object() {
            return Err(Invalid::Knob("the limits must be a JSON object".to_owned()));
        }
        merge(&mut merged, patch);
        let limits: Self = serde_json::from_value(merged).map_err(knob)?;
        limits.check()?;
        Ok(limits)
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), Invalid> {
        for (index, portfolio) in self.portfolios.iter().enumerate() {
            let before = &self.portfolios[..index];
            if before.iter().any(|other| other.id == portfolio.id) {
                return Err(Invalid::PortfolioTwice(portfolio.id.clone()));
            }
            let taken = |id: &&String| before.iter().any(|other| other.waba_ids.contains(id));
            if let Some(id) = portfolio.waba_ids.iter().find(taken) {
                return Err(Invalid::AccountTwice(id.clone()));
            }
        }
        for (index, account) in self.marketing_accounts.iter().enumerate() {
            let same = |other: &MarketingAccount| other.waba_id == account.waba_id;
            if self.marketing_accounts[..index].iter().any(same) {
                return Err(Invalid::AccountTwice(account.waba_id.clone()));
            }
            if ![131_055, 134_100].contains(&account.not_marketing_code) {
                return Err(Invalid::Range("not_marketing_code", "131055 or 134100"));
            }
        }
        let ttl = |ttl: &TemplateTtl| !(1..=TTL_SECONDS_MAX).contains(&ttl.seconds);
        if self.ttl.templates.iter().any(ttl) {
            return Err(Invalid::Range("limits.ttl.templates.seconds", "1 to 2592000"));
        }
        let shares = [
            ("limits.marketing.used_up_by_others", self.marketing.used_up_by_others),
            ("limits.offline.share", self.offline.share),
        ];
        if let Some((name, _)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(Invalid::Probability(name));
        }
        let positive = [
            ("limits.marketing.window_ms", self.marketing.window_ms),
            ("limits.app_calls.window_ms", self.app_calls.window_ms),
            ("limits.account_calls.window_ms", self.account_calls.window_ms),
            ("limits.upgrade.per_second", i64::from(self.upgrade.per_second)),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value < 1) {
            return Err(Invalid::Zero(name));
        }
        let mut times = vec![
            self.portfolio.step_after_ms,
            self.upgrade.maintenance_ms,
            self.answer_grace_ms,
            self.webhook_grace_ms,
        ];
        times.extend(self.marketing_accounts.iter().map(|account| account.template_sync_ms));
        match times.iter().any(|time| *time < 0) {
            true => Err(Invalid::Range("a time in limits", "0 or more milliseconds")),
            false => Ok(()),
        }
    }
}

fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(fields.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_only_what_it_names() {
        let limits = Limits { answer_grace_ms: 7, ..Limits::default() };
        let patch = json!({
            "pair_model": "borrowing", "marketing": {"per_user": 2},
            "portfolios": [{"id": "p", "waba_ids": ["1"], "tier": "TIER_2K"}],
        });
        let patched = limits.patched(&patch).expect("valid");
        let expected = Limits {
            pair_model: PairModel::Borrowing,
            marketing: MarketingRule { per_user: 2, ..MarketingRule::default() },
            portfolios: vec![Portfolio {
                id: "p".to_owned(),
                waba_ids: vec!["1".to_owned()],
                tier: Tier::Tier2K,
            }],
            ..limits
        };
        assert_eq!(patched, expected);
    }

    #[test]
    fn a_wrong_patch_is_refused() {
        let portfolio =
            |id: &str, waba: &str| json!({"id": id, "waba_ids": [waba], "tier": "TIER_250"});
        for (patch, reason) in [
            (json!([1]), "object"),
            (json!({"pair": 1}), "pair"),
            (json!({"marketing": {"per_usr": 2}}), "per_usr"),
            (json!({"marketing": {"used_up_by_others": 1.5}}), "used_up_by_others"),
            (json!({"offline": {"share": -0.1}}), "offline.share"),
            (json!({"app_calls": {"window_ms": 0}}), "app_calls.window_ms"),
            (json!({"upgrade": {"maintenance_ms": -1}}), "time in limits"),
            (json!({"portfolios": [portfolio("p", "1"), portfolio("p", "2")]}), "portfolio p"),
            (json!({"portfolios": [portfolio("p", "1"), portfolio("q", "1")]}), "account 1"),
            (json!({"marketing_accounts": [{"waba_id": "1"}, {"waba_id": "1"}]}), "account 1"),
            (
                json!({"marketing_accounts": [{"waba_id": "1", "not_marketing_code": 1}]}),
                "not_marketing_code",
            ),
            (
                json!({"ttl": {"templates": [{"name": "a", "language": "b", "seconds": 0}]}}),
                "seconds",
            ),
        ] {
            let refused = Limits::default().patched(&patch).expect_err("refused").to_string();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn a_tier_has_the_name_it_is_written_with() {
        let mut tier = Tier::Tier250;
        loop {
            assert_eq!(json!(tier), tier.name());
            let Some(next) = tier.next() else { break };
            assert!(next.users().is_none_or(|users| Some(users) > tier.users()));
            tier = next;
        }
        assert_eq!(tier, Tier::Unlimited);
    }
}
