//! Marketing templates per user.

use std::collections::{BTreeMap, VecDeque};

use crate::config::MarketingRule;
use crate::region;
use crate::rng::{Concern, Rng, hash_text, mix};

/// Why a marketing message does not reach its recipient (131049).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The recipient is in the United States.
    UnitedStates,
    /// The recipient had enough marketing.
    Cap,
}

/// Times of the marketing messages of each user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marketing {
    users: BTreeMap<u64, VecDeque<i64>>,
}

impl Marketing {
    /// Whether a marketing template to `to` is withheld. `in_window`: the recipient's service
    /// window is open.
    pub(crate) fn check(
        &mut self,
        rule: &MarketingRule,
        seed: u64,
        to: &str,
        in_window: bool,
        now_ms: i64,
    ) -> Option<Withheld> {
        if rule.none_to_us && region::is_us(to) {
            return Some(Withheld::UnitedStates);
        }
        let exempt =
            in_window || region::is_in(to, &rule.exempt_dialling_codes, &rule.exempt_countries);
        if exempt {
            return None;
        }
        let user = hash_text(to);
        let day = now_ms.div_euclid(24 * 3_600_000).unsigned_abs();
        let mut rng = Rng::keyed(seed, Concern::MarketingCap, user.wrapping_add(mix(day)));
        if rng.unit() < rule.used_up_by_others {
            return Some(Withheld::Cap);
        }
        if rule.per_user == 0 {
            return None;
        }
        let times = self.users.get_mut(&user)?;
        while times.front().is_some_and(|time| *time <= now_ms - rule.window_ms) {
            times.pop_front();
        }
        (times.len() >= rule.per_user as usize).then_some(Withheld::Cap)
    }

    /// A marketing template outside a service window was accepted and is not withheld.
    pub(crate) fn note(&mut self, rule: &MarketingRule, to: &str, now_ms: i64) {
        if rule.per_user > 0 {
            self.users.entry(hash_text(to)).or_default().push_back(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDIA: &str = "919812345678";

    fn rule() -> MarketingRule {
        MarketingRule { per_user: 2, window_ms: 1_000, ..MarketingRule::default() }
    }

    #[test]
    fn the_cap_counts_a_rolling_window() {
        let (rule, mut marketing) = (rule(), Marketing::default());
        let check =
            |marketing: &mut Marketing, now_ms| marketing.check(&rule, 1, INDIA, false, now_ms);
        for now_ms in [0, 10] {
            assert_eq!(check(&mut marketing, now_ms), None);
            marketing.note(&rule, INDIA, now_ms);
        }
        assert_eq!(check(&mut marketing, 999), Some(Withheld::Cap));
        assert_eq!(marketing.check(&rule, 1, INDIA, true, 999), None, "in a service window");
        assert_eq!(marketing.check(&rule, 1, "919812345679", false, 999), None, "another user");
        assert_eq!(check(&mut marketing, 1_000), None, "the first has left");
    }

    #[test]
    fn some_countries_have_no_cap_and_one_has_no_marketing() {
        let rule = MarketingRule { used_up_by_others: 1.0, none_to_us: true, ..rule() };
        let mut marketing = Marketing::default();
        let mut check = |to, in_window| marketing.check(&rule, 1, to, in_window, 0);
        assert_eq!(check(INDIA, false), Some(Withheld::Cap));
        assert_eq!(check(INDIA, true), None);
        assert_eq!(check("4915112345678", false), None);
        assert_eq!(check("JP.17", false), None);
        assert_eq!(check("12125550100", true), Some(Withheld::UnitedStates));
        assert_eq!(check("14165550100", false), Some(Withheld::Cap), "Canada is no exception");
    }

    #[test]
    fn others_use_up_a_share_of_users_per_day() {
        let rule = MarketingRule { per_user: 0, used_up_by_others: 0.3, ..rule() };
        let mut marketing = Marketing::default();
        let mut capped = |day: i64| -> Vec<bool> {
            let users = (0..2_000).map(|user| format!("9198{user:08}"));
            let at = day * 24 * 3_600_000;
            users.map(|to| marketing.check(&rule, 1, &to, false, at).is_some()).collect()
        };
        let (first, second) = (capped(1), capped(2));
        assert_ne!(first, second);
        assert_eq!(first, capped(1), "not by chance, but by user and day");
        let count = first.iter().filter(|capped| **capped).count();
        assert!((500..700).contains(&count), "{count}");
    }
}
