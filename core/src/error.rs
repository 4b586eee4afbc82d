//! One error enum per operation, each carrying the evidence.

use core::fmt;

use crate::geometry::GeometryError;
use crate::layout::{ABI_MAJOR, CURSOR_BYTES_MIN, NameError};

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
    /// The position asked for is overwritten, or not published.
    Position {
        /// What was asked for.
        position: u32,
        /// The first position that is not overwritten.
        oldest: u32,
        /// The position behind the last published record.
        tail: u32,
    },
    /// The cursor segment is too small.
    PageTooSmall {
        /// Its size.
        bytes: usize,
    },
    /// The name does not fit.
    Name(NameError),
    /// No cursor segment was given.
    NoPage,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableFull { limit } => {
                write!(f, "all {limit} subscriptions of this ring are in use")
            }
            Self::Unknown => write!(f, "no such subscription"),
            Self::Position { position, oldest, tail } => {
                write!(f, "position {position:#x} is not in [{oldest:#x}, {tail:#x}]")
            }
            Self::PageTooSmall { bytes } => {
                write!(f, "cursor segment of {bytes} bytes; it needs {CURSOR_BYTES_MIN}")
            }
            Self::Name(error) => error.fmt(f),
            Self::NoPage => f.write_str("no cursor segment was given"),
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
            Self::PageTooSmall { bytes } => {
                write!(f, "cursor segment of {bytes} bytes; it needs {CURSOR_BYTES_MIN}")
            }
            Self::PageIdentity => write!(f, "not a cursor segment of ABI {ABI_MAJOR}, or damaged"),
            Self::Epoch { ring, page } => {
                write!(f, "the ring has epoch {ring:#x}, the cursor segment {page:#x}")
            }
            Self::TailOutOfRange(error) => error.fmt(f),
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
    /// No valid header stands where one must. The reader moved to the next valid one, or to the
    /// tail.
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
    /// The next record's number does not follow. The reader did not move; the next call gives the
    /// record.
    Gap {
        /// The number that should follow.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// The producer overwrote what an observer had not read. It stands at the oldest whole record
    /// now.
    Overrun {
        /// The number that should follow, if one was read before.
        expected: Option<u64>,
        /// The number found; the difference is lost. `None`: overrun again and again in one call, a
        /// later one tells.
        found: Option<u64>,
    },
    /// The tail is more than the capacity ahead: this reader was evicted, or the producer is
    /// broken. Final.
    TailOutOfRange {
        /// The reader's position.
        position: u32,
        /// The shared tail.
        tail: u32,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall { needed, given } => {
                write!(f, "payload of {needed} bytes, buffer of {given}")
            }
            Self::Payload { seq, position, stored, computed } => {
                write!(
                    f,
                    "record {seq} at {position:#x}: payload damaged, CRC {stored:#010x} stored, {computed:#010x} computed"
                )
            }
            Self::Header { position, resumed_at, stored, computed, lost } => {
                write!(
                    f,
                    "no valid header at {position:#x} (CRC {stored:#010x} stored, {computed:#010x} computed)"
                )?;
                write!(f, "; resumed at {resumed_at:#x}")?;
                lost.map_or(Ok(()), |lost| write!(f, ", {lost} records lost"))
            }
            Self::Gap { expected, found } => write!(f, "record {expected} expected, {found} found"),
            Self::Overrun { expected: Some(expected), found: Some(found) } => {
                write!(f, "overrun: record {expected} expected, {found} is the oldest left")
            }
            Self::Overrun { .. } => write!(f, "overrun: records come faster than they are copied"),
            Self::TailOutOfRange { position, tail } => {
                write!(f, "tail out of range: reader at {position:#x}, tail at {tail:#x}")
            }
        }
    }
}

impl core::error::Error for ReadError {}

/// Why a stored number could not be sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekError {
    /// The number was stored for another ring; nothing follows from it for this one.
    Epoch {
        /// Epoch of this ring.
        ring: u64,
        /// Epoch stored with the number.
        stored: u64,
    },
    /// The ring could not be read.
    Read(ReadError),
}

impl fmt::Display for SeekError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch { ring, stored } => {
                write!(f, "the ring has epoch {ring:#x}, the stored number {stored:#x}")
            }
            Self::Read(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SeekError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;
    use crate::producer::{SubscriptionId, Violation};
    use crate::read::JoinError;
    use crate::recovery::RecoverError;
    use crate::typed::ViewError;

    #[test]
    fn every_message_says_what_and_carries_its_numbers() {
        let name = NameError { bytes: 71, limit: 64 };
        let geometry = GeometryError::Capacity { granules: 3 };
        let out_of_range = ReadError::TailOutOfRange { position: 0x10, tail: 0x99 };
        let violation = Violation {
            subscription: SubscriptionId(0),
            stored: 0x44,
            last_seen: 0x11,
            tail: 0x22,
        };
        for (message, parts) in [
            (name.to_string(), ["71", "64"]),
            (geometry.to_string(), ["3 granules", "power of two"]),
            (GeometryError::Magic { found: *b"notaring" }.to_string(), ["not a ring", "6e"]),
            (GeometryError::Version { found: 9 }.to_string(), ["9", "1"]),
            (
                GeometryError::Crc { stored: 0xab, computed: 0xcd }.to_string(),
                ["0x000000ab", "0x000000cd"],
            ),
            (GeometryError::ZeroEpoch.to_string(), ["epoch", "0"]),
            (GeometryError::MaxPayload { bytes: 77, limit: 66 }.to_string(), ["77", "66"]),
            (GeometryError::DataOffset { bytes: 12 }.to_string(), ["12", "64"]),
            (GeometryError::SegmentTooSmall { bytes: 5, needed: 6 }.to_string(), ["5", "6"]),
            (CreateError::Geometry(geometry).to_string(), ["3 granules", "power of two"]),
            (CreateError::Name(name).to_string(), ["71", "64"]),
            (SubscribeError::TableFull { limit: 16 }.to_string(), ["16", "in use"]),
            (SubscribeError::Unknown.to_string(), ["no such", "subscription"]),
            (
                SubscribeError::Position { position: 1, oldest: 2, tail: 3 }.to_string(),
                ["0x1", "[0x2, 0x3]"],
            ),
            (SubscribeError::PageTooSmall { bytes: 12 }.to_string(), ["12", "256"]),
            (SubscribeError::Name(name).to_string(), ["71", "64"]),
            (ClaimError::TooLarge { bytes: 9, limit: 8 }.to_string(), ["9", "8"]),
            (ClaimError::Full { needed: 4, free: 2 }.to_string(), ["4 granules", "2 free"]),
            (ClaimError::Busy { in_flight: 64 }.to_string(), ["busy", "64"]),
            (ClaimError::Closed.to_string(), ["the ring", "closed"]),
            (GrantOverflow { bytes: 9, remaining: 8 }.to_string(), ["9", "8"]),
            (AttachError::Geometry(geometry).to_string(), ["3 granules", "power of two"]),
            (AttachError::PageTooSmall { bytes: 12 }.to_string(), ["12", "256"]),
            (AttachError::PageIdentity.to_string(), ["cursor segment", "1"]),
            (AttachError::Epoch { ring: 0xa, page: 0xb }.to_string(), ["0xa", "0xb"]),
            (AttachError::TailOutOfRange(out_of_range).to_string(), ["0x10", "0x99"]),
            (ReadError::BufferTooSmall { needed: 9, given: 8 }.to_string(), ["9", "8"]),
            (
                ReadError::Payload { seq: 7, position: 0x20, stored: 1, computed: 2 }.to_string(),
                ["record 7", "0x00000002"],
            ),
            (ReadError::Gap { expected: 4, found: 6 }.to_string(), ["4 expected", "6 found"]),
            (
                ReadError::Overrun { expected: Some(4), found: Some(6) }.to_string(),
                ["4 expected", "6"],
            ),
            (ReadError::Overrun { expected: None, found: None }.to_string(), ["overrun", "faster"]),
            (SeekError::Epoch { ring: 0xa, stored: 0xb }.to_string(), ["0xa", "0xb"]),
            (SeekError::Read(out_of_range).to_string(), ["0x10", "0x99"]),
            (JoinError::Geometry(geometry).to_string(), ["3 granules", "power of two"]),
            (JoinError::Read(out_of_range).to_string(), ["0x10", "0x99"]),
            (violation.to_string(), ["0x44", "[0x11, 0x22]"]),
            (ViewError::Type { expected: 7, found: 9 }.to_string(), ["type 7", "type 9"]),
            (ViewError::Size { expected: 8, found: 5 }.to_string(), ["8", "5 bytes"]),
            (ViewError::Alignment { expected: 16 }.to_string(), ["aligned", "16"]),
            (RecoverError::Geometry(geometry).to_string(), ["3 granules", "power of two"]),
            (RecoverError::Tail { checkpoint: 1, tail: 0x77 }.to_string(), ["0x1", "0x77"]),
            (RecoverError::UnknownSeq.to_string(), ["next record", "not known"]),
        ] {
            assert!(
                parts.iter().all(|part| message.contains(part)),
                "{message:?} lacks one of {parts:?}"
            );
        }
        let header = ReadError::Header {
            position: 0x20,
            resumed_at: 0x24,
            stored: 1,
            computed: 2,
            lost: Some(3),
        };
        assert!(header.to_string().ends_with("resumed at 0x24, 3 records lost"), "{header}");
    }
}
