//! The listener under a service manager: what it is told, sockets that it holds, rings that it
//! keeps. The manager is the test's own.

#![allow(clippy::disallowed_types, reason = "inside the test, not in shared memory")]

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_client::{Event, Options};
use aqueduct_core::MemoryMut;
use aqueduct_core::layout::cursor_word;
use common::control::Raw;
use common::manager::{Manager, Sockets};
use common::reader::Attached;
use common::{PATIENCE, Response, Scratch, Server, get, record};
use rustix::process::Signal;

/// Records posted while nobody reads, or somebody does, and its answer's number and epoch.
fn post(sockets: &Sockets, payload: &[u8]) -> (u64, String) {
    let answer =
        Server::exchange_at(sockets.http, record("default", "connection: close\r\n", payload));
    assert_eq!(answer.status, 202, "{answer:?}");
    let field = |name: &str| {
        let after = answer.body.split_once(name).expect("a field").1;
        after.trim_start_matches(['"', ':']).split(['"', ',', '}']).next().unwrap_or("").to_owned()
    };
    (field("seq").parse().expect("a number"), field("epoch"))
}

#[test]
fn a_manager_is_told_of_the_beginning_of_life_of_the_end_and_of_failures() {
    let manager = Manager::new();
    let sockets = Sockets::bind(&manager.scratch);
    let mut listener = manager.start_prepared(Some(&sockets), &[], |command| {
        command.env("WATCHDOG_USEC", "100000");
    });
    assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
    let has = |line: &str| manager.told().iter().any(|told| told.starts_with(line));
    manager.eventually("ready", || has("READY=1") && has("STATUS=takes records: 1 ring"));
    let alive = || manager.told().iter().filter(|told| *told == "WATCHDOG=1").count();
    manager.eventually("alive", || alive() >= 5);
    listener.signal(Signal::TERM);
    assert!(listener.wait().success());
    manager.eventually("stopping", || has("STOPPING=1"));

    for (flags, reason) in [
        (&["--capacity-bytes", "100"][..], "capacity"),
        (&["--listen", "192.0.2.1:80", "--socket", "unused.sock"], "192.0.2.1:80"),
    ] {
        let mut listener = manager.start(None, flags);
        assert!(!listener.wait().success());
        manager.eventually("said why", || {
            has("STATUS=failed: ") && manager.told().iter().any(|told| told.contains(reason))
        });
    }
}

#[test]
fn sockets_of_a_manager_are_served_and_stay() {
    let manager = Manager::new();
    let sockets = Sockets::bind(&manager.scratch);
    // They come before there is a process.
    let mut early = TcpStream::connect(sockets.http).expect("the queue of the socket");
    early.write_all(get("/healthz").as_bytes()).expect("sent");
    for _ in 0..2 {
        let mut listener = manager.start(Some(&sockets), &[]);
        let line = listener.line();
        assert!(line.contains(&format!("http={}", sockets.http)), "{line}; {}", manager.log());
        assert_eq!(Response::read(&mut early).status, 200);
        let _reader = Attached::attach(&sockets.control, "", "");
        listener.signal(Signal::TERM);
        assert!(listener.wait().success());
        assert!(sockets.control.exists(), "it is the manager's");
        // While nobody is there to accept: the next process answers this one.
        early = TcpStream::connect(sockets.http).expect("the queue of the socket");
        early.write_all(get("/healthz").as_bytes()).expect("sent");
    }
    drop(early);
}

#[test]
fn a_socket_that_no_address_of_the_configuration_asks_for_is_refused() {
    let manager = Manager::new();
    let (sockets, others) = (Sockets::bind(&manager.scratch), Scratch::new());
    let mut strangers = Sockets::bind(&others);
    strangers.http = sockets.http;
    let mut listener = manager.start(Some(&strangers), &[]);
    assert_eq!(listener.wait().code(), Some(1));
    drop(sockets);
}

/// A reader that goes on for as long as it is let: numbers and payloads, each once.
struct Going {
    seen: Arc<Mutex<Vec<(u64, u64)>>>,
    end: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Going {
    fn start(sockets: &Sockets) -> Self {
        let (seen, end) = (Arc::<Mutex<Vec<(u64, u64)>>>::default(), Arc::<AtomicBool>::default());
        let options = Options::new(&sockets.control)
            .reconnect_for(Duration::MAX)
            .backoff(Duration::from_millis(5), Duration::from_millis(20))
            .timeout(PATIENCE);
        let mut client = options.attach().expect("an honest listener");
        let (seeing, ending) = (Arc::clone(&seen), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                match client.next().expect("undamaged") {
                    Event::Record((record, payload)) => {
                        let number = u64::from_le_bytes(payload[..8].try_into().expect("8 bytes"));
                        seeing.lock().expect("no panic").push((record.seq, number));
                        client.release();
                    }
                    Event::Empty => drop(client.wait(Some(Duration::from_millis(20)))),
                    other => panic!("{other:?}"),
                }
            }
        });
        Self { seen, end, thread: Some(thread) }
    }

    fn count(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }

    fn finish(mut self) -> Vec<(u64, u64)> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().expect("once").join().expect("no panic");
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }
}

/// Posts numbers until it is told to end. One that was not answered is posted again, and may be
/// there twice. Returns the numbers that were answered.
fn keep_posting(sockets: &Sockets, end: &AtomicBool) -> BTreeSet<u64> {
    let mut answered = BTreeSet::new();
    let mut number = 0_u64;
    while !end.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(sockets.http) else { continue };
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        loop {
            let payload = [&number.to_le_bytes()[..], &[7; 100]].concat();
            let sent = stream.write_all(&record("default", "", &payload));
            if sent.is_err() || !answers_202(&mut stream) {
                break;
            }
            answered.insert(number);
            number += 1;
            if end.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    answered
}

/// Whether the answer comes, whole: the listener may die instead.
fn answers_202(stream: &mut TcpStream) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return false,
            Ok(bytes) => head.extend_from_slice(&piece[..bytes]),
        }
        if head.ends_with(b"}") || head.ends_with(b"}\n") {
            assert!(head.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&head));
            return true;
        }
    }
}

#[test]
fn twenty_crashes_under_load_lose_no_acknowledged_record_and_readers_go_on() {
    const CRASHES: usize = 20;
    // So small that it goes round many times.
    const FLAGS: [&str; 4] = ["--capacity-bytes", "16KiB", "--full-wait-ms", "5000"];
    let manager = Manager::new();
    let sockets = Sockets::bind(&manager.scratch);
    let mut listener = manager.start(Some(&sockets), &FLAGS);
    assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
    let reader = Going::start(&sockets);
    let end = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let posting = scope.spawn(|| keep_posting(&sockets, &end));
        for crash in 0..CRASHES {
            let before = reader.count();
            // At another moment each time.
            std::thread::sleep(Duration::from_micros(20_000 + 1733 * crash as u64));
            manager.eventually("read on", || reader.count() > before + 20);
            listener.signal(Signal::KILL);
            let _ = listener.wait();
            listener = manager.start(Some(&sockets), &FLAGS);
            let line = listener.line();
            assert!(line.starts_with("aqueduct ready"), "{crash}: {line} {}", manager.log());
        }
        std::thread::sleep(Duration::from_millis(50));
        end.store(true, Ordering::Relaxed);
        posting.join().expect("no panic")
    });
    let last = answered.last().copied().expect("some were answered");
    manager.eventually("everything read", || {
        let seen = reader.seen.lock().expect("no panic");
        seen.last().is_some_and(|&(_, number)| number >= last)
    });
    let seen = reader.finish();
    // One epoch, each record once and in order: the reader was given no gap and nothing twice.
    for (expected, (seq, _)) in (0..).zip(&seen) {
        assert_eq!(*seq, expected);
    }
    let numbers: BTreeSet<u64> = seen.iter().map(|(_, number)| *number).collect();
    let missing: Vec<&u64> = answered.difference(&numbers).collect();
    assert!(missing.is_empty(), "{missing:?} of {}", answered.len());
    assert!(manager.told().iter().any(|told| told.contains("20 crashes")), "{:?}", manager.told());
    println!("{CRASHES} crashes, {} records answered, {} read", answered.len(), seen.len());
}

#[test]
fn a_restart_in_order_keeps_what_nobody_released() {
    let manager = Manager::new();
    let sockets = Sockets::bind(&manager.scratch);
    let flags = ["--capacity-bytes", "64KiB", "--subscription", "a", "--subscription", "b"];
    let mut listener = manager.start(Some(&sockets), &flags);
    assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
    let (_, epoch) = post(&sockets, b"0");
    for number in 1..10_u8 {
        post(&sockets, &[b'0' + number]);
    }
    let mut reader = Attached::attach(&sockets.control, "", "a");
    for seq in 0..4 {
        assert_eq!(reader.next().map(|record| record.0), Some(seq));
    }
    reader.release();
    drop(reader);
    let restart = |listener: &mut common::manager::Started, flags: &[&str]| {
        listener.signal(Signal::TERM);
        assert!(listener.wait().success());
        *listener = manager.start(Some(&sockets), flags);
        assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
    };
    for round in 0..3_u64 {
        restart(&mut listener, &flags);
        // The ring, its page; nobody is attached.
        manager.eventually("two are kept", || manager.kept().len() == 2);
        assert_eq!(post(&sockets, b"x"), (10 + round, epoch.clone()));
        for (name, first) in [("a", 4), ("b", 0)] {
            let mut reader = Attached::attach(&sockets.control, "", name);
            let found: Vec<u64> = std::iter::from_fn(|| reader.next()).map(|one| one.0).collect();
            assert_eq!(found, (first..11 + round).collect::<Vec<_>>(), "{name}");
        }
    }
    // With everything released the numbers go on, too.
    for name in ["a", "b"] {
        let mut reader = Attached::attach(&sockets.control, "", name);
        while reader.next().is_some() {}
        reader.release();
    }
    restart(&mut listener, &flags);
    // What closed the ring is no record, and is not waited for.
    let reader = Attached::attach(&sockets.control, "", "a");
    let begun = std::time::Instant::now();
    restart(&mut listener, &flags);
    assert!(begun.elapsed() < Duration::from_secs(4), "the drain waits: {}", manager.log());
    drop(reader);
    assert_eq!(post(&sockets, b"y"), (13, epoch.clone()));
    // Another size, and a subscription more: a new epoch with what is there.
    let larger = [&["--capacity-bytes", "128KiB"], &flags[2..], &["--subscription", "c"]].concat();
    restart(&mut listener, &larger);
    let (seq, other) = post(&sockets, b"z");
    assert!(seq == 1 && other != epoch, "{seq} {other} {epoch}");
    for (name, count) in [("a", 2), ("b", 2), ("c", 1)] {
        let mut reader = Attached::attach(&sockets.control, "", name);
        assert_eq!(std::iter::from_fn(|| reader.next()).count(), count, "{name}");
    }
}

#[test]
fn a_cursor_is_believed_as_far_as_an_honest_reader_can_have_stored_it() {
    // (what the reader stores in the end, the first record that its subscription has then)
    for (lie, first) in [(None, 3), (Some(1000), 2), (Some(u32::MAX), 2)] {
        let manager = Manager::new();
        let sockets = Sockets::bind(&manager.scratch);
        let flags = ["--capacity-bytes", "16KiB"];
        let mut listener = manager.start(Some(&sockets), &flags);
        assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
        for number in 0..5 {
            post(&sockets, &[number]);
        }
        let mut reader = Raw::attach(&sockets.control, "", "");
        for _ in 0..2 {
            reader.reader.next().expect("a record");
        }
        reader.reader.release();
        // A look at the metrics notes that.
        assert_eq!(Server::exchange_at(sockets.http, get("/metrics")).status, 200);
        reader.reader.next().expect("a record");
        reader.reader.release();
        if let Some(lie) = lie {
            reader.page.store(cursor_word::CURSOR, lie, Ordering::SeqCst);
        }
        listener.signal(Signal::KILL);
        let _ = listener.wait();
        let mut listener = manager.start(Some(&sockets), &flags);
        assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
        let mut next = Attached::attach(&sockets.control, "", "");
        assert_eq!(next.next().map(|record| record.0), Some(first), "{lie:?}");
    }
}

#[test]
fn what_is_kept_and_no_ring_does_no_harm() {
    let manager = Manager::new();
    let sockets = Sockets::bind(&manager.scratch);
    let mut listener = manager.start(Some(&sockets), &[]);
    assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
    let (_, epoch) = post(&sockets, b"0");
    listener.signal(Signal::KILL);
    let _ = listener.wait();
    for (kind, wrong) in [("page", "the page of another program"), ("ring", "no ring at all")] {
        manager.replace(kind);
        let mut listener = manager.start(Some(&sockets), &[]);
        let line = listener.line();
        assert!(line.starts_with("aqueduct ready"), "{wrong}: {line} {}", manager.log());
        let (seq, other) = post(&sockets, b"1");
        assert!(seq == 0 && other != epoch, "{wrong}");
        listener.signal(Signal::KILL);
        let _ = listener.wait();
    }
    assert!(manager.log().contains("cannot be used"), "{}", manager.log());
}

/// A unit that has failed for good loses the descriptors that systemd keeps for it.
#[test]
fn the_unit_never_gives_up_the_rings_that_are_kept_for_it() {
    let unit = include_str!("../deploy/systemd/aqueduct.service");
    let values = |key: &str| -> Vec<&str> {
        let settings = unit.lines().filter_map(|line| line.split_once('='));
        settings.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
    };
    let kept = values("FileDescriptorStoreMax");
    assert!(kept.iter().any(|most| most.parse::<u32>().is_ok_and(|most| most > 0)), "{kept:?}");
    assert_eq!(values("Restart"), ["on-failure"]);
    assert_eq!(values("StartLimitIntervalSec"), ["0"], "more starts than these are not tried");
}

#[test]
fn a_manager_that_does_not_read_holds_nothing_up_and_gets_everything_later() {
    let manager = Manager::deaf();
    let sockets = Sockets::bind(&manager.scratch);
    let mut listener = manager.start(Some(&sockets), &["--drain-timeout-ms", "100"]);
    assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
    // As many as would occupy every thread that could wait.
    for number in 0..20 {
        assert_eq!(Server::exchange_at(sockets.http, get("/healthz")).status, 200, "{number}");
        assert_eq!(post(&sockets, &[number]).0, u64::from(number));
        let mut reader = Attached::attach(&sockets.control, "", "");
        assert_eq!(reader.next().map(|record| record.0), Some(u64::from(number)));
        reader.release();
    }
    let reader = Attached::attach(&sockets.control, "", "");
    let has = |line: &str| manager.told().iter().any(|told| told == line);
    assert!(manager.kept().is_empty() && !has("READY=1"));
    manager.listen();
    // Not what came and went: the ring, its page, and the cursor of who is there.
    manager.eventually("everything is kept", || {
        let kept = manager.kept();
        let count = |kind: &str| kept.iter().filter(|name| name.starts_with(kind)).count();
        has("READY=1") && (count("ring/"), count("page/"), count("cursor/")) == (1, 1, 1)
    });
    drop(reader);
    listener.signal(Signal::TERM);
    assert!(listener.wait().success(), "{}", manager.log());
    manager.eventually("the end", || has("STOPPING=1") && manager.kept().len() == 2);
}

#[test]
fn a_manager_that_never_reads_keeps_neither_a_start_nor_an_end_waiting() {
    let manager = Manager::deaf();
    let sockets = Sockets::bind(&manager.scratch);
    let mut listener = manager.start(Some(&sockets), &[]);
    assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
    listener.signal(Signal::TERM);
    assert!(listener.wait().success(), "{}", manager.log());
    assert!(manager.log().contains("the service manager does not listen"), "{}", manager.log());
    // Nor does one that is gone.
    std::fs::remove_file(manager.scratch.path("notify")).expect("removed");
    let mut listener = manager.start(Some(&sockets), &[]);
    assert!(listener.line().starts_with("aqueduct ready"), "{}", manager.log());
    let reader = Attached::attach(&sockets.control, "", "");
    listener.signal(Signal::TERM);
    assert!(listener.wait().success(), "{}", manager.log());
    drop(reader);
}
