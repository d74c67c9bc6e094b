//! Effects: when they may start.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sendplane_stage_runtime::effect::{EffectRunner, EffectSink, Started};
use sendplane_tests::counter::{CountV1, Counter};
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
