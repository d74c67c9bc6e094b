//! What deployment does with the registry: register our schemas and check them before.

use std::fmt;

use sendplane_wire::registry::{SUBJECTS, Subject};

use super::{Client, Fault, find_version};

/// What became of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// A new version under this id.
    New(u32),
    /// Was there already, under this id.
    Unchanged(u32),
}

/// Why a subject is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterFault {
    /// The registry's answer.
    #[error(transparent)]
    Registry(#[from] Fault),
    /// The level was set and is another one all the same.
    #[error("compatibility is {found} after it was set to {wanted}")]
    Compatibility {
        /// What the registry reports.
        found: String,
        /// What was set.
        wanted: &'static str,
    },
}

/// Registers one subject with its compatibility level. Does nothing where nothing is to do.
pub async fn register(client: &Client, subject: &Subject) -> Result<Registered, RegisterFault> {
    let name = subject.name();
    let wanted = subject.compatibility.as_str();
    let exists = match client.versions(&name).await {
        Ok(versions) => !versions.is_empty(),
        Err(Fault::NotFound(_)) => false,
        Err(fault) => return Err(fault.into()),
    };
    // The level must be in force before a second version comes; a registry may refuse to set it
    // before there is a first.
    if exists {
        ensure_compatibility(client, &name, wanted).await?;
    }
    let registered = match find_version(client, &name, subject.schema_json).await? {
        Some(id) => Registered::Unchanged(id),
        None => Registered::New(client.register(&name, subject.schema_json).await?),
    };
    if !exists {
        ensure_compatibility(client, &name, wanted).await?;
    }
    Ok(registered)
}

/// Sets the level if it is another one, and asserts it.
async fn ensure_compatibility(
    client: &Client,
    subject: &str,
    wanted: &'static str,
) -> Result<(), RegisterFault> {
    let is_set = |level: Result<String, Fault>| level.is_ok_and(|level| level == wanted);
    if is_set(client.compatibility(subject).await) {
        return Ok(());
    }
    client.set_compatibility(subject, wanted).await?;
    let found = client.compatibility(subject).await?;
    if found == wanted { Ok(()) } else { Err(RegisterFault::Compatibility { found, wanted }) }
}

/// What a check found about one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This schema is registered.
    Registered,
    /// The subject has no version yet.
    Absent,
    /// It can become the next version.
    Compatible,
    /// It cannot.
    Incompatible,
    /// The subject's level is another one than ours.
    OtherLevel(String),
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Registered => f.write_str("registered"),
            Standing::Absent => f.write_str("not registered yet"),
            Standing::Compatible => f.write_str("a compatible new version"),
            Standing::Incompatible => f.write_str("incompatible with a registered version"),
            Standing::OtherLevel(level) => write!(f, "compatibility level is {level}"),
        }
    }
}

impl Standing {
    /// Whether a release may go out like this once `schemas register` has run.
    pub fn is_acceptable(&self) -> bool {
        match self {
            Standing::Registered | Standing::Absent | Standing::Compatible => true,
            Standing::Incompatible | Standing::OtherLevel(_) => false,
        }
    }
}

/// Compares one subject with the registry; changes nothing.
pub async fn check(client: &Client, subject: &Subject) -> Result<Standing, Fault> {
    let name = subject.name();
    let known = match client.versions(&name).await {
        Ok(versions) => !versions.is_empty(),
        Err(Fault::NotFound(_)) => false,
        Err(fault) => return Err(fault),
    };
    if !known {
        return Ok(Standing::Absent);
    }
    let level = match client.compatibility(&name).await {
        Ok(level) => level,
        Err(Fault::NotFound(_)) => "the registry's default".to_owned(),
        Err(fault) => return Err(fault),
    };
    if level != subject.compatibility.as_str() {
        return Ok(Standing::OtherLevel(level));
    }
    if find_version(client, &name, subject.schema_json).await?.is_some() {
        return Ok(Standing::Registered);
    }
    let fits = client.is_compatible(&name, subject.schema_json).await?;
    Ok(if fits { Standing::Compatible } else { Standing::Incompatible })
}

/// What is wrong with our own schemas, without any registry: they parse, and every record, field
/// and enum has a doc.
pub fn lint() -> Vec<String> {
    SUBJECTS.iter().flat_map(|subject| lint_schema(subject.record, subject.schema_json)).collect()
}

fn lint_schema(record: &str, schema_json: &str) -> Vec<String> {
    if let Err(error) = apache_avro::Schema::parse_str(schema_json) {
        return vec![format!("{record}: not a schema: {error}")];
    }
    let mut faults = Vec::new();
    match serde_json::from_str(schema_json) {
        Ok(json) => lint_node(record, &json, &mut faults),
        Err(error) => faults.push(format!("{record}: not JSON: {error}")),
    }
    faults
}

fn lint_node(at: &str, node: &serde_json::Value, faults: &mut Vec<String>) {
    match node {
        serde_json::Value::Array(branches) => {
            branches.iter().for_each(|branch| lint_node(at, branch, faults));
        }
        serde_json::Value::Object(object) => {
            let kind = object.get("type").and_then(serde_json::Value::as_str);
            if matches!(kind, Some("record" | "enum" | "fixed")) && !has_doc(node) {
                faults.push(format!("{at}: no doc"));
            }
            for field in
                object.get("fields").and_then(|fields| fields.as_array()).into_iter().flatten()
            {
                let name = field.get("name").and_then(|name| name.as_str()).unwrap_or("?");
                let at = format!("{at}.{name}");
                if !has_doc(field) {
                    faults.push(format!("{at}: no doc"));
                }
                if let Some(inner) = field.get("type") {
                    lint_node(&at, inner, faults);
                }
            }
            for inner in ["items", "values", "type"].iter().filter_map(|key| object.get(*key)) {
                if !inner.is_string() {
                    lint_node(at, inner, faults);
                }
            }
        }
        _ => {}
    }
}

fn has_doc(node: &serde_json::Value) -> bool {
    node.get("doc").and_then(|doc| doc.as_str()).is_some_and(|doc| !doc.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_schemas_pass() {
        assert_eq!(lint(), Vec::<String>::new());
    }

    #[test]
    fn a_missing_doc_is_found_at_any_depth() {
        let schema = r#"{"type":"record","name":"A","doc":"a","fields":[
            {"name":"plain","type":"string"},
            {"name":"list","doc":"b","type":{"type":"array","items":
                {"type":"record","name":"B","fields":[{"name":"c","type":["null",
                    {"type":"enum","name":"E","symbols":["X"]}]}]}}}]}"#;
        let expected =
            ["A.plain: no doc", "A.list: no doc", "A.list.c: no doc", "A.list.c: no doc"];
        assert_eq!(lint_schema("A", schema), expected);
    }

    #[test]
    fn what_is_no_schema_is_named() {
        let faults = lint_schema("A", r#"{"type":"nonsense"}"#);
        assert!(faults.len() == 1 && faults[0].starts_with("A: not a schema"), "{faults:?}");
    }
}
