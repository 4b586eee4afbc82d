//! What the tests share: a server process, raw HTTP, and a small client of the control socket.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "no test file uses all of it, and each is a crate of its own"
)]

pub mod control;
#[cfg(feature = "http2")]
pub mod frames;
#[cfg(feature = "http2")]
pub mod http2;
pub mod manager;
#[cfg(feature = "grpc")]
#[rustfmt::skip]
#[allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
pub mod publisher;
pub mod reader;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Longer than anything that is meant to happen takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A directory that goes with the value.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: Mutex<u32> = Mutex::new(0);
        let number = {
            let mut number = NUMBER.lock().expect("no test panics here");
            *number += 1;
            *number
        };
        let path = std::env::temp_dir().join(format!("aqd-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `aqueduct serve` in a process of its own; killed when dropped.
pub struct Server {
    child: Child,
    pub http: SocketAddr,
    pub admin: Option<SocketAddr>,
    /// What the ready line says.
    addresses: Vec<(String, String)>,
    pub socket: PathBuf,
    pub scratch: Scratch,
}

pub fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_aqueduct"))
}

/// Commands that are meant to end by themselves.
pub trait Ends {
    /// As `output`. One that goes on is killed, which its status says.
    fn ended(&mut self) -> std::io::Result<Output>;
}

impl Ends for Command {
    fn ended(&mut self) -> std::io::Result<Output> {
        let mut child = self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        child.wait_with_output()
    }
}

/// The driver that all tests are to run with that do not say one, if the environment names it.
fn driver(flags: &[&str]) -> Option<String> {
    std::env::var("AQUEDUCT_TEST_DRIVER").ok().filter(|_| !flags.contains(&"--driver"))
}

impl Server {
    pub fn start(flags: &[&str]) -> Self {
        Self::start_in(Scratch::new(), flags)
    }

    /// With a configuration file of this text.
    pub fn with_file(text: &str, flags: &[&str]) -> Self {
        let scratch = Scratch::new();
        let file = scratch.path("aqueduct.toml");
        std::fs::write(&file, text).expect("the file is written");
        let file = file.to_str().expect("a path of ASCII").to_owned();
        Self::start_in(scratch, &[&["--config", &file], flags].concat())
    }

    pub fn start_in(scratch: Scratch, flags: &[&str]) -> Self {
        Self::start_prepared(scratch, flags, |_| ())
    }

    /// With a command that is changed before it runs.
    pub fn start_under(flags: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_prepared(Scratch::new(), flags, prepare)
    }

    fn start_prepared(
        scratch: Scratch,
        flags: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let socket = scratch.path("aqd.sock");
        let child = Self::spawn(&scratch, &socket, flags, prepare);
        let http = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { child, http, admin: None, addresses: Vec::new(), socket, scratch };
        server.await_ready();
        server
    }

    /// After the end of the process: another one in its place.
    pub fn start_again(&mut self, flags: &[&str]) {
        self.start_again_under(flags, |_| ());
    }

    /// The same with a command that is changed before it runs.
    pub fn start_again_under(&mut self, flags: &[&str], prepare: impl FnOnce(&mut Command)) {
        self.child = Self::spawn(&self.scratch, &self.socket, flags, prepare);
        self.await_ready();
    }

    fn spawn(
        scratch: &Scratch,
        socket: &Path,
        flags: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Child {
        let mut server = command();
        server
            .args(["serve", "--log-level", "debug", "--socket"])
            .arg(socket)
            .args(if listens(flags) { &[][..] } else { &["--listen", "127.0.0.1:0"] })
            .args(flags)
            .args(driver(flags).iter().flat_map(|driver| ["--driver", driver]))
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(scratch.path("log")).expect("a log file"));
        prepare(&mut server);
        server.spawn().expect("the binary starts")
    }

    fn await_ready(&mut self) {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a line");
        let Some(parts) = line.trim_end().strip_prefix("aqueduct ready ") else {
            panic!("ready line {line:?}; log:\n{}", self.log());
        };
        let part =
            |part: &str| part.split_once('=').map(|(key, at)| (key.to_owned(), at.to_owned()));
        self.addresses = parts.split(' ').map(|text| part(text).expect("key=value")).collect();
        assert_eq!(Path::new(self.at("socket")), self.socket);
        let has_admin = self.addresses.iter().any(|(key, _)| key == "admin");
        self.admin = has_admin.then(|| self.at("admin").parse().expect("an address"));
        if !self.at("http").starts_with("unix:") {
            self.http = self.at("http").parse().expect("an address");
        }
    }

    /// Where a protocol is spoken, by the ready line.
    #[track_caller]
    pub fn at(&self, protocol: &str) -> &str {
        let found = self.addresses.iter().find(|(key, _)| key == protocol);
        &found.unwrap_or_else(|| panic!("{protocol} not in {:?}", self.addresses)).1
    }

    /// Connects to where a protocol is spoken over TCP.
    #[track_caller]
    pub fn speak(&self, protocol: &str) -> TcpStream {
        Self::connect_to(self.at(protocol).parse().expect("an address"))
    }

    /// Connects to the last address where a protocol is spoken over TCP.
    pub fn speak_at_last(&self, protocol: &str) -> TcpStream {
        let last = self.addresses.iter().rfind(|(key, at)| key == protocol && !at.contains('/'));
        Self::connect_to(last.expect("an address").1.parse().expect("an address"))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process lives");
    }

    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "still running; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn connect(&self) -> TcpStream {
        Self::connect_to(self.http)
    }

    fn connect_to(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// As `exchange`, with this address.
    pub fn exchange_at(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
        let mut stream = Self::connect_to(address);
        stream.write_all(request.as_ref()).expect("sent");
        Response::read(&mut stream)
    }

    /// Sends these bytes on a connection of their own and returns the first response.
    pub fn exchange(&self, request: impl AsRef<[u8]>) -> Response {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).expect("sent");
        Response::read(&mut stream)
    }

    pub fn get(&self, path: &str) -> Response {
        self.exchange(get(path))
    }

    pub fn post(&self, ring: &str, payload: &[u8]) -> Response {
        self.exchange(record(ring, "connection: close\r\n", payload))
    }

    /// One metric by its full name with labels, as it stands in the text.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} not in\n{text}")).parse().expect("a number")
    }

    /// Until the condition holds; what it says after `PATIENCE` is a failure.
    pub fn eventually(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "never: {what}; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether these flags, or the file they name, say where to listen.
fn listens(flags: &[&str]) -> bool {
    let file = flags.iter().position(|flag| *flag == "--config").map(|at| flags[at + 1]);
    flags.contains(&"--listen")
        || file.is_some_and(|file| {
            std::fs::read_to_string(file).is_ok_and(|text| text.contains("[http]\nlisten"))
        })
}

/// The ends of a pipe that nobody reads: one that is full for as long as the reader is kept, and
/// one whose reader is gone.
pub fn deaf_pipes() -> [(Option<std::io::PipeReader>, std::io::PipeWriter); 2] {
    let (reader, mut full) = std::io::pipe().expect("a pipe");
    let blocking = rustix::fs::fcntl_getfl(&full).expect("flags");
    rustix::fs::fcntl_setfl(&full, blocking | rustix::fs::OFlags::NONBLOCK).expect("set");
    while full.write(&[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&full, blocking).expect("set");
    let (_, gone) = std::io::pipe().expect("a pipe");
    [(Some(reader), full), (None, gone)]
}

/// A request that reads a page.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
}

/// Breaks a connection, as the death of a client's machine or a close with unread bytes does. A
/// mere end of the client's side is no sign that nobody waits for the answer.
pub fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("set");
    drop(stream);
}

/// A request that posts a record.
pub fn record(ring: &str, headers: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/rings/{ring}/records HTTP/1.1\r\nhost: t\r\n{headers}content-length: {}\r\n\r\n",
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    /// The next response of a connection.
    pub fn read(stream: &mut TcpStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let got = stream.read(&mut byte).expect("a response in time");
            assert_eq!(got, 1, "the connection ended after {:?}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a head of ASCII").to_ascii_lowercase();
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut response = Self { status, head, body: String::new() };
        let length =
            response.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        stream.read_exact(&mut body).expect("the whole body");
        response.body = String::from_utf8(body).expect("a body of UTF-8");
        response
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// That it is a problem of this status, and says so everywhere.
    #[track_caller]
    pub fn assert_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        for part in ["{\"title\":\"", &format!("\"status\":{status},"), "\"detail\":\""] {
            assert!(self.body.contains(part), "{self:?}");
        }
    }
}

/// That the peer ends the connection, without a further byte.
#[track_caller]
pub fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    assert!(
        end.is_ok() || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
        "not closed"
    );
    assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
}
