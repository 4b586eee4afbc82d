//! What operators ask: `/healthz`, `/readyz`, `/metrics`, `/v1/status`, answered by one thread.
//!
//! It only reads numbers, so it answers while a delivery hangs; and it waits for no peer alone, so
//! that one that is silent or slow keeps no other from its answer.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::metrics::{Flow, Metrics, Readiness};

/// How long one peer may take, from its connection to the end of its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most peers at once: one more takes the place of the one that came first.
const PEERS_MAX: usize = 64;
/// Bytes of a request that are looked at.
const HEAD_BYTES: usize = 4096;
/// How long nobody is accepted when the system refuses it.
const REFUSED: Duration = Duration::from_millis(100);

/// Serves the pages until the process ends.
///
/// # Errors
/// The system refuses the thread.
pub fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    flow: Flow,
    limits: Readiness,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let pages = Pages { metrics, flow, limits };
    let mut peers = Peers { listener, peers: VecDeque::new() };
    let serve = move || {
        loop {
            peers.turn(&pages);
        }
    };
    std::thread::Builder::new().name("forward-admin".to_owned()).spawn(serve).map(|_| ())
}

/// Whoever is connected, the first that came first.
struct Peers {
    listener: TcpListener,
    /// INVARIANT: at most [`PEERS_MAX`].
    peers: VecDeque<Peer>,
}

impl Peers {
    /// Waits until somebody can go on or has had its time, and does what can be done.
    fn turn(&mut self, pages: &Pages) {
        let Ok(is_ready) = self.wait() else {
            // As where the system has no memory for the wait.
            self.peers.pop_front();
            std::thread::sleep(REFUSED);
            return;
        };
        let now = Instant::now();
        let mut of_peers = is_ready[1..].iter();
        self.peers.retain_mut(|peer| {
            let is_ready = of_peers.next().is_some_and(|is| *is);
            // One that hangs up loses its answer.
            peer.until > now && (!is_ready || peer.go_on(pages).unwrap_or(false))
        });
        if is_ready[0] {
            self.accept();
        }
    }

    /// Returns who is ready: the listener first, then the peers.
    fn wait(&self) -> io::Result<Vec<bool>> {
        let of_peers = self.peers.iter().map(|peer| PollFd::new(&peer.stream, peer.waits_for()));
        let mut all: Vec<_> =
            [PollFd::new(&self.listener, PollFlags::IN)].into_iter().chain(of_peers).collect();
        let first = self.peers.iter().map(|peer| peer.until).min();
        let left = first.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut all, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(all.iter().map(|one| !one.revents().is_empty()).collect())
    }

    fn accept(&mut self) {
        // Not without a bound: those that are here have their turn.
        for _ in 0..PEERS_MAX {
            let accepted = self.listener.accept().and_then(|(stream, _)| Peer::new(stream));
            match accepted {
                Ok(peer) => {
                    if self.peers.len() >= PEERS_MAX {
                        self.peers.pop_front();
                    }
                    self.peers.push_back(peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // No descriptor is left, for instance.
                    if self.peers.pop_front().is_none() {
                        std::thread::sleep(REFUSED);
                    }
                    return;
                }
            }
        }
    }
}

/// What a peer is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its request is read.
    Asking,
    /// It is answered.
    Answering,
    /// What it still sends is read, for a close before would take the answer back.
    Parting,
}

struct Peer {
    stream: TcpStream,
    until: Instant,
    step: Step,
    /// The request, then what is left of the answer.
    bytes: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let until = Instant::now() + PATIENCE;
        Ok(Self { stream, until, step: Step::Asking, bytes: Vec::new() })
    }

    const fn waits_for(&self) -> PollFlags {
        match self.step {
            Step::Asking | Step::Parting => PollFlags::IN,
            Step::Answering => PollFlags::OUT,
        }
    }

    /// Does what is to be done next, without waiting. Returns whether there is more.
    fn go_on(&mut self, pages: &Pages) -> io::Result<bool> {
        match self.step_on(pages) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(true)
            }
            done => done,
        }
    }

    fn step_on(&mut self, pages: &Pages) -> io::Result<bool> {
        let mut piece = [0; 1024];
        if self.step == Step::Answering {
            let written = self.stream.write(&self.bytes)?;
            self.bytes.drain(..written);
            if self.bytes.is_empty() {
                self.stream.shutdown(Shutdown::Write)?;
                self.step = Step::Parting;
            }
            return Ok(true);
        }
        let read = self.stream.read(&mut piece)?;
        if self.step == Step::Parting {
            return Ok(read > 0);
        }
        self.bytes.extend_from_slice(&piece[..read]);
        if self.bytes.windows(4).any(|four| four == b"\r\n\r\n") {
            self.bytes = pages.answer(&self.bytes)?;
            self.step = Step::Answering;
            return Ok(true);
        }
        Ok(read > 0 && self.bytes.len() < HEAD_BYTES)
    }
}

/// What is asked for.
struct Pages {
    metrics: Arc<Metrics>,
    flow: Flow,
    limits: Readiness,
}

impl Pages {
    /// Answers a request, by its head.
    fn answer(&self, head: &[u8]) -> io::Result<Vec<u8>> {
        let Self { metrics, flow, limits } = self;
        let limits = *limits;
        let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
        let mut words = line.split(|&byte| byte == b' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
        let (status, media_type, body) = match (method, path) {
            (b"GET" | b"HEAD", b"/healthz") => ("200 OK", "text/plain", "ok\n".to_owned()),
            (b"GET" | b"HEAD", b"/readyz") => match metrics.unready(limits) {
                None => ("200 OK", "application/json", "{\"ready\":true}\n".to_owned()),
                Some(detail) => {
                    let detail = serde_json::json!({"ready": false, "detail": detail});
                    ("503 Service Unavailable", "application/json", format!("{detail}\n"))
                }
            },
            (b"GET" | b"HEAD", b"/metrics") => {
                ("200 OK", "text/plain; version=0.0.4", metrics.page(&flow.sink, limits))
            }
            (b"GET" | b"HEAD", b"/v1/status") => {
                let status = serde_json::to_string(&metrics.status(flow, limits));
                ("200 OK", "application/json", status.map_err(io::Error::other)?)
            }
            (b"GET" | b"HEAD", _) => ("404 Not Found", "text/plain", "no such page\n".to_owned()),
            _ => ("405 Method Not Allowed", "text/plain", "GET\n".to_owned()),
        };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        if method != b"HEAD" {
            answer.push_str(&body);
        }
        Ok(answer.into_bytes())
    }
}
