//! Two processes, each on its own core: a Rust producer, and in turn a Rust reader, a C reader, a UNIX stream and a pipe with the same records.
//!
//! Run: `benches/cross.sh`, which builds the C reader; or `cross [C_READER]`. It prints Markdown. It starts itself again for the receiving side.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aqueduct_benches::machine::{Mapping, RECEIVER, SENDER, inherited, pin};
use aqueduct_benches::ring::{PAGE_BYTES, RING_BYTES, attach, create_gated, receive, send, send_laps};
use aqueduct_benches::rounds::{Plan, Series, Subject, interleave};
use aqueduct_benches::stream;

/// How records come to the reader of a ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Published by so many; timed from the first to the last.
    Follow(u32),
    /// Published when the ring is full, while the reader waits; only its reading is timed.
    Drain,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => compare(None),
        [c_reader] => compare(Some(c_reader)),
        ["read-ring", ring, page, records, bytes, pacing] => read_ring(ring, page, number(records), number(bytes), pacing == "drain"),
        ["read-stream", records, bytes] => read_stream(number(records), number(bytes)),
        _ => {
            eprintln!("usage: cross [C_READER]");
            std::process::exit(2);
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text}: not a number"))
}

// ---- the sending side

fn compare(c_reader: Option<&str>) {
    pin(SENDER).expect("two cores to run on");
    let plan = Plan::from_env(21, 25);
    let this = std::env::current_exe().expect("a path of this program");
    let rust = this.to_str().expect("a path in UTF-8");
    println!("# Two processes: {} rounds of {} ms each, ns per record", plan.rounds, plan.round.as_millis());
    println!("\nEverywhere: the median, what a tenth of the rounds stay below (quiet), and (smallest–largest).\n");
    println!("| bytes | published by | Rust reader | C reader | C by Rust | UNIX stream by Rust reader | pipe by Rust reader |");
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for bytes in [64, 1024] {
        for pacing in [Pace::Follow(1), Pace::Follow(16), Pace::Drain] {
            let mut subjects = vec![Subject::new("Rust", |records| by_ring(&[rust, "read-ring"], records, bytes, pacing))];
            if let Pace::Follow(batch) = pacing {
                subjects.push(Subject::new("socket", move |records| by_socket(rust, records, bytes, batch)));
                subjects.push(Subject::new("pipe", move |records| by_pipe(rust, records, bytes, batch)));
            }
            if let Some(c_reader) = c_reader {
                subjects.push(Subject::new("C", move |records| by_ring(&[c_reader], records, bytes, pacing)));
            }
            let names: Vec<_> = subjects.iter().map(|subject| subject.name).collect();
            let series = interleave(plan, &mut subjects);
            let of = |name| names.iter().position(|&n| n == name).map(|at| &series[at]);
            let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".into());
            let by_rust = |name| or_none(of(name).map(|other| show_ratio(other, &series[0])));
            let published = match pacing {
                Pace::Follow(batch) => batch.to_string(),
                Pace::Drain => "the full ring; reading alone".into(),
            };
            println!(
                "| {bytes} | {published} | {} | {} | {} | {} | {} |",
                show(&series[0]),
                or_none(of("C").map(show)),
                by_rust("C"),
                by_rust("socket"),
                by_rust("pipe")
            );
        }
    }
}

fn show(series: &Series) -> String {
    let (low, high) = series.spread();
    format!("{:.1}, quiet {:.1} ({low:.1}–{high:.1})", series.median(), series.quiet())
}

fn show_ratio(series: &Series, rust: &Series) -> String {
    let ratio = series.over(rust);
    let (low, high) = ratio.spread();
    format!("{:.2}, quiet {:.2} ({low:.2}–{high:.2})", ratio.median(), series.quiet() / rust.quiet())
}

/// Starts a receiver, sends when it is ready, and gives the time it measured.
fn with_receiver(command: &mut Command, send: impl FnOnce()) -> Duration {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a receiver that can be started");
    let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = || {
        let mut line = String::new();
        said.read_line(&mut line).expect("text");
        line
    };
    assert_eq!(line(), "ready\n", "the receiver is not ready");
    send();
    let took = number(line().trim());
    assert!(child.wait().expect("a child").success(), "the receiver failed");
    Duration::from_nanos(took)
}

fn by_ring(reader: &[&str], records: u64, bytes: usize, pacing: Pace) -> Duration {
    let (ring_file, ring) = Mapping::memfd(RING_BYTES).expect("a memfd");
    let (page_file, page) = Mapping::memfd(PAGE_BYTES).expect("a memfd");
    let mut producer = create_gated(&ring, &page);
    let mut command = Command::new(reader[0]);
    command.args(&reader[1..]);
    command.args([ring_file.as_raw_fd().to_string(), page_file.as_raw_fd().to_string(), records.to_string(), bytes.to_string()]);
    command.arg(if pacing == Pace::Drain { "drain" } else { "follow" });
    with_receiver(&mut command, || match pacing {
        Pace::Follow(batch) => send(&mut producer, records, bytes, batch),
        Pace::Drain => send_laps(&mut producer, records, bytes),
    })
}

fn by_stream(rust: &str, from: OwnedFd, mut into: impl Write, records: u64, bytes: usize, batch: u32) -> Duration {
    let mut command = Command::new(rust);
    command.args(["read-stream", &records.to_string(), &bytes.to_string()]).stdin(from);
    with_receiver(&mut command, || stream::send(&mut into, records, bytes, batch))
}

fn by_socket(rust: &str, records: u64, bytes: usize, batch: u32) -> Duration {
    let (from, into) = UnixStream::pair().expect("a socket pair");
    by_stream(rust, from.into(), into, records, bytes, batch)
}

fn by_pipe(rust: &str, records: u64, bytes: usize, batch: u32) -> Duration {
    let (from, into) = std::io::pipe().expect("a pipe");
    by_stream(rust, from.into(), into, records, bytes, batch)
}

// ---- the receiving side

fn ready() {
    pin(RECEIVER).expect("two cores to run on");
    println!("ready");
}

fn read_ring(ring: &str, page: &str, records: u64, bytes: usize, drain: bool) {
    let open = |number, writable| Mapping::of(&inherited(number).expect("an inherited memfd"), writable).expect("a memfd");
    let (ring, page) = (open(ring, false), open(page, true));
    let mut reader = attach(&ring, &page);
    ready();
    let (mut began, mut took) = (None, Duration::ZERO);
    receive(&mut reader, records, bytes, |found| {
        if drain && !found {
            took += began.take().map_or(Duration::ZERO, |began: Instant| began.elapsed());
        } else if began.is_none() {
            began = Some(Instant::now());
        }
    });
    println!("{}", began.map_or(took, |began| began.elapsed()).as_nanos());
}

fn read_stream(records: u64, bytes: usize) {
    ready();
    let mut began = None;
    // Not through `std::io::Stdin`, which has a buffer of its own.
    let mut from = File::from(std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor"));
    stream::receive(&mut from, records, bytes, || began = Some(Instant::now()));
    println!("{}", began.expect("something came").elapsed().as_nanos());
}
