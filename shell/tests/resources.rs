//! Limits of the machine, and peers that use up what others need.

mod common;

use std::ffi::OsStr;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::control::Control;
use common::reader::Attached;
use common::{Ends, PATIENCE, Response, Scratch, Server, command, get, record};
use rustix::process::{Resource, Rlimit, Signal};

fn limit(command: &mut Command, resource: Resource, most: u64) {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe { command.pre_exec(move || Ok(rustix::process::setrlimit(resource, limit)?)) };
}

/// Runs `serve` under a limit, which must be refused at the start; what it said.
#[track_caller]
fn refused_under(resource: Resource, most: u64, flags: &[&str]) -> String {
    let scratch = Scratch::new();
    let mut server = command();
    server.args(["serve", "--listen", "127.0.0.1:0", "--socket"]).arg(scratch.path("aqd.sock"));
    limit(server.args(flags), resource, most);
    let out = server.ended().expect("it runs");
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(out.stdout.is_empty(), "{out:?}");
    message
}

/// Address space that a program's own segments take, by its ELF headers (64 bits); its libraries
/// come on top.
fn loaded_bytes(program: &OsStr) -> u64 {
    const LOAD: u64 = 1;
    let file = std::fs::read(program).expect("it is built");
    let number = |at: usize, bytes: usize| {
        file[at..at + bytes].iter().rev().fold(0, |high, &byte| high << 8 | u64::from(byte))
    };
    let index = |number: u64| usize::try_from(number).expect("an offset in the file");
    let (table, each, count) = (index(number(32, 8)), index(number(54, 2)), index(number(56, 2)));
    let headers = (0..count).map(|header| table + header * each);
    headers.filter(|&at| number(at, 4) == LOAD).map(|at| number(at + 40, 8)).sum()
}

/// Connections that say nothing.
fn silent(server: &Server, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| server.connect()).collect()
}

#[test]
fn rings_beyond_the_memory_of_the_machine_are_refused_before_anything_is_allocated() {
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("Linux");
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("a total");
    let total: u64 = kib.trim().trim_end_matches("kB").trim().parse().expect("a number");
    let rings = total * 1024 / (32 << 30) + 1;
    let names: Vec<_> = (0..rings).map(|n| format!("r{n}")).collect();
    let mut flags = vec!["--capacity-bytes", "32GiB"];
    flags.extend(names.iter().flat_map(|name| ["--ring", name]));
    // Were it not refused, this limit would end it before memory is taken.
    let message = refused_under(Resource::Fsize, 1 << 20, &flags);
    let asked = format!("the rings need {} bytes of memory", rings * ((32 << 30) + 4096));
    assert!(message.contains(&asked) && message.contains("the machine has"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn bodies_that_may_need_more_memory_than_there_is_are_told_at_the_start() {
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("Linux");
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("a total");
    let total: u64 = kib.trim().trim_end_matches("kB").trim().parse().expect("a number");
    let many = (total * 1024 / (16 << 20) + 1).to_string();
    let sizes = ["--capacity-bytes", "64MiB", "--max-payload-bytes", "16MiB"];
    let said = "may need more memory than there is";
    let more = format!("ingest.max_buffered_bytes = {}\n", total * 1024);
    let server = Server::with_file(&more, &[&sizes[..], &["--max-connections", &many]].concat());
    server.eventually("it says so", || server.log().contains(said));
    assert_eq!(server.post("default", b"x").status, 202);
    let server = Server::start(&[&sizes[..], &["--max-connections", &many]].concat());
    server.eventually("it is ready", || server.log().contains("ready http="));
    assert!(!server.log().contains(said), "{}", server.log());
}

#[test]
fn too_few_descriptors_are_one_line_and_no_panic() {
    for most in [6, 16, 40] {
        let message = refused_under(Resource::Nofile, most, &[]);
        let expected = format!("the limit of open files (RLIMIT_NOFILE) is {most}; at least ");
        assert!(message.contains(&expected), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn no_thread_at_all_is_one_line_and_no_panic() {
    let mut command = command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--socket", "/nowhere/aqd.sock"]);
    limit(&mut command, Resource::Nproc, 1);
    if rustix::process::geteuid().is_root() {
        // The limit does not hold for root.
        command.uid(65_534);
    }
    match command.ended() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: nobody else may run this program: {error}");
        }
        out => {
            let out = out.expect("it runs");
            let message = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(1), "{out:?}");
            assert!(message.contains("starting a thread: Resource temporarily"), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}

#[test]
fn too_little_address_space_is_one_line_and_no_panic() {
    let message = refused_under(Resource::As, 100 << 20, &["--capacity-bytes", "128MiB"]);
    assert!(message.contains("the rings need 134221824 bytes of memory"), "{message}");
    assert!(message.contains("the limit of address space (RLIMIT_AS) leaves "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    // Enough to load the program, and not for the process itself, whose allocations would fail
    // somewhere later.
    let most = loaded_bytes(command().get_program()) + (10 << 20);
    let message = refused_under(Resource::As, most, &["--capacity-bytes", "4096"]);
    assert!(message.contains("(RLIMIT_AS) leaves 0"), "{message}");
}

#[test]
fn a_body_for_which_there_is_no_memory_is_answered_503() {
    let flags = ["--capacity-bytes", "64MiB", "--max-payload-bytes", "16MiB"];
    // The ring and the stacks of the threads fit, and one or two bodies.
    let server = Server::start_under(&flags, |command| {
        // Otherwise each thread reserves 64 MiB of address space for what it allocates.
        limit(command.env("MALLOC_ARENA_MAX", "1"), Resource::As, 140 << 20);
    });
    let bodies: Vec<_> = std::thread::scope(|scope| {
        let post = || server.post("default", &vec![1; 15 << 20]).status;
        let posts: Vec<_> = (0..8).map(|_| scope.spawn(post)).collect();
        posts.into_iter().map(|post| post.join().expect("an answer")).collect()
    });
    assert!(bodies.iter().all(|status| [202, 503].contains(status)), "{bodies:?}");
    let series = "aqueduct_records_rejected_total{reason=\"no_memory\",ring=\"default\"}";
    assert!(server.metric(series) > 0.5, "not vacuous: {bodies:?}");
    assert_eq!(server.post("default", b"small").status, 202);
}

#[test]
fn work_for_which_the_system_has_no_memory_is_answered_503_and_ends_no_process() {
    let scratch = Scratch::new();
    let file = scratch.path("route.toml");
    let route = "[[route]]\npath = '/x'\nring = 'default'\n";
    let route = format!("{route}units = [{{ unit = 'json', minify = true }}]\n");
    std::fs::write(&file, route).expect("written");
    let file = file.to_str().expect("a path of ASCII");
    let flags = ["--config", file, "--capacity-bytes", "16MiB", "--max-payload-bytes", "4MiB"];
    let server = Server::start_under(&flags, |command| {
        limit(command.env("MALLOC_ARENA_MAX", "1"), Resource::As, 110 << 20);
    });
    // Names are kept, to see whether one is there twice.
    let names: Vec<_> = (0..280_000).map(|number| format!("\"{number}\":1")).collect();
    let request_of = |names: &[String]| {
        let body = format!("{{{}}}", names.join(","));
        let length = format!("content-length: {}\r\n\r\n", body.len());
        ["POST /x HTTP/1.1\r\nhost: t\r\n", &length, &body].concat().into_bytes()
    };
    let request = request_of(&names);
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let post = || {
            let mut stream = server.connect();
            // A refusal may come before all is sent.
            let _ = stream.write_all(&request);
            Response::read(&mut stream).status
        };
        let posts: Vec<_> = (0..8).map(|_| scope.spawn(post)).collect();
        posts.into_iter().map(|post| post.join().expect("an answer")).collect()
    });
    assert!(statuses.iter().all(|status| [202, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&503), "not vacuous: {statuses:?}");
    assert_eq!(server.exchange(request_of(&names[..60_000])).status, 202, "less has memory");
    assert_eq!(server.post("default", b"small").status, 202);
}

#[test]
fn bodies_of_all_connections_together_are_bounded() {
    let file = "ingest.max_buffered_bytes = '2400KiB'\n";
    let server = Server::with_file(file, &["--capacity-bytes", "32MiB", "--body-timeout-ms", "1m"]);
    let body = vec![1; 1_000_000];
    let request = record("default", "", &body);
    // Two that do not finish.
    let mut slow: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(&request[..request.len() - 1]).expect("sent");
    }
    let kept = || server.metric("aqueduct_buffered_bytes") >= 2_000_000.0;
    server.eventually("both are kept in whole", kept);
    let refused = || {
        let response = server.post("default", &body);
        if response.status == 503 {
            assert_eq!(response.header("retry-after"), Some("1"), "{response:?}");
        }
        response.status == 503
    };
    server.eventually("others are told to come again", refused);
    assert_eq!(server.post("default", b"small").status, 202);
    for stream in &mut slow {
        stream.write_all(&[1]).expect("sent");
        assert_eq!(Response::read(stream).status, 202);
    }
    assert_eq!(server.post("default", &body).status, 202);
}

#[test]
fn work_for_which_there_never_is_room_is_413_and_what_may_fit_later_503() {
    // Ten times its bytes for what reading it as JSON may take, whatever it is, and its own.
    let units = ["{ unit = \"json\", minify = true }"; 3].join(", ");
    let file = format!(
        "ingest.max_buffered_bytes = '256KiB'\n[[ring]]\nname = 'a'\n\
         max_payload_bytes = '64KiB'\n[[route]]\npath = '/x'\nunits = [{units}]\n"
    );
    let server = Server::with_file(&file, &["--body-timeout-ms", "1m"]);
    let post = |bytes: usize| {
        let head = "POST /x HTTP/1.1\r\nhost: t\r\n";
        let head = format!("{head}content-length: {bytes}\r\n\r\n\"");
        let mut request = head.into_bytes();
        request.resize(request.len() + bytes - 2, b'x');
        request.push(b'"');
        request
    };
    let response = server.exchange(post(60_000));
    response.assert_problem(413);
    assert!(response.body.contains("may take 661024 bytes of memory"), "{response:?}");
    assert_eq!(server.exchange(post(20_000)).status, 202);
    // Another connection keeps the front of a body.
    let (mut slow, other) = (server.connect(), post(60_000));
    slow.write_all(&other[..other.len() - 1]).expect("sent");
    let kept = || server.metric("aqueduct_buffered_bytes") >= 59_000.0;
    server.eventually("it is kept", kept);
    let response = server.exchange(post(20_000));
    response.assert_problem(503);
    assert_eq!(response.header("retry-after"), Some("1"), "{response:?}");
    drop(slow);
    server.eventually("there is room again", || !kept());
    assert_eq!(server.exchange(post(20_000)).status, 202);
    for reason in ["too_large", "no_memory"] {
        let series = format!("aqueduct_records_rejected_total{{reason=\"{reason}\",ring=\"a\"}}");
        assert!((server.metric(&series) - 1.0).abs() < f64::EPSILON, "{reason}");
    }
}

#[test]
fn connections_get_the_descriptors_that_readers_and_operators_leave() {
    let server = Server::start_under(&[], |command| limit(command, Resource::Nofile, 128));
    let said = "(RLIMIT_NOFILE) leaves less than is configured limit=128";
    server.eventually("it says so", || server.log().contains(said));
    let held = silent(&server, 300);
    for _ in 0..5 {
        drop(Attached::attach(&server.socket, "", ""));
        assert_eq!(server.get("/healthz").status, 200);
    }
    assert!(!server.log().contains("connection not accepted"), "{}", server.log());
    drop(held);
    server.eventually("records are taken again", || server.post("default", b"x").status == 202);
}

#[test]
fn health_is_answered_however_many_connections_there_are() {
    let server = Server::start(&["--max-connections", "2"]);
    let held = silent(&server, 500);
    for (path, status) in [("/healthz", 200), ("/readyz", 503), ("/metrics", 200)] {
        let response = server.get(path);
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.header("connection"), Some("close"));
    }
    let not_ready = server.get("/readyz").body;
    assert!(not_ready.contains("all places for connections are taken"), "{not_ready}");
    // Anything else is told that there are too many, and nothing is published.
    server.post("default", b"x").assert_problem(503);
    server.get("/nothing").assert_problem(503);
    server
        .exchange("POST /healthz HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n")
        .assert_problem(503);
    let mut slow = server.connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost:").expect("sent");
    Response::read(&mut slow).assert_problem(503);
    assert!(server.metric("aqueduct_http_connections_refused_total") > 500.0);
    assert!(server.metric("aqueduct_records_total{ring=\"default\"}").abs() < 0.5);
    drop(held);
    server.eventually("records are taken again", || server.post("default", b"x").status == 202);
}

#[test]
fn pages_beyond_the_limit_are_refused_to_whom_the_others_refuse_them() {
    let file = "http.origins = ['https://good.example']\nhttp.max_headers = 4\n";
    let server = Server::with_file(file, &["--max-connections", "1"]);
    let held = silent(&server, 1);
    let many = format!("host: a\r\n{}", "x: 1\r\n".repeat(4));
    for (status, lines) in [
        (200, "host: a\r\n"),
        (200, "host: a\r\norigin: https://good.example\r\n"),
        (400, ""),
        (400, "host: a\r\nhost: b\r\n"),
        (400, "host: a b\r\n"),
        (400, "host: a\r\nx: 1\n"),
        (403, "host: a\r\norigin: http://evil.example\r\n"),
        (403, "host: a\r\norigin: null\r\n"),
        (431, &many),
    ] {
        for target in ["/metrics", "http://a/healthz?x=1"] {
            let response = server.exchange(format!("GET {target} HTTP/1.1\r\n{lines}\r\n"));
            assert_eq!(response.status, status, "{target} {lines:?}");
            assert_eq!(response.header("connection"), Some("close"));
            if status != 200 {
                response.assert_problem(status);
            }
        }
    }
    assert!(server.metric("aqueduct_http_connections_refused_total") > 17.5, "not vacuous");
    drop(held);
}

#[test]
fn an_address_of_its_own_answers_however_many_connections_it_has() {
    let server = Server::start(&["--admin-listen", "127.0.0.1:0", "--max-connections", "1"]);
    let admin = server.admin.expect("it says so when it is ready");
    let _held = silent(&server, 100);
    let _held_there: Vec<_> =
        (0..200).map(|_| TcpStream::connect(admin).expect("it accepts")).collect();
    for (path, status) in [("/healthz", 200), ("/readyz", 503), ("/metrics", 200)] {
        assert_eq!(Server::exchange_at(admin, get(path)).status, status);
    }
}

#[test]
fn the_backlog_is_as_long_as_the_limit_of_connections() {
    let server = Server::start(&["--max-connections", "600"]);
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux");
    let most: usize = somaxconn.trim().parse().expect("a number");
    server.signal(Signal::STOP);
    // Nobody accepts; the kernel completes connections up to the backlog, and has others ask again
    // after a second.
    let connect = |_| {
        let begun = Instant::now();
        let stream = TcpStream::connect_timeout(&server.http, PATIENCE).expect("it is completed");
        (stream, begun.elapsed())
    };
    let held: Vec<_> = (0..most.min(500)).map(connect).collect();
    server.signal(Signal::CONT);
    let late = held.iter().filter(|(_, took)| *took > Duration::from_millis(900)).count();
    assert!(late <= held.len() / 10, "{late} of {} had to ask again", held.len());
}

#[test]
fn a_flood_of_readers_leaves_records_alone() {
    let server = Server::start(&[]);
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(Control::connect(&server.socket));
    }
    let mut stream = server.connect();
    for _ in 0..20 {
        stream.write_all(&record("default", "", b"x")).expect("sent");
        assert_eq!(Response::read(&mut stream).status, 202);
    }
    drop(Attached::attach(&server.socket, "", ""));
}

#[test]
fn the_address_for_operators_answers_half_closes_and_refuses_what_the_others_refuse() {
    let server = Server::start(&["--admin-listen", "127.0.0.1:0"]);
    let admin = server.admin.expect("it says so when it is ready");
    let mut stream = TcpStream::connect(admin).expect("it accepts");
    stream.write_all(get("/healthz").as_bytes()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("shut down");
    assert_eq!(Response::read(&mut stream).status, 200);
    for (status, lines) in [
        (400, ""),
        (400, "host: a\r\nhost: b\r\n"),
        (400, "host: a b\r\n"),
        (403, "host: a\r\norigin: http://evil.example\r\n"),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\n{lines}\r\n");
        Server::exchange_at(admin, request).assert_problem(status);
    }
}

#[test]
fn a_refusal_beyond_the_limit_and_for_operators_outlasts_a_client_that_goes_on_sending() {
    let server = Server::start(&["--admin-listen", "127.0.0.1:0", "--max-connections", "1"]);
    let admin = server.admin.expect("it says so when it is ready");
    let _held = silent(&server, 1);
    let sending = |address, path: &str| {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let head = format!("POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let piece = vec![7; 50_000];
        // Longer than a quiet connection is waited for.
        for _ in 0..20 {
            stream.write_all(&piece).expect("what comes is taken");
            std::thread::sleep(Duration::from_millis(100));
        }
        Response::read(&mut stream)
    };
    std::thread::scope(|scope| {
        let beyond = scope.spawn(|| sending(server.http, "/v1/rings/default/records"));
        let at_pages = scope.spawn(|| sending(admin, "/metrics"));
        let refused = beyond.join().expect("no panic");
        refused.assert_problem(503);
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        let answered = at_pages.join().expect("no panic");
        assert_eq!(answered.status, 405, "{answered:?}");
    });
}
