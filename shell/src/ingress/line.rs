//! The bytes of a connection that a task serves, as they are or in TLS.

use std::io::{IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smol::io::{self, AsyncRead, AsyncWrite};
use smol::net::TcpStream;

use crate::tls::{Broken, Session};

/// Bytes that are read from the socket, or encrypted, at once: a record of TLS.
const PIECE_BYTES: usize = 16 << 10;

/// A socket, and the session of TLS that is spoken over it.
pub(super) struct Line {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
}

struct Tls {
    session: Box<Session>,
    /// What came from the peer and has not been read, from `read` on.
    plain: Vec<u8>,
    read: usize,
    /// What is to be sent, from `sent` on. INVARIANT: empty whenever something is added by a write.
    wire: Vec<u8>,
    sent: usize,
    piece: Box<[u8]>,
    /// The peer was told that nothing more comes.
    is_finished: bool,
}

impl Line {
    pub(super) fn new(stream: TcpStream, session: Option<Box<Session>>) -> Self {
        let tls = session.map(|session| {
            Box::new(Tls {
                session,
                plain: Vec::new(),
                read: 0,
                wire: Vec::new(),
                sent: 0,
                piece: vec![0; PIECE_BYTES].into(),
                is_finished: false,
            })
        });
        Self { stream, tls }
    }

    /// The socket.
    #[cfg(feature = "http2")]
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Takes the socket. What has not been sent is lost.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl Tls {
    /// Sends what is to be sent.
    fn poll_send(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.wire.len() {
            let rest = &self.wire[self.sent..];
            match ready!(Pin::new(&mut *stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.wire.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let unread = &self.plain[self.read..];
            if !unread.is_empty() {
                let count = unread.len().min(into.len());
                into[..count].copy_from_slice(&unread[..count]);
                self.read += count;
                return Poll::Ready(Ok(count));
            }
            self.plain.clear();
            self.read = 0;
            if self.session.has_ended() {
                return Poll::Ready(Ok(0));
            }
            let count = ready!(Pin::new(&mut *stream).poll_read(cx, &mut self.piece))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            let taken = self.session.receive(&self.piece[..count], &mut self.plain);
            if self.session.wants_to_send() {
                self.session.send(&[], &mut self.wire);
                // What does not go now goes with the next write or flush.
                if let Poll::Ready(Err(error)) = self.poll_send(stream, cx) {
                    return Poll::Ready(Err(error));
                }
            }
            if taken == Err(Broken) {
                let error = io::Error::new(io::ErrorKind::InvalidData, "this is not TLS");
                return Poll::Ready(Err(error));
            }
        }
    }

    fn poll_write(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(stream, cx))?;
        let count = bytes.len().min(PIECE_BYTES);
        self.session.send(&bytes[..count], &mut self.wire);
        match self.poll_send(stream, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, tls } = &mut *self;
        match tls {
            None => Pin::new(stream).poll_read(cx, into),
            Some(tls) => tls.poll_read(stream, cx, into),
        }
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = into.iter_mut().find(|slice| !slice.is_empty());
        self.poll_read(cx, first.map_or(&mut [], |slice| &mut **slice))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, tls } = &mut *self;
        match tls {
            None => Pin::new(stream).poll_write(cx, bytes),
            Some(tls) => tls.poll_write(stream, cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, tls } = &mut *self;
        match tls {
            None => Pin::new(stream).poll_write_vectored(cx, bytes),
            Some(tls) => {
                let first = bytes.iter().find(|slice| !slice.is_empty());
                tls.poll_write(stream, cx, first.map_or(&[], |slice| slice))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, tls } = &mut *self;
        if let Some(tls) = tls {
            ready!(tls.poll_send(stream, cx))?;
        }
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, tls } = &mut *self;
        if let Some(tls) = tls {
            if !std::mem::replace(&mut tls.is_finished, true) {
                tls.session.finish(&mut tls.wire);
            }
            ready!(tls.poll_send(stream, cx))?;
        }
        Pin::new(stream).poll_close(cx)
    }
}
