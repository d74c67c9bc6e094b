//! What is written is read again, whatever the producer wrote before.

use super::*;

fn record(headers: Vec<Header>) -> Fetched {
    Fetched {
        input: 0,
        partition: 2,
        offset: 40,
        timestamp: Timestamp::from_millis(1),
        key: Some(b"acme".to_vec()),
        value: Some(vec![0, 0, 0, 0, 9, 1]),
        headers,
        globals_current: false,
    }
}

fn written(record: &Fetched) -> Vec<Header> {
    let fault = DeadLetter { code: "undecodable", detail: "bad".into() };
    headers(record, "in", &fault, &Names::of("ingest"), Timestamp::from_millis(77))
}

fn letter(headers: &[Header]) -> Letter {
    match Found::read(headers) {
        Found::Letter(letter) => letter,
        other => panic!("expected a letter, got {other:?}"),
    }
}

#[test]
fn keeps_what_was_there_and_names_the_reason() {
    let own = vec![("traceparent".into(), Some(b"00-a-b-01".to_vec())), ("x".into(), None)];
    let headers = written(&record(own.clone()));
    assert_eq!(headers[..2], own);
    let value = |name: &str| replay::last(&headers, name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(value("__dlq.errors.topic"), "in");
    assert_eq!(value("__dlq.errors.offset"), "40");
    assert_eq!(value("__dlq.errors.group"), "sendplane.ingest");
    assert_eq!(value("sendplane.error.code"), "undecodable");
    assert_eq!(value("sendplane.tenant"), "acme");
    assert_eq!(value("sendplane.schema.id"), "9");
    let letter = letter(&headers);
    assert_eq!((letter.code.as_str(), letter.detail.as_str()), ("undecodable", "bad"));
    assert_eq!((letter.place, letter.own_headers), (Some((2, 40)), 2));
    assert_eq!(letter.tenant.as_deref(), Some("acme"));
    assert_eq!(letter.dead_at, Some(Timestamp::from_millis(77)));
    assert_eq!(letter.first.as_ref().map(replay::position_text).as_deref(), Some("in/2/40"));
}

/// A producer whose record pretends to be a dead letter, a marker or a replay of something else.
#[test]
fn what_a_producer_wrote_is_the_records_own() {
    let own = vec![
        owned(header::TOPIC, "elsewhere".into()),
        owned(header::CODE, "nothing".into()),
        owned(header::REPLAYED, "ingest/0/1".into()),
        owned(header::DEAD_AT, "1".into()),
    ];
    let letter = letter(&written(&record(own.clone())));
    assert_eq!((letter.topic.as_str(), letter.own_headers), ("in", own.len()));
    assert_eq!(letter.code, "undecodable");
    assert_eq!(letter.dead_at, Some(Timestamp::from_millis(77)));
}

#[test]
fn the_first_position_survives_every_replay() {
    let id: LetterId = "ingest/2/9".parse().expect("an id");
    let mut headers = vec![("x".to_owned(), None)];
    for round in 0..3 {
        let letter = letter(&written(&record(headers.clone())));
        assert_eq!(letter.own_headers, headers.len(), "round {round}");
        assert_eq!(letter.first.as_ref().map(replay::position_text).as_deref(), Some("in/2/40"));
        headers.extend(letter.replay_headers(&id, "mended", "ada@host"));
        let mark = sendplane_stage_api::Replay::read(&headers, "in", 2, 100 + round);
        let mark = mark.expect("a mark");
        assert_eq!((mark.letter.clone(), mark.source), (id.clone(), letter.first));
    }
}

#[test]
fn a_letter_the_stage_wrote_itself_has_no_position_ever() {
    let written_by_send = vec![
        owned(header::TOPIC, "dispatch".into()),
        owned(header::CODE, "attempts_exhausted".into()),
    ];
    let found = letter(&written_by_send);
    assert_eq!((found.place, found.first.clone(), found.dead_at), (None, None, None));
    // Its replay is refused, and is dead-lettered with the position of the replay.
    let id: LetterId = "send/2/9".parse().expect("an id");
    let again = letter(&written(&record(found.replay_headers(&id, "r", "b"))));
    assert_eq!((again.place, again.first), (Some((2, 40)), None));
}

#[test]
fn a_marker_is_read_as_it_was_written() {
    let marker = Marker {
        letter: "send/2/9".parse().expect("an id"),
        reason: "healed".into(),
        by: "ada@host".into(),
        to: "in/2/50".into(),
    };
    assert_eq!(Found::read(&marker.headers()), Found::Marker(marker));
    assert_eq!(Found::read(&[]), Found::Foreign);
    assert_eq!(Found::read(&[owned(header::REPLAYED, "nonsense".into())]), Found::Foreign);
}
