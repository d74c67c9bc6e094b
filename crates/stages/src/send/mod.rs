//! Send: paces, calls the provider, retries, and knows what it does not know.
//!
//! ```text
//!             Parked (lacks something of its own)
//!               ▲ ▼
//! dispatch ─▶ Waiting ─grant─▶ Submitting ─answer─▶ Settled (accepted, rejected, dead lettered)
//!               ▲  │                │  │
//!               │  └─valid_until──▶ Settled (expired)
//!               │                   │  └─refused or proven unsent─▶ Waiting (retry)
//!               │                   └─answer lost, ambiguous or overdue─▶ InDoubt
//!               └───────late proof that nothing was accepted──────────────┤
//!                                       webhook ─▶ Settled (accepted) ◀───┤
//!                                   end of doubt ─▶ Settled (unknown) ◀───┤
//!                  proven silence, utility, once ─▶ Waiting (re-send) ◀───┘
//! Settled (rejected, dead lettered) ─replay─▶ Waiting
//! Waiting, Submitting ─breach, refusal─▶ Settled (given back) ─later decision─▶ Waiting
//! Waiting, Parked ─cancel─▶ Settled (cancelled)
//! ```
//!
//! A webhook settles any state: it proves that Meta accepted the message.
//!
//! Inputs only take note: a number that may have something due is marked ready. Who is called is
//! decided once, at the end of the cycle, over all that is ready.
//!
//! Reading order: [`call`] (the effect and its result), `state` (what is stored), `intake`,
//! `inbox` (where messages wait), `grants` (who is next), `number`, `pair`, `budget` and
//! `portfolio` (limits), `recheck` (is it still so?) with `suppression` (consent), `intent` and
//! `route` (which endpoint), `settle` (results) with `health` and `template` (what they say about
//! others), `notice` (what Meta says of itself), `evidence` (webhooks), [`silence`] (when none came),
//! `opt_out`, `cancel` (messages that are withdrawn), `ending` (ends and timers), `give_back` (back to
//! policy and again), `replay` (dead letters that come back), `report` (outputs).
//!
//! **Architecture invariant:** a call is asked for in the cycle that commits its intent, its debit
//! and its timer, and nowhere else (I3). A message is called again only after the attempt before
//! it was refused or proven unsent (I4); after doubt once, if it is a utility and silence was proven.

mod budget;
pub mod call;
mod cancel;
mod codec;
mod ending;
mod evidence;
mod give_back;
mod grants;
mod health;
mod inbox;
mod intake;
mod intent;
mod notice;
mod number;
mod opt_out;
mod pair;
mod portfolio;
mod recheck;
mod replay;
mod report;
mod route;
mod settle;
pub mod silence;
mod state;
mod suppression;
mod template;
pub mod view;

use std::time::Duration;

use sendplane_domain::opaque::HashKey;
use sendplane_domain::rate::Limit;
use sendplane_stage_api::{Context, Input, InputClass, InputTopic, Stage};
use sendplane_wire::record::{Attempt, CancelAnswer, ConsentChange, Dispatch, Replan};
use sendplane_wire::topic;

use crate::directory::{Change, Directory};
use call::{CallProvider, CallResult};
pub use codec::{Record, SendCodec};
pub use state::{Resource, SETTLED_RETENTION, Timer};

/// Options of the stage.
#[derive(Clone, Debug)]
pub struct SendSettings {
    /// The deployment's secret: authenticates opaque data, keys the hashes of wamids.
    pub hash_key: HashKey,
    /// How long a doubted attempt waits for a webhook before it is given up.
    pub doubt_window: Duration,
    /// Whether a utility is sent once more after a doubt that proven silence ended (I5).
    pub resend_after_silence: bool,
    /// How far below Meta's ceiling a number stays, in percent: inbound messages count there too,
    /// and calls do not reach Meta at exactly the distance they left us.
    pub safety_percent: u32,
    /// How much waiting bulk a partition stores, in bytes; what is beyond waits in Kafka.
    pub inbox_bytes_max: u64,
}

/// The default of [`SendSettings::inbox_bytes_max`]: 2 GiB.
pub const INBOX_BYTES_MAX: u64 = 2 << 30;

impl SendSettings {
    /// The defaults: a doubt window of 10 min, a margin of 5 %, 2 GiB of waiting bulk.
    pub fn new(hash_key: HashKey) -> Self {
        Self {
            hash_key,
            doubt_window: Duration::from_secs(600),
            resend_after_silence: true,
            safety_percent: 5,
            inbox_bytes_max: INBOX_BYTES_MAX,
        }
    }

    /// The pace of a number whose ceiling is `messages_per_second`: the ceiling less the margin. A
    /// margin of the number's own goes before the deployment's.
    ///
    /// Cycles come in steps, so grants need a burst or they fall short of the pace. The margin pays
    /// for it: no closed second holds more grants than the ceiling (I8), and a burst is at most
    /// 100 ms worth (I9). Calls do not burst at all, see [`CallProvider::pace`]. A ceiling of 0 or
    /// less closes the number, any other leaves at least one a second.
    pub fn pace(&self, messages_per_second: i32, safety_percent: Option<i32>) -> Limit {
        let Some(granted) = u32::try_from(messages_per_second).ok().filter(|rate| *rate > 0) else {
            return Limit::CLOSED;
        };
        let own = safety_percent.map(|percent| u32::try_from(percent).unwrap_or(0));
        let kept = u64::from(100 - own.unwrap_or(self.safety_percent).min(100));
        let pace = (u64::from(granted) * kept / 100).clamp(1, u64::from(granted.max(2) - 1)) as u32;
        let burst = (granted - pace.min(granted)).clamp(1, (pace / 10).max(1));
        Limit::per_second(pace, burst)
    }
}

/// The send stage.
#[derive(Clone, Debug)]
pub struct SendStage {
    settings: SendSettings,
}

impl SendStage {
    /// With its options.
    pub fn new(settings: SendSettings) -> Self {
        Self { settings }
    }

    /// The options.
    pub fn settings(&self) -> &SendSettings {
        &self.settings
    }
}

type Ctx<'c, 's> = Context<'c, 's, SendStage>;

const INPUTS: [InputTopic; 6] = [
    input(topic::FEEDBACK, InputClass::Feedback),
    input(topic::SUPPRESSIONS, InputClass::Feedback),
    input(topic::NOTICES, InputClass::Feedback),
    input(topic::CANCELLATIONS, InputClass::Feedback),
    input(topic::DISPATCH_TRANSACTIONAL, InputClass::Transactional),
    input(topic::DISPATCH_BULK, InputClass::Bulk),
];

const fn input(topic: &'static str, class: InputClass) -> InputTopic {
    InputTopic { topic, class, value_bytes_max: RECORD_BYTES_MAX }
}

/// A body of 1,024 characters and its parameters fit many times over.
const RECORD_BYTES_MAX: usize = 256 * 1024;

/// A record the stage produces.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// What happened to an attempt.
    Attempt(Box<Attempt>),
    /// A message that policy has to judge again.
    Replan(Box<Replan>),
    /// The provider said that a person stopped marketing.
    OptOut(Box<ConsentChange>),
    /// What became of a cancel.
    CancelAnswer(Box<CancelAnswer>),
    /// A dispatch that is given up, for the dead-letter topic: what was to be sent, and why not.
    DeadLetter {
        /// The dispatch as it was read.
        dispatch: Box<Dispatch>,
        /// Calls made.
        attempts: u32,
        /// The provider's last words.
        why: String,
    },
}

impl Output {
    fn dead_letter(dispatch: Box<Dispatch>, message: &state::Message, why: &str) -> Self {
        Self::DeadLetter { dispatch, attempts: message.attempt, why: why.to_owned() }
    }
}

impl From<Attempt> for Output {
    fn from(record: Attempt) -> Self {
        Self::Attempt(Box::new(record))
    }
}

impl Stage for SendStage {
    type Record = Record;
    type Output = Output;
    type Timer = Timer;
    type Effect = CallProvider;
    type EffectResult = CallResult;
    type Globals = Directory;

    fn name(&self) -> &'static str {
        "send"
    }

    fn inputs(&self) -> &'static [InputTopic] {
        &INPUTS
    }

    fn misses_global(&self, record: &Record, globals: &Directory) -> bool {
        match record {
            Record::Dispatch(dispatch) => {
                globals.number(&dispatch.tenant, &dispatch.phone_number_id).is_none()
                    || recheck::may_be_behind(globals, dispatch)
            }
            Record::Feedback(_)
            | Record::Suppression(_)
            | Record::Notice(_)
            | Record::Cancellation(_) => false,
        }
    }

    fn apply(&self, input: Input<Self>, ctx: &mut Ctx<'_, '_>) {
        match input {
            Input::Record { record: Record::Dispatch(dispatch), meta } => {
                intake::take_in(ctx, dispatch, &meta);
            }
            Input::Record { record: Record::Feedback(feedback), .. } => {
                evidence::hear(ctx, &feedback);
            }
            Input::Record { record: Record::Suppression(row), .. } => {
                suppression::take(ctx, row);
            }
            Input::Record { record: Record::Notice(notice), .. } => notice::take(ctx, *notice),
            Input::Record { record: Record::Cancellation(cancel), .. } => {
                cancel::take(ctx, *cancel);
            }
            Input::Timer(Timer::Message(message_id)) => ending::time_is_up(self, ctx, message_id),
            Input::Timer(Timer::Number(tenant, number)) => {
                inbox::wake(ctx, &(tenant, number));
            }
            Input::Timer(Timer::Resource(resource)) => inbox::release(ctx, &resource),
            Input::Timer(Timer::Rest(resource, from)) => {
                inbox::release_rest(ctx, &resource, from);
            }
            Input::Timer(Timer::Sweep) => pair::sweep(ctx),
            Input::Timer(Timer::SuppressionEnds(tenant, contact)) => {
                suppression::end(ctx, &(tenant, contact));
            }
            Input::Timer(Timer::Withdrawn(tenant, message_id)) => {
                cancel::forget(ctx, tenant, message_id);
            }
            Input::Timer(Timer::Users) => portfolio::sweep(ctx),
            Input::Effect(result) => settle::settle(self, ctx, result),
            Input::Control(Change::Tenant(tenant, _)) => inbox::tenant_changed(ctx, &tenant),
            Input::Control(Change::Template(key, _)) => {
                template::changed(ctx, key.clone());
                recheck::template_changed(ctx, key);
            }
            Input::Control(Change::Gateway(..)) => {}
            // Whatever it says now: what it held is looked at again, and held again if need be.
            Input::Control(Change::Switch(id, _)) => {
                inbox::release(ctx, &Resource::Switch(id));
                inbox::mark_all_ready(ctx, &());
            }
        }
    }

    fn end_cycle(&self, ctx: &mut Ctx<'_, '_>) {
        grants::grant(self, ctx);
        inbox::hold_bulk_if_full(self, ctx);
    }
}

#[cfg(test)]
mod tests;
