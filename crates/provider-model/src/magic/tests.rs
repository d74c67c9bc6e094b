use super::*;

fn parsed(kind: u8, parameter: u32, times: u8) -> Behaviour {
    let number = number(kind, parameter, times, 17);
    behaviour(&number[1..]).expect("a number of the test range")
}

#[test]
fn the_table_and_the_parser_know_the_same_kinds() {
    for kind in 0..=99 {
        let defined = parsed(kind, 1, 1).call != CallRule::Undefined;
        assert_eq!(defined, TABLE.iter().any(|row| row.kind == kind), "kind {kind}");
    }
    assert!(TABLE.is_sorted_by_key(|row| row.kind));
}

#[test]
fn the_table_says_which_digits_matter() {
    for row in TABLE {
        let by_parameter = parsed(row.kind, 7, 1) != parsed(row.kind, 8, 1);
        assert_eq!(by_parameter, row.parameter != Parameter::None, "kind {}", row.kind);
        let by_times = parsed(row.kind, 7, 3) != parsed(row.kind, 7, 4);
        assert_eq!(by_times, row.counted, "kind {}", row.kind);
    }
}

#[test]
fn numbers_are_valid_e164_and_the_serial_is_free() {
    for row in TABLE {
        let (first, last) = (number(row.kind, 131_026, 2, 0), number(row.kind, 131_026, 2, 999));
        assert_eq!(first.len(), 16);
        assert!(first.starts_with("+999") && first[1..].bytes().all(|b| b.is_ascii_digit()));
        assert_eq!(behaviour(&first[1..]), behaviour(&last[1..]));
    }
}

#[test]
fn kinds_that_concern_the_call() {
    use CallRule::{CloseBeforeRead, Held, LoseAnswer, Odd, Refuse, Slow};
    use Times::{Always, First};
    let cases = [
        (parsed(0, 0, 0), CallRule::Accept),
        (parsed(4, 131_049, 0), CallRule::Accept),
        (parsed(10, 190, 0), Refuse(190, Always)),
        (parsed(10, 0, 0), Refuse(0, Always)),
        (parsed(11, 131_016, 0), Refuse(131_016, First(1))),
        (parsed(11, 130_429, 3), Refuse(130_429, First(3))),
        (parsed(11, 131_000, 9), Refuse(131_000, Always)),
        (parsed(20, 0, 2), LoseAnswer(First(2))),
        (parsed(21, 0, 9), LoseAnswer(Always)),
        (parsed(22, 0, 0), CloseBeforeRead(First(1))),
        (parsed(23, 0, 0), Slow(5_000)),
        (parsed(23, 750, 0), Slow(750)),
        (parsed(24, 0, 2), Odd(OddAnswer::BareErrorRefused, First(2))),
        (parsed(25, 0, 2), Odd(OddAnswer::BareErrorAccepted, First(2))),
        (parsed(26, 0, 2), Odd(OddAnswer::NoMessagesAccepted, First(2))),
        (parsed(27, 0, 2), Odd(OddAnswer::NoMessagesRefused, First(2))),
        (parsed(28, 0, 2), Odd(OddAnswer::HtmlAccepted, First(2))),
        (parsed(29, 0, 2), Odd(OddAnswer::ErrorInOk, First(2))),
        (parsed(34, 0, 0), Slow(2_000)),
        (parsed(34, 300, 0), Slow(300)),
        (parsed(40, 0, 0), Held),
        (parsed(41, 0, 0), Held),
    ];
    for (index, (actual, expected)) in cases.into_iter().enumerate() {
        assert_eq!(actual.call, expected, "case {index}");
    }
}

#[test]
fn kinds_that_concern_the_webhooks() {
    let cases = [
        (parsed(0, 0, 0), Script::Read),
        (parsed(1, 0, 0), Script::Delivered),
        (parsed(2, 0, 0), Script::Sent),
        (parsed(3, 0, 0), Script::Silent),
        (parsed(4, 0, 0), Script::Failed(131_026)),
        (parsed(4, 131_049, 0), Script::Failed(131_049)),
        (parsed(5, 131_047, 0), Script::SentThenFailed(131_047)),
        (parsed(6, 131_053, 0), Script::DeliveredThenFailed(131_053)),
        (parsed(7, 0, 0), Script::FailedWithoutErrors),
        (parsed(11, 131_016, 0), Script::Read),
        (parsed(20, 0, 0), Script::Read),
        (parsed(21, 0, 0), Script::Silent),
        (parsed(25, 0, 0), Script::Read),
        (parsed(30, 0, 0), Script::DeliveredBeforeSent),
        (parsed(31, 0, 0), Script::Repeated(2)),
        (parsed(31, 0, 5), Script::Repeated(5)),
        (parsed(32, 0, 0), Script::Late(3_600_000)),
        (parsed(32, 90, 0), Script::Late(90_000)),
        (parsed(33, 0, 0), Script::ReadWithoutDelivered),
        (parsed(34, 300, 0), Script::BeforeAnswer),
        (parsed(35, 0, 0), Script::Reversed),
        (parsed(40, 0, 0), Script::HeldThenSent(None)),
        (parsed(40, 2, 0), Script::HeldThenSent(Some(2_000))),
        (parsed(41, 2, 0), Script::HeldThenDropped(Some(2_000))),
        (parsed(50, 0, 0), Script::ThenStopMessage),
        (parsed(51, 0, 0), Script::ThenStopPreference),
    ];
    for (index, (actual, expected)) in cases.into_iter().enumerate() {
        assert_eq!(actual.script, expected, "case {index}");
    }
}

#[test]
fn only_the_test_range_is_magic() {
    for ordinary in ["4915112345678", "15550100001", "99", "9981234567"] {
        assert_eq!(behaviour(ordinary), None, "{ordinary}");
    }
    // A mistyped number of the range must not look like a success.
    for broken in ["999", "99900", "99912345678901x", "999990000000000"] {
        assert_eq!(behaviour(broken).map(|b| b.call), Some(CallRule::Undefined), "{broken}");
    }
}

#[test]
fn times_count_from_one() {
    assert!(Times::First(2).concerns(1) && Times::First(2).concerns(2));
    assert!(!Times::First(2).concerns(3));
    assert!(Times::Always.concerns(u64::MAX));
}
