//! Configured routes over real sockets.

mod common;

use std::io::Write;

use common::reader::Attached;
use common::{Ends, Response, Scratch, Server, command};

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
    assert!(response.body.contains("at byte 7"), "{response:?}");
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
    // With this look it releases the record.
    assert_eq!(reader.next(), None);
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
        ("path = \"/x\"\nattributes = [\":param.id\"]", "toml:3: ", ":param.NAME"),
        ("path = \"/x\"\nhost = \"a:80\"", "toml:3: ", "without a port"),
        (
            "path = \"/x/{a}\"\n[[route]]\npath = \"/x/{b}\"",
            "route.path",
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
