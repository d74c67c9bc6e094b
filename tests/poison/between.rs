//! As [`crate::fields`], for the topics on which stages speak to each other about what is under way.

use sendplane_domain::id::{
    IdempotencyKey, KeyedHash, MessageId, PhoneNumberId, TemplateName, TenantId,
};
use sendplane_wire::record::*;
use sendplane_wire::topic;

use crate::fields::{Change, MAX, MIN, changed, text};
use crate::records::{Message, Records};
use crate::table::Case;

/// Every case of `topic`.
pub fn cases(records: &mut Records, topic: &'static str) -> Vec<Case> {
    match topic {
        topic::CANCELS => changed(records, topic, CANCELS, Message::cancel, |cancel| {
            (cancel.tenant.to_string(), String::new())
        }),
        topic::CANCELLATIONS => {
            let key = |cancel: &Cancellation| (cancel.tenant.to_string(), String::new());
            changed(records, topic, CANCELLATIONS, Message::cancellation, key)
        }
        topic::SUPPRESSIONS => {
            let key = |row: &Suppression| (row.tenant.to_string(), String::new());
            changed(records, topic, SUPPRESSIONS, Message::suppression, key)
        }
        topic::POLICY_FEEDBACK => changed(records, topic, REPLANS, Message::replan, |replan| {
            (replan.tenant.to_string(), replan.idempotency_key.to_string())
        }),
        topic::NOTICES => {
            let key = |notice: &Notice| (notice.tenant.to_string(), String::new());
            changed(records, topic, NOTICES, Message::notice, key)
        }
        other => panic!("{other} is an input as well: say what can be wrong with its fields"),
    }
}

const CANCELS: &[Change<CancelRequest>] = &[
    ("dead tenant_invalid", "empty tenant", |c| c.tenant = TenantId::new("")),
    ("dead tenant_invalid", "tenant of 300 bytes", |c| c.tenant = TenantId::new("t".repeat(300))),
    ("dead cancel_id_invalid", "empty id", |c| c.cancel_id = String::new()),
    ("dead cancel_id_invalid", "id of 257 characters", |c| c.cancel_id = "c".repeat(257)),
    ("dead record_too_large", "reason of 100 KB", |c| c.reason = "x".repeat(100_000)),
    ("used", "unknown tenant", |c| c.tenant = TenantId::new("nobody")),
    ("used", "names nothing", |c| c.message_id = None),
    ("used", "names three ways", |c| {
        c.idempotency_key = Some(IdempotencyKey::new("k"));
        c.order_id = text("17");
    }),
    ("used", "order of controls", |c| {
        c.message_id = None;
        c.order_id = text("\0\u{202e}");
    }),
    ("used", "empty key", |c| {
        c.message_id = None;
        c.idempotency_key = Some(IdempotencyKey::new(""));
    }),
    ("used", "asked at the end", |c| c.requested_at = MAX),
];

const CANCELLATIONS: &[Change<Cancellation>] = &[
    ("used", "empty texts", |c| {
        c.cancel_id = String::new();
        c.reason = String::new();
        c.requested_by = String::new();
    }),
    ("used", "unknown tenant", |c| c.tenant = TenantId::new("nobody")),
    ("used", "id of zeros", |c| c.message_id = MessageId::from_bytes([0; 16])),
    ("used", "id of ones", |c| c.message_id = MessageId::from_bytes([0xff; 16])),
    ("used", "negative count", |c| c.messages = i32::MIN),
    ("used", "asked at the beginning", |c| c.requested_at = MIN),
];

const SUPPRESSIONS: &[Change<Suppression>] = &[
    ("used", "empty fields", |s| {
        s.tenant = TenantId::new("");
        s.contact_hash = KeyedHash::new("");
    }),
    ("used", "counter below zero", |s| s.consent_seq = i64::MIN),
    ("used", "published at the beginning", |s| s.published_at = MIN),
    ("used", "published at the end", |s| s.published_at = MAX),
    ("used", "hash of 100 KB", |s| s.contact_hash = KeyedHash::new("\0".repeat(100_000))),
    ("dead record_too_large", "hash of 900 KB", |s| {
        s.contact_hash = KeyedHash::new("h".repeat(900_000));
    }),
];

const REPLANS: &[Change<Replan>] = &[
    ("dead replan_invalid", "decision 0", |r| r.decision_seq = 0),
    ("dead replan_invalid", "decision below zero", |r| r.decision_seq = i32::MIN),
    ("ends BLOCKED replanned_too_often", "the last decision there can be", |r| {
        r.decision_seq = i32::MAX;
    }),
    ("ends BLOCKED tenant_unknown", "unknown tenant", |r| r.tenant = TenantId::new("nobody")),
    ("ends BLOCKED template_unknown", "template no tenant has", |r| {
        r.template_name = TemplateName::new("a/b/c");
    }),
    ("ends EXPIRED deadline_passed", "deadline at the beginning", |r| r.deadline = MIN),
    ("ends READ", "reason of controls", |r| r.reason = "\0\u{202e}".repeat(100)),
    ("dead record_too_large", "reason of 900 KB", |r| r.reason = "r".repeat(900_000)),
];

const NOTICES: &[Change<Notice>] = &[
    ("used", "kind nobody knows", |n| n.kind = NoticeKind::Unknown),
    ("used", "empty fields", |n| {
        n.tenant = TenantId::new("");
        n.waba_id = String::new();
        n.phone_number_id = Some(PhoneNumberId::new(""));
    }),
    ("used", "a limit without its number", |n| {
        n.kind = NoticeKind::Throughput;
        n.phone_number_id = None;
        n.messages_per_second = Some(i32::MIN);
    }),
    ("used", "a template without its name", |n| n.kind = NoticeKind::TemplateStatus),
    ("used", "a template nobody has", |n| {
        n.kind = NoticeKind::TemplateStatus;
        n.template_name = Some(TemplateName::new("../../x"));
        n.template_language = text("\u{202e}");
        n.status = text("\0");
    }),
    ("used", "times at the ends", |n| n.received_at = MAX),
    ("dead record_too_large", "value of 900 KB", |n| n.value = "v".repeat(900_000)),
];
