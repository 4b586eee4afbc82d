//! What is kept of a request with its records.

use std::sync::Arc;

use aqueduct_core::AttributeBlock;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::{Config, Http1};
use super::config;
use crate::codec::trial::{Trial, converse};
use crate::codec::{GIVEN, Keep};

const PEER: &str = "192.0.2.1:4711";

fn keeping(names: &[&str]) -> Arc<Config> {
    let keep = Keep::new(names.iter().map(|&name| name.to_owned()).collect());
    Arc::new(Config { keep, max_header_bytes: 16_384, ..Config::clone(&config()) })
}

fn say(names: &[&str], request: &[u8], fulls: u32, cuts: &[usize]) -> (String, Trial) {
    let mut sink = Trial { fulls, ..Trial::new() };
    let mut codec = Http1::of_peer(keeping(names), PEER);
    let (answers, _) = converse(&mut codec, &mut sink, request, cuts);
    (String::from_utf8(answers).expect("answers are text"), sink)
}

fn listed(block: &[u8]) -> Vec<(String, String)> {
    let block = AttributeBlock::from_bytes(block).expect("a block");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    block.attributes().map(|one| (text(one.name), text(one.value))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn post(path: &str, lines: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: a\r\n{lines}content-length: {length}\r\n\r\n{body}")
        .into()
}

const ALL: [&str; 4] = [":path", ":peer", "x-id", "content-type"];

#[test]
fn what_is_named_is_kept_with_every_request_of_its_own_however_it_is_cut() {
    let first = post("/v1/rings/a/records?x=1", "X-ID: 7\r\nx-other: 8\r\nx-id: 9\r\n", "one");
    let second = post("/v1/rings/a/records", "content-type: text/plain\r\n", "two");
    let both = [first, second].concat();
    for cuts in [&[][..], &[1; 300], &[90], &[40, 60]] {
        for fulls in [0, 2] {
            let (answers, sink) = say(&ALL, &both, fulls, cuts);
            assert_eq!(answers.matches("HTTP/1.1 202").count(), 2, "{answers}");
            let kept: Vec<_> = sink.attributes.iter().map(|block| listed(block)).collect();
            let path = ":path";
            assert_eq!(
                kept[0],
                pairs(&[
                    (":peer", PEER),
                    (path, "/v1/rings/a/records?x=1"),
                    ("x-id", "7"),
                    ("x-id", "9")
                ])
            );
            assert_eq!(
                kept[1],
                pairs(&[
                    (":peer", PEER),
                    (path, "/v1/rings/a/records"),
                    ("content-type", "text/plain")
                ])
            );
            assert_eq!(sink.records[0].payload, b"one");
        }
    }
}

#[test]
fn nothing_is_kept_where_nothing_is_named() {
    let request = post("/v1/rings/a/records", "x-id: 7\r\n", "one");
    let (_, sink) = say(&[], &request, 0, &[]);
    assert_eq!(sink.attributes, [b""]);
}

#[test]
fn every_record_of_a_batch_has_the_attributes_of_its_request() {
    let lines = "content-type: application/x-ndjson\r\nx-id: 7\r\n";
    let (answers, sink) =
        say(&["x-id"], &post("/v1/rings/a/records", lines, "1\n22\n333\n"), 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 202"), "{answers}");
    assert_eq!(sink.records.len(), 3);
    assert!(sink.attributes.iter().all(|block| listed(block) == pairs(&[("x-id", "7")])));
}

#[test]
fn what_does_not_fit_beside_the_payload_is_refused_whole() {
    // Ring b takes 16 bytes, which the attributes fill.
    let request = |body: &str| post("/v1/rings/b/records", "x-id: 7\r\n", body);
    let (answers, sink) = say(&["x-id"], &request("x"), 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 413"), "{answers}");
    assert!(answers.contains("its attributes take 16 of them"), "{answers}");
    assert!(sink.records.is_empty());
    let (answers, sink) = say(&["x-id"], &request(""), 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 202") && sink.records.len() == 1, "{answers}");
    let (answers, sink) = say(&[":path"], &request(""), 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 413") && sink.records.is_empty(), "{answers}");
    let lines = "content-type: application/x-ndjson\r\nx-id: 7\r\n";
    let (answers, sink) = say(&["x-id"], &post("/v1/rings/b/records", lines, "1\n"), 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 413") && sink.records.is_empty(), "{answers}");
}

#[test]
fn more_than_a_block_holds_is_refused_by_431_and_never_cut() {
    for (bytes, status) in [(4072, 413), (4073, 431)] {
        let value = "v".repeat(bytes - 3);
        let request = post("/v1/rings/a/records", &format!("x-id: {value}\r\n"), "one");
        let (answers, sink) = say(&["x-id"], &request, 0, &[]);
        assert!(answers.starts_with(&format!("HTTP/1.1 {status}")), "{bytes}: {answers}");
        assert!(sink.records.is_empty() && !sink.events.is_empty());
    }
    let mut request = post("/v1/rings/a/records", &format!("x-id: {}\r\n", "v".repeat(4096)), "");
    request.splice(..5, *b"GET ");
    let (answers, _) = say(&["x-id"], &request, 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 405"), "only records keep anything: {answers}");
}

#[test]
fn a_request_that_names_attributes_itself_is_believed_or_refused_and_never_half() {
    let mut room = [0; 64];
    let block = AttributeBlock::write([(":peer", &b"10.0.0.1:9"[..])], &mut room).expect("it fits");
    let encoded = STANDARD.encode(block.as_bytes());
    let lines = format!("{GIVEN}: {encoded}\r\nx-id: 7\r\n");
    let request = post("/v1/rings/a/records", &lines, "one");
    let (answers, sink) = say(&[GIVEN, "x-id"], &request, 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 202"), "{answers}");
    assert_eq!(listed(&sink.attributes[0]), pairs(&[(":peer", "10.0.0.1:9"), ("x-id", "7")]));
    for names in [&[][..], &["x-id"]] {
        let (answers, sink) = say(names, &request, 0, &[]);
        assert!(answers.starts_with("HTTP/1.1 403"), "{answers}");
        assert!(sink.records.is_empty());
    }
    let request = post("/v1/rings/a/records", &format!("{GIVEN}: QUJD\r\n"), "one");
    let (answers, sink) = say(&[GIVEN], &request, 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 400") && sink.records.is_empty(), "{answers}");
    let request = post("/v1/rings/a/records", &format!("{lines}{lines}"), "one");
    let (answers, _) = say(&[GIVEN], &request, 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 400"), "{answers}");
    let much = AttributeBlock::write([("a", &[b'v'; 4000][..])], &mut [0; 4080])
        .map(|block| STANDARD.encode(block.as_bytes()));
    let lines = format!("{GIVEN}: {}\r\nx-id: {}\r\n", much.expect("it fits"), "7".repeat(80));
    let (answers, _) = say(&[GIVEN, "x-id"], &post("/v1/rings/a/records", &lines, "one"), 0, &[]);
    assert!(answers.starts_with("HTTP/1.1 431"), "{answers}");
}
