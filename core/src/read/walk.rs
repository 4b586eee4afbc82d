//! Walks the records of a ring that somebody else writes: locate, check, resynchronise.
//!
//! Common to gating readers, which the producer waits for, and observers, which it overruns. Trusts
//! nothing: lengths are checked before they are used, every loop is bounded by the capacity.

use core::sync::atomic::Ordering;

use super::view::{Located, View};
use super::{Lag, Next, ReadError, Seek};
use crate::geometry::{distance, low32};
use crate::layout::{GRANULE_BYTES, STATE_CLOSED, ring_word};
use crate::memory::Memory;
use crate::record::{Header, HeaderCrc, Record};
use crate::transfer::{expect_record, read_record};

/// How often one call goes on after being overrun before it says so.
const OVERRUNS_PER_CALL: u32 = 8;

/// Damage seen so far, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Damage {
    pub(super) corrupt: u32,
    pub(super) lost: u32,
}

/// A position that moves through a ring. `GATED`: the producer never overwrites what lies before
/// it.
pub(crate) struct Walk<R, const GATED: bool> {
    pub(super) view: View<R>,
    /// First granule not read. Its low 32 bits are the shared position.
    pub(super) position: u64,
    /// The last tail loaded. INVARIANT: `position <= tail <= position + capacity`, checked where it
    /// is loaded.
    pub(super) tail: u64,
    /// Sequence number of the next DATA record, if it is known; see [`expected`](Self::expected).
    seq: u64,
    is_seq_known: bool,
    /// Set when the producer overtook this walk, until the loss is reported.
    pub(super) overrun: bool,
    /// Set when damage is counted, until the owner of this walk has reported it.
    pub(super) damaged: bool,
    /// How often the producer overtook this walk, wrapping.
    falls: u32,
    pub(super) damage: Damage,
}

impl<R, const GATED: bool> Walk<R, GATED> {
    /// Returns the sequence number of the next DATA record, once it is known. (An `Option` would
    /// take eight bytes more, for one bit.)
    #[inline]
    pub(super) const fn expected(&self) -> Option<u64> {
        if self.is_seq_known { Some(self.seq) } else { None }
    }

    /// Sets or forgets what [`expected`](Self::expected) returns.
    #[inline]
    pub(super) const fn set_expected(&mut self, seq: Option<u64>) {
        self.is_seq_known = seq.is_some();
        if let Some(seq) = seq {
            self.seq = seq;
        }
    }
}

impl<R: Memory> Walk<R, true> {
    /// Goes on where another walk of the same ring was, which may have read more than it released.
    pub(crate) fn resume<S>(&mut self, before: &Walk<S, true>) {
        if self.view.geometry != before.view.geometry {
            return;
        }
        let read = u64::from(distance(low32(self.position), low32(before.position)));
        // If it is further than the tail, somebody else read on since; the sequence number shows
        // it.
        if read <= self.tail - self.position {
            self.position += read;
        }
        self.set_expected(before.expected());
    }

    /// Takes the oldest unread record, without its attributes, unless `fits` refuses it.
    pub(crate) fn next_if<E>(
        &mut self,
        fits: impl FnOnce(&Record) -> Result<(), E>,
        buf: &mut [u8],
    ) -> Result<Result<Next, E>, ReadError> {
        let located = match self.locate()? {
            Next::Record(located) => located,
            Next::Empty => return Ok(Ok(Next::Empty)),
            Next::Closed => return Ok(Ok(Next::Closed)),
        };
        if let Err(refused) = fits(&located.record()) {
            return Ok(Err(refused));
        }
        let computed = self.view.copy_start(&located, buf)?;
        self.take(&located, computed).map(|record| Ok(Next::Record(record)))
    }

    /// Does what most calls need: takes the expected record in one go, if it is there and
    /// undamaged, or says that there is none yet. `None`: anything else, and nothing has happened
    /// except a look at the tail, and `buf` may hold garbage; call [`next`](Self::next).
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see `Reader::next`")]
    pub(crate) fn next_fast(&mut self, buf: &mut [u8]) -> Option<Next> {
        let seq = self.expected()?;
        if self.position == self.tail {
            let (_, ahead) = self.look_ahead();
            if ahead == 0 {
                return self.may_follow().then_some(Next::Empty);
            }
            if ahead > self.view.geometry.capacity() {
                return None;
            }
            self.tail = self.position + u64::from(ahead);
        }
        let geometry = &self.view.geometry;
        let granules = (self.tail - self.position).min(geometry.room_to_end(self.position).into());
        #[allow(clippy::cast_possible_truncation, reason = "at most the capacity (invariant)")]
        let most = (granules as usize).checked_sub(1)? * GRANULE_BYTES;
        let most = most.min(geometry.max_payload() as usize).min(buf.len());
        let record = read_record(
            &self.view.ring,
            geometry.offset_of(self.position),
            &self.view.framing,
            low32(self.position),
            seq,
            &mut buf[..most],
        )?;
        self.position += 1 + record.len.div_ceil(GRANULE_BYTES) as u64;
        self.set_expected(Some(seq.wrapping_add(1)));
        Some(Next::Record(record))
    }
}

impl<R: Memory> Walk<R, false> {
    /// Stands at the tail of now, however far that is ahead.
    pub(crate) fn skip_to_latest(&mut self) {
        // ORDER(none): nothing before this tail is read, and the next look loads it again, with
        // Acquire.
        let tail = self.view.ring.load(ring_word::TAIL, Ordering::Relaxed);
        if tail != low32(self.position) {
            self.set_expected(None);
            self.overrun = false;
        }
        self.position = u64::from(tail);
        self.tail = self.position;
    }

    /// Goes on where another walk of the same ring was.
    pub(crate) fn resume<S>(&mut self, before: &Walk<S, false>) {
        if self.view.geometry != before.view.geometry {
            return;
        }
        self.position = before.position;
        // The next look adopts a tail.
        self.tail = before.position;
        self.set_expected(before.expected());
        self.overrun = before.overrun;
        self.damage = before.damage;
    }
}

impl<R: Memory, const GATED: bool> Walk<R, GATED> {
    /// Stands at a position; [`refresh`](Self::refresh) says whether it lies within the last lap.
    pub(crate) fn at(view: View<R>, position: u32, damage: Damage) -> Self {
        let position = u64::from(position);
        Self {
            view,
            position,
            tail: position,
            seq: 0,
            is_seq_known: false,
            overrun: false,
            damaged: false,
            falls: 0,
            damage,
        }
    }

    /// Loads the tail, and returns it with its distance.
    #[inline]
    fn look_ahead(&self) -> (u32, u32) {
        // ORDER(publish): Acquire. Records before this tail are written. Pairs with
        // `Producer::publish`.
        let tail = self.view.ring.load(ring_word::TAIL, Ordering::Acquire);
        (tail, distance(low32(self.position), tail))
    }

    /// Adopts the tail.
    #[inline]
    pub(crate) fn refresh(&mut self) -> Result<(), ReadError> {
        let (tail, ahead) = self.look_ahead();
        if ahead <= self.view.geometry.capacity() {
            self.tail = self.position + u64::from(ahead);
            return Ok(());
        }
        if GATED {
            return Err(ReadError::TailOutOfRange { position: low32(self.position), tail });
        }
        self.fall()
    }

    /// Returns the position of the oldest intact record, and the granules from there to a tail that
    /// was current then.
    fn whole(&self) -> Result<(u32, u32), ReadError> {
        let (mut evidence, mut moved) = ((0, 0), false);
        // The producer moves both words while we load them; a pair that fits comes soon, or the
        // producer is too fast or broken.
        for attempt in 0..OVERRUNS_PER_CALL {
            // ORDER(oldest): Acquire. The tail loaded next is not before it. Pairs with the store
            // in `Producer::retire`.
            let oldest = self.view.ring.load(ring_word::OLDEST, Ordering::Acquire);
            // ORDER(publish): Acquire, as in `look_ahead`.
            let tail = self.view.ring.load(ring_word::TAIL, Ordering::Acquire);
            let live = distance(oldest, tail);
            if live <= self.view.geometry.capacity() {
                return Ok((oldest, live));
            }
            moved |= attempt > 0 && oldest != evidence.0;
            evidence = (oldest, tail);
        }
        if moved {
            return Err(ReadError::Overrun { expected: self.expected(), found: None });
        }
        Err(ReadError::TailOutOfRange { position: evidence.0, tail: evidence.1 })
    }

    /// Moves to the oldest record that is intact, with a tail that was current then.
    pub(crate) fn skip_to_oldest(&mut self) -> Result<(), ReadError> {
        let whole = self.whole();
        self.overrun |= matches!(whole, Err(ReadError::Overrun { .. }));
        let (oldest, live) = whole?;
        // Nobody compares an observer's positions of before and after, so they need not count laps.
        self.position = u64::from(oldest);
        self.tail = self.position + u64::from(live);
        Ok(())
    }

    /// Returns whether what was copied from `position` on was still intact after the copy.
    #[inline]
    fn copy_was_live(&self, position: u64) -> bool {
        if GATED {
            return true;
        }
        // ORDER(oldest): Acquire. If the copy holds a byte of a later record, the load below sees
        // the `oldest` stored before that byte. Pairs with the fence in `Producer::retire`.
        self.view.ring.fence(Ordering::Acquire);
        // ORDER(oldest): Relaxed; the fence above orders it.
        let oldest = self.view.ring.load(ring_word::OLDEST, Ordering::Relaxed);
        distance(oldest, low32(position)) <= u32::MAX / 2
    }

    /// Finds the oldest unread DATA record without taking it. It ends whatever the ring says.
    #[inline]
    pub(crate) fn locate(&mut self) -> Result<Next<Located>, ReadError> {
        // Each is set once, so that a producer of nothing but padding records cannot keep us here.
        let (mut refreshed, mut closed) = (false, false);
        let mut overruns = 0;
        loop {
            if self.position == self.tail && !closed && !refreshed {
                refreshed = true;
                self.refresh()?;
            }
            if self.position == self.tail && !closed {
                if self.may_follow() {
                    return Ok(Next::Empty);
                }
                closed = true;
                self.refresh()?;
            }
            if self.position == self.tail {
                return Ok(Next::Closed);
            }
            let located = self.view.header_at(self.position, self.tail);
            if !self.copy_was_live(self.position) {
                self.fall_back(&mut overruns)?;
                continue;
            }
            let located = match located {
                Ok(located) => located,
                Err(crc) => return Err(self.resync(crc)),
            };
            if !located.header.is_data() {
                self.position = located.end;
                continue;
            }
            let found = located.header.seq;
            let expected = self.expected();
            self.set_expected(Some(found));
            match expected {
                Some(expected) if expected != found => return Err(self.gap(expected, found)),
                _ => self.overrun = false,
            }
            return Ok(Next::Record(located));
        }
    }

    /// Copies a located record into the start of `buf` and takes it; `None` if it was overwritten
    /// meanwhile.
    #[inline]
    pub(crate) fn copy(
        &mut self,
        located: &Located,
        buf: &mut [u8],
    ) -> Result<Option<Record>, ReadError> {
        let computed = self.view.copy_payload(located, buf)?;
        if !self.copy_was_live(located.position) {
            return Ok(None);
        }
        self.take(located, computed).map(Some)
    }

    /// With nothing before the tail: returns whether something may still come.
    #[inline]
    fn may_follow(&self) -> bool {
        // ORDER(close): Acquire. Seeing CLOSED, the tail loaded next is past the last user's
        // record. Pairs with `Producer::close`.
        if self.view.ring.load(ring_word::STATE, Ordering::Acquire) == STATE_CLOSED {
            return false;
        }
        // A reader that asks again soon then finds the record already on its way.
        expect_record(&self.view.ring, self.view.geometry.offset_of(self.position));
        true
    }

    /// Copies the oldest unread record.
    #[inline]
    pub(crate) fn next(&mut self, buf: &mut [u8]) -> Result<Next, ReadError> {
        let mut overruns = 0;
        loop {
            let located = match self.locate()? {
                Next::Record(located) => located,
                Next::Empty => return Ok(Next::Empty),
                Next::Closed => return Ok(Next::Closed),
            };
            if let Some(record) = self.copy(&located, buf)? {
                return Ok(Next::Record(record));
            }
            self.fall_back(&mut overruns)?;
        }
    }

    /// Describes the oldest unread DATA record and leaves it unread.
    pub(crate) fn peek(&mut self) -> Result<Next, ReadError> {
        Ok(match self.locate()? {
            Next::Record(located) => Next::Record(located.record()),
            Next::Empty => Next::Empty,
            Next::Closed => Next::Closed,
        })
    }

    /// Takes the oldest unread DATA record without looking at its payload.
    pub(crate) fn skip(&mut self) -> Result<Next, ReadError> {
        Ok(match self.locate()? {
            Next::Record(located) => {
                self.position = located.end;
                self.set_expected(Some(located.header.seq.wrapping_add(1)));
                Next::Record(located.record())
            }
            Next::Empty => Next::Empty,
            Next::Closed => Next::Closed,
        })
    }

    /// Returns whether a look would find more than nothing, padding records included.
    pub(crate) fn is_ready(&self) -> bool {
        // ORDER(none): only a hint; reading loads both again, with Acquire.
        let load = |at| self.view.ring.load(at, Ordering::Relaxed);
        self.position != self.tail
            || load(ring_word::TAIL) != low32(self.position)
            || load(ring_word::STATE) == STATE_CLOSED
    }

    /// Returns whether nothing that the ring ever held comes before this walk, as far as can be
    /// known.
    pub(crate) fn is_at_first(&self) -> bool {
        // Positions count from the ring's creation.
        let first = self.first_data(self.position, self.tail);
        low32(self.position) == 0 && first.is_none_or(|header| header.seq == 0)
    }

    /// Returns the header of the first DATA record from `position` on, unless damage comes before
    /// it.
    fn first_data(&self, position: u64, tail: u64) -> Option<Header> {
        let mut at = position;
        // Each step goes a granule further at least.
        while at != tail {
            let located = self.view.header_at(at, tail).ok()?;
            if located.header.is_data() {
                return Some(located.header);
            }
            at = located.end;
        }
        None
    }

    /// Continues at the oldest intact record after being overrun, a bounded number of times.
    #[cold]
    fn fall_back(&mut self, overruns: &mut u32) -> Result<(), ReadError> {
        self.fall()?;
        *overruns += 1;
        if *overruns < OVERRUNS_PER_CALL {
            return Ok(());
        }
        Err(ReadError::Overrun { expected: self.expected(), found: None })
    }

    fn fall(&mut self) -> Result<(), ReadError> {
        self.overrun = true;
        self.falls = self.falls.wrapping_add(1);
        self.skip_to_oldest()
    }

    /// Reports that the sequence numbers do not follow: because of damage that was reported before,
    /// or because the producer overtook this walk.
    #[cold]
    fn gap(&mut self, expected: u64, found: u64) -> ReadError {
        self.count(0, found.saturating_sub(expected));
        // A number that went back is no loss.
        if core::mem::take(&mut self.overrun) && found > expected {
            ReadError::Overrun { expected: Some(expected), found: Some(found) }
        } else {
            ReadError::Gap { expected, found }
        }
    }

    /// Continues at the next valid header, or at the tail.
    #[cold]
    fn resync(&mut self, crc: HeaderCrc) -> ReadError {
        let damaged = self.position;
        let next = self.view.next_valid(damaged, self.tail);
        let mut lost = None;
        // Overrun while searching: the loss will show by `seq`.
        if let (Some(located), true) = (&next, self.copy_was_live(damaged)) {
            lost = self.expected().map(|expected| located.header.seq.saturating_sub(expected));
            self.set_expected(Some(located.header.seq));
        }
        self.position = next.map_or(self.tail, |located| located.position);
        self.count(1, lost.unwrap_or(0));
        ReadError::Header {
            position: low32(damaged),
            resumed_at: low32(self.position),
            stored: crc.stored,
            computed: crc.computed,
            lost,
        }
    }

    /// Takes a located record whose payload has this CRC.
    #[inline]
    pub(crate) fn take(&mut self, located: &Located, computed: u32) -> Result<Record, ReadError> {
        let (record, stored) = (located.record(), located.header.payload_crc);
        self.position = located.end;
        self.set_expected(Some(record.seq.wrapping_add(1)));
        if stored != computed {
            self.count(1, 1);
            return Err(ReadError::Payload {
                seq: record.seq,
                position: record.position,
                stored,
                computed,
            });
        }
        Ok(record)
    }

    #[allow(clippy::cast_possible_truncation, reason = "wrapping counters")]
    fn count(&mut self, corrupt: u32, lost: u64) {
        self.damaged = true;
        self.damage.corrupt = self.damage.corrupt.wrapping_add(corrupt);
        self.damage.lost = self.damage.lost.wrapping_add(lost as u32);
    }

    /// Moves forward to the record with this sequence number. Damaged stretches on the way are
    /// skipped and counted.
    pub(crate) fn seek(&mut self, seq: u64) -> Result<Seek, ReadError> {
        // A round moves on by what it skips, or reports a gap and gives the record next time. In
        // an honest ring a lap is the most there is to skip; the bound is on all granules skipped,
        // because a dishonest one could make every round skip a lap. One that overruns us may make
        // us go over a lap again, even where the round ends as far as it began.
        let capacity = u64::from(self.view.geometry.capacity());
        let bound = 4 * capacity;
        let mut skipped = 0;
        while skipped <= bound {
            let (from, falls) = (self.position, self.falls);
            let located = self.locate();
            skipped += 1 + u64::from(distance(low32(from), low32(self.position))).min(capacity);
            skipped += u64::from(self.falls.wrapping_sub(falls)) * capacity;
            let located = match located {
                Ok(Next::Record(located)) => located,
                Ok(Next::Empty | Next::Closed) => {
                    // Nothing is left to tell by, but what was read before.
                    let gone = self.expected().filter(|&expected| seq < expected);
                    return Ok(gone.map_or(Seek::Ahead, |oldest| Seek::Gone { oldest }));
                }
                Err(error @ ReadError::TailOutOfRange { .. }) => return Err(error),
                Err(_) => continue,
            };
            let found = located.header.seq;
            if found == seq {
                return Ok(Seek::Found);
            }
            if found > seq {
                return Ok(Seek::Gone { oldest: found });
            }
            skipped += located.end - self.position;
            self.position = located.end;
            self.set_expected(Some(found.wrapping_add(1)));
        }
        Err(ReadError::Overrun { expected: Some(seq), found: None })
    }

    /// Returns the first position that can still be read, and the tail of now; adopts neither.
    fn unread(&self) -> Result<(u64, u64), ReadError> {
        if GATED {
            let (tail, ahead) = self.look_ahead();
            if ahead > self.view.geometry.capacity() {
                return Err(ReadError::TailOutOfRange { position: low32(self.position), tail });
            }
            return Ok((self.position, self.position + u64::from(ahead)));
        }
        let (oldest, live) = self.whole()?;
        let read = distance(oldest, low32(self.position));
        // Outside of what is whole: overrun.
        let read = if read <= live { read } else { 0 };
        Ok((u64::from(oldest) + u64::from(read), u64::from(oldest) + u64::from(live)))
    }

    /// Measures how far this walk is behind, at a time by the ring's clock. Changes nothing.
    pub(crate) fn lag(&self, now_ns: u64) -> Result<Lag, ReadError> {
        let (position, tail) = self.unread()?;
        // ORDER(none): a measure. The Acquire of the tail makes it at least that tail's number.
        let next_seq = self.view.ring.load(ring_word::NEXT_SEQ, Ordering::Relaxed);
        // Padding records in front of the first record say nothing about its age.
        let oldest = self.first_data(position, tail);
        let Some(first) = oldest.map(|header| header.seq).or(self.expected()) else {
            return Ok(Lag {
                records: 0,
                bytes: (tail - position) * GRANULE_BYTES as u64,
                nanoseconds: 0,
            });
        };
        Ok(Lag {
            records: u64::from(distance(low32(first), next_seq)),
            bytes: (tail - position) * GRANULE_BYTES as u64,
            nanoseconds: oldest.map_or(0, |header| now_ns.saturating_sub(header.timestamp_ns)),
        })
    }
}
