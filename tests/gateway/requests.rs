//! Sizes, slowness, and HTTP as nobody should speak it.

use std::time::Duration;

use sendplane_tests::http::Connection;
use sendplane_tests::wait;

use crate::harness::{Gateway, LIMIT, Mark, SECRET, request, signature, signed};
use crate::turn;

const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The head of a signed POST with these header lines in place of a length.
fn head(body: &[u8], lines: &str) -> Vec<u8> {
    let signature = signature(body, SECRET);
    format!(
        "POST /webhooks/demo HTTP/1.1\r\nhost: x\r\nx-hub-signature-256: {signature}\r\n{lines}\r\n"
    )
    .into_bytes()
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

#[test]
fn bodies_have_a_size() {
    let _turn = turn();
    let gateway = Gateway::start(&[("body-read-timeout-ms", "1500")]);
    let mark = Mark::now();
    let larger = vec![b'x'; BODY_BYTES_MAX + 1];
    // Rightly signed, so that only the size can be the reason. All of it is sent.
    let mut connection = Connection::open(gateway.port);
    connection.write(&signed(&larger, SECRET)).expect("the rest is taken, and thrown away");
    assert_eq!(connection.answer().expect("an answer").status, 413, "one byte too many");

    let mut connection = Connection::open(gateway.port);
    connection.write(&head(&larger, "transfer-encoding: chunked\r\n")).expect("sent");
    connection.write(&chunk(&larger[1..])).expect("within the limit");
    connection.write(b"1\r\nx\r\n").expect("sent");
    // No end of the body: the answer does not wait for it.
    assert_eq!(connection.answer().expect("an answer").status, 413, "chunks without a length");

    // Lengths that lie. A head of terabytes costs nothing, and is refused unread.
    for (length, expected) in [
        ("content-length: 3145729\r\n", Some(413)),
        ("content-length: 9223372036854775807\r\n", Some(413)),
        ("content-length: 99999999999999999999999\r\n", Some(400)),
        ("content-length: -1\r\n", Some(400)),
        ("content-length: 2\r\ncontent-length: 3\r\n", Some(400)),
        // Announced, but never sent: given up in time.
        ("content-length: 3\r\n", Some(408)),
    ] {
        let mut connection = Connection::open(gateway.port);
        connection.write(&[&head(b"{}", length)[..], b"{}"].concat()).expect("sent");
        let status = connection.answer().map(|answer| answer.status);
        assert_eq!(status, expected, "{length}");
    }
    // Announced as shorter: the signature is not that of what was announced, and what follows is no
    // request.
    let mut connection = Connection::open(gateway.port);
    let lying = [&head(b"{\"a\":1}", "content-length: 2\r\n")[..], b"{\"a\":1}"].concat();
    connection.write(&lying).expect("sent");
    assert_eq!(connection.answer().expect("an answer").status, 401);
    assert_eq!(connection.answer().map(|answer| answer.status), Some(400));
    assert!(connection.answer().is_none(), "and the connection ends");
    // Both framings at once: the chunks count, or nothing does; never the length.
    let both = "content-length: 4\r\ntransfer-encoding: chunked\r\n";
    let answer = gateway.send(&[&head(b"0\r\n\r", both)[..], b"0\r\n\r\n"].concat());
    assert_ne!(answer.map(|answer| answer.status), Some(200));
    assert_eq!(mark.since(), []);
    assert_eq!(gateway.post(b"{}").status, 200);
}

#[test]
fn slowness_ends() {
    let _turn = turn();
    let gateway = Gateway::start(&[
        ("header-read-timeout-ms", "1000"),
        ("body-read-timeout-ms", "1000"),
        ("idle-timeout-ms", "2000"),
    ]);
    let mark = Mark::now();
    let began = wait::now();
    let whole = signed(b"{\"entry\":[{\"id\":\"slow\"}]}", SECRET);
    let trickle = |start: usize| {
        let mut connection = Connection::open(gateway.port);
        connection.write(&whole[..start]).expect("sent");
        for byte in &whole[start..] {
            // Slower than any limit; the sender learns of the end when it writes, or reads below.
            if connection.write(&[*byte]).is_err() || began.elapsed() > Duration::from_secs(4) {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        connection.answer().map(|answer| answer.status)
    };
    let head_length = whole.len() - 25;
    let (slow_head, slow_body) = std::thread::scope(|scope| {
        let slow_head = scope.spawn(|| trickle(10));
        let slow_body = scope.spawn(|| trickle(head_length));
        (slow_head.join().expect("no panic"), slow_body.join().expect("no panic"))
    });
    assert_eq!(slow_head, None, "a slow head is cut off");
    // While the sender writes on, its answer may be lost to a reset; it is never another one.
    assert!(matches!(slow_body, Some(408) | None), "{slow_body:?}");
    assert_eq!(gateway.metric("sendplane_webhook_rejected_total", "read_timeout"), 1);
    let cut = |reason| gateway.metric("sendplane_gateway_connections_cut_total", reason);
    assert_eq!(cut("header_timeout"), 1);
    // Idle after a request: longer than a head may take, then closed.
    let mut connection = Connection::open(gateway.port);
    connection.write(&whole).expect("sent");
    assert_eq!(connection.answer().expect("an answer").status, 200);
    let idle = wait::now();
    assert_eq!(connection.answer(), None);
    assert!(idle.elapsed() > Duration::from_millis(1500), "{:?}", idle.elapsed());
    assert_eq!(cut("idle_timeout"), 1);
    assert_eq!(mark.since().len(), 1);
}

#[test]
fn strange_http_is_answered_or_ended() {
    let _turn = turn();
    let gateway = Gateway::start(&[("header-read-timeout-ms", "1500")]);
    let mark = Mark::now();
    let body = b"{\"entry\":[]}";
    let text = String::from_utf8(signed(body, SECRET)).expect("text");
    let status = |bytes: &[u8]| gateway.send(bytes).map(|answer| answer.status);

    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FETCH"] {
        let answer = gateway.send(text.replacen("POST", method, 1).as_bytes()).expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (405, &b""[..]), "{method}");
        assert!(answer.headers["allow"].contains("POST"), "{method}");
    }
    for path in ["/", "/metrics", "/webhooks", "/webhooks/demo/x", "/../webhooks/demo"] {
        let other = text.replacen("/webhooks/demo", path, 1);
        assert_eq!(status(other.as_bytes()), Some(404), "{path}");
    }
    let garbage: [&[u8]; 7] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /webhooks/demo\r\n\r\n",
        b"POST /webhooks/demo HTTP/3.7\r\n\r\n",
        b"GET /webhooks/demo HTTP/1.1\r\nno colon\r\n\r\n",
        b"\xff\xff\xff\xff\r\n\r\n",
    ];
    for bytes in garbage {
        let found = status(bytes);
        assert!(matches!(found, Some(400) | None), "{found:?} to {}", bytes.escape_ascii());
    }
    assert_eq!(status(&[b'x'; 100_000]), Some(431), "one line without end");
    assert_eq!(mark.since(), [], "nothing of all this was taken");

    let old = text.replacen("HTTP/1.1", "HTTP/1.0", 1);
    let mut connection = Connection::open(gateway.port);
    connection.write(old.as_bytes()).expect("sent");
    assert_eq!(connection.answer().expect("an answer").status, 200, "HTTP/1.0");
    assert_eq!(connection.answer(), None, "and the connection ends");

    let mut connection = Connection::open(gateway.port);
    connection.write(text.as_bytes()).expect("sent");
    connection.end();
    assert_eq!(connection.answer().expect("an answer").status, 200, "half closed");

    // The signature covers the bytes on the wire; the encoding is kept as it is.
    let zipped = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
    let headers =
        [("content-encoding", "gzip"), ("x-hub-signature-256", &signature(zipped, SECRET))];
    assert_eq!(status(&request(&headers, zipped)), Some(200), "compressed");

    let expecting = text.replacen("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n", 1);
    let (expecting, _) = expecting.split_at(expecting.len() - body.len());
    let mut connection = Connection::open(gateway.port);
    connection.write(expecting.as_bytes()).expect("sent");
    assert_eq!(connection.answer().expect("an answer").status, 100, "go on");
    connection.write(body).expect("sent");
    assert_eq!(connection.answer().expect("an answer").status, 200);

    let bodies = mark.bodies();
    assert_eq!((bodies[&body[..]], bodies[&zipped[..]], bodies.len()), (3, 1, 2));
}

/// Requests sent without waiting for answers: each has its own, in order, also after a bad one.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let _turn = turn();
    let gateway = Gateway::start(&[]);
    let mark = Mark::now();
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for n in 0..30 {
        let body = format!("{{\"n\":{n}}}").into_bytes();
        let wrong = n % 3 == 1;
        bytes.extend(signed(&body, if wrong { "a guess" } else { SECRET }));
        expected.push(if wrong { 401 } else { 200 });
    }
    let mut connection = Connection::open(gateway.port);
    connection.write(&bytes).expect("sent");
    let found: Vec<u16> =
        expected.iter().map(|_| connection.answer().expect("an answer").status).collect();
    assert_eq!(found, expected);
    assert_eq!(mark.since().len(), 20);
}

/// Bodies that are being read fill the room there is for them; the next one is refused until one
/// of them is done.
#[test]
fn bodies_in_memory_have_a_bound() {
    let _turn = turn();
    let gateway =
        Gateway::start(&[("max-buffered-bytes", "4000000"), ("body-read-timeout-ms", "20000")]);
    let mark = Mark::now();
    let body = vec![b'x'; 2_500_000];
    let whole = signed(&body, SECRET);
    let mut first = Connection::open(gateway.port);
    first.write(&whole[..whole.len() - 1]).expect("all but its last byte");
    wait::until("the first body is in memory", LIMIT, || {
        let bytes = gateway.metric("sendplane_webhook_buffered_bytes", "");
        (bytes == body.len() as u64 - 1).then_some(())
    });
    let refused = gateway.post(&body);
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (503, "2"));
    assert_eq!(gateway.metric("sendplane_webhook_rejected_total", "overloaded"), 1);
    assert_eq!(gateway.post(b"{}").status, 200, "a small one has room");
    first.write(&whole[whole.len() - 1..]).expect("the last byte");
    assert_eq!(first.answer().expect("an answer").status, 200);
    assert_eq!(gateway.post(&body).status, 200);
    wait::until("all room is free again", LIMIT, || {
        (gateway.metric("sendplane_webhook_buffered_bytes", "") == 0).then_some(())
    });
    assert_eq!(mark.bodies(), [(b"{}".to_vec(), 1), (body, 2)].into());
}

#[test]
fn connections_have_a_bound() {
    let _turn = turn();
    let gateway = Gateway::start(&[("max-connections", "20")]);
    let idle: Vec<Connection> = (0..20).map(|_| Connection::open(gateway.port)).collect();
    wait::until("all connections are taken", LIMIT, || {
        (gateway.metric("sendplane_gateway_connections", "") == 20).then_some(())
    });
    let mark = Mark::now();
    for _ in 0..50 {
        let answer = gateway.post(b"{}");
        assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "2"));
    }
    assert_eq!(gateway.metric("sendplane_gateway_connections_refused_total", ""), 50);
    assert_eq!(gateway.get("/livez").0, 200, "the admin port has connections of its own");
    assert_eq!(mark.since(), []);
    drop(idle);
    wait::until("there is a slot again", LIMIT, || {
        (gateway.post(b"{}").status == 200).then_some(())
    });
}
