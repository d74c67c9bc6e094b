//! What a notice says, as far as a send plane acts on it.
//!
//! Meta's fields: `phone_number_quality_update` (throughput, and in older payloads the limit of
//! users), `business_capability_update` (limit of users), `message_template_status_update`,
//! `message_template_quality_update`, `template_category_update`, `account_update`,
//! `account_review_update`, `account_alerts`. Everything else is of kind unknown and keeps its
//! value.

use sendplane_domain::id::TemplateName;
use serde_json::Value;

use super::fields;
use super::items::Notice;
use crate::record::NoticeKind;

/// Meta: the throughput of a number after its upgrade, in messages per second.
const UPGRADED_MESSAGES_PER_SECOND: i32 = 1_000;

/// Meta: unlimited, in the number form of the limit; ours too.
const UNLIMITED: i32 = -1;

/// Status of a template whose category is going to change, but has not changed yet.
const IMPENDING: &str = "IMPENDING";

/// One piece of news. What a notice does not say is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What it is about.
    pub kind: NoticeKind,
    /// The number itself, digits only, where Meta gives no id.
    pub display_number: Option<String>,
    /// New ceiling of the number.
    pub messages_per_second: Option<i32>,
    /// New limit of users; -1 for none.
    pub users_per_day: Option<i32>,
    /// The template.
    pub template_name: Option<TemplateName>,
    /// Its language, with an underscore: Meta writes `en-US` and `en_US`.
    pub template_language: Option<String>,
    /// Meta's word for the new status or the event, in capitals.
    pub status: Option<String>,
    /// The template's new category, in small letters.
    pub category: Option<String>,
}

impl Notice {
    /// What it says: at least one piece of news, of kind unknown if there is nothing we understand.
    pub fn news(&self) -> Vec<News> {
        let value: Value = serde_json::from_str(&self.value).unwrap_or_default();
        match self.field.as_str() {
            "phone_number_quality_update" => number_news(&value),
            "business_capability_update" => match user_limit(&value) {
                Some(limit) => vec![News { users_per_day: Some(limit), ..of_limit() }],
                None => vec![unknown()],
            },
            "message_template_status_update" => {
                let status = capitals(&value["event"]);
                vec![News { status, ..about_template(NoticeKind::TemplateStatus, &value) }]
            }
            "message_template_quality_update" => {
                let status = capitals(&value["new_quality_score"]);
                vec![News { status, ..about_template(NoticeKind::Quality, &value) }]
            }
            "template_category_update" => vec![category_news(&value)],
            "account_update" => vec![account_news(&value["event"])],
            "account_review_update" => vec![account_news(&value["decision"])],
            "account_alerts" => {
                let nested = &value["alert_info"]["alert_type"];
                let event = if nested.is_null() { &value["alert_type"] } else { nested };
                vec![account_news(event)]
            }
            _ => vec![unknown()],
        }
    }
}

/// `event` says what happened to the number; the limit of users may come with it.
fn number_news(value: &Value) -> Vec<News> {
    let status = capitals(&value["event"]);
    let digits = fields::id(&value["display_phone_number"]).map(|text| digits(&text));
    let is_upgrade = status.as_deref() == Some("THROUGHPUT_UPGRADE");
    let limit = user_limit(value);
    let mut news = Vec::new();
    if is_upgrade || limit.is_none() {
        news.push(News {
            kind: if is_upgrade { NoticeKind::Throughput } else { NoticeKind::Quality },
            messages_per_second: is_upgrade.then_some(UPGRADED_MESSAGES_PER_SECOND),
            display_number: digits.clone(),
            status: status.clone(),
            ..unknown()
        });
    }
    if limit.is_some() {
        news.push(News { users_per_day: limit, display_number: digits, status, ..of_limit() });
    }
    news
}

/// The limit of users: `TIER_2K`, `TIER_UNLIMITED`, 2000, or -1 for none.
fn user_limit(value: &Value) -> Option<i32> {
    let keys = ["max_daily_conversations_per_business", "current_limit"];
    let found = keys.iter().map(|key| &value[*key]).find(|found| !found.is_null())?;
    if let Some(number) = fields::integer(found) {
        return i32::try_from(number).ok().filter(|limit| *limit >= UNLIMITED);
    }
    let word = fields::word(found)?.to_ascii_uppercase();
    let tier = word.strip_prefix("TIER_")?;
    if tier == "UNLIMITED" {
        return Some(UNLIMITED);
    }
    let (digits, factor) = match tier.strip_suffix('K') {
        Some(thousands) => (thousands, 1_000),
        None => match tier.strip_suffix('M') {
            Some(millions) => (millions, 1_000_000),
            None => (tier, 1),
        },
    };
    digits.parse::<i32>().ok().filter(|count| *count >= 0)?.checked_mul(factor)
}

/// A change that is done has `previous_category`; one that is announced has `correct_category`, and
/// calls the present category the new one.
fn category_news(value: &Value) -> News {
    let about = about_template(NoticeKind::TemplateCategory, value);
    if value["previous_category"].is_null() && !value["correct_category"].is_null() {
        return News { status: Some(IMPENDING.to_owned()), ..about };
    }
    let category = fields::word(&value["new_category"]).map(|word| word.to_ascii_lowercase());
    News { category, ..about }
}

fn account_news(event: &Value) -> News {
    News { kind: NoticeKind::Account, status: capitals(event), ..unknown() }
}

fn about_template(kind: NoticeKind, value: &Value) -> News {
    let language = fields::word(&value["message_template_language"]);
    News {
        kind,
        template_name: fields::id(&value["message_template_name"]).map(TemplateName::new),
        template_language: language.map(|code| code.replace('-', "_")),
        ..unknown()
    }
}

fn of_limit() -> News {
    News { kind: NoticeKind::UserLimit, ..unknown() }
}

fn unknown() -> News {
    News {
        kind: NoticeKind::Unknown,
        display_number: None,
        messages_per_second: None,
        users_per_day: None,
        template_name: None,
        template_language: None,
        status: None,
        category: None,
    }
}

fn capitals(value: &Value) -> Option<String> {
    fields::word(value).map(|word| word.to_ascii_uppercase())
}

/// The digits of a phone number in any formatting.
pub fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn news(field: &str, value: Value) -> Vec<News> {
        let notice = Notice {
            waba_id: "1".into(),
            phone_number_id: None,
            field: field.into(),
            value: value.to_string(),
            occurred_at: None,
        };
        notice.news()
    }

    fn only(field: &str, value: Value) -> News {
        let [one] = news(field, value).try_into().expect("one piece of news");
        one
    }

    #[test]
    fn a_number_is_upgraded() {
        let value = json!({"display_phone_number": "1 555-078 3881", "event": "THROUGHPUT_UPGRADE",
            "max_daily_conversations_per_business": "TIER_UNLIMITED"});
        let [throughput, limit] =
            news("phone_number_quality_update", value).try_into().expect("two pieces");
        assert_eq!(throughput.kind, NoticeKind::Throughput);
        assert_eq!(throughput.messages_per_second, Some(1_000));
        assert_eq!(throughput.display_number.as_deref(), Some("15550783881"));
        assert_eq!((limit.kind, limit.users_per_day), (NoticeKind::UserLimit, Some(-1)));

        let flagged = json!({"display_phone_number": "15550783881", "event": "FLAGGED"});
        let flagged = only("phone_number_quality_update", flagged);
        assert_eq!((flagged.kind, flagged.messages_per_second), (NoticeKind::Quality, None));
        assert_eq!(flagged.status.as_deref(), Some("FLAGGED"));
        let older = json!({"event": "DOWNGRADE", "current_limit": "TIER_250"});
        assert_eq!(only("phone_number_quality_update", older).users_per_day, Some(250));
    }

    #[test]
    fn limits_of_users_come_in_many_forms() {
        for (given, expected) in [
            (json!("TIER_250"), Some(250)),
            (json!("TIER_2K"), Some(2_000)),
            (json!("TIER_100K"), Some(100_000)),
            (json!("TIER_1M"), Some(1_000_000)),
            (json!("tier_unlimited"), Some(-1)),
            (json!(2_000), Some(2_000)),
            (json!("2000"), Some(2_000)),
            (json!(-1), Some(-1)),
            (json!("TIER_NOT_SET"), None),
            (json!("TIER_-5"), None),
            (json!("TIER_9999999K"), None),
            (json!(-7), None),
            (json!(null), None),
            (json!({}), None),
        ] {
            let value = json!({"max_daily_conversations_per_business": given});
            let one = only("business_capability_update", value);
            assert_eq!(one.users_per_day, expected, "{given}");
            let kind = if expected.is_some() { NoticeKind::UserLimit } else { NoticeKind::Unknown };
            assert_eq!(one.kind, kind, "{given}");
        }
    }

    #[test]
    fn templates_change_their_status_and_category() {
        let value = json!({"event": "PAUSED", "message_template_id": 12_345,
            "message_template_name": "offer", "message_template_language": "en-US",
            "reason": null, "other_info": {"title": "FIRST_PAUSE"}});
        let paused = only("message_template_status_update", value);
        assert_eq!(paused.kind, NoticeKind::TemplateStatus);
        assert_eq!(paused.template_name, Some(TemplateName::new("offer")));
        assert_eq!(paused.template_language.as_deref(), Some("en_US"));
        assert_eq!(paused.status.as_deref(), Some("PAUSED"));

        let template = json!({"message_template_name": "offer", "message_template_language": "de"});
        let with = |more: Value| {
            let mut value = template.clone();
            let fields = more.as_object().expect("an object").clone();
            value.as_object_mut().expect("an object").extend(fields);
            only("template_category_update", value)
        };
        let done = with(json!({"previous_category": "UTILITY", "new_category": "MARKETING"}));
        assert_eq!((done.category.as_deref(), done.status), (Some("marketing"), None));
        let soon = with(json!({"correct_category": "MARKETING", "new_category": "UTILITY"}));
        assert_eq!((soon.category, soon.status.as_deref()), (None, Some("IMPENDING")));

        let quality = json!({"previous_quality_score": "GREEN", "new_quality_score": "RED",
            "message_template_name": "offer"});
        let quality = only("message_template_quality_update", quality);
        assert_eq!((quality.kind, quality.status.as_deref()), (NoticeKind::Quality, Some("RED")));
    }

    #[test]
    fn what_we_do_not_understand_is_unknown_and_never_nothing() {
        for (field, value) in [
            ("flows", json!({"event": "FLOW_STATUS_CHANGE"})),
            ("", json!({})),
            ("business_capability_update", json!({"max_phone_numbers_per_waba": 25})),
            ("business_capability_update", json!([])),
        ] {
            assert_eq!(only(field, value), unknown(), "{field}");
        }
        for (field, value) in [
            ("account_update", json!({"event": "account_restriction", "restriction_info": []})),
            ("account_review_update", json!({"decision": "ACCOUNT_RESTRICTION"})),
            ("account_alerts", json!({"alert_info": {"alert_type": "ACCOUNT_RESTRICTION"}})),
        ] {
            let one = only(field, value);
            let expected = (NoticeKind::Account, Some("ACCOUNT_RESTRICTION"));
            assert_eq!((one.kind, one.status.as_deref()), expected, "{field}");
        }
        let odd = only("account_update", json!({"event": 7}));
        assert_eq!((odd.kind, odd.status), (NoticeKind::Account, None));
    }
}
