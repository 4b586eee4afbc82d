//! The one producer of a ring: claim, fill, commit, publish.
//!
//! Decides when there is room and when a batch becomes visible; it returns who must be woken and never waits. Next: `reader`.

use core::sync::atomic::Ordering;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

pub use crate::error::{ClaimError, CreateError, GrantOverflow, SubscribeError};
use crate::gate::{Gate, SubscriptionId, Violation, Wake};
use crate::layout::{
    ABI_MAJOR, ABI_MINOR, CURSOR_BYTES_MIN, CURSOR_MAGIC, CursorIdentity, DATA_OFFSET_MIN, GRANULE_BYTES, Geometry, GeometryError,
    KIND_DATA, KIND_DISCARD, KIND_PAD, RING_MAGIC, RingHeader, STATE_CLOSED, STATE_RUNNING, cursor_word, filler_payload, granules_for,
    max_payload_for, name_field, ring_word, shared,
};
use crate::record::{Framing, Header, payload_crc};
use crate::region::MemoryMut;

/// The ring is divided into this many sectors, of each of which the first record boundary is remembered.
const SECTORS: usize = 16;

/// What a new ring shall be.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig<'a> {
    /// Name, at most 64 bytes.
    pub name: &'a str,
    /// Identity: random and not 0. Never reuse one: it is what makes foreign and stale bytes fail their checks.
    pub epoch: u64,
    /// Data area, bytes: 32 × a power of two, at least 128.
    pub capacity_bytes: usize,
    /// Largest payload, bytes; `None` for the most that the capacity allows.
    pub max_payload_bytes: Option<u32>,
    /// Offset of the data area, bytes: at least 256, a multiple of 64.
    pub data_offset_bytes: u32,
    /// Creation time, nanoseconds since the Unix epoch; 0 if unknown.
    pub created_ns: u64,
    /// Clock of the timestamps given to [`Producer::push`], one of the `CLOCK_` constants of [`layout`](crate::layout).
    pub clock_id: u32,
    /// Position of the first record. 0, except in tests of the wrap-around at 2^32.
    pub first_position: u32,
}

impl<'a> RingConfig<'a> {
    /// A ring of the given data size behind the smallest possible header, without clock.
    #[must_use]
    pub const fn new(name: &'a str, epoch: u64, capacity_bytes: usize) -> Self {
        Self {
            name,
            epoch,
            capacity_bytes,
            max_payload_bytes: None,
            data_offset_bytes: DATA_OFFSET_MIN,
            created_ns: 0,
            clock_id: crate::layout::CLOCK_PRIVATE,
            first_position: 0,
        }
    }
}

/// The user's part of a record's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The user's tag.
    pub type_tag: u16,
    /// Nanoseconds by the ring's clock; 0 if unknown.
    pub timestamp_ns: u64,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is still whole.
    Oldest,
    /// Behind the last published record.
    Latest,
}

/// The producer's half of a ring over segment `M`, with up to `READERS` subscriptions on pages `C`.
pub struct Producer<M, C = M, const READERS: usize = 16> {
    ring: M,
    geometry: Geometry,
    framing: Framing,
    gate: Gate<C, READERS>,
    /// Behind the last committed record. INVARIANT: at least `tail`; less than a capacity ahead of the slowest cursor, and of `oldest` at most one.
    head: u64,
    /// Behind the last published record; what the shared `tail` holds.
    tail: u64,
    /// Number of the next DATA record.
    seq: u64,
    /// The head may come this far before the cursors must be looked at again.
    limit: u64,
    /// What the shared `oldest` holds. INVARIANT: a record boundary, at most `tail`; the bytes of `oldest..tail` are whole records.
    oldest: u64,
    /// First record boundary of each sector; an entry speaks of the sector it lies in.
    boundaries: [u64; SECTORS],
    /// Start of the first sector without an entry.
    next_sector: u64,
    sector_shift: u32,
    /// Number of the latest request for space.
    request: u32,
    closed: bool,
}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Producer<M, C, READERS> {
    /// Makes a new, empty ring of the segment, whatever was in it. Its magic is stored last.
    ///
    /// # Errors
    /// A value of the configuration breaks ABI §2.1, or the segment is too small.
    pub fn create(ring: M, config: &RingConfig<'_>) -> Result<Self, CreateError> {
        let capacity = u32::try_from(config.capacity_bytes / GRANULE_BYTES).unwrap_or(u32::MAX);
        if !config.capacity_bytes.is_multiple_of(GRANULE_BYTES) || !capacity.is_power_of_two() || capacity < 2 {
            return Err(GeometryError::Capacity { granules: capacity }.into());
        }
        let max_payload = config.max_payload_bytes.unwrap_or(max_payload_for(capacity));
        let geometry = Geometry::new(config.epoch, capacity, max_payload, config.data_offset_bytes, config.clock_id, ring.size())?;
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
        // ORDER(create): Release. Whoever sees a field of the new ring sees the old magic gone. Pairs with the fence in `Reader::attach`.
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
        // ORDER(create): Release. Whoever sees the magic sees the whole header. Pairs with the fence in `Reader::attach`.
        ring.fence(Ordering::Release);
        ring.write(0, &RING_MAGIC);
        Ok(Self::at(ring, geometry, u64::from(config.first_position), 0))
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
            oldest: head,
            boundaries: [u64::MAX; SECTORS],
            next_sector: head,
            sector_shift: (geometry.capacity() as usize / SECTORS).max(1).ilog2(),
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

    /// Granules between the slowest subscription and the published tail, by the cursors as they stand now; 0 without subscriptions.
    #[must_use]
    pub fn backlog(&mut self) -> u32 {
        let slowest = self.gate.refresh(self.tail).unwrap_or(self.tail);
        u32::try_from(self.tail - slowest).unwrap_or(u32::MAX)
    }

    // ---- subscriptions

    /// Adds a subscription: from now on, attached or not, it holds the producer back.
    ///
    /// # Errors
    /// The table of `READERS` is full.
    pub fn subscribe(&mut self, start: Start) -> Result<SubscriptionId, SubscribeError> {
        let at = match start {
            Start::Oldest => {
                // The granule that `close` needs must not be one that the new subscription holds.
                if !self.closed {
                    self.retire(self.head + 1);
                }
                self.oldest
            }
            Start::Latest => self.tail,
        };
        let id = self.gate.add(at).ok_or(SubscribeError::TableFull { limit: READERS })?;
        self.limit = self.head;
        Ok(id)
    }

    /// Ends a subscription: it holds nobody back any more. Whether there was one.
    pub fn unsubscribe(&mut self, id: SubscriptionId) -> bool {
        self.gate.remove(id)
    }

    /// Initialises `page` for a reader of this subscription and watches it from now on. A page that was attached before is forgotten.
    ///
    /// Use a page that no earlier reader can still write to.
    ///
    /// # Errors
    /// Unknown subscription, a page under 256 bytes, a name over 32 bytes.
    pub fn attach(&mut self, id: SubscriptionId, name: &str, page: C) -> Result<(), SubscribeError> {
        let (seen, _) = self.gate.get(id).ok_or(SubscribeError::Unknown)?;
        if page.size() < CURSOR_BYTES_MIN {
            return Err(SubscribeError::PageTooSmall { bytes: page.size() });
        }
        let mut identity = CursorIdentity {
            magic: CURSOR_MAGIC,
            abi_major: U16::new(ABI_MAJOR),
            abi_minor: U16::new(ABI_MINOR),
            reserved0: U32::new(0),
            epoch: U64::new(self.geometry.epoch()),
            name: name_field(name).map_err(SubscribeError::Name)?,
            reserved1: U32::new(0),
            identity_crc: U32::new(0),
        };
        identity.identity_crc = U32::new(crc32fast::hash(&identity.as_bytes()[..60]));
        for (word, value) in [
            (cursor_word::CURSOR, shared(seen)),
            (cursor_word::WAITING, 0),
            (cursor_word::CORRUPT, 0),
            (cursor_word::LOST, 0),
            (cursor_word::MISSED_WAKES, 0),
        ] {
            // ORDER(create): Relaxed; the fence below orders it before the identity.
            page.store(word, value, Ordering::Relaxed);
        }
        // ORDER(create): Release. Whoever sees the identity sees the words. Pairs with the fence in `Reader::attach`.
        page.fence(Ordering::Release);
        page.write(0, identity.as_bytes());
        self.gate.attach(id, page);
        Ok(())
    }

    /// Lets go of the reader; its subscription gates on at the cursor it stored last. Returns the page, for reuse or release.
    pub fn detach(&mut self, id: SubscriptionId) -> Option<C> {
        self.gate.detach(id, self.tail)
    }

    /// How a subscription stands, by its cursor as it is now.
    pub fn subscription(&mut self, id: SubscriptionId) -> Option<SubscriptionStatus> {
        self.gate.refresh(self.tail);
        let (seen, attached) = self.gate.get(id)?;
        // ORDER(none): statistics; nothing is read because of them.
        let word = |at| self.gate.page(id).map_or(0, |page| page.load(at, Ordering::Relaxed));
        Some(SubscriptionStatus {
            attached,
            lag_granules: u32::try_from(self.tail - seen).unwrap_or(u32::MAX),
            corrupt: word(cursor_word::CORRUPT),
            lost: word(cursor_word::LOST),
            missed_wakes: word(cursor_word::MISSED_WAKES),
        })
    }

    /// The next reader that stored an impossible cursor since the last call. It is detached already.
    pub fn take_violation(&mut self) -> Option<Violation> {
        self.gate.take_violation()
    }

    // ---- records

    /// Room for one record of up to `payload_bytes`, to be filled and committed. If the grant is dropped, no record appears.
    ///
    /// # Errors
    /// [`ClaimError::Full`] if gating readers still hold the space; see [`want_space`](Self::want_space).
    pub fn claim(&mut self, payload_bytes: usize) -> Result<Grant<'_, M, C, READERS>, ClaimError> {
        let start = self.reserve(payload_bytes)?;
        Ok(Grant { start, limit: payload_bytes, written: 0, crc: crc32fast::Hasher::new(), carry: [0; 8], producer: self })
    }

    /// Commits one record without publishing it: the way to build a batch. Returns its sequence number.
    ///
    /// # Errors
    /// As [`claim`](Self::claim); nothing was committed then.
    #[inline]
    pub fn append(&mut self, meta: Meta, payload: &[u8]) -> Result<u64, ClaimError> {
        let start = self.reserve(payload.len())?;
        self.ring.write(self.geometry.offset_of(start) + GRANULE_BYTES, payload);
        Ok(self.commit(start, meta, payload_crc(payload), payload.len()))
    }

    /// Commits one record and publishes it with everything committed before. Returns its sequence number and whom to wake.
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
        // ORDER(publish): Release. Whoever loads this tail sees the records before it. Pairs with `Reader::refresh`.
        self.ring.store(ring_word::TAIL, shared(self.tail), Ordering::Release);
        if !self.gate.any_attached() {
            return Wake::NONE;
        }
        // ORDER(sleep): SeqCst. Either we see `waiting` below, or the reader sees this tail. Pairs with the fence in `Reader::prepare_sleep`.
        self.ring.fence(Ordering::SeqCst);
        self.gate.sleepers(shared(self.tail))
    }

    /// Ends the stream: publishes what is committed and marks the ring closed. Sleepers are woken like after any publication.
    pub fn close(&mut self) -> Wake {
        if self.closed {
            return Wake::NONE;
        }
        self.closed = true;
        let wake = self.publish();
        // ORDER(close): Release. Whoever sees CLOSED sees every tail before it. Pairs with `Reader::next`.
        self.ring.store(ring_word::STATE, STATE_CLOSED, Ordering::Release);
        // The granule that `reserve` keeps back: `tail` moves, so nobody can fall asleep on its old value.
        self.retire(self.head + 1);
        self.filler(KIND_DISCARD, 0);
        wake.and(self.publish())
    }

    /// Asks the readers to tell when there is space. Publish what is committed first. One party asks at a time: a success forgets the request.
    ///
    /// True: there is room for a record of `payload_bytes` now, claim it. False: every reader that releases something from now on learns
    /// that it must tell (see `Reader::release`); wait for that, then claim again, and ask again if it is still full.
    ///
    /// # Errors
    /// As [`claim`](Self::claim), but never [`ClaimError::Full`].
    pub fn want_space(&mut self, payload_bytes: usize) -> Result<bool, ClaimError> {
        self.request = self.request.wrapping_add(1).max(1);
        // ORDER(space): Relaxed; the fence orders it before the cursors are loaded.
        self.ring.store(ring_word::SPACE_WANTED, self.request, Ordering::Relaxed);
        // ORDER(space): SeqCst. Either we see the new cursor below, or the reader sees this request. Pairs with the fence in `Reader::release`.
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
    #[inline]
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
                return Err(ClaimError::Full { needed: pad + granules, free: u32::try_from(free).unwrap_or(u32::MAX) });
            }
        }
        Ok((pad, end))
    }

    /// Makes room behind the head and returns where the record goes.
    #[inline]
    fn reserve(&mut self, payload_bytes: usize) -> Result<u64, ClaimError> {
        let (pad, end) = self.room_for(payload_bytes)?;
        if end > self.oldest + u64::from(self.geometry.capacity()) {
            self.retire(end);
        }
        if pad > 0 {
            self.filler(KIND_PAD, filler_payload(pad));
        }
        Ok(self.head)
    }

    /// Commits a record that readers skip.
    fn filler(&mut self, kind: u8, payload_bytes: u32) {
        let header = self.framing.encode(shared(self.head), &Header::filler(kind, payload_bytes, self.seq));
        self.ring.write(self.geometry.offset_of(self.head), &header);
        self.advance(self.head + u64::from(granules_for(payload_bytes)));
    }

    #[inline]
    fn commit(&mut self, start: u64, meta: Meta, crc: u32, len: usize) -> u64 {
        let seq = self.seq;
        #[allow(clippy::cast_possible_truncation, reason = "`room_for` checked that it fits")]
        let len = len as u32;
        let header =
            Header { len, kind: KIND_DATA, flags: 0, type_tag: meta.type_tag, seq, timestamp_ns: meta.timestamp_ns, payload_crc: crc };
        self.ring.write(self.geometry.offset_of(start), &self.framing.encode(shared(start), &header));
        self.seq += 1;
        self.advance(start + u64::from(granules_for(len)));
        seq
    }

    /// Moves the head behind a committed record and remembers where it began, if it is the first of its sector.
    #[inline]
    fn advance(&mut self, end: u64) {
        if self.head >= self.next_sector {
            let sector = self.head >> self.sector_shift;
            self.boundaries[sector_index(sector)] = self.head;
            self.next_sector = (sector + 1) << self.sector_shift;
        }
        self.head = end;
    }

    /// Moves `oldest` behind everything that a record ending at `end` overwrites, to the first boundary of a sector.
    #[cold]
    fn retire(&mut self, end: u64) {
        let Some(needed) = end.checked_sub(u64::from(self.geometry.capacity())) else { return };
        if needed <= self.oldest {
            return;
        }
        let first = needed >> self.sector_shift;
        let boundary = (first..=first + SECTORS as u64)
            .map(|sector| (sector, self.boundaries[sector_index(sector)]))
            .find(|&(sector, at)| at >> self.sector_shift == sector && at >= needed)
            .map_or(self.tail, |(_, at)| at.min(self.tail));
        debug_assert!(boundary >= needed, "the published tail is never overwritten");
        self.oldest = boundary;
        // ORDER(oldest): Relaxed; the fence orders it before the bytes that come next.
        self.ring.store(ring_word::OLDEST, shared(boundary), Ordering::Relaxed);
        // ORDER(oldest): Release. An observer that copied a byte written after this sees the new `oldest` when it looks again.
        // Pairs with the acquire fence behind an observer's copy (ABI §4.3).
        self.ring.fence(Ordering::Release);
    }
}

/// Index of a sector in the table of boundaries.
#[allow(clippy::cast_possible_truncation, reason = "below 16")]
const fn sector_index(sector: u64) -> usize {
    (sector % SECTORS as u64) as usize
}

/// Room for one record that is not committed yet.
pub struct Grant<'p, M, C, const READERS: usize> {
    producer: &'p mut Producer<M, C, READERS>,
    start: u64,
    /// Payload bytes claimed.
    limit: usize,
    /// INVARIANT: at most `limit`.
    written: usize,
    crc: crc32fast::Hasher,
    /// The last `written % 8` bytes, which do not fill a word yet.
    carry: [u8; 8],
}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Grant<'_, M, C, READERS> {
    /// Payload bytes that may still be written.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.limit - self.written
    }

    /// Appends to the payload.
    ///
    /// # Errors
    /// More bytes than were claimed; nothing of them was taken.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), GrantOverflow> {
        if bytes.len() > self.remaining() {
            return Err(GrantOverflow { bytes: bytes.len(), remaining: self.remaining() });
        }
        self.crc.update(bytes);
        let payload = self.producer.geometry.offset_of(self.start) + GRANULE_BYTES;
        let filled = self.written % 8;
        if filled > 0 {
            let (first, rest) = bytes.split_at(bytes.len().min(8 - filled));
            self.carry[filled..filled + first.len()].copy_from_slice(first);
            self.written += first.len();
            if filled + first.len() < 8 {
                return Ok(());
            }
            self.producer.ring.write(payload + self.written - 8, &self.carry);
            bytes = rest;
        }
        let (whole, rest) = bytes.split_at(bytes.len() & !7);
        self.producer.ring.write(payload + self.written, whole);
        self.written += bytes.len();
        self.carry[..rest.len()].copy_from_slice(rest);
        Ok(())
    }

    /// Commits what was written, which may be less than was claimed. Returns the sequence number. Visible with the next
    /// [`publish`](Producer::publish).
    pub fn commit(self, meta: Meta) -> u64 {
        let filled = self.written % 8;
        if filled > 0 {
            let at = self.producer.geometry.offset_of(self.start) + GRANULE_BYTES + self.written - filled;
            self.producer.ring.write(at, &self.carry[..filled]);
        }
        self.producer.commit(self.start, meta, self.crc.finalize(), self.written)
    }
}

/// A subscription as the producer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionStatus {
    /// Whether a reader is attached.
    pub attached: bool,
    /// Granules published and not released.
    pub lag_granules: u32,
    /// The attached reader's count of damaged records and stretches, wrapping; 0 if none is attached.
    pub corrupt: u32,
    /// The attached reader's count of lost records, wrapping.
    pub lost: u32,
    /// The attached reader's count of sleeps that ended by timeout with data there, wrapping.
    pub missed_wakes: u32,
}
