//! Tests of the whole plane: four binaries, metasim, a real broker and registry, and a Python
//! client that shares no code with any of them.

mod chaos;
mod gateway;
mod journeys;

use std::sync::{Mutex, MutexGuard, PoisonError};

use sendplane_tests::counter::wall;
use serde_json::{Value, json};

/// The planes of these tests use the same consumer groups: one at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request for the transactional lane; `tests/python/client.py` says which fields there are.
fn request(tenant: &str, key: &str, recipient: &str) -> Value {
    json!({
        "topic": "sendplane.requests.transactional.v1",
        "tenant": tenant,
        "idempotency_key": key,
        "created_at": wall().as_millis(),
        "recipient": recipient,
        "template_name": "order_confirmed",
        "template_language": "en_US",
        "variables": {"1": "Ada", "2": "A-17"},
        "campaign": null,
        "deadline": null,
        "phone_number_id": null,
    })
}

/// `base` with other fields.
fn with(mut base: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().expect("an object") {
        base[key] = value.clone();
    }
    base
}
