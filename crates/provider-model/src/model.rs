//! The model: state, and the parts that drive it.

mod accept;
mod agenda;
mod emit;
mod gate;
mod node;
mod send;
pub(crate) mod state;
mod templates;

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::config::{Config, Invalid, Limits};
use crate::fault::Faults;
use crate::ledger::{Ledger, NumberSummary, Summary};
use crate::limit::{Pair, THROUGHPUT_STANDARD, Window};
use crate::queue::Queue;
use crate::report::{NumberReport, Rate, Rates, Violations};
use crate::request::Endpoint;
use crate::rng::{Concern, Rng, hash_text, mix};
use crate::suspension::TokenState;
pub use node::NodeCall;
use state::State;

/// A send request as it came over the wire.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Which of the two endpoints.
    pub endpoint: Endpoint,
    /// Path segment.
    pub phone_number_id: &'a str,
    /// Token of the `Authorization` header.
    pub bearer_token: Option<&'a str>,
    /// Raw body.
    pub body: &'a [u8],
}

/// What becomes of a send request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status; 0 when `fault` says that there is no answer.
    pub http_status: u16,
    /// Headers beside the content type.
    pub headers: Vec<(&'static str, String)>,
    /// Body of the answer.
    pub body: Body,
    /// What happens instead of an answer.
    pub fault: Option<TransportFault>,
    /// Time from the call until the answer or fault, in milliseconds.
    pub delay_ms: u64,
    /// What really happened, for judges only.
    pub truth: Truth,
}

/// Body of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// No body.
    Empty,
    /// Meta's usual form.
    Json(Value),
    /// `text/plain`.
    Text(&'static str),
    /// `text/html`.
    Html(&'static str),
}

impl Body {
    /// The bytes to send.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Json(value) => value.to_string().into_bytes(),
            Self::Text(text) | Self::Html(text) => text.as_bytes().to_vec(),
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json; charset=UTF-8",
            Self::Empty | Self::Text(_) => "text/plain; charset=UTF-8",
            Self::Html(_) => "text/html; charset=UTF-8",
        }
    }
}

/// What happens instead of an answer. A caller sees the two closing kinds alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// The connection cannot be established: proven unsent.
    Refused,
    /// The connection is reset before the request is read; nothing is accepted.
    ResetBeforeRead,
    /// The message is accepted, then the connection closes.
    ClosedAfterAccept,
}

/// What really became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The message exists; its position in the ledger.
    Accepted(u64),
    /// Refused with this code.
    Refused(i64),
    /// Nothing happened, and the answer does not say so.
    Untouched,
}

/// One business number at work.
#[derive(Clone, Debug, Default)]
struct Number {
    /// Accepted and inbound messages.
    messages: Window,
    /// Every call, to judge how well a caller paces itself.
    calls: Window,
    /// Calls that only the throughput could refuse, and inbound messages.
    offered: Window,
    rates: Rates,
    upgrade: Option<Upgrading>,
    accepted: u64,
    calls_total: u64,
    inbound: u64,
    violations: u64,
}

/// A throughput upgrade on its way.
#[derive(Clone, Copy, Debug)]
struct Upgrading {
    until_ms: i64,
    per_second: u32,
}

#[derive(Clone, Debug, Default)]
struct Contact {
    calls: u64,
    /// By index of the number; hardly ever more than one.
    pairs: Vec<(usize, Pair)>,
}

impl Contact {
    fn pair(&mut self, number: usize) -> &mut Pair {
        let found = self.pairs.iter().position(|(index, _)| *index == number);
        let position = found.unwrap_or_else(|| {
            self.pairs.push((number, Pair::default()));
            self.pairs.len() - 1
        });
        &mut self.pairs[position].1
    }
}

/// The provider. See the crate's documentation for what it promises.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) config: Config,
    pub(crate) by_id: BTreeMap<String, usize>,
    numbers: Vec<Number>,
    contacts: BTreeMap<String, Contact>,
    ledger: Ledger,
    pub(crate) queue: Queue,
    pub(crate) state: State,
    webhooks: u64,
    inbound: u64,
    now_ms: i64,
}

impl Model {
    /// A provider with this account and nothing sent yet.
    pub fn new(config: Config) -> Result<Self, Invalid> {
        config.check()?;
        let ids = config.phone_numbers.iter().map(|number| number.id.clone());
        Ok(Self {
            by_id: ids.enumerate().map(|(index, id)| (id, index)).collect(),
            numbers: vec![Number::default(); config.phone_numbers.len()],
            contacts: BTreeMap::new(),
            ledger: Ledger::default(),
            queue: Queue::default(),
            state: State::new(&config),
            webhooks: 0,
            inbound: 0,
            now_ms: i64::MIN,
            config,
        })
    }

    /// The account as it is now, including changed templates and knobs.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The fault knobs as they are now.
    pub fn faults(&self) -> &Faults {
        &self.config.faults
    }

    /// Turns the fault knobs; on an error nothing changes.
    pub fn set_faults(&mut self, faults: Faults) -> Result<(), Invalid> {
        faults.check()?;
        self.config.faults = faults;
        Ok(())
    }

    /// The limits as they are now.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Changes the limits; on an error nothing changes. Portfolios cannot be changed while running,
    /// only their tier ([`crate::Injection::PortfolioTier`]).
    pub fn set_limits(&mut self, limits: Limits) -> Result<(), Invalid> {
        limits.check()?;
        if limits.portfolios != self.config.limits.portfolios {
            let reason = "unchanged while running; inject portfolio_tier instead";
            return Err(Invalid::Range("limits.portfolios", reason));
        }
        let before = std::mem::replace(&mut self.config.limits, limits);
        let now = &self.config.limits;
        if (before.app_calls, before.account_calls) != (now.app_calls, now.account_calls) {
            self.state.usage = Default::default();
        }
        Ok(())
    }

    /// Every call above a limit since the start or the last reset.
    pub fn violations(&self) -> Violations {
        let mut violations = self.state.violations.clone();
        for (config, number) in self.config.phone_numbers.iter().zip(&self.numbers) {
            let (calls, messages) = (number.calls.peaks_since(), number.messages.peaks_since());
            let report = violations.numbers.entry(config.id.clone()).or_default();
            *report = NumberReport {
                violations: std::mem::take(&mut report.violations),
                calls_per_second_max: calls.open,
                calls_per_second_max_closed: calls.closed,
                messages_per_second_max: messages.open,
                messages_per_second_max_closed: messages.closed,
            };
        }
        violations
    }

    /// Starts the report of [`Self::violations`] anew. The totals of [`Self::summary`] go on.
    pub fn reset_violations(&mut self) {
        self.state.violations = Violations::default();
        for number in &mut self.numbers {
            number.calls.reset_peaks();
            number.messages.reset_peaks();
        }
    }

    /// What a number did second by second from `since` (Unix seconds) on, without gaps; none for
    /// an unknown number.
    pub fn rates(&self, phone_number_id: &str, since: i64) -> Option<Vec<Rate>> {
        let number = *self.by_id.get(phone_number_id)?;
        Some(self.numbers[number].rates.series(since))
    }

    /// The ground truth of messages.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The ground truth in counters.
    pub fn summary(&self) -> Summary {
        let mut summary = self.ledger.summary.clone();
        for (config, number) in self.config.phone_numbers.iter().zip(&self.numbers) {
            let counters = NumberSummary {
                calls: number.calls_total,
                accepted: number.accepted,
                inbound: number.inbound,
                throughput_violations: number.violations,
                calls_per_second_max: number.calls.peaks().open,
                messages_per_second_max: number.messages.peaks().open,
                calls_per_second_max_closed: number.calls.peaks().closed,
                messages_per_second_max_closed: number.messages.peaks().closed,
            };
            summary.numbers.insert(config.id.clone(), counters);
        }
        let waiting = self.state.pacing.values().map(|pacing| pacing.waiting() as u64);
        summary.messages_held = waiting.sum();
        summary.violations_by_kind = self.state.violations.by_kind.clone();
        summary.calls_after_refusal = self.state.violations.after_refusal.clone();
        summary
    }

    /// Send requests to one recipient (digits or user id), accepted or not.
    pub fn calls_to(&self, to: &str) -> u64 {
        self.contacts.get(to).map_or(0, |contact| contact.calls)
    }

    /// When [`Self::due_webhooks`] should be called next, Unix milliseconds: a webhook is due, or a
    /// change of the account that may bring some.
    pub fn next_due(&self) -> Option<i64> {
        let due = [self.queue.next_due(), self.state.agenda.next()];
        due.into_iter().flatten().min()
    }

    /// Webhook updates that are not due yet or not fetched.
    pub fn updates_pending(&self) -> usize {
        self.queue.len()
    }

    /// The answer to `GET /{phone-number-id}?fields=throughput`; none for an unknown number.
    /// Meta calls 80 messages per second `STANDARD`, more is `HIGH`.
    pub fn throughput(&self, phone_number_id: &str) -> Option<Value> {
        let number = &self.config.phone_numbers[*self.by_id.get(phone_number_id)?];
        let high = number.throughput_per_second > THROUGHPUT_STANDARD;
        let level = if high { "HIGH" } else { "STANDARD" };
        Some(json!({"throughput": {"level": level}, "id": number.id}))
    }

    /// Whether a bearer token may use the API, as of the last call.
    pub fn token_is_valid(&self, token: &str) -> bool {
        let known = self.state.tokens.get(token);
        known.is_some_and(|known| known.state_at(self.now_ms) == TokenState::Valid)
    }

    /// Time never runs backwards inside the model, whatever a caller's clock does. Changes whose
    /// time has come happen first, each at its own time.
    pub(crate) fn advance(&mut self, now_ms: i64) -> i64 {
        self.now_ms = self.now_ms.max(now_ms);
        while let Some((at_ms, change)) = self.state.agenda.pop(self.now_ms) {
            self.change(at_ms, change);
        }
        self.now_ms
    }

    /// A message from a customer: opens the service window and uses up throughput.
    pub(crate) fn note_inbound(&mut self, number: usize, from: &str, now_ms: i64) {
        let state = &mut self.numbers[number];
        state.inbound += 1;
        state.messages.count(now_ms);
        state.offered.count(now_ms);
        state.rates.now(now_ms).inbound += 1;
        let contact = self.contacts.entry(from.to_owned()).or_default();
        contact.pair(number).inbound_at_ms = Some(now_ms);
    }

    pub(crate) fn note_preference(&mut self, number: usize, from: &str, stop: bool) {
        let contact = self.contacts.entry(from.to_owned()).or_default();
        contact.pair(number).marketing_stopped = stop;
    }

    /// The id of the `nth` message of one direction with `contact`; distinct for distinct `nth`,
    /// because mixing is a bijection, and for distinct contacts, because it contains them.
    fn wamid(&self, contact: &str, nth: u64, inbound: bool) -> String {
        let concern = if inbound { Concern::InboundId } else { Concern::Wamid };
        let key = hash_text(contact).wrapping_add(mix(self.config.epoch));
        let base = Rng::keyed(self.config.seed, concern, key).next_u64();
        let id = format!("{:016X}", mix(base.wrapping_add(nth)));
        let length = u8::try_from(contact.len()).unwrap_or(u8::MAX);
        // The layout of Meta's ids as seen in its own examples: the contact stands in clear.
        let mut bytes = vec![0x1c, 0x18, length];
        bytes.extend(contact.bytes().take(usize::from(length)));
        bytes.extend([0x15, 0x02, 0x00, if inbound { 0x12 } else { 0x11 }, 0x18, 0x10]);
        bytes.extend(id.bytes());
        bytes.push(0x00);
        format!("wamid.{}", base64::engine::general_purpose::STANDARD.encode(bytes))
    }
}

#[cfg(test)]
mod tests;
