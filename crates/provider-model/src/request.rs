//! Reads a send request and refuses it the way Meta does.
//!
//! Meta says that its own order of checks may vary; the order here is fixed: envelope, recipient,
//! content, template.

use serde_json::{Map, Value};

use crate::code::Refusal;
use crate::config::{Category, Config, PhoneNumber};
use crate::template;

/// Meta's limit of a text body, in characters.
pub const TEXT_LENGTH_MAX: usize = 4096;
/// Meta's limit of `biz_opaque_callback_data`, in characters.
pub const OPAQUE_LENGTH_MAX: usize = 512;

/// Which endpoint a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /{version}/{phone-number-id}/messages`.
    Messages,
    /// `POST /{version}/{phone-number-id}/marketing_messages`: marketing templates only.
    MarketingMessages,
}

/// Who a message goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// Digits with country code.
    Phone(String),
    /// Business-scoped user id.
    BusinessScoped(String),
}

impl Recipient {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Phone(text) | Self::BusinessScoped(text) => text,
        }
    }
}

/// What a message consists of, as far as the model cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Index in [`Config::templates`].
    Template(usize),
    /// Everything else; allowed only inside the service window.
    SessionMessage(&'static str),
}

/// A request without fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) recipient: Recipient,
    /// The recipient as it was written, for `contacts[].input`.
    pub(crate) input: String,
    pub(crate) content: Content,
    pub(crate) opaque: Option<String>,
}

const SESSION_TYPES: &[&str] = &[
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "contacts",
    "interactive",
    "reaction",
];
const MEDIA_TYPES: &[&str] = &["image", "video", "audio", "document", "sticker"];
const ENVELOPE_KEYS: &[&str] = &[
    "messaging_product",
    "recipient_type",
    "to",
    "recipient",
    "type",
    "context",
    "biz_opaque_callback_data",
    "recipient_identity_key_hash",
];
const MARKETING_KEYS: &[&str] = &["product_policy", "message_activity_sharing"];

/// The recipient as far as it can be read, whatever else is wrong with the request.
pub(crate) fn recipient_text(body: &Value) -> Option<String> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("to").and_then(digits_of).or_else(|| text("recipient").map(str::to_owned))
}

/// The opaque data as far as it can be read.
pub(crate) fn opaque_text(body: &Value) -> Option<&str> {
    body.get("biz_opaque_callback_data").and_then(Value::as_str)
}

/// Checks a request completely.
pub(crate) fn validate(
    config: &Config,
    number: &PhoneNumber,
    endpoint: Endpoint,
    body: Option<&Value>,
) -> Result<Request, Refusal> {
    let body = body
        .and_then(Value::as_object)
        .ok_or_else(|| Refusal::new(100, "The request body is not a JSON object."))?;
    if required_text(body, "messaging_product")? != "whatsapp" {
        return Err(Refusal::new(100, "Param messaging_product must be whatsapp."));
    }
    match body.get("recipient_type").map(Value::as_str) {
        None | Some(Some("individual")) => {}
        Some(Some("group")) => {
            return Err(Refusal::new(100, "Groups are not enabled for this account."));
        }
        Some(_) => {
            return Err(Refusal::new(100, "Param recipient_type must be individual."));
        }
    }
    let kind = required_text(body, "type")?;
    check_keys(body, kind, endpoint)?;
    let opaque = opaque(body)?;
    let (recipient, input) = recipient(number, body)?;
    let content = content(config, number, endpoint, kind, body)?;
    if let (Content::Template(index), Recipient::BusinessScoped(_)) = (content, &recipient)
        && config.templates[index].category == Category::Authentication
    {
        return Err(Refusal::new(131_062, "One-time codes need a phone number."));
    }
    Ok(Request { recipient, input, content, opaque })
}

fn required_text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    match body.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        None => Err(Refusal::new(100, format!("The parameter {name} is required."))),
        Some(_) => Err(Refusal::new(100, format!("Param {name} must be a non-empty string."))),
    }
}

fn check_keys(body: &Map<String, Value>, kind: &str, endpoint: Endpoint) -> Result<(), Refusal> {
    let known = |key: &str| {
        key == kind
            || ENVELOPE_KEYS.contains(&key)
            || (endpoint == Endpoint::MarketingMessages && MARKETING_KEYS.contains(&key))
    };
    if let Some(key) = body.keys().find(|key| !known(key)) {
        return Err(Refusal::new(100, format!("Unexpected key \"{key}\" on the request.")));
    }
    match body.get("product_policy").map(Value::as_str) {
        None | Some(Some("CLOUD_API_FALLBACK" | "STRICT")) => Ok(()),
        Some(_) => Err(Refusal::new(100, "Param product_policy has an unknown value.")),
    }
}

fn opaque(body: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    match body.get("biz_opaque_callback_data") {
        None => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= OPAQUE_LENGTH_MAX => {
            Ok(Some(text.clone()))
        }
        Some(_) => {
            let details = "Param biz_opaque_callback_data must be a string of at most 512 \
                           characters.";
            Err(Refusal::new(100, details))
        }
    }
}

fn recipient(
    number: &PhoneNumber,
    body: &Map<String, Value>,
) -> Result<(Recipient, String), Refusal> {
    // Meta: with both fields given, `to` wins.
    if !body.contains_key("to") && body.contains_key("recipient") {
        let text = required_text(body, "recipient")?;
        let (country, id) = text.split_once('.').unwrap_or_default();
        let plausible = country.len() == 2
            && country.bytes().all(|byte| byte.is_ascii_uppercase())
            && (1..=132).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        if !plausible {
            return Err(Refusal::new(131_009, "Param recipient is not a valid user id."));
        }
        return Ok((Recipient::BusinessScoped(text.to_owned()), text.to_owned()));
    }
    let input = required_text(body, "to")?;
    let digits = digits_of(input)
        .filter(|digits| (7..=15).contains(&digits.len()) && !digits.starts_with('0'))
        .ok_or_else(|| Refusal::new(131_009, "Param to is not a valid phone number."))?;
    if digits == number.display_number {
        return Err(Refusal::new(131_021, "Recipient phone number cannot be sender number."));
    }
    Ok((Recipient::Phone(digits), input.to_owned()))
}

/// The digits of a number "in almost any formatting"; none when it contains anything else.
fn digits_of(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let formatting = |c: char| matches!(c, ' ' | '-' | '(' | ')' | '.');
    let digits: String = text.chars().filter(|c| !formatting(*c)).collect();
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

fn content(
    config: &Config,
    number: &PhoneNumber,
    endpoint: Endpoint,
    kind: &str,
    body: &Map<String, Value>,
) -> Result<Content, Refusal> {
    if endpoint == Endpoint::MarketingMessages && kind != "template" {
        return Err(Refusal::new(100, "The message must be a template."));
    }
    let object = |name: &str| {
        body.get(name)
            .filter(|value| value.is_object() || (name == "contacts" && value.is_array()))
            .ok_or_else(|| Refusal::new(100, format!("The parameter {name} is required.")))
    };
    if kind == "template" {
        let index = template::check(config, &number.waba_id, object("template")?)?;
        let marketing = config.templates[index].category == Category::Marketing;
        if endpoint == Endpoint::MarketingMessages && !marketing {
            let accounts = &config.limits.marketing_accounts;
            let account = accounts.iter().find(|account| account.waba_id == number.waba_id);
            let code = account.map_or(131_055, |account| account.not_marketing_code);
            return Err(Refusal::new(code, "Only marketing templates can be sent here."));
        }
        return Ok(Content::Template(index));
    }
    let Some(kind) = SESSION_TYPES.iter().find(|known| **known == kind) else {
        return Err(Refusal::new(100, format!("Param type has the unknown value \"{kind}\".")));
    };
    let value = object(kind)?;
    match *kind {
        "text" => match value.get("body").and_then(Value::as_str) {
            None | Some("") => {
                return Err(Refusal::new(100, "The parameter text.body is required."));
            }
            Some(text) if text.chars().count() > TEXT_LENGTH_MAX => {
                let details = "Param text['body'] must be at most 4096 characters long.";
                return Err(Refusal::new(100, details));
            }
            Some(_) => {}
        },
        media
            if MEDIA_TYPES.contains(&media)
                && value.get("id").is_none()
                && value.get("link").is_none() =>
        {
            return Err(Refusal::new(100, format!("{media} needs an id or a link.")));
        }
        _ => {}
    }
    Ok(Content::SessionMessage(kind))
}

#[cfg(test)]
mod tests;
