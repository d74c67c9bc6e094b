//! Struct and schema agree: same fields, same symbols, and every value survives both paths.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::samples::{Sample, for_every_record};
use super::*;
use crate::codec::{Decoder, StaticSchemas};
use crate::registry::SUBJECTS;

#[test]
fn the_list_of_records_is_complete() {
    let mut checked = BTreeSet::new();
    macro_rules! names {
        ($($record:ident)*) => { $(checked.insert($record::NAME);)* };
    }
    names!(SendRequest ConsentChange WebhookBody ReroutedRecord AdmittedMessage Receipt Feedback
        Decision Dispatch Attempt Outcome Tenant Template Switch
        Suppression Replan Notice CancelRequest Cancellation CancelAnswer GatewayStatus);
    let all: BTreeSet<&str> = SUBJECTS.iter().map(|subject| subject.record).collect();
    assert_eq!(checked, all);
}

#[test]
fn values_survive_both_paths() {
    fn check<R: Sample>(topic: &'static str) {
        let schemas = StaticSchemas::new();
        let encoder = schemas.encoder::<R>(topic);
        let direct = schemas.decoder::<R>(topic);
        // Without an id of its own a decoder resolves every value.
        let resolving = Decoder::<R>::new(topic, None, Arc::new(schemas));
        for record in R::samples() {
            let value = encoder.encode(&record).expect("encodes");
            assert_eq!(direct.decode(Some(&value)), Ok(record.clone()), "direct");
            assert_eq!(resolving.decode(Some(&value)), Ok(record), "resolving");
        }
    }
    for_every_record!(check);
}

#[test]
fn fields_are_those_of_the_schema() {
    fn check<R: Sample>(_: &'static str) {
        let schema: Value = serde_json::from_str(R::SCHEMA_JSON).expect("valid JSON");
        for record in R::samples() {
            let value = serde_json::to_value(&record).expect("serialises");
            check_fields(&value, &schema);
        }
    }
    for_every_record!(check);
}

/// A field the struct lacks would be written as the schema's default without a word.
fn check_fields(value: &Value, schema: &Value) {
    let object = value.as_object().expect("a record");
    let fields = schema["fields"].as_array().expect("fields");
    let names: BTreeSet<&str> = fields.iter().filter_map(|field| field["name"].as_str()).collect();
    assert_eq!(object.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
    for field in fields.iter().filter(|field| field["type"]["items"]["type"] == "record") {
        let items = value[field["name"].as_str().expect("name")].as_array().expect("an array");
        items.iter().for_each(|item| check_fields(item, &field["type"]["items"]));
    }
}

#[test]
fn symbols_are_those_of_the_schema() {
    fn check<E: DeserializeOwned + Serialize>(schema_json: &str, name: &str) {
        let schema: Value = serde_json::from_str(schema_json).expect("valid JSON");
        let fields = schema["fields"].as_array().expect("fields");
        let symbols = fields
            .iter()
            .map(|field| &field["type"])
            .find(|r#type| r#type["name"] == name)
            .and_then(|r#type| r#type["symbols"].as_array())
            .unwrap_or_else(|| panic!("{name} is in the schema"));
        for symbol in symbols {
            let variant: E = serde_json::from_value(symbol.clone()).expect("a variant");
            assert_eq!(serde_json::to_value(&variant).expect("serialises"), *symbol);
        }
        // Serde's refusal lists the variants it knows, each in backquotes after the refused one.
        let refusal = serde_json::from_value::<E>("no such symbol".into()).err().expect("refused");
        let variants = refusal.to_string().matches('`').count() / 2 - 1;
        assert_eq!(variants, symbols.len(), "{name}");
    }
    check::<ConsentScope>(ConsentChange::SCHEMA_JSON, "ConsentScope");
    check::<ConsentState>(ConsentChange::SCHEMA_JSON, "ConsentState");
    check::<WebhookSecret>(WebhookBody::SCHEMA_JSON, "WebhookSecret");
    check::<ReceiptStatus>(Receipt::SCHEMA_JSON, "ReceiptStatus");
    check::<ReceiptStatus>(Feedback::SCHEMA_JSON, "ReceiptStatus");
    check::<DecidingStage>(Decision::SCHEMA_JSON, "DecidingStage");
    check::<Verdict>(Decision::SCHEMA_JSON, "Verdict");
    check::<AttemptEvent>(Attempt::SCHEMA_JSON, "AttemptEvent");
    check::<Disposition>(Attempt::SCHEMA_JSON, "Disposition");
    check::<MessageState>(Outcome::SCHEMA_JSON, "MessageState");
    check::<NoticeKind>(Notice::SCHEMA_JSON, "NoticeKind");
    check::<CancelResult>(CancelAnswer::SCHEMA_JSON, "CancelResult");
    check::<ParameterFormat>(Template::SCHEMA_JSON, "ParameterFormat");
}

/// Every symbol of the largest enum keeps its meaning as bytes, not only as a name.
#[test]
fn every_state_survives_both_paths() {
    let schema: Value = serde_json::from_str(Outcome::SCHEMA_JSON).expect("valid JSON");
    let fields = schema["fields"].as_array().expect("fields");
    let state = fields.iter().find(|field| field["name"] == "state").expect("state");
    let schemas = StaticSchemas::new();
    let topic = crate::topic::OUTCOMES;
    let (encoder, direct) = (schemas.encoder(topic), schemas.decoder::<Outcome>(topic));
    let resolving = Decoder::<Outcome>::new(topic, None, Arc::new(schemas));
    let [sample, _] = Outcome::samples();
    for symbol in state["type"]["symbols"].as_array().expect("symbols") {
        let state: MessageState = serde_json::from_value(symbol.clone()).expect("a variant");
        let outcome = Outcome { state, ..sample.clone() };
        let value = encoder.encode(&outcome).expect("encodes");
        assert_eq!(direct.decode(Some(&value)).map(|o| o.state), Ok(state));
        assert_eq!(resolving.decode(Some(&value)).map(|o| o.state), Ok(state));
    }
}

#[test]
fn debug_of_a_webhook_body_hides_the_body() {
    let [body, _] = WebhookBody::samples();
    let text = format!("{body:?}");
    assert!(text.contains("[5 bytes]") && !text.contains("255"), "{text}");
}
