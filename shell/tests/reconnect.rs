//! Clients in C and in Rust that reconnect, and a listener that is killed and started again under
//! them. The C program is built with `make` by the test itself.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use aqueduct_client::{Event, Options, Waited};
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

/// Which of the two clients.
#[derive(Clone, Copy, Debug)]
enum Language {
    C,
    Rust,
}

/// A client that goes on after its listener's end, and its lines.
struct Client {
    lines: Receiver<String>,
    /// Ends it.
    end: Box<dyn FnMut()>,
}

impl Client {
    fn start(language: Language, server: &Server, reconnect_ms: i32) -> Self {
        match language {
            Language::C => Self::start_c(server, reconnect_ms),
            Language::Rust => Self::start_rust(server, reconnect_ms),
        }
    }

    /// `e2e_reader`.
    fn start_c(server: &Server, reconnect_ms: i32) -> Self {
        let mut child = Command::new(&*E2E_READER)
            .arg(&server.socket)
            .args(["default", "default", "--reconnect-ms", &reconnect_ms.to_string()])
            .args(["--release-every", "4"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let end = Box::new(move || {
            let _ = child.kill();
            let _ = child.wait();
        });
        Self { lines, end }
    }

    /// `aqueduct-client` in a thread, which says the same.
    fn start_rust(server: &Server, reconnect_ms: i32) -> Self {
        let limit = u64::try_from(reconnect_ms).map_or(Duration::MAX, Duration::from_millis);
        let options = Options::new(&server.socket).reconnect_for(limit);
        let client = options.attach().expect("an honest server");
        let interrupter = client.interrupter();
        let (sender, lines) = channel();
        std::thread::spawn(move || read(client, &sender));
        Self { lines, end: Box::new(move || interrupter.interrupt()) }
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
        (self.end)();
    }
}

/// Reads until the end or an interrupt, a line for each event.
fn read(mut client: aqueduct_client::Client, lines: &Sender<String>) {
    loop {
        let line = match client.next().expect("undamaged") {
            Event::Empty => {
                client.release();
                if client.wait(None).expect("polled") == Waited::Interrupted {
                    return;
                }
                continue;
            }
            Event::Record((record, payload)) => {
                let text = String::from_utf8_lossy(payload);
                format!("R {} {} {} 0 {text}", record.seq, record.type_tag, record.len)
            }
            Event::EpochChanged(change) => {
                let missed = u32::from(change.missed_old) + 2 * u32::from(change.missed_new);
                format!("N {} missed={missed}", change.new_epoch)
            }
            Event::Closed => "END closed".to_owned(),
            Event::Lost => "END lost".to_owned(),
        };
        let over = line.starts_with("END");
        if lines.send(line).is_err() || over {
            return;
        }
    }
}

#[test]
fn a_client_goes_on_through_every_restart_of_the_listener() {
    for language in [Language::C, Language::Rust] {
        let mut server = Server::start(&[]);
        let client = Client::start(language, &server, -1);
        for round in 0..=RESTARTS {
            // Once one record of a ring has come through, the client has the ring, whatever happens
            // to its listener.
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
                assert!(
                    line.starts_with("N ") && line.ends_with(" missed=0"),
                    "{language:?}: {line}"
                );
            }
        }
    }
}

#[test]
fn a_client_whose_time_is_over_says_how_the_stream_ended() {
    for language in [Language::C, Language::Rust] {
        let mut server = Server::start(&[]);
        let client = Client::start(language, &server, 50);
        assert_eq!(server.post("default", b"only").status, 202);
        client.expect_record(0, "only");
        server.signal(Signal::KILL);
        server.wait();
        assert_eq!(client.line(), "END lost", "{language:?}");
    }
}
