//! Checks a template message against the configured templates.

use serde_json::Value;

use crate::code::Refusal;
use crate::config::{Category, Config, Header, Template, TemplateStatus, Variables};

/// Meta's limit of a template body, in characters; the model knows only the parameters' share.
pub const BODY_LENGTH_MAX: usize = 1024;

/// Finds the template and checks every parameter; the index in [`Config::templates`].
pub(crate) fn check(config: &Config, waba_id: &str, given: &Value) -> Result<usize, Refusal> {
    let name = text(given.get("name"), "template.name")?;
    let language = given.get("language").and_then(|language| language.get("code"));
    let language = text(language, "template.language.code")?;
    let found = config.templates.iter().position(|template| {
        template.name == name
            && template.language == language
            && template.waba_id.as_ref().is_none_or(|id| id == waba_id)
    });
    let missing =
        || Refusal::new(132_001, format!("template name ({name}) does not exist in {language}"));
    let index = found.ok_or_else(missing)?;
    let template = &config.templates[index];
    match template.status {
        TemplateStatus::Approved => {}
        TemplateStatus::Pending | TemplateStatus::Rejected => return Err(missing()),
        TemplateStatus::Paused => {
            return Err(Refusal::new(132_015, "Template is paused due to low quality."));
        }
        TemplateStatus::Disabled => {
            return Err(Refusal::new(132_016, "Template is disabled for good."));
        }
    }
    let none = Vec::new();
    let components = match given.get("components") {
        None | Some(Value::Null) => &none,
        Some(Value::Array(components)) => components,
        Some(_) => return Err(Refusal::new(100, "template.components must be an array.")),
    };
    check_types(components)?;
    check_header(template, components)?;
    check_body(template, components)?;
    check_url_buttons(template, components)?;
    Ok(index)
}

fn text<'a>(value: Option<&'a Value>, name: &str) -> Result<&'a str, Refusal> {
    match value.and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(Refusal::new(100, format!("The parameter {name} is required."))),
    }
}

fn component_type(component: &Value) -> String {
    component.get("type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase()
}

fn check_types(components: &[Value]) -> Result<(), Refusal> {
    const KNOWN: &[&str] = &["header", "body", "button", "carousel", "limited_time_offer"];
    match components.iter().map(component_type).find(|kind| !KNOWN.contains(&kind.as_str())) {
        Some(kind) => Err(Refusal::new(100, format!("Unknown component type \"{kind}\"."))),
        None => Ok(()),
    }
}

fn parameters<'a>(components: &'a [Value], kind: &str) -> &'a [Value] {
    components
        .iter()
        .find(|component| component_type(component) == kind)
        .and_then(|component| component.get("parameters"))
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn check_header(template: &Template, components: &[Value]) -> Result<(), Refusal> {
    let given = parameters(components, "header");
    let expected = match template.header {
        Header::None => return count("header", 0, given.len()),
        Header::Text => "text",
        Header::Image => "image",
        Header::Video => "video",
        Header::Document => "document",
        Header::Location => "location",
    };
    // A missing media header is a format fault, a missing text variable a count fault.
    if template.header == Header::Text || given.len() > 1 {
        count("header", 1, given.len())?;
    }
    let kind = given.first().and_then(|parameter| parameter.get("type")).and_then(Value::as_str);
    if kind != Some(expected) {
        let received = kind.unwrap_or("nothing");
        let details = format!("header: expected {expected}, received {received}");
        return Err(Refusal::new(132_012, details));
    }
    match template.header {
        Header::Text => value(&given[0]).map(|_| ()),
        _ if given[0].get(expected).is_none_or(|media| !media.is_object()) => {
            Err(Refusal::new(132_012, format!("header: {expected} is missing")))
        }
        _ => Ok(()),
    }
}

fn check_body(template: &Template, components: &[Value]) -> Result<(), Refusal> {
    let given = parameters(components, "body");
    let mut length = 0;
    match &template.body {
        Variables::Positional(expected) => count("body", *expected, given.len())?,
        Variables::Named(names) => {
            count("body", names.len(), given.len())?;
            for name in names {
                let named = |parameter: &&Value| {
                    parameter.get("parameter_name").and_then(Value::as_str) == Some(name)
                };
                if given.iter().filter(named).count() != 1 {
                    let details = format!("Parameter name {name} is missing or given twice.");
                    return Err(Refusal::new(100, details));
                }
            }
        }
    }
    for parameter in given {
        length += value(parameter)?.chars().count();
    }
    if length > BODY_LENGTH_MAX {
        return Err(Refusal::new(132_005, "Translated text is too long."));
    }
    Ok(())
}

/// URL buttons with a variable; Meta counts a missing one of an authentication template as a
/// missing parameter (132000), of any other as a missing value (131008).
fn check_url_buttons(template: &Template, components: &[Value]) -> Result<(), Refusal> {
    for index in 0..template.url_buttons {
        let this = |component: &&Value| {
            let position = component.get("index").map(|index| match index {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            component_type(component) == "button" && position == Some(index.to_string())
        };
        let parameter = components
            .iter()
            .find(this)
            .and_then(|button| button.get("parameters"))
            .and_then(|parameters| parameters.get(0));
        match parameter {
            Some(parameter) => {
                value(parameter)?;
            }
            None if template.category == Category::Authentication => {
                return Err(Refusal::new(132_000, "The code is missing in the url button."));
            }
            None => {
                return Err(Refusal::new(131_008, format!("button {index} needs a value.")));
            }
        }
    }
    Ok(())
}

fn count(part: &str, expected: usize, given: usize) -> Result<(), Refusal> {
    if expected == given {
        return Ok(());
    }
    let details = format!(
        "{part}: number of localizable_params ({given}) does not match the expected number of \
         params ({expected})"
    );
    Err(Refusal::new(132_000, details))
}

/// The text of a parameter that is replaced in the template.
fn value(parameter: &Value) -> Result<&str, Refusal> {
    let kind = parameter.get("type").and_then(Value::as_str).unwrap_or_default();
    let found = match kind {
        "text" => parameter.get("text"),
        "currency" | "date_time" => {
            parameter.get(kind).and_then(|object| object.get("fallback_value"))
        }
        other => {
            let details = format!("parameter type \"{other}\" is not allowed here");
            return Err(Refusal::new(132_012, details));
        }
    };
    let text = match found.and_then(Value::as_str) {
        Some(text) if !text.is_empty() => text,
        _ => {
            return Err(Refusal::new(131_008, format!("Parameter of type {kind} has no value.")));
        }
    };
    // Seen at Meta: "more than 4 consecutive spaces", so exactly four are fine.
    if text.contains(['\n', '\r', '\t']) || text.contains("     ") {
        let details = "Param text cannot have new-line/tab characters or more than 4 consecutive \
                       spaces";
        return Err(Refusal::new(132_018, details));
    }
    Ok(text)
}
