//! The intent: committed in the cycle that asks for the call, and nowhere else (I3).

use std::time::Duration;

use sendplane_domain::id::MessageId;
use sendplane_domain::lane::Category;
use sendplane_domain::limits::{CALL_START_MAX, INTENT_ANSWER_MAX};
use sendplane_domain::opaque::OpaqueData;
use sendplane_domain::rate::Limit;
use sendplane_domain::shard::ShardKey;
use sendplane_domain::ttl;
use sendplane_wire::cloud_api::Route;
use sendplane_wire::record::AttemptEvent;

use super::call::CallProvider;
use super::state::{MESSAGES, Message, State, Timer, Work, message_timer};
use super::{Ctx, SendStage, inbox, report, route};

/// Commits the intent of the next attempt of a waiting message and asks for the call.
pub(super) fn commit(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    message_id: MessageId,
    mut message: Message,
    credential: String,
    pace: Limit,
) {
    let Some(mut work) = inbox::take_out(ctx, message_id, &message) else {
        return;
    };
    let now = ctx.now();
    message.attempt = message.attempt.saturating_add(1);
    message.granted_at = now;
    let attempt = message.attempt;
    work.route = route::next(ctx, &work);
    let event = AttemptEvent::Submitting;
    let mut record = report::attempt(message_id, &message, attempt, event, now);
    record.product_policy = work.route.product_policy().map(|policy| policy.as_str().to_owned());
    let ttl = time_to_live(ctx, &work);
    record.ttl_seconds = i32::try_from(ttl.as_secs()).ok().filter(|_| ttl < ttl::LONGEST);
    if now + ttl > work.dispatch.deadline && ttl < ttl::LONGEST {
        // No call can shorten it: the template has to say less.
        ctx.count("sendplane_ttl_beyond_deadline_total", "call");
    }
    ctx.emit(record.into());
    let timer = Timer::Message(message_id);
    ctx.schedule(message_timer(message_id), now + INTENT_ANSWER_MAX, &timer);
    let opaque_data =
        OpaqueData { shard: ShardKey::of(message.tenant.clone()), message_id, attempt };
    ctx.perform(CallProvider {
        message_id,
        attempt,
        tenant: message.tenant.clone(),
        phone_number_id: message.phone_number_id.clone(),
        credential,
        lane: work.lane,
        route: work.route,
        content: work.dispatch.clone(),
        opaque_data: opaque_data.encode(&stage.settings.hash_key),
        start_within: CALL_START_MAX.min(work.dispatch.valid_until.since(now)),
        pace: pace.even(),
    });
    message.state = State::Submitting { work, granted_at: now };
    ctx.put(&MESSAGES, &message_id, &message);
}

/// How long Meta tries to deliver the message.
fn time_to_live(ctx: &Ctx<'_, '_>, work: &Work) -> Duration {
    let said = ctx.globals().template(&work.template()).and_then(|template| template.ttl_seconds);
    let category = Category::of_template(&work.dispatch.category);
    ttl::of_template(category, said, work.route != Route::Messages)
}
