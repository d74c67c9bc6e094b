use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn answer(granted: u64) -> Word {
    Word::Answer { granted_at: at(granted) }
}

fn webhook(granted: u64, said: u64) -> Word {
    Word::Webhook { granted_at: at(granted), said_at: at(said) }
}

fn opened() -> Breaker {
    let mut breaker = Breaker::default();
    for n in 1..=FAILURES_MAX {
        assert_eq!(breaker.failed(START, START), n == FAILURES_MAX);
    }
    breaker
}

#[test]
fn failures_in_a_row_open_it() {
    assert_eq!(opened().admission(at(1)), Admission::NotBefore(at(5)));
    assert_eq!(opened().admission(at(5)), Admission::Probe);
    let mut breaker = Breaker::default();
    for _ in 0..10 {
        breaker.failed(START, START);
        breaker.failed(START, START);
        assert!(!breaker.succeeded(answer(0), START), "it never opened");
    }
    assert_eq!(breaker.admission(START), Admission::Calls);
}

#[test]
fn a_failed_probe_opens_it_for_longer_and_a_good_one_closes_it() {
    let mut breaker = opened();
    let mut now = 5;
    for step in [15, 45, 45] {
        breaker.granted(at(now));
        assert_eq!(breaker.admission(at(now + 1)), Admission::NotBefore(at(now + 20)));
        assert!(!breaker.failed(at(now - 1), at(now + 1)), "granted before the probe");
        assert!(breaker.failed(at(now), at(now + 2)));
        now += 2 + step;
        assert_eq!(breaker.admission(at(now - 1)), Admission::NotBefore(at(now)));
        assert_eq!(breaker.admission(at(now)), Admission::Probe);
    }
    breaker.granted(at(now));
    assert!(breaker.succeeded(answer(0), at(now)));
    assert_eq!((breaker.admission(at(now)), breaker.open_since()), (Admission::Calls, None));
}

#[test]
fn one_refusal_for_all_trips_it() {
    let mut breaker = Breaker::default();
    assert!(breaker.tripped(answer(0), at(1)));
    assert!(!breaker.tripped(answer(0), at(2)), "the calls beside it say nothing new");
    assert_eq!(breaker.admission(at(2)), Admission::NotBefore(at(6)));
    breaker.granted(at(6));
    assert!(breaker.tripped(answer(6), at(7)));
    assert_eq!(breaker.admission(at(7)), Admission::NotBefore(at(22)));
    assert_eq!(breaker.open_since(), Some(at(7)));
}

#[test]
fn its_steps_may_be_longer() {
    let hours = [1, 2, 3].map(|hours| Duration::from_secs(hours * 3_600));
    let mut breaker = Breaker::default();
    assert!(breaker.tripped_for(answer(0), at(1), &hours));
    assert!(!breaker.tripped_for(answer(0), at(2), &hours), "the calls beside it say nothing new");
    assert_eq!(breaker.admission(at(2)), Admission::NotBefore(at(3_601)));
    breaker.granted(at(3_601));
    assert!(breaker.tripped_for(answer(3_601), at(3_602), &hours));
    assert_eq!(breaker.admission(at(3_602)), Admission::NotBefore(at(3_602 + 7_200)));
}

#[test]
fn a_lost_probe_is_replaced() {
    let mut breaker = opened();
    breaker.granted(at(5));
    assert_eq!(breaker.admission(at(24)), Admission::NotBefore(at(25)));
    assert_eq!(breaker.admission(at(25)), Admission::Probe);
}

/// Opened at 10 by a webhook of a call granted at 1, for 5 s.
fn told() -> Breaker {
    let mut breaker = Breaker::default();
    assert!(breaker.tripped(webhook(1, 10), at(10)));
    assert_eq!(breaker.admission(at(14)), Admission::NotBefore(at(15)));
    breaker
}

#[test]
fn answers_do_not_take_back_what_a_webhook_said() {
    let mut breaker = told();
    let before = breaker;
    assert!(!breaker.succeeded(answer(9), at(11)), "granted before: of course it was accepted");
    assert!(!breaker.succeeded(webhook(9, 12), at(12)), "sent before that");
    assert_eq!(breaker, before);
    breaker.granted(at(15));
    assert!(!breaker.succeeded(answer(15), at(16)), "the probe is accepted like all before it");
    assert_eq!(breaker.admission(at(16)), Admission::NotBefore(at(35)));
    let mut refused = breaker;
    breaker.granted(at(35));
    assert!(breaker.succeeded(webhook(15, 17), at(36)), "it was sent, said after the next probe");
    assert_eq!(breaker.admission(at(36)), Admission::Calls);

    refused.granted(at(35));
    assert!(refused.tripped(webhook(15, 17), at(36)), "refused, said after the next probe");
    assert_eq!(refused.admission(at(31)), Admission::NotBefore(at(32)), "the second step");
    assert!(!refused.tripped(webhook(35, 36), at(37)), "open");
}

#[test]
fn what_was_said_before_it_closed_says_nothing() {
    let mut breaker = told();
    assert!(!breaker.tripped(webhook(1, 10), at(11)), "the same again");
    breaker.granted(at(15));
    assert!(!breaker.tripped(webhook(1, 10), at(16)), "and beside a probe");
    assert!(breaker.succeeded(webhook(15, 17), at(18)));
    let closed = breaker;
    for said in [0, 10, 18] {
        assert!(!breaker.tripped(webhook(1, said), at(600)));
    }
    assert!(!breaker.succeeded(webhook(15, 17), at(19)));
    assert_eq!(breaker, closed, "late, repeated and out of order");
    assert!(breaker.tripped(webhook(1, 19), at(20)), "held for long, and dropped now");
    let mut later = closed;
    assert!(!later.close(at(10)) && later == closed, "a release of before");
    assert!(later.tripped(webhook(19, 19), at(20)), "called since");
}

/// The provider's clock may be ahead of ours.
#[test]
fn a_webhook_from_the_future_is_the_same_when_it_comes_again() {
    let mut ahead = Breaker::default();
    assert!(ahead.tripped(webhook(1, 14), at(10)));
    ahead.granted(at(11));
    assert!(ahead.succeeded(webhook(11, 12), at(12)));
    assert!(!ahead.tripped(webhook(1, 14), at(16)));
}

#[test]
fn a_late_webhook_asks_for_a_probe_and_no_more() {
    let mut breaker = Breaker::default();
    assert!(breaker.tripped(webhook(1, 10), at(900)));
    assert_eq!(breaker.admission(at(900)), Admission::Probe, "its step is over");
    breaker.granted(at(900));
    assert!(breaker.succeeded(webhook(900, 901), at(902)));
}

#[test]
fn accepted_probes_without_a_bad_word_close_it_in_the_end() {
    let mut breaker = told();
    for probe in 0..15 {
        let now = at(15 + probe * 20);
        assert_eq!(breaker.admission(now), Admission::Probe);
        breaker.granted(now);
        assert!(!breaker.succeeded(answer(15 + probe * 20), now), "probe {probe}");
    }
    let last = 15 + UNCONTRADICTED.as_secs();
    breaker.granted(at(last));
    assert!(breaker.succeeded(answer(last), at(last)));
    let mut spoken = told();
    spoken.granted(at(15));
    assert!(!spoken.succeeded(answer(15), at(15)));
    assert!(spoken.tripped(webhook(15, 299), at(299)));
    spoken.granted(at(400));
    assert!(!spoken.succeeded(answer(400), at(400)), "counted anew");
}

/// An answer's own refusal is taken back by an answer, also after a webhook's.
#[test]
fn a_probe_refused_in_its_answer_makes_answers_count_again() {
    let mut breaker = told();
    breaker.granted(at(15));
    assert!(breaker.tripped(answer(15), at(16)));
    assert!(breaker.succeeded(answer(15), at(40)));
    let mut unwell = told();
    unwell.granted(at(15));
    assert!(unwell.failed(at(15), at(16)));
    assert!(!unwell.succeeded(answer(3), at(40)), "no answer says nothing of what was told");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

    /// Whatever is dead: after it opened, calls come one by one and never more often than its
    /// steps say.
    #[test]
    fn a_dead_provider_is_called_rarely(gaps in prop::collection::vec(0_u64..20, 1..200)) {
        let mut breaker = opened();
        let mut now = 0;
        let mut calls = 0;
        for gap in gaps {
            now += gap;
            match breaker.admission(at(now)) {
                Admission::Calls => prop_assert!(false, "nothing succeeded"),
                Admission::Probe => {
                    breaker.granted(at(now));
                    prop_assert_eq!(breaker.admission(at(now)), Admission::NotBefore(at(now + 20)));
                    breaker.failed(at(now), at(now));
                    calls += 1;
                }
                Admission::NotBefore(time) => prop_assert!(time > at(now)),
            }
        }
        prop_assert!(calls <= 3 + now / 45);
    }
}
