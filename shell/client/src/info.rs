//! What a client knows about its ring, about what it did, and about the previous ring.

use std::mem::offset_of;
use std::time::Duration;

use aqueduct_core::Memory;
use aqueduct_core::geometry::Geometry;
use aqueduct_core::layout::RingHeader;

/// What is fixed for the life of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingInfo {
    /// Identifies the ring: after a restart of the listener there is another ring, with another
    /// epoch.
    pub epoch: u64,
    /// Time of its creation, nanoseconds since the Unix epoch; 0 if unknown.
    pub created_ns: u64,
    /// Size of the data area, granules of 32 bytes.
    pub capacity_granules: u32,
    /// Size of the largest payload, bytes.
    pub max_payload_bytes: u32,
    /// The clock of the records' timestamps: one of the `CLOCK_` constants of
    /// [`aqueduct_core::layout`].
    pub clock_id: u32,
    /// Minor version of the ring's ABI.
    pub abi_minor: u16,
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
}

impl RingInfo {
    /// Reads what `geometry` does not keep from the header of a ring whose attachment succeeded.
    pub(crate) fn new(header: &RawHeader, geometry: &Geometry) -> Self {
        let name = header.field::<{ offset_of!(RingHeader, name) }, 64>();
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        Self {
            epoch: geometry.epoch(),
            created_ns: u64::from_le_bytes(
                header.field::<{ offset_of!(RingHeader, created_ns) }, 8>(),
            ),
            capacity_granules: geometry.capacity(),
            max_payload_bytes: geometry.max_payload(),
            clock_id: geometry.clock_id(),
            abi_minor: u16::from_le_bytes(
                header.field::<{ offset_of!(RingHeader, abi_minor) }, 2>(),
            ),
            name: String::from_utf8_lossy(&name[..end]).into_owned(),
        }
    }
}

/// A copy of a ring's header, not checked.
pub(crate) struct RawHeader([u8; size_of::<RingHeader>()]);

impl RawHeader {
    /// Copies it; zeros if the segment is too short for one.
    pub(crate) fn copy(ring: &impl Memory) -> Self {
        let mut bytes = [0; size_of::<RingHeader>()];
        if ring.size() >= bytes.len() {
            ring.read(0, &mut bytes);
        }
        Self(bytes)
    }

    fn field<const AT: usize, const BYTES: usize>(&self) -> [u8; BYTES] {
        let mut field = [0; BYTES];
        field.copy_from_slice(&self.0[AT..AT + BYTES]);
        field
    }
}

/// Counts in this attachment, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Damaged records and damaged stretches seen.
    pub corrupt: u32,
    /// Records that were never delivered, by sequence number.
    pub lost: u32,
    /// Sleeps that ended by timeout although there was data; 0 for an observer.
    pub missed_wakes: u32,
}

/// Counts since the client was opened, through all reconnections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records delivered.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Records skipped by [`Client::skip`](crate::Client::skip).
    pub skipped: u64,
    /// Sleeps announced, by [`Client::wait`](crate::Client::wait) or
    /// [`Client::arm`](crate::Client::arm).
    pub sleeps: u64,
    /// Attachments, the first included.
    pub attachments: u64,
    /// Attempts to reconnect, successful or not.
    pub attempts: u64,
}

/// How a ring ended for its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The producer closed the ring, and everything in it was delivered.
    Closed,
    /// The listener ended without closing the ring; everything published was delivered.
    Lost,
    /// The tail was out of range: the reader was evicted, and the last records were not delivered.
    TailOutOfRange {
        /// The reader's position.
        position: u32,
        /// The ring's tail.
        tail: u32,
    },
}

/// The details of [`Event::EpochChanged`](crate::Event::EpochChanged).
///
/// If nothing was missed, everything that both rings published was or will be delivered. This does
/// not cover a third listener that came and went while the client was not attached, which leaves no
/// trace: to rule that out, number the records at their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Epoch of the previous ring.
    pub old_epoch: u64,
    /// Epoch of the new ring.
    pub new_epoch: u64,
    /// The last sequence number read from the previous ring + 1; `None` if none was read.
    pub old_next_seq: Option<u64>,
    /// How the previous ring ended.
    pub old_end: End,
    /// Whether the last records of the previous ring were missed: the reader had been evicted.
    pub missed_old: bool,
    /// Whether the first records of the new ring were missed: another reader released them, or they
    /// were overwritten.
    pub missed_new: bool,
    /// Time from noticing the end of the previous listener to this attachment.
    pub down: Duration,
}
