//! The fields of a head, walked by its lines, are those that httparse finds in it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::head::{MAX_HEADERS, for_each_line, parse};
use crate::codec::Keep;

const LINES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "host: t\r\n",
    "x:\r\n",
    "x: \t \r\n",
    "a:b:c\r\n",
    "A-b_c.1~: \tv  w\t \r\n",
    "x: \u{e9}\u{a0}\r\n",
    "x: y\u{c}\r\n",
    "x : y\r\n",
    " folded\r\n",
    ": y\r\n",
    "no colon\r\n",
    "x: y\n",
    "x: y\r\r\n",
    "\r\n",
];

/// What httparse finds; `None` if it is no head to it.
fn found(head: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if !request.parse(head).ok()?.is_complete() {
        return None;
    }
    let each = |header: &httparse::Header<'_>| (header.name.to_owned(), header.value.to_vec());
    Some(request.headers.iter().map(each).collect())
}

/// The same by its lines, each with the name that `found` has for it.
fn walked(head: &[u8], names: &[String]) -> Vec<(String, Vec<u8>)> {
    let (mut fields, mut names) = (Vec::new(), names.iter());
    let walk: Result<(), ()> = for_each_line(head, |line| {
        if line.is_empty() {
            return Ok(());
        }
        let keep = Keep::new(names.next().into_iter().map(|name| name.to_lowercase()).collect());
        let (name, value) = keep.header_of(line).expect("the name that httparse finds");
        fields.push((name.to_owned(), value.to_vec()));
        Ok(())
    });
    walk.expect("nothing fails");
    fields
}

/// Compares both ways for a head that is accepted; whether it is.
fn agrees(head: &[u8]) -> bool {
    let Ok(Some(parsed)) = parse(head, 4096, MAX_HEADERS) else { return false };
    let head = &head[..parsed.bytes];
    let found = found(head).expect("it was accepted");
    let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
    let lower = found.into_iter().map(|(name, value)| (name.to_lowercase(), value));
    assert_eq!(walked(head, &names), lower.collect::<Vec<_>>(), "{}", head.escape_ascii());
    true
}

fn whole(start: &str, lines: &[&str]) -> Vec<u8> {
    [start, "host: t\r\n", &lines.concat(), "\r\n"].concat().into_bytes()
}

proptest! {
    #[test]
    fn the_fields_of_an_accepted_head_are_those_that_httparse_finds(
        start in select(&["POST /v1 HTTP/1.1\r\n", "\r\nGET / HTTP/1.0\r\n"][..]),
        lines in vec(select(LINES), 0..6),
    ) {
        agrees(&whole(start, &lines));
    }
}

#[test]
fn each_line_alone_is_walked_as_httparse_reads_it_and_some_are_accepted() {
    let heads = LINES.iter().map(|line| whole("POST /v1 HTTP/1.1\r\n", &[line]));
    assert_eq!(heads.filter(|head| agrees(head)).count(), 6);
}

#[test]
fn a_walk_ends_with_the_first_failure() {
    let head = whole("POST /v1 HTTP/1.1\r\n", &["x: 1\r\n", "y: 2\r\n"]);
    let mut seen = 0;
    let walk = for_each_line(&head, |line| {
        seen += 1;
        if line == b"x: 1" { Err("here") } else { Ok(()) }
    });
    assert_eq!((walk, seen), (Err("here"), 2));
}

#[test]
fn a_header_is_kept_by_its_whole_name_in_any_case() {
    let keep = Keep::new(vec!["x-id".to_owned(), "aqueduct-attributes".to_owned()]);
    let found = |line: &'static str| keep.header_of(line.as_bytes());
    for line in ["x-id: 7", "X-Id:\t7 ", "X-ID:7"] {
        assert_eq!(found(line), Some(("x-id", &b"7"[..])), "{line}");
    }
    assert_eq!(found("x-id:"), Some(("x-id", &b""[..])));
    for line in ["x-id", "x-idx: 7", "x-i: 7", "ax-id: 7", "", "aqueduct-attributes: 7"] {
        assert_eq!(found(line), None, "{line}");
    }
}
