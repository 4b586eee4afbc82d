//! A gating reader: next, release, sleep.
//!
//! What it has not released stays as it is. It makes no system call: `release` says when the
//! producer must be told, `prepare_sleep` when sleeping is safe.

use core::sync::atomic::Ordering;

use zerocopy::{FromZeros, IntoBytes};

use crate::error::{AttachError, ReadError, SeekError};
use crate::geometry::{Geometry, low32};
use crate::layout::{
    ABI_MAJOR, CURSOR_BYTES_MIN, CURSOR_MAGIC, CursorIdentity, WAITING_FUTEX, WAITING_SOCKET,
    cursor_word, ring_word,
};
use crate::memory::{InPlace, Memory, MemoryMut};
use crate::read::walk::{Damage, Located, View, Walk};
use crate::read::walk::{Lag, Next, Seek};
use crate::record::Record;

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
    /// Sleep now, with a timeout, as long as the `tail` word holds this value; then call
    /// [`Reader::finish_sleep`].
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

/// A gating reader of ring `R` with cursor segment `C`.
pub struct Reader<R, C> {
    walk: Walk<R, true>,
    page: C,
    /// What the shared cursor holds.
    released: u64,
    /// The last request for space that was answered.
    answered: u32,
    missed_wakes: u32,
    /// What the page says of damage.
    told: Damage,
}

impl<R: Memory, C: MemoryMut> Reader<R, C> {
    /// Reads a ring from where the cursor segment says.
    ///
    /// # Errors
    /// Ring or page are not what ABI §2.1 and §6.1 describe, or belong to different rings.
    pub fn attach(ring: R, page: C) -> Result<Self, AttachError> {
        let view = View::open(ring)?;
        if page.size() < CURSOR_BYTES_MIN {
            return Err(AttachError::PageTooSmall { bytes: page.size() });
        }
        let mut identity = CursorIdentity::new_zeroed();
        page.read(0, identity.as_mut_bytes());
        // ORDER(create): Acquire. Pairs with the release fence in `Producer::attach`: seeing the
        // identity, we see the words.
        page.fence(Ordering::Acquire);
        let computed = crc32fast::hash(&identity.as_bytes()[..60]);
        if identity.magic != CURSOR_MAGIC
            || identity.abi_major.get() != ABI_MAJOR
            || identity.identity_crc.get() != computed
        {
            return Err(AttachError::PageIdentity);
        }
        if identity.epoch.get() != view.geometry.epoch() {
            return Err(AttachError::Epoch {
                ring: view.geometry.epoch(),
                page: identity.epoch.get(),
            });
        }
        // ORDER(none): only this reader and its predecessors write these, and they are gone.
        let word = |at| page.load(at, Ordering::Relaxed);
        let damage = Damage { corrupt: word(cursor_word::CORRUPT), lost: word(cursor_word::LOST) };
        let missed_wakes = word(cursor_word::MISSED_WAKES);
        let walk = Walk::at(view, word(cursor_word::CURSOR), damage)
            .map_err(AttachError::TailOutOfRange)?;
        let reader =
            Self { released: walk.position, walk, page, answered: 0, missed_wakes, told: damage };
        reader.awake();
        Ok(reader)
    }

    /// What is fixed for the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.walk.view.geometry
    }

    /// Counts since the page was made.
    #[must_use]
    pub const fn stats(&self) -> ReaderStats {
        let Damage { corrupt, lost } = self.walk.damage;
        ReaderStats { corrupt, lost, missed_wakes: self.missed_wakes }
    }

    /// Copies the oldest unread record into the start of `buf`. Never blocks. The content of `buf`
    /// means nothing unless a record is returned.
    ///
    /// # Errors
    /// See [`ReadError`]; each says whether the reader moved on. Reading may go on after every
    /// error but [`ReadError::TailOutOfRange`].
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "a call's result comes by memory, stored by eights and loaded by sixteens: that costs as much as the checksums"
    )]
    pub fn next(&mut self, buf: &mut [u8]) -> Result<Next, ReadError> {
        if let Some(next) = self.walk.take_expected(buf) {
            return Ok(next);
        }
        self.next_by_steps(buf)
    }

    /// Whatever is next, also what is to be told.
    #[cold]
    fn next_by_steps(&mut self, buf: &mut [u8]) -> Result<Next, ReadError> {
        let next = self.walk.next(buf);
        self.tell(next)
    }

    /// Takes up to `limit` records in turn, as long as there are any, and releases them together:
    /// one store of the cursor for the batch. Gives the number taken, and whether the producer must
    /// be told as by [`release`](Self::release).
    ///
    /// # Errors
    /// As [`next`](Self::next). What was taken before is released; the error is met again only if
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
                Ok(Next::Record(record)) => each(record, &buf[..record.len]),
                Ok(Next::Empty | Next::Closed) => break,
                Err(error) => return Err((error, self.release())),
            }
            taken += 1;
        }
        Ok((taken, self.release()))
    }

    /// Describes the oldest unread record and leaves it unread. Its header was checked, its payload
    /// was not looked at.
    ///
    /// # Errors
    /// As [`next`](Self::next), and never [`ReadError::BufferTooSmall`].
    pub fn peek(&mut self) -> Result<Next, ReadError> {
        let next = self.walk.peek();
        self.tell(next)
    }

    /// Takes the oldest unread record without copying or checking its payload.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub fn skip(&mut self) -> Result<Next, ReadError> {
        let next = self.walk.skip();
        self.tell(next)
    }

    /// Tells whether [`next`](Self::next) would give anything but [`Next::Empty`], or skip padding.
    /// Costs two loads; a hint that may be outdated at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.walk.is_ready()
    }

    /// Tells whether nothing that the ring ever held comes before this reader: the next record has
    /// sequence number 0, or nothing was published yet. Damage at this place counts as the first
    /// record.
    #[must_use]
    pub fn is_at_first(&self) -> bool {
        self.walk.is_at_first()
    }

    /// Gives the sequence number that the next record should have; `None` before the first record.
    #[must_use]
    pub const fn next_seq(&self) -> Option<u64> {
        self.walk.expected
    }

    /// Goes on after the last record that `before` read, which may lie past what it released: for
    /// a reader that attaches to the same ring again. Does nothing if it is another ring.
    pub fn resume<S, D>(&mut self, before: &Reader<S, D>) {
        self.walk.resume(&before.walk);
    }

    /// Moves forward to a stored record, for a reader that keeps (epoch, seq) with what it has
    /// processed. Nothing is released by it.
    ///
    /// # Errors
    /// [`SeekError::Epoch`] if the number belongs to another ring.
    pub fn seek(&mut self, epoch: u64, seq: u64) -> Result<Seek, SeekError> {
        if epoch != self.geometry().epoch() {
            return Err(SeekError::Epoch { ring: self.geometry().epoch(), stored: epoch });
        }
        let seek = self.walk.seek(seq);
        self.tell(seek).map_err(SeekError::Read)
    }

    /// Moves behind everything published so far. Nothing is released by it. Where nothing is
    /// skipped, the next record's number is still expected to follow.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`].
    pub fn skip_to_latest(&mut self) -> Result<(), ReadError> {
        self.walk.refresh()?;
        if self.walk.position != self.walk.tail {
            self.walk.position = self.walk.tail;
            self.walk.expected = None;
        }
        Ok(())
    }

    /// How far this reader is behind; `now_ns` is a time by the ring's clock. Changes nothing.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`].
    pub fn lag(&self, now_ns: u64) -> Result<Lag, ReadError> {
        self.walk.lag(now_ns)
    }

    /// Releases everything read so far: the producer may overwrite it. Call it after processing, as
    /// often or as rarely as you like.
    ///
    /// True: the producer waits for space and must be told, once, by whatever the platform offers.
    /// Asked even if nothing new was read, for a reader that died before it told the producer
    /// leaves that to the next one.
    #[must_use = "a producer that waits for space is told only by the caller"]
    #[inline]
    pub fn release(&mut self) -> bool {
        self.released = self.walk.position;
        // ORDER(release): Release. Our reads of the released bytes come before the producer's next
        // writes there. Pairs with `Gate::refresh`.
        self.page.store(cursor_word::CURSOR, low32(self.released), Ordering::Release);
        // ORDER(space): SeqCst. Either we see the request below, or the producer sees this cursor.
        // Pairs with the fence in `Producer::want_space`.
        self.page.fence(Ordering::SeqCst);
        // ORDER(space): Relaxed; the fence above orders it.
        let request = self.walk.view.ring.load(ring_word::SPACE_WANTED, Ordering::Relaxed);
        let tell = request != 0 && request != self.answered;
        if tell {
            self.answered = request;
        }
        tell
    }

    /// Announces that this reader is about to sleep and says whether it may. Release first: a
    /// producer without space never publishes.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`]; the reader is not announced then.
    pub fn prepare_sleep(&mut self, mode: WaitMode) -> Result<Sleep, ReadError> {
        if self.walk.position != self.walk.tail {
            return Ok(Sleep::Ready);
        }
        let mode = match mode {
            WaitMode::Futex => WAITING_FUTEX,
            WaitMode::Socket => WAITING_SOCKET,
        };
        // ORDER(sleep): Relaxed; the fence orders it before the tail is looked at.
        self.page.store(
            cursor_word::WAITING,
            (low32(self.walk.position) << 2) | mode,
            Ordering::Relaxed,
        );
        // ORDER(sleep): SeqCst. Either the producer sees `waiting`, or we see its tail below. Pairs
        // with the fence in `Producer::publish`.
        self.page.fence(Ordering::SeqCst);
        let refreshed = self.walk.refresh();
        if refreshed.is_ok() && self.walk.tail == self.walk.position {
            return Ok(Sleep::Wait { tail: low32(self.walk.tail) });
        }
        self.awake();
        refreshed.map(|()| Sleep::Ready)
    }

    /// Ends a sleep. `timed_out` says that nobody woke it; if there was something to read all the
    /// same, that is counted.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`].
    pub fn finish_sleep(&mut self, timed_out: bool) -> Result<(), ReadError> {
        self.awake();
        self.walk.refresh()?;
        if timed_out && self.walk.tail != self.walk.position {
            self.missed_wakes = self.missed_wakes.wrapping_add(1);
            // ORDER(none): a statistic.
            self.page.store(cursor_word::MISSED_WAKES, self.missed_wakes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn awake(&self) {
        // ORDER(sleep): Relaxed; seen late it costs a wake-up too many, never one too few.
        self.page.store(cursor_word::WAITING, 0, Ordering::Relaxed);
    }

    /// Mirrors the counts of damage into the page, where the producer's process can see them.
    #[inline]
    fn tell<T, E>(&mut self, outcome: Result<T, E>) -> Result<T, E> {
        if self.told != self.walk.damage {
            self.told = self.walk.damage;
            // ORDER(none): statistics.
            self.page.store(cursor_word::CORRUPT, self.told.corrupt, Ordering::Relaxed);
            // ORDER(none): statistics.
            self.page.store(cursor_word::LOST, self.told.lost, Ordering::Relaxed);
        }
        outcome
    }
}

impl<R: InPlace, C: MemoryMut> Reader<R, C> {
    /// The oldest unread record with its payload where it lies; valid until the reader is used
    /// again. Its CRC is checked in place, which means something only as far as the promise made
    /// for the region holds.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_in_place(&mut self) -> Result<Next<(Record, &[u8])>, ReadError> {
        let located = match self.walk.locate() {
            Ok(Next::Record(located)) => located,
            Ok(Next::Empty) => return Ok(Next::Empty),
            Ok(Next::Closed) => return Ok(Next::Closed),
            Err(error) => return self.tell(Err(error)),
        };
        let computed = self.walk.view.framing.payload_crc(self.payload_in_place(&located));
        let taken = self.walk.take(&located, computed);
        let record = self.tell(taken)?;
        Ok(Next::Record((record, self.payload_in_place(&located))))
    }

    /// Lends the payload of a record that was located since the last release.
    #[allow(unsafe_code, reason = "only a reader knows what nobody stores into")]
    fn payload_in_place(&self, located: &Located) -> &[u8] {
        let at = self.walk.view.payload_offset(located);
        // SAFETY: (1) it was located between the position of this walk, which is never before the
        // cursor, and a tail that was loaded with Acquire; the cursor moves in methods that take
        // `&mut self` only, and the slice borrows it.
        unsafe { self.walk.view.ring.slice(at, located.header.len as usize) }
    }
}
