//! Pacing of one template: a first quota goes out, what follows waits for a verdict.

use crate::magic::Script;

/// An accepted message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Ledger position.
    pub(crate) message: u64,
    /// Index of the number.
    pub(crate) number: usize,
    pub(crate) to: String,
    /// Keys its delays.
    pub(crate) key: u64,
    /// What happens to it when it is released.
    pub(crate) script: Script,
    /// When it is dropped in any case, Unix milliseconds.
    pub(crate) expires_at_ms: i64,
}

/// Where a template is between its first message and the verdict.
#[derive(Clone, Debug, Default)]
pub(crate) struct TemplatePacing {
    accepted: u32,
    /// When the verdict comes; none before the first held message.
    pub(crate) verdict_at_ms: Option<i64>,
    /// The verdict was good: no message is held any more.
    passed: bool,
    held: Vec<Held>,
}

impl TemplatePacing {
    /// Counts a message; whether it is held.
    pub(crate) fn count(&mut self, quota: u32) -> bool {
        if self.passed {
            return false;
        }
        self.accepted = self.accepted.saturating_add(1);
        self.accepted > quota
    }

    pub(crate) fn hold(&mut self, held: Held) {
        self.held.push(held);
    }

    /// Messages that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.held.len()
    }

    /// Ends the assessment; the messages that waited for it. After a bad verdict the template
    /// starts again with its quota.
    pub(crate) fn decide(&mut self, release: bool) -> Vec<Held> {
        let held = std::mem::take(&mut self.held);
        *self = Self { passed: release, ..Self::default() };
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(message: u64) -> Held {
        let (to, script) = ("1".to_owned(), Script::Read);
        Held { message, number: 0, to, key: 0, script, expires_at_ms: i64::MAX }
    }

    #[test]
    fn messages_beyond_the_quota_wait_for_the_verdict() {
        let mut pacing = TemplatePacing::default();
        let counted: Vec<bool> = (0..4).map(|_| pacing.count(2)).collect();
        assert_eq!(counted, [false, false, true, true]);
        pacing.hold(held(2));
        pacing.hold(held(3));
        assert_eq!(pacing.waiting(), 2);
        assert_eq!(pacing.decide(true), [held(2), held(3)]);
        assert!((0..10).all(|_| !pacing.count(2)), "released for good");
    }

    #[test]
    fn after_a_bad_verdict_the_quota_starts_again() {
        let mut pacing = TemplatePacing::default();
        assert!(pacing.count(0));
        pacing.hold(held(0));
        assert_eq!(pacing.decide(false).len(), 1);
        assert_eq!((pacing.waiting(), pacing.verdict_at_ms), (0, None));
        assert!(!pacing.count(1) && pacing.count(1));
    }
}
