//! The request body as a gate: it opens once, in time, and remembers whether it did.
//!
//! The HTTP client asks for the body when a connection is established and the request is being
//! written to it. That is the last moment at which a call can still be kept from starting, so the
//! deadline is checked there (I3). As long as the gate has not opened, no byte of the body has left
//! this process, and a request without its body is none: the call is proven unsent, whatever error
//! the client reports. A client that took the request back and tried another connection by itself
//! would find the same gate.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The body still waits here.
    Waiting,
    /// The body was handed to an established connection.
    Opened(Instant),
    /// It never will be.
    Closed,
}

/// The caller's side.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Mutex<State>>);

impl Gate {
    /// A gate in front of `content`, which opens before `start_by` only.
    pub fn new(content: Bytes, start_by: Instant) -> (Self, GatedBody) {
        let gate = Self(Arc::new(Mutex::new(State::Waiting)));
        let body = GatedBody { gate: gate.clone(), content: Some(content), start_by };
        (gate, body)
    }

    /// When the body was handed over; `None` proves that it was not, and closes the gate for good.
    pub fn opened_or_close(&self) -> Option<Instant> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Opened(at) => Some(at),
            State::Waiting | State::Closed => {
                *state = State::Closed;
                None
            }
        }
    }

    fn open(&self, start_by: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match *state {
            State::Waiting if now < start_by => {
                *state = State::Opened(now);
                true
            }
            State::Waiting => {
                *state = State::Closed;
                false
            }
            State::Opened(_) | State::Closed => false,
        }
    }
}

/// The gate is closed: the connection is dropped with the request half written.
#[derive(Debug)]
pub(crate) struct TooLate;

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time to start the call is over")
    }
}

impl std::error::Error for TooLate {}

/// The client's side: one frame, or an error.
pub(crate) struct GatedBody {
    gate: Gate,
    content: Option<Bytes>,
    start_by: Instant,
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        let Some(content) = self.content.take() else {
            return Poll::Ready(None);
        };
        if self.gate.open(self.start_by) {
            Poll::Ready(Some(Ok(Frame::data(content))))
        } else {
            Poll::Ready(Some(Err(TooLate)))
        }
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_none()
    }

    /// Exact, so that the request carries its `content-length`.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.as_ref().map_or(0, |content| content.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    async fn next(body: &mut GatedBody) -> Option<Result<Bytes, TooLate>> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        Some(frame.map(|frame| frame.into_data().expect("data only")))
    }

    fn gate(start_in: Duration) -> (Gate, GatedBody) {
        Gate::new(Bytes::from_static(b"{}"), Instant::now() + start_in)
    }

    #[tokio::test(start_paused = true)]
    async fn opens_in_time_and_once() {
        let (gate, mut body) = gate(Duration::from_secs(2));
        assert_eq!(body.size_hint().exact(), Some(2));
        tokio::time::advance(Duration::from_millis(1_999)).await;
        let opened_at = Instant::now();
        assert!(matches!(next(&mut body).await, Some(Ok(data)) if data == "{}"));
        assert!(next(&mut body).await.is_none() && body.is_end_stream());
        assert_eq!(gate.opened_or_close(), Some(opened_at));
        assert_eq!(gate.opened_or_close(), Some(opened_at), "asking does not close an open gate");
    }

    #[tokio::test(start_paused = true)]
    async fn stays_closed_when_the_time_is_over() {
        let (gate, mut body) = gate(Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(matches!(next(&mut body).await, Some(Err(TooLate))));
        assert_eq!(gate.opened_or_close(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn stays_closed_once_the_caller_relies_on_it() {
        let (gate, mut body) = gate(Duration::from_secs(2));
        assert_eq!(gate.opened_or_close(), None);
        assert!(matches!(next(&mut body).await, Some(Err(TooLate))));
    }
}
