use std::collections::HashSet;
use std::path::Path;

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility as Reading, SchemaCompatibility};
use serde_json::Value;

use super::*;
use crate::record::NAMESPACE;
use crate::topic::{Kind, TOPICS};

#[test]
fn every_topic_with_records_has_one_subject() {
    let subjects: Vec<&str> = SUBJECTS.iter().map(|subject| subject.topic).collect();
    let unique: HashSet<&str> = subjects.iter().copied().collect();
    assert_eq!(unique.len(), subjects.len());
    let topics: HashSet<&str> = TOPICS
        .iter()
        .filter(|topic| matches!(topic.kind, Kind::Work | Kind::Global))
        .map(|topic| topic.name)
        .collect();
    assert_eq!(unique, topics);
}

#[test]
fn only_outcomes_are_public() {
    for subject in SUBJECTS {
        let expected = match subject.topic {
            topic::OUTCOMES => "FULL_TRANSITIVE",
            _ => "BACKWARD_TRANSITIVE",
        };
        assert_eq!(subject.compatibility.as_str(), expected, "{}", subject.name());
    }
    assert_eq!(subject_name(topic::OUTCOMES), "sendplane.outcomes.v1-value");
}

#[test]
fn every_schema_reads_itself_and_is_the_named_record() {
    for subject in SUBJECTS {
        let schema = Schema::parse_str(subject.schema_json).expect("valid schema");
        let Schema::Record(record) = &schema else { panic!("{} is a record", subject.record) };
        assert_eq!(record.name.name(), subject.record);
        assert_eq!(record.name.namespace(), Some(NAMESPACE));
        assert!(matches!(SchemaCompatibility::can_read(&schema, &schema), Ok(Reading::Full)));
    }
}

/// The conventions of `schemas/`: documentation everywhere, nullable means default null, enums
/// survive new symbols, points in time have a unit.
#[test]
fn schemas_keep_the_conventions() {
    for subject in SUBJECTS {
        let schema: Value = serde_json::from_str(subject.schema_json).expect("valid JSON");
        check_type(&schema, subject.record);
    }
}

fn check_type(schema: &Value, path: &str) {
    match schema["type"].as_str() {
        Some("record") => {
            check_doc(schema, path);
            for field in schema["fields"].as_array().expect("fields") {
                check_field(field, path);
            }
        }
        Some("enum") => {
            check_doc(schema, path);
            assert_eq!(schema["default"], "UNKNOWN", "{path}");
            let symbols = schema["symbols"].as_array().expect("symbols");
            assert!(symbols.contains(&Value::from("UNKNOWN")), "{path}");
        }
        Some("array") => check_type(&schema["items"], path),
        Some("map") => check_type(&schema["values"], path),
        _ => {}
    }
}

fn check_field(field: &Value, path: &str) {
    let name = field["name"].as_str().expect("name");
    let path = format!("{path}.{name}");
    check_doc(field, &path);
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{path} is snake_case");
    let mut inner = &field["type"];
    if let Some(union) = inner.as_array() {
        assert_eq!(union.len(), 2, "{path} is nullable and nothing else");
        assert_eq!(union[0], "null", "{path}");
        assert!(field.get("default").is_some_and(Value::is_null), "{path} defaults to null");
        inner = &union[1];
    }
    if name.ends_with("_at") || name == "deadline" || name.ends_with("_until") {
        assert_eq!(inner["logicalType"], "timestamp-millis", "{path}");
    }
    check_type(inner, &path);
}

fn check_doc(described: &Value, path: &str) {
    assert!(described["doc"].as_str().is_some_and(|doc| doc.len() > 8), "{path} has a doc");
}

#[test]
fn every_schema_file_is_registered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    let mut files = HashSet::new();
    for folder in std::fs::read_dir(root).expect("schemas/").flatten() {
        for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|extension| extension == "avsc") {
                files.insert(std::fs::read_to_string(file.path()).expect("readable"));
            }
        }
    }
    let registered: HashSet<String> =
        SUBJECTS.iter().map(|subject| subject.schema_json.to_owned()).collect();
    assert_eq!(files, registered);
}
