//! What the modelled account looks like: numbers, templates, limits, delays.

mod limits;

use serde::{Deserialize, Serialize};

use crate::fault::Faults;
pub(crate) use limits::TTL_SECONDS_MAX;
pub use limits::{
    CallLimit, Limits, MarketingAccount, MarketingRule, Offline, Pacing, PairModel, Portfolio,
    PortfolioRule, Reported, TemplateTtl, Tier, Ttl, Upgrade,
};

/// The whole account. Every field has a default, so an empty file is the demo account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seed of every random decision.
    pub seed: u64,
    /// Mixed into message ids, so that two runs of one seed do not give two messages one id.
    pub epoch: u64,
    /// Key of the webhook signature (`X-Hub-Signature-256`).
    pub app_secret: String,
    /// Token of the webhook verification handshake (`hub.verify_token`).
    pub verify_token: String,
    /// Bearer tokens that are accepted; any of them may send from any number.
    pub access_tokens: Vec<String>,
    /// Bearer tokens with an end or with accounts of their own.
    pub tokens: Vec<Token>,
    /// The business phone numbers.
    pub phone_numbers: Vec<PhoneNumber>,
    /// Message templates, keyed by (WABA, name, language).
    pub templates: Vec<Template>,
    /// Delays of status webhooks.
    pub delays: Delays,
    /// Pair limit (business number, recipient); answers 131056 when exceeded.
    pub pair_limit: PairLimit,
    /// Whether a message other than a template outside the 24 h service window fails with 131047
    /// after acceptance, as observed at Meta. Recipients of the test range are exempt.
    pub service_window_enforced: bool,
    /// Share of ordinary delivered messages that are read, 0 to 1.
    pub read_ratio: f64,
    /// Status updates of one number per webhook body, at most (Meta: up to 1000, not guaranteed).
    pub updates_per_webhook_max: usize,
    /// Whether webhooks carry business-scoped user ids (Meta does so since spring 2026).
    pub business_scoped_ids: bool,
    /// Disturbances at the start; they can be changed while running.
    pub faults: Faults,
    /// Limits above these at the start; they can be changed while running.
    pub limits: Limits,
}

/// A bearer token that is not valid for ever and everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The secret.
    pub token: String,
    /// From when on it answers 190, Unix milliseconds; absent: never.
    #[serde(default)]
    pub expires_at_ms: Option<i64>,
    /// Accounts it may use (others answer 10); empty: all.
    #[serde(default)]
    pub waba_ids: Vec<String>,
}

/// One business phone number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhoneNumber {
    /// Graph id, the path segment of a send.
    pub id: String,
    /// Digits with country code, without plus sign.
    pub display_number: String,
    /// WhatsApp Business Account it belongs to.
    pub waba_id: String,
    /// Messages per second in both directions together (Meta: 80, after an upgrade 1000).
    #[serde(default = "throughput_default")]
    pub throughput_per_second: u32,
}

fn throughput_default() -> u32 {
    80
}

/// One template in one language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// WABA that owns it; absent: every WABA of the account has it.
    #[serde(default)]
    pub waba_id: Option<String>,
    /// Lower-case name.
    pub name: String,
    /// Language code, e.g. `en_US`.
    pub language: String,
    /// Only [`TemplateStatus::Approved`] can be sent.
    #[serde(default)]
    pub status: TemplateStatus,
    /// Decides price and endpoint.
    pub category: Category,
    /// Variables of the body.
    #[serde(default)]
    pub body: Variables,
    /// Kind of header.
    #[serde(default)]
    pub header: Header,
    /// URL buttons that have a variable, counted from button index 0.
    #[serde(default)]
    pub url_buttons: u32,
}

/// Variables of a template body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variables {
    /// `{{1}}`, `{{2}}`, …: given by order.
    Positional(usize),
    /// `{{order_id}}`: each parameter carries `parameter_name`.
    Named(Vec<String>),
}

impl Default for Variables {
    fn default() -> Self {
        Self::Positional(0)
    }
}

/// Header of a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Header {
    /// No header, or a text without variable.
    #[default]
    None,
    /// A text with one variable.
    Text,
    /// An image by id or link.
    Image,
    /// A video by id or link.
    Video,
    /// A document by id or link.
    Document,
    /// A location.
    Location,
}

/// Review state of a template; names as in `message_template_status_update`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TemplateStatus {
    /// Can be sent.
    #[default]
    Approved,
    /// In review: answers 132001.
    Pending,
    /// Refused in review: answers 132001.
    Rejected,
    /// Low quality: answers 132015.
    Paused,
    /// Off for good: answers 132016.
    Disabled,
}

/// Template category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// One-time codes.
    Authentication,
    /// Advertising.
    Marketing,
    /// About an order or account of the recipient.
    Utility,
}

impl Category {
    /// The value of `pricing.category`.
    pub fn price_category(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Marketing => "marketing",
            Self::Utility => "utility",
        }
    }
}

/// Pair limit as a token bucket: Meta allows 1 message per 6 s and a burst of 45 on credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairLimit {
    /// Messages in a burst; 0 switches the limit off.
    pub burst: u32,
    /// Milliseconds until one message is earned back.
    pub refill_ms: i64,
}

impl Default for PairLimit {
    fn default() -> Self {
        Self { burst: 45, refill_ms: 6_000 }
    }
}

/// Delays of status webhooks, each after the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delays {
    /// From acceptance to `sent`.
    pub sent_ms: MsRange,
    /// From `sent` to `delivered`.
    pub delivered_ms: MsRange,
    /// From `delivered` to `read`.
    pub read_ms: MsRange,
    /// From acceptance or the status before to `failed`.
    pub failed_ms: MsRange,
    /// How long a message is held for quality assessment, unless its number says otherwise.
    pub held_ms: MsRange,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            sent_ms: MsRange::new(20, 200),
            delivered_ms: MsRange::new(100, 1_500),
            read_ms: MsRange::new(500, 5_000),
            failed_ms: MsRange::new(50, 1_000),
            held_ms: MsRange::new(20_000, 60_000),
        }
    }
}

/// A closed range in milliseconds, written as `[min, max]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[u64; 2]", into = "[u64; 2]")]
pub struct MsRange {
    min: u64,
    max: u64,
}

impl MsRange {
    /// The range `min..=max`.
    ///
    /// # Panics
    /// When `min > max`.
    pub const fn new(min: u64, max: u64) -> Self {
        assert!(min <= max, "a range starts before it ends");
        Self { min, max }
    }

    /// The least value.
    pub fn min(self) -> u64 {
        self.min
    }

    /// The greatest value.
    pub fn max(self) -> u64 {
        self.max
    }

    pub(crate) fn draw(self, rng: &mut crate::rng::Rng) -> u64 {
        rng.between(self.min, self.max)
    }
}

impl TryFrom<[u64; 2]> for MsRange {
    type Error = &'static str;

    fn try_from([min, max]: [u64; 2]) -> Result<Self, Self::Error> {
        if min > max {
            Err("a range must be [min, max] with min <= max")
        } else {
            Ok(Self { min, max })
        }
    }
}

impl From<MsRange> for [u64; 2] {
    fn from(range: MsRange) -> Self {
        [range.min, range.max]
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Two numbers with one Graph id.
    #[error("phone number id {0} is configured twice")]
    PhoneNumberTwice(String),
    /// Two templates with one key.
    #[error("template {name} ({language}) is configured twice for one account")]
    TemplateTwice {
        /// Name of the template.
        name: String,
        /// Its language.
        language: String,
    },
    /// Two portfolios with one id.
    #[error("portfolio {0} is configured twice")]
    PortfolioTwice(String),
    /// An account in two portfolios, or with two states at the marketing endpoint.
    #[error("account {0} is configured twice in one section of limits")]
    AccountTwice(String),
    /// A token in two places.
    #[error("an access token is configured twice")]
    TokenTwice,
    /// A value that is not possible.
    #[error("{0} must be {1}")]
    Range(&'static str, &'static str),
    /// A probability outside 0 to 1.
    #[error("{0} must be between 0 and 1")]
    Probability(&'static str),
    /// A limit that must be at least 1.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// A knob that is unknown or has the wrong type.
    #[error("{0}")]
    Knob(String),
}

impl Config {
    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), Invalid> {
        for (index, number) in self.phone_numbers.iter().enumerate() {
            if self.phone_numbers[..index].iter().any(|other| other.id == number.id) {
                return Err(Invalid::PhoneNumberTwice(number.id.clone()));
            }
            if number.throughput_per_second == 0 {
                return Err(Invalid::Zero("throughput_per_second"));
            }
        }
        for (index, template) in self.templates.iter().enumerate() {
            let same = |other: &Template| {
                (&other.name, &other.language) == (&template.name, &template.language)
                    && (other.waba_id == template.waba_id
                        || other.waba_id.is_none()
                        || template.waba_id.is_none())
            };
            if self.templates[..index].iter().any(same) {
                let Template { name, language, .. } = template.clone();
                return Err(Invalid::TemplateTwice { name, language });
            }
        }
        if self.updates_per_webhook_max == 0 {
            return Err(Invalid::Zero("updates_per_webhook_max"));
        }
        if self.pair_limit.burst > 0 && self.pair_limit.refill_ms < 1 {
            return Err(Invalid::Zero("pair_limit.refill_ms"));
        }
        if !(0.0..=1.0).contains(&self.read_ratio) {
            return Err(Invalid::Probability("read_ratio"));
        }
        for (index, Token { token, .. }) in self.tokens.iter().enumerate() {
            let before = &self.tokens[..index];
            if self.access_tokens.contains(token) || before.iter().any(|t| t.token == *token) {
                return Err(Invalid::TokenTwice);
            }
        }
        self.limits.check()?;
        self.faults.check()
    }
}

impl Default for Config {
    fn default() -> Self {
        let number = |id: &str, display: &str, per_second| PhoneNumber {
            id: id.to_owned(),
            display_number: display.to_owned(),
            waba_id: "200000000000001".to_owned(),
            throughput_per_second: per_second,
        };
        let template = |name: &str, category, body| Template {
            waba_id: None,
            name: name.to_owned(),
            language: "en_US".to_owned(),
            status: TemplateStatus::Approved,
            category,
            body,
            header: Header::None,
            url_buttons: 0,
        };
        Self {
            seed: 1,
            epoch: 0,
            app_secret: "metasim-app-secret".to_owned(),
            verify_token: "metasim-verify-token".to_owned(),
            access_tokens: vec!["metasim-token".to_owned()],
            tokens: Vec::new(),
            phone_numbers: vec![
                number("100000000000001", "15550100001", 80),
                number("100000000000002", "15550100002", 1_000),
            ],
            templates: vec![
                template("order_confirmed", Category::Utility, Variables::Positional(2)),
                template(
                    "order_shipped",
                    Category::Utility,
                    Variables::Named(vec!["order_id".to_owned(), "carrier".to_owned()]),
                ),
                Template {
                    url_buttons: 1,
                    ..template("login_code", Category::Authentication, Variables::Positional(1))
                },
                template("season_sale", Category::Marketing, Variables::Positional(1)),
            ],
            delays: Delays::default(),
            pair_limit: PairLimit::default(),
            service_window_enforced: true,
            read_ratio: 1.0,
            updates_per_webhook_max: 20,
            business_scoped_ids: true,
            faults: Faults::default(),
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_be_used() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn contradictions_are_refused() {
        let check = |change: &dyn Fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().expect_err("refused")
        };
        let twice =
            check(&|config| config.phone_numbers[1].id = config.phone_numbers[0].id.clone());
        assert_eq!(twice, Invalid::PhoneNumberTwice("100000000000001".to_owned()));
        let zero = check(&|config| config.phone_numbers[0].throughput_per_second = 0);
        assert_eq!(zero, Invalid::Zero("throughput_per_second"));
        // A template of every account and one of a single account would both match.
        let twice = check(&|config| {
            let mut copy = config.templates[0].clone();
            copy.waba_id = Some("200000000000001".to_owned());
            config.templates.push(copy);
        });
        assert!(matches!(twice, Invalid::TemplateTwice { .. }), "{twice}");
        let zero = check(&|config| config.updates_per_webhook_max = 0);
        assert_eq!(zero, Invalid::Zero("updates_per_webhook_max"));
        let zero = check(&|config| config.pair_limit.refill_ms = 0);
        assert_eq!(zero, Invalid::Zero("pair_limit.refill_ms"));
        let ratio = check(&|config| config.read_ratio = 1.1);
        assert_eq!(ratio, Invalid::Probability("read_ratio"));
        let knob = check(&|config| config.faults.lose_answer = f64::NAN);
        assert_eq!(knob, Invalid::Probability("lose_answer"));
    }

    #[test]
    fn one_template_may_differ_between_accounts() {
        let mut config = Config::default();
        for id in ["1", "2"] {
            let mut template = config.templates[0].clone();
            template.name = "both".to_owned();
            template.waba_id = Some(id.to_owned());
            config.templates.push(template);
        }
        assert_eq!(config.check(), Ok(()));
    }
}
