//! The life of one connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::ServiceExt;

use super::guard::{Guard, Turns};
use super::{Limits, stopped};
use crate::gateway::{BODY_BYTES_MAX, RETRY_AFTER_SECS};

/// How long, and for how many bytes, a client is listened to that has its last answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;

type Answer = Pin<Box<dyn Future<Output = Result<Response, std::convert::Infallible>> + Send>>;

/// Serves requests until the client leaves, breaks a limit, or `stop` turns true and the request in
/// work is answered.
pub(super) async fn run(
    stream: TcpStream,
    router: Router,
    limits: &Limits,
    mut stop: watch::Receiver<bool>,
) {
    // An answer is one small packet that nothing may hold back.
    let _ = stream.set_nodelay(true);
    let turns = Turns::default();
    let guard = Guard::new(stream, turns.clone(), limits);
    let service = service_fn(move |request: Request<Incoming>| -> Answer {
        let turn = turns.begin();
        let router = router.clone();
        Box::pin(async move {
            let answer = router.oneshot(request.map(Body::new)).await;
            drop(turn);
            answer
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper's clock would also run between requests; the guard tells the two apart.
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes_max)
        .max_header_size(limits.header_bytes_max)
        .max_headers(limits.headers_max)
        // Who says that nothing more comes still waits for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(guard), service);
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
    let guard = connection.into_parts().io.into_inner();
    if let Some(stream) = guard.into_uncut() {
        linger(stream).await;
    }
}

/// Says that there is no slot.
pub(super) async fn refuse(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: {RETRY_AFTER_SECS}\r\n\
         connection: close\r\ncontent-length: 0\r\n\r\n"
    );
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(answer.as_bytes())).await {
        linger(stream).await;
    }
}

/// Ends our side and listens for a while. Closing at once while a refused body still comes in would
/// reset the connection, and the client would lose the answer that says why.
async fn linger(mut stream: TcpStream) {
    let discard = async {
        stream.shutdown().await?;
        let mut scrap = vec![0; 16 * 1024];
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX {
            match stream.read(&mut scrap).await? {
                0 => break,
                count => discarded += count,
            }
        }
        std::io::Result::Ok(())
    };
    // Neither a client that stays nor one that is gone matters any more.
    let _ = timeout(LINGER, discard).await;
}
