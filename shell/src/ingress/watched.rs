//! The bytes of a connection that a task serves, reported as they go by.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use smol::io::{self, AsyncRead, AsyncWrite};

use super::line::Line;

/// Reads in a row after which others have their turn: a peer that always has bytes ready must not
/// keep a thread for itself.
const READS_IN_A_ROW: u32 = 32;

/// What a connection is told of its own bytes.
pub(super) trait Watch {
    /// These bytes have been received. An error ends the connection.
    fn received(&self, bytes: &[u8]) -> io::Result<()>;

    /// Bytes were to be sent; `stuck`: there is no room for them now.
    fn sent(&self, stuck: bool);

    /// The peer has ended its sending side. Whoever reads is told when this is ready.
    fn ends(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// A socket, with bytes that were read from it before, that reports what goes through it.
pub(super) struct Watched<W> {
    line: Line,
    read_before: Bytes,
    watch: Arc<W>,
    reads: u32,
    has_ended: bool,
    /// A flush has found no room for bytes that were taken.
    is_owing: bool,
}

impl<W: Watch> Watched<W> {
    pub(super) fn new(line: Line, read_before: Bytes, watch: Arc<W>) -> Self {
        Self { line, read_before, watch, reads: 0, has_ended: false, is_owing: false }
    }

    /// Returns the socket and what is spoken over it.
    pub(super) fn into_line(self) -> Line {
        self.line
    }
}

impl<W: Watch> AsyncRead for Watched<W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.read_before.is_empty() {
            let count = into.len().min(self.read_before.len());
            into[..count].copy_from_slice(&self.read_before.split_to(count));
            return Poll::Ready(self.watch.received(&into[..count]).map(|()| count));
        }
        if self.has_ended {
            return self.watch.ends(cx).map(|()| Ok(0));
        }
        if self.reads == READS_IN_A_ROW {
            self.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.line).poll_read(cx, into);
        self.reads = if read.is_pending() { 0 } else { self.reads + 1 };
        match read {
            Poll::Ready(Ok(count @ 1..)) => {
                Poll::Ready(self.watch.received(&into[..count]).map(|()| count))
            }
            Poll::Ready(Ok(0)) if !into.is_empty() => {
                self.has_ended = true;
                self.watch.ends(cx).map(|()| Ok(0))
            }
            other => other,
        }
    }
}

impl<W: Watch> AsyncWrite for Watched<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.line).poll_write(cx, bytes);
        self.watch.sent(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.line).poll_write_vectored(cx, bytes);
        self.watch.sent(written.is_pending());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.line).poll_flush(cx);
        // In TLS, bytes that were taken may wait here. What a write has found is not for a flush to
        // say, which knows only of these.
        if flushed.is_pending() || std::mem::take(&mut self.is_owing) {
            self.is_owing = flushed.is_pending();
            self.watch.sent(self.is_owing);
        }
        flushed
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_close(cx)
    }
}

/// The body of an answer. Drops `G` when the connection has taken all of it, or is gone.
pub(super) struct Tail<G, B = Full<Bytes>> {
    body: B,
    _until_taken: G,
}

impl<G, B> Tail<G, B> {
    pub(super) fn new(body: B, until_taken: G) -> Self {
        Self { body, _until_taken: until_taken }
    }
}

impl<G: Unpin, B: Body<Data = Bytes> + Unpin> Body for Tail<G, B> {
    type Data = Bytes;
    type Error = B::Error;

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
