//! What follows from the layout: sizes of records, distances between positions, and which ring
//! headers are acceptable.
//!
//! Pure arithmetic over checked values.
//!
//! ```
//! use aqueduct_core::geometry::{
//!     Geometry, GeometryError, distance, granules_for, low32, max_payload_for, padding_payload_bytes,
//! };
//! use aqueduct_core::layout::CLOCK_PRIVATE;
//!
//! let geometry = Geometry::new(0x5eed, 64, max_payload_for(64), 256, CLOCK_PRIVATE, 4096)?;
//! assert_eq!((geometry.epoch(), geometry.capacity(), geometry.max_payload()), (0x5eed, 64, 992));
//! assert_eq!((geometry.segment_bytes(), geometry.clock_id()), (256 + 64 * 32, CLOCK_PRIVATE));
//! // Where position 70 is, a lap later than 6, and what is left of the lap.
//! assert_eq!((geometry.offset_of(70), geometry.room_to_end(70)), (256 + 6 * 32, 58));
//! let small = Geometry::new(0x5eed, 64, 992, 256, CLOCK_PRIVATE, 2000);
//! assert_eq!(small, Err(GeometryError::SegmentTooSmall { bytes: 2000, needed: 2304 }));
//!
//! assert_eq!((granules_for(0), granules_for(33)), (1, 3)); // a header, and the payload's
//! assert_eq!(padding_payload_bytes(3), 64);
//! assert_eq!(distance(u32::MAX, low32(1 << 32 | 5)), 6); // on the circle
//! # Ok::<(), GeometryError>(())
//! ```

use core::fmt;
use core::mem::offset_of;
use core::num::NonZeroU64;

use zerocopy::IntoBytes;

use crate::layout::{
    ABI_MAJOR, DATA_OFFSET_MIN, GRANULE_BYTES, MAX_CAPACITY, MIN_CAPACITY, RING_MAGIC, RingHeader,
};
use crate::plain_crc::hash;

/// The same for arithmetic on lengths, which are `u32`.
const GRANULE: u32 = 32;
const _: () = assert!(GRANULE as usize == GRANULE_BYTES);
/// Returns the granules that a record with this payload takes, header included.
///
/// `granules_for(0) == 1`, `granules_for(32) == 2`, `granules_for(33) == 3`. Infallible for every
/// `u32`.
#[must_use]
pub const fn granules_for(payload_bytes: u32) -> u32 {
    1 + payload_bytes.div_ceil(GRANULE)
}

/// Returns the payload bytes of a padding record that takes this many granules, at least 1.
#[must_use]
pub const fn padding_payload_bytes(granules: u32) -> u32 {
    (granules - 1) * GRANULE
}

/// Returns the low 32 bits of a private 64-bit position: its form in shared memory.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "that is the point")]
pub const fn low32(position: u64) -> u32 {
    position as u32
}

/// Returns the largest payload, in bytes, that a ring of this many granules can be set to accept: a
/// record takes at most half of the ring, and a length is a `u32`.
#[must_use]
pub const fn max_payload_for(capacity: u32) -> u32 {
    (capacity / 2).saturating_sub(1).saturating_mul(GRANULE)
}

/// Returns the forward distance from `from` to `to`, in granules, on the wrapping 32-bit circle.
#[must_use]
pub const fn distance(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from)
}

/// The properties of a ring that never change, already checked.
///
/// INVARIANT: the values satisfy [`Geometry::new`]; every offset it gives for a record inside the
/// ring lies inside the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Geometry {
    epoch: NonZeroU64,
    capacity: u32,
    max_payload: u32,
    data_offset: u32,
    clock_id: u32,
}

impl Geometry {
    /// Checks the values against each other and against the size of the segment they describe.
    ///
    /// # Errors
    /// The first rule of ABI §2.1 that is broken.
    pub fn new(
        epoch: u64,
        capacity: u32,
        max_payload: u32,
        data_offset: u32,
        clock_id: u32,
        segment_bytes: usize,
    ) -> Result<Self, GeometryError> {
        let Some(epoch) = NonZeroU64::new(epoch) else {
            return Err(GeometryError::ZeroEpoch);
        };
        if !(MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) || !capacity.is_power_of_two() {
            return Err(GeometryError::Capacity { granules: capacity });
        }
        if max_payload > max_payload_for(capacity) {
            return Err(GeometryError::MaxPayload {
                bytes: max_payload,
                limit: max_payload_for(capacity),
            });
        }
        if data_offset < DATA_OFFSET_MIN || !data_offset.is_multiple_of(64) {
            return Err(GeometryError::DataOffset { bytes: data_offset });
        }
        let needed = u64::from(data_offset) + u64::from(capacity) * GRANULE_BYTES as u64;
        if (segment_bytes as u64) < needed {
            return Err(GeometryError::SegmentTooSmall { bytes: segment_bytes as u64, needed });
        }
        Ok(Self { epoch, capacity, max_payload, data_offset, clock_id })
    }

    /// Reads and checks a ring header that was copied out of a segment of `segment_bytes`.
    ///
    /// # Errors
    /// As [`Geometry::new`], and for magic, version and CRC.
    ///
    /// ```
    /// use aqueduct_core::geometry::Geometry;
    /// use aqueduct_core::layout::RingHeader;
    /// use aqueduct_core::{Memory, Producer, Region, RingConfig, Segment};
    /// use zerocopy::FromBytes;
    ///
    /// let ring = Segment::<{ 256 + 1024 }>::new();
    /// let config = RingConfig::new("events", 0x5eed_5f0b, 1024);
    /// let producer: Producer<Region> = Producer::create(ring.region(), &config)?;
    /// let mut bytes = [0; size_of::<RingHeader>()];
    /// ring.region().read(0, &mut bytes);
    /// let header = RingHeader::read_from_bytes(&bytes).expect("as many");
    /// assert_eq!(&Geometry::from_header(&header, 256 + 1024)?, producer.geometry());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn from_header(header: &RingHeader, segment_bytes: usize) -> Result<Self, GeometryError> {
        if header.magic != RING_MAGIC {
            return Err(GeometryError::Magic { found: header.magic });
        }
        if header.abi_major.get() != ABI_MAJOR {
            return Err(GeometryError::Version { found: header.abi_major.get() });
        }
        let computed = hash(&header.as_bytes()[..offset_of!(RingHeader, header_crc)]);
        if computed != header.header_crc.get() {
            return Err(GeometryError::Crc { stored: header.header_crc.get(), computed });
        }
        Self::new(
            header.epoch.get(),
            header.capacity.get(),
            header.max_payload.get(),
            header.data_offset.get(),
            header.clock_id.get(),
            segment_bytes,
        )
    }

    /// Returns the identity of the ring.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Returns the size of the data area, in granules.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns the largest payload that the ring accepts, in bytes.
    #[must_use]
    pub const fn max_payload(&self) -> u32 {
        self.max_payload
    }

    /// Returns the clock of the timestamps.
    #[must_use]
    pub const fn clock_id(&self) -> u32 {
        self.clock_id
    }

    /// Returns the bytes that the whole ring segment takes.
    #[must_use]
    pub const fn segment_bytes(&self) -> usize {
        self.data_offset as usize + self.capacity as usize * GRANULE_BYTES
    }

    /// Returns the byte offset of a position in the segment. Only the low bits matter, so the
    /// private 64-bit and the shared 32-bit position give the same offset.
    #[must_use]
    pub const fn offset_of(&self, position: u64) -> usize {
        self.data_offset as usize + self.index_of(position) as usize * GRANULE_BYTES
    }

    /// Returns the granules from this position to the end of the data area: 1 to the capacity.
    #[must_use]
    pub const fn room_to_end(&self, position: u64) -> u32 {
        self.capacity - self.index_of(position)
    }

    #[allow(clippy::cast_possible_truncation, reason = "masked below 2^30")]
    const fn index_of(&self, position: u64) -> u32 {
        (position & (self.capacity as u64 - 1)) as u32
    }
}

/// Why a segment is not an acceptable ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum GeometryError {
    /// The first bytes are not [`RING_MAGIC`].
    Magic {
        /// The bytes found.
        found: [u8; 8],
    },
    /// Another major version of the ABI.
    Version {
        /// The version found.
        found: u16,
    },
    /// The header is damaged.
    Crc {
        /// In the header.
        stored: u32,
        /// Of the header.
        computed: u32,
    },
    /// The epoch is 0.
    ZeroEpoch,
    /// Not a power of two, or out of range.
    Capacity {
        /// Claimed capacity.
        granules: u32,
    },
    /// Larger than half the ring allows.
    MaxPayload {
        /// Claimed limit.
        bytes: u32,
        /// What the capacity allows.
        limit: u32,
    },
    /// Too small or not a multiple of 64.
    DataOffset {
        /// Claimed offset.
        bytes: u32,
    },
    /// The mapping ends before the data area does.
    SegmentTooSmall {
        /// Size of the mapping.
        bytes: u64,
        /// Size that the header asks for.
        needed: u64,
    },
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic { found } => write!(f, "not a ring: the first bytes are {found:02x?}"),
            Self::Version { found } => {
                write!(f, "ABI major {found}; this reader knows {ABI_MAJOR}")
            }
            Self::Crc { stored, computed } => {
                write!(
                    f,
                    "ring header damaged: CRC {stored:#010x} stored, {computed:#010x} computed"
                )
            }
            Self::ZeroEpoch => write!(f, "ring header: the epoch is 0"),
            Self::Capacity { granules } => {
                write!(
                    f,
                    "ring capacity {granules} granules: not a power of two from {MIN_CAPACITY} to {MAX_CAPACITY}"
                )
            }
            Self::MaxPayload { bytes, limit } => {
                write!(f, "largest payload {bytes} bytes: a ring of this capacity allows {limit}")
            }
            Self::DataOffset { bytes } => {
                write!(f, "data offset {bytes}: not a multiple of 64 from {DATA_OFFSET_MIN}")
            }
            Self::SegmentTooSmall { bytes, needed } => {
                write!(f, "the segment has {bytes} bytes; its ring needs {needed}")
            }
        }
    }
}

impl core::error::Error for GeometryError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{CLOCK_MONOTONIC, CLOCK_PRIVATE, CLOCK_REALTIME};

    #[test]
    fn record_takes_a_granule_and_whole_ones_for_its_payload() {
        for (bytes, granules) in [
            (0, 1),
            (1, 2),
            (32, 2),
            (33, 3),
            (64, 3),
            (65, 4),
            (u32::MAX, 1 + (1 << 27)),
            (u32::MAX - 31, 1 << 27),
        ] {
            assert_eq!(granules_for(bytes), granules, "{bytes}");
        }
        for granules in [1, 2, 3, 1 << 27] {
            assert_eq!(granules_for(padding_payload_bytes(granules)), granules);
        }
        assert_eq!((padding_payload_bytes(1), padding_payload_bytes(3)), (0, 64));
    }

    #[test]
    fn largest_payload_is_half_a_ring_less_a_header_and_never_more_than_a_length_can_say() {
        for (capacity, bytes) in [
            (0, 0),
            (1, 0),
            (2, 0),
            (4, 32),
            (8, 96),
            (1 << 28, u32::MAX - 31),
            (1 << 29, u32::MAX),
            (1 << 31, u32::MAX),
        ] {
            assert_eq!(max_payload_for(capacity), bytes, "{capacity}");
        }
        for capacity in (2..=30).map(|shift| 1 << shift) {
            assert!(granules_for(max_payload_for(capacity)) <= capacity / 2);
        }
    }

    #[test]
    fn distance_goes_forward_around_the_circle() {
        for (from, to, granules) in
            [(0, 0, 0), (3, 5, 2), (5, 3, u32::MAX - 1), (u32::MAX, 0, 1), (u32::MAX - 1, 2, 4)]
        {
            assert_eq!(distance(from, to), granules);
        }
        assert_eq!(low32((7 << 32) + 5), 5);
    }

    fn geometry(
        epoch: u64,
        capacity: u32,
        max_payload: u32,
        data_offset: u32,
        bytes: usize,
    ) -> Result<Geometry, GeometryError> {
        Geometry::new(epoch, capacity, max_payload, data_offset, CLOCK_MONOTONIC, bytes)
    }

    #[test]
    fn geometry_keeps_every_rule_to_its_boundary() {
        assert!(geometry(1, 4, 32, 256, 384).is_ok());
        assert!(geometry(u64::MAX, 8, 0, 320, 576).is_ok());
        assert_eq!(geometry(0, 4, 32, 256, 384), Err(GeometryError::ZeroEpoch));
        for granules in [0, 1, 2, 3, 5, 12, MAX_CAPACITY - 1, MAX_CAPACITY + 1, MAX_CAPACITY * 2] {
            assert_eq!(
                geometry(1, granules, 0, 256, usize::MAX),
                Err(GeometryError::Capacity { granules })
            );
        }
        for (capacity, limit) in [(4, 32), (8, 96), (64, 992)] {
            assert!(geometry(1, capacity, limit, 256, 4096).is_ok());
            let error = GeometryError::MaxPayload { bytes: limit + 1, limit };
            assert_eq!(geometry(1, capacity, limit + 1, 256, 4096), Err(error));
        }
        for bytes in [0, 64, 192, 255, 257, 288] {
            assert_eq!(geometry(1, 4, 32, bytes, 4096), Err(GeometryError::DataOffset { bytes }));
        }
        assert_eq!(
            geometry(1, 4, 32, 256, 383),
            Err(GeometryError::SegmentTooSmall { bytes: 383, needed: 384 })
        );
        assert_eq!(
            geometry(1, 4, 32, 320, 447),
            Err(GeometryError::SegmentTooSmall { bytes: 447, needed: 448 })
        );
    }

    #[test]
    fn largest_rings_are_judged_without_overflow() {
        for capacity in [1 << 29, MAX_CAPACITY] {
            let needed = 256 + u64::from(capacity) * 32;
            assert_eq!(
                geometry(1, capacity, u32::MAX, 256, 4096),
                Err(GeometryError::SegmentTooSmall { bytes: 4096, needed })
            );
            if let Ok(bytes) = usize::try_from(needed) {
                assert_eq!(
                    geometry(1, capacity, u32::MAX, 256, bytes).map(|ring| ring.segment_bytes()),
                    Ok(bytes)
                );
            }
        }
    }

    #[test]
    fn positions_of_32_and_of_64_bits_give_the_same_place() {
        let ring = geometry(9, 8, 96, 320, 4096).unwrap();
        assert_eq!(
            (ring.epoch(), ring.capacity(), ring.max_payload(), ring.clock_id()),
            (9, 8, 96, CLOCK_MONOTONIC)
        );
        assert_eq!(ring.segment_bytes(), 320 + 256);
        for (position, offset, room) in
            [(0, 320, 8), (1, 352, 7), (7, 544, 1), (8, 320, 8), ((5 << 32) + 15, 544, 1)]
        {
            assert_eq!((ring.offset_of(position), ring.room_to_end(position)), (offset, room));
            assert_eq!(ring.offset_of(u64::from(low32(position))), offset);
        }
        for clock in [CLOCK_REALTIME, CLOCK_PRIVATE, 77] {
            assert_eq!(
                Geometry::new(9, 8, 96, 320, clock, 4096).map(|ring| ring.clock_id()),
                Ok(clock),
                "unknown ones too"
            );
        }
    }
}
