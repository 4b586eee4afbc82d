//! An HTTP service that keeps what it is sent, and answers as a test says.
#![allow(dead_code, unreachable_pub, reason = "as in `common`")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: Vec<(String, String)>,
    pub path: String,
    pub body: Vec<u8>,
    /// Counts the requests.
    pub number: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The lines of the body.
    pub fn lines(&self) -> Vec<String> {
        let text = std::str::from_utf8(&self.body).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }
}

/// What a service does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status, with more heads.
    Status(u16, &'static str),
    /// A status, with a page of so many bytes.
    Page(u16, usize),
    /// The same, and a moment later the connection is closed without a word about it.
    ThenHangUp(u16),
    /// Nothing: the connection ends.
    HangUp,
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// Gone when dropped, with its connections: nobody listens any more.
pub struct Service {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

struct Shared {
    handler: Box<Handler>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    /// Requests that are being answered, and the most that ever were.
    active: Mutex<(usize, usize)>,
    peers: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Service {
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), handler)
    }

    pub fn start_at(
        address: SocketAddr,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("it has one");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            active: Mutex::default(),
            peers: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let all = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            for peer in listener.incoming().map_while(Result::ok) {
                if all.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&all);
                // ORDER(none): a number for tests.
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let copy = || peer.try_clone().expect("a descriptor");
                let (kept, ended) = (copy(), copy());
                shared.peers.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
                thread::spawn(move || {
                    let _ = serve(peer, &shared);
                    let _ = ended.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The most requests that were answered at once.
    pub fn most_active(&self) -> usize {
        self.shared.active.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // It sees that with the next connection.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for peer in &*self.shared.peers.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = peer.shutdown(Shutdown::Both);
        }
    }
}

fn serve(peer: TcpStream, shared: &Shared) -> Option<()> {
    let mut peer = BufReader::new(peer);
    loop {
        let mut line = String::new();
        peer.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut head = Vec::new();
        loop {
            line.clear();
            peer.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            head.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let len = head.iter().find(|(name, _)| name == "content-length");
        let len = len.map_or(Some(0), |(_, value)| value.parse().ok())?;
        let mut body = vec![0; len];
        peer.read_exact(&mut body).ok()?;
        let number = shared.requests.fetch_add(1, Ordering::Relaxed);
        let request = Request { head, path, body, number };
        {
            let mut active = shared.active.lock().unwrap_or_else(PoisonError::into_inner);
            active.0 += 1;
            active.1 = active.1.max(active.0);
        }
        let answer = (shared.handler)(&request);
        shared.active.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
        let (status, more) = match answer {
            Answer::Status(status, more) => (status, more),
            Answer::Page(status, _) | Answer::ThenHangUp(status) => (status, ""),
            Answer::HangUp => return None,
        };
        let page = match answer {
            Answer::Page(_, bytes) => "x".repeat(bytes),
            _ => "why?".to_owned(),
        };
        let bytes = page.len();
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {bytes}\r\n{more}\r\n{page}");
        peer.get_mut().write_all(text.as_bytes()).ok()?;
        if matches!(answer, Answer::ThenHangUp(_)) {
            thread::sleep(Duration::from_millis(10));
            return None;
        }
    }
}
