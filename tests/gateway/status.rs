//! What the gateway says of itself in the topic of gateways. Goal: nobody can take silence for
//! evidence over time in which a webhook was turned away or nobody was there to take it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sendplane_tests::{kafka, stack, wait};

use crate::broker::Frozen;
use crate::harness::{self, Gateway, LIMIT};
use crate::turn;

const GATEWAYS: &str = "sendplane.gateways.v1";
const BODY: &[u8] = b"{\"entry\":[{\"id\":\"7\"}]}";

/// A record, decoded by hand so that it shares no code with its writer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Status {
    started_at: i64,
    alive_at: i64,
    is_stopped: bool,
    gaps: Vec<(i64, i64)>,
}

impl Status {
    /// Whether the time from `since` to `until` lies in one gap.
    fn has_gap(&self, since: i64, until: i64) -> bool {
        self.gaps.iter().any(|gap| gap.0 <= since && until <= gap.1)
    }
}

/// The newest record of the gateway `gateway`.
fn newest() -> Option<Status> {
    let records = kafka::read_from(&stack::shared().bootstrap, GATEWAYS, &[0]);
    let own = records.iter().rfind(|record| record.key.as_deref() == Some(b"gateway"))?;
    let value = own.value.as_deref()?;
    assert_eq!(value[0], 0, "the magic byte");
    let mut rest = &value[5..];
    assert_eq!(harness::bytes(&mut rest), b"gateway");
    let (started_at, alive_at) = (harness::long(&mut rest), harness::long(&mut rest));
    let is_stopped = rest[0] == 1;
    rest = &rest[1..];
    let mut gaps = Vec::new();
    loop {
        let count = harness::long(&mut rest);
        if count == 0 {
            break;
        }
        if count < 0 {
            harness::long(&mut rest);
        }
        for _ in 0..count.abs() {
            gaps.push((harness::long(&mut rest), harness::long(&mut rest)));
        }
    }
    assert_eq!(rest, b"", "nothing follows");
    Some(Status { started_at, alive_at, is_stopped, gaps })
}

fn until(what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
    wait::until(what, LIMIT, || newest().filter(&is_so))
}

#[expect(clippy::disallowed_methods, reason = "compared with times of the gateway's clock")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}

#[test]
fn a_gateway_accounts_for_its_gaps() {
    let _turn = turn();
    let before = now_ms();
    let mut gateway = Gateway::start(&[("publish-timeout-ms", "1500")]);
    let first = newest().expect("a record before it is ready");
    assert!(first.started_at >= before && !first.is_stopped, "{first:?}");
    assert_eq!(gateway.post(BODY).status, 200);
    let began = wait::now();
    let second = until("a later record", |status| status.alive_at > first.alive_at);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!((second.started_at, &second.gaps), (first.started_at, &first.gaps));

    let frozen = Frozen::now();
    let (posted, answer) = (now_ms(), gateway.post(BODY));
    let answered = now_ms();
    assert_eq!(answer.status, 503);
    drop(frozen);
    // Somewhere in between the gateway had the request, and for most of the time.
    let middle = (posted + answered) / 2;
    let third = until("the gap of a webhook turned away", |status| status.has_gap(middle, middle));
    assert_eq!(third.started_at, first.started_at);

    gateway.kill();
    let killed = now_ms();
    let last = newest().expect("a record");
    assert!(!last.is_stopped && last.alive_at <= killed, "a death is on nobody's record");
    gateway.launch(&[]);
    gateway.await_ready();
    let fourth = newest().expect("a record before it is ready");
    assert!(fourth.started_at >= killed, "{fourth:?}");
    assert!(fourth.has_gap(last.alive_at, fourth.started_at), "{last:?}, then {fourth:?}");
    assert!(fourth.has_gap(middle, middle), "the restart forgets nothing");

    gateway.stop();
    let stopped = newest().expect("a record");
    assert!(stopped.is_stopped && stopped.alive_at >= fourth.alive_at, "{stopped:?}");
    assert!(
        stopped.has_gap(stopped.alive_at, stopped.alive_at + 30_000),
        "others may not know yet"
    );
    gateway.launch(&[]);
    gateway.await_ready();
    let fifth = newest().expect("a record");
    assert!(!fifth.is_stopped && fifth.started_at >= stopped.alive_at, "{fifth:?}");
    assert_eq!(fifth.gaps, stopped.gaps, "a stop in good order is none");
}
