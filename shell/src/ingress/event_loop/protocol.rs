//! Which protocol an address speaks, and the codec of one connection.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use aqueduct_core::attributes::name::PEER;

use crate::codec::http1::{self, Http1};
use crate::codec::lines::{self, Lines};
use crate::codec::mqtt::{self, Mqtt};
use crate::codec::resp::{self, Resp};
use crate::codec::{Codec, Event, Keep, Progress, Reason, Sink, State};
use crate::middleware::Job;
use crate::tls::Peer;

/// The protocol of a listening address.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// HTTP/1.1; a connection of HTTP/2 is handed over, if that is configured.
    Http(Arc<http1::Config>),
    /// RESP2.
    Resp(Arc<resp::Config>),
    /// MQTT.
    Mqtt(Arc<mqtt::Config>),
    /// Lines and frames.
    Lines(Arc<lines::Config>),
}

/// The codec of one connection.
pub(super) enum Speaker {
    /// Over the limit of connections: told so, and no more.
    Refused,
    Http(Http1),
    Resp(Resp),
    Mqtt(Mqtt),
    Lines(Lines),
}

/// Calls a method of whatever codec it is.
macro_rules! ask {
    ($speaker:expr, $codec:ident => $call:expr, refused => $otherwise:expr) => {
        match $speaker {
            Speaker::Refused => $otherwise,
            Speaker::Http($codec) => $call,
            Speaker::Resp($codec) => $call,
            Speaker::Mqtt($codec) => $call,
            Speaker::Lines($codec) => $call,
        }
    };
}

impl Protocol {
    /// Makes the codec of a new connection, whose number no other connection has or had.
    pub(super) fn speaker(&self, number: u64, socket: BorrowedFd<'_>) -> Speaker {
        let peer = if self.wants_peer() { peer_name(socket) } else { String::new() };
        match self {
            Self::Http(config) => Speaker::Http(Http1::of_peer(Arc::clone(config), &peer)),
            Self::Resp(config) => Speaker::Resp(Resp::of_peer(Arc::clone(config), number, &peer)),
            Self::Mqtt(config) => Speaker::Mqtt(Mqtt::of_peer(Arc::clone(config), number, &peer)),
            Self::Lines(config) => Speaker::Lines(Lines::of_peer(Arc::clone(config), &peer)),
        }
    }

    /// Whether its codecs want to know who their peers are.
    fn wants_peer(&self) -> bool {
        match self {
            // Routes may come while it is open.
            Self::Http(_) => true,
            _ => self.keep().keeps(PEER),
        }
    }

    /// What is kept with the records of its connections.
    fn keep(&self) -> &Keep {
        match self {
            Self::Http(config) => &config.keep,
            Self::Resp(config) => &config.keep,
            Self::Mqtt(config) => &config.keep,
            Self::Lines(config) => &config.keep,
        }
    }
}

/// The address of a peer as records keep it; `unix` for one that has none.
pub(in crate::ingress) fn peer_name(socket: BorrowedFd<'_>) -> String {
    let address = rustix::net::getpeername(socket).ok().flatten();
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    address.map_or_else(|| "unix".to_owned(), |address| address.to_string())
}

impl Speaker {
    /// Says that there are too many connections, in a language that has words for it. HTTP's are
    /// told by another.
    pub(super) fn refuse(&self, out: &mut Vec<u8>) {
        match self {
            Self::Resp(_) => out.extend_from_slice(b"-ERR max number of clients reached\r\n"),
            Self::Refused | Self::Http(_) | Self::Mqtt(_) | Self::Lines(_) => {}
        }
    }

    /// Takes the rules of its address, which have changed.
    pub(super) fn follow(&mut self, protocol: &Protocol) {
        match (self, protocol) {
            (Self::Http(codec), Protocol::Http(config)) => codec.follow(config),
            (Self::Resp(codec), Protocol::Resp(config)) => codec.follow(config),
            (Self::Mqtt(codec), Protocol::Mqtt(config)) => codec.follow(config),
            (Self::Lines(codec), Protocol::Lines(config)) => codec.follow(config),
            // An address keeps its protocol, and one that is refused learns nothing new.
            _ => {}
        }
    }

    /// Whether a message that finds no space is refused in the end. Otherwise it waits for ever,
    /// and the socket is not read meanwhile.
    pub(super) fn gives_up_when_full(&self) -> bool {
        ask!(self, codec => codec.gives_up_when_full(), refused => true)
    }

    pub(super) fn decode<S: Sink>(
        &mut self,
        input: &mut [u8],
        sink: &mut S,
        out: &mut Vec<u8>,
    ) -> Progress {
        let end = input.len();
        ask!(self, codec => codec.decode(input, sink, out), refused => Progress {
            consumed: end,
            end,
            messages: 0,
            state: State::Close,
        })
    }

    pub(super) fn end_of_input<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        ask!(self, codec => codec.end_of_input(rest, sink, out), refused => {});
    }

    pub(super) fn timed_out<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        ask!(self, codec => codec.timed_out(rest, sink, out), refused => {});
    }

    /// Learns whom the certificate names that the client has shown.
    pub(super) fn introduce(&mut self, certificate: Arc<Peer>) {
        ask!(self, codec => codec.introduce(certificate), refused => {});
    }

    /// Takes work that is to be done elsewhere.
    pub(super) fn take_job(&mut self) -> Option<Job> {
        ask!(self, codec => codec.take_job(), refused => None)
    }

    /// Whether the last answer came before the end of what it answers, so that the peer may be
    /// sending still. Says so once.
    pub(super) fn take_interrupted(&mut self) -> bool {
        match self {
            Self::Http(codec) => codec.take_interrupted(),
            Self::Refused | Self::Resp(_) | Self::Mqtt(_) | Self::Lines(_) => false,
        }
    }

    /// Answers that there is no memory for a message; then the connection ends.
    pub(super) fn out_of_memory<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        match self {
            Self::Refused => {}
            Self::Http(codec) => codec.out_of_memory(rest, sink, out),
            Self::Resp(_) | Self::Mqtt(_) | Self::Lines(_) => {
                sink.note(Event::Rejected { ring: None, reason: Reason::NoMemory, records: 1 });
                if matches!(self, Self::Resp(_)) {
                    out.extend_from_slice(b"-ERR out of memory\r\n");
                }
            }
        }
    }

    pub(super) fn broken<S: Sink>(&mut self, rest: &[u8], sink: &mut S) {
        ask!(self, codec => codec.broken(rest, sink), refused => {});
    }
}
