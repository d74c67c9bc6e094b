//! Who holds a connection without using it, or asks for too much of it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::server::{Limits, serve};
use super::socket::{head, status};
use super::*;

const LONG: Duration = Duration::from_secs(10);

/// A running server.
pub(super) struct Served {
    address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Served {
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }
}

/// Serves `router` on a free port.
pub(super) async fn listen(router: Router, limits: Limits) -> Served {
    listen_watched(router, limits, Arc::new(Path::new(Arc::new(|| NOW)))).await
}

/// As [`listen`], telling `path` who was turned away.
pub(super) async fn listen_watched(router: Router, limits: Limits, path: Arc<Path>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopping) = watch::channel(false);
    let server = tokio::spawn(serve(listener, router, limits, path, stopping));
    Served { address, stop, server }
}

/// All that comes until the connection ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("an end").expect("a clean end");
    String::from_utf8(bytes).expect("text")
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request(body: &[u8]) -> Vec<u8> {
    let length = format!("content-length: {}", body.len());
    [head(&sign(body, "new"), &length).as_bytes(), body].concat()
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_given_up() {
    let limits = Limits { header_read_timeout: millis(300), ..Limits::default() };
    let (router, sink) = gateway();
    let served = listen(router, limits).await;
    let started = tokio::time::Instant::now();
    let (mut reader, mut writer) = served.connect().await.into_split();
    let writing = tokio::spawn(async move {
        for byte in request(b"{}") {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(millis(20)).await;
        }
    });
    let mut scrap = Vec::new();
    // The end may be a reset: bytes were still on their way.
    let _ = timeout(LONG, reader.read_to_end(&mut scrap)).await.expect("an end");
    assert_eq!(scrap, b"");
    assert!(started.elapsed() >= millis(300));
    assert!(started.elapsed() < LONG);
    assert_eq!(sink.records(), []);
    writing.abort();
}

#[tokio::test]
async fn a_connection_without_a_first_request_is_given_up() {
    let limits = Limits { header_read_timeout: millis(100), ..Limits::default() };
    let served = listen(gateway().0, limits).await;
    assert_eq!(rest(&mut served.connect().await).await, "");
}

#[tokio::test]
async fn idleness_between_requests_has_its_own_limit() {
    // Were it the limit of a head, the second request would find the connection closed.
    let limits =
        Limits { header_read_timeout: millis(100), idle_timeout: millis(700), ..Limits::default() };
    let (router, sink) = gateway();
    let served = listen(router, limits).await;
    let mut stream = served.connect().await;
    for _ in 0..2 {
        stream.write_all(&request(b"{}")).await.expect("written");
        assert_eq!(status(&mut stream).await, "200");
        tokio::time::sleep(millis(350)).await;
    }
    assert_eq!(rest(&mut stream).await, "", "and it is closed in the end");
    // The second head is on the clock again.
    let mut stream = served.connect().await;
    stream.write_all(&request(b"{}")).await.expect("written");
    assert_eq!(status(&mut stream).await, "200");
    stream.write_all(b"POST").await.expect("written");
    let begun = tokio::time::Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(begun.elapsed() < millis(600), "{:?}", begun.elapsed());
    assert_eq!(sink.records().len(), 3);
}

#[tokio::test]
async fn a_slow_handler_is_no_idle_client() {
    let limits =
        Limits { header_read_timeout: millis(50), idle_timeout: millis(50), ..Limits::default() };
    let (router, sink) = gateway();
    sink.set(Mode::Hang);
    let served = listen(router, limits).await;
    let mut stream = served.connect().await;
    stream.write_all(&request(b"{}")).await.expect("written");
    tokio::time::sleep(millis(300)).await;
    sink.go.notify_one();
    assert_eq!(status(&mut stream).await, "200");
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_given_up() {
    let limits = Limits { write_timeout: millis(200), ..Limits::default() };
    let (router, _) = gateway();
    let served = listen(router, limits).await;
    let mut stream = served.connect().await;
    // Answers pile up until neither side's kernel takes more, then writing fails.
    let many = b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    let ended = timeout(LONG * 3, async { while stream.write_all(&many).await.is_ok() {} });
    ended.await.expect("the server ends it");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_a_slot_comes_back() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let (router, sink) = gateway();
    let served = listen(router, limits).await;
    let (one, _two) = (served.connect().await, served.connect().await);
    let mut third = served.connect().await;
    third.write_all(&request(b"{}")).await.expect("written");
    let text = rest(&mut third).await;
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("retry-after: 2"), "{text}");
    assert_eq!(sink.records(), []);
    drop(one);
    let accepted = timeout(LONG, async {
        loop {
            let mut again = served.connect().await;
            again.write_all(&request(b"{}")).await.expect("written");
            if status(&mut again).await == "200" {
                break;
            }
        }
    });
    accepted.await.expect("the slot is free again");
}

#[tokio::test]
async fn heads_have_a_size() {
    let served = listen(gateway().0, Limits::default()).await;
    let get = |path: &str, headers: &str| format!("GET /{path} HTTP/1.1\r\n{headers}\r\n");
    let cases = [
        (get(&"x".repeat(15_000), ""), "404"),
        (get(&"x".repeat(17_000), ""), "431"),
        (get("x", &format!("a: {}\r\n", "x".repeat(17_000))), "431"),
        (get("x", &"a: b\r\n".repeat(64)), "404"),
        (get("x", &"a: b\r\n".repeat(65)), "431"),
        ("\u{16}\u{3}\u{1} no HTTP at all\r\n\r\n".to_owned(), "400"),
    ];
    for (text, expected) in cases {
        let mut stream = served.connect().await;
        stream.write_all(text.as_bytes()).await.expect("written");
        let start = &text[..text.len().min(30)];
        assert_eq!(status(&mut stream).await, expected, "{start:?} of {} bytes", text.len());
    }
}

#[tokio::test]
async fn a_large_refused_body_does_not_cost_the_answer() {
    let served = listen(gateway().0, Limits::default()).await;
    let mut stream = served.connect().await;
    let length = format!("content-length: {}", BODY_BYTES_MAX + 1);
    let head = head(&sign(b"", "new"), &length);
    let body = vec![b'x'; BODY_BYTES_MAX + 1];
    // All of it, whatever comes back meanwhile: as a simple client does.
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(&body).await.expect("the rest is taken");
    assert_eq!(status(&mut stream).await, "413");
}

#[tokio::test]
async fn who_ends_its_side_still_has_its_answer() {
    let (router, sink) = gateway();
    let served = listen(router, Limits::default()).await;
    let mut stream = served.connect().await;
    sink.set(Mode::Hang);
    stream.write_all(&request(b"{}")).await.expect("written");
    stream.shutdown().await.expect("half closed");
    tokio::time::sleep(millis(100)).await;
    sink.go.notify_one();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_stop_answers_what_is_open_and_ends_what_is_idle() {
    let (router, sink) = gateway();
    let mut served = listen(router, Limits::default()).await;
    let (mut idle, mut busy) = (served.connect().await, served.connect().await);
    idle.write_all(&request(b"{}")).await.expect("written");
    assert_eq!(status(&mut idle).await, "200");
    sink.set(Mode::Hang);
    busy.write_all(&request(b"{}")).await.expect("written");
    tokio::time::sleep(millis(100)).await;
    served.stop.send_replace(true);
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
    assert!(!served.server.is_finished());
    sink.go.notify_one();
    assert!(rest(&mut busy).await.starts_with("HTTP/1.1 200 "));
    timeout(LONG, &mut served.server).await.expect("ends").expect("no panic");
}
