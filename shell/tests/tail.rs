//! `aqueduct tail` against real listeners.
#![cfg(feature = "look")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Output, Stdio};
use std::time::{Duration, Instant};

use common::reader::Attached;
use common::{Ends, PATIENCE, Server, command, deaf_pipes, record};
use rustix::process::Signal;
use serde_json::Value;

/// The command against this listener, to its end.
fn tail(server: &Server, flags: &[&str]) -> Output {
    let socket = server.socket.to_str().expect("ASCII");
    command().args(["tail", "--socket", socket]).args(flags).ended().expect("it ends")
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = std::str::from_utf8(&output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn seqs(output: &Output) -> Vec<u64> {
    lines(output).iter().filter_map(|line| line["seq"].as_u64()).collect()
}

/// One that goes on, and its lines.
struct Following(Child, BufReader<ChildStdout>);

impl Following {
    fn start(server: &Server, flags: &[&str]) -> Self {
        let socket = server.socket.to_str().expect("ASCII");
        let mut child = command()
            .args(["tail", "--socket", socket, "--format", "json"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self(child, lines)
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// Takes its output no longer, and waits for its end.
    fn close(self) -> std::process::ExitStatus {
        let Self(mut child, lines) = self;
        drop(lines);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("our child") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn an_observer_shows_what_is_there_by_number_type_time_and_count() {
    let server = Server::start(&["--capacity-bytes", "64KiB"]);
    for n in 0..10_u8 {
        let headers = format!("aqueduct-type: {}\r\nconnection: close\r\n", n % 3);
        let body = [b"record ".as_slice(), n.to_string().as_bytes()].concat();
        assert_eq!(server.exchange(record("default", &headers, &body)).status, 202);
    }
    let json = ["--format", "json", "--no-follow"];
    let shown = |flags: &[&str]| seqs(&tail(&server, &[&json, flags].concat()));
    let all = tail(&server, &[&json[..], &["--from", "oldest"]].concat());
    assert_eq!(seqs(&all), (0..10).collect::<Vec<_>>());
    assert_eq!(lines(&all)[4]["data"], "record 4");
    assert_eq!(shown(&[]), [0; 0], "from the latest on");
    assert_eq!(shown(&["--from", "7"]), [7, 8, 9]);
    assert_eq!(shown(&["--from", "12"]), [0; 0]);
    assert_eq!(shown(&["--from", "2", "--count", "3"]), [2, 3, 4]);
    assert_eq!(shown(&["--from", "oldest", "--type", "0", "--type", "2"]), [0, 2, 3, 5, 6, 8, 9]);
    assert_eq!(shown(&["--from", "1h"]), (0..10).collect::<Vec<_>>());
    assert_eq!(shown(&["--from", "2400-01-01T00:00:00Z"]), [0; 0]);
    assert_eq!(shown(&["--from", "oldest", "--until", "1h"]), [0; 0]);
    let raw = tail(&server, &["--from", "8", "--no-follow", "--format", "raw"]);
    assert_eq!(raw.stdout, b"record 8\nrecord 9\n");
    assert!(tail(&server, &["--from", "never"]).status.code() == Some(2));
    let nowhere = command().args(["tail", "--socket", "/nonexistent/socket"]).ended();
    assert_eq!(nowhere.expect("it ends").status.code(), Some(1));
}

#[test]
fn records_are_chosen_by_their_attributes() {
    let server = Server::with_file("[http]\nattributes = [\":path\", \"x-kind\"]\n", &[]);
    for kind in ["order", "quote", "order-cancel"] {
        let headers = format!("x-kind: {kind}\r\nconnection: close\r\n");
        assert_eq!(server.exchange(record("default", &headers, b"x")).status, 202);
    }
    let shown = |named: &str| {
        let flags = ["--from", "oldest", "--no-follow", "--format", "json", "--attribute", named];
        tail(&server, &flags)
    };
    assert_eq!(seqs(&shown("x-kind=order")), [0]);
    assert_eq!(seqs(&shown("x-kind=order*")), [0, 2]);
    assert_eq!(seqs(&shown(":path=/v1/*")), [0, 1, 2]);
    assert_eq!(seqs(&shown("x-other")), [0; 0]);
    let named = &lines(&shown("x-kind=quote"))[0]["attributes"];
    let expected = serde_json::json!([
        { "name": ":path", "value": "/v1/rings/default/records" },
        { "name": "x-kind", "value": "quote" }
    ]);
    assert_eq!(*named, expected);
}

#[test]
fn a_reader_releases_what_was_shown_and_nothing_else() {
    let server = Server::start(&[]);
    for body in [b"one", b"two"] {
        assert_eq!(server.post("default", body).status, 202);
    }
    let flags = ["--subscription", "default", "--no-follow", "--format", "json"];
    let until = tail(&server, &[&flags[..], &["--until", "1h"]].concat());
    assert_eq!(seqs(&until), [0; 0], "both are later, and stay");
    assert_eq!(seqs(&tail(&server, &[&flags[..], &["--count", "1"]].concat())), [0]);
    assert_eq!(seqs(&tail(&server, &flags)), [1]);
    assert_eq!(seqs(&tail(&server, &flags)), [0; 0]);
    let _reader = Attached::attach(&server.socket, "", "");
    let busy = tail(&server, &flags);
    assert_eq!(busy.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&busy.stderr).contains("busy"), "{busy:?}");
}

#[test]
fn what_was_overwritten_is_counted() {
    let server = Server::start(&["--capacity-bytes", "4096", "--max-payload-bytes", "256"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    for _ in 0..100 {
        assert_eq!(server.post("default", &[7; 100]).status, 202);
        assert!(reader.next().is_some());
        reader.release();
    }
    let output = tail(&server, &["--from", "10", "--no-follow", "--format", "json"]);
    let shown = lines(&output);
    assert_eq!(shown[0]["event"], "missed");
    let first = shown[1]["seq"].as_u64().expect("a record");
    assert!(first > 10, "{first}");
    assert_eq!(shown[0]["records"], first - 10);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&format!("{} missed", first - 10)), "{told}");
}

#[test]
fn it_goes_on_with_the_next_listener_and_ends_quietly_when_nobody_listens_to_it() {
    let mut server = Server::start(&[]);
    let mut following = Following::start(&server, &["--from", "oldest"]);
    assert_eq!(server.post("default", b"before").status, 202);
    assert_eq!(following.line()["data"], "before");
    server.signal(Signal::KILL);
    let _ = server.wait();
    server.start_again(&[]);
    assert_eq!(server.post("default", b"after").status, 202);
    assert_eq!(following.line()["event"], "epoch");
    assert_eq!(following.line()["data"], "after");
    assert_eq!(following.close().code(), Some(0), "though no record comes");
    let mut following = Following::start(&server, &["--from", "oldest", "--reconnect-for", "0"]);
    assert_eq!(following.line()["data"], "after");
    server.signal(Signal::KILL);
    let status = following.0.wait().expect("our child");
    assert_eq!(status.code(), Some(1), "the ring was lost");
}

#[test]
fn what_it_says_of_missed_records_holds_nothing_up() {
    let server = Server::start(&["--capacity-bytes", "64KiB", "--full-wait-ms", "0"]);
    let socket = server.socket.to_str().expect("ASCII");
    for n in 0..10_u8 {
        assert_eq!(server.post("default", &[n]).status, 202);
    }
    let drain = ["--subscription", "default", "--no-follow"];
    assert!(tail(&server, &drain).status.success());
    // More than the ring holds, so that the first ones are overwritten.
    for _ in 0..100 {
        assert_eq!(server.post("default", &[b'x'; 1000]).status, 202);
        assert!(tail(&server, &drain).status.success());
    }
    for (_kept, deaf) in deaf_pipes() {
        let mut child = command()
            .args(["tail", "--socket", socket, "--from", "0", "--no-follow"])
            .stdout(Stdio::null())
            .stderr(deaf)
            .spawn()
            .expect("it starts");
        server.eventually("it ends", || child.try_wait().expect("our child").is_some());
        assert_eq!(child.wait().expect("it ended").code(), Some(0));
    }
}
