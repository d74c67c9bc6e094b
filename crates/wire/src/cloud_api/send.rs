//! The request that sends a template, by either route.

use sendplane_domain::id::PhoneNumberId;
use serde::Serialize;

use super::route::{ProductPolicy, Route};
use crate::record::{Dispatch, TemplateParameter};

/// Category whose templates repeat the code in a button.
const AUTHENTICATION: &str = "authentication";

#[derive(Serialize)]
struct Body<'a> {
    messaging_product: &'static str,
    recipient_type: &'static str,
    to: &'a str,
    r#type: &'static str,
    template: Template<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_policy: Option<&'static str>,
    biz_opaque_callback_data: &'a str,
}

#[derive(Serialize)]
struct Template<'a> {
    name: &'a str,
    language: Language<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component<'a>>,
}

#[derive(Serialize)]
struct Language<'a> {
    code: &'a str,
}

#[derive(Serialize)]
struct Component<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'static str>,
    parameters: Vec<Text<'a>>,
}

#[derive(Serialize)]
struct Text<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter_name: Option<&'a str>,
    text: &'a str,
}

/// Where Meta's API is.
pub const BASE_URL: &str = "https://graph.facebook.com";

/// The Graph version that this release was written for.
pub const VERSION: &str = "v25.0";

/// `Content-Type` of every call.
pub const CONTENT_TYPE: &str = "application/json";

/// `User-Agent` of every call.
pub const USER_AGENT: &str = concat!("sendplane/", env!("CARGO_PKG_VERSION"));

/// Stands in a redacted body for what is about a person.
const REDACTED: &str = "[redacted]";

/// Why there is no path: the id might lead elsewhere than to the number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("phone number id {0:?} cannot stand in a path")]
pub struct UnsafeNumber(pub String);

/// The path of a call, `/{version}/{phone-number-id}/{endpoint}`; `version` is that of Graph, such
/// as `v25.0`.
pub fn path(version: &str, number: &PhoneNumberId, route: Route) -> Result<String, UnsafeNumber> {
    let is_safe = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let id = number.as_str();
    if id.is_empty() || !id.bytes().all(is_safe) {
        return Err(UnsafeNumber(id.to_owned()));
    }
    Ok(format!("/{version}/{id}/{}", route.path()))
}

/// The request body as JSON.
///
/// `to` keeps its plus sign: without it Meta puts the business number's country code in front.
/// `opaque` is what [`sendplane_domain::opaque::OpaqueData::encode`] gives; Meta takes at most 512
/// characters and returns it on status webhooks only, never in the answer.
pub fn template_body(route: Route, dispatch: &Dispatch, opaque: &str) -> Vec<u8> {
    body(route, dispatch, opaque, dispatch.recipient.as_str(), &dispatch.parameters)
}

/// [`template_body`] without what is about a person: the last digits of the recipient, and the
/// values of the parameters, which may be names or one-time codes.
pub fn redacted_body(route: Route, dispatch: &Dispatch, opaque: &str) -> Vec<u8> {
    let redacted = |parameter: &TemplateParameter| TemplateParameter {
        name: parameter.name.clone(),
        value: REDACTED.to_owned(),
    };
    let parameters: Vec<_> = dispatch.parameters.iter().map(redacted).collect();
    body(route, dispatch, opaque, &dispatch.recipient.masked(), &parameters)
}

fn body(
    route: Route,
    dispatch: &Dispatch,
    opaque: &str,
    to: &str,
    parameters: &[TemplateParameter],
) -> Vec<u8> {
    let body = Body {
        messaging_product: "whatsapp",
        recipient_type: "individual",
        to,
        r#type: "template",
        template: Template {
            name: dispatch.template_name.as_str(),
            language: Language { code: &dispatch.template_language },
            components: components(&dispatch.category, parameters),
        },
        product_policy: route.product_policy().map(ProductPolicy::as_str),
        biz_opaque_callback_data: opaque,
    };
    serde_json::to_vec(&body).expect("strings in structs always serialise")
}

fn components<'a>(category: &str, parameters: &'a [TemplateParameter]) -> Vec<Component<'a>> {
    let Some(first) = parameters.first() else {
        return Vec::new();
    };
    let body = Component {
        r#type: "body",
        sub_type: None,
        index: None,
        parameters: parameters.iter().map(text).collect(),
    };
    if category != AUTHENTICATION {
        return vec![body];
    }
    // Meta counts parameters per component: with the code in the body alone the call fails (132000).
    let code = Text { r#type: "text", parameter_name: None, text: &first.value };
    let button = Component {
        r#type: "button",
        sub_type: Some("url"),
        index: Some("0"),
        parameters: vec![code],
    };
    vec![body, button]
}

fn text(parameter: &TemplateParameter) -> Text<'_> {
    Text { r#type: "text", parameter_name: parameter.name.as_deref(), text: &parameter.value }
}
