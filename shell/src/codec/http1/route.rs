//! From a good head to what is done about it.

use aqueduct_core::attributes::name::PATH;

use super::answer::Answer;
use super::batch::Form;
use super::chunked::Chunked;
use super::head::{self, Head, Tag};
use super::on_route::{self, Current, OnRoute};
use super::target::{self, Target};
use super::wants::Wants;
use super::{Body, Config, Framing, Origin, publish};
use crate::codec::{BadGiven, Event, Kept, Page, Persistence, Reason, Resource, Ring, Sink};
use crate::middleware::{
    Client, Exchange, Found, Looked, NotFound, Problem, RequestHead, normalise,
};
use crate::tls::Peer;

/// Attributes that only routes have.
const REQUEST_ID: &str = ":request-id";
const CREDENTIAL: &str = ":credential";
const PARAMETER: &str = ":param.";
/// Headers that a page may send to a route beside those that every address reads.
const ROUTE_HEADERS: [&str; 3] = ["authorization", "idempotency-key", "aqueduct-acknowledge"];

/// What is done about a request.
pub(super) enum Decision {
    /// It is answered.
    Answered(Persistence),
    /// A worker is asked first.
    Away,
    /// The process answers it.
    Page(Page),
    /// Hyper answers it.
    HandOver,
    /// Its body is records, with what is kept of the request.
    Body(Body, Kept, Wants),
}

/// What routing needs to know beside the head.
pub(super) struct Request<'a> {
    pub(super) config: &'a Config,
    /// Who sent it.
    pub(super) peer: &'a str,
    /// Whom the certificate of its connection names.
    pub(super) certificate: Option<&'a Peer>,
    /// The bytes of the head.
    pub(super) bytes: &'a [u8],
}

/// Whom a request is for.
enum Way<'a> {
    /// A resource of the listener itself.
    Own(Target<'a>),
    /// A configured route.
    Route(Found),
    /// Nobody.
    None(NotFound),
}

/// A refusal for good: status, extra lines, detail.
type Refusal<'a> = (u16, &'a str, &'a str);

const NO_ORIGIN: Refusal<'static> = (403, "", "pages of this origin may not use this listener");
const BAD_TARGET: Refusal<'static> = (400, "", "the request target is not a path or an http URI");
const NO_RESOURCE: Refusal<'static> =
    (404, "", "no such resource; records are posted to /v1/rings/{ring}/records");
const NO_RING: Refusal<'static> = (404, "", "there is no ring of that name");
const READ_ONLY: Refusal<'static> = (405, "allow: GET, HEAD\r\n", "this resource is only read");
const POST_ONLY: Refusal<'static> = (405, "allow: POST\r\n", "records are posted");
const BAD_EXPECTATION: Refusal<'static> = (417, "", "no expectation but 100-continue is known");
const BAD_TYPE: Refusal<'static> =
    (400, "", "the header aqueduct-type must be one decimal number from 0 to 65535");
const CODED: Refusal<'static> =
    (415, "accept-encoding: identity\r\n", "content codings are not decoded");
const MUCH_TO_KEEP: Refusal<'static> =
    (431, "", "path and headers that are kept with a record have together more than 4,080 bytes");
const NOT_GIVEN: Refusal<'static> =
    (403, "", "the header aqueduct-attributes is not taken here: it is not among `attributes`");
const BAD_GIVEN: Refusal<'static> =
    (400, "", "the header aqueduct-attributes is not a block of attributes in base64");
const ROUTE_TAG: Refusal<'static> =
    (400, "", "records of this route have its type; the header aqueduct-type has no place");
const NO_ROUTE: Refusal<'static> =
    (404, "", "no route has this path; records are also posted to /v1/rings/{ring}/records");
const NO_HOST: Refusal<'static> = (404, "", "the routes of this path are for other hosts");
const TWO_TAGS: Refusal<'static> =
    (400, "", "each record of this media type has its type; the header aqueduct-type has no place");

/// Collects what is kept of a request.
fn keep<S: Sink>(
    request: &Request<'_>,
    head: &Head<'_>,
    on: Option<&Exchange>,
    sink: &mut S,
) -> Result<Kept, BadGiven> {
    let Request { config, peer, bytes, .. } = request;
    let routes = config.routes.as_ref();
    let own = routes.zip(on).and_then(|(routes, on)| routes.keeps.get(on.route().index)?.as_ref());
    let keep = own.unwrap_or(&config.keep);
    if keep.is_empty() && head.attributes.is_some() {
        return Err(BadGiven::Unwanted);
    }
    keep.collect(peer, |collector| {
        if let Some(given) = head.attributes {
            collector.given(given)?;
        }
        collector.value(PATH, head.target)?;
        if let Some(on) = on {
            if let Some(id) = &on.request_id {
                collector.value(REQUEST_ID, id.as_bytes())?;
            }
            if let Some(credential) = &on.credential {
                collector.value(CREDENTIAL, credential.name.as_bytes())?;
            }
            for (name, value) in on.route().pattern.parameters().iter().zip(&on.values) {
                collector.value(&[PARAMETER, name].concat(), value.as_bytes())?;
            }
        }
        head::for_each_line(bytes, |line| collector.line(line))?;
        collector.root(|| sink.root())?;
        Ok(())
    })
}

/// Finds out whom a request is for.
fn way<'a>(
    config: &Config,
    head: &Head<'a>,
    on: &mut Current,
) -> Result<Way<'a>, target::BadTarget> {
    let Some(parts) = target::split(head.target)? else { return Ok(Way::Own(Target::Unknown)) };
    let own = parts.resource();
    let Some(routes) = config.routes.as_ref().filter(|_| own == Target::Unknown) else {
        return Ok(Way::Own(own));
    };
    let path = match normalise(parts.path) {
        Ok(path) => path,
        Err(bad) => return Ok(Way::None(NotFound::Bad(bad))),
    };
    let host = parts.authority.or(head.host).unwrap_or_default();
    Ok(match routes.router.find_with(head.method, host, &path, on.room_for_values()) {
        Ok(found) => Way::Route(found),
        Err(missed) => Way::None(missed),
    })
}

/// Answers a request, or says who does. `on` is what is known of it if a worker was asked already.
pub(super) fn route<S: Sink>(
    request: &Request<'_>,
    head: &Head<'_>,
    on: &mut Current,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Decision {
    let config = request.config;
    let then = match (head.stays && !sink.is_ending(), head.is_http10) {
        (false, _) => Persistence::Close,
        (true, true) => Persistence::StayHttp10,
        (true, false) => Persistence::Stay,
    };
    // An unread body would have to be read to find the next request.
    let unread = if head.framing == head::Framing::Length(0) { then } else { Persistence::Close };
    let origin = origin_of(head, &config.origins);
    let cors = origin.ok().flatten().map_or("", |index| &*config.origins[index].lines);
    let refused = |refusal: Refusal<'_>, sink: &mut S, out: &mut Vec<u8>, then| {
        let (status, lines, detail) = refusal;
        let answer = Answer::new(sink, out, cors, then).for_method(head.method);
        answer.problem(status, lines, detail);
        Decision::Answered(then)
    };
    let Ok(origin) = origin else { return refused(NO_ORIGIN, sink, out, unread) };
    // RFC 9110 §7.8: an upgrade may be ignored. With a body, or for another target than a path, it
    // is.
    let is_plain = head.framing == head::Framing::Length(0)
        && (head.target.starts_with(b"/") || head.target == b"*");
    if head.wants_h2c && config.h2c && is_plain {
        return Decision::HandOver;
    }
    let is_read = matches!(head.method, b"GET" | b"HEAD");
    let asks_permission = head.method == b"OPTIONS" && origin.is_some();
    let ring = match way(config, head, on) {
        Err(target::BadTarget) => return refused(BAD_TARGET, sink, out, Persistence::Close),
        Ok(Way::Own(Target::Unknown)) if config.routes.is_some() => {
            return refused(NO_ROUTE, sink, out, unread);
        }
        Ok(Way::Own(Target::Unknown)) => return refused(NO_RESOURCE, sink, out, unread),
        Ok(Way::Own(Target::Page(_))) if !is_read => return refused(READ_ONLY, sink, out, unread),
        Ok(Way::Own(Target::Page(resource))) => return page(resource, head, unread),
        Ok(Way::Own(Target::Records(name))) => match sink.ring(name) {
            None => return refused(NO_RING, sink, out, unread),
            Some(_) if asks_permission => {
                Answer::new(sink, out, cors, unread).preflight("POST", config.keep.headers());
                return Decision::Answered(unread);
            }
            Some(_) if head.method != b"POST" => return refused(POST_ONLY, sink, out, unread),
            Some(ring) => match guard(config, ring, sink) {
                Guarded::No => ring,
                Guarded::By(found) => {
                    match entered(request, head, found, (on, cors, unread), sink, out) {
                        Ok(ring) => ring,
                        Err(decision) => return *decision,
                    }
                }
                Guarded::Unknown => return refused(NO_RING, sink, out, unread),
            },
        },
        Ok(Way::None(NotFound::Method(allowed))) if asks_permission => {
            let headers = ROUTE_HEADERS.into_iter().chain(config.keep.headers());
            Answer::new(sink, out, cors, unread).preflight(&allowed, headers);
            return Decision::Answered(unread);
        }
        Ok(Way::None(NotFound::Method(allowed))) => {
            let lines = format!("allow: {allowed}\r\n");
            return refused(
                (405, &lines, "no route of this path has this method"),
                sink,
                out,
                unread,
            );
        }
        Ok(Way::None(NotFound::Path)) => return refused(NO_ROUTE, sink, out, unread),
        Ok(Way::None(NotFound::Host)) => return refused(NO_HOST, sink, out, unread),
        Ok(Way::None(NotFound::Bad(bad))) => {
            return refused((400, "", bad.0), sink, out, Persistence::Close);
        }
        Ok(Way::Route(found)) => {
            match entered(request, head, found, (on, cors, unread), sink, out) {
                Ok(ring) => ring,
                Err(decision) => return *decision,
            }
        }
    };
    accept(request, head, on.get(), ring, (origin, then), sink, out)
}

/// Takes a request for records, unless its head says something that cannot be taken.
fn accept<S: Sink>(
    request: &Request<'_>,
    head: &Head<'_>,
    on: Option<&OnRoute>,
    ring: Ring,
    (origin, then): (Option<usize>, Persistence),
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Decision {
    let config = request.config;
    let cors = origin.map_or("", |index| &*config.origins[index].lines);
    let route = on.map(|on| on.exchange.route());
    let is_one =
        on.is_some_and(|on| on.rings.len() > 1) || route.is_some_and(|it| it.changes_bodies());
    let form = if is_one { Form::One } else { Form::of(head.content_type) };
    let tag = match (route.and_then(|route| route.type_tag), head.tag) {
        (Some(tag), Tag::Absent) => Ok(Tag::Value(tag)),
        (Some(_), _) => Err(ROUTE_TAG),
        (None, Tag::Bad) => Err(BAD_TYPE),
        (None, tag) => Ok(tag),
    };
    let is_decoded = on.is_some_and(|on| !on.exchange.codings.is_empty());
    let exchange = on.map(|on| &on.exchange);
    let level = route.map(|route| &route.acknowledge);
    let rings = on.map_or(std::slice::from_ref(&ring), |on| &*on.rings);
    let wants = Wants::read(head, level, rings, sink);
    let (reason, refusal) = match (head.expect, tag) {
        (Some(value), _) if !value.eq_ignore_ascii_case(b"100-continue") => {
            (Reason::Malformed, BAD_EXPECTATION)
        }
        _ if sink.is_ending() => (Reason::ShuttingDown, publish::SHUTTING_DOWN),
        (_, Err(refusal)) => (Reason::BadType, refusal),
        _ if head.is_coded && !is_decoded => (Reason::Malformed, CODED),
        (_, Ok(tag)) if form == Form::Counted && tag != Tag::Absent => (Reason::BadType, TWO_TAGS),
        (_, Ok(tag)) => match (keep(request, head, exchange, sink), wants) {
            (Err(BadGiven::Room(_)), _) => (Reason::TooLarge, MUCH_TO_KEEP),
            (Err(BadGiven::Unwanted), _) => (Reason::Denied, NOT_GIVEN),
            (Err(BadGiven::Malformed), _) => (Reason::Malformed, BAD_GIVEN),
            (_, Err(detail)) => (Reason::Malformed, (400, "", detail)),
            (Ok(kept), Ok(wants)) => {
                let tag = if let Tag::Value(tag) = tag { tag } else { 0 };
                return body(
                    config,
                    head,
                    on,
                    (ring, tag, form),
                    (kept, wants),
                    origin,
                    then,
                    sink,
                    out,
                );
            }
        },
    };
    sink.note(Event::Rejected { ring: Some(ring.id), reason, records: 1 });
    let (status, lines, detail) = refusal;
    let answer = Answer::new(sink, out, cors, Persistence::Close).for_method(head.method);
    answer.of(exchange).problem(status, lines, detail);
    Decision::Answered(Persistence::Close)
}

/// What stands before the own path of a ring.
enum Guarded {
    No,
    By(Found),
    Unknown,
}

fn guard<S: Sink>(config: &Config, ring: Ring, sink: &S) -> Guarded {
    let Some(guard) = &config.guard else { return Guarded::No };
    guard.find(sink.name(ring.id)).map_or(Guarded::Unknown, Guarded::By)
}

/// Has a request pass the units of a route: the ring of its record, or what is done instead.
fn entered<S: Sink>(
    request: &Request<'_>,
    head: &Head<'_>,
    found: Found,
    (on, cors, unread): (&mut Current, &str, Persistence),
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Result<Ring, Box<Decision>> {
    match enter(request, head, found, on, sink) {
        Entered::Ring(ring) => Ok(ring),
        Entered::Away => Err(Box::new(Decision::Away)),
        Entered::NoRing => {
            let (status, lines, detail) = NO_RING;
            let answer = Answer::new(sink, out, cors, unread).for_method(head.method);
            answer.problem(status, lines, detail);
            Err(Box::new(Decision::Answered(unread)))
        }
        Entered::Refused(problem, ring) => {
            let reason = on_route::reason(problem.fault);
            sink.note(Event::Rejected { ring: Some(ring.id), reason, records: 1 });
            let exchange = on.get().map(|on| &on.exchange);
            let answer = Answer::new(sink, out, cors, unread).of(exchange);
            answer.problem(problem.status, &problem.lines, &problem.detail);
            Err(Box::new(Decision::Answered(unread)))
        }
    }
}

/// What came of a request that takes a route.
enum Entered {
    /// Its record is for this ring, which is the first of several.
    Ring(Ring),
    Away,
    NoRing,
    Refused(Problem, Ring),
}

/// Has the units of a route look at the head of a request.
fn enter<S: Sink>(
    request: &Request<'_>,
    head: &Head<'_>,
    found: Found,
    on: &mut Current,
    sink: &mut S,
) -> Entered {
    let seen = RequestHead {
        method: std::str::from_utf8(head.method).unwrap_or_default(),
        target: std::str::from_utf8(head.target).unwrap_or_default(),
        bytes: request.bytes,
        client: on.client().unwrap_or_else(|| Client::of_peer(request.peer)),
        certificate: request.certificate,
        now: sink.now(),
    };
    let on = if on.get().is_some() { on.get_mut() } else { on.begin(found, &seen, sink) };
    let Some(on) = on else { return Entered::NoRing };
    let (Some(first), Some(smallest)) = (on.rings.first(), on_route::smallest(&on.rings)) else {
        return Entered::NoRing;
    };
    let ring = Ring { max_payload_bytes: smallest.max_payload_bytes, ..*first };
    let outcome = match &on.errand {
        None => None,
        Some(errand) => match errand.take() {
            None => return Entered::Away,
            outcome => outcome,
        },
    };
    on.errand = None;
    match on.exchange.look(&seen, outcome) {
        Ok(Looked::All) => Entered::Ring(ring),
        Ok(Looked::Work(job)) => {
            on.send_away(job);
            Entered::Away
        }
        Err(problem) => Entered::Refused(problem, ring),
    }
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

fn page(resource: Resource, head: &Head<'_>, then: Persistence) -> Decision {
    Decision::Page(Page { resource, head_only: head.method == b"HEAD", then })
}

/// Accepts a body, unless its length alone is too much.
#[expect(clippy::too_many_arguments, reason = "they are what routing found out")]
fn body<S: Sink>(
    config: &Config,
    head: &Head<'_>,
    on: Option<&OnRoute>,
    (ring, tag, form): (Ring, u16, Form),
    (kept, wants): (Kept, Wants),
    origin: Option<usize>,
    then: Persistence,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Decision {
    let attribute_bytes = kept.bytes();
    let of_ring = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let limit = match form {
        Form::One => of_ring(u64::from(ring.max_payload_bytes)).saturating_sub(attribute_bytes),
        _ => config.max_batch_bytes.min(of_ring(ring.capacity_bytes)),
    };
    let limit = on.map_or(limit, |on| on_route::wire_limit(on, limit));
    let framing = Framing::Length(0);
    let mut body =
        Body { ring, tag, form, attribute_bytes, measured: None, limit, framing, origin, then };
    let announced = match head.framing {
        head::Framing::Length(bytes) => usize::try_from(bytes).ok().filter(|bytes| *bytes <= limit),
        head::Framing::Endless => None,
        head::Framing::Chunked => Some(0),
    };
    let fits = attribute_bytes as u64 <= u64::from(ring.max_payload_bytes);
    let Some(announced) = announced.filter(|_| fits) else {
        let (kept, wants) = (&kept, &wants);
        let asked = publish::Asked { config, body: &body, kept, wants, on_route: on };
        publish::too_large(asked, sink, out);
        return Decision::Answered(Persistence::Close);
    };
    body.framing = if head.framing == head::Framing::Chunked {
        Framing::Chunked(Chunked::new())
    } else {
        Framing::Length(announced)
    };
    if head.expect.is_some() && head.framing != head::Framing::Length(0) {
        out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    Decision::Body(body, kept, wants)
}
