//! A real data set, over HTTP, through shared memory, into a C program and a Rust reader, in one
//! command:
//!
//! `cargo demo` shows it and stays up until Ctrl-C; `cargo demo -- --once` exits with 0 only if
//! every record arrived, byte for byte and in order.
//!
//! Needs `make` and a C compiler. Builds the C reader `c/examples/stats.c` and the listener, starts
//! both, and posts the 8,759 hourly temperatures of `shell/examples/data/seattle-temps.csv`, each
//! line one record: first over one connection, which fixes their order, then again over many at
//! once. A Rust reader in this process, with a subscription of its own, must get the same. Expect,
//! among other lines:
//!
//! ```text
//! C received     8,118 records    22,127 records/s   latency p50   18.4 us, p99   245.2 us   CRC failures 0   lost 0
//! verified   the C program and the Rust reader received 8,759 records, byte for byte and in order
//! ```

#[path = "../tests/e2e/http.rs"]
mod http;
#[path = "../tests/e2e/listener.rs"]
mod listener;
#[path = "demo/posting.rs"]
mod posting;
#[path = "../tests/e2e/process.rs"]
mod process;
#[path = "demo/rust_reader.rs"]
mod rust_reader;
#[path = "demo/stats.rs"]
mod stats;
#[path = "demo/tools.rs"]
mod tools;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use smol::stream::StreamExt;

use listener::{Listener, Options};
use posting::{Accepted, Posted};
use process::{Scratch, TIMEOUT};
use rust_reader::RustReader;
use stats::{Line, Stats, grouped};

const RING: &str = "temperatures";
const SUBSCRIPTION: &str = "demo";
const RUST_SUBSCRIPTION: &str = "rust";
const DATA: &str = include_str!("data/seattle-temps.csv");
/// How many clients post at once in the second act.
const CROWD: usize = 32;

/// What the main thread waits for.
pub(crate) enum Event {
    /// The C program printed a line.
    Line(Line),
    /// The C program's output ended.
    ReaderEnded,
    /// Every record was answered with 202, or one was not.
    Posted(io::Result<Posted>),
    /// Ctrl-C, or another request to end.
    Interrupt,
}

fn main() -> ExitCode {
    let once = match std::env::args().skip(1).find(|argument| argument != "--").as_deref() {
        None => false,
        Some("--once") => true,
        Some(other) => {
            eprintln!("unknown argument {other}; usage: cargo demo [-- --once]");
            return ExitCode::from(2);
        }
    };
    match run(once) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything, in order. The children belong to this thread: they end when it returns, and the
/// kernel ends them if it dies.
fn run(once: bool) -> io::Result<()> {
    let program = tools::build_c_reader()?;
    let binary = tools::build_listener()?;
    let scratch = Scratch::new("aqueduct-demo")?;
    let (sender, events) = mpsc::channel();
    send_signals(sender.clone())?;

    let options = Options {
        ring: RING,
        capacity_bytes: 1 << 20,
        max_payload_bytes: 64 * 1024,
        subscriptions: &[SUBSCRIPTION, RUST_SUBSCRIPTION],
        full_wait_ms: 1000,
        drain_timeout_ms: 5000,
    };
    let mut listener = Listener::start(&binary, scratch.path(), &options)?;
    println!(
        "listener   pid {}, http://{}, socket {}",
        listener.process.pid(),
        listener.http,
        listener.socket.display()
    );
    let stats = Stats::start(
        &program,
        &listener.socket,
        [RING, SUBSCRIPTION],
        scratch.path(),
        sender.clone(),
    )?;
    println!(
        "C reader   pid {}, attached to ring \"{RING}\" as \"{SUBSCRIPTION}\"",
        stats.process.pid()
    );

    let rust = RustReader::start(&listener.socket, [RING, RUST_SUBSCRIPTION])?;
    println!("Rust       in this process, attached as \"{RUST_SUBSCRIPTION}\" by aqueduct-client");

    let mut stage =
        Stage { http: listener.http, events, sender, stats, rust, accepted: Vec::new() };
    let played = stage.play(once);
    let listener_end = listener.stop(TIMEOUT);
    let reader_end = stage.stats.process.wait(TIMEOUT);
    match played {
        Err(error) if error.kind() == io::ErrorKind::Interrupted && !once => {}
        other => other?,
    }
    for (who, end) in [("the listener", listener_end), ("the C program", reader_end)] {
        match end {
            Some(end) if end.success() => {}
            Some(end) => return Err(io::Error::other(format!("{who} ended with {end}"))),
            None => return Err(io::Error::other(format!("{who} did not end"))),
        }
    }
    if once {
        // Again, now that nothing can follow: what was accepted and not a byte more.
        stage.stats.compare(&stage.accepted)?;
        stage.rust.compare(&stage.accepted, Instant::now())?;
    }
    stage.rust.finish()?;
    println!("ended      listener and C program are gone, their files removed");
    Ok(())
}

/// What is shown, and to whom it happens.
struct Stage {
    http: SocketAddr,
    events: Receiver<Event>,
    sender: Sender<Event>,
    stats: Stats,
    rust: RustReader,
    /// Every record that was answered with 202, in the order of the sequence numbers that the
    /// answers named.
    accepted: Vec<Accepted>,
}

impl Stage {
    fn play(&mut self, once: bool) -> io::Result<()> {
        let count = grouped(records().count() as u64);
        println!(
            "posting    {count} hourly temperatures, one POST each, over one kept-alive connection\n"
        );
        self.post_and_verify(1)?;
        if !self.accepted.iter().map(|accepted| accepted.record).eq(records()) {
            return Err(io::Error::other(
                "one client's records were numbered in another order than it posted them",
            ));
        }
        println!(
            "verified   the C program and the Rust reader received {count} records, byte for byte and in order\n"
        );

        println!("posting    the same over {CROWD} connections at once\n");
        self.post_and_verify(CROWD)?;
        println!(
            "verified   {count} more, byte for byte, in the order that the answers' sequence numbers say\n"
        );
        if once { Ok(()) } else { self.show_until_interrupted() }
    }

    /// Posts the data set; shows what the C program reports until it has all of it; compares.
    fn post_and_verify(&mut self, connections: usize) -> io::Result<()> {
        posting::start(self.http, RING, connections, self.sender.clone());
        let mut posted = None;
        let mut deadline = Instant::now() + TIMEOUT;
        while posted.is_none() || self.stats.received < self.accepted.len() as u64 {
            match self.next_before(deadline)? {
                Event::Line(line) => self.stats.show(&line)?,
                Event::Posted(result) => {
                    let Posted { accepted, took } = result?;
                    self.accepted.extend(accepted);
                    self.accepted.sort_unstable();
                    posted = Some(took);
                    deadline = Instant::now() + TIMEOUT;
                }
                Event::ReaderEnded => {
                    return Err(io::Error::other("the C program ended by itself"));
                }
                Event::Interrupt => return Err(io::ErrorKind::Interrupted.into()),
            }
        }
        let took = posted.unwrap_or_default();
        let per_second = records().count() as u128 * 1_000_000 / took.as_micros().max(1);
        println!(
            "\nposted     in {:.2} s, {per_second} requests/s; each 202 came when its record was in the ring",
            took.as_secs_f64()
        );
        self.stats.compare(&self.accepted)?;
        self.rust.compare(&self.accepted, deadline)
    }

    /// Stays up, showing what arrives, until Ctrl-C.
    fn show_until_interrupted(&mut self) -> io::Result<()> {
        println!("Your turn, from another terminal:\n");
        println!(
            "  curl -i -H 'aqueduct-type: 7' --data-binary 'hello from curl' http://{}/v1/rings/{RING}/records\n",
            self.http
        );
        println!("It arrives here. Ctrl-C ends everything.\n");
        loop {
            match self.events.recv().map_err(io::Error::other)? {
                Event::Line(line) => self.stats.show(&line)?,
                Event::Posted(_) => {}
                Event::ReaderEnded => {
                    return Err(io::Error::other("the C program ended by itself"));
                }
                Event::Interrupt => return Ok(()),
            }
        }
    }

    fn next_before(&self, deadline: Instant) -> io::Result<Event> {
        self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(
            |error| match error {
                RecvTimeoutError::Timeout => io::Error::other("the records do not arrive"),
                RecvTimeoutError::Disconnected => io::Error::other("nothing is left to wait for"),
            },
        )
    }
}

/// The data set: every line but the header.
pub(crate) fn records() -> impl Iterator<Item = &'static str> + Clone {
    DATA.lines().skip(1)
}

/// Turns the signals that ask for an end into events.
fn send_signals(sender: Sender<Event>) -> io::Result<()> {
    let mut signals = aqueduct::server::endings()?;
    thread::spawn(move || {
        while smol::block_on(signals.next()).is_some() && sender.send(Event::Interrupt).is_ok() {}
    });
    Ok(())
}
