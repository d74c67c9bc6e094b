//! Disturbances that can be changed while running.
//!
//! Probabilities concern ordinary recipients only: a recipient of the test range
//! ([`crate::magic`]) always gets its fixed result. [`Down`] and latency concern every call.

use serde::{Deserialize, Serialize};

use crate::config::{Invalid, MsRange};

/// The knobs. All of them off is the default, except an ordinary latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Whether the provider can be reached at all.
    pub down: Down,
    /// Synchronous refusals by code. The probabilities add up; their sum is at most 1.
    pub errors: Vec<CodeRate>,
    /// Failures after acceptance by code. The probabilities add up; their sum is at most 1.
    pub failures: Vec<CodeRate>,
    /// Accepted, then the connection is closed without an answer.
    pub lose_answer: f64,
    /// The connection is reset; nothing is accepted.
    pub reset_before_accept: f64,
    /// An answer that is not Meta's JSON; see [`crate::Truth`] for whether it was accepted.
    pub garbage_answer: f64,
    /// Time until an answer.
    pub latency_ms: MsRange,
    /// A webhook update comes a second time.
    pub webhook_duplicate: f64,
    /// A webhook update is overtaken by later ones.
    pub webhook_reorder: f64,
    /// A webhook update never comes.
    pub webhook_drop: f64,
    /// How much later a repeated or overtaken update comes.
    pub webhook_shift_ms: MsRange,
}

/// A code and how often it happens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRate {
    /// Meta's error code.
    pub code: i64,
    /// 0 to 1.
    pub probability: f64,
}

/// Reachability of the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// Reachable.
    #[default]
    No,
    /// Answers 503 without a JSON body; nothing is accepted.
    Unavailable,
    /// Refuses connections; nothing is accepted.
    Refuse,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            down: Down::No,
            errors: Vec::new(),
            failures: Vec::new(),
            lose_answer: 0.0,
            reset_before_accept: 0.0,
            garbage_answer: 0.0,
            latency_ms: MsRange::new(20, 80),
            webhook_duplicate: 0.0,
            webhook_reorder: 0.0,
            webhook_drop: 0.0,
            webhook_shift_ms: MsRange::new(100, 3_000),
        }
    }
}

impl Faults {
    /// These knobs with the given ones changed: a JSON object with any subset of the fields.
    pub fn patched(&self, patch: &serde_json::Value) -> Result<Self, Invalid> {
        let knob = |err: serde_json::Error| Invalid::Knob(err.to_string());
        let mut merged = serde_json::to_value(self).map_err(knob)?;
        let (Some(fields), Some(changes)) = (merged.as_object_mut(), patch.as_object()) else {
            return Err(Invalid::Knob("the knobs must be a JSON object".to_owned()));
        };
        for (name, value) in changes {
            fields.insert(name.clone(), value.clone());
        }
        let faults: Self = serde_json::from_value(merged).map_err(knob)?;
        faults.check()?;
        Ok(faults)
    }

    /// Checks that every probability, and each sum by code, is within 0 to 1.
    pub fn check(&self) -> Result<(), Invalid> {
        let sum = |rates: &[CodeRate]| rates.iter().map(|rate| rate.probability).sum();
        let negative = |rates: &[CodeRate]| rates.iter().any(|rate| rate.probability < 0.0);
        if negative(&self.errors) || negative(&self.failures) {
            return Err(Invalid::Probability("probability"));
        }
        let probabilities = [
            ("errors", sum(&self.errors)),
            ("failures", sum(&self.failures)),
            ("lose_answer", self.lose_answer),
            ("reset_before_accept", self.reset_before_accept),
            ("garbage_answer", self.garbage_answer),
            ("webhook_duplicate", self.webhook_duplicate),
            ("webhook_reorder", self.webhook_reorder),
            ("webhook_drop", self.webhook_drop),
        ];
        match probabilities.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            Some((name, _)) => Err(Invalid::Probability(name)),
            None => Ok(()),
        }
    }
}

/// The code that `draw` (0 to 1) falls on.
pub(crate) fn pick(rates: &[CodeRate], draw: f64) -> Option<i64> {
    let mut end = 0.0;
    rates.iter().find_map(|rate| {
        end += rate.probability;
        (draw < end).then_some(rate.code)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_only_what_it_names() {
        let faults = Faults { lose_answer: 0.25, ..Faults::default() };
        let patched = faults
            .patched(&json!({"down": "unavailable", "latency_ms": [1, 2]}))
            .expect("valid patch");
        let expected =
            Faults { down: Down::Unavailable, latency_ms: MsRange::new(1, 2), ..faults.clone() };
        assert_eq!(patched, expected);
    }

    #[test]
    fn a_wrong_patch_is_refused() {
        for patch in [
            json!({"lose_anwser": 0.1}),
            json!({"lose_answer": 1.5}),
            json!({"lose_answer": -0.1}),
            json!({"latency_ms": [5, 1]}),
            json!({"errors": [{"code": 1, "probability": 0.6}, {"code": 2, "probability": 0.6}]}),
            json!({"errors": [{"code": 1, "probability": -0.6}, {"code": 2, "probability": 0.6}]}),
            json!([1]),
        ] {
            assert!(Faults::default().patched(&patch).is_err(), "{patch}");
        }
    }

    #[test]
    fn pick_follows_the_shares() {
        let rates =
            [CodeRate { code: 2, probability: 0.25 }, CodeRate { code: 4, probability: 0.5 }];
        let cases = [(0.0, Some(2)), (0.24, Some(2)), (0.25, Some(4)), (0.74, Some(4))];
        for (draw, expected) in cases {
            assert_eq!(pick(&rates, draw), expected, "{draw}");
        }
        assert_eq!(pick(&rates, 0.75), None);
    }
}
