//! Dead letters that come back: the row decides what becomes of them.

use AttemptEvent::{Accepted, Expired, GaveUp, InDoubt, Refused, Submitting};
use Disposition::{DeadLetter, None as Nothing, Reject, Retry};
use sendplane_stage_api::Replay;

use super::super::SETTLED_RETENTION;
use super::*;

impl Plane {
    /// Feeds the dispatch once more as the dead letter of a record that stood at `source`; returns
    /// the codes under which it was dead-lettered again.
    pub(super) fn replay(&mut self, dispatch: Dispatch, source: Option<i64>) -> Vec<&'static str> {
        let topic = topic::dispatch(dispatch.lane);
        let source =
            source.map(|offset| SourcePosition { topic: topic.into(), partition: 0, offset });
        let letter = "send/0/3".parse().expect("an id");
        let record = Record::Dispatch(Box::new(dispatch));
        let replay = Replay { letter, source };
        let mut produced = self.driver.record_replayed(topic, record, START, replay);
        let dead = std::mem::take(&mut produced.dead_letters);
        self.take(produced);
        dead.into_iter().map(|dead| dead.code).collect()
    }

    /// Sends message 1 and has it given up after four calls.
    fn given_up() -> Self {
        let mut plane = Self::new();
        plane.send(1, Lane::Transactional);
        plane.exhaust(1);
        plane
    }

    /// Refuses the calls from `first` on until the message is given up.
    fn exhaust(&mut self, first: u32) {
        for attempt in first..first + 4 {
            assert_eq!(self.calls.last().map(|call| call.attempt), Some(attempt));
            self.answer_last(unparsed(404));
            self.advance(secs(46));
        }
        assert_eq!(self.last().disposition, DeadLetter);
    }

    fn letter(&self) -> Dispatch {
        dispatch(1, Lane::Transactional, START)
    }
}

#[test]
fn a_message_given_up_goes_on_as_its_next_attempt() {
    let mut plane = Plane::given_up();
    for restart in [false, true] {
        if restart {
            plane.driver.restart();
        }
        let before = plane.calls.len() as u32;
        assert_eq!(plane.replay(plane.letter(), None), [""; 0]);
        let call = plane.calls.last().expect("a call");
        assert_eq!((call.attempt, plane.calls.len() as u32), (before + 1, before + 1));
        assert_eq!(*call.content, plane.letter());
        if !restart {
            // It has all its retries again, and is given up again under a letter of its own.
            plane.exhaust(before + 1);
            assert_eq!(plane.dead.len(), 2);
            assert_eq!(plane.dead[1].1, before + 4);
        }
    }
    plane.answer_last(accepted("w"));
    assert_eq!(plane.events(1).last(), Some(&(9, Accepted, Nothing)));
    assert_eq!(plane.replay(plane.letter(), None), [""; 0]);
    assert_eq!(plane.calls.len(), 9, "accepted is accepted");
}

#[test]
fn a_rejected_message_goes_on_as_well() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    plane.answer_last(error(100));
    assert_eq!(plane.events(1).last(), Some(&(1, Refused, Reject)));
    plane.replay(dispatch(1, Lane::Bulk, START), None);
    plane.answer_last(accepted("w"));
    assert_eq!(plane.events(1)[2..], [(2, Submitting, Nothing), (2, Accepted, Nothing)]);
}

/// What the row must say that a replay is ignored, and how to get there.
type Standing = (&'static str, fn(&mut Plane));

const IGNORED: &[Standing] = &[
    ("submitting", |_| {}),
    ("waiting", |plane| plane.answer_last(unparsed(404))),
    ("in_doubt", |plane| plane.answer_last(lost())),
    ("accepted", |plane| plane.answer_last(accepted("w"))),
    ("accepted", |plane| {
        plane.answer_last(lost());
        plane.feedback(1, 1, "w", ReceiptStatus::Failed);
    }),
    ("accepted", |plane| {
        plane.exhaust(1);
        plane.feedback(1, 2, "w", ReceiptStatus::Sent);
    }),
    ("unknown", |plane| {
        plane.answer_last(lost());
        plane.advance(HOUR);
    }),
    ("expired", |plane| {
        plane.answer_last(error(131056));
        plane.set_tenant(Tenant { active: false, ..tenant(80) });
        plane.advance(HOUR);
    }),
];

#[test]
fn whatever_may_have_reached_somebody_is_not_called_again() {
    for (expected, act) in IGNORED {
        let mut plane = Plane::new();
        plane.send(1, Lane::Transactional);
        act(&mut plane);
        let input = |plane: &Plane| {
            let record = Record::Dispatch(Box::new(plane.letter()));
            let Input::Record { record, mut meta } =
                record_input(record, topic::DISPATCH_TRANSACTIONAL)
            else {
                unreachable!("a record");
            };
            let letter = "send/0/3".parse().expect("an id");
            meta.replay_of = Some(Replay { letter, source: None });
            Input::Record { record, meta }
        };
        let counts = plane.counts(input(&plane));
        let counted = ("sendplane_dispatch_replays_total", *expected);
        assert_eq!(counts, BTreeMap::from([(counted, 1)]));
        let (state, events) = (plane.driver.state().len(), plane.events(1));
        assert_eq!(plane.replay(plane.letter(), None), [""; 0]);
        assert_eq!((plane.driver.state().len(), plane.events(1)), (state, events), "{expected}");
    }
}

#[test]
fn after_its_time_it_expires() {
    let mut plane = Plane::given_up();
    plane.advance(HOUR);
    assert_eq!(plane.replay(plane.letter(), None), [""; 0]);
    assert_eq!(plane.events(1).last(), Some(&(5, Expired, Nothing)));
    assert_eq!(plane.calls.len(), 4);
    let events = plane.events(1);
    plane.replay(plane.letter(), None);
    assert_eq!(plane.events(1), events, "once");
}

#[test]
fn a_message_given_up_that_waits_again_keeps_its_deadline() {
    let mut plane = Plane::given_up();
    plane.set_tenant(Tenant { active: false, ..tenant(80) });
    plane.replay(plane.letter(), None);
    plane.driver.restart();
    plane.advance(HOUR);
    assert_eq!(plane.events(1).last(), Some(&(5, Expired, Nothing)));
    assert_eq!(plane.calls.len(), 4);
}

#[test]
fn a_message_that_send_has_forgotten_is_refused() {
    let mut plane = Plane::given_up();
    plane.advance(SETTLED_RETENTION);
    let late = Dispatch { valid_until: plane.now() + HOUR, ..plane.letter() };
    assert_eq!(plane.replay(late.clone(), None), ["replay_forgotten"]);
    // The same for one that names a position: it may have been replayed and sent long ago.
    assert_eq!(plane.replay(late, Some(0)), ["replay_forgotten"]);
    assert_eq!(plane.calls.len(), 4);
}

#[test]
fn one_that_could_never_be_read_is_taken_in_once() {
    let mut plane = Plane::new();
    // Offset 0 is the letter's, the driver goes on from there.
    for _ in 0..3 {
        assert_eq!(plane.replay(plane.letter(), Some(0)), [""; 0]);
    }
    assert_eq!(plane.events(1), [(1, Submitting, Nothing)]);
    plane.answer_last(lost());
    plane.replay(plane.letter(), Some(0));
    plane.advance(HOUR);
    let expected = [(1, Submitting, Nothing), (1, InDoubt, Nothing), (1, GaveUp, Nothing)];
    assert_eq!(plane.events(1), expected);
}

#[test]
fn without_a_row_a_letter_of_our_own_is_never_sent() {
    let mut plane = Plane::new();
    assert_eq!(plane.replay(plane.letter(), None), ["replay_forgotten"]);
    assert_eq!((plane.calls.len(), plane.attempts.len()), (0, 0));
}

#[test]
fn an_altered_letter_is_refused() {
    let mut plane = Plane::given_up();
    let altered = Dispatch { tenant: TenantId::new("globex"), ..plane.letter() };
    let number = sample::tenant("globex");
    let change = sample::set_tenant(number);
    plane.directory.apply(&change);
    plane.driver.global(change);
    assert_eq!(plane.replay(altered, None), ["replay_mismatch"]);
    assert_eq!(plane.calls.len(), 4);
}

#[test]
fn retries_after_a_replay_follow_the_same_schedule() {
    let mut plane = Plane::given_up();
    plane.replay(plane.letter(), None);
    plane.answer_last(unparsed(404));
    assert_eq!(plane.events(1).last(), Some(&(5, Refused, Retry)));
    let wait = plane.last().retry_at.expect("a retry").since(plane.now());
    assert!(wait >= secs(5) && wait < Duration::from_millis(5_500), "{wait:?}");
}
