//! How a gating reader begins: its cursor segment is checked against the ring.

use core::fmt;
use core::sync::atomic::Ordering;

use zerocopy::{FromZeros, IntoBytes};

use super::view::View;
use super::walk::{Damage, Walk};
use super::{ReadError, Reader};
use crate::geometry::GeometryError;
use crate::layout::{ABI_MAJOR, CURSOR_BYTES_MIN, CURSOR_MAGIC, CursorIdentity, cursor_word};
use crate::memory::{Memory, MemoryMut};
use crate::plain_crc::hash;

/// Why a reader could not attach.
///
/// ```
/// use aqueduct_core::{AttachError, Producer, Reader, Region, RingConfig, Segment};
///
/// let (ring, cursor) = (Segment::<{ 256 + 1024 }>::new(), Segment::<256>::new());
/// let config = RingConfig::new("events", 0x5eed_5f0a, 1024);
/// let _producer: Producer<Region> = Producer::create(ring.region(), &config).unwrap();
/// let early = Reader::attach(ring.region(), cursor.region()); // nobody formatted the segment
/// assert_eq!(early.err(), Some(AttachError::CursorSegmentIdentity));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AttachError {
    /// The ring's header is not acceptable.
    Geometry(GeometryError),
    /// The cursor segment is too small.
    CursorSegmentTooSmall {
        /// Its size.
        bytes: usize,
    },
    /// Magic, version or CRC of the cursor segment are wrong.
    CursorSegmentIdentity,
    /// Ring and cursor segment belong to different rings.
    Epoch {
        /// Epoch of the ring.
        ring: u64,
        /// Epoch that the cursor segment names.
        cursor_segment: u64,
    },
    /// The cursor does not lie within the ring's last lap.
    TailOutOfRange(ReadError),
}

impl From<GeometryError> for AttachError {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry(error) => error.fmt(f),
            Self::CursorSegmentTooSmall { bytes } => {
                write!(f, "cursor segment of {bytes} bytes; it needs {CURSOR_BYTES_MIN}")
            }
            Self::CursorSegmentIdentity => {
                write!(f, "not a cursor segment of ABI {ABI_MAJOR}, or damaged")
            }
            Self::Epoch { ring, cursor_segment } => {
                write!(f, "the ring has epoch {ring:#x}, the cursor segment {cursor_segment:#x}")
            }
            Self::TailOutOfRange(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AttachError {}

impl<R: Memory, C: MemoryMut> Reader<R, C> {
    /// Attaches to a ring and continues where the cursor segment says.
    ///
    /// One reader at a time may be attached to a cursor segment; it may end and be followed by
    /// another. Two would release records for each other, unread: the segment does not say whether
    /// a reader lives, because one that was killed leaves no sign. The readers of a
    /// [`Ring`](crate::Ring) and of a listener's handoff have segments of their own.
    ///
    /// # Errors
    /// Ring or cursor segment are not what ABI §2.1 and §6.1 describe, or belong to different
    /// rings.
    pub fn attach(ring: R, segment: C) -> Result<Self, AttachError> {
        let view = View::open(ring)?;
        if segment.size() < CURSOR_BYTES_MIN {
            return Err(AttachError::CursorSegmentTooSmall { bytes: segment.size() });
        }
        let mut identity = CursorIdentity::new_zeroed();
        segment.read(0, identity.as_mut_bytes());
        // ORDER(create): Acquire. Pairs with the release fence in `Producer::attach`: seeing the
        // identity, we see the words.
        segment.fence(Ordering::Acquire);
        let computed = hash(&identity.as_bytes()[..60]);
        if identity.magic != CURSOR_MAGIC
            || identity.abi_major.get() != ABI_MAJOR
            || identity.identity_crc.get() != computed
        {
            return Err(AttachError::CursorSegmentIdentity);
        }
        if identity.epoch.get() != view.geometry.epoch() {
            return Err(AttachError::Epoch {
                ring: view.geometry.epoch(),
                cursor_segment: identity.epoch.get(),
            });
        }
        // ORDER(none): only this reader and its predecessors write these, and they are gone.
        let word = |at| segment.load(at, Ordering::Relaxed);
        let damage = Damage { corrupt: word(cursor_word::CORRUPT), lost: word(cursor_word::LOST) };
        let missed_wakes = word(cursor_word::MISSED_WAKES);
        let walk = Walk::at(view, word(cursor_word::CURSOR), damage);
        let mut reader = Self { released: walk.position, walk, segment, answered: 0, missed_wakes };
        reader.walk.refresh().map_err(AttachError::TailOutOfRange)?;
        reader.awake();
        Ok(reader)
    }
}
