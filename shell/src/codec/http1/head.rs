//! Request heads: what is common is understood, what is ambiguous is refused.
//!
//! `httparse` splits the lines. Everything that two parsers could read differently (RFC 9112 §11)
//! is an error here: bare line feeds, two lengths, a length beside a transfer coding.

use std::mem::MaybeUninit;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use httparse::{Header, Request, Status};

use super::target::is_host;
use crate::codec::{GIVEN, text};

/// Most header fields that a configuration may allow.
pub const MAX_HEADERS: usize = 256;

/// Longest value of `http2-settings`: more settings than there are names for.
const H2C_SETTINGS_DIGITS_MAX: usize = 8 * 64;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; none if nothing is said.
    Length(u64),
    /// More bytes than can be counted.
    Endless,
    /// In chunks.
    Chunked,
}

/// The tag that a request gives its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tag {
    /// Nothing said.
    #[default]
    Absent,
    /// This one.
    Value(u16),
    /// Not one number of 16 bits.
    Bad,
}

/// One request head.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one finding of its own")]
pub(super) struct Head<'a> {
    /// Bytes of the head.
    pub(super) bytes: usize,
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) is_http10: bool,
    pub(super) stays: bool,
    pub(super) framing: Framing,
    pub(super) tag: Tag,
    pub(super) content_type: Option<&'a [u8]>,
    /// A content coding other than identity is named.
    pub(super) is_coded: bool,
    pub(super) host: Option<&'a [u8]>,
    pub(super) origin: Option<&'a [u8]>,
    pub(super) expect: Option<&'a [u8]>,
    pub(super) idempotency_key: Option<&'a [u8]>,
    pub(super) acknowledge: Option<&'a [u8]>,
    /// Attributes of its records, as the request names them itself.
    pub(super) attributes: Option<&'a [u8]>,
    /// `Upgrade: h2c`, with all that belongs to it.
    pub(super) wants_h2c: bool,
}

/// Why a head is refused. The connection cannot go on, for the next request cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadHead {
    pub(super) status: u16,
    pub(super) detail: &'static str,
}

const fn bad(detail: &'static str) -> BadHead {
    BadHead { status: 400, detail }
}

const NOT_HTTP: BadHead = bad("this is not an HTTP request");
const OTHER_VERSION: BadHead = BadHead { status: 505, detail: "this is not HTTP/1.1 or HTTP/1.0" };
const TOO_LARGE: BadHead = BadHead { status: 431, detail: "the request head is too large" };

/// Reads the head at the front of `input`; `None` if it is not complete yet.
pub(super) fn parse(
    input: &[u8],
    max_bytes: usize,
    max_headers: usize,
) -> Result<Option<Head<'_>>, BadHead> {
    // What is decided depends on these bytes alone, however many have arrived already.
    let input = &input[..input.len().min(max_bytes)];
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let headers = &mut headers[..max_headers.min(MAX_HEADERS)];
    let mut request = Request::new(&mut []);
    let bytes = match request.parse_with_uninit_headers(input, headers) {
        Ok(Status::Complete(bytes)) => bytes,
        Ok(Status::Partial) if input.len() < max_bytes => return Ok(None),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(httparse::Error::Version) => match request_line(input) {
            None if input.len() < max_bytes => return Ok(None),
            Some(line) if names_a_version(line) => return Err(OTHER_VERSION),
            _ => return Err(NOT_HTTP),
        },
        Err(_) => return Err(NOT_HTTP),
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(NOT_HTTP);
    };
    if !lines_end_in_crlf(&input[..bytes]) {
        return Err(bad("a line of the head does not end in CR LF"));
    }
    let is_http10 = version == 0;
    let fields = Fields::collect(request.headers)?;
    let host_is_good = match fields.host {
        None => is_http10,
        Some(host) => is_host(host),
    };
    if !host_is_good {
        return Err(bad("a request names its host once"));
    }
    Ok(Some(Head {
        bytes,
        method: method.as_bytes(),
        target: target.as_bytes(),
        is_http10,
        stays: if is_http10 { fields.keep_alive && !fields.close } else { !fields.close },
        framing: fields.framing(is_http10)?,
        tag: fields.tag,
        content_type: fields.content_type,
        is_coded: fields.is_coded,
        host: fields.host,
        idempotency_key: fields.idempotency_key,
        acknowledge: fields.acknowledge,
        attributes: fields.attributes,
        origin: fields.origin,
        // RFC 9110 §10.1.1: an expectation of an HTTP/1.0 client is ignored.
        expect: fields.expect.filter(|_| !is_http10),
        wants_h2c: fields.upgrade && fields.h2c && fields.h2_settings == Some(true) && !is_http10,
    }))
}

/// The first line; `None` if it is not complete.
fn request_line(head: &[u8]) -> Option<&[u8]> {
    memchr::memchr2(b'\r', b'\n', head).map(|end| &head[..end])
}

/// Whether a line is a request line of some version of HTTP (RFC 9112 §3). `httparse` blames the
/// version for whatever comes after the second space.
fn names_a_version(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let version = words.next().and_then(|word| word.strip_prefix(b"HTTP/"));
    let is_version = matches!(version, Some([major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit());
    is_version && words.next().is_none()
}

/// Calls `each` with the line of every field of a head that [`parse`] has accepted, without what
/// ends it, until it fails. Such a head needs no second parser: each of its lines ends in CR LF.
pub(super) fn for_each_line<'a, E>(
    head: &'a [u8],
    mut each: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let lines = head.trim_ascii_start();
    let mut ends = memchr::memchr_iter(b'\n', lines);
    let mut from = ends.next().map_or(lines.len(), |end| end + 1);
    for end in ends {
        // The last line is empty, and no field.
        each(lines[from..end].trim_ascii_end())?;
        from = end + 1;
    }
    Ok(())
}

/// Whether no line feed stands alone. Bare carriage returns and NULs are httparse's errors.
fn lines_end_in_crlf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}

/// The fields that matter.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one token of a field")]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    tag: Tag,
    content_type: Option<&'a [u8]>,
    is_coded: bool,
    origin: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    idempotency_key: Option<&'a [u8]>,
    acknowledge: Option<&'a [u8]>,
    attributes: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    h2c: bool,
    h2_settings: Option<bool>,
}

impl<'a> Fields<'a> {
    fn collect(headers: &[Header<'a>]) -> Result<Self, BadHead> {
        let mut fields = Self::default();
        for header in headers {
            let (name, value) = (header.name.as_bytes(), header.value);
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is(b"host") => {
                    once(&mut fields.host, value, "a request names its host once")?;
                }
                6 if is(b"origin") => {
                    once(&mut fields.origin, value, "a request has one origin")?;
                }
                6 if is(b"expect") => {
                    once(&mut fields.expect, value, "the field expect is there twice")?;
                }
                7 if is(b"upgrade") => fields.h2c |= tokens(value).any(|token| token == b"h2c"),
                10 if is(b"connection") => fields.connection(value),
                12 if is(b"content-type") => {
                    once(&mut fields.content_type, value, "a body has one type")?;
                }
                13 if is(b"aqueduct-type") => {
                    fields.tag = match (fields.tag, text::type_tag(value)) {
                        (Tag::Absent, Some(tag)) => Tag::Value(tag),
                        _ => Tag::Bad,
                    };
                }
                14 if is(b"content-length") => {
                    once(&mut fields.content_length, value, "a body has one length")?;
                }
                14 if is(b"http2-settings") => {
                    // RFC 7540 §3.2.1: no upgrade, if it is not there once.
                    let is_good = h2c_settings(value).is_some();
                    fields.h2_settings = Some(is_good && fields.h2_settings.is_none());
                }
                15 if is(b"idempotency-key") => {
                    let detail = "a request has one idempotency-key";
                    once(&mut fields.idempotency_key, value, detail)?;
                }
                19 if is(GIVEN.as_bytes()) => {
                    let detail = "the field aqueduct-attributes is there twice";
                    once(&mut fields.attributes, value, detail)?;
                }
                20 if is(b"aqueduct-acknowledge") => {
                    let detail = "the field aqueduct-acknowledge is there twice";
                    once(&mut fields.acknowledge, value, detail)?;
                }
                16 if is(b"content-encoding") => {
                    fields.is_coded |=
                        tokens(value).any(|token| !token.eq_ignore_ascii_case(b"identity"));
                }
                17 if is(b"transfer-encoding") => {
                    let detail = "the field transfer-encoding is there twice";
                    once(&mut fields.transfer_encoding, value, detail)?;
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    fn connection(&mut self, value: &[u8]) {
        for token in tokens(value) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// RFC 9112 §6, without any of its choices.
    fn framing(&self, is_http10: bool) -> Result<Framing, BadHead> {
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(Framing::Length(0)),
            (None, Some(length)) => {
                if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
                    return Err(bad("the content-length is not one decimal number"));
                }
                Ok(text::decimal(length).map_or(Framing::Endless, Framing::Length))
            }
            (Some(_), Some(_)) => Err(bad("a body has a length or a transfer coding, not both")),
            (Some(_), None) if is_http10 => Err(bad("HTTP/1.0 has no transfer codings")),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            (Some(codings), None) => Err(refuse_codings(codings)),
        }
    }
}

/// Decodes the value of `http2-settings`: the payload of a SETTINGS frame, in base64url without
/// padding.
pub fn h2c_settings(value: &[u8]) -> Option<Vec<u8>> {
    // A setting is six bytes, so eight digits.
    if !value.len().is_multiple_of(8) || value.len() > H2C_SETTINGS_DIGITS_MAX {
        return None;
    }
    URL_SAFE_NO_PAD.decode(value).ok()
}

/// A coding before `chunked` is not implemented; anything else has no end that could be found.
fn refuse_codings(codings: &[u8]) -> BadHead {
    let is_chunked = |token: &[u8]| token.eq_ignore_ascii_case(b"chunked");
    let chunked_once = tokens(codings).filter(|token| is_chunked(token)).count() == 1;
    if chunked_once && tokens(codings).last().is_some_and(is_chunked) {
        BadHead { status: 501, detail: "no transfer coding but chunked is known" }
    } else {
        bad("the transfer codings do not end in one chunked")
    }
}

fn once<'a>(
    field: &mut Option<&'a [u8]>,
    value: &'a [u8],
    detail: &'static str,
) -> Result<(), BadHead> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad(detail)),
    }
}

/// The elements of a comma-separated list.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}
