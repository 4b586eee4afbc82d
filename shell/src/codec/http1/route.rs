//! From a good head to what is done about it.

use aqueduct_core::AttributeError;
use aqueduct_core::attributes::name::PATH;

use super::answer::Answer;
use super::batch::Form;
use super::chunked::Chunked;
use super::head::{self, Head, Tag};
use super::target::{self, Target};
use super::{Body, Config, Framing, Origin, publish};
use crate::codec::{Event, Kept, Page, Persistence, Reason, Resource, Ring, Sink};

/// What is done about a request.
pub(super) enum Route {
    /// It is answered.
    Answered(Persistence),
    /// The process answers it.
    Page(Page),
    /// Hyper answers it.
    HandOver,
    /// Its body is records.
    Body(Body),
}

/// A refusal for good: status, extra lines, detail.
type Refusal = (u16, &'static str, &'static str);

const NO_ORIGIN: Refusal = (403, "", "pages of this origin may not use this listener");
const BAD_TARGET: Refusal = (400, "", "the request target is not a path or an http URI");
const NO_RESOURCE: Refusal =
    (404, "", "no such resource; records are posted to /v1/rings/{ring}/records");
const NO_RING: Refusal = (404, "", "there is no ring of that name");
const READ_ONLY: Refusal = (405, "allow: GET, HEAD\r\n", "this resource is only read");
const POST_ONLY: Refusal = (405, "allow: POST\r\n", "records are posted");
const BAD_EXPECTATION: Refusal = (417, "", "no expectation but 100-continue is known");
const BAD_TYPE: Refusal =
    (400, "", "the header aqueduct-type must be one decimal number from 0 to 65535");
const CODED: Refusal = (415, "accept-encoding: identity\r\n", "content codings are not decoded");
const MUCH_TO_KEEP: Refusal =
    (431, "", "path and headers that are kept with a record have together more than 4,080 bytes");
const TWO_TAGS: Refusal =
    (400, "", "each record of this media type has its type; the header aqueduct-type has no place");

/// Collects what is kept of a request with this head.
pub(super) fn keep(
    config: &Config,
    peer: &str,
    head: &Head<'_>,
    bytes: &[u8],
) -> Result<Kept, AttributeError> {
    config.keep.collect(peer, |collector| {
        collector.value(PATH, head.target)?;
        head::for_each_field(bytes, |name, value| collector.header(name, value))
    })
}

/// Answers a request, or says who does. `attribute_bytes`: what is kept of it; `None` if that is
/// more than a record may have.
pub(super) fn route<S: Sink>(
    config: &Config,
    head: &Head<'_>,
    attribute_bytes: Option<usize>,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Route {
    let then = match (head.stays && !sink.is_ending(), head.is_http10) {
        (false, _) => Persistence::Close,
        (true, true) => Persistence::StayHttp10,
        (true, false) => Persistence::Stay,
    };
    // An unread body would have to be read to find the next request.
    let unread = if head.framing == head::Framing::Length(0) { then } else { Persistence::Close };
    let origin = origin_of(head, &config.origins);
    let cors = origin.ok().flatten().map_or("", |index| &*config.origins[index].lines);
    let refused = |refusal: Refusal, sink: &mut S, out: &mut Vec<u8>, then| {
        let (status, lines, detail) = refusal;
        let answer = Answer::new(sink, out, cors, then).for_method(head.method);
        answer.problem(status, lines, detail);
        Route::Answered(then)
    };
    let Ok(origin) = origin else { return refused(NO_ORIGIN, sink, out, unread) };
    // RFC 9110 §7.8: an upgrade may be ignored. With a body, or for another target than a path, it
    // is.
    let is_plain = head.framing == head::Framing::Length(0)
        && (head.target.starts_with(b"/") || head.target == b"*");
    if head.wants_h2c && config.http2 && is_plain {
        return Route::HandOver;
    }
    let is_read = matches!(head.method, b"GET" | b"HEAD");
    let ring = match target::parse(head.target) {
        Err(target::BadTarget) => return refused(BAD_TARGET, sink, out, Persistence::Close),
        Ok(Target::Unknown) => return refused(NO_RESOURCE, sink, out, unread),
        Ok(Target::Page(_)) if !is_read => return refused(READ_ONLY, sink, out, unread),
        Ok(Target::Page(resource)) => return page(resource, head, unread),
        Ok(Target::Records(name)) => match sink.ring(name) {
            None => return refused(NO_RING, sink, out, unread),
            Some(ring) => ring,
        },
    };
    if head.method == b"OPTIONS" && origin.is_some() {
        Answer::new(sink, out, cors, unread).preflight(config.keep.headers());
        return Route::Answered(unread);
    }
    if head.method != b"POST" {
        return refused(POST_ONLY, sink, out, unread);
    }
    let form = Form::of(head.content_type);
    let (reason, refusal) = match head.expect {
        Some(value) if !value.eq_ignore_ascii_case(b"100-continue") => {
            (Reason::Malformed, BAD_EXPECTATION)
        }
        _ if sink.is_ending() => (Reason::ShuttingDown, publish::SHUTTING_DOWN),
        _ if head.tag == Tag::Bad => (Reason::BadType, BAD_TYPE),
        _ if head.is_coded => (Reason::Malformed, CODED),
        _ if form == Form::Counted && head.tag != Tag::Absent => (Reason::BadType, TWO_TAGS),
        _ => match attribute_bytes {
            None => (Reason::TooLarge, MUCH_TO_KEEP),
            Some(bytes) => return body(config, head, ring, (form, bytes), origin, then, sink, out),
        },
    };
    sink.note(Event::Rejected { ring: Some(ring.id), reason, records: 1 });
    refused(refusal, sink, out, Persistence::Close)
}

/// Finds the origin that a request comes from, if it comes from a page. One that may not use this
/// listener is an error.
fn origin_of(head: &Head<'_>, origins: &[Origin]) -> Result<Option<usize>, ()> {
    let Some(value) = head.origin else { return Ok(None) };
    origins.iter().position(|origin| origin.value() == value).map(Some).ok_or(())
}

/// Reads a head that asks for a page, by the rules of every other request. `None` if it is not
/// complete or asks for something else.
///
/// # Errors
/// Status and detail of the refusal: the head is malformed, or comes from a page of an origin that
/// is not one of `origins`.
pub fn page_asked(
    input: &[u8],
    (max_bytes, max_headers): (usize, usize),
    origins: &[Origin],
) -> Result<Option<Page>, (u16, &'static str)> {
    let head = match head::parse(input, max_bytes, max_headers) {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(None),
        Err(bad) => return Err((bad.status, bad.detail)),
    };
    let is_read = matches!(head.method, b"GET" | b"HEAD");
    match target::parse(head.target) {
        Err(target::BadTarget) => Err((BAD_TARGET.0, BAD_TARGET.2)),
        Ok(_) if origin_of(&head, origins).is_err() => Err((NO_ORIGIN.0, NO_ORIGIN.2)),
        Ok(Target::Page(resource)) if is_read => {
            let head_only = head.method == b"HEAD";
            Ok(Some(Page { resource, head_only, then: Persistence::Close }))
        }
        Ok(_) => Ok(None),
    }
}

fn page(resource: Resource, head: &Head<'_>, then: Persistence) -> Route {
    Route::Page(Page { resource, head_only: head.method == b"HEAD", then })
}

/// Accepts a body, unless its length alone is too much.
#[expect(clippy::too_many_arguments, reason = "they are what routing found out")]
fn body<S: Sink>(
    config: &Config,
    head: &Head<'_>,
    ring: Ring,
    (form, attribute_bytes): (Form, usize),
    origin: Option<usize>,
    then: Persistence,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Route {
    let of_ring = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let limit = match form {
        Form::One => of_ring(u64::from(ring.max_payload_bytes)).saturating_sub(attribute_bytes),
        _ => config.max_batch_bytes.min(of_ring(ring.capacity_bytes)),
    };
    let tag = if let Tag::Value(tag) = head.tag { tag } else { 0 };
    let framing = Framing::Length(0);
    let mut body = Body { ring, tag, form, attribute_bytes, limit, framing, origin, then };
    let announced = match head.framing {
        head::Framing::Length(bytes) => usize::try_from(bytes).ok().filter(|bytes| *bytes <= limit),
        head::Framing::Endless => None,
        head::Framing::Chunked => Some(0),
    };
    let fits = attribute_bytes as u64 <= u64::from(ring.max_payload_bytes);
    let Some(announced) = announced.filter(|_| fits) else {
        publish::too_large(config, &body, sink, out);
        return Route::Answered(Persistence::Close);
    };
    body.framing = if head.framing == head::Framing::Chunked {
        Framing::Chunked(Chunked::new())
    } else {
        Framing::Length(announced)
    };
    if head.expect.is_some() && head.framing != head::Framing::Length(0) {
        out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    Route::Body(body)
}
