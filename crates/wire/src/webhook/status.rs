//! `value.statuses[]`.

use sendplane_domain::id::{PhoneNumberId, Wamid};
use sendplane_domain::opaque;
use serde_json::Value;

use super::fields;
use super::items::{Pricing, Status, StatusError};
use crate::record::ReceiptStatus;

/// Reads one status; the error is the reason why it is malformed.
pub(super) fn read(
    status: &Value,
    waba_id: &str,
    phone_number_id: &PhoneNumberId,
) -> Result<Status, &'static str> {
    if !status.is_object() {
        return Err("status_not_an_object");
    }
    let wamid = fields::id(&status["id"]).ok_or("status_without_id")?;
    let status_text = fields::word(&status["status"]).ok_or("status_without_status")?;
    Ok(Status {
        waba_id: waba_id.to_owned(),
        phone_number_id: phone_number_id.clone(),
        wamid: Wamid::new(wamid),
        status: known(&status_text),
        status_text,
        occurred_at: fields::timestamp(&status["timestamp"]),
        recipient_id: fields::id(&status["recipient_id"]),
        opaque: opaque_data(&status["biz_opaque_callback_data"]),
        error: error(&status["errors"]),
        pricing: pricing(&status["pricing"]),
    })
}

fn known(status: &str) -> ReceiptStatus {
    match status {
        "sent" => ReceiptStatus::Sent,
        "delivered" => ReceiptStatus::Delivered,
        "read" => ReceiptStatus::Read,
        "played" => ReceiptStatus::Played,
        "failed" => ReceiptStatus::Failed,
        _ => ReceiptStatus::Unknown,
    }
}

/// Meta returns at most what it accepted; anything longer is not of our making.
fn opaque_data(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (!text.is_empty() && text.len() <= opaque::LENGTH_MAX).then(|| text.to_owned())
}

fn error(errors: &Value) -> Option<StatusError> {
    let error = match errors {
        Value::Array(errors) => errors.first()?,
        error => error,
    };
    if !error.is_object() {
        return None;
    }
    let details = match &error["error_data"] {
        bare @ Value::String(_) => bare,
        data => &data["details"],
    };
    Some(StatusError {
        code: fields::integer(&error["code"]).and_then(|code| i32::try_from(code).ok()),
        title: fields::text(&error["title"]).or_else(|| fields::text(&error["message"])),
        details: fields::text(details),
    })
}

fn pricing(pricing: &Value) -> Option<Pricing> {
    pricing.is_object().then(|| Pricing {
        category: fields::word(&pricing["category"]).map(|category| category.replace('-', "_")),
        r#type: fields::word(&pricing["type"]).or_else(|| fields::word(&pricing["pricing_type"])),
        billable: pricing["billable"].as_bool(),
    })
}
