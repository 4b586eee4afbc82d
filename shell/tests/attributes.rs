//! What the listener keeps with records, from a request, a message or a line to the C program that
//! prints it. The C program is built with `make` by the test itself.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use aqueduct_client::{Event, Options, Start};
use common::control::{Control, hello, hello_of_kind};
use common::{Response, Server, record};

const CONFIG: &str = "
    [http]
    attributes = [':path', ':peer', 'content-type', 'traceparent']
    [[listen]]
    address = '127.0.0.1:0'
    protocol = 'mqtt'
    attributes = [':topic', 'content-type', 'user:*']
    [[listen]]
    address = '127.0.0.1:0'
    protocol = 'lines'
    attributes = [':peer']
    [[listen]]
    address = '127.0.0.1:0'
    protocol = 'resp'
    attributes = [':peer']
";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Runs `aqd-tail`, which is built first, over the oldest `count` records.
fn tail(server: &Server, count: usize) -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../c");
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-attributes");
    let program = build.join("tail");
    let mut make = Command::new("make");
    make.arg("-C").arg(sources).arg(format!("BUILD={}", build.display())).arg(&program);
    let output = make.output().expect("make is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut tail = Command::new(program);
    tail.args(["-s", "oldest", "-q", "-f", "%p|%a\\n", "-n"]).arg(count.to_string());
    let printed = tail.arg(&server.socket).output().expect("it runs");
    let errors = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{errors}\nlog:\n{}", server.log());
    String::from_utf8(printed.stdout).expect("it escapes what is no text")
}

#[test]
fn a_c_program_prints_what_was_kept_of_requests_messages_lines_and_commands() {
    let server = Server::with_file(CONFIG, &[]);
    let mut http = server.connect();
    let headers = format!("Content-Type: text/plain\r\nx-other: 1\r\ntraceparent: {TRACE}\r\n");
    http.write_all(&record("default", &headers, b"posted")).expect("sent");
    assert_eq!(Response::read(&mut http).status, 202);
    let mut mqtt = server.speak("mqtt");
    mqtt.write_all(b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01c").expect("sent");
    mqtt.write_all(b"\x32\x18\0\x03a/b\0\x07\x07\x26\0\x01k\0\x01vpublished").expect("sent");
    let mut answers = [0; 24];
    mqtt.read_exact(&mut answers).expect("CONNACK and PUBACK");
    assert_eq!(answers[20..], [0x40, 2, 0, 7]);
    let mut resp = server.speak("resp");
    resp.write_all(b"RPUSH default pushed\r\n").expect("sent");
    let mut answer = [0; 4];
    resp.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b":3\r\n");
    let mut lines = server.speak("lines");
    lines.write_all(b"written\n").expect("sent");
    let at = |stream: &TcpStream| stream.local_addr().expect("it is connected").to_string();
    let expected = format!(
        "posted|:peer={} :path=/v1/rings/default/records content-type=text/plain traceparent={TRACE}\n\
         published|:topic=a/b user:k=v\n\
         pushed|:peer={}\n\
         written|:peer={}\n",
        at(&http),
        at(&resp),
        at(&lines),
    );
    assert_eq!(tail(&server, 4), expected);
}

#[test]
fn a_rust_program_reads_them_and_batches_have_those_of_their_request() {
    let server = Server::with_file("[http]\nattributes = ['x-id']\n", &[]);
    let headers = "content-type: application/x-ndjson\r\nx-id: 7\r\nx-id: 8\r\n";
    assert_eq!(server.exchange(record("default", headers, b"one\ntwo\n")).status, 202);
    let options = Options::new(&server.socket).start(Start::Oldest);
    let mut client = options.attach().expect("it attaches");
    for expected in [&b"one"[..], b"two"] {
        let event = client.next_with_attributes().expect("it is whole");
        let Event::Record((_, payload, attributes)) = event else { panic!("{event:?}") };
        assert_eq!(payload, expected);
        assert_eq!(attributes.get("x-id"), Some(&b"7"[..]));
        assert_eq!(attributes.map(|one| one.value).last(), Some(&b"8"[..]));
    }
}

#[test]
fn what_cannot_be_kept_whole_is_refused() {
    let config = "[http]\nattributes = ['x-id']\n[[ring]]\nname = 'default'\n\
                  max_payload_bytes = 64\n";
    let server = Server::with_file(config, &[]);
    let long = format!("x-id: {}\r\n", "v".repeat(4096));
    server.exchange(record("default", &long, b"")).assert_problem(431);
    let beside = record("default", "x-id: 7\r\n", &[b'x'; 49]);
    server.exchange(beside).assert_problem(413);
    let beside = record("default", "x-id: 7\r\n", &[b'x'; 48]);
    assert_eq!(server.exchange(beside).status, 202);
}

#[test]
fn a_reader_that_knows_no_attributes_may_not_attach_where_records_have_them() {
    let server = Server::with_file("[http]\nattributes = [':peer']\n", &[]);
    for kind in 1..=4 {
        let mut old = hello_of_kind(kind, "", "");
        old[10] = 1;
        let (status, message) = Control::refused(&server.socket, &old);
        assert_eq!(
            (status, &*message),
            (2, "records of this ring have attributes: ABI 1.2 or later")
        );
    }
    let plain = Server::start(&[]);
    let mut old = hello("", "");
    old[10] = 1;
    let control = Control::connect(&plain.socket);
    control.send(&old);
    assert_eq!(control.welcome().status, 0);
}
