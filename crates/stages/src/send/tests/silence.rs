//! Silence after a doubt: what it takes to prove something, and what follows (I4, I5).

use AttemptEvent::{Accepted, Expired, GaveUp, InDoubt, Refused, Submitting};
use Disposition::{None as Nothing, Reject, Retry};
use sendplane_domain::path_health::GAPS_KEPT;
use sendplane_wire::record::{CancelResult, GatewayGap, GatewayStatus};

use super::super::silence::SLACK;
use super::super::state::Timer;
use super::*;

const WABA: &str = "acme-waba";
const WINDOW: Duration = Duration::from_secs(600);
const ENDED: &str = "sendplane_doubts_ended_total";
const ENDS: [&str; 7] = [
    "not_allowed",
    "silence_resent",
    "no_proof_arrivals",
    "no_proof_unused",
    "no_proof_witnesses",
    "no_proof_gateways",
    "no_proof_gap",
];
const LOOKED_AT_AGAIN: &str = "sendplane_doubts_looked_at_again_total";

/// The doubted message; the others are witnesses.
const DOUBTED: u64 = 1;

/// What is true when the doubt of message 1, granted at [`START`], is judged.
struct Case {
    category: &'static str,
    valid_for: Duration,
    settings: SendSettings,
    /// How long after the grant the witnesses are called.
    witnesses_after: Duration,
    /// Which messages they are of.
    witnesses: Vec<u64>,
    /// Arrival of the last webhook, against the end of the window.
    arrived_after: Duration,
    /// Since when all bodies were used, before the grant.
    whole_before: Option<Duration>,
    waba: &'static str,
    gateways: Vec<GatewayStatus>,
}

impl Default for Case {
    /// Everything that is needed.
    fn default() -> Self {
        Self {
            category: "utility",
            valid_for: HOUR,
            settings: SendSettings::new(hash_key()),
            witnesses_after: secs(1),
            witnesses: vec![2, 3, 4],
            arrived_after: secs(10),
            whole_before: Some(secs(5)),
            waba: WABA,
            gateways: vec![gateway("one"), gateway("other")],
        }
    }
}

/// A gateway that served from long before the grant until well after the window.
fn gateway(instance: &str) -> GatewayStatus {
    GatewayStatus {
        instance: instance.into(),
        started_at: START.minus(HOUR),
        alive_at: START + WINDOW + secs(20),
        is_stopped: false,
        gaps: Vec::new(),
    }
}

fn with_gap(since: Timestamp, until: Timestamp) -> GatewayStatus {
    GatewayStatus { gaps: vec![GatewayGap { since, until }], ..gateway("other") }
}

impl Case {
    /// The plane just before the doubt's timer fires.
    fn plane(&self) -> Plane {
        let mut plane = Plane::with(self.settings.clone());
        let name = format!("{}_template", self.category);
        plane.set_template(sample::template(TENANT, &name, self.category, 1));
        let message = dispatch(DOUBTED, Lane::Transactional, START);
        let valid_until = START + self.valid_for;
        plane.feed(Dispatch { valid_until, ..of_category(self.category, message) });
        plane.answer_last(lost());
        plane.advance(self.witnesses_after);
        for n in [2, 3, 4, 5] {
            plane.send(n, Lane::Transactional);
            plane.answer_last(accepted(&format!("w{n}")));
        }
        for n in &self.witnesses {
            self.hear(&mut plane, *n, START + secs(2), ReceiptStatus::Sent);
        }
        self.hear(&mut plane, 2, START + WINDOW + self.arrived_after, ReceiptStatus::Read);
        for row in &self.gateways {
            plane.control(Change::Gateway(row.instance.clone(), Some(row.clone())));
        }
        plane
    }

    fn hear(&self, plane: &mut Plane, n: u64, received_at: Timestamp, status: ReceiptStatus) {
        let mut record = feedback(n, 1, &format!("w{n}"), status, received_at);
        record.waba_id = self.waba.into();
        record.path_whole_since = self.whole_before.map(|span| START.minus(span));
        let produced = plane.driver.record(topic::FEEDBACK, Record::Feedback(record));
        plane.take(produced);
    }

    /// How the doubt ends: its label, and the plane afterwards.
    fn end(&self) -> (&'static str, Plane) {
        let mut plane = self.plane();
        let latest = doubt_until(&plane);
        let first = latest.min(START + WINDOW + SLACK);
        plane.advance(first.since(plane.now()).saturating_sub(Duration::from_millis(1)));
        assert_eq!(plane.events(DOUBTED).len(), 2, "not before its time");
        plane.advance(Duration::from_millis(1));
        while plane.events(DOUBTED).len() == 2 {
            assert!(plane.now() < latest, "it ends");
            plane.advance(secs(10));
        }
        let ended: Vec<&str> =
            ENDS.into_iter().filter(|end| plane.driver.counted(ENDED, end) > 0).collect();
        let [label] = ended[..] else { panic!("one end: {ended:?}") };
        (label, plane)
    }
}

fn doubt_until(plane: &Plane) -> Timestamp {
    let doubt = plane.attempts.iter().find(|one| one.event == InDoubt).expect("a doubt");
    doubt.doubt_until.expect("its end")
}

fn assert_ends_unknown(case: &Case, label: &str, what: &str) {
    let (found, mut plane) = case.end();
    assert_eq!(found, label, "{what}");
    let expected = [(1, Submitting, Nothing), (1, InDoubt, Nothing), (1, GaveUp, Nothing)];
    assert_eq!(plane.events(DOUBTED), expected, "{what}");
    plane.advance(10 * HOUR);
    assert_eq!(plane.events(DOUBTED), expected, "{what}: nothing follows");
}

#[test]
fn proven_silence_lets_a_utility_be_sent_once_more() {
    let (label, mut plane) = Case::default().end();
    assert_eq!(label, "silence_resent");
    assert_eq!(plane.now(), START + WINDOW + SLACK);
    let again = [
        (1, Submitting, Nothing),
        (1, InDoubt, Nothing),
        (1, GaveUp, Retry),
        (2, Submitting, Nothing),
    ];
    assert_eq!(plane.events(DOUBTED), again);
    assert_eq!(plane.calls.last().map(|call| call.attempt), Some(2));
    let given_up = plane.attempts.iter().find(|one| one.event == GaveUp).unwrap();
    assert_eq!(given_up.retry_at, Some(given_up.occurred_at));
    plane.answer_last(accepted("second"));
    assert_eq!(plane.events(DOUBTED)[4..], [(2, Accepted, Nothing)]);
    plane.advance(10 * HOUR);
    assert_eq!(plane.events(DOUBTED).len(), 5);
}

#[test]
fn a_second_doubt_ends_as_unknown_whatever_silence_says() {
    let (_, mut plane) = Case::default().end();
    plane.answer_last(lost());
    assert_eq!(plane.last().doubt_until, Some(plane.now() + WINDOW), "nothing to wait for");
    plane.advance(10 * HOUR);
    assert_eq!(plane.events(DOUBTED)[4..], [(2, InDoubt, Nothing), (2, GaveUp, Nothing)]);
}

#[test]
fn a_refused_resend_may_be_retried_but_is_never_replayed() {
    let (_, mut plane) = Case::default().end();
    plane.answer_last(unparsed(404));
    assert_eq!(plane.events(DOUBTED)[4..], [(2, Refused, Retry)]);
    plane.advance(secs(6));
    plane.answer_last(error(100));
    assert_eq!(plane.events(DOUBTED)[6..], [(3, Refused, Reject)]);
    let replay = sendplane_stage_api::Replay { letter: "send/0/1".parse().unwrap(), source: None };
    let letter = dispatch(DOUBTED, Lane::Transactional, START);
    let letter = Dispatch { valid_until: START + 20 * HOUR, ..letter };
    let record = Record::Dispatch(Box::new(letter));
    let topic = topic::DISPATCH_TRANSACTIONAL;
    let produced = plane.driver.record_replayed(topic, record, START, replay);
    assert_eq!((produced.outputs.len(), produced.effects.len()), (0, 0));
}

#[test]
fn late_evidence_settles_a_resend_that_waits_and_shows_one_that_was_made() {
    // The number is paused: the re-send waits.
    let mut plane = Case::default().plane();
    plane.set_tenant(Tenant { active: false, ..tenant(80) });
    plane.advance(WINDOW + SLACK);
    assert_eq!(plane.events(DOUBTED)[2..], [(1, GaveUp, Retry)]);
    plane.feedback(DOUBTED, 1, "first", ReceiptStatus::Delivered);
    plane.set_tenant(tenant(80));
    plane.advance(10 * HOUR);
    assert_eq!(plane.events(DOUBTED)[3..], [(1, Accepted, Nothing)], "and no call");

    let (_, mut plane) = Case::default().end();
    plane.answer_last(accepted("second"));
    let record = feedback(DOUBTED, 1, "first", ReceiptStatus::Delivered, plane.now());
    let counts = plane.counts(record_input(Record::Feedback(record), topic::FEEDBACK));
    let duplicate = ("sendplane_duplicate_sends_detected_total", "second_wamid");
    assert_eq!(counts.get(&duplicate), Some(&1));
}

#[test]
fn a_resend_expires_like_any_message() {
    let case = Case { valid_for: WINDOW + SLACK + secs(30), ..Case::default() };
    let mut plane = case.plane();
    plane.set_tenant(Tenant { active: false, ..tenant(80) });
    plane.advance(WINDOW + SLACK + secs(60));
    assert_eq!(plane.events(DOUBTED)[2..], [(1, GaveUp, Retry), (2, Expired, Nothing)]);
}

#[test]
fn what_may_not_be_sent_twice_is_not() {
    for category in ["marketing", "authentication", "service", "something_new"] {
        assert_ends_unknown(&Case { category, ..Case::default() }, "not_allowed", category);
    }
    let late = Case { valid_for: WINDOW + SLACK, ..Case::default() };
    assert_ends_unknown(&late, "not_allowed", "too late");
    let settings = SendSettings { resend_after_silence: false, ..SendSettings::new(hash_key()) };
    assert_ends_unknown(&Case { settings, ..Case::default() }, "not_allowed", "switched off");
}

#[test]
fn three_later_messages_of_the_number_must_have_been_heard_of() {
    let few = Case { witnesses: vec![2, 3], ..Case::default() };
    assert_ends_unknown(&few, "no_proof_witnesses", "two witnesses");
    let repeated = Case { witnesses: vec![2, 3, 3, 2, 3], ..Case::default() };
    assert_ends_unknown(&repeated, "no_proof_witnesses", "a message counts once");
    let earlier = Case { witnesses_after: Duration::ZERO, ..Case::default() };
    assert_ends_unknown(&earlier, "no_proof_witnesses", "called at the same time, not after");
}

#[test]
fn arrivals_after_the_window_must_have_been_processed() {
    let early = Case { arrived_after: secs(9), ..Case::default() };
    assert_ends_unknown(&early, "no_proof_arrivals", "too early an arrival");
    let astray = Case { whole_before: None, ..Case::default() };
    assert_ends_unknown(&astray, "no_proof_arrivals", "only among another account's");
    let foreign = Case { waba: "another", ..Case::default() };
    assert_ends_unknown(&foreign, "no_proof_arrivals", "not the number's account");
}

#[test]
fn every_webhook_since_the_grant_must_have_been_used() {
    let broken = Case { whole_before: Some(secs(4)), ..Case::default() };
    assert_ends_unknown(&broken, "no_proof_unused", "not used since the grant");
    let mut case = Case::default();
    let mut plane = case.plane();
    case.whole_before = None;
    case.hear(&mut plane, 3, START + secs(30), ReceiptStatus::Delivered);
    plane.advance(WINDOW + SLACK);
    assert_eq!(plane.events(DOUBTED)[2..], [(1, GaveUp, Nothing)], "one lay elsewhere");
}

#[test]
fn every_gateway_must_account_for_the_whole_window() {
    let (from, to) = (START, START + WINDOW);
    let row = gateway("other");
    let stopped_at = |alive_at| GatewayStatus { is_stopped: true, alive_at, ..row.clone() };
    let cases = [
        ("dead since before", GatewayStatus { alive_at: from.minus(HOUR), ..row.clone() }, false),
        ("last heard of in time", GatewayStatus { alive_at: to, ..row.clone() }, false),
        ("complete", GatewayStatus { alive_at: to + secs(5), ..row.clone() }, true),
        ("gone before", stopped_at(from.minus(secs(6))), true),
        ("gone meanwhile", stopped_at(from + secs(60)), true),
        ("joined meanwhile", GatewayStatus { started_at: from + secs(60), ..row.clone() }, true),
        ("has forgotten", GatewayStatus { alive_at: from + GAPS_KEPT, ..row.clone() }, false),
    ];
    for (name, row, is_proven) in cases {
        let case = Case { gateways: vec![gateway("one"), row], ..Case::default() };
        if is_proven {
            assert_eq!(case.end().0, "silence_resent", "{name}");
        } else {
            assert_ends_unknown(&case, "no_proof_gateways", name);
        }
    }
    let nobody = Case { gateways: Vec::new(), ..Case::default() };
    assert_ends_unknown(&nobody, "no_proof_gateways", "no gateway at all");
    let in_turn = [stopped_at(to), GatewayStatus { started_at: from + secs(1), ..gateway("one") }];
    let in_turn = Case { gateways: in_turn.to_vec(), ..Case::default() };
    assert_ends_unknown(&in_turn, "no_proof_gateways", "nobody was there throughout");
}

#[test]
fn no_gateway_may_have_had_a_gap() {
    let (from, to) = (START, START + WINDOW);
    let cases = [
        ("before", from.minus(secs(60)), from.minus(secs(6)), true),
        ("up to the grant", from.minus(secs(60)), from.minus(secs(5)), false),
        ("meanwhile", from + secs(60), from + secs(60), false),
        ("at the end", to + secs(5), to + secs(9), false),
        ("after", to + secs(6), to + secs(9), true),
        ("over all of it", from.minus(HOUR), to + HOUR, false),
    ];
    for (name, since, until, is_proven) in cases {
        let gateways = vec![gateway("one"), with_gap(since, until)];
        let case = Case { gateways, ..Case::default() };
        if is_proven {
            assert_eq!(case.end().0, "silence_resent", "{name}");
        } else {
            assert_ends_unknown(&case, "no_proof_gap", name);
        }
    }
}

#[test]
fn a_resend_that_waits_can_be_withdrawn_and_the_first_call_stays_in_doubt() {
    let mut plane = Case::default().plane();
    plane.set_tenant(Tenant { active: false, ..tenant(80) });
    plane.advance(WINDOW + SLACK);
    let (result, state) = plane.cancel(DOUBTED);
    assert_eq!((result, state.as_deref()), (CancelResult::TooLate, Some("outcome_unknown")));
    plane.set_tenant(tenant(80));
    plane.advance(10 * HOUR);
    let expected = [(1, GaveUp, Retry), (2, AttemptEvent::Cancelled, Nothing)];
    assert_eq!(plane.events(DOUBTED)[2..], expected, "no second call");
}

/// The plane at `seconds` after the grant.
fn advance_to(plane: &mut Plane, seconds: u64) {
    let span = (START + secs(seconds)).since(plane.now());
    plane.advance(span);
}

/// Two witnesses, nothing after the window; valid for two hours.
fn quiet() -> Case {
    let gateways = vec![GatewayStatus { alive_at: START + HOUR, ..gateway("one") }];
    let (witnesses, arrived_after) = (vec![2, 3], Duration::ZERO);
    Case { witnesses, arrived_after, gateways, valid_for: 2 * HOUR, ..Case::default() }
}

#[test]
fn an_arrival_after_the_first_look_completes_the_proof() {
    let case = Case { witnesses: vec![2, 3, 4], ..quiet() };
    let mut plane = case.plane();
    advance_to(&mut plane, 700);
    assert_eq!(plane.events(DOUBTED).len(), 2, "the first look is over");
    case.hear(&mut plane, 2, START + secs(610), ReceiptStatus::Read);
    plane.driver.restart();
    advance_to(&mut plane, 719);
    assert_eq!(plane.events(DOUBTED).len(), 2);
    advance_to(&mut plane, 720);
    assert_eq!(plane.events(DOUBTED)[2..], [(1, GaveUp, Retry), (2, Submitting, Nothing)]);
}

/// The third witness is known at the look after 840 s: so silence counts over 1,680 s at least.
#[test]
fn late_witnesses_ask_for_as_much_silence_after_them_as_before() {
    let told_at_800 = |case: &Case, plane: &mut Plane| {
        advance_to(plane, 800);
        case.hear(plane, 4, START + secs(800), ReceiptStatus::Sent);
    };
    let arrives = |case: &Case, plane: &mut Plane, at: u64| {
        advance_to(plane, at);
        case.hear(plane, 2, START + secs(at), ReceiptStatus::Read);
    };
    for (arrival, resent_at) in [(1_689, None), (1_690, Some(2_520))] {
        let case = quiet();
        let mut plane = case.plane();
        told_at_800(&case, &mut plane);
        arrives(&case, &mut plane, 1_500);
        advance_to(&mut plane, 1_600);
        assert_eq!(plane.events(DOUBTED).len(), 2, "more than the doubt window is over");
        arrives(&case, &mut plane, arrival);
        advance_to(&mut plane, 2_519);
        assert_eq!(plane.events(DOUBTED).len(), 2);
        advance_to(&mut plane, 2_520);
        assert_eq!(plane.calls.last().map(|call| call.attempt) == Some(2), resent_at.is_some());
    }
    for (at, is_proven) in [(1_000, false), (1_685, false), (1_686, true)] {
        let mut case = quiet();
        let gap = GatewayGap { since: START + secs(at), until: START + secs(at) };
        case.gateways[0].gaps.push(gap);
        let mut plane = case.plane();
        told_at_800(&case, &mut plane);
        arrives(&case, &mut plane, 1_700);
        advance_to(&mut plane, 2_520);
        let end = if is_proven { Retry } else { Nothing };
        assert_eq!(plane.events(DOUBTED)[2], (1, GaveUp, end), "a gap at {at}");
    }
}

#[test]
fn a_webhook_between_the_looks_settles_it() {
    let mut plane = quiet().plane();
    advance_to(&mut plane, 700);
    plane.feedback(DOUBTED, 1, "first", ReceiptStatus::Sent);
    plane.advance(10 * HOUR);
    assert_eq!(plane.events(DOUBTED)[2..], [(1, Accepted, Nothing)]);
}

#[test]
fn looks_are_few_and_end_with_the_message() {
    for (valid_for, looks, latest) in
        [(HOUR, 5, HOUR), (48 * HOUR, 10, GAPS_KEPT), (secs(700), 0, secs(700))]
    {
        let mut plane = Case { valid_for, ..quiet() }.plane();
        assert_eq!(doubt_until(&plane), START + latest);
        plane.advance(50 * HOUR);
        assert_eq!(plane.events(DOUBTED)[2..], [(1, GaveUp, Nothing)]);
        let again = |label| plane.driver.counted(LOOKED_AT_AGAIN, label);
        assert_eq!(again("no_proof_arrivals") + again("no_proof_witnesses"), looks);
        assert!(plane.last().occurred_at <= START + latest);
    }
}

#[test]
fn a_window_too_short_for_a_proof_is_looked_at_once() {
    let mut settings = SendSettings::new(hash_key());
    settings.doubt_window = SLACK - secs(1);
    let mut plane = Case { settings, ..quiet() }.plane();
    assert_eq!(doubt_until(&plane), START + 2 * secs(59));
    advance_to(&mut plane, 118);
    assert_eq!(plane.events(DOUBTED)[2..], [(1, GaveUp, Nothing)]);
}

/// A cycle comes a little after its timers are due.
#[test]
fn a_first_look_that_is_a_little_late_is_still_the_first() {
    let plane = Case::default().plane();
    for (late, is_first) in [(Duration::from_millis(1), true), (secs(59), true), (secs(60), false)]
    {
        let time = CycleTime {
            now: START + WINDOW + SLACK + late,
            partition: 0,
            partitions: 1,
            timer_floor: Timestamp::default(),
            allowance: Allowance::UNLIMITED,
            portion: Portion::Full,
        };
        let (stage, state) = (plane.driver.stage(), plane.driver.state());
        let mut cycle = Cycle::open(stage, state, &plane.directory, time);
        let timer = Input::Timer(Timer::Message(message_id(DOUBTED)));
        cycle.apply(timer, TraceContext::default());
        let counts = cycle.finish().unwrap().counts;
        assert_eq!(counts.contains_key(&(ENDED, "silence_resent")), is_first, "{late:?}");
    }
}
