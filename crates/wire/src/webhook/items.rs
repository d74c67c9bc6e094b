//! What a webhook body consists of.

use sendplane_domain::id::{PhoneNumberId, Wamid};
use sendplane_domain::time::Timestamp;

use crate::record::ReceiptStatus;

/// One update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The status of a message we sent.
    Status(Box<Status>),
    /// A message from a person.
    InboundMessage(Box<InboundMessage>),
    /// Everything else: templates, quality, limits, account, preferences, errors without a message.
    Notice(Notice),
    /// An item that lacks what it cannot do without.
    Malformed(Malformed),
}

/// The status of a message we sent (`value.statuses[]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `entry.id`; empty when absent.
    pub waba_id: String,
    /// `metadata.phone_number_id`: says which tenant it is for.
    pub phone_number_id: PhoneNumberId,
    /// `id`. Contains the recipient's number.
    pub wamid: Wamid,
    /// The status, if we know it.
    pub status: ReceiptStatus,
    /// `status` as written, at most 64 characters.
    pub status_text: String,
    /// `timestamp`, read from seconds or milliseconds, number or text. `None`: take the time of
    /// receipt.
    pub occurred_at: Option<Timestamp>,
    /// `recipient_id`: the number without plus sign. Absent when the person hides it.
    pub recipient_id: Option<String>,
    /// `biz_opaque_callback_data`. Not authenticated yet, and perhaps another system's.
    pub opaque: Option<String>,
    /// The first of `errors`. A failed status may come without.
    pub error: Option<StatusError>,
    /// `pricing`. Comes with some statuses of a message, not reliably with a certain one.
    pub pricing: Option<Pricing>,
}

/// An error inside a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusError {
    /// `code`.
    pub code: Option<i32>,
    /// `title`, else `message`; at most 500 characters.
    pub title: Option<String>,
    /// `error_data.details`, or `error_data` where it is a bare string; at most 500 characters.
    pub details: Option<String>,
}

/// What Meta charges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pricing {
    /// `category`, hyphens written as underscores: Meta uses both.
    pub category: Option<String>,
    /// `type`, in older payloads `pricing_type`.
    pub r#type: Option<String>,
    /// `billable`; announced for removal.
    pub billable: Option<bool>,
}

/// A message from a person (`value.messages[]`), without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundMessage {
    /// `entry.id`; empty when absent.
    pub waba_id: String,
    /// `metadata.phone_number_id`.
    pub phone_number_id: PhoneNumberId,
    /// `id`. Contains the sender's number.
    pub wamid: Wamid,
    /// `from`: the number without plus sign. Absent when the person hides it.
    pub from: Option<String>,
    /// `from_user_id`: the business-scoped user id; else that of the value's only contact.
    pub from_user_id: Option<String>,
    /// `timestamp`, as in [`Status::occurred_at`].
    pub occurred_at: Option<Timestamp>,
    /// `type`, empty when absent.
    pub r#type: String,
}

/// An update that is neither a status nor a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `entry.id`; empty when absent.
    pub waba_id: String,
    /// `metadata.phone_number_id`, if the value has one.
    pub phone_number_id: Option<PhoneNumberId>,
    /// `field`, corrected by the value's shape where Meta is known to print a wrong one.
    pub field: String,
    /// `value` as JSON text, up to the size of the whole body (3 MB).
    pub value: String,
    /// `entry.time`, as in [`Status::occurred_at`]; Meta prints it beside updates of this kind. A
    /// repeated or late delivery has that of the first.
    pub occurred_at: Option<Timestamp>,
}

/// An item that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// `entry.id`; empty when absent.
    pub waba_id: String,
    /// Stable code of what is wrong.
    pub reason: &'static str,
    /// Where in the body, as a JSON pointer (RFC 6901).
    pub pointer: String,
}
