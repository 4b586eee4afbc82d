//! Which protocol an address speaks, and the codec of one connection.

use std::sync::Arc;

use crate::codec::http1::{self, Http1};
use crate::codec::{Codec, Page, Persistence, Progress, Resource, Sink, State};

/// The protocol of a listening address.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// HTTP/1.1; HTTP/2 is handed to hyper.
    Http(Arc<http1::Config>),
}

/// The codec of one connection.
pub(super) enum Speaker {
    /// Over the limit of connections: told so, and no more.
    Refused,
    Http(Http1),
}

impl Protocol {
    pub(super) fn speaker(&self) -> Speaker {
        match self {
            Self::Http(config) => Speaker::Http(Http1::new(Arc::clone(config))),
        }
    }
}

impl Speaker {
    /// Says that there are too many connections, in its language if that has words for it.
    pub(super) fn refuse(&self, date: &[u8; 29], out: &mut Vec<u8>) {
        match self {
            Self::Refused => {}
            Self::Http(_) => {
                let page =
                    Page { resource: Resource::Health, head_only: false, then: Persistence::Close };
                let body = br#"{"title":"Service Unavailable","status":503,"detail":"too many connections"}"#;
                let (problem, retry) = ("application/problem+json", "retry-after: 1\r\n");
                http1::page(out, date, &page, 503, problem, retry, body);
            }
        }
    }

    pub(super) fn decode<S: Sink>(
        &mut self,
        input: &mut [u8],
        sink: &mut S,
        out: &mut Vec<u8>,
    ) -> Progress {
        match self {
            Self::Refused => Progress {
                consumed: input.len(),
                end: input.len(),
                messages: 0,
                state: State::Close,
            },
            Self::Http(codec) => codec.decode(input, sink, out),
        }
    }

    pub(super) fn end_of_input<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        match self {
            Self::Refused => {}
            Self::Http(codec) => codec.end_of_input(rest, sink, out),
        }
    }

    pub(super) fn timed_out<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        match self {
            Self::Refused => {}
            Self::Http(codec) => codec.timed_out(rest, sink, out),
        }
    }

    pub(super) fn out_of_memory<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        match self {
            Self::Refused => {}
            Self::Http(codec) => codec.out_of_memory(rest, sink, out),
        }
    }

    pub(super) fn broken<S: Sink>(&mut self, rest: &[u8], sink: &mut S) {
        match self {
            Self::Refused => {}
            Self::Http(codec) => codec.broken(rest, sink),
        }
    }
}
