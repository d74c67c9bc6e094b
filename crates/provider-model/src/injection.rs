//! What a tester does to the account by hand: customer messages, statuses, notices.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::TemplateStatus;
use crate::model::Model;
use crate::script::{Planned, Update};

/// Something that happens at the provider without a send request. Its webhook is due at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Injection {
    /// A customer writes: opens the service window, uses up throughput.
    Text {
        /// The business number.
        phone_number_id: String,
        /// Digits of the customer; a plus sign is removed.
        from: String,
        /// What is written.
        text: String,
        /// Profile name.
        #[serde(default)]
        name: Option<String>,
    },
    /// A customer stops or resumes marketing (`user_preferences`).
    Preference {
        /// The business number.
        phone_number_id: String,
        /// Digits of the customer; a plus sign is removed.
        from: String,
        /// True: stop; false: resume.
        stop: bool,
    },
    /// One element of `statuses[]`, verbatim, whether or not such a message exists.
    Status {
        /// The business number.
        phone_number_id: String,
        /// The element.
        status: Value,
    },
    /// A change of any field, verbatim.
    Change {
        /// `entry[].id`.
        waba_id: String,
        /// `changes[].field`.
        field: String,
        /// `changes[].value`.
        value: Value,
    },
    /// A template changes its review state; sends follow it from now on.
    TemplateStatus {
        /// Name of the template.
        name: String,
        /// Its language.
        language: String,
        /// The new state.
        status: TemplateStatus,
    },
    /// A number gets another throughput; sends follow it from now on.
    Throughput {
        /// The business number.
        phone_number_id: String,
        /// Messages per second.
        per_second: u32,
    },
}

/// What an injection refers to does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No such business number.
    #[error("no phone number with id {0}")]
    PhoneNumber(String),
    /// No such template.
    #[error("no template {0} in {1}")]
    Template(String, String),
    /// Throughput 0.
    #[error("a throughput must be at least 1 per second")]
    ThroughputZero,
}

impl Model {
    /// Lets `injection` happen at `now_ms` (Unix milliseconds); the id of the customer's message,
    /// if it is one.
    pub fn inject(&mut self, now_ms: i64, injection: Injection) -> Result<Option<String>, Unknown> {
        let now_ms = self.advance(now_ms);
        match injection {
            Injection::Text { phone_number_id, from, text, name } => {
                let number = self.number(&phone_number_id)?;
                return Ok(Some(self.receive_text(now_ms, number, &from, text, name)));
            }
            Injection::Preference { phone_number_id, from, stop } => {
                let number = self.number(&phone_number_id)?;
                let from = digits(&from);
                self.note_preference(number, &from, stop);
                let counted = true;
                let update = Update::Preference { from, stop, counted };
                self.announce(now_ms, Some(number), update);
            }
            Injection::Status { phone_number_id, status } => {
                let number = self.number(&phone_number_id)?;
                self.announce(now_ms, Some(number), Update::RawStatus { status });
            }
            Injection::Change { waba_id, field, value } => {
                let update = Update::RawChange { waba_id, field, value };
                self.announce(now_ms, None, update);
            }
            Injection::TemplateStatus { name, language, status } => {
                if !self.set_template_status(&name, &language, status) {
                    return Err(Unknown::Template(name, language));
                }
                self.announce_template(now_ms, &name, &language, status);
            }
            Injection::Throughput { phone_number_id, per_second } => {
                let number = self.number(&phone_number_id)?;
                if per_second == 0 {
                    return Err(Unknown::ThroughputZero);
                }
                self.set_throughput(now_ms, number, per_second);
            }
        }
        Ok(None)
    }

    fn receive_text(
        &mut self,
        now_ms: i64,
        number: usize,
        from: &str,
        text: String,
        name: Option<String>,
    ) -> String {
        let from = digits(from);
        self.note_inbound(number, &from, now_ms);
        let id = self.inbound_id(&from);
        let update = Update::Text { from, id: Some(id.clone()), name, text, counted: true };
        self.announce(now_ms, Some(number), update);
        id
    }

    fn number(&self, id: &str) -> Result<usize, Unknown> {
        self.by_id.get(id).copied().ok_or_else(|| Unknown::PhoneNumber(id.to_owned()))
    }

    fn announce(&mut self, now_ms: i64, number: Option<usize>, update: Update) {
        self.queue.push(number, Planned { due_ms: now_ms, at_ms: now_ms, update }, true);
    }

    fn announce_template(
        &mut self,
        now_ms: i64,
        name: &str,
        language: &str,
        status: TemplateStatus,
    ) {
        let template_id = self.template_id(name, language);
        let mut value = json!({
            "event": status, "message_template_id": template_id, "message_template_name": name,
            "message_template_language": language, "reason": "NONE",
        });
        if status == TemplateStatus::Paused {
            value["other_info"] = json!({
                "title": "FIRST_PAUSE", "description": "Paused for 3 hours because of low quality.",
            });
        }
        for waba_id in self.wabas_of_template(name, language) {
            let field = "message_template_status_update".to_owned();
            let value = value.clone();
            self.announce(now_ms, None, Update::RawChange { waba_id, field, value });
        }
    }

    fn set_throughput(&mut self, now_ms: i64, number: usize, per_second: u32) {
        let config = &mut self.config.phone_numbers[number];
        let upgraded = per_second > config.throughput_per_second;
        config.throughput_per_second = per_second;
        if !upgraded {
            return;
        }
        // Meta has a notice for the upgrade only.
        let value = json!({
            "display_phone_number": config.display_number, "event": "THROUGHPUT_UPGRADE",
            "max_daily_conversations_per_business": "TIER_UNLIMITED",
        });
        let waba_id = config.waba_id.clone();
        let field = "phone_number_quality_update".to_owned();
        self.announce(now_ms, None, Update::RawChange { waba_id, field, value });
    }
}

fn digits(from: &str) -> String {
    from.trim_start_matches('+').to_owned()
}
