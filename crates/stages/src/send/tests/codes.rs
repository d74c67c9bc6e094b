//! Goal: every code that Meta lists does to the message what its class says, in an answer and by
//! webhook. Method: the table of the domain, row by row, against a table of what send owes each
//! class, written out here.

use sendplane_domain::provider_code::{CodeClass, Seen, TABLE, classify, row};
use sendplane_wire::record::Feedback;

use super::*;

/// What is owed after the first refusal.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owed {
    /// Kept in doubt; nothing is called for the whole window.
    Doubt,
    /// Called again after so many seconds, and so often at most; then this end.
    Retry(&'static [u64], Disposition),
    /// Called again after so many seconds, and then until the deadline.
    Until(u64),
    /// Refused for good, without another call.
    End(Disposition),
    /// The provider says that its time is over.
    Expired,
}

fn owed(class: CodeClass) -> Owed {
    use CodeClass::*;
    use Owed::{Doubt, End, Expired, Retry, Until};
    match class {
        Ambiguous => Doubt,
        RetryMessage => Retry(&[5, 15, 45], Disposition::DeadLetter),
        RetryMedia => Retry(&[5, 15], Disposition::Reject),
        RetryTemplateSync => Retry(&[600], Disposition::Reject),
        ProviderWide | SuspendNumber | SuspendTenant => Until(5),
        ThrottleNumber | ThrottleApp | ThrottleTemplate => Until(5),
        ThrottlePair => Until(1),
        ThrottleAccount => Until(60),
        // Hours: the hour that this message has is over before.
        ThrottleSpam => Expired,
        CodeClass::Expired => Expired,
        PermanentRequest
        | PermanentRecipient
        | RecipientOptedOut
        | RecipientMarketingExcluded
        | RecipientCountryBlocked
        | RecipientIdentityChanged
        | RouteMarketing
        | RouteMessages => End(Disposition::Reject),
        NotSendPath => End(Disposition::DeadLetter),
        WindowClosed
        | RecipientMarketingCap
        | SuspendTemplate
        | SuspendTenantTemplates
        | SuspendDirectSend => End(Disposition::Replan),
    }
}

/// Both ends of every row.
fn codes() -> impl Iterator<Item = (i64, CodeClass, Seen)> {
    let ends = |row: &'static provider_code::Row| {
        [row.first, row.last].map(|code| (code, row.class, row.seen))
    };
    TABLE.iter().flat_map(ends)
}

/// The end of the call, and what follows it until nothing is left to do.
fn check(what: &str, outcome: &CallOutcome, class: CodeClass) {
    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    plane.answer_last(outcome.clone());
    let first = plane.attempts[1].clone();
    assert_eq!(first.error_class.as_deref(), Some(class.as_str()), "{what}");
    let events = plane.events(1);
    match owed(class) {
        Owed::Doubt => {
            assert_eq!(events[1..], [(1, AttemptEvent::InDoubt, Disposition::None)], "{what}");
            plane.advance(secs(600));
            assert_eq!(plane.calls.len(), 1, "{what}");
        }
        Owed::Retry(steps, end) => {
            for (n, step) in steps.iter().enumerate() {
                let record = plane.last();
                let found = (record.event, record.disposition);
                assert_eq!(found, (AttemptEvent::Refused, Disposition::Retry), "{what}");
                let wait = record.retry_at.expect("a time").since(plane.now());
                assert!(wait >= secs(*step) && wait < secs(step + 1), "{what}: {wait:?}");
                plane.advance(wait);
                assert_eq!(plane.calls.len(), n + 2, "{what}");
                plane.answer_last(outcome.clone());
            }
            assert_eq!(plane.last().disposition, end, "{what}");
            ends_here(plane, what);
        }
        Owed::Until(step) => {
            assert_eq!(events[1], (1, AttemptEvent::Refused, Disposition::Retry), "{what}");
            assert_eq!(first.retry_at, Some(START + secs(step)), "{what}");
            let mut answered = 1;
            while plane.now() < START + HOUR + HOUR {
                plane.advance(secs(10));
                while answered < plane.calls.len() {
                    let call = plane.calls[answered].clone();
                    plane.answer(&call, outcome.clone());
                    answered += 1;
                }
            }
            assert!(answered > 2, "{what}: tried again and again");
            assert_eq!(plane.last().event, AttemptEvent::Expired, "{what}");
            assert!(plane.last().occurred_at <= START + HOUR, "{what}: not beyond the deadline");
        }
        Owed::End(disposition) => {
            assert_eq!(events[1..], [(1, AttemptEvent::Refused, disposition)], "{what}");
            ends_here(plane, what);
        }
        Owed::Expired => {
            let expected = [
                (1, AttemptEvent::Refused, Disposition::Retry),
                (2, AttemptEvent::Expired, Disposition::None),
            ];
            assert_eq!(events[1..], expected, "{what}");
            ends_here(plane, what);
        }
    }
}

/// Nothing is called or said any more, and only a dead letter lets it begin again.
fn ends_here(mut plane: Plane, what: &str) {
    let is_dead = plane.last().disposition == Disposition::DeadLetter;
    assert_eq!(plane.dead.len(), usize::from(is_dead), "{what}");
    let (calls, events) = (plane.calls.len(), plane.attempts.len());
    plane.advance(3 * HOUR);
    assert_eq!((plane.calls.len(), plane.attempts.len()), (calls, events), "{what}");
}

#[test]
fn every_code_in_an_answer_has_its_classes_effect() {
    for (code, class, _) in codes() {
        check(&format!("code {code}"), &error(code), class);
    }
}

/// Whatever a status says, Meta had accepted the message: it is not called again from here.
#[test]
fn every_code_in_a_webhook_settles_its_message() {
    let seen = codes().filter(|(_, _, seen)| matches!(seen, Seen::Async | Seen::Both));
    let unknown = [(999_999, CodeClass::PermanentRequest, Seen::Async)];
    for (code, ..) in seen.chain(unknown) {
        for before_the_answer in [false, true] {
            let mut plane = Plane::new();
            plane.send(1, Lane::Bulk);
            if !before_the_answer {
                plane.answer_last(lost());
            }
            let failed = feedback(1, 1, "w", ReceiptStatus::Failed, plane.now());
            let failed = Feedback { error_code: i32::try_from(code).ok(), ..failed };
            let produced = plane.driver.record(topic::FEEDBACK, Record::Feedback(failed));
            plane.take(produced);
            let end = (1, AttemptEvent::Accepted, Disposition::None);
            assert_eq!(plane.events(1).last(), Some(&end), "code {code}");
            assert_eq!(plane.last().wamid_hash, Some(wamid_hash("w")), "code {code}");
            plane.advance(3 * HOUR);
            assert_eq!((plane.calls.len(), plane.dead.len()), (1, 0), "code {code}");
        }
    }
}

#[test]
fn an_unknown_code_is_judged_by_what_else_the_answer_says_and_kept_raw() {
    const UNKNOWN: i64 = 999_999;
    assert_eq!(row(UNKNOWN), None);
    for (is_transient, http_status, class) in [
        (None, 400, CodeClass::PermanentRequest),
        (Some(false), 404, CodeClass::PermanentRequest),
        (Some(true), 400, CodeClass::RetryMessage),
        (Some(true), 429, CodeClass::RetryMessage),
        (None, 401, CodeClass::SuspendTenant),
        (Some(true), 500, CodeClass::Ambiguous),
        (None, 503, CodeClass::Ambiguous),
    ] {
        let what = format!("{is_transient:?} with HTTP {http_status}");
        assert_eq!(classify(UNKNOWN, is_transient, Some(http_status)).class, class, "{what}");
        let outcome = refusal(UNKNOWN, is_transient, http_status);
        check(&what, &outcome, class);
        let mut plane = Plane::new();
        plane.send(1, Lane::Bulk);
        plane.answer_last(outcome);
        let last = plane.last();
        assert_eq!((last.raw_body.as_deref(), last.error_code), (Some(RAW), Some(999_999)));
    }
}

/// An edge that refuses the token without a word of Meta's.
#[test]
fn a_bare_401_keeps_the_message_until_the_token_is_mended() {
    check("bare 401", &unparsed(401), CodeClass::SuspendTenant);
}

#[test]
fn an_answer_that_cannot_be_parsed_is_kept_raw_and_any_other_is_not() {
    for (outcome, raw) in [
        (unparsed(404), Some(RAW)),
        (unparsed(200), Some(RAW)),
        (unparsed(502), Some(RAW)),
        (error(131056), None),
        (error(1), None),
        (lost(), None),
        (accepted("w"), None),
        (not_started(NotStarted::NoConnection), None),
    ] {
        let mut plane = Plane::new();
        plane.send(1, Lane::Bulk);
        plane.answer_last(outcome.clone());
        assert_eq!(plane.last().raw_body.as_deref(), raw, "{outcome:?}");
    }
}
