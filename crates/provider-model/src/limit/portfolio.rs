//! Unique users a business portfolio messages outside a service window.

use super::unique::Unique;
use crate::config::Tier;

const DAY_MS: i64 = 24 * 3_600_000;
const WEEK_MS: i64 = 7 * DAY_MS;

/// One portfolio at work.
#[derive(Clone, Debug)]
pub(crate) struct Portfolio {
    pub(crate) tier: Tier,
    /// Users that count against the limit.
    day: Unique,
    /// For the step-up: users of seven days.
    week: Unique,
    /// Users the limit kept out within a day: how far above it the caller is.
    kept_out: Unique,
    /// A step to the next tier is on its way.
    pub(crate) step_pending: bool,
}

/// A user the limit has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) limit: u64,
    /// Users within a day, with the ones kept out.
    pub(crate) observed: u64,
    /// When there is room again.
    pub(crate) room_at_ms: Option<i64>,
}

impl Portfolio {
    pub(crate) fn new(tier: Tier) -> Self {
        let (day, week, kept_out) =
            (Unique::new(DAY_MS), Unique::new(WEEK_MS), Unique::new(DAY_MS));
        Self { tier, day, week, kept_out, step_pending: false }
    }

    /// Whether a message to `user` outside a service window is within the limit. A user who
    /// counts already costs nothing.
    pub(crate) fn check(&mut self, user: u64, now_ms: i64) -> Result<(), Full> {
        let Some(limit) = self.tier.users() else { return Ok(()) };
        let users = self.day.len(now_ms) as u64;
        if users < limit || self.day.contains(user, now_ms) {
            return Ok(());
        }
        self.kept_out.note(user, now_ms);
        let observed = users + self.kept_out.len(now_ms) as u64;
        Err(Full { limit, observed, room_at_ms: self.day.room_at() })
    }

    pub(crate) fn note(&mut self, user: u64, now_ms: i64) {
        self.day.note(user, now_ms);
        if self.tier.next().is_some() {
            self.week.note(user, now_ms);
        }
    }

    /// Unique users of the last day.
    pub(crate) fn users(&mut self, now_ms: i64) -> u64 {
        self.day.len(now_ms) as u64
    }

    /// Meta steps up when half the limit was used within seven days.
    pub(crate) fn earns_step(&mut self, now_ms: i64) -> bool {
        let half = self.tier.users().map(|users| users / 2);
        half.is_some_and(|half| self.week.len(now_ms) as u64 >= half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_users_and_not_messages() {
        let mut portfolio = Portfolio::new(Tier::Tier250);
        for user in 0..250 {
            assert_eq!(portfolio.check(user, user as i64), Ok(()), "{user}");
            portfolio.note(user, user as i64);
        }
        let full = Full { limit: 250, observed: 251, room_at_ms: Some(DAY_MS) };
        assert_eq!(portfolio.check(1_000, 250), Err(full));
        assert_eq!(portfolio.check(1_001, 250), Err(Full { observed: 252, ..full }));
        assert_eq!(portfolio.check(1_001, 250), Err(Full { observed: 252, ..full }));
        assert_eq!(portfolio.check(7, 250), Ok(()), "a user who counts already");
        assert!(portfolio.check(1_000, DAY_MS - 1).is_err());
        assert_eq!(portfolio.check(1_000, DAY_MS), Ok(()), "the first user has left");
    }

    #[test]
    fn a_second_message_keeps_a_user_longer() {
        let mut portfolio = Portfolio::new(Tier::Tier250);
        (0..250).for_each(|user| portfolio.note(user, 0));
        portfolio.note(0, 10);
        assert_eq!(portfolio.users(DAY_MS), 1);
        assert_eq!(portfolio.users(DAY_MS + 10), 0);
    }

    #[test]
    fn half_the_limit_in_a_week_earns_a_step() {
        let mut portfolio = Portfolio::new(Tier::Tier250);
        for user in 0..124 {
            portfolio.note(user, user as i64 * DAY_MS / 30);
        }
        assert!(!portfolio.earns_step(5 * DAY_MS));
        portfolio.note(124, 5 * DAY_MS);
        assert!(portfolio.earns_step(5 * DAY_MS));
        assert!(!portfolio.earns_step(5 * DAY_MS + WEEK_MS));
        assert!(!Portfolio::new(Tier::Unlimited).earns_step(0));
        assert_eq!(Portfolio::new(Tier::Unlimited).check(1, 0), Ok(()));
    }
}
