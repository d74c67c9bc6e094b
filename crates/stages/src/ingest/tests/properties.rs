//! I2 over random histories: requests under few keys, time, and lost processes.

use proptest::prelude::*;
use sendplane_domain::limits::{CLOCK_SKEW_MAX, DEDUP_HORIZON};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A request: which key, which of two contents, how old, and whether it is valid.
    Send { key: u8, content: u8, age: Duration, valid: bool, lane: Lane },
    /// Time passes.
    Wait(Duration),
    /// The process is lost.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let age = prop_oneof![
        4 => Just(Duration::ZERO),
        2 => (0u32..6).prop_map(|days| days * DAY),
        1 => (0u32..35).prop_map(|days| days * DAY),
    ];
    let lane = prop_oneof![Just(Lane::Transactional), Just(Lane::Bulk)];
    let wait = prop_oneof![
        (0u64..5_000).prop_map(Duration::from_millis),
        (0u32..10).prop_map(|days| days * DAY),
        Just(DEDUP_HORIZON),
        Just(DEDUP_HORIZON + CLOCK_SKEW_MAX),
    ];
    prop_oneof![
        6 => (0u8..3, 0u8..2, age, prop::bool::weighted(0.9), lane).prop_map(
            |(key, content, age, valid, lane)| Step::Send { key, content, age, valid, lane }
        ),
        2 => wait.prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// What the key's holder is, by the rule's own words.
#[derive(Clone, Copy)]
struct Holder {
    id: sendplane_domain::id::MessageId,
    content: u8,
    at: Timestamp,
}

fn expected(holder: Option<Holder>, content: u8, age: Duration, valid: bool) -> &'static str {
    if age > DEDUP_HORIZON {
        return "stale stale";
    }
    match holder {
        Some(holder) if holder.content == content => "duplicate duplicate",
        Some(_) => "refuse idempotency_key_reused",
        None if !valid => "refuse template_name_invalid",
        None if age >= 7 * DAY => "refuse deadline_passed",
        None => "admitted",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn one_key_gives_one_message_within_the_horizon(
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let mut driver = driver();
        let mut holders: BTreeMap<u8, Holder> = BTreeMap::new();
        let mut ids = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Wait(span) => {
                    let to = driver.now() + span;
                    let produced = driver.advance_to(to);
                    prop_assert!(produced.outputs.is_empty(), "forgetting says nothing");
                }
                Step::Restart => driver.restart(),
                Step::Send { key, content, age, valid, lane } => {
                    let now = driver.now();
                    let mut request = keyed(&key.to_string());
                    request.created_at = now.minus(age);
                    request.variables.insert("1".into(), content.to_string());
                    if !valid {
                        request.template_name = TemplateName::new("Not/valid");
                    }
                    // An invalid request has other content than both valid ones.
                    let content = if valid { content } else { content + 2 };
                    let forgotten = DEDUP_HORIZON + CLOCK_SKEW_MAX;
                    let holder = holders.get(&key).copied().filter(|h| now < h.at + forgotten);
                    let produced = send_in(&mut driver, lane, &request);
                    let expected = expected(holder, content, age, valid);
                    prop_assert!(summary(&produced).starts_with(expected), "{expected}: {produced:?}");
                    match &produced.outputs[..] {
                        [Output::Admitted(message)] => {
                            if let Some(before) = holders.get(&key) {
                                prop_assert!(now.since(before.at) >= DEDUP_HORIZON, "twice: {message:?}");
                            }
                            prop_assert!(ids.insert(message.message_id), "an id is used once");
                            holders.insert(key, Holder { id: message.message_id, content, at: now });
                        }
                        [Output::Decision(decision)] => {
                            let held = holder.filter(|_| expected.starts_with("duplicate"));
                            prop_assert_eq!(decision.duplicate_of, held.map(|h| h.id));
                            prop_assert!(ids.insert(decision.message_id), "an id is used once");
                        }
                        other => prop_assert!(false, "one output for one request: {other:?}"),
                    }
                }
            }
        }
    }
}
