//! Reading the configuration again: what changes at once, what is refused and why, and that nobody
//! who is served notices.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::control::{Control, hello};
use common::{Ends, PATIENCE, Response, Server, command, record};
use rustix::process::Signal;

/// A server with a file that can be written anew.
struct Reloading {
    server: Server,
    file: std::path::PathBuf,
}

impl Reloading {
    fn start(text: &str) -> Self {
        let server = Server::with_file(text, &[]);
        let file = server.scratch.path("aqueduct.toml");
        Self { server, file }
    }

    fn write(&self, text: &str) {
        // As a whole: whoever reads it sees one text or the other.
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &self.file).expect("renamed");
    }

    /// `aqueduct reload`; whether it was taken, and what was said.
    fn reload(&self) -> (bool, String) {
        let out = command().arg("reload").arg("--socket").arg(&self.server.socket).ended();
        let out = out.expect("it runs");
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8(said).expect("UTF-8"))
    }

    #[track_caller]
    fn takes(&self, text: &str, changes: &[&str]) {
        self.write(text);
        let (taken, said) = self.reload();
        assert!(taken, "{said}");
        for change in changes {
            assert!(said.contains(change), "{change:?} not in {said:?}");
        }
    }

    #[track_caller]
    fn refuses(&self, text: &str, line: u32, reason: &str) {
        self.write(text);
        let (taken, said) = self.reload();
        assert!(!taken, "{said}");
        let place = format!("nothing has changed: {}:{line}: ", self.file.display());
        assert!(said.contains(&place), "{place:?} not in {said:?}");
        assert!(said.contains(reason), "{reason:?} not in {said:?}");
    }
}

/// Sends a record on a connection that stays open; the status.
fn post_on(stream: &mut TcpStream, headers: &str, payload: &[u8]) -> u16 {
    stream.write_all(&record("default", headers, payload)).expect("sent");
    Response::read(stream).status
}

#[test]
fn what_can_change_changes_for_open_connections_too() {
    let ring = "[[ring]]\nname = 'default'\nmax_payload_bytes = 100\ncapacity_bytes = 1024\n";
    let listen = "[[listen]]\naddress = '127.0.0.1:0'\nprotocol = ";
    let text = format!(
        "[http]\norigins = ['https://a.example']\n{ring}full_wait_ms = '60s'\n\
         {listen}'resp'\n{listen}'lines'\ntype = 1\n"
    );
    let process = Reloading::start(&text);
    let server = &process.server;
    let (mut http, mut resp) = (server.connect(), server.speak("resp"));
    let mut lines = server.speak("lines");
    let (old, new) = ("origin: https://a.example\r\n", "origin: https://b.example\r\n");
    assert_eq!(post_on(&mut http, old, b"x"), 202);
    assert_eq!(post_on(&mut server.connect(), new, b"x"), 403);
    lines.write_all(b"first\n").expect("sent");
    resp.write_all(b"PUBLISH default x\r\n").expect("sent");
    let mut answer = [0; 4];
    resp.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b":1\r\n");

    let text = format!(
        "[http]\norigins = ['https://b.example']\nmax_headers = 3\n{ring}full_wait_ms = 0\n\
         {listen}'resp'\nmax_message_bytes = 30\n{listen}'lines'\ntype = 2\n\
         [log]\nlevel = 'error'\n[server]\ndrain_timeout_ms = '1ms'\n\
         [control]\nallow_uids = []\nhandshake_timeout_ms = 50\n"
    );
    process.takes(
        &text,
        &[
            "http: origins = [\"https://b.example\"] (was [\"https://a.example\"])",
            "ring default: full_wait_ms = \"0ms\" (was \"1m\")",
            "listen 2: type = 2 (was 1)",
            "server: drain_timeout_ms = \"1ms\" (was \"5s\")",
        ],
    );
    server.eventually("the open connection has the new origins", || {
        post_on(&mut http, old, b"x") == 403
    });
    let mut http = server.connect();
    assert_eq!(post_on(&mut http, new, b"x"), 202);
    assert_eq!(post_on(&mut server.connect(), "a: 1\r\nb: 2\r\n", b"x"), 431, "four fields");
    resp.write_all(b"PUBLISH default more-than-thirty-bytes\r\n").expect("sent");
    let mut line = String::new();
    BufReader::new(&resp).read_line(&mut line).expect("an answer");
    assert!(line.starts_with('-'), "{line:?}");
    // A full ring is refused at once.
    let begun = Instant::now();
    while post_on(&mut http, "", &[0; 100]) == 202 {}
    assert!(begun.elapsed() < PATIENCE, "the wait is still the old one");
    // Nobody may attach any more; nor may anyone ask, but by a signal.
    let control = Control::connect(&server.socket);
    control.send(&hello("", "default"));
    assert_eq!(control.welcome().status, 6, "not permitted");
}

#[test]
fn what_cannot_change_is_refused_with_its_line_and_all_the_rest_with_it() {
    let ring = "[[ring]]\nname = 'a'\nfull_wait_ms = 0\ncapacity_bytes = 1024\n";
    let process = Reloading::start(ring);
    let live = "[http]\nmax_headers = 1\n";
    process.refuses(
        &format!("{live}[[ring]]\nname = 'a'\nfull_wait_ms = 0\ncapacity_bytes = 2048\n"),
        6,
        "ring a: capacity_bytes cannot change from \"1KiB\" to \"2KiB\" while the process runs: \
         readers have the ring mapped",
    );
    process.refuses(
        &format!("{live}{ring}[[ring]]\nname = 'b'\n"),
        8,
        "ring b cannot be added while the process runs",
    );
    process.refuses(
        &format!("{live}{ring}[[listen]]\naddress = '127.0.0.1:0'\nprotocol = 'resp'\n"),
        8,
        "listen 1 cannot be added",
    );
    process.refuses(&format!("{live}threads = 1\n{ring}"), 3, "unknown field `threads`");
    process.refuses(
        &format!("{ring}[server]\nthreads = 77\n{live}"),
        6,
        "threads are started once",
    );
    process.refuses(&format!("{live}{ring}clock = 'monotonic'\n"), 7, "clock cannot change");
    process.refuses(&format!("{live}max_conections = 1\n{ring}"), 3, "did you mean");
    process.refuses(&format!("{live}{ring}full_wait = 1\n"), 7, "did you mean `full_wait_ms`?");
    process.write("nonsense");
    assert!(!process.reload().0);
    std::fs::remove_file(&process.file).expect("removed");
    let (taken, said) = process.reload();
    assert!(!taken && said.contains("No such file"), "{said}");
    let server = &process.server;
    assert_eq!(server.post("a", b"x").status, 202, "three header fields, still");
    let refused = server.metric("aqueduct_config_reloads_total{outcome=\"refused\"}");
    assert!((refused - 10.0).abs() < 0.5, "{refused}");
    process.takes(ring, &["no setting has changed"]);
    process.takes(&format!("{live}{ring}"), &["http: max_headers = 1 (was 64)"]);
    assert_eq!(server.post("a", b"x").status, 431, "one header field");
}

#[test]
fn sighup_reads_the_file_again_and_flags_still_win() {
    let mut server = Server::with_file("[log]\nlevel = 'error'\n", &["--header-timeout-ms", "7s"]);
    let file = server.scratch.path("aqueduct.toml");
    std::fs::write(
        &file,
        "[log]\nlevel = 'error'\n[http]\nheader_timeout_ms = 1\nmax_headers = 9\n",
    )
    .expect("written");
    server.signal(Signal::HUP);
    server.eventually("it is reloaded", || server.log().contains("http: max_headers = 9 (was 64)"));
    assert!(!server.log().contains("header_timeout_ms ="), "{}", server.log());
    std::fs::write(&file, "[http]\nmax_headers = 'x'\n").expect("written");
    server.signal(Signal::HUP);
    server.eventually("it is refused", || server.log().contains("reload refused"));
    assert!(server.log().contains("aqueduct.toml:2: "), "{}", server.log());
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_reload_without_a_process_says_so() {
    let scratch = common::Scratch::new();
    let path = scratch.path("none.sock");
    let out = command().arg("reload").arg("--socket").arg(&path).ended().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("No such file"), "{said}");
}

#[test]
fn reloads_under_load_fail_no_request() {
    let good = |headers| {
        format!(
            "[http]\nmax_headers = {headers}\n[[ring]]\nname = 'default'\ncapacity_bytes = '16MiB'\n\
             [[listen]]\naddress = '127.0.0.1:0'\nprotocol = 'resp'\n"
        )
    };
    let process = &Reloading::start(&good(20));
    let server = &process.server;
    let end = &std::sync::Mutex::new(false);
    let ended = || *end.lock().expect("no panic");
    std::thread::scope(|scope| {
        let by_http = || {
            let (mut stream, mut requests) = (server.connect(), 0_u32);
            while !ended() {
                assert_eq!(post_on(&mut stream, "", b"x"), 202);
                requests += 1;
            }
            requests
        };
        let by_resp = || {
            let (mut stream, mut requests) = (server.speak("resp"), 0_u32);
            let mut answer = [0; 4];
            while !ended() {
                stream.write_all(b"PUBLISH default x\r\n").expect("sent");
                stream.read_exact(&mut answer).expect("an answer");
                assert_eq!(&answer, b":1\r\n");
                requests += 1;
            }
            requests
        };
        let by_new_connections = || {
            let mut requests = 0_u32;
            while !ended() {
                assert_eq!(server.post("default", b"x").status, 202);
                requests += 1;
            }
            requests
        };
        let clients = [scope.spawn(by_http), scope.spawn(by_resp), scope.spawn(by_new_connections)];
        for round in 0..20 {
            if round % 2 == 0 {
                process.takes(&good(21 + round), &["http: max_headers = "]);
            } else {
                process.refuses(&format!("{}oversize = 'skip'\n", good(1)), 9, "listen.oversize");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        *end.lock().expect("no panic") = true;
        for client in clients {
            let requests = client.join().expect("no request failed");
            assert!(requests > 20, "{requests} requests are no load");
        }
    });
    let reloads = |outcome: &str| {
        server.metric(&format!("aqueduct_config_reloads_total{{outcome=\"{outcome}\"}}"))
    };
    assert!((reloads("applied") - 10.0).abs() < 0.5 && (reloads("refused") - 10.0).abs() < 0.5);
}

#[cfg(feature = "http2")]
#[test]
fn an_http2_connection_has_the_new_rules_with_its_next_request() {
    use common::http2::{Client, request, run};

    let text = |origin: &str| format!("[http]\norigins = ['https://{origin}.example']\n");
    let process = &Reloading::start(&text("a"));
    run(|tasks| async move {
        let client = Client::connect(process.server.http, &tasks).await;
        let post = |origin: &str| {
            let headers = [("origin", origin)];
            client.send(request("POST", "/v1/rings/default/records", &headers, "x"))
        };
        let status = |answer: hyper::Result<common::http2::Answer>| answer.expect("one").status;
        assert_eq!(status(post("https://a.example").await), 202);
        process.takes(&text("b"), &["http: origins"]);
        assert_eq!(status(post("https://a.example").await), 403);
        assert_eq!(status(post("https://b.example").await), 202);
    });
}

/// Posts to a path on a connection that stays open; the status.
fn post_to(stream: &mut TcpStream, path: &str) -> u16 {
    let request = format!("POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\n[1]");
    stream.write_all(request.as_bytes()).expect("sent");
    Response::read(stream).status
}

#[test]
fn routes_come_and_go_and_change_for_open_connections_too() {
    let rings = "[[ring]]\nname = 'default'\n[[ring]]\nname = 'plain'\n";
    let first = "[[route]]\npath = '/first'\nring = 'default'\nattributes = [':path']\n";
    let second = "[[route]]\npath = '/second/{id}'\nring = 'plain'\n";
    let process = Reloading::start(&format!("{rings}{first}"));
    // Errors close a connection, so each path that is not there gets one of its own.
    let mut open = process.server.connect();
    assert_eq!(post_to(&mut open, "/first"), 202);
    assert_eq!(post_to(&mut process.server.connect(), "/second/1"), 404);
    process.takes(&format!("{rings}{second}{first}"), &["route POST /second/{id} added"]);
    assert_eq!((post_to(&mut open, "/second/1"), post_to(&mut open, "/first")), (202, 202));
    let stricter = format!("{rings}{second}type = 7\nunits = ['json']\n{first}");
    process.takes(&stricter, &["route POST /second/{id}: type = 7", "units = [{ unit = \"json\""]);
    process.takes(&format!("{rings}{second}"), &["type = none (was 7)", "/first removed"]);
    assert_eq!(post_to(&mut open, "/second/1"), 202);
    assert_eq!(post_to(&mut process.server.connect(), "/first"), 404);
    // Readers of `default` were told of attributes, those of `plain` that there are none.
    process.takes(&format!("{rings}{first}{second}"), &["route POST /first added"]);
    let keeps = format!("{rings}{first}{second}attributes = [':peer']\n");
    process.refuses(&keeps, 12, "ring plain cannot get attributes while the process runs");
    assert_eq!(post_to(&mut open, "/first"), 202);
    let twice =
        format!("{rings}{first}{second}[[route]]\npath = '/second/{{x}}'\nring = 'plain'\n");
    process.write(&twice);
    assert!(!process.reload().0);
    assert_eq!(post_to(&mut open, "/second/2"), 202);
}

#[test]
fn a_reload_fills_no_bucket_unless_the_limit_is_another() {
    let with = |rate: &str, more: &str| {
        let unit = format!("{{ unit = 'rate_limit', rate = {rate}, burst = 2 }}");
        format!("{more}[[route]]\npath = '/limited'\nunits = ['request_id', {unit}]\n")
    };
    let process = Reloading::start(&with("0.001", ""));
    let post = || post_to(&mut process.server.connect(), "/limited");
    assert_eq!([post(), post(), post()], [202, 202, 429]);
    process.takes(&with("0.001", "[http]\nbody_timeout_ms = '9s'\n"), &["body_timeout_ms"]);
    assert_eq!(post(), 429);
    // With another unit before it, it is the same limit.
    let moved = with("0.001", "").replace("['request_id'", "['access_log', 'request_id'");
    process.takes(&moved, &["access_log"]);
    assert_eq!(post(), 429);
    process.takes(&with("0.002", ""), &["rate = 0.002"]);
    assert_eq!([post(), post(), post()], [202, 202, 429]);
}

/// Puts a pipe that nobody writes to in the place of the file: reading it takes for ever.
fn hang(process: &Reloading) {
    let pipe = process.file.with_extension("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a pipe");
    std::fs::rename(&pipe, &process.file).expect("renamed");
}

#[test]
fn a_reload_that_hangs_keeps_no_signal_from_ending_it() {
    let mut process = Reloading::start("");
    hang(&process);
    // More than one: those that follow wait for the first.
    for _ in 0..3 {
        process.server.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(process.server.post("default", b"x").status, 202);
    }
    let threads = format!("/proc/{}/task", process.server.pid());
    let reloads = || {
        let tasks = std::fs::read_dir(&threads).expect("it lives").flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "aqueduct-reload").count()
    };
    process.server.eventually("one reads and one waits", || reloads() == 2);
    process.server.terminate();
    assert_eq!(process.server.wait().code(), Some(0), "{}", process.server.log());
    assert!(!process.server.socket.exists());
}

#[test]
fn a_reload_that_was_asked_for_and_hangs_keeps_no_signal_from_ending_it_either() {
    let mut process = Reloading::start("");
    hang(&process);
    let mut asking = command()
        .arg("reload")
        .arg("--socket")
        .arg(&process.server.socket)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    process
        .server
        .eventually("the first is at it", || process.server.log().contains("reload asked for"));
    let (taken, said) = process.reload();
    assert!(!taken && said.contains("another reload has been reading its files"), "{said}");
    process.server.terminate();
    assert_eq!(process.server.wait().code(), Some(0), "{}", process.server.log());
    let _ = asking.kill();
    let _ = asking.wait();
}

#[test]
fn a_signal_during_a_reload_is_seen_by_one_after_it() {
    let text = |time: &str| format!("[server]\ndrain_timeout_ms = '{time}'\n");
    let process = Reloading::start(&text("1s"));
    hang(&process);
    process.server.signal(Signal::HUP);
    // Opening the pipe to write waits until the reload has opened it.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&process.file).expect("read");
    process.write(&text("3s"));
    process.server.signal(Signal::HUP);
    pipe.write_all(text("2s").as_bytes()).expect("read");
    drop(pipe);
    process.server.eventually("both took effect, in their order", || {
        let log = process.server.log();
        let first = log.find(r#"\"2s\" (was \"1s\")"#);
        let second = log.find(r#"\"3s\" (was \"2s\")"#);
        first.zip(second).is_some_and(|(first, second)| first < second)
    });
}
