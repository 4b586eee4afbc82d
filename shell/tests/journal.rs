//! Rings that outlive the process: the real binary, killed and started again.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
#[allow(clippy::disallowed_types, reason = "a flag between threads of the test")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aqueduct_client::{Event, Options};
use common::http2;
use common::reader::Attached;
use common::{Ends, Response, Scratch, Server, command, record};
use rustix::process::{Resource, Rlimit, Signal};

/// A configuration with one ring and its journal in the scratch directory, and the flags for it.
fn configured(scratch: &Scratch, durability: &str, more: &str) -> Vec<String> {
    let directory = scratch.path("journal");
    let text = format!(
        "[journal]\ndirectory = \"{}\"\n{more}\n\
         [[ring]]\nname = \"default\"\ncapacity_bytes = \"64KiB\"\nfull_wait_ms = 0\n\
         durability = \"{durability}\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"resp\"\n",
        directory.display()
    );
    let file = scratch.path("aqueduct.toml");
    std::fs::write(&file, text).expect("the file is written");
    ["--config", file.to_str().expect("ASCII")].map(str::to_owned).to_vec()
}

fn start(durability: &str, more: &str) -> (Server, Vec<String>) {
    let scratch = Scratch::new();
    let flags = configured(&scratch, durability, more);
    let server = Server::start_in(scratch, &strs(&flags));
    (server, flags)
}

fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

fn kill(server: &mut Server, flags: &[String]) {
    server.signal(Signal::KILL);
    let _ = server.wait();
    server.start_again(&strs(flags));
}

/// What an answer says: sequence number and epoch.
fn place(response: &Response) -> (u64, String) {
    assert_eq!(response.status, 202, "{response:?}");
    place_in(&response.body)
}

fn place_in(body: &str) -> (u64, String) {
    let field = |name: &str| {
        let after = body.split_once(name).unwrap_or_else(|| panic!("{body}")).1;
        after.trim_start_matches(['"', ':']).split(['"', ',', '}']).next().unwrap_or("").to_owned()
    };
    (field("seq").parse().expect("a number"), field("epoch"))
}

#[test]
fn what_was_answered_survives_a_kill_with_its_number_and_readers_go_on() {
    for durability in ["process", "disk"] {
        let (mut server, flags) = start(durability, "");
        let mut reader = Attached::attach(&server.socket, "", "");
        let (first, epoch) = place(&server.post("default", b"record 0"));
        assert_eq!(first, 0);
        for n in 1..20_u8 {
            let payload = format!("record {n}");
            assert_eq!(place(&server.post("default", payload.as_bytes())).0, u64::from(n));
        }
        for seq in 0..5 {
            assert_eq!(reader.next().map(|record| record.0), Some(seq), "{durability}");
        }
        reader.release();
        server.eventually("the cursor is saved", || {
            let metric = server.metric(
                "aqueduct_subscription_lag_bytes{ring=\"default\",subscription=\"default\"}",
            );
            std::thread::sleep(std::time::Duration::from_millis(150));
            metric < 20.0 * 64.0
        });
        for round in 0..3 {
            kill(&mut server, &flags);
            let mut reader = Attached::attach(&server.socket, "", "");
            let found: Vec<_> = std::iter::from_fn(|| reader.next()).collect();
            assert_eq!(found.len(), 15 + round, "{durability}: {}", server.log());
            for (seq, (found, _, payload)) in (5..).zip(&found) {
                assert_eq!((*found, payload), (seq, &format!("record {seq}").into_bytes()));
            }
            let next = 20 + round as u64;
            let payload = format!("record {next}");
            let answered = place(&server.post("default", payload.as_bytes()));
            assert_eq!(answered, (next, epoch.clone()), "{durability}: {}", server.log());
        }
    }
}

#[test]
fn an_end_in_order_keeps_the_place_of_every_subscription() {
    let (mut server, flags) = start("process", "");
    // A segment in use and one to spare, of at least the ring's size.
    server.eventually("the space of the journal is known", || {
        server.metric("aqueduct_journal_size_bytes{ring=\"default\"}") >= 2.0 * 1024.0 * 1024.0
            && server.metric("aqueduct_journal_room_bytes{ring=\"default\"}") > 0.0
    });
    let mut reader = Attached::attach(&server.socket, "", "");
    let (_, epoch) = place(&server.post("default", b"0"));
    for n in 1..10 {
        assert_eq!(place(&server.post("default", &[n])).0, u64::from(n));
    }
    for _ in 0..10 {
        assert!(reader.next().is_some());
    }
    reader.release();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    assert!(reader.is_closed(), "the stream has an end");
    server.start_again(&strs(&flags));
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(reader.next(), None, "everything was released");
    assert_eq!(place(&server.post("default", b"again")), (10, epoch));
    assert_eq!(reader.next().map(|record| (record.0, record.2)), Some((10, b"again".to_vec())));
}

#[test]
fn answers_of_a_pipeline_come_in_order_in_every_protocol() {
    for durability in ["process", "disk"] {
        let (server, _) = start(durability, "");
        let mut stream = server.connect();
        let mut requests = Vec::new();
        for n in 0..40_u8 {
            requests.extend(record("default", "", &[n]));
            requests.extend(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n");
        }
        stream.write_all(&requests).expect("sent");
        for n in 0..40 {
            assert_eq!(place(&Response::read(&mut stream)).0, n, "{durability}");
            assert_eq!(Response::read(&mut stream).status, 200);
        }
        let mut stream = server.speak("resp");
        let one = "*5\r\n$4\r\nXADD\r\n$7\r\ndefault\r\n$1\r\n*\r\n$4\r\ndata\r\n$1\r\nx\r\n";
        stream.write_all(one.repeat(50).as_bytes()).expect("sent");
        let mut answers = String::new();
        let mut piece = [0; 4096];
        while answers.matches('-').count() < 50 {
            let read = stream.read(&mut piece).expect("answers");
            assert_ne!(read, 0, "{answers}");
            answers.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        let seqs: Vec<u64> =
            answers.lines().filter_map(|line| line.split_once('-')?.1.parse().ok()).collect();
        assert_eq!(seqs, (40..90).collect::<Vec<_>>(), "{durability}");
        // The last one asks to close: the answer comes all the same.
        let response = server.exchange(record("default", "connection: close\r\n", b"last"));
        assert_eq!(place(&response).0, 90);
    }
}

#[cfg(feature = "http2")]
#[test]
fn http2_is_answered_when_the_record_is_safe() {
    let (server, _) = start("disk", "");
    let address = server.http;
    http2::run(|tasks| async move {
        let client = http2::Client::connect(address, &tasks).await;
        for seq in 0..10 {
            let answer = client.send(http2::record(&b"x"[..])).await.expect("an answer");
            assert_eq!(answer.status, 202);
            assert_eq!(answer.header("aqueduct-seq"), Some(seq.to_string().as_str()));
        }
    });
}

#[test]
fn a_ring_is_written_over_many_times_and_only_what_is_unread_is_kept() {
    let (mut server, flags) = start("process", "segment_bytes = \"64KiB\"");
    let mut reader = Attached::attach(&server.socket, "", "");
    let payload = [7; 1000];
    let mut seq = 0;
    for _ in 0..12 {
        for _ in 0..20 {
            server.eventually("there is room", || server.post("default", &payload).status == 202);
        }
        while let Some((found, _, content)) = reader.next() {
            assert_eq!((found, &content[..]), (seq, &payload[..]));
            seq += 1;
        }
        reader.release();
        if seq % 80 == 0 {
            kill(&mut server, &flags);
            reader = Attached::attach(&server.socket, "", "");
            // What was released shortly before the kill may come again.
            while let Some((found, ..)) = reader.next() {
                assert!(found < seq, "{found} after {seq}");
            }
            reader.release();
        }
    }
    assert_eq!(seq, 240);
    server.eventually("segments are removed", || {
        let files = std::fs::read_dir(journal(&server)).expect("a directory").count();
        files <= 6
    });
}

fn journal(server: &Server) -> PathBuf {
    server.scratch.path("journal").join("default")
}

#[test]
fn a_journal_that_vanishes_is_noticed_and_told_and_readers_keep_what_they_have() {
    let (mut server, flags) = start("disk", "");
    assert_eq!(server.post("default", b"safe").status, 202);
    assert_eq!(server.get("/readyz").status, 200);
    std::fs::remove_dir_all(journal(&server)).expect("it was there");
    server.eventually("it is noticed", || server.get("/readyz").status == 503);
    let ready = server.get("/readyz");
    let detail = &ready.body;
    assert!(detail.contains("the journal of ring default failed"), "{detail}");
    let refused = server.post("default", b"lost");
    refused.assert_problem(503);
    assert!(refused.header("retry-after").is_some());
    assert!(server.metric("aqueduct_journal_failed{ring=\"default\"}") > 0.5);
    let rejected = "aqueduct_records_rejected_total{reason=\"journal\",ring=\"default\"}";
    assert!((server.metric(rejected) - 1.0).abs() < 0.1);
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(reader.next().map(|record| record.2), Some(b"safe".to_vec()));
    reader.release();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    server.start_again(&strs(&flags));
    assert_eq!(place(&server.post("default", b"anew")).0, 0);
}

#[test]
fn a_second_process_is_refused() {
    let (server, flags) = start("disk", "");
    let output = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
        .arg(server.scratch.path("other.sock"))
        .args(&flags)
        .ended()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ring default: journal: another process uses this journal"), "{said}");
    assert_eq!(server.post("default", b"x").status, 202);
}

#[test]
fn a_durability_without_a_directory_is_refused() {
    let scratch = Scratch::new();
    let file = scratch.path("aqueduct.toml");
    std::fs::write(&file, "[[ring]]\nname = \"a\"\ndurability = \"disk\"\n").expect("written");
    let output = command().args(["serve", "--config"]).arg(&file).ended().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("ring a: durability") && said.contains("[journal]"), "{said}");
}

#[test]
fn another_size_of_the_ring_begins_an_epoch_with_what_is_unread() {
    let (mut server, flags) = start("disk", "");
    let (_, epoch) = place(&server.post("default", b"zero"));
    assert_eq!(place(&server.post("default", b"one")).0, 1);
    let file = server.scratch.path("aqueduct.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("64KiB", "128KiB")).expect("written");
    kill(&mut server, &flags);
    let mut reader = Attached::attach(&server.socket, "", "");
    for (seq, payload) in [(0, "zero"), (1, "one")] {
        let found = reader.next().map(|record| (record.0, record.2));
        assert_eq!(found, Some((seq, payload.as_bytes().to_vec())), "{}", server.log());
    }
    let (seq, other) = place(&server.post("default", b"two"));
    assert_eq!(seq, 2);
    assert_ne!(epoch, other);
    reader.release();
    kill(&mut server, &flags);
    let mut reader = Attached::attach(&server.socket, "", "");
    let last = std::iter::from_fn(|| reader.next()).last();
    assert_eq!(last.map(|record| (record.0, record.2)), Some((2, b"two".to_vec())));
    assert_eq!(place(&server.post("default", b"three")), (3, other), "{}", server.log());
}

/// Has the process write no file beyond 1 MiB.
fn without_space(command: &mut Command) {
    let limit = Rlimit { current: Some(1 << 20), maximum: None };
    let limit_files = move || Ok(rustix::process::setrlimit(Resource::Fsize, limit)?);
    // SAFETY: only one system call, which is safe after a fork.
    unsafe { command.pre_exec(limit_files) };
}

#[test]
fn a_start_without_space_serves_what_is_there_and_goes_on_when_there_is_room() {
    // In the same epoch, and in a new one, because the ring has another size.
    for capacity in ["64KiB", "128KiB"] {
        let (mut server, flags) = start("disk", "segment_bytes = \"2MiB\"");
        let (_, before) = place(&server.post("default", b"record 0"));
        assert_eq!(place(&server.post("default", b"record 1")).0, 1);
        let file = server.scratch.path("aqueduct.toml");
        let text = std::fs::read_to_string(&file).expect("it is there");
        std::fs::write(&file, text.replace("64KiB", capacity)).expect("written");
        server.signal(Signal::KILL);
        let _ = server.wait();
        server.start_again_under(&strs(&flags), without_space);

        let mut reader = Attached::attach(&server.socket, "", "");
        for seq in 0..2 {
            let found = reader.next().map(|record| (record.0, record.2));
            assert_eq!(found, Some((seq, format!("record {seq}").into_bytes())), "{capacity}");
        }
        let ready = server.get("/readyz");
        assert_eq!(ready.status, 503, "{capacity}: {}", server.log());
        assert!(ready.body.contains("no space for the journal of ring default"), "{}", ready.body);
        let refused = server.post("default", b"no");
        refused.assert_problem(503);
        assert!(refused.body.contains("there is no space for its journal"), "{}", refused.body);
        assert!(refused.header("retry-after").is_some());
        assert!(server.metric("aqueduct_journal_out_of_space{ring=\"default\"}") > 0.5);
        drop(reader);
        if capacity == "64KiB" {
            // Nothing was begun that another start could not begin with.
            server.signal(Signal::KILL);
            let _ = server.wait();
            server.start_again_under(&strs(&flags), without_space);
        }

        let all = Rlimit { current: None, maximum: None };
        let pid = rustix::process::Pid::from_raw(server.pid().cast_signed());
        rustix::process::prlimit(pid, Resource::Fsize, all).expect("our child");
        server.eventually("there is room", || server.get("/readyz").status == 200);
        let (seq, epoch) = place(&server.post("default", b"record 2"));
        assert_eq!((seq, epoch == before), (2, capacity == "64KiB"), "{}", server.log());
        kill(&mut server, &flags);
        let mut reader = Attached::attach(&server.socket, "", "");
        let found: Vec<_> = std::iter::from_fn(|| reader.next().map(|it| it.0)).collect();
        assert_eq!(found, [0, 1, 2], "{capacity}: {}", server.log());
        assert_eq!(place(&server.post("default", b"record 3")), (3, epoch));
    }
}

#[test]
fn a_ring_too_small_for_what_is_unread_is_refused_and_nothing_is_lost() {
    let (mut server, flags) = start("disk", "");
    let payload = [7; 1000];
    let (_, epoch) = place(&server.post("default", &payload));
    for seq in 1..50 {
        assert_eq!(place(&server.post("default", &payload)).0, seq);
    }
    server.signal(Signal::KILL);
    let _ = server.wait();
    let file = server.scratch.path("aqueduct.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("64KiB", "16KiB")).expect("written");
    let output = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
        .arg(&server.socket)
        .args(&flags)
        .ended()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ring default: what nobody has read does not fit"), "{said}");
    assert!(said.contains("capacity_bytes"), "{said}");
    // As it was, and with more room, it goes on.
    std::fs::write(&file, text).expect("written");
    server.start_again(&strs(&flags));
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(std::iter::from_fn(|| reader.next()).count(), 50, "{}", server.log());
    reader.release();
    server.eventually("there is room", || server.post("default", b"x").status == 202);
    assert_eq!(place(&server.post("default", b"y")), (51, epoch));
}

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
            .args(["--exact", "reads_until_it_is_killed", "--nocapture"])
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

#[test]
fn a_client_that_reconnects_goes_on_without_a_gap_or_a_repeat() {
    let (mut server, flags) = start("disk", "");
    let options = Options::new(&server.socket).reconnect_for(common::PATIENCE);
    let mut client = options.attach().expect("an honest server");
    let mut next = || {
        loop {
            match client.next().expect("undamaged") {
                Event::Record((record, _)) => return record.seq,
                Event::Empty => {
                    let _ = client.wait(Some(common::PATIENCE)).expect("polled");
                }
                _ => panic!("neither another epoch nor an end"),
            }
        }
    };
    for seq in 0..12 {
        assert_eq!(place(&server.post("default", b"x")).0, seq);
        // Nothing is released: what was read and kept is not handed over again.
        assert_eq!(next(), seq);
        if seq % 4 == 3 {
            kill(&mut server, &flags);
        }
    }
}

#[test]
fn a_journal_is_inspected_verified_replayed_and_trimmed() {
    let (mut server, flags) = start("disk", "retain_bytes = \"1GiB\"");
    for n in 0..10_u8 {
        let payload = [b"record ", &[b'0' + n][..]].concat();
        assert_eq!(server.post("default", &payload).status, 202);
    }
    let ring = journal(&server);
    let run = |arguments: &[&str]| {
        let directory = ring.to_str().expect("ASCII");
        let (what, more) = arguments.split_first().expect("a command");
        let output = command().args(["journal", what, directory]).args(more).ended();
        let output = output.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (status, said, _) = run(&["inspect"]);
    assert_eq!(status, Some(0));
    assert!(said.contains("ring default, disk, epoch") && said.contains("  10 records"), "{said}");
    let (status, said, complaints) = run(&["verify"]);
    assert_eq!((status, complaints.as_str()), (Some(0), ""), "{said}");
    assert!(said.ends_with(" 10 records, 0 damaged places\n"), "{said}");
    let (_, lines, _) = run(&["replay", "--format", "lines", "--from", "3", "--to", "6"]);
    assert_eq!(lines, "record 3\nrecord 4\nrecord 5\n");
    let (_, objects, _) = run(&["replay", "--from", "2020-01-01T00:00:00Z"]);
    assert_eq!(objects.lines().count(), 10);
    assert!(objects.contains("\"seq\":7,\"type\":0,"), "{objects}");
    assert!(objects.contains("\"data\":\"record 7\"}"), "{objects}");
    // Into a ring of another listener, in order.
    let other = Server::start(&[]);
    let url = format!("http://{}/v1/rings/default/records", other.http);
    let (status, _, complaints) = run(&["replay", "--url", &url, "--speed", "1000"]);
    assert_eq!(status, Some(0), "{complaints}");
    let mut reader = Attached::attach(&other.socket, "", "");
    let found: Vec<_> = std::iter::from_fn(|| reader.next().map(|record| record.2)).collect();
    assert_eq!((found.len(), &found[9][..]), (10, &b"record 9"[..]));
    let (status, _, complaints) = run(&["trim"]);
    assert_eq!(status, Some(1));
    assert!(complaints.contains("another process uses this journal"), "{complaints}");

    let mut reader = Attached::attach(&server.socket, "", "");
    while reader.next().is_some() {}
    reader.release();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    server.start_again(&strs(&flags));
    server.signal(Signal::KILL);
    let _ = server.wait();
    let (status, said, complaints) = run(&["trim"]);
    assert_eq!((status, said.as_str()), (Some(0), "1 segments removed, 1 kept\n"), "{complaints}");

    // A record in the middle is damaged.
    server.start_again(&strs(&flags));
    for n in 0..3_u8 {
        assert_eq!(server.post("default", &[n; 40]).status, 202);
    }
    server.signal(Signal::KILL);
    let _ = server.wait();
    let mut segments: Vec<_> = std::fs::read_dir(&ring)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    segments.sort();
    let newest = segments.last().expect("one");
    let mut bytes = std::fs::read(newest).expect("readable");
    bytes[4096 + 96 + 40] ^= 1;
    std::fs::write(newest, bytes).expect("written");
    let (status, said, _) = run(&["inspect"]);
    assert_eq!(status, Some(0));
    assert!(said.contains("damage at position") && said.contains("record 11 is damaged"), "{said}");
    let (status, _, complaints) = run(&["verify"]);
    assert_eq!(status, Some(1));
    assert!(complaints.contains("record 11 is damaged"), "{complaints}");
}

/// What `aqueduct journal` says of a directory: status, stdout, stderr.
fn journal_command(directory: &Path, what: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let output = command().args(["journal", what]).arg(directory).args(more).ended();
    let output = output.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Number, type, payload, attributes.
type Whole = (u64, u16, Vec<u8>, Vec<(String, Vec<u8>)>);

/// Records of a ring.
fn records_with_attributes(server: &Server) -> Vec<Whole> {
    let options = Options::new(&server.socket).start(aqueduct_client::Start::Oldest);
    let mut observer = options.observe().expect("it observes");
    let mut found = Vec::new();
    while let Event::Record((record, payload, attributes)) =
        observer.next_with_attributes().expect("it reads")
    {
        let attributes = attributes
            .map(|one| (String::from_utf8_lossy(one.name).into_owned(), one.value.to_vec()));
        found.push((record.seq, record.type_tag, payload.to_vec(), attributes.collect()));
    }
    found
}

#[test]
fn replay_carries_attributes_or_says_that_it_cannot() {
    let (server, _) = start("process", "[http]\nattributes = [\":path\", \"x-id\"]");
    let mut stream = server.connect();
    for id in ["7", "a b"] {
        let lines = format!("aqueduct-type: 3\r\nx-id: {id}\r\n");
        stream.write_all(&record("default", &lines, id.as_bytes())).expect("sent");
        assert_eq!(Response::read(&mut stream).status, 202);
    }
    let sent = records_with_attributes(&server);
    assert_eq!(sent[1].3[1], ("x-id".to_owned(), b"a b".to_vec()));
    let ring = journal(&server);
    let (_, lines, _) = journal_command(&ring, "replay", &[]);
    let attributes = "\"attributes\":[{\"name\":\":path\",\"value\":\"/v1/rings/default/records\"},\
                      {\"name\":\"x-id\",\"value\":\"a b\"}],\"data\":\"a b\"}";
    assert!(lines.lines().last().is_some_and(|line| line.ends_with(attributes)), "{lines}");
    let url = |server: &Server| format!("http://{}/v1/rings/default/records", server.http);
    let believes = Server::with_file("[http]\nattributes = ['aqueduct-attributes']\n", &[]);
    let (status, _, complaints) = journal_command(&ring, "replay", &["--url", &url(&believes)]);
    assert_eq!(status, Some(0), "{complaints}");
    assert_eq!(records_with_attributes(&believes), sent);
    let deaf = Server::start(&[]);
    let (status, _, complaints) = journal_command(&ring, "replay", &["--url", &url(&deaf)]);
    assert_eq!(status, Some(1));
    assert!(complaints.contains("have that address keep \"aqueduct-attributes\""), "{complaints}");
    assert!(records_with_attributes(&deaf).is_empty());
    let dropping = ["--url", &url(&deaf), "--drop-attributes"];
    assert_eq!(journal_command(&ring, "replay", &dropping).0, Some(0));
    let without: Vec<_> =
        sent.into_iter().map(|(seq, tag, payload, _)| (seq, tag, payload, Vec::new())).collect();
    assert_eq!(records_with_attributes(&deaf), without);
}

#[cfg(feature = "look")]
#[test]
fn a_ring_without_a_journal_is_recorded_and_the_recording_goes_on_where_it_ended() {
    let settings = "[http]\nattributes = ['x-id', 'aqueduct-attributes']\n\
                    [[ring]]\nname = 'default'\ncapacity_bytes = '64KiB'\nfull_wait_ms = 0\n\
                    subscriptions = ['tape']\n";
    let server = Server::with_file(settings, &[]);
    let socket = server.socket.to_str().expect("ASCII");
    let directory = server.scratch.path("recording");
    let mut stream = server.connect();
    let mut post = |n: u32| {
        let lines = format!("aqueduct-type: {}\r\nx-id: {n}\r\n", n % 7);
        let body = vec![b'a'; 1000];
        stream.write_all(&record("default", &lines, &body)).expect("sent");
        Response::read(&mut stream).status
    };
    // More than the ring holds, so that it must be released; in files that are small.
    let flags = ["--socket", socket, "--subscription", "tape", "--segment-bytes", "1MiB"];
    let mut posted = 0;
    for round in 0..3_u64 {
        let mut child = command();
        child.args(["journal", "record"]).arg(&directory).args(flags);
        let mut child = child.stdout(Stdio::null()).spawn().expect("it starts");
        let until = posted + 700;
        while posted < until {
            match post(posted) {
                202 => posted += 1,
                503 => std::thread::sleep(Duration::from_millis(5)),
                status => panic!("{status}"),
            }
        }
        if round == 1 {
            // Whatever it has not released comes again, and is recorded once.
            child.kill().expect("it runs");
            assert!(!child.wait().expect("it ended").success());
        } else {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
            assert!(child.wait().expect("it ended").success());
        }
    }
    let drained = ["--socket", socket, "--subscription", "tape", "--no-follow"];
    let (status, said, complaints) = journal_command(&directory, "record", &drained);
    assert_eq!(status, Some(0), "{complaints}");
    assert!(said.ends_with(" recorded, 0 missed\n"), "{said}");
    let (status, said, complaints) = journal_command(&directory, "verify", &[]);
    assert_eq!((status, complaints.as_str()), (Some(0), ""), "{said}");
    assert!(said.ends_with(&format!(" {posted} records, 0 damaged places\n")), "{said}");
    let (_, lines, _) = journal_command(&directory, "replay", &[]);
    for (seq, line) in lines.lines().enumerate() {
        let (tag, id) = (seq % 7, format!("[{{\"name\":\"x-id\",\"value\":\"{seq}\"}}]"));
        let begins = format!("\"seq\":{seq},\"type\":{tag},");
        assert!(line.contains(&begins) && line.contains(&id), "{seq}: {line}");
    }
    // An observer holds nobody back, and says what it missed.
    let seen = server.scratch.path("seen");
    let flags = ["--socket", socket, "--no-follow"];
    assert_eq!(journal_command(&seen, "record", &flags).0, Some(0));
    let mut lapped = 0;
    while lapped < 200 {
        match post(0) {
            202 => lapped += 1,
            _ => {
                let _ = journal_command(&directory, "record", &drained);
            }
        }
    }
    let (status, said, complaints) = journal_command(&seen, "record", &flags);
    assert_eq!(status, Some(1), "{said}");
    assert!(complaints.contains("came faster than they were written"), "{complaints}");
    let (status, said, complaints) = journal_command(&seen, "verify", &[]);
    assert_eq!(status, Some(0), "{said}{complaints}");
    // Nobody writes two rings, or twice, to one directory.
    let other = Server::with_file("[[ring]]\nname = 'other'\n", &[]);
    let socket = ["--socket", other.socket.to_str().expect("ASCII"), "--no-follow"];
    let (status, _, complaints) = journal_command(&seen, "record", &socket);
    assert_eq!(status, Some(1));
    assert!(complaints.contains("holds records of the ring default"), "{complaints}");
}
