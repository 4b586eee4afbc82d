//! Translates messages between HTTP/2 and HTTP/1.1 (RFC 9113 §8). Pure.
//!
//! A request becomes the head that an HTTP/1.1 client would have sent, and its answer is read back
//! field by field. So [`http1`](crate::codec::http1) answers every request, whatever brought it,
//! and the two versions cannot differ in what they accept.
//!
//! Nothing can be smuggled through: methods, paths and fields are types of the crate `http`, which
//! hold no line ends, and what frames a message (`transfer-encoding`, `connection`, `upgrade`) is
//! refused by the HTTP/2 layer before it comes here (§8.2.2).

use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use super::STREAM_WINDOW_BYTES;

/// Most fields of an answer.
const ANSWER_FIELDS_MAX: usize = 16;

/// How HTTP/1.1 finds the end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    None,
    /// The request says how long it is.
    Length(usize),
    /// In chunks.
    Chunked,
}

impl Framing {
    /// Chooses how to frame the body of a request; `ends` if its stream ended with the head.
    pub(super) fn of(parts: &Parts, ends: bool) -> Self {
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        match length.and_then(|length| length.parse().ok()) {
            Some(length) => Self::Length(length),
            None if ends => Self::None,
            None => Self::Chunked,
        }
    }

    /// Returns how many bytes of the body may have arrived and not been read, at most.
    pub(super) fn unread_bytes_max(self) -> usize {
        let window = STREAM_WINDOW_BYTES as usize;
        match self {
            Self::None => 0,
            Self::Length(length) => length.min(window),
            Self::Chunked => window,
        }
    }
}

/// Writes the head of a request.
pub(super) fn head(parts: &Parts, framing: Framing) -> Vec<u8> {
    let mut head = Vec::with_capacity(256);
    head.extend_from_slice(parts.method.as_str().as_bytes());
    head.push(b' ');
    let authority = parts.uri.authority();
    match (parts.uri.path_and_query(), authority) {
        (Some(path), _) => head.extend_from_slice(path.as_str().as_bytes()),
        // CONNECT.
        (None, Some(authority)) => head.extend_from_slice(authority.as_str().as_bytes()),
        (None, None) => head.push(b'/'),
    }
    head.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority {
        field(&mut head, &HOST, authority.as_str().as_bytes());
    }
    for (name, value) in &parts.headers {
        // RFC 9113 §8.3.1: a `host` beside `:authority` must equal it. One that differs is written
        // as well, and the codec refuses a request with two hosts.
        let is_repeated = name == HOST
            && authority.is_some_and(|authority| authority.as_str().as_bytes() == value.as_bytes());
        if !is_repeated {
            field(&mut head, name, value.as_bytes());
        }
    }
    if framing == Framing::Chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Reads the final answer to the one request of a connection; `None` if there is none.
pub(super) fn answer(mut bytes: &[u8]) -> Option<Response<Bytes>> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; ANSWER_FIELDS_MAX];
        let mut answer = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(head)) = answer.parse(bytes) else { return None };
        let status = StatusCode::from_u16(answer.code?).ok()?;
        if status.is_informational() {
            // 100 Continue: an HTTP/2 client waits for its window instead.
            bytes = &bytes[head..];
            continue;
        }
        let mut response = Response::new(Bytes::copy_from_slice(&bytes[head..]));
        *response.status_mut() = status;
        for field in answer.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            if name != CONNECTION {
                response.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
            }
        }
        return Some(response);
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn written(request: &Request<()>, ends: bool) -> String {
        let (parts, ()) = request.clone().into_parts();
        String::from_utf8(head(&parts, Framing::of(&parts, ends))).expect("ASCII")
    }

    #[test]
    fn a_request_becomes_the_head_that_http_1_would_have() {
        let request = Request::post("http://h:80/v1/rings/a/records?x=1")
            .header("aqueduct-type", "7")
            .header("content-length", "3")
            .body(())
            .expect("a request");
        assert_eq!(
            written(&request, false),
            "POST /v1/rings/a/records?x=1 HTTP/1.1\r\nhost: h:80\r\naqueduct-type: 7\r\n\
             content-length: 3\r\n\r\n"
        );
        let request = Request::post("http://h/").body(()).expect("a request");
        assert!(written(&request, false).ends_with("transfer-encoding: chunked\r\n\r\n"));
        assert_eq!(written(&request, true), "POST / HTTP/1.1\r\nhost: h\r\n\r\n");
    }

    #[test]
    fn a_host_beside_the_authority_is_left_out_if_it_is_the_same_and_kept_if_not() {
        let with = |host: &str| {
            let request = Request::get("http://h/").header("host", host);
            written(&request.body(()).expect("a request"), true)
        };
        assert_eq!(with("h"), "GET / HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(with("other"), "GET / HTTP/1.1\r\nhost: h\r\nhost: other\r\n\r\n");
        let request = Request::get("/").header("host", "only").body(()).expect("a request");
        assert_eq!(written(&request, true), "GET / HTTP/1.1\r\nhost: only\r\n\r\n");
    }

    #[test]
    fn connect_and_asterisk_keep_their_targets() {
        let connect = Request::connect("h:443").body(()).expect("a request");
        assert_eq!(written(&connect, true), "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n");
        let options = Request::options("*").header("host", "h").body(()).expect("a request");
        assert_eq!(written(&options, true), "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n");
    }

    #[test]
    fn an_answer_is_read_back_without_what_belongs_to_its_connection() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Payload Too Large\r\n\
                      content-length: 2\r\nconnection: close\r\nretry-after: 1\r\n\r\n{}";
        let answer = answer(bytes).expect("an answer");
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (413, &b"{}"[..]));
        let names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-length", "retry-after"]);
        assert!(super::answer(b"HTTP/1.1 100 Continue\r\n\r\n").is_none());
        assert!(super::answer(b"").is_none());
    }
}
