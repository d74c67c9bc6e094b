//! Parked statuses, deadlines and retention.

use sendplane_stage_api::Table;

use super::*;

const DAY_S: i64 = 24 * 3600;

fn day(days: i64) -> Timestamp {
    at(days * DAY_S)
}

fn rows_in<K: sendplane_stage_api::TableKey, V: sendplane_stage_api::TableValue>(
    driver: &Driver<StatusReconcile>,
    table: &Table<K, V>,
) -> usize {
    let prefix = table.store_prefix(&());
    driver.state().keys().filter(|key| key.starts_with(&prefix)).count()
}

/// Nothing of any message is left: no rows, no timers.
fn is_empty(driver: &Driver<StatusReconcile>) -> bool {
    let rows = rows_in(driver, &MESSAGES) + rows_in(driver, &WAMIDS) + rows_in(driver, &PARKED);
    rows == 0 && driver.next_timer().is_none()
}

#[test]
fn a_status_without_opaque_data_waits_for_its_wamid() {
    let mut driver = driver();
    assert_eq!(feed(&mut driver, &bare(ReceiptStatus::Delivered, "w1", 6)), []);
    assert_eq!(feed(&mut driver, &bare(ReceiptStatus::Delivered, "w1", 6)), []);
    assert_eq!(feed(&mut driver, &bare(ReceiptStatus::Sent, "w1", 5)), []);
    assert_eq!(feed(&mut driver, &bare(ReceiptStatus::Sent, "other", 5)), []);
    assert_eq!((rows_in(&driver, &PARKED), rows_in(&driver, &MESSAGES)), (2, 0));
    driver.restart();
    driver.advance_to(day(7));
    feed(&mut driver, &admitted());
    let rows = feed(&mut driver, &accepted(1, "w1", 4));
    assert_eq!(rows.len(), 1, "acceptance and statuses are joined in one step");
    assert_eq!((rows[0].state, rows[0].attempt), (State::Delivered, 1));
    assert_eq!(rows_in(&driver, &PARKED), 1, "the other wamid's stay");
    let later = feed(&mut driver, &bare(ReceiptStatus::Read, "w1", 9));
    assert_eq!(later[0].state, State::Read, "the wamid is known now");
}

#[test]
fn an_unclaimed_status_is_foreign_after_8_days() {
    let mut driver = driver();
    feed(&mut driver, &bare(ReceiptStatus::Sent, "foreign", 5));
    feed(&mut driver, &bare(ReceiptStatus::Delivered, "foreign", 6));
    driver.advance_to(Timestamp::from_millis(day(8).as_millis() - 1));
    assert_eq!(rows_in(&driver, &PARKED), 1);
    let timer = Input::Timer(Timer::Parked(hash("foreign")));
    let counted = counts(&driver, timer);
    assert_eq!(counted, [("sendplane_foreign_statuses_total", "unclaimed", 2)]);
    let produced = driver.advance_to(day(8));
    assert_eq!(produced.outputs, []);
    assert!(is_empty(&driver));
    // It is no longer joined to anything.
    feed(&mut driver, &admitted());
    assert_eq!(feed(&mut driver, &accepted(1, "foreign", 4))[0].state, State::Accepted);
}

#[test]
fn an_authenticated_status_waits_for_its_message() {
    let mut driver = driver();
    assert_eq!(feed(&mut driver, &reported(ReceiptStatus::Delivered, 6)), []);
    assert_eq!(rows_in(&driver, &MESSAGES), 1);
    driver.restart();
    let rows = feed(&mut driver, &admitted());
    assert_eq!(states(&rows), [State::Delivered]);
    assert_eq!((rows[0].sequence, rows[0].supersedes), (1, None));
    driver.advance_to(day(44));
    assert_eq!(rows_in(&driver, &MESSAGES), 1, "the short wait was for an unknown message only");
}

#[test]
fn an_authenticated_status_that_nobody_claims_is_forgotten_after_8_days() {
    let mut driver = driver();
    feed(&mut driver, &reported(ReceiptStatus::Delivered, 6));
    driver.advance_to(Timestamp::from_millis(day(8).as_millis() - 1));
    assert!(!is_empty(&driver));
    assert_eq!(driver.advance_to(day(8)).outputs, []);
    assert!(is_empty(&driver));
}

#[test]
fn an_acceptance_without_any_status_ends_as_unknown() {
    // A held message is sent or dropped within about an hour, and only then is a status due.
    for (held, due) in [(false, DAY_S), (true, DAY_S + 2 * 3_600)] {
        let event = if held { AttemptEvent::Held } else { AttemptEvent::Accepted };
        let answer = Attempt { wamid_hash: Some(hash("w1")), ..attempt(1, event, 4) };
        let mut driver = driver();
        feed_all(&mut driver, &[admitted(), dispatched(), Record::Attempt(Box::new(answer))]);
        driver.restart();
        assert_eq!(driver.advance_to(at(due - 1)).outputs, []);
        let rows = driver.advance_to(at(due)).outputs;
        assert_eq!(states(&rows), [State::OutcomeUnknown], "held: {held}");
        assert!(rows[0].is_final);
        assert_eq!(rows[0].reason.as_deref(), Some("no_status_in_time"));
        assert_eq!(rows[0].ingested_at, at(due));
        assert_eq!(driver.advance_to(day(2)).outputs, [], "once");

        driver.restart();
        let late = feed(&mut driver, &bare(ReceiptStatus::Delivered, "w1", 2 * DAY_S));
        assert_eq!(states(&late), [State::Delivered]);
        assert_eq!(late[0].supersedes, Some(rows[0].sequence), "late evidence supersedes");
    }
}

#[test]
fn a_status_in_time_calls_the_deadline_off() {
    let mut driver = driver();
    feed_all(&mut driver, &[admitted(), dispatched(), accepted(1, "w1", 4)]);
    driver.advance_to(at(3_600));
    feed(&mut driver, &reported(ReceiptStatus::Delivered, 3_600));
    assert_eq!(driver.advance_to(day(40)).outputs, []);
    assert_eq!(facts(&driver).summary().unwrap().state, MessageState::Delivered);
}

/// Sent and never delivered: Meta drops it at the end of its time to live, without a word.
#[test]
fn a_sent_message_has_a_later_deadline() {
    let mut driver = driver();
    feed_all(&mut driver, &[admitted(), dispatched(), accepted(1, "w1", 4)]);
    driver.advance_to(at(3_600));
    feed(&mut driver, &reported(ReceiptStatus::Sent, 3_600));
    assert_eq!(driver.advance_to(day(31)).outputs, []);
    let rows = driver.advance_to(at(31 * DAY_S + 3_600)).outputs;
    assert_eq!(states(&rows), [State::Expired]);
    assert_eq!(rows[0].reason.as_deref(), Some("not_delivered_in_time"));
}

/// Meta drops a one-time code after minutes: nobody needs to wait a month to know.
#[test]
fn a_sent_message_waits_as_long_as_its_template_lives() {
    for (ttl_seconds, due) in [
        (Some(600), 3_600 + 600 + DAY_S),
        (Some(40 * 86_400), 3_600 + 31 * DAY_S),
        (None, 3_600 + 31 * DAY_S),
    ] {
        let mut driver = driver();
        let intent = Attempt { ttl_seconds, ..attempt(1, AttemptEvent::Submitting, 3) };
        let intent = Record::Attempt(Box::new(intent));
        feed_all(&mut driver, &[admitted(), dispatched(), intent, accepted(1, "w1", 4)]);
        driver.restart();
        driver.advance_to(at(3_600));
        feed(&mut driver, &reported(ReceiptStatus::Sent, 3_600));
        assert_eq!(driver.advance_to(at(due - 1)).outputs, [], "{ttl_seconds:?}");
        let rows = driver.advance_to(at(due)).outputs;
        assert_eq!(states(&rows), [State::Expired], "{ttl_seconds:?}");
        let late = feed(&mut driver, &reported(ReceiptStatus::Delivered, 3_700));
        assert_eq!(states(&late), [State::Delivered], "a late word still counts");
    }
}

/// Each attempt has its own time: the first one's silence says nothing about the second.
#[test]
fn a_later_acceptance_has_its_own_deadline() {
    let mut driver = driver();
    feed_all(&mut driver, &[admitted(), dispatched(), accepted(1, "w1", 4)]);
    assert_eq!(states(&driver.advance_to(day(1)).outputs), [State::OutcomeUnknown]);
    let again = feed(&mut driver, &accepted(2, "w2", DAY_S + 5));
    assert_eq!(states(&again), [State::Accepted]);
    assert_eq!(states(&driver.advance_to(day(2)).outputs), [State::OutcomeUnknown]);
}

#[test]
fn settings_move_the_deadlines() {
    let settings = Settings {
        status_deadline: Duration::from_secs(60),
        doubt_window: Duration::from_secs(30),
        ..Settings::default()
    };
    let mut driver = Driver::new(StatusReconcile::new(settings), NOW);
    feed_all(&mut driver, &[admitted(), dispatched()]);
    let doubt = feed(&mut driver, &attempted(1, AttemptEvent::InDoubt, 4));
    assert_eq!(doubt[0].next_at, Some(at(34)));
    feed(&mut driver, &accepted(1, "w1", 5));
    assert_eq!(driver.advance_to(at(59)).outputs, []);
    assert_eq!(states(&driver.advance_to(at(60)).outputs), [State::OutcomeUnknown]);
}

#[test]
fn a_row_is_kept_45_days_after_its_last_change() {
    let mut driver = driver();
    feed_all(&mut driver, &[admitted(), dispatched(), accepted(1, "w1", 4)]);
    feed(&mut driver, &reported(ReceiptStatus::Delivered, 6));
    driver.advance_to(day(30));
    feed(&mut driver, &reported(ReceiptStatus::Read, 30 * DAY_S));
    driver.advance_to(day(60));
    feed(&mut driver, &reported(ReceiptStatus::Read, 30 * DAY_S));
    driver.restart();
    assert_eq!(driver.advance_to(at(75 * DAY_S - 1)).outputs, []);
    assert!(stored(&driver).is_some(), "the change of day 30 counts, its repetition does not");
    assert_eq!(driver.advance_to(day(75)).outputs, []);
    assert!(is_empty(&driver), "row, wamid and timer are gone");
}

/// A message in a usual hurry sets its timer twice: at the admission and at the acceptance.
#[test]
fn changes_do_not_move_the_timer() {
    let mut driver = driver();
    feed(&mut driver, &admitted());
    assert_eq!(driver.next_timer(), Some(day(45)));
    feed(&mut driver, &dispatched());
    assert_eq!(driver.next_timer(), Some(day(45)));
    feed(&mut driver, &accepted(1, "w1", 4));
    assert_eq!(driver.next_timer(), Some(day(1)));
    driver.advance_to(at(10));
    feed(&mut driver, &reported(ReceiptStatus::Sent, 5));
    feed(&mut driver, &reported(ReceiptStatus::Delivered, 6));
    assert_eq!(driver.next_timer(), Some(day(1)));
    driver.advance_to(day(1));
    assert_eq!(driver.next_timer(), Some(at(45 * DAY_S + 10)), "set again when it fired");
}

/// An admission that nobody ever judges stays until its row's time is over.
#[test]
fn an_open_message_is_not_forgotten_early() {
    let mut driver = driver();
    feed(&mut driver, &attempted(1, AttemptEvent::Submitting, 3));
    driver.advance_to(day(44));
    let rows = feed(&mut driver, &admitted());
    assert_eq!(states(&rows), [State::Submitting], "an attempt is proof that it is ours");
}
