//! The verdict about one message, as a pure function.

use sendplane_domain::id::PhoneNumberId;
use sendplane_domain::lane::{Category, Lane};
use sendplane_domain::time::Timestamp;
use sendplane_domain::ttl;
use sendplane_wire::record::{
    AdmittedMessage, ParameterFormat, RuleResult, Template, TemplateParameter, Tenant, Verdict,
};

use super::consent::Consent;
use super::rules::{Failure, Finding, RULES};

/// Everything a verdict depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The message.
    pub message: &'a AdmittedMessage,
    /// The time of the judgement.
    pub now: Timestamp,
    /// The owner, if the table has it.
    pub tenant: Option<&'a Tenant>,
    /// The template asked for, if the table has it.
    pub template: Option<&'a Template>,
    /// What the contact agreed to.
    pub consent: &'a Consent,
    /// The number of this decision about the message, from 1.
    pub decision_seq: u32,
    /// Why send gave the message back after the decision before; `None` at the first.
    pub given_back: Option<&'a str>,
}

/// A verdict with its grounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Dispatch, suppress or block.
    pub verdict: Verdict,
    /// Code of the first rule that failed; `None` exactly when the message is dispatched.
    pub reason: Option<&'static str>,
    /// The reason in words, without personal data.
    pub detail: Option<String>,
    /// Every rule that could be evaluated, in order. All are, also after a failure, so that a
    /// caller sees at once what else is wrong; the first that failed decides.
    pub rules: Vec<RuleResult>,
    /// The lane from here on.
    pub lane: Lane,
    /// The template's category, if it is one of Meta's.
    pub category: Option<&'static str>,
    /// The number chosen; of a message that is not dispatched the number it asked for.
    pub phone_number_id: Option<PhoneNumberId>,
    /// The version of the template that was looked at.
    pub template_version: Option<i32>,
    /// What a dispatch needs besides; `Some` exactly when the message is dispatched.
    pub release: Option<Release>,
}

/// What the rules resolved for a message that may go out.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// The number to send from.
    pub phone_number_id: PhoneNumberId,
    /// The version of the template that the parameters were checked against.
    pub template_version: i32,
    /// The template's category.
    pub category: &'static str,
    /// Body parameters in the template's order.
    pub parameters: Vec<TemplateParameter>,
    /// No call may start after this time.
    pub valid_until: Timestamp,
}

/// Judges a message. Equal facts give an equal judgement.
pub fn judge(facts: &Facts<'_>) -> Judgement {
    let mut rules = Vec::with_capacity(RULES.len());
    let mut decisive: Option<Failure> = None;
    for (rule, evaluate) in RULES {
        let (passed, detail) = match evaluate(facts) {
            Finding::CannotTell => continue,
            Finding::Passed(detail) => (true, detail),
            Finding::Failed(failure) => {
                let detail = failure.detail.clone();
                decisive.get_or_insert(failure);
                (false, detail)
            }
        };
        rules.push(RuleResult { rule: (*rule).to_owned(), passed, detail: Some(detail) });
    }
    let release = if decisive.is_none() { release(facts) } else { None };
    // The rules leave no way to be dispatched without a number and a template; should one ever be
    // opened, the message is blocked and says so rather than sent half resolved.
    let (verdict, reason, detail) = match (decisive, &release) {
        (Some(failure), _) => (failure.verdict, Some(failure.reason), Some(failure.detail)),
        (None, Some(_)) => (Verdict::Dispatch, None, None),
        (None, None) => (Verdict::Block, Some("not_resolved"), None),
    };
    let category = facts.category();
    Judgement {
        verdict,
        reason,
        detail,
        rules,
        lane: facts.lane(),
        category: category.map(category_text),
        phone_number_id: facts.phone_number().or(facts.message.phone_number_id.as_ref()).cloned(),
        template_version: facts.template.map(|template| template.version),
        release,
    }
}

fn release(facts: &Facts<'_>) -> Option<Release> {
    let template = facts.template?;
    let parameters = template.body_variables.iter().map(|variable| {
        let name = match template.parameter_format {
            ParameterFormat::Named => Some(variable.clone()),
            ParameterFormat::Positional => None,
            ParameterFormat::Unknown => return None,
        };
        let value = facts.message.variables.get(variable)?.clone();
        Some(TemplateParameter { name, value })
    });
    Some(Release {
        phone_number_id: facts.phone_number()?.clone(),
        template_version: template.version,
        category: category_text(facts.category()?),
        parameters: parameters.collect::<Option<_>>()?,
        valid_until: valid_until(facts.message, template, facts.category()?),
    })
}

/// The deadline; for one-time codes whose template says how long Meta tries, so much earlier: a
/// code that arrives late does harm. For anything else late is better than never, and what Meta
/// may deliver after the deadline is counted by send.
fn valid_until(message: &AdmittedMessage, template: &Template, category: Category) -> Timestamp {
    if category != Category::Authentication || template.ttl_seconds.is_none() {
        return message.deadline;
    }
    let ttl = ttl::of_template(Some(category), template.ttl_seconds, false);
    ttl::last_call(message.admitted_at, message.deadline, ttl)
}

impl Facts<'_> {
    /// The template's category, if it is one a template can have.
    pub(super) fn category(&self) -> Option<Category> {
        match self.template?.category.as_str() {
            "authentication" => Some(Category::Authentication),
            "utility" => Some(Category::Utility),
            "marketing" => Some(Category::Marketing),
            _ => None,
        }
    }

    /// The number asked for, else the tenant's default; `None` if it is not the tenant's.
    pub(super) fn phone_number(&self) -> Option<&PhoneNumberId> {
        let tenant = self.tenant?;
        let wanted =
            self.message.phone_number_id.as_ref().unwrap_or(&tenant.default_phone_number_id);
        let owned = tenant.phone_numbers.iter().map(|number| &number.phone_number_id);
        owned.into_iter().find(|number| *number == wanted)
    }

    /// The lane of the template's category, but never up: what was asked for as bulk stays bulk.
    fn lane(&self) -> Lane {
        let asked = self.message.lane;
        self.category().map_or(asked, |category| asked.max(category.lane()))
    }
}

/// The category as records spell it.
pub(super) const fn category_text(category: Category) -> &'static str {
    match category {
        Category::Authentication => "authentication",
        Category::Utility => "utility",
        Category::Marketing => "marketing",
        Category::Service => "service",
    }
}
