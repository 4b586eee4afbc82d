//! HTTP/2 at the address of HTTP/1.1, by clients that mean well.
#![cfg(feature = "http2")]

mod common;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aqueduct_client::Event;
use common::frames::{self, asking, frame};
use common::http2::{Client, record, request, run};
use common::reader::Attached;
use common::{PATIENCE, Server, assert_closed};
use http_body_util::Full;
use hyper::Request;
use hyper::body::{Body, Bytes, Frame};
use smol::channel::{Receiver, Sender, unbounded};

/// A body that comes as a test says; its length is not announced.
struct Told(Pin<Box<Receiver<Bytes>>>);

fn told() -> (Sender<Bytes>, Told) {
    let (sender, receiver) = unbounded();
    (sender, Told(Box::pin(receiver)))
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        use smol::stream::Stream;
        self.0.as_mut().poll_next(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

/// A request of HTTP/1.1 with the same content.
fn as_http1(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n", body.len());
    let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    head.extend(lines);
    [head.as_bytes(), b"connection: close\r\n\r\n", body].concat()
}

/// Method, path, header fields, body, and the status that answers it.
type Row<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a [u8], u16);

const RECORDS: &str = "/v1/rings/default/records";

#[test]
fn every_answer_is_the_one_that_http_1_gives() {
    let counted = [&[3, 0, 0, 0, 7, 0][..], b"abc", &[0, 0, 0, 0, 9, 0]].concat();
    let large = vec![b'x'; 1001];
    let type_of = |media: &'static str| vec![("content-type", media)];
    #[rustfmt::skip]
    let table: Vec<Row<'_>> = vec![
        ("POST", RECORDS, vec![], b"one", 202),
        ("POST", RECORDS, vec![], b"", 202),
        ("POST", RECORDS, vec![("aqueduct-type", "65535")], b"typed", 202),
        ("POST", RECORDS, vec![("aqueduct-type", "65536")], b"x", 400),
        ("POST", RECORDS, vec![("aqueduct-type", "1"), ("aqueduct-type", "1")], b"x", 400),
        ("POST", RECORDS, type_of("application/x-ndjson"), b"a\nb\r\n\nc", 202),
        ("POST", RECORDS, type_of("application/vnd.aqueduct.records"), &counted, 202),
        ("POST", RECORDS, type_of("application/vnd.aqueduct.records"), &counted[1..], 400),
        ("POST", RECORDS, type_of("application/vnd.aqueduct.records+json"), b"[1, {\"a\": 2}]", 202),
        ("POST", RECORDS, type_of("application/vnd.aqueduct.records+json"), b"[1, ", 400),
        ("POST", RECORDS, type_of("application/x-ndjson"), b"", 400),
        ("POST", RECORDS, type_of("application/x-ndjson"), &large, 413),
        ("POST", RECORDS, vec![], &large, 413),
        ("POST", RECORDS, vec![("content-encoding", "gzip")], b"x", 415),
        ("POST", RECORDS, vec![("origin", "http://evil.example")], b"x", 403),
        ("POST", RECORDS, vec![("expect", "wonders")], b"x", 417),
        ("POST", "/v1/rings/none/records", vec![], b"x", 404),
        ("POST", "/nothing", vec![], b"x", 404),
        ("GET", RECORDS, vec![], b"", 405),
        ("DELETE", RECORDS, vec![], b"", 405),
        ("POST", "/healthz", vec![], b"", 405),
        ("GET", "/healthz", vec![], b"", 200),
        ("GET", "/healthz?x=1", vec![], b"", 200),
        ("GET", "/readyz", vec![], b"", 200),
    ];
    let (old, new) = (
        Server::start(&["--max-payload-bytes", "1000"]),
        Server::start(&["--max-payload-bytes", "1000"]),
    );
    run(async |tasks| {
        let client = Client::connect(new.http, &tasks).await;
        for (method, path, headers, body, status) in table {
            let first = old.exchange(as_http1(method, path, &headers, body));
            let sent = request(method, path, &headers, body.to_vec());
            let second = client.send(sent).await.expect("an answer");
            assert_eq!(
                (first.status, second.status),
                (status, status),
                "{method} {path} {headers:?}"
            );
            for name in ["content-type", "aqueduct-seq", "allow", "retry-after", "accept-encoding"]
            {
                // The head of the first is read in lower case.
                let second = second.header(name).map(str::to_ascii_lowercase);
                assert_eq!(first.header(name), second.as_deref(), "{method} {path} {headers:?}");
            }
            assert!(second.header("date").is_some() && second.header("connection").is_none());
            let without_epoch = |body: &str| body.split(",\"epoch\"").next().map(str::to_owned);
            assert_eq!(without_epoch(&first.body), without_epoch(&second.body));
        }
    });
    let mut readers = [&old, &new].map(|server| Attached::attach(&server.socket, "", ""));
    let mut count = 0;
    loop {
        let [first, second] = readers.each_mut().map(Attached::next);
        assert_eq!(first, second, "record {count}");
        count += 1;
        if first.is_none() {
            break;
        }
    }
    assert!(count > 10, "{count}");
    for status in [200, 202, 400, 413] {
        let series = format!("aqueduct_http_requests_total{{status=\"{status}\"}}");
        assert!(new.metric(&series) > 0.5, "{series}");
    }
}

#[test]
fn a_host_that_is_not_the_authority_is_answered_400_and_an_expectation_by_the_answer() {
    let server = Server::start(&[]);
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        // And nobody is told to continue, who has windows to wait for.
        let path = "/v1/rings/default/records";
        let expecting = request("POST", path, &[("expect", "100-continue")], "x");
        assert_eq!(client.send(expecting).await.expect("an answer").status, 202);
        let other = request("GET", "/healthz", &[("host", "other")], "");
        assert_eq!(client.send(other).await.expect("an answer").status, 400);
    });
}

#[test]
fn a_head_beyond_the_limits_is_answered_431_and_one_below_them_is_taken() {
    let file = "[http]\nmax_header_bytes = '1KiB'\nmax_headers = 12\n";
    let server = Server::with_file(file, &[]);
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        for (bytes, status) in [(900, 200), (1_100, 431)] {
            let long = "x".repeat(bytes);
            let asked = request("GET", "/healthz", &[("x-long", &long)], "");
            let answer = client.send(asked).await.expect("an answer");
            assert_eq!(answer.status, status, "{bytes} bytes");
        }
        let many: Vec<_> = (0..12).map(|n| format!("x-{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
        for (count, status) in [(10, 200), (12, 431)] {
            let asked = request("GET", "/healthz", &many[..count], "");
            assert_eq!(client.send(asked).await.expect("an answer").status, status, "{count}");
        }
    });
}

#[test]
fn what_is_published_is_what_was_answered_202() {
    let server = Server::start(&["--max-payload-bytes", "2000", "--capacity-bytes", "2097152"]);
    let mut answered = BTreeMap::new();
    run(async |tasks| {
        let clients: [_; 3] = [
            Client::connect(server.http, &tasks).await,
            Client::connect(server.http, &tasks).await,
            Client::connect(server.http, &tasks).await,
        ];
        let mut sent = Vec::new();
        for n in 0..1_500_usize {
            let mut payload = format!("{n}/").into_bytes();
            // Some are too large, and some have a body that ends much later than it began.
            payload.resize(payload.len() + n * 7 % 2_100, b'.');
            let answer = clients[n % 3].send(record(payload.clone()));
            sent.push((payload, answer));
        }
        // All at once, however many streams there may be.
        let (payloads, answers): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        let answers: Vec<_> = answers
            .into_iter()
            .map(|answer| {
                let boxed: Pin<Box<dyn Future<Output = _>>> = Box::pin(answer);
                boxed
            })
            .collect();
        for (payload, answer) in payloads.into_iter().zip(join(answers).await) {
            let answer = answer.expect("an answer");
            match answer.status {
                202 => {
                    let seq: u64 =
                        answer.header("aqueduct-seq").expect("a number").parse().expect("it");
                    assert!(answered.insert(seq, payload).is_none(), "{seq} was given twice");
                }
                413 => assert!(payload.len() > 2_000),
                other => panic!("{other}: {answer:?}"),
            }
        }
    });
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut published = BTreeMap::new();
    while let Some((seq, _, payload)) = reader.next() {
        published.insert(seq, payload);
    }
    assert_eq!(published.len(), answered.len());
    assert!(published == answered, "a record differs from what its answer says");
    assert!(published.len() > 1_000);
}

/// Waits for all of them, in whatever order they come.
async fn join<T>(futures: Vec<Pin<Box<dyn Future<Output = T>>>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    let mut futures: Vec<_> = futures.into_iter().map(Some).collect();
    std::future::poll_fn(|cx| {
        for (slot, future) in done.iter_mut().zip(&mut futures) {
            if let Some(pending) = future
                && let Poll::Ready(value) = pending.as_mut().poll(cx)
            {
                (*slot, *future) = (Some(value), None);
            }
        }
        if futures.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[test]
fn a_full_ring_keeps_streams_waiting_within_bounds_and_takes_them_when_it_has_space() {
    let server = Server::start(&["--capacity-bytes", "1024", "--full-wait-ms", "150"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        let mut statuses = Vec::new();
        for _ in 0..12 {
            let answer = client.send(record(vec![1; 64])).await.expect("an answer");
            statuses.push(answer.status);
            if answer.status == 503 {
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
        }
        assert_eq!((&statuses[..10], &statuses[10..]), (&[202; 10][..], &[503; 2][..]));
        let while_full = client.send(request("GET", "/healthz", &[], ""));
        let waiting = client.send(record(vec![2; 64]));
        let release = async {
            assert_eq!(while_full.await.expect("other streams go on").status, 200);
            while reader.next().is_some() {}
            reader.release();
        };
        let (answer, ()) = smol::future::zip(waiting, release).await;
        assert_eq!(answer.expect("an answer").status, 202);
    });
    assert_eq!(reader.next(), Some((10, 0, vec![2; 64])), "what was refused is not there");
    let series = "aqueduct_records_rejected_total{reason=\"full\",ring=\"default\"}";
    assert!(server.metric(series) > 1.5);
}

/// A request with a body that comes as the test says, of announced length.
fn announced(ring: &str, length: usize, body: Told) -> Request<Told> {
    let path = format!("/v1/rings/{ring}/records");
    let length = length.to_string();
    request("POST", &path, &[("content-length", &length)], "").map(|_| body)
}

/// Waits without blocking the clients until the connections keep so many bytes; returns how many.
async fn buffered(server: &Server, least: usize) -> usize {
    let begun = Instant::now();
    loop {
        let bytes = server.metric("aqueduct_buffered_bytes").to_string();
        let bytes = bytes.parse().expect("a whole number");
        if bytes >= least {
            return bytes;
        }
        assert!(begun.elapsed() < PATIENCE, "only {bytes}");
        smol::Timer::after(Duration::from_millis(10)).await;
    }
}

#[test]
fn bodies_that_wait_for_room_do_not_keep_those_that_have_it_from_arriving() {
    const LARGE: usize = 60_000;
    let ring = "capacity_bytes = '128KiB'\nmax_payload_bytes = 60000\nfull_wait_ms = '60s'\n";
    let file = format!("[[ring]]\nname = 'full'\n{ring}[[ring]]\nname = 'free'\n{ring}");
    // Who sends first is late first.
    let server = Server::with_file(&file, &["--body-timeout-ms", "5s"]);
    for _ in 0..2 {
        assert_eq!(server.post("full", &vec![0; LARGE]).status, 202);
    }
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        let (sender, small) = told();
        let small = client.send(announced("free", 1000, small));
        // The first two wait for the ring, the others for what these two hold of the connection.
        let large = (0..8).map(|_| {
            let (sender, body) = told();
            sender.try_send(Bytes::from(vec![1; LARGE])).expect("room");
            Box::pin(client.send(announced("full", LARGE, body)))
                as Pin<Box<dyn Future<Output = _>>>
        });
        let waiting = async {
            join(large.collect()).await;
            panic!("there was no room for them");
        };
        let steps = async {
            buffered(&server, 8 * LARGE).await;
            // Until the windows are used up.
            smol::Timer::after(Duration::from_millis(200)).await;
            sender.try_send(Bytes::from(vec![2; 1000])).expect("room");
            drop(sender);
        };
        let (answer, ()) = smol::future::or(smol::future::zip(small, steps), waiting).await;
        assert_eq!(answer.expect("an answer").status, 202);
    });
}

#[test]
fn a_body_of_announced_length_takes_no_more_memory_than_that() {
    const LARGE: usize = 900_000;
    let flags = ["--capacity-bytes", "2MiB", "--max-payload-bytes", "900000"];
    let server = Server::start(&[&flags[..], &["--full-wait-ms", "60s"]].concat());
    for _ in 0..2 {
        assert_eq!(server.post("default", &vec![0; LARGE]).status, 202);
    }
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        let waiting = async {
            client.send(record(vec![1; LARGE])).await.expect("an answer");
            panic!("there was no room for it");
        };
        let bytes = smol::future::or(buffered(&server, LARGE), waiting).await;
        assert!(bytes < LARGE + (96 << 10), "{bytes}");
    });
}

#[test]
fn a_body_of_unknown_length_is_one_record_and_one_over_the_limit_is_answered_413() {
    let server = Server::start(&["--max-payload-bytes", "1000"]);
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        for (pieces, status) in [(4, 202), (11, 413)] {
            let (sender, body) = told();
            for n in 0..pieces {
                sender.try_send(Bytes::from(vec![n; 100])).expect("room");
            }
            drop(sender);
            let answer = client.send(record("").map(|_| body)).await.expect("an answer");
            assert_eq!(answer.status, status);
        }
    });
    let whole: Vec<u8> = (0..4).flat_map(|n| [n; 100]).collect();
    assert_eq!(Attached::attach(&server.socket, "", "").next(), Some((0, 0, whole)));
}

#[test]
fn a_body_that_stops_is_answered_408_and_one_that_breaks_off_is_counted() {
    let server = Server::start(&["--body-timeout-ms", "100"]);
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        let (sender, body) = told();
        sender.try_send(Bytes::from_static(b"half")).expect("room");
        let answer = client.send(record("").map(|_| body)).await.expect("an answer");
        assert_eq!(answer.status, 408);
        drop(sender);
    });
    let of = |reason: &str| {
        format!("aqueduct_records_rejected_total{{reason=\"{reason}\",ring=\"default\"}}")
    };
    server.eventually("timeout", || server.metric(&of("timeout")) > 0.5);
    let mut stream = server.connect();
    frames::begin(&mut stream, &[]);
    let mut number = 1;
    server.eventually("disconnected", || {
        // A stream that is reset before anybody has looked at it was no request yet.
        let asked = frame(frames::HEADERS, frames::END_HEADERS, number, &asking("POST", RECORDS));
        stream.write_all(&[asked, frame(frames::DATA, 0, number, b"half")].concat()).expect("sent");
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(&frame(frames::RST_STREAM, 0, number, &[0, 0, 0, 8])).expect("sent");
        number += 2;
        server.metric(&of("disconnected")) > 0.5
    });
    assert_eq!(Attached::attach(&server.socket, "", "").next(), None, "half a record is none");
}

#[test]
fn sigterm_sends_goaway_and_lets_the_streams_finish() {
    let mut server = Server::start(&["--drain-timeout-ms", "9000"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        let (sender, body) = told();
        sender.try_send(Bytes::from_static(b"begun, ")).expect("room");
        let answer = client.send(record("").map(|_| body));
        let idle = Client::<Full<Bytes>>::connect(server.http, &tasks).await;
        assert_eq!(idle.send(record("idle")).await.expect("an answer").status, 202);
        let end = async {
            // So that the stream has been looked at when the end begins.
            let get = request("GET", "/healthz", &[], "");
            assert_eq!(idle.send(get).await.expect("an answer").status, 200);
            smol::Timer::after(Duration::from_millis(50)).await;
            server.terminate();
            idle.ended.await.expect("a clean end of what has nothing to do");
            drop(sender);
        };
        let (answer, ()) = smol::future::zip(answer, end).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 202);
        client.ended.await.expect("a clean end");
    });
    assert_eq!(reader.next(), Some((0, 0, b"idle".to_vec())));
    assert_eq!(reader.next(), Some((1, 0, b"begun, ".to_vec())));
    reader.release();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[test]
fn sigterm_during_an_upgrade_does_not_wait_for_a_peer_that_says_nothing() {
    let mut server = Server::start(&["--drain-timeout-ms", "60s", "--header-timeout-ms", "60s"]);
    let mut stream = server.connect();
    let headers =
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
    let asked = format!("GET /healthz HTTP/1.1\r\nhost: t\r\n{headers}\r\n");
    stream.write_all(asked.as_bytes()).expect("sent");
    assert_eq!(common::Response::read(&mut stream).status, 101);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    assert!(!server.log().contains("drain timeout"), "{}", server.log());
    assert_closed(&mut stream);
}

#[test]
fn connections_of_both_versions_share_one_limit() {
    let server = Server::start(&["--max-connections", "2"]);
    run(async |tasks| {
        let held = Client::connect(server.http, &tasks).await;
        assert_eq!(held.send(record("x")).await.expect("an answer").status, 202);
        let mut first = server.connect();
        first.write_all(&as_http1("GET", "/healthz", &[], b"")[..20]).expect("sent");
        server.eventually("both are there", || {
            server.get("/metrics").body.contains("aqueduct_http_connections 2")
        });
        let mut extra = server.connect();
        extra.write_all(frames::PREFACE).expect("sent");
        let told = frames::read_until(&mut extra, frames::GOAWAY);
        let kinds: Vec<_> = told.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [frames::SETTINGS, frames::GOAWAY]);
        assert_eq!(told[1].payload[4..], *b"\0\0\0\x0btoo many connections");
        assert_closed(&mut extra);
        drop(held);
    });
    server.eventually("its place is given back", || {
        server.get("/metrics").body.contains("aqueduct_http_connections 1\n")
    });
}

#[test]
fn what_an_address_keeps_is_kept_of_streams_too() {
    let server = Server::with_file("[http]\nattributes = [':path', ':peer', 'x-id']\n", &[]);
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        let sent = request("POST", RECORDS, &[("x-id", "7")], "x");
        assert_eq!(client.send(sent).await.expect("an answer").status, 202);
    });
    let mut reader = Attached::attach(&server.socket, "", "");
    let event = reader.client.next_with_attributes().expect("it is whole");
    let Event::Record((_, payload, attributes)) = event else { panic!("{event:?}") };
    assert_eq!((payload, attributes.get("x-id")), (&b"x"[..], Some(&b"7"[..])));
    assert_eq!(attributes.get(":path"), Some(RECORDS.as_bytes()));
    assert!(attributes.get(":peer").is_some_and(|peer| peer.starts_with(b"127.0.0.1:")));
}

#[test]
fn an_idle_connection_is_told_to_go() {
    let server = Server::with_file("http.keep_alive_timeout_ms = 100\n", &[]);
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        assert_eq!(client.send(record("x")).await.expect("an answer").status, 202);
        client.ended.await.expect("a clean end");
    });
}

#[test]
fn a_request_that_asks_for_h2c_is_answered_as_the_first_stream() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let asked = b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: upgrade, http2-settings\r\n\
                  upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n";
    stream.write_all(asked).expect("sent");
    let switching =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    let mut answer = vec![0; switching.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer), switching);
    let begin = [frames::PREFACE, &frame(frames::SETTINGS, 0, 0, &[])].concat();
    // In pieces: the server waits for the whole of it.
    for piece in begin.chunks(10) {
        stream.write_all(piece).expect("sent");
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut got = frames::read_until(&mut stream, frames::DATA);
    let body = got.pop().expect("frames");
    assert_eq!((body.stream, &body.payload[..]), (1, &b"ok\n"[..]));
    let acks = got.iter().filter(|frame| frame.kind == frames::SETTINGS && frame.flags == 1);
    assert_eq!(acks.count(), 1, "the client sent one");
    // And the connection goes on.
    let next = frame(
        frames::HEADERS,
        frames::END_HEADERS | frames::END_STREAM,
        3,
        &asking("GET", "/healthz"),
    );
    stream.write_all(&next).expect("sent");
    let got = frames::read_until(&mut stream, frames::DATA);
    assert_eq!(got.last().map(|frame| frame.stream), Some(3));
    assert!(server.metric("aqueduct_http_requests_total{status=\"101\"}") > 0.5);
}

#[test]
fn an_upgrade_with_a_body_or_bad_settings_is_ignored() {
    let server = Server::start(&[]);
    for (headers, body) in [
        ("upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n", &b"body"[..]),
        ("upgrade: h2c\r\nhttp2-settings: AAMAAAB\r\n", b""),
        ("upgrade: h2c\r\nhttp2-settings: AAMAAAB+\r\n", b""),
        ("upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\nhttp2-settings: AAMAAABk\r\n", b""),
        ("upgrade: h2c\r\n", b""),
        ("upgrade: websocket\r\nhttp2-settings: AAMAAABk\r\n", b""),
    ] {
        let headers = format!("connection: upgrade, http2-settings\r\n{headers}");
        let answer = server.exchange(common::record("default", &headers, body));
        assert_eq!(answer.status, 202, "{headers}");
    }
}

#[test]
fn http2_can_be_switched_off() {
    let server = Server::with_file("http.http2 = false\n", &[]);
    let mut stream = server.connect();
    stream.write_all(frames::PREFACE).expect("sent");
    common::Response::read(&mut stream).assert_problem(505);
    let headers =
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
    assert_eq!(server.exchange(common::record("default", headers, b"")).status, 202);
}

#[test]
fn the_address_of_operators_answers_505() {
    let server = Server::start(&["--admin-listen", "127.0.0.1:0"]);
    let answer = Server::exchange_at(server.admin.expect("an address"), frames::PREFACE);
    answer.assert_problem(505);
}
