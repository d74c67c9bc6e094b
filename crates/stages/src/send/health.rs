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
//! | template refused or throttled | the template waits for a good probe |
//! | all templates refused | the tenant waits for a good probe, for hours |
//! | restricted for spam | bulk of the number waits for a good probe, for hours |
//!
//! Everything releases itself: by time, or by a single call that goes through.

use std::time::Duration;

use sendplane_domain::lane::Lane;
use sendplane_domain::provider_code::CodeClass;
use sendplane_domain::time::Timestamp;

use super::number::tenant_state;
use super::state::{Message, NUMBERS, PROVIDER, TENANTS};
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

/// Takes note of a call of `message` that was granted at `granted_at`.
pub(super) fn note(ctx: &mut Ctx<'_, '_>, message: &Message, granted_at: Timestamp, sign: Sign) {
    match sign {
        Sign::Nothing => {}
        Sign::Works => works(ctx, message),
        Sign::Accepts => {
            works(ctx, message);
            accepts(ctx, message);
        }
        Sign::NumberThrottled => {
            works(ctx, message);
            slow_number(ctx, message, granted_at);
        }
        Sign::AppThrottled => {
            works(ctx, message);
            slow_all(ctx, granted_at);
        }
        Sign::Maintenance => {
            let until = ctx.now() + MAINTENANCE;
            change_number(ctx, message, |row| row.held_until = row.held_until.max(until));
            ctx.count("sendplane_holds_total", "maintenance");
        }
        Sign::Unwell => unwell(ctx, message, granted_at),
        Sign::NumberRefused => {
            let now = ctx.now();
            if change_number(ctx, message, |row| row.breaker.tripped(granted_at, now)) {
                ctx.count("sendplane_breaker_openings_total", "number_refused");
            }
        }
        Sign::TenantRefused => refuse_tenant(ctx, message, granted_at),
        Sign::TemplateRefused => {
            works(ctx, message);
            if let Some(work) = message.work() {
                template::refused(ctx, &work.dispatch, granted_at);
            }
        }
        Sign::TemplatesRefused => {
            works(ctx, message);
            refuse_templates(ctx, message, granted_at);
        }
        Sign::Spam => {
            works(ctx, message);
            stop_bulk(ctx, message, granted_at);
        }
    }
}

fn works(ctx: &mut Ctx<'_, '_>, message: &Message) {
    if change_number(ctx, message, |row| row.breaker.succeeded()) {
        ctx.count("sendplane_breaker_closings_total", "number");
        inbox::mark_ready(ctx, &message.number());
    }
    let mut provider = ctx.get(&PROVIDER, &()).unwrap_or_default();
    let before = provider.clone();
    if provider.breaker.succeeded() {
        ctx.count("sendplane_breaker_closings_total", "provider");
        inbox::mark_all_ready(ctx, &());
    }
    if provider != before {
        ctx.put(&PROVIDER, &(), &provider);
    }
    let mut tenant = tenant_state(ctx, &message.tenant);
    if tenant.account.succeeded() {
        ctx.count("sendplane_breaker_closings_total", "tenant");
        ctx.put(&TENANTS, &message.tenant, &tenant);
        inbox::mark_all_ready(ctx, &message.tenant);
    }
}

/// What only an accepted message proves.
fn accepts(ctx: &mut Ctx<'_, '_>, message: &Message) {
    let Some(work) = message.work() else { return };
    template::accepted(ctx, &work.dispatch);
    let is_bulk = work.lane == Lane::Bulk;
    if is_bulk && change_number(ctx, message, |row| row.bulk.succeeded()) {
        ctx.count("sendplane_breaker_closings_total", "bulk");
        inbox::mark_ready(ctx, &message.number());
    }
    let mut tenant = tenant_state(ctx, &message.tenant);
    if tenant.templates.succeeded() {
        ctx.count("sendplane_breaker_closings_total", "templates");
        ctx.put(&TENANTS, &message.tenant, &tenant);
        inbox::mark_all_ready(ctx, &message.tenant);
    }
}

fn refuse_templates(ctx: &mut Ctx<'_, '_>, message: &Message, granted_at: Timestamp) {
    let mut tenant = tenant_state(ctx, &message.tenant);
    if tenant.templates.tripped_for(granted_at, ctx.now(), &HOURS) {
        ctx.count("sendplane_suspensions_total", "tenant_templates");
        ctx.put(&TENANTS, &message.tenant, &tenant);
    }
}

/// Whichever lane the refused message was in: it is bulk that makes spam.
fn stop_bulk(ctx: &mut Ctx<'_, '_>, message: &Message, granted_at: Timestamp) {
    let now = ctx.now();
    if change_number(ctx, message, |row| row.bulk.tripped_for(granted_at, now, &HOURS)) {
        ctx.count("sendplane_suspensions_total", "spam");
    }
}

fn slow_number(ctx: &mut Ctx<'_, '_>, message: &Message, granted_at: Timestamp) {
    let now = ctx.now();
    if change_number(ctx, message, |row| row.throttle.refused(granted_at, now)) {
        ctx.count("sendplane_throttles_total", "number");
    }
}

fn slow_all(ctx: &mut Ctx<'_, '_>, granted_at: Timestamp) {
    let mut provider = ctx.get(&PROVIDER, &()).unwrap_or_default();
    if provider.throttle.refused(granted_at, ctx.now()) {
        ctx.count("sendplane_throttles_total", "app");
        ctx.put(&PROVIDER, &(), &provider);
    }
}

fn unwell(ctx: &mut Ctx<'_, '_>, message: &Message, granted_at: Timestamp) {
    let now = ctx.now();
    if change_number(ctx, message, |row| row.breaker.failed(granted_at, now)) {
        ctx.count("sendplane_breaker_openings_total", "number");
    }
    let mut provider = ctx.get(&PROVIDER, &()).unwrap_or_default();
    let before = provider.clone();
    if provider.breaker.failed(granted_at, now) {
        ctx.count("sendplane_breaker_openings_total", "provider");
    }
    if provider != before {
        ctx.put(&PROVIDER, &(), &provider);
    }
}

fn refuse_tenant(ctx: &mut Ctx<'_, '_>, message: &Message, granted_at: Timestamp) {
    let mut tenant = tenant_state(ctx, &message.tenant);
    if tenant.account.tripped(granted_at, ctx.now()) {
        ctx.count("sendplane_breaker_openings_total", "tenant_refused");
        ctx.put(&TENANTS, &message.tenant, &tenant);
    }
}

/// Changes the number's row, if `change` changes anything.
fn change_number<R>(
    ctx: &mut Ctx<'_, '_>,
    message: &Message,
    change: impl FnOnce(&mut super::state::Number) -> R,
) -> R {
    let number = message.number();
    let before = ctx.get(&NUMBERS, &number).unwrap_or_default();
    let mut row = before.clone();
    let result = change(&mut row);
    if row != before {
        ctx.put(&NUMBERS, &number, &row);
    }
    result
}
