//! The body of `POST /{version}/{phone-number-id}/messages` for a template.

use serde::Serialize;

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

/// The request body as JSON.
///
/// `to` keeps its plus sign: without it Meta puts the business number's country code in front.
/// `opaque` is what [`sendplane_domain::opaque::OpaqueData::encode`] gives; Meta takes at most 512
/// characters and returns it on status webhooks only, never in the answer.
pub fn template_body(dispatch: &Dispatch, opaque: &str) -> Vec<u8> {
    let body = Body {
        messaging_product: "whatsapp",
        recipient_type: "individual",
        to: dispatch.recipient.as_str(),
        r#type: "template",
        template: Template {
            name: dispatch.template_name.as_str(),
            language: Language { code: &dispatch.template_language },
            components: components(&dispatch.category, &dispatch.parameters),
        },
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
