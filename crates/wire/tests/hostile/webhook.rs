//! The webhook parser, and the gateway's look at the first account.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sendplane_wire::webhook::{BodyFault, Item, entry0_id, parse};
use serde_json::Value;

use crate::body::{self, Body, INTACT, broken};
use crate::check;
use crate::entropy::Entropy;

const CASES: u32 = 100_000;

/// The items whose ids say that nothing was wrong with them.
fn intact(items: Vec<Item>) -> Vec<Item> {
    let is_intact = |item: &Item| match item {
        Item::Status(status) => status.wamid.as_str().starts_with(INTACT),
        Item::InboundMessage(message) => message.wamid.as_str().starts_with(INTACT),
        Item::Notice(_) | Item::Malformed(_) => false,
    };
    items.into_iter().filter(is_intact).collect()
}

/// Whatever is wrong with its neighbours, in its list, its change, its entry, its own other fields:
/// each intact status and message is read, in order, with all it says.
#[test]
fn what_is_intact_is_read_whatever_stands_beside_it() {
    check(CASES, 420, |bytes| {
        let Body { text, intact: expected } = Body::any(&mut Entropy::new(bytes));
        entry0_id(&text);
        let found = parse(&text).map_err(|fault| {
            TestCaseError::fail(format!("{fault}: {}", String::from_utf8_lossy(&text)))
        })?;
        prop_assert_eq!(intact(found), expected);
        Ok(())
    });
}

/// A body as it comes, bytes of it overwritten, cut out, doubled or cut off, or nothing but noise.
#[test]
fn no_bytes_panic() {
    check(CASES, 420, |bytes| {
        let mut entropy = Entropy::new(bytes);
        let edits: Vec<(usize, u8, usize)> = (0..entropy.below(6))
            .map(|_| (entropy.below(1 << 16), entropy.byte(), entropy.below(4)))
            .collect();
        let mut text = match entropy.below(4) {
            0 => entropy.bytes(400),
            1 => broken(&mut entropy),
            _ => Body::any(&mut entropy).text,
        };
        for (at, byte, way) in edits {
            let at = at % text.len().max(1);
            match way {
                _ if text.is_empty() => {}
                0 => text[at] = byte,
                1 => text.truncate(at),
                2 => drop(text.drain(at..(at + usize::from(byte)).min(text.len()))),
                _ => {
                    let copy = text[at..(at + usize::from(byte)).min(text.len())].to_vec();
                    text.splice(at..at, copy);
                }
            }
        }
        if let Some(id) = entry0_id(&text) {
            prop_assert!((1..=64).contains(&id.len()), "the key is bounded");
        }
        if let Ok(items) = parse(&text) {
            prop_assert!(items.len() <= text.len());
        }
        Ok(())
    });
}

/// A valid body with something deleted, copied, retyped, nested or inflated at any level: each
/// change that is left gives an item, and the gateway's key is the account of the first one.
#[test]
fn no_change_disappears() {
    check(CASES, 420, |bytes| {
        let mut entropy = Entropy::new(bytes);
        let steps = entropy.below(4);
        let mut value = Body::whole(&mut entropy);
        (0..steps).for_each(|_| body::mutate(&mut value, &mut entropy));
        let text = value.to_string();
        let account = match &value["entry"][0]["id"] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            _ => None,
        };
        let usable = account.filter(|id| (1..=64).contains(&id.len()));
        prop_assert_eq!(entry0_id(text.as_bytes()), usable);
        let Ok(found) = parse(text.as_bytes()) else {
            return Ok(());
        };
        let entries = value["entry"].as_array().into_iter().flatten();
        let changes = entries.filter_map(|entry| entry["changes"].as_array()).flatten().count();
        prop_assert!(found.len() >= changes, "a change disappeared");
        Ok(())
    });
}

/// Nesting costs no stack: a quarter of a mebibyte is enough for a million levels, and what stands
/// beside them is read.
#[test]
fn nesting_costs_no_stack() {
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    let thread = small.spawn(|| {
        let good = r#"{"id":"intact.0","status":"sent"}"#;
        for depth in [126, 127, 128, 129, 10_000, 1_000_000] {
            for (open, close) in [("[", "]"), (r#"{"entry":"#, "}"), (r#"[{"a":"#, "}]")] {
                let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                let body = |before: &str, beside: &str| {
                    format!(
                        r#"{{{before}"entry":[{{"id":"7","changes":[{{"value":{{"metadata":
                        {{"phone_number_id":"8"}},"statuses":[{beside}{good}]}}}}]}}]}}"#
                    )
                };
                for text in [body(&format!("\"x\":{deep},"), ""), body("", &format!("{deep},"))] {
                    let found = parse(text.as_bytes()).expect("readable");
                    assert_eq!(intact(found).len(), 1, "{depth} levels of {open}");
                    assert_eq!(entry0_id(text.as_bytes()).as_deref(), Some("7"));
                }
                for text in [deep.clone(), open.repeat(depth), close.repeat(depth)] {
                    assert!(parse(text.as_bytes()).is_err());
                    assert_eq!(entry0_id(text.as_bytes()), None);
                }
            }
        }
    });
    thread.expect("a thread").join().expect("no level is one too many");
}

/// Bodies of the largest size made to cost time or memory.
#[test]
#[expect(clippy::disallowed_methods, reason = "measures how long parsing takes")]
fn the_largest_bodies_are_read_in_bounded_time_and_memory() {
    const BYTES: usize = 4 * 1024 * 1024;
    let list = |unit: &str| {
        let units = vec![unit; BYTES / (unit.len() + 1)].join(",");
        format!(
            r#"{{"entry":[{{"changes":[{{"value":{{"metadata":{{"phone_number_id":"8"}},"statuses":[{units}]}}}}]}}]}}"#
        )
    };
    let cases = [
        list("0"),
        list("[]"),
        list(r#"{"":0}"#),
        list(r#"{"id":"a","status":"sent"}"#),
        list(r#""\ud800\q""#),
        list("1e999"),
        list(&"9".repeat(BYTES - 200)),
        list(&format!("{}e999", "9".repeat(BYTES - 200))),
        list(&format!("\"{}\"", "\\ud83d".repeat(BYTES / 6 - 100))),
        format!(r#"{{"entry":[{}]}}"#, vec![r#"{"changes":[{}]}"#; BYTES / 17].join(",")),
        format!("{{\"entry\":[],{}\"entry\":[]}}", "\"entry\":[],".repeat(BYTES / 12)),
        "\\".repeat(BYTES),
        "\"".repeat(BYTES),
        "-".repeat(BYTES),
    ];
    for text in cases {
        let started = Instant::now();
        let items = parse(text.as_bytes()).map(|items| items.len());
        entry0_id(text.as_bytes());
        let taken = started.elapsed();
        let start: String = text.chars().take(120).collect();
        assert!(taken < Duration::from_secs(20), "{taken:?} for {items:?} items of {start}");
        assert!(!matches!(items, Err(BodyFault::ForeignObject(_))));
    }
    crate::memory::assert_bounded();
}
