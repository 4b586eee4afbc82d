//! A listener and a forwarder as processes, a client that posts, files that are read back. Every
//! process ends with its owner.
#![allow(dead_code, unreachable_pub, reason = "each program of tests uses some of it")]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing that is waited for takes longer, unless something is broken.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Features of the listener that tests start.
const FEATURES: &str = if cfg!(feature = "grpc") { "aqueduct/grpc" } else { "aqueduct/http2" };

/// A directory of our own; removed when dropped, unless the test fails.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // ORDER(none): only different numbers are wanted.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("aqf-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A process; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let errors = fs::OpenOptions::new().append(true).create(true).open(&log).expect("a log");
        command.stdin(Stdio::null()).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log }
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&mut self, signal: Signal) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_process(Pid::from_child(&self.child), signal).expect("it is ours");
        }
    }

    /// SIGKILL, and waits.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_for(TIMEOUT).unwrap_or_else(|| panic!("it still runs; its log:\n{}", self.log()))
    }

    pub fn wait_for(&mut self, time: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        eventually(text, || self.log().lines().find(|line| line.contains(text)).map(str::to_owned))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            eprintln!("---- end of {}", self.log.display());
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Looks again and again until there is something.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not in time");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The built examples of this package.
pub fn examples() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().expect("this program has a path");
        let directory = test.ancestors().nth(2).expect("two directories up").join("examples");
        // As it is now: `cargo test --test NAME` builds no example. CI has built it before.
        if std::env::var_os("AQUEDUCT_LISTENER_BUILT").is_none() {
            let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
            let build = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--package", "aqueduct-forward", "--example"])
                .args(["listener", "--features", FEATURES, "--profile", profile])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(build.expect("cargo runs").success(), "the listener does not build");
        }
        directory
    })
}

/// A listener with the ring `r` and the subscription `s`.
pub struct Listener {
    pub process: Process,
    pub http: SocketAddr,
    pub socket: PathBuf,
}

impl Listener {
    pub fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, &[])
    }

    /// With more arguments.
    pub fn start_with(scratch: &Scratch, more: &[&str]) -> Self {
        let socket = scratch.join("a.sock");
        let mut command = Command::new(examples().join("listener"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn"]);
        command.arg("--socket").arg(&socket).args(more).stdout(Stdio::piped());
        if !more.contains(&"--ring") && !more.contains(&"--config") {
            command.args(["--ring", "r", "--subscription", "s"]);
        }
        let mut process = Process::start(&mut command, scratch.join("listener.log"));
        let stdout = process.child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line
            .strip_prefix("aqueduct ready http=")
            .and_then(|rest| rest.split(' ').next().and_then(|address| address.parse().ok()));
        let http = address.unwrap_or_else(|| panic!("not ready: {line}{}", process.log()));
        Self { process, http, socket }
    }

    pub fn client(&self) -> Poster {
        Poster { address: self.http, stream: None }
    }
}

/// An HTTP client that keeps its connection.
pub struct Poster {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Poster {
    /// Posts a body; returns the status and the answer's body.
    pub fn post(&mut self, head: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
        self.ask(&format!("POST /v1/rings/r/records HTTP/1.1\r\n{head}"), body)
    }

    /// Posts one record, which must be taken.
    #[track_caller]
    pub fn record(&mut self, type_tag: u16, body: &[u8]) {
        let answer = self.post(&format!("aqueduct-type: {type_tag}\r\n"), body);
        assert!(matches!(answer, Ok((202, _))), "{answer:?}");
    }

    /// Posts lines, each a record; whether they were taken.
    pub fn lines(&mut self, lines: &str) -> bool {
        let answer = self.post("content-type: application/x-ndjson\r\n", lines.as_bytes());
        matches!(answer, Ok((202, _)))
    }

    /// Sends a request line with heads, and a body.
    pub fn ask(&mut self, head: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
        let answer = self.ask_once(head, body);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn ask_once(&mut self, head: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
        let stream = if let Some(stream) = &mut self.stream {
            stream
        } else {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_nodelay(true)?;
            self.stream.insert(BufReader::new(stream))
        };
        let mut request =
            format!("{head}host: x\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(body);
        stream.get_mut().write_all(&request)?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
        let (mut len, mut closes) = (0, false);
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let lower = line.trim_end().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            if let Some(value) = lower.strip_prefix("content-length: ") {
                len = value.parse().map_err(std::io::Error::other)?;
            }
            closes |= lower == "connection: close";
        }
        let mut answer = vec![0; len];
        stream.read_exact(&mut answer)?;
        if closes {
            self.stream = None;
        }
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }
}

/// Asks for a page; returns the status and the body.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut poster = Poster { address, stream: None };
    poster.ask(&format!("GET {path} HTTP/1.1\r\n"), b"").expect("an answer")
}

/// The forwarder, reading `s` of `r`.
pub struct Forward {
    pub process: Process,
}

impl Forward {
    /// With the text of a configuration file, without `[from]`.
    pub fn start(scratch: &Scratch, listener: &Path, config: &str, more: &[&str]) -> Self {
        let file = scratch.join("forward.toml");
        fs::write(&file, config).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_aqueduct-forward"));
        command.arg("--config").arg(file).arg("--socket").arg(listener);
        command.args(["--subscription", "s"]).args(more);
        command.stdout(File::create(scratch.join("stdout")).expect("a file"));
        Self { process: Process::start(&mut command, scratch.join("forward.log")) }
    }

    /// Where health and metrics are, of one that was started with `--admin-listen`.
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        let line = self.process.wait_for_log("health and metrics are served");
        let address = line.rsplit("address=").next().expect("there is one");
        address.trim().parse().unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// SIGTERM, and its exit status.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.process.signal(Signal::TERM);
        self.process.wait().code().expect("it was not killed")
    }
}

/// A number of a page of metrics.
#[track_caller]
pub fn metric(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(&format!("aqueduct_forward_{name}{{")));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{page}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// The lines of a file, if it is there.
pub fn lines(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    String::from_utf8(text).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// Random numbers from a seed (xorshift64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
