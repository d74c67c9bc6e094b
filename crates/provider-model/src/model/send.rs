//! What becomes of a send request.
//!
//! Order: reachability, resets, token and number, the request itself, fixed results of the test
//! range, knobs, limits, acceptance. Meta says that its own order varies.

use serde_json::{Value, json};

use super::{Answer, Body, Call, Model, TransportFault, Truth};
use crate::code::{Refusal, describe};
use crate::config::Category;
use crate::fault::{Down, pick};
use crate::ledger::Accepted;
use crate::magic::{self, Behaviour, CallRule, OddAnswer, Script};
use crate::request::{self, Content, Recipient, Request};
use crate::rng::{Concern, Rng, hash_text, mix};
use crate::script::{self, Planned};

/// How an accepted message is answered, or an odd refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Plain,
    Held,
    Lost,
    Odd(OddAnswer),
}

/// One request on its way through the model.
struct Flight<'a> {
    call: &'a Call<'a>,
    body: Option<Value>,
    now_ms: i64,
    /// Which request of its recipient this is, from 1.
    nth: u64,
    /// Keys every random decision about this request.
    key: u64,
    magic: Option<Behaviour>,
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
        let contact = self.contacts.entry(recipient).or_default();
        contact.calls += 1;
        let nth = contact.calls;
        let key = key.wrapping_add(mix(nth));
        let mut rng = Rng::keyed(self.config.seed, Concern::Fault, key);
        let draws = [(); 5].map(|()| rng.unit());
        if let Some(index) = self.by_id.get(call.phone_number_id) {
            self.numbers[*index].calls_total += 1;
            self.numbers[*index].calls.count(now_ms);
        }
        let flight = Flight { call, body, now_ms, nth, key, magic, draws };
        let mut answer = match self.decide(&flight) {
            Ok(answer) => answer,
            Err(refusal) => self.refuse(&refusal, key),
        };
        let mut rng = Rng::keyed(self.config.seed, Concern::Latency, key);
        answer.delay_ms = self.config.faults.latency_ms.draw(&mut rng);
        if let Some(Behaviour { call: CallRule::Slow(ms), .. }) = magic {
            answer.delay_ms = ms;
        }
        if answer.truth == Truth::Untouched {
            self.ledger.summary.untouched += 1;
        }
        answer
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
        let number = self.authorise(flight.call)?;
        let request = request::validate(
            &self.config,
            &self.config.phone_numbers[number],
            flight.call.endpoint,
            flight.body.as_ref(),
        )?;
        self.refuse_by_rule(flight)?;
        self.refuse_by_limit(flight.now_ms, number, &request)?;
        let reply = self.reply(flight);
        if let Reply::Odd(odd) = reply
            && !odd.accepts()
        {
            return Ok(odd_answer(odd, &request, Truth::Untouched));
        }
        let index = self.accept(flight, number, &request, reply);
        Ok(self.answer(&request, index, reply))
    }

    fn authorise(&self, call: &Call<'_>) -> Result<usize, Refusal> {
        let Some(token) = call.bearer_token else {
            return Err(Refusal::new(104, "An access token is required for this resource."));
        };
        if !self.token_is_valid(token) {
            return Err(Refusal::new(190, "The access token cannot be decoded."));
        }
        self.by_id.get(call.phone_number_id).copied().ok_or_else(|| Refusal {
            code: 100,
            subcode: Some(33),
            details: format!("Object with ID '{}' does not exist.", call.phone_number_id),
        })
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

    fn refuse_by_limit(
        &mut self,
        now_ms: i64,
        number: usize,
        request: &Request,
    ) -> Result<(), Refusal> {
        let limit = self.config.phone_numbers[number].throughput_per_second as usize;
        if self.numbers[number].messages.len(now_ms) >= limit {
            self.numbers[number].violations += 1;
            return Err(Refusal::new(130_429, "Cloud API message throughput has been reached."));
        }
        let contact = self.contacts.entry(request.recipient.as_str().to_owned()).or_default();
        if !contact.pair(number).take(self.config.pair_limit, now_ms) {
            self.ledger.summary.pair_violations += 1;
            let details = "Too many messages from this number to the same recipient.";
            return Err(Refusal::new(131_056, details));
        }
        Ok(())
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

    fn accept(
        &mut self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        reply: Reply,
    ) -> u64 {
        let now_ms = flight.now_ms;
        let to = request.recipient.as_str();
        let wamid = self.wamid(to, flight.nth, false);
        let script = self.script(flight, number, request);
        let template = match request.content {
            Content::Template(index) => Some(&self.config.templates[index]),
            Content::SessionMessage(_) => None,
        };
        let accepted = Accepted {
            index: 0,
            wamid,
            phone_number_id: self.config.phone_numbers[number].id.clone(),
            to: to.to_owned(),
            kind: match request.content {
                Content::Template(_) => "template",
                Content::SessionMessage(kind) => kind,
            },
            template: template.map(|template| template.name.clone()),
            language: template.map(|template| template.language.clone()),
            category: template.map_or("service", |template| template.category.price_category()),
            opaque: request.opaque.clone(),
            accepted_at_ms: now_ms,
            answer_lost: matches!(reply, Reply::Lost | Reply::Odd(_)),
        };
        let index = self.ledger.accept(accepted);
        self.numbers[number].accepted += 1;
        self.numbers[number].messages.count(now_ms);
        let mut rng = Rng::keyed(self.config.seed, Concern::StatusDelay, flight.key);
        let planned = script::plan(script, &self.config.delays, &mut rng, now_ms, index, to);
        for Planned { due_ms, at_ms, update } in planned {
            let planned = Planned { due_ms, at_ms, update };
            self.queue.push(Some(number), planned, flight.magic.is_some());
        }
        index
    }

    /// Which webhooks an accepted message gets.
    fn script(&mut self, flight: &Flight<'_>, number: usize, request: &Request) -> Script {
        if let Some(magic) = flight.magic {
            return magic.script;
        }
        let mut rng = Rng::keyed(self.config.seed, Concern::AsyncFailure, flight.key);
        let (failure, read) = (rng.unit(), rng.unit());
        let contact = self.contacts.entry(request.recipient.as_str().to_owned()).or_default();
        let pair = contact.pair(number);
        match request.content {
            Content::SessionMessage(_)
                if self.config.service_window_enforced
                    && !pair.service_window_open(flight.now_ms) =>
            {
                return Script::Failed(131_047);
            }
            Content::Template(index)
                if pair.marketing_stopped
                    && self.config.templates[index].category == Category::Marketing =>
            {
                return Script::Failed(131_050);
            }
            _ => {}
        }
        match pick(&self.config.faults.failures, failure) {
            Some(code) => Script::Failed(code),
            None if read < self.config.read_ratio => Script::Read,
            None => Script::Delivered,
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
        let mut answer = answer(status, body, None, Truth::Refused(refusal.code));
        if refusal.code == 4 {
            let usage = json!({"call_count": 100, "total_cputime": 25, "total_time": 25});
            answer.headers.push(("x-app-usage", usage.to_string()));
        }
        if refusal.code == 80_007 {
            // Keyed by account in Meta's header; the wait is in minutes.
            let usage = json!({"0": [{"type": "whatsapp", "call_count": 100, "total_cputime": 25,
                "total_time": 25, "estimated_time_to_regain_access": 1}]});
            answer.headers.push(("x-business-use-case-usage", usage.to_string()));
        }
        answer
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
