//! The result of a call.
//!
//! Applying a result twice changes nothing: it counts only while the attempt it answers is open.

use std::time::Duration;

use sendplane_domain::breaker::Word;
use sendplane_domain::id::{MessageId, TenantId, Wamid};
use sendplane_domain::provider_code::{self, CodeClass};
use sendplane_domain::retry::{self, JITTER_MS_BOUND, Next};
use sendplane_domain::time::Timestamp;
use sendplane_wire::cloud_api::{Acceptance, Answer};
use sendplane_wire::record::{AttemptEvent, Disposition};

use super::call::{CallOutcome, CallResult, NotStarted};
use super::health::{self, Sign};
use super::report::Fault;
use super::state::{End, MESSAGES, Message, State, Work};
use super::{
    Ctx, Output, SendStage, ending, evidence, give_back, inbox, opt_out, pair, report, route,
};

/// What a result says about its attempt.
enum Finding {
    Accepted { wamid: Wamid, held: bool },
    Failed(Failure),
}

/// An attempt that was not accepted, or of which nobody knows.
struct Failure {
    /// What is reported, unless the class leaves it in doubt.
    event: AttemptEvent,
    /// `None` is our own delay: the message queues again at once and no failure is counted.
    class: Option<CodeClass>,
    fault: Fault,
}

impl Failure {
    fn is_proven_unsent(&self) -> bool {
        self.class.is_none_or(provider_code::proven_unsent)
    }
}

/// An open attempt.
struct Open {
    /// When its intent was committed; long ago if that is forgotten.
    granted_at: Timestamp,
    message_id: MessageId,
    message: Message,
    work: Work,
    latency_ms: Option<i64>,
}

/// Applies a result.
pub(super) fn settle(stage: &SendStage, ctx: &mut Ctx<'_, '_>, result: CallResult) {
    let message_id = result.message_id;
    let Some(message) = ctx.get(&MESSAGES, &message_id) else {
        return ignore(ctx, "unknown_message");
    };
    if message.attempt != result.attempt {
        return ignore(ctx, "other_attempt");
    }
    ctx.set_trace(message.trace.clone());
    let latency_ms = result.latency_ms.and_then(|millis| i64::try_from(millis).ok());
    match (message.state.clone(), finding(result.outcome)) {
        (
            State::Submitting { .. }
            | State::InDoubt { .. }
            | State::Settled { awaits_answer: true, .. },
            Finding::Accepted { wamid, held },
        ) => accept(stage, ctx, (message_id, message), wamid, held, latency_ms),
        (State::InDoubt { .. }, Finding::Failed(failure)) if !failure.is_proven_unsent() => {
            ignore(ctx, "already_in_doubt");
        }
        (
            State::Submitting { work, .. } | State::InDoubt { work, .. },
            Finding::Failed(failure),
        ) => {
            let granted_at = granted_at(&message);
            let open = Open { granted_at, message_id, message, work, latency_ms };
            fail(stage, ctx, open, failure);
        }
        (State::Waiting { .. } | State::Parked { .. } | State::Settled { .. }, _) => {
            ignore(ctx, "already_settled")
        }
    }
}

fn granted_at(message: &Message) -> Timestamp {
    match message.state {
        State::Submitting { granted_at, .. } => granted_at,
        _ => Timestamp::default(),
    }
}

fn ignore(ctx: &mut Ctx<'_, '_>, why: &'static str) {
    ctx.count("sendplane_call_results_ignored_total", why);
}

fn finding(outcome: CallOutcome) -> Finding {
    match outcome {
        CallOutcome::NotStarted { cause, reason } => not_started(cause, reason),
        CallOutcome::Lost { reason } => {
            let class = Some(CodeClass::Ambiguous);
            let fault = Fault { message: Some(reason), ..Fault::default() };
            Finding::Failed(Failure { event: AttemptEvent::InDoubt, class, fault })
        }
        CallOutcome::Answered { http_status, answer } => answered(http_status, answer),
    }
}

fn answered(http_status: u16, answer: Answer) -> Finding {
    let (code, class, text, raw_body) = match answer {
        Answer::Accepted { wamid, status } => {
            // `paused` is explained nowhere; taken for a hold, the longer of the two waits.
            let held = match status {
                Acceptance::Accepted => false,
                Acceptance::Held | Acceptance::Paused => true,
            };
            return Finding::Accepted { wamid, held };
        }
        Answer::Error(error) => {
            let code = provider_code::effective_code(error.code, error.subcode);
            let class = provider_code::classify(code, error.is_transient, Some(http_status)).class;
            let text = match error.details {
                Some(details) => format!("{}: {details}", error.message),
                None => error.message,
            };
            (Some(code), class, text, error.raw)
        }
        Answer::Unparsed { reason, raw } => {
            let class = provider_code::classify_unparsed(Some(http_status));
            (None, class, reason.as_str().to_owned(), Some(raw))
        }
    };
    let (message, http_status) = (Some(text), Some(http_status));
    let fault = Fault { code, message, http_status, raw_body, ..Fault::default() };
    Finding::Failed(Failure { event: AttemptEvent::Refused, class: Some(class), fault })
}

fn not_started(cause: NotStarted, reason: String) -> Finding {
    let fault = Fault { message: Some(reason), ..Fault::default() };
    let class = match cause {
        NotStarted::TooLate => None,
        // The message is not to blame, and an operator can mend it before the deadline.
        NotStarted::NoConnection => Some(CodeClass::ProviderWide),
        NotStarted::NoCredential => Some(CodeClass::SuspendTenant),
        NotStarted::Unbuildable => Some(CodeClass::PermanentRequest),
    };
    Finding::Failed(Failure { event: AttemptEvent::NotSent, class, fault })
}

fn accept(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    (message_id, mut message): (MessageId, Message),
    wamid: Wamid,
    held: bool,
    latency_ms: Option<i64>,
) {
    let word = Word::Answer { granted_at: granted_at(&message) };
    health::note(ctx, &message, word, Sign::Accepts);
    let wamid_hash = stage.settings.hash_key.hash("wamid", wamid.as_str());
    evidence::hear_of(ctx, &mut message, &wamid_hash);
    let event = if held { AttemptEvent::Held } else { AttemptEvent::Accepted };
    let mut record = report::attempt(message_id, &message, message.attempt, event, ctx.now());
    record.wamid = Some(wamid);
    record.wamid_hash = Some(wamid_hash);
    record.latency_ms = latency_ms;
    ctx.emit(record.into());
    ending::settled(ctx, message_id, message, End::Accepted, false);
}

fn fail(stage: &SendStage, ctx: &mut Ctx<'_, '_>, mut open: Open, failure: Failure) {
    let next = next_step(ctx, &mut open, failure.class);
    // Asked before this refusal suspends anything itself.
    let was_suspended = health::suspension(ctx, &open.message, failure.class).is_some();
    let sign = health::sign_of(failure.class, failure.fault.code);
    health::note(ctx, &open.message, Word::Answer { granted_at: open.granted_at }, sign);
    if let (Some(CodeClass::ThrottlePair), Next::RetryAt(at)) = (failure.class, next) {
        pair::hold(ctx, &open.message.number(), &open.work.dispatch.contact_hash, at);
    }
    let fault = Fault { class: failure.class, ..failure.fault };
    let Open { message_id, mut message, work, latency_ms, .. } = open;
    if fault.class == Some(CodeClass::RecipientOptedOut) {
        opt_out::publish(ctx, &mut message, ctx.now());
    }
    // An earlier attempt turned out to be accepted while this one was out: nothing is left to do.
    let is_accepted = !message.wamids.is_empty();
    let attempt = message.attempt;
    let mut record = report::attempt(message_id, &message, attempt, failure.event, ctx.now());
    record.latency_ms = latency_ms;
    let mut record = report::with_fault(record, fault);
    match next {
        Next::Doubt => {
            record.event = AttemptEvent::InDoubt;
            ending::doubt(stage, ctx, message_id, message, work, record);
        }
        _ if is_accepted => {
            ctx.emit(record.into());
            ending::settled(ctx, message_id, message, End::Accepted, false);
        }
        Next::RetryAt(at) => {
            record.disposition = Disposition::Retry;
            record.retry_at = Some(at);
            ctx.emit(record.into());
            inbox::enqueue(ctx, message_id, message, work, at);
        }
        Next::DeadLetter => {
            record.disposition = Disposition::DeadLetter;
            let why = record.error_message.clone().unwrap_or_default();
            ctx.emit(record.into());
            ctx.emit(Output::dead_letter(work.dispatch, &message, &why));
            ending::settled(ctx, message_id, message, End::DeadLettered, false);
        }
        Next::Reject => {
            record.disposition = Disposition::Reject;
            ctx.emit(record.into());
            ending::settled(ctx, message_id, message, End::Rejected, false);
        }
        Next::Replan if was_suspended => {
            let now = ctx.now();
            record.disposition = Disposition::Retry;
            record.retry_at = health::suspension(ctx, &message, failure.class).or(Some(now));
            ctx.emit(record.into());
            inbox::enqueue(ctx, message_id, message, work, now);
        }
        Next::Replan => {
            give_back::after_answer(ctx, message_id, message, work, record, failure.class);
        }
        // The next attempt would come too late: it is reported as one that expired, so that no
        // reader takes this refusal for the end.
        Next::Expired => {
            record.disposition = Disposition::Retry;
            record.retry_at = Some(work.dispatch.valid_until);
            ctx.emit(record.into());
            ending::expire(ctx, message_id, message);
        }
    }
}

fn next_step(ctx: &mut Ctx<'_, '_>, open: &mut Open, class: Option<CodeClass>) -> Next {
    let now = ctx.now();
    let valid_until = open.work.dispatch.valid_until;
    let at_once = if now < valid_until { Next::RetryAt(now) } else { Next::Expired };
    let Some(class) = class else {
        return at_once;
    };
    if route::switch(ctx, &mut open.work, class) {
        return at_once;
    }
    let failures = open.work.failures.entry(class).or_default();
    *failures = failures.saturating_add(1);
    let jitter_ms = open.message_id.jitter(open.message.attempt.into(), JITTER_MS_BOUND);
    let calls_max = calls_max(ctx, &open.message.tenant, class);
    let jitter = Duration::from_millis(jitter_ms);
    retry::next_within(class, calls_max, *failures, now, valid_until, jitter)
}

/// Where the tenant wants fewer calls than usual.
fn calls_max(ctx: &Ctx<'_, '_>, tenant: &TenantId, class: CodeClass) -> Option<u32> {
    let retries = &ctx.globals().tenant(tenant)?.retries;
    let own = retries.iter().find(|own| own.error_class == class.as_str())?;
    Some(u32::try_from(own.attempts_max).unwrap_or(0))
}
