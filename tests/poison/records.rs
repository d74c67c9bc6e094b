//! Valid records of every kind, and their bytes.

use std::collections::{BTreeMap, HashMap};

use sendplane_domain::e164::E164;
use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
};
use sendplane_domain::lane::Lane;
use sendplane_domain::opaque::HashKey;
use sendplane_domain::time::Timestamp;
use sendplane_tests::counter::wall;
use sendplane_tests::plane::TENANTS;
use sendplane_tests::{http, stack};
use sendplane_wire::codec::{AvroRecord, Encoder};
use sendplane_wire::record::*;
use sendplane_wire::{registry, topic};
use serde_json::{Value, json};

/// Makes records; every one has a number of its own.
pub struct Records {
    ids: HashMap<&'static str, u32>,
    hash_key: HashKey,
    next: u64,
}

/// Whose record it is.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Tenant, the record key.
    pub tenant: &'static str,
    /// Its phone number id.
    pub number: &'static str,
}

/// The tenants of the plane, one for each partition.
pub const OWNERS: [Owner; 4] = [owner(0), owner(1), owner(2), owner(3)];

const fn owner(at: usize) -> Owner {
    let (tenant, number, _) = TENANTS[at];
    Owner { tenant, number }
}

/// One message through all its records.
#[derive(Clone, Debug)]
pub struct Message {
    /// Whose.
    pub owner: Owner,
    /// Its number among the test's records.
    pub number: u64,
    /// The caller's key, unique.
    pub key: String,
    /// Its id, where the test chooses it.
    pub id: MessageId,
}

impl Records {
    /// Asks the registry for the schemas' ids.
    pub fn new() -> Self {
        let ids = registry::SUBJECTS
            .iter()
            .map(|subject| {
                let path = format!("/subjects/{}/versions/latest", subject.name());
                let (port, path) = in_registry(&path);
                let found = http::get_json(port, &path);
                (subject.topic, found["id"].as_u64().expect("an id") as u32)
            })
            .collect();
        Self { ids, hash_key: HashKey::new("a hash key for tests, 32 bytes.!"), next: 0 }
    }

    /// The registry's id of the schema of `topic`.
    pub fn id(&self, topic: &str) -> u32 {
        self.ids[topic]
    }

    /// `record` as a value of `topic`.
    pub fn encode<R: AvroRecord>(&self, topic: &'static str, record: &R) -> Vec<u8> {
        Encoder::new(topic, self.id(topic)).encode(record).expect("a record fits its schema")
    }

    /// A message nobody has heard of.
    pub fn message(&mut self, owner: Owner) -> Message {
        self.next += 1;
        let number = self.next;
        let id = MessageId::derive(
            wall(),
            &TenantId::new(owner.tenant),
            &IdempotencyKey::new(number.to_string()),
            &sendplane_domain::id::SourcePosition { topic: String::new(), partition: 0, offset: 0 },
        );
        Message { owner, number, key: format!("poison-{number}"), id }
    }

    /// The hash under which a wamid is known outside of `attempts`.
    pub fn wamid_hash(&self, wamid: &str) -> KeyedHash {
        self.hash_key.hash("wamid", wamid)
    }
}

/// Port of the stack's registry, and `path` below its base.
fn in_registry(path: &str) -> (u16, String) {
    let url = stack::shared().registry.trim_end_matches('/').replacen("http://", "", 1);
    let (host, base) = url.split_once('/').unwrap_or((&url, ""));
    let (_, port) = host.rsplit_once(':').expect("a port");
    (
        port.parse().expect("a port number"),
        if base.is_empty() { path.to_owned() } else { format!("/{base}{path}") },
    )
}

/// Registers `schema` and returns its id.
pub fn register(subject: &str, schema: &Value) -> u32 {
    let (port, path) = in_registry(&format!("/subjects/{subject}/versions"));
    let body = json!({"schema": schema.to_string()}).to_string();
    let (status, answer) = http::request(port, "POST", &path, &[], &body);
    assert_eq!(status, 200, "{subject}: {answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["id"].as_u64().expect("an id") as u32
}

impl Message {
    fn tenant(&self) -> TenantId {
        TenantId::new(self.owner.tenant)
    }

    fn number(&self) -> PhoneNumberId {
        PhoneNumberId::new(self.owner.number)
    }

    /// A recipient of metasim's who gets and reads everything; no other message has it.
    pub fn recipient(&self) -> String {
        format!("+99900{:010}", self.number)
    }

    fn e164(&self) -> E164 {
        E164::parse(&self.recipient()).expect("a number")
    }

    fn contact(&self) -> KeyedHash {
        KeyedHash::new(format!("{:032x}", self.number))
    }

    fn variables(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("1".into(), "Ada".into()), ("2".into(), "A-17".into())])
    }

    /// What a caller asks for.
    pub fn request(&self) -> SendRequest {
        SendRequest {
            order_id: None,
            tenant: self.tenant(),
            idempotency_key: IdempotencyKey::new(&self.key),
            created_at: wall(),
            recipient: self.recipient(),
            template_name: TemplateName::new("order_confirmed"),
            template_language: "en_US".into(),
            variables: self.variables(),
            campaign: None,
            deadline: None,
            phone_number_id: None,
        }
    }

    /// What ingest makes of it.
    pub fn admitted(&self, lane: Lane) -> AdmittedMessage {
        AdmittedMessage {
            order_id: None,
            message_id: self.id,
            tenant: self.tenant(),
            idempotency_key: IdempotencyKey::new(&self.key),
            lane,
            recipient: self.e164(),
            contact_hash: self.contact(),
            template_name: TemplateName::new("order_confirmed"),
            template_language: "en_US".into(),
            variables: self.variables(),
            campaign: None,
            phone_number_id: None,
            created_at: wall(),
            admitted_at: wall(),
            deadline: in_an_hour(),
        }
    }

    /// What policy releases.
    pub fn dispatch(&self, lane: Lane) -> Dispatch {
        let parameter = |value: &str| TemplateParameter { name: None, value: value.into() };
        Dispatch {
            message_id: self.id,
            tenant: self.tenant(),
            lane,
            phone_number_id: self.number(),
            recipient: self.e164(),
            contact_hash: self.contact(),
            template_name: TemplateName::new("order_confirmed"),
            template_language: "en_US".into(),
            template_version: 1,
            category: "utility".into(),
            parameters: vec![parameter("Ada"), parameter("A-17")],
            campaign: None,
            consent_seq: 0,
            valid_until: in_an_hour(),
            dispatched_at: wall(),
            decision_seq: 1,
            idempotency_key: IdempotencyKey::new(&self.key),
            order_id: None,
            created_at: wall(),
            admitted_at: wall(),
            deadline: in_an_hour(),
        }
    }

    /// What policy says about it.
    pub fn decision(&self, stage: DecidingStage, verdict: Verdict) -> Decision {
        Decision {
            decision_seq: Some(1),
            message_id: self.id,
            tenant: self.tenant(),
            idempotency_key: IdempotencyKey::new(&self.key),
            stage,
            verdict,
            reason: None,
            detail: None,
            duplicate_of: None,
            rules: Vec::new(),
            lane: Some("transactional".into()),
            campaign: None,
            template_name: None,
            template_language: None,
            template_version: None,
            category: None,
            contact_hash: None,
            phone_number_id: None,
            next_at: None,
            decided_at: wall(),
        }
    }

    /// What send says about its first call.
    pub fn attempt(&self, event: AttemptEvent, wamid_hash: Option<KeyedHash>) -> Attempt {
        Attempt {
            decision_seq: 1,
            doubt_until: None,
            raw_body: None,
            product_policy: None,
            ttl_seconds: None,
            message_id: self.id,
            tenant: self.tenant(),
            attempt: 1,
            event,
            disposition: Disposition::None,
            phone_number_id: self.number(),
            occurred_at: wall(),
            wamid: None,
            wamid_hash,
            error_code: None,
            error_class: None,
            error_message: None,
            http_status: None,
            retry_at: None,
            latency_ms: None,
        }
    }

    /// What Meta says about it, as ingest passes it on.
    pub fn receipt(&self, status: ReceiptStatus) -> Receipt {
        Receipt {
            tenant: self.tenant(),
            waba_id: "200000000000001".into(),
            phone_number_id: self.number(),
            message_id: Some(self.id),
            attempt: Some(1),
            wamid_hash: KeyedHash::new(format!("{:032x}", self.number)),
            status,
            status_text: "delivered".into(),
            occurred_at: wall(),
            received_at: wall(),
            error_code: None,
            error_title: None,
            error_details: None,
            price_category: None,
            price_type: None,
            billable: None,
        }
    }

    /// The same as evidence for send.
    pub fn feedback(&self, wamid_hash: KeyedHash) -> Feedback {
        Feedback {
            path_whole_since: None,
            waba_id: "waba".into(),
            tenant: self.tenant(),
            message_id: self.id,
            attempt: 1,
            phone_number_id: self.number(),
            wamid_hash,
            status: ReceiptStatus::Sent,
            error_code: None,
            occurred_at: wall(),
            received_at: wall(),
        }
    }

    /// What policy says of its contact: a consent newer than any dispatch's.
    pub fn suppression(&self) -> Suppression {
        Suppression {
            tenant: self.tenant(),
            contact_hash: self.contact(),
            consent_seq: 1,
            marketing_withdrawn: true,
            all_withdrawn: true,
            changed_at: wall(),
            published_at: wall(),
        }
    }

    /// Send gives it back.
    pub fn replan(&self) -> Replan {
        let admitted = self.admitted(Lane::Transactional);
        Replan {
            message_id: self.id,
            tenant: admitted.tenant,
            decision_seq: 1,
            reason: "consent_changed".into(),
            template_version: None,
            idempotency_key: admitted.idempotency_key,
            order_id: None,
            lane: admitted.lane,
            recipient: admitted.recipient,
            contact_hash: admitted.contact_hash,
            template_name: admitted.template_name,
            template_language: admitted.template_language,
            variables: admitted.variables,
            campaign: admitted.campaign,
            phone_number_id: admitted.phone_number_id,
            created_at: admitted.created_at,
            admitted_at: admitted.admitted_at,
            deadline: admitted.deadline,
            given_back_at: wall(),
        }
    }

    /// What a webhook says of its number.
    pub fn notice(&self) -> Notice {
        Notice {
            tenant: self.tenant(),
            waba_id: "200000000000001".into(),
            kind: NoticeKind::Quality,
            phone_number_id: Some(self.number()),
            messages_per_second: None,
            users_per_day: None,
            template_name: None,
            template_language: None,
            status: Some("FLAGGED".into()),
            category: None,
            value: "{}".into(),
            received_at: wall(),
            occurred_at: None,
        }
    }

    /// Its caller wants it no more.
    pub fn cancel(&self) -> CancelRequest {
        CancelRequest {
            cancel_id: format!("cancel-{}", self.number),
            tenant: self.tenant(),
            message_id: Some(self.id),
            idempotency_key: None,
            order_id: None,
            reason: "withdrawn".into(),
            requested_by: "poison".into(),
            requested_at: wall(),
        }
    }

    /// What ingest makes of it.
    pub fn cancellation(&self) -> Cancellation {
        let CancelRequest { cancel_id, tenant, reason, requested_by, requested_at, .. } =
            self.cancel();
        let (message_id, messages) = (self.id, 1);
        Cancellation { cancel_id, tenant, message_id, reason, requested_by, requested_at, messages }
    }

    /// Its recipient wants nothing any more.
    pub fn opt_out(&self) -> ConsentChange {
        ConsentChange {
            tenant: self.tenant(),
            recipient: self.recipient(),
            scope: ConsentScope::All,
            state: ConsentState::Withdrawn,
            changed_at: wall(),
            source: "web-form".into(),
        }
    }

    /// The wamid under which a webhook speaks of it.
    pub fn wamid(&self) -> String {
        format!("wamid.{}", self.key)
    }

    /// A status of a webhook's.
    pub fn status(&self) -> Value {
        json!({"id": self.wamid(), "status": "delivered", "recipient_id": "999",
            "timestamp": (wall().as_millis() / 1_000).to_string()})
    }

    /// A webhook with these statuses, as text.
    pub fn body(&self, statuses: &str) -> String {
        let number = self.owner.number;
        format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"200000000000001","changes":
            [{{"field":"messages","value":{{"metadata":{{"phone_number_id":"{number}"}},
            "statuses":{statuses}}}}}]}}]}}"#
        )
    }

    /// A body as the gateway writes it down.
    pub fn webhook(&self, body: impl Into<Vec<u8>>) -> WebhookBody {
        WebhookBody {
            app: "demo".into(),
            received_at: wall(),
            body: body.into(),
            secret: WebhookSecret::Current,
            gateway: "poison".into(),
        }
    }

    /// A request that another task found on the wrong partition.
    pub fn rerouted(&self, value: Vec<u8>) -> ReroutedRecord {
        ReroutedRecord {
            tenant: self.tenant(),
            source_topic: topic::REQUESTS_TRANSACTIONAL.into(),
            source_partition: 0,
            source_offset: 1_000_000 + self.number as i64,
            source_timestamp: wall(),
            key: Some(self.owner.tenant.into()),
            value,
            headers: Vec::new(),
        }
    }
}

fn in_an_hour() -> Timestamp {
    wall() + std::time::Duration::from_secs(3_600)
}
