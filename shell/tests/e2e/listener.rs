//! The listener as a process: started, waited for until it is ready, ended by signal.
//! Shared by the end-to-end tests and the demo.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::Process;

/// How long a start may take on a loaded machine.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// What differs between listeners. Everything else is the listener's default.
pub(crate) struct Options<'a> {
    /// Name of the ring.
    pub(crate) ring: &'a str,
    /// Size of the ring's data, bytes.
    pub(crate) capacity_bytes: usize,
    /// Largest record, bytes.
    pub(crate) max_payload_bytes: usize,
    /// Every one of them holds the ring back from the start, attached or not.
    pub(crate) subscriptions: &'a [&'a str],
    /// How long a request waits for space before it is refused.
    pub(crate) full_wait_ms: u32,
    /// How long a closing listener waits for its readers.
    pub(crate) drain_timeout_ms: u32,
}

/// A listener that is ready.
pub(crate) struct Listener {
    /// The process.
    pub(crate) process: Process,
    /// Where it takes requests.
    pub(crate) http: SocketAddr,
    /// Where its readers attach.
    pub(crate) socket: PathBuf,
}

impl Listener {
    /// Starts `binary` with socket and log in `dir`, on a loopback port that the system chooses,
    /// and waits until it says that it is ready.
    pub(crate) fn start(binary: &Path, dir: &Path, options: &Options<'_>) -> io::Result<Self> {
        let socket = dir.join("aqueduct.sock");
        let mut command = Command::new(binary);
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--log-level",
                "info",
                "--ring",
                options.ring,
            ])
            .arg("--socket")
            .arg(&socket);
        command.args(["--capacity-bytes", &options.capacity_bytes.to_string()]);
        command.args(["--max-payload-bytes", &options.max_payload_bytes.to_string()]);
        command.args([
            "--full-wait-ms",
            &options.full_wait_ms.to_string(),
            "--drain-timeout-ms",
            &options.drain_timeout_ms.to_string(),
        ]);
        for subscription in options.subscriptions {
            command.args(["--subscription", subscription]);
        }
        let log = dir.join("listener.log");
        let mut process = Process::start("the listener", &mut command, log.clone())?;
        let http = ready(&mut process).map_err(|error| {
            io::Error::other(format!(
                "{error}; its log:\n{}",
                std::fs::read_to_string(log).unwrap_or_default()
            ))
        })?;
        Ok(Self { process, http, socket })
    }

    /// Asks it to finish (SIGTERM) and waits; `None` if it still runs after `timeout`.
    pub(crate) fn stop(&mut self, timeout: Duration) -> Option<ExitStatus> {
        self.process.signal(Signal::TERM);
        self.process.wait(timeout)
    }
}

/// Waits for `aqueduct ready http=ADDRESS socket=PATH`.
fn ready(process: &mut Process) -> io::Result<SocketAddr> {
    let stdout =
        process.take_stdout().ok_or_else(|| io::Error::other("the listener has no stdout"))?;
    let (sender, lines) = mpsc::channel();
    // Reads on to the end, so that the listener never writes into a closed pipe.
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let line = lines
        .recv_timeout(READY_TIMEOUT)
        .map_err(|_| io::Error::other("the listener ended or said nothing before it was ready"))?;
    let address = line
        .strip_prefix("aqueduct ready http=")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|text| text.parse().ok());
    address.ok_or_else(|| {
        io::Error::other(format!("the listener's first line is not its ready line: {line}"))
    })
}
