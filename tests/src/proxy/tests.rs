//! The proxy in front of a broker that answers every request with its correlation id and keeps
//! what it was asked.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::frame::{Request, correlation_of, read_frame};
use super::{Action, Api, Match, Proxy, Route};
use crate::wait;

const LIMIT: Duration = Duration::from_secs(10);

struct Bench {
    proxy: Proxy,
    address: String,
    executed: Arc<Mutex<Vec<i32>>>,
}

impl Bench {
    fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
        let broker = free();
        let route = Route { listen: address(&free()), broker: address(&broker) };
        let executed = Arc::new(Mutex::new(Vec::new()));
        let seen = executed.clone();
        std::thread::spawn(move || {
            for stream in broker.incoming().flatten() {
                let seen = seen.clone();
                std::thread::spawn(move || answer_all(stream, &seen));
            }
        });
        let proxy = Proxy::start(std::slice::from_ref(&route));
        Self { proxy, address: route.listen, executed }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("connects");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        stream
    }

    fn await_executed(&self, expected: &[i32]) {
        wait::until(&format!("{expected:?} are executed"), LIMIT, || {
            (*self.executed.lock().expect("lock") == expected).then_some(())
        });
    }
}

fn answer_all(mut stream: TcpStream, executed: &Mutex<Vec<i32>>) {
    while let Ok(Some(frame)) = read_frame(&mut stream) {
        let request = Request::parse(&frame).expect("a request");
        executed.lock().expect("lock").push(request.correlation);
        // The correlation id, a throttle time and no error.
        let body = [&request.correlation.to_be_bytes()[..], &[0; 6]].concat();
        if stream.write_all(&[&10_i32.to_be_bytes()[..], &body].concat()).is_err() {
            return;
        }
    }
}

fn ask(stream: &mut TcpStream, api: Api, correlation: i32) {
    let head = [api.0.to_be_bytes(), 1_i16.to_be_bytes()].concat();
    let body = [&head[..], &correlation.to_be_bytes(), b"\0\x01c\0\x01t"].concat();
    let frame = [&(body.len() as i32).to_be_bytes()[..], &body].concat();
    stream.write_all(&frame).expect("writes");
}

/// The next answer; `None` when the connection was closed.
fn answer(stream: &mut TcpStream) -> Option<i32> {
    correlation_of(&read_frame(stream).ok()??)
}

#[test]
fn a_request_without_a_fault_passes_and_a_watched_one_too() {
    let bench = Bench::start();
    let fault = bench.proxy.fault(Match::api(Api::END_TXN).client("c").subject("t"), Action::Watch);
    let mut client = bench.connect();
    for (api, correlation) in [(Api::METADATA, 1), (Api::END_TXN, 2), (Api::PRODUCE, 3)] {
        ask(&mut client, api, correlation);
        assert_eq!(answer(&mut client), Some(correlation));
    }
    assert_eq!((fault.hits(), fault.await_answer(|_| true).error()), (1, 0));
}

#[test]
fn cut_before_is_not_executed_and_cut_after_is() {
    for (action, executed) in [(Action::CutBefore, &[][..]), (Action::CutAfter, &[7][..])] {
        let bench = Bench::start();
        let _fault = bench.proxy.fault(Match::api(Api::END_TXN).times(1), action);
        let mut client = bench.connect();
        ask(&mut client, Api::END_TXN, 7);
        assert_eq!(answer(&mut client), None, "{action:?} closes");
        bench.await_executed(executed);
        // The next one meets no fault.
        let mut client = bench.connect();
        ask(&mut client, Api::END_TXN, 8);
        assert_eq!(answer(&mut client), Some(8));
    }
}

#[test]
fn a_held_request_and_what_follows_it_wait_for_the_release() {
    let bench = Bench::start();
    let fault = bench.proxy.fault(Match::api(Api::END_TXN), Action::Hold);
    let mut client = bench.connect();
    ask(&mut client, Api::END_TXN, 1);
    ask(&mut client, Api::METADATA, 2);
    fault.await_hits(1);
    bench.await_executed(&[]);
    fault.release();
    assert_eq!([answer(&mut client), answer(&mut client)], [Some(1), Some(2)]);
}

#[test]
fn a_stray_request_is_executed_after_what_its_client_asked_later() {
    let bench = Bench::start();
    let fault = bench.proxy.fault(Match::api(Api::END_TXN).times(1), Action::Stray);
    let mut client = bench.connect();
    ask(&mut client, Api::END_TXN, 1);
    assert_eq!(answer(&mut client), None, "the client is cut off at once");
    let mut again = bench.connect();
    ask(&mut again, Api::END_TXN, 2);
    assert_eq!(answer(&mut again), Some(2));
    fault.release();
    assert_eq!(fault.await_answer(|_| true).error(), 0);
    bench.await_executed(&[2, 1]);
}

#[test]
fn a_muted_connection_executes_and_says_nothing_until_it_is_closed() {
    let bench = Bench::start();
    let fault = bench.proxy.fault(Match::api(Api::END_TXN).times(1), Action::Mute);
    let mut client = bench.connect();
    for (api, correlation) in [(Api::END_TXN, 1), (Api::METADATA, 2)] {
        ask(&mut client, api, correlation);
    }
    bench.await_executed(&[1, 2]);
    fault.release();
    assert_eq!(answer(&mut client), None);
}
