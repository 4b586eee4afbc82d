//! Responses as bytes: 202 with sequence numbers, problems as RFC 9457 describes them, pages.

use crate::codec::progress::{Page, Persistence};
use crate::codec::sink::{Event, Sink};
use crate::codec::text::{decimal_len, push_decimal, push_hex};
use crate::middleware::Exchange;

/// Records that are answered together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The ring's epoch.
    pub(super) epoch: u64,
    /// Sequence number of the first.
    pub(super) first: u64,
    /// Sequence number of the last.
    pub(super) last: u64,
    /// How many, for a batch; a single record is answered without.
    pub(super) batch: Option<u64>,
}

/// One answer on its way into `out`.
pub(super) struct Answer<'a, S> {
    sink: &'a mut S,
    out: &'a mut Vec<u8>,
    /// Whole lines that every answer to this origin has.
    cors: &'a str,
    /// The request, if units know of it.
    exchange: Option<&'a Exchange>,
    then: Persistence,
    /// Further whole lines.
    lines: &'a str,
    /// Another one counts it.
    is_silent: bool,
    /// The request is HEAD: its answer has a length and no body (RFC 9110 §9.3.2).
    head_only: bool,
}

impl<'a, S: Sink> Answer<'a, S> {
    pub(super) fn new(
        sink: &'a mut S,
        out: &'a mut Vec<u8>,
        cors: &'a str,
        then: Persistence,
    ) -> Self {
        let (exchange, lines, is_silent, head_only) = (None, "", false, false);
        Self { sink, out, cors, exchange, then, lines, is_silent, head_only }
    }

    /// Leaves the body out if the request is HEAD.
    pub(super) fn for_method(self, method: &[u8]) -> Self {
        Self { head_only: method == b"HEAD", ..self }
    }

    /// Answers a request that units know of: with their lines, and they learn of it.
    pub(super) fn of(self, exchange: Option<&'a Exchange>) -> Self {
        Self { exchange, ..self }
    }

    /// Adds whole lines.
    pub(super) fn with(self, lines: &'a str) -> Self {
        Self { lines, ..self }
    }

    /// Leaves counting, and telling the units, to whoever sends it in the end.
    pub(super) fn silently(self) -> Self {
        Self { is_silent: true, ..self }
    }

    /// Lines that the units of the request give its answer.
    fn unit_lines(&self) -> &'a [u8] {
        self.exchange.map_or(b"", |exchange| exchange.lines.as_bytes())
    }

    fn count(self, status: u16) {
        if self.is_silent {
            return;
        }
        self.sink.note(Event::HttpStatus(status));
        if let Some(exchange) = self.exchange {
            exchange.answered(status);
        }
    }

    /// `202 Accepted`.
    ///
    /// One record: `{"seq":N,"epoch":"<16 hex digits>"}`; a batch adds `"first"`, `"last"` and
    /// `"taken"`, and its `seq` is its first.
    /// One that went to several rings adds `"rings"`: `more` are their names and what each took.
    pub(super) fn accepted(self, taken: &Taken, more: &[(&str, Taken)]) {
        let (lines, further) = (self.unit_lines(), self.lines);
        let out = &mut *self.out;
        out.extend_from_slice(
            b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\naqueduct-seq: ",
        );
        push_decimal(out, taken.first);
        out.extend_from_slice(b"\r\ncontent-length: ");
        push_decimal(out, taken.json_len(more));
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.cors.as_bytes());
        out.extend_from_slice(lines);
        out.extend_from_slice(further.as_bytes());
        end_of_head(out, &self.sink.date(), self.then);
        taken.push_json(out, more);
        self.count(202);
    }

    /// A problem (RFC 9457). `lines` are whole header lines; `detail` is for people.
    pub(super) fn problem(self, status: u16, lines: &str, detail: &str) {
        self.problem_with(status, lines, detail, b"");
    }

    /// A problem with further members, as `,"seq":7`.
    pub(super) fn problem_with(self, status: u16, lines: &str, detail: &str, members: &[u8]) {
        let title = reason_phrase(status);
        let mut body = Vec::with_capacity(64 + detail.len());
        body.extend_from_slice(b"{\"title\":\"");
        body.extend_from_slice(title.as_bytes());
        body.extend_from_slice(b"\",\"status\":");
        push_decimal(&mut body, u64::from(status));
        body.extend_from_slice(b",\"detail\":\"");
        escape(&mut body, detail);
        body.push(b'"');
        body.extend_from_slice(members);
        body.push(b'}');
        head(self.out, status, "application/problem+json", body.len());
        self.out.extend_from_slice(lines.as_bytes());
        self.out.extend_from_slice(self.cors.as_bytes());
        self.out.extend_from_slice(self.unit_lines());
        end_of_head(self.out, &self.sink.date(), self.then);
        if !self.head_only {
            self.out.extend_from_slice(&body);
        }
        self.count(status);
    }

    /// The permission that a browser asks for before it lets a page send, with these headers
    /// beside [`HEADERS_READ`].
    pub(super) fn preflight<'h>(self, methods: &str, headers: impl Iterator<Item = &'h str>) {
        status_line(self.out, 204);
        self.out.extend_from_slice(b"access-control-allow-methods: ");
        self.out.extend_from_slice(methods.as_bytes());
        self.out.extend_from_slice(PREFLIGHT);
        self.out.extend_from_slice(HEADERS_READ.join(", ").as_bytes());
        // To a browser an asterisk is every header, here it is one that has this name.
        for name in headers.filter(|name| !HEADERS_READ.contains(name) && *name != "*") {
            self.out.extend_from_slice(b", ");
            self.out.extend_from_slice(name.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(self.cors.as_bytes());
        end_of_head(self.out, &self.sink.date(), self.then);
        self.sink.note(Event::HttpStatus(204));
    }
}

const PREFLIGHT: &[u8] = b"\r\n\
    access-control-max-age: 600\r\n\
    access-control-allow-headers: ";
/// What every address reads of a request that a page posts.
const HEADERS_READ: [&str; 2] = ["aqueduct-type", "content-type"];

impl Taken {
    /// Bytes that [`push_json`](Self::push_json) appends.
    fn json_len(&self, more: &[(&str, Self)]) -> u64 {
        let first = decimal_len(self.first);
        let single = 7 + first + 10 + 16 + 2;
        let batch = self
            .batch
            .map_or(0, |count| 9 + first + 8 + decimal_len(self.last) + 9 + decimal_len(count));
        single + batch + more_len(more)
    }

    fn push_json(&self, out: &mut Vec<u8>, more: &[(&str, Self)]) {
        out.extend_from_slice(b"{\"seq\":");
        push_decimal(out, self.first);
        out.extend_from_slice(b",\"epoch\":\"");
        push_hex(out, self.epoch);
        out.push(b'"');
        if let Some(count) = self.batch {
            out.extend_from_slice(b",\"first\":");
            push_decimal(out, self.first);
            out.extend_from_slice(b",\"last\":");
            push_decimal(out, self.last);
            out.extend_from_slice(b",\"taken\":");
            push_decimal(out, count);
        }
        Self::push_several(out, more);
        out.push(b'}');
    }

    /// Appends the member `rings`, after a comma, unless there are none.
    pub(super) fn push_several(out: &mut Vec<u8>, more: &[(&str, Self)]) {
        for (index, (name, taken)) in more.iter().enumerate() {
            out.extend_from_slice(if index == 0 { MORE } else { b"," });
            // Names of rings need no escapes.
            out.extend_from_slice(b"{\"ring\":\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\",");
            let begun = out.len();
            taken.push_json(out, &[]);
            // The brace that it begins with is there already.
            out.remove(begun);
        }
        if !more.is_empty() {
            out.push(b']');
        }
    }
}

const MORE: &[u8] = b",\"rings\":[";

/// Bytes of what [`Taken::push_json`] adds for several rings.
fn more_len(more: &[(&str, Taken)]) -> u64 {
    let each = more.iter().map(|(name, taken)| 10 + name.len() as u64 + taken.json_len(&[]));
    let commas = more.len().saturating_sub(1) as u64;
    if more.is_empty() { 0 } else { MORE.len() as u64 + each.sum::<u64>() + commas + 1 }
}

/// Appends the answer to a [`Page`]: `headers` are whole lines, as `retry-after: 1\r\n`.
pub fn page(
    out: &mut Vec<u8>,
    date: &[u8; 29],
    page: &Page,
    status: u16,
    content_type: &str,
    headers: &str,
    body: &[u8],
) {
    head(out, status, content_type, body.len());
    out.extend_from_slice(headers.as_bytes());
    end_of_head(out, date, page.then);
    if !page.head_only {
        out.extend_from_slice(body);
    }
}

fn head(out: &mut Vec<u8>, status: u16, content_type: &str, length: usize) {
    status_line(out, status);
    out.extend_from_slice(b"content-type: ");
    out.extend_from_slice(content_type.as_bytes());
    out.extend_from_slice(b"\r\ncontent-length: ");
    push_decimal(out, length as u64);
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn end_of_head(out: &mut Vec<u8>, date: &[u8; 29], then: Persistence) {
    out.extend_from_slice(match then {
        Persistence::Stay => b"",
        Persistence::StayHttp10 => b"connection: keep-alive\r\n",
        Persistence::Close => b"connection: close\r\n",
    });
    out.extend_from_slice(b"date: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n\r\n");
}

/// Names a status that this listener gives.
const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Payload Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

/// Appends the inside of a JSON string.
fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0..0x20 => out.push(b' '),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Resource;
    use crate::codec::trial::Trial;

    /// Head and body of the only response in `out`; its length must be right.
    fn parse(out: &[u8]) -> (String, String) {
        let text = String::from_utf8(out.to_vec()).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let length = head.split("content-length: ").nth(1).expect("a length");
        let length: usize = length.split("\r\n").next().expect("a line").parse().expect("a number");
        assert_eq!(length, body.len(), "{text}");
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn one_record_is_answered_with_its_number_and_epoch() {
        for seq in [0, 9, 10, 12_345, u64::MAX] {
            let (mut out, mut sink) = (Vec::new(), Trial::new());
            let taken = Taken { epoch: 0xab, first: seq, last: seq, batch: None };
            Answer::new(&mut sink, &mut out, "", Persistence::Stay).accepted(&taken, &[]);
            let (head, body) = parse(&out);
            assert_eq!(body, format!("{{\"seq\":{seq},\"epoch\":\"00000000000000ab\"}}"));
            assert_eq!(
                head.lines().collect::<Vec<_>>(),
                [
                    "HTTP/1.1 202 Accepted",
                    "content-type: application/json",
                    &format!("aqueduct-seq: {seq}"),
                    &format!("content-length: {}", body.len()),
                    "date: Sun, 06 Nov 1994 08:49:37 GMT",
                ]
            );
            assert_eq!(sink.events, [Event::HttpStatus(202)]);
        }
    }

    #[test]
    fn a_batch_names_its_first_and_last_record_and_how_many_there_are() {
        let (mut out, mut sink) = (Vec::new(), Trial::new());
        let taken = Taken { epoch: 1, first: 99, last: 108, batch: Some(10) };
        Answer::new(&mut sink, &mut out, "a: b\r\n", Persistence::Close).accepted(&taken, &[]);
        let (head, body) = parse(&out);
        let fields = "\"first\":99,\"last\":108,\"taken\":10";
        assert_eq!(body, format!("{{\"seq\":99,\"epoch\":\"0000000000000001\",{fields}}}"));
        assert!(head.contains("\r\na: b\r\nconnection: close\r\n"), "{head}");
    }

    #[test]
    fn a_record_of_several_rings_names_each() {
        let (mut out, mut sink) = (Vec::new(), Trial::new());
        let taken = |seq| Taken { epoch: seq, first: seq, last: seq, batch: None };
        let more = [("a", taken(7)), ("bb", taken(10))];
        Answer::new(&mut sink, &mut out, "", Persistence::Stay).accepted(&more[0].1, &more);
        let (_, body) = parse(&out);
        assert_eq!(
            body,
            "{\"seq\":7,\"epoch\":\"0000000000000007\",\"rings\":[\
             {\"ring\":\"a\",\"seq\":7,\"epoch\":\"0000000000000007\"},\
             {\"ring\":\"bb\",\"seq\":10,\"epoch\":\"000000000000000a\"}]}"
        );
    }

    #[test]
    fn a_detail_cannot_break_out_of_its_string() {
        let (mut out, mut sink) = (Vec::new(), Trial::new());
        let answer = Answer::new(&mut sink, &mut out, "", Persistence::Close);
        answer.problem(400, "x: 1\r\n", "a\"b\\c\nd");
        let (head, body) = parse(&out);
        assert_eq!(body, r#"{"title":"Bad Request","status":400,"detail":"a\"b\\c d"}"#);
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains("\r\nx: 1\r\nconnection: close\r\n"), "{head}");
    }

    #[test]
    fn a_head_request_gets_the_length_and_no_body() {
        let mut out = Vec::new();
        let asked =
            Page { resource: Resource::Health, head_only: true, then: Persistence::StayHttp10 };
        let date = crate::codec::http1::date::format(0);
        page(&mut out, &date, &asked, 200, "text/plain; charset=utf-8", "", b"ok\n");
        let text = String::from_utf8(out).expect("ASCII");
        assert!(text.contains("content-length: 3\r\nconnection: keep-alive\r\n"), "{text}");
        assert!(text.ends_with("GMT\r\n\r\n"), "{text}");
    }

    #[test]
    fn statuses_have_the_names_that_another_implementation_gives_them() {
        let named: Vec<u16> =
            (100..600).filter(|status| reason_phrase(*status) != "Error").collect();
        assert_eq!(named.len(), 19, "{named:?}");
        for status in named {
            let other = match status {
                // RFC 9110 §15.5.21.
                422 => Some("Unprocessable Content"),
                _ => hyper::StatusCode::from_u16(status).expect("valid").canonical_reason(),
            };
            assert_eq!(Some(reason_phrase(status)), other);
        }
    }
}
