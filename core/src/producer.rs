//! The one producer of a ring: claim, fill, commit, publish.
//!
//! Decides when there is room and when a batch becomes visible; it returns who must be woken and
//! never waits. Next: `reader`.

use core::sync::atomic::Ordering;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::boundaries::Boundaries;
pub use crate::config::{Meta, RingConfig, Start, SubscriptionStatus};
pub use crate::error::{ClaimError, CreateError, GrantOverflow, SubscribeError};
use crate::gate::{Gate, Wake};
use crate::grant::{Filling, Grant};
use crate::layout::{
    ABI_MAJOR, ABI_MINOR, GRANULE_BYTES, Geometry, GeometryError, KIND_DATA, KIND_DISCARD,
    KIND_PAD, RING_MAGIC, RingHeader, STATE_CLOSED, STATE_RUNNING, distance, granules_for,
    max_payload_for, name_field, padding_payload_bytes, ring_word, shared,
};
use crate::record::{Framing, Header};
use crate::recovery::{RecoverError, Recovery};
use crate::region::MemoryMut;
use crate::walk::View;

/// The producer's half of a ring over segment `M`, with up to `READERS` subscriptions on pages `C`.
pub struct Producer<M, C = M, const READERS: usize = 16> {
    pub(crate) ring: M,
    pub(crate) geometry: Geometry,
    pub(crate) framing: Framing,
    pub(crate) gate: Gate<C, READERS>,
    /// Behind the last committed record. INVARIANT: at least `tail`; less than a capacity ahead of
    /// the slowest cursor, and of `oldest` at most one.
    pub(crate) head: u64,
    /// Behind the last published record; what the shared `tail` holds.
    pub(crate) tail: u64,
    /// Number of the next DATA record.
    pub(crate) seq: u64,
    /// The head may come this far before the cursors must be looked at again.
    pub(crate) limit: u64,
    /// A record that ends up to here needs nothing but its bytes. INVARIANT: 0 once closed;
    /// otherwise at most `limit`, the end of the head's lap (or the head), and a capacity less the
    /// granule for `close` behind `oldest`.
    pub(crate) clear: u64,
    /// Where the ring began: nothing before it was ever written.
    pub(crate) first: u64,
    /// Where the farthest grant ended, which may have been written into and dropped.
    pub(crate) granted: u64,
    /// What the shared `oldest` holds. INVARIANT: a record boundary, at most `tail`; the bytes of
    /// `oldest..tail` are whole records.
    pub(crate) oldest: u64,
    boundaries: Boundaries,
    /// Number of the latest request for space.
    request: u32,
    pub(crate) closed: bool,
}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Producer<M, C, READERS> {
    /// Makes a new, empty ring of the segment, whatever was in it. Its magic is stored last.
    ///
    /// # Errors
    /// A value of the configuration breaks ABI §2.1, or the segment is too small.
    pub fn create(ring: M, config: &RingConfig<'_>) -> Result<Self, CreateError> {
        let capacity = u32::try_from(config.capacity_bytes / GRANULE_BYTES).unwrap_or(u32::MAX);
        if !config.capacity_bytes.is_multiple_of(GRANULE_BYTES) {
            return Err(GeometryError::Capacity { granules: capacity }.into());
        }
        let max_payload = config.max_payload_bytes.unwrap_or(max_payload_for(capacity));
        let geometry = Geometry::new(
            config.epoch,
            capacity,
            max_payload,
            config.data_offset_bytes,
            config.clock_id,
            ring.size(),
        )?;
        let mut header = RingHeader {
            magic: RING_MAGIC,
            abi_major: U16::new(ABI_MAJOR),
            abi_minor: U16::new(ABI_MINOR),
            data_offset: U32::new(config.data_offset_bytes),
            epoch: U64::new(config.epoch),
            created_ns: U64::new(config.created_ns),
            capacity: U32::new(capacity),
            max_payload: U32::new(max_payload),
            clock_id: U32::new(config.clock_id),
            reserved0: U32::new(0),
            name: name_field(config.name)?,
            reserved1: [0; 12],
            header_crc: U32::new(0),
        };
        header.header_crc = U32::new(crc32fast::hash(&header.as_bytes()[..124]));

        ring.write(0, &[0; 8]);
        // ORDER(create): Release. A process killed here leaves no old magic before a new header:
        // they would make a ring of old control words. Readers do not need it, for they look at the
        // magic first.
        ring.fence(Ordering::Release);
        ring.write(8, &header.as_bytes()[8..]);
        for (word, value) in [
            (ring_word::TAIL, config.first_position),
            (ring_word::NEXT_SEQ, 0),
            (ring_word::OLDEST, config.first_position),
            (ring_word::STATE, STATE_RUNNING),
            (ring_word::SPACE_WANTED, 0),
        ] {
            // ORDER(create): Relaxed; the fence below orders it before the magic.
            ring.store(word, value, Ordering::Relaxed);
        }
        // ORDER(create): Release. Whoever sees the magic sees the whole header. Pairs with the
        // fence in `Reader::attach`.
        ring.fence(Ordering::Release);
        ring.write(0, &RING_MAGIC);
        Ok(Self::at(ring, geometry, u64::from(config.first_position), 0))
    }

    /// Goes on with a recovered ring in the same epoch. This is where recovery writes: everything
    /// behind the prefix is erased, so that nothing that was cut can come back later, and the
    /// control words are set to the prefix.
    ///
    /// No other process may use the ring. Subscriptions are gone; make them anew, with
    /// [`Start::At`] for cursors that were kept.
    ///
    /// # Errors
    /// As [`recover`](crate::recovery::recover), and [`RecoverError::UnknownSeq`].
    pub fn resume(ring: M, recovery: &Recovery) -> Result<Self, RecoverError> {
        let next_seq = recovery.next_seq.ok_or(RecoverError::UnknownSeq)?;
        let view = View::open(&ring)?;
        let (geometry, start) = (view.geometry, u64::from(recovery.start));
        let (kept, capacity) =
            (u64::from(distance(recovery.start, recovery.end)), u64::from(geometry.capacity()));
        if kept > capacity {
            return Err(RecoverError::Tail { checkpoint: recovery.start, tail: recovery.end });
        }
        let end = start + kept;
        let mut boundaries = Boundaries::new(&geometry, start);
        let mut at = start;
        // No header is valid at the end itself.
        while let Ok(located) = view.header_at(at, end) {
            boundaries.note(at);
            at = located.end;
        }
        for (word, value) in [
            (ring_word::NEXT_SEQ, shared(next_seq)),
            (ring_word::OLDEST, recovery.start),
            (ring_word::STATE, STATE_RUNNING),
            (ring_word::SPACE_WANTED, 0),
            (ring_word::TAIL, shared(end)),
        ] {
            // ORDER(none): nobody else uses the ring yet, and the prefix lies within the old
            // `oldest..tail`.
            ring.store(word, value, Ordering::Relaxed);
        }
        // Only now, so that a process killed here leaves whole records between `oldest` and `tail`.
        // ORDER(oldest): Release, as in `retire`.
        ring.fence(Ordering::Release);
        // Every granule, whether a header of this lap stands there or not: one of a later lap, left
        // there by a tail that was lost, would be valid again when this life's tail comes there.
        for position in end..start + capacity {
            ring.write(geometry.offset_of(position), &[0; GRANULE_BYTES]);
        }
        Ok(Self {
            first: start,
            oldest: start,
            boundaries,
            ..Self::at(ring, geometry, end, next_seq)
        })
    }

    fn at(ring: M, geometry: Geometry, head: u64, seq: u64) -> Self {
        Self {
            ring,
            geometry,
            framing: Framing::new(geometry.epoch()),
            gate: Gate::new(),
            head,
            tail: head,
            seq,
            limit: head,
            clear: 0,
            first: head,
            granted: head,
            oldest: head,
            boundaries: Boundaries::new(&geometry, head),
            request: 0,
            closed: false,
        }
    }

    /// What is fixed for the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The segment.
    #[must_use]
    pub const fn ring(&self) -> &M {
        &self.ring
    }

    /// Number that the next record will get.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.seq
    }

    /// Granules between the slowest subscription and the published tail, by the cursors as they
    /// stand now; 0 without subscriptions.
    #[must_use]
    pub fn backlog(&mut self) -> u32 {
        let slowest = self.gate.refresh(self.tail).unwrap_or(self.tail);
        u32::try_from(self.tail - slowest).unwrap_or(u32::MAX)
    }

    /// Room for one record of up to `payload_bytes`, to be filled and committed. If the grant is
    /// dropped, no record appears.
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

    /// Commits one record and publishes it with everything committed before. Returns its sequence
    /// number and whom to wake.
    ///
    /// # Errors
    /// As [`claim`](Self::claim); what was committed before stays committed and unpublished then.
    #[inline]
    pub fn push(&mut self, meta: Meta, payload: &[u8]) -> Result<(u64, Wake), ClaimError> {
        let seq = self.append(meta, payload)?;
        Ok((seq, self.publish()))
    }

    /// Makes everything committed visible, at the cost of one store and one look at the readers.
    #[inline]
    pub fn publish(&mut self) -> Wake {
        if self.head == self.tail {
            return Wake::NONE;
        }
        self.tail = self.head;
        // ORDER(publish): Relaxed; the next store orders it.
        self.ring.store(ring_word::NEXT_SEQ, shared(self.seq), Ordering::Relaxed);
        // ORDER(publish): Release. Whoever loads this tail sees the records before it. Pairs with
        // `Reader::refresh`.
        self.ring.store(ring_word::TAIL, shared(self.tail), Ordering::Release);
        if !self.gate.any_attached() {
            return Wake::NONE;
        }
        // ORDER(sleep): SeqCst. Either we see `waiting` below, or the reader sees this tail. Pairs
        // with the fence in `Reader::prepare_sleep`.
        self.ring.fence(Ordering::SeqCst);
        self.gate.sleepers(shared(self.tail))
    }

    /// Ends the stream: publishes what is committed and marks the ring closed. Sleepers are woken
    /// like after any publication.
    pub fn close(&mut self) -> Wake {
        if self.closed {
            return Wake::NONE;
        }
        self.closed = true;
        self.clear = 0;
        let wake = self.publish();
        // ORDER(close): Release. Whoever sees CLOSED sees every tail before it. Pairs with
        // `Reader::next`.
        self.ring.store(ring_word::STATE, STATE_CLOSED, Ordering::Release);
        let floor = self.gate.refresh(self.tail).unwrap_or(self.tail);
        if self.head >= floor + u64::from(self.geometry.capacity()) {
            // Only a ring that was resumed full to the last granule: a second closing record would
            // destroy what a reader has not released.
            // ORDER(none): no fence, for a reader that falls asleep just now looks at `tail` only
            // and sleeps until its timeout anyway. No sleeper names a tail that is still to come.
            return wake.and(self.gate.sleepers(shared(self.tail + 1)));
        }
        // The granule that `reserve` keeps back: `tail` moves, so nobody can fall asleep on its old
        // value.
        self.retire(self.head + 1);
        self.write_padding(KIND_DISCARD, 0);
        wake.and(self.publish())
    }

    /// Asks the readers to tell when there is space. Publish what is committed first. One party
    /// asks at a time: a success forgets the request.
    ///
    /// True: there is room for a record of `payload_bytes` now, claim it. False: every reader that
    /// releases something from now on learns that it must tell (see `Reader::release`); wait for
    /// that, then claim again, and ask again if it is still full.
    ///
    /// # Errors
    /// As [`claim`](Self::claim), but never [`ClaimError::Full`].
    pub fn want_space(&mut self, payload_bytes: usize) -> Result<bool, ClaimError> {
        self.request = self.request.wrapping_add(1).max(1);
        // ORDER(space): Relaxed; the fence orders it before the cursors are loaded.
        self.ring.store(ring_word::SPACE_WANTED, self.request, Ordering::Relaxed);
        // ORDER(space): SeqCst. Either we see the new cursor below, or the reader sees this
        // request. Pairs with the fence in `Reader::release`.
        self.ring.fence(Ordering::SeqCst);
        match self.room_for(payload_bytes) {
            Ok(_) => {
                // ORDER(none): saves the readers a message; a stale request costs one.
                self.ring.store(ring_word::SPACE_WANTED, 0, Ordering::Relaxed);
                Ok(true)
            }
            Err(ClaimError::Full { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Finds room behind the head: (granules of PAD before it, end of the record).
    fn room_for(&mut self, payload_bytes: usize) -> Result<(u32, u64), ClaimError> {
        let limit = self.geometry.max_payload();
        let len = u32::try_from(payload_bytes).ok().filter(|&len| len <= limit);
        let len = len.ok_or(ClaimError::TooLarge { bytes: payload_bytes, limit })?;
        if self.closed {
            return Err(ClaimError::Closed);
        }
        let granules = granules_for(len);
        let room = self.geometry.room_to_end(self.head);
        let pad = if granules > room { room } else { 0 };
        let end = self.head + u64::from(pad + granules);
        if end > self.limit {
            let floor = self.gate.refresh(self.tail).unwrap_or(self.tail);
            // One granule stays back for `close`.
            self.limit = floor + u64::from(self.geometry.capacity() - 1);
            if end > self.limit {
                let free = self.limit.saturating_sub(self.head);
                return Err(ClaimError::Full {
                    needed: pad + granules,
                    free: u32::try_from(free).unwrap_or(u32::MAX),
                });
            }
        }
        Ok((pad, end))
    }

    /// Makes room behind the head and returns where the record goes.
    #[inline]
    fn reserve(&mut self, payload_bytes: usize) -> Result<u64, ClaimError> {
        let granules = 1 + payload_bytes.div_ceil(GRANULE_BYTES) as u64;
        if payload_bytes <= self.geometry.max_payload() as usize
            && self.head + granules <= self.clear
        {
            return Ok(self.head);
        }
        self.make_way(payload_bytes)
    }

    /// [`reserve`](Self::reserve), looking at everything.
    #[cold]
    fn make_way(&mut self, payload_bytes: usize) -> Result<u64, ClaimError> {
        let (pad, end) = self.room_for(payload_bytes)?;
        // One granule more than needed, for `close`.
        if end >= self.oldest + u64::from(self.geometry.capacity()) {
            self.retire(end + 1);
        }
        if pad > 0 {
            self.write_padding(KIND_PAD, padding_payload_bytes(pad));
        }
        let lap_end = self.head + u64::from(self.geometry.room_to_end(self.head));
        self.clear =
            lap_end.min(self.limit).min(self.oldest + u64::from(self.geometry.capacity()) - 1);
        Ok(self.head)
    }

    #[cfg(target_has_atomic = "32")]
    /// Lets the head come `ahead` granules and a sector further than it is, if the readers allow
    /// it; gives the limit.
    pub(crate) fn extend(&mut self, ahead: u64) -> u64 {
        let capacity = u64::from(self.geometry.capacity());
        // A whole lap can never be had: no more than the sector is overwritten for it, nor for an
        // end that is behind the head by now.
        let ahead = if ahead < capacity { ahead } else { 0 };
        let floor = self.gate.refresh(self.tail).unwrap_or(self.tail);
        let end = (self.head + ahead + capacity / 16).min(floor + capacity - 1);
        self.retire(end + 1);
        self.limit = floor.min(self.oldest) + capacity - 1;
        self.limit
    }

    /// Commits a record that readers skip.
    pub(crate) fn write_padding(&mut self, kind: u8, payload_bytes: u32) {
        let header = Header::padding(kind, payload_bytes, self.seq);
        self.ring.write_header(
            self.geometry.offset_of(self.head),
            &self.framing,
            shared(self.head),
            &header,
        );
        self.advance(self.head + u64::from(granules_for(payload_bytes)));
    }

    /// Commits one record where there is room for it.
    #[inline]
    pub(crate) fn append_at_head(&mut self, meta: Meta, payload: &[u8]) -> u64 {
        let start = self.head;
        let header = self.next_header(meta, 0, payload.len());
        self.ring.write_record(
            self.geometry.offset_of(start),
            &self.framing,
            shared(start),
            header,
            payload,
        );
        self.count(start, header.len)
    }

    #[inline]
    pub(crate) fn commit(&mut self, start: u64, meta: Meta, crc: u32, len: usize) -> u64 {
        let header = self.next_header(meta, crc, len);
        self.ring.write_header(
            self.geometry.offset_of(start),
            &self.framing,
            shared(start),
            &header,
        );
        self.count(start, header.len)
    }

    #[inline]
    const fn next_header(&self, meta: Meta, payload_crc: u32, len: usize) -> Header {
        #[allow(clippy::cast_possible_truncation, reason = "`room_for` checked that it fits")]
        let len = len as u32;
        Header {
            len,
            kind: KIND_DATA,
            flags: 0,
            type_tag: meta.type_tag,
            seq: self.seq,
            timestamp_ns: meta.timestamp_ns,
            payload_crc,
        }
    }

    /// The record of `len` bytes at `start` is complete. Returns its number.
    #[inline]
    fn count(&mut self, start: u64, len: u32) -> u64 {
        let seq = self.seq;
        // A resumed ring may hold any number that checks.
        self.seq = seq.wrapping_add(1);
        self.advance(start + u64::from(granules_for(len)));
        seq
    }

    /// Moves the head behind a committed record.
    #[inline]
    fn advance(&mut self, end: u64) {
        self.boundaries.note(self.head);
        self.head = end;
    }

    /// Moves `oldest` behind everything that a record ending at `end` overwrites, to the first
    /// boundary of a sector.
    #[cold]
    pub(crate) fn retire(&mut self, end: u64) {
        let Some(needed) = end.checked_sub(u64::from(self.geometry.capacity())) else { return };
        if needed <= self.oldest {
            return;
        }
        let boundary = self.boundaries.first_from(needed).map_or(self.tail, |at| at.min(self.tail));
        debug_assert!(boundary >= needed, "the published tail is never overwritten");
        self.oldest = boundary;
        // ORDER(oldest): Release. Whoever loads it sees a tail that is not before it. Pairs with
        // `Walk::skip_to_oldest`. The fence orders it before the bytes that come next.
        self.ring.store(ring_word::OLDEST, shared(boundary), Ordering::Release);
        // ORDER(oldest): Release. An observer that copied a byte written after this sees the new
        // `oldest` when it looks again. Pairs with the acquire fence behind an observer's copy (ABI
        // §4.3).
        self.ring.fence(Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{Region, Segment};

    #[test]
    fn room_is_made_a_sector_further_than_asked_and_none_for_what_can_never_fit() {
        for capacity in if cfg!(miri) { &[4, 8][..] } else { &[4, 8, 16, 64] }.iter().copied() {
            for ahead in (0..=capacity + 1).chain([(1 << 31) - 1]) {
                let ring = Segment::<{ 256 + 64 * 32 }>::new();
                let config = RingConfig::new("", 1, usize::try_from(capacity * 32).unwrap());
                let mut producer: Producer<Region<'_>> =
                    Producer::create(ring.region(), &config).unwrap();
                for _ in 0..3 * capacity {
                    let _ = producer.push(Meta::default(), &[]).unwrap();
                }
                let (before, sector) =
                    (producer.oldest + capacity - 1 - producer.head, capacity / 16);
                let asked = if ahead < capacity { ahead } else { 0 };
                let made = producer.extend(ahead) - producer.head;
                assert!(
                    made >= (asked + sector).min(capacity - 1),
                    "{made} of {asked} in {capacity}"
                );
                assert!(
                    made <= before.max(asked + 2 * sector.max(1)),
                    "{made} of {asked} in {capacity}: records lost for nothing"
                );
            }
        }
    }
}
