//! Requests whose right outcome is known beforehand.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::counter::wall;
use crate::plane::TENANTS;

/// A request for the transactional lane; `tests/python/client.py` says which fields there are.
pub fn request(tenant: &str, key: &str, recipient: &str) -> Value {
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
pub fn with(mut base: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().expect("an object") {
        base[key] = value.clone();
    }
    base
}

/// What must become of the one message of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Ends in this state, and the provider has it.
    Accepted(&'static str),
    /// Ends in this state, and the provider does not have it.
    Never(&'static str),
    /// The provider's knobs decide: it is delivered if the provider has it, and honestly unknown if
    /// not.
    AsProviderSays,
}

/// Requests by idempotency key, each with its fate.
pub type Fates = BTreeMap<String, Fate>;

/// What a stream of requests is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Every kind of outcome, in both lanes, doubts and retries among them.
    Everything,
    /// Recipients without a fixed result, which metasim's knobs concern.
    Ordinary,
}

/// Of how many requests a [`Mix::Everything`] has one of each rare kind.
const CYCLE: usize = 50;

impl Mix {
    /// The `n`-th request under a key with this prefix: the lines to produce (two for a repeated
    /// request), the key and the fate. Tenants take turns, one per partition, so that whatever
    /// dies owns some of the traffic.
    pub fn case(self, prefix: &str, n: usize) -> (Vec<Value>, String, Fate) {
        let (tenant, ..) = TENANTS[(n / CYCLE + n) % TENANTS.len()];
        let key = format!("{prefix}-{n}");
        if self == Self::Ordinary {
            let line = request(tenant, &key, &format!("+4917{n:09}"));
            return (vec![line], key, Fate::AsProviderSays);
        }
        // Six free digits for most kinds, four where six name a code.
        let free = |kind: u8| format!("+999{kind:02}{n:06}0000");
        let coded = |kind: u8, code: u32| {
            let n = n / CYCLE;
            format!("+999{kind:02}{code:06}{}{:03}", n / 1_000 % 10, n % 1_000)
        };
        let to = |recipient: String| request(tenant, &key, &recipient);
        let bulk = json!({
            "topic": "sendplane.requests.bulk.v1", "template_name": "season_sale",
            "variables": {"1": "Ada"}, "campaign": "autumn",
        });
        let (line, fate) = match n % CYCLE {
            0 => (to(free(20)), Fate::Accepted("READ")),
            1 => (to(free(21)), Fate::Accepted("OUTCOME_UNKNOWN")),
            2 => (to(free(22)), Fate::Never("OUTCOME_UNKNOWN")),
            // The first call is refused with an unlisted code: retried after 5 s.
            3 => (to(format!("+999111990011{:03}", n / CYCLE % 1_000)), Fate::Accepted("READ")),
            4 => (to(coded(5, 131_026)), Fate::Accepted("FAILED")),
            5 => (to(coded(10, 131_021)), Fate::Never("REJECTED")),
            6 => (to("+49 151 000".to_owned()), Fate::Never("REFUSED")),
            7 => (with(to(free(1)), json!({"template_name": "nowhere"})), Fate::Never("BLOCKED")),
            8 | 9 => (to(free(35)), Fate::Accepted("READ")),
            10..20 => (with(to(free(1)), bulk), Fate::Accepted("DELIVERED")),
            _ => (to(free(1)), Fate::Accepted("DELIVERED")),
        };
        let lines = if n % CYCLE == 9 { vec![line.clone(), line] } else { vec![line] };
        (lines, key, fate)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_requests_share_a_key_or_a_recipient_whose_calls_are_counted() {
        for mix in [Mix::Everything, Mix::Ordinary] {
            let mut seen = BTreeSet::new();
            for n in 0..20_000 {
                let (lines, key, _) = mix.case("x", n);
                assert!(seen.insert(key));
                let recipient = lines[0]["recipient"].as_str().expect("text").to_owned();
                assert!(
                    recipient.starts_with("+49 ") || seen.insert(recipient.clone()),
                    "{recipient}"
                );
                assert!(recipient.starts_with("+49 ") || (8..=16).contains(&recipient.len()));
            }
        }
    }
}
