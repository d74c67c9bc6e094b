//! Goal: each kind of the test range does what its row of the table says.

use super::*;

#[test]
fn magic_webhook_scripts() {
    let cases: &[(u8, u32, u8, &[&str])] = &[
        (0, 0, 0, &["sent", "delivered", "read"]),
        (1, 0, 0, &["sent", "delivered"]),
        (2, 0, 0, &["sent"]),
        (3, 0, 0, &[]),
        (4, 0, 0, &["failed"]),
        (5, 131_049, 0, &["sent", "failed"]),
        (6, 0, 0, &["sent", "delivered", "failed"]),
        (7, 0, 0, &["failed"]),
        (23, 0, 0, &["sent", "delivered", "read"]),
        (30, 0, 0, &["delivered", "sent", "read"]),
        (32, 5, 0, &["sent", "delivered", "read"]),
        (33, 0, 0, &["sent", "read"]),
        (34, 0, 0, &["sent", "delivered", "read"]),
        (35, 0, 0, &["read", "delivered", "sent"]),
        (36, 5, 0, &["sent", "delivered", "read"]),
        (40, 3, 0, &["sent", "delivered", "read"]),
        (41, 3, 0, &["failed"]),
        (50, 0, 0, &["sent", "delivered", "read"]),
        (51, 0, 0, &["sent", "delivered", "read"]),
    ];
    for (kind, parameter, times, expected) in cases {
        let (answers, names, _) = drive(&magic::number(*kind, *parameter, *times, 1), 1);
        assert_eq!(answers[0].truth, Truth::Accepted(0), "kind {kind}");
        assert_eq!((answers[0].http_status, answers[0].fault), (200, None), "kind {kind}");
        assert_eq!(&names, expected, "kind {kind}");
    }
    let (_, repeated, _) = drive(&magic::number(31, 0, 3, 1), 1);
    for status in ["sent", "delivered", "read"] {
        assert_eq!(repeated.iter().filter(|name| *name == status).count(), 3, "{status}");
    }
}

#[test]
fn magic_failures_carry_their_code() {
    let failed = |kind, parameter| {
        let mut model = model();
        send(&mut model, START, &order(&magic::number(kind, parameter, 0, 1), "o"));
        statuses(&mut model).pop().expect("a status")
    };
    assert_eq!(failed(4, 0)["errors"][0]["code"], 131_026);
    assert_eq!(failed(4, 131_049)["errors"][0]["code"], 131_049);
    assert_eq!(failed(6, 131_053)["errors"][0]["code"], 131_053);
    assert_eq!(failed(41, 2)["errors"][0]["code"], 132_015);
    assert!(failed(7, 0).get("errors").is_none());
    assert!(failed(4, 0).get("pricing").is_none());
}

#[test]
fn magic_refusals_end_after_their_calls() {
    for code in [1, 131_016, 130_429, 131_000] {
        let (answers, names, _) = drive(&magic::number(11, code, 0, 1), 2);
        assert_eq!(error_code(&answers[0]), Some(i64::from(code)));
        assert_eq!(answers[0].http_status, crate::describe(i64::from(code)).http_status);
        assert_eq!(answers[0].truth, Truth::Refused(i64::from(code)));
        assert_eq!((error_code(&answers[1]), answers[1].http_status), (None, 200));
        assert_eq!(names, ["sent", "delivered", "read"]);
    }
    let (answers, _, _) = drive(&magic::number(11, 2, 3, 1), 4);
    let codes: Vec<_> = answers.iter().map(error_code).collect();
    assert_eq!(codes, [Some(2), Some(2), Some(2), None]);
    for code in [0, 4, 190, 368, 131_026, 132_015, 777_777] {
        let (answers, names, model) = drive(&magic::number(10, code, 0, 1), 12);
        assert!(answers.iter().all(|a| error_code(a) == Some(i64::from(code))), "{code}");
        assert!(names.is_empty() && model.ledger().accepted().is_empty());
    }
    let (answers, _, _) = drive(&magic::number(10, 4, 0, 1), 1);
    assert_eq!(answers[0].headers[0].0, "x-app-usage");
}

#[test]
fn magic_transport_faults() {
    let (answers, names, model) = drive(&magic::number(20, 0, 0, 1), 2);
    assert_eq!(answers[0].fault, Some(TransportFault::ClosedAfterAccept));
    assert_eq!(answers[1].fault, None);
    assert_eq!(names.len(), 6, "both messages exist and report");
    let lost: Vec<bool> = model.ledger().accepted().iter().map(|a| a.answer_lost).collect();
    assert_eq!((lost, model.summary().answers_lost), (vec![true, false], 1));

    let (answers, names, model) = drive(&magic::number(21, 0, 9, 1), 11);
    assert!(answers.iter().all(|a| a.fault == Some(TransportFault::ClosedAfterAccept)));
    assert_eq!((names.len(), model.ledger().accepted().len()), (0, 11));

    let (answers, names, model) = drive(&magic::number(22, 0, 2, 1), 3);
    let faults: Vec<_> = answers.iter().map(|answer| answer.fault).collect();
    let reset = Some(TransportFault::ResetBeforeRead);
    assert_eq!(faults, [reset, reset, None]);
    assert_eq!(
        (names.len(), model.ledger().accepted().len(), model.summary().untouched),
        (3, 1, 2)
    );

    let (answers, _, _) = drive(&magic::number(23, 750, 0, 1), 1);
    assert_eq!(answers[0].delay_ms, 750);
}

#[test]
fn magic_odd_answers() {
    // kind, HTTP status, content type starts with, has messages, accepted
    let cases = [
        (24, 500, "text/plain", false),
        (25, 500, "text/plain", true),
        (26, 200, "application/json", true),
        (27, 200, "application/json", false),
        (28, 200, "text/html", true),
        (29, 200, "application/json", false),
    ];
    for (kind, status, content_type, accepted) in cases {
        let (answers, names, model) = drive(&magic::number(kind, 0, 0, 1), 2);
        assert_eq!((answers[0].http_status, answers[0].fault), (status, None), "kind {kind}");
        assert!(answers[0].body.content_type().starts_with(content_type), "kind {kind}");
        assert!(matches!(answers[0].truth, Truth::Accepted(0)) == accepted, "kind {kind}");
        assert_eq!(names.len(), if accepted { 6 } else { 3 }, "kind {kind}");
        assert_eq!(model.summary().answers_lost, u64::from(accepted), "kind {kind}");
        if let Body::Json(value) = &answers[0].body {
            assert!(value.get("messages").is_none(), "kind {kind}");
            assert_eq!(value.get("error").is_some(), kind == 29);
        }
        let Body::Json(value) = &answers[1].body else { panic!("kind {kind}: a usual answer") };
        assert!(value["messages"][0]["id"].is_string(), "kind {kind}");
    }
}

#[test]
fn magic_times() {
    let due = |kind, parameter| {
        let mut model = model();
        let answer = send(&mut model, START, &order(&magic::number(kind, parameter, 0, 1), "o"));
        let first = drain(&mut model).remove(0);
        (answer, first.0 - START, value_of(&first.1)["statuses"][0]["timestamp"].clone())
    };
    let (answer, first, _) = due(34, 300);
    assert_eq!((answer.delay_ms, first), (300, 0), "the webhook is there before the answer");
    let (_, first, at) = due(32, 7_200);
    assert!(first >= 7_200_000);
    let at: i64 = at.as_str().and_then(|at| at.parse().ok()).expect("seconds");
    assert!(at * 1_000 < START + 10_000, "late, but with the time of the event");
    let (answer, first, _) = due(40, 30);
    assert!((30_000..40_000).contains(&first));
    let Body::Json(value) = answer.body else { panic!("JSON") };
    assert_eq!(value["messages"][0]["message_status"], "held_for_quality_assessment");
    assert!((20_000..=60_000).contains(&due(41, 0).1));
}

#[test]
fn magic_reactions_change_what_follows() {
    let to = magic::number(50, 0, 0, 1);
    let mut model = model();
    send(&mut model, START, &order(&to, "o"));
    let last = value_of(&drain(&mut model).pop().expect("webhooks").1);
    assert_eq!(last["messages"][0]["text"]["body"], "STOP");
    assert_eq!(last["messages"][0]["from"], &to[1..]);
    assert_eq!(last["contacts"][0]["wa_id"], &to[1..]);
    assert_eq!(model.summary().numbers[NUMBER].inbound, 1);

    send(&mut model, START + 60_000, &order(&magic::number(51, 0, 0, 1), "o"));
    let last = drain(&mut model).pop().expect("webhooks").1;
    let body: Value = serde_json::from_slice(&last.body).expect("JSON");
    assert_eq!(body["entry"][0]["changes"][0]["field"], "user_preferences");
    assert_eq!(value_of(&last)["user_preferences"][0]["value"], "stop");
}

#[test]
fn an_undefined_test_number_is_refused() {
    let (answers, names, _) = drive("+999770000000001", 1);
    assert_eq!((error_code(&answers[0]), names.len()), (Some(100), 0));
}
