//! Responses: JSON, plain text, and problems as RFC 9457 describes them.
//!
//! Pure.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    HeaderValue, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};

pub(super) type Reply = Response<Full<Bytes>>;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A response with a body.
pub(super) fn with(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A problem; `detail` is for people.
pub(super) fn problem(status: StatusCode, detail: &str) -> Reply {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut response =
        Response::new(Full::new(problem_json(status.as_u16(), title, detail).into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
    response
}

/// Adds what a client needs to try again later.
pub(super) fn retry_later(reply: Reply) -> Reply {
    and(reply, RETRY_AFTER, "1")
}

/// Tells a browser to run nothing and ask nobody else but this address, and to keep nothing.
pub(super) fn for_browsers(reply: Reply) -> Reply {
    const FIELDS: [(HeaderName, &str); 5] = [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    FIELDS.into_iter().fold(reply, |reply, (name, value)| and(reply, name, value))
}

/// Ends the connection after this response.
pub(super) fn closing(reply: Reply) -> Reply {
    and(reply, CONNECTION, "close")
}

/// Names the methods of a resource.
pub(super) fn allowing(reply: Reply, methods: &'static str) -> Reply {
    and(reply, ALLOW, methods)
}

fn and(mut reply: Reply, name: HeaderName, value: &'static str) -> Reply {
    reply.headers_mut().insert(name, HeaderValue::from_static(value));
    reply
}

/// A whole problem response as bytes, for connections that hyper does not serve. `headers` ends
/// each line with CRLF.
pub(super) fn raw(status: u16, title: &str, detail: &str, headers: &str) -> String {
    let body = problem_json(status, title, detail);
    format!(
        "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The body of a problem.
pub fn problem_json(status: u16, title: &str, detail: &str) -> String {
    format!(r#"{{"title":"{}","status":{status},"detail":"{}"}}"#, escape(title), escape(detail))
}

/// The inside of a JSON string.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\0'..='\u{1f}' => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_cannot_break_out_of_its_string() {
        assert_eq!(
            problem_json(400, "T", "a\"b\\c\nd"),
            r#"{"title":"T","status":400,"detail":"a\"b\\c d"}"#
        );
    }

    #[test]
    fn a_raw_problem_is_a_whole_response() {
        let text = raw(408, "Request Timeout", "late", "");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len()))
                && head.ends_with("connection: close")
        );
    }
}
