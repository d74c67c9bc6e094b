//! Connections: how many, how long, how large. Whoever holds one without using it loses it.
//!
//! ```text
//! accept ─▶ slot? ──no──▶ 503, closed
//!             │yes
//!             ▼
//!        ┌─▶ head, in header_read_timeout from its first byte ─▶ router ─▶ answer taken,
//!        │                                                                  in write_timeout
//!        └──────────── idle, up to idle_timeout ◀───────────────────────────────┘
//! ```
//!
//! Reading order: [`Limits`] and [`serve`], then `connection` (one of them), `guard` (its deadlines).

mod connection;
mod guard;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Path;

/// Connections that may be told at once that there is no slot; those beyond are closed silently.
const REFUSALS_MAX: usize = 64;

/// Pause after a failed `accept`, which mostly means that the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; one more is answered with 503 and closed.
    pub connections_max: usize,
    /// From the first byte of a request's head to its last one; for the first request of a
    /// connection, from its acceptance.
    pub header_read_timeout: Duration,
    /// How long a connection may be without a request. Longer than a load balancer in front keeps
    /// its idle connections, or it meets one that has just been closed.
    pub idle_timeout: Duration,
    /// How long a client may refuse to take the bytes of an answer.
    pub write_timeout: Duration,
    /// Request line and headers together, bytes; more is answered with 431. 8,192 or more.
    pub header_bytes_max: usize,
    /// Headers of a request; more are answered with 431.
    pub headers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(10),
            header_bytes_max: 16 * 1024,
            headers_max: 64,
        }
    }
}

/// Serves `router`, and tells `path` whom it could not serve, until `stop` turns true, then waits until the open requests are answered. Idle
/// connections are closed at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    path: Arc<Path>,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let limits = Arc::new(limits);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                missed(&error, &path).await;
                continue;
            }
        };
        match slots.clone().try_acquire_owned() {
            Ok(slot) => {
                let (router, limits) = (router.clone(), limits.clone());
                let stop = stop.clone();
                connections.spawn(async move {
                    let open = metrics::gauge!("sendplane_gateway_connections");
                    open.increment(1);
                    connection::run(stream, router, &limits, stop).await;
                    open.decrement(1);
                    drop(slot);
                });
            }
            Err(_) => {
                path.turned_away();
                refuse(stream, &refusals);
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Returns once `stop` is true, or its sender gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A client may have gone before it was accepted; anything else concerns us.
async fn missed(error: &std::io::Error, path: &Path) {
    use std::io::ErrorKind;
    let gone = [
        ErrorKind::ConnectionAborted,
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
        ErrorKind::Interrupted,
    ];
    if !gone.contains(&error.kind()) {
        path.turned_away();
        metrics::counter!("sendplane_gateway_accept_failed_total").increment(1);
        tracing::warn!(%error, "a connection cannot be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

fn refuse(stream: TcpStream, refusals: &Arc<Semaphore>) {
    metrics::counter!("sendplane_gateway_connections_refused_total").increment(1);
    if let Ok(turn) = refusals.clone().try_acquire_owned() {
        tokio::spawn(async move {
            connection::refuse(stream).await;
            drop(turn);
        });
    }
}
