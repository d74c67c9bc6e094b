//! From records to evidence.
//!
//! A record that cannot be read is a fault and goes to the dead letters; nothing is guessed about a
//! message, except where a missing field has one harmless reading, which is then stated here.

use std::time::Duration;

use sendplane_domain::id::KeyedHash;
use sendplane_domain::lane::{Category, Lane};
use sendplane_domain::lifecycle::{
    AttemptEvent, Decision, Disposition, Evidence, PriceClass, Status, Subject, Template, Verdict,
};
use sendplane_domain::provider_code::{CodeClass, classify, classify_unparsed};
use sendplane_domain::trace::TraceContext;
use sendplane_wire::record::{self, AdmittedMessage, Attempt, Receipt};

/// Stands for the code of an error that came without one. Never leaves the stage.
pub const NO_CODE: i64 = -1;

/// The reason under which policy blocks a message whose time ran out. It has a state of its own.
const DEADLINE_PASSED: &str = "deadline_passed";

/// Why a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Dead-letter code.
    pub code: &'static str,
    /// Field and fix.
    pub detail: String,
}

/// An enum symbol of a newer release.
fn unknown_symbol(field: &str) -> Fault {
    Fault {
        code: "unknown_symbol",
        detail: format!(
            "{field}: a symbol this release does not know; upgrade status-reconcile, then replay"
        ),
    }
}

fn invalid(code: &'static str, detail: &str) -> Fault {
    Fault { code, detail: detail.to_owned() }
}

/// Ingest took the request in.
pub fn of_admission(admitted: &AdmittedMessage, trace: TraceContext) -> Evidence {
    let subject = Subject {
        tenant: admitted.tenant.clone(),
        lane: admitted.lane,
        idempotency_key: Some(admitted.idempotency_key.clone()),
        campaign: admitted.campaign.clone(),
        template: Some(Template {
            name: admitted.template_name.clone(),
            language: admitted.template_language.clone(),
            version: None,
        }),
        category: None,
        contact_hash: Some(admitted.contact_hash.clone()),
        phone_number_id: admitted.phone_number_id.clone(),
        trace,
    };
    Evidence::Admitted { subject: Box::new(subject), admitted_at: admitted.admitted_at }
}

/// Ingest refused the request, or policy judged the message.
pub fn of_decision(decision: &record::Decision, trace: TraceContext) -> Result<Evidence, Fault> {
    let seq = match decision.stage {
        record::DecidingStage::Unknown => return Err(unknown_symbol("stage")),
        record::DecidingStage::Ingest => 0,
        record::DecidingStage::Policy => seq_of(decision.decision_seq, "decision_invalid")?,
    };
    let verdict = match decision.verdict {
        record::Verdict::Unknown => return Err(unknown_symbol("verdict")),
        record::Verdict::Dispatch => Verdict::Dispatch,
        record::Verdict::Defer => Verdict::Defer {
            until: decision.next_at.ok_or_else(|| {
                invalid("decision_invalid", "next_at: a deferral names its time; set it")
            })?,
        },
        record::Verdict::Suppress => Verdict::Suppress,
        record::Verdict::Block if decision.reason.as_deref() == Some(DEADLINE_PASSED) => {
            Verdict::Expire
        }
        record::Verdict::Block => Verdict::Block,
        record::Verdict::Refuse => Verdict::Refuse,
        record::Verdict::Duplicate => Verdict::Duplicate { of: decision.duplicate_of },
        record::Verdict::Stale => Verdict::Stale,
    };
    let category = decision.category.as_deref().and_then(category_of);
    let subject = Subject {
        tenant: decision.tenant.clone(),
        lane: lane_of(decision.lane.as_deref(), category)?,
        idempotency_key: Some(decision.idempotency_key.clone()),
        campaign: decision.campaign.clone(),
        template: template_of(decision),
        category,
        contact_hash: decision.contact_hash.clone(),
        phone_number_id: decision.phone_number_id.clone(),
        trace,
    };
    let decision = Decision {
        seq,
        decided_at: decision.decided_at,
        verdict,
        reason: decision.reason.clone(),
        detail: decision.detail.clone(),
        holdout_arm: None,
    };
    Ok(Evidence::Decided { subject: Box::new(subject), decision })
}

fn template_of(decision: &record::Decision) -> Option<Template> {
    Some(Template {
        name: decision.template_name.clone()?,
        language: decision.template_language.clone().unwrap_or_default(),
        version: decision.template_version.and_then(|version| u32::try_from(version).ok()),
    })
}

/// A decision without a lane is read as of its category's lane, else as bulk: never up.
fn lane_of(text: Option<&str>, category: Option<Category>) -> Result<Lane, Fault> {
    match text {
        None => Ok(category.map_or(Lane::Bulk, Category::lane)),
        Some(text) => [Lane::Transactional, Lane::Bulk]
            .into_iter()
            .find(|lane| lane.as_str() == text)
            .ok_or_else(|| invalid("decision_invalid", "lane: neither transactional nor bulk")),
    }
}

/// `None` for a category this release does not know: the message is not about its category.
fn category_of(text: &str) -> Option<Category> {
    match text {
        "authentication" => Some(Category::Authentication),
        "utility" => Some(Category::Utility),
        "marketing" => Some(Category::Marketing),
        "service" => Some(Category::Service),
        _ => None,
    }
}

/// Send made, answered or ended an attempt. The wamid in clear stays behind.
///
/// `doubt_window` is how long send waits for evidence where the record does not say until when.
pub fn of_attempt(attempt: &Attempt, doubt_window: Duration) -> Result<Evidence, Fault> {
    let number = number_of(attempt.attempt, "attempt_invalid")?;
    let event = match attempt.event {
        record::AttemptEvent::Unknown => return Err(unknown_symbol("event")),
        record::AttemptEvent::Submitting => AttemptEvent::Submitting,
        record::AttemptEvent::Accepted => {
            AttemptEvent::Accepted { wamid_hash: wamid_hash_of(attempt)? }
        }
        record::AttemptEvent::Held => AttemptEvent::Held { wamid_hash: wamid_hash_of(attempt)? },
        record::AttemptEvent::Refused => AttemptEvent::Refused {
            code: attempt.error_code.map_or(NO_CODE, i64::from),
            class: class_of(attempt),
            disposition: disposition_of(attempt)?,
        },
        record::AttemptEvent::NotSent => {
            AttemptEvent::NotSent { disposition: disposition_of(attempt)? }
        }
        record::AttemptEvent::InDoubt => {
            let until = attempt.doubt_until.unwrap_or(attempt.occurred_at + doubt_window);
            AttemptEvent::InDoubt { until }
        }
        record::AttemptEvent::GaveUp => match attempt.disposition {
            record::Disposition::Retry => {
                AttemptEvent::Resending { at: attempt.retry_at.unwrap_or(attempt.occurred_at) }
            }
            record::Disposition::Unknown => return Err(unknown_symbol("disposition")),
            record::Disposition::None
            | record::Disposition::DeadLetter
            | record::Disposition::Reject
            | record::Disposition::Replan => AttemptEvent::GaveUp,
        },
        record::AttemptEvent::Expired => AttemptEvent::Expired,
        record::AttemptEvent::Cancelled => AttemptEvent::Cancelled,
    };
    Ok(Evidence::Attempted {
        attempt: number,
        decision_seq: seq_of(Some(attempt.decision_seq), "attempt_invalid")?,
        at: attempt.occurred_at,
        event,
    })
}

fn wamid_hash_of(attempt: &Attempt) -> Result<KeyedHash, Fault> {
    attempt.wamid_hash.clone().ok_or_else(|| {
        invalid("attempt_invalid", "wamid_hash: an acceptance names its wamid; set the hash")
    })
}

/// The class that send worked with, else that of the code, else that of the bare HTTP status.
fn class_of(attempt: &Attempt) -> CodeClass {
    let named = attempt.error_class.as_deref();
    let named = CodeClass::ALL.into_iter().find(|class| named == Some(class.as_str()));
    let http_status = attempt.http_status.and_then(|status| u16::try_from(status).ok());
    match (named, attempt.error_code) {
        (Some(class), _) => class,
        (None, Some(code)) => classify(i64::from(code), None, http_status).class,
        (None, None) => classify_unparsed(http_status),
    }
}

/// What follows an attempt that reached nobody. A record that names nothing is read as the end: if
/// more follows, its own record supersedes that; if nothing does, no message waits for ever.
fn disposition_of(attempt: &Attempt) -> Result<Disposition, Fault> {
    match attempt.disposition {
        record::Disposition::Unknown => Err(unknown_symbol("disposition")),
        record::Disposition::Retry => {
            Ok(Disposition::Retry { at: attempt.retry_at.unwrap_or(attempt.occurred_at) })
        }
        record::Disposition::DeadLetter => Ok(Disposition::DeadLetter),
        record::Disposition::Replan => Ok(Disposition::Replan),
        record::Disposition::None | record::Disposition::Reject => Ok(Disposition::Reject),
    }
}

/// Meta reported a status.
pub fn of_receipt(receipt: &Receipt) -> Result<Evidence, Fault> {
    let status = match receipt.status {
        record::ReceiptStatus::Unknown => return Err(unknown_symbol("status")),
        record::ReceiptStatus::Sent => Status::Sent,
        record::ReceiptStatus::Delivered => Status::Delivered,
        record::ReceiptStatus::Read => Status::Read,
        record::ReceiptStatus::Played => Status::Played,
        record::ReceiptStatus::Failed => Status::Failed {
            code: receipt.error_code.map(i64::from),
            title: receipt.error_title.clone(),
        },
    };
    let attempt = receipt.attempt.map(|number| number_of(number, "receipt_invalid")).transpose()?;
    Ok(Evidence::Status {
        status,
        occurred_at: receipt.occurred_at,
        wamid_hash: receipt.wamid_hash.clone(),
        // An attempt without its message says nothing.
        attempt: attempt.filter(|_| receipt.message_id.is_some()),
        price: receipt
            .price_category
            .clone()
            .map(|category| PriceClass { category, kind: receipt.price_type.clone() }),
    })
}

/// The sequence of a decision of policy: from 1, and 1 where the record is older than the field.
/// Decisions of ingest have 0.
fn seq_of(seq: Option<i32>, code: &'static str) -> Result<u32, Fault> {
    match seq.map(u32::try_from) {
        None => Ok(1),
        Some(Ok(seq)) if seq > 0 => Ok(seq),
        Some(_) => Err(invalid(code, "decision_seq: must be 1 or more")),
    }
}

fn number_of(number: i32, code: &'static str) -> Result<u32, Fault> {
    u32::try_from(number).map_err(|_| invalid(code, "attempt: must not be negative"))
}
