//! Where there is room for a record: past the head, as far as the readers have released.

use core::fmt;
use core::sync::atomic::Ordering;

use super::Producer;
use crate::geometry::{granules_for, low32, padding_payload_bytes};
use crate::layout::{GRANULE_BYTES, KIND_PAD, ring_word};
use crate::memory::MemoryMut;

/// Why there is no room for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ClaimError {
    /// No record of this ring may be so large.
    TooLarge {
        /// Payload asked for.
        bytes: usize,
        /// Largest payload of this ring.
        limit: u32,
    },
    /// Gating readers have not released enough.
    Full {
        /// Granules asked for, with a PAD if there must be one.
        needed: u32,
        /// Granules free.
        free: u32,
    },
    /// Too many claims of a [`SharedProducer`](crate::shared::SharedProducer) are in flight, or
    /// another party is just making room. Try again.
    Busy {
        /// Claims in flight.
        in_flight: u32,
    },
    /// The ring was closed.
    Closed,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => {
                write!(f, "payload of {bytes} bytes; this ring takes {limit}")
            }
            Self::Full { needed, free } => {
                write!(f, "ring full: {needed} granules needed, {free} free")
            }
            Self::Busy { in_flight } => write!(f, "busy: {in_flight} claims in flight"),
            Self::Closed => write!(f, "the ring is closed"),
        }
    }
}

impl core::error::Error for ClaimError {}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Producer<M, C, READERS> {
    /// Asks the readers to report when they release space. Publish what is committed first. One
    /// party asks at a time: a success withdraws the request.
    ///
    /// True: there is room for a record of `payload_bytes` now; claim it. False: every reader that
    /// releases something from now on learns that it must notify the producer (see
    /// [`Reader::release`](crate::Reader::release)); wait for that, then claim again, and ask again
    /// if the ring is still full.
    ///
    /// # Errors
    /// As [`claim`](Self::claim), but never [`ClaimError::Full`].
    pub fn want_space(&mut self, payload_bytes: usize) -> Result<bool, ClaimError> {
        self.ask();
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

    /// Returns whether so many granules are free after the last appended record, by the readers'
    /// cursors as they are now. For a batch, add one granule less than its largest record to the
    /// sum: so much may be lost to padding where it wraps. Then each of its records finds space.
    pub fn has_room(&mut self, granules: u64) -> bool {
        if self.head.saturating_add(granules) > self.limit {
            let floor = self.gate.refresh(self.tail).unwrap_or(self.tail);
            // One granule stays back for `close`.
            self.limit = floor + u64::from(self.geometry.capacity() - 1);
        }
        !self.closed && self.head.saturating_add(granules) <= self.limit
    }

    /// Asks the readers to report when this many granules are free:
    /// [`want_space`](Self::want_space) for a batch, counted as by [`has_room`](Self::has_room).
    pub fn want_room(&mut self, granules: u64) -> bool {
        self.ask();
        let has_room = self.has_room(granules);
        if has_room {
            // ORDER(none): saves the readers a message; a stale request costs one.
            self.ring.store(ring_word::SPACE_WANTED, 0, Ordering::Relaxed);
        }
        has_room
    }

    /// Asks the readers to report when they release something.
    fn ask(&mut self) {
        self.request = self.request.wrapping_add(1).max(1);
        // ORDER(space): Relaxed; the fence orders it before the cursors are loaded.
        self.ring.store(ring_word::SPACE_WANTED, self.request, Ordering::Relaxed);
        // ORDER(space): SeqCst. Either we see the new cursors afterwards, or the reader sees this
        // request. Pairs with the fence in `Reader::release`.
        self.ring.fence(Ordering::SeqCst);
    }

    /// Finds room past the head: the granules of PAD before the record, and its end.
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

    /// Makes room past the head and returns the position of the record.
    #[inline]
    pub(super) fn reserve(&mut self, payload_bytes: usize) -> Result<u64, ClaimError> {
        let granules = 1 + payload_bytes.div_ceil(GRANULE_BYTES) as u64;
        if payload_bytes <= self.geometry.max_payload() as usize
            && self.head + granules <= self.clear
        {
            return Ok(self.head);
        }
        self.reserve_slow(payload_bytes)
    }

    /// Does what [`reserve`](Self::reserve) does, looking at everything.
    #[cold]
    fn reserve_slow(&mut self, payload_bytes: usize) -> Result<u64, ClaimError> {
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

    /// Lets the head come `ahead` granules and a sector further than it is, if the readers allow
    /// it; gives the limit.
    pub(crate) fn extend(&mut self, ahead: u64) -> u64 {
        let capacity = u64::from(self.geometry.capacity());
        // A whole lap can never be had: no more than the sector is overwritten for it, nor for an
        // end that the head has passed by now.
        let ahead = if ahead < capacity { ahead } else { 0 };
        let floor = self.gate.refresh(self.tail).unwrap_or(self.tail);
        let end = (self.head + ahead + capacity / 16).min(floor + capacity - 1);
        self.retire(end + 1);
        self.limit = floor.min(self.oldest) + capacity - 1;
        self.limit
    }

    /// Moves `oldest` past everything that a record ending at `end` overwrites, to the first
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
        // ORDER(oldest): Release. A reader that loads it sees a tail that is not before it. Pairs
        // with `Walk::skip_to_oldest`. The fence orders it before the bytes that come next.
        self.ring.store(ring_word::OLDEST, low32(boundary), Ordering::Release);
        // ORDER(oldest): Release. An observer that copied a byte written after this sees the new
        // `oldest` when it looks again. Pairs with the acquire fence after an observer's copy (ABI
        // §4.3).
        self.ring.fence(Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Region, Segment};
    use crate::producer::RingConfig;
    use crate::record::Meta;

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
