//! Since when every webhook was used: what moves that time, and for whom.

use sendplane_domain::id::MessageId;
use sendplane_domain::opaque::OpaqueData;
use sendplane_domain::shard::ShardKey;
use sendplane_wire::record::{Tenant, WebhookBody, WebhookSecret};
use serde_json::{Value, json};

use super::*;

fn seconds(count: u64) -> Timestamp {
    T0 + Duration::from_secs(count)
}

fn opaque(tenant: &str, key: &HashKey) -> String {
    let message_id = MessageId::from_bytes([7; 16]);
    OpaqueData { shard: ShardKey::of(TenantId::new(tenant)), message_id, attempt: 1 }.encode(key)
}

/// A status of `number` whose opaque data is `opaque`; `n` makes it another body.
fn status(number: &str, opaque: Value, n: u64) -> Value {
    json!({"value": {
        "metadata": {"phone_number_id": number},
        "statuses": [{"id": format!("wamid.{n}"), "status": "sent", "timestamp": "1789999999",
            "biz_opaque_callback_data": opaque}],
    }})
}

fn ours(n: u64) -> Value {
    status("acme-number", json!(opaque("acme", &hash_key())), n)
}

fn entries(list: &[(&str, Vec<Value>)]) -> Vec<u8> {
    let list: Vec<Value> =
        list.iter().map(|(id, changes)| json!({"id": id, "changes": changes})).collect();
    json!({"object": "whatsapp_business_account", "entry": list}).to_string().into_bytes()
}

/// The body at `received_at`, under the key `key`.
fn webhook(body: Vec<u8>, received_at: Timestamp, key: &str) -> Record {
    let body = WebhookBody {
        app: "main".into(),
        received_at,
        body,
        secret: WebhookSecret::Current,
        gateway: "ingest-0".into(),
    };
    decoded(topic::WEBHOOKS, Some(key.as_bytes()), &value_of(topic::WEBHOOKS, &body))
}

struct Task {
    driver: Driver<Ingest>,
    bodies: u64,
}

impl Task {
    /// One that has used a body of `acme-waba` and one of `globex-waba` at 0.
    fn new() -> Self {
        let mut driver = driver();
        driver.global(sample::set_tenant(sample::tenant("globex")));
        let mut task = Self { driver, bodies: 0 };
        assert_eq!(task.times(), [Some(T0), Some(T0)]);
        task
    }

    fn receive(&mut self, second: u64, body: Vec<u8>, key: &str) -> Produced<Ingest> {
        let record = webhook(body, seconds(second), key);
        checked(self.driver.record(topic::WEBHOOKS, record))
    }

    /// What the next good body says of `acme-waba` and of `globex-waba`.
    fn times(&mut self) -> [Option<Timestamp>; 2] {
        ["acme", "globex"].map(|tenant| {
            self.bodies += 1;
            let opaque = json!(opaque(tenant, &hash_key()));
            let status = status(&format!("{tenant}-number"), opaque, 1_000 + self.bodies);
            let account = format!("{tenant}-waba");
            let produced = self.receive(1_000, entries(&[(&account, vec![status])]), &account);
            claims(&produced)[0]
        })
    }
}

/// `path_whole_since` of the evidence in the order of the body.
fn claims(produced: &Produced<Ingest>) -> Vec<Option<Timestamp>> {
    let claim = |output: &Output| match output {
        Output::Feedback(feedback) => Some(feedback.path_whole_since),
        _ => None,
    };
    produced.outputs.iter().filter_map(claim).collect()
}

#[test]
fn the_time_stands_while_everything_is_used() {
    let mut task = Task::new();
    let foreign_form = status("acme-number", json!("order-17"), 1);
    let foreign_number = status("somebody-elses", Value::Null, 2);
    let inbound = json!({"value": {
        "metadata": {"phone_number_id": "acme-number"},
        "messages": [{"id": "wamid.in", "from": "4915", "type": "text"}],
    }});
    let notice = json!({"field": "account_update", "value": {"event": "X"}});
    let body = entries(&[("acme-waba", vec![foreign_form, foreign_number, inbound, notice])]);
    task.receive(5, body.clone(), "acme-waba");
    task.receive(6, body, "acme-waba");
    task.receive(7, br#"{"object":"page","entry":[]}"#.to_vec(), "x");
    assert_eq!(task.times(), [Some(T0); 2]);
    task.driver.restart();
    assert_eq!(task.times(), [Some(T0); 2]);
}

#[test]
fn what_may_have_spoken_of_ours_moves_the_time_of_its_account() {
    let of_another_key = json!(opaque("acme", &HashKey::new("the key of last year")));
    let cases = [
        ("malformed", json!({"value": {"metadata": {}, "statuses": [{}]}})),
        ("no value", json!(1)),
        ("another key", status("acme-number", of_another_key, 1)),
        ("without opaque data", status("acme-number", Value::Null, 1)),
        ("of another tenant", status("acme-number", json!(opaque("globex", &hash_key())), 1)),
        ("of nobody's number", status("gone", json!(opaque("acme", &hash_key())), 1)),
    ];
    for (name, change) in cases {
        let mut task = Task::new();
        // The body itself claims no more than what is left.
        let produced =
            task.receive(5, entries(&[("acme-waba", vec![ours(1), change])]), "acme-waba");
        assert_eq!(claims(&produced), [Some(seconds(5))], "{name}");
        assert_eq!(task.times(), [Some(seconds(5)), Some(T0)], "{name}");
        task.receive(3, entries(&[("acme-waba", vec![json!(1)])]), "acme-waba");
        assert_eq!(task.times(), [Some(seconds(5)), Some(T0)], "{name}: never back");
    }
}

#[test]
fn what_cannot_be_read_moves_the_time_of_everybody() {
    let unnamed = json!({"object": "whatsapp_business_account", "entry": [1]}).to_string();
    let bodies: [&[u8]; 4] =
        [b"{", b"[]", b"{\"object\":\"whatsapp_business_account\"}", unnamed.as_bytes()];
    for body in bodies {
        let mut task = Task::new();
        let produced = task.receive(5, body.to_vec(), "digest");
        assert_eq!(produced.dead_letters.len(), 1);
        assert_eq!(task.times(), [Some(seconds(5)); 2], "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_record_that_is_no_webhook_is_dead_and_moves_the_time_of_everybody() {
    let mut task = Task::new();
    task.driver.advance_to(seconds(5));
    let record = decoded(topic::WEBHOOKS, None, b"junk");
    let produced = checked(task.driver.record(topic::WEBHOOKS, record));
    assert_eq!(summary(&produced), "dead no_schema_framing");
    assert_eq!(task.times(), [Some(seconds(5)); 2]);
}

#[test]
fn an_account_that_does_not_decide_the_partition_is_not_vouched_for() {
    let mut task = Task::new();
    let globex = status("globex-number", json!(opaque("globex", &hash_key())), 2);
    let body = entries(&[("acme-waba", vec![ours(1)]), ("globex-waba", vec![globex.clone()])]);
    let produced = task.receive(5, body, "acme-waba");
    assert_eq!(claims(&produced), [Some(T0), None]);
    let produced = task.receive(6, entries(&[("globex-waba", vec![globex])]), "digest");
    assert_eq!(claims(&produced), [None]);
}

#[test]
fn an_account_is_vouched_for_from_when_it_was_first_heard_of() {
    let mut task = Task::new();
    task.driver.advance_to(seconds(60));
    task.driver.global(sample::set_tenant(Tenant { active: true, ..sample::tenant("late") }));
    let late = status("late-number", json!(opaque("late", &hash_key())), 1);
    let produced = task.receive(3, entries(&[("late-waba", vec![late])]), "late-waba");
    assert_eq!(claims(&produced), [Some(seconds(60))]);
}
