//! `Notice`, `schemas/sendplane.notices.v1/Notice.avsc`.

use std::time::Duration;

use sendplane_domain::id::{PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::avro_record;

/// Something Meta's webhooks said about an account, a number or a template rather than about one
/// message. Written by ingest. Key: the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Notice")]
pub struct Notice {
    /// Tenant concerned; also the record key.
    pub tenant: TenantId,
    /// WhatsApp business account (entry.id).
    pub waba_id: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// Meta's id of the business phone number (not the number itself), if it is about one.
    pub phone_number_id: Option<PhoneNumberId>,
    /// New ceiling of the number, of kind THROUGHPUT.
    pub messages_per_second: Option<i32>,
    /// New limit, of kind USER_LIMIT; -1 for none.
    pub users_per_day: Option<i32>,
    /// The template, if it is about one.
    pub template_name: Option<TemplateName>,
    /// Its language code.
    pub template_language: Option<String>,
    /// Meta's word for the new status or the event, in capitals.
    pub status: Option<String>,
    /// The template's new category: authentication, utility or marketing.
    pub category: Option<String>,
    /// The webhook's value as JSON, cut to 4 KiB.
    pub value: String,
    /// When the gateway received the webhook.
    pub received_at: Timestamp,
    /// Meta's time of it (entry.time, whole seconds); null if it gave none. Deliveries are repeated
    /// and come in any order.
    pub occurred_at: Option<Timestamp>,
}

impl Notice {
    /// When Meta said it: the end of the second that it names, and not after it was received.
    pub fn said_at(&self) -> Timestamp {
        let named = self.occurred_at.map(|at| at + Duration::from_millis(999));
        named.map_or(self.received_at, |at| at.min(self.received_at))
    }
}

avro_record!(Notice, "sendplane.notices.v1/Notice.avsc");

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "NoticeKind", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NoticeKind {
    /// A symbol this version does not know.
    Unknown,
    /// Messages per second of a number.
    Throughput,
    /// Users per 24 h of the portfolio.
    UserLimit,
    /// Quality of a number or a template.
    Quality,
    /// Status of a template.
    TemplateStatus,
    /// Category of a template.
    TemplateCategory,
    /// State of the account.
    Account,
}
