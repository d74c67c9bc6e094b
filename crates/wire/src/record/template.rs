//! `Template`, `schemas/sendplane.templates.v1/Template.avsc`.

use sendplane_domain::id::{TemplateName, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// A message template as Meta knows it. Compacted: the newest record counts, a tombstone removes
/// it. Key: `<tenant>/<name>/<language>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Template")]
pub struct Template {
    /// Tenant that owns the template.
    pub tenant: TenantId,
    /// Template name, `[a-z0-9_]{1,512}`.
    pub name: TemplateName,
    /// Language code as Meta writes it, for example en_US.
    pub language: String,
    /// Our version, raised whenever body or variables change.
    pub version: i32,
    /// authentication, utility or marketing.
    pub category: String,
    /// Meta's status in capitals. Only APPROVED may be sent.
    pub status: String,
    /// How the body names its variables.
    pub parameter_format: ParameterFormat,
    /// Variables of the body in order: names, or "1", "2" and so on.
    pub body_variables: Vec<String>,
    /// When the record was written.
    pub updated_at: Timestamp,
    /// How long Meta tries to deliver it, if the template says so (message_send_ttl_seconds).
    pub ttl_seconds: Option<i32>,
}

avro_record!(Template, "sendplane.templates.v1/Template.avsc");

/// How the body names its variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "ParameterFormat", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ParameterFormat {
    /// A symbol this version does not know.
    Unknown,
    /// Variables are `{{1}}`, `{{2}}` …
    Positional,
    /// Variables have names.
    Named,
}
