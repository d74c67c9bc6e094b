//! Performs the send stage's calls.
//!
//! Every effect ends in exactly one result, and the result says no more than is proven. What stands
//! between an intent and its call costs time out of the same two seconds (I3): a slot, the number's
//! pace, a connection. A call that does not get all of them in time is reported as not started.

mod pacer;

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use secrecy::SecretString;
use sendplane_domain::provider_code;
use sendplane_provider::{Call, CloudApi, Completed, Outcome, Unsent};
use sendplane_stage_runtime::effect::{EffectRunner, EffectSink, Started};
use sendplane_stages::send::SendStage;
use sendplane_stages::send::call::{CallOutcome, CallProvider, CallResult, NotStarted};
use sendplane_wire::cloud_api::{Acceptance, Answer};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use pacer::Pacer;

/// Finds an access token by the name a tenant's record gives it, else says what is missing.
pub type Tokens = Arc<dyn Fn(&str) -> Result<SecretString, String> + Send + Sync>;

/// Counts results by class.
pub const REQUESTS_TOTAL: &str = "sendplane_meta_requests_total";
/// Time from handing the request to a connection to its answer, or to giving up.
pub const REQUEST_DURATION_SECONDS: &str = "sendplane_meta_request_duration_seconds";
/// Calls that have a slot.
pub const REQUESTS_IN_FLIGHT: &str = "sendplane_meta_requests_in_flight";

/// Performs [`CallProvider`] on a tokio runtime. Cheap to clone.
#[derive(Clone)]
pub struct ProviderRunner {
    handle: Handle,
    api: CloudApi,
    tokens: Tokens,
    slots: Arc<Semaphore>,
    calls_max: usize,
    pacer: Arc<Pacer>,
}

impl ProviderRunner {
    /// At most `calls_max` calls at a time, at least one. The stage grants no more than there are
    /// slots, and keeps some of them for transactional messages.
    pub fn new(handle: Handle, api: CloudApi, tokens: Tokens, calls_max: usize) -> Self {
        let calls_max = calls_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            handle,
            api,
            tokens,
            slots: Arc::new(Semaphore::new(calls_max)),
            calls_max,
            pacer: Arc::new(Pacer::new(Instant::now())),
        }
    }

    /// Performs one call, or says why not. `granted_at` is when the cycle that committed its intent
    /// began.
    pub async fn call(&self, effect: CallProvider, granted_at: Instant) -> CallResult {
        let start_by = granted_at + effect.start_within;
        let (outcome, latency) = self.perform(&effect, start_by).await;
        counter!(REQUESTS_TOTAL, "code_class" => code_class(&outcome)).increment(1);
        if let Some(latency) = latency {
            histogram!(REQUEST_DURATION_SECONDS).record(latency.as_secs_f64());
        }
        CallResult {
            message_id: effect.message_id,
            attempt: effect.attempt,
            phone_number_id: effect.phone_number_id,
            outcome,
            latency_ms: latency.and_then(|latency| u64::try_from(latency.as_millis()).ok()),
        }
    }

    async fn perform(
        &self,
        effect: &CallProvider,
        start_by: Instant,
    ) -> (CallOutcome, Option<Duration>) {
        let token = match (self.tokens)(&effect.credential) {
            Ok(token) => token,
            Err(why) => {
                let reason = format!("tenant {}: {why}", effect.tenant);
                return (not_started(NotStarted::NoCredential, reason), None);
            }
        };
        let Ok(Some(_slot)) = timeout_at(start_by, self.slot()).await else {
            let reason = "every slot was taken until the time to start was over".to_owned();
            return (not_started(NotStarted::TooLate, reason), None);
        };
        let number = &effect.phone_number_id;
        if !self.pacer.wait(number, effect.pace, start_by).await {
            let reason = "the pace of the number left no start in time".to_owned();
            return (not_started(NotStarted::TooLate, reason), None);
        }
        let completed = self
            .api
            .send_template(Call {
                route: effect.route,
                phone_number_id: number,
                token: &token,
                dispatch: &effect.content,
                opaque_data: &effect.opaque_data,
                start_by,
            })
            .await;
        outcome_of(completed)
    }

    /// `None` never happens: nobody closes a semaphore.
    async fn slot(&self) -> Option<Slot> {
        let slot = self.slots.clone().acquire_owned().await.ok()?;
        gauge!(REQUESTS_IN_FLIGHT).increment(1.0);
        Some(Slot { _permit: slot })
    }
}

impl EffectRunner<SendStage> for ProviderRunner {
    fn start(&self, effect: CallProvider, started: Started, sink: EffectSink<SendStage>) {
        let runner = self.clone();
        self.handle.spawn(async move {
            let granted_at = Instant::from_std(started.granted_at);
            sink.settle(runner.call(effect, granted_at).await);
        });
    }

    fn slots(&self) -> usize {
        self.calls_max
    }

    fn reserved_slots(&self) -> usize {
        self.calls_max / 8
    }
}

/// Counted as in flight until it is dropped.
struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        gauge!(REQUESTS_IN_FLIGHT).decrement(1.0);
    }
}

fn not_started(cause: NotStarted, reason: String) -> CallOutcome {
    CallOutcome::NotStarted { cause, reason }
}

fn outcome_of(completed: Completed) -> (CallOutcome, Option<Duration>) {
    let outcome = match completed.outcome {
        Outcome::Unsent { cause, reason } => {
            let cause = match cause {
                Unsent::TooLate => NotStarted::TooLate,
                Unsent::NoConnection => NotStarted::NoConnection,
                Unsent::BadToken => NotStarted::NoCredential,
                Unsent::BadNumber => NotStarted::Unbuildable,
            };
            not_started(cause, reason)
        }
        Outcome::Answered { http_status, answer } => CallOutcome::Answered { http_status, answer },
        Outcome::Lost { reason } => CallOutcome::Lost { reason },
    };
    (outcome, completed.latency)
}

/// The label of a result: the class of its code, or what happened instead of one.
fn code_class(outcome: &CallOutcome) -> &'static str {
    match outcome {
        CallOutcome::NotStarted { cause, .. } => match cause {
            NotStarted::TooLate => "not_started_too_late",
            NotStarted::NoConnection => "not_started_no_connection",
            NotStarted::NoCredential => "not_started_no_credential",
            NotStarted::Unbuildable => "not_started_unbuildable",
        },
        CallOutcome::Lost { .. } => "lost",
        CallOutcome::Answered { http_status, answer } => match answer {
            Answer::Accepted { status: Acceptance::Accepted, .. } => "accepted",
            Answer::Accepted { status: Acceptance::Held | Acceptance::Paused, .. } => "held",
            Answer::Error(error) => {
                let code = provider_code::effective_code(error.code, error.subcode);
                provider_code::classify(code, error.is_transient, Some(*http_status)).class.as_str()
            }
            Answer::Unparsed { .. } => {
                provider_code::classify_unparsed(Some(*http_status)).as_str()
            }
        },
    }
}

#[cfg(test)]
mod tests;
