//! Templates over time: review state, quality, pauses, pacing verdicts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Model;
use super::state::Change;
use crate::config::{Category, TemplateStatus};
use crate::injection::Quality;
use crate::magic::Script;
use crate::report::Gate;
use crate::rng::{Concern, Rng, hash_text, mix};
use crate::script::Update;

const HOUR_MS: i64 = 3_600_000;
/// How long utility templates are paced after one of them was paused.
const UTILITY_PACED_MS: i64 = 7 * 24 * HOUR_MS;

impl Model {
    /// The templates of a name and language, as indexes; several accounts may have one.
    pub(crate) fn templates_named(&self, name: &str, language: &str) -> Vec<usize> {
        let all = self.config.templates.iter().enumerate();
        let named = all.filter(|(_, t)| t.name == name && t.language == language);
        named.map(|(index, _)| index).collect()
    }

    /// Puts a template into a review state by hand; what was planned for it is void.
    pub(crate) fn set_template_status(&mut self, now_ms: i64, index: usize, to: TemplateStatus) {
        self.state.pauses.entry(index).or_default().ends_at_ms = None;
        self.turn_template(now_ms, index, to, None);
    }

    /// Changes the state and announces it; `title` is that of `other_info`.
    fn turn_template(
        &mut self,
        now_ms: i64,
        index: usize,
        to: TemplateStatus,
        title: Option<&'static str>,
    ) {
        self.config.templates[index].status = to;
        if to == TemplateStatus::Approved {
            let template = &self.config.templates[index];
            let key = template_key(&template.name, &template.language);
            self.state.reopen(Gate::Template, Some(&key));
        }
        let paused = to == TemplateStatus::Paused;
        if paused && self.config.templates[index].category == Category::Utility {
            for waba_id in self.wabas_of_template(index) {
                let until_ms = now_ms + UTILITY_PACED_MS;
                self.state.utility_paced_until_ms.insert(waba_id, until_ms);
            }
        }
        self.announce_template(now_ms, index, to, title);
    }

    /// A pause for low quality: the first lasts 3 h, the second 6 h, the third is for good.
    pub(crate) fn pause_template(&mut self, now_ms: i64, index: usize, for_ms: Option<i64>) {
        let pauses = self.state.pauses.entry(index).or_default();
        pauses.count += 1;
        let (title, lasts_ms) = match pauses.count {
            1 => ("FIRST_PAUSE", 3 * HOUR_MS),
            2 => ("SECOND_PAUSE", 6 * HOUR_MS),
            _ => {
                pauses.ends_at_ms = None;
                let disabled = TemplateStatus::Disabled;
                return self.turn_template(now_ms, index, disabled, Some("DISABLED"));
            }
        };
        let ends_at_ms = now_ms + for_ms.unwrap_or(lasts_ms);
        pauses.ends_at_ms = Some(ends_at_ms);
        self.state.agenda.add(ends_at_ms, Change::Unpause { template: index });
        self.turn_template(now_ms, index, TemplateStatus::Paused, Some(title));
    }

    pub(super) fn unpause_template(&mut self, at_ms: i64, index: usize) {
        let pauses = self.state.pauses.entry(index).or_default();
        if pauses.ends_at_ms == Some(at_ms) {
            pauses.ends_at_ms = None;
            self.turn_template(at_ms, index, TemplateStatus::Approved, Some("UNPAUSE"));
        }
    }

    /// The verdict about a paced template: what waits is sent, or fails with 132015 and the
    /// template is paused until it is approved by hand.
    pub(crate) fn decide_template(&mut self, now_ms: i64, index: usize, release: bool) {
        let held = self.state.pacing.entry(index).or_default().decide(release);
        for held in held {
            let script = if release { held.script } else { Script::Failed(132_015) };
            let expires_at_ms = if release { held.expires_at_ms } else { i64::MAX };
            self.plan(now_ms, held.number, held.message, &held.to, held.key, script, expires_at_ms);
        }
        if !release {
            let title = Some("RATE_LIMITING_PAUSE");
            self.turn_template(now_ms, index, TemplateStatus::Paused, title);
        }
    }

    /// Changes the quality score and announces it.
    pub(crate) fn set_template_quality(&mut self, now_ms: i64, index: usize, to: Quality) {
        let before = self.state.qualities.insert(index, to).unwrap_or(Quality::Unknown);
        let value = json!({"previous_quality_score": before, "new_quality_score": to});
        self.announce_of_template(now_ms, index, "message_template_quality_update", value);
    }

    /// Changes the category and announces it; price and endpoint rules follow at once.
    pub(crate) fn set_template_category(&mut self, now_ms: i64, index: usize, to: Category) {
        let before = std::mem::replace(&mut self.config.templates[index].category, to);
        let name = |category: Category| category.price_category().to_ascii_uppercase();
        let value = json!({"previous_category": name(before), "new_category": name(to)});
        self.announce_of_template(now_ms, index, "template_category_update", value);
    }

    fn announce_template(
        &mut self,
        now_ms: i64,
        index: usize,
        status: TemplateStatus,
        title: Option<&'static str>,
    ) {
        let mut value = json!({"event": status, "reason": "NONE"});
        let by_hand = (status == TemplateStatus::Paused).then_some("FIRST_PAUSE");
        if let Some(title) = title.or(by_hand) {
            let description = match title {
                "FIRST_PAUSE" => "Paused for 3 hours because of low quality.",
                "SECOND_PAUSE" => "Paused for 6 hours because of low quality.",
                "RATE_LIMITING_PAUSE" => "Paused because its first messages were received badly.",
                "UNPAUSE" => "The template can be sent again.",
                _ => "Disabled because of low quality.",
            };
            value["other_info"] = json!({"title": title, "description": description});
        }
        self.announce_of_template(now_ms, index, "message_template_status_update", value);
    }

    /// A change about a template in every account that has it.
    fn announce_of_template(&mut self, now_ms: i64, index: usize, field: &str, mut value: Value) {
        let template = &self.config.templates[index];
        value["message_template_id"] = self.template_id(&template.name, &template.language).into();
        value["message_template_name"] = template.name.as_str().into();
        value["message_template_language"] = template.language.as_str().into();
        for waba_id in self.wabas_of_template(index) {
            let field = field.to_owned();
            let value = value.clone();
            self.announce(now_ms, None, Update::RawChange { waba_id, field, value });
        }
    }

    /// The accounts that have a template, ascending.
    fn wabas_of_template(&self, index: usize) -> BTreeSet<String> {
        match &self.config.templates[index].waba_id {
            Some(id) => [id.clone()].into(),
            None => self.config.phone_numbers.iter().map(|n| n.waba_id.clone()).collect(),
        }
    }

    /// A template id as Meta would number it: the same for the same template.
    fn template_id(&self, name: &str, language: &str) -> u64 {
        let key = hash_text(name) ^ mix(hash_text(language));
        Rng::keyed(self.config.seed, Concern::TemplateId, key).between(1 << 40, 1 << 50)
    }
}

/// Names a template among closed gates.
pub(super) fn template_key(name: &str, language: &str) -> String {
    format!("{name}/{language}")
}
