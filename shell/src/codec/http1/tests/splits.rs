//! The same bytes, however they are cut, give the same records and the same answers; and hyper
//! finds the same records in them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::config;
use crate::codec::http1::Http1;
use crate::codec::trial::{End, Trial, converse, http, hyper};

const LINES: &[&str] = &[
    "host: t\r\n",
    "host: t\r\n",
    "host: t\r\n",
    "connection: close\r\n",
    "connection: keep-alive\r\n",
    "expect: 100-continue\r\n",
    "aqueduct-type: 7\r\n",
    "aqueduct-type: x\r\n",
    "content-type: application/x-ndjson\r\n",
    "content-type: application/vnd.aqueduct.records\r\n",
    "content-type: application/vnd.aqueduct.records+json\r\n",
    "content-encoding: gzip\r\n",
    "origin: https://good.example\r\n",
    "transfer-encoding: chunked\r\n",
    "content-length: 4\r\n",
    "content-length: 1001\r\n",
    "x: y\n",
    "x: \u{e9}\r\n",
];

const STARTS: &[&str] = &[
    "POST /v1/rings/a/records HTTP/1.1\r\n",
    "POST /v1/rings/a/records HTTP/1.1\r\n",
    "POST /v1/rings/b/records HTTP/1.1\r\n",
    "POST /v1/rings/a/records HTTP/1.0\r\n",
    "GET /healthz HTTP/1.1\r\n",
    "PRI * HTTP/2.0\r\n",
    "\r\n",
];

const BODIES: &[&str] = &[
    "",
    "",
    "1234",
    "[12]",
    "1\n2\n",
    "4\r\n1234\r\n0\r\n\r\n",
    "2\r\n[1\r\n1\r\n]\r\n0;x\r\na: b\r\n\r\n",
    "14\r\n12345678901234567890\r\n0\r\n\r\n",
    "1\r\nx\n",
];

/// A request that has most of what it needs, or almost.
fn request() -> impl Strategy<Value = String> {
    let framed = select(&[0_usize, 1, 2][..]);
    (select(STARTS), vec(select(LINES), 0..5), framed, select(BODIES)).prop_map(
        |(start, lines, framed, body)| {
            let framing = match framed {
                0 => String::new(),
                1 => format!("host: t\r\ncontent-length: {}\r\n", body.len()),
                _ => "host: t\r\ntransfer-encoding: chunked\r\n".to_owned(),
            };
            format!("{start}{}{framing}\r\n{body}", lines.concat())
        },
    )
}

proptest! {
    #[test]
    fn any_split_gives_the_same_records_and_answers(
        requests in vec(request(), 1..6),
        damage in proptest::option::of((any::<Index>(), any::<u8>())),
        cuts in vec(1_usize..60, 0..40),
        fulls in 0_u32..3,
    ) {
        let mut bytes = requests.concat().into_bytes();
        if let Some((index, byte)) = damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let play = |cuts: &[usize], fulls| {
            let mut sink = Trial { fulls, ..Trial::new() };
            let (answers, end) = converse(&mut Http1::new(config()), &mut sink, &bytes, cuts);
            (String::from_utf8_lossy(&answers).into_owned(), end, sink.records, sink.events)
        };
        let whole = play(&[], 0);
        prop_assert_eq!(&play(&cuts, fulls), &whole);
        prop_assert_eq!(&play(&vec![1; bytes.len()], 0), &whole);
    }

    /// What is taken is what hyper would have taken, in the same order, up to where we refuse; and
    /// if nothing was refused, it is everything.
    #[test]
    fn hyper_finds_the_same_records(
        requests in vec(request(), 1..6),
        damage in vec((any::<Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = requests.concat().into_bytes();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let mut sink = Trial::new();
        let (answers, end) = converse(&mut Http1::new(config()), &mut sink, &bytes, &[]);
        let theirs = http::records(&hyper::requests(&bytes), &config());
        let ours = sink.records;
        prop_assert!(theirs.starts_with(&ours), "ours {ours:?}, hyper's {theirs:?}");
        let answers = String::from_utf8_lossy(&answers);
        if end == End::Input && !answers.contains("HTTP/1.1 4") {
            prop_assert_eq!(ours, theirs);
        }
    }
}
