//! Poison: records nobody can use, over every input topic of every stage, on a real broker.
//!
//! Goal: each of them stands in the dead letters of each stage that reads its topic, byte for byte,
//! with its reason and its place, or ends in the refusal the table names; the good records right
//! before and after it end as they should; no stage restarts, waits or stops being ready.
//!
//! Method: one plane for the whole table. `families` is what can be wrong with any value, `fields`
//! what can be wrong with the values of a topic's own fields; both are dealt out to the partitions
//! with a `neighbours` record before and after each. What came of it is read when all of it is there.

mod between;
mod bodies;
mod families;
mod fields;
mod globals;
mod log;
mod neighbours;
mod records;
mod table;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sendplane_tests::plane::{Plane, STAGES};
use sendplane_wire::topic;

use log::Writer;
use neighbours::neighbour;
use records::{Message, OWNERS, Records};
use table::{Case, Raw, input_topics};
use verdict::Verdicts;

/// Fewest rows the table may have, and fewest for each topic.
const CASES_MIN: usize = 200;
const CASES_OF_TOPIC_MIN: usize = 30;

/// For everything that was produced to be dealt with.
const LIMIT: Duration = Duration::from_secs(150);

/// Cases and neighbours in the order in which they are produced.
#[derive(Default)]
struct Load {
    before: Vec<Raw>,
    mixed: Vec<Case>,
    after: Vec<Raw>,
    cases: usize,
}

impl Load {
    /// The table's rows for `topic`, a neighbour before and after each on its partition.
    fn add(&mut self, records: &mut Records, topic: &'static str, heard: Option<&[Message]>) {
        let mut cases = families::cases(records, topic);
        cases.extend(fields::cases(records, topic));
        let count = cases.len();
        assert!(count >= CASES_OF_TOPIC_MIN, "{topic} has {count} cases only");
        self.cases += count;
        let mut by_partition: BTreeMap<i32, Vec<Case>> = BTreeMap::new();
        for case in cases {
            by_partition.entry(case.raw.partition).or_default().push(case);
        }
        for (at, owner) in OWNERS.iter().enumerate() {
            let partition = table::partition_of(owner.tenant);
            let mut good = |load: &mut Self, number: usize| {
                let heard = heard.map(|heard| &heard[at]);
                let found = neighbour(records, topic, *owner, heard);
                load.before.extend(found.before);
                load.after.extend(found.after);
                let name = format!("{topic}/{partition}: neighbour {number}");
                load.mixed.push(Case { name, raw: found.raw, expect: found.expect });
            };
            good(self, 0);
            for (number, case) in by_partition.remove(&partition).into_iter().flatten().enumerate()
            {
                self.mixed.push(case);
                good(self, number + 1);
            }
        }
        assert!(by_partition.is_empty(), "every partition has an owner");
    }
}

#[test]
fn poison_is_dead_lettered_and_costs_nobody_else_anything() {
    let plane = Plane::start();
    let mut records = Records::new();
    let writer = Writer::new(&plane.stack().bootstrap);
    let mut verdicts = Verdicts::default();
    globals::check(&plane, &mut records, &writer, &mut verdicts);
    verdicts.await_all(&plane, &records, LIMIT);
    // Every stage has its partitions now, and no reason to lose them.
    let recoveries = plane.tally().recoveries;
    watched(&plane, || {
        // Evidence is about messages that send knows: it comes when they are there.
        let mut load = Load::default();
        for topic in input_topics().into_iter().filter(|topic| *topic != topic::FEEDBACK) {
            load.add(&mut records, topic, None);
        }
        let heard: Vec<Message> = OWNERS.iter().map(|owner| records.message(*owner)).collect();
        for message in &heard {
            let dispatch = message.dispatch(sendplane_domain::lane::Lane::Transactional);
            let value = records.encode(topic::DISPATCH_TRANSACTIONAL, &dispatch);
            load.before.push(Raw::of(message.owner, topic::DISPATCH_TRANSACTIONAL, value));
        }
        expect_landed(&writer.write(&load.before));
        verdicts.produce(&writer, load.mixed);
        verdicts.await_dead(&plane, LIMIT);
        // What shows that a neighbour was taken: requests to whoever has opted out.
        expect_landed(&writer.write(&load.after));
        verdicts.await_all(&plane, &records, LIMIT);

        let mut late = Load::default();
        late.add(&mut records, topic::FEEDBACK, Some(&heard));
        verdicts.produce(&writer, late.mixed);
        verdicts.await_all(&plane, &records, LIMIT);
        let cases = load.cases + late.cases;
        assert!(cases >= CASES_MIN, "the table has {cases} rows only");
        println!("{cases} cases, {}", verdicts.summary());
    });
    verdicts.assert_all(&plane, &records);
    assert_eq!(plane.tally().recoveries, recoveries, "no stage had to recover from anything");
}

fn expect_landed(landed: &[Result<i64, String>]) {
    for offset in landed {
        offset.as_ref().expect("the broker takes it");
    }
}

/// Runs `body` while every stage is asked all the time whether it is ready; panics when one was
/// not.
fn watched(plane: &Plane, body: impl FnOnce()) {
    let (ended, unready) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let watch = || {
            while !ended.load(Ordering::Acquire) {
                for stage in STAGES {
                    let answer = plane.admin(stage, "a", "/readyz");
                    if answer.as_ref().is_none_or(|(status, _)| *status != 200) {
                        let mut unready = unready.lock().expect("no panic inside");
                        unready.push(format!("{stage}: {answer:?}"));
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        scope.spawn(watch);
        // Ends the watch also when the body panics.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        ended.store(true, Ordering::Release);
        if let Err(panic) = outcome {
            eprintln!("unready: {:?}", unready.lock().expect("no panic inside").first());
            std::panic::resume_unwind(panic);
        }
    });
    let unready = unready.into_inner().expect("no panic inside");
    assert!(unready.is_empty(), "{} times not ready: {:?}", unready.len(), unready.first());
}
