//! Two values of every record: all optional fields set, and none.

use std::collections::BTreeMap;

use sendplane_domain::e164::E164;
use sendplane_domain::id::{
    CorrelationId, IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
    Wamid,
};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;

use super::*;

const T0: Timestamp = Timestamp::from_millis(1_790_000_000_123);

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn tenant() -> TenantId {
    TenantId::new("tenant-ä")
}

fn message() -> MessageId {
    MessageId::from_bytes([1, 2, 3, 4, 5, 6, 0x87, 8, 0x89, 10, 11, 12, 13, 14, 15, 16])
}

fn hash() -> KeyedHash {
    KeyedHash::new("0f1e2d3c4b5a69788796a5b4c3d2e1f0")
}

fn number() -> PhoneNumberId {
    PhoneNumberId::new("106540352242922")
}

fn recipient() -> E164 {
    E164::parse("+4915112345678").expect("a valid number")
}

fn variables() -> BTreeMap<String, String> {
    BTreeMap::from([("1".into(), "Ada".into()), ("order".into(), "№ 17".into())])
}

/// Gives the values of a record type to the generic tests.
pub(crate) trait Sample: AvroRecord + Clone + PartialEq + std::fmt::Debug {
    /// Two values that differ in every optional field.
    fn samples() -> [Self; 2];
}

impl Sample for SendRequest {
    fn samples() -> [Self; 2] {
        let full = SendRequest {
            tenant: tenant(),
            idempotency_key: IdempotencyKey::new("order-17"),
            created_at: T0,
            recipient: "not checked here".into(),
            template_name: TemplateName::new("order_update"),
            template_language: "en_US".into(),
            variables: variables(),
            campaign: some("autumn"),
            deadline: Some(Timestamp::from_millis(-1)),
            phone_number_id: Some(number()),
            order_id: some("17"),
        };
        let sparse = SendRequest {
            order_id: None,
            variables: BTreeMap::new(),
            campaign: None,
            deadline: None,
            phone_number_id: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for ConsentChange {
    fn samples() -> [Self; 2] {
        let full = ConsentChange {
            tenant: tenant(),
            recipient: "+4915112345678".into(),
            scope: ConsentScope::Marketing,
            state: ConsentState::Withdrawn,
            changed_at: T0,
            source: "web-form".into(),
        };
        let other = ConsentChange { scope: ConsentScope::Unknown, ..full.clone() };
        [full, other]
    }
}

impl Sample for WebhookBody {
    fn samples() -> [Self; 2] {
        let full = WebhookBody {
            app: "main".into(),
            received_at: T0,
            body: vec![0, 0xff, b'{', b'}', 0x80],
            secret: WebhookSecret::Previous,
            gateway: "ingest-0".into(),
        };
        let empty = WebhookBody { body: Vec::new(), ..full.clone() };
        [full, empty]
    }
}

impl Sample for ReroutedRecord {
    fn samples() -> [Self; 2] {
        let full = ReroutedRecord {
            tenant: tenant(),
            source_topic: "sendplane.requests.bulk.v1".into(),
            source_partition: 3,
            source_offset: i64::MAX,
            source_timestamp: T0,
            key: Some(vec![0xff, 0]),
            value: vec![0, 0, 0, 0, 7],
            headers: vec![
                ReroutedHeader { name: "traceparent".into(), value: Some(b"00-1".to_vec()) },
                ReroutedHeader { name: "traceparent".into(), value: None },
            ],
        };
        let sparse = ReroutedRecord { key: None, headers: Vec::new(), ..full.clone() };
        [full, sparse]
    }
}

impl Sample for AdmittedMessage {
    fn samples() -> [Self; 2] {
        let full = AdmittedMessage {
            message_id: message(),
            tenant: tenant(),
            idempotency_key: IdempotencyKey::new("order-17"),
            lane: Lane::Transactional,
            recipient: recipient(),
            contact_hash: hash(),
            template_name: TemplateName::new("order_update"),
            template_language: "en_US".into(),
            variables: variables(),
            campaign: some("autumn"),
            phone_number_id: Some(number()),
            created_at: T0,
            admitted_at: T0,
            deadline: T0,
            order_id: some("17"),
        };
        let sparse = AdmittedMessage {
            lane: Lane::Bulk,
            order_id: None,
            campaign: None,
            phone_number_id: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for Receipt {
    fn samples() -> [Self; 2] {
        let full = Receipt {
            tenant: tenant(),
            waba_id: "102290129340398".into(),
            phone_number_id: number(),
            message_id: Some(message()),
            attempt: Some(2),
            wamid_hash: hash(),
            status: ReceiptStatus::Failed,
            status_text: "failed".into(),
            occurred_at: T0,
            received_at: T0,
            error_code: Some(131_026),
            error_title: some("Message undeliverable"),
            error_details: some("no account"),
            price_category: some("utility"),
            price_type: some("regular"),
            billable: Some(false),
        };
        let sparse = Receipt {
            message_id: None,
            attempt: None,
            error_code: None,
            error_title: None,
            error_details: None,
            price_category: None,
            price_type: None,
            billable: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for Feedback {
    fn samples() -> [Self; 2] {
        let full = Feedback {
            tenant: tenant(),
            message_id: message(),
            attempt: 1,
            phone_number_id: number(),
            wamid_hash: hash(),
            status: ReceiptStatus::Delivered,
            error_code: Some(131_049),
            occurred_at: T0,
            received_at: T0,
            waba_id: "102290129340398".into(),
            path_whole_since: Some(T0),
        };
        let sparse = Feedback { error_code: None, path_whole_since: None, ..full.clone() };
        [full, sparse]
    }
}

impl Sample for Decision {
    fn samples() -> [Self; 2] {
        let rule = RuleResult { rule: "consent".into(), passed: true, detail: some("granted") };
        let full = Decision {
            message_id: message(),
            tenant: tenant(),
            idempotency_key: IdempotencyKey::new("order-17"),
            stage: DecidingStage::Policy,
            verdict: Verdict::Defer,
            reason: some("quiet_hours"),
            detail: some("until 08:00"),
            duplicate_of: Some(message()),
            rules: vec![rule.clone(), RuleResult { passed: false, detail: None, ..rule }],
            lane: some("bulk"),
            campaign: some("autumn"),
            template_name: Some(TemplateName::new("offer")),
            template_language: some("de"),
            template_version: Some(3),
            category: some("marketing"),
            contact_hash: Some(hash()),
            phone_number_id: Some(number()),
            next_at: Some(T0),
            decided_at: T0,
            decision_seq: Some(2),
        };
        let sparse = Decision {
            reason: None,
            detail: None,
            duplicate_of: None,
            rules: Vec::new(),
            lane: None,
            campaign: None,
            template_name: None,
            template_language: None,
            template_version: None,
            category: None,
            contact_hash: None,
            phone_number_id: None,
            next_at: None,
            decision_seq: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for Dispatch {
    fn samples() -> [Self; 2] {
        let full = Dispatch {
            message_id: message(),
            tenant: tenant(),
            lane: Lane::Bulk,
            phone_number_id: number(),
            recipient: recipient(),
            contact_hash: hash(),
            template_name: TemplateName::new("offer"),
            template_language: "de".into(),
            template_version: 3,
            category: "marketing".into(),
            parameters: vec![
                TemplateParameter { name: some("first_name"), value: "Ada".into() },
                TemplateParameter { name: None, value: String::new() },
            ],
            campaign: some("autumn"),
            consent_seq: 9,
            valid_until: T0,
            dispatched_at: T0,
            decision_seq: 2,
            idempotency_key: IdempotencyKey::new("order-17"),
            order_id: some("17"),
            created_at: T0,
            admitted_at: T0,
            deadline: T0,
        };
        let sparse =
            Dispatch { parameters: Vec::new(), campaign: None, order_id: None, ..full.clone() };
        [full, sparse]
    }
}

impl Sample for Attempt {
    fn samples() -> [Self; 2] {
        let full = Attempt {
            message_id: message(),
            tenant: tenant(),
            attempt: 4,
            event: AttemptEvent::NotSent,
            disposition: Disposition::DeadLetter,
            phone_number_id: number(),
            occurred_at: T0,
            wamid: Some(Wamid::new("wamid.QUJD")),
            wamid_hash: Some(hash()),
            error_code: Some(130_429),
            error_class: some("throttle"),
            error_message: some("slow down"),
            http_status: Some(400),
            retry_at: Some(T0),
            latency_ms: Some(87),
            decision_seq: 2,
            doubt_until: Some(T0),
            raw_body: some("{}"),
            product_policy: some("STRICT"),
            ttl_seconds: Some(600),
        };
        let sparse = Attempt {
            disposition: Disposition::None,
            wamid: None,
            wamid_hash: None,
            error_code: None,
            error_class: None,
            error_message: None,
            http_status: None,
            retry_at: None,
            latency_ms: None,
            doubt_until: None,
            raw_body: None,
            product_policy: None,
            ttl_seconds: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for Outcome {
    fn samples() -> [Self; 2] {
        let full = Outcome {
            event_id: "01020304-0506-8708-890a-0b0c0d0e0f10-7".into(),
            message_id: message(),
            tenant: tenant(),
            sequence: 7,
            supersedes: Some(6),
            state: MessageState::OutcomeUnknown,
            is_final: true,
            reason: some("no_evidence"),
            detail: some("no status in time"),
            correlation_id: Some(CorrelationId::new("c-1")),
            idempotency_key: Some(IdempotencyKey::new("order-17")),
            duplicate_of: Some(message()),
            lane: some("transactional"),
            campaign: some("autumn"),
            template_name: Some(TemplateName::new("order_update")),
            template_language: some("en_US"),
            template_version: Some(1),
            category: some("utility"),
            price_class: some("utility/regular"),
            attempt: 1,
            contact_hash: Some(hash()),
            wamid_hash: Some(hash()),
            phone_number_id: Some(number()),
            error_code: Some(1),
            holdout_arm: some("b"),
            next_at: Some(T0),
            occurred_at: T0,
            ingested_at: T0,
        };
        let sparse = Outcome {
            supersedes: None,
            state: MessageState::Queued,
            is_final: false,
            reason: None,
            detail: None,
            correlation_id: None,
            idempotency_key: None,
            duplicate_of: None,
            lane: None,
            campaign: None,
            template_name: None,
            template_language: None,
            template_version: None,
            category: None,
            price_class: None,
            contact_hash: None,
            wamid_hash: None,
            phone_number_id: None,
            error_code: None,
            holdout_arm: None,
            next_at: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for Tenant {
    fn samples() -> [Self; 2] {
        let full = Tenant {
            tenant: tenant(),
            name: "Acme".into(),
            active: true,
            credential: "acme-token".into(),
            default_phone_number_id: number(),
            phone_numbers: vec![TenantPhoneNumber {
                phone_number_id: number(),
                waba_id: "102290129340398".into(),
                display_number: "+1 555 0100".into(),
                messages_per_second: 80,
                safety_percent: Some(10),
            }],
            updated_at: T0,
            weight: 3,
            messages_per_day: Some(100_000),
            spend_per_day_micros: Some(5_000_000_000),
            prices: vec![TenantPrice { category: "marketing".into(), micros: 110_000 }],
            users_per_day: Some(10_000),
            marketing_route: true,
            product_policy: some("STRICT"),
            retries: vec![TenantRetries { error_class: "retry_message".into(), attempts_max: 2 }],
        };
        let sparse = Tenant {
            active: false,
            phone_numbers: Vec::new(),
            messages_per_day: None,
            spend_per_day_micros: None,
            prices: Vec::new(),
            users_per_day: None,
            marketing_route: false,
            product_policy: None,
            retries: Vec::new(),
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for Switch {
    fn samples() -> [Self; 2] {
        let full = Switch {
            id: "k3x7".into(),
            tenant: Some(tenant()),
            lane: some("bulk"),
            category: some("marketing"),
            campaign: some("autumn"),
            template_name: Some(TemplateName::new("season_sale")),
            template_language: some("en_US"),
            phone_number_id: Some(number()),
            reason: "wrong price in the text".into(),
            created_by: "ada@desk".into(),
            created_at: T0,
            expires_at: T0,
        };
        let sparse = Switch {
            tenant: None,
            lane: None,
            category: None,
            campaign: None,
            template_name: None,
            template_language: None,
            phone_number_id: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for Template {
    fn samples() -> [Self; 2] {
        let full = Template {
            tenant: tenant(),
            name: TemplateName::new("order_update"),
            language: "en_US".into(),
            version: 1,
            category: "utility".into(),
            status: "APPROVED".into(),
            parameter_format: ParameterFormat::Positional,
            body_variables: vec!["1".into(), "2".into()],
            updated_at: T0,
            ttl_seconds: Some(600),
        };
        let sparse = Template { body_variables: Vec::new(), ttl_seconds: None, ..full.clone() };
        [full, sparse]
    }
}

impl Sample for Suppression {
    fn samples() -> [Self; 2] {
        let full = Suppression {
            tenant: tenant(),
            contact_hash: hash(),
            consent_seq: 7,
            marketing_withdrawn: true,
            all_withdrawn: false,
            changed_at: T0,
            published_at: T0,
        };
        let other = Suppression { all_withdrawn: true, ..full.clone() };
        [full, other]
    }
}

impl Sample for Replan {
    fn samples() -> [Self; 2] {
        let full = Replan {
            message_id: message(),
            tenant: tenant(),
            decision_seq: 1,
            reason: "consent_changed".into(),
            template_version: Some(4),
            idempotency_key: IdempotencyKey::new("order-17"),
            order_id: some("17"),
            lane: Lane::Bulk,
            recipient: recipient(),
            contact_hash: hash(),
            template_name: TemplateName::new("offer"),
            template_language: "de".into(),
            variables: variables(),
            campaign: some("autumn"),
            phone_number_id: Some(number()),
            created_at: T0,
            admitted_at: T0,
            deadline: T0,
            given_back_at: T0,
        };
        let sparse = Replan {
            template_version: None,
            order_id: None,
            variables: BTreeMap::new(),
            campaign: None,
            phone_number_id: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for Notice {
    fn samples() -> [Self; 2] {
        let full = Notice {
            tenant: tenant(),
            waba_id: "102290129340398".into(),
            kind: NoticeKind::TemplateStatus,
            phone_number_id: Some(number()),
            messages_per_second: Some(1_000),
            users_per_day: Some(-1),
            template_name: Some(TemplateName::new("offer")),
            template_language: some("de"),
            status: some("PAUSED"),
            category: some("marketing"),
            value: "{}".into(),
            received_at: T0,
            occurred_at: Some(T0),
        };
        let sparse = Notice {
            occurred_at: None,
            kind: NoticeKind::Unknown,
            phone_number_id: None,
            messages_per_second: None,
            users_per_day: None,
            template_name: None,
            template_language: None,
            status: None,
            category: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for CancelRequest {
    fn samples() -> [Self; 2] {
        let full = CancelRequest {
            cancel_id: "c-1".into(),
            tenant: tenant(),
            message_id: Some(message()),
            idempotency_key: Some(IdempotencyKey::new("order-17")),
            order_id: some("17"),
            reason: "order withdrawn".into(),
            requested_by: "shop".into(),
            requested_at: T0,
        };
        let sparse = CancelRequest {
            message_id: None,
            idempotency_key: None,
            order_id: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for Cancellation {
    fn samples() -> [Self; 2] {
        let full = Cancellation {
            cancel_id: "c-1".into(),
            tenant: tenant(),
            message_id: message(),
            reason: "order withdrawn".into(),
            requested_by: "shop".into(),
            requested_at: T0,
            messages: 3,
        };
        let other = Cancellation { reason: String::new(), ..full.clone() };
        [full, other]
    }
}

impl Sample for CancelAnswer {
    fn samples() -> [Self; 2] {
        let full = CancelAnswer {
            cancel_id: "c-1".into(),
            tenant: tenant(),
            message_id: Some(message()),
            result: CancelResult::TooLate,
            state: some("accepted"),
            detail: some("called 3 s before"),
            answered_at: T0,
            messages: 1,
        };
        let sparse = CancelAnswer {
            message_id: None,
            result: CancelResult::NotFound,
            state: None,
            detail: None,
            ..full.clone()
        };
        [full, sparse]
    }
}

impl Sample for GatewayStatus {
    fn samples() -> [Self; 2] {
        let full = GatewayStatus {
            instance: "ingest-0".into(),
            started_at: T0,
            alive_at: T0,
            is_stopped: true,
            gaps: vec![GatewayGap { since: T0, until: T0 }],
        };
        let sparse = GatewayStatus { is_stopped: false, gaps: Vec::new(), ..full.clone() };
        [full, sparse]
    }
}

/// Runs a generic test function for every record type and one of its topics.
macro_rules! for_every_record {
    ($check:ident) => {{
        use crate::{record::*, topic};
        $check::<SendRequest>(topic::REQUESTS_TRANSACTIONAL);
        $check::<ConsentChange>(topic::CONSENT);
        $check::<WebhookBody>(topic::WEBHOOKS);
        $check::<ReroutedRecord>(topic::REROUTED);
        $check::<AdmittedMessage>(topic::ADMITTED_BULK);
        $check::<Receipt>(topic::RECEIPTS);
        $check::<Feedback>(topic::FEEDBACK);
        $check::<Decision>(topic::DECISIONS);
        $check::<Dispatch>(topic::DISPATCH_TRANSACTIONAL);
        $check::<Attempt>(topic::ATTEMPTS);
        $check::<Outcome>(topic::OUTCOMES);
        $check::<Tenant>(topic::TENANTS);
        $check::<Template>(topic::TEMPLATES);
        $check::<Switch>(topic::CONTROL);
        $check::<Suppression>(topic::SUPPRESSIONS);
        $check::<Replan>(topic::POLICY_FEEDBACK);
        $check::<Notice>(topic::NOTICES);
        $check::<CancelRequest>(topic::CANCELS);
        $check::<Cancellation>(topic::CANCELLATIONS);
        $check::<CancelAnswer>(topic::CANCEL_ANSWERS);
        $check::<GatewayStatus>(topic::GATEWAYS);
    }};
}
pub(crate) use for_every_record;
