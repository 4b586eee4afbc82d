//! The same bytes by another implementation of HTTP/1.1: hyper, over memory.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::{HeaderMap, Request, Response};

/// Longer than any input needs.
const POLLS_MAX: usize = 100_000;

/// A request whose body came to its end.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// The path of its target.
    pub path: String,
    /// Its header fields.
    pub fields: HeaderMap,
    /// Its whole body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The only value of a field; `None` if it is not there, or not once.
    pub fn only(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.fields.get_all(name).iter();
        let value = values.next()?;
        values.next().is_none().then(|| value.as_bytes())
    }
}

/// The requests that hyper finds in a whole connection.
pub fn requests(bytes: &[u8]) -> Vec<Seen> {
    let seen = RefCell::new(Vec::new());
    let service = hyper::service::service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        if let Ok(body) = body.collect().await {
            seen.borrow_mut().push(Seen {
                method: head.method.as_str().to_owned(),
                path: head.uri.path().to_owned(),
                fields: head.headers,
                body: body.to_bytes().to_vec(),
            });
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    {
        let connection =
            http1::Builder::new().half_close(true).serve_connection(Memory(bytes), service);
        let mut connection = pin!(connection);
        let mut context = Context::from_waker(Waker::noop());
        // Memory is always ready, so whatever is pending goes on when it is asked again.
        let _ = (0..POLLS_MAX).find(|_| connection.as_mut().poll(&mut context).is_ready());
    }
    seen.into_inner()
}

/// What is left to read. What is written is forgotten.
struct Memory<'a>(&'a [u8]);

impl Read for Memory<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let (piece, rest) = self.0.split_at(self.0.len().min(buffer.remaining()));
        buffer.put_slice(piece);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
