//! Connections beyond the limit: pages for operators are answered all the same, everything else is
//! told that there are too many.
//!
//! One request, read with little memory and a short clock, and the connection ends. Nothing here
//! takes a record.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use event_listener::Event;
use hyper::StatusCode;
use smol::io::AsyncReadExt;
use smol::net::TcpStream;
use smol::{Timer, future};

use super::{Http, LINGER_MOST, LINGER_REJECTED, finish, linger, reply};
use crate::admin::{Admin, Page};
use crate::codec::http1;
use crate::limits::Place;
use crate::sync::lock;

/// Most of a head that is read, bytes.
const HEAD_BYTES: usize = 8 << 10;
/// How long a connection may say nothing before it is told.
const SILENCE: Duration = Duration::from_millis(250);
/// How long the whole head may take.
const HEAD_TIME: Duration = Duration::from_secs(1);

/// What a client of HTTP/2 is told: its settings are taken, no stream was looked at, and it should
/// be calm (RFC 9113 §6.8, §7).
const GOAWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
    \0\0\x1c\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo many connections";

/// Connections that wait for a reserved place: a bounded queue that loses the oldest.
pub(super) struct Overflow {
    most: usize,
    waiting: Mutex<VecDeque<OwnedFd>>,
    arrived: Event,
}

impl Overflow {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), waiting: Mutex::default(), arrived: Event::new() }
    }

    pub(super) fn push(&self, socket: OwnedFd) {
        let oldest = {
            let mut waiting = lock(&self.waiting);
            let oldest = if waiting.len() == self.most { waiting.pop_front() } else { None };
            waiting.push_back(socket);
            oldest
        };
        drop(oldest);
        self.arrived.notify(1);
    }

    pub(super) async fn next(&self) -> OwnedFd {
        loop {
            let arrived = self.arrived.listen();
            let socket = lock(&self.waiting).pop_front();
            if let Some(socket) = socket {
                return socket;
            }
            arrived.await;
        }
    }
}

/// Answers one request, as long as the place is kept.
pub(super) async fn serve(http: &Http, stream: TcpStream, place: Place) {
    let lost = async {
        place.lost().await;
        tracing::debug!("HTTP connection beyond the limit gave way to a newer one");
    };
    future::or(answer(http, stream), lost).await;
}

async fn answer(http: &Http, mut stream: TcpStream) {
    let mut head = Vec::new();
    read_head(&mut stream, &mut head).await;
    if head.starts_with(b"PRI * HTTP/2.0\r\n\r\n") {
        if finish(&mut stream, GOAWAY).await.is_ok() {
            linger(stream, LINGER_REJECTED, LINGER_MOST).await;
        }
        return;
    }
    let (status, answer) = match &http.admin {
        Some(admin) => page(http, admin, &head),
        None => (503, unavailable("too many connections")),
    };
    http.count_response(status);
    if finish(&mut stream, &answer).await.is_ok() {
        linger(stream, LINGER_REJECTED, LINGER_MOST).await;
    }
}

/// Reads until the head is complete, too large, or too slow.
async fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) {
    let begun = Instant::now();
    let mut piece = [0; 1024];
    while !ends(head) && head.len() < HEAD_BYTES {
        let until = begun + if head.is_empty() { SILENCE } else { HEAD_TIME };
        let read = future::or(async { stream.read(&mut piece).await.ok() }, async {
            Timer::at(until).await;
            None
        });
        match read.await {
            Some(bytes @ 1..) => head.extend_from_slice(&piece[..bytes]),
            Some(0) | None => return,
        }
    }
}

fn ends(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n")
}

/// Answers with the page that a head asks for, or why not.
fn page(http: &Http, admin: &Admin, head: &[u8]) -> (u16, Vec<u8>) {
    let (limits, origins) = &*http.rules.get();
    let limits = (limits.max_header_bytes, limits.max_headers);
    let asked = match http1::page_asked(head, limits, origins) {
        Ok(asked) => asked,
        Err((status, detail)) => {
            let title = StatusCode::from_u16(status).ok().and_then(|it| it.canonical_reason());
            return (status, reply::raw(status, title.unwrap_or("Error"), detail, "").into_bytes());
        }
    };
    let made = asked.and_then(|asked| Some((admin.page(asked.resource.path())?, asked)));
    match made {
        Some((Page::Content(kind, content), asked)) => {
            (200, content_answer(kind, &content, !asked.head_only))
        }
        Some((Page::Unavailable(why), _)) => (503, unavailable(&why)),
        Some((Page::Failed(why), _)) => {
            (500, reply::raw(500, "Internal Server Error", why, "").into_bytes())
        }
        Some((Page::File(..) | Page::Missing(_) | Page::Done, _)) | None => {
            (503, unavailable("too many connections"))
        }
    }
}

fn content_answer(kind: &str, content: &[u8], with_body: bool) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        content.len()
    );
    [head.as_bytes(), if with_body { content } else { b"" }].concat()
}

fn unavailable(why: &str) -> Vec<u8> {
    reply::raw(503, "Service Unavailable", why, "retry-after: 1\r\n").into_bytes()
}
