//! RESP2, the protocol of Redis clients: `XADD`, `RPUSH`, `LPUSH` and `PUBLISH` bring records. A
//! client that says `HELLO 3` is answered in RESP3, of which these answers are a part.
//!
//! Commands are pipelined without a bound on their number, and each is answered for itself. What
//! Redis answers with a protocol error ends the connection here, too.

mod command;
mod frame;
mod inline;
mod record;
mod reply;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::command::{Executed, Session};
use self::frame::{Args, Scan, Scanner};
use crate::middleware::Job;
use crate::middleware::credentials::Credentials;
use crate::tls::Peer;

use super::{Codec, Event, Keep, OUTPUT_BYTES_MAX, Progress, Reason, Sink, State, Wait};

/// What bounds the commands of an address.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most bytes of one command with all its arguments.
    pub max_command_bytes: usize,
    /// What is kept with the records: the peer's address, or nothing.
    pub keep: Keep,
    /// Who may write; `None` is everyone.
    pub credentials: Option<Arc<dyn Credentials>>,
}

/// One connection.
pub struct Resp {
    config: Arc<Config>,
    session: Session,
    scanner: Scanner,
    /// No command has come yet.
    is_new: bool,
}

impl Resp {
    /// A connection on which nothing has come yet; `id` is what `CLIENT ID` answers.
    pub fn new(config: Arc<Config>, id: u64) -> Self {
        Self::of_peer(config, id, "")
    }

    /// The same from a peer of this address.
    pub fn of_peer(config: Arc<Config>, id: u64, peer: &str) -> Self {
        let session = Session::new(id, config.keep.of_peer(peer));
        Self { config, session, scanner: Scanner::default(), is_new: true }
    }

    /// Takes the rules of its address, which have changed.
    pub fn follow(&mut self, config: &Arc<Config>) {
        self.config = Arc::clone(config);
        self.session.login.follow(self.config.credentials.as_ref());
    }

    fn execute<S: Sink>(&mut self, args: Args<'_>, sink: &mut S, out: &mut Vec<u8>) -> Executed {
        self.session.execute(args, self.config.credentials.as_ref(), sink, out)
    }

    /// Takes one command from the front of `input`: the bytes that it used, or why to stop.
    fn step<S: Sink>(
        &mut self,
        input: &[u8],
        sink: &mut S,
        out: &mut Vec<u8>,
    ) -> Result<(usize, bool), (usize, State)> {
        let max = self.config.max_command_bytes;
        let scan = match input.first() {
            None => Ok(Scan::More { need: 1 }),
            Some(b'*') => self.scanner.scan(input, max),
            Some(_) => inline::scan(input, max),
        };
        let (bytes, executed) = match scan {
            Ok(Scan::More { need }) => {
                let wait = match (input.is_empty(), self.is_new) {
                    (true, true) => Wait::First,
                    (true, false) => Wait::Idle,
                    (false, _) => Wait::Body,
                };
                return Err((0, State::More { need, wait }));
            }
            Ok(Scan::Nothing { bytes }) => return Ok((bytes, false)),
            Ok(Scan::Command { bytes, args }) => (bytes, self.execute(args, sink, out)),
            Ok(Scan::Inline { bytes, command }) => {
                (bytes, self.execute(Args::whole(&command), sink, out))
            }
            Err(bad) => {
                sink.note(Event::ProtocolError);
                reply::error(out, &["ERR Protocol error: ", bad.0]);
                return Err((0, State::Close));
            }
        };
        match executed {
            Executed::Answered if sink.is_ending() => Err((bytes, State::Close)),
            Executed::Answered => {
                self.is_new = false;
                Ok((bytes, true))
            }
            Executed::Full => Err((0, State::Parked)),
            Executed::Away => Err((0, State::Away)),
            Executed::Close => Err((bytes, State::Close)),
        }
    }
}

impl Codec for Resp {
    fn decode<S: Sink>(&mut self, input: &mut [u8], sink: &mut S, out: &mut Vec<u8>) -> Progress {
        let (mut at, end, mut messages) = (0, input.len(), 0);
        let state = loop {
            if out.len() >= OUTPUT_BYTES_MAX && at < end {
                break State::Flush;
            }
            match self.step(&input[at..], sink, out) {
                Ok((bytes, is_command)) => {
                    at += bytes;
                    messages += usize::from(is_command);
                }
                Err((bytes, state)) => {
                    at += bytes;
                    messages += usize::from(bytes > 0);
                    break state;
                }
            }
        };
        Progress { consumed: at, end, messages, state }
    }

    fn introduce(&mut self, certificate: Arc<Peer>) {
        self.session.login.introduce(certificate);
        self.session.login.ask_certificate(self.config.credentials.as_ref());
    }

    fn take_job(&mut self) -> Option<Job> {
        self.session.login.take_job()
    }

    fn end_of_input<S: Sink>(&mut self, rest: &[u8], sink: &mut S, _out: &mut Vec<u8>) {
        self.broken(rest, sink);
    }

    fn timed_out<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>) {
        if !rest.is_empty() {
            let event = Event::Rejected { ring: None, reason: Reason::Timeout, records: 1 };
            sink.note(event);
            reply::error(out, &["ERR the rest of the command did not arrive in time"]);
        }
    }

    fn broken<S: Sink>(&mut self, rest: &[u8], sink: &mut S) {
        if !rest.is_empty() {
            sink.note(Event::Rejected { ring: None, reason: Reason::Disconnected, records: 1 });
        }
    }
}
