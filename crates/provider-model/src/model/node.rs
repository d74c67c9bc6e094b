//! Questions about the account: a number, an account, a token.

use serde_json::{Map, Value, json};

use super::{Answer, Body, Model, TransportFault, Truth};
use crate::code::{Refusal, describe};
use crate::config::Reported;
use crate::fault::Down;
use crate::report::LimitKind;
use crate::suspension::{Affects, Scope, Suspension, TokenState};

/// `GET /{version}/{id}?fields=…`.
#[derive(Clone, Copy, Debug)]
pub struct NodeCall<'a> {
    /// Path segment: a number or an account (WABA).
    pub id: &'a str,
    /// The query, separated by commas. Without: what Meta shows, and the throughput of a number.
    pub fields: Option<&'a str>,
    /// Token of the `Authorization` header.
    pub bearer_token: Option<&'a str>,
}

const NUMBER_FIELDS: &str = "id,display_phone_number,quality_rating,throughput";

impl Model {
    /// Answers a question about a number (`id`, `display_phone_number`, `quality_rating`,
    /// `throughput`, `whatsapp_business_manager_messaging_limit`, `health_status`) or an account
    /// (`id`, `health_status`) at `now_ms` (Unix milliseconds), without delay.
    pub fn handle_get(&mut self, now_ms: i64, call: &NodeCall<'_>) -> Answer {
        let now_ms = self.advance(now_ms);
        let nothing = |http_status, body, fault| Answer {
            http_status,
            headers: Vec::new(),
            body,
            fault,
            delay_ms: 0,
            truth: Truth::Untouched,
        };
        match self.config.faults.down {
            Down::No => {}
            Down::Unavailable => return nothing(503, Body::Text("Service Unavailable"), None),
            Down::Refuse => return nothing(0, Body::Empty, Some(TransportFault::Refused)),
        }
        let waba_id = self.waba_of_node(call.id);
        let answered = self.node(now_ms, call, waba_id.as_deref());
        let (code, mut answer) = match answered {
            Ok(value) => (None, nothing(200, Body::Json(value), None)),
            Err(refusal) => {
                let body = Body::Json(refusal.body(self.config.seed, now_ms.unsigned_abs()));
                let status = describe(refusal.code).http_status;
                (Some(refusal.code), nothing(status, body, None))
            }
        };
        self.state.tell(now_ms, 0, self.config.limits.answer_grace_ms);
        answer.headers = self.usage_headers(code, waba_id.as_deref(), now_ms);
        answer
    }

    /// What `debug_token` says about a token at `now_ms` (Unix milliseconds); its `expires_at` is
    /// in seconds, 0 for never.
    pub fn debug_token(&mut self, now_ms: i64, token: &str) -> Value {
        let now_ms = self.advance(now_ms);
        let entry = self.state.tokens.get(token);
        let valid = entry.is_some_and(|entry| entry.state_at(now_ms) == TokenState::Valid);
        let expires_at_ms = entry.and_then(|entry| entry.expires_at_ms);
        let mut data = json!({
            "type": "SYSTEM_USER", "is_valid": valid,
            "expires_at": expires_at_ms.map_or(0, |at_ms| at_ms.div_euclid(1_000)),
            "scopes": ["whatsapp_business_management", "whatsapp_business_messaging"],
        });
        if !valid {
            data["error"] = json!({"code": 190, "message": describe(190).title});
        }
        json!({ "data": data })
    }

    fn waba_of_node(&self, id: &str) -> Option<String> {
        let mut numbers = self.config.phone_numbers.iter();
        numbers.find(|n| n.id == id || n.waba_id == id).map(|number| number.waba_id.clone())
    }

    fn node(
        &mut self,
        now_ms: i64,
        call: &NodeCall<'_>,
        waba_id: Option<&str>,
    ) -> Result<Value, Refusal> {
        self.check_token(call.bearer_token, now_ms)?;
        let waba_id = waba_id.ok_or_else(|| Refusal {
            code: 100,
            subcode: Some(33),
            details: format!("Object with ID '{}' does not exist.", call.id),
        })?;
        if let Err((kind, _)) = self.count_call(waba_id, now_ms) {
            let code = if kind == LimitKind::App { 4 } else { 80_007 };
            return Err(Refusal::new(code, describe(code).title));
        }
        let number = self.by_id.get(call.id).copied();
        let shown = if number.is_some() { NUMBER_FIELDS } else { "id" };
        let mut node = Map::new();
        for field in call.fields.unwrap_or(shown).split(',').map(str::trim) {
            node.insert(field.to_owned(), self.field(field, number, waba_id)?);
        }
        node.insert("id".to_owned(), call.id.into());
        Ok(node.into())
    }

    fn field(&self, field: &str, number: Option<usize>, waba_id: &str) -> Result<Value, Refusal> {
        let config = number.map(|index| &self.config.phone_numbers[index]);
        Ok(match (field, number.zip(config)) {
            ("id", _) => Value::Null,
            ("health_status", _) => self.health(number, waba_id),
            ("display_phone_number", Some((_, config))) => config.display_number.as_str().into(),
            ("quality_rating", Some(_)) => "GREEN".into(),
            ("throughput", Some((_, config))) => {
                let value = self.throughput(&config.id).unwrap_or_default();
                value["throughput"].clone()
            }
            ("whatsapp_business_manager_messaging_limit", Some((index, _))) => {
                self.tier_of(index).name().into()
            }
            _ => {
                let details = format!("Tried accessing nonexisting field ({field}).");
                return Err(Refusal::new(100, details));
            }
        })
    }

    /// `health_status`: who may send, and the suspensions that say otherwise.
    fn health(&self, number: Option<usize>, waba_id: &str) -> Value {
        let state = |scope: &Scope| -> (&'static str, Vec<i64>) {
            let here = self.state.suspended.iter().map(|suspended| &suspended.suspension);
            let here: Vec<&Suspension> = here.filter(|s| s.scope == *scope).collect();
            let blocks =
                |s: &&Suspension| s.affects == Affects::All && s.reported == Reported::InAnswer;
            let status = match here.iter().any(blocks) {
                true => "BLOCKED",
                false if here.is_empty() => "AVAILABLE",
                false => "LIMITED",
            };
            (status, here.iter().map(|suspension| suspension.code).collect())
        };
        let portfolio =
            self.config.limits.portfolios.iter().find(|p| p.waba_ids.iter().any(|w| w == waba_id));
        let mut scopes = Vec::new();
        if let Some(index) = number {
            let id = self.config.phone_numbers[index].id.clone();
            scopes.push(("PHONE_NUMBER", id.clone(), Scope::PhoneNumber(id)));
        }
        scopes.push(("WABA", waba_id.to_owned(), Scope::Account(waba_id.to_owned())));
        if let Some(portfolio) = portfolio {
            let id = portfolio.id.clone();
            scopes.push(("BUSINESS", id.clone(), Scope::Portfolio(id)));
        }
        scopes.push(("APP", "0".to_owned(), Scope::App));
        let mut worst = "AVAILABLE";
        let mut entities = Vec::new();
        for (entity_type, id, scope) in scopes {
            let (status, codes) = state(&scope);
            worst = match (worst, status) {
                ("BLOCKED", _) | (_, "BLOCKED") => "BLOCKED",
                ("LIMITED", _) | (_, "LIMITED") => "LIMITED",
                _ => "AVAILABLE",
            };
            let mut entity =
                json!({"entity_type": entity_type, "id": id, "can_send_message": status});
            if !codes.is_empty() {
                let error = |code: &i64| {
                    json!({"error_code": code, "error_description": describe(*code).title,
                        "possible_solution": "Wait for the release or contact support."})
                };
                entity["errors"] = codes.iter().map(error).collect();
            }
            entities.push(entity);
        }
        json!({"can_send_message": worst, "entities": entities})
    }
}
