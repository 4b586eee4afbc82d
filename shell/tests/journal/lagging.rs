//! Subscriptions that may lag behind the ring: fed from the journal, in one stream.
#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "small counts")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use aqueduct_client::{Client, Event, Options, ReadError, Start, WaitError};
use aqueduct_core::MemoryMut;
use aqueduct_core::layout::cursor_word;

use crate::common::control::Raw;
use crate::common::{Ends, PATIENCE, Scratch, Server};
use crate::{journal, kill, strs};

/// Bytes of a record; a ring of 64 KiB holds 61 of them.
const PAYLOAD_BYTES: usize = 1000;

/// A listener whose ring holds 64 KiB, with a subscription that holds it back and one that may lag.
fn start(durability: &str, lag_bytes: &str, subscriptions: &str) -> (Server, Vec<String>) {
    let scratch = Scratch::new();
    let directory = scratch.path("journal");
    let text = format!(
        "[journal]\ndirectory = \"{}\"\nsegment_bytes = \"64KiB\"\n\
         [[ring]]\nname = \"default\"\ncapacity_bytes = \"64KiB\"\nfull_wait_ms = 500\n\
         durability = \"{durability}\"\nsubscriptions = [{subscriptions}\"far\"]\n\
         lagging = [\"far\"]\nlag_bytes = \"{lag_bytes}\"\n",
        directory.display()
    );
    let file = scratch.path("aqueduct.toml");
    std::fs::write(&file, text).expect("the file is written");
    let flags = ["--config", file.to_str().expect("ASCII")].map(str::to_owned).to_vec();
    let server = Server::start_in(scratch, &strs(&flags));
    (server, flags)
}

fn payload(seq: u64) -> Vec<u8> {
    let mut payload = format!("record {seq} ").into_bytes();
    payload.resize(PAYLOAD_BYTES, b'.');
    payload
}

/// Publishes records up to a number, whose type is their number.
fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    for seq in numbers {
        let header = format!("aqueduct-type: {}\r\n", seq % 60_000);
        let request = crate::common::record("default", &header, &payload(seq));
        assert_eq!(crate::place(&server.exchange(request)).0, seq, "{}", server.log());
    }
}

fn attach(server: &Server, subscription: &str) -> Client {
    let options = Options::new(&server.socket).subscription(subscription).timeout(PATIENCE);
    options.reconnect_for(PATIENCE).attach().expect("an honest server")
}

/// Reads the next records, checks them, and releases every so many.
fn read(client: &mut Client, numbers: std::ops::Range<u64>, every: u64) {
    let until = Instant::now() + 3 * PATIENCE;
    for seq in numbers {
        loop {
            assert!(Instant::now() < until, "record {seq} does not come");
            match client.next_wait(Some(Duration::from_millis(100))).expect("undamaged") {
                Event::Record((record, found)) => {
                    assert_eq!(record.seq, seq);
                    assert_eq!(u64::from(record.type_tag), seq % 60_000);
                    assert!(found == payload(seq), "record {seq} is another one");
                    break;
                }
                Event::Empty => {}
                other => panic!("neither another epoch nor an end before {seq}: {other:?}"),
            }
        }
        if (seq + 1).is_multiple_of(every) {
            client.release();
        }
    }
}

fn lag(server: &Server, of: &str) -> f64 {
    let labels = format!("{{ring=\"default\",subscription=\"{of}\"}}");
    server.metric(&format!("aqueduct_subscription_lag_records{labels}"))
}

#[test]
fn a_reader_that_was_away_gets_more_than_the_ring_holds_and_then_what_is_new() {
    for durability in ["process", "disk"] {
        let (server, _) = start(durability, "16MiB", "\"live\", ");
        let mut live = attach(&server, "live");
        for round in 0..8 {
            publish(&server, 50 * round..50 * (round + 1));
            read(&mut live, 50 * round..50 * (round + 1), 50);
        }
        server.eventually("the lag is known", || lag(&server, "far") == 400.0);
        assert_eq!(lag(&server, "live"), 0.0);
        let mut far = attach(&server, "far");
        read(&mut far, 0..400, 7);
        publish(&server, 400..420);
        read(&mut far, 400..420, 10);
        server.eventually("it has caught up", || lag(&server, "far") == 0.0);
        assert_eq!(
            server.metric("aqueduct_evictions_total{reason=\"cursor\",ring=\"default\"}"),
            0.0
        );
    }
}

#[test]
fn a_reader_that_is_slow_holds_nobody_back_and_misses_nothing() {
    for subscriptions in ["", "\"live\", "] {
        let (server, _) = start("process", "16MiB", subscriptions);
        let mut far = attach(&server, "far");
        publish(&server, 0..1);
        // Read and not released: it may still be looked at.
        read(&mut far, 0..1, 10);
        for round in 0..6 {
            let numbers = 50 * round + 1..50 * (round + 1) + 1;
            publish(&server, numbers.clone());
            if !subscriptions.is_empty() {
                let mut live = attach(&server, "live");
                read(&mut live, numbers.start.max(1) - u64::from(round == 0)..numbers.end, 1);
                live.release();
            }
        }
        read(&mut far, 1..301, 1);
        server.eventually("it has caught up", || lag(&server, "far") == 0.0);
    }
}

#[test]
fn a_kill_of_the_listener_while_a_reader_is_fed_changes_nothing_for_the_reader() {
    for durability in ["process", "disk"] {
        let (mut server, flags) = start(durability, "16MiB", "");
        publish(&server, 0..300);
        let mut far = attach(&server, "far");
        for round in 0..4 {
            read(&mut far, 70 * round..70 * round + 70, 9);
            kill(&mut server, &flags);
        }
        read(&mut far, 280..300, 9);
        publish(&server, 300..310);
        read(&mut far, 300..310, 1);
        assert_eq!(far.totals().attachments, 5, "it reconnected to one stream");
    }
}

#[test]
fn the_next_reader_begins_where_the_last_one_released() {
    let (server, _) = start("process", "16MiB", "");
    publish(&server, 0..200);
    let mut seq = 0;
    while seq < 200 {
        let mut far = attach(&server, "far");
        // What was not released comes again.
        read(&mut far, seq..200.min(seq + 37), 10);
        seq = 200.min(seq + 37) / 10 * 10;
    }
    server.eventually("the lag is known", || lag(&server, "far") == 0.0);
    // Back to what the ring has, and forward past everything.
    let options = || Options::new(&server.socket).subscription("far").timeout(PATIENCE);
    let mut oldest = options().start(Start::Oldest).attach().expect("an honest server");
    let first = match oldest.next().expect("undamaged") {
        Event::Record((record, _)) => record.seq,
        other => panic!("{other:?}"),
    };
    assert!((120..200).contains(&first), "{first}");
    read(&mut oldest, first + 1..200, 1000);
    drop(oldest);
    server.eventually("the lag is known", || lag(&server, "far") == (200 - first) as f64);
    let mut latest = options().start(Start::Latest).attach().expect("an honest server");
    publish(&server, 200..201);
    read(&mut latest, 200..201, 1);
}

#[test]
fn the_bound_makes_records_wait_and_nothing_is_lost() {
    let (mut server, flags) = start("process", "128KiB", "");
    let mut taken = 0;
    let refused = loop {
        let request = crate::common::record("default", "", &payload(taken));
        let response = server.exchange(request);
        if response.status != 202 {
            break response;
        }
        taken += 1;
        assert!(taken < 200, "there is no bound");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    // A bound of 128 KiB holds 124 records; the last are kept out a little earlier.
    assert!((118..=124).contains(&taken), "{taken}");
    assert_eq!(server.get("/readyz").status, 503);
    kill(&mut server, &flags);
    let request = crate::common::record("default", "", &payload(taken));
    assert_eq!(server.exchange(request).status, 503);
    let options = Options::new(&server.socket).subscription("far").timeout(PATIENCE);
    let mut far = options.attach().expect("an honest server");
    for seq in 0..taken {
        let event = far.next_wait(Some(PATIENCE)).expect("undamaged");
        let Event::Record((record, found)) = event else { panic!("no record {seq}") };
        assert_eq!((record.seq, found == payload(seq)), (seq, true));
        if seq % 5 == 0 {
            far.release();
        }
    }
    far.release();
    server.eventually("there is room again", || {
        let request = crate::common::record("default", "", &payload(taken));
        server.exchange(request).status == 202
    });
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_reader_that_keeps_most_of_its_ring_gets_as_much_as_there_is_room_for() {
    let (server, _) = start("process", "16MiB", "");
    publish(&server, 0..200);
    let mut far = attach(&server, "far");
    // It has 51 of the 62 that its ring holds, and there are more than a quarter of that to come.
    read(&mut far, 0..10, 10);
    read(&mut far, 10..68, 1000);
    far.release();
    read(&mut far, 68..200, 10);
}

#[test]
fn after_a_start_the_lag_is_known_before_anything_is_published() {
    let (mut server, flags) = start("process", "16MiB", "");
    publish(&server, 0..200);
    read(&mut attach(&server, "far"), 0..150, 10);
    server.eventually("the lag is known", || lag(&server, "far") == 50.0);
    server.terminate();
    let _ = server.wait();
    server.start_again(&strs(&flags));
    server.eventually("the lag is known", || lag(&server, "far") == 50.0);
}

#[test]
fn a_batch_that_waits_for_the_bound_is_taken_when_everything_is_released() {
    let (server, _) = start("process", "128KiB", "");
    publish(&server, 0..30);
    let batch = payload(0).repeat(55).chunks(PAYLOAD_BYTES).collect::<Vec<_>>().join(&b'\n');
    let headers = "content-type: application/x-ndjson\r\n";
    let send = || server.exchange(crate::common::record("default", headers, &batch)).status;
    assert_eq!(send(), 503, "twice its size does not fit below the bound");
    let mut far = attach(&server, "far");
    read(&mut far, 0..30, 30);
    server.eventually("there is room again", || send() == 202);
}

#[test]
fn the_journal_keeps_what_is_needed_and_no_more() {
    let (server, _) = start("process", "16MiB", "");
    publish(&server, 0..500);
    let files = || std::fs::read_dir(journal(&server)).expect("a directory").count();
    let before = files();
    // 500 records in segments of 64 KiB.
    assert!(before > 8, "{before}");
    let mut far = attach(&server, "far");
    read(&mut far, 0..500, 1);
    server.eventually("segments are removed", || files() <= 6);
}

#[test]
fn an_end_in_order_is_told_to_a_reader_that_has_everything() {
    let (mut server, flags) = start("process", "16MiB", "");
    publish(&server, 0..100);
    let attach = |server: &Server| {
        let options = Options::new(&server.socket).subscription("far").timeout(PATIENCE);
        options.attach().expect("an honest server")
    };
    let mut far = attach(&server);
    read(&mut far, 0..100, 1);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    let end = far.next_wait(Some(PATIENCE)).expect("undamaged");
    assert!(matches!(end, Event::Closed), "{end:?}");
    server.start_again(&strs(&flags));
    publish(&server, 100..101);
    let mut far = attach(&server);
    read(&mut far, 100..101, 1);
}

#[test]
fn a_reader_that_lies_is_evicted_and_its_subscription_stays() {
    let (server, _) = start("process", "16MiB", "");
    publish(&server, 0..100);
    let liar = Raw::attach(&server.socket, "default", "far");
    liar.page.store(cursor_word::CURSOR, u32::MAX / 2, Ordering::Release);
    server.eventually("it is evicted", || {
        server.metric("aqueduct_evictions_total{reason=\"cursor\",ring=\"default\"}") == 1.0
    });
    let mut far = attach(&server, "far");
    read(&mut far, 0..100, 1);
}

#[test]
fn damage_in_the_journal_is_told_and_gone_past() {
    let (server, _) = start("process", "16MiB", "");
    publish(&server, 0..200);
    // In the payload of the first record of the second file.
    let file = journal(&server).join("0000000000000002.segment");
    let segment = std::fs::OpenOptions::new().read(true).write(true).open(file).expect("there");
    segment.write_all_at(b"?", 4096 + 32 + 100).expect("written");
    let mut far = attach(&server, "far");
    let mut seen = Vec::new();
    let mut missing = None;
    while seen.len() < 199 {
        match far.next_wait(Some(PATIENCE)) {
            Ok(Event::Record((record, found))) => {
                assert!(found == payload(record.seq), "record {} is another one", record.seq);
                seen.push(record.seq);
            }
            Err(WaitError::Read(ReadError::Gap { expected, found })) => {
                assert_eq!((missing.replace(expected), found), (None, expected + 1));
            }
            other => panic!("after {} records: {other:?}", seen.len()),
        }
        far.release();
    }
    let missing = missing.expect("a gap");
    let expected: Vec<u64> = (0..200).filter(|&seq| seq != missing).collect();
    assert_eq!(seen, expected);
    assert!(server.log().contains("the journal is damaged"), "{}", server.log());
    publish(&server, 200..210);
    read(&mut far, 200..210, 1);
}

#[test]
fn pages_say_who_may_lag_and_an_operator_evicts_a_reader_that_goes_on() {
    let (mut server, mut flags) = start("process", "16MiB", "\"live\", ");
    flags.extend(["--admin-listen", "127.0.0.1:0"].map(str::to_owned));
    kill(&mut server, &flags);
    let admin = server.admin.expect("an address");
    let mut live = attach(&server, "live");
    for round in 0..4 {
        publish(&server, 50 * round..50 * (round + 1));
        read(&mut live, 50 * round..50 * (round + 1), 50);
    }
    let mut far = attach(&server, "far");
    read(&mut far, 0..20, 10);
    let rings = Server::exchange_at(admin, crate::common::get("/v1/rings")).body;
    let reader = |name: &str| {
        let after = rings.split_once(&format!("{{\"name\":\"{name}\"")).expect("a reader").1;
        after.split_once('}').expect("its end").0.to_owned()
    };
    assert!(reader("live").ends_with("\"lagging\":false"), "{rings}");
    let of_far = reader("far");
    assert!(of_far.ends_with("\"lagging\":true"), "{rings}");
    assert!(of_far.contains("\"state\":\"attached\""), "{rings}");
    assert!(of_far.contains("\"lag_records\":180"), "{rings}");
    let evict =
        "DELETE /v1/rings/default/readers/far HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    assert_eq!(Server::exchange_at(admin, evict).status, 204);
    read(&mut far, 20..200, 10);
    assert_eq!(far.totals().attachments, 2);
}

#[test]
fn an_end_in_order_does_not_wait_for_long_and_is_no_end_of_the_stream_for_one_that_lags() {
    let (mut server, mut flags) = start("process", "16MiB", "");
    flags.extend(["--drain-timeout-ms", "200"].map(str::to_owned));
    kill(&mut server, &flags);
    publish(&server, 0..200);
    let options = Options::new(&server.socket).subscription("far").timeout(PATIENCE);
    let mut far = options.attach().expect("an honest server");
    read(&mut far, 0..1, 1);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    // What its ring has is read; the rest is not there yet.
    let mut seq = 1;
    loop {
        match far.next_wait(Some(PATIENCE)).expect("undamaged") {
            Event::Record((record, _)) => assert_eq!(record.seq, seq),
            Event::Lost => break,
            other => panic!("after {seq} records: {other:?}"),
        }
        seq += 1;
    }
    assert!(seq < 200, "the ring holds 61");
    drop(far);
    server.start_again(&strs(&flags));
    read(&mut attach(&server, "far"), 1..200, 1);
}

/// Changes a line of the configuration.
fn reconfigure(server: &Server, from: &str, to: &str) {
    let file = server.scratch.path("aqueduct.toml");
    let text = std::fs::read_to_string(&file).expect("it was written");
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).expect("the file is written");
}

#[test]
fn another_epoch_begins_with_all_that_one_has_not_read_that_lags() {
    let (mut server, flags) = start("disk", "16MiB", "\"live\", ");
    let mut live = attach(&server, "live");
    for round in 0..6 {
        publish(&server, 50 * round..50 * (round + 1));
        // The last ten are not released.
        read(&mut live, 50 * round..50 * (round + 1) - if round == 5 { 10 } else { 0 }, 1);
    }
    read(&mut attach(&server, "far"), 0..70, 10);
    server.eventually("the lag is known", || {
        lag(&server, "far") == 230.0 && lag(&server, "live") == 10.0
    });
    drop(live);
    server.terminate();
    let _ = server.wait();
    reconfigure(&server, "capacity_bytes = \"64KiB\"", "capacity_bytes = \"32KiB\"");
    server.start_again(&strs(&flags));
    for (subscription, first) in [("far", 70), ("live", 290)] {
        let mut client = attach(&server, subscription);
        for number in first..300 {
            let event = client.next_wait(Some(PATIENCE)).expect("undamaged");
            let Event::Record((record, found)) = event else { panic!("no record {number}") };
            // The epoch counts from 0, which is the first that anybody had not released.
            assert_eq!((record.seq, found == payload(number)), (number - 70, true));
            client.release();
        }
    }
    publish_as(&server, 230, 300);
    let mut far = attach(&server, "far");
    let event = far.next_wait(Some(PATIENCE)).expect("undamaged");
    assert!(matches!(event, Event::Record((record, _)) if record.seq == 230), "{event:?}");
}

#[test]
fn another_epoch_without_space_for_the_lag_says_how_much_it_needs() {
    let (mut server, flags) = start("process", "16MiB", "");
    publish(&server, 0..300);
    server.terminate();
    let _ = server.wait();
    reconfigure(&server, "capacity_bytes = \"64KiB\"", "capacity_bytes = \"32KiB\"");
    let mut serve = crate::common::command();
    let output = serve.arg("serve").args(&flags).args(["--listen", "127.0.0.1:0"]);
    // The first segment is there to be reserved, and not what is to come after it.
    crate::faults::without_files_beyond(output, 192 << 10);
    let output = output.arg("--socket").arg(&server.socket).ended().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    // 300 records of 1,056 bytes, some padding, and the header of a segment.
    let bytes = said.split_once(" bytes must be free").expect("it says so").0;
    let bytes: u64 = bytes.rsplit(' ').next().and_then(|it| it.parse().ok()).expect("a number");
    assert!((300 * 1056 + 4096..340 * 1056).contains(&bytes), "{said}");
    server.start_again(&strs(&flags));
    let mut far = attach(&server, "far");
    let event = far.next_wait(Some(PATIENCE)).expect("undamaged");
    assert!(matches!(event, Event::Record((record, _)) if record.seq == 0), "{event:?}");
}

#[test]
fn without_cursors_no_more_goes_into_another_epoch_than_one_may_lag() {
    let (mut server, flags) = start("process", "128KiB", "");
    reconfigure(&server, "[journal]\n", "[journal]\nretain_bytes = \"16MiB\"\n");
    kill(&mut server, &flags);
    let mut far = attach(&server, "far");
    for round in 0..8 {
        publish(&server, 50 * round..50 * (round + 1));
        read(&mut far, 50 * round..50 * (round + 1), 50);
    }
    drop(far);
    server.signal(rustix::process::Signal::KILL);
    let _ = server.wait();
    std::fs::remove_file(journal(&server).join("cursors")).expect("it was there");
    server.start_again(&strs(&flags));
    // As much as one may lag, 124 records, and not a whole segment more; nothing says less.
    let records = |it: f64| (124.0..124.0 + 62.0).contains(&it);
    server.eventually("the lag is known", || records(lag(&server, "far")));
    let mut far = attach(&server, "far");
    let event = far.next_wait(Some(PATIENCE)).expect("undamaged");
    let Event::Record((record, found)) = event else { panic!("{event:?}") };
    let content = (0..400).find(|&it| found == payload(it)).expect("one of them");
    assert_eq!((record.seq, (400 - content) as f64), (0, lag(&server, "far")));
}

/// Publishes one record under a number that is not that of its content.
fn publish_as(server: &Server, seq: u64, content: u64) {
    let request = crate::common::record("default", "", &payload(content));
    assert_eq!(crate::place(&server.exchange(request)).0, seq, "{}", server.log());
}

#[test]
fn one_that_may_not_lag_any_more_must_have_caught_up() {
    let (mut server, flags) = start("process", "16MiB", "");
    publish(&server, 0..200);
    server.terminate();
    let _ = server.wait();
    reconfigure(&server, "lagging = [\"far\"]", "lagging = []");
    let mut serve = crate::common::command();
    let output = serve.arg("serve").args(&flags).args(["--listen", "127.0.0.1:0"]);
    let output = output.arg("--socket").arg(&server.socket).ended().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("subscription far lags farther behind than the ring holds"), "{said}");
    reconfigure(&server, "lagging = []", "lagging = [\"far\"]");
    server.start_again(&strs(&flags));
    read(&mut attach(&server, "far"), 0..200, 1);
    server.eventually("it has caught up", || lag(&server, "far") == 0.0);
    server.terminate();
    let _ = server.wait();
    reconfigure(&server, "lagging = [\"far\"]", "lagging = []");
    server.start_again(&strs(&flags));
    publish(&server, 200..210);
    read(&mut attach(&server, "far"), 200..210, 1);
}

/// `e2e_reader`, built once per run.
fn c_reader() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../c");
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-lagging");
    let program = build.join("e2e_reader");
    let mut make = Command::new("make");
    make.arg("-C").arg(sources).arg(format!("BUILD={}", build.display())).arg(&program);
    let output = make.output().expect("make is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the C side does not build:\n{said}");
    program
}

/// Lines of a C program; killed when dropped.
struct CReader {
    child: Child,
    lines: Receiver<String>,
}

impl CReader {
    /// Starts it; one that finds the last one still attached is started again.
    fn start(program: &Path, server: &Server) -> (Self, String) {
        for _ in 0..500 {
            let mut command = Command::new(program);
            command.arg(&server.socket).args(["default", "far"]);
            command.args(["--release-every", "8", "--delay-us", "500"]);
            command.args(["--reconnect-ms", "20000"]);
            let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
            let stdout = child.stdout.take().expect("piped");
            let (sender, lines) = channel();
            std::thread::spawn(move || {
                let lines = BufReader::new(stdout).lines();
                // The test may have seen enough.
                lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
            });
            let reader = Self { child, lines };
            let first = reader.line();
            if !first.starts_with("E open ") {
                return (reader, first);
            }
            assert!(first.contains(" refusal=5 "), "{first}");
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the last reader stays attached");
    }

    /// The next line; that it is over once there will be none.
    fn line(&self) -> String {
        match self.lines.recv_timeout(3 * PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => "over".to_owned(),
            Err(RecvTimeoutError::Timeout) => panic!("the reader says nothing any more"),
        }
    }
}

impl Drop for CReader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn c_readers_are_killed_while_they_are_fed_and_so_is_the_listener() {
    let program = c_reader();
    for durability in ["process", "disk"] {
        let (mut server, flags) = start(durability, "16MiB", "");
        publish(&server, 0..400);
        // Just past the last record that was printed, and past the last that was said to be
        // released.
        let (mut seen, mut released) = (0, 0);
        for round in 0..5 {
            // Of a listener that was killed, what was released in the last moment may come again.
            let least = if round == 3 { 0 } else { released };
            let until = [60, 120, 270, 330, 420][round].max(released);
            if round == 4 {
                publish(&server, 400..420);
            }
            let (mut reader, mut line) = CReader::start(&program, &server);
            let mut next = None;
            while released < until {
                let mut words = line.split(' ');
                match (words.next(), words.next().and_then(|word| word.parse::<u64>().ok())) {
                    (Some("R"), Some(seq)) => {
                        if round == 2 && next.is_none() {
                            kill(&mut server, &flags);
                        }
                        match next {
                            Some(next) => assert_eq!(seq, next, "{durability}, round {round}"),
                            // What was not released comes again, and nothing is left out.
                            None => assert!((least..=seen).contains(&seq), "{seq} of {seen}"),
                        }
                        assert!(line.contains(&format!(" record {seq} ")), "{line}");
                        (next, seen) = (Some(seq + 1), seen.max(seq + 1));
                    }
                    (Some("C"), Some(seq)) => released = seq,
                    _ => panic!("{durability}, round {round}: {line}"),
                }
                line = if released < until { reader.line() } else { String::new() };
            }
            // It is killed; what it said meanwhile counts.
            let _ = reader.child.kill();
            for line in std::iter::from_fn(|| Some(reader.line())).take_while(|it| it != "over") {
                let mut words = line.split(' ');
                match (words.next(), words.next().and_then(|word| word.parse::<u64>().ok())) {
                    (Some("R"), Some(seq)) if line.contains(" record ") => seen = seen.max(seq + 1),
                    (Some("C"), Some(seq)) => released = seq,
                    // The last line may be cut.
                    _ => {}
                }
            }
        }
        server.eventually("it has caught up", || lag(&server, "far") == 0.0);
    }
}
