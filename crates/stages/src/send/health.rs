//! What a call's end says about its number, its tenant's account and the provider.
//!
//! | end of the call | effect |
//! |---|---|
//! | accepted, or refused for a reason of the message | closes the breakers: the other side works |
//! | number throttled | the number's share is halved |
//! | app throttled | the share of all numbers is halved |
//! | maintenance (131057) | the number is held for a minute |
//! | provider unwell, no connection, no answer | counts against the number and the provider |
//! | number or account refused, no credential | the number or the tenant waits for a good probe |
//! | template refused or throttled | the template waits for a good probe, and a refused probe with it |
//! | all templates refused | the tenant waits for a good probe, for hours; likewise |
//! | restricted for spam | bulk of the number waits for a good probe, for hours |
//!
//! Everything releases itself: by time, or by a single call that goes through.
//!
//! A status webhook says the same of a call that was accepted, with these differences:
//!
//! | word | effect |
//! |---|---|
//! | sent, delivered, read, played | as accepted, for calls that were granted since it is closed |
//! | failed, for a reason of the message | nothing: it proves less than an answer |
//! | failed, provider unwell | nothing: that passes within seconds, and a repetition would count twice |
//! | failed, any other code | as the code in an answer, from the time at which Meta said so |
//!
//! What a webhook suspends, no answer releases by itself, because all such calls are accepted first;
//! and a webhook suspends nothing that was released since it was said ([`sendplane_domain::breaker`]).

use std::time::Duration;

use sendplane_domain::breaker::{Admission, Word};
use sendplane_domain::lane::Lane;
use sendplane_domain::provider_code::{CodeClass, classify_status};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Table, TableKey, TableValue};
use sendplane_wire::record::{Feedback, ReceiptStatus};

use super::number::tenant_state;
use super::state::{Message, NUMBERS, Number, PROVIDER, Provider, TENANTS, TenantState};
use super::{Ctx, inbox, template};

/// Meta: an upgrade of a number's throughput takes up to a minute.
const MAINTENANCE: Duration = Duration::from_secs(60);
const MAINTENANCE_CODE: i64 = 131057;

/// How long bulk of a number restricted for spam, or a tenant without templates, is left alone, the
/// first time, the second time and so on. Meta: hours to days, 24 h at a time.
const HOURS: [Duration; 3] =
    [Duration::from_secs(3_600), Duration::from_secs(6 * 3_600), Duration::from_secs(24 * 3_600)];

/// Whom an end of a call speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The provider accepted the message.
    Accepts,
    /// The provider dealt with the message.
    Works,
    /// Too fast from this number.
    NumberThrottled,
    /// Too fast from the whole app.
    AppThrottled,
    /// The number is in maintenance.
    Maintenance,
    /// The provider did not deal with it; nobody knows whose fault that is.
    Unwell,
    /// The number may not send.
    NumberRefused,
    /// The tenant may not send.
    TenantRefused,
    /// The template may not be sent.
    TemplateRefused,
    /// The tenant may send no templates.
    TemplatesRefused,
    /// The number is restricted for spam.
    Spam,
    /// It was our own delay.
    Nothing,
}

/// What a failure of `class` with Meta's `code` is a sign of.
pub(super) fn sign_of(class: Option<CodeClass>, code: Option<i64>) -> Sign {
    match class {
        None => Sign::Nothing,
        Some(CodeClass::ThrottleNumber) => Sign::NumberThrottled,
        Some(CodeClass::ThrottleApp | CodeClass::ThrottleAccount) => Sign::AppThrottled,
        Some(CodeClass::ProviderWide) if code == Some(MAINTENANCE_CODE) => Sign::Maintenance,
        Some(CodeClass::ProviderWide | CodeClass::Ambiguous) => Sign::Unwell,
        Some(CodeClass::SuspendNumber) => Sign::NumberRefused,
        Some(CodeClass::SuspendTenant) => Sign::TenantRefused,
        Some(CodeClass::SuspendTemplate | CodeClass::ThrottleTemplate) => Sign::TemplateRefused,
        Some(CodeClass::SuspendTenantTemplates) => Sign::TemplatesRefused,
        Some(CodeClass::ThrottleSpam) => Sign::Spam,
        Some(_) => Sign::Works,
    }
}

/// What a status webhook is a sign of.
fn sign_in(feedback: &Feedback) -> Sign {
    match feedback.status {
        ReceiptStatus::Sent
        | ReceiptStatus::Delivered
        | ReceiptStatus::Read
        | ReceiptStatus::Played => Sign::Accepts,
        ReceiptStatus::Unknown => Sign::Nothing,
        ReceiptStatus::Failed => {
            let Some(code) = feedback.error_code.map(i64::from) else { return Sign::Nothing };
            match sign_of(Some(classify_status(code).class), Some(code)) {
                Sign::Works | Sign::Unwell => Sign::Nothing,
                sign => sign,
            }
        }
    }
}

/// If what refuses a message with `class` is suspended, when it is tried next. Such a message was a
/// probe, or under way when it was suspended: it waits for the release like those behind it. Policy
/// has looked at this template once, with the message that was refused first, and knows nothing more
/// now; given back for every probe, the only message of a template that is suspended for hours would
/// be released too often and end, for no fault of its own.
pub(super) fn suspension(
    ctx: &mut Ctx<'_, '_>,
    message: &Message,
    class: Option<CodeClass>,
) -> Option<Timestamp> {
    let breaker = match class {
        Some(CodeClass::SuspendTemplate) => template::breaker(ctx, &message.template()),
        Some(CodeClass::SuspendTenantTemplates) => tenant_state(ctx, &message.tenant).templates,
        _ => return None,
    };
    match breaker.admission(ctx.now()) {
        Admission::Calls => None,
        Admission::Probe => Some(ctx.now()),
        Admission::NotBefore(at) => Some(at),
    }
}

/// Takes note of a webhook about `message`. Of an attempt before the newest nobody knows any more
/// when it was granted and with which template.
pub(super) fn hear(ctx: &mut Ctx<'_, '_>, message: &Message, feedback: &Feedback) {
    if u32::try_from(feedback.attempt) != Ok(message.attempt) {
        return;
    }
    let granted_at = message.granted_at;
    let said_at = feedback.occurred_at.max(granted_at);
    note(ctx, message, Word::Webhook { granted_at, said_at }, sign_in(feedback));
}

/// Takes note of a call of `message`.
pub(super) fn note(ctx: &mut Ctx<'_, '_>, message: &Message, word: Word, sign: Sign) {
    match sign {
        Sign::Nothing => {}
        Sign::Works => works(ctx, message, word),
        Sign::Accepts => {
            works(ctx, message, word);
            accepts(ctx, message, word);
        }
        Sign::NumberThrottled => {
            answered(ctx, message, word);
            slow_number(ctx, message, word);
        }
        Sign::AppThrottled => {
            answered(ctx, message, word);
            slow_all(ctx, word);
        }
        Sign::Maintenance => {
            let until = word.said_at(ctx.now()) + MAINTENANCE;
            change_number(ctx, message, |row| row.held_until = row.held_until.max(until));
            ctx.count("sendplane_holds_total", "maintenance");
        }
        Sign::Unwell => unwell(ctx, message, word),
        Sign::NumberRefused => {
            let now = ctx.now();
            if change_number(ctx, message, |row| row.breaker.tripped(word, now)) {
                ctx.count("sendplane_breaker_openings_total", "number_refused");
            }
        }
        Sign::TenantRefused => refuse_tenant(ctx, message, word),
        Sign::TemplateRefused => {
            answered(ctx, message, word);
            template::refused(ctx, message.template(), word);
        }
        Sign::TemplatesRefused => {
            answered(ctx, message, word);
            refuse_templates(ctx, message, word);
        }
        Sign::Spam => {
            answered(ctx, message, word);
            stop_bulk(ctx, message, word);
        }
    }
}

/// An answer that refuses the message for a reason of its own proves that the rest works.
fn answered(ctx: &mut Ctx<'_, '_>, message: &Message, word: Word) {
    if word.is_answer() {
        works(ctx, message, word);
    }
}

fn works(ctx: &mut Ctx<'_, '_>, message: &Message, word: Word) {
    let now = ctx.now();
    if change_number(ctx, message, |row| row.breaker.succeeded(word, now)) {
        ctx.count("sendplane_breaker_closings_total", "number");
        inbox::mark_ready(ctx, &message.number());
    }
    if change_provider(ctx, |row| row.breaker.succeeded(word, now)) {
        ctx.count("sendplane_breaker_closings_total", "provider");
        inbox::mark_all_ready(ctx, &());
    }
    if change_tenant(ctx, message, |row| row.account.succeeded(word, now)) {
        ctx.count("sendplane_breaker_closings_total", "tenant");
        inbox::mark_all_ready(ctx, &message.tenant);
    }
}

/// What only an accepted message proves.
fn accepts(ctx: &mut Ctx<'_, '_>, message: &Message, word: Word) {
    let now = ctx.now();
    template::accepted(ctx, message.template(), word);
    let is_bulk = message.lane == Lane::Bulk;
    if is_bulk && change_number(ctx, message, |row| row.bulk.succeeded(word, now)) {
        ctx.count("sendplane_breaker_closings_total", "bulk");
        inbox::mark_ready(ctx, &message.number());
    }
    if change_tenant(ctx, message, |row| row.templates.succeeded(word, now)) {
        ctx.count("sendplane_breaker_closings_total", "templates");
        inbox::mark_all_ready(ctx, &message.tenant);
    }
}

fn refuse_templates(ctx: &mut Ctx<'_, '_>, message: &Message, word: Word) {
    let now = ctx.now();
    if change_tenant(ctx, message, |row| row.templates.tripped_for(word, now, &HOURS)) {
        ctx.count("sendplane_suspensions_total", "tenant_templates");
    }
}

/// Whichever lane the refused message was in: it is bulk that makes spam.
fn stop_bulk(ctx: &mut Ctx<'_, '_>, message: &Message, word: Word) {
    let now = ctx.now();
    if change_number(ctx, message, |row| row.bulk.tripped_for(word, now, &HOURS)) {
        ctx.count("sendplane_suspensions_total", "spam");
    }
}

fn slow_number(ctx: &mut Ctx<'_, '_>, message: &Message, word: Word) {
    let said_at = word.said_at(ctx.now());
    if change_number(ctx, message, |row| row.throttle.refused(word.granted_at(), said_at)) {
        ctx.count("sendplane_throttles_total", "number");
    }
}

fn slow_all(ctx: &mut Ctx<'_, '_>, word: Word) {
    let said_at = word.said_at(ctx.now());
    if change_provider(ctx, |row| row.throttle.refused(word.granted_at(), said_at)) {
        ctx.count("sendplane_throttles_total", "app");
    }
}

fn unwell(ctx: &mut Ctx<'_, '_>, message: &Message, word: Word) {
    let (granted_at, now) = (word.granted_at(), ctx.now());
    if change_number(ctx, message, |row| row.breaker.failed(granted_at, now)) {
        ctx.count("sendplane_breaker_openings_total", "number");
    }
    if change_provider(ctx, |row| row.breaker.failed(granted_at, now)) {
        ctx.count("sendplane_breaker_openings_total", "provider");
    }
}

fn refuse_tenant(ctx: &mut Ctx<'_, '_>, message: &Message, word: Word) {
    let now = ctx.now();
    if change_tenant(ctx, message, |row| row.account.tripped(word, now)) {
        ctx.count("sendplane_breaker_openings_total", "tenant_refused");
    }
}

fn change_number<R>(
    ctx: &mut Ctx<'_, '_>,
    message: &Message,
    change: impl FnOnce(&mut Number) -> R,
) -> R {
    change_row(ctx, &NUMBERS, &message.number(), change)
}

fn change_tenant<R>(
    ctx: &mut Ctx<'_, '_>,
    message: &Message,
    change: impl FnOnce(&mut TenantState) -> R,
) -> R {
    change_row(ctx, &TENANTS, &message.tenant, change)
}

fn change_provider<R>(ctx: &mut Ctx<'_, '_>, change: impl FnOnce(&mut Provider) -> R) -> R {
    change_row(ctx, &PROVIDER, &(), change)
}

/// Changes a row, or the one that there would be; written only if `change` changes anything.
fn change_row<K, V, R>(
    ctx: &mut Ctx<'_, '_>,
    table: &Table<K, V>,
    key: &K,
    change: impl FnOnce(&mut V) -> R,
) -> R
where
    K: TableKey,
    V: TableValue + Clone + Default + PartialEq,
{
    let before = ctx.get(table, key).unwrap_or_default();
    let mut row = before.clone();
    let result = change(&mut row);
    if row != before {
        ctx.put(table, key, &row);
    }
    result
}
