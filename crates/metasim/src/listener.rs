//! A TCP listener whose connections can be cut from a handler, and which can really refuse.
//!
//! A handler that wants no answer marks its connection and returns: the next write fails, hyper
//! drops the connection, and the client sees it close. HTTP/1 has one answer at a time per
//! connection, so the mark concerns the request at hand.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How a connection ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cut {
    /// An orderly close (FIN).
    Close = 1,
    /// A reset (RST).
    Reset = 2,
}

/// A handler's hold on its connection.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<AtomicU8>);

impl Link {
    /// Ends the connection instead of writing the answer that the handler is about to return.
    pub(crate) fn cut(&self, how: Cut) {
        self.0.store(how as u8, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, FaultListener>> for Link {
    fn connect_info(stream: IncomingStream<'_, FaultListener>) -> Self {
        stream.io().link.clone()
    }
}

/// A listener that closes its socket while `refuse` is true, so that clients get "connection
/// refused", and takes the same address again afterwards.
pub(crate) struct FaultListener {
    listener: Option<TcpListener>,
    addr: SocketAddr,
    refuse: watch::Receiver<bool>,
}

/// Between attempts to take the address again, or to accept after an error such as too many files.
const RETRY: Duration = Duration::from_millis(20);

impl FaultListener {
    pub(crate) async fn bind(addr: SocketAddr, refuse: watch::Receiver<bool>) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok(Self { listener: Some(listener), addr, refuse })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Listener for FaultListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            if *self.refuse.borrow_and_update() {
                self.listener = None;
                if self.refuse.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            }
            let Some(listener) = &self.listener else {
                match TcpListener::bind(self.addr).await {
                    Ok(listener) => self.listener = Some(listener),
                    Err(err) => {
                        tracing::warn!(%err, addr = %self.addr, "address not free yet");
                        tokio::time::sleep(RETRY).await;
                    }
                }
                continue;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Ok(()) = self.refuse.changed() => continue,
            };
            match accepted {
                Ok((stream, peer)) => return (Connection::new(stream), peer),
                Err(err) => {
                    tracing::warn!(%err, "accept failed");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}

/// A connection that can be cut.
pub(crate) struct Connection {
    stream: TcpStream,
    link: Link,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        // Answers are small and latency is part of the model; without this they would be delayed.
        if let Err(err) = stream.set_nodelay(true) {
            tracing::debug!(%err, "TCP_NODELAY not set");
        }
        Self { stream, link: Link(Arc::new(AtomicU8::new(0))) }
    }

    fn check(&self) -> io::Result<()> {
        match self.link.0.load(Ordering::Acquire) {
            0 => return Ok(()),
            how if how == Cut::Reset as u8 => self.stream.set_zero_linger()?,
            _ => {}
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
