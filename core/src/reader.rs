//! A gating reader: copy, check, release, sleep.
//!
//! It trusts nothing in the ring: lengths are checked before they are used, what is checked is the private copy, every loop is bounded
//! by the capacity. It makes no system call; `prepare_sleep` says when one is due. Next: nothing; `verify/` builds on the same trait.

use core::sync::atomic::Ordering;

use zerocopy::FromZeros;
use zerocopy::IntoBytes;

pub use crate::error::{AttachError, ReadError};
use crate::layout::{
    ABI_MAJOR, CURSOR_BYTES_MIN, CURSOR_MAGIC, CursorIdentity, GRANULE_BYTES, Geometry, GeometryError, RING_MAGIC, RingHeader,
    STATE_CLOSED, WAITING_FUTEX, WAITING_SOCKET, cursor_word, distance, granules_for, ring_word, shared,
};
use crate::record::{Framing, Header, HeaderCrc, payload_crc};
use crate::region::{InPlace, Memory, MemoryMut};

/// What a reader learns about a record beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Number among the DATA records of the ring's epoch, from 0.
    pub seq: u64,
    /// Nanoseconds by the ring's clock; 0 if unknown.
    pub timestamp_ns: u64,
    /// Payload bytes.
    pub len: usize,
    /// The user's tag.
    pub type_tag: u16,
    /// Zero in ABI 1.0.
    pub flags: u8,
    /// Where it stands.
    pub position: u32,
}

/// One look at the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<T = Record> {
    /// The oldest unread record. It is read now, and released with the next [`Reader::release`].
    Record(T),
    /// Nothing is published that was not read.
    Empty,
    /// Nothing will come any more.
    Closed,
}

/// How a reader will sleep, so that the producer knows how to wake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitMode {
    /// `FUTEX_WAIT` (not private) on the `tail` word.
    Futex,
    /// `poll` on the control socket.
    Socket,
}

/// Whether to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Something was published: do not sleep.
    Ready,
    /// Sleep now, with a timeout, as long as the `tail` word holds this value; then call [`Reader::finish_sleep`].
    Wait {
        /// Expected value for the futex call.
        tail: u32,
    },
}

/// Counts since the page was made, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// Damaged records and damaged stretches.
    pub corrupt: u32,
    /// DATA records lost to damage, by sequence number.
    pub lost: u32,
    /// Sleeps that ended by timeout with data there.
    pub missed_wakes: u32,
}

/// A gating reader of ring `R` with cursor page `C`.
pub struct Reader<R, C> {
    ring: R,
    page: C,
    geometry: Geometry,
    framing: Framing,
    /// First granule not read. Its low 32 bits are the shared position.
    position: u64,
    /// What the shared cursor holds.
    released: u64,
    /// The last tail loaded. INVARIANT: `position <= tail <= released + capacity`, checked where it is loaded.
    tail: u64,
    /// Number of the next DATA record, once one was seen.
    expected: Option<u64>,
    /// The last request for space that was answered.
    answered: u32,
    stats: ReaderStats,
}

/// A valid header and what follows from it.
struct Located {
    header: Header,
    end: u64,
}

impl<R: Memory, C: MemoryMut> Reader<R, C> {
    /// Reads a ring from where the cursor page says.
    ///
    /// # Errors
    /// Ring or page are not what ABI §2.1 and §6.1 describe, or belong to different rings.
    pub fn attach(ring: R, page: C) -> Result<Self, AttachError> {
        let geometry = read_geometry(&ring)?;
        if page.size() < CURSOR_BYTES_MIN {
            return Err(AttachError::PageTooSmall { bytes: page.size() });
        }
        let mut identity = CursorIdentity::new_zeroed();
        page.read(0, identity.as_mut_bytes());
        // ORDER(create): Acquire. Pairs with the release fence in `Producer::attach`: seeing the identity, we see the words.
        page.fence(Ordering::Acquire);
        let computed = crc32fast::hash(&identity.as_bytes()[..60]);
        if identity.magic != CURSOR_MAGIC || identity.abi_major.get() != ABI_MAJOR || identity.identity_crc.get() != computed {
            return Err(AttachError::PageIdentity);
        }
        if identity.epoch.get() != geometry.epoch() {
            return Err(AttachError::Epoch { ring: geometry.epoch(), page: identity.epoch.get() });
        }
        // ORDER(none): only this reader and its predecessors write these, and they are gone.
        let word = |at| page.load(at, Ordering::Relaxed);
        let position = u64::from(word(cursor_word::CURSOR));
        let stats = ReaderStats {
            corrupt: word(cursor_word::CORRUPT),
            lost: word(cursor_word::LOST),
            missed_wakes: word(cursor_word::MISSED_WAKES),
        };
        let mut reader = Self {
            framing: Framing::new(geometry.epoch()),
            ring,
            page,
            geometry,
            position,
            released: position,
            tail: position,
            expected: None,
            answered: 0,
            stats,
        };
        reader.awake();
        reader.refresh().map_err(AttachError::Overrun)?;
        Ok(reader)
    }

    /// What is fixed for the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Counts since the page was made.
    #[must_use]
    pub const fn stats(&self) -> ReaderStats {
        self.stats
    }

    /// Copies the oldest unread record into the start of `buf`. Never blocks.
    ///
    /// # Errors
    /// See [`ReadError`]; each says whether the reader moved on. Reading may go on after every error but [`ReadError::Overrun`].
    #[inline]
    pub fn next(&mut self, buf: &mut [u8]) -> Result<Next, ReadError> {
        let located = match self.locate()? {
            Next::Record(located) => located,
            Next::Empty => return Ok(Next::Empty),
            Next::Closed => return Ok(Next::Closed),
        };
        let len = located.header.len as usize;
        let Some(copy) = buf.get_mut(..len) else {
            return Err(ReadError::BufferTooSmall { needed: len, given: buf.len() });
        };
        self.ring.read(self.geometry.offset_of(self.position) + GRANULE_BYTES, copy);
        let computed = payload_crc(copy);
        self.take(&located, computed).map(Next::Record)
    }

    /// Releases everything read so far: the producer may overwrite it. Call it after processing, as often or as rarely as you like.
    ///
    /// True: the producer waits for space and must be told, once, by whatever the platform offers.
    #[must_use = "a producer that waits for space is told only by the caller"]
    #[inline]
    pub fn release(&mut self) -> bool {
        if self.released == self.position {
            return false;
        }
        self.released = self.position;
        // ORDER(release): Release. Our reads of the released bytes come before the producer's next writes there. Pairs with `Gate::refresh`.
        self.page.store(cursor_word::CURSOR, shared(self.released), Ordering::Release);
        // ORDER(space): SeqCst. Either we see the request below, or the producer sees this cursor. Pairs with the fence in `Producer::want_space`.
        self.page.fence(Ordering::SeqCst);
        // ORDER(space): Relaxed; the fence above orders it.
        let request = self.ring.load(ring_word::SPACE_WANTED, Ordering::Relaxed);
        let tell = request != 0 && request != self.answered;
        if tell {
            self.answered = request;
        }
        tell
    }

    /// Announces that this reader is about to sleep and says whether it may. Release first: a producer without space never publishes.
    ///
    /// # Errors
    /// [`ReadError::Overrun`]; the reader is not announced then.
    pub fn prepare_sleep(&mut self, mode: WaitMode) -> Result<Sleep, ReadError> {
        if self.position != self.tail {
            return Ok(Sleep::Ready);
        }
        let mode = match mode {
            WaitMode::Futex => WAITING_FUTEX,
            WaitMode::Socket => WAITING_SOCKET,
        };
        // ORDER(sleep): Relaxed; the fence orders it before the tail is looked at.
        self.page.store(cursor_word::WAITING, (shared(self.position) << 2) | mode, Ordering::Relaxed);
        // ORDER(sleep): SeqCst. Either the producer sees `waiting`, or we see its tail below. Pairs with the fence in `Producer::publish`.
        self.page.fence(Ordering::SeqCst);
        let refreshed = self.refresh();
        if refreshed.is_ok() && self.tail == self.position {
            return Ok(Sleep::Wait { tail: shared(self.tail) });
        }
        self.awake();
        refreshed.map(|()| Sleep::Ready)
    }

    /// Ends a sleep. `timed_out` says that nobody woke it; if there was something to read all the same, that is counted.
    ///
    /// # Errors
    /// [`ReadError::Overrun`].
    pub fn finish_sleep(&mut self, timed_out: bool) -> Result<(), ReadError> {
        self.awake();
        self.refresh()?;
        if timed_out && self.tail != self.position {
            self.stats.missed_wakes = self.stats.missed_wakes.wrapping_add(1);
            // ORDER(none): a statistic.
            self.page.store(cursor_word::MISSED_WAKES, self.stats.missed_wakes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn awake(&self) {
        // ORDER(sleep): Relaxed; seen late it costs a wake-up too many, never one too few.
        self.page.store(cursor_word::WAITING, 0, Ordering::Relaxed);
    }

    /// Loads the tail.
    #[inline]
    fn refresh(&mut self) -> Result<(), ReadError> {
        // ORDER(publish): Acquire. Records before this tail are written. Pairs with `Producer::publish`.
        let tail = self.ring.load(ring_word::TAIL, Ordering::Acquire);
        let ahead = distance(shared(self.position), tail);
        if ahead > self.geometry.capacity() {
            return Err(ReadError::Overrun { position: shared(self.position), tail });
        }
        self.tail = self.position + u64::from(ahead);
        Ok(())
    }

    /// Finds the oldest unread DATA record without taking it. Looks at the shared tail at most twice, so it ends whatever the ring says.
    #[inline]
    fn locate(&mut self) -> Result<Next<Located>, ReadError> {
        let (mut refreshed, mut last_look) = (false, false);
        loop {
            if self.position == self.tail {
                if !refreshed {
                    refreshed = true;
                    self.refresh()?;
                }
                if self.position == self.tail {
                    // ORDER(close): Acquire. Seeing CLOSED, the tail loaded next is the last one, but for fillers. Pairs with `Producer::close`.
                    if self.ring.load(ring_word::STATE, Ordering::Acquire) != STATE_CLOSED {
                        return Ok(Next::Empty);
                    }
                    self.refresh()?;
                    if self.position == self.tail {
                        return Ok(Next::Closed);
                    }
                    if last_look {
                        return Ok(Next::Empty);
                    }
                    last_look = true;
                }
            }
            let located = match self.header_at(self.position) {
                Ok(located) => located,
                Err(crc) => return Err(self.resync(crc)),
            };
            if !located.header.is_data() {
                self.position = located.end;
                continue;
            }
            let found = located.header.seq;
            if let Some(expected) = self.expected.replace(found)
                && expected != found
            {
                self.count(0, found.saturating_sub(expected));
                return Err(ReadError::Gap { expected, found });
            }
            return Ok(Next::Record(located));
        }
    }

    /// The header at a position before the cached tail, if it is valid there (ABI §3).
    #[inline]
    fn header_at(&self, position: u64) -> Result<Located, HeaderCrc> {
        let mut bytes = [0; GRANULE_BYTES];
        self.ring.read(self.geometry.offset_of(position), &mut bytes);
        let header = self.framing.decode(shared(position), &bytes)?;
        let granules = u64::from(granules_for(header.len));
        let fits = granules <= self.tail - position
            && granules <= u64::from(self.geometry.room_to_end(position))
            && (!header.is_data() || header.len <= self.geometry.max_payload());
        if fits {
            Ok(Located { header, end: position + granules })
        } else {
            let stored = u32::from_le_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]);
            Err(HeaderCrc { stored, computed: stored })
        }
    }

    /// Goes on at the next valid header, or at the tail.
    #[cold]
    fn resync(&mut self, crc: HeaderCrc) -> ReadError {
        let damaged = self.position;
        let next = (damaged + 1..self.tail).find_map(|position| Some((position, self.header_at(position).ok()?.header.seq)));
        let mut lost = None;
        if let Some((_, seq)) = next {
            lost = self.expected.map(|expected| seq.saturating_sub(expected));
            self.expected = Some(seq);
        }
        self.position = next.map_or(self.tail, |(position, _)| position);
        self.count(1, lost.unwrap_or(0));
        ReadError::Header { position: shared(damaged), resumed_at: shared(self.position), stored: crc.stored, computed: crc.computed, lost }
    }

    /// Takes a located record whose payload has this CRC.
    #[inline]
    fn take(&mut self, located: &Located, computed: u32) -> Result<Record, ReadError> {
        let header = &located.header;
        let position = shared(self.position);
        self.position = located.end;
        self.expected = Some(header.seq.wrapping_add(1));
        if header.payload_crc != computed {
            self.count(1, 1);
            return Err(ReadError::Payload { seq: header.seq, position, stored: header.payload_crc, computed });
        }
        Ok(Record {
            seq: header.seq,
            timestamp_ns: header.timestamp_ns,
            len: header.len as usize,
            type_tag: header.type_tag,
            flags: header.flags,
            position,
        })
    }

    #[allow(clippy::cast_possible_truncation, reason = "wrapping counters")]
    fn count(&mut self, corrupt: u32, lost: u64) {
        self.stats.corrupt = self.stats.corrupt.wrapping_add(corrupt);
        self.stats.lost = self.stats.lost.wrapping_add(lost as u32);
        // ORDER(none): statistics.
        self.page.store(cursor_word::CORRUPT, self.stats.corrupt, Ordering::Relaxed);
        // ORDER(none): statistics.
        self.page.store(cursor_word::LOST, self.stats.lost, Ordering::Relaxed);
    }
}

impl<R: InPlace, C: MemoryMut> Reader<R, C> {
    /// The oldest unread record with its payload where it lies; valid until the reader is used again. Its CRC is checked in place, which
    /// means something only as far as the promise made for the region holds.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_in_place(&mut self) -> Result<Next<(Record, &[u8])>, ReadError> {
        let located = match self.locate()? {
            Next::Record(located) => located,
            Next::Empty => return Ok(Next::Empty),
            Next::Closed => return Ok(Next::Closed),
        };
        let at = self.geometry.offset_of(self.position) + GRANULE_BYTES;
        let len = located.header.len as usize;
        let computed = payload_crc(self.ring.slice(at, len));
        let record = self.take(&located, computed)?;
        Ok(Next::Record((record, self.ring.slice(at, len))))
    }
}

/// Copies and checks the header of a ring.
pub(crate) fn read_geometry<R: Memory>(ring: &R) -> Result<Geometry, GeometryError> {
    let mut header = RingHeader::new_zeroed();
    let needed = size_of::<RingHeader>() as u64;
    if (ring.size() as u64) < needed {
        return Err(GeometryError::SegmentTooSmall { bytes: ring.size() as u64, needed });
    }
    let mut magic = [0; 8];
    ring.read(0, &mut magic);
    if magic != RING_MAGIC {
        return Err(GeometryError::Magic { found: magic });
    }
    // ORDER(create): Acquire. Seeing the magic, we see the header. Pairs with the last fence of `Producer::create`.
    ring.fence(Ordering::Acquire);
    ring.read(0, header.as_mut_bytes());
    Geometry::from_header(&header, ring.size())
}
