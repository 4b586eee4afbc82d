//! Where a codec puts records, and what it asks the process about.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use aqueduct_core::AttributeBlock;

/// Bytes of a granule, and of a record's header.
const GRANULE_BYTES: u64 = aqueduct_core::layout::GRANULE_BYTES as u64;

pub use crate::telemetry::TRACEPARENT_BYTES;

/// Index of a ring in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingId(pub u16);

/// What a codec has to know about a ring. Constant for the life of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Which one.
    pub id: RingId,
    /// Epoch: (epoch, seq) identifies a record.
    pub epoch: u64,
    /// Largest payload, bytes.
    pub max_payload_bytes: u32,
    /// Size of the data area, bytes: no batch can be larger.
    pub capacity_bytes: u64,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it goes.
    pub ring: RingId,
    /// The user's tag.
    pub type_tag: u16,
    /// Its bytes.
    pub payload: &'a [u8],
    /// What is kept with it.
    pub attributes: AttributeBlock<'a>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Appended under this sequence number, and published before the answer is sent.
    Accepted(u64),
    /// No room now. The codec stops with [`State::Parked`](super::State::Parked).
    Full,
    /// Not taken, for good.
    Refused(Reason),
}

/// Whether a batch fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does: each of its records will be accepted in this turn.
    Yes,
    /// Not now, as [`Outcome::Full`].
    Full,
    /// Not taken, for good.
    Refused(Reason),
}

/// Why a record is not in the ring. Also the label under which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The ring stayed full until the deadline.
    Full,
    /// Larger than a record of this ring, or a batch than the ring, may be.
    TooLarge,
    /// The type tag is not a number of 16 bits.
    BadType,
    /// The bytes break the protocol, or a checksum that came with them does not match.
    Malformed,
    /// The rest did not arrive in time.
    Timeout,
    /// The peer went away in the middle of it.
    Disconnected,
    /// The peer may not write here.
    Denied,
    /// The peer has asked too often.
    RateLimited,
    /// There is no memory to receive it.
    NoMemory,
    /// The ring is closed or about to be.
    ShuttingDown,
    /// The journal of the ring failed: nothing is taken until the process is started again.
    Journal,
}

/// Sizes of a batch, for the question whether it fits as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchSize {
    /// Records.
    pub records: u64,
    /// Granules of all records with their headers, without padding at the end of the
    /// data area.
    pub granules: u64,
    /// Granules of the largest record: up to one less may be lost to padding where the batch wraps.
    pub largest: u64,
}

impl BatchSize {
    /// Adds a record of so many bytes, attributes included.
    pub fn add(&mut self, record_bytes: usize) {
        let granules = 1 + (record_bytes as u64).div_ceil(GRANULE_BYTES);
        self.records += 1;
        self.granules += granules;
        self.largest = self.largest.max(granules);
    }

    /// Bytes of all records with their headers.
    pub const fn bytes(&self) -> u64 {
        self.granules * GRANULE_BYTES
    }

    /// Whether an empty ring has room for all of them, wherever its head is: there may be padding
    /// before the largest record, and closing needs a granule.
    pub const fn fits(&self, ring: &Ring) -> bool {
        self.granules + self.largest <= ring.capacity_bytes / GRANULE_BYTES
    }
}

/// A message that its client gave a key, so that it may send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed<'a> {
    /// Whose key it is: the name of a credential, or nothing.
    pub owner: &'a [u8],
    /// The key.
    pub key: &'a [u8],
    /// The tag of its records.
    pub type_tag: u16,
    /// Its body.
    pub body: &'a [u8],
    /// The rings that it goes to, in their order, if they are several; the first remembers it. The
    /// same body for other rings is another message.
    pub rings: &'a [RingId],
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Sequence number of its first record.
    pub first: u64,
    /// Of its last.
    pub last: u64,
    /// How many it has.
    pub records: u64,
}

/// Whether a key was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// No, or too long ago.
    New,
    /// Keys are not remembered here.
    Off,
    /// With the same message, which is in the ring.
    Seen(Seen),
    /// With another one.
    Conflict,
}

/// A record that readers are to release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Ring of the record.
    pub ring: RingId,
    /// Its sequence number.
    pub seq: u64,
    /// Place of the subscription that is to release it; all of them without.
    pub by: Option<u16>,
}

/// What an answer waits for beyond publication.
#[derive(Debug)]
pub struct Consumption {
    /// What is to be released: one record of each ring.
    pub of: Vec<Release>,
    /// How long that may take.
    pub within: Duration,
    /// The answer that is sent otherwise.
    pub late: Vec<u8>,
    /// Statuses of the two.
    pub statuses: (u16, u16),
    /// Learns which of them was sent.
    pub answered: Answered,
}

/// Called with the status of an answer that was held.
#[derive(Default)]
pub struct Answered(
    /// Nobody, if there is none.
    pub Option<Box<dyn FnOnce(u16) + Send + Sync>>,
);

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answered").finish_non_exhaustive()
    }
}

/// What a codec reports for counting and for rate-limited log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Records are not in the ring. Without a ring if none was named yet.
    Rejected {
        /// The ring they were for.
        ring: Option<RingId>,
        /// Why.
        reason: Reason,
        /// How many records.
        records: u64,
    },
    /// An HTTP request was answered with this status. [`Page`](super::Page)s are counted by the
    /// loop.
    HttpStatus(u16),
    /// A peer broke its protocol and the connection ends, where no status says so.
    ProtocolError,
}

/// The process, as a codec sees it during one turn.
pub trait Sink {
    /// Looks up a ring by name.
    fn ring(&self, name: &[u8]) -> Option<Ring>;

    /// The name of a ring, for details that people read.
    fn name(&self, ring: RingId) -> &str;

    /// Whether a ring takes nothing for now because there is no space for its journal.
    fn is_out_of_space(&self, _: RingId) -> bool {
        false
    }

    /// Appends one record, which becomes visible when the turn is published. Never waits.
    fn record(&mut self, record: Record<'_>) -> Outcome;

    /// Says whether a whole batch has room now. The codec appends it right after a
    /// [`Room::Yes`], by as many calls of [`record`](Self::record).
    fn room(&mut self, ring: RingId, batch: BatchSize) -> Room;

    /// Appends one record to each of several rings, or to none of them, and puts its sequence
    /// numbers into `seqs`, in the order of `rings`, which is the one of their numbers. The answer
    /// is about the first ring if it is [`Outcome::Accepted`]. A record that has waited for room in
    /// one ring, and then finds none in another, is refused.
    fn fan_out(&mut self, rings: &[RingId], record: Record<'_>, seqs: &mut Vec<u64>) -> Outcome;

    /// Says whether a message without a trace begins one: its `traceparent` then, which comes from
    /// nobody until the sink puts a span of its own into it.
    fn root(&mut self) -> Option<[u8; TRACEPARENT_BYTES]> {
        None
    }

    /// Looks for the key of a message. What is seen is published, or will be when the turn is.
    fn recall(&mut self, ring: RingId, keyed: &Keyed<'_>) -> Recall;

    /// Remembers the key of a message whose records were just accepted.
    fn remember(&mut self, ring: RingId, keyed: &Keyed<'_>, seen: Seen);

    /// Looks for the key of a message that goes to several rings: [`Keyed::rings`]. Puts the
    /// sequence numbers into `seqs`, in their order, if it was seen.
    fn recall_all(&mut self, keyed: &Keyed<'_>, seqs: &mut Vec<u64>) -> Recall;

    /// Remembers the key of a record that several rings have just accepted, under these numbers.
    fn remember_all(&mut self, keyed: &Keyed<'_>, seqs: &[u64]);

    /// Finds a subscription of a ring: its place.
    fn subscription(&self, ring: RingId, name: &str) -> Option<u16>;

    /// Holds these bytes of the output until the records are released. They are the last answer
    /// that was written.
    fn hold_until_consumed(&mut self, bytes: Range<usize>, wait: Consumption);

    /// Records that the ring has taken in this epoch: the next sequence number.
    fn next_seq(&self, ring: RingId) -> u64;

    /// Counts.
    fn note(&mut self, event: Event);

    /// Whether the process is about to end: connections close after their next answer.
    fn is_ending(&self) -> bool;

    /// Now, as the turn began.
    fn now(&self) -> Instant;

    /// Now as an HTTP date (`Sun, 06 Nov 1994 08:49:37 GMT`), at most a second old.
    fn date(&self) -> [u8; 29];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_large_as_its_records_with_their_headers_and_fits_wherever_the_head_is() {
        let mut batch = BatchSize::default();
        for (bytes, granules, largest) in [(0, 1, 1), (1, 3, 2), (32, 5, 2), (33, 8, 3), (5, 10, 3)]
        {
            batch.add(bytes);
            assert_eq!((batch.granules, batch.largest), (granules, largest), "{bytes}");
            assert_eq!(batch.bytes(), 32 * granules);
        }
        assert_eq!(batch.records, 5);
        let ring = |granules: u64| Ring {
            id: RingId(0),
            epoch: 1,
            max_payload_bytes: 1,
            capacity_bytes: 32 * granules,
        };
        // Ten granules, up to two of padding before the largest, and one to close the ring.
        assert!(batch.fits(&ring(13)) && !batch.fits(&ring(12)));
    }
}
