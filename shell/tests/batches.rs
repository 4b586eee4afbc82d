//! Many records in one request, and forms that are refused, over a real socket.

mod common;

use common::reader::Attached;
use common::{Server, record};

const NDJSON: &str = "content-type: application/x-ndjson\r\n";
const COUNTED: &str = "content-type: application/vnd.aqueduct.records\r\n";
const ARRAY: &str = "content-type: application/vnd.aqueduct.records+json\r\n";

#[test]
fn records_of_a_batch_are_published_in_its_order_and_answered_together() {
    let server = Server::start(&[]);
    let typed = format!("{NDJSON}aqueduct-type: 3\r\n");
    for (lines, body, first) in [
        (typed.as_str(), &b"{\"a\":1}\n{\"b\":2}\r\n\n[]\n"[..], 0),
        (COUNTED, b"\x02\0\0\0\x07\0hi\0\0\0\0\xff\xff\x01\0\0\0\0\0x", 3),
        (ARRAY, b"[ {\"c\": 3}, null,\"d\"]", 6),
    ] {
        let response = server.exchange(record("default", lines, body));
        assert_eq!(response.status, 202, "{response:?}");
        assert_eq!(response.header("aqueduct-seq"), Some(first.to_string().as_str()));
        let last = first + 2;
        let fields = format!("\"first\":{first},\"last\":{last},\"taken\":3}}");
        assert!(response.body.ends_with(&fields), "{response:?}");
    }
    let mut reader = Attached::attach(&server.socket, "", "");
    for (seq, (type_tag, payload)) in [
        (3, &b"{\"a\":1}"[..]),
        (3, b"{\"b\":2}"),
        (3, b"[]"),
        (7, b"hi"),
        (65_535, b""),
        (0, b"x"),
        (0, b"{\"c\": 3}"),
        (0, b"null"),
        (0, b"\"d\""),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(reader.next(), Some((seq as u64, type_tag, payload.to_vec())));
    }
    assert_eq!(reader.next(), None);
}

#[test]
fn a_batch_with_one_bad_record_leaves_nothing() {
    let server = Server::start(&["--max-payload-bytes", "16"]);
    for (lines, body, status) in [
        (NDJSON, &b"good\n12345678901234567\n"[..], 413),
        (COUNTED, b"\x01\0\0\0\0\0a\x09\0\0\0\0\0b", 400),
        (ARRAY, b"[1,2,]", 400),
        (NDJSON, b"\n", 400),
    ] {
        server.exchange(record("default", lines, body)).assert_problem(status);
    }
    assert_eq!(server.post("default", b"after").status, 202);
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(reader.next(), Some((0, 0, b"after".to_vec())));
}

#[test]
fn a_batch_that_no_ring_ever_has_room_for_is_answered_413() {
    let server = Server::start(&["--capacity-bytes", "4096"]);
    server.exchange(record("default", NDJSON, "x\n".repeat(64).as_bytes())).assert_problem(413);
    let response = server.exchange(record("default", NDJSON, "x\n".repeat(60).as_bytes()));
    assert_eq!(response.status, 202, "{response:?}");
}

#[test]
fn a_request_that_two_servers_could_read_differently_is_refused() {
    let server = Server::start(&[]);
    let head = "POST /v1/rings/default/records HTTP/1.1\r\n";
    for (lines, status) in [
        ("content-length: 1\r\n", 400),
        ("host: a\r\nhost: a\r\ncontent-length: 1\r\n", 400),
        ("host: a b\r\ncontent-length: 1\r\n", 400),
        ("host: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n", 400),
        ("host: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n", 400),
        ("host: a\r\ntransfer-encoding: gzip, chunked\r\n", 501),
        ("host: a\r\ntransfer-encoding: chunked, chunked\r\n", 400),
        ("host: a\r\ncontent-length: 18446744073709551615\r\n", 413),
        ("host: a\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n", 415),
        ("host: a\r\norigin: http://evil.example\r\ncontent-length: 1\r\n", 403),
        ("host: a\r\nexpect: 200-ok\r\ncontent-length: 1\r\n", 417),
    ] {
        let response = server.exchange(format!("{head}{lines}\r\nx"));
        response.assert_problem(status);
        assert_eq!(response.header("connection"), Some("close"), "{lines}");
    }
    assert_eq!(Attached::attach(&server.socket, "", "").next(), None);
}
