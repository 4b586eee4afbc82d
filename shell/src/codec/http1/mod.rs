//! HTTP/1.1 and 1.0 requests that carry records (RFC 9110, RFC 9112).
//!
//! A strict server: what two parsers could read differently is refused. The frames of HTTP/2 are
//! left to hyper, and pages to the process; everything else is answered here.

pub mod answer;
mod batch;
mod chunked;
pub mod date;
mod head;
mod on_route;
mod publish;
mod route;
mod target;
#[cfg(test)]
mod tests;
mod wants;

use std::collections::HashMap;
use std::sync::Arc;

pub use answer::page;
pub use head::{MAX_HEADERS, h2c_settings};
pub use route::page_asked;
pub use target::is_host;

use self::answer::Answer;
use self::batch::Form;
use self::chunked::{BadChunk, Chunked, Joined};
use self::on_route::{Change, Current};
use self::publish::{Asked, Awaited, Published};
use self::route::Decision;
use self::wants::Wants;
use super::{
    Answered, BatchSize, Codec, Consumption, Event, Keep, Kept, OUTPUT_BYTES_MAX, Persistence,
    Progress, Reason, Ring, Sink, State, Wait,
};
use crate::middleware::{Acknowledge, Found, Host, Job, Pattern, Route, Router, Unit};
use crate::tls::Peer;

/// The first bytes of an HTTP/2 connection (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What bounds the requests of an address.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most bytes of a request head.
    pub max_header_bytes: usize,
    /// Most header fields, up to [`MAX_HEADERS`].
    pub max_headers: usize,
    /// Most bytes of a body that is a batch; a ring's capacity bounds it, too.
    pub max_batch_bytes: usize,
    /// Pages of these origins may post.
    pub origins: Vec<Origin>,
    /// HTTP/2 connections are handed over; otherwise they are refused.
    pub http2: bool,
    /// The same for requests that ask for `Upgrade: h2c`, which is not for TLS.
    pub h2c: bool,
    /// What is kept with the records of a request.
    pub keep: Keep,
    /// Configured routes, if there are any.
    pub routes: Option<Routes>,
    /// What requests pass that post to a ring by its own path; `None` is nothing.
    pub guard: Option<Guard>,
}

/// Routes for the paths that each ring has by itself, by the name of the ring.
#[derive(Clone, Debug, Default)]
pub struct Guard(HashMap<String, Arc<Route>>);

impl Guard {
    /// Has the requests for these rings pass these units.
    pub fn new<'a>(rings: impl Iterator<Item = &'a str>, units: &[Arc<dyn Unit>]) -> Self {
        let route = |name: &str| {
            Some(Route {
                // Of no configured route.
                index: usize::MAX,
                methods: vec!["POST"],
                host: Host::Any,
                pattern: Pattern::new(&format!("/v1/rings/{name}/records")).ok()?,
                rings: vec![name.to_owned()],
                type_tag: None,
                attributes: None,
                acknowledge: Acknowledge::default(),
                is_open: false,
                units: units.to_vec(),
            })
        };
        let routes = rings.filter_map(|name| Some((name.to_owned(), Arc::new(route(name)?))));
        Self(routes.collect())
    }

    /// Finds the route of a ring.
    fn find(&self, name: &str) -> Option<Found> {
        let route = Arc::clone(self.0.get(name)?);
        Some(Found { route, values: Vec::new() })
    }
}

/// The routes of an address.
#[derive(Clone, Debug)]
pub struct Routes {
    router: Arc<Router>,
    /// What is kept with the records of each, if it says so itself.
    keeps: Vec<Option<Keep>>,
}

impl Routes {
    /// Takes the routes of the process; `None` if there are none.
    pub fn new(router: &Arc<Router>) -> Option<Self> {
        let keep = |route: &Arc<Route>| route.attributes.clone().map(Keep::new);
        let keeps = router.routes().iter().map(keep).collect();
        let router = Arc::clone(router);
        (!router.routes().is_empty()).then_some(Self { router, keeps })
    }
}

/// A web origin whose pages may post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    value: String,
    lines: String,
}

impl Origin {
    /// What a browser sends.
    pub fn value(&self) -> &[u8] {
        self.value.as_bytes()
    }

    /// Accepts an origin as browsers send it: `https://example.com`.
    pub fn new(value: &str) -> Option<Self> {
        let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        is_plain.then(|| Self {
            value: value.to_owned(),
            lines: format!(
                "access-control-allow-origin: {value}\r\nvary: origin\r\n\
                 access-control-expose-headers: aqueduct-seq\r\n"
            ),
        })
    }
}

/// One connection.
pub struct Http1 {
    config: Arc<Config>,
    /// Rules that replace them with the next request.
    next_config: Option<Arc<Config>>,
    /// Nothing but empty lines has come yet.
    is_new: bool,
    /// Its address, where that is kept or routes want to know it.
    peer: Box<str>,
    /// Whom its certificate names, if it has one.
    certificate: Option<Arc<Peer>>,
    /// The request whose head is consumed.
    body: Option<Body>,
    /// What is kept of it.
    kept: Kept,
    /// What else it wants.
    wants: Wants,
    /// A request was answered before its body was read.
    interrupted: bool,
    /// What is known of a request that came by a route.
    on_route: Current,
}

/// A request for records whose head was good.
#[derive(Clone, Copy, Debug)]
struct Body {
    ring: Ring,
    tag: u16,
    form: Form,
    /// What its attributes take in each record.
    attribute_bytes: usize,
    /// What a batch takes, once all of it was looked at and there was no room.
    measured: Option<BatchSize>,
    /// Largest body, bytes.
    limit: usize,
    framing: Framing,
    /// Index of the origin it came from.
    origin: Option<usize>,
    then: Persistence,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    /// The body is the next bytes.
    Length(usize),
    Chunked(Chunked),
}

/// What one look at the input did.
#[derive(Default)]
struct Step {
    /// Bytes used up at the front.
    consumed: usize,
    /// Bytes taken out behind what remains of the body.
    removed: usize,
    messages: usize,
    /// Set when decoding stops.
    state: Option<State>,
}

impl Step {
    fn stop(state: State) -> Self {
        Self { state: Some(state), ..Self::default() }
    }

    /// A message of so many bytes is answered.
    fn answered(bytes: usize, then: Persistence) -> Self {
        let state = (then == Persistence::Close).then_some(State::Close);
        Self { consumed: bytes, messages: 1, state, ..Self::default() }
    }
}

impl Http1 {
    /// A connection on which nothing has come yet.
    pub fn new(config: Arc<Config>) -> Self {
        Self::of_peer(config, "")
    }

    /// The same from a peer of this address.
    pub fn of_peer(config: Arc<Config>, peer: &str) -> Self {
        Self {
            config,
            next_config: None,
            is_new: true,
            peer: peer.into(),
            certificate: None,
            body: None,
            kept: Kept::default(),
            wants: Wants::default(),
            interrupted: false,
            on_route: Current::default(),
        }
    }

    /// Returns the rules of its address.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Takes the rules of its address, which have changed, for the next request and those after it.
    pub fn follow(&mut self, config: &Arc<Config>) {
        self.next_config = Some(Arc::clone(config));
    }

    /// Looks for a request head at the front of `input`.
    fn head<S: Sink>(&mut self, input: &[u8], sink: &mut S, out: &mut Vec<u8>) -> Step {
        // RFC 9112 §2.2: empty lines before a request are ignored.
        let empty = input.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
        if empty > 0 {
            return Step { consumed: empty, ..Step::default() };
        }
        if input.is_empty() {
            let wait = if self.is_new { Wait::First } else { Wait::Idle };
            return Step::stop(State::More { need: 1, wait });
        }
        if self.is_new && self.config.http2 {
            if input.starts_with(PREFACE) {
                return Step::stop(State::HandOver);
            }
            if PREFACE.starts_with(input) {
                return Step::stop(State::More { need: PREFACE.len(), wait: Wait::Head });
            }
        }
        if self.on_route.get().is_none()
            && let Some(next) = self.next_config.take()
        {
            self.config = next;
        }
        // Not a clone: its count would travel between the loops with every request.
        let config = &*self.config;
        let head = match head::parse(input, config.max_header_bytes, config.max_headers) {
            Ok(Some(head)) => head,
            Ok(None) => {
                return Step::stop(State::More { need: input.len() + 1, wait: Wait::Head });
            }
            Err(bad) => {
                let answer = Answer::new(sink, out, "", Persistence::Close);
                answer.problem(bad.status, "", bad.detail);
                return Step::answered(0, Persistence::Close);
            }
        };
        self.is_new = false;
        let (peer, certificate) = (&*self.peer, self.certificate.as_deref());
        let request = route::Request { config, peer, certificate, bytes: &input[..head.bytes] };
        match route::route(&request, &head, &mut self.on_route, sink, out) {
            Decision::Away => Step::stop(State::Away),
            Decision::Answered(then) => {
                self.on_route.end();
                self.interrupted = head.framing != head::Framing::Length(0);
                Step::answered(head.bytes, then)
            }
            Decision::Page(page) => Step {
                consumed: head.bytes,
                messages: 1,
                state: Some(State::Page(page)),
                ..Step::default()
            },
            Decision::HandOver => Step::stop(State::HandOver),
            Decision::Body(body, kept, wants) => {
                self.kept = kept;
                self.wants = wants;
                self.body = Some(body);
                Step { consumed: head.bytes, ..Step::default() }
            }
        }
    }

    /// Goes on with a body at the front of `input`.
    fn body<S: Sink>(
        &mut self,
        body: &mut Body,
        input: &mut [u8],
        sink: &mut S,
        out: &mut Vec<u8>,
    ) -> Step {
        let more = |need| State::More { need, wait: Wait::Body };
        let (length, wire) = match &mut body.framing {
            Framing::Length(length) if input.len() < *length => return Step::stop(more(*length)),
            Framing::Length(length) => (*length, *length),
            Framing::Chunked(chunked) => match chunked.join(input, body.limit) {
                Ok(Joined::Whole { body, wire }) => (body, wire),
                Ok(Joined::More { end, need }) => {
                    let removed = input.len() - end;
                    return Step { removed, ..Step::stop(more(need)) };
                }
                Err(bad) => {
                    self.body = None;
                    self.interrupted = true;
                    self.refuse_chunk(body, bad, sink, out);
                    return Step::answered(0, Persistence::Close);
                }
            },
        };
        let changing = self.on_route.get_mut().filter(|on| on.exchange.route().changes_bodies());
        let changed = changing.map(|on| {
            let of_record = usize::try_from(body.ring.max_payload_bytes).unwrap_or(usize::MAX);
            on.change(&input[..length], of_record.saturating_sub(body.attribute_bytes))
        });
        let on_route = self.on_route.get();
        let payload = on_route.and_then(|on| on.changed.as_deref()).unwrap_or(&input[..length]);
        let (kept, wants) = (&self.kept, &self.wants);
        let asked = Asked { config: &self.config, body, kept, wants, on_route };
        let published = match changed {
            None | Some(Change::Done) => publish::publish(asked, payload, sink, out),
            Some(Change::Refused(problem)) => {
                Published::Answered(publish::refuse_changed(asked, &problem, sink, out))
            }
            Some(Change::Away) => return Self::again_later(body, input, length, wire, State::Away),
        };
        match published {
            Published::Awaited(then, awaited) => {
                let Awaited { bytes, of, within, late } = *awaited;
                let on_route = self.on_route.take();
                let answered = on_route.map(|on| {
                    let exchange = on.exchange;
                    Box::new(move |status| exchange.answered(status)) as Box<_>
                });
                let wait = Consumption {
                    of,
                    within,
                    late,
                    statuses: (202, 504),
                    answered: Answered(answered),
                };
                sink.hold_until_consumed(bytes, wait);
                self.body = None;
                self.kept = Kept::default();
                self.wants = Wants::default();
                Step::answered(wire, then)
            }
            Published::Answered(then) => {
                self.body = None;
                self.wants = Wants::default();
                self.kept = Kept::default();
                self.on_route.end();
                Step::answered(wire, then)
            }
            Published::Full(measured) => {
                body.measured = measured;
                Self::again_later(body, input, length, wire, State::Parked)
            }
        }
    }

    /// Has a whole body shown again later, as if it had come with a length.
    fn again_later(
        body: &mut Body,
        input: &mut [u8],
        length: usize,
        wire: usize,
        state: State,
    ) -> Step {
        input.copy_within(wire.., length);
        body.framing = Framing::Length(length);
        Step { removed: wire - length, ..Step::stop(state) }
    }

    /// A request for records whose body is this one.
    fn asked<'a>(&'a self, body: &'a Body) -> Asked<'a> {
        let on_route = self.on_route.get();
        Asked { config: &self.config, body, kept: &self.kept, wants: &self.wants, on_route }
    }

    fn refuse_chunk<S: Sink>(&self, body: &Body, bad: BadChunk, sink: &mut S, out: &mut Vec<u8>) {
        match bad {
            BadChunk::TooLarge => publish::too_large(self.asked(body), sink, out),
            BadChunk::Malformed => {
                self.give_up(
                    body,
                    Reason::Malformed,
                    400,
                    "the body is not chunked well",
                    sink,
                    out,
                );
            }
        }
    }

    /// Whether the last request was answered before its body was read, so that its client may be
    /// sending still. Says so once.
    pub fn take_interrupted(&mut self) -> bool {
        std::mem::take(&mut self.interrupted)
    }

    /// Answers 503 because there is no memory for what comes. Afterwards the loop sends `out` and
    /// closes with a linger.
    pub fn out_of_memory<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        let detail = "there is no memory to receive the record";
        if let Some(body) = self.body.take() {
            self.interrupted = true;
            self.give_up(&body, Reason::NoMemory, 503, detail, sink, out);
        } else if is_part_of_a_head(rest) {
            Answer::new(sink, out, "", Persistence::Close).problem(503, publish::RETRY, detail);
        }
    }

    /// Answers a request whose body never came to its end.
    fn give_up<S: Sink>(
        &self,
        body: &Body,
        reason: Reason,
        status: u16,
        detail: &str,
        sink: &mut S,
        out: &mut Vec<u8>,
    ) {
        sink.note(Event::Rejected { ring: Some(body.ring.id), reason, records: 1 });
        let answer = self.asked(body).answer(sink, out, Persistence::Close);
        answer.problem(status, if status == 503 { publish::RETRY } else { "" }, detail);
    }
}

impl Body {
    /// Lines that let the page that posted see the answer.
    fn cors<'c>(&self, config: &'c Config) -> &'c str {
        self.origin.map_or("", |index| &config.origins[index].lines)
    }
}

impl Codec for Http1 {
    fn decode<S: Sink>(&mut self, input: &mut [u8], sink: &mut S, out: &mut Vec<u8>) -> Progress {
        let (mut at, mut end, mut messages) = (0, input.len(), 0);
        loop {
            if out.len() >= OUTPUT_BYTES_MAX && at < end {
                return Progress { consumed: at, end, messages, state: State::Flush };
            }
            let step = match self.body {
                None => self.head(&input[at..end], sink, out),
                Some(mut body) => {
                    let step = self.body(&mut body, &mut input[at..end], sink, out);
                    // What was joined, unless the request is done with.
                    self.body = self.body.and(Some(body));
                    step
                }
            };
            at += step.consumed;
            end -= step.removed;
            messages += step.messages;
            if let Some(state) = step.state {
                return Progress { consumed: at, end, messages, state };
            }
        }
    }

    fn end_of_input<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        if let Some(body) = self.body.take() {
            let detail = "the request body broke off";
            self.give_up(&body, Reason::Disconnected, 400, detail, sink, out);
        } else if is_part_of_a_head(rest) {
            let answer = Answer::new(sink, out, "", Persistence::Close);
            answer.problem(400, "", "the request head broke off");
        }
    }

    fn timed_out<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        if let Some(body) = self.body.take() {
            let detail = "the request body did not arrive in time";
            self.give_up(&body, Reason::Timeout, 408, detail, sink, out);
        } else if is_part_of_a_head(rest) {
            let answer = Answer::new(sink, out, "", Persistence::Close);
            answer.problem(408, "", "the request head did not arrive in time");
        }
    }

    fn introduce(&mut self, certificate: Arc<Peer>) {
        self.certificate = Some(certificate);
    }

    fn take_job(&mut self) -> Option<Job> {
        self.on_route.get_mut()?.job.take()
    }

    fn broken<S: Sink>(&mut self, _rest: &[u8], sink: &mut S) {
        if let Some(body) = self.body.take() {
            let (ring, reason) = (Some(body.ring.id), Reason::Disconnected);
            sink.note(Event::Rejected { ring, reason, records: 1 });
        }
    }
}

fn is_part_of_a_head(rest: &[u8]) -> bool {
    !rest.trim_ascii().is_empty()
}
