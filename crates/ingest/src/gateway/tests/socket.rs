//! Bodies whose bytes come slowly, without end, or not at all.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connections::{Served, listen};
use super::server::Limits;
use super::*;

/// A connection to a gateway that gives up bodies after `patience`.
async fn serve(patience: Duration) -> (TcpStream, Arc<FakeSink>, Served) {
    let settings =
        GatewaySettings { body_read_timeout: patience, ..GatewaySettings::new("ingest-0") };
    let (router, sink) = gateway_with(settings);
    let served = listen(router, Limits::default()).await;
    (served.connect().await, sink, served)
}

pub(super) fn head(signature: &str, length: &str) -> String {
    format!(
        "POST /webhooks/main HTTP/1.1\r\nhost: x\r\nx-hub-signature-256: {signature}\r\n{length}\r\n\r\n"
    )
}

/// The status code of the next answer, all of which have an empty body.
pub(super) async fn status(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(10), stream.read_u8());
        head.push(byte.await.expect("an answer in time").expect("an answer"));
    }
    let line = String::from_utf8_lossy(&head).into_owned();
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let (mut stream, sink, _served) = serve(Duration::from_millis(100)).await;
    let body = b"{\"entry\":[]}";
    let length = format!("content-length: {}", body.len());
    stream.write_all(head(&sign(body, "new"), &length).as_bytes()).await.expect("written");
    stream.write_all(&body[..3]).await.expect("written");
    assert_eq!(status(&mut stream).await, "408");
    assert_eq!(sink.records(), []);
}

#[tokio::test]
async fn a_body_in_pieces_is_one_body() {
    let (mut stream, sink, _served) = serve(Duration::from_secs(5)).await;
    let body = b"{\"entry\":[{\"id\":7}]}";
    let head = head(&sign(body, "new"), "transfer-encoding: chunked");
    stream.write_all(head.as_bytes()).await.expect("written");
    for byte in body {
        stream.write_all(format!("1\r\n{}\r\n", *byte as char).as_bytes()).await.expect("written");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("written");
    assert_eq!(status(&mut stream).await, "200");
    let (record, webhook) = sink.only();
    assert_eq!((record.key.as_str(), &webhook.body[..]), ("7", &body[..]));
}

#[tokio::test]
async fn a_body_without_announced_length_is_cut_at_the_limit() {
    let (mut stream, sink, _served) = serve(Duration::from_secs(5)).await;
    let head = head(&sign(b"", "new"), "transfer-encoding: chunked");
    stream.write_all(head.as_bytes()).await.expect("written");
    let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b'x'; 1 << 20], b"\r\n".to_vec()];
    let chunk = chunk.concat();
    for _ in 0..3 {
        stream.write_all(&chunk).await.expect("within the limit");
    }
    // One byte more, and no end: the answer must not wait for it.
    stream.write_all(b"1\r\nx\r\n").await.expect("written");
    assert_eq!(status(&mut stream).await, "413");
    assert_eq!(sink.records(), []);
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_refused_unread() {
    let (mut stream, _, _served) = serve(Duration::from_secs(5)).await;
    let length = format!("content-length: {}", BODY_BYTES_MAX + 1);
    stream.write_all(head(&sign(b"", "new"), &length).as_bytes()).await.expect("written");
    assert_eq!(status(&mut stream).await, "413");
}

#[tokio::test]
async fn a_broken_body_is_not_published() {
    let (mut stream, sink, _served) = serve(Duration::from_secs(5)).await;
    let head = head(&sign(b"", "new"), "transfer-encoding: chunked");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(b"zz\r\n").await.expect("written");
    assert_eq!(status(&mut stream).await, "400");
    assert_eq!(sink.records(), []);
}
