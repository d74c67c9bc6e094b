//! Back to policy, and again under a later decision.

use AttemptEvent::{Accepted, Expired, NotSent, Refused, Submitting};
use Disposition::{None as Nothing, Reject, Replan as GivenBack, Retry};
use sendplane_stage_api::table::encode_value;

use super::recheck::suppression;
use super::*;
use crate::send::state::{MESSAGES, Marker, Message, QUEUE, State, Timer, Work, lane_rank};

/// Message 1 under decision `seq`, released with the consent that is known now.
fn decided(seq: i32) -> Dispatch {
    Dispatch { decision_seq: seq, consent_seq: 2, ..dispatch(1, Lane::Bulk, START) }
}

/// Message 1, given back before its first call.
fn given_back() -> Plane {
    let mut plane = Plane::new();
    plane.suppress(suppression(1, 2, START));
    plane.send(1, Lane::Bulk);
    assert_eq!(plane.events(1), [(0, NotSent, GivenBack)]);
    plane
}

#[test]
fn the_record_holds_the_whole_message() {
    let mut plane = Plane::new();
    plane.suppress(suppression(1, 2, START));
    let named = |name: &str, value: &str| TemplateParameter {
        name: Some(name.into()),
        value: value.into(),
    };
    let parameters = vec![named("order", "17"), named("customer", "Ada")];
    let (order_id, campaign) = (Some("order-9".to_owned()), Some("autumn".to_owned()));
    let deadline = START + 2 * HOUR;
    let message = Dispatch {
        parameters,
        order_id,
        campaign,
        deadline,
        ..dispatch(1, Lane::Transactional, START)
    };
    plane.feed(message.clone());
    let [replan] = plane.replans()[..] else { panic!("one replan") };
    assert_eq!((replan.message_id, replan.decision_seq), (message.message_id, 1));
    assert_eq!(replan.idempotency_key, message.idempotency_key);
    assert_eq!((&replan.order_id, &replan.campaign), (&message.order_id, &message.campaign));
    assert_eq!((replan.lane, &replan.recipient), (message.lane, &message.recipient));
    assert_eq!(replan.contact_hash, message.contact_hash);
    assert_eq!(replan.template_name, message.template_name);
    assert_eq!(replan.template_language, message.template_language);
    assert_eq!(replan.phone_number_id.as_ref(), Some(&message.phone_number_id));
    assert_eq!((replan.created_at, replan.admitted_at), (message.created_at, message.admitted_at));
    assert_eq!((replan.deadline, replan.given_back_at), (deadline, START));
    let variables = [("order", "17"), ("customer", "Ada")];
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    assert_eq!(replan.variables, variables.map(text).into());

    let mut plane = Plane::new();
    plane.suppress(suppression(1, 2, START));
    let value = |n: usize| TemplateParameter { name: None, value: format!("value {n}") };
    plane.feed(Dispatch { parameters: (1..=11).map(value).collect(), ..message });
    let positions = (1..=11).map(|n| (n.to_string(), format!("value {n}")));
    assert_eq!(plane.replans()[0].variables, positions.collect::<BTreeMap<_, _>>());
}

#[test]
fn a_later_decision_opens_it_and_an_equal_or_lower_one_does_not() {
    let mut plane = given_back();
    for _ in 0..2 {
        plane.feed(decided(1));
        assert_eq!(plane.calls.len(), 0, "the decision that was given back");
        plane.driver.restart();
    }
    plane.feed(decided(2));
    let call = plane.calls.last().expect("a call");
    assert_eq!((call.attempt, call.content.decision_seq), (1, 2));
    plane.feed(decided(2));
    plane.feed(decided(1));
    assert_eq!(plane.calls.len(), 1);
    plane.answer_last(accepted("w"));
    assert_eq!((plane.last().event, plane.last().decision_seq), (Accepted, 2));
    plane.feed(decided(2));
    assert_eq!((plane.calls.len(), plane.replans().len()), (1, 1));
}

/// "Not sent" of a number outranks an intent under the same number: the next one is higher.
#[test]
fn the_number_of_a_report_is_used_up() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    plane.answer_last(unparsed(404));
    plane.suppress(suppression(1, 2, START));
    plane.advance(secs(10));
    plane.feed(decided(2));
    let expected = [
        (1, Submitting, Nothing),
        (1, Refused, Retry),
        (2, NotSent, GivenBack),
        (3, Submitting, Nothing),
    ];
    assert_eq!(plane.events(1), expected);
    // Once more, and then too late for a call.
    plane.answer_last(unparsed(404));
    plane.suppress(suppression(1, 3, START));
    plane.advance(secs(10));
    plane.feed(Dispatch { valid_until: plane.now(), ..decided(3) });
    let expected = [(3, Refused, Retry), (4, NotSent, GivenBack), (5, Expired, Nothing)];
    assert_eq!(plane.events(1)[4..], expected);
    assert_eq!(plane.replans().iter().map(|one| one.decision_seq).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_refusal_that_policy_can_answer_goes_back_to_it() {
    for (code, class) in [
        (131047, "window_closed"),
        (131049, "recipient_marketing_cap"),
        (132015, "suspend_template"),
    ] {
        let mut plane = Plane::new();
        plane.send(1, Lane::Bulk);
        plane.answer_last(error(code));
        assert_eq!(plane.events(1)[1..], [(1, Refused, GivenBack)], "{code}");
        assert_eq!(plane.last().error_class.as_deref(), Some(class));
        assert_eq!(plane.last().error_code, Some(code as i32));
        let [replan] = plane.replans()[..] else { panic!("{code}") };
        assert_eq!((replan.reason.as_str(), replan.template_version), (class, None));
        plane.answer_last(error(code));
        plane.advance(2 * HOUR);
        assert_eq!((plane.calls.len(), plane.replans().len()), (1, 1), "{code}");
        plane.feed(Dispatch { valid_until: START + 3 * HOUR, ..decided(2) });
        assert_eq!(plane.calls.last().map(|call| call.attempt), Some(2));
    }
}

/// A refusal can be wrong: a webhook proves that the message was accepted, and nothing is called
/// again. Readers learn that the new decision has found it accepted.
#[test]
fn what_is_known_accepted_is_never_opened() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    plane.answer_last(error(131047));
    plane.feedback(1, 1, "w", ReceiptStatus::Sent);
    plane.feed(decided(2));
    plane.feed(decided(2));
    plane.advance(HOUR);
    assert_eq!(plane.calls.len(), 1);
    assert_eq!(plane.events(1)[2..], [(1, Accepted, Nothing), (1, Accepted, Nothing)]);
    assert_eq!((plane.last().decision_seq, plane.last().wamid_hash.clone()), {
        (2, Some(wamid_hash("w")))
    });
}

#[test]
fn a_letter_of_an_earlier_decision_is_not_called() {
    let mut plane = given_back();
    assert_eq!(plane.replay(dispatch(1, Lane::Bulk, START), None), [""; 0]);
    plane.feed(decided(2));
    plane.answer_last(error(100));
    assert_eq!(plane.last().disposition, Reject);
    assert_eq!(plane.replay(dispatch(1, Lane::Bulk, START), None), [""; 0]);
    assert_eq!(plane.calls.len(), 1);
    assert_eq!(plane.replay(decided(2), None), [""; 0]);
    assert_eq!(plane.calls.len(), 2, "the letter of the decision that stands");
}

/// The dispatch of the later decision could not be read at first.
#[test]
fn a_letter_of_a_later_decision_is_taken_like_any_dispatch() {
    let mut plane = given_back();
    assert_eq!(plane.replay(decided(2), Some(7)), [""; 0]);
    assert_eq!(plane.calls.len(), 1);
    let mut plane = given_back();
    let foreign = Dispatch { tenant: TenantId::new("bolt"), ..decided(2) };
    assert_eq!(plane.replay(foreign.clone(), Some(7)), ["replay_mismatch"]);
    plane.feed(foreign);
    assert_eq!(plane.calls.len(), 0, "altered");
}

/// I4: after a re-send the first call may still have arrived. Neither a refusal nor a breach opens
/// the way to a third one.
#[test]
fn a_message_that_was_sent_again_after_doubt_is_not_given_back() {
    let work = Work::of(Box::new(dispatch(1, Lane::Bulk, START)), Lane::Bulk);
    let mut message = Message::new(&work, &TraceContext::default());
    (message.attempt, message.resends) = (2, 1);
    let number = message.number();
    let waiting = State::Waiting { work: work.clone(), not_before: START };
    let submitting = State::Submitting { work, granted_at: START };
    let wake = Input::Timer(Timer::Number(number.0.clone(), number.1.clone()));
    let suppress = record_input(Record::Suppression(suppression(1, 2, START)), topic::SUPPRESSIONS);
    let refused = Input::Effect(CallResult {
        message_id: message_id(1),
        attempt: 2,
        phone_number_id: number.1.clone(),
        outcome: error(131047),
        latency_ms: None,
    });
    let plane = Plane::new();
    for (state, inputs, expected) in [
        (waiting, vec![suppress, wake], (3, NotSent, Reject)),
        (submitting, vec![refused], (2, Refused, Reject)),
    ] {
        let mut rows = plane.driver.state().clone();
        let entry = (number.clone(), lane_rank(Lane::Bulk), START, message_id(1));
        rows.insert(QUEUE.store_key(&entry), encode_value(&Marker));
        message.state = state;
        rows.insert(MESSAGES.store_key(&message_id(1)), encode_value(&message));
        let time = CycleTime {
            now: START,
            partition: 0,
            partitions: 1,
            timer_floor: Timestamp::default(),
            allowance: Allowance::UNLIMITED,
            portion: Portion::Full,
        };
        let mut cycle = Cycle::open(plane.driver.stage(), &rows, &plane.directory, time);
        for input in inputs {
            cycle.apply(input, TraceContext::default());
        }
        cycle.conclude();
        let [(Output::Attempt(record), _)] = cycle.outputs() else {
            panic!("no replan and no call: {:?}", cycle.outputs())
        };
        assert_eq!((record.attempt, record.event, record.disposition), expected);
    }
}
