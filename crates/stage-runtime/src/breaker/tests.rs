//! The decisions of the breaker, without a broker.

use std::time::Duration;

use sendplane_domain::time::Timestamp;

use super::*;
use crate::clock::monotonic;

const LIMITS: BreakerLimits = BreakerLimits { share: 0.5, window: 10, minimum: 4 };

/// Pushes one verdict per letter, `.` for good and another for a code; returns where it trips.
fn push(window: &mut Window, verdicts: &str, limits: &BreakerLimits) -> Option<(usize, Tripped)> {
    verdicts.chars().enumerate().find_map(|(n, verdict)| {
        let code = match verdict {
            '.' => None,
            'x' => Some("x"),
            _ => Some("y"),
        };
        Some((n, window.push(code, limits)?))
    })
}

fn trips_at(verdicts: &str) -> Option<usize> {
    push(&mut Window::default(), verdicts, &LIMITS).map(|(n, _)| n)
}

fn record(input: usize, offset: i64) -> Fetched {
    Fetched {
        input,
        partition: 0,
        offset,
        timestamp: Timestamp::from_millis(1),
        key: None,
        value: None,
        headers: Vec::new(),
        globals_current: false,
    }
}

#[test]
fn it_trips_above_the_share_and_not_before_the_minimum() {
    assert_eq!(trips_at("xxx"), None, "a burst shorter than the minimum");
    assert_eq!(trips_at("xxxx"), Some(3));
    assert_eq!(trips_at("..xx"), None, "half is not more than half");
    assert_eq!(trips_at("..xxx"), Some(4));
    assert_eq!(trips_at("xxx."), None, "a good record never trips it");
    assert_eq!(trips_at("xxx.x"), Some(4));
    assert_eq!(trips_at(&".x".repeat(100)), None);
}

#[test]
fn only_the_window_counts() {
    let long_good = ".".repeat(1_000);
    assert_eq!(trips_at(&format!("{long_good}xxxxx")), None);
    assert_eq!(trips_at(&format!("{long_good}xxxxxx")), Some(1_005));
    // A burst that is older than the window is forgotten.
    assert_eq!(trips_at(&format!("{long_good}xxxxx{}xxxxx", ".".repeat(10))), None);
}

#[test]
fn the_most_frequent_code_is_named() {
    let (_, tripped) = push(&mut Window::default(), "y.xxy.x.xx", &LIMITS).expect("trips");
    assert_eq!(tripped, Tripped { seen: 4, dead: 3, code: "x" });
    let (_, tripped) = push(&mut Window::default(), "yyyx", &LIMITS).expect("trips");
    assert_eq!(tripped.code, "y");
}

#[test]
fn a_share_of_one_never_trips_and_of_zero_at_once() {
    let never = BreakerLimits { share: 1.0, ..LIMITS };
    assert!(push(&mut Window::default(), &"x".repeat(100), &never).is_none());
    let at_once = BreakerLimits { share: 0.0, ..LIMITS };
    let tripped = push(&mut Window::default(), "...x", &at_once);
    assert_eq!(tripped.map(|(n, _)| n), Some(3));
}

#[test]
fn a_turn_that_starts_over_counts_once() {
    let mut breakers = Breakers::default();
    for offset in 0..3 {
        assert!(!breakers.trips(&record(0, offset), Some("x"), &LIMITS));
    }
    breakers.settle();
    for _ in 0..5 {
        for offset in 3..13 {
            assert!(!breakers.trips(&record(0, offset), None, &LIMITS));
        }
        breakers.roll_back();
    }
    assert!(breakers.trips(&record(0, 3), Some("x"), &LIMITS));
}

#[test]
fn an_open_topic_is_set_aside_from_where_it_tripped() {
    let mut breakers = Breakers::default();
    let mut offset = 0;
    while !breakers.trips(&record(1, offset), Some("x"), &LIMITS) {
        offset += 1;
    }
    assert_eq!(offset, 3);
    breakers.roll_back();
    assert!(breakers.is_open(|input| input == 1) && !breakers.is_open(|input| input == 0));
    // The same turn again: what came before is taken as before.
    for offset in 0..3 {
        assert!(breakers.pass(record(1, offset)).is_some());
        assert!(!breakers.trips(&record(1, offset), Some("x"), &LIMITS));
    }
    for offset in 3..6 {
        assert!(breakers.pass(record(1, offset)).is_none());
        assert!(breakers.pass(record(0, offset)).is_some(), "other topics go on");
    }
    breakers.settle();
    let held: Vec<i64> = breakers.close(1).iter().map(|record| record.offset).collect();
    assert_eq!(held, [3, 4, 5]);
    assert!(breakers.pass(record(1, 3)).is_some());
    assert!(!breakers.trips(&record(1, 3), Some("x"), &LIMITS), "it watches anew");
}

#[test]
fn a_rebuild_keeps_it_open_and_reads_again() {
    let mut breakers = Breakers::default();
    let trips = (0..4).filter(|offset| breakers.trips(&record(0, *offset), Some("x"), &LIMITS));
    assert_eq!(trips.count(), 1);
    assert!(breakers.pass(record(0, 3)).is_none());
    breakers.rewind();
    assert!(breakers.pass(record(0, 2)).is_some());
    assert!(breakers.pass(record(0, 3)).is_none());
    assert_eq!(breakers.close(0).len(), 1);
}

#[test]
fn the_head_is_tried_every_30_seconds() {
    let mut open = Open::new(0, Tripped { seen: 4, dead: 4, code: "x" });
    let start = monotonic();
    let due: Vec<u64> =
        (0..100).filter(|second| open.is_probe_due(start + Duration::from_secs(*second))).collect();
    assert_eq!(due, [30, 60, 90]);
}

#[test]
fn it_closes_when_enough_at_the_head_can_be_used() {
    assert!(!may_close(0, 0, &LIMITS), "nothing tried proves nothing");
    assert!(may_close(0, 1, &LIMITS) && !may_close(1, 1, &LIMITS));
    assert!(may_close(25, 50, &LIMITS) && !may_close(26, 50, &LIMITS));
}

/// Property, over 200 seeded streams of 3,000 records: it trips exactly when a straightforward
/// count of the last records says so, and never lets more dead letters through than the window's
/// share allows.
#[test]
fn it_agrees_with_a_plain_count() {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |bound: u64| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word % bound
    };
    let mut tripped = 0;
    for _ in 0..200 {
        let window = 1 + random(60) as usize;
        let minimum = 1 + random(window as u64) as usize;
        let limits = BreakerLimits { share: random(101) as f64 / 100.0, window, minimum };
        let poison = random(101);
        let mut watched = Window::default();
        let mut all: Vec<bool> = Vec::new();
        for _ in 0..3_000 {
            let dead = random(100) < poison;
            all.push(dead);
            let last = &all[all.len().saturating_sub(window)..];
            let count = last.iter().filter(|dead| **dead).count();
            let share = count as f64 / last.len() as f64;
            let expected = dead && last.len() >= minimum && share > limits.share + 1e-9;
            let found = watched.push(dead.then_some("x"), &limits);
            assert_eq!(found.is_some(), expected, "{count} of {} with {limits:?}", last.len());
            match random(10) {
                0 => watched.settle(),
                1 => {
                    // What is taken back and told again is as if told once.
                    let told = watched.verdicts.iter().skip(watched.turn.1).copied();
                    let told: Vec<_> = told.collect();
                    watched.roll_back();
                    for code in told {
                        watched.push(code, &limits);
                    }
                }
                _ => {}
            }
            assert!(watched.verdicts.len() <= 3_000 && watched.at.dead <= window);
            if found.is_some() {
                tripped += 1;
                let before = &last[..last.len() - 1];
                let let_through = before.iter().filter(|dead| **dead).count();
                assert!(let_through <= (limits.share * window as f64) as usize + minimum);
                break;
            }
        }
    }
    assert!(tripped > 50, "{tripped} of 200 streams tripped it");
}
