//! The intent: committed in the cycle that asks for the call, and nowhere else (I3).

use sendplane_domain::id::MessageId;
use sendplane_domain::limits::{CALL_START_MAX, INTENT_ANSWER_MAX};
use sendplane_domain::opaque::OpaqueData;
use sendplane_domain::rate::Limit;
use sendplane_domain::shard::ShardKey;
use sendplane_wire::record::AttemptEvent;

use super::call::CallProvider;
use super::state::{MESSAGES, Message, State, Timer, message_timer};
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
        pace,
    });
    message.state = State::Submitting { work, granted_at: now };
    ctx.put(&MESSAGES, &message_id, &message);
}
