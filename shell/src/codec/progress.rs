//! What a codec tells the loop after each call.

use std::time::Duration;

/// How far decoding came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the consumed bytes must be dropped from the buffer"]
pub struct Progress {
    /// Bytes at the front of the input that are used up.
    pub consumed: usize,
    /// End of what remains: the unconsumed bytes are `input[consumed..end]`. Smaller than the
    /// length of the input only if the codec joined a body in place.
    pub end: usize,
    /// Messages that were completed. If there were any, the clock of [`Wait`] starts anew.
    pub messages: usize,
    /// What happens next.
    pub state: State,
}

/// What a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything complete is done. Decoding again makes sense once the unconsumed bytes are at
    /// least `need` (sooner does no harm): make room for that many. Bounded by the codec's limits.
    More {
        /// Unconsumed bytes in total, those that are there already included.
        need: usize,
        /// What is missing, for the clock.
        wait: Wait,
    },
    /// The sink answered [`Outcome::Full`](super::Outcome::Full): the next message is at the front
    /// of what remains. Stop reading from the socket; decode the same bytes again when there is
    /// room, in arrival order, and at the deadline with a sink that answers
    /// [`Refused`](super::Outcome::Refused)([`Reason::Full`](super::Reason::Full)) instead, which
    /// the codec turns into an answer.
    Parked,
    /// [`OUTPUT_BYTES_MAX`](super::OUTPUT_BYTES_MAX) is reached: decode the rest once `out` is
    /// sent.
    Flush,
    /// The next message waits for work that is done elsewhere, such as hashing a password. Take it
    /// from `take_job`, have it run, and decode the same bytes again when it is done. Do not read
    /// from the socket meanwhile.
    Away,
    /// HTTP only: a page was asked for. Answer with
    /// [`http1::page`](super::http1::page), in order after what is in `out`, then decode the rest.
    Page(Page),
    /// HTTP only: after `out` is sent, the connection leaves the loop, with the unconsumed bytes.
    /// They begin with a whole HTTP/2 preface or with a request head that asks for `Upgrade: h2c`.
    HandOver,
    /// The last answer is in `out` (or there is none to give): send, end the sending side, linger,
    /// close. Nothing of the input is looked at any more.
    Close,
}

/// What happens to an HTTP connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays, as HTTP/1.1 does by default.
    Stay,
    /// It stays, and an HTTP/1.0 client must be told.
    StayHttp10,
    /// It closes.
    Close,
}

/// A resource that only the process can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which one.
    pub resource: Resource,
    /// HEAD: the answer has no body.
    pub head_only: bool,
    /// What happens after the answer: with [`Persistence::Close`] the loop goes on as for
    /// [`State::Close`].
    pub then: Persistence,
}

/// The pages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `/healthz`
    Health,
    /// `/readyz`
    Readiness,
    /// `/metrics`
    Metrics,
}

impl Resource {
    /// Returns its path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Health => "/healthz",
            Self::Readiness => "/readyz",
            Self::Metrics => "/metrics",
        }
    }
}

/// What a connection waits for, which is what its timeout depends on. The clock starts when this
/// changes and whenever a message was completed, not with every byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The first byte of a new connection: as short as [`Head`](Self::Head).
    First,
    /// The first byte of the next message. How long is the address's business: sources of lines
    /// may be silent for days.
    Idle,
    /// The rest of a head, or of a short message.
    Head,
    /// The rest of a body.
    Body,
    /// The next message, within a time that the peer asked for.
    Peer(Duration),
}
