//! The model: state, and the parts that drive it.

mod emit;
mod send;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::config::{Config, Invalid, TemplateStatus};
use crate::fault::Faults;
use crate::ledger::{Ledger, NumberSummary, Summary};
use crate::limit::{Pair, Window};
use crate::queue::Queue;
use crate::request::Endpoint;
use crate::rng::{Concern, Rng, hash_text, mix};

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
    accepted: u64,
    calls_total: u64,
    inbound: u64,
    violations: u64,
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
                calls_per_second_max: number.calls.peak(),
                messages_per_second_max: number.messages.peak(),
            };
            summary.numbers.insert(config.id.clone(), counters);
        }
        summary
    }

    /// Send requests to one recipient (digits or user id), accepted or not.
    pub fn calls_to(&self, to: &str) -> u64 {
        self.contacts.get(to).map_or(0, |contact| contact.calls)
    }

    /// When [`Self::due_webhooks`] has something to give, Unix milliseconds.
    pub fn next_due(&self) -> Option<i64> {
        self.queue.next_due()
    }

    /// Webhook updates that are not due yet or not fetched.
    pub fn updates_pending(&self) -> usize {
        self.queue.len()
    }

    /// The answer to `GET /{phone-number-id}?fields=throughput`; none for an unknown number.
    /// Meta calls 80 messages per second `STANDARD`, more is `HIGH`.
    pub fn throughput(&self, phone_number_id: &str) -> Option<Value> {
        let number = &self.config.phone_numbers[*self.by_id.get(phone_number_id)?];
        let level = if number.throughput_per_second > 80 { "HIGH" } else { "STANDARD" };
        Some(json!({"throughput": {"level": level}, "id": number.id}))
    }

    /// Whether a bearer token may use the API.
    pub fn token_is_valid(&self, token: &str) -> bool {
        self.config.access_tokens.iter().any(|known| known == token)
    }

    /// Time never runs backwards inside the model, whatever a caller's clock does.
    pub(crate) fn advance(&mut self, now_ms: i64) -> i64 {
        self.now_ms = self.now_ms.max(now_ms);
        self.now_ms
    }

    /// A message from a customer: opens the service window and uses up throughput.
    pub(crate) fn note_inbound(&mut self, number: usize, from: &str, now_ms: i64) {
        self.numbers[number].inbound += 1;
        self.numbers[number].messages.count(now_ms);
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

    /// Changes the review state of a template in every account that has it; false if there is
    /// none of that name and language.
    pub(crate) fn set_template_status(
        &mut self,
        name: &str,
        language: &str,
        to: TemplateStatus,
    ) -> bool {
        let mut found = false;
        for template in &mut self.config.templates {
            if template.name == name && template.language == language {
                template.status = to;
                found = true;
            }
        }
        found
    }

    /// The accounts that have a template, ascending.
    pub(crate) fn wabas_of_template(&self, name: &str, language: &str) -> Vec<String> {
        let mut wabas = BTreeSet::new();
        for template in &self.config.templates {
            if template.name != name || template.language != language {
                continue;
            }
            match &template.waba_id {
                Some(id) => wabas.extend([id.clone()]),
                None => {
                    wabas.extend(self.config.phone_numbers.iter().map(|n| n.waba_id.clone()));
                }
            }
        }
        wabas.into_iter().collect()
    }

    /// A template id as Meta would number it: the same for the same template.
    pub(crate) fn template_id(&self, name: &str, language: &str) -> u64 {
        let key = hash_text(name) ^ mix(hash_text(language));
        Rng::keyed(self.config.seed, Concern::TemplateId, key).between(1 << 40, 1 << 50)
    }
}

#[cfg(test)]
mod tests;
