//! An observer: looks, never holds anybody back, and knows exactly what it missed.
//!
//! Needs the ring read-only and nothing else. A copy is handed out only if it was still intact
//! after it was made.

use super::view::View;
use super::walk::{Damage, Walk};
use super::{AttachError, Lag, Next, ReadError, Seek, SeekError};
use crate::geometry::{Geometry, GeometryError};
use crate::layout::ring_word;
use crate::memory::Memory;
use core::sync::atomic::Ordering;

/// A reader without a cursor.
///
/// ```
/// use aqueduct_core::{Meta, Next, Observer, Producer, Region, RingConfig, Seek, Segment};
///
/// let ring = Segment::<{ 256 + 1024 }>::new();
/// let config = RingConfig::new("orders", 0x5eed_5f03, 1024);
/// let mut producer: Producer<Region> = Producer::create(ring.region(), &config)?;
/// let _ = producer.push(Meta::default(), b"before")?;
/// let mut observer = Observer::latest(ring.region().read_only())?;
/// assert!(!observer.is_ready());
/// let _ = producer.push(Meta::default(), b"after")?;
///
/// let mut buf = [0; 64];
/// assert!(matches!(observer.peek()?, Next::Record(record) if record.seq == 1));
/// assert!(matches!(observer.next(&mut buf)?, Next::Record(record) if record.payload(&buf) == b"after"));
/// assert_eq!((observer.lost(), observer.corrupt(), observer.next_seq()), (0, 0, Some(2)));
///
/// let epoch = observer.geometry().epoch();
/// assert_eq!(observer.seek(epoch, 0)?, Seek::Found); // also back, as far as the ring goes
/// assert!(observer.is_at_first() && observer.lag(0)?.records == 2);
/// assert!(matches!(observer.skip()?, Next::Record(record) if record.seq == 0));
/// assert_eq!(observer.seek(epoch, 7)?, Seek::Ahead); // at the end; the record is not there yet
/// observer.skip_to_latest();
///
/// let mut next = Observer::latest(ring.region().read_only())?;
/// next.skip_to_oldest()?;
/// next.resume(&observer); // another process that goes on where this one was
/// assert_eq!(next.next(&mut buf)?, Next::Empty);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Observer<R> {
    walk: Walk<R, false>,
}

/// Why an observer could not join.
///
/// ```
/// use aqueduct_core::{JoinError, Observer, Segment};
///
/// let zeros = Segment::<512>::new();
/// let joined = Observer::oldest(zeros.region().read_only());
/// assert!(matches!(joined, Err(JoinError::Geometry(_)))); // not a ring, or not yet
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum JoinError {
    /// The ring's header is not acceptable.
    Geometry(GeometryError),
    /// Its control words make no sense.
    Read(ReadError),
}

impl core::fmt::Display for JoinError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Geometry(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for JoinError {}

impl From<JoinError> for AttachError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Geometry(error) => Self::Geometry(error),
            JoinError::Read(error) => Self::TailOutOfRange(error),
        }
    }
}

impl<R: Memory> Observer<R> {
    /// Joins at the oldest record that is intact.
    ///
    /// # Errors
    /// The segment is not a ring.
    pub fn oldest(ring: R) -> Result<Self, JoinError> {
        let mut observer = Self::latest(ring)?;
        observer.walk.skip_to_oldest().map_err(JoinError::Read)?;
        Ok(observer)
    }

    /// Joins just past the last published record. What is missed before the first look is not
    /// counted: only a record carries a sequence number.
    ///
    /// # Errors
    /// The segment is not a ring.
    pub fn latest(ring: R) -> Result<Self, JoinError> {
        let view = View::open(ring).map_err(JoinError::Geometry)?;
        // ORDER(none): where to begin; nothing before it is read. `refresh` loads the tail up to
        // which is read, and finds none that is older.
        let tail = view.ring.load(ring_word::TAIL, Ordering::Relaxed);
        let mut observer = Self { walk: Walk::at(view, tail, Damage::default()) };
        observer.walk.refresh().map_err(JoinError::Read)?;
        Ok(observer)
    }

    /// Returns what never changes in the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.walk.view.geometry
    }

    /// Returns the DATA records missed, by damage or because the producer was faster, wrapping.
    #[must_use]
    pub const fn lost(&self) -> u32 {
        self.walk.damage.lost
    }

    /// Returns the damaged records and stretches seen, wrapping.
    #[must_use]
    pub const fn corrupt(&self) -> u32 {
        self.walk.damage.corrupt
    }

    /// Copies the oldest unread record into the start of `buf`: its payload, and its attributes
    /// after it ([`Record::attributes`](crate::Record::attributes)). Never blocks. The content of
    /// `buf` means nothing unless a record is returned.
    ///
    /// # Errors
    /// See [`ReadError`]. [`ReadError::Overrun`] says how many were missed; the next call returns
    /// the record it names.
    #[inline]
    pub fn next(&mut self, buf: &mut [u8]) -> Result<Next, ReadError> {
        self.walk.next(buf)
    }

    /// Describes the oldest unread record and leaves it unread. Its header was checked; its payload
    /// was not looked at.
    ///
    /// # Errors
    /// As [`next`](Self::next), but never [`ReadError::BufferTooSmall`].
    pub fn peek(&mut self) -> Result<Next, ReadError> {
        self.walk.peek()
    }

    /// Takes the oldest unread record without copying or checking its payload.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub fn skip(&mut self) -> Result<Next, ReadError> {
        self.walk.skip()
    }

    /// Returns whether [`next`](Self::next) would return anything but [`Next::Empty`], or skip
    /// padding. Costs two loads; a hint that may be outdated at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.walk.is_ready()
    }

    /// Returns whether nothing that the ring ever held comes before this observer: the next record
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

    /// Continues after the last record that `before` read, with its counts: for an observer that
    /// attaches to the same ring again. Does nothing if it is another ring.
    pub fn resume<S>(&mut self, before: &Observer<S>) {
        self.walk.resume(&before.walk);
    }

    /// Moves to the oldest record that is intact. A record read for the second time has the
    /// sequence number that it had, which is reported once as a [`ReadError::Gap`].
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`] if the control words make no sense, [`ReadError::Overrun`] if
    /// they change faster than they are read; a later look tries again.
    pub fn skip_to_oldest(&mut self) -> Result<(), ReadError> {
        self.walk.skip_to_oldest()
    }

    /// Moves past everything published so far. What is skipped is not counted as lost.
    pub fn skip_to_latest(&mut self) {
        self.walk.skip_to_latest();
    }

    /// Moves to a stored record: first back to the oldest, then forward.
    ///
    /// # Errors
    /// [`SeekError::Epoch`] if the sequence number belongs to another ring.
    pub fn seek(&mut self, epoch: u64, seq: u64) -> Result<Seek, SeekError> {
        if epoch != self.geometry().epoch() {
            return Err(SeekError::Epoch { ring: self.geometry().epoch(), stored: epoch });
        }
        self.walk.set_expected(None);
        self.walk.overrun = false;
        self.walk.skip_to_oldest().map_err(SeekError::Read)?;
        self.walk.seek(seq).map_err(SeekError::Read)
    }

    /// Measures how far this observer is behind, of what it can still read; `now_ns` is a time by
    /// the ring's clock. Changes nothing.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`] if the control words make no sense, [`ReadError::Overrun`] if
    /// they change faster than they are read.
    pub fn lag(&self, now_ns: u64) -> Result<Lag, ReadError> {
        self.walk.lag(now_ns)
    }
}

impl<R> core::fmt::Debug for Observer<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Observer")
            .field("geometry", &self.walk.view.geometry)
            .field("position", &self.walk.position)
            .field("next_seq", &self.walk.expected())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Meta, Producer, Region, RingConfig, Segment};

    #[test]
    fn positions_do_not_grow_however_often_an_observer_goes_back() {
        let ring = Segment::<{ 256 + 256 }>::new();
        let mut producer: Producer<Region<'_>> =
            Producer::create(ring.region(), &RingConfig::new("", 1, 256)).unwrap();
        let mut observer = Observer::oldest(ring.region()).unwrap();
        for _ in 0..30 {
            let _ = producer.push(Meta::default(), &[]).unwrap();
            assert!(observer.seek(1, 0).is_ok() && observer.next(&mut []).is_ok());
            assert!(observer.walk.position >> 32 == 0, "{:#x}", observer.walk.position);
        }
    }
}
