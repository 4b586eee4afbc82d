//! What a connection is doing and until when it may: the clock behind every timeout of a
//! connection.
//!
//! It watches the bytes go by and decides nothing else.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use smol::io::{self, AsyncRead, AsyncWrite};
use smol::net::TcpStream;

use super::HttpLimits;
use crate::sync::lock;

/// Where a connection is. Silent → Head (first bytes) → Busy (head complete) → Idle (response
/// handed over) → Head …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It never sent a byte: what it has is the time for a head, not that between requests.
    Silent,
    Idle,
    Head,
    Busy,
}

struct State {
    phase: Phase,
    since: Instant,
    /// Set while the peer takes no bytes.
    stuck_since: Option<Instant>,
}

/// Shared by the stream, the service and the watchdog of one connection.
pub(super) struct Activity(Mutex<State>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            phase: Phase::Silent,
            since: Instant::now(),
            stuck_since: None,
        })))
    }

    fn enter(&self, phase: Phase) {
        let mut state = lock(&self.0);
        state.phase = phase;
        state.since = Instant::now();
    }

    /// The head of a request is complete.
    pub(super) fn busy(&self) {
        self.enter(Phase::Busy);
    }

    fn received(&self) {
        let mut state = lock(&self.0);
        if matches!(state.phase, Phase::Silent | Phase::Idle) {
            state.phase = Phase::Head;
            state.since = Instant::now();
        }
    }

    fn sent(&self, stuck: bool) {
        let mut state = lock(&self.0);
        state.stuck_since = stuck.then(|| state.stuck_since.unwrap_or_else(Instant::now));
    }

    /// Whether the peer takes no bytes.
    pub(super) fn is_stuck(&self) -> bool {
        lock(&self.0).stuck_since.is_some()
    }

    /// When the connection has had its time; never, while a request is worked on (it has a clock of
    /// its own).
    pub(super) fn deadline(&self, limits: &HttpLimits) -> Option<Instant> {
        let state = lock(&self.0);
        let stuck = state.stuck_since.map(|since| since + limits.body_timeout);
        let phase = match state.phase {
            Phase::Idle => Some(state.since + limits.keep_alive_timeout),
            Phase::Silent | Phase::Head => Some(state.since + limits.header_timeout),
            Phase::Busy => None,
        };
        stuck.into_iter().chain(phase).min()
    }
}

/// A stream that reports what goes through it.
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if let Poll::Ready(Ok(1..)) = read {
            self.activity.received();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.activity.sent(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.activity.sent(written.is_pending());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// A response body; when it is dropped, the connection has all of it or is gone.
pub(super) struct LastBytes {
    body: Full<Bytes>,
    activity: Arc<Activity>,
}

impl LastBytes {
    pub(super) fn new(body: Full<Bytes>, activity: Arc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl Drop for LastBytes {
    fn drop(&mut self) {
        self.activity.enter(Phase::Idle);
    }
}

impl Body for LastBytes {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
