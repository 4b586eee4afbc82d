//! The one producer of a ring: claim, fill, commit, publish.
//!
//! Decides when there is room and when a batch becomes visible; it returns who must be woken and
//! never waits.

mod boundaries;
mod create;
mod gate;
mod grant;
mod space;
mod subscriptions;

pub use self::create::{CreateError, RingConfig};
pub use self::gate::{SubscriptionId, Violation, Wake};
pub use self::grant::{Grant, GrantOverflow};
pub use self::space::ClaimError;
pub use self::subscriptions::{Start, SubscribeError, SubscriptionStatus};

pub(crate) use self::grant::Filling;

use core::fmt;
use core::sync::atomic::Ordering;

use self::boundaries::Boundaries;
use self::gate::Gate;
use crate::attributes::AttributeBlock;
use crate::crc::Crc;
use crate::geometry::{Geometry, granules_for, low32};
use crate::layout::{
    GRANULE_BYTES, KIND_ATTRIBUTES, KIND_DATA, KIND_DISCARD, STATE_CLOSED, ring_word,
};
use crate::memory::MemoryMut;
use crate::record::{Framing, Header, Meta};
use crate::transfer::{write_header, write_record};

/// The producer's half of a ring over segment `M`, with up to `READERS` subscriptions, whose cursor
/// segments are of type `C`.
///
/// ```
/// use aqueduct_core::{
///     ClaimError, Meta, Next, Producer, Reader, Region, RingConfig, Segment, Start, SubscriptionStatus,
/// };
///
/// let (ring, cursor) = (Segment::<{ 256 + 1024 }>::new(), Segment::<256>::new());
/// let config = RingConfig::new("jobs", 0x5eed_5f00, 1024);
/// let mut producer: Producer<Region> = Producer::create(ring.region(), &config)?;
/// let id = producer.subscribe(Start::Oldest)?; // from now on nothing unread is overwritten
/// producer.attach(id, "worker", cursor.region())?;
/// let mut reader = Reader::attach(producer.ring().read_only(), cursor.region())?;
/// assert_eq!((id.index(), producer.geometry().capacity()), (0, 32));
///
/// // A batch becomes visible at once.
/// assert_eq!(producer.append(Meta::default(), b"one")?, 0);
/// assert_eq!(producer.append(Meta::default(), b"two")?, 1);
/// assert_eq!((producer.next_seq(), producer.backlog()), (2, 0));
/// assert!(producer.publish().is_none()); // nobody sleeps
/// assert_eq!(producer.backlog(), 4); // granules
///
/// // A full ring says so, and the reader learns that somebody waits for space.
/// while producer.has_room(2) {
///     let _ = producer.push(Meta::default(), b"more")?;
/// }
/// let full = producer.push(Meta::default(), b"too many");
/// assert!(matches!(full, Err(ClaimError::Full { needed: 2, .. })));
/// assert!(!producer.want_space(8)? && !producer.want_room(2));
/// assert!(matches!(reader.next(&mut [0; 32])?, Next::Record(record) if record.seq == 0));
/// assert!(reader.release()); // true: tell the producer, by whatever means
/// assert!(producer.want_space(8)?);
///
/// // The reader goes and its place stays; then the place goes too.
/// drop(reader);
/// assert!(producer.detach(id).is_some() && producer.take_violation().is_none());
/// let status = producer.subscription(id);
/// assert!(matches!(status, Some(SubscriptionStatus { attached: false, lag_granules: 28, .. })));
/// assert!(producer.unsubscribe(id));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Producer<M, C = M, const READERS: usize = 16> {
    ring: M,
    geometry: Geometry,
    framing: Framing,
    gate: Gate<C, READERS>,
    /// Just past the last committed record. INVARIANT: at least `tail`; less than a capacity ahead
    /// of the slowest cursor, and of `oldest` at most one.
    head: u64,
    /// Just past the last published record; what the shared `tail` holds.
    tail: u64,
    /// Sequence number of the next DATA record.
    seq: u64,
    /// The head may come this far before the cursors must be looked at again.
    limit: u64,
    /// A record that ends up to here needs nothing but its bytes. INVARIANT: 0 once closed;
    /// otherwise at most `limit`, the end of the head's lap (or the head), and a capacity past
    /// `oldest`, less the granule for `close`.
    clear: u64,
    /// Where the ring began: nothing before it was ever written.
    first: u64,
    /// Where the farthest grant ended, which may have been written into and dropped.
    granted: u64,
    /// What the shared `oldest` holds. INVARIANT: a record boundary, at most `tail`; the bytes of
    /// `oldest..tail` are whole records.
    oldest: u64,
    boundaries: Boundaries,
    /// Counter of the latest request for space.
    request: u32,
    closed: bool,
}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Producer<M, C, READERS> {
    /// Returns what never changes in the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Returns the segment.
    #[must_use]
    pub const fn ring(&self) -> &M {
        &self.ring
    }

    /// Returns the sequence number of the next record.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.seq
    }

    /// Returns the position just past the last committed record.
    pub(crate) const fn head(&self) -> u64 {
        self.head
    }

    /// Returns whether the stream was ended.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns a CRC of no bytes yet.
    pub(crate) fn empty_crc(&self) -> Crc {
        self.framing.empty_crc()
    }

    /// Takes everything up to the limit for written into: claims there were forgotten.
    pub(crate) fn forget_claims(&mut self) {
        self.granted = self.granted.max(self.limit);
    }

    /// Returns the granules between the slowest subscription and the published tail, by the cursors
    /// of this moment; 0 without subscriptions.
    #[must_use]
    pub fn backlog(&mut self) -> u32 {
        let slowest = self.gate.refresh(self.tail).unwrap_or(self.tail);
        u32::try_from(self.tail - slowest).unwrap_or(u32::MAX)
    }

    /// Reserves space for one record of up to `payload_bytes`, to be filled and committed. If the
    /// grant is dropped, no record appears.
    ///
    /// # Errors
    /// [`ClaimError::Full`] if gating readers still hold the space; see
    /// [`want_space`](Self::want_space).
    pub fn claim(&mut self, payload_bytes: usize) -> Result<Grant<'_, M, C, READERS>, ClaimError> {
        let start = self.reserve(payload_bytes)?;
        self.granted = self
            .granted
            .max(start + (GRANULE_BYTES + payload_bytes).div_ceil(GRANULE_BYTES) as u64);
        let filling =
            Filling::new(self.geometry.offset_of(start), payload_bytes, self.framing.empty_crc());
        Ok(Grant { producer: self, start, filling })
    }

    /// Commits one record without publishing it: the way to build a batch. Returns its sequence
    /// number.
    ///
    /// # Errors
    /// As [`claim`](Self::claim); nothing was committed then.
    #[inline]
    pub fn append(&mut self, meta: Meta, payload: &[u8]) -> Result<u64, ClaimError> {
        self.reserve(payload.len())?;
        Ok(self.append_at_head(meta, payload))
    }

    /// Does what [`append`](Self::append) does with a record that has attributes. Payload and
    /// block together may be as long as a payload.
    ///
    /// # Errors
    /// As [`claim`](Self::claim), for both together; nothing was committed then.
    ///
    /// ```
    /// use aqueduct_core::{AttributeBlock, Producer, Meta, Region, RingConfig, Segment};
    ///
    /// let ring = Segment::<{ 256 + 1024 }>::new();
    /// let config = RingConfig::new("events", 0x5eed_5f06, 1024);
    /// let mut producer: Producer<Region> = Producer::create(ring.region(), &config)?;
    /// let mut room = [0; 16];
    /// let block = AttributeBlock::write([("a", &b"b"[..])], &mut room)?;
    /// assert_eq!(producer.append_with(Meta::default(), b"payload", block)?, 0);
    /// let _ = producer.publish();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append_with(
        &mut self,
        meta: Meta,
        payload: &[u8],
        attributes: AttributeBlock<'_>,
    ) -> Result<u64, ClaimError> {
        if attributes.is_empty() {
            return self.append(meta, payload);
        }
        let block = attributes.as_bytes();
        let start = self.reserve(payload.len().saturating_add(block.len()))?;
        let at = self.geometry.offset_of(start);
        let empty = self.framing.empty_crc();
        let (len, crc) = Filling::whole(&self.ring, at, [payload, block], empty);
        Ok(self.commit(start, meta, crc, len, attributes.units()))
    }

    /// Does what [`push`](Self::push) does with a record that has attributes.
    ///
    /// # Errors
    /// As [`append_with`](Self::append_with).
    pub fn push_with(
        &mut self,
        meta: Meta,
        payload: &[u8],
        attributes: AttributeBlock<'_>,
    ) -> Result<(u64, Wake), ClaimError> {
        let seq = self.append_with(meta, payload, attributes)?;
        Ok((seq, self.publish()))
    }

    /// Commits one record and publishes it with everything committed before. Returns its sequence
    /// number and the readers to wake.
    ///
    /// # Errors
    /// As [`claim`](Self::claim); what was committed before stays committed and unpublished then.
    #[inline]
    pub fn push(&mut self, meta: Meta, payload: &[u8]) -> Result<(u64, Wake), ClaimError> {
        let seq = self.append(meta, payload)?;
        Ok((seq, self.publish()))
    }

    /// Publishes everything committed, at the cost of one store and one look at the readers.
    #[inline]
    pub fn publish(&mut self) -> Wake {
        if self.head == self.tail {
            return Wake::NONE;
        }
        self.tail = self.head;
        // ORDER(publish): Relaxed; the next store orders it.
        self.ring.store(ring_word::NEXT_SEQ, low32(self.seq), Ordering::Relaxed);
        // ORDER(publish): Release. A reader that loads this tail sees the records before it. Pairs
        // with `Reader::refresh`.
        self.ring.store(ring_word::TAIL, low32(self.tail), Ordering::Release);
        if !self.gate.any_attached() {
            return Wake::NONE;
        }
        // ORDER(sleep): SeqCst. Either we see `waiting` below, or the reader sees this tail. Pairs
        // with the fence in `Reader::prepare_sleep`.
        self.ring.fence(Ordering::SeqCst);
        self.gate.sleepers(low32(self.tail))
    }

    /// Ends the stream: publishes what is committed and marks the ring closed. Returns the readers
    /// to wake, as after any publication.
    ///
    /// In a ring that was resumed without a single free granule the tail cannot move once more: a
    /// reader that falls asleep at that moment learns of the end when its sleep times out.
    pub fn close(&mut self) -> Wake {
        if self.closed {
            return Wake::NONE;
        }
        self.closed = true;
        self.clear = 0;
        let wake = self.publish();
        // ORDER(close): Release. A reader that sees CLOSED sees every tail before it. Pairs with
        // `Reader::next`.
        self.ring.store(ring_word::STATE, STATE_CLOSED, Ordering::Release);
        let floor = self.gate.refresh(self.tail).unwrap_or(self.tail);
        if self.head >= floor + u64::from(self.geometry.capacity()) {
            // Only a ring that was resumed full to the last granule: a second closing record would
            // destroy what a reader has not released.
            // ORDER(none): no fence, for a reader that falls asleep just now looks at `tail` only
            // and sleeps until its timeout anyway. No sleeper names a tail that is still to come.
            return wake.and(self.gate.sleepers(low32(self.tail + 1)));
        }
        // The granule that `reserve` keeps back: `tail` moves, so nobody can fall asleep on its old
        // value.
        self.retire(self.head + 1);
        self.write_padding(KIND_DISCARD, 0);
        wake.and(self.publish())
    }

    /// Commits a record that readers skip.
    pub(crate) fn write_padding(&mut self, kind: u8, payload_bytes: u32) {
        let header = Header::padding(kind, payload_bytes, self.seq);
        write_header(
            &self.ring,
            self.geometry.offset_of(self.head),
            &self.framing,
            low32(self.head),
            &header,
        );
        self.advance(self.head + u64::from(granules_for(payload_bytes)));
    }

    /// Commits one record where there is room for it.
    #[inline]
    pub(crate) fn append_at_head(&mut self, meta: Meta, payload: &[u8]) -> u64 {
        let start = self.head;
        let header = self.next_header(meta, 0, payload.len(), 0);
        write_record(
            &self.ring,
            self.geometry.offset_of(start),
            &self.framing,
            low32(start),
            header,
            payload,
        );
        self.count(start, header.len)
    }

    /// Commits a record whose payload and attributes, `len` bytes, are after the head already, with
    /// this CRC; `units` are those of the attributes. Returns its sequence number.
    #[inline]
    pub(crate) fn commit_at_head(&mut self, meta: Meta, crc: u32, len: usize, units: u8) -> u64 {
        self.commit(self.head, meta, crc, len, units)
    }

    /// Commits the record at `start`. Returns its sequence number.
    #[inline]
    pub(super) fn commit(
        &mut self,
        start: u64,
        meta: Meta,
        crc: u32,
        len: usize,
        units: u8,
    ) -> u64 {
        let header = self.next_header(meta, crc, len, units);
        write_header(
            &self.ring,
            self.geometry.offset_of(start),
            &self.framing,
            low32(start),
            &header,
        );
        self.count(start, header.len)
    }

    #[inline]
    const fn next_header(&self, meta: Meta, payload_crc: u32, len: usize, units: u8) -> Header {
        #[allow(clippy::cast_possible_truncation, reason = "`room_for` checked that it fits")]
        let len = len as u32;
        Header {
            len,
            kind: if units == 0 { KIND_DATA } else { KIND_DATA | KIND_ATTRIBUTES },
            flags: units,
            type_tag: meta.type_tag,
            seq: self.seq,
            timestamp_ns: meta.timestamp_ns,
            payload_crc,
        }
    }

    /// Completes the record of `len` bytes at `start`. Returns its sequence number.
    #[inline]
    fn count(&mut self, start: u64, len: u32) -> u64 {
        let seq = self.seq;
        // A resumed ring may hold any number that checks.
        self.seq = seq.wrapping_add(1);
        self.advance(start + u64::from(granules_for(len)));
        seq
    }

    /// Moves the head past a committed record.
    #[inline]
    fn advance(&mut self, end: u64) {
        self.boundaries.note(self.head);
        self.head = end;
    }
}

impl<M, C, const READERS: usize> fmt::Debug for Producer<M, C, READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("geometry", &self.geometry)
            .field("head", &self.head)
            .field("tail", &self.tail)
            .field("next_seq", &self.seq)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
