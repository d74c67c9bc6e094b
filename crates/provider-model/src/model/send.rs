//! What becomes of a send request.
//!
//! Order: reachability, resets, token and number, call limits, the request itself, suspensions and
//! maintenance, the marketing endpoint, fixed results of the test range, knobs, limits (number,
//! portfolio, marketing, pair), acceptance. Meta says that its own order varies.

use serde_json::{Value, json};

use super::gate::Passage;
use super::templates::template_key;
use super::{Answer, Body, Call, Model, TransportFault, Truth};
use crate::code::{Refusal, describe};
use crate::fault::{Down, pick};
use crate::magic::{self, Behaviour, CallRule, OddAnswer};
use crate::report::Gate;
use crate::request::{self, Content, Endpoint, Recipient, Request};
use crate::rng::{Concern, Rng, hash_text, mix};

/// How an accepted message is answered, or an odd refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Plain,
    Held,
    Lost,
    Odd(OddAnswer),
}

/// One request on its way through the model.
pub(super) struct Flight<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) body: Option<Value>,
    pub(super) now_ms: i64,
    /// Digits or user id, as far as they can be read.
    pub(super) recipient: String,
    /// Which request of its recipient this is, from 1.
    pub(super) nth: u64,
    /// Keys every random decision about this request.
    pub(super) key: u64,
    pub(super) magic: Option<Behaviour>,
    /// Draws of the knobs: reset, error, lost answer, garbage, kind of garbage.
    draws: [f64; 5],
}

impl Model {
    /// Receives a send request at `now_ms` (Unix milliseconds) and decides everything about it.
    /// The caller carries out [`Answer::delay_ms`] and [`Answer::fault`].
    pub fn handle_send(&mut self, now_ms: i64, call: &Call<'_>) -> Answer {
        let now_ms = self.advance(now_ms);
        let body: Option<Value> = serde_json::from_slice(call.body).ok();
        let recipient = body.as_ref().and_then(request::recipient_text).unwrap_or_default();
        let magic = magic::behaviour(&recipient);
        let key = hash_text(&recipient);
        self.ledger.count_call(body.as_ref().and_then(request::opaque_text));
        let contact = self.contacts.entry(recipient.clone()).or_default();
        contact.calls += 1;
        let nth = contact.calls;
        let key = key.wrapping_add(mix(nth));
        let mut rng = Rng::keyed(self.config.seed, Concern::Fault, key);
        let draws = [(); 5].map(|()| rng.unit());
        let number = self.by_id.get(call.phone_number_id).copied();
        if let Some(index) = number {
            let state = &mut self.numbers[index];
            state.calls_total += 1;
            state.calls.count(now_ms);
            state.rates.now(now_ms).calls += 1;
        }
        let flight = Flight { call, body, now_ms, recipient, nth, key, magic, draws };
        let mut answer = match self.decide(&flight) {
            Ok(answer) => answer,
            Err(refusal) => self.refuse(&refusal, key),
        };
        let mut rng = Rng::keyed(self.config.seed, Concern::Latency, key);
        answer.delay_ms = self.config.faults.latency_ms.draw(&mut rng);
        if let Some(Behaviour { call: CallRule::Slow(ms), .. }) = magic {
            answer.delay_ms = ms;
        }
        self.aftermath(&flight, number, &mut answer);
        answer
    }

    /// What the answer, or its lack, changes.
    fn aftermath(&mut self, flight: &Flight<'_>, number: Option<usize>, answer: &mut Answer) {
        let now_ms = flight.now_ms;
        let code = match answer.truth {
            Truth::Refused(code) => Some(code),
            Truth::Accepted(_) => None,
            Truth::Untouched => {
                self.ledger.summary.untouched += 1;
                None
            }
        };
        self.state.tell(now_ms, answer.delay_ms, self.config.limits.answer_grace_ms);
        if let (Some(131_049), Some(number)) = (code, number) {
            self.note_capped(number, &flight.recipient, now_ms);
        }
        if answer.fault.is_none() {
            let waba_id = number.map(|number| self.config.phone_numbers[number].waba_id.clone());
            answer.headers.extend(self.usage_headers(code, waba_id.as_deref(), now_ms));
        }
    }

    fn decide(&mut self, flight: &Flight<'_>) -> Result<Answer, Refusal> {
        match self.config.faults.down {
            Down::No => {}
            Down::Unavailable => {
                let body = Body::Text("Service Unavailable");
                return Ok(answer(503, body, None, Truth::Untouched));
            }
            Down::Refuse => return Ok(closed(TransportFault::Refused, Truth::Untouched)),
        }
        let reset = match flight.magic.map(|magic| magic.call) {
            Some(CallRule::CloseBeforeRead(times)) => times.concerns(flight.nth),
            Some(_) => false,
            None => flight.draws[0] < self.config.faults.reset_before_accept,
        };
        if reset {
            return Ok(closed(TransportFault::ResetBeforeRead, Truth::Untouched));
        }
        let number = self.authorise(flight)?;
        let request = self.validate(flight, number)?;
        let mut passage = Passage::default();
        self.check_suspensions(flight, number, &request, &mut passage)?;
        self.check_marketing_route(flight, number, &request, &mut passage)?;
        self.refuse_by_rule(flight)?;
        self.check_limits(flight, number, &request, &mut passage)?;
        let mut reply = self.reply(flight);
        if let Reply::Odd(odd) = reply
            && !odd.accepts()
        {
            return Ok(odd_answer(odd, &request, Truth::Untouched));
        }
        let (index, held) = self.accept(flight, number, &request, reply, passage);
        if held && reply == Reply::Plain {
            reply = Reply::Held;
        }
        let mut answer = self.answer(&request, index, reply);
        let onboarding = flight.call.endpoint == Endpoint::MarketingMessages
            && self.marketing_account(number).is_some();
        if let (Reply::Plain | Reply::Held, true, Body::Json(body)) =
            (reply, onboarding, &mut answer.body)
        {
            // Only this endpoint's documentation shows it.
            body["success"] = true.into();
        }
        Ok(answer)
    }

    fn validate(&mut self, flight: &Flight<'_>, number: usize) -> Result<Request, Refusal> {
        let (body, endpoint) = (flight.body.as_ref(), flight.call.endpoint);
        let number = &self.config.phone_numbers[number];
        let checked = request::validate(&self.config, number, endpoint, body);
        if let Err(Refusal { code: 132_015 | 132_016, .. }) = checked {
            let template = body.map_or(&Value::Null, |body| &body["template"]);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (name, language) = (text(&template["name"]), text(&template["language"]["code"]));
            self.state.closed = Some((Gate::Template, template_key(&name, &language)));
        }
        checked
    }

    fn refuse_by_rule(&self, flight: &Flight<'_>) -> Result<(), Refusal> {
        let code = match flight.magic.map(|magic| magic.call) {
            Some(CallRule::Undefined) => {
                let details = "The recipient is in the test range, but its kind is not defined.";
                return Err(Refusal::new(100, details));
            }
            Some(CallRule::Refuse(code, times)) => times.concerns(flight.nth).then_some(code),
            Some(_) => None,
            None => pick(&self.config.faults.errors, flight.draws[1]),
        };
        match code {
            Some(code) => Err(Refusal::new(code, describe(code).title)),
            None => Ok(()),
        }
    }

    fn reply(&self, flight: &Flight<'_>) -> Reply {
        let faults = &self.config.faults;
        match flight.magic.map(|magic| magic.call) {
            Some(CallRule::LoseAnswer(times)) if times.concerns(flight.nth) => Reply::Lost,
            Some(CallRule::Odd(odd, times)) if times.concerns(flight.nth) => Reply::Odd(odd),
            Some(CallRule::Held) => Reply::Held,
            Some(_) => Reply::Plain,
            None if flight.draws[2] < faults.lose_answer => Reply::Lost,
            None if flight.draws[3] < faults.garbage_answer => Reply::Odd(garbage(flight.draws[4])),
            None => Reply::Plain,
        }
    }

    fn answer(&self, request: &Request, index: u64, reply: Reply) -> Answer {
        let truth = Truth::Accepted(index);
        let status = match reply {
            Reply::Lost => return closed(TransportFault::ClosedAfterAccept, truth),
            Reply::Odd(odd) => return odd_answer(odd, request, truth),
            Reply::Held => Some("held_for_quality_assessment"),
            // Only template sends carry a status.
            Reply::Plain => matches!(request.content, Content::Template(_)).then_some("accepted"),
        };
        let mut message = json!({"id": self.ledger.get(index).wamid});
        if let Some(status) = status {
            message["message_status"] = status.into();
        }
        let mut body = contacts(request);
        body["messages"] = json!([message]);
        answer(200, Body::Json(body), None, truth)
    }

    fn refuse(&mut self, refusal: &Refusal, key: u64) -> Answer {
        self.ledger.count_refusal(refusal.code);
        let body = Body::Json(refusal.body(self.config.seed, key));
        let status = describe(refusal.code).http_status;
        answer(status, body, None, Truth::Refused(refusal.code))
    }
}

fn garbage(draw: f64) -> OddAnswer {
    const KINDS: [OddAnswer; 4] = [
        OddAnswer::BareErrorRefused,
        OddAnswer::BareErrorAccepted,
        OddAnswer::NoMessagesAccepted,
        OddAnswer::HtmlAccepted,
    ];
    KINDS[(draw * KINDS.len() as f64) as usize]
}

fn answer(http_status: u16, body: Body, fault: Option<TransportFault>, truth: Truth) -> Answer {
    Answer { http_status, headers: Vec::new(), body, fault, delay_ms: 0, truth }
}

fn closed(fault: TransportFault, truth: Truth) -> Answer {
    answer(0, Body::Empty, Some(fault), truth)
}

fn contacts(request: &Request) -> Value {
    let contact = match &request.recipient {
        Recipient::Phone(digits) => json!({"input": request.input, "wa_id": digits}),
        Recipient::BusinessScoped(id) => json!({"input": request.input, "user_id": id}),
    };
    json!({"messaging_product": "whatsapp", "contacts": [contact]})
}

fn odd_answer(odd: OddAnswer, request: &Request, truth: Truth) -> Answer {
    let (status, body) = match odd {
        OddAnswer::BareErrorRefused | OddAnswer::BareErrorAccepted => {
            (500, Body::Text("Internal Server Error"))
        }
        OddAnswer::NoMessagesRefused | OddAnswer::NoMessagesAccepted => {
            (200, Body::Json(contacts(request)))
        }
        OddAnswer::HtmlAccepted => (200, Body::Html("<!doctype html><title>WhatsApp</title>")),
        OddAnswer::ErrorInOk => {
            let body = Refusal::new(131_000, describe(131_000).title).body(0, 0);
            (200, Body::Json(body))
        }
    };
    answer(status, body, None, truth)
}
