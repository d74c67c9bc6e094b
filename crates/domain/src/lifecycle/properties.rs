//! Every order and every repetition (I10).
//!
//! Goal: find an order that matters. Method: random evidence, also contradictory and impossible, in
//! two orders with repetitions; and all orders of all sets of statuses around the send record.

use proptest::prelude::*;
use proptest::sample::Index;

use super::matrix::{accepted, admitted, attempted, decided, facts, failed, status, subject};
use super::*;
use crate::id::{KeyedHash, TenantId};
use crate::provider_code::CodeClass;
use crate::time::Timestamp;

fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..4).prop_map(Timestamp::from_millis)
}

fn wamid_hash() -> impl Strategy<Value = KeyedHash> {
    prop::sample::select(vec!["w1", "w2", "w3"]).prop_map(KeyedHash::new)
}

fn disposition() -> impl Strategy<Value = Disposition> {
    prop_oneof![
        time().prop_map(|at| Disposition::Retry { at }),
        Just(Disposition::Replan),
        Just(Disposition::DeadLetter),
        Just(Disposition::Reject),
    ]
}

fn attempt_event() -> impl Strategy<Value = AttemptEvent> {
    prop_oneof![
        Just(AttemptEvent::Submitting),
        disposition().prop_map(|disposition| AttemptEvent::NotSent { disposition }),
        Just(AttemptEvent::Expired),
        Just(AttemptEvent::Cancelled),
        time().prop_map(|until| AttemptEvent::InDoubt { until }),
        Just(AttemptEvent::GaveUp),
        time().prop_map(|at| AttemptEvent::Resending { at }),
        (1_i64..3, prop::sample::select(CodeClass::ALL.to_vec()), disposition()).prop_map(
            |(code, class, disposition)| AttemptEvent::Refused { code, class, disposition }
        ),
        wamid_hash().prop_map(|wamid_hash| AttemptEvent::Held { wamid_hash }),
        wamid_hash().prop_map(|wamid_hash| AttemptEvent::Accepted { wamid_hash }),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Dispatch),
        time().prop_map(|until| Verdict::Defer { until }),
        Just(Verdict::Suppress),
        Just(Verdict::Block),
        Just(Verdict::Refuse),
        Just(Verdict::Duplicate { of: None }),
        Just(Verdict::Stale),
        Just(Verdict::Expire),
        Just(Verdict::Cancel),
    ]
}

fn provider_status() -> impl Strategy<Value = Status> {
    let title = prop::option::of(prop::sample::select(vec!["a".to_owned(), "b".to_owned()]));
    prop_oneof![
        Just(Status::Sent),
        Just(Status::Delivered),
        Just(Status::Read),
        Just(Status::Played),
        (prop::option::of(1_i64..3), title)
            .prop_map(|(code, title)| Status::Failed { code, title }),
    ]
}

fn any_subject() -> impl Strategy<Value = Box<Subject>> {
    prop::sample::select(vec!["acme", "other"]).prop_map(|tenant| {
        let mut subject = subject();
        subject.tenant = TenantId::new(tenant);
        subject
    })
}

fn price() -> impl Strategy<Value = Option<PriceClass>> {
    let kind =
        prop::option::of(prop::sample::select(vec!["free".to_owned(), "regular".to_owned()]));
    prop::option::of(kind.prop_map(|kind| PriceClass { category: "utility".to_owned(), kind }))
}

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        1 => (any_subject(), time())
            .prop_map(|(subject, admitted_at)| Evidence::Admitted { subject, admitted_at }),
        2 => (any_subject(), 0_u32..4, time(), verdict()).prop_map(
            |(subject, seq, decided_at, verdict)| {
                let (reason, detail, holdout_arm) = (None, None, None);
                let decision =
                    Decision { seq, decided_at, verdict, reason, detail, holdout_arm };
                Evidence::Decided { subject, decision }
            }
        ),
        4 => (1_u32..4, 0_u32..4, time(), attempt_event()).prop_map(
            |(attempt, decision_seq, at, event)| {
                Evidence::Attempted { attempt, decision_seq, at, event }
            }
        ),
        3 => (provider_status(), time(), wamid_hash(), prop::option::of(1_u32..4), price())
            .prop_map(|(status, occurred_at, wamid_hash, attempt, price)| Evidence::Status {
                status, occurred_at, wamid_hash, attempt, price,
            }),
        1 => (1_u32..4).prop_map(|attempt| Evidence::StatusDeadlinePassed { attempt }),
    ]
}

/// Evidence, and the same in another order with some of it repeated.
fn two_orders() -> impl Strategy<Value = (Vec<Evidence>, Vec<Evidence>)> {
    let evidence = prop::collection::vec(evidence(), 1..14);
    let repeats = prop::collection::vec(any::<Index>(), 0..14);
    (evidence, repeats).prop_flat_map(|(evidence, repeats)| {
        let mut repeated = evidence.clone();
        repeated.extend(repeats.iter().map(|index| index.get(&evidence).clone()));
        (Just(evidence), Just(repeated).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000, failure_persistence: None, ..<_>::default()
    })]

    #[test]
    fn every_order_and_repetition_converges((left, right) in two_orders()) {
        prop_assert_eq!(invariants::converges(&left, &right), Ok(()));
    }

    #[test]
    fn the_invariants_hold_after_every_input(evidence in prop::collection::vec(evidence(), 1..20)) {
        let mut facts = MessageFacts::default();
        for one in &evidence {
            facts.join(one);
            for check in invariants::CHECKS {
                prop_assert_eq!(check(&facts), Ok(()), "after {:?} in {:#?}", one, facts);
            }
        }
    }
}

/// All orders of `items`.
fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (position, first) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(position);
        for mut order in permutations(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

#[test]
fn all_orders_of_statuses_around_the_send_record_converge() {
    let ranked = [
        (Status::Played, MessageState::Played),
        (Status::Read, MessageState::Read),
        (Status::Delivered, MessageState::Delivered),
        (failed(131_026), MessageState::Failed),
        (Status::Sent, MessageState::Sent),
    ];
    let send_record = [
        admitted(),
        decided(1, Verdict::Dispatch),
        attempted(1, 1, AttemptEvent::Submitting),
        attempted(1, 1, accepted("w1")),
    ];
    let mut orders = 0;
    for set in 0..32_u32 {
        let members: Vec<_> = (0..5).filter(|bit| set & (1 << bit) != 0).collect();
        let expected = members.first().map_or(MessageState::Accepted, |best| ranked[*best].1);
        for order in permutations(&members) {
            for before in 0..=order.len() {
                let webhook = |member: &usize| status(Some(1), "w1", ranked[*member].0.clone());
                let mut all: Vec<Evidence> = order[..before].iter().map(webhook).collect();
                assert_eq!(facts(&all).state(), None, "parked");
                all.extend_from_slice(&send_record);
                all.extend(order[before..].iter().map(webhook));
                // Meta repeats a webhook for days.
                all.extend(order.iter().map(webhook));
                let facts = facts(&all);
                assert_eq!(facts.state(), Some(expected), "{order:?}, {before} before");
                assert_eq!(facts.distinct_wamids(), 1);
                assert!(facts.provider_messages().values().all(|message| {
                    message.sent_at.is_some() == members.contains(&4)
                        && message.failed.is_some() == members.contains(&3)
                }));
                orders += 1;
            }
        }
    }
    assert_eq!(orders, 1 + 5 * 2 + 20 * 3 + 60 * 4 + 120 * 5 + 120 * 6);
}
