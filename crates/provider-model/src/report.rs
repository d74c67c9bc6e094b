//! What a tester demands zero of, and how fast a number really was.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::rng::hash_text;

/// A limit that a caller can know and has to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Throughput of a number; in messages per second.
    Number,
    /// Pair of number and recipient; in messages at once.
    Pair,
    /// Unique users of a portfolio; in users per 24 h.
    Portfolio,
    /// Marketing to a recipient within 24 h after the number learnt of a 131049 for it; limit 0.
    MarketingRetry,
    /// Calls of the app within its window.
    App,
    /// Calls of an account within its window.
    Account,
}

/// Something that is closed for a while, and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// A number during a throughput upgrade (131057).
    Maintenance,
    /// A suspended app, portfolio, account or number.
    Suspension,
    /// A token that is expired, revoked or unknown (190).
    Token,
    /// A template that is paused (132015) or disabled (132016).
    Template,
}

/// One call above a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which limit.
    pub kind: LimitKind,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// From which number.
    pub phone_number_id: String,
    /// [`recipient_hash`] of the recipient.
    pub recipient_hash: String,
    /// The limit at that moment, in the unit of its kind.
    pub limit: u64,
    /// What the caller asked for, this call and other refused ones of the window included.
    pub observed: u64,
    /// How much later this call would have been allowed, in milliseconds; absent: not foreseeable.
    pub early_ms: Option<i64>,
}

/// Of one number since the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NumberReport {
    /// Calls above a limit.
    pub violations: BTreeMap<LimitKind, u64>,
    /// Most send requests in any `(t - 1 s, t]`.
    pub calls_per_second_max: usize,
    /// Most send requests in any `[t - 1 s, t]`.
    pub calls_per_second_max_closed: usize,
    /// Most accepted and inbound messages in any `(t - 1 s, t]`.
    pub messages_per_second_max: usize,
    /// Most accepted and inbound messages in any `[t - 1 s, t]`.
    pub messages_per_second_max_closed: usize,
}

/// Every call above a limit since the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Violations {
    /// All of them: what a test demands to be zero.
    pub total: u64,
    /// By limit.
    pub by_kind: BTreeMap<LimitKind, u64>,
    /// The one furthest above its limit, by limit.
    pub worst: BTreeMap<LimitKind, Violation>,
    /// The first [`VIOLATIONS_LISTED_MAX`] of them.
    pub first: Vec<Violation>,
    /// Calls to something closed, made later than the grace after the caller was told. Not part of
    /// `total`, because a probe now and then is allowed.
    pub after_refusal: BTreeMap<Gate, u64>,
    /// Marketing withheld by Meta's own judgement (131049). No caller can foresee it, so it is not
    /// part of `total`.
    pub marketing_withheld: u64,
    /// By business number.
    pub numbers: BTreeMap<String, NumberReport>,
}

/// Violations listed one by one, at most.
pub const VIOLATIONS_LISTED_MAX: usize = 1_000;

impl Violations {
    pub(crate) fn count(&mut self, violation: Violation) {
        let kind = violation.kind;
        self.total += 1;
        *self.by_kind.entry(kind).or_default() += 1;
        let number = self.numbers.entry(violation.phone_number_id.clone()).or_default();
        *number.violations.entry(kind).or_default() += 1;
        let above = |violation: &Violation| violation.observed.saturating_sub(violation.limit);
        if self.worst.get(&kind).is_none_or(|worst| above(worst) < above(&violation)) {
            self.worst.insert(kind, violation.clone());
        }
        if self.first.len() < VIOLATIONS_LISTED_MAX {
            self.first.push(violation);
        }
    }
}

/// Names a recipient (digits or user id) in a report without showing it.
pub fn recipient_hash(to: &str) -> String {
    format!("{:016x}", hash_text(to))
}

/// One second of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// Unix seconds.
    pub second: i64,
    /// Send requests.
    pub calls: u32,
    /// Messages accepted.
    pub accepted: u32,
    /// Messages received from customers.
    pub inbound: u32,
}

/// Seconds kept per number.
pub const RATES_KEPT: usize = 86_400;

/// The seconds of one number in which something happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    seconds: VecDeque<Rate>,
}

impl Rates {
    /// The running second; time does not run backwards.
    pub(crate) fn now(&mut self, now_ms: i64) -> &mut Rate {
        let second = now_ms.div_euclid(1_000);
        if self.seconds.back().is_none_or(|rate| rate.second != second) {
            if self.seconds.len() == RATES_KEPT {
                self.seconds.pop_front();
            }
            self.seconds.push_back(Rate { second, ..Rate::default() });
        }
        self.seconds.back_mut().expect("pushed above")
    }

    /// From `since` (Unix seconds) on, without gaps, at most [`RATES_KEPT`].
    pub(crate) fn series(&self, since: i64) -> Vec<Rate> {
        let start = self.seconds.partition_point(|rate| rate.second < since);
        let mut series: Vec<Rate> = Vec::new();
        for rate in self.seconds.range(start..) {
            let next = series.last().map_or(rate.second, |last| last.second + 1);
            let gap = (next..rate.second).map(|second| Rate { second, ..Rate::default() });
            series.extend(gap.take(RATES_KEPT.saturating_sub(series.len())));
            if series.len() >= RATES_KEPT {
                break;
            }
            series.push(*rate);
        }
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(observed: u64) -> Violation {
        Violation {
            kind: LimitKind::Number,
            at_ms: 0,
            phone_number_id: "1".to_owned(),
            recipient_hash: recipient_hash("2"),
            limit: 80,
            observed,
            early_ms: None,
        }
    }

    #[test]
    fn everything_is_counted_and_the_first_and_worst_are_listed() {
        let mut violations = Violations::default();
        for observed in 0..2_000 {
            violations.count(violation(81 + observed % 7));
        }
        assert_eq!((violations.total, violations.first.len()), (2_000, VIOLATIONS_LISTED_MAX));
        assert_eq!(violations.by_kind[&LimitKind::Number], 2_000);
        assert_eq!(violations.numbers["1"].violations[&LimitKind::Number], 2_000);
        assert_eq!(violations.worst[&LimitKind::Number].observed, 87);
        let json = serde_json::to_value(&violations).expect("JSON");
        assert_eq!(json["by_kind"], serde_json::json!({"number": 2_000}));
    }

    #[test]
    fn a_series_has_no_gaps() {
        let mut rates = Rates::default();
        rates.now(1_999).accepted += 1;
        rates.now(4_000).accepted += 2;
        rates.now(4_999).calls += 3;
        let rate = |second, calls, accepted| Rate { second, calls, accepted, inbound: 0 };
        let expected = [rate(1, 0, 1), rate(2, 0, 0), rate(3, 0, 0), rate(4, 3, 2)];
        assert_eq!(rates.series(0), expected);
        assert_eq!(rates.series(2), expected[3..]);
        assert!(rates.series(5).is_empty());
        // A year without traffic does not make a list of a year.
        rates.now(40_000_000_000).accepted += 1;
        assert_eq!(rates.series(0).len(), RATES_KEPT);
    }
}
