//! Every state against every kind of evidence.
//!
//! A row starts from the shortest history that gives its state, under decision 1 and attempt 1; the
//! evidence of a column speaks of the same attempt, and a column of policy brings decision 2. The
//! first row is a message of which only a parked status is known.

use super::*;
use crate::id::{IdempotencyKey, KeyedHash, MessageId, TenantId};
use crate::lane::{Category, Lane};
use crate::provider_code::CodeClass;
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// Two letters a state; `--` is a message without one. Columns as in [`column`].
///
/// Reviewed by hand. What to see in it: a decision never moves what may have reached the provider;
/// delivery never moves back; a wamid beats every account of the attempt without one.
const EXPECTED: &str = "
       Ad|Di De Su Bl Re Du St Ex Ca|sm ac he rr rp rd rj nr nd id gu rs ex ca|se dl re pl fa|sd
    --|Se|Se Se Se Se Se Se Se Se Se|-- -- -- -- -- -- -- -- -- -- -- -- -- --|-- -- -- -- --|--
    Qu|Qu|Di De Sp Bl Qu Qu Qu Ex Ca|Sb Ac He Di Di Dd Rj Di Dd Id Un Di Ex Ca|Se Dl Re Pl Fa|Qu
    De|De|Di De Sp Bl De De De Ex Ca|Sb Ac He Di Di Dd Rj Di Dd Id Un Di Ex Ca|Se Dl Re Pl Fa|De
    Di|Di|Di De Sp Bl Di Di Di Ex Ca|Sb Ac He Di Di Dd Rj Di Dd Id Un Di Ex Ca|Se Dl Re Pl Fa|Di
    Sb|Sb|Sb Sb Sb Sb Sb Sb Sb Sb Sb|Sb Ac He Di Di Dd Rj Di Dd Id Un Di Ex Ca|Se Dl Re Pl Fa|Sb
    He|He|He He He He He He He He He|He Ac He He He He He He He He He He He He|Se Dl Re Pl Fa|Un
    Id|Id|Id Id Id Id Id Id Id Id Id|Id Ac He Di Di Dd Rj Id Id Id Un Di Id Id|Se Dl Re Pl Fa|Id
    Ac|Ac|Ac Ac Ac Ac Ac Ac Ac Ac Ac|Ac Ac Ac Ac Ac Ac Ac Ac Ac Ac Ac Ac Ac Ac|Se Dl Re Pl Fa|Un
    Se|Se|Se Se Se Se Se Se Se Se Se|Se Se Se Se Se Se Se Se Se Se Se Se Se Se|Se Dl Re Pl Fa|Ex
    Dl|Dl|Dl Dl Dl Dl Dl Dl Dl Dl Dl|Dl Dl Dl Dl Dl Dl Dl Dl Dl Dl Dl Dl Dl Dl|Dl Dl Re Pl Dl|Dl
    Re|Re|Re Re Re Re Re Re Re Re Re|Re Re Re Re Re Re Re Re Re Re Re Re Re Re|Re Re Re Pl Re|Re
    Pl|Pl|Pl Pl Pl Pl Pl Pl Pl Pl Pl|Pl Pl Pl Pl Pl Pl Pl Pl Pl Pl Pl Pl Pl Pl|Pl Pl Pl Pl Pl|Pl
    Fa|Fa|Di De Sp Bl Fa Fa Fa Ex Ca|Fa Fa Fa Fa Fa Fa Fa Fa Fa Fa Fa Fa Fa Fa|Fa Dl Re Pl Fa|Fa
    Sp|Sp|Di De Sp Bl Sp Sp Sp Ex Ca|Sb Ac He Di Di Dd Rj Di Dd Id Un Di Ex Ca|Se Dl Re Pl Fa|Sp
    Bl|Bl|Di De Sp Bl Bl Bl Bl Ex Ca|Sb Ac He Di Di Dd Rj Di Dd Id Un Di Ex Ca|Se Dl Re Pl Fa|Bl
    Ex|Ex|Di De Sp Bl Ex Ex Ex Ex Ca|Ex Ac He Di Di Dd Rj Ex Ex Id Un Di Ex Ca|Se Dl Re Pl Fa|Ex
    Ca|Ca|Di De Sp Bl Ca Ca Ca Ex Ca|Ca Ac He Di Di Dd Rj Ca Ca Id Un Di Ca Ca|Se Dl Re Pl Fa|Ca
    Rj|Rj|Di De Sp Bl Rj Rj Rj Ex Ca|Rj Ac He Rj Rj Rj Rj Rj Rj Rj Rj Rj Rj Rj|Se Dl Re Pl Fa|Rj
    Dd|Dd|Di De Sp Bl Dd Dd Dd Ex Ca|Dd Ac He Dd Dd Dd Rj Dd Dd Dd Dd Dd Dd Dd|Se Dl Re Pl Fa|Dd
    Un|Un|Un Un Un Un Un Un Un Un Un|Un Ac He Di Di Dd Rj Un Un Un Un Un Un Un|Se Dl Re Pl Fa|Un
    Rf|Qu|Di De Sp Bl Rf Du St Ex Ca|Sb Ac He Di Di Dd Rj Di Dd Id Un Di Ex Ca|Se Dl Re Pl Fa|Rf
    Du|Qu|Di De Sp Bl Du Du St Ex Ca|Sb Ac He Di Di Dd Rj Di Dd Id Un Di Ex Ca|Se Dl Re Pl Fa|Du
    St|Qu|Di De Sp Bl St St St Ex Ca|Sb Ac He Di Di Dd Rj Di Dd Id Un Di Ex Ca|Se Dl Re Pl Fa|St
";

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_700_000_060_000);

/// The column of an evidence, as named in the head of the table. No wildcard: a new kind of
/// evidence does not compile until it has a column.
fn column(evidence: &Evidence) -> &'static str {
    match evidence {
        Evidence::Admitted { .. } => "Ad",
        Evidence::Decided { decision, .. } => match decision.verdict {
            Verdict::Dispatch => "Di",
            Verdict::Defer { .. } => "De",
            Verdict::Suppress => "Su",
            Verdict::Block => "Bl",
            Verdict::Refuse => "Re",
            Verdict::Duplicate { .. } => "Du",
            Verdict::Stale => "St",
            Verdict::Expire => "Ex",
            Verdict::Cancel => "Ca",
        },
        Evidence::Attempted { event, .. } => match event {
            AttemptEvent::Submitting => "sm",
            AttemptEvent::Accepted { .. } => "ac",
            AttemptEvent::Held { .. } => "he",
            AttemptEvent::Refused { disposition, .. } => match disposition {
                Disposition::Retry { .. } => "rr",
                Disposition::Replan => "rp",
                Disposition::DeadLetter => "rd",
                Disposition::Reject => "rj",
            },
            AttemptEvent::NotSent { disposition } => match disposition {
                Disposition::Retry { .. } => "nr",
                Disposition::DeadLetter => "nd",
                Disposition::Replan | Disposition::Reject => "as after a refusal",
            },
            AttemptEvent::InDoubt { .. } => "id",
            AttemptEvent::GaveUp => "gu",
            AttemptEvent::Resending { .. } => "rs",
            AttemptEvent::Expired => "ex",
            AttemptEvent::Cancelled => "ca",
        },
        Evidence::Status { status, .. } => match status {
            Status::Sent => "se",
            Status::Delivered => "dl",
            Status::Read => "re",
            Status::Played => "pl",
            Status::Failed { .. } => "fa",
        },
        Evidence::StatusDeadlinePassed { .. } => "sd",
    }
}

fn row_name(state: Option<MessageState>) -> &'static str {
    match state {
        None => "--",
        Some(MessageState::Queued) => "Qu",
        Some(MessageState::Deferred) => "De",
        Some(MessageState::Dispatched) => "Di",
        Some(MessageState::Submitting) => "Sb",
        Some(MessageState::Held) => "He",
        Some(MessageState::InDoubt) => "Id",
        Some(MessageState::Accepted) => "Ac",
        Some(MessageState::Sent) => "Se",
        Some(MessageState::Delivered) => "Dl",
        Some(MessageState::Read) => "Re",
        Some(MessageState::Played) => "Pl",
        Some(MessageState::Failed) => "Fa",
        Some(MessageState::Suppressed) => "Sp",
        Some(MessageState::Blocked) => "Bl",
        Some(MessageState::Expired) => "Ex",
        Some(MessageState::Cancelled) => "Ca",
        Some(MessageState::Rejected) => "Rj",
        Some(MessageState::DeadLettered) => "Dd",
        Some(MessageState::OutcomeUnknown) => "Un",
        Some(MessageState::Refused) => "Rf",
        Some(MessageState::Duplicate) => "Du",
        Some(MessageState::Stale) => "St",
    }
}

/// Whose message the tests speak of.
pub(super) fn subject() -> Box<Subject> {
    Box::new(Subject {
        tenant: TenantId::new("acme"),
        lane: Lane::Transactional,
        idempotency_key: Some(IdempotencyKey::new("order-17")),
        campaign: None,
        template: None,
        category: Some(Category::Utility),
        contact_hash: Some(KeyedHash::new("c0")),
        phone_number_id: None,
        trace: TraceContext::default(),
    })
}

pub(super) fn admitted() -> Evidence {
    Evidence::Admitted { subject: subject(), admitted_at: NOW }
}

pub(super) fn decided(seq: u32, verdict: Verdict) -> Evidence {
    let (reason, detail) = (Some("rule".to_owned()), None);
    let decision = Decision { seq, decided_at: NOW, verdict, reason, detail, holdout_arm: None };
    Evidence::Decided { subject: subject(), decision }
}

pub(super) fn attempted(attempt: u32, decision_seq: u32, event: AttemptEvent) -> Evidence {
    Evidence::Attempted { attempt, decision_seq, at: NOW, event }
}

pub(super) fn refused(disposition: Disposition) -> AttemptEvent {
    AttemptEvent::Refused { code: 131_026, class: CodeClass::PermanentRecipient, disposition }
}

pub(super) fn accepted(wamid: &str) -> AttemptEvent {
    AttemptEvent::Accepted { wamid_hash: KeyedHash::new(wamid) }
}

pub(super) fn status(attempt: Option<u32>, wamid: &str, status: Status) -> Evidence {
    let wamid_hash = KeyedHash::new(wamid);
    Evidence::Status { status, occurred_at: NOW, wamid_hash, attempt, price: None }
}

pub(super) fn failed(code: i64) -> Status {
    Status::Failed { code: Some(code), title: Some("title".to_owned()) }
}

/// One evidence of every kind.
fn every_evidence() -> Vec<Evidence> {
    let on_first = |event| attempted(1, 1, event);
    let webhook = |what| status(Some(1), "w1", what);
    let retry = Disposition::Retry { at: LATER };
    vec![
        admitted(),
        decided(2, Verdict::Dispatch),
        decided(2, Verdict::Defer { until: LATER }),
        decided(2, Verdict::Suppress),
        decided(2, Verdict::Block),
        decided(0, Verdict::Refuse),
        decided(0, Verdict::Duplicate { of: Some(MessageId::from_bytes([1; 16])) }),
        decided(0, Verdict::Stale),
        decided(2, Verdict::Expire),
        decided(2, Verdict::Cancel),
        on_first(AttemptEvent::Submitting),
        on_first(accepted("w1")),
        on_first(AttemptEvent::Held { wamid_hash: KeyedHash::new("w1") }),
        on_first(refused(retry)),
        on_first(refused(Disposition::Replan)),
        on_first(refused(Disposition::DeadLetter)),
        on_first(refused(Disposition::Reject)),
        on_first(AttemptEvent::NotSent { disposition: retry }),
        on_first(AttemptEvent::NotSent { disposition: Disposition::DeadLetter }),
        on_first(AttemptEvent::InDoubt { until: LATER }),
        on_first(AttemptEvent::GaveUp),
        on_first(AttemptEvent::Resending { at: LATER }),
        on_first(AttemptEvent::Expired),
        on_first(AttemptEvent::Cancelled),
        webhook(Status::Sent),
        webhook(Status::Delivered),
        webhook(Status::Read),
        webhook(Status::Played),
        webhook(failed(131_026)),
        Evidence::StatusDeadlinePassed { attempt: 1 },
    ]
}

/// The shortest history that gives the state.
fn history(state: Option<MessageState>) -> Vec<Evidence> {
    let policy = |verdict| vec![admitted(), decided(1, verdict)];
    let ingest = |verdict| vec![decided(0, verdict)];
    let called = |event| vec![admitted(), decided(1, Verdict::Dispatch), attempted(1, 1, event)];
    let reported = |what| {
        let mut history = called(accepted("w1"));
        history.push(status(Some(1), "w1", what));
        history
    };
    match state {
        None => vec![status(Some(1), "w1", Status::Sent)],
        Some(MessageState::Queued) => vec![admitted()],
        Some(MessageState::Deferred) => policy(Verdict::Defer { until: LATER }),
        Some(MessageState::Dispatched) => policy(Verdict::Dispatch),
        Some(MessageState::Submitting) => called(AttemptEvent::Submitting),
        Some(MessageState::Held) => called(AttemptEvent::Held { wamid_hash: KeyedHash::new("w1") }),
        Some(MessageState::InDoubt) => called(AttemptEvent::InDoubt { until: LATER }),
        Some(MessageState::Accepted) => called(accepted("w1")),
        Some(MessageState::Sent) => reported(Status::Sent),
        Some(MessageState::Delivered) => reported(Status::Delivered),
        Some(MessageState::Read) => reported(Status::Read),
        Some(MessageState::Played) => reported(Status::Played),
        Some(MessageState::Failed) => reported(failed(131_026)),
        Some(MessageState::Suppressed) => policy(Verdict::Suppress),
        Some(MessageState::Blocked) => policy(Verdict::Block),
        Some(MessageState::Expired) => called(AttemptEvent::Expired),
        Some(MessageState::Cancelled) => called(AttemptEvent::Cancelled),
        Some(MessageState::Rejected) => called(refused(Disposition::Reject)),
        Some(MessageState::DeadLettered) => called(refused(Disposition::DeadLetter)),
        Some(MessageState::OutcomeUnknown) => called(AttemptEvent::GaveUp),
        Some(MessageState::Refused) => ingest(Verdict::Refuse),
        Some(MessageState::Duplicate) => ingest(Verdict::Duplicate { of: None }),
        Some(MessageState::Stale) => ingest(Verdict::Stale),
    }
}

pub(super) fn facts(evidence: &[Evidence]) -> MessageFacts {
    let mut facts = MessageFacts::default();
    evidence.iter().for_each(|one| facts.join(one));
    facts
}

/// The table in rows of two-letter cells.
fn cells() -> Vec<Vec<&'static str>> {
    let lines = EXPECTED.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| line.split(['|', ' ']).filter(|cell| !cell.is_empty()).collect()).collect()
}

#[test]
fn the_table_is_complete() {
    let cells = cells();
    let columns: Vec<_> = every_evidence().iter().map(column).collect();
    assert_eq!(cells[0], columns, "one column per kind of evidence, in order");
    assert_eq!(cells[0].len(), 30);

    let states = [None].into_iter().chain(MessageState::ALL.map(Some));
    let names: Vec<_> = states.map(row_name).collect();
    let rows: Vec<_> = cells[1..].iter().map(|row| row[0]).collect();
    assert_eq!(rows, names, "one row per state, in stored order");
    assert!(cells[1..].iter().all(|row| row.len() == 31));
}

#[test]
fn every_state_meets_every_evidence() {
    let mut wrong = Vec::new();
    let states = [None].into_iter().chain(MessageState::ALL.map(Some));
    for (state, row) in states.zip(&cells()[1..]) {
        let base = facts(&history(state));
        assert_eq!(base.state(), state, "the history of {state:?}");
        for (evidence, expected) in every_evidence().iter().zip(&row[1..]) {
            let mut facts = base.clone();
            facts.join(evidence);
            let found = row_name(facts.state());
            if found != *expected {
                wrong.push(format!("{}+{}: {found}, not {expected}", row[0], column(evidence)));
            }
            for check in invariants::CHECKS {
                assert_eq!(check(&facts), Ok(()), "{} and {}", row[0], column(evidence));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn state_names_are_distinct_and_in_stored_order() {
    let names: std::collections::BTreeSet<_> = MessageState::ALL.map(MessageState::as_str).into();
    assert_eq!(names.len(), 22);
    for (position, state) in MessageState::ALL.iter().enumerate() {
        assert_eq!(*state as usize, position);
    }
    assert_eq!(MessageState::ALL.iter().filter(|state| state.is_final()).count(), 14);
}
