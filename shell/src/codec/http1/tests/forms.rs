//! Forms of RFC 9112 and RFC 9110, each with its answer. Every row is followed by a good request,
//! which is answered only where the connection could go on.

use super::{Heard, config, post, say};
use crate::codec::http1::{head, page_asked};
use crate::codec::trial::End;
use crate::codec::{Page, Persistence, Resource};

/// 64 settings in base64: what an upgrade may bring.
const H2C_SETTINGS_DIGITS_MAX: usize = 512;

/// Good requests and the bodies that they carry.
const GOOD: &[(&str, &str, &str)] = &[
    (
        "a request with a length",
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\nhi",
        "hi",
    ),
    ("no length is length 0", "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\r\n", ""),
    (
        "9112 §2.2 empty lines before a request are ignored",
        "\r\n\r\nPOST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\r\n",
        "",
    ),
    (
        "9112 §3.2.2 absolute-form",
        "POST http://t/v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\n\r\nx",
        "x",
    ),
    ("9110 §7.2 an empty host", "POST /v1/rings/a/records HTTP/1.1\r\nhost:\r\n\r\n", ""),
    (
        "9112 §5 names without case, space around values",
        "POST /v1/rings/a/records HTTP/1.1\r\nHOST: \t t \t\r\nContent-LENGTH:2  \r\n\r\nhi",
        "hi",
    ),
    (
        "9112 §6.1 chunked, without case",
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: Chunked\r\n\r\n\
         2\r\nhi\r\n0a\r\n, or hello\r\n0\r\n\r\n",
        "hi, or hello",
    ),
    (
        "9112 §7.1.1 extensions are ignored",
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n\
         2;a=b;c=\"d e\"\r\nhi\r\n000 ; x\r\n\r\n",
        "hi",
    ),
    (
        "9112 §7.1.2 trailers are ignored",
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n\
         0\r\ncontent-length: 5\r\nx: y\r\n\r\n",
        "",
    ),
    (
        "9110 §8.4 identity is no coding",
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-encoding: identity\r\n\r\n",
        "",
    ),
    (
        "9112 §9.3 HTTP/1.0 that asks to stay",
        "POST /v1/rings/a/records HTTP/1.0\r\nconnection: Keep-Alive\r\ncontent-length: 1\r\n\r\nx",
        "x",
    ),
    (
        "leading zeros of a length",
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 002\r\n\r\nhi",
        "hi",
    ),
];

/// Requests after which nothing can be found on the connection.
const REFUSED: &[(&str, u16, &str)] = &[
    ("not HTTP", 400, "\u{1}\u{2}\u{3} nonsense\r\n\r\n"),
    ("no version", 400, "POST /v1/rings/a/records\r\nhost: t\r\n\r\n"),
    ("HTTP/2 as a version", 505, "POST /v1/rings/a/records HTTP/2.0\r\nhost: t\r\n\r\n"),
    ("HTTP/1.2", 505, "POST /v1/rings/a/records HTTP/1.2\r\nhost: t\r\n\r\n"),
    ("the HTTP/2 preface cut short", 505, "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n"),
    ("9112 §3 two spaces", 400, "POST  /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\r\n"),
    (
        "9112 §3 two spaces before the version",
        400,
        "POST /v1/rings/a/records  HTTP/1.1\r\nhost: t\r\n\r\n",
    ),
    ("a space in a target", 400, "POST /v1/rings/a/records x HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("a version of two digits", 400, "POST /v1/rings/a/records HTTP/1.10\r\nhost: t\r\n\r\n"),
    ("another protocol", 400, "POST /v1/rings/a/records ICY/1.1\r\nhost: t\r\n\r\n"),
    ("HTTP/3 as a version", 505, "POST /v1/rings/a/records HTTP/3.0\r\nhost: t\r\n\r\n"),
    ("9112 §3 a tab", 400, "POST\t/v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("9112 §3.2 no host", 400, "POST /v1/rings/a/records HTTP/1.1\r\n\r\n"),
    ("9112 §3.2 two hosts", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\nhost: t\r\n\r\n"),
    (
        "9112 §3.2 two hosts of HTTP/1.0",
        400,
        "POST /v1/rings/a/records HTTP/1.0\r\nhost: t\r\nhost: u\r\n\r\n",
    ),
    ("9112 §3.2 a list of hosts", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: a, b\r\n\r\n"),
    ("9110 §7.2 userinfo", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: u@t\r\n\r\n"),
    ("9112 §3.2 a fragment", 400, "POST /v1/rings/a/records#x HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("a target that is not ASCII", 400, "POST /\u{e9} HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("9112 §2.2 bare LF in the head", 400, "POST /v1/rings/a/records HTTP/1.1\nhost: t\r\n\r\n"),
    ("9112 §2.2 bare LF after a field", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\n\r\n"),
    ("9112 §2.2 bare LF at the end", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\n"),
    ("9112 §2.2 bare LF first", 400, "\nPOST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("9112 §2.2 bare CR", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\rx: y\r\n\r\n"),
    ("9110 §5.5 NUL", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\nx: a\0b\r\n\r\n"),
    (
        "9112 §5.1 space before the colon",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost : t\r\n\r\n",
    ),
    (
        "9112 §5.2 obs-fold",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\nx: a\r\n b\r\n\r\n",
    ),
    ("a field without a colon", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\nx\r\n\r\n"),
    ("an empty name", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n: x\r\n\r\n"),
    (
        "9112 §6.3 two lengths",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    ),
    (
        "9112 §6.3 two equal lengths",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
    ),
    (
        "9112 §6.3 a list of lengths",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 1, 1\r\n\r\nx",
    ),
    ("a sign", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: +1\r\n\r\nx"),
    ("minus", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: -1\r\n\r\nx"),
    ("hex", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 0x1\r\n\r\nx"),
    ("no digits", 400, "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length:\r\n\r\n"),
    (
        "9112 §6.3 a coding beside a length",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\
         content-length: 3\r\n\r\n0\r\n\r\n",
    ),
    (
        "9112 §6.1 a coding of HTTP/1.0",
        400,
        "POST /v1/rings/a/records HTTP/1.0\r\nconnection: keep-alive\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "9112 §6.1 a coding that is not known",
        501,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "9112 §6.1 chunked twice",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "9112 §6.1 two fields",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: identity\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "9112 §6.1 chunked is not last",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    ),
    (
        "9112 §6.1 identity is obsolete",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: identity\r\n\r\n",
    ),
    (
        "9112 §6.1 not quite chunked",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    ),
    (
        "9112 §6.1 a coding with a vertical tab",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a length over the limit",
        413,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 1001\r\n\r\n",
    ),
    (
        "a length of 2^64 - 1",
        413,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 18446744073709551615\r\n\r\n",
    ),
    (
        "a length beyond 64 bits",
        413,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    ),
    (
        "9110 §10.1.1 an expectation",
        417,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\nexpect: 200-ok\r\n\r\n",
    ),
    (
        "9110 §8.4 a content coding",
        415,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx",
    ),
    (
        "a foreign origin with a body",
        403,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\norigin: http://evil.example\r\n\
         content-length: 1\r\n\r\nx",
    ),
    ("a body for an unknown path", 404, "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\n\r\nx"),
    (
        "a body for an unknown ring",
        404,
        "POST /v1/rings/c/records HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\n\r\nx",
    ),
    (
        "a bad type",
        400,
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\naqueduct-type: 65536\r\ncontent-length: 1\r\n\r\nx",
    ),
    ("CONNECT", 404, "CONNECT t:443 HTTP/1.1\r\nhost: t:443\r\ncontent-length: 1\r\n\r\nx"),
];

/// The head of a chunked body.
const CHUNKED: &str =
    "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";

/// Chunked bodies that are refused.
const CHUNKS: &[(&str, u16, &str)] = &[
    ("no size", 400, "\r\n0\r\n\r\n"),
    ("a size that is not hexadecimal", 400, "g\r\n"),
    ("a sign", 400, "+1\r\nx\r\n0\r\n\r\n"),
    ("0x", 400, "0x1\r\nx\r\n0\r\n\r\n"),
    ("space before the size", 400, " 1\r\nx\r\n0\r\n\r\n"),
    ("space after the size", 400, "1 \r\nx\r\n0\r\n\r\n"),
    ("an underscore", 400, "1_0\r\nx\r\n0\r\n\r\n"),
    ("17 digits", 400, "00000000000000001\r\nx\r\n0\r\n\r\n"),
    ("bare LF after the size", 400, "1\nx\r\n0\r\n\r\n"),
    ("bare CR after the size", 400, "1\rx\r\n0\r\n\r\n"),
    ("bare LF after the data", 400, "1\r\nx\n0\r\n\r\n"),
    ("data longer than its size", 400, "1\r\nxy\r\n0\r\n\r\n"),
    ("NUL in an extension", 400, "1;a\0\r\nx\r\n0\r\n\r\n"),
    ("bare LF in an extension", 400, "1;a\nb\r\nx\r\n0\r\n\r\n"),
    ("bare LF in the last extension", 400, "0;\n\r\n\r\n"),
    ("a trailer without a colon", 400, "0\r\nx\r\n\r\n"),
    ("a trailer with a folded line", 400, "0\r\nx: y\r\n z\r\n\r\n"),
    ("bare LF in a trailer", 400, "0\r\nx: y\n\r\n"),
    ("bare LF at the end", 400, "0\r\n\n"),
    ("a size of 2^63 - 1", 413, "7fffffffffffffff\r\n"),
    ("a size of 2^64 - 1", 413, "ffffffffffffffff\r\nx"),
    ("over the limit", 413, "3e9\r\n"),
];

/// Requests that are refused though the connection goes on.
const ANSWERED: &[(&str, u16, &str)] = &[
    ("an unknown path", 404, "GET / HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("an unknown ring", 404, "POST /v1/rings/c/records HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("no ring", 404, "POST /v1/rings//records HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("reading records", 405, "GET /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("posting to a page", 405, "POST /healthz HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("a method in small letters", 405, "post /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("asterisk-form", 404, "OPTIONS * HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("options without an origin", 405, "OPTIONS /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("a foreign origin", 403, "GET /healthz HTTP/1.1\r\nhost: t\r\norigin: null\r\n\r\n"),
    ("a page", 0, "GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("the head of a page", 0, "HEAD /metrics?x HTTP/1.1\r\nhost: t\r\n\r\n"),
    (
        "a preflight",
        204,
        "OPTIONS /v1/rings/a/records HTTP/1.1\r\nhost: t\r\norigin: https://good.example\r\n\r\n",
    ),
];

fn with_a_good_one_after(request: &str) -> Heard {
    say([request.as_bytes(), &post("", "after")].concat())
}

#[test]
fn good_forms_are_published() {
    for (form, request, body) in GOOD {
        let heard = with_a_good_one_after(request);
        assert_eq!(heard.payloads(), [body.as_bytes(), b"after"], "{form}: {}", heard.answers);
        assert_eq!(heard.statuses(), [202, 202], "{form}");
        assert_eq!(heard.end, End::Input, "{form}");
    }
}

#[test]
fn what_is_ambiguous_or_broken_is_refused_and_ends_the_connection() {
    for (form, status, request) in REFUSED {
        let heard = with_a_good_one_after(request);
        assert_eq!(heard.statuses(), [*status], "{form}: {}", heard.answers);
        assert_eq!(heard.end, End::Closed, "{form}");
        assert!(heard.sink.records.is_empty(), "{form}");
        assert!(heard.answers.contains("\r\nconnection: close\r\n"), "{form}: {}", heard.answers);
    }
}

#[test]
fn bad_chunks_are_refused_and_end_the_connection() {
    for (form, status, chunks) in CHUNKS {
        let heard = with_a_good_one_after(&format!("{CHUNKED}{chunks}"));
        assert_eq!(heard.statuses(), [*status], "{form}: {}", heard.answers);
        assert_eq!(heard.end, End::Closed, "{form}");
        assert!(heard.sink.records.is_empty(), "{form}");
    }
}

#[test]
fn refusals_that_leave_no_doubt_keep_the_connection() {
    for (form, status, request) in ANSWERED {
        let heard = with_a_good_one_after(request);
        assert_eq!(heard.statuses(), [*status, 202], "{form}: {}", heard.answers);
        assert_eq!(heard.end, End::Input, "{form}");
        assert_eq!(heard.payloads(), [b"after"], "{form}");
    }
}

#[test]
fn a_refused_head_request_gets_the_length_and_no_body() {
    for (target, status) in
        [("/nothing", 404), ("/v1/rings/a/records", 405), ("/v1/rings/c/records", 404)]
    {
        let heard = say(format!("HEAD {target} HTTP/1.1\r\nhost: t\r\n\r\n"));
        assert_eq!((heard.statuses(), heard.end), (vec![status], End::Input), "{target}");
        assert!(!heard.answers.contains("content-length: 0"), "{target}: {}", heard.answers);
        assert!(heard.answers.ends_with("\r\n\r\n"), "{target}: {}", heard.answers);
    }
    let origin = say("HEAD /healthz HTTP/1.1\r\nhost: t\r\norigin: null\r\n\r\n");
    assert!(origin.statuses() == [403] && origin.answers.ends_with("\r\n\r\n"));
}

#[test]
fn a_head_beyond_its_limits_is_answered_431() {
    let long = format!("GET /healthz HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n", "x".repeat(1024));
    let many =
        (0..9).fold("GET /healthz HTTP/1.1\r\n".to_owned(), |head, n| format!("{head}x{n}: 1\r\n"));
    for head in [&long, &long[..1024], &format!("{many}\r\n")] {
        let heard = say(head);
        assert_eq!((heard.statuses(), heard.end), (vec![431], End::Closed), "{head}");
    }
    assert_eq!(say(&long[..1023]).statuses(), [400], "cut short before the limit");
}

/// Until then more may come that makes it one.
#[test]
fn a_head_that_is_not_complete_is_refused_when_it_may_have_no_more_bytes() {
    let version = "POST / HTTP/9.9";
    for partial in ["POST / HTTP/1.1\r\nhost: t\r\n", version] {
        let bytes = partial.as_bytes();
        assert!(matches!(head::parse(bytes, bytes.len() + 1, 8), Ok(None)), "{partial}");
        assert!(head::parse(bytes, bytes.len(), 8).is_err(), "{partial}");
    }
}

#[test]
fn ignored_bytes_of_a_chunked_body_are_bounded() {
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    let body = |chunks: usize| format!("{CHUNKED}{}0\r\n\r\n", chunk.repeat(chunks));
    assert_eq!(say(body(16)).statuses(), [202]);
    assert_eq!(say(body(17)).statuses(), [400]);
    assert_eq!(say(format!("{CHUNKED}1;{}", "e".repeat(2000))).statuses(), [400]);
    let trailers = format!("{CHUNKED}0\r\n{}\r\n", "t: x\r\n".repeat(3000));
    assert_eq!(say(trailers).statuses(), [400]);
}

#[test]
fn fields_of_other_names_mean_nothing_however_long_their_names_are() {
    for length in 1..=24 {
        let name = "x".repeat(length);
        for value in ["close, upgrade", "gzip", "h2c", "chunked", "7"] {
            let heard = say(post(&format!("{name}: {value}\r\n{name}: {value}\r\n"), "x"));
            assert_eq!((heard.statuses(), heard.end), (vec![202], End::Input), "{name}: {value}");
        }
        let heard = say(format!(
            "GET / HTTP/1.1\r\nhost: t\r\n{name}: h2c\r\nconnection: upgrade, http2-settings\r\n\
             http2-settings: AAMAAABk\r\n\r\n"
        ));
        assert_eq!((heard.statuses(), heard.end), (vec![404], End::Input), "{name}: h2c");
        let heard = say(format!(
            "GET / HTTP/1.1\r\nhost: t\r\n{name}: x\r\nupgrade: h2c\r\n\
             connection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABk\r\n\r\n"
        ));
        assert_eq!(heard.end, End::HandedOver(0), "{name}: x");
    }
}

#[test]
fn settings_of_an_upgrade_are_whole_ones_up_to_a_bound_and_there_once() {
    for (settings, is_good) in [
        ("http2-settings: \r\n".to_owned(), true),
        ("http2-settings: AAMAAABk\r\n".to_owned(), true),
        ("http2-settings: AAMAAABkAAM\r\n".to_owned(), false),
        ("http2-settings: AAMAAAB*\r\n".to_owned(), false),
        ("http2-settings: AAMAAABk\r\nhttp2-settings: AAMAAABk\r\n".to_owned(), false),
        (format!("http2-settings: {}\r\n", "A".repeat(H2C_SETTINGS_DIGITS_MAX)), true),
        (format!("http2-settings: {}\r\n", "A".repeat(H2C_SETTINGS_DIGITS_MAX + 8)), false),
    ] {
        let heard = say(format!(
            "GET / HTTP/1.1\r\nhost: t\r\nupgrade: h2c\r\n\
             connection: upgrade, http2-settings\r\n{settings}\r\n"
        ));
        let is_handed_over = matches!(heard.end, End::HandedOver(_));
        assert_eq!(is_handed_over, is_good, "{settings} {}", heard.answers);
    }
}

#[test]
fn a_page_is_asked_for_by_get_or_head_and_by_no_foreign_page() {
    let asked = |method: &str, path: &str, lines: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: t\r\n{lines}\r\n");
        page_asked(head.as_bytes(), (1024, 8), &config().origins)
    };
    let page =
        |resource, head_only| Ok(Some(Page { resource, head_only, then: Persistence::Close }));
    assert_eq!(asked("GET", Resource::Health.path(), ""), page(Resource::Health, false));
    assert_eq!(asked("HEAD", "/readyz", ""), page(Resource::Readiness, true));
    assert_eq!(asked("GET", "/metrics", ""), page(Resource::Metrics, false));
    assert_eq!(asked("POST", "/healthz", ""), Ok(None));
    assert_eq!(asked("GET", "/v1/rings/a/records", ""), Ok(None));
    assert_eq!(
        asked("GET", "/healthz", "origin: https://good.example\r\n"),
        page(Resource::Health, false)
    );
    let foreign = asked("GET", "/healthz", "origin: https://bad.example\r\n");
    assert_eq!(foreign.map_err(|(status, _)| status), Err(403));
    for (resource, path) in [
        (Resource::Health, "/healthz"),
        (Resource::Readiness, "/readyz"),
        (Resource::Metrics, "/metrics"),
    ] {
        assert_eq!(resource.path(), path);
    }
    for (method, head_only) in [("GET", false), ("HEAD", true)] {
        let heard = say(format!("{method} /healthz HTTP/1.1\r\nhost: t\r\n\r\n"));
        assert!(heard.answers.contains(&format!("head_only: {head_only}")), "{}", heard.answers);
    }
}
