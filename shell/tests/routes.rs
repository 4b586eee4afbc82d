//! Configured routes over real sockets.

mod common;

use std::io::Write;

use common::reader::Attached;
use common::{Ends, Response, Scratch, Server, command, record};

const FILE: &str = r#"
[[ring]]
name = "erp"
max_payload_bytes = "64KiB"

[[ring]]
name = "audit"
max_payload_bytes = "64KiB"

[[route]]
path = "/crm/users/{id}"
ring = "erp"
type = 7
units = ["access_log", { unit = "request_id", keep = true }, { unit = "json", minify = true }]

[[route]]
method = ["PUT", "PATCH"]
host = "crm.example"
path = "/both"
ring = ["erp", "audit"]
attributes = ["x-id", ":param.nothing"]
"#;

fn post(path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: t\r\n{lines}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn a_route_carries_what_its_units_made_of_a_body_however_large_it_is() {
    let server = Server::with_file(&FILE.replace(", \":param.nothing\"", ""), &[]);
    let mut stream = server.connect();
    // Small ones are changed on the loop, large ones by a worker; the order stays.
    let large = format!("[ {} ]", vec!["\"x\" "; 8000].join(" , "));
    let mut sent = Vec::new();
    for (index, body) in ["{ \"a\" : 1 }", &large, "[ ]", &large].into_iter().enumerate() {
        let lines = format!("x-request-id: r{index}\r\n");
        sent.extend(post(&format!("/crm/users/{index}"), &lines, body.as_bytes()));
    }
    stream.write_all(&sent).expect("sent");
    for seq in 0..4 {
        let response = Response::read(&mut stream);
        assert_eq!(response.status, 202, "{response:?}");
        assert_eq!(response.header("aqueduct-seq"), Some(&*seq.to_string()));
        assert_eq!(response.header("x-request-id"), Some(&*format!("r{seq}")));
    }
    let minified = format!("[{}]", vec!["\"x\""; 8000].join(","));
    let mut reader = Attached::attach(&server.socket, "erp", "default");
    for (seq, payload) in ["{\"a\":1}", &minified, "[]", &minified].into_iter().enumerate() {
        assert_eq!(reader.next(), Some((seq as u64, 7, payload.as_bytes().to_vec())));
    }
    server.eventually("the access log is written", || {
        let log = server.log();
        log.contains("client=127.0.0.1") && log.contains("route=\"/crm/users/{id}\"")
    });
    stream.write_all(&post("/crm/users/x", "", b"{\"a\":1,}")).expect("sent");
    let response = Response::read(&mut stream);
    response.assert_problem(400);
    assert!(response.body.contains("trailing comma at line 1 column 8"), "{response:?}");
    assert!(response.header("x-request-id").is_some_and(|id| id.len() == 32), "{response:?}");
    let series = "aqueduct_records_rejected_total{reason=\"malformed\",ring=\"erp\"}";
    assert!((server.metric(series) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_record_of_two_rings_is_in_both_with_what_the_route_keeps() {
    let server = Server::with_file(&FILE.replace(", \":param.nothing\"", ""), &[]);
    let request =
        "PUT /b%6Fth HTTP/1.1\r\nhost: CRM.example:80\r\nx-id: 9\r\ncontent-length: 3\r\n\r\nall";
    let response = server.exchange(request);
    assert_eq!(response.status, 202, "{response:?}");
    assert!(response.body.contains("\"rings\":[{\"ring\":\"erp\",\"seq\":0,"), "{response:?}");
    for ring in ["erp", "audit"] {
        let mut reader = Attached::attach(&server.socket, ring, "default");
        assert_eq!(reader.next(), Some((0, 0, b"all".to_vec())), "{ring}");
    }
    let other = server.exchange("PUT /both HTTP/1.1\r\nhost: other\r\ncontent-length: 0\r\n\r\n");
    other.assert_problem(404);
    assert!(other.body.contains("other hosts"), "{other:?}");
}

#[test]
fn a_record_of_two_rings_may_be_sent_again_and_wait_for_the_readers_of_both() {
    let file = "[[ring]]\nname = \"a\"\n[[ring]]\nname = \"b\"\n\
                [[route]]\npath = \"/x\"\nring = [\"a\", \"b\"]\n\
                [[route]]\npath = \"/y\"\nring = [\"a\", \"b\"]\nacknowledge = \"consumed\"\n\
                acknowledge_timeout_ms = 300\n";
    let server = Server::with_file(file, &[]);
    let key = "idempotency-key: k\r\n";
    let first = server.exchange(post("/x", key, b"one"));
    let again = server.exchange(post("/x", key, b"one"));
    assert_eq!((first.status, again.status), (202, 202), "{again:?}");
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(first.body, again.body, "with the numbers in both rings");
    server.exchange(post("/x", key, b"two")).assert_problem(422);
    server.exchange(record("a", key, b"one")).assert_problem(422);
    // One has read it and the other has not, then both.
    let mut readers = ["a", "b"].map(|ring| Attached::attach(&server.socket, ring, "default"));
    assert_eq!(readers[0].next(), Some((0, 0, b"one".to_vec())));
    assert_eq!(readers[1].next(), Some((0, 0, b"one".to_vec())));
    assert_eq!(readers.each_mut().map(Attached::next), [None, None], "none is there twice");
    let mut stream = server.connect();
    for (released, status) in [(1, 504), (2, 202)] {
        stream.write_all(&post("/y", "", b"three")).expect("sent");
        for reader in &mut readers {
            server.eventually("it is read", || reader.next().is_some());
        }
        for reader in &mut readers[..released] {
            reader.release();
        }
        let response = Response::read(&mut stream);
        assert_eq!(response.status, status, "{response:?}");
        assert!(response.body.contains("\"rings\":[{\"ring\":\"a\",\"seq\":"), "{response:?}");
    }
    for (status, count) in [(202, 3.0), (504, 1.0)] {
        let series = format!("aqueduct_http_requests_total{{status=\"{status}\"}}");
        assert!((server.metric(&series) - count).abs() < f64::EPSILON, "{status}");
    }
}

#[test]
fn a_full_ring_takes_a_record_into_no_other_one() {
    let file = "[[ring]]\nname = \"a\"\ncapacity_bytes = 128\nfull_wait_ms = 50\n\
                [[ring]]\nname = \"b\"\ncapacity_bytes = 4096\nfull_wait_ms = 50\n\
                [[route]]\npath = \"/x\"\nring = [\"b\", \"a\"]\n";
    let server = Server::with_file(file, &[]);
    assert_eq!(server.exchange(post("/x", "", b"one")).status, 202);
    let response = server.exchange(post("/x", "", b"two"));
    response.assert_problem(503);
    assert!(response.body.contains("in none of them"), "{response:?}");
    for ring in ["a", "b"] {
        let series = format!("aqueduct_records_total{{ring=\"{ring}\"}}");
        assert!((server.metric(&series) - 1.0).abs() < f64::EPSILON, "{ring}");
    }
    let mut reader = Attached::attach(&server.socket, "a", "default");
    assert_eq!(reader.next().map(|record| record.0), Some(0));
    reader.release();
    assert_eq!(server.exchange(post("/x", "", b"three")).status, 202);
}

#[test]
fn routes_that_cannot_be_are_refused_with_their_line() {
    let cases = [
        ("path = \"x\"", "toml:2: ", "a path as"),
        ("path = \"/v1/x\"", "toml:2: ", "not the listener's own"),
        ("path = \"/{a}/{a}\"", "toml:2: ", "names of parameters"),
        ("path = \"/x\"\nmethod = \"GET\"", "toml:3: ", "POST, PUT, PATCH"),
        ("path = \"/x\"\nring = \"other\"", "toml:3: ", "one of the rings default"),
        ("path = \"/x\"\nunits = [\"nothing\"]", "toml:3: ", "one of access_log"),
        (
            "path = \"/x\"\nunits = [{ unit = \"json\", rate = 1 }]",
            "toml:3: ",
            "for `json`: minify",
        ),
        ("path = \"/x\"\nunits = [{ unit = \"rate_limit\" }]", "toml:3: ", "requests a second"),
        (
            "path = \"/x\"\nunits = [{ unit = \"body_limit\", max_bytes = \"200MiB\" }, \"json\"]",
            "toml:3: ",
            "half of ingest.max_buffered_bytes",
        ),
        ("path = \"/x\"\nattributes = [\":param.id\"]", "toml:3: ", ":param.NAME"),
        ("path = \"/x\"\nhost = \"a:80\"", "toml:3: ", "without a port"),
        ("path = \"/x\"\nunits = [\"authenticate\"]", "toml:3: ", "credentials.file"),
        ("path = \"/x\"\nauthenticate = true", "toml:3: ", "credentials.file"),
        (
            "path = \"/x\"\nauthenticate = false\nunits = [\"authenticate\"]",
            "toml:3: ",
            "true with the unit",
        ),
        (
            "path = \"/x/{a}\"\n[[route]]\npath = \"/x/{b}\"",
            "toml:2: route.path",
            "takes the same requests",
        ),
    ];
    for (table, place, allowed) in cases {
        let scratch = Scratch::new();
        let file = scratch.path("aqueduct.toml");
        std::fs::write(&file, format!("[[route]]\n{table}\n")).expect("written");
        let output = command().arg("serve").arg("--config").arg(&file).ended().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{table}: {said}");
        assert!(said.contains(place) && said.contains(allowed), "{table}: {said}");
    }
}

fn keyed(ring: &str, key: &str, body: &[u8]) -> Vec<u8> {
    common::record(ring, &format!("idempotency-key: \"{key}\"\r\nconnection: close\r\n"), body)
}

#[test]
fn a_request_that_is_sent_again_with_its_key_is_answered_as_the_first() {
    let file = "[ingest]\nloops = 2\nidempotency_keys = 3\n\
                [[ring]]\nname = \"a\"\n[[ring]]\nname = \"b\"\n";
    let server = Server::with_file(file, &[]);
    // Of many at once, on connections of both loops, one is appended.
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..8).map(|_| scope.spawn(|| server.exchange(keyed("a", "same", b"body")))).collect();
        all.into_iter().map(|one| one.join().expect("answered")).collect()
    });
    for answer in &answers {
        assert_eq!((answer.status, answer.header("aqueduct-seq")), (202, Some("0")), "{answer:?}");
        assert_eq!(answer.body, answers[0].body);
    }
    let replayed = answers.iter().filter(|it| it.header("idempotent-replayed").is_some()).count();
    assert_eq!(replayed, 7);
    let conflict = server.exchange(keyed("a", "same", b"other"));
    conflict.assert_problem(422);
    // A client that dies before it reads its answer.
    let mut dying = server.connect();
    dying.write_all(&keyed("a", "dying", b"last words")).expect("sent");
    server.eventually("the record is published", || {
        server.metric("aqueduct_records_total{ring=\"a\"}") > 1.5
    });
    common::reset(dying);
    let again = server.exchange(keyed("a", "dying", b"last words"));
    assert_eq!((again.status, again.header("aqueduct-seq")), (202, Some("1")), "{again:?}");
    // Each ring has its own window, and a full one forgets its oldest key.
    assert_eq!(server.exchange(keyed("b", "same", b"other")).status, 202);
    for key in ["third", "fourth"] {
        assert_eq!(server.exchange(keyed("a", key, b"")).status, 202);
    }
    let forgotten = server.exchange(keyed("a", "same", b"body"));
    assert_eq!((forgotten.status, forgotten.header("aqueduct-seq")), (202, Some("4")));
    for (outcome, count) in [("repeated", 8.0), ("conflict", 1.0), ("forgotten", 2.0)] {
        let series = format!("aqueduct_idempotency_keys_total{{outcome=\"{outcome}\",ring=\"a\"}}");
        assert!((server.metric(&series) - count).abs() < f64::EPSILON, "{outcome}");
    }
    let mut reader = Attached::attach(&server.socket, "a", "default");
    let payloads: Vec<_> = std::iter::from_fn(|| reader.next()).map(|record| record.2).collect();
    assert_eq!(payloads, [&b"body"[..], b"last words", b"", b"", b"body"]);
}

#[test]
fn an_answer_that_waits_for_a_reader_comes_when_it_has_released_the_record() {
    let file = "[[ring]]\nname = \"erp\"\nsubscriptions = [\"pricing\", \"audit\"]\n\
                [[route]]\npath = \"/x\"\nacknowledge = \"consumed\"\n\
                consumed_by = \"pricing\"\nacknowledge_timeout_ms = 300\n\
                units = [\"access_log\"]\n";
    let server = Server::with_file(file, &[]);
    // Nobody reads: the record is there all the same, and the answer says so.
    let begun = std::time::Instant::now();
    let late = server.exchange(post("/x", "connection: close\r\n", b"first"));
    late.assert_problem(504);
    assert!(begun.elapsed().as_millis() >= 300);
    assert_eq!(late.header("aqueduct-seq"), Some("0"), "{late:?}");
    assert!(late.body.contains("stays published"), "{late:?}");
    server.eventually("it is logged as it was answered", || server.log().contains("status=504"));
    let mut pricing = Attached::attach(&server.socket, "erp", "pricing");
    let mut stream = server.connect();
    let wait = "aqueduct-acknowledge: consumed;by=pricing;within=10s\r\n";
    stream.write_all(&post("/x", wait, b"second")).expect("sent");
    // One that waits for nothing is answered after the one before it on its connection.
    stream.write_all(&post("/x", "aqueduct-acknowledge: published\r\n", b"third")).expect("sent");
    stream.set_nonblocking(true).expect("set");
    server.eventually("all are published", || {
        server.metric("aqueduct_records_total{ring=\"erp\"}") > 2.5
    });
    assert_eq!(pricing.next().map(|record| record.2), Some(b"first".to_vec()));
    assert_eq!(pricing.next().map(|record| record.2), Some(b"second".to_vec()));
    std::thread::sleep(std::time::Duration::from_millis(50));
    let mut byte = [0];
    let early = std::io::Read::read(&mut stream, &mut byte).map_err(|error| error.kind());
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock), "it is read, and not released");
    pricing.release();
    assert_eq!(pricing.next().map(|record| record.2), Some(b"third".to_vec()));
    stream.set_nonblocking(false).expect("set");
    for seq in ["1", "2"] {
        let response = Response::read(&mut stream);
        assert_eq!((response.status, response.header("aqueduct-seq")), (202, Some(seq)));
    }
    // Every reader: nobody attends to `audit`.
    let wait = "aqueduct-acknowledge: consumed;within=100ms\r\n";
    pricing.release();
    let all = server.exchange(common::record("erp", wait, b"fourth"));
    all.assert_problem(504);
    assert!(all.body.contains("not every reader"), "{all:?}");
}

/// `aqd-tail`, which is built first; ended when dropped.
struct Tail(std::process::Child);

impl Tail {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../c");
        let build = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-routes");
        let program = build.join("tail");
        let mut make = std::process::Command::new("make");
        make.arg("-C").arg(sources).arg(format!("BUILD={}", build.display())).arg(&program);
        let output = make.output().expect("make is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut tail = std::process::Command::new(program);
        tail.args(arguments).arg(&server.socket).stdout(std::process::Stdio::piped());
        Self(tail.spawn().expect("it starts"))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn json_of_a_crm_is_xml_for_a_c_program_and_answered_when_that_has_consumed_it() {
    let scratch = Scratch::new();
    let file = scratch.path("credentials").to_str().expect("ASCII").to_owned();
    let added = command()
        .args(["credential", "add", "crm", "--ring", "erp", "--file", &file])
        .ended()
        .expect("it runs");
    let printed = String::from_utf8_lossy(&added.stdout).into_owned()
        + &String::from_utf8_lossy(&added.stderr);
    let token = printed.split_whitespace().find(|word| word.starts_with("aqd_"));
    let token = token.unwrap_or_else(|| panic!("{printed}"));
    let config = include_str!("../examples/crm.toml").replace("/etc/aqueduct/credentials", &file);
    let server = Server::with_file(&config, &[]);
    let close = "connection: close\r\n";
    let stranger = server.exchange(post("/crm/users/17", close, b"{}"));
    stranger.assert_problem(401);
    let bearer = format!("authorization: Bearer {token}\r\n{close}");
    let lines = &format!("x-request-id: r-17\r\nidempotency-key: 17\r\n{bearer}");
    let body = br#"{"name": "Ada <&>", "tags": ["new", null]}"#;
    let request = post("/crm/users/a%2F17", lines, body);
    let mut tail = Tail::start(&server, &["-r", "erp", "-S", "erp", "-q", "-f", "%p|%a\\n"]);
    let response = server.exchange(&request);
    assert_eq!(
        (response.status, response.header("aqueduct-seq")),
        (202, Some("0")),
        "{response:?}"
    );
    assert_eq!(response.header("x-request-id"), Some("r-17"));
    let again = server.exchange(&request);
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again:?}");
    assert_eq!(again.body, response.body);
    let other = server.exchange(post("/crm/users/18", lines, b"{}"));
    other.assert_problem(422);
    let malformed = server.exchange(post("/crm/users/19", &bearer, b"{\"a\":}"));
    malformed.assert_problem(400);
    let mut printed = String::new();
    let mut out = std::io::BufReader::new(tail.0.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut out, &mut printed).expect("a line");
    assert_eq!(
        printed,
        "<map xmlns=\"http://www.w3.org/2005/xpath-functions\">\
         <string key=\"name\">Ada &lt;&amp;&gt;</string>\
         <array key=\"tags\"><string>new</string><null/></array></map>\
         |:request-id=r-17 :credential=crm :param.id=a/17\n"
    );
    assert!((server.metric("aqueduct_records_total{ring=\"erp\"}") - 1.0).abs() < f64::EPSILON);
}
