//! When to call again, by class of error.
//!
//! Pure: the caller gives the time, the deadline and the jitter. A class says who is to blame, and
//! only a fault of the message itself uses its retries up.

use std::time::Duration;

use crate::provider_code::CodeClass;
use crate::time::Timestamp;

/// What becomes of a message after a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call again, not before this time, which is always before the deadline.
    RetryAt(Timestamp),
    /// Its retries are used up, or the answer is a riddle: a person looks.
    DeadLetter,
    /// It can never succeed.
    Reject,
    /// Policy judges it again: another template or time may work.
    Replan,
    /// It may have been accepted; never retried from here.
    Doubt,
    /// The deadline comes before the next call.
    Expired,
}

/// Waits after the first, second and third failure that one message is to blame for.
pub const MESSAGE_STEPS: [Duration; 3] = seconds([5, 15, 45]);

/// The longest wait while the provider is unwell.
pub const PROVIDER_STEP_MAX: Duration = MESSAGE_STEPS[2];

/// Waits of a pair: 4^n s (Meta). The last one repeats until the deadline.
pub const PAIR_STEPS: [Duration; 5] = seconds([1, 4, 16, 64, 256]);

/// Waits after throttling by number, app or template; the last one repeats. The buckets do the
/// pacing, this only keeps a message from spinning.
pub const THROTTLE_STEPS: [Duration; 3] = seconds([5, 15, 45]);

/// Waits after throttling of an account, whose quota is counted by the hour; the last one repeats.
pub const ACCOUNT_STEPS: [Duration; 3] = seconds([60, 300, 900]);

/// Waits after a spam restriction, which lasts hours to days; the last one repeats.
pub const SPAM_STEPS: [Duration; 3] = seconds([3_600, 4 * 3_600, 24 * 3_600]);

/// Waits before media is fetched again.
pub const MEDIA_STEPS: [Duration; 2] = seconds([5, 15]);

/// Wait for a marketing template to be synchronised (Meta: up to about 10 min).
pub const TEMPLATE_SYNC_STEPS: [Duration; 1] = seconds([600]);

/// Bound of the jitter that spreads retries of messages that failed together, in milliseconds; for
/// [`crate::id::MessageId::jitter`].
pub const JITTER_MS_BOUND: u64 = 500;

/// A wait for the provider shorter than this is not worth a call: the deadline is as good as here.
const PROVIDER_STEP_MIN: Duration = Duration::from_secs(1);

/// Decides what follows the `failures`-th failure in a row of this class, counted from 1 and with
/// the present one.
///
/// `jitter` is added to the waits that messages serve on their own (message and media faults). A
/// held number, pair or template is released by one timer and paced by its bucket, so it needs
/// none.
pub fn next(
    class: CodeClass,
    failures: u32,
    now: Timestamp,
    deadline: Timestamp,
    jitter: Duration,
) -> Next {
    let until = |step: Duration| retry_before(deadline, now + step);
    match class {
        CodeClass::Ambiguous => Next::Doubt,
        CodeClass::RetryMessage => match step(&MESSAGE_STEPS, failures) {
            Some(step) => until(step + jitter),
            None => Next::DeadLetter,
        },
        CodeClass::RetryMedia => match step(&MEDIA_STEPS, failures) {
            Some(step) => until(step + jitter),
            None => Next::Reject,
        },
        CodeClass::RetryTemplateSync => match step(&TEMPLATE_SYNC_STEPS, failures) {
            Some(step) => until(step),
            None => Next::Reject,
        },
        // A breaker holds the number or the tenant meanwhile; only its probes come here again.
        CodeClass::ProviderWide | CodeClass::SuspendNumber | CodeClass::SuspendTenant => {
            provider_wide(failures, now, deadline)
        }
        CodeClass::ThrottlePair => until(last_repeats(&PAIR_STEPS, failures)),
        CodeClass::ThrottleNumber | CodeClass::ThrottleApp | CodeClass::ThrottleTemplate => {
            until(last_repeats(&THROTTLE_STEPS, failures))
        }
        CodeClass::ThrottleAccount => until(last_repeats(&ACCOUNT_STEPS, failures)),
        CodeClass::ThrottleSpam => until(last_repeats(&SPAM_STEPS, failures)),
        CodeClass::WindowClosed
        | CodeClass::RecipientMarketingCap
        | CodeClass::SuspendTemplate
        | CodeClass::SuspendTenantTemplates
        | CodeClass::SuspendDirectSend => Next::Replan,
        // Where there is another endpoint, send has tried it before it asks here.
        CodeClass::PermanentRequest
        | CodeClass::PermanentRecipient
        | CodeClass::RecipientOptedOut
        | CodeClass::RecipientMarketingExcluded
        | CodeClass::RecipientCountryBlocked
        | CodeClass::RecipientIdentityChanged
        | CodeClass::RouteMarketing
        | CodeClass::RouteMessages => Next::Reject,
        CodeClass::Expired => Next::Expired,
        CodeClass::NotSendPath => Next::DeadLetter,
    }
}

/// As [`next`], where the sender wants at most `calls_max` calls that end with this class: then the
/// message is given up earlier than its class would. Never later: a bound beyond the class's own
/// changes nothing, and one below 1 is 1, because the call has been made. Doubt, hand-overs and
/// rejections are not retries and stay what they are.
pub fn next_within(
    class: CodeClass,
    calls_max: Option<u32>,
    failures: u32,
    now: Timestamp,
    deadline: Timestamp,
    jitter: Duration,
) -> Next {
    match next(class, failures, now, deadline, jitter) {
        Next::RetryAt(_) if calls_max.is_some_and(|most| failures >= most.max(1)) => {
            Next::DeadLetter
        }
        next => next,
    }
}

/// Steps shrink towards the deadline, so that a one-time code with 30 s to live is not given up
/// with 30 s to live because the step is 45 s.
fn provider_wide(failures: u32, now: Timestamp, deadline: Timestamp) -> Next {
    let half_of_the_rest = deadline.since(now) / 2;
    if half_of_the_rest < PROVIDER_STEP_MIN {
        return Next::Expired;
    }
    let step = last_repeats(&MESSAGE_STEPS, failures).min(PROVIDER_STEP_MAX);
    retry_before(deadline, now + step.min(half_of_the_rest))
}

fn retry_before(deadline: Timestamp, at: Timestamp) -> Next {
    if at < deadline { Next::RetryAt(at) } else { Next::Expired }
}

/// The wait after the `failures`-th failure; `None` when the steps are used up.
fn step(steps: &[Duration], failures: u32) -> Option<Duration> {
    steps.get(failures.saturating_sub(1) as usize).copied()
}

fn last_repeats<const N: usize>(steps: &[Duration; N], failures: u32) -> Duration {
    const { assert!(N > 0, "a schedule has a step") };
    steps[(failures.saturating_sub(1) as usize).min(N - 1)]
}

const fn seconds<const N: usize>(values: [u64; N]) -> [Duration; N] {
    let mut steps = [Duration::ZERO; N];
    let mut i = 0;
    while i < N {
        steps[i] = Duration::from_secs(values[i]);
        i += 1;
    }
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW + Duration::from_secs(seconds)
    }

    /// The answers after failures 1, 2, 3, … with a day to go, waits in seconds.
    fn check(class: CodeClass, waits: &[u64], then: Option<Next>) {
        let deadline = after(48 * 3_600);
        let answer = |failures| next(class, failures, NOW, deadline, Duration::ZERO);
        for (i, wait) in waits.iter().enumerate() {
            assert_eq!(answer(i as u32 + 1), Next::RetryAt(after(*wait)), "{class:?} {i}");
        }
        let repeated = waits.last().map(|wait| Next::RetryAt(after(*wait)));
        let beyond = waits.len() as u32 + 1;
        assert_eq!(Some(answer(beyond)), then.or(repeated), "{class:?} afterwards");
        assert_eq!(answer(u32::MAX), answer(beyond), "{class:?} for ever");
        assert_eq!(answer(0), answer(1), "{class:?} counts from 1");
    }

    #[test]
    fn follows_the_schedule_of_its_class() {
        check(CodeClass::RetryMessage, &[5, 15, 45], Some(Next::DeadLetter));
        check(CodeClass::RetryMedia, &[5, 15], Some(Next::Reject));
        check(CodeClass::RetryTemplateSync, &[600], Some(Next::Reject));
        check(CodeClass::ThrottlePair, &[1, 4, 16, 64, 256], None);
        check(CodeClass::ProviderWide, &[5, 15, 45], None);
        check(CodeClass::ThrottleNumber, &[5, 15, 45], None);
        check(CodeClass::ThrottleApp, &[5, 15, 45], None);
        check(CodeClass::ThrottleTemplate, &[5, 15, 45], None);
        check(CodeClass::ThrottleAccount, &[60, 300, 900], None);
        check(CodeClass::ThrottleSpam, &[3_600, 14_400, 86_400], None);
    }

    #[test]
    fn ends_or_hands_over_without_a_schedule() {
        for (class, expected) in [
            (CodeClass::Ambiguous, Next::Doubt),
            (CodeClass::WindowClosed, Next::Replan),
            (CodeClass::RecipientMarketingCap, Next::Replan),
            (CodeClass::SuspendTemplate, Next::Replan),
            (CodeClass::SuspendTenantTemplates, Next::Replan),
            (CodeClass::SuspendDirectSend, Next::Replan),
            (CodeClass::RouteMarketing, Next::Reject),
            (CodeClass::RouteMessages, Next::Reject),
            (CodeClass::PermanentRequest, Next::Reject),
            (CodeClass::PermanentRecipient, Next::Reject),
            (CodeClass::RecipientOptedOut, Next::Reject),
            (CodeClass::RecipientMarketingExcluded, Next::Reject),
            (CodeClass::RecipientCountryBlocked, Next::Reject),
            (CodeClass::RecipientIdentityChanged, Next::Reject),
            (CodeClass::Expired, Next::Expired),
            (CodeClass::NotSendPath, Next::DeadLetter),
        ] {
            check(class, &[], Some(expected));
        }
    }

    #[test]
    fn a_sender_may_want_fewer_calls_and_never_more() {
        let at = |class, calls_max, failures| {
            next_within(class, calls_max, failures, NOW, after(86_400), Duration::ZERO)
        };
        let plain = |class, failures| at(class, None, failures);
        for class in CodeClass::ALL {
            for failures in 1..6 {
                let usual = plain(class, failures);
                assert_eq!(usual, next(class, failures, NOW, after(86_400), Duration::ZERO));
                assert_eq!(at(class, Some(u32::MAX), failures), usual, "{class:?}");
                let expected = match usual {
                    Next::RetryAt(_) if failures >= 2 => Next::DeadLetter,
                    usual => usual,
                };
                assert_eq!(at(class, Some(2), failures), expected, "{class:?} {failures}");
            }
            assert_eq!(at(class, Some(0), 1), at(class, Some(1), 1), "{class:?}");
        }
        assert_eq!(at(CodeClass::RetryMessage, Some(1), 1), Next::DeadLetter);
        assert_eq!(at(CodeClass::RetryMessage, Some(9), 4), Next::DeadLetter);
    }

    #[test]
    fn jitter_moves_only_what_a_message_waits_for_alone() {
        let jitter = Duration::from_millis(JITTER_MS_BOUND - 1);
        for class in CodeClass::ALL {
            let plain = next(class, 1, NOW, after(86_400), Duration::ZERO);
            let moved = next(class, 1, NOW, after(86_400), jitter);
            let own = matches!(class, CodeClass::RetryMessage | CodeClass::RetryMedia);
            assert_eq!(moved != plain, own, "{class:?}");
        }
        let at = Timestamp::from_millis(after(5).as_millis() + 499);
        let moved = next(CodeClass::RetryMessage, 1, NOW, after(60), jitter);
        assert_eq!(moved, Next::RetryAt(at));
    }

    #[test]
    fn a_retry_at_the_deadline_is_too_late() {
        let retry = |deadline| next(CodeClass::RetryMessage, 1, NOW, deadline, Duration::ZERO);
        assert_eq!(retry(after(5)), Next::Expired);
        let deadline = after(5) + Duration::from_millis(1);
        assert_eq!(retry(deadline), Next::RetryAt(after(5)));
    }

    #[test]
    fn an_outage_uses_the_time_that_is_left() {
        let deadline = after(30);
        let mut now = NOW;
        let mut calls = 0;
        while let Next::RetryAt(at) =
            next(CodeClass::ProviderWide, u32::MAX, now, deadline, Duration::ZERO)
        {
            assert!(now < at && at < deadline);
            now = at;
            calls += 1;
        }
        assert_eq!(calls, 4, "after 15, 22.5, 26.25 and 28.125 s");
        let gone = next(CodeClass::ProviderWide, 1, after(31), deadline, Duration::ZERO);
        assert_eq!(gone, Next::Expired);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn a_retry_is_in_the_future_and_before_the_deadline(
            class in prop::sample::select(CodeClass::ALL.to_vec()),
            failures in any::<u32>(),
            left_ms in 0_u64..700_000,
            jitter_ms in 0..JITTER_MS_BOUND,
        ) {
            let deadline = NOW + Duration::from_millis(left_ms);
            let jitter = Duration::from_millis(jitter_ms);
            if let Next::RetryAt(at) = next(class, failures, NOW, deadline, jitter) {
                prop_assert!(NOW < at && at < deadline);
                if class == CodeClass::ProviderWide {
                    prop_assert!(at.since(NOW) <= PROVIDER_STEP_MAX);
                }
            }
        }
    }
}
