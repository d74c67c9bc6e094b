//! Everything that may refuse a well-formed request or doom its message: tokens, suspensions,
//! maintenance, the marketing endpoint, limits.

use serde_json::{Value, json};

use super::Model;
use super::send::Flight;
use super::state::Sync;
use crate::code::{Refusal, describe};
use crate::config::{CallLimit, Category, MarketingAccount, Reported};
use crate::limit::{Full, Window};
use crate::report::{Gate, LimitKind, Violation, recipient_hash};
use crate::request::{Content, Endpoint, Request};
use crate::rng::hash_text;
use crate::suspension::TokenState;

const DAY_MS: i64 = 24 * 3_600_000;
/// A template that was idle for so long at the marketing endpoint synchronises again.
const SYNC_IDLE_MS: i64 = 7 * DAY_MS;

/// What is decided about a request that is not refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passage {
    /// The message fails with this code.
    pub(super) fails: Option<i64>,
    /// Its user counts against the portfolio.
    pub(super) outside_window: bool,
    /// It goes out through the marketing endpoint.
    pub(super) lite: bool,
}

impl Passage {
    /// Refuses the call or dooms the message; the first reason counts.
    fn stop(&mut self, code: i64, reported: Reported, details: &str) -> Result<(), Refusal> {
        match reported {
            Reported::InAnswer => Err(Refusal::new(code, details)),
            Reported::ByWebhook => {
                self.fails.get_or_insert(code);
                Ok(())
            }
        }
    }
}

impl Model {
    /// The number of a call whose token may use it.
    pub(super) fn authorise(&mut self, flight: &Flight<'_>) -> Result<usize, Refusal> {
        let call = flight.call;
        self.check_token(call.bearer_token, flight.now_ms)?;
        let number = self.by_id.get(call.phone_number_id).copied().ok_or_else(|| Refusal {
            code: 100,
            subcode: Some(33),
            details: format!("Object with ID '{}' does not exist.", call.phone_number_id),
        })?;
        let waba_id = self.config.phone_numbers[number].waba_id.clone();
        let token = call.bearer_token.and_then(|token| self.state.tokens.get(token));
        if token
            .is_some_and(|token| !token.waba_ids.is_empty() && !token.waba_ids.contains(&waba_id))
        {
            return Err(Refusal::new(10, "The token has no permission for this account."));
        }
        if let Err((kind, full)) = self.count_call(&waba_id, flight.now_ms) {
            self.violate(flight, number, kind, full);
            let code = if kind == LimitKind::App { 4 } else { 80_007 };
            return Err(Refusal::new(code, describe(code).title));
        }
        Ok(number)
    }

    pub(super) fn check_token(&mut self, token: Option<&str>, now_ms: i64) -> Result<(), Refusal> {
        let Some(token) = token else {
            return Err(Refusal::new(104, "An access token is required for this resource."));
        };
        let (subcode, details) = match self.state.tokens.get(token).map(|t| t.state_at(now_ms)) {
            Some(TokenState::Valid) => return Ok(()),
            Some(TokenState::Expired) => (Some(463), "The access token has expired."),
            Some(TokenState::Revoked) => (None, "The access token has been invalidated."),
            None => (None, "The access token cannot be decoded."),
        };
        self.state.closed = Some((Gate::Token, token.to_owned()));
        Err(Refusal { code: 190, subcode, details: details.to_owned() })
    }

    /// Counts a call of the app and of an account.
    pub(super) fn count_call(
        &mut self,
        waba_id: &str,
        now_ms: i64,
    ) -> Result<(), (LimitKind, Full)> {
        let limits = &self.config.limits;
        let (app, account) = (limits.app_calls, limits.account_calls);
        if app.calls > 0 {
            let window = self.state.usage.app.get_or_insert_with(|| Window::new(app.window_ms));
            room(window, app, now_ms).map_err(|full| (LimitKind::App, full))?;
        }
        if account.calls > 0 {
            let accounts = &mut self.state.usage.accounts;
            let new = || Window::new(account.window_ms);
            let window = accounts.entry(waba_id.to_owned()).or_insert_with(new);
            room(window, account, now_ms).map_err(|full| (LimitKind::Account, full))?;
            window.count(now_ms);
        }
        if let Some(window) = self.state.usage.app.as_mut().filter(|_| app.calls > 0) {
            window.count(now_ms);
        }
        Ok(())
    }

    /// Usage headers, when a call limit is nearly used up or the answer says that it is.
    pub(super) fn usage_headers(
        &mut self,
        code: Option<i64>,
        waba_id: Option<&str>,
        now_ms: i64,
    ) -> Vec<(&'static str, String)> {
        let limits = &self.config.limits;
        let (app, account) = (limits.app_calls, limits.account_calls);
        let least = u64::from(limits.usage_headers_from_percent);
        let mut headers = Vec::new();
        let (percent, _) = used(self.state.usage.app.as_mut(), app, now_ms);
        if code == Some(4) || percent.is_some_and(|percent| percent >= least) {
            let usage = json!({
                "call_count": percent.filter(|_| code != Some(4)).unwrap_or(100),
                "total_cputime": 25, "total_time": 25,
            });
            headers.push(("x-app-usage", usage.to_string()));
        }
        let window = waba_id.and_then(|id| self.state.usage.accounts.get_mut(id));
        let (percent, wait_ms) = used(window, account, now_ms);
        if code == Some(80_007) || percent.is_some_and(|percent| percent >= least) {
            let refused = code == Some(80_007);
            // In minutes; a refusal by a rule without a limit behind it says one.
            let minutes = wait_ms.map_or(i64::from(refused), |wait| (wait + 59_999) / 60_000);
            let mut usage = json!({});
            usage[waba_id.unwrap_or("0")] = json!([{
                "type": "whatsapp",
                "call_count": percent.filter(|_| !refused).unwrap_or(100),
                "total_cputime": 25, "total_time": 25,
                "estimated_time_to_regain_access": minutes,
            }]);
            headers.push(("x-business-use-case-usage", usage.to_string()));
        }
        headers
    }

    pub(super) fn check_suspensions(
        &mut self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        passage: &mut Passage,
    ) -> Result<(), Refusal> {
        let category = self.category(request);
        let to = request.recipient.as_str();
        let config = &self.config;
        let mut active =
            self.state.suspended.iter().filter(|s| s.concerns(config, number, category, to));
        // What refuses the call comes before what only dooms its message.
        let refusing = active.clone().find(|s| s.suspension.reported == Reported::InAnswer);
        if let Some(suspended) = refusing {
            let code = suspended.suspension.code;
            self.state.closed = Some((Gate::Suspension, suspended.id.to_string()));
            return Err(Refusal::new(code, describe(code).title));
        }
        if let Some(suspended) = active.next() {
            passage.fails = Some(suspended.suspension.code);
        }
        let upgrade = self.numbers[number].upgrade;
        if upgrade.is_some_and(|upgrade| flight.now_ms < upgrade.until_ms) {
            let id = self.config.phone_numbers[number].id.clone();
            self.state.closed = Some((Gate::Maintenance, id));
            return Err(Refusal::new(131_057, "The number is being upgraded."));
        }
        Ok(())
    }

    /// Which way a marketing template takes, and whether it may.
    pub(super) fn check_marketing_route(
        &mut self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        passage: &mut Passage,
    ) -> Result<(), Refusal> {
        let Content::Template(template) = request.content else { return Ok(()) };
        if self.config.templates[template].category != Category::Marketing {
            return Ok(());
        }
        let Some(account) = self.marketing_account(number) else { return Ok(()) };
        let account = account.clone();
        let marketing_endpoint = flight.call.endpoint == Endpoint::MarketingMessages;
        let name = &self.config.templates[template].name;
        if marketing_endpoint && account.unavailable_templates.contains(name) {
            return Err(Refusal::new(134_102, "The template is not available to this endpoint."));
        }
        if marketing_endpoint && account.onboarded {
            passage.lite = true;
            return self.check_sync(&account, template, flight.now_ms);
        }
        let policy = flight.body.as_ref().and_then(|body| body.get("product_policy"));
        if marketing_endpoint && policy.and_then(Value::as_str) == Some("STRICT") {
            return Err(Refusal::new(134_102, "The account is not onboarded to this endpoint."));
        }
        match account.cloud_api_disabled {
            true => Err(Refusal::new(131_063, "Marketing is switched off on the Cloud API.")),
            false => Ok(()),
        }
    }

    /// The state of a number's account at the marketing endpoint, if it has one.
    pub(super) fn marketing_account(&self, number: usize) -> Option<&MarketingAccount> {
        let waba_id = &self.config.phone_numbers[number].waba_id;
        let mut accounts = self.config.limits.marketing_accounts.iter();
        accounts.find(|account| account.waba_id == *waba_id)
    }

    fn check_sync(
        &mut self,
        account: &MarketingAccount,
        template: usize,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let begun = Sync { ready_at_ms: now_ms + account.template_sync_ms, used_at_ms: now_ms };
        let key = (account.waba_id.clone(), template);
        let sync = self.state.syncs.entry(key).or_insert(begun);
        if now_ms - sync.used_at_ms > SYNC_IDLE_MS {
            *sync = begun;
        }
        sync.used_at_ms = now_ms;
        match now_ms < sync.ready_at_ms {
            true => Err(Refusal::new(134_101, "The template is still synchronising.")),
            false => Ok(()),
        }
    }

    pub(super) fn check_limits(
        &mut self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        passage: &mut Passage,
    ) -> Result<(), Refusal> {
        let now_ms = flight.now_ms;
        let limit = self.config.phone_numbers[number].throughput_per_second as usize;
        let state = &mut self.numbers[number];
        state.offered.count(now_ms);
        if state.messages.len(now_ms) >= limit {
            state.violations += 1;
            let full = Full {
                limit: limit as u64,
                observed: state.offered.len(now_ms) as u64,
                room_at_ms: state.messages.room_at(limit),
            };
            self.violate(flight, number, LimitKind::Number, full);
            return Err(Refusal::new(130_429, "Cloud API message throughput has been reached."));
        }
        self.check_portfolio(flight, number, request, passage)?;
        self.check_marketing_cap(flight, number, request, passage)?;
        let (limit, model) = (self.config.pair_limit, self.config.limits.pair_model);
        let contact = self.contacts.entry(request.recipient.as_str().to_owned()).or_default();
        if let Err(room_at_ms) = contact.pair(number).take(limit, model, now_ms) {
            self.ledger.summary.pair_violations += 1;
            // So many intervals are missing.
            let missing = (room_at_ms - now_ms + limit.refill_ms - 1) / limit.refill_ms;
            let limit = u64::from(limit.burst);
            let observed = limit + missing.unsigned_abs();
            let full = Full { limit, observed, room_at_ms: Some(room_at_ms) };
            self.violate(flight, number, LimitKind::Pair, full);
            let details = "Too many messages from this number to the same recipient.";
            return Err(Refusal::new(131_056, details));
        }
        Ok(())
    }

    fn check_portfolio(
        &mut self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        passage: &mut Passage,
    ) -> Result<(), Refusal> {
        let now_ms = flight.now_ms;
        let to = request.recipient.as_str();
        let contact = self.contacts.entry(to.to_owned()).or_default();
        // A session message outside the window reaches nobody and costs nothing.
        passage.outside_window = !contact.pair(number).service_window_open(now_ms)
            && (matches!(request.content, Content::Template(_))
                || !self.config.service_window_enforced);
        let Some(portfolio) = self.state.portfolio_of[number] else { return Ok(()) };
        if !passage.outside_window {
            return Ok(());
        }
        match self.state.portfolios[portfolio].check(hash_text(to), now_ms) {
            Ok(()) => Ok(()),
            Err(full) => {
                self.violate(flight, number, LimitKind::Portfolio, full);
                let rule = self.config.limits.portfolio;
                let details = "The messaging limit of the portfolio has been reached.";
                passage.stop(rule.exceeded_code, rule.reported, details)
            }
        }
    }

    fn check_marketing_cap(
        &mut self,
        flight: &Flight<'_>,
        number: usize,
        request: &Request,
        passage: &mut Passage,
    ) -> Result<(), Refusal> {
        if self.category(request) != Some(Category::Marketing) {
            return Ok(());
        }
        let now_ms = flight.now_ms;
        let to = request.recipient.as_str();
        let grace_ms = self.config.limits.webhook_grace_ms;
        let pair = self.contacts.entry(to.to_owned()).or_default().pair(number);
        let in_window = pair.service_window_open(now_ms);
        if let Some(capped_at_ms) = pair.capped_at_ms
            && (capped_at_ms + grace_ms + 1..capped_at_ms + DAY_MS).contains(&now_ms)
        {
            let room_at_ms = Some(capped_at_ms + DAY_MS);
            let full = Full { limit: 0, observed: 1, room_at_ms };
            self.violate(flight, number, LimitKind::MarketingRetry, full);
        }
        if flight.magic.is_some() {
            return Ok(());
        }
        let (rule, seed) = (&self.config.limits.marketing, self.config.seed);
        if self.state.marketing.check(rule, seed, to, in_window, now_ms).is_none() {
            return Ok(());
        }
        self.state.violations.marketing_withheld += 1;
        passage.stop(131_049, rule.reported, "Not delivered to keep the ecosystem healthy.")
    }

    /// The number learnt that Meta keeps marketing from a recipient.
    pub(super) fn note_capped(&mut self, number: usize, to: &str, now_ms: i64) {
        let contact = self.contacts.entry(to.to_owned()).or_default();
        contact.pair(number).capped_at_ms = Some(now_ms);
    }

    /// The category of a template; none for a session message.
    pub(super) fn category(&self, request: &Request) -> Option<Category> {
        match request.content {
            Content::Template(index) => Some(self.config.templates[index].category),
            Content::SessionMessage(_) => None,
        }
    }

    fn violate(&mut self, flight: &Flight<'_>, number: usize, kind: LimitKind, full: Full) {
        self.state.violations.count(Violation {
            kind,
            at_ms: flight.now_ms,
            phone_number_id: self.config.phone_numbers[number].id.clone(),
            recipient_hash: recipient_hash(&flight.recipient),
            limit: full.limit,
            observed: full.observed,
            early_ms: full.room_at_ms.map(|room_at_ms| room_at_ms - flight.now_ms),
        });
    }
}

/// Whether one more call is within the limit.
fn room(window: &mut Window, limit: CallLimit, now_ms: i64) -> Result<(), Full> {
    let calls = window.len(now_ms);
    if calls < limit.calls as usize {
        return Ok(());
    }
    let room_at_ms = window.room_at(limit.calls as usize);
    Err(Full { limit: u64::from(limit.calls), observed: calls as u64 + 1, room_at_ms })
}

/// How much of a limit is used, in percent, and how long until there is room when none is left.
fn used(window: Option<&mut Window>, limit: CallLimit, now_ms: i64) -> (Option<u64>, Option<i64>) {
    let Some(window) = window.filter(|_| limit.calls > 0) else { return (None, None) };
    let calls = window.len(now_ms) as u64;
    let full = calls >= u64::from(limit.calls);
    let wait_ms = window.room_at(limit.calls as usize).filter(|_| full).map(|at| at - now_ms);
    (Some(calls * 100 / u64::from(limit.calls)), wait_ms.or(Some(0)))
}
