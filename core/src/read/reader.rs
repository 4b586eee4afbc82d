//! A gating reader: next, release, sleep.
//!
//! What it has not released stays intact. It makes no system call: `release` says when the producer
//! must be notified, `prepare_sleep` when sleeping is safe.

use core::fmt;
use core::sync::atomic::Ordering;

use super::view::Located;
use super::walk::{Damage, Walk};
use super::{Lag, Next, ReadError, Seek, SeekError};
use crate::geometry::{Geometry, distance, low32};
use crate::layout::{cursor_word, ring_word};
use crate::memory::{InPlace, Memory, MemoryMut};
use crate::record::Record;

/// Counts since the cursor segment was formatted, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ReaderStats {
    /// Damaged records and damaged stretches.
    pub corrupt: u32,
    /// DATA records lost to damage, by their sequence numbers.
    pub lost: u32,
    /// Sleeps that ended by their timeout although there was data.
    pub missed_wakes: u32,
}

/// A gating reader of ring `R` with cursor segment `C`.
///
/// ```
/// use aqueduct_core::{
///     Lag, Meta, Next, Producer, Reader, ReaderStats, Region, RingConfig, Seek, SeekError, Segment,
///     Sleep, Start, WaitMode,
/// };
///
/// let (ring, cursor) = (Segment::<{ 256 + 1024 }>::new(), Segment::<256>::new());
/// let config = RingConfig::new("orders", 0x5eed_5f02, 1024);
/// let mut producer: Producer<Region> = Producer::create(ring.region(), &config)?;
/// let id = producer.subscribe(Start::Oldest)?;
/// producer.attach(id, "books", cursor.region())?;
/// let mut reader = Reader::attach(ring.region().read_only(), cursor.region())?;
/// for order in [&b"tea"[..], b"coffee", b"cake", b"bread"] {
///     let _ = producer.push(Meta { type_tag: 1, timestamp_ns: 1000 }, order)?;
/// }
/// assert!(reader.is_ready() && reader.is_at_first());
/// assert_eq!(reader.lag(5000)?, Lag { records: 4, bytes: 256, nanoseconds: 4000 });
///
/// let mut buf = [0; 64];
/// // Look, then take or leave.
/// assert!(matches!(reader.peek()?, Next::Record(record) if record.bytes() == 3));
/// assert!(matches!(reader.skip()?, Next::Record(record) if record.seq == 0));
/// let Next::Record(record) = reader.next(&mut buf)? else { panic!("three are there") };
/// assert_eq!((record.payload(&buf), reader.next_seq()), (&b"coffee"[..], Some(2)));
///
/// // Forward to what comes after the last that was stored; then many at once, with one release.
/// let epoch = reader.geometry().epoch();
/// assert_eq!(reader.seek(epoch, 3), Ok(Seek::Found));
/// assert_eq!(reader.seek(9, 1), Err(SeekError::Epoch { ring: epoch, stored: 9 }));
/// let mut orders = Vec::new();
/// let (records, notify) = reader
///     .batch(&mut buf, 100, |_, payload| orders.push(payload.to_vec()))
///     .map_err(|(error, _)| error)?;
/// assert_eq!((records, notify, orders[0].as_slice()), (1, false, &b"bread"[..]));
///
/// // Nothing left: sleep, unless something came just now.
/// match reader.prepare_sleep(WaitMode::Futex)? {
///     Sleep::Ready => {}
///     Sleep::Wait { tail } => assert_eq!(tail, 8), // FUTEX_WAIT while the word holds this, then:
/// }
/// reader.finish_sleep(true)?; // it timed out
/// reader.skip_to_latest()?;
/// assert_eq!(reader.stats(), ReaderStats { corrupt: 0, lost: 0, missed_wakes: 0 });
///
/// // Another reader that goes on where this one was.
/// let mut next = Reader::attach(ring.region().read_only(), cursor.region())?;
/// next.resume(&reader);
/// assert_eq!(next.next(&mut buf)?, Next::Empty);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reader<R, C> {
    pub(super) walk: Walk<R, true>,
    pub(super) segment: C,
    /// What the shared cursor holds.
    pub(super) released: u64,
    /// The last request for space that was answered.
    pub(super) answered: u32,
    pub(super) missed_wakes: u32,
}

impl<R: Memory, C: MemoryMut> Reader<R, C> {
    /// Returns what never changes in the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.walk.view.geometry
    }

    /// Returns the counts since the cursor segment was formatted.
    #[must_use]
    pub const fn stats(&self) -> ReaderStats {
        let Damage { corrupt, lost } = self.walk.damage;
        ReaderStats { corrupt, lost, missed_wakes: self.missed_wakes }
    }

    /// Copies the oldest unread record into the start of `buf`: its payload, and its attributes
    /// after it ([`Record::attributes`]). Never blocks. The content of `buf` means nothing unless a
    /// record is returned.
    ///
    /// # Errors
    /// See [`ReadError`]; each says whether the reader moved on. Reading may continue after every
    /// error but [`ReadError::TailOutOfRange`].
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "a call's result comes by memory, stored by eights and loaded by sixteens: that costs as much as the checksums"
    )]
    pub fn next(&mut self, buf: &mut [u8]) -> Result<Next, ReadError> {
        // On bare metal a second copy of the way to a record costs more flash than it saves time.
        if cfg!(not(target_os = "none"))
            && let Some(next) = self.walk.next_fast(buf)
        {
            return Ok(next);
        }
        self.next_by_steps(buf)
    }

    /// Returns whatever is next, reports included.
    #[cold]
    fn next_by_steps(&mut self, buf: &mut [u8]) -> Result<Next, ReadError> {
        let next = self.walk.next(buf);
        self.report(next)
    }

    /// Looks once at the oldest unread record and takes it, unless `fits` refuses it: then it is
    /// still unread. Copies its payload into the start of `buf`, which must have room for a record
    /// that fits, and not its attributes.
    pub(crate) fn next_if<E>(
        &mut self,
        fits: impl FnOnce(&Record) -> Result<(), E>,
        buf: &mut [u8],
    ) -> Result<Result<Next, E>, ReadError> {
        let next = self.walk.next_if(fits, buf);
        self.report(next)
    }

    /// Gives up to `limit` records to `each`, with their payloads, as long as there are any, and
    /// releases them together: one store of the cursor for the batch. Returns the number taken, and
    /// whether the producer must be notified as by [`release`](Self::release).
    ///
    /// # Errors
    /// As [`next`](Self::next). What was taken before is released; the error occurs again only if
    /// the reader did not move.
    pub fn batch(
        &mut self,
        buf: &mut [u8],
        limit: usize,
        mut each: impl FnMut(Record, &[u8]),
    ) -> Result<(usize, bool), (ReadError, bool)> {
        let mut taken = 0;
        while taken < limit {
            match self.next(buf) {
                Ok(Next::Record(record)) => each(record, buf.get(..record.len).unwrap_or_default()),
                Ok(Next::Empty | Next::Closed) => break,
                Err(error) => return Err((error, self.release())),
            }
            taken += 1;
        }
        Ok((taken, self.release()))
    }

    /// Describes the oldest unread record and leaves it unread. Its header was checked; its payload
    /// was not looked at.
    ///
    /// # Errors
    /// As [`next`](Self::next), but never [`ReadError::BufferTooSmall`].
    pub fn peek(&mut self) -> Result<Next, ReadError> {
        let next = self.walk.peek();
        self.report(next)
    }

    /// Takes the oldest unread record without copying or checking its payload.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub fn skip(&mut self) -> Result<Next, ReadError> {
        let next = self.walk.skip();
        self.report(next)
    }

    /// Returns whether [`next`](Self::next) would return anything but [`Next::Empty`], or skip
    /// padding. Costs two loads; a hint that may be outdated at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.walk.is_ready()
    }

    /// Returns whether nothing that the ring ever held comes before this reader: the next record
    /// has sequence number 0, or nothing was published yet. Damage at this place counts as the
    /// first record.
    #[must_use]
    pub fn is_at_first(&self) -> bool {
        self.walk.is_at_first()
    }

    /// Returns the sequence number that the next record should have; `None` before the first
    /// record.
    #[must_use]
    pub const fn next_seq(&self) -> Option<u64> {
        self.walk.expected()
    }

    /// Continues after the last record that `before` read, which may lie past what it released: for
    /// a reader that attaches to the same ring again. What `before` released is released, if the
    /// ring holds it back again. Does nothing if it is another ring.
    pub fn resume<S, D>(&mut self, before: &Reader<S, D>) {
        self.walk.resume(&before.walk);
        let again = u64::from(distance(low32(self.released), low32(before.released)));
        let is_same = self.walk.view.geometry == before.walk.view.geometry;
        if is_same && again <= self.walk.position - self.released {
            self.released += again;
            // ORDER(release): Release, as in `release`.
            self.segment.store(cursor_word::CURSOR, low32(self.released), Ordering::Release);
        }
    }

    /// Moves forward to a stored record, for a reader that stores (epoch, seq) with what it has
    /// processed. Releases nothing.
    ///
    /// # Errors
    /// [`SeekError::Epoch`] if the sequence number belongs to another ring.
    pub fn seek(&mut self, epoch: u64, seq: u64) -> Result<Seek, SeekError> {
        if epoch != self.geometry().epoch() {
            return Err(SeekError::Epoch { ring: self.geometry().epoch(), stored: epoch });
        }
        let seek = self.walk.seek(seq);
        self.report(seek).map_err(SeekError::Read)
    }

    /// Moves past everything published so far. Releases nothing. Where nothing is skipped, the
    /// sequence number of the next record is still expected to follow.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`].
    pub fn skip_to_latest(&mut self) -> Result<(), ReadError> {
        self.walk.refresh()?;
        if self.walk.position != self.walk.tail {
            self.walk.position = self.walk.tail;
            self.walk.set_expected(None);
        }
        Ok(())
    }

    /// Measures how far this reader is behind; `now_ns` is a time by the ring's clock. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`].
    pub fn lag(&self, now_ns: u64) -> Result<Lag, ReadError> {
        self.walk.lag(now_ns)
    }

    /// Releases everything read so far: the producer may overwrite it. Call it after processing, as
    /// often or as rarely as you like.
    ///
    /// True: the producer waits for space and must be notified, once, by whatever the platform
    /// offers. The answer may be true although nothing new was read, because a reader that died
    /// before it notified the producer leaves that to its successor.
    #[must_use = "a producer that waits for space is notified only by the caller"]
    #[inline]
    pub fn release(&mut self) -> bool {
        self.release_to(self.walk.position)
    }

    /// Releases what was read before the record at `position`, and not that record: for a reader
    /// that has processed some of what it read. Returns whether the producer must be notified, as
    /// [`release`](Self::release) does. Does nothing, and returns false, if the position is not
    /// between what is released and what was read.
    ///
    /// ```
    /// use aqueduct_core::{Meta, Next, Ring};
    ///
    /// let ring = Ring::<1024>::new();
    /// let (mut producer, [mut reader]) = ring.split().expect("nobody has split it");
    /// for record in [b"done", b"late"] {
    ///     let _ = producer.push(Meta::default(), record)?;
    /// }
    /// let mut buf = [0; 16];
    /// let _ = reader.next(&mut buf)?;
    /// let Next::Record(late) = reader.next(&mut buf)? else { panic!() };
    /// assert!(!reader.release_before(late.position)); // the next reader begins with it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "a producer that waits for space is notified only by the caller"]
    pub fn release_before(&mut self, position: u32) -> bool {
        let more = u64::from(distance(low32(self.released), position));
        more <= self.walk.position - self.released && self.release_to(self.released + more)
    }

    #[inline]
    fn release_to(&mut self, position: u64) -> bool {
        self.released = position;
        // ORDER(release): Release. Our reads of the released bytes come before the producer's next
        // writes there. Pairs with `Gate::refresh`.
        self.segment.store(cursor_word::CURSOR, low32(self.released), Ordering::Release);
        // ORDER(space): SeqCst. Either we see the request below, or the producer sees this cursor.
        // Pairs with the fence in `Producer::want_space`.
        self.segment.fence(Ordering::SeqCst);
        // ORDER(space): Relaxed; the fence above orders it.
        let request = self.walk.view.ring.load(ring_word::SPACE_WANTED, Ordering::Relaxed);
        let tell = request != 0 && request != self.answered;
        if tell {
            self.answered = request;
        }
        tell
    }

    /// Copies the counts of damage to the cursor segment, where the producer's process can see
    /// them.
    #[inline]
    fn report<T, E>(&mut self, outcome: Result<T, E>) -> Result<T, E> {
        if core::mem::take(&mut self.walk.damaged) {
            let Damage { corrupt, lost } = self.walk.damage;
            // ORDER(none): statistics.
            self.segment.store(cursor_word::CORRUPT, corrupt, Ordering::Relaxed);
            // ORDER(none): statistics.
            self.segment.store(cursor_word::LOST, lost, Ordering::Relaxed);
        }
        outcome
    }
}

impl<R: InPlace, C: MemoryMut> Reader<R, C> {
    /// Returns the oldest unread record with its payload where it lies, valid until the reader is
    /// used again. Its CRC is checked in place, which means only as much as the promise made for
    /// the region.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_in_place(&mut self) -> Result<Next<(Record, &[u8])>, ReadError> {
        Ok(match self.next_in_place_with_attributes()? {
            Next::Record((record, bytes)) => {
                Next::Record((record, bytes.get(..record.len).unwrap_or_default()))
            }
            Next::Empty => Next::Empty,
            Next::Closed => Next::Closed,
        })
    }

    /// Does what [`next_in_place`](Self::next_in_place) does, and lends the attributes after the
    /// payload too: [`Record::payload`] and [`Record::attributes`] tell them apart.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    ///
    /// ```
    /// use aqueduct_core::{AttributeBlock, Meta, Next, Ring};
    ///
    /// let ring = Ring::<1024>::new();
    /// let (mut producer, [mut reader]) = ring.split().expect("nobody has split it");
    /// let mut room = [0; 16];
    /// let block = AttributeBlock::write([("a", &b"b"[..])], &mut room)?;
    /// let _ = producer.push_with(Meta::default(), b"payload", block)?;
    /// let Next::Record((record, bytes)) = reader.next_in_place_with_attributes()? else { panic!() };
    /// assert_eq!(record.payload(bytes), b"payload");
    /// assert_eq!(record.attributes(bytes).get("a"), Some(&b"b"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_in_place_with_attributes(&mut self) -> Result<Next<(Record, &[u8])>, ReadError> {
        let located = match self.walk.locate() {
            Ok(Next::Record(located)) => located,
            Ok(Next::Empty) => return Ok(Next::Empty),
            Ok(Next::Closed) => return Ok(Next::Closed),
            Err(error) => return self.report(Err(error)),
        };
        let computed = self.walk.view.framing.payload_crc(self.payload_in_place(&located));
        let taken = self.walk.take(&located, computed);
        let record = self.report(taken)?;
        Ok(Next::Record((record, self.payload_in_place(&located))))
    }

    /// Lends the payload and attributes of a record that was located since the last release.
    #[allow(unsafe_code, reason = "only a reader knows what nobody stores into")]
    fn payload_in_place(&self, located: &Located) -> &[u8] {
        let at = self.walk.view.payload_offset(located);
        // SAFETY: (1) it was located between the position of this walk, which is never before the
        // cursor, and a tail that was loaded with Acquire; the cursor moves in methods that take
        // `&mut self` only, and the slice borrows it.
        unsafe { self.walk.view.ring.slice(at, located.header.len as usize) }
    }
}

impl<R, C> fmt::Debug for Reader<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("geometry", &self.walk.view.geometry)
            .field("position", &self.walk.position)
            .field("released", &self.released)
            .field("next_seq", &self.walk.expected())
            .finish_non_exhaustive()
    }
}
