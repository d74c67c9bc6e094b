//! Properties over random lives of several messages, with crashes anywhere.

use proptest::prelude::*;

use super::recheck::suppression;
use super::*;
use crate::send::state::MESSAGES;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Dispatch {
        n: u64,
        transactional: bool,
        valid_s: u64,
    },
    /// The result of one of the calls made so far, wanted or not.
    Answer {
        pick: usize,
        kind: u8,
    },
    Webhook {
        pick: usize,
        kind: u8,
    },
    Wait {
        millis: u64,
    },
    /// The dead letter of a message, given up or not, comes back.
    Replay {
        n: u64,
    },
    /// A contact's consent changes.
    Consent {
        n: u64,
        seq: i64,
    },
    /// Policy decides about a message, again or once more the same.
    Decide {
        n: u64,
        seq: i32,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..12, any::<bool>(), 1_u64..400).prop_map(|(n, transactional, valid_s)| {
            Step::Dispatch { n, transactional, valid_s }
        }),
        6 => (any::<usize>(), 0_u8..9).prop_map(|(pick, kind)| Step::Answer { pick, kind }),
        1 => (any::<usize>(), 0_u8..2).prop_map(|(pick, kind)| Step::Webhook { pick, kind }),
        4 => prop_oneof![0_u64..200, 0_u64..60_000].prop_map(|millis| Step::Wait { millis }),
        3 => (0_u64..12).prop_map(|n| Step::Replay { n }),
        2 => (0_u64..12, 0_i64..5).prop_map(|(n, seq)| Step::Consent { n, seq }),
        3 => (0_u64..12, 1_i32..4).prop_map(|(n, seq)| Step::Decide { n, seq }),
        1 => Just(Step::Crash),
    ]
}

/// The outcome, and whether it proves that nothing was accepted.
fn outcome(kind: u8, call: &CallProvider) -> (CallOutcome, bool) {
    match kind {
        0 => (accepted(&wamid(call)), false),
        1 => (unparsed(404), true),
        2 => (error(2), true),
        3 => (not_started(NotStarted::TooLate), true),
        4 => (not_started(NotStarted::NoConnection), true),
        5 => (error(131056), true),
        6 => (lost(), false),
        8 => (error(131047), true),
        _ => (error(131000), false),
    }
}

fn wamid(call: &CallProvider) -> String {
    format!("wamid.{}.{}", call.message_id, call.attempt)
}

fn act(plane: &mut Plane, proven: &mut Vec<(MessageId, u32)>, step: &Step) {
    let picked = |plane: &Plane, pick: usize| {
        (!plane.calls.is_empty()).then(|| plane.calls[pick % plane.calls.len()].clone())
    };
    match *step {
        Step::Dispatch { n, transactional, valid_s } => {
            let lane = if transactional { Lane::Transactional } else { Lane::Bulk };
            let valid_until = plane.now() + secs(valid_s);
            plane.feed(Dispatch { valid_until, ..dispatch(n, lane, plane.now()) });
        }
        Step::Answer { pick, kind } => {
            if let Some(call) = picked(plane, pick) {
                let (outcome, is_proof) = outcome(kind, &call);
                if is_proof && !proven.contains(&(call.message_id, call.attempt)) {
                    proven.push((call.message_id, call.attempt));
                }
                plane.answer(&call, outcome);
            }
        }
        Step::Webhook { pick, kind } => {
            if let Some(call) = picked(plane, pick) {
                let n = (0..12).find(|n| message_id(*n) == call.message_id).unwrap();
                let status = [ReceiptStatus::Sent, ReceiptStatus::Failed][usize::from(kind)];
                plane.feedback(n, call.attempt as i32, &wamid(&call), status);
            }
        }
        Step::Wait { millis } => plane.advance(Duration::from_millis(millis)),
        Step::Replay { n } => {
            let row = MESSAGES.store_key(&message_id(n));
            let is_known = plane.driver.state().contains_key(&row);
            let refused = plane.replay(dispatch(n, Lane::Bulk, START), None);
            assert_eq!(refused.is_empty(), is_known, "only a message without a row is refused");
        }
        Step::Consent { n, seq } => plane.suppress(suppression(n, seq, plane.now())),
        // Only what was given back is decided about again.
        Step::Decide { n, seq } => {
            let id = message_id(n);
            let mut replans = plane.replans().into_iter();
            if replans.any(|one| one.message_id == id && one.decision_seq == seq - 1) {
                let consent_seq = i64::from(seq);
                let valid_until = plane.now() + secs(100);
                let message = dispatch(n, Lane::Bulk, plane.now());
                plane.feed(Dispatch { decision_seq: seq, consent_seq, valid_until, ..message });
            }
        }
        Step::Crash => plane.driver.restart(),
    }
}

/// I4: at most one call more than there are attempts proven unsent or refused, and each attempt has
/// one committed intent, made before its call and after the proof about the one before.
fn check_calls(plane: &Plane, proven: &[(MessageId, u32)]) -> Result<(), TestCaseError> {
    for n in 0..12 {
        let id = message_id(n);
        let calls: Vec<u32> =
            plane.calls.iter().filter(|c| c.message_id == id).map(|c| c.attempt).collect();
        let proofs = proven.iter().filter(|(proved, _)| *proved == id).count();
        prop_assert!(calls.len() <= 1 + proofs, "{} calls, {proofs} proofs", calls.len());
        let events = plane.events(n);
        let intents: Vec<u32> = events
            .iter()
            .filter(|(_, event, _)| *event == AttemptEvent::Submitting)
            .map(|(attempt, _, _)| *attempt as u32)
            .collect();
        prop_assert_eq!(&calls, &intents);
        // A number between two calls is one that a return to policy has used up.
        let given_back = |number: &u32| {
            let of = (*number as i32, AttemptEvent::NotSent, Disposition::Replan);
            events.contains(&of)
        };
        let used: Vec<u32> =
            (1..).take_while(|number| calls.contains(number) || given_back(number)).collect();
        prop_assert!(calls.iter().all(|number| used.contains(number)), "{events:?}");
        prop_assert!(calls.is_sorted_by(|left, right| left < right), "{events:?}");
        for (i, (attempt, event, _)) in events.iter().enumerate() {
            if *event == AttemptEvent::Submitting && *attempt > 1 {
                // Only a replay goes on after the last two.
                let is_retry = |earlier: &(i32, AttemptEvent, Disposition)| {
                    earlier.0 == attempt - 1
                        && matches!(
                            earlier.2,
                            Disposition::Retry
                                | Disposition::DeadLetter
                                | Disposition::Reject
                                | Disposition::Replan
                        )
                };
                prop_assert!(events[..i].iter().any(is_retry), "{events:?}");
            }
        }
    }
    Ok(())
}

/// I1: in the end every message that arrived has an end, and no state is left.
fn check_ends(plane: &mut Plane, steps: &[Step]) -> Result<(), TestCaseError> {
    plane.advance(24 * HOUR);
    for n in 0..12 {
        let arrived =
            steps.iter().any(|step| matches!(step, Step::Dispatch { n: at, .. } if *at == n));
        let events = plane.events(n);
        let ended = events.iter().any(|(_, event, disposition)| {
            matches!(
                event,
                AttemptEvent::Accepted
                    | AttemptEvent::Held
                    | AttemptEvent::GaveUp
                    | AttemptEvent::Expired
            ) || matches!(
                disposition,
                // With policy now, which may decide anew or not.
                Disposition::DeadLetter | Disposition::Reject | Disposition::Replan
            )
        });
        prop_assert_eq!(arrived, ended, "{}: {:?}", n, events);
    }
    plane.advance(super::super::SETTLED_RETENTION);
    prop_assert_eq!(plane.driver.next_timer(), None);
    // The commit record, the number, the tenant, the provider, the inbox, two lanes, the account,
    // the witnesses.
    prop_assert!(plane.driver.state().len() <= 9);
    Ok(())
}

/// The most of `times` in any closed second.
fn most_in_a_second(times: &[Timestamp]) -> usize {
    let in_window = |start: usize| {
        times[start..].iter().take_while(|at| at.since(times[start]) <= secs(1)).count()
    };
    (0..times.len()).map(in_window).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn calls_are_bounded_by_proofs_and_every_message_ends(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut plane = Plane::new();
        let mut proven = Vec::new();
        for step in &steps {
            act(&mut plane, &mut proven, step);
        }
        check_calls(&plane, &proven)?;
        check_ends(&mut plane, &steps)?;
        check_calls(&plane, &proven)?;
    }

    #[test]
    fn no_second_holds_more_calls_than_the_number_may_make(
        ceiling in 2_i32..60,
        arrivals in prop::collection::vec(
            (prop_oneof![4 => 0_u64..5, 1 => 0_u64..1_500], 0_u8..10),
            20..100,
        ),
    ) {
        let mut plane = Plane::new();
        plane.set_tenant(tenant(ceiling));
        for (n, (gap_ms, then)) in arrivals.iter().enumerate() {
            plane.advance(Duration::from_millis(*gap_ms));
            plane.send(n as u64, if n % 3 == 0 { Lane::Transactional } else { Lane::Bulk });
            match then {
                0 => plane.driver.restart(),
                // A call that never started has still paid for its token.
                1 if !plane.calls.is_empty() => plane.answer_last(not_started(NotStarted::TooLate)),
                _ => {}
            }
        }
        plane.advance(secs(120));
        let times: Vec<Timestamp> = plane
            .attempts
            .iter()
            .filter(|record| record.event == AttemptEvent::Submitting)
            .map(|record| record.occurred_at)
            .collect();
        prop_assert_eq!(times.len(), plane.calls.len());
        prop_assert!(times.len() >= arrivals.len(), "all are called in the end");
        prop_assert!(most_in_a_second(&times) <= ceiling as usize);
    }
}
