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
fn each_kind_has_its_behaviour() {
    let accept = |script| Behaviour { call: CallRule::Accept, script };
    let call = |call| Behaviour { call, script: Script::Read };
    let odd = |answer| call(CallRule::Odd(answer, Times::First(2)));
    let cases = [
        (parsed(0, 0, 0), accept(Script::Read)),
        (parsed(1, 0, 0), accept(Script::Delivered)),
        (parsed(2, 0, 0), accept(Script::Sent)),
        (parsed(3, 0, 0), accept(Script::Silent)),
        (parsed(4, 0, 0), accept(Script::Failed(131_026))),
        (parsed(4, 131_049, 0), accept(Script::Failed(131_049))),
        (parsed(5, 131_047, 0), accept(Script::SentThenFailed(131_047))),
        (parsed(6, 131_053, 0), accept(Script::DeliveredThenFailed(131_053))),
        (parsed(7, 0, 0), accept(Script::FailedWithoutErrors)),
        (parsed(10, 190, 0), call(CallRule::Refuse(190, Times::Always))),
        (parsed(10, 0, 0), call(CallRule::Refuse(0, Times::Always))),
        (parsed(11, 131_016, 0), call(CallRule::Refuse(131_016, Times::First(1)))),
        (parsed(11, 130_429, 3), call(CallRule::Refuse(130_429, Times::First(3)))),
        (parsed(11, 131_000, 9), call(CallRule::Refuse(131_000, Times::Always))),
        (parsed(20, 0, 2), call(CallRule::LoseAnswer(Times::First(2)))),
        (
            parsed(21, 0, 9),
            Behaviour { call: CallRule::LoseAnswer(Times::Always), script: Script::Silent },
        ),
        (parsed(22, 0, 0), call(CallRule::CloseBeforeRead(Times::First(1)))),
        (parsed(23, 0, 0), call(CallRule::Slow(5_000))),
        (parsed(23, 750, 0), call(CallRule::Slow(750))),
        (parsed(24, 0, 2), odd(OddAnswer::BareErrorRefused)),
        (parsed(25, 0, 2), odd(OddAnswer::BareErrorAccepted)),
        (parsed(26, 0, 2), odd(OddAnswer::NoMessagesAccepted)),
        (parsed(27, 0, 2), odd(OddAnswer::NoMessagesRefused)),
        (parsed(28, 0, 2), odd(OddAnswer::HtmlAccepted)),
        (parsed(29, 0, 2), odd(OddAnswer::ErrorInOk)),
        (parsed(30, 0, 0), accept(Script::DeliveredBeforeSent)),
        (parsed(31, 0, 0), accept(Script::Repeated(2))),
        (parsed(31, 0, 5), accept(Script::Repeated(5))),
        (parsed(32, 0, 0), accept(Script::Late(3_600_000))),
        (parsed(32, 90, 0), accept(Script::Late(90_000))),
        (parsed(33, 0, 0), accept(Script::ReadWithoutDelivered)),
        (
            parsed(34, 300, 0),
            Behaviour { call: CallRule::Slow(300), script: Script::BeforeAnswer },
        ),
        (parsed(35, 0, 0), accept(Script::Reversed)),
        (
            parsed(40, 0, 0),
            Behaviour { call: CallRule::Held, script: Script::HeldThenSent(None) },
        ),
        (
            parsed(41, 2, 0),
            Behaviour { call: CallRule::Held, script: Script::HeldThenDropped(Some(2_000)) },
        ),
        (parsed(50, 0, 0), accept(Script::ThenStopMessage)),
        (parsed(51, 0, 0), accept(Script::ThenStopPreference)),
    ];
    for (index, (actual, expected)) in cases.into_iter().enumerate() {
        assert_eq!(actual, expected, "case {index}");
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
