//! One error enum per operation, each carrying the evidence. Next: `gate`.

use core::fmt;

use crate::layout::{ABI_MAJOR, CURSOR_BYTES_MIN, GeometryError, NameError};

/// Why a ring could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// A value is out of range, or the segment too small.
    Geometry(GeometryError),
    /// The name does not fit.
    Name(NameError),
}

impl From<GeometryError> for CreateError {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

impl From<NameError> for CreateError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CreateError {}

/// Why a subscription or an attachment was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeError {
    /// No more subscriptions fit.
    TableFull {
        /// Size of the table.
        limit: usize,
    },
    /// No such subscription.
    Unknown,
    /// The cursor segment is too small.
    PageTooSmall {
        /// Its size.
        bytes: usize,
    },
    /// The name does not fit.
    Name(NameError),
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableFull { limit } => write!(f, "all {limit} subscriptions of this ring are in use"),
            Self::Unknown => write!(f, "no such subscription"),
            Self::PageTooSmall { bytes } => write!(f, "cursor segment of {bytes} bytes; it needs {CURSOR_BYTES_MIN}"),
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SubscribeError {}

/// Why there is no room for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The ring was closed.
    Closed,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => write!(f, "payload of {bytes} bytes; this ring takes {limit}"),
            Self::Full { needed, free } => write!(f, "ring full: {needed} granules needed, {free} free"),
            Self::Closed => write!(f, "the ring is closed"),
        }
    }
}

impl core::error::Error for ClaimError {}

/// More was written into a grant than was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantOverflow {
    /// Bytes of the refused write.
    pub bytes: usize,
    /// Bytes that would have fitted.
    pub remaining: usize,
}

impl fmt::Display for GrantOverflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes written into a grant with room for {}", self.bytes, self.remaining)
    }
}

impl core::error::Error for GrantOverflow {}

/// Why a reader could not attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// The ring's header is not acceptable.
    Geometry(GeometryError),
    /// The cursor segment is too small.
    PageTooSmall {
        /// Its size.
        bytes: usize,
    },
    /// Magic, version or CRC of the cursor segment are wrong.
    PageIdentity,
    /// Ring and cursor segment belong to different rings.
    Epoch {
        /// Epoch of the ring.
        ring: u64,
        /// Epoch that the page names.
        page: u64,
    },
    /// The cursor does not lie within the ring's last lap.
    Overrun(ReadError),
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
            Self::PageTooSmall { bytes } => write!(f, "cursor segment of {bytes} bytes; it needs {CURSOR_BYTES_MIN}"),
            Self::PageIdentity => write!(f, "not a cursor segment of ABI {ABI_MAJOR}, or damaged"),
            Self::Epoch { ring, page } => write!(f, "the ring has epoch {ring:#x}, the cursor segment {page:#x}"),
            Self::Overrun(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AttachError {}

/// Why a look at the stream gave no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The payload does not fit. The reader did not move: come back with a larger buffer.
    BufferTooSmall {
        /// Payload bytes.
        needed: usize,
        /// Size of the buffer.
        given: usize,
    },
    /// A payload is damaged. The reader moved behind it.
    Payload {
        /// Number of the lost record.
        seq: u64,
        /// Where it stands.
        position: u32,
        /// CRC in its header.
        stored: u32,
        /// CRC of what was copied.
        computed: u32,
    },
    /// No valid header stands where one must. The reader moved to the next valid one, or to the tail.
    Header {
        /// Where it should stand.
        position: u32,
        /// Where reading goes on.
        resumed_at: u32,
        /// CRC that stands there.
        stored: u32,
        /// CRC of what stands there; equal to `stored` if the length is what is wrong.
        computed: u32,
        /// DATA records lost, if it is known yet; otherwise a later [`Gap`](Self::Gap) tells.
        lost: Option<u64>,
    },
    /// The next record's number does not follow. The reader did not move; the next call gives the record.
    Gap {
        /// The number that should follow.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// The tail is more than the capacity ahead: this reader was evicted, or the producer is broken. Final.
    Overrun {
        /// The reader's position.
        position: u32,
        /// The shared tail.
        tail: u32,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall { needed, given } => write!(f, "payload of {needed} bytes, buffer of {given}"),
            Self::Payload { seq, position, stored, computed } => {
                write!(f, "record {seq} at {position:#x}: payload damaged, CRC {stored:#010x} stored, {computed:#010x} computed")
            }
            Self::Header { position, resumed_at, stored, computed, lost } => {
                write!(f, "no valid header at {position:#x} (CRC {stored:#010x} stored, {computed:#010x} computed)")?;
                write!(f, "; resumed at {resumed_at:#x}")?;
                lost.map_or(Ok(()), |lost| write!(f, ", {lost} records lost"))
            }
            Self::Gap { expected, found } => write!(f, "record {expected} expected, {found} found"),
            Self::Overrun { position, tail } => write!(f, "overrun: reader at {position:#x}, tail at {tail:#x}"),
        }
    }
}

impl core::error::Error for ReadError {}
