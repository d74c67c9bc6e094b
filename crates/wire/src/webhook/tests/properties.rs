//! No body panics, and what one item says never changes another.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{change, delivered, messaging, statuses};
use crate::webhook::{Item, entry0_id, parse};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("id|entry|errors|field|code", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn rich_body() -> Value {
    let mut body = messaging(json!({
        "contacts": [{"wa_id": "4915112345678", "profile": {"name": "Ada"}}],
        "statuses": [
            {"id": "w1", "status": "failed", "timestamp": 1_790_000_000_i64, "errors": [
                {"code": 131_049, "title": "t", "error_data": {"details": "d"}}]},
            {"id": "w2", "status": "sent", "timestamp": "1790000000123",
                "pricing": {"category": "utility", "type": "regular", "billable": false}},
        ],
        "messages": [{"id": "w3", "from": "49", "type": "text", "timestamp": "1790000000"}],
    }));
    let other = change("account_update", json!({"event": "DISABLED_UPDATE", "ban_info": {}}));
    let more = other["entry"][0].clone();
    body["entry"].as_array_mut().expect("entries").push(more);
    body
}

/// Every place in `value`, as JSON pointers.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                places(inner, format!("{at}/{index}"), found);
            }
        }
        Value::Object(map) => {
            for (key, inner) in map {
                places(inner, format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
    found.push(at);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    #[test]
    fn no_json_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4),
    ) {
        let mut body = rich_body();
        for (at, replacement) in edits {
            let mut found = Vec::new();
            places(&body, String::new(), &mut found);
            let place = body.pointer_mut(&found[at.index(found.len())]);
            *place.expect("a place of the body") = replacement;
        }
        let text = body.to_string();
        let id = entry0_id(text.as_bytes());
        if let Ok(found) = parse(text.as_bytes()) {
            // The gateway's key and the parser agree about the account.
            if let Some(Item::Status(status)) = found.first() {
                prop_assert!(status.waba_id.len() > 64 || id.unwrap_or_default() == status.waba_id);
            }
            let changes = body["entry"].as_array().into_iter().flatten();
            let changes = changes.filter_map(|entry| entry["changes"].as_array()).flatten().count();
            prop_assert!(found.len() >= changes, "a change disappeared");
        }
    }

    #[test]
    fn no_bytes_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = rich_body().to_string().into_bytes();
        for (at, byte) in &edits {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        if edits.len() % 2 == 1 {
            body.truncate(cut.index(body.len()));
        }
        let found = parse(&body);
        prop_assert!(!edits.is_empty() || found.is_ok_and(|found| found.len() == 4));
        entry0_id(&body);
    }

    /// Whatever stands in the place of one status, its neighbours are read as before.
    #[test]
    fn neighbours_survive(rubbish in any_json(), at in 0..3_usize) {
        let mut list = vec![delivered("a"), delivered("b")];
        let expected = statuses(json!(list));
        list.insert(at, rubbish);
        let mut found = statuses(json!(list));
        prop_assert_eq!(found.len(), 3);
        found.remove(at);
        prop_assert_eq!(found, expected);
    }
}
