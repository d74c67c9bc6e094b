//! I10: the same end from every order and any repetition, as rows and as state.

use std::collections::BTreeSet;

use proptest::prelude::*;
use sendplane_domain::lifecycle::invariants;

use super::*;

/// Everything that must not depend on the order: the facts' bytes and the newest row's content.
fn end_of(records: &[Record]) -> (String, Outcome) {
    let mut driver = driver();
    let rows = feed_all(&mut driver, records);
    check_sequence(&rows);
    let facts = facts(&driver);
    for check in invariants::CHECKS {
        assert_eq!(check(&facts), Ok(()), "{records:?}");
    }
    let newest = rows.last().expect("the message was admitted");
    (serde_json::to_string(&facts).unwrap(), content_of(newest))
}

/// All orders of `items`.
fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = items.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for shorter in permutations(rest) {
        for index in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(index, first.clone());
            all.push(longer);
        }
    }
    all
}

fn decided_again(seq: i32, verdict: Verdict, reason: Option<&str>) -> Record {
    Record::Decision(Box::new(Decision { decision_seq: Some(seq), ..decision(verdict, reason) }))
}

fn under(seq: i32, attempt: Attempt) -> Record {
    Record::Attempt(Box::new(Attempt { decision_seq: seq, ..attempt }))
}

/// What send gave back follows the next decision: records of two topics, in every order, and read
/// again from the start.
#[test]
fn what_was_given_back_converges() {
    let given_back =
        Attempt { disposition: Disposition::Replan, ..attempt(0, AttemptEvent::NotSent, 3) };
    let withdrawn = Some("consent_withdrawn_all");
    let suppressed =
        vec![under(1, given_back.clone()), decided_again(2, Verdict::Suppress, withdrawn)];
    let called = attempt(1, AttemptEvent::Submitting, 5);
    let answer = Attempt { wamid_hash: Some(hash("w1")), ..attempt(1, AttemptEvent::Accepted, 6) };
    let delivered = vec![
        under(1, given_back),
        decided_again(2, Verdict::Dispatch, None),
        under(2, called),
        under(2, answer),
        reported(ReceiptStatus::Delivered, 7),
    ];
    for (tail, expected) in [(suppressed, State::Suppressed), (delivered, State::Delivered)] {
        let all = [&[dispatched()], &tail[..]].concat();
        let mut ends = BTreeSet::new();
        for order in permutations(&all) {
            let records = [&[admitted()], &order[..], &order[..2]].concat();
            let (facts, last) = end_of(&records);
            assert_eq!(last.state, expected, "{records:?}");
            ends.insert(facts);
        }
        assert_eq!(ends.len(), 1, "one end of every order");
    }
}

/// Every non-empty set of statuses, in every order, with the record of the send before, after and
/// between them, with and without our opaque data.
#[test]
fn statuses_converge_whatever_their_order_and_the_send_s() {
    use ReceiptStatus::*;
    let statuses = [(Sent, 5), (Delivered, 6), (Read, 7), (Played, 8), (Failed, 9)];
    let mut compared = 0;
    for set in 1..1 << statuses.len() {
        let chosen: Vec<_> = (0..statuses.len())
            .filter(|bit| set >> bit & 1 == 1)
            .map(|bit| statuses[bit])
            .collect();
        let has = |status| chosen.iter().any(|(found, _)| *found == status);
        let expected = match () {
            () if has(Played) => State::Played,
            () if has(Read) => State::Read,
            () if has(Delivered) => State::Delivered,
            () if has(Failed) => State::Failed,
            () => State::Sent,
        };
        for is_bare in [false, true] {
            let mut inputs: Vec<Record> = chosen
                .iter()
                .map(|(status, second)| match is_bare {
                    true => bare(*status, "w1", *second),
                    false => reported(*status, *second),
                })
                .collect();
            inputs.push(accepted(1, "w1", 4));
            let mut ends = std::collections::BTreeSet::new();
            for order in permutations(&inputs) {
                let story = [&[admitted(), dispatched()][..], &order].concat();
                let (facts, newest) = end_of(&story);
                assert_eq!(newest.state, expected, "{order:?}");
                let error = (expected == State::Failed).then_some(131_026);
                assert_eq!(newest.error_code, error);
                ends.insert(facts + &serde_json::to_string(&newest).unwrap());
                compared += 1;
            }
            assert_eq!(ends.len(), 1, "{chosen:?}, bare: {is_bare}");
        }
    }
    assert_eq!(compared, 2 * (5 * 2 + 10 * 6 + 10 * 24 + 5 * 120 + 720));
}

/// A doubted first attempt that was accepted after all, a second one, statuses of both, some
/// without opaque data, a refusal copy and two prices.
fn story() -> Vec<Record> {
    let mut priced = receipt(ReceiptStatus::Delivered, "w2", 32);
    priced.attempt = Some(2);
    priced.price_category = Some("utility".into());
    vec![
        admitted(),
        dispatched(),
        attempted(1, AttemptEvent::Submitting, 3),
        attempted(1, AttemptEvent::InDoubt, 13),
        attempted(1, AttemptEvent::GaveUp, 15),
        attempted(2, AttemptEvent::Submitting, 20),
        accepted(2, "w2", 21),
        bare(ReceiptStatus::Sent, "w2", 30),
        Record::Receipt(Box::new(priced)),
        bare(ReceiptStatus::Read, "w2", 40),
        reported(ReceiptStatus::Sent, 31),
        bare(ReceiptStatus::Failed, "w1", 33),
        bare(ReceiptStatus::Delivered, "w2", 31),
    ]
}

#[test]
fn a_restart_at_any_point_changes_nothing() {
    let story = story();
    let expected = rows(&story);
    for stop in 0..=story.len() {
        let mut driver = driver();
        let mut found = feed_all(&mut driver, &story[..stop]);
        driver.restart();
        found.extend(feed_all(&mut driver, &story[stop..]));
        assert_eq!(found, expected, "restart before input {stop}");
    }
}

/// The newest row always says what the facts say, also in the middle of a story.
#[test]
fn the_newest_row_is_a_function_of_the_facts() {
    let mut driver = driver();
    let mut newest = None;
    let mut compared = 0;
    for record in story() {
        newest = feed(&mut driver, &record).pop().or(newest);
        let content = outcome::content(id(), &facts(&driver));
        assert_eq!(newest.as_ref().map(content_of), content);
        compared += usize::from(content.is_some());
    }
    assert!(compared > 10);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn shuffled_and_repeated_stories_end_alike(
        order in Just((0..story().len()).collect::<Vec<_>>()).prop_shuffle(),
        repeated in proptest::collection::vec((0..story().len(), 0..100_usize), 0..12),
    ) {
        let story = story();
        let mut order = order;
        for (input, place) in repeated {
            order.insert(place % (order.len() + 1), input);
        }
        let shuffled: Vec<Record> = order.iter().map(|input| story[*input].clone()).collect();
        let (facts, newest) = end_of(&shuffled);
        let (expected_facts, expected_newest) = end_of(&story);
        prop_assert_eq!(facts, expected_facts);
        prop_assert_eq!(newest, expected_newest);
    }
}
