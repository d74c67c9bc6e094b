//! The rules, in the order in which they decide.
//!
//! A rule's name and its reasons are stable. Details are for people and hold no personal data: names
//! of variables, never their values.

use sendplane_domain::lane::Category;
use sendplane_domain::provider_code::CodeClass;
use sendplane_wire::record::{ParameterFormat, Verdict};

use super::judge::{Facts, category_text};

/// Longest value of a variable, in characters: Meta's limit for a whole body.
const VALUE_CHARS_MAX: usize = 1024;

/// Most spaces in a row that Meta takes inside a value (error 132018).
const SPACES_MAX: usize = 4;

/// Most names listed in a detail, and the length each is cut to.
const NAMES_MAX: usize = 5;
const NAME_CHARS_MAX: usize = 64;

/// Decisions about one message that may release it. Each one after the first answers a fact that
/// changed or a refusal; a message that meets so many of them is held up by something else.
const DECISIONS_MAX: u32 = 5;

/// What a rule found.
pub(super) enum Finding {
    /// It holds; what was compared.
    Passed(String),
    /// It does not hold.
    Failed(Failure),
    /// What it compares is missing; the rule that requires it has failed.
    CannotTell,
}

/// A rule that does not hold.
pub(super) struct Failure {
    pub verdict: Verdict,
    pub reason: &'static str,
    pub detail: String,
}

pub(super) type Rule = fn(&Facts<'_>) -> Finding;

/// Every rule. Consent comes before the template's own rules: that a person must not be written to
/// is the stronger statement about a message that has both faults.
pub(super) const RULES: &[(&str, Rule)] = &[
    ("tenant_known", tenant_known),
    ("tenant_active", tenant_active),
    ("deadline", deadline),
    ("consent", consent),
    ("provider_refusal", provider_refusal),
    ("decisions", decisions),
    ("template_known", template_known),
    ("template_approved", template_approved),
    ("category_known", category_known),
    ("parameter_format_known", parameter_format_known),
    ("phone_number", phone_number),
    ("variables_complete", variables_complete),
    ("variables_known", variables_known),
    ("variables_well_formed", variables_well_formed),
    ("variables_length", variables_length),
];

fn tenant_known(facts: &Facts<'_>) -> Finding {
    match facts.tenant {
        Some(_) => passed("in the tenant table"),
        None => block("tenant_unknown", "no record in the tenant table"),
    }
}

fn tenant_active(facts: &Facts<'_>) -> Finding {
    match facts.tenant {
        None => Finding::CannotTell,
        Some(tenant) if tenant.active => passed("active"),
        Some(_) => block("tenant_inactive", "the tenant is switched off"),
    }
}

fn deadline(facts: &Facts<'_>) -> Finding {
    let (deadline, now) = (facts.message.deadline, facts.now);
    if now <= deadline {
        return passed(format!("{} ms left", deadline.since(now).as_millis()));
    }
    let late = now.since(deadline).as_millis();
    block("deadline_passed", format!("expired {late} ms before it was judged"))
}

fn consent(facts: &Facts<'_>) -> Finding {
    let consent = facts.consent;
    let suppress = |reason, detail: &str| {
        Finding::Failed(Failure { verdict: Verdict::Suppress, reason, detail: detail.to_owned() })
    };
    if consent.all.is_withdrawn {
        return suppress("consent_withdrawn_all", "the contact withdrew consent to every message");
    }
    match (consent.marketing.is_withdrawn, facts.category()) {
        (true, Some(Category::Marketing)) => suppress(
            "consent_withdrawn_marketing",
            "the contact withdrew consent to marketing, which the template is",
        ),
        (true, None) => Finding::CannotTell,
        (true, Some(Category::Authentication | Category::Utility | Category::Service))
        | (false, _) => passed(format!("not withdrawn, consent_seq {}", consent.consent_seq)),
    }
}

/// Whether the provider refused the message for a reason that no other decision can remove.
fn provider_refusal(facts: &Facts<'_>) -> Finding {
    let refused = |class: &CodeClass| facts.given_back == Some(class.as_str());
    let Some(class) = CodeClass::ALL.into_iter().find(refused) else {
        return passed("not refused");
    };
    let fail = |verdict, detail: &str| {
        Finding::Failed(Failure { verdict, reason: class.as_str(), detail: detail.to_owned() })
    };
    match class {
        CodeClass::RecipientMarketingCap => {
            fail(Verdict::Suppress, "the provider takes no more marketing for this person for now")
        }
        CodeClass::WindowClosed => {
            fail(Verdict::Block, "the provider takes it only within the customer's window")
        }
        CodeClass::RouteMarketing | CodeClass::RouteMessages => {
            fail(Verdict::Block, "the provider takes it only through its other endpoint")
        }
        // Whether it has passed by now is send's to know, which holds the message as long.
        other => passed(format!("refused as {}, which may pass", other.as_str())),
    }
}

fn decisions(facts: &Facts<'_>) -> Finding {
    let number = facts.decision_seq;
    if number <= DECISIONS_MAX {
        return passed(format!("decision {number} of at most {DECISIONS_MAX}"));
    }
    let why = cut(facts.given_back.unwrap_or("no reason"));
    block(
        "replanned_too_often",
        format!("released {DECISIONS_MAX} times and given back each time, the last time for {why}"),
    )
}

fn template_known(facts: &Facts<'_>) -> Finding {
    match facts.template {
        Some(template) => passed(format!("version {}", template.version)),
        None => block(
            "template_unknown",
            format!(
                "no template {} in {} in the template table",
                cut(facts.message.template_name.as_str()),
                cut(&facts.message.template_language)
            ),
        ),
    }
}

fn template_approved(facts: &Facts<'_>) -> Finding {
    match facts.template.map(|template| template.status.as_str()) {
        None => Finding::CannotTell,
        Some("APPROVED") => passed("APPROVED"),
        Some(status) => block("template_not_approved", format!("status {}", cut(status))),
    }
}

fn category_known(facts: &Facts<'_>) -> Finding {
    match (facts.template, facts.category()) {
        (None, _) => Finding::CannotTell,
        (Some(_), Some(category)) => passed(category_text(category)),
        (Some(template), None) => block(
            "category_unknown",
            format!("{} is not a category of a template", cut(&template.category)),
        ),
    }
}

fn parameter_format_known(facts: &Facts<'_>) -> Finding {
    match facts.template.map(|template| template.parameter_format) {
        None => Finding::CannotTell,
        Some(ParameterFormat::Named) => passed("named"),
        Some(ParameterFormat::Positional) => passed("positional"),
        Some(ParameterFormat::Unknown) => {
            block("parameter_format_unknown", "this release cannot fill this template")
        }
    }
}

fn phone_number(facts: &Facts<'_>) -> Finding {
    match (facts.tenant, facts.phone_number()) {
        (None, _) => Finding::CannotTell,
        (Some(_), Some(number)) => passed(number.as_str()),
        (Some(_), None) => {
            let which = match facts.message.phone_number_id {
                Some(_) => "the number asked for",
                None => "the tenant's default number",
            };
            block("phone_number_unknown", format!("{which} is not one of the tenant's"))
        }
    }
}

fn variables_complete(facts: &Facts<'_>) -> Finding {
    let Some(template) = facts.template else {
        return Finding::CannotTell;
    };
    let has_value = |name: &String| {
        facts.message.variables.get(name).is_some_and(|value| !value.trim().is_empty())
    };
    let wanted = template.body_variables.iter();
    let missing: Vec<&str> = wanted.filter(|name| !has_value(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return passed(format!("{} given", template.body_variables.len()));
    }
    block("variables_incomplete", format!("missing or empty: {}", names(&missing)))
}

fn variables_known(facts: &Facts<'_>) -> Finding {
    let Some(template) = facts.template else {
        return Finding::CannotTell;
    };
    let given = facts.message.variables.keys();
    let unknown: Vec<&str> =
        given.filter(|name| !template.body_variables.contains(name)).map(String::as_str).collect();
    if unknown.is_empty() {
        return passed("none beyond the template's");
    }
    block("variables_unknown", format!("not in the template: {}", names(&unknown)))
}

fn variables_well_formed(facts: &Facts<'_>) -> Finding {
    let fault_of = |value: &str| {
        if value.contains(['\n', '\r']) {
            Some("a line break")
        } else if value.contains('\t') {
            Some("a tab")
        } else if value.contains(&" ".repeat(SPACES_MAX + 1)) {
            Some("more than 4 spaces in a row")
        } else {
            None
        }
    };
    let mut given = facts.message.variables.iter();
    match given.find_map(|(name, value)| Some((name, fault_of(value)?))) {
        Some((name, fault)) => {
            block("variable_malformed", format!("{} contains {fault}", cut(name)))
        }
        None => passed("no line breaks, tabs or runs of spaces"),
    }
}

fn variables_length(facts: &Facts<'_>) -> Finding {
    let long: Vec<&str> = facts
        .message
        .variables
        .iter()
        .filter(|(_, value)| value.chars().count() > VALUE_CHARS_MAX)
        .map(|(name, _)| name.as_str())
        .collect();
    if long.is_empty() {
        return passed(format!("at most {VALUE_CHARS_MAX} characters each"));
    }
    block(
        "variable_too_long",
        format!("longer than {VALUE_CHARS_MAX} characters: {}", names(&long)),
    )
}

fn passed(detail: impl Into<String>) -> Finding {
    Finding::Passed(detail.into())
}

fn block(reason: &'static str, detail: impl Into<String>) -> Finding {
    Finding::Failed(Failure { verdict: Verdict::Block, reason, detail: detail.into() })
}

/// The first few names; a caller may send any number of any length.
fn names(all: &[&str]) -> String {
    let shown: Vec<String> = all.iter().take(NAMES_MAX).map(|name| cut(name)).collect();
    let listed = shown.join(", ");
    match all.len().saturating_sub(NAMES_MAX) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(NAME_CHARS_MAX).collect()
}
