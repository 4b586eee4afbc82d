//! Records without answers: lines, NUL-terminated frames, counted frames (RFC 6587).
//!
//! For syslog senders, `nc` and shell scripts. A full ring is not read from; nothing is ever said.

mod frame;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::frame::Next;
use crate::middleware::credentials::Credentials;
use crate::tls::Peer;

use super::{
    Codec, Event, Keep, Kept, Login, Outcome, Progress, Reason, Record, Ring, Sink, State, Wait,
};

/// How frames are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Each ends with LF; a CR before it is taken away. Empty lines are no records.
    Lines,
    /// Each ends with a zero byte. Empty frames are no records.
    Nul,
    /// `MSG-LEN SP MSG` (RFC 6587 §3.4.1): a decimal number without leading zeros, a space, so many
    /// bytes.
    Octets,
}

/// What is done about a frame over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// The connection ends.
    Close,
    /// The frame is skipped.
    Skip,
}

/// What an address takes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where records go.
    pub ring: Ring,
    /// Their tag.
    pub type_tag: u16,
    /// How they are told apart.
    pub framing: Framing,
    /// Largest frame, bytes; the ring's limit holds, too.
    pub max_frame_bytes: usize,
    /// What is done about a larger one, which is counted.
    pub oversize: Oversize,
    /// What is kept with the records: the peer's address, or nothing.
    pub keep: Keep,
    /// Whose certificate lets its client write; `None` is everyone, with or without one.
    pub credentials: Option<Arc<dyn Credentials>>,
}

/// One connection.
pub struct Lines {
    config: Arc<Config>,
    limit: usize,
    kept: Kept,
    /// Set within a frame that is skipped.
    skipped: Option<Skipped>,
    /// Bytes at the front of the next input in which no end of a frame is. A long line that comes
    /// in small pieces is looked through once and not with each of them.
    seen: usize,
    /// The credential that its certificate names, if any.
    login: Login,
}

/// What is left of a frame that is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skipped {
    /// Everything up to this byte.
    Until(u8),
    /// So many bytes.
    Bytes(u64),
}

/// Longest frame with what is kept of its connection, bytes.
fn limit(config: &Config, kept: &Kept) -> usize {
    let of_ring = usize::try_from(config.ring.max_payload_bytes).unwrap_or(usize::MAX);
    config.max_frame_bytes.min(of_ring.saturating_sub(kept.bytes()))
}

impl Lines {
    /// A connection on which nothing has come yet.
    pub fn new(config: Arc<Config>) -> Self {
        Self::of_peer(config, "")
    }

    /// The same from a peer of this address.
    pub fn of_peer(config: Arc<Config>, peer: &str) -> Self {
        let kept = config.keep.of_peer(peer);
        let limit = limit(&config, &kept);
        Self { config, limit, kept, skipped: None, seen: 0, login: Login::default() }
    }

    /// Takes the rules of its address, which have changed.
    pub fn follow(&mut self, config: &Arc<Config>) {
        self.limit = limit(config, &self.kept);
        self.config = Arc::clone(config);
        self.login.follow(self.config.credentials.as_ref());
    }

    fn reject<S: Sink>(&self, reason: Reason, sink: &mut S) {
        let ring = Some(self.config.ring.id);
        sink.note(Event::Rejected { ring, reason, records: 1 });
    }

    /// Uses up what is skipped at the front of `input`.
    fn skip(&mut self, input: &[u8]) -> usize {
        match self.skipped {
            None => 0,
            Some(Skipped::Until(end)) => match memchr::memchr(end, input) {
                None => input.len(),
                Some(at) => {
                    self.skipped = None;
                    at + 1
                }
            },
            Some(Skipped::Bytes(left)) => {
                let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - bytes as u64;
                self.skipped = (left > 0).then_some(Skipped::Bytes(left));
                bytes
            }
        }
    }

    /// Hands over one frame; says why decoding stops.
    fn take<S: Sink>(&self, payload: &[u8], sink: &mut S) -> Option<State> {
        let Config { ring, type_tag, .. } = *self.config;
        if !self.login.may_write(self.config.credentials.as_ref(), sink.name(ring.id)) {
            self.reject(Reason::Denied, sink);
            return Some(State::Close);
        }
        let attributes = self.kept.block();
        match sink.record(Record { ring: ring.id, type_tag, payload, attributes }) {
            Outcome::Accepted(_) => None,
            Outcome::Full => Some(State::Parked),
            Outcome::Refused(reason) => {
                self.reject(reason, sink);
                matches!(reason, Reason::ShuttingDown | Reason::Denied | Reason::Journal)
                    .then_some(State::Close)
            }
        }
    }
}

impl Codec for Lines {
    fn decode<S: Sink>(&mut self, input: &mut [u8], sink: &mut S, _out: &mut Vec<u8>) -> Progress {
        let (mut at, end, mut messages) = (0, input.len(), 0);
        let state = loop {
            at += self.skip(&input[at..]);
            if at == end {
                break State::More { need: 1, wait: Wait::Idle };
            }
            let rest = &input[at..];
            let seen = std::mem::take(&mut self.seen);
            match frame::next(self.config.framing, rest, self.limit, seen) {
                Next::More { need } => {
                    self.seen = rest.len();
                    break State::More { need, wait: Wait::Body };
                }
                Next::Empty { bytes } => at += bytes,
                Next::Frame { start, end, bytes } => {
                    let stop = self.take(&rest[start..end], sink);
                    if stop == Some(State::Parked) {
                        break State::Parked;
                    }
                    at += bytes;
                    messages += 1;
                    if let Some(state) = stop {
                        break state;
                    }
                }
                Next::TooLarge { bytes, skipped } => {
                    self.reject(Reason::TooLarge, sink);
                    at += bytes;
                    messages += 1;
                    if self.config.oversize == Oversize::Close {
                        break State::Close;
                    }
                    self.skipped = skipped;
                }
                Next::Malformed => {
                    sink.note(Event::ProtocolError);
                    self.reject(Reason::Malformed, sink);
                    break State::Close;
                }
            }
        };
        Progress { consumed: at, end, messages, state }
    }

    fn introduce(&mut self, certificate: Arc<Peer>) {
        self.login.introduce(certificate);
        self.login.ask_certificate(self.config.credentials.as_ref());
    }

    fn end_of_input<S: Sink>(&mut self, rest: &[u8], sink: &mut S, _out: &mut Vec<u8>) {
        // A frame without its end may be half of one.
        self.broken(rest, sink);
    }

    fn timed_out<S: Sink>(&mut self, rest: &[u8], sink: &mut S, _out: &mut Vec<u8>) {
        if !rest.is_empty() {
            self.reject(Reason::Timeout, sink);
        }
    }

    fn gives_up_when_full(&self) -> bool {
        false
    }

    fn broken<S: Sink>(&mut self, rest: &[u8], sink: &mut S) {
        if !rest.is_empty() {
            self.reject(Reason::Disconnected, sink);
        }
    }
}
