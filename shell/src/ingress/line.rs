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

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::sync::{Arc, Mutex};

    use hyper::body::Bytes;
    use smol::future::{or, poll_once};
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    use smol::net::TcpListener;

    use super::super::watched::{Watch, Watched};
    use super::*;
    use crate::sync::lock;
    use crate::tls::{Acceptor, TlsSettings};

    /// Whether the connection was said to be stuck, each time.
    #[derive(Default)]
    struct Said(Mutex<Vec<bool>>);

    impl Watch for Said {
        fn received(&self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn sent(&self, stuck: bool) {
            lock(&self.0).push(stuck);
        }
    }

    #[test]
    fn who_watches_is_told_of_bytes_that_wait_in_tls() {
        smol::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
            let address = listener.local_addr().expect("an address");
            let mut peer = TcpStream::connect(address).await.expect("connected");
            let (stream, _) = listener.accept().await.expect("accepted");
            let made = Acceptor::read(&TlsSettings::SelfSigned, &[]).expect("made");
            let mut line = Line::new(stream, made.session().map(Box::new));
            // More than the sockets have room for, as after a write that was taken.
            line.tls.as_mut().expect("TLS").wire = vec![0; 32 << 20];
            let said = Arc::new(Said::default());
            let mut watched = Watched::new(line, Bytes::new(), Arc::clone(&said));
            assert!(poll_once(watched.flush()).await.is_none());
            assert_eq!(*lock(&said.0), [true]);
            let reads = async {
                let mut room = vec![0; 1 << 20];
                while peer.read(&mut room).await? > 0 {}
                Err(io::ErrorKind::UnexpectedEof.into())
            };
            or(watched.flush(), reads).await.expect("flushed");
            assert_eq!(lock(&said.0).last(), Some(&false));
            let before = lock(&said.0).len();
            watched.flush().await.expect("nothing waits");
            assert_eq!(lock(&said.0).len(), before, "there was nothing to say");
        });
    }
}
