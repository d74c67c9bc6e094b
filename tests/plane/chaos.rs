//! Goal: with two instances of every stage under load, killed, wiped, frozen and woken, every
//! accepted request has exactly one current final state and the provider has each message once.
//!
//! Method: 5,000 requests flow while instances die in a fixed pattern. Afterwards outcomes (read by
//! the Python client), the provider's ledger and the stores are compared.

use std::collections::BTreeMap;
use std::time::Duration;

use sendplane_tests::plane::{LIMIT, PARTITIONS, Plane, SESSION, TENANTS};
use sendplane_tests::wait;
use serde_json::{Value, json};

use crate::{request, turn};

const REQUESTS: usize = 5_000;
const STAGES: [&str; 4] = ["ingest", "policy", "send", "status-reconcile"];

#[test]
fn every_request_ends_once_whatever_dies() {
    let _turn = turn();
    let mut plane = Plane::start();
    for stage in STAGES {
        plane.start_stage(stage, "b");
    }
    for stage in STAGES {
        plane.await_ready(stage, "b");
    }
    // Calls take long enough that a kill finds some of them on the wire.
    plane.faults(&json!({"latency_ms": [150, 400]}));
    let already = TENANTS.map(|(tenant, ..)| plane.outcomes(tenant).len());
    let mut traffic = Traffic::default();
    let mut caught = 0;
    for round in 0..10 {
        traffic.flow(&plane, REQUESTS / 10);
        match round {
            1 => plane.freeze("send", "b"),
            2 | 4 | 6 => {
                caught += kill_in_flight(&mut plane, &mut traffic);
                if round == 4 {
                    std::fs::remove_dir_all(plane.state_dir("send", "a").join("send"))
                        .expect("the disk is wiped");
                }
                plane.start_stage("send", "a");
            }
            3 => {
                for stage in ["policy", "status-reconcile"] {
                    plane.kill(stage, "b");
                    plane.start_stage(stage, "b");
                }
            }
            5 => {
                plane.kill("ingest", "b");
                plane.start_stage("ingest", "b");
            }
            _ => {}
        }
        if round == 1 {
            // Long enough that the group takes the frozen member's partitions away.
            let frozen_at = wait::now();
            let session = SESSION + Duration::from_secs(2);
            wait::until("the frozen member's session is over", LIMIT, || {
                (frozen_at.elapsed() > session).then_some(())
            });
            plane.wake("send", "b");
        }
    }
    plane.faults(&json!({"latency_ms": [1, 2]}));
    let mut rows = BTreeMap::new();
    for (number, (tenant, ..)) in TENANTS.into_iter().enumerate() {
        rows.extend(plane.await_final(tenant, already[number] + traffic.of_tenant(number)));
    }
    judge(&plane, &rows, traffic.sent, caught);
    for stage in STAGES {
        for instance in ["a", "b"] {
            plane.stop_stage(stage, instance);
            verify(&plane, stage, instance);
        }
    }
}

/// Numbered requests, one tenant after the other: one tenant per partition, so that whatever dies
/// owns some of the traffic.
#[derive(Default)]
struct Traffic {
    sent: usize,
}

impl Traffic {
    fn flow(&mut self, plane: &Plane, count: usize) {
        let line = |n: usize| {
            let (tenant, ..) = TENANTS[n % TENANTS.len()];
            request(tenant, &format!("chaos-{n}"), &format!("+99901{n:06}0000"))
        };
        let lines: Vec<Value> = (self.sent..self.sent + count).map(line).collect();
        plane.produce(&lines);
        self.sent += count;
    }

    fn of_tenant(&self, number: usize) -> usize {
        (self.sent + TENANTS.len() - 1 - number) / TENANTS.len()
    }
}

/// Kills `send-a` as soon as it has calls that are not answered; counts them. Traffic goes on until
/// there are some: the instance may just have come back.
fn kill_in_flight(plane: &mut Plane, traffic: &mut Traffic) -> usize {
    let running = wait::until("calls are on the wire", LIMIT, || {
        let looked_until = wait::now() + Duration::from_secs(1);
        while wait::now() < looked_until {
            let running = calls_on_the_wire(plane);
            if running > 0 {
                return Some(running);
            }
        }
        traffic.flow(plane, 40);
        None
    });
    plane.kill("send", "a");
    running
}

fn calls_on_the_wire(plane: &Plane) -> usize {
    let metrics = plane.admin("send", "a", "/metrics").map_or_else(String::new, |(_, text)| text);
    metrics
        .lines()
        .filter(|line| line.starts_with("sendplane_meta_requests_in_flight"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as usize
}

fn judge(plane: &Plane, rows: &BTreeMap<(String, String), Value>, sent: usize, caught: usize) {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unknown = Vec::new();
    let mut keys = BTreeMap::new();
    for ((key, id), row) in rows.iter().filter(|((key, _), _)| key.starts_with("chaos-")) {
        let state = row["state"].as_str().expect("a state");
        *states.entry(state).or_default() += 1;
        *keys.entry(key).or_insert(0) += 1;
        if state == "OUTCOME_UNKNOWN" {
            unknown.push(id.clone());
        }
    }
    let summary = plane.metasim("/metasim/ledger?summary=true");
    println!("states {states:?}, calls caught in flight by kills: {caught}, ledger {summary}");
    assert_eq!(keys.len(), sent, "every request has a message");
    assert!(keys.values().all(|count| *count == 1), "and no request has two");
    let known = states.get("DELIVERED").copied().unwrap_or(0);
    assert_eq!(known + unknown.len(), sent, "{states:?}");
    assert!(caught > 0, "a run whose kills catch no call proves nothing about doubt");
    // A call that was never started is an honest unknown; it must stay a small part.
    assert!(unknown.len() <= caught + 3 * 500, "{} unknown", unknown.len());
    let duplicates = plane.metasim("/metasim/ledger?duplicates=4");
    assert_eq!(duplicates, json!({"duplicates": []}), "each message once");
    assert!(known > sent / 2, "most are delivered: {states:?}");
}

fn verify(plane: &Plane, stage: &str, instance: &str) {
    let dir = plane.state_dir(stage, instance).join(stage);
    let stores = std::fs::read_dir(&dir).map_or(0, Iterator::count);
    assert!(stores <= PARTITIONS as usize);
    if stores > 0 {
        let dir = dir.display().to_string();
        plane.cli(&["state", "verify", &dir, "--stage", stage]);
    }
}
