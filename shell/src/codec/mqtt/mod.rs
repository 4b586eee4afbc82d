//! MQTT 3.1.1 and 5 for publishers: each message whose topic is meant by a rule is a record.
//!
//! Qualities of service 0 and 1; PUBACK is sent when the record is published. Nothing is kept of a
//! client after its connection, and subscriptions are refused. `README.md` beside this file says,
//! statement by statement, what is kept of the standard.

mod connect;
mod key;
mod property;
mod publish;
mod reason;
mod session;
#[cfg(test)]
mod tests;
mod topic;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use crate::middleware::Job;
use crate::middleware::credentials::Credentials;
use crate::tls::Peer;

use self::reason::Code;
use self::session::{Connected, From, Session, Then};
use self::wire::FixedHeader;
use super::{
    Codec, Event, Keep, Login, OUTPUT_BYTES_MAX, Progress, Reason, Ring, Sink, State, Wait,
};

pub use topic::Filter;

/// What an address takes.
#[derive(Clone, Debug)]
pub struct Config {
    /// The first rule that means a topic decides.
    pub rules: Vec<Rule>,
    /// Largest packet, bytes.
    pub max_packet_bytes: usize,
    /// Longest keep-alive time that a client of MQTT 5 may have, seconds; 0 is no limit.
    pub max_keep_alive: u16,
    /// What is kept with the records.
    pub keep: Keep,
    /// Who may write; `None` is everyone.
    pub credentials: Option<Arc<dyn Credentials>>,
}

/// Where the messages of some topics go.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which topics.
    pub filter: Filter,
    /// Their ring and type tag.
    pub route: Route,
}

/// A ring and a type tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where records go.
    pub ring: Ring,
    /// Their tag.
    pub type_tag: u16,
}

impl Config {
    fn route(&self, topic: &str) -> Option<Route> {
        self.rules.iter().find(|rule| rule.filter.matches(topic)).map(|rule| rule.route)
    }
}

/// One connection.
pub struct Mqtt {
    config: Arc<Config>,
    /// Distinguishes it from others, for clients without an identifier.
    number: u64,
    /// Its address, where that is kept.
    peer: Box<str>,
    /// Set once CONNECT was accepted.
    session: Option<Session>,
    /// Who the client is.
    login: Login,
}

impl Mqtt {
    /// A connection on which nothing has come yet.
    pub fn new(config: Arc<Config>, number: u64) -> Self {
        Self::of_peer(config, number, "")
    }

    /// The same from a peer of this address.
    pub fn of_peer(config: Arc<Config>, number: u64, peer: &str) -> Self {
        Self { config, number, peer: peer.into(), session: None, login: Login::default() }
    }

    /// Takes the rules of its address, which have changed.
    pub fn follow(&mut self, config: &Arc<Config>) {
        self.config = Arc::clone(config);
        self.login.follow(self.config.credentials.as_ref());
    }

    /// Takes one packet from the front of `input`; 0 bytes if it is not used up.
    fn packet<S: Sink>(
        &mut self,
        input: &[u8],
        sink: &mut S,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<State>), Code> {
        let wait = self.wait(input.is_empty());
        let more = |need| Ok((0, Some(State::More { need, wait })));
        let Some(header) = FixedHeader::read(input)? else { return more(input.len() + 1) };
        let bytes = header.bytes + header.remaining;
        if self.session.is_none() && (header.kind, header.flags) != (1, 0) {
            return Err(Code::Protocol);
        }
        if bytes > self.config.max_packet_bytes {
            return Err(Code::TooLarge);
        }
        if input.len() < bytes {
            return more(bytes);
        }
        let packet = &input[header.bytes..bytes];
        let Some(session) = &mut self.session else {
            let peer = (self.number, &*self.peer);
            match session::connect(packet, &self.config, &mut self.login, peer, sink, out) {
                Connected::Session(session) => self.session = Some(session),
                Connected::Refused => return Ok((bytes, Some(State::Close))),
                Connected::Away => return Ok((0, Some(State::Away))),
            }
            return Ok((bytes, None));
        };
        let from = From { config: &self.config, login: &self.login, peer: &self.peer };
        if !self.login.is_in(self.config.credentials.as_ref()) {
            if header.kind == 3 {
                let reason = Reason::Denied;
                sink.note(Event::Rejected { ring: None, reason, records: 1 });
            }
            return Err(Code::NotAuthorized);
        }
        match session.packet(header, packet, &from, sink, out)? {
            Then::GoOn if sink.is_ending() => Err(Code::ShuttingDown),
            Then::GoOn => Ok((bytes, None)),
            Then::Wait => Ok((0, Some(State::Parked))),
            Then::Close => {
                session.leave(&from, sink);
                Ok((bytes, Some(State::Close)))
            }
        }
    }

    fn wait(&self, is_between: bool) -> Wait {
        match &self.session {
            None if is_between => Wait::First,
            None => Wait::Head,
            Some(Session { keep_alive: 0, .. }) if is_between => Wait::Idle,
            Some(Session { keep_alive: 0, .. }) => Wait::Body,
            // MQTT-3.1.2-22: one and a half times the keep-alive time.
            Some(Session { keep_alive, .. }) => {
                Wait::Peer(Duration::from_millis(u64::from(*keep_alive) * 1_500))
            }
        }
    }

    /// Ends the connection for a reason that the client is told if it can be.
    fn end<S: Sink>(&mut self, code: Code, sink: &mut S, out: &mut Vec<u8>) {
        if let Some(session) = &mut self.session {
            session.disconnected(code, out);
            let from = From { config: &self.config, login: &self.login, peer: &self.peer };
            session.leave(&from, sink);
        }
    }
}

impl Codec for Mqtt {
    fn decode<S: Sink>(&mut self, input: &mut [u8], sink: &mut S, out: &mut Vec<u8>) -> Progress {
        let (mut at, end, mut messages) = (0, input.len(), 0);
        let state = loop {
            if out.len() >= OUTPUT_BYTES_MAX && at < end {
                break State::Flush;
            }
            match self.packet(&input[at..], sink, out) {
                Ok((bytes, state)) => {
                    at += bytes;
                    messages += usize::from(bytes > 0);
                    if let Some(state) = state {
                        break state;
                    }
                }
                Err(code) => {
                    if code.is_violation() {
                        sink.note(Event::ProtocolError);
                    }
                    self.end(code, sink, out);
                    break State::Close;
                }
            }
        };
        Progress { consumed: at, end, messages, state }
    }

    fn introduce(&mut self, certificate: Arc<Peer>) {
        self.login.introduce(certificate);
    }

    fn take_job(&mut self) -> Option<Job> {
        self.login.take_job()
    }

    fn end_of_input<S: Sink>(&mut self, rest: &[u8], sink: &mut S, _out: &mut Vec<u8>) {
        self.broken(rest, sink);
    }

    fn timed_out<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        if self.session.is_some() && !rest.is_empty() {
            sink.note(Event::Rejected { ring: None, reason: Reason::Timeout, records: 1 });
        }
        self.end(Code::KeepAlive, sink, out);
    }

    fn broken<S: Sink>(&mut self, rest: &[u8], sink: &mut S) {
        if let Some(session) = &mut self.session {
            if !rest.is_empty() {
                sink.note(Event::Rejected { ring: None, reason: Reason::Disconnected, records: 1 });
            }
            let from = From { config: &self.config, login: &self.login, peer: &self.peer };
            session.leave(&from, sink);
        }
    }
}
