//! Pure protocols: bytes in, records and answers out. No sockets, no clock, no locks.
//!
//! An event loop owns the connection; a [`Codec`] knows only what the bytes mean. One turn of a
//! loop runs like this, for every connection that has bytes:
//!
//! 1. [`Codec::decode`] reads the bytes, hands every complete record to the [`Sink`], which appends
//!    it to its ring **without publishing it**, and writes the answers into `out` at once: the
//!    sequence number is already final.
//! 2. The loop publishes each ring once.
//! 3. Only then does it send `out`. This is what makes an acknowledgement true, and it is the
//!    loop's duty: if a publication fails, `out` is thrown away and the connection closed.
//!
//! A codec keeps no bytes. Whatever it did not consume stays in the loop's buffer and is shown
//! again, with more after it, so the state of an idle connection is the codec itself: a few words.

use std::sync::Arc;

use crate::middleware::Job;
use crate::tls::Peer;

mod keep;
mod login;
mod progress;
mod sink;
mod text;
#[cfg(any(test, feature = "trial"))]
pub mod trial;

pub mod http1;
pub mod lines;
pub mod mqtt;
pub mod resp;

pub use keep::{ALL_USER_PROPERTIES, BadGiven, GIVEN, Keep, Kept};
pub use login::{Access, Login};
pub use progress::{Page, Persistence, Progress, Resource, State, Wait};
pub use sink::{
    Answered, BatchSize, Consumption, Event, Keyed, Outcome, Reason, Recall, Record, Release, Ring,
    RingId, Room, Seen, Sink, TRACEPARENT_BYTES,
};

/// Decoding stops once so many bytes of answers are waiting to be sent, so that a peer that
/// pipelines without reading cannot make them grow. See [`State::Flush`].
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// The protocol of one connection.
///
/// The result does not depend on how the input is cut into calls: any split of the same bytes gives
/// the same records and the same answers.
pub trait Codec {
    /// Decodes as many messages of `input` as it can.
    ///
    /// `input` holds everything that was received and not consumed, oldest byte first. The codec
    /// may rewrite it (a chunked body is joined in place); [`Progress`] says what remains. `out` is
    /// appended to, and must not be sent before the records that the sink took are published.
    fn decode<S: Sink>(&mut self, input: &mut [u8], sink: &mut S, out: &mut Vec<u8>) -> Progress;

    /// Ends the input after the peer closed its sending side: `rest` is what [`decode`] left with
    /// [`State::More`]. Afterwards the loop publishes (an MQTT client may leave a will), sends
    /// `out` and closes. The same holds for the other two ways to end.
    ///
    /// [`decode`]: Self::decode
    fn end_of_input<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>);

    /// Says goodbye when a [`Wait`] took too long. Afterwards the loop sends `out` and closes with
    /// a linger; with nothing in `out` it just closes.
    fn timed_out<S: Sink>(&mut self, rest: &[u8], sink: &mut S, out: &mut Vec<u8>);

    /// Whether a [`State::Parked`] connection is answered at its deadline. Where the protocol has
    /// no answers, not reading is the only one: the connection waits until there is room.
    fn gives_up_when_full(&self) -> bool {
        true
    }

    /// Learns whom the certificate names that the client has shown, before anything is decoded.
    fn introduce(&mut self, _certificate: Arc<Peer>) {}

    /// Takes the work that a [`State::Away`] is about, once.
    fn take_job(&mut self) -> Option<Job> {
        None
    }

    /// Counts what is lost with a connection that broke (a reset, or a peer that takes no bytes).
    fn broken<S: Sink>(&mut self, rest: &[u8], sink: &mut S);
}
