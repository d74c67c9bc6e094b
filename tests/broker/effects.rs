//! Effects: when they may start.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sendplane_stage_runtime::effect::{EffectRunner, EffectSink, Started};
use sendplane_tests::counter::{CountV1, Counter, Gate};
use sendplane_tests::proxy::{Action, Api};
use sendplane_tests::wait;

use crate::case::{Case, LIMIT, proxy};
use crate::worker::{config, start_as};

/// How long the commit is held.
const HELD: Duration = Duration::from_secs(2);

/// Notes how old a grant is when its effect may start.
#[derive(Default)]
struct Ages(Mutex<Vec<Duration>>);

impl EffectRunner<Counter> for Ages {
    fn start(&self, effect: String, started: Started, sink: EffectSink<Counter>) {
        let mut ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ages.push(started.granted_at.elapsed());
        drop(ages);
        sink.settle(effect);
    }
}

/// Goal: the time to start an effect runs from its grant. A process that learns late that a commit
/// went through must not call with fresh time: others may have doubted that call meanwhile (I3).
#[test]
fn the_time_to_start_counts_from_the_grant() {
    let case = Case::new("grants");
    let state = tempfile::tempdir().expect("temp dir");
    let ages = Arc::new(Ages::default());
    let runtime_config = config("a", state.path(), &proxy().1);
    let (runtime, _) = start_as::<CountV1>(case.name, runtime_config, ages.clone());
    let mut expected = case.warm_up();
    let key = case.key(0, 0);
    let slow = case.of_producer(Api::END_TXN, "a").times(1);
    let slow = proxy().0.fault(slow, Action::Delay(HELD));
    case.send(0, &key, "call");
    let age = wait::until("the effect starts", LIMIT, || {
        ages.0.lock().unwrap_or_else(PoisonError::into_inner).first().copied()
    });
    assert_eq!(slow.hits(), 1, "the commit was held");
    assert!(age >= HELD, "a grant that is {HELD:?} old was said to be {age:?} old");
    *expected.entry(key).or_default() += 1;
    case.await_exactly(&expected);
    runtime.stop().expect("stops");
    case.audit(&[state.path()]);
}

/// Goal: tasks share the slots by what waits in each, whatever order they come in; what waits goes
/// on although no record comes any more, and no more run than there are slots.
#[test]
fn tasks_share_slots_by_what_waits_in_each() {
    const SLOTS: usize = 4;
    const EACH: usize = 25;
    let case = Case::new("slots");
    let state = tempfile::tempdir().expect("temp dir");
    let gate = Arc::new(Gate::of_slots(SLOTS));
    let runtime_config = config("a", state.path(), &case.bootstrap);
    let (runtime, _) = start_as::<CountV1>(case.name, runtime_config, gate.clone());
    let mut expected = case.warm_up();
    let keys =
        [(0, 1), (0, 2), (0, 3), (1, 1)].map(|(partition, n)| (partition, case.key(partition, n)));
    for _ in 0..EACH {
        for (partition, key) in &keys {
            case.send(*partition, key, "queue");
        }
    }
    expected.extend(keys.iter().map(|(_, key)| (key.clone(), EACH)));
    let counted = expected.values().sum();
    case.await_outputs(counted);
    let answer = |least: usize| {
        wait::until("effects run", LIMIT, || (gate.waiting() >= least).then_some(()));
        let answered = gate.open();
        assert!(answered.len() <= SLOTS, "{} at a time", answered.len());
        answered
    };
    // The first were started while records still came.
    let mut all = answer(SLOTS).len();
    let alone = &keys[3].1;
    let shared: Vec<String> = (0..10).flat_map(|_| answer(SLOTS)).collect();
    let of_alone = shared.iter().filter(|key| *key == alone).count();
    assert!((8..=12).contains(&of_alone), "{of_alone} of {} for one key of four", shared.len());
    all += shared.len();
    while all < keys.len() * EACH {
        all += answer(1).len();
    }
    let found = case.await_outputs(counted + all);
    for (_, key) in &keys {
        let effects = found[key].iter().filter(|text| *text == "effect").count();
        assert_eq!(effects, EACH, "{key}");
    }
    case.await_exactly(&expected);
    runtime.stop().expect("stops");
    case.audit(&[state.path()]);
}
