//! `aqueduct publish` against real listeners: nothing lost, nothing twice, whatever interrupts it.
#![cfg(feature = "operate")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use aqueduct_client::{Event, Options, Start};
use common::reader::Attached;
use common::{Ends, PATIENCE, Scratch, Server, command, deaf_pipes};
use rustix::process::Signal;
use serde_json::Value;

/// The command with a summary in JSON, to its end.
fn publish(arguments: &[&str]) -> (Output, Value) {
    let output = command().arg("publish").args(["--format", "json"]).args(arguments).ended();
    let output = output.expect("it ends");
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, value)
}

fn http(server: &Server) -> String {
    format!("http://{}/v1/rings/default/records", server.http)
}

/// Payloads of all records in the ring.
fn all(socket: &Path) -> Vec<Vec<u8>> {
    let mut observer = Options::new(socket).start(Start::Oldest).observe().expect("attached");
    let mut all = Vec::new();
    while let Event::Record((_, payload)) = observer.next().expect("undamaged") {
        all.push(payload.to_vec());
    }
    all
}

fn numbered(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| format!("record number {n}").into_bytes()).collect()
}

fn file_of(scratch: &Scratch, records: &[Vec<u8>]) -> String {
    let path = scratch.path("input");
    std::fs::write(&path, records.join(&b'\n')).expect("written");
    path.to_str().expect("ASCII").to_owned()
}

fn start() -> Server {
    Server::with_file(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"resp\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"lines\"\n",
        &[],
    )
}

#[test]
fn unix_sockets_take_records_by_every_protocol() {
    let scratch = Scratch::new();
    let at = |name: &str| scratch.path(name).display().to_string();
    let listen = |name: &str, protocol: &str| {
        format!("[[listen]]\naddress = 'unix:{}'\nprotocol = '{protocol}'\n", at(name))
    };
    let text =
        [listen("h", "http"), listen("r", "resp"), listen("l", "lines"), listen("m", "mqtt")];
    let server = Server::with_file(&text.concat(), &[]);
    let records = numbered(300);
    let lines = file_of(&scratch, &records);
    let mut expected = 0;
    for to in [
        format!("http+unix://{}:/v1/rings/default/records", at("h")),
        format!("resp+unix://{}:default", at("r")),
        format!("lines+unix://{}", at("l")),
    ] {
        let (output, summary) = publish(&[&lines, "--to", &to, "--batch", "64"]);
        assert_eq!(output.status.code(), Some(0), "{to}: {output:?}");
        assert_eq!(summary["records"], 300, "{to}");
        expected += records.len();
        assert_eq!(all(&server.socket).len(), expected, "{to}");
    }
    let (to, socket) = (format!("mqtt+unix://{}:t", at("m")), server.socket.display().to_string());
    let arguments = ["bench", &to, "--socket", &socket, "--duration", "200ms", "--rate", "500"];
    let output = command().args(arguments).args(["--format", "json"]).ended().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(all(&server.socket).len() > expected, "{output:?}");
}

#[cfg(feature = "tls")]
#[test]
fn over_tls_whom_it_is_spoken_to_is_known_first() {
    use base64::Engine;

    let scratch = Scratch::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
    let write = |name: &str, label: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let text = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        std::fs::write(scratch.path(name), text).expect("written");
        scratch.path(name).display().to_string()
    };
    let certificate = write("cert.pem", "CERTIFICATE", made.cert.der());
    let key = write("key.pem", "PRIVATE KEY", &made.signing_key.serialize_der());
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
    let other = write("other.pem", "CERTIFICATE", other.cert.der());
    let listen = "[[listen]]\naddress = '127.0.0.1:0'\nprotocol = ";
    let text = format!(
        "[tls]\ncertificate = '{certificate}'\nkey = '{key}'\n{listen}'resp'\n{listen}'lines'\n\
         {listen}'http'\ntls = false\n"
    );
    let server = Server::with_file(&text, &[]);
    let lines = file_of(&scratch, &numbered(300));
    let https = format!("https://{}/v1/rings/default/records", server.http);
    let resp = format!("resp+tls://{}/default", server.at("resp"));
    let to_lines = format!("lines+tls://{}", server.at("lines"));
    let mut expected = 0;
    for to in [&https, &resp, &to_lines] {
        let (output, summary) = publish(&[&lines, "--to", to, "--ca", &certificate]);
        assert_eq!(output.status.code(), Some(0), "{to}: {output:?}");
        assert_eq!(summary["records"], 300, "{to}");
        expected += 300;
        assert_eq!(all(&server.socket).len(), expected, "{to}");
    }
    // Nobody has to say for how long: it will never be another certificate.
    for (ca, says) in [(&*other, "invalid peer certificate"), ("/nonexistent", "/nonexistent: ")] {
        let (output, summary) = publish(&[&lines, "--to", &https, "--ca", ca]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
        assert_eq!(summary["reconnects"], 0, "{summary}");
    }
    assert_eq!(all(&server.socket).len(), expected);
}

#[test]
fn every_protocol_and_framing_brings_the_records_in_order() {
    let (scratch, server) = (Scratch::new(), start());
    let records = numbered(1000);
    let lines = file_of(&scratch, &records);
    let mut expected: Vec<Vec<u8>> = Vec::new();
    let mut epochs = Vec::new();
    let resp = format!("resp://{}/default", server.at("resp"));
    let to_lines = format!("lines://{}", server.at("lines"));
    for to in [&http(&server), &resp, &to_lines] {
        let (output, summary) = publish(&[&lines, "--to", to, "--batch", "64"]);
        assert_eq!(output.status.code(), Some(0), "{to}: {output:?}");
        assert_eq!(summary["records"], 1000, "{to}");
        epochs.push(summary["epoch"].clone());
        expected.extend(records.iter().cloned());
        assert_eq!(all(&server.socket).len(), expected.len(), "{to}");
    }
    let [of_http, of_resp, of_lines] = &epochs[..] else { panic!("{epochs:?}") };
    assert_eq!((of_http, of_lines), (of_resp, &Value::Null), "one ring, in one form");
    let counted = scratch.path("counted");
    std::fs::write(&counted, b"3 a\nb1 c").expect("written");
    let counted = counted.to_str().expect("ASCII");
    let whole: &[&[u8]] = &[b"3 a\nb1 c"];
    let cases: [(&str, &[&[u8]]); 3] =
        [("octets", &[b"a\nb", b"c"]), ("whole", whole), ("nul", whole)];
    let to = http(&server);
    for (framing, records) in cases {
        let flags = ["--to", &*to, "--framing", framing, "--type", "7", counted];
        let (output, _) = publish(&flags);
        assert_eq!(output.status.code(), Some(0), "{framing}: {output:?}");
        expected.extend(records.iter().map(|record| record.to_vec()));
    }
    assert_eq!(all(&server.socket), expected);
}

#[test]
fn stdin_is_read_and_what_is_refused_is_said_with_its_place() {
    let server = start();
    let mut child = command()
        .args(["publish", "--format", "json", "--to", &http(&server)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(b"one\r\n\ntwo").expect("taken");
    let output = child.wait_with_output().expect("it ends");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&summary["records"], &summary["last_seq"]), (&2.into(), &1.into()), "{summary}");
    assert_eq!(all(&server.socket), [b"one", b"two"]);
    let nowhere = http(&server).replace("default", "other");
    let scratch = Scratch::new();
    let (output, summary) = publish(&[&file_of(&scratch, &numbered(3)), "--to", &nowhere]);
    assert_eq!(output.status.code(), Some(1));
    assert!(summary["error"].as_str().is_some_and(|it| it.starts_with("404")), "{summary}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("at byte 0"), "{output:?}");
    assert_eq!(publish(&["--to", "ftp://x"]).0.status.code(), Some(2));
}

#[test]
fn a_full_ring_is_waited_for() {
    let scratch = Scratch::new();
    let flags = ["--capacity-bytes", "4096", "--max-payload-bytes", "1024", "--full-wait-ms", "0"];
    let server = Server::start(&flags);
    let records = numbered(500);
    let file = file_of(&scratch, &records);
    let mut child = spawn(&[&file, "--to", &http(&server), "--batch", "8"]);
    let full = "aqueduct_records_rejected_total{reason=\"full\",ring=\"default\"}";
    server.eventually("it is full", || server.metric(full) > 0.0);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut came = Vec::new();
    let deadline = std::time::Instant::now() + 3 * PATIENCE;
    while came.len() < records.len() && std::time::Instant::now() < deadline {
        while let Some((_, _, payload)) = reader.next() {
            came.push(payload);
        }
        reader.release();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(came, records, "in order, each once");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_listener_that_is_not_there_is_said_once_and_so_is_that_it_came() {
    let scratch = Scratch::new();
    let file = file_of(&scratch, &numbered(300));
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let to = format!("http://{address}/v1/rings/default/records");
    let mut child = command()
        .args(["publish", &file, "--to", &to, "--batch", "3"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert!(line.starts_with(&format!("aqueduct: {file}, at byte 0: ")), "{line}");
    assert!(line.contains("refused") && line.ends_with("; trying again\n"), "{line}");
    // Some attempts more, which are not worth a line each.
    std::thread::sleep(Duration::from_millis(400));
    let server = Server::start_in(scratch, &["--listen", &address]);
    line.clear();
    said.read_line(&mut line).expect("a line");
    assert!(line.contains(", at byte 0: goes on after "), "{line}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("text");
    assert_eq!((&*rest, all(&server.socket).len()), ("", 300));
}

fn spawn(arguments: &[&str]) -> Child {
    command()
        .args(["publish", "--format", "json"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

#[test]
fn a_run_that_is_killed_at_any_moment_is_resumed_without_loss_or_repetition() {
    let server = Server::start(&["--capacity-bytes", "4MiB"]);
    let scratch = Scratch::new();
    let records = numbered(3000);
    let file = file_of(&scratch, &records);
    let place = scratch.path("place");
    let place = place.to_str().expect("ASCII");
    let to = http(&server);
    let arguments = [&*file, "--to", &to, "--batch", "3", "--resume", place];
    let mut kills = 0;
    for round in 1..60_u64 {
        let mut child = spawn(&arguments);
        std::thread::sleep(Duration::from_millis(10 + round * 7 % 40));
        if child.try_wait().expect("our child").is_some() {
            break;
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::KILL).expect("it lives");
        let _ = child.wait();
        kills += 1;
    }
    let (output, summary) = publish(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(summary["records_all_runs"], 3000, "{summary}");
    assert!(kills > 0, "it was never killed");
    assert_eq!(all(&server.socket), records, "after {kills} kills");
    // It is done: nothing more is sent, and another task may not use its file.
    let (_, summary) = publish(&arguments);
    assert_eq!(summary["records"], 0);
    let (output, _) = publish(&[&file, "--type", "1", "--to", &to, "--resume", place]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn what_was_appended_is_published_next_time_and_what_was_changed_is_refused() {
    let (server, scratch) = (Server::start(&[]), Scratch::new());
    let at = |name: &str| scratch.path(name).display().to_string();
    let (one, two, place, to) = (at("one"), at("two"), at("place"), http(&server));
    let write = |path: &str, text: &str| std::fs::write(path, text).expect("written");
    let arguments = [&*one, &two, "--to", &to, "--resume", &place];
    write(&one, "a\nb\n");
    write(&two, "c\n");
    assert_eq!(publish(&arguments).1["records"], 3);
    assert_eq!(publish(&arguments).1["records"], 0);
    write(&one, "a\nb\nd\n");
    write(&two, "c\ne\n");
    let (output, summary) = publish(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((&summary["records"], &summary["records_all_runs"]), (&2.into(), &5.into()));
    let mut there = all(&server.socket);
    there.sort_unstable();
    assert_eq!(there, [b"a", b"b", b"c", b"d", b"e"]);
    write(&one, "x\nb\nd\nf\n");
    let (output, summary) = publish(&arguments);
    assert_eq!((output.status.code(), &summary["records"]), (Some(1), &0.into()), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&one) && said.contains("first 6 bytes are not those"), "{said}");
    assert_eq!(all(&server.socket).len(), 5);
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again_with_the_same_key() {
    let server = Server::start(&[]);
    let scratch = Scratch::new();
    let records = numbered(20);
    let file = file_of(&scratch, &records);
    // Between the two a listener that takes everything there and loses the first two answers.
    let between = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = between.local_addr().expect("an address");
    let to = server.http;
    let loser = std::thread::spawn(move || {
        for round in 0..3 {
            let (mut near, _) = between.accept().expect("a connection");
            let mut far = std::net::TcpStream::connect(to).expect("connected");
            let (mut from, mut into) =
                (near.try_clone().expect("a copy"), far.try_clone().expect("a copy"));
            let up = std::thread::spawn(move || std::io::copy(&mut from, &mut into));
            if round < 2 {
                // The answer came, and nobody gets it.
                let mut answer = [0; 64];
                let _ = std::io::Read::read(&mut far, &mut answer);
                near.shutdown(std::net::Shutdown::Both).expect("shut");
            } else {
                let _ = std::io::copy(&mut far, &mut near);
            }
            drop(up);
        }
    });
    let url = format!("http://{address}/v1/rings/default/records");
    let (output, summary) = publish(&[&file, "--to", &url, "--batch", "5"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(summary["reconnects"], 2, "{summary}");
    assert_eq!((&summary["repeated"], &summary["in_doubt"]), (&5.into(), &0.into()), "{summary}");
    assert_eq!(all(&server.socket), records);
    drop(loser);
}

#[test]
fn what_it_says_holds_nothing_up_and_ends_nothing() {
    let scratch = Scratch::new();
    let records = numbered(100);
    let input = file_of(&scratch, &records);
    for (_kept, deaf) in deaf_pipes() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = free.local_addr().expect("bound").to_string();
        drop(free);
        let to = format!("http://{address}/v1/rings/default/records");
        let mut child = command()
            .args(["publish", &input, "--to", &to])
            .stdout(Stdio::null())
            .stderr(deaf)
            .spawn()
            .expect("it starts");
        // It has something to say now: that nobody is there.
        std::thread::sleep(Duration::from_millis(300));
        let server = Server::start(&["--listen", &address]);
        server.eventually("they are published", || all(&server.socket).len() >= records.len());
        server.eventually("it ends", || child.try_wait().expect("our child").is_some());
        assert_eq!(child.wait().expect("it ended").code(), Some(0));
        assert_eq!(all(&server.socket), records);
    }
}

#[test]
fn on_a_terminal_a_bar_shows_how_far_it_is_and_goes_when_it_is_done() {
    let server = start();
    let scratch = Scratch::new();
    let input = file_of(&scratch, &numbered(1000));
    // `script` runs a command on a terminal of its own.
    let publish = format!(
        "{} publish {input} --batch 50 --to {}",
        env!("CARGO_BIN_EXE_aqueduct"),
        http(&server)
    );
    let mut script = std::process::Command::new("script");
    let output = script.args(["--quiet", "--return", "--command", &publish, "/dev/null"]).ended();
    let output = output.expect("script is there");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("\r\u{1b}[2K") && shown.contains(" KiB"), "{shown:?}");
    assert!(shown.ends_with("16890 bytes published, 0 to 999\r\n"), "{shown:?}");
}
