//! What a client reads by: a gating reader or an observer of one ring.

use std::time::Duration;

use aqueduct_core::SeekError;
use aqueduct_core::geometry::Geometry;
use aqueduct_core::layout::{CLOCK_MONOTONIC, CLOCK_REALTIME};
use aqueduct_core::{
    AttachError, Lag, Next, Observer, ReadError, Reader, Record, Seek, Sleep, WaitMode,
};
use rustix::time::ClockId;

use crate::info::{RawHeader, RingInfo, Stats};
use crate::mapping::{CursorMapping, RingMapping};

type Observing = Observer<RingMapping>;
type Gating = Reader<RingMapping, CursorMapping>;

/// A reader or an observer, with the segments that it reads.
pub(crate) enum Source {
    Gating(Gating),
    Observing(Observing),
}

/// Calls the method of the same name.
macro_rules! either {
    ($source:expr, $it:ident => $call:expr) => {
        match $source {
            Source::Gating($it) => $call,
            Source::Observing($it) => $call,
        }
    };
}

impl Source {
    /// Attaches to mapped segments; without a cursor segment as an observer at the oldest record.
    pub(crate) fn attach(
        ring: RingMapping,
        cursor: Option<CursorMapping>,
    ) -> Result<(Self, RingInfo), AttachError> {
        let header = RawHeader::copy(&ring);
        let source = match cursor {
            Some(cursor) => Self::Gating(Reader::attach(ring, cursor)?),
            None => Self::Observing(observe(ring)?),
        };
        let info = RingInfo::new(&header, source.geometry());
        Ok((source, info))
    }

    pub(crate) const fn is_gating(&self) -> bool {
        matches!(self, Self::Gating(_))
    }

    pub(crate) const fn geometry(&self) -> &Geometry {
        either!(self, it => it.geometry())
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see `aqueduct_core::Reader::next`")]
    pub(crate) fn next(&mut self, buf: &mut [u8]) -> Result<Next, ReadError> {
        either!(self, it => it.next(buf))
    }

    pub(crate) fn peek(&mut self) -> Result<Next, ReadError> {
        either!(self, it => it.peek())
    }

    pub(crate) fn skip(&mut self) -> Result<Next, ReadError> {
        either!(self, it => it.skip())
    }

    pub(crate) fn seek(&mut self, epoch: u64, seq: u64) -> Result<Seek, SeekError> {
        either!(self, it => it.seek(epoch, seq))
    }

    pub(crate) fn skip_to_latest(&mut self) -> Result<(), ReadError> {
        match self {
            Self::Gating(reader) => reader.skip_to_latest(),
            Self::Observing(observer) => {
                observer.skip_to_latest();
                Ok(())
            }
        }
    }

    /// Releases what was read. True: the producer must be told.
    pub(crate) fn release(&mut self) -> bool {
        match self {
            Self::Gating(reader) => reader.release(),
            Self::Observing(_) => false,
        }
    }

    /// Releases what was read before this position. True: the producer must be told.
    pub(crate) fn release_before(&mut self, position: u32) -> bool {
        match self {
            Self::Gating(reader) => reader.release_before(position),
            Self::Observing(_) => false,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        either!(self, it => it.is_ready())
    }

    pub(crate) fn is_at_first(&self) -> bool {
        either!(self, it => it.is_at_first())
    }

    pub(crate) const fn next_seq(&self) -> Option<u64> {
        either!(self, it => it.next_seq())
    }

    /// Measures by the ring's own clock; the age is 0 if that clock is the producer's alone.
    pub(crate) fn lag(&self) -> Result<Lag, ReadError> {
        let clock = match self.geometry().clock_id() {
            CLOCK_REALTIME => Some(ClockId::Realtime),
            CLOCK_MONOTONIC => Some(ClockId::Monotonic),
            _ => None,
        };
        let now = clock.map_or(Duration::ZERO, |clock| {
            Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or(Duration::ZERO)
        });
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        either!(self, it => it.lag(now_ns))
    }

    pub(crate) fn stats(&self) -> Stats {
        match self {
            Self::Gating(reader) => {
                let stats = reader.stats();
                let (corrupt, lost) = (stats.corrupt, stats.lost);
                Stats { corrupt, lost, missed_wakes: stats.missed_wakes }
            }
            Self::Observing(observer) => {
                let (corrupt, lost) = (observer.corrupt(), observer.lost());
                Stats { corrupt, lost, missed_wakes: 0 }
            }
        }
    }

    /// Announces a sleep that a packet of the producer ends. False: there is something to read.
    pub(crate) fn prepare_sleep(&mut self) -> bool {
        match self {
            // An error is for the next look to tell.
            Self::Gating(reader) => {
                matches!(reader.prepare_sleep(WaitMode::Socket), Ok(Sleep::Wait { .. }))
            }
            Self::Observing(_) => true,
        }
    }

    /// Ends such a sleep.
    pub(crate) fn finish_sleep(&mut self, timed_out: bool) {
        if let Self::Gating(reader) = self {
            // As above.
            let _ = reader.finish_sleep(timed_out);
        }
    }

    /// Goes on where `before` was, if it read the same ring in the same way.
    pub(crate) fn resume(&mut self, before: &Self) {
        match (self, before) {
            (Self::Gating(now), Self::Gating(before)) => now.resume(before),
            (Self::Observing(now), Self::Observing(before)) => now.resume(before),
            _ => {}
        }
    }
}

/// Joins at the oldest record that is intact; if records come too fast for that, somewhere.
fn observe(ring: RingMapping) -> Result<Observing, AttachError> {
    let mut observer = Observer::latest(ring)?;
    match observer.skip_to_oldest() {
        Err(error @ ReadError::TailOutOfRange { .. }) => Err(AttachError::TailOutOfRange(error)),
        _ => Ok(observer),
    }
}

/// What a look at a record says of it.
pub(crate) type Looked = Result<Next<Record>, ReadError>;
