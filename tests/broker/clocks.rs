//! Instances whose wall clocks are wrong.

use std::time::Duration;

use sendplane_stage_runtime::config::ClockOffset;
use sendplane_stage_runtime::{Health, RuntimeConfig};
use sendplane_tests::counter::wall;
use sendplane_tests::wait;
use tempfile::TempDir;

use crate::case::{Case, LIMIT};
use crate::worker::{config, start_here};

fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("temp dir")
}

fn with_clock(case: &Case, instance: &str, state: &TempDir, clock: &ClockOffset) -> RuntimeConfig {
    let clock_offset = clock.clone();
    RuntimeConfig { clock_offset, ..config(instance, state.path(), &case.bootstrap) }
}

fn await_obstacle(health: &Health, word: &str) {
    wait::until(&format!("not ready: {word}"), LIMIT, || {
        health.obstacles().values().any(|reason| reason.contains(word)).then_some(())
    });
}

/// Goal: clocks that differ by less than the tolerance work together; the time of a task never goes
/// back when it is taken over by an instance whose clock is behind. The audit compares the times of
/// all transactions.
#[test]
fn clocks_two_seconds_apart_work_and_time_never_goes_back() {
    let case = Case::new("clocks");
    let (ahead, behind) = (temp_dir(), temp_dir());
    let key = case.key(0, 0);
    let mut count = 0;
    for round in 0..4 {
        let (state, instance, millis) =
            if round % 2 == 0 { (&ahead, "ahead", 2_000) } else { (&behind, "behind", -2_000) };
        let clock = ClockOffset::of_millis(millis);
        let (runtime, health) = start_here(case.name, with_clock(&case, instance, state, &clock));
        // The timer is set in the time of one instance and may fall due in that of the next.
        for value in ["later", "x"] {
            case.send(0, &key, value);
            count += 1;
        }
        let timers = round + 1;
        let found = case.await_outputs(count + timers);
        crate::case::assert_exact(&found, &[(key.clone(), count)].into());
        assert!(health.is_ready(), "{:?}", health.obstacles());
        runtime.stop().expect("stops");
    }
    case.audit(&[ahead.path(), behind.path()]);
}

/// Goal: an instance whose clock is wrong from the start reads nothing, fires nothing and leaves no
/// wrong time behind that a right one would have to wait for. Mended, it works on.
#[test]
fn a_wrong_clock_does_nothing_until_it_is_mended() {
    for (name, millis) in [("fast", 10_000), ("far-ahead", 86_400_000), ("slow", -10_000)] {
        let case = Case::new(name);
        let state = temp_dir();
        let key = case.key(0, 0);
        let clock = ClockOffset::of_millis(millis);
        let (runtime, health) = start_here(case.name, with_clock(&case, "a", &state, &clock));
        await_obstacle(&health, "clock is off");
        case.send(0, &key, "later");
        let since = wall();
        wait::until("time in which it could have read", LIMIT, || {
            (wall().since(since) > Duration::from_secs(2)).then_some(())
        });
        assert!(case.outputs().is_empty(), "nothing is read");
        assert!(!health.is_ready());

        clock.set_millis(0);
        let found = case.await_outputs(2);
        assert_eq!(found[&key], ["1", "timer"]);
        wait::until("ready", LIMIT, || health.is_ready().then_some(()));
        runtime.stop().expect("stops");
        case.audit(&[state.path()]);
    }
}

/// Goal: a clock that jumps while the instance runs is found out before it is acted on: a timer of
/// the future does not fire.
#[test]
fn a_clock_that_jumps_is_not_acted_on() {
    let case = Case::new("jump");
    let state = temp_dir();
    let key = case.key(0, 0);
    let clock = ClockOffset::default();
    let (runtime, health) = start_here(case.name, with_clock(&case, "a", &state, &clock));
    case.send(0, &key, "much-later");
    case.await_outputs(1);
    clock.set_millis(30_000);
    await_obstacle(&health, "clock is off");
    case.send(0, &key, "x");
    assert_eq!(case.outputs()[&key], ["1"], "neither the timer nor the record");
    clock.set_millis(0);
    assert_eq!(case.await_outputs(2)[&key], ["1", "2"]);
    wait::until("ready", LIMIT, || health.is_ready().then_some(()));
    runtime.stop().expect("stops");
    case.audit(&[state.path()]);
}
