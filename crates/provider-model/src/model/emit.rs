//! Webhooks: what is due, grouped into bodies.

use serde_json::{Value, json};

use super::Model;
use crate::queue::{Entry, Popped};
use crate::script::Update;
use crate::webhook::{self, Webhook};

/// Updates that share one body.
struct Group {
    number: Option<usize>,
    waba_id: String,
    field: String,
    kind: Kind,
    updates: Vec<Value>,
    contacts: Vec<Value>,
    /// What `entry.time` says: only beside changes that are about no message.
    at_ms: Option<i64>,
}

/// What a body holds; only statuses share one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Statuses,
    Messages,
    Preferences,
    Raw,
}

impl Model {
    /// The webhooks due at `now_ms` (Unix milliseconds), each handed out once, in order of their
    /// time. Delivery, signature and retries are up to the caller.
    pub fn due_webhooks(&mut self, now_ms: i64) -> Vec<Webhook> {
        let now_ms = self.advance(now_ms);
        let mut groups: Vec<Group> = Vec::new();
        let mut open: Vec<Option<usize>> = vec![None; self.numbers.len()];
        while let Some(popped) = self.queue.pop(now_ms, self.config.seed, &self.config.faults) {
            match popped {
                Popped::Dropped => self.ledger.summary.updates_dropped += 1,
                Popped::Due(entry) => self.add(&mut groups, &mut open, entry, now_ms),
            }
        }
        groups.into_iter().map(|group| self.close(group)).collect()
    }

    fn add(
        &mut self,
        groups: &mut Vec<Group>,
        open: &mut [Option<usize>],
        entry: Entry,
        now_ms: i64,
    ) {
        self.observe(entry.number, &entry.update, now_ms);
        let group = self.render(entry);
        let joined = group.number.and_then(|number| open[number]).filter(|position| {
            let other = &groups[*position];
            other.kind == Kind::Statuses
                && group.kind == Kind::Statuses
                && other.updates.len() < self.config.updates_per_webhook_max
        });
        match joined {
            Some(position) => {
                let into = &mut groups[position];
                into.updates.extend(group.updates);
                for contact in group.contacts {
                    if !into.contacts.contains(&contact) {
                        into.contacts.push(contact);
                    }
                }
            }
            None => {
                if let Some(number) = group.number {
                    open[number] = Some(groups.len());
                }
                groups.push(group);
            }
        }
    }

    /// What an update changes in the model when its time comes.
    fn observe(&mut self, number: Option<usize>, update: &Update, now_ms: i64) {
        match update {
            Update::Status { message, status, code, .. } => {
                self.ledger.count_update(status);
                if let (Some(number), Some(131_049)) = (number, *code) {
                    let to = self.ledger.get(*message).to.clone();
                    self.note_capped(number, &to, now_ms);
                }
            }
            Update::RawStatus { status } => {
                let name = status.get("status").and_then(Value::as_str);
                self.ledger.count_update(name.unwrap_or("unknown"));
            }
            Update::Text { from, counted, .. } => {
                self.ledger.count_update("inbound");
                if let (Some(number), false) = (number, *counted) {
                    self.note_inbound(number, from, now_ms);
                }
            }
            Update::Preference { from, stop, counted } => {
                self.ledger.count_update("user_preferences");
                if let (Some(number), false) = (number, *counted) {
                    self.note_preference(number, from, *stop);
                }
            }
            Update::RawChange { field, .. } => self.ledger.count_update(field),
        }
    }

    /// One update as a group of its own.
    fn render(&mut self, entry: Entry) -> Group {
        let Entry { number, at_ms, update, .. } = entry;
        let waba_id = number
            .map_or_else(String::new, |number| self.config.phone_numbers[number].waba_id.clone());
        let (kind, value, contact) = match update {
            Update::Status { message, status, code, priced } => {
                self.render_status(&waba_id, message, status, at_ms, code, priced)
            }
            Update::RawStatus { status } => (Kind::Statuses, status, None),
            Update::Text { from, id, name, text, .. } => {
                let id = id.unwrap_or_else(|| self.inbound_id(&from));
                let message = json!({
                    "from": from, "id": id, "timestamp": webhook::timestamp(at_ms),
                    "type": "text", "text": {"body": text},
                });
                let contact = self.contact(&waba_id, &from, name.as_deref());
                (Kind::Messages, message, Some(contact))
            }
            Update::Preference { from, stop, .. } => {
                let preference = preference(&from, stop, at_ms);
                (Kind::Preferences, preference, Some(self.contact(&waba_id, &from, None)))
            }
            Update::RawChange { waba_id, field, value } => {
                return raw_group(waba_id, field, value, at_ms);
            }
        };
        let preferences = kind == Kind::Preferences;
        let field = if preferences { "user_preferences" } else { "messages" }.to_owned();
        let (updates, contacts) = (vec![value], contact.into_iter().collect());
        Group { number, waba_id, field, kind, updates, contacts, at_ms: None }
    }

    fn render_status(
        &self,
        waba_id: &str,
        message: u64,
        status: &str,
        at_ms: i64,
        code: Option<i64>,
        priced: bool,
    ) -> (Kind, Value, Option<Value>) {
        let accepted = self.ledger.get(message);
        let free = accepted.category == "service";
        let pricing = priced.then(|| {
            json!({
                "billable": !free, "pricing_model": "PMP",
                "type": if free { "free_customer_service" } else { "regular" },
                "category": accepted.category,
            })
        });
        // Since business-scoped ids exist, contacts come with every status but a failed one.
        let shown = status != "failed";
        let user_id = shown.then(|| self.user_id(waba_id, &accepted.to)).flatten();
        let value = webhook::status(accepted, status, at_ms, code, pricing, user_id.as_deref());
        let contact = shown.then(|| self.contact(waba_id, &accepted.to, None));
        (Kind::Statuses, value, contact)
    }

    fn user_id(&self, waba_id: &str, to: &str) -> Option<String> {
        if webhook::is_business_scoped(to) {
            return Some(to.to_owned());
        }
        let known = self.config.business_scoped_ids;
        known.then(|| webhook::business_scoped_id(self.config.seed, waba_id, to))
    }

    fn contact(&self, waba_id: &str, to: &str, name: Option<&str>) -> Value {
        let tail = &to[to.len().saturating_sub(4)..];
        let name = name.map_or_else(|| format!("Customer {tail}"), str::to_owned);
        let mut contact = json!({"profile": {"name": name}});
        if !webhook::is_business_scoped(to) {
            contact["wa_id"] = to.into();
        }
        if let Some(user_id) = self.user_id(waba_id, to) {
            contact["user_id"] = user_id.into();
        }
        contact
    }

    pub(crate) fn inbound_id(&mut self, from: &str) -> String {
        self.inbound += 1;
        self.wamid(from, self.inbound, true)
    }

    fn close(&mut self, group: Group) -> Webhook {
        let Group { number, waba_id, field, kind, mut updates, contacts, at_ms } = group;
        let count = updates.len();
        let number = number.map(|number| &self.config.phone_numbers[number]);
        let value = match (kind, number) {
            (Kind::Raw, _) | (_, None) => updates.pop().unwrap_or_default(),
            (_, Some(number)) => {
                let mut value = webhook::number_value(number);
                if !contacts.is_empty() {
                    value["contacts"] = contacts.into();
                }
                let key = match kind {
                    Kind::Statuses => "statuses",
                    Kind::Messages => "messages",
                    _ => "user_preferences",
                };
                value[key] = updates.into();
                value
            }
        };
        let sequence = self.webhooks;
        self.webhooks += 1;
        Webhook {
            sequence,
            phone_number_id: number.map(|number| number.id.clone()),
            updates: count,
            body: webhook::envelope(&waba_id, &field, value, at_ms),
            waba_id,
        }
    }
}

/// One element of `user_preferences[]`; its timestamp is a number, unlike all others.
fn preference(from: &str, stop: bool, at_ms: i64) -> Value {
    json!({
        "wa_id": from, "category": "marketing_messages",
        "value": if stop { "stop" } else { "resume" },
        "detail": "User changed the preference for marketing messages",
        "timestamp": at_ms.div_euclid(1_000),
    })
}

fn raw_group(waba_id: String, field: String, value: Value, at_ms: i64) -> Group {
    let (updates, contacts) = (vec![value], Vec::new());
    let at_ms = Some(at_ms);
    Group { number: None, waba_id, field, kind: Kind::Raw, updates, contacts, at_ms }
}
