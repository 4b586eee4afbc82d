//! What a look at the stream gives: a record, a reason for none, a distance.

use core::fmt;

use crate::record::Record;

/// The result of one look at the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Next<T = Record> {
    /// The oldest unread record, which counts as read now.
    Record(T),
    /// Every published record has been read. When polling for throughput, back off for a few
    /// microseconds: each poll steals `tail`'s cache line from the producer.
    Empty,
    /// Every record has been read, and the producer has closed the ring.
    Closed,
}

/// How far a reader is behind the producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lag {
    /// DATA records published and not read. May count a batch that is being published.
    pub records: u64,
    /// Bytes that they take in the ring, headers and padding included.
    pub bytes: u64,
    /// Age of the oldest of them: the given time minus its timestamp, at least 0; 0 if there is
    /// none.
    pub nanoseconds: u64,
}

/// Where a search for a stored (epoch, seq) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Seek {
    /// The next record is the one sought.
    Found,
    /// It is no longer in the ring; the next record is this later one.
    Gone {
        /// Sequence number of the oldest record left, or of the next one that will be published.
        oldest: u64,
    },
    /// It is not published yet; the reader is at the tail. Also the answer for an older one to a
    /// reader that finds nothing to read and has read nothing before, because nothing in the ring
    /// says which sequence number comes next.
    Ahead,
}

/// Why a look at the stream gave no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReadError {
    /// Payload and attributes do not fit. The reader did not move: call again with a larger
    /// buffer.
    BufferTooSmall {
        /// Bytes of the payload and its attributes.
        needed: usize,
        /// Size of the buffer.
        given: usize,
    },
    /// A payload is damaged. The reader moved past it.
    Payload {
        /// Sequence number of the lost record.
        seq: u64,
        /// Its position.
        position: u32,
        /// CRC in its header.
        stored: u32,
        /// CRC of what was copied.
        computed: u32,
    },
    /// There is no valid header where one must be. The reader moved to the next valid one, or to
    /// the tail.
    Header {
        /// Where it should be.
        position: u32,
        /// Where reading goes on.
        resumed_at: u32,
        /// The CRC found there.
        stored: u32,
        /// The CRC of what was found there; equal to `stored` if the length is what is wrong.
        computed: u32,
        /// DATA records lost, if that is known yet; otherwise a later [`Gap`](Self::Gap) says it.
        lost: Option<u64>,
    },
    /// The next record's sequence number does not follow. The reader did not move; the next call
    /// returns the record.
    Gap {
        /// The sequence number that should follow.
        expected: u64,
        /// The sequence number found.
        found: u64,
    },
    /// The producer overwrote what an observer had not read. The observer is at the oldest intact
    /// record now.
    Overrun {
        /// The sequence number that should follow, if a record was read before.
        expected: Option<u64>,
        /// The sequence number found; the difference is lost. `None`: overrun again and again in
        /// one call, and a later one says it.
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

/// Why a stored sequence number could not be sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SeekError {
    /// It was stored for another ring and means nothing for this one.
    Epoch {
        /// Epoch of this ring.
        ring: u64,
        /// Epoch stored with the sequence number.
        stored: u64,
    },
    /// The ring could not be read.
    Read(ReadError),
}

impl fmt::Display for SeekError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch { ring, stored } => {
                write!(f, "the ring has epoch {ring:#x}, the stored sequence number {stored:#x}")
            }
            Self::Read(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SeekError {}
