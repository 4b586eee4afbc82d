//! End to end, with real processes: HTTP clients, the listener, and readers written in C. Each test
//! ends with the same question: was every record that was answered with 202 received exactly once,
//! in order and byte for byte, and nothing else?
//!
//! The C programs are built by the tests themselves, with `make`.
//! `cargo test -p aqueduct --test e2e -- --nocapture` prints what each test saw;
//! `AQUEDUCT_E2E_LOAD_MS` lengthens or shortens every load.

#[path = "e2e/http.rs"]
mod http;
#[path = "e2e/listener.rs"]
mod listener;
#[path = "e2e/load.rs"]
mod load;
#[path = "e2e/process.rs"]
mod process;
#[path = "e2e/reader.rs"]
mod reader;
#[path = "e2e/records.rs"]
mod records;
#[path = "e2e/rude.rs"]
mod rude;
#[path = "e2e/verdict.rs"]
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use listener::{Listener, Options};
use load::{Load, Report};
use process::{Scratch, TIMEOUT};
use reader::{Place, Reader, Reading};
use records::{Id, Sizes};

const CLIENTS: u32 = 64;
const RING: &str = "readings";
const READER: &str = "engine";
const CAPACITY_BYTES: usize = 1 << 20;
const RELEASE_EVERY: u64 = 64;
/// Mostly short records, and some of the largest size.
const MIXED: Sizes = Sizes { usual_bytes: 300, max_bytes: 4096, largest_of_16: 1 };
/// Mostly the largest ones, so that anything that piles up shows.
const LARGE: Sizes = Sizes { usual_bytes: 2000, max_bytes: 64 * 1024, largest_of_16: 14 };

/// `e2e_reader`, built once per run.
static E2E_READER: LazyLock<PathBuf> = LazyLock::new(|| {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../c");
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
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

/// One listener and its directory. Fields are dropped in order: the processes end before their
/// directory goes.
struct Scene {
    listener: Listener,
    scratch: Scratch,
    sizes: Sizes,
}

impl Scene {
    fn new(subscriptions: &[&str], sizes: Sizes) -> Self {
        let scratch = Scratch::new("aqueduct-e2e").expect("a scratch directory");
        let options = Options {
            ring: RING,
            capacity_bytes: CAPACITY_BYTES,
            max_payload_bytes: sizes.max_bytes,
            subscriptions,
            full_wait_ms: 20,
            drain_timeout_ms: 30_000,
        };
        let binary = Path::new(env!("CARGO_BIN_EXE_aqueduct"));
        let listener = Listener::start(binary, scratch.path(), &options)
            .unwrap_or_else(|error| panic!("{error}"));
        Self { listener, scratch, sizes }
    }

    fn load(&self) -> Load {
        Load::start(self.listener.http, RING, CLIENTS, self.sizes)
    }

    /// Starts a reader; `name` is for its log.
    fn reader(&self, name: &str, subscription: &str) -> Reader {
        Reader::start(self.place(), name, subscription)
    }

    /// Starts the successor of a reader that has just ended, and waits for its first record.
    fn reader_again(&self, name: &str, subscription: &str) -> Reader {
        Reader::start_again(self.place(), name, subscription)
    }

    fn place(&self) -> Place<'_> {
        let (dir, socket) = (self.scratch.path(), self.listener.socket.as_path());
        Place {
            program: &E2E_READER,
            dir,
            socket,
            ring: RING,
            sizes: self.sizes,
            release_every: RELEASE_EVERY,
            delay_us: 0,
        }
    }

    /// Ends the listener as its operator would. It must have closed the ring, and said so to
    /// `reader`, before it is gone.
    fn close(&mut self) {
        let status = self.listener.stop(TIMEOUT).expect("the listener ends after SIGTERM");
        assert!(status.success(), "the listener ended with {status} after SIGTERM");
    }
}

/// Lets the load run: so long, or as long as the environment says.
fn run_for(milliseconds: u64) {
    let forced = std::env::var("AQUEDUCT_E2E_LOAD_MS").ok().and_then(|text| text.parse().ok());
    thread::sleep(Duration::from_millis(forced.unwrap_or(milliseconds)));
}

/// What a reader received up to the orderly end of the ring, having complained about nothing.
fn received_until_closed(reader: Reader) -> Reading {
    let (reading, status) = reader.finish();
    assert!(
        reading.errors.is_empty(),
        "the reader complained {} times, first: {:?}",
        reading.errors.len(),
        reading.errors[0]
    );
    assert_eq!(reading.end.as_deref(), Some("closed"), "the reader must see the ring closed");
    assert!(status.success(), "the reader ended with {status}");
    reading
}

/// As [`verdict::check`], for a run in which no client may be left without an answer.
fn check_all_answered(received: &[(u64, Id)], report: &Report, what: &str) {
    let errors = &report.errors;
    assert!(errors.is_empty(), "{} clients failed, first: {:?}", errors.len(), errors[0]);
    verdict::check(received, report);
    tell(what, received, report, 0);
}

fn tell(what: &str, received: &[(u64, Id)], report: &Report, extra: usize) {
    let (accepted, refused, doubt) = (report.accepted.len(), report.refused, report.in_doubt.len());
    println!(
        "{what}: {accepted} accepted, {refused} refused, {doubt} in doubt, {extra} of them received; {} received",
        received.len()
    );
    assert!(accepted > 0, "nothing was accepted, so nothing was tested");
}

#[test]
fn every_202_of_64_clients_is_received_once_and_in_order() {
    let mut scene = Scene::new(&[READER], MIXED);
    let reader = scene.reader("reader", READER);
    let load = scene.load();
    run_for(10_000);
    let report = load.finish();
    scene.close();
    check_all_answered(&received_until_closed(reader).records, &report, "64 clients");
}

#[test]
fn reader_killed_under_load_and_restarted_misses_nothing() {
    let mut scene = Scene::new(&[READER], MIXED);
    let first = scene.reader("first", READER);
    let load = scene.load();
    run_for(1500);
    first.wait_until("a record before the kill", |reading| reading.released > Some(0));
    let first = first.kill();
    let second = scene.reader_again("second", READER);
    run_for(1500);
    let report = load.finish();
    scene.close();
    let second = received_until_closed(second);
    assert!(first.errors.is_empty(), "the first reader complained: {:?}", first.errors);
    let (all, again) = verdict::join(&first, &second);
    println!(
        "reader killed after {} records, last release {:?}: {again} came again",
        first.records.len(),
        first.released
    );
    check_all_answered(&all, &report, "reader killed");
}

#[test]
fn reader_killed_between_delivery_and_release_gets_those_records_again() {
    let mut scene = Scene::new(&[READER], MIXED);
    let mut first = Reader::start(Place { delay_us: 2000, ..scene.place() }, "first", READER);
    let load = scene.load();
    load.wait_until("the slow reader to fall behind", |progress| progress.refused > 0, || {});
    first.stop_before_release(RELEASE_EVERY);
    let first = first.kill();
    let second = scene.reader_again("second", READER);
    run_for(500);
    let report = load.finish();
    scene.close();
    let (all, again) = verdict::join(&first, &received_until_closed(second));
    println!(
        "slow reader killed after {} records, last release {:?}: {again} came again",
        first.records.len(),
        first.released
    );
    assert!(again > 0, "what was delivered and not released must be delivered again");
    check_all_answered(&all, &report, "slow reader killed");
}

#[test]
fn listener_killed_under_load_leaves_every_202_to_the_reader() {
    let mut scene = Scene::new(&[READER], MIXED);
    let reader = scene.reader("reader", READER);
    let load = scene.load();
    run_for(1500);
    reader.wait_until("a record before the kill", |reading| !reading.records.is_empty());
    assert!(
        scene.listener.process.signal(Signal::KILL),
        "the listener still runs when it is to be killed"
    );
    let report = load.finish();
    let (reading, status) = reader.finish();
    assert!(reading.errors.is_empty(), "the reader complained: {:?}", reading.errors);
    assert_eq!(reading.end.as_deref(), Some("lost"), "a killed listener has not closed its ring");
    assert!(status.success(), "the reader ended with {status}");
    let extra = verdict::check(&reading.records, &report);
    tell("listener killed", &reading.records, &report, extra);
}

#[test]
fn full_ring_refuses_in_bounded_memory_and_goes_on_when_it_is_read() {
    const BOUND_BYTES: u64 = CAPACITY_BYTES as u64 + (64 << 20);
    let mut scene = Scene::new(&[READER], LARGE);
    let mut reader = scene.reader("reader", READER);
    let load = scene.load();
    reader.wait_until("a record before the reader stops", |reading| !reading.records.is_empty());
    reader.signal(Signal::STOP);
    // Kept in memory, what is refused meanwhile would be several times the bound.
    let enough = 4 * BOUND_BYTES / LARGE.max_bytes as u64;
    let (pid, mut most_bytes) = (scene.listener.process.pid(), 0);
    let sample = || most_bytes = most_bytes.max(resident_bytes(pid));
    load.wait_until("refusals by the full ring", |progress| progress.refused >= enough, sample);
    println!("full ring: at most {} MiB resident during {enough} refusals", most_bytes >> 20);
    assert!(
        most_bytes > 0 && most_bytes <= BOUND_BYTES,
        "the listener's memory rose to {most_bytes} bytes; the bound is {BOUND_BYTES}"
    );
    reader.signal(Signal::CONT);
    run_for(1000);
    let report = load.finish();
    scene.close();
    check_all_answered(&received_until_closed(reader).records, &report, "full ring");
}

#[test]
fn subscription_holds_records_for_a_reader_that_comes_late() {
    let mut scene = Scene::new(&[READER], MIXED);
    let load = scene.load();
    load.wait_until(
        "the ring to fill up with nobody attached",
        |progress| progress.refused > 0,
        || {},
    );
    let reader = scene.reader("reader", READER);
    reader.wait_until("the first record", |reading| !reading.records.is_empty());
    run_for(500);
    let report = load.finish();
    scene.close();
    check_all_answered(&received_until_closed(reader).records, &report, "late reader");
}

#[test]
fn sigterm_under_load_delivers_every_202_and_closes_the_ring() {
    let mut scene = Scene::new(&[READER], MIXED);
    let reader = scene.reader("reader", READER);
    let load = scene.load();
    run_for(1500);
    scene.close();
    let report = load.finish();
    let reading = received_until_closed(reader);
    let extra = verdict::check(&reading.records, &report);
    tell("SIGTERM", &reading.records, &report, extra);
    assert_eq!(
        extra, 0,
        "records went into the ring although an orderly end left their clients without an answer"
    );
}

#[test]
fn sigterm_with_a_full_ring_waits_for_the_reader() {
    let mut scene = Scene::new(&[READER], MIXED);
    let mut reader = scene.reader("reader", READER);
    let load = scene.load();
    reader.wait_until("a record before the reader stops", |reading| !reading.records.is_empty());
    reader.signal(Signal::STOP);
    load.wait_until("the ring to fill up", |progress| progress.refused > 0, || {});
    scene.listener.process.signal(Signal::TERM);
    let ended = scene.listener.process.wait(Duration::from_millis(300));
    assert!(
        ended.is_none(),
        "the listener ended with {ended:?} while its reader had a full ring to read"
    );
    reader.signal(Signal::CONT);
    let status =
        scene.listener.process.wait(TIMEOUT).expect("the listener ends once its reader is through");
    assert!(status.success(), "the listener ended with {status} after SIGTERM");
    let report = load.finish();
    let reading = received_until_closed(reader);
    let extra = verdict::check(&reading.records, &report);
    tell("SIGTERM, full ring", &reading.records, &report, extra);
    assert_eq!(
        extra, 0,
        "records went into the ring although an orderly end left their clients without an answer"
    );
}

#[test]
fn reader_is_not_disturbed_by_one_that_dies_and_one_that_writes_garbage() {
    let mut scene = Scene::new(&["audit", "pricing"], MIXED);
    let audit = scene.reader("audit", "audit");
    let pricing = scene.reader("pricing", "pricing");
    let load = scene.load();
    run_for(1000);
    pricing.wait_until("a record before the kill", |reading| reading.released > Some(0));
    let first = pricing.kill();
    rude::Rude::attach(&scene.listener.socket, RING, "pricing").misbehave_until_evicted();
    rude::speak_gibberish(&scene.listener.socket);
    let pricing = scene.reader_again("pricing-again", "pricing");
    run_for(1000);
    let report = load.finish();
    scene.close();
    check_all_answered(&received_until_closed(audit).records, &report, "the undisturbed reader");
    let (all, again) = verdict::join(&first, &received_until_closed(pricing));
    println!("the other one: killed after {} records, {again} came again", first.records.len());
    check_all_answered(&all, &report, "the other reader");
}

#[test]
fn reader_stopped_for_a_second_misses_nothing() {
    let mut scene = Scene::new(&[READER], MIXED);
    let mut reader = scene.reader("reader", READER);
    let load = scene.load();
    run_for(700);
    reader.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(1));
    reader.signal(Signal::CONT);
    run_for(700);
    let report = load.finish();
    scene.close();
    check_all_answered(&received_until_closed(reader).records, &report, "reader stopped");
}

/// `VmRSS` of a process.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the listener runs");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux reports VmRSS");
    line.trim_end_matches("kB").trim().parse::<u64>().expect("VmRSS is a number") * 1024
}
