//! Deadlines of a connection's bytes.
//!
//! While a request is in work its handler decides how long to wait. Before and between requests
//! this guard does: the first byte of a head starts a deadline that only the whole head lifts.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Limits;

/// Counts the begins and ends of requests on one connection: odd while one is in work.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<AtomicU64>);

/// A request in work.
#[derive(Debug)]
pub(super) struct Turn(Turns);

impl Turns {
    /// The head of a request is complete.
    pub fn begin(&self) -> Turn {
        self.0.fetch_add(1, Ordering::Relaxed);
        Turn(self.clone())
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// The rest of a head.
    Head,
    /// Another request.
    Request,
    /// That it takes the answer.
    Taking,
}

impl Awaited {
    fn label(self) -> &'static str {
        match self {
            Awaited::Head => "header_timeout",
            Awaited::Request => "idle_timeout",
            Awaited::Taking => "write_timeout",
        }
    }
}

/// A running deadline.
struct Deadline {
    awaited: Awaited,
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    fn start(awaited: Awaited, limit: Duration) -> Self {
        Self { awaited, sleep: Box::pin(tokio::time::sleep(limit)) }
    }
}

/// A stream that ends with [`ErrorKind::TimedOut`] when a deadline passes.
pub(super) struct Guard {
    stream: TcpStream,
    turns: Turns,
    /// The turn to which the deadline of reading belongs.
    turn: u64,
    reading: Option<Deadline>,
    writing: Option<Deadline>,
    header_read_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    cut: bool,
}

impl Guard {
    pub fn new(stream: TcpStream, turns: Turns, limits: &Limits) -> Self {
        Self {
            stream,
            turn: turns.count(),
            turns,
            // The first request is due at once.
            reading: Some(Deadline::start(Awaited::Head, limits.header_read_timeout)),
            writing: None,
            header_read_timeout: limits.header_read_timeout,
            idle_timeout: limits.idle_timeout,
            write_timeout: limits.write_timeout,
            cut: false,
        }
    }

    /// The stream, unless a deadline has passed.
    pub fn into_uncut(self) -> Option<TcpStream> {
        (!self.cut).then_some(self.stream)
    }

    /// Polls a deadline; an error when it has passed.
    fn check(
        deadline: &mut Option<Deadline>,
        cut: &mut bool,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let Some(running) = deadline else { return Ok(()) };
        if running.sleep.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        let label = running.awaited.label();
        metrics::counter!("sendplane_gateway_connections_cut_total", "reason" => label)
            .increment(1);
        *cut = true;
        Err(io::Error::new(ErrorKind::TimedOut, label))
    }

    /// Polls `write` against the deadline of an answer that nobody takes.
    fn poll_sending<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(sent) = write(Pin::new(&mut self.stream), cx) {
            self.writing = None;
            return Poll::Ready(sent);
        }
        let limit = self.write_timeout;
        self.writing.get_or_insert_with(|| Deadline::start(Awaited::Taking, limit));
        Self::check(&mut self.writing, &mut self.cut, cx)?;
        Poll::Pending
    }
}

impl AsyncRead for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        let turn = guard.turns.count();
        if turn != guard.turn {
            guard.turn = turn;
            guard.reading = None;
        }
        if turn % 2 == 1 {
            return Pin::new(&mut guard.stream).poll_read(cx, buffer);
        }
        // Before the read: bytes that come for ever must not keep the deadline from being looked at.
        Guard::check(&mut guard.reading, &mut guard.cut, cx)?;
        let filled = buffer.filled().len();
        let read = Pin::new(&mut guard.stream).poll_read(cx, buffer);
        let awaited = guard.reading.as_ref().map(|deadline| deadline.awaited);
        let (needed, limit) = match &read {
            Poll::Ready(Ok(())) if buffer.filled().len() > filled => {
                (Awaited::Head, guard.header_read_timeout)
            }
            Poll::Ready(_) => return read,
            Poll::Pending => (Awaited::Request, guard.idle_timeout),
        };
        // A head that has begun stays the thing awaited.
        if awaited.is_none() || (awaited, needed) == (Some(Awaited::Request), Awaited::Head) {
            guard.reading = Some(Deadline::start(needed, limit));
            Guard::check(&mut guard.reading, &mut guard.cut, cx)?;
        }
        read
    }
}

impl AsyncWrite for Guard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_sending(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_sending(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sending(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
