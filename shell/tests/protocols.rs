//! What is spoken beside HTTP, and HTTP at further addresses: over real sockets, with whatever
//! driver runs.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::reader::Attached;
use common::{Ends, PATIENCE, Response, Server, assert_closed, record};

/// A listening address of the configuration, at any port.
fn listen(protocol: &str, rest: &str) -> String {
    format!("[[listen]]\naddress = '127.0.0.1:0'\nprotocol = '{protocol}'\n{rest}\n")
}

fn exactly(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
}

/// The next record as soon as it is there.
fn next(server: &Server, reader: &mut Attached) -> (u64, u16, Vec<u8>) {
    let begun = Instant::now();
    loop {
        if let Some(record) = reader.next() {
            return record;
        }
        reader.release();
        assert!(begun.elapsed() < PATIENCE, "no record; log:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn redis_commands_are_answered_in_their_order_and_their_records_are_in_the_ring() {
    let server = Server::with_file(&listen("resp", ""), &[]);
    let mut stream = server.speak("resp");
    let commands = b"*1\r\n$4\r\nPING\r\n\
        *5\r\n$4\r\nXADD\r\n$7\r\ndefault\r\n$1\r\n*\r\n$4\r\ndata\r\n$5\r\nhello\r\n\
        *4\r\n$5\r\nRPUSH\r\n$7\r\ndefault\r\n$1\r\na\r\n$2\r\nbc\r\n\
        *2\r\n$4\r\nXLEN\r\n$7\r\ndefault\r\n";
    // In pieces, as a network may deliver it.
    for piece in commands.chunks(7) {
        stream.write_all(piece).expect("sent");
        std::thread::sleep(Duration::from_millis(1));
    }
    exactly(&mut stream, b"+PONG\r\n$");
    let mut reader = Attached::attach(&server.socket, "", "");
    for (seq, payload) in [(0, &b"hello"[..]), (1, b"a"), (2, b"bc")] {
        assert_eq!(next(&server, &mut reader), (seq, 0, payload.to_vec()));
    }
    stream.write_all(b"*1\r\n$4\r\nQUIT\r\n").expect("sent");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the end");
    assert!(rest.ends_with("+OK\r\n"), "{rest}");
    assert!(rest.contains(":2\r\n:3\r\n") || rest.contains(":3\r\n:3\r\n"), "{rest}");
}

#[test]
fn many_pipelined_commands_of_many_connections_are_all_taken_exactly_once() {
    let server = Server::with_file(&listen("resp", ""), &[]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let clients: Vec<_> = (0..8_u8)
        .map(|client| {
            let mut stream = server.speak("resp");
            std::thread::spawn(move || {
                let mut commands = Vec::new();
                for n in 0..2000 {
                    let payload = format!("{client}/{n:04}");
                    let command =
                        format!("*3\r\n$5\r\nLPUSH\r\n$7\r\ndefault\r\n$6\r\n{payload}\r\n");
                    commands.extend_from_slice(command.as_bytes());
                }
                let mut writer = stream.try_clone().expect("a second handle");
                let writing = std::thread::spawn(move || {
                    writer.write_all(&commands).expect("sent");
                    writer.shutdown(Shutdown::Write).expect("half closed");
                });
                let mut answers = String::new();
                stream.read_to_string(&mut answers).expect("all answers");
                writing.join().expect("no panic");
                answers.lines().count()
            })
        })
        .collect();
    let mut of_client = [0; 8];
    for seq in 0..16_000 {
        let (got, _, payload) = next(&server, &mut reader);
        assert_eq!(got, seq);
        let client = usize::from(payload[0] - b'0');
        let expected = format!("{client}/{:04}", of_client[client]);
        assert_eq!(String::from_utf8_lossy(&payload), expected);
        of_client[client] += 1;
    }
    for client in clients {
        assert_eq!(client.join().expect("no panic"), 2000);
    }
}

#[test]
fn an_mqtt_publisher_gets_its_acknowledgement_and_topics_choose_the_ring() {
    let topics = "topics = [{ filter = 'a/+', ring = 'one', type = 7 }, \
                  { filter = '#', ring = 'two' }]";
    let server = Server::with_file(&listen("mqtt", topics), &["--ring", "one", "--ring", "two"]);
    let mut stream = server.speak("mqtt");
    // CONNECT of MQTT 3.1.1, clean session, client identifier "t".
    stream.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01t").expect("sent");
    exactly(&mut stream, b"\x20\x02\x00\x00");
    // PUBLISH with QoS 1 and packet identifiers 1 and 2, then PINGREQ and DISCONNECT.
    stream.write_all(b"\x32\x0a\x00\x03a/b\x00\x01one").expect("sent");
    exactly(&mut stream, b"\x40\x02\x00\x01");
    let mut one = Attached::attach(&server.socket, "one", "");
    assert_eq!(one.next(), Some((0, 7, b"one".to_vec())), "acknowledged, so it is there");
    stream.write_all(b"\x32\x08\x00\x01c\x00\x02two\xc0\x00\xe0\x00").expect("sent");
    exactly(&mut stream, b"\x40\x02\x00\x02\xd0\x00");
    let mut two = Attached::attach(&server.socket, "two", "");
    assert_eq!(two.next(), Some((0, 0, b"two".to_vec())));
    assert_closed(&mut stream);
}

#[test]
fn the_will_of_a_publisher_that_takes_no_answers_is_published_at_once() {
    let text = ["[http]\nbody_timeout_ms = 200\n", &listen("mqtt", "")].concat();
    let mut server = Server::with_file(&text, &[]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut stream = server.speak("mqtt");
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096).expect("a small buffer");
    // CONNECT of MQTT 3.1.1 without keep-alive, with the will "gone" for the topic "w".
    stream
        .write_all(b"\x10\x16\x00\x04MQTT\x04\x06\x00\x00\x00\x01t\x00\x01w\x00\x04gone")
        .expect("sent");
    exactly(&mut stream, b"\x20\x02\x00\x00");
    // PINGREQ until the answers have filled every buffer and the listener has given up. A pause of
    // a busy machine is neither.
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    let pings = b"\xc0\x00".repeat(32 << 10);
    while stream.write_all(&pings).is_ok() {}
    assert_eq!(next(&server, &mut reader), (0, 0, b"gone".to_vec()));
    reader.release();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.log().contains("its peer takes no bytes"), "log:\n{}", server.log());
    // The loop checks by itself that it locks no ring while it waits.
    assert!(!server.log().contains("panicked"), "log:\n{}", server.log());
}

#[test]
fn lines_frames_and_counted_frames_are_records() {
    let text = [
        listen("lines", "type = 1"),
        listen("nul", "type = 2"),
        listen("octets", "type = 3\nmax_message_bytes = 10\noversize = 'skip'"),
    ]
    .concat();
    let server = Server::with_file(&text, &[]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut seq = 0;
    for (protocol, type_tag, bytes) in [
        ("lines", 1, &b"a\nbc\r\n\nlast\nhalf"[..]),
        ("nul", 2, b"a\0bc\0\0last\0half"),
        ("octets", 3, b"1 a2 bc12 skipped over4 last4 hal"),
    ] {
        let mut stream = server.speak(protocol);
        for piece in bytes.chunks(3) {
            stream.write_all(piece).expect("sent");
            std::thread::sleep(Duration::from_millis(1));
        }
        stream.shutdown(Shutdown::Write).expect("half closed");
        for payload in ["a", "bc", "last"] {
            let expected = (seq, type_tag, payload.as_bytes().to_vec());
            assert_eq!(next(&server, &mut reader), expected, "{protocol}");
            seq += 1;
        }
        assert_closed(&mut stream);
    }
    let skipped = "aqueduct_records_rejected_total{reason=\"too_large\",ring=\"default\"}";
    assert!((server.metric(skipped) - 1.0).abs() < 0.5);
    let half = "aqueduct_records_rejected_total{reason=\"disconnected\",ring=\"default\"}";
    assert!((server.metric(half) - 3.0).abs() < 0.5, "half a frame is none, and is counted");
}

#[test]
fn a_full_ring_makes_lines_wait_without_loss_and_without_end() {
    for full_wait in ["0", "50"] {
        lines_wait(full_wait);
    }
}

fn lines_wait(full_wait: &str) {
    let flags = ["--capacity-bytes", "4096", "--full-wait-ms", full_wait];
    let server = Server::with_file(&listen("lines", ""), &flags);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut stream = server.speak("lines");
    let writing = std::thread::spawn(move || {
        for n in 0..20_000 {
            stream.write_all(format!("{n:06}\n").as_bytes()).expect("sent in the end");
        }
    });
    // Longer than any request would wait.
    std::thread::sleep(Duration::from_millis(300));
    for seq in 0..20_000_u64 {
        let (got, _, payload) = next(&server, &mut reader);
        assert_eq!((got, payload), (seq, format!("{seq:06}").into_bytes()));
        if seq % 16 == 0 {
            reader.release();
        }
    }
    writing.join().expect("no panic");
}

#[test]
fn http_is_served_at_further_addresses_and_unix_sockets() {
    let scratch = common::Scratch::new();
    let path = scratch.path("http.sock");
    let text = format!(
        "{}[[listen]]\naddress = 'unix:{}'\nprotocol = 'http'\n",
        listen("http", ""),
        path.display()
    );
    let mut server = Server::with_file(&text, &[]);
    let mut streams = [server.connect(), server.speak_at_last("http")];
    assert_ne!(streams[0].peer_addr().expect("open"), streams[1].peer_addr().expect("open"));
    for stream in &mut streams {
        stream.write_all(&record("default", "", b"x")).expect("sent");
        assert_eq!(Response::read(stream).status, 202);
    }
    let mut stream = UnixStream::connect(&path).expect("accepted");
    stream.write_all(&record("default", "connection: close\r\n", b"by path")).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the end");
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("{\"seq\":2,"), "{answer}");
    server.terminate();
    assert!(server.wait().success());
    assert!(!path.exists(), "the socket file is removed");
}

#[test]
fn the_main_address_may_be_a_unix_socket() {
    let scratch = common::Scratch::new();
    let path = scratch.path("main.sock");
    let listen = format!("unix:{}", path.display());
    let server = Server::start(&["--listen", &listen]);
    assert_eq!(server.at("http"), listen);
    let mut stream = UnixStream::connect(&path).expect("accepted");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the end");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
}

#[test]
fn a_half_closed_client_gets_every_answer() {
    let server = Server::start(&["--capacity-bytes", "1MiB"]);
    for n in 0..100_u8 {
        let mut stream = server.connect();
        stream.write_all(&record("default", "", &[n])).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(Response::read(&mut stream).status, 202);
        assert_closed(&mut stream);
    }
    let mut stream = server.connect();
    let requests: Vec<u8> = (0..1000).flat_map(|_| record("default", "", b"x")).collect();
    let mut writer = stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        writer.write_all(&requests).expect("sent");
        writer.shutdown(Shutdown::Write).expect("half closed");
    });
    for seq in 100..1100 {
        let response = Response::read(&mut stream);
        assert_eq!(response.header("aqueduct-seq"), Some(seq.to_string().as_str()));
    }
    writing.join().expect("no panic");
    assert_closed(&mut stream);
}

#[test]
fn a_batch_waits_for_room_and_goes_in_whole() {
    // 32 granules; a record of 64 bytes takes 3.
    let server = Server::start(&["--capacity-bytes", "1024", "--full-wait-ms", "60000"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut stream = server.connect();
    for _ in 0..8 {
        stream.write_all(&record("default", "", &[1; 64])).expect("sent");
        assert_eq!(Response::read(&mut stream).status, 202);
    }
    let ndjson = "content-type: application/x-ndjson\r\n";
    let mut batch = server.connect();
    batch
        .write_all(&record("default", ndjson, b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n"))
        .expect("sent");
    let mut after = server.connect();
    std::thread::sleep(Duration::from_millis(50));
    after.write_all(&record("default", "", b"after")).expect("sent");
    for seq in 0..8 {
        assert_eq!(next(&server, &mut reader).0, seq);
    }
    reader.release();
    let answer = Response::read(&mut batch);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.body.contains("\"first\":8,\"last\":10,\"taken\":3"), "{answer:?}");
    assert_eq!(Response::read(&mut after).header("aqueduct-seq"), Some("11"));
    for seq in 8..12 {
        assert_eq!(next(&server, &mut reader).0, seq);
    }
    // One that can never fit is refused, and nothing of it is there.
    let large = "{\"a\":1}\n".repeat(100);
    batch.write_all(&record("default", ndjson, large.as_bytes())).expect("sent");
    Response::read(&mut batch).assert_problem(413);
    assert_eq!(reader.next(), None);
}

#[test]
fn a_batch_over_a_ring_that_stays_full_is_refused_whole() {
    let server = Server::start(&["--capacity-bytes", "1024", "--full-wait-ms", "100"]);
    let mut stream = server.connect();
    for _ in 0..9 {
        stream.write_all(&record("default", "", &[1; 64])).expect("sent");
        assert_eq!(Response::read(&mut stream).status, 202);
    }
    let ndjson = "content-type: application/x-ndjson\r\n";
    let three = b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";
    stream.write_all(&record("default", ndjson, three)).expect("sent");
    let refused = Response::read(&mut stream);
    refused.assert_problem(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut records = 0;
    while reader.next().is_some() {
        records += 1;
    }
    assert_eq!(records, 9);
}

#[test]
fn after_sigterm_new_connections_are_refused_while_open_ones_finish() {
    let mut server = Server::start(&["--drain-timeout-ms", "10000"]);
    let mut stream = server.connect();
    let request = record("default", "", b"half");
    stream.write_all(&request[..request.len() - 2]).expect("sent");
    std::thread::sleep(Duration::from_millis(50));
    server.terminate();
    server.eventually("nobody accepts", || TcpStream::connect(server.http).is_err());
    stream.write_all(&request[request.len() - 2..]).expect("sent");
    let response = Response::read(&mut stream);
    assert_eq!((response.status, response.header("connection")), (202, Some("close")));
    assert!(server.wait().success());
}

#[test]
fn connections_beyond_the_limit_are_refused_in_their_own_words() {
    let text = [listen("resp", ""), listen("lines", "")].concat();
    let server = Server::with_file(&text, &["--max-connections", "1"]);
    let mut held = server.speak("resp");
    held.write_all(b"PING\r\n").expect("sent");
    exactly(&mut held, b"+PONG\r\n");
    let mut extra = server.speak("resp");
    exactly(&mut extra, b"-ERR max number of clients reached\r\n");
    assert_closed(&mut extra);
    assert_closed(&mut server.speak("lines"));
    Response::read(&mut server.connect()).assert_problem(503);
}

#[test]
fn a_syslog_connection_may_be_silent_for_long_and_one_of_http_may_not() {
    let times = "[http]\nheader_timeout_ms = 100\nkeep_alive_timeout_ms = 100\n";
    let server = Server::with_file(&[times, &listen("lines", "")].concat(), &[]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut lines = server.speak("lines");
    // One that has sent nothing yet, and one that waits between two requests.
    assert_closed(&mut server.connect());
    let mut stream = server.connect();
    stream.write_all(&record("default", "", b"one")).expect("sent");
    assert_eq!(Response::read(&mut stream).status, 202);
    assert_closed(&mut stream);
    assert_eq!(next(&server, &mut reader), (0, 0, b"one".to_vec()));
    std::thread::sleep(Duration::from_millis(200));
    lines.write_all(b"still here\n").expect("sent");
    assert_eq!(next(&server, &mut reader), (1, 0, b"still here".to_vec()));
}

#[test]
fn keys_of_another_protocol_and_unknown_rings_are_refused_at_the_start() {
    for (text, part) in [
        (listen("http", "ring = 'default'"), "listen.ring"),
        (listen("lines", "topics = []"), "listen.topics"),
        (listen("lines", "ring = 'other'"), "one of the rings default"),
        (listen("mqtt", "topics = [{ filter = 'a/#/b' }]"), "an MQTT topic filter"),
        (listen("gopher", ""), "gopher"),
        ("[[listen]]\naddress = 'unix:'\nprotocol = 'http'\n".to_owned(), "unix:"),
    ] {
        let scratch = common::Scratch::new();
        let file = scratch.path("aqueduct.toml");
        std::fs::write(&file, &text).expect("written");
        let output =
            common::command().args(["serve", "--config"]).arg(&file).ended().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {error}");
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn several_loops_share_the_connections_and_every_record_is_there_once() {
    let text = ["[ingest]\nloops = 3\n", &listen("resp", "")].concat();
    let server = Server::with_file(&text, &["--ring", "one", "--ring", "two"]);
    let clients: Vec<_> = (0..12)
        .map(|client| {
            let mut stream = server.connect();
            std::thread::spawn(move || {
                for n in 0..100 {
                    // Both rings in both orders, so that loops would meet in a deadlock if they
                    // could.
                    let (first, second) =
                        if (client + n) % 2 == 0 { ("one", "two") } else { ("two", "one") };
                    let requests = [record(first, "", b"x"), record(second, "", b"x")].concat();
                    stream.write_all(&requests).expect("sent");
                    assert_eq!(Response::read(&mut stream).status, 202);
                    assert_eq!(Response::read(&mut stream).status, 202);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no panic");
    }
    for ring in ["one", "two"] {
        let mut reader = Attached::attach(&server.socket, ring, "");
        for seq in 0..1200 {
            assert_eq!(next(&server, &mut reader).0, seq);
        }
        assert_eq!(reader.next(), None);
    }
}
