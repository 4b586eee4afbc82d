//! One connection, as its loop knows it. Idle, it holds no buffer.

use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::clock::NEVER;
use super::deadlines::Armed;
use super::driver::{Buffers, Listener};
use super::held::Held as HeldAnswers;
use super::input::{Input, NoRoom};
use super::protocol::Speaker;
use super::work::{LINGER_BYTES, LINGER_MS};
use crate::codec::{Page, Progress, RingId, Wait};
use crate::limits::{Held, Permit};
use crate::ring::Ticket;
use crate::tls::Session;

/// What a connection is doing.
///
/// Open to Parked, Away, Flushing or Paging, and back; from each of them to Closing, Lingering and
/// gone, or to `HandingOver`, Releasing and gone. A failure ends every phase.
pub(super) enum Phase {
    /// Bytes are decoded as they come.
    Open,
    /// The front of the input waits for space in a ring.
    Parked(Parked),
    /// The front of the input waits for a worker. The number tells this wait from others; what the
    /// work may take of the memory of all connections is held.
    Away { number: u64, _held: Held },
    /// Decoding goes on when everything is sent.
    Flushing,
    /// A page is to be made once the turn is published.
    Paging(Page),
    /// Sends what is left; then the connection leaves the loop.
    HandingOver,
    /// The driver has been asked to let it go.
    Releasing,
    /// The last answer is on its way, or our side is to end.
    Closing(Linger),
    /// Our side is ended, or soon will be; what the peer still sends is thrown away, so that no
    /// reset destroys the last answer.
    Lingering(Linger),
}

/// A place in the queue for space.
pub(super) struct Parked {
    pub(super) ring: RingId,
    pub(super) ticket: Ticket,
    /// Tells it from later places of the same connection.
    pub(super) number: u64,
    pub(super) since_ms: u64,
}

/// Bounds of a linger, from the last answer to the end of the connection.
#[derive(Clone, Copy)]
pub(super) struct Linger {
    /// Its end, whatever comes, ms.
    pub(super) until_ms: u64,
    /// Bytes that may still come.
    pub(super) bytes_left: usize,
    /// Our side is not ended yet.
    pub(super) is_open: bool,
}

/// One connection.
#[allow(clippy::struct_excessive_bools, reason = "independent facts about one connection")]
pub(super) struct Connection {
    /// Number of the address that it came in by.
    pub(super) address: Listener,
    pub(super) speaker: Speaker,
    /// Where it speaks TLS: its session.
    pub(super) tls: Option<Box<Session>>,
    pub(super) timeouts: Arc<Timeouts>,
    pub(super) phase: Phase,
    /// Received and not consumed.
    pub(super) input: Input,
    /// Answers of this turn, and those that are held.
    pub(super) out: Vec<u8>,
    /// What of them may not be sent yet.
    pub(super) answers: HeldAnswers,
    /// In the list of those with answers that are held.
    pub(super) holding: bool,
    /// Bytes of input from which on decoding makes sense again.
    pub(super) need: usize,
    /// What it waits for.
    pub(super) wait: Wait,
    /// End of that wait, ms.
    pub(super) deadline_ms: u64,
    /// When the peer, which does not take its answers, is given up, ms.
    pub(super) stuck_ms: u64,
    /// Bytes that the peer had not taken at the last look.
    pub(super) unsent: usize,
    pub(super) armed: Armed,
    /// The peer has ended its side.
    pub(super) ended: bool,
    /// The driver does not read it.
    pub(super) paused: bool,
    /// In the list of those to be looked at when the turn is published.
    pub(super) touched: bool,
    /// In the list of those to be decoded again in the next turn.
    pub(super) again: bool,
    /// Its place among the connections; a refused one has a place among the refusals.
    pub(super) permit: Permit,
}

impl Connection {
    pub(super) fn new(
        address: Listener,
        speaker: Speaker,
        timeouts: Arc<Timeouts>,
        permit: Permit,
        input: Input,
    ) -> Self {
        Self {
            address,
            speaker,
            tls: None,
            timeouts,
            phase: Phase::Open,
            input,
            out: Vec::new(),
            answers: HeldAnswers::default(),
            holding: false,
            need: 1,
            wait: Wait::First,
            deadline_ms: NEVER,
            stuck_ms: NEVER,
            unsent: 0,
            armed: Armed::NOT,
            ended: false,
            paused: false,
            touched: false,
            again: false,
            permit,
        }
    }

    /// Decodes what is kept.
    pub(super) fn decode(&mut self, batch: &mut Batch<'_>) -> Progress {
        let from = self.out.len();
        batch.come_by(self.address);
        let progress = self.speaker.decode(self.input.bytes_mut(), batch, &mut self.out);
        batch.hold(from, &self.out, &mut self.answers);
        progress
    }

    /// Keeps bytes that were not consumed.
    pub(super) fn keep(&mut self, rest: &[u8], buffers: &Buffers) -> Result<(), NoRoom> {
        self.input.keep(rest, self.need, buffers)
    }

    /// Returns whether nothing is known of its peer but that it may want to speak TLS.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Turns what is to be said into what is to be sent.
    pub(super) fn sealed(&mut self, plain: Vec<u8>, buffers: &Buffers) -> Vec<u8> {
        let Some(tls) = &mut self.tls else { return plain };
        if plain.is_empty() && !tls.wants_to_send() {
            return plain;
        }
        let mut wire = buffers.take();
        tls.send(&plain, &mut wire);
        buffers.give(plain);
        wire
    }

    /// Returns whether it was one too many.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.speaker, Speaker::Refused)
    }

    /// Has the connection end once what is in `out` is sent.
    pub(super) fn close_after_answers(&mut self, now_ms: u64, buffers: &Buffers) {
        let until_ms = now_ms + LINGER_MS;
        self.phase = Phase::Closing(Linger { until_ms, bytes_left: LINGER_BYTES, is_open: false });
        self.deadline_ms = NEVER;
        self.input.discard(buffers);
    }

    /// Returns whether nothing is begun and nothing is owed.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Open)
            && matches!(self.wait, Wait::First | Wait::Idle | Wait::Peer(_))
            && self.input.is_empty()
            && self.unsent == 0
            && self.out.is_empty()
    }
}

/// How long the parts of an exchange may take at one address.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Until the first byte of a connection; `None` is for ever.
    pub first: Option<Duration>,
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// For a body; also how long a peer may take no bytes.
    pub body: Duration,
    /// Between messages; `None` is for ever.
    pub idle: Option<Duration>,
}

impl Timeouts {
    pub(super) fn of(&self, wait: Wait) -> Option<Duration> {
        match wait {
            Wait::First => self.first,
            Wait::Head => Some(self.head),
            Wait::Idle => self.idle,
            Wait::Body => Some(self.body),
            Wait::Peer(time) => Some(time),
        }
    }
}
