//! 1,000 connections at once. Goal: the good among them are served, every 200 is in the log, and
//! the admin port answers all the while.
//!
//! | connections | what they do |
//! |---|---|
//! | 400 | one good request, then nothing |
//! | 200 | a head, a byte at a time |
//! | 100 | a body, a byte at a time |
//! | 100 | wrong signatures, one after the other |
//! | 200 | good requests at their own pace |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sendplane_tests::http::Connection;
use sendplane_tests::wait;

use crate::harness::{Gateway, LIMIT, Mark, SECRET, signed};
use crate::turn;

const IDLE: usize = 400;
const SLOW_HEADS: usize = 200;
const SLOW_BODIES: usize = 100;
const HOSTILE: usize = 100;
const GOOD: usize = 200;
const ALL: usize = IDLE + SLOW_HEADS + SLOW_BODIES + HOSTILE + GOOD;

/// Good requests of one connection, and the pause between them.
const REQUESTS: usize = 15;
const PAUSE: Duration = Duration::from_millis(200);
/// Good requests and probes must be faster, on a machine that compiles something at the same time.
const SLOWEST: Duration = Duration::from_secs(2);

fn body(name: &str) -> Vec<u8> {
    format!("{{\"entry\":[{{\"id\":\"storm\"}}],\"name\":\"{name}\"}}").into_bytes()
}

fn open(port: u16, count: usize) -> Vec<Connection> {
    (0..count).map(|_| Connection::open(port)).collect()
}

/// Sends a good request and returns how long its 200 took.
fn good(connection: &mut Connection, name: &str) -> Duration {
    let bytes = signed(&body(name), SECRET);
    let began = wait::now();
    connection.write(&bytes).expect("the gateway keeps the connection");
    assert_eq!(connection.answer().expect("an answer").status, 200, "{name}");
    began.elapsed()
}

/// One byte on every connection, again and again, until told to stop.
fn trickle(mut connections: Vec<Connection>, text: &[u8], stop: &AtomicBool) {
    for byte in text {
        for connection in &mut connections {
            connection.write(&[*byte]).expect("within its time, so it is kept");
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    panic!("the storm outlived its slow requests");
}

/// Connections whose heads are through.
fn slow_bodies(port: u16, whole: &[u8]) -> Vec<Connection> {
    let mut connections = open(port, SLOW_BODIES);
    for connection in &mut connections {
        connection.write(&whole[..whole.len() - 200]).expect("sent");
    }
    connections
}

fn hostile(mut connections: Vec<Connection>, stop: &AtomicBool, sent: &AtomicU64) {
    let bytes = signed(&body("forged"), "a guess");
    while !stop.load(Ordering::Relaxed) {
        for connection in &mut connections {
            connection.write(&bytes).expect("the gateway keeps the connection");
        }
        for connection in &mut connections {
            assert_eq!(connection.answer().expect("an answer").status, 401);
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How long each probe of the admin port took, and the most connections it reported.
fn probes(gateway: &Gateway, stop: &AtomicBool) -> (Vec<Duration>, u64) {
    let (mut took, mut most) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        for path in ["/livez", "/readyz", "/metrics"] {
            let began = wait::now();
            let (status, text) = gateway.get(path);
            took.push(began.elapsed());
            assert_eq!(status, 200, "{path}: {text}");
        }
        most = most.max(gateway.metric("sendplane_gateway_connections", ""));
        std::thread::sleep(Duration::from_millis(50));
    }
    (took, most)
}

fn quantile(times: &mut [Duration], of: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * of) as usize]
}

/// Every good request is in the log once, and nothing else is.
fn assert_all_logged(mark: &Mark) {
    let idle = (0..IDLE).map(|n| format!("idle-{n}"));
    let active = (0..GOOD).flat_map(|c| (0..REQUESTS).map(move |n| format!("{c}-{n}")));
    let expected: BTreeMap<Vec<u8>, usize> =
        idle.chain(active).map(|name| (body(&name), 1)).collect();
    let found = mark.bodies();
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "each once");
}

#[test]
fn a_storm_costs_neither_webhooks_nor_probes() {
    let _turn = turn();
    let gateway = Gateway::start(&[
        ("header-read-timeout-ms", "60000"),
        ("body-read-timeout-ms", "60000"),
        ("publish-timeout-ms", "20000"),
    ]);
    let mark = Mark::now();
    let port = gateway.port;
    let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let whole = signed(&[b'x'; 200], SECRET);
    let mut idle = open(port, IDLE);
    for (n, connection) in idle.iter_mut().enumerate() {
        good(connection, &format!("idle-{n}"));
    }
    let (mut took, (mut probed, most)) = std::thread::scope(|scope| {
        let (stop, refused, whole) = (&stop, &refused, &whole);
        let probing = scope.spawn(|| probes(&gateway, stop));
        scope.spawn(move || trickle(open(port, SLOW_HEADS), whole, stop));
        scope.spawn(move || trickle(slow_bodies(port, whole), &whole[whole.len() - 200..], stop));
        for _ in 0..4 {
            scope.spawn(move || hostile(open(port, HOSTILE / 4), stop, refused));
        }
        let clients: Vec<_> = (0..GOOD)
            .map(|client| {
                scope.spawn(move || {
                    let mut connection = Connection::open(port);
                    let request = |n| {
                        std::thread::sleep(PAUSE);
                        good(&mut connection, &format!("{client}-{n}"))
                    };
                    (0..REQUESTS).map(request).collect::<Vec<Duration>>()
                })
            })
            .collect();
        let took = clients.into_iter().flat_map(|client| client.join().expect("no panic"));
        let took: Vec<Duration> = took.collect();
        stop.store(true, Ordering::Relaxed);
        (took, probing.join().expect("no panic"))
    });
    drop(idle);
    let (p50, p99) = (quantile(&mut took, 0.5), quantile(&mut took, 0.99));
    let slowest_probe = quantile(&mut probed, 1.0);
    println!(
        "{} good requests: p50 {p50:?}, p99 {p99:?}, max {:?}; {} probes: p99 {:?}, max \
         {slowest_probe:?}; {} wrong signatures; {most} connections",
        took.len(),
        quantile(&mut took, 1.0),
        probed.len(),
        quantile(&mut probed, 0.99),
        refused.load(Ordering::Relaxed),
    );
    assert!(most >= ALL as u64, "all connections were open at once, not {most}");
    assert!(refused.load(Ordering::Relaxed) > 1_000, "the hostile were many");
    assert!(p99 < SLOWEST, "{p99:?}");
    assert!(slowest_probe < SLOWEST, "{slowest_probe:?}");

    assert_all_logged(&mark);
    wait::until("all connections are given back", LIMIT, || {
        (gateway.metric("sendplane_gateway_connections", "") == 0).then_some(())
    });
}
