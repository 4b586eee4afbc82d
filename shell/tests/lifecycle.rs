//! Start, signals, end.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::control::{Control, hello};
use common::reader::Attached;
use common::{Ends, PATIENCE, Response, Scratch, Server, command};
use rustix::process::Signal;

#[test]
fn sigterm_lets_readers_finish_closes_the_ring_and_exits_0() {
    let mut server = Server::start(&["--drain-timeout-ms", "9000"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    for n in 0..3 {
        assert_eq!(server.post("default", &[n]).status, 202);
    }
    server.terminate();
    server.eventually("it shuts down", || server.log().contains("shutting down"));
    server.eventually("new readers are refused", || {
        let control = Control::connect(&server.socket);
        control.send(&hello("", "default"));
        control.welcome().status == 7
    });
    for seq in 0..3 {
        assert_eq!(reader.next().map(|record| record.0), Some(seq));
    }
    assert!(!reader.is_closed(), "not before everything is released");
    reader.release();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    assert!(reader.is_closed());
    reader.assert_ended();
    assert!(!server.socket.exists());
}

#[test]
fn a_reader_that_never_releases_delays_the_end_by_the_drain_timeout_only() {
    let mut server = Server::start(&["--drain-timeout-ms", "100"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(server.post("default", b"x").status, 202);
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.log().contains("drain timeout: attached readers"), "{}", server.log());
    assert_eq!(reader.next().map(|record| record.0), Some(0), "still readable");
    assert!(reader.is_closed());
}

#[test]
fn sighup_ends_it_as_sigterm_does() {
    // It has no file to read again.
    let mut server = Server::start(&[]);
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(server.post("default", b"x").status, 202);
    assert_eq!(reader.next().map(|record| record.0), Some(0));
    reader.release();
    server.signal(Signal::HUP);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    assert!(reader.is_closed() && !server.socket.exists());
}

/// A connection whose request the server works on, waiting for this many bytes of its body.
fn in_flight(server: &Server, body_bytes: usize) -> TcpStream {
    let mut stream = server.connect();
    let head = "POST /v1/rings/default/records HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\n";
    stream
        .write_all(format!("{head}content-length: {body_bytes}\r\n\r\n").as_bytes())
        .expect("sent");
    assert_eq!(Response::read(&mut stream).status, 100);
    stream
}

#[test]
fn requests_in_flight_are_answered_during_the_shutdown() {
    let mut server = Server::start(&["--drain-timeout-ms", "9000"]);
    let mut stream = in_flight(&server, 5);
    server.terminate();
    server.eventually("it shuts down", || server.log().contains("shutting down"));
    stream.write_all(b"whole").expect("sent");
    assert_eq!(Response::read(&mut stream).status, 202);
    drop(stream);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_request_that_waits_for_space_is_told_when_the_ring_is_closed() {
    let mut server = Server::start(&[
        "--capacity-bytes",
        "128",
        "--full-wait-ms",
        "60000",
        "--drain-timeout-ms",
        "100",
    ]);
    assert_eq!(server.post("default", &[1; 32]).status, 202);
    let mut stream = in_flight(&server, 32);
    stream.write_all(&[2; 32]).expect("sent");
    server.terminate();
    let response = Response::read(&mut stream);
    response.assert_problem(503);
    assert!(response.body.contains("shutting down"), "{response:?}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&["--drain-timeout-ms", "60000"]);
    let _reader = Attached::attach(&server.socket, "", "");
    assert_eq!(server.post("default", b"x").status, 202);
    server.terminate();
    server.eventually("it shuts down", || server.log().contains("shutting down"));
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(130));
}

#[test]
fn a_killed_server_leaves_a_socket_file_that_the_next_one_replaces() {
    let mut first = Server::start(&[]);
    let mut reader = Attached::attach(&first.socket, "", "");
    first.signal(Signal::KILL);
    first.wait();
    assert!(!reader.is_closed(), "lost, not closed");
    reader.assert_ended();
    assert!(first.socket.exists());
    let scratch = std::mem::replace(&mut first.scratch, Scratch::new());
    let second = Server::start_in(scratch, &[]);
    Attached::attach(&second.socket, "", "");
}

#[test]
fn a_live_socket_or_another_file_is_left_alone() {
    let server = Server::start(&[]);
    let out = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
        .arg(&server.socket)
        .ended()
        .expect("it runs");
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.code() == Some(1)
            && message.contains("another process listens there")
            && out.stdout.is_empty(),
        "{out:?}"
    );
    Attached::attach(&server.socket, "", "");

    let file = server.scratch.path("file");
    std::fs::write(&file, "mine").expect("written");
    let out = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
        .arg(&file)
        .ended()
        .expect("it runs");
    assert!(
        out.status.code() == Some(1) && String::from_utf8_lossy(&out.stderr).contains("left alone"),
        "{out:?}"
    );
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), "mine");
    assert_eq!(
        std::fs::read_dir(server.scratch.path(".")).expect("a directory").count(),
        4,
        "socket, its lock, log, file"
    );
}

#[test]
fn something_else_in_the_place_of_the_lock_is_left_alone() {
    let scratch = Scratch::new();
    let (socket, lock) = (scratch.path("aqd.sock"), scratch.path("aqd.sock.lock"));
    let refused = || {
        let out = command()
            .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
            .arg(&socket)
            .ended()
            .expect("it runs");
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        assert!(message.contains("aqd.sock.lock") && message.contains("left alone"), "{message}");
        assert!(!socket.exists());
    };
    // Those of other programs are often empty.
    for content in ["mine", ""] {
        std::fs::write(&lock, content).expect("written");
        refused();
        assert_eq!(std::fs::read_to_string(&lock).expect("still there"), content);
    }
    std::fs::remove_file(&lock).expect("removed");
    let elsewhere = scratch.path("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &lock).expect("a link");
    refused();
    assert!(!elsewhere.exists());
    std::fs::remove_file(&lock).expect("removed");
    std::fs::create_dir(&lock).expect("a directory");
    refused();
}

#[test]
fn nothing_is_left_of_a_listener_that_ended_in_order() {
    let mut server = Server::start(&[]);
    assert!(server.scratch.path("aqd.sock.lock").exists());
    server.terminate();
    server.wait();
    let left = std::fs::read_dir(server.scratch.path(".")).expect("a directory").count();
    assert_eq!(left, 1, "the log");
}

#[test]
fn the_socket_is_bound_under_its_own_name() {
    let server = Server::start(&[]);
    let sockets = std::fs::read_to_string("/proc/net/unix").expect("Linux");
    let path = server.socket.to_str().expect("ASCII");
    assert!(sockets.lines().any(|line| line.ends_with(&format!(" {path}"))), "{sockets}");
}

#[test]
fn of_many_starts_at_once_over_a_stale_socket_one_succeeds() {
    for round in 0..10 {
        let mut first = Server::start(&[]);
        first.signal(Signal::KILL);
        first.wait();
        let start = || {
            command()
                .args(["serve", "--listen", "127.0.0.1:0", "--capacity-bytes", "4096", "--socket"])
                .arg(&first.socket)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts")
        };
        let mut starts: Vec<_> = (0..6).map(|_| start()).collect();
        // The losers end by themselves.
        let deadline = Instant::now() + PATIENCE;
        let mut lost = 0;
        while lost < 5 {
            assert!(Instant::now() < deadline, "round {round}: {lost} of 5 gave up");
            std::thread::sleep(Duration::from_millis(5));
            let ended = |child: &mut Child| child.try_wait().expect("our child");
            let codes: Vec<_> = starts.iter_mut().filter_map(ended).collect();
            assert!(codes.iter().all(|status| status.code() == Some(1)), "{codes:?}");
            lost = codes.len();
        }
        // The winner is the one that readers reach, once it says that it is ready.
        let lives = |child: &mut Child| child.try_wait().expect("our child").is_none();
        let winner = starts.iter_mut().position(lives).expect("one lives");
        let stdout = starts[winner].stdout.take().expect("piped");
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready).expect("a line");
        assert!(ready.starts_with("aqueduct ready "), "{ready}");
        drop(Attached::attach(&first.socket, "", ""));
        for child in &mut starts {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_taken_address_is_a_startup_error() {
    let server = Server::start(&[]);
    let socket = server.scratch.path("other.sock");
    let out = command()
        .args(["serve", "--listen", &server.http.to_string(), "--socket"])
        .arg(&socket)
        .ended()
        .expect("it runs");
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.code() == Some(1) && message.contains(&format!("listening on {}", server.http)),
        "{out:?}"
    );
}

#[test]
fn the_socket_file_has_mode_0660() {
    let server = Server::start(&[]);
    let stat = rustix::fs::lstat(&server.socket).expect("there");
    assert_eq!(stat.st_mode & 0o7777, 0o660);
}

#[test]
fn json_logs_are_one_object_a_line() {
    let mut server = Server::start(&["--log-format", "json"]);
    server.terminate();
    server.wait();
    let log = server.log();
    assert!(
        log.lines().count() > 2
            && log.lines().all(|line| line.starts_with('{') && line.ends_with('}')),
        "{log}"
    );
}

#[test]
fn promtool_accepts_the_metrics() {
    let server = Server::start(&[
        "--ring",
        "a",
        "--ring",
        "b",
        "--subscription",
        "x",
        "--subscription",
        "y",
    ]);
    let _reader = Attached::attach(&server.socket, "a", "x");
    assert_eq!(server.post("a", b"x").status, 202);
    assert_eq!(server.get("/nothing").status, 404);
    let response = server.get("/metrics");
    assert!(
        response
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")),
        "{response:?}"
    );
    for series in [
        "aqueduct_records_total{ring=\"a\"} 1",
        "aqueduct_payload_bytes_total{ring=\"a\"} 1",
        "aqueduct_ring_capacity_bytes{ring=\"b\"} 16777216",
        "aqueduct_ring_used_bytes{ring=\"a\"} 64",
        "aqueduct_subscription_lag_bytes{ring=\"a\",subscription=\"y\"} 64",
        "aqueduct_subscription_attached{ring=\"a\",subscription=\"x\"} 1",
        "aqueduct_subscription_lag_records{ring=\"a\",subscription=\"y\"} 1",
        "aqueduct_subscription_released_records_total{ring=\"a\",subscription=\"y\"} 0",
        "aqueduct_ring_full{ring=\"a\"} 0",
        "aqueduct_ready 1",
        "aqueduct_http_requests_total{status=\"404\"} 1",
        "aqueduct_publish_wait_seconds_count{ring=\"a\"} 0",
        "aqueduct_control_connections 1",
    ] {
        assert!(
            response.body.lines().any(|line| line == series),
            "{series} not in\n{}",
            response.body
        );
    }
    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut checker) = checker else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    checker.stdin.take().expect("piped").write_all(response.body.as_bytes()).expect("taken");
    let out = checker.wait_with_output().expect("it ends");
    assert!(
        out.status.success() && out.stdout.is_empty() && out.stderr.is_empty(),
        "{out:?}\n{}",
        response.body
    );
}
