//! Who may put a body into the log.

use sendplane_tests::http::{Answer, Connection};
use sendplane_tests::wait;
use sha2::{Digest, Sha256};

use crate::harness::{
    Gateway, LIMIT, Mark, PREVIOUS, Raw, SECRET, TOKEN, request, signature, signed,
};
use crate::turn;

const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

fn digest(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// Bodies that a provider or its next version might send, and the key each must have: the gateway
/// is no parser, so none of them is refused.
fn bodies() -> Vec<(Vec<u8>, String)> {
    let keyed = |text: &str, key: &str| (text.as_bytes().to_vec(), key.to_owned());
    let unkeyed = |body: &[u8]| (body.to_vec(), digest(body));
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let deep = format!(r#"{{"entry":[{{"id":"deep","x":{}}}]}}"#, nested(50_000));
    let largest = [&br#"{"entry":[{"id":"large"}],"x":""#[..], &[b'x'; BODY_BYTES_MAX]].concat();
    let mut largest = largest[..BODY_BYTES_MAX - 2].to_vec();
    largest.extend_from_slice(br#""}"#);
    vec![
        keyed(r#"{"object":"whatsapp_business_account","entry":[{"id":"waba-7"}]}"#, "waba-7"),
        // Escapes and spaces that would not survive parsing and writing.
        keyed(r#"{ "entry" : [{"id":"waba-7","n":"gr\u00fc\u00dfe \ud83c\udf89"}]}"#, "waba-7"),
        keyed(r#"{"entry":[{"id":"grüße"}]}"#, "grüße"),
        keyed(r#"{"new":{"in":["v30",null]},"entry":[{"id":"w","odd":1e400}],"a":1}"#, "w"),
        keyed(r#"{"entry":[{"id":"first"},{"id":"second"}]}"#, "first"),
        (largest, "large".to_owned()),
        unkeyed(b""),
        unkeyed(b"0"),
        unkeyed(b"not JSON at all"),
        unkeyed(b"\x00\xff\xfe\x80 no UTF-8"),
        unkeyed(br#"{"entry":[]}"#),
        unkeyed(br#"{"entry":[{"id":null}]}"#),
        unkeyed(br#"{"entry":[{"id":"cut"#),
        unkeyed(
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ),
        unkeyed(nested(100_000).as_bytes()),
        keyed(&deep, "deep"),
        keyed(&format!(r#"{{"x":{},"entry":[{{"id":"after"}}]}}"#, nested(50_000)), "after"),
    ]
}

#[test]
fn a_signed_body_is_in_the_log_byte_for_byte() {
    let _turn = turn();
    let gateway = Gateway::start(&[]);
    let mark = Mark::now();
    let mut expected = Vec::new();
    for (body, key) in bodies() {
        let start = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let answer = gateway.post(&body);
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]), "{start}");
        expected.push(Raw { key, app: "demo".into(), body, secret: 1 });
    }
    let mut found = mark.since();
    assert_eq!(found.len(), expected.len());
    for raw in expected {
        let at = found.iter().position(|found| *found == raw);
        let start = String::from_utf8_lossy(&raw.body[..raw.body.len().min(60)]).into_owned();
        let same: Vec<&String> =
            found.iter().filter(|found| found.body == raw.body).map(|found| &found.key).collect();
        let at = at.unwrap_or_else(|| panic!("{start} with key {}: has {same:?}", raw.key));
        found.remove(at);
    }
}

#[test]
fn what_is_not_rightly_signed_is_refused_and_not_in_the_log() {
    let _turn = turn();
    let gateway = Gateway::start(&[]);
    let body = br#"{"object":"whatsapp_business_account","entry":[{"id":"forged"}]}"#;
    let right = signature(body, SECRET);
    let digits = right.trim_start_matches("sha256=");
    let header = "x-hub-signature-256";
    let one = |value: &str| vec![(header, value.to_owned())];
    let cases: Vec<(&str, Vec<(&str, String)>)> = vec![
        ("none", vec![]),
        ("empty", one("")),
        ("without its algorithm", one(digits)),
        ("cut", one(&right[..right.len() - 1])),
        ("cut to nothing", one("sha256=")),
        ("longer", one(&format!("{right}0"))),
        ("no hexadecimal", one(&format!("sha256={}", "zz".repeat(32)))),
        ("zeros", one(&format!("sha256={}", "00".repeat(32)))),
        ("the hash without a key", one(&format!("sha256={}", digest(body)))),
        ("the old header", vec![("x-hub-signature", format!("sha1={}", &digits[..40]))]),
        ("another algorithm", one(&format!("sha1={digits}"))),
        ("another algorithm's length", one(&format!("sha512={digits}{digits}"))),
        ("of the algorithm in capitals", one(&format!("SHA256={digits}"))),
        ("two of them", vec![(header, right.clone()), (header, right.clone())]),
        (
            "a right one after a wrong one",
            vec![(header, format!("sha256={}", "00".repeat(32))), (header, right.clone())],
        ),
        ("of another secret", one(&signature(body, "a guess"))),
        ("of an empty secret", one(&signature(body, ""))),
        ("of another app", one(&signature(body, "the secret of another app"))),
        ("of another body", one(&signature(b"{}", SECRET))),
        ("of a body with a line end", one(&signature(&[&body[..], b"\n"].concat(), SECRET))),
    ];
    let mark = Mark::now();
    for (what, headers) in &cases {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = gateway.send(&request(&headers, body)).expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (401, &b""[..]), "{what}");
    }
    // Right for its own app, wrong on the path of another one.
    let elsewhere = signed(body, SECRET);
    let elsewhere = String::from_utf8(elsewhere).expect("text");
    for (path, status) in [("other", 401), ("nobody", 404), ("demo/", 404), ("DEMO", 404)] {
        let text = elsewhere.replace("/webhooks/demo ", &format!("/webhooks/{path} "));
        assert_eq!(gateway.send(text.as_bytes()).expect("an answer").status, status, "{path}");
    }
    assert_eq!(mark.since(), [], "nothing was taken");
    assert_eq!(gateway.send(&request(&[(header, &right)], body)).expect("an answer").status, 200);
    assert_eq!(mark.since().len(), 1, "and the right one was");
    let refused = gateway.metric("sendplane_webhook_rejected_total", "signature");
    assert_eq!(refused, cases.len() as u64 + 1);
}

/// The body's own signature is checked again: bytes that change on the way cost nothing but a retry.
#[test]
fn a_changed_bit_anywhere_is_refused() {
    let _turn = turn();
    let gateway = Gateway::start(&[]);
    let body = br#"{"entry":[{"id":"waba-7","text":"pay 10 EUR"}]}"#;
    let right = signature(body, SECRET);
    let mark = Mark::now();
    let mut connection = Connection::open(gateway.port);
    for at in 0..body.len() {
        let mut changed = body.to_vec();
        changed[at] ^= 1 << (at % 8);
        let bytes = request(&[("x-hub-signature-256", &right)], &changed);
        connection.write(&bytes).expect("the connection stays");
        assert_eq!(connection.answer().expect("an answer").status, 401, "bit of byte {at}");
    }
    assert_eq!(mark.since(), []);
}

/// Rotation without a restart: the old secret first to its file, then the new one.
#[test]
fn secrets_are_rotated_while_it_runs() {
    let _turn = turn();
    let gateway = Gateway::start(&[("reread-secrets-ms", "100")]);
    let body = br#"{"entry":[{"id":"rotation"}]}"#;
    let with = |secret: &str| gateway.send(&signed(body, secret)).expect("an answer").status;
    let mark = Mark::now();
    assert_eq!([with(SECRET), with(PREVIOUS), with("the next")], [200, 200, 401]);
    gateway.write("previous-secret", SECRET);
    gateway.write("secret", "the next\n");
    wait::until("the next secret is accepted", LIMIT, || (with("the next") == 200).then_some(()));
    wait::until("the oldest is refused", LIMIT, || (with(PREVIOUS) == 401).then_some(()));
    assert_eq!(with(SECRET), 200, "the one before still is accepted");
    // A file that is emptied by mistake changes nothing.
    gateway.write("secret", "");
    wait::until("the fault shows", LIMIT, || {
        (gateway.metric("sendplane_webhook_secrets_stale", "demo") == 1).then_some(())
    });
    assert_eq!([with("the next"), with(SECRET), with("")], [200, 200, 401]);
    gateway.write("secret", "the next");
    gateway.write("previous-secret", "the next");
    wait::until("the former is refused", LIMIT, || (with(SECRET) == 401).then_some(()));
    assert_eq!(gateway.metric("sendplane_webhook_secrets_stale", "demo"), 0);
    let raw = mark.since();
    assert!(raw.iter().all(|raw| raw.body == body));
    let secrets: Vec<i64> = raw.iter().map(|raw| raw.secret).collect();
    assert!(secrets.starts_with(&[1, 2]) && secrets.iter().all(|s| [1, 2].contains(s)));
    assert!(!gateway.log_text().contains("the next"), "no secret in the log");
}

#[test]
fn the_address_is_verified_with_the_token_only() {
    let _turn = turn();
    let gateway = Gateway::start(&[]);
    let ask = |app: &str, query: &str| -> Answer {
        let bytes = format!("GET /webhooks/{app}?{query} HTTP/1.1\r\nhost: x\r\n\r\n");
        gateway.send(bytes.as_bytes()).unwrap_or_else(|| panic!("no answer to {query}"))
    };
    let token = TOKEN.replace(' ', "%20");
    let right = format!("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=4711");
    let answer = ask("demo", &right);
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"4711"[..]));
    // The challenge is the caller's: it must come back as text, whatever it holds.
    let script = right.replace("4711", "%3Cscript%3E%0d%0aset-cookie:%20a%3Db%00");
    let answer = ask("demo", &script);
    assert_eq!(answer.body, b"<script>\r\nset-cookie: a=b\0");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert!(!answer.headers.contains_key("set-cookie"));

    let wrong = [
        String::new(),
        "&&&==&".to_owned(),
        right.replace("subscribe", "unsubscribe"),
        right.replace("a%20", "A%20"),
        right.replace(&token, ""),
        right.replace(&token, &format!("{token}%00")),
        right.replace("&hub.challenge=4711", ""),
        format!("{right}&hub.mode=subscribe"),
        format!("hub.verify_token=x&{right}"),
        right.replace("hub.mode", "hub%2emode").replace("subscribe", "%ff"),
        right.replace("hub.", "hub_"),
        right.replace("hub.verify_token", "hub.verify_token[]"),
        right.replace(&token, "%"),
        right.replace('&', ";"),
        "x=".to_owned() + &"%25".repeat(3_000),
    ];
    for query in wrong {
        let answer = ask("demo", &query);
        assert_eq!((answer.status, answer.body.as_slice()), (403, &b""[..]), "{query}");
    }
    for app in ["nobody", "demo%00", "%2e%2e", "%ff", "demo%2fx"] {
        assert_eq!(ask(app, &right).status, 404, "{app}");
    }
}
