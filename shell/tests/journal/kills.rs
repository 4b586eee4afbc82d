//! Listener and readers, killed at random moments.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
#[allow(clippy::disallowed_types, reason = "a flag between threads of the test")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::reader::Attached;
use crate::common::{self, record};
use crate::{place_in, start, strs};

/// What clients and readers know together.
#[derive(Default)]
struct Known {
    /// What was answered 202, by number.
    answered: BTreeMap<u64, Vec<u8>>,
    /// What a reader was handed, by number.
    seen: BTreeMap<u64, Vec<u8>>,
    epochs: BTreeSet<String>,
}

impl Known {
    /// A reader was handed a record after this one; its subscription had released up to `released`.
    fn follow(&mut self, last: &mut Option<u64>, released: u64, seq: u64, payload: &[u8]) {
        match *last {
            None => assert!(seq <= released, "{seq} after {released}"),
            Some(last) => assert_eq!(seq, last + 1),
        }
        *last = Some(seq);
        self.see(seq, payload);
    }

    fn see(&mut self, seq: u64, payload: &[u8]) {
        let before = self.seen.entry(seq).or_insert_with(|| payload.to_vec());
        assert_eq!(before, payload, "number {seq} was given twice");
    }
}

/// The reader of one round.
enum Reading {
    Here(
        #[allow(dead_code, reason = "it stays attached for as long as it is there")] Box<Attached>,
    ),
    /// A process of its own.
    There(Child),
}

/// What tells a process of this test that it is a reader, and where.
const READER: &str = "AQUEDUCT_KILLED_READER";

impl Reading {
    /// Reads until then, in this process, and stays attached.
    fn here(
        socket: &Path,
        until: Instant,
        released: &mut u64,
        known: &Mutex<Known>,
        below: &mut impl FnMut(u64) -> u64,
    ) -> Self {
        let mut reader = Attached::attach(socket, "", "");
        let mut last = None;
        while Instant::now() < until {
            let Some((seq, _, payload)) = reader.next() else {
                std::thread::sleep(Duration::from_micros(200));
                continue;
            };
            known.lock().expect("no panic").follow(&mut last, *released, seq, &payload);
            if below(4) == 0 {
                reader.release();
                *released = (*released).max(seq + 1);
            }
        }
        Self::Here(Box::new(reader))
    }

    /// Starts this test once more, as a reader.
    fn there(socket: &Path) -> Self {
        let child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "kills::reads_until_it_is_killed", "--nocapture"])
            .env(READER, socket)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self::There(child.expect("it starts"))
    }

    /// Ends it without a release, a process by SIGKILL, and takes what it was handed.
    fn end(self, released: &mut u64, known: &Mutex<Known>) {
        let Self::There(mut child) = self else { return };
        child.kill().expect("our child");
        let mut bytes = Vec::new();
        let _ = child.stdout.take().expect("piped").read_to_end(&mut bytes);
        let _ = child.wait();
        let said = String::from_utf8_lossy(&bytes);
        let (mut last, mut known) = (None, known.lock().expect("no panic"));
        // What comes after the last line feed is not a whole line.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let before = *released;
        for line in whole.lines() {
            if let Some((seq, payload)) =
                line.strip_prefix("read ").and_then(|it| it.split_once(' '))
            {
                let seq = seq.parse().expect("a number");
                known.follow(&mut last, before, seq, payload.as_bytes());
            } else if let Some(seq) = line.strip_prefix("releases ") {
                *released = (*released).max(seq.parse().expect("a number"));
            }
        }
    }
}

/// Not a test by itself: what [`Reading::there`] starts.
#[test]
fn reads_until_it_is_killed() {
    let Some(socket) = std::env::var_os(READER) else { return };
    let mut reader = Attached::attach(Path::new(&socket), "", "");
    let (mut out, begun) = (std::io::stdout(), Instant::now());
    // The harness may have begun a line.
    out.write_all(b"\n").expect("the test reads it");
    while begun.elapsed() < common::PATIENCE {
        let Some((seq, _, payload)) = reader.next() else {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        };
        let text = String::from_utf8(payload).expect("text");
        out.write_all(format!("read {seq} {text}\n").as_bytes()).expect("the test reads it");
        if seq % 5 == 0 {
            // Said before it is done, so that the test never knows too little.
            out.write_all(format!("releases {}\n", seq + 1).as_bytes()).expect("as above");
            reader.release();
        }
    }
}

#[allow(clippy::disallowed_types, reason = "see the import")]
/// Sends numbered records until it is told to stop, wherever the listener is.
fn send(client: usize, address: &Mutex<SocketAddr>, stop: &AtomicBool, known: &Mutex<Known>) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let at = *address.lock().expect("no panic");
        let Ok(mut stream) = TcpStream::connect(at) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout");
        // Until the connection breaks: whether its last record was taken, nobody knows.
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let payload = format!("client {client}, record {number}, {}", "x".repeat(number % 300));
            let sent = stream.write_all(&record("default", "", payload.as_bytes()));
            let Some((status, body)) = sent.ok().and_then(|()| answer(&mut stream)) else { break };
            if status != 202 {
                assert_eq!(status, 503, "{body}");
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let (seq, epoch) = place_in(&body);
            let mut known = known.lock().expect("no panic");
            let twice = known.answered.insert(seq, payload.into_bytes());
            assert_eq!(twice, None, "two clients were given number {seq}");
            known.epochs.insert(epoch);
        }
    }
}

/// Reads one response; `None` if the connection breaks.
fn answer(stream: &mut TcpStream) -> Option<(u16, String)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = stream.read(&mut piece).ok().filter(|&read| read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
            return Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()));
        }
    }
}

#[test]
#[allow(clippy::disallowed_types, reason = "see the import")]
fn killed_at_random_moments_nothing_that_was_answered_is_lost_or_renumbered() {
    let rounds = std::env::var("AQUEDUCT_KILL_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(8);
    let mut random = std::process::id();
    let mut below = move |bound: u64| {
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        u64::from(random >> 8) % bound
    };
    for durability in ["process", "disk"] {
        let (mut server, flags) = start(durability, "cursor_sync_ms = 20");
        let address = Mutex::new(server.http);
        let (stop, known) = (AtomicBool::new(false), Mutex::new(Known::default()));
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (address, stop, known) = (&address, &stop, &known);
                scope.spawn(move || send(client, address, stop, known));
            }
            let mut released = 0;
            for round in 0..rounds.div_ceil(2) {
                let until = Instant::now() + Duration::from_millis(5 + below(60));
                let reading = if round % 2 == 0 {
                    Reading::here(&server.socket, until, &mut released, &known, &mut below)
                } else {
                    let reader = Reading::there(&server.socket);
                    // A process takes some time to begin.
                    let until = until + Duration::from_millis(40);
                    std::thread::sleep(until.saturating_duration_since(Instant::now()));
                    reader
                };
                // The reader, the listener, or both at once.
                if round % 3 == 0 {
                    reading.end(&mut released, &known);
                    continue;
                }
                server.signal(Signal::KILL);
                if round % 3 == 1 {
                    std::thread::sleep(Duration::from_millis(below(3)));
                }
                reading.end(&mut released, &known);
                let _ = server.wait();
                server.start_again(&strs(&flags));
                *address.lock().expect("no panic") = server.http;
            }
            stop.store(true, Ordering::Relaxed);
        });
        let mut reader = Attached::attach(&server.socket, "", "");
        let mut known = known.into_inner().expect("no panic");
        while let Some((seq, _, payload)) = reader.next() {
            known.see(seq, &payload);
        }
        assert_eq!(known.epochs.len(), 1, "{durability}: {}", server.log());
        assert!(!known.answered.is_empty());
        for (seq, payload) in &known.answered {
            assert_eq!(known.seen.get(seq), Some(payload), "{durability}: record {seq} is lost");
        }
        println!(
            "{durability}: rounds={} answered={} seen={}",
            rounds.div_ceil(2),
            known.answered.len(),
            known.seen.len()
        );
    }
}
