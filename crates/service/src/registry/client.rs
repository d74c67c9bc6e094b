//! The registry's HTTP interface: Confluent's, as Apicurio and others speak it too.

use std::error::Error as _;
use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry as api;
use schema_registry_converter::async_impl::schema_registry::SrSettings;
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};
use serde::Deserialize;

/// A stage thread may wait for one answer within its session timeout.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Why a call gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The registry answered that there is no such thing.
    #[error("not found: {0}")]
    NotFound(String),
    /// The registry answered that it will not take it.
    #[error("refused: {0}")]
    Refused(String),
    /// No usable answer. Try again.
    #[error("schema registry cannot be reached: {0}")]
    Unavailable(String),
}

/// A version of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Id of its schema.
    pub id: u32,
    /// The schema as registered.
    pub schema_json: String,
}

/// Calls one registry. Every call ends within 3 s.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    settings: SrSettings,
    http: reqwest::Client,
}

impl Client {
    /// For the registry whose Confluent interface starts at `url`.
    pub fn new(url: &str) -> Result<Self, Fault> {
        let url = url.trim_end_matches('/').to_owned();
        let settings =
            SrSettings::new_builder(url.clone()).set_timeout(ANSWER_MAX).build().map_err(fault)?;
        let http = reqwest::Client::builder().timeout(ANSWER_MAX).build().map_err(unanswered)?;
        Ok(Self { url, settings, http })
    }

    /// The base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The schema of an id.
    pub async fn schema(&self, id: u32) -> Result<String, Fault> {
        let found = api::get_schema_by_id(id, &self.settings).await.map_err(fault)?;
        Ok(found.schema)
    }

    /// The version numbers of a subject, oldest first.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, Fault> {
        api::get_all_versions(&self.settings, subject.to_owned()).await.map_err(fault)
    }

    /// One version, `None` for the latest.
    pub async fn version(&self, subject: &str, version: Option<u32>) -> Result<Version, Fault> {
        let found = api::get_schema_by_subject_and_version(&self.settings, subject, version)
            .await
            .map_err(fault)?;
        Ok(Version { id: found.id, schema_json: found.schema })
    }

    /// Registers a version and returns the id of its schema.
    pub async fn register(&self, subject: &str, schema_json: &str) -> Result<u32, Fault> {
        let schema = supplied(schema_json);
        let registered =
            api::post_schema(&self.settings, subject.to_owned(), schema).await.map_err(fault)?;
        Ok(registered.id)
    }

    /// Whether the subject's compatibility level allows `schema_json` as its next version.
    pub async fn is_compatible(&self, subject: &str, schema_json: &str) -> Result<bool, Fault> {
        let schema = supplied(schema_json);
        api::is_compatible_schema(&self.settings, subject.to_owned(), schema).await.map_err(fault)
    }

    /// The compatibility level of a subject.
    pub async fn compatibility(&self, subject: &str) -> Result<String, Fault> {
        let request = self.http.get(format!("{}/config/{subject}", self.url));
        let level: Level = answered(request).await?.json().await.map_err(unanswered)?;
        level
            .compatibility_level
            .or(level.compatibility)
            .ok_or_else(|| Fault::Unavailable("the answer names no compatibility level".into()))
    }

    /// Sets the compatibility level of a subject.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), Fault> {
        let body = serde_json::json!({ "compatibility": level });
        let request = self.http.put(format!("{}/config/{subject}", self.url)).json(&body);
        answered(request).await.map(drop)
    }
}

/// Registries disagree about the field's name.
#[derive(Deserialize)]
struct Level {
    #[serde(rename = "compatibilityLevel")]
    compatibility_level: Option<String>,
    compatibility: Option<String>,
}

fn supplied(schema_json: &str) -> SuppliedSchema {
    SuppliedSchema::new(None, SchemaType::Avro, schema_json.to_owned())
}

async fn answered(request: reqwest::RequestBuilder) -> Result<reqwest::Response, Fault> {
    let answer = request.send().await.map_err(unanswered)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    let text = format!("{status}: {}", text.chars().take(300).collect::<String>());
    Err(match status.as_u16() {
        404 => Fault::NotFound(text),
        409 | 422 => Fault::Refused(text),
        _ => Fault::Unavailable(text),
    })
}

fn unanswered(error: reqwest::Error) -> Fault {
    Fault::Unavailable(chain(&error))
}

/// Only an answer with one of the registry's own codes says something about a schema; anything
/// else, such as a proxy's 404, says that the registry was not reached.
fn fault(error: SRCError) -> Fault {
    let Some(source) = error.source() else { return Fault::Unavailable(error.error) };
    let Some(answer) = source.downcast_ref::<RawError>() else {
        return Fault::Unavailable(chain(source));
    };
    let RawError { error_code, message, .. } = answer;
    match error_code {
        40_401..=40_499 => Fault::NotFound(message.clone()),
        409 | 40_900..=40_999 | 422 | 42_200..=42_299 => Fault::Refused(message.clone()),
        _ => Fault::Unavailable(format!("{}: {message}", error.error)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
