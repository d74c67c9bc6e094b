//! The broker away, the gateway killed, the client gone. Goal: no 200 without a record (I12), an
//! answer within the bound, and everything by itself again afterwards.

use std::process::Command;
use std::time::Duration;

use sendplane_tests::http::Connection;
use sendplane_tests::{stack, wait};

use crate::harness::{Gateway, LIMIT, Mark, SECRET, TOKEN, signed};
use crate::turn;

/// How long the gateway may wait for an acknowledgement in these tests.
const PUBLISH_MAX: Duration = Duration::from_millis(1_500);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(2);

/// A broker that is stopped (SIGSTOP) until this is dropped.
pub(crate) struct Frozen(String);

impl Frozen {
    pub(crate) fn now() -> Self {
        let env = std::fs::read_to_string(stack::shared().dir.join("env")).expect("a stack");
        let line = env.lines().find_map(|line| line.strip_prefix("SENDPLANE_STACK_KAFKA_PID="));
        let pid = line.expect("the broker's pid").trim_matches('\'').to_owned();
        signal("STOP", &pid);
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.0);
    }
}

fn signal(name: &str, pid: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), pid]).status();
    assert!(status.expect("kill can be run").success());
}

/// Bytes that have reached the broker and that it has not read, over all its connections.
fn unread_at_broker() -> u64 {
    let port = stack::shared().bootstrap.rsplit(':').next().and_then(|port| port.parse().ok());
    let port: u16 = port.expect("host:port");
    let local = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<String>>())
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let queues = fields.get(4).filter(|_| fields[1].ends_with(&local))?;
            u64::from_str_radix(queues.split(':').nth(1)?, 16).ok()
        })
        .sum()
}

/// A request that is open, and in the broker's hands.
fn pending(gateway: &Gateway, body: &[u8]) -> Connection {
    let before = unread_at_broker();
    let mut connection = Connection::open(gateway.port);
    connection.write(&signed(body, SECRET)).expect("sent");
    wait::until("the record has reached the broker", LIMIT, || {
        // Records are compressed on their way.
        (unread_at_broker() >= before + body.len() as u64 / 4).then_some(())
    });
    connection
}

/// A body that compression leaves large, so that it can be told from the broker's small talk.
fn incompressible(name: &str) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let noise = std::iter::repeat_with(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", state)
    });
    let noise: String = noise.take(2_000).collect();
    format!("{{\"entry\":[{{\"id\":\"{name}\"}}],\"noise\":\"{noise}\"}}").into_bytes()
}

fn gateway() -> Gateway {
    let publish_max = PUBLISH_MAX.as_millis().to_string();
    Gateway::start(&[("publish-timeout-ms", &publish_max)])
}

/// The provider's retry: the same body until it is taken.
fn until_taken(gateway: &Gateway, body: &[u8]) {
    wait::until("a retry is taken", LIMIT, || (gateway.post(body).status == 200).then_some(()));
}

fn assert_refused_in_time(gateway: &Gateway, body: &[u8]) {
    let began = wait::now();
    let answer = gateway.post(body);
    let took = began.elapsed();
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "2"));
    assert!(took < PUBLISH_MAX + SLACK, "{took:?}");
}

fn await_obstacle(gateway: &Gateway) {
    wait::until("the gateway says that it is not ready", LIMIT, || {
        let (status, text) = gateway.get("/readyz/gateway");
        let named = text.contains("broker") || text.contains("acknowledgement");
        (status == 503 && named).then_some(())
    });
    assert_eq!(gateway.get("/livez").0, 200, "alive is not ready");
}

#[test]
fn a_frozen_broker_means_503_and_passes() {
    let _turn = turn();
    let gateway = gateway();
    let mark = Mark::now();
    assert_eq!(gateway.post(b"{\"n\":0}").status, 200);
    let frozen = Frozen::now();
    assert_refused_in_time(&gateway, b"{\"n\":1}");
    await_obstacle(&gateway);
    // A crowd: nobody waits longer because of the others.
    std::thread::scope(|scope| {
        for n in 2..52 {
            let gateway = &gateway;
            scope.spawn(move || {
                assert_refused_in_time(gateway, format!("{{\"n\":{n}}}").as_bytes());
            });
        }
    });
    // What needs no broker is answered as ever.
    assert_eq!(gateway.send(&signed(b"{}", "a guess")).expect("an answer").status, 401);
    drop(frozen);
    for n in 1..52 {
        until_taken(&gateway, format!("{{\"n\":{n}}}").as_bytes());
    }
    gateway.await_ready();
    // 503 means "not certain": such a body may be in the log as well, but no body is missing.
    let bodies = mark.bodies();
    let expected: Vec<String> = (0..52).map(|n| format!("{{\"n\":{n}}}")).collect();
    for body in &expected {
        let count = bodies.get(body.as_bytes()).copied().unwrap_or(0);
        assert!((1..=3).contains(&count), "{body} is there {count} times");
    }
    assert_eq!(bodies.len(), expected.len());
    assert_eq!(gateway.metric("sendplane_webhook_accepted_total", ""), 52);
}

#[test]
fn a_broker_that_is_restarted_is_found_again() {
    let _turn = turn();
    let gateway = gateway();
    let mark = Mark::now();
    assert_eq!(gateway.post(b"{\"n\":0}").status, 200);
    let accepted = std::thread::scope(|scope| {
        let restarting = scope.spawn(|| {
            let done = Command::new(stack::root().join("deploy/stack/stack"))
                .args(["restart-kafka", "--kill", "--pause", "4", "--dir"])
                .arg(&stack::shared().dir)
                .output()
                .expect("deploy/stack/stack can be run");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        });
        await_obstacle(&gateway);
        assert_refused_in_time(&gateway, b"{\"n\":\"down\"}");
        let accepted: Vec<usize> = (1..200)
            .take_while(|_| !restarting.is_finished())
            .filter(|n| gateway.post(format!("{{\"n\":{n}}}").as_bytes()).status == 200)
            .collect();
        restarting.join().expect("no panic");
        accepted
    });
    until_taken(&gateway, b"{\"n\":\"down\"}");
    gateway.await_ready();
    let bodies = mark.bodies();
    for n in accepted {
        let body = format!("{{\"n\":{n}}}");
        assert!(bodies.contains_key(body.as_bytes()), "{body} had a 200 and is not in the log");
    }
    assert!(bodies.contains_key(&b"{\"n\":\"down\"}"[..]));
}

#[test]
fn brokers_that_are_not_there_at_the_start_mean_503() {
    let _turn = turn();
    let mut gateway = Gateway::prepare(&[]);
    let dead = ("SENDPLANE__KAFKA__PROPERTIES__BOOTSTRAP_SERVERS", "127.0.0.1:1");
    gateway.launch(&[dead]);
    let mark = Mark::now();
    let began = wait::now();
    let answer = gateway.post(b"{}");
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "2"));
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    let query = format!("hub.mode=subscribe&hub.verify_token={TOKEN}&hub.challenge=1");
    let question = format!("GET /webhooks/demo?{query} HTTP/1.1\r\nhost: x\r\n\r\n");
    let answer = gateway.send(question.replace("a verify token", "a%20verify%20token").as_bytes());
    assert_eq!(answer.expect("an answer").status, 503);
    wait::until("the obstacle is named", LIMIT, || {
        let (status, text) = gateway.get("/readyz");
        (status == 503 && text.contains("gateway/producer")).then_some(())
    });
    assert_eq!(gateway.get("/livez").0, 200);
    gateway.stop();
    assert_eq!(mark.since(), []);
}

/// kill -9 after the record has reached the broker and before the answer: the retry gives a second
/// record of the same bytes, and that is all.
#[test]
fn a_gateway_killed_before_its_answer_leaves_at_most_a_repetition() {
    let _turn = turn();
    let mut gateway = Gateway::start(&[("publish-timeout-ms", "60000")]);
    let body = incompressible("killed");
    let mark = Mark::now();
    // The producer's connection is there, as in a gateway that has run for a while.
    for n in 0..20 {
        assert_eq!(gateway.post(format!("{{\"warm\":{n}}}").as_bytes()).status, 200);
    }
    assert_eq!(gateway.post(&incompressible("killed").repeat(2)).status, 200);
    let frozen = Frozen::now();
    let mut unanswered = pending(&gateway, &body);
    gateway.kill();
    assert_eq!(unanswered.answer(), None, "the connection ends without an answer");
    drop(frozen);
    wait::until("the broker has appended what it had", LIMIT, || {
        mark.bodies().contains_key(&body).then_some(())
    });
    gateway.launch(&[]);
    gateway.await_ready();
    assert_eq!(gateway.post(&body).status, 200, "the retry");
    let bodies = mark.bodies();
    assert_eq!(bodies[&body], 2, "the same bytes twice");
    assert_eq!(bodies.len(), 22, "and nothing else");
}

/// Clients that leave while the acknowledgement is awaited, by a close and by a reset: their bodies
/// are in the log once, and counted.
#[test]
fn a_client_that_leaves_has_its_body_in_the_log() {
    let _turn = turn();
    let gateway = Gateway::start(&[("publish-timeout-ms", "60000")]);
    let mark = Mark::now();
    assert_eq!(gateway.post(b"{}").status, 200);
    let frozen = Frozen::now();
    let (one, other) = (incompressible("one"), incompressible("other"));
    drop(pending(&gateway, &one));
    // Unread bytes of an earlier answer turn the close into a reset.
    let mut connection = Connection::open(gateway.port);
    connection.write(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    connection.write(&signed(&other, SECRET)).expect("sent");
    wait::until("both bodies are in work", LIMIT, || {
        let bytes = gateway.metric("sendplane_webhook_buffered_bytes", "");
        (bytes == (one.len() + other.len()) as u64).then_some(())
    });
    drop(connection);
    drop(frozen);
    wait::until("both are counted", LIMIT, || {
        (gateway.metric("sendplane_webhook_accepted_total", "") == 3).then_some(())
    });
    let bodies = mark.bodies();
    assert_eq!((bodies[&one], bodies[&other], bodies.len()), (1, 1, 3));
    assert_eq!(gateway.metric("sendplane_webhook_buffered_bytes", ""), 0);
}

/// A stop while requests wait for the broker: they are answered before the process ends.
#[test]
fn a_stop_answers_what_is_open() {
    let _turn = turn();
    let mut gateway = Gateway::start(&[("publish-timeout-ms", "60000")]);
    let mark = Mark::now();
    let body = incompressible("stopped");
    assert_eq!(gateway.post(b"{}").status, 200);
    let frozen = Frozen::now();
    let mut open = pending(&gateway, &body);
    let port = gateway.port;
    let waker = std::thread::spawn(move || {
        wait::until("nobody listens any more", LIMIT, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
        });
        drop(frozen);
        open.answer().map(|answer| answer.status)
    });
    gateway.stop();
    assert_eq!(waker.join().expect("no panic"), Some(200));
    assert_eq!(mark.bodies()[&body], 1);
}
