//! HTTP/2 by clients that mean no good: what was found against other servers, and its kind.
#![cfg(feature = "http2")]

mod common;

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::frames::{self, asking, block, frame};
use common::reader::Attached;
use common::{PATIENCE, Response, Server};

/// Begins a connection with what every client sends.
fn begin(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    frames::begin(&mut stream, &[]);
    stream
}

/// Sends such bytes until the server has had enough, which must be soon.
fn insist(stream: &mut TcpStream, bytes: impl Fn(u32) -> Vec<u8>) {
    // What is answered must not stand in the way.
    let mut answers = stream.try_clone().expect("a second handle");
    let reading = std::thread::spawn(move || while frames::read(&mut answers).is_some() {});
    let begun = Instant::now();
    for sent in 0.. {
        if let Err(error) = stream.write_all(&bytes(sent)) {
            let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(kinds.contains(&error.kind()), "{error}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it may go on for ever");
    }
    reading.join().expect("the connection ends");
}

/// That the server is there for others, and has counted an error of the protocol.
#[track_caller]
fn assert_counted(server: &Server) {
    server.eventually("it is counted", || server.metric("aqueduct_protocol_errors_total") > 0.5);
    assert_eq!(server.post("default", b"x").status, 202);
    let kib = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it lives");
    let peak = kib.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 120 << 10, "{peak} KiB at the peak");
}

#[test]
fn a_flood_of_pings_settings_or_empty_frames_ends_its_connection() {
    let ping = frame(frames::PING, 0, 0, &[0; 8]);
    let settings = frame(frames::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    let update = frame(frames::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let unknown = frame(0xbb, 0, 0, &[0; 8]);
    let priority = frame(2, 0, 1, &[0, 0, 0, 0, 1]);
    for talk in [ping, settings, update, unknown, priority] {
        let server = Server::start(&[]);
        let mut stream = begin(&server);
        let many = talk.repeat(100);
        insist(&mut stream, |_| many.clone());
        assert_counted(&server);
    }
}

#[test]
fn empty_data_without_end_is_a_flood_too() {
    let server = Server::start(&[]);
    let mut stream = begin(&server);
    let post = frame(
        frames::HEADERS,
        frames::END_HEADERS,
        1,
        &asking("POST", "/v1/rings/default/records"),
    );
    stream.write_all(&post).expect("sent");
    let many = frame(frames::DATA, 0, 1, &[]).repeat(100);
    insist(&mut stream, |_| many.clone());
    assert_counted(&server);
}

/// CVE-2024-27316 and its kind.
#[test]
fn a_header_block_without_end_is_cut_off() {
    let server = Server::start(&[]);
    let mut stream = begin(&server);
    let head = frame(frames::HEADERS, frames::END_STREAM, 1, &asking("GET", "/healthz"));
    stream.write_all(&head).expect("sent");
    let fields = block(&[("x-more", &"v".repeat(100))]).repeat(140);
    let more = frame(frames::CONTINUATION, 0, 1, &fields);
    insist(&mut stream, |_| more.clone());
    assert_counted(&server);
}

#[test]
fn a_header_block_that_does_not_go_on_has_the_time_of_a_head() {
    // Enough for the preface, on a busy machine too.
    let server = Server::start(&["--header-timeout-ms", "1s"]);
    let mut stream = begin(&server);
    let head = frame(frames::HEADERS, frames::END_STREAM, 1, &asking("GET", "/healthz"));
    stream.write_all(&head).expect("sent");
    // Frames that are no progress.
    let more = frame(frames::CONTINUATION, 0, 1, &block(&[("a", "b")]));
    insist(&mut stream, |_| {
        std::thread::sleep(Duration::from_millis(20));
        more.clone()
    });
    assert_counted(&server);
}

#[test]
fn a_preface_that_does_not_go_on_has_the_time_of_a_head() {
    for bytes in [&frames::PREFACE[..10], frames::PREFACE] {
        let server = Server::start(&["--header-timeout-ms", "100"]);
        let mut stream = server.connect();
        stream.write_all(bytes).expect("sent");
        let mut rest = Vec::new();
        let end = std::io::Read::read_to_end(&mut stream, &mut rest);
        assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    }
}

/// CVE-2023-44487.
#[test]
fn requests_that_are_all_reset_end_their_connection() {
    let server = Server::start(&[]);
    let mut stream = begin(&server);
    let pair = |n: u32| {
        let stream = 2 * n + 1;
        let ended = frames::END_HEADERS | frames::END_STREAM;
        let head = frame(frames::HEADERS, ended, stream, &asking("GET", "/metrics"));
        [head, frame(frames::RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    insist(&mut stream, pair);
    assert_counted(&server);
}

#[test]
fn a_peer_that_makes_no_room_for_answers_is_given_up_and_what_was_published_stays() {
    let server = Server::start(&["--body-timeout-ms", "200"]);
    let mut stream = server.connect();
    // No room for any body, so that the answer cannot end.
    frames::begin(&mut stream, &[0, 4, 0, 0, 0, 0]);
    let post = [
        frame(
            frames::HEADERS,
            frames::END_HEADERS,
            1,
            &asking("POST", "/v1/rings/default/records"),
        ),
        frame(frames::DATA, frames::END_STREAM, 1, b"kept"),
    ];
    stream.write_all(&post.concat()).expect("sent");
    let got = frames::read_until(&mut stream, frames::HEADERS);
    assert_eq!(got.last().map(|frame| (frame.kind, frame.stream)), Some((frames::HEADERS, 1)));
    let rest = frames::read_until(&mut stream, frames::DATA);
    assert!(rest.iter().all(|frame| frame.kind != frames::DATA), "{rest:?}");
    assert_counted(&server);
    assert_eq!(Attached::attach(&server.socket, "", "").next(), Some((0, 0, b"kept".to_vec())));
}

#[test]
fn streams_beyond_the_limit_are_refused_and_the_others_go_on() {
    let server = Server::with_file("http.max_concurrent_streams = 4\n", &[]);
    let mut stream = begin(&server);
    let asked = asking("POST", "/v1/rings/default/records");
    let heads: Vec<u8> = (0..6)
        .flat_map(|n| frame(frames::HEADERS, frames::END_HEADERS, 2 * n + 1, &asked))
        .collect();
    stream.write_all(&heads).expect("sent");
    let mut refused = Vec::new();
    while refused.len() < 2 {
        let frame = frames::read(&mut stream).expect("it goes on");
        if frame.kind == frames::RST_STREAM {
            assert_eq!(frame.payload, [0, 0, 0, 7], "REFUSED_STREAM: it may be tried again");
            refused.push(frame.stream);
        }
    }
    assert_eq!(refused, [9, 11]);
    stream.write_all(&frame(frames::DATA, frames::END_STREAM, 1, b"first")).expect("sent");
    let got = frames::read_until(&mut stream, frames::DATA);
    assert_eq!(got.last().map(|frame| frame.stream), Some(1), "{got:?}");
}

#[test]
fn bodies_of_one_connection_are_bounded_together() {
    // All streams together may hold what the ring does: 128 KiB.
    let file = "[[ring]]\nname = 'default'\ncapacity_bytes = '128KiB'\nmax_payload_bytes = 60000\n";
    let server = Server::with_file(file, &["--body-timeout-ms", "300"]);
    let mut stream = begin(&server);
    let asked = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1/rings/default/records"),
        (":authority", "t"),
        ("content-length", "60000"),
    ]);
    let heads: Vec<u8> = (0..3)
        .flat_map(|n| frame(frames::HEADERS, frames::END_HEADERS, 2 * n + 1, &asked))
        .collect();
    stream.write_all(&heads).expect("sent");
    // None goes on; the third had to wait for the others, and all have the time of a body.
    let mut closed = 0;
    while closed < 3 {
        let frame = frames::read(&mut stream).expect("it goes on");
        closed += u32::from(frame.kind == frames::DATA && frame.flags & frames::END_STREAM != 0);
    }
    let series = "aqueduct_http_requests_total{status=\"408\"}";
    assert!((server.metric(series) - 3.0).abs() < 0.5);
}

#[test]
fn what_follows_an_upgrade_waits_in_the_kernel_until_the_answers_before_it_are_taken() {
    const PAGES: u16 = 1000;
    const UNKNOWN: u8 = 0xbb;
    let server = Server::start(&[]);
    assert_eq!(server.get("/healthz").status, 200, "there is the series of it");
    let mut stream = server.connect();
    // Less than the pages have, so that the upgrade has to wait for its turn.
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 256 << 10).expect("set");
    let headers =
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
    let get =
        |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nhost: t\r\n{headers}\r\n");
    let requests = get("/metrics", "").repeat(usize::from(PAGES)) + &get("/healthz", headers);
    let rest = [
        frames::PREFACE.to_vec(),
        frame(frames::SETTINGS, 0, 0, &[]),
        // 16 MiB that mean nothing: more than the kernel holds.
        frame(UNKNOWN, 0, 0, &[0; 16 << 10]).repeat(1024),
        frame(
            frames::HEADERS,
            frames::END_HEADERS | frames::END_STREAM,
            3,
            &asking("GET", "/healthz"),
        ),
    ];
    let mut writing = stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        writing.write_all(requests.as_bytes()).expect("sent");
        writing.write_all(&rest.concat()).expect("sent");
    });
    let pages = "aqueduct_http_requests_total{status=\"200\"}";
    server.eventually("all pages are made", || server.metric(pages) >= f64::from(PAGES));
    std::thread::sleep(Duration::from_millis(300));
    let bytes = server.metric("aqueduct_buffered_bytes");
    assert!(bytes < f64::from(1 << 20), "{bytes} bytes are kept before the hand-over");
    assert!(!writing.is_finished(), "not vacuous");
    // And nothing of it is lost.
    for _ in 0..PAGES {
        assert_eq!(Response::read(&mut stream).status, 200);
    }
    assert_eq!(Response::read(&mut stream).status, 101);
    for number in [1, 3] {
        let got = frames::read_until(&mut stream, frames::DATA);
        assert_eq!(got.last().map(|frame| frame.stream), Some(number), "{got:?}");
    }
    writing.join().expect("all is sent");
}

#[test]
fn what_breaks_the_protocol_is_counted() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream
        .write_all(&[frames::PREFACE, &frame(frames::SETTINGS, 0, 0, &[])].concat())
        .expect("sent");
    stream.write_all(&frame(frames::DATA, 0, 0, b"of no stream")).expect("sent");
    let got = frames::read_until(&mut stream, frames::GOAWAY);
    assert_eq!(got.last().map(|frame| frame.payload[7]), Some(1), "PROTOCOL_ERROR: {got:?}");
    assert_counted(&server);
}

/// A record on a stream of its own.
fn posting(stream: u32, payload: &[u8]) -> Vec<u8> {
    let asked = asking("POST", "/v1/rings/default/records");
    let head = frame(frames::HEADERS, frames::END_HEADERS, stream, &asked);
    [head, frame(frames::DATA, frames::END_STREAM, stream, payload)].concat()
}

/// Reads to the end of the connection; the streams that were answered, and what was said in all.
fn answers(stream: &mut TcpStream) -> (Vec<u32>, String) {
    let (mut streams, mut said) = (Vec::new(), String::new());
    while let Some(frame) = frames::read(stream) {
        match frame.kind {
            frames::HEADERS => streams.push(frame.stream),
            frames::DATA => said.push_str(&String::from_utf8_lossy(&frame.payload)),
            _ => {}
        }
    }
    streams.sort_unstable();
    (streams, said)
}

#[test]
fn a_half_closed_client_gets_every_answer() {
    const RECORDS: u32 = 50;
    let server = Server::start(&[]);
    for round in 0..10 {
        let mut stream = server.connect();
        let posts = (0..RECORDS).flat_map(|n| posting(2 * n + 1, b"x"));
        let begin = [frames::PREFACE, &frame(frames::SETTINGS, 0, 0, &[])].concat();
        let all: Vec<u8> = begin.into_iter().chain(posts).collect();
        stream.write_all(&all).expect("sent");
        stream.shutdown(Shutdown::Write).expect("open");
        let (streams, said) = answers(&mut stream);
        let expected: Vec<u32> = (0..RECORDS).map(|n| 2 * n + 1).collect();
        assert_eq!(streams, expected, "round {round}");
        assert_eq!(said.matches("\"seq\"").count(), expected.len(), "{said}");
    }
}

#[test]
fn a_client_that_ends_after_its_upgrade_gets_both_answers() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let asks = "GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: upgrade, http2-settings\r\n\
                upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n";
    stream.write_all(asks.as_bytes()).expect("sent");
    let mut switched = [0; 71];
    std::io::Read::read_exact(&mut stream, &mut switched).expect("101");
    assert!(switched.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&switched));
    assert!(switched.ends_with(b"\r\n\r\n"), "{}", String::from_utf8_lossy(&switched));
    let more = [frames::PREFACE, &frame(frames::SETTINGS, 0, 0, &[]), &posting(3, b"x")].concat();
    stream.write_all(&more).expect("sent");
    stream.shutdown(Shutdown::Write).expect("open");
    let (streams, said) = answers(&mut stream);
    assert_eq!(streams, [1, 3]);
    assert!(said.contains("\"seq\":0"), "{said}");
}

#[test]
fn an_end_before_a_body_is_whole_ends_its_request_at_once_and_the_others_are_answered() {
    // Far longer than the test waits.
    let server = Server::start(&["--body-timeout-ms", "60s"]);
    let mut stream = server.connect();
    let asked = asking("POST", "/v1/rings/default/records");
    let part = [
        frame(frames::HEADERS, frames::END_HEADERS, 3, &asked),
        frame(frames::DATA, 0, 3, b"not all"),
    ];
    let begin = [frames::PREFACE, &frame(frames::SETTINGS, 0, 0, &[])].concat();
    let all = [begin, posting(1, b"a"), part.concat(), posting(5, b"b")].concat();
    stream.write_all(&all).expect("sent");
    stream.shutdown(Shutdown::Write).expect("open");
    assert_eq!(answers(&mut stream).0, [1, 5]);
    let series = "aqueduct_records_rejected_total{reason=\"disconnected\",ring=\"default\"}";
    assert!((server.metric(series) - 1.0).abs() < 0.5);
    let mut reader = Attached::attach(&server.socket, "", "");
    let records = std::iter::from_fn(|| reader.next());
    let mut payloads: Vec<_> = records.map(|record| record.2).collect();
    payloads.sort();
    assert_eq!(payloads, [b"a", b"b"]);
}
