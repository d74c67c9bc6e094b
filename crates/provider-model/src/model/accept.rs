//! What becomes of an accepted message: its place in the ledger, and which webhooks follow.

use super::Model;
use super::gate::Passage;
use super::send::{Flight, Reply};
use super::state::{Change, draw_at};
use crate::config::{Category, TTL_SECONDS_MAX};
use crate::fault::pick;
use crate::ledger::Accepted;
use crate::limit::Held;
use crate::magic::Script;
use crate::request::{Content, Endpoint, Request};
use crate::rng::{Concern, Rng, hash_text};
use crate::script::{self, Planned, Update};

impl Model {
    /// Accepts a message; its ledger position, and whether it waits for a verdict.
    pub(super) fn accept(
        &mut self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        reply: Reply,
        passage: Passage,
    ) -> (u64, bool) {
        let now_ms = flight.now_ms;
        let to = request.recipient.as_str();
        let script = self.script(flight, number, request, passage);
        let accepted = self.accepted(flight, number, request, reply, passage);
        let index = self.ledger.accept(accepted);
        let state = &mut self.numbers[number];
        state.accepted += 1;
        state.messages.count(now_ms);
        state.rates.now(now_ms).accepted += 1;
        if passage.fails.is_none() {
            self.count_user(flight, number, request, passage);
        }
        let expires_at_ms = self.expires_at_ms(flight, request, script);
        let held = match request.content {
            Content::Template(template) if passage.fails.is_none() && flight.magic.is_none() => {
                self.is_held(template, number, now_ms).then_some(template)
            }
            _ => None,
        };
        match held {
            Some(template) => {
                let (to, key) = (to.to_owned(), flight.key);
                let held = Held { message: index, number, to, key, script, expires_at_ms };
                self.state.pacing.entry(template).or_default().hold(held);
            }
            None => self.plan(now_ms, number, index, to, flight.key, script, expires_at_ms),
        }
        (index, held.is_some())
    }

    fn accepted(
        &self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        reply: Reply,
        passage: Passage,
    ) -> Accepted {
        let to = request.recipient.as_str();
        let template = match request.content {
            Content::Template(index) => Some(&self.config.templates[index]),
            Content::SessionMessage(_) => None,
        };
        Accepted {
            index: 0,
            wamid: self.wamid(to, flight.nth, false),
            phone_number_id: self.config.phone_numbers[number].id.clone(),
            to: to.to_owned(),
            kind: match request.content {
                Content::Template(_) => "template",
                Content::SessionMessage(kind) => kind,
            },
            template: template.map(|template| template.name.clone()),
            language: template.map(|template| template.language.clone()),
            category: match template {
                None => "service",
                Some(_) if passage.lite => "marketing_lite",
                Some(template) => template.category.price_category(),
            },
            opaque: request.opaque.clone(),
            accepted_at_ms: flight.now_ms,
            answer_lost: matches!(reply, Reply::Lost | Reply::Odd(_)),
        }
    }

    /// The message counts against limits that look at users.
    fn count_user(
        &mut self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        passage: Passage,
    ) {
        let now_ms = flight.now_ms;
        let to = request.recipient.as_str();
        if !passage.outside_window {
            return;
        }
        if let Some(portfolio) = self.state.portfolio_of[number] {
            self.state.portfolios[portfolio].note(hash_text(to), now_ms);
            self.maybe_step_up(now_ms, portfolio);
            self.maybe_upgrade(now_ms, number);
        }
        if self.category(request) == Some(Category::Marketing) && flight.magic.is_none() {
            self.state.marketing.note(&self.config.limits.marketing, to, now_ms);
        }
    }

    /// Whether a message of a template is beyond its first quota; the first such message starts
    /// the assessment.
    fn is_held(&mut self, template: usize, number: usize, now_ms: i64) -> bool {
        let rule = self.config.limits.pacing;
        let waba_id = &self.config.phone_numbers[number].waba_id;
        let paced = rule.quota > 0
            && match self.config.templates[template].category {
                Category::Marketing => true,
                Category::Utility => {
                    let until_ms = self.state.utility_paced_until_ms.get(waba_id);
                    rule.all_categories || until_ms.is_some_and(|until_ms| now_ms < *until_ms)
                }
                Category::Authentication => rule.all_categories,
            };
        let pacing = self.state.pacing.entry(template).or_default();
        // A template that left the paced state in between keeps what it held until the verdict.
        if !paced || !pacing.count(rule.quota) {
            return false;
        }
        if pacing.verdict_at_ms.is_none() {
            let seed = self.config.seed;
            let wait_ms = draw_at(seed, Concern::Pacing, template as u64, now_ms, rule.assess_ms);
            pacing.verdict_at_ms = Some(now_ms + wait_ms);
            self.state.agenda.add(now_ms + wait_ms, Change::Verdict { template });
        }
        true
    }

    /// Plans the webhooks of a message from `start_ms` on; none after it has expired.
    #[expect(clippy::too_many_arguments, reason = "every one is a fact of the message")]
    pub(super) fn plan(
        &mut self,
        start_ms: i64,
        number: usize,
        message: u64,
        to: &str,
        key: u64,
        script: Script,
        expires_at_ms: i64,
    ) {
        let mut rng = Rng::keyed(self.config.seed, Concern::StatusDelay, key);
        let mut planned =
            script::plan(script, &self.config.delays, &mut rng, start_ms, message, to);
        let arrives = |planned: &&Planned| {
            matches!(planned.update, Update::Status { status: "delivered" | "read", .. })
        };
        let arrives_at_ms = planned.iter().filter(arrives).map(|planned| planned.at_ms).min();
        if arrives_at_ms.is_some_and(|at_ms| at_ms > expires_at_ms) {
            planned.retain(|planned| planned.at_ms <= expires_at_ms);
            if let Some(code) = self.config.limits.ttl.expiry_code {
                let code = Some(code);
                let update = Update::Status { message, status: "failed", code, priced: false };
                let (due_ms, at_ms) = (expires_at_ms.max(start_ms), expires_at_ms);
                planned.push(Planned { due_ms, at_ms, update });
            }
        }
        let calm = crate::magic::behaviour(to).is_some();
        for planned in planned {
            self.queue.push(Some(number), planned, calm);
        }
    }

    /// When a message is dropped if it was not delivered, Unix milliseconds.
    fn expires_at_ms(&self, flight: &Flight<'_>, request: &Request, script: Script) -> i64 {
        let ttl = &self.config.limits.ttl;
        let offline = matches!(script, Script::Offline(_));
        if !offline && (!ttl.enforced || flight.magic.is_some()) {
            return i64::MAX;
        }
        let seconds = match request.content {
            Content::SessionMessage(_) => TTL_SECONDS_MAX,
            Content::Template(index) => {
                let template = &self.config.templates[index];
                let own = ttl
                    .templates
                    .iter()
                    .find(|ttl| (&ttl.name, &ttl.language) == (&template.name, &template.language))
                    .map(|ttl| ttl.seconds);
                match template.category {
                    Category::Authentication => own.unwrap_or(600),
                    Category::Utility => own.unwrap_or(TTL_SECONDS_MAX),
                    Category::Marketing => own
                        .filter(|_| flight.call.endpoint == Endpoint::MarketingMessages)
                        .unwrap_or(TTL_SECONDS_MAX),
                }
            }
        };
        flight.now_ms + i64::from(seconds) * 1_000
    }

    /// Which webhooks an accepted message gets.
    fn script(
        &mut self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        passage: Passage,
    ) -> Script {
        if let Some(code) = passage.fails {
            return Script::Failed(code);
        }
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
        if let Some(code) = pick(&self.config.faults.failures, failure) {
            return Script::Failed(code);
        }
        let offline = self.config.limits.offline;
        let mut rng = Rng::keyed(self.config.seed, Concern::Offline, flight.key);
        if rng.unit() < offline.share {
            return Script::Offline(offline.for_ms.draw(&mut rng));
        }
        match read < self.config.read_ratio {
            true => Script::Read,
            false => Script::Delivered,
        }
    }
}
