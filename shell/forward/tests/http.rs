//! The sink `http` against services that do what services do, and against another listener.
#![cfg(feature = "http")]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

mod common;
#[path = "common/outage.rs"]
mod outage;
#[path = "common/service.rs"]
mod service;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{Forward, Listener, Random, Scratch, eventually, get, lines, metric};
use prost::Message;
use service::{Answer, Request, Service};

/// Requests, as they came.
type Kept = Arc<Mutex<Vec<Request>>>;

/// A service that takes everything.
fn taking() -> (Service, Kept) {
    let kept = Kept::default();
    let keep = Arc::clone(&kept);
    let service = Service::start(move |request| {
        keep.lock().expect("nobody panicked").push(request.clone());
        Answer::Status(200, "")
    });
    (service, kept)
}

fn config(address: SocketAddr, more: &str) -> String {
    format!(
        "[retry]\nfirst_ms = 20\nlongest_ms = 200\n[batch]\nwait_ms = 5\n\
         [sink]\nkind = 'http'\nurl = 'http://{address}/in?x=1'\n{more}"
    )
}

/// What arrived, as (epoch, seq), of requests with a body of JSON lines.
fn names(kept: &Kept) -> Vec<(String, u64)> {
    let kept = kept.lock().expect("nobody panicked");
    let lines = kept.iter().flat_map(Request::lines);
    let name = |line: String| {
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        (value["epoch"].to_string(), value["seq"].as_u64().expect("a number"))
    };
    lines.map(name).collect()
}

fn post(listener: &Listener, count: usize) {
    let mut client = listener.client();
    for from in (0..count).step_by(500) {
        let lines: Vec<_> = (from..count.min(from + 500)).map(|n| format!("record {n}")).collect();
        assert!(client.lines(&lines.join("\n")));
    }
}

#[test]
fn lines_arrive_in_order_with_their_key_token_and_headers() {
    let scratch = Scratch::new("http");
    let listener = Listener::start(&scratch);
    let (service, kept) = taking();
    post(&listener, 2500);
    let token = scratch.join("token");
    fs::write(&token, "s3cret\n").expect("written");
    let more = format!(
        "request_records = 400\ntoken_file = '{}'\nheaders = {{ x-flow = 'a' }}\n\
         [compression]\ncodec = 'gzip'\nabove_bytes = '8KiB'\n",
        token.display()
    );
    let config = config(service.address, &more);
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let kept = kept.lock().expect("nobody panicked");
    let mut all = Vec::new();
    for request in kept.iter() {
        assert_eq!(request.path, "/in?x=1");
        assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
        assert_eq!(request.header("x-flow"), Some("a"));
        assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
        let mut plain = request.clone();
        if request.header("content-encoding").is_some() {
            assert_eq!(request.header("content-encoding"), Some("gzip"));
            plain.body.clear();
            let mut reader = flate2::read::GzDecoder::new(&request.body[..]);
            std::io::Read::read_to_end(&mut reader, &mut plain.body).expect("gzip");
        }
        let lines = plain.lines();
        let is_large = plain.body.len() > 8 << 10;
        assert_eq!(request.header("content-encoding").is_some(), is_large, "{}", lines.len());
        let (first, last) = (all.len(), all.len() + lines.len() - 1);
        let key = request.header("idempotency-key").expect("a key");
        assert!(key.ends_with(&format!("-{first}-{last}")) && key.len() > 18, "{key}");
        all.extend(lines);
    }
    let expected: Vec<_> = (0..2500).map(|n| format!("record {n}")).collect();
    assert_eq!(all, expected);
    assert_eq!((kept.len(), service.connections()), (8, 1), "batches of 1000, in 400s");
}

#[test]
fn a_token_that_is_written_anew_is_used_on_the_connection_that_is_there() {
    let scratch = Scratch::new("rotated");
    let listener = Listener::start(&scratch);
    let (token, kept) = (scratch.join("token"), Kept::default());
    let valid = Arc::new(Mutex::new("Bearer old"));
    let (keep, now) = (Arc::clone(&kept), Arc::clone(&valid));
    let service = Service::start(move |request| {
        if request.header("authorization") != Some(*now.lock().expect("nobody panicked")) {
            return Answer::Status(401, "");
        }
        keep.lock().expect("nobody panicked").push(request.clone());
        Answer::Status(200, "")
    });
    fs::write(&token, "old\n").expect("written");
    let config = config(service.address, &format!("token_file = '{}'\n", token.display()));
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    let arrived = |count| {
        let lines =
            || kept.lock().expect("nobody panicked").iter().flat_map(Request::lines).count();
        eventually("the records", || (lines() == count).then_some(()));
    };
    post(&listener, 3);
    arrived(3);
    *valid.lock().expect("nobody panicked") = "Bearer new";
    post(&listener, 3);
    forward.process.wait_for_log("answered 401");
    // Half written, then whole.
    fs::write(&token, "").expect("written");
    forward.process.wait_for_log("is no token");
    fs::write(&token, "new\n").expect("written");
    arrived(6);
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(fixed64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(bytes = "vec", tag = "6")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Records {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

#[test]
fn protobuf_and_snappy_arrive_as_the_schema_says() {
    let scratch = Scratch::new("proto");
    let listener = Listener::start(&scratch);
    let (service, kept) = taking();
    post(&listener, 300);
    let more = "body = 'protobuf'\n[compression]\ncodec = 'snappy'\nabove_bytes = 0\n";
    let config = config(service.address, more);
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let kept = kept.lock().expect("nobody panicked");
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].header("content-encoding"), Some("snappy"));
    assert_eq!(kept[0].header("content-type"), Some("application/x-protobuf"));
    let body = snap::raw::Decoder::new().decompress_vec(&kept[0].body).expect("snappy");
    let all = Records::decode(&body[..]).expect("Protobuf").records;
    assert_eq!(all.len(), 300);
    for (n, record) in all.iter().enumerate() {
        assert_eq!((record.seq, record.epoch), (n as u64, all[0].epoch));
        assert_eq!(record.payload, format!("record {n}").as_bytes());
    }
}

#[test]
fn one_request_for_each_record_has_the_rest_in_headers() {
    let scratch = Scratch::new("single");
    let listener = Listener::start(&scratch);
    let (service, kept) = taking();
    listener.client().record(9, b"a\nb");
    listener.client().record(8, b"");
    let config = config(service.address, "body = 'single'\n");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let kept = kept.lock().expect("nobody panicked");
    assert_eq!((kept.len(), &kept[0].body[..], &kept[1].body[..]), (2, &b"a\nb"[..], &b""[..]));
    assert_eq!(
        (kept[0].header("aqueduct-type"), kept[0].header("aqueduct-seq")),
        (Some("9"), Some("0"))
    );
    let epoch = kept[1].header("aqueduct-epoch").expect("an epoch");
    assert_eq!(kept[1].header("idempotency-key"), Some(&*format!("{epoch}-1")));
    assert_eq!(kept[1].header("content-type"), Some("application/octet-stream"));
}

#[test]
fn the_trace_of_a_record_goes_on_in_the_request() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let scratch = Scratch::new("trace");
    let file = scratch.join("listener.toml");
    let text = "http.attributes = ['traceparent', 'tracestate']\n\
                [[ring]]\nname = 'r'\nsubscriptions = ['s']\n";
    fs::write(&file, text).expect("written");
    let listener = Listener::start_with(&scratch, &["--config", file.to_str().expect("ASCII")]);
    let (service, kept) = taking();
    let trace = format!("traceparent: {PARENT}\r\ntracestate: a=b\r\n");
    let mut client = listener.client();
    for fields in [&*trace, &trace, ""] {
        let answer = client.post(fields, b"x").expect("an answer");
        assert_eq!(answer.0, 202, "{answer:?}");
    }
    // Two of the same trace, then one of none.
    let config = config(service.address, "request_records = 2\n");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let kept = kept.lock().expect("nobody panicked");
    let traces: Vec<_> = kept
        .iter()
        .map(|request| (request.header("traceparent"), request.header("tracestate")))
        .collect();
    assert_eq!(traces, [(Some(PARENT), Some("a=b")), (None, None)]);
}

#[test]
fn another_listener_takes_them_with_their_types() {
    let (here, there) = (Scratch::new("edge"), Scratch::new("centre"));
    let (edge, centre) = (Listener::start(&here), Listener::start(&there));
    for n in 0..50_u16 {
        edge.client().record(n, format!("record {n}\n").as_bytes());
    }
    let config = format!(
        "[sink]\nkind = 'http'\nbody = 'counted'\nurl = 'http://{}/v1/rings/r/records'\n",
        centre.http
    );
    let mut forward = Forward::start(&here, &edge.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let config = "[envelope]\nform = 'json'\n";
    let mut reader = Forward::start(&there, &centre.socket, config, &["--once", "--to", "-"]);
    assert_eq!(reader.process.wait().code(), Some(0), "{}", reader.process.log());
    let arrived = lines(&there.join("stdout"));
    assert_eq!(arrived.len(), 50);
    for (n, line) in arrived.iter().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (value["type"].as_u64(), value["seq"].as_u64()),
            (Some(n as u64), Some(n as u64))
        );
        assert_eq!(value["text"], format!("record {n}\n"));
    }
}

#[test]
fn retry_after_is_waited_for_and_nothing_overtakes() {
    let scratch = Scratch::new("after");
    let listener = Listener::start(&scratch);
    let kept = Kept::default();
    let keep = Arc::clone(&kept);
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let service = Service::start(move |request| {
        seen.lock().expect("nobody panicked").push(Instant::now());
        match request.number {
            0 => Answer::Status(503, "retry-after: 1\r\n"),
            1 => Answer::Status(429, ""),
            2 => Answer::HangUp,
            _ => {
                keep.lock().expect("nobody panicked").push(request.clone());
                Answer::Status(204, "")
            }
        }
    });
    post(&listener, 20);
    let more = "request_records = 5\n[envelope]\nform = 'json'\n";
    let config = config(service.address, more);
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let seqs: Vec<_> = names(&kept).into_iter().map(|(_, seq)| seq).collect();
    assert_eq!(seqs, (0..20).collect::<Vec<_>>());
    let times = times.lock().expect("nobody panicked");
    assert!(times[1] - times[0] >= Duration::from_secs(1), "retry-after");
    assert!(times[2] - times[1] < Duration::from_secs(1), "without it, our own pause");
}

#[test]
fn a_record_that_is_refused_is_found_and_the_others_arrive_once() {
    let scratch = Scratch::new("refused");
    let listener = Listener::start(&scratch);
    let kept = Kept::default();
    let keep = Arc::clone(&kept);
    let service = Service::start(move |request| {
        if request
            .lines()
            .iter()
            .any(|line| line.contains("record 17\"") || line.contains("record 40\""))
        {
            return Answer::Status(422, "");
        }
        keep.lock().expect("nobody panicked").push(request.clone());
        Answer::Status(200, "")
    });
    post(&listener, 64);
    let dead = scratch.join("dead");
    let more = format!("[envelope]\nform = 'json'\n[poison]\nfile = '{}'\n", dead.display());
    let config = config(service.address, &more);
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let seqs: Vec<_> = names(&kept).into_iter().map(|(_, seq)| seq).collect();
    let expected: Vec<_> = (0..64).filter(|&seq| seq != 17 && seq != 40).collect();
    assert_eq!(seqs, expected, "each once, in order");
    let dead: Vec<serde_json::Value> =
        lines(&dead).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let buried: Vec<_> = dead.iter().map(|it| it["record"]["seq"].as_u64()).collect();
    assert_eq!(buried, [Some(17), Some(40)]);
    assert_eq!(dead[0]["reason"], "answered 422 Unprocessable Entity: why?");
}

#[test]
fn a_connection_that_ended_while_idle_is_not_used() {
    for (test_on_borrow, retries) in [(true, false), (false, true)] {
        let scratch = Scratch::new("idle");
        let listener = Listener::start(&scratch);
        let service = Service::start(|_| Answer::ThenHangUp(200));
        let more = format!("test_on_borrow = {test_on_borrow}\n");
        let config = config(service.address, &more);
        let flags = ["--admin-listen", "127.0.0.1:0"];
        let forward = Forward::start(&scratch, &listener.socket, &config, &flags);
        let admin = forward.admin();
        let mut client = listener.client();
        for n in 1..=5 {
            client.record(0, b"x");
            eventually("delivered", || {
                let page = get(admin, "/metrics").1;
                (metric(&page, "delivered_records_total") > f64::from(n) - 0.5).then_some(())
            });
            // Now the service has hung up.
            thread::sleep(Duration::from_millis(30));
        }
        let page = get(admin, "/metrics").1;
        assert_eq!(metric(&page, "retries_total") > 0.5, retries, "{test_on_borrow}: {page}");
    }
}

#[test]
fn as_many_requests_are_under_way_as_may_be() {
    for max_active in [1, 4] {
        let scratch = Scratch::new("active");
        let listener = Listener::start(&scratch);
        let service = Service::start(|_| {
            thread::sleep(Duration::from_millis(40));
            Answer::Status(200, "")
        });
        post(&listener, 160);
        let more = format!("max_active = {max_active}\nrequest_records = 10\n");
        let config = config(service.address, &more);
        let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
        assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
        assert_eq!((service.most_active(), service.connections()), (max_active, max_active));
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_connection_is_waited_for_no_longer_than_it_is_told() {
    let scratch = Scratch::new("maxwait");
    let listener = Listener::start(&scratch);
    // Connections are accepted, by the kernel, and nobody says a word of TLS.
    let service = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = service.local_addr().expect("it has one");
    post(&listener, 20);
    let more = "max_wait_ms = 300\ntimeout_ms = 20000\n[shutdown]\ndrain_timeout_ms = 100\n";
    let config = config(address, more).replace("http://", "https://");
    let began = Instant::now();
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    forward.process.wait_for_log("no connection in 300 ms");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(forward.stop(), 3);
}

#[test]
fn a_service_that_is_gone_makes_it_unready_and_its_return_ends_that_in_time() {
    let scratch = Scratch::new("gone");
    let listener = Listener::start_with(&scratch, &outage::LISTENER);
    let kept = Kept::default();
    let start = |address| {
        let keep = Arc::clone(&kept);
        Service::start_at(address, move |request| {
            keep.lock().expect("nobody panicked").push(request.clone());
            Answer::Status(200, "")
        })
    };
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let address = address.expect("a port");
    let service = std::cell::RefCell::new(Some(start(address)));
    let config = format!(
        "[batch]\nwait_ms = 5\n[envelope]\nform = 'json'\n\
         [sink]\nkind = 'http'\nurl = 'http://{address}/in'"
    );
    let taken = outage::outlasts(
        "http",
        (&scratch, &listener),
        &config,
        || _ = service.borrow_mut().take(),
        || *service.borrow_mut() = Some(start(address)),
    );
    let seqs: Vec<_> = names(&kept).into_iter().map(|(_, seq)| seq).collect();
    assert_eq!(seqs, (0..taken).collect::<Vec<_>>(), "each once, in order");
}

/// Passes bytes on. When it is silent, its connections stay, without a word, and nobody listens.
fn pass_until(is_silent: &Arc<AtomicBool>, at: SocketAddr, to: SocketAddr) -> SocketAddr {
    let listener = std::net::TcpListener::bind(at).expect("a port");
    let address = listener.local_addr().expect("it has one");
    listener.set_nonblocking(true).expect("allowed");
    let is_silent = Arc::clone(is_silent);
    thread::spawn(move || {
        while !is_silent.load(Ordering::SeqCst) {
            let Ok((client, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            client.set_nonblocking(false).expect("allowed");
            let server = TcpStream::connect(to).expect("it listens");
            for (from, into) in [(&client, &server), (&server, &client)] {
                let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                let (mut from, mut into, is_silent) = (copy(from), copy(into), is_silent.clone());
                thread::spawn(move || {
                    let mut piece = [0; 4096];
                    while let Ok(bytes @ 1..) = from.read(&mut piece) {
                        if !is_silent.load(Ordering::SeqCst) {
                            into.write_all(&piece[..bytes])?;
                        }
                    }
                    if !is_silent.load(Ordering::SeqCst) {
                        into.shutdown(std::net::Shutdown::Both)?;
                    }
                    // A silent one stays as long as the test.
                    std::mem::forget((from, into));
                    Ok::<_, std::io::Error>(())
                });
            }
        }
    });
    address
}

#[test]
fn a_service_that_vanishes_without_a_word_makes_an_idle_process_unready() {
    let scratch = Scratch::new("vanishes");
    let listener = Listener::start(&scratch);
    let (service, kept) = taking();
    let port = SocketAddr::from(([127, 0, 0, 1], 0));
    let is_silent = Arc::new(AtomicBool::new(false));
    let address = pass_until(&is_silent, port, service.address);
    let config = config(address, "[admin]\nready_age_ms = 3000\n");
    let flags = ["--admin-listen", "127.0.0.1:0"];
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &flags);
    let admin = forward.admin();
    let is_ready = |status| {
        eventually("readiness", || (get(admin, "/readyz").0 == status).then_some(()));
    };
    post(&listener, 1);
    eventually("the record", || (kept.lock().expect("nobody panicked").len() == 1).then_some(()));
    is_ready(200);
    is_silent.store(true, Ordering::SeqCst);
    let began = Instant::now();
    is_ready(503);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // Another one in its place.
    thread::sleep(Duration::from_millis(50));
    pass_until(&Arc::default(), address, service.address);
    is_ready(200);
    post(&listener, 1);
    eventually("the record", || (kept.lock().expect("nobody panicked").len() == 2).then_some(()));
    assert!(metric(&get(admin, "/metrics").1, "retries_total") < 0.5, "no old one was used");
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
}

#[test]
fn a_path_that_is_asked_for_says_whether_the_service_is_there() {
    let scratch = Scratch::new("probed");
    let listener = Listener::start(&scratch);
    let is_up = Arc::new(AtomicBool::new(true));
    let up = Arc::clone(&is_up);
    let service = Service::start(move |request| match &*request.path {
        "/up?now" if request.header("authorization") != Some("Bearer s3cret") => {
            Answer::Status(401, "")
        }
        "/up?now" if !up.load(Ordering::SeqCst) => Answer::Status(500, ""),
        // More than an answer to a batch may have: its status is what counts.
        "/up?now" => Answer::Page(200, 1 << 20),
        _ => Answer::Status(404, ""),
    });
    let token = scratch.join("token");
    fs::write(&token, "s3cret").expect("written");
    let more = format!(
        "probe_path = '/up?now'\ntoken_file = '{}'\n[admin]\nready_age_ms = 2500\n",
        token.display()
    );
    let flags = ["--admin-listen", "127.0.0.1:0"];
    let config_of = config(service.address, &more);
    let mut forward = Forward::start(&scratch, &listener.socket, &config_of, &flags);
    let admin = forward.admin();
    for (is_there, status) in [(true, 200), (false, 503), (true, 200)] {
        is_up.store(is_there, Ordering::SeqCst);
        eventually("readiness", || (get(admin, "/readyz").0 == status).then_some(()));
    }
    assert!(forward.process.log().contains("/up?now answered 500"));
    assert_eq!(forward.stop(), 0);
    let wrong = config(service.address, "probe_path = 'up'\n");
    let mut forward = Forward::start(&scratch, &listener.socket, &wrong, &["--check"]);
    assert_eq!(forward.process.wait().code(), Some(2), "{}", forward.process.log());
}

#[test]
fn killed_at_random_nothing_is_lost_and_a_service_that_looks_at_names_takes_each_once() {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (kills, seed): (u64, u64) = (number("KILLS", 5), number("SEED", 0x5eed));
    let mut random = Random(seed | 1);
    let scratch = Scratch::new("hkills");
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "1MiB"]);
    let kept = Kept::default();
    let keep = Arc::clone(&kept);
    let service = Service::start(move |request| {
        // A service that dies before or after it has kept what it was sent.
        let fate = Random(request.number as u64 * 0x9e37_79b9 + 1).below(20);
        if fate == 0 {
            return Answer::HangUp;
        }
        keep.lock().expect("nobody panicked").push(request.clone());
        if fate == 1 { Answer::HangUp } else { Answer::Status(200, "") }
    });
    let more = "request_records = 50\n[envelope]\nform = 'json'\n";
    let config = config(service.address, more).replace("first_ms = 20", "first_ms = 2");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    let mut posted = 0;
    for _ in 0..kills {
        let until = Instant::now() + Duration::from_millis(random.below(120));
        while Instant::now() < until {
            post(&listener, 20);
            posted += 20;
        }
        forward.process.kill();
        forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    }
    let different = || names(&kept).into_iter().collect::<BTreeSet<_>>();
    let all = eventually("all of them", || Some(different()).filter(|it| it.len() == posted));
    assert_eq!(forward.stop(), 0);
    assert_eq!(all.iter().map(|(epoch, _)| epoch).collect::<BTreeSet<_>>().len(), 1);
    // Order: each record was first seen after all before it.
    let mut next = 0;
    for (_, seq) in names(&kept) {
        assert!(seq <= next, "{seq} before {next} (seed {seed})");
        next = next.max(seq + 1);
    }
    let twice = names(&kept).len() - posted;
    println!(
        "http: {kills} kills of the forwarder; the service hung up one time in ten, {posted} \
         records, 0 lost, {twice} twice, known by their names"
    );
}

#[cfg(feature = "tls")]
#[test]
fn https_is_spoken_with_whom_an_authority_knows_and_with_nobody_else() {
    use std::process::{Command, Stdio};

    let scratch = Scratch::new("tls");
    let listener = Listener::start(&scratch);
    let make = |name: &str| {
        let (key, certificate) = (scratch.join(&format!("{name}.key")), scratch.join(name));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=aqueduct test", "-addext"])
            .args(["subjectAltName=DNS:localhost", "-addext"])
            .args(["basicConstraints=critical,CA:false"])
            .args([std::ffi::OsStr::new("-keyout"), key.as_ref()])
            .args([std::ffi::OsStr::new("-out"), certificate.as_ref()])
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl is there").success());
        (key, certificate)
    };
    let (key, certificate) = make("cert.pem");
    let (_, renewed) = make("other.pem");
    let server = "import http.server, ssl, sys\n\
        class Keep(http.server.BaseHTTPRequestHandler):\n\
        \x20def do_POST(self):\n\
        \x20 body = self.rfile.read(int(self.headers['content-length']))\n\
        \x20 open(sys.argv[3], 'ab').write(body)\n\
        \x20 self.send_response(200); self.send_header('content-length', '0'); self.end_headers()\n\
        server = http.server.HTTPServer(('127.0.0.1', 0), Keep)\n\
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
        context.load_cert_chain(sys.argv[2], sys.argv[1])\n\
        server.socket = context.wrap_socket(server.socket, server_side=True)\n\
        print('port', server.server_port, file=sys.stderr, flush=True)\n\
        server.serve_forever()\n";
    let kept = scratch.join("kept");
    let mut command = Command::new("python3");
    command.args(["-c", server]).arg(key).arg(&certificate).arg(&kept);
    let server = common::Process::start(&mut command, scratch.join("server.log"));
    let port = server.wait_for_log("port ").replace("port ", "");
    let to = |host: &str, more: &str| {
        format!(
            "[shutdown]\ndrain_timeout_ms = 50\n[sink]\nkind = 'http'\n\
             url = 'https://{host}:{port}/'\n{more}"
        )
    };
    post(&listener, 3);
    let ca = format!("ca_file = '{}'\n", certificate.display());
    // Another name than the certificate's; then an authority that does not know it.
    for config in [to("127.0.0.1", &ca), to("localhost", "")] {
        let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
        eventually("refused", || {
            let log = forward.process.log();
            let told = log.contains("not delivered") || log.contains("no certificates");
            told.then_some(()).filter(|()| log.contains("certificate"))
        });
        if forward.process.is_running() {
            assert_eq!(forward.stop(), 3);
        }
        assert!(!kept.exists(), "nothing was sent");
        std::fs::remove_file(scratch.join("forward.log")).expect("it was there");
    }
    let mut forward =
        Forward::start(&scratch, &listener.socket, &to("localhost", &ca), &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    assert_eq!(lines(&kept), ["record 0", "record 1", "record 2"]);
    // A file of authorities that is written anew while the process runs.
    post(&listener, 1);
    let ca = format!("ca_file = '{}'\n", renewed.display());
    let mut forward = Forward::start(&scratch, &listener.socket, &to("localhost", &ca), &[]);
    forward.process.wait_for_log("not delivered");
    fs::copy(&certificate, &renewed).expect("written");
    eventually("the record", || (lines(&kept).len() == 4).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
}
