//! Every status over a real socket, and what happens to connections that misbehave.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use aqueduct_client::Event;
use common::reader::Attached;
use common::{PATIENCE, Response, Server, assert_closed, record};

#[test]
fn a_published_record_is_answered_202_with_its_number_and_epoch() {
    let server = Server::start(&["--ring", "orders"]);
    let mut stream = server.connect();
    for seq in 0..3 {
        stream
            .write_all(&record(
                "orders",
                "aqueduct-type: 65535\r\n",
                format!("record {seq}").as_bytes(),
            ))
            .expect("sent");
        let response = Response::read(&mut stream);
        assert_eq!(
            (response.status, response.header("content-type")),
            (202, Some("application/json")),
            "{response:?}"
        );
        assert_eq!(response.header("aqueduct-seq"), Some(seq.to_string().as_str()));
        let epoch = response
            .body
            .strip_prefix(&format!("{{\"seq\":{seq},\"epoch\":\""))
            .and_then(|rest| rest.strip_suffix("\"}"));
        let epoch = epoch.unwrap_or_else(|| panic!("{response:?}"));
        assert!(epoch.len() == 16 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit()), "{epoch}");
    }
    let mut reader = Attached::attach(&server.socket, "orders", "default");
    for seq in 0..3 {
        assert_eq!(reader.next(), Some((seq, 65535, format!("record {seq}").into_bytes())));
    }
    assert_eq!(reader.next(), None);
}

#[test]
fn an_empty_body_is_an_empty_record() {
    let server = Server::start(&[]);
    assert_eq!(server.post("default", b"").status, 202);
    assert_eq!(Attached::attach(&server.socket, "", "").next(), Some((0, 0, Vec::new())));
}

#[test]
fn a_chunked_body_is_one_record() {
    let server = Server::start(&[]);
    let response = server.exchange(
        "POST /v1/rings/default/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
    );
    assert_eq!(response.status, 202);
    assert_eq!(
        Attached::attach(&server.socket, "", "").next(),
        Some((0, 0, b"hello, world".to_vec()))
    );
}

#[test]
fn timestamps_come_from_the_clock_of_the_ring() {
    let server =
        Server::with_file("[[ring]]\nname = 'a'\n[[ring]]\nname = 'b'\nclock = 'monotonic'\n", &[]);
    let now = |id| {
        let now = rustix::time::clock_gettime(id);
        u64::try_from(now.tv_sec).expect("positive") * 1_000_000_000
            + u64::try_from(now.tv_nsec).expect("positive")
    };
    for (ring, clock) in
        [("a", rustix::time::ClockId::Realtime), ("b", rustix::time::ClockId::Monotonic)]
    {
        let before = now(clock);
        assert_eq!(server.post(ring, b"x").status, 202);
        let after = now(clock);
        let mut reader = Attached::attach(&server.socket, ring, "default");
        let Ok(Event::Record((record, _))) = reader.client.next() else { panic!("a record") };
        assert!(
            (before..=after).contains(&record.timestamp_ns),
            "{before} <= {} <= {after}",
            record.timestamp_ns
        );
    }
}

#[test]
fn a_bad_type_is_answered_400() {
    let server = Server::start(&[]);
    for header in ["65536", "-1", "+1", "0x1", "", "1, 2", "1\r\naqueduct-type: 1"] {
        let response =
            server.exchange(record("default", &format!("aqueduct-type: {header}\r\n"), b"x"));
        response.assert_problem(400);
    }
    assert!(
        (server.metric("aqueduct_records_rejected_total{reason=\"bad_type\",ring=\"default\"}")
            - 7.0)
            .abs()
            < 0.5
    );
}

#[test]
fn unknown_paths_and_rings_are_answered_404() {
    let server = Server::start(&["--ring", "a", "--ring", "b"]);
    server.get("/").assert_problem(404);
    server.get("/v1/rings/a").assert_problem(404);
    server.post("c", b"x").assert_problem(404);
    server.post("", b"x").assert_problem(404);
    assert_eq!(server.post("b", b"x").status, 202);
}

#[test]
fn wrong_methods_are_answered_405_with_allow() {
    let server = Server::start(&[]);
    let response = server.get("/v1/rings/default/records");
    response.assert_problem(405);
    assert_eq!(response.header("allow"), Some("post"));
    for path in ["/healthz", "/readyz", "/metrics"] {
        let response = server
            .exchange(format!("POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n"));
        response.assert_problem(405);
        assert_eq!(response.header("allow"), Some("get, head"));
    }
}

#[test]
fn health_readiness_and_head_requests_answer() {
    let server = Server::start(&[]);
    let health = server.get("/healthz");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let ready = server.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "{\"ready\":true}"));
    let mut stream = server.connect();
    stream
        .write_all(b"HEAD /metrics HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the end");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_body_over_the_limit_is_answered_413_before_it_is_read() {
    let server = Server::start(&["--max-payload-bytes", "1000"]);
    assert_eq!(server.post("default", &[7; 1000]).status, 202);
    // By content-length: not one byte of the body is sent.
    let head = "POST /v1/rings/default/records HTTP/1.1\r\nhost: t\r\ncontent-length: 1001\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).expect("sent");
    Response::read(&mut stream).assert_problem(413);
    assert_closed(&mut stream);
    // Streamed, without a length.
    let mut stream = server.connect();
    let head =
        "POST /v1/rings/default/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    stream
        .write_all(&[b"3e8\r\n".as_slice(), &[7; 1000], b"\r\n1\r\nx\r\n"].concat())
        .expect("sent");
    Response::read(&mut stream).assert_problem(413);
    assert_closed(&mut stream);
}

#[test]
fn a_large_refused_body_does_not_reset_its_answer() {
    let server = Server::start(&["--max-payload-bytes", "1000"]);
    let mut stream = server.connect();
    stream.write_all(&record("default", "", &vec![7; 200_000])).expect("sent");
    Response::read(&mut stream).assert_problem(413);
}

#[test]
fn a_refusal_outlasts_a_client_that_goes_on_sending() {
    let server = Server::start(&["--max-payload-bytes", "1000"]);
    let mut stream = server.connect();
    // Longer than a quiet connection is waited for.
    let begun = Instant::now();
    let request = record("default", "", &vec![7; 1_000_000]);
    for piece in request.chunks(64_000) {
        stream.write_all(piece).expect("what comes is taken");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() > Duration::from_millis(1500), "not vacuous");
    Response::read(&mut stream).assert_problem(413);
    assert_closed(&mut stream);
}

#[test]
fn a_client_that_is_refused_while_it_sends_sees_no_end_before_it_pauses() {
    let server = Server::start(&["--max-payload-bytes", "1000"]);
    let mut stream = server.connect();
    let request = record("default", "", &vec![7; 1_000_000]);
    let mut pieces = request.chunks(20_000);
    stream.write_all(pieces.next().expect("the first")).expect("sent");
    Response::read(&mut stream).assert_problem(413);
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
    for piece in pieces.take(30) {
        stream.write_all(piece).expect("what comes is taken");
        // Some clients do not look at the answer if they see the end first.
        assert!(stream.peek(&mut [0]).is_err(), "the end while it sends");
    }
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    assert_closed(&mut stream);
}

#[test]
fn a_refused_client_is_read_on_for_64_mib_and_no_more() {
    let server = Server::start(&["--max-payload-bytes", "1000"]);
    let mut stream = server.connect();
    let head = "POST /v1/rings/default/records HTTP/1.1\r\nhost: t\r\n\
                content-length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    Response::read(&mut stream).assert_problem(413);
    let piece = vec![7; 64 << 10];
    let mut sent = 0_usize;
    while let Ok(bytes) = stream.write(&piece) {
        sent += bytes;
        assert!(sent < 100 << 20, "the linger begins again");
    }
    // What the kernel holds comes on top.
    assert!(sent > 60 << 20, "{sent}");
}

#[test]
fn a_page_of_a_configured_origin_may_post_and_its_preflight_is_answered() {
    let file = "http.origins = ['https://good.example', 'http://127.0.0.1:3000']\n";
    let server = Server::with_file(file, &[]);
    for origin in ["https://good.example", "http://127.0.0.1:3000"] {
        let response = server.exchange(format!(
            "OPTIONS /v1/rings/default/records HTTP/1.1\r\nhost: t\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\n\
             access-control-request-headers: aqueduct-type\r\n\r\n"
        ));
        assert_eq!(response.status, 204, "{response:?}");
        assert_eq!(response.header("access-control-allow-origin"), Some(origin), "{response:?}");
        assert_eq!(response.header("access-control-allow-methods"), Some("post"));
        let allowed = response.header("access-control-allow-headers").expect("some");
        assert!(allowed.contains("aqueduct-type") && allowed.contains("content-type"));
        let line = format!("origin: {origin}\r\n");
        let response = server.exchange(record("default", &line, b"x"));
        assert_eq!(response.status, 202, "{response:?}");
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
        assert_eq!(response.header("access-control-expose-headers"), Some("aqueduct-seq"));
    }
    for origin in ["https://good.example:8443", "http://good.example", "null"] {
        let line = format!("origin: {origin}\r\n");
        server.exchange(record("default", &line, b"x")).assert_problem(403);
    }
    assert!((server.metric("aqueduct_records_total{ring=\"default\"}") - 2.0).abs() < 0.5);
}

#[test]
fn a_preflight_allows_the_headers_that_its_address_keeps() {
    let file = "[http]\norigins = ['https://good.example']\n\
                attributes = [':path', ':peer', 'x-id', 'content-type', '*', 'traceparent']\n\
                [[listen]]\naddress = '127.0.0.1:0'\nprotocol = 'http'\nattributes = ['x-other']\n";
    let server = Server::with_file(file, &[]);
    let preflight = "OPTIONS /v1/rings/default/records HTTP/1.1\r\nhost: t\r\n\
                     origin: https://good.example\r\naccess-control-request-method: POST\r\n\
                     access-control-request-headers: x-id\r\n\r\n";
    for (mut stream, allowed) in [
        (server.connect(), "aqueduct-type, content-type, x-id, traceparent"),
        (server.speak_at_last("http"), "aqueduct-type, content-type, x-other"),
    ] {
        stream.write_all(preflight.as_bytes()).expect("sent");
        let response = Response::read(&mut stream);
        assert_eq!(response.status, 204, "{response:?}");
        assert_eq!(response.header("access-control-allow-headers"), Some(allowed));
    }
}

#[test]
fn a_peer_that_takes_no_bytes_is_given_up() {
    // No other clock ends it.
    let file = "[http]\nkeep_alive_timeout_ms = '1h'\nheader_timeout_ms = '1h'\n";
    let flags = ["--body-timeout-ms", "200", "--max-connections", "1"];
    let server = Server::with_file(file, &flags);
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_millis(100))).expect("set");
    let pages = common::get("/metrics").replace("connection: close\r\n", "").repeat(100);
    // Until neither side can send any more.
    let mut sent = 0;
    while let Ok(bytes) = stream.write(pages.as_bytes()) {
        sent += bytes;
        assert!(sent < 64 << 20, "what waits for its answers is not bounded");
    }
    server.eventually("its place is free", || server.post("default", b"x").status == 202);
}

#[test]
fn a_half_sent_head_is_answered_408_and_closed() {
    let server = Server::start(&["--header-timeout-ms", "100"]);
    let mut stream = server.connect();
    stream.write_all(b"POST /v1/rings/default/records HTTP/1.1\r\nhost: ").expect("sent");
    let response = Response::read(&mut stream);
    response.assert_problem(408);
    assert_eq!(response.header("connection"), Some("close"));
    assert_closed(&mut stream);
}

#[test]
fn a_head_that_trickles_in_is_answered_408_all_the_same() {
    let server = Server::start(&["--header-timeout-ms", "200"]);
    let mut stream = server.connect();
    // A whole request first: the clock of the next head starts with its own first byte.
    stream.write_all(&record("default", "", b"first")).expect("sent");
    assert_eq!(Response::read(&mut stream).status, 202);
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
    let mut peeked = [0];
    loop {
        if stream.write_all(b"G").is_err() || stream.peek(&mut peeked).is_ok() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it may trickle for ever");
    }
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    Response::read(&mut stream).assert_problem(408);
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    let file = "[http]\nkeep_alive_timeout_ms = 100\nheader_timeout_ms = '1h'\n";
    let server = Server::with_file(file, &[]);
    let mut stream = server.connect();
    stream.write_all(&record("default", "", b"x")).expect("sent");
    assert_eq!(Response::read(&mut stream).status, 202);
    assert_closed(&mut stream);
}

#[test]
fn a_connection_that_never_sent_a_byte_has_the_time_of_a_head() {
    let file = "[http]\nkeep_alive_timeout_ms = '1h'\nheader_timeout_ms = 100\n";
    let server = Server::with_file(file, &[]);
    let mut silent = server.connect();
    assert_closed(&mut silent);
    let server = Server::with_file("http.keep_alive_timeout_ms = 1\n", &[]);
    let mut slow = server.connect();
    std::thread::sleep(Duration::from_millis(100));
    slow.write_all(&record("default", "", b"x")).expect("still open");
    assert_eq!(Response::read(&mut slow).status, 202);
}

#[test]
fn a_half_sent_body_is_answered_408_and_closed() {
    let server = Server::start(&["--body-timeout-ms", "100"]);
    let mut stream = server.connect();
    stream
        .write_all(
            b"POST /v1/rings/default/records HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\nhalf",
        )
        .expect("sent");
    let response = Response::read(&mut stream);
    response.assert_problem(408);
    assert_eq!(response.header("connection"), Some("close"));
    assert_closed(&mut stream);
    assert_eq!(Attached::attach(&server.socket, "", "").next(), None, "half a record is none");
}

#[test]
fn a_client_that_breaks_off_its_body_leaves_nothing_but_a_count() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream
        .write_all(
            b"POST /v1/rings/default/records HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\nhalf",
        )
        .expect("sent");
    stream.shutdown(Shutdown::Both).expect("gone");
    let series = "aqueduct_records_rejected_total{reason=\"disconnected\",ring=\"default\"}";
    server.eventually("the lost client is counted", || server.metric(series) > 0.5);
    assert_eq!(Attached::attach(&server.socket, "", "").next(), None);
}

#[test]
fn what_is_not_http_is_answered_400_and_too_much_head_431() {
    let server = Server::with_file("[http]\nmax_header_bytes = '1KiB'\nmax_headers = 8\n", &[]);
    assert_eq!(server.exchange("\u{1}\u{2}\u{3} nonsense\r\n\r\n").status, 400);
    assert_eq!(
        server.exchange(format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(2000))).status,
        431
    );
    let many = (0..9).fold(String::new(), |head, n| format!("{head}x{n}: 1\r\n"));
    assert_eq!(server.exchange(format!("GET /healthz HTTP/1.1\r\n{many}\r\n")).status, 431);
    assert_eq!(server.get("/healthz").status, 200);
    server.eventually("both are counted", || {
        server.metric("aqueduct_http_requests_total{status=\"431\"}") > 1.5
    });
}

#[test]
fn connections_beyond_the_limit_are_told_503_and_counted() {
    let server = Server::start(&["--max-connections", "2"]);
    let mut held: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for stream in &mut held {
        // Answered, so accepted.
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").expect("sent");
        assert_eq!(Response::read(stream).status, 200);
    }
    let mut extra = server.connect();
    let response = Response::read(&mut extra);
    response.assert_problem(503);
    assert_eq!(response.header("retry-after"), Some("1"));
    drop((extra, held));
    server.eventually("places are given back", || {
        let mut stream = server.connect();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        Response::read(&mut stream).status == 200
    });
    assert!(server.metric("aqueduct_http_connections_refused_total") > 0.5);
}

#[test]
fn pipelined_requests_are_published_in_their_order() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let requests: Vec<u8> = (0..20_u8).flat_map(|n| record("default", "", &[n])).collect();
    stream.write_all(&requests).expect("sent");
    for seq in 0..20 {
        assert_eq!(
            Response::read(&mut stream).header("aqueduct-seq"),
            Some(seq.to_string().as_str())
        );
    }
    let mut reader = Attached::attach(&server.socket, "", "");
    for n in 0..20_u8 {
        assert_eq!(reader.next(), Some((u64::from(n), 0, vec![n])));
    }
}
