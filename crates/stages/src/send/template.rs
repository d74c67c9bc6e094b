//! Templates that the provider does not send for now: paused, disabled, rejected, throttled.
//!
//! A code of such a class or a notice suspends the template; its messages are parked, so that they
//! hold up nobody. Single calls try it, at most every [`STEPS`] apart: Meta pauses for 3 h, then for
//! 6 h, then for good, and neither bills nor counts what it refuses meanwhile. An accepted call, a
//! notice or a new row of the directory releases it (of notices the newest by Meta's time counts);
//! what a webhook suspended, a webhook of a later call that was sent. The row stays, so that an old
//! webhook does not suspend it again.
//!
//! | code or notice | effect |
//! |---|---|
//! | paused, disabled, not approved, throttled | the template is suspended |
//! | event APPROVED, REINSTATED, UNARCHIVED, UNPAUSED | it is released |
//! | event FLAGGED | nothing: a warning, it can still be sent |
//! | any other event | it is suspended |

use std::time::Duration;

use sendplane_domain::breaker::{Admission, Breaker, Word};
use sendplane_domain::limits::INTENT_ANSWER_MAX;
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::Notice;

use super::state::{PARKED, Resource, TEMPLATES, TemplateState, Timer, Work, resource_timer};
use super::{Ctx, inbox};
use crate::directory::TemplateKey;

/// How long a template is left alone, the first time, the second time and so on.
const STEPS: [Duration; 3] =
    [Duration::from_secs(600), Duration::from_secs(1_800), Duration::from_secs(3_600)];

/// Events after which a template can be sent again.
const RELEASING: [&str; 4] = ["APPROVED", "REINSTATED", "UNARCHIVED", "UNPAUSED"];

/// An event that changes nothing.
const WARNING: &str = "FLAGGED";

/// What to park a message under, and until when; `None` if its template may be called.
pub(super) fn suspended(ctx: &mut Ctx<'_, '_>, work: &Work) -> Option<(Resource, Timestamp)> {
    let key = work.template();
    match breaker(ctx, &key).admission(ctx.now()) {
        Admission::Calls | Admission::Probe => None,
        Admission::NotBefore(at) => Some((Resource::SuspendedTemplate(key), at)),
    }
}

/// How the template stands.
pub(super) fn breaker(ctx: &mut Ctx<'_, '_>, key: &TemplateKey) -> Breaker {
    ctx.get(&TEMPLATES, key).unwrap_or_default().breaker
}

/// A call is granted.
pub(super) fn granted(ctx: &mut Ctx<'_, '_>, work: &Work) {
    let key = work.template();
    if let Some(mut state) = ctx.get(&TEMPLATES, &key).filter(|state| state.breaker.is_open()) {
        state.breaker.granted(ctx.now());
        ctx.put(&TEMPLATES, &key, &state);
    }
}

/// A call was refused for its template.
pub(super) fn refused(ctx: &mut Ctx<'_, '_>, key: TemplateKey, word: Word) {
    let now = ctx.now();
    let mut state = ctx.get(&TEMPLATES, &key).unwrap_or_default();
    if state.breaker.tripped_for(word, now, &STEPS) {
        ctx.count("sendplane_suspensions_total", "template");
        ctx.put(&TEMPLATES, &key, &state);
    }
}

/// A call was accepted or sent: the template works.
pub(super) fn accepted(ctx: &mut Ctx<'_, '_>, key: TemplateKey, word: Word) {
    let now = ctx.now();
    let Some(before) = ctx.get(&TEMPLATES, &key) else { return };
    let mut state = before;
    let is_released = state.breaker.succeeded(word, now);
    if state != before {
        ctx.put(&TEMPLATES, &key, &state);
    }
    if is_released {
        released_now(ctx, key);
    }
}

/// The directory has a new row, or none any more: its messages are looked at again.
pub(super) fn changed(ctx: &mut Ctx<'_, '_>, key: TemplateKey) {
    if ctx.get(&TEMPLATES, &key).is_some() {
        let now = ctx.now();
        release(ctx, key, now);
    }
}

/// A notice about a template's status.
pub(super) fn hear(ctx: &mut Ctx<'_, '_>, notice: &Notice) {
    let (Some(name), Some(language), Some(event)) =
        (&notice.template_name, &notice.template_language, notice.status.as_deref())
    else {
        return ctx.count("sendplane_notices_total", "template_unnamed");
    };
    let key = TemplateKey::new(&notice.tenant, name, language);
    let said_at = notice.said_at();
    let mut state = ctx.get(&TEMPLATES, &key).unwrap_or_default();
    if said_at < state.noticed_at {
        return ctx.count("sendplane_notices_total", "template_outdated");
    }
    state.noticed_at = said_at;
    ctx.put(&TEMPLATES, &key, &state);
    if RELEASING.contains(&event) {
        release(ctx, key, said_at);
    } else if event != WARNING {
        let now = ctx.now();
        refused(ctx, key, Word::Answer { granted_at: now });
    }
}

/// The timer of a suspended template fired: how many parked messages go back to the queue. One
/// while it is suspended, to try it with.
pub(super) fn released(ctx: &mut Ctx<'_, '_>, key: &TemplateKey) -> usize {
    let now = ctx.now();
    let resource = Resource::SuspendedTemplate(key.clone());
    let (count, again) = match breaker(ctx, key).admission(now) {
        Admission::Calls => return usize::MAX,
        Admission::Probe => (1, now + INTENT_ANSWER_MAX),
        Admission::NotBefore(at) => (0, at),
    };
    if ctx.scan(&PARKED, &resource, count + 1).len() > count {
        ctx.schedule(resource_timer(&resource), again, &Timer::Resource(resource.clone()));
    }
    count
}

/// It can be sent since `at`: what was said before is over.
fn release(ctx: &mut Ctx<'_, '_>, key: TemplateKey, at: Timestamp) {
    let before = ctx.get(&TEMPLATES, &key);
    let mut state: TemplateState = before.unwrap_or_default();
    let is_released = state.breaker.close(at);
    if before != Some(state) {
        ctx.put(&TEMPLATES, &key, &state);
    }
    if is_released {
        released_now(ctx, key);
    }
}

fn released_now(ctx: &mut Ctx<'_, '_>, key: TemplateKey) {
    ctx.count("sendplane_releases_total", "template");
    inbox::release(ctx, &Resource::SuspendedTemplate(key));
}
