//! A C client that reconnects, and a listener that is killed and started again under it. Built with
//! `make` by the test itself.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};

use common::{PATIENCE, Server};
use rustix::process::Signal;

const RESTARTS: usize = 6;
/// Posted while the listener is about to die.
const LAST_RECORDS: u64 = 20;

/// `e2e_reader`, built once per run.
static E2E_READER: LazyLock<PathBuf> = LazyLock::new(|| {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../c");
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-reconnect");
    let program = build.join("e2e_reader");
    let mut make = Command::new("make");
    make.arg("-C").arg(sources).arg(format!("BUILD={}", build.display())).arg(&program);
    let output = make.output().expect("make is installed");
    assert!(
        output.status.success(),
        "the C side does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    program
});

/// The C program and its lines; killed when dropped.
struct Client {
    child: Child,
    lines: Receiver<String>,
}

impl Client {
    fn start(server: &Server, more: &[&str]) -> Self {
        let mut child = Command::new(&*E2E_READER)
            .arg(&server.socket)
            .args(["default", "default"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The next line but those about releases.
    fn line(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("a line in time");
            if !line.starts_with("C ") {
                return line;
            }
        }
    }

    /// That the next record is this one.
    #[track_caller]
    fn expect_record(&self, seq: u64, payload: &str) {
        let line = self.line();
        let parts: Vec<_> = line.splitn(6, ' ').collect();
        assert_eq!(
            (parts[0], parts[1], *parts.last().expect("some")),
            ("R", seq.to_string().as_str(), payload),
            "{line}"
        );
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_c_client_goes_on_through_every_restart_of_the_listener() {
    let mut server = Server::start(&[]);
    let client = Client::start(&server, &["--reconnect-ms", "-1", "--release-every", "4"]);
    for round in 0..=RESTARTS {
        // Once one record of a ring has come through, the client has the ring, whatever happens to
        // its listener.
        let first = format!("first of {round}");
        assert_eq!(server.post("default", first.as_bytes()).status, 202);
        client.expect_record(0, &first);
        let last = |n| format!("{n} of {round}");
        for n in 1..=LAST_RECORDS {
            assert_eq!(server.post("default", last(n).as_bytes()).status, 202);
        }
        if round < RESTARTS {
            // Killed, or asked to finish, by turns.
            server.signal(if round % 2 == 0 { Signal::KILL } else { Signal::TERM });
            server.wait();
            server.start_again(&[]);
        }
        for n in 1..=LAST_RECORDS {
            client.expect_record(n, &last(n));
        }
        if round < RESTARTS {
            let line = client.line();
            assert!(line.starts_with("N ") && line.ends_with(" missed=0"), "{line}");
        }
    }
}

#[test]
fn a_c_client_whose_time_is_over_says_how_the_stream_ended() {
    let mut server = Server::start(&[]);
    let client = Client::start(&server, &["--reconnect-ms", "50"]);
    assert_eq!(server.post("default", b"only").status, 202);
    client.expect_record(0, "only");
    server.signal(Signal::KILL);
    server.wait();
    assert_eq!(client.line(), "END lost");
}
