//! The shared bytes: sizes, offsets and wire structs.
//!
//! Rust form of `core/ABI.md` §1–§3 and §6.1. Plain data; it touches no shared memory.

use core::fmt;
use core::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of a ring segment, stored last when it is created.
pub const RING_MAGIC: [u8; 8] = *b"AQUEDUCT";
/// First bytes of a cursor segment.
pub const CURSOR_MAGIC: [u8; 8] = *b"AQDCURSR";
/// A reader refuses any other major version.
pub const ABI_MAJOR: u16 = 1;
/// Additions that older readers may ignore.
pub const ABI_MINOR: u16 = 0;

/// Unit of positions and of record alignment, bytes.
pub const GRANULE_BYTES: usize = 32;
/// Smallest ring, granules.
pub const MIN_CAPACITY: u32 = 4;
/// Largest ring, granules (32 GiB), so that a distance within the ring is far from 2^32.
pub const MAX_CAPACITY: u32 = 1 << 30;
/// Offset of the data area in segments that are mapped, bytes: one page.
pub const DATA_OFFSET_MAPPED: u32 = 4096;
/// Bytes at the start of every segment that hold its header and its control words. Within a process
/// they are reached as `u32` only, what comes after them as words of the machine.
pub const CONTROL_BYTES: usize = 256;
/// Smallest offset of the data area, bytes: right after the control bytes.
pub const DATA_OFFSET_MIN: u32 = 256;
const _: () = assert!(DATA_OFFSET_MIN as usize == CONTROL_BYTES);
/// Smallest cursor segment, bytes.
pub const CURSOR_BYTES_MIN: usize = CONTROL_BYTES;
/// Room for a ring's name, bytes.
pub const RING_NAME_BYTES: usize = 64;
/// Room for a subscription's name, bytes.
pub const SUBSCRIPTION_NAME_BYTES: usize = 32;

/// Byte offsets of the control words in the ring segment.
pub mod ring_word {
    /// Position just past the last published record. Written by the producer.
    pub const TAIL: usize = 128;
    /// Low 32 bits of the sequence number that the record at `tail` will have. Written by the
    /// producer, just before `tail`.
    pub const NEXT_SEQ: usize = 132;
    /// A record boundary; nothing before it may be read by observers. Written by the producer.
    pub const OLDEST: usize = 192;
    /// [`super::STATE_RUNNING`] or [`super::STATE_CLOSED`]. Written by the producer.
    pub const STATE: usize = 196;
    /// 0, or the counter of the producer's latest request for space.
    pub const SPACE_WANTED: usize = 200;

    const _: () = assert!(SPACE_WANTED + 4 <= super::CONTROL_BYTES);
}

/// Byte offsets of the words in a cursor segment, all written by its reader.
pub mod cursor_word {
    /// Position of the first record that is not released.
    pub const CURSOR: usize = 64;
    /// 0 awake; else mode + 4 × the low 30 bits of the tail slept on.
    pub const WAITING: usize = 128;
    /// Damaged records and stretches seen, wrapping.
    pub const CORRUPT: usize = 192;
    /// DATA records lost to damage, wrapping.
    pub const LOST: usize = 196;
    /// Sleeps that ended by their timeout while data was there, wrapping.
    pub const MISSED_WAKES: usize = 200;

    const _: () = assert!(MISSED_WAKES + 4 <= super::CONTROL_BYTES);
}

/// `state`: records may follow.
pub const STATE_RUNNING: u32 = 0;
/// `state`: no record will follow.
pub const STATE_CLOSED: u32 = 1;

/// `waiting`, low two bits: asleep on the futex at `tail`.
pub const WAITING_FUTEX: u32 = 1;
/// `waiting`, low two bits: asleep in `poll` on the control socket.
pub const WAITING_SOCKET: u32 = 2;
/// `waiting`: the bits that hold the mode.
pub const WAITING_MODE_MASK: u32 = 3;

/// Record kind: a user's record.
pub const KIND_DATA: u8 = 1;
/// Record kind: padding up to the end of the data area.
pub const KIND_PAD: u8 = 2;
/// Record kind: skipped by readers.
pub const KIND_DISCARD: u8 = 3;
/// Bit of a record's kind, with [`KIND_DATA`] only: an attribute block follows the payload, and
/// `flags` is its length in units. Since minor 2.
pub const KIND_ATTRIBUTES: u8 = 0x80;
/// Unit of the length of an attribute block, bytes.
pub const ATTRIBUTES_UNIT_BYTES: usize = 16;
/// Longest attribute block, bytes.
pub const ATTRIBUTES_MAX_BYTES: usize = 255 * ATTRIBUTES_UNIT_BYTES;

/// `clock_id`: `CLOCK_REALTIME`, nanoseconds since the Unix epoch.
pub const CLOCK_REALTIME: u32 = 0;
/// `clock_id`: `CLOCK_MONOTONIC` of the machine the producer runs on.
pub const CLOCK_MONOTONIC: u32 = 1;
/// `clock_id`: known only to the program, or no clock.
pub const CLOCK_PRIVATE: u32 = u32::MAX;

/// Bytes 0..128 of a ring segment.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RingHeader {
    /// [`RING_MAGIC`].
    pub magic: [u8; 8],
    /// [`ABI_MAJOR`].
    pub abi_major: U16,
    /// [`ABI_MINOR`].
    pub abi_minor: U16,
    /// Offset of the data area, bytes.
    pub data_offset: U32,
    /// Identity of this ring; never 0.
    pub epoch: U64,
    /// Creation time, nanoseconds since the Unix epoch; 0 if unknown.
    pub created_ns: U64,
    /// Granules in the data area, a power of two.
    pub capacity: U32,
    /// Largest payload, bytes.
    pub max_payload: U32,
    /// Clock of the timestamps.
    pub clock_id: U32,
    /// Zero.
    pub reserved0: U32,
    /// UTF-8, zero padded.
    pub name: [u8; RING_NAME_BYTES],
    /// Zero.
    pub reserved1: [u8; 12],
    /// CRC-32 of bytes 0..124.
    pub header_crc: U32,
}

const _: () = assert!(offset_of!(RingHeader, magic) == 0);
const _: () = assert!(offset_of!(RingHeader, abi_major) == 8);
const _: () = assert!(offset_of!(RingHeader, abi_minor) == 10);
const _: () = assert!(offset_of!(RingHeader, data_offset) == 12);
const _: () = assert!(offset_of!(RingHeader, epoch) == 16);
const _: () = assert!(offset_of!(RingHeader, created_ns) == 24);
const _: () = assert!(offset_of!(RingHeader, capacity) == 32);
const _: () = assert!(offset_of!(RingHeader, max_payload) == 36);
const _: () = assert!(offset_of!(RingHeader, clock_id) == 40);
const _: () = assert!(offset_of!(RingHeader, name) == 48);
const _: () = assert!(offset_of!(RingHeader, header_crc) == 124);
const _: () = assert!(size_of::<RingHeader>() == 128);

/// Bytes 0..64 of a cursor segment.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CursorIdentity {
    /// [`CURSOR_MAGIC`].
    pub magic: [u8; 8],
    /// [`ABI_MAJOR`].
    pub abi_major: U16,
    /// [`ABI_MINOR`].
    pub abi_minor: U16,
    /// Zero.
    pub reserved0: U32,
    /// Epoch of the ring.
    pub epoch: U64,
    /// UTF-8, zero padded.
    pub name: [u8; SUBSCRIPTION_NAME_BYTES],
    /// Zero.
    pub reserved1: U32,
    /// CRC-32 of bytes 0..60.
    pub identity_crc: U32,
}

const _: () = assert!(offset_of!(CursorIdentity, epoch) == 16);
const _: () = assert!(offset_of!(CursorIdentity, name) == 24);
const _: () = assert!(offset_of!(CursorIdentity, identity_crc) == 60);
const _: () = assert!(size_of::<CursorIdentity>() == 64);

/// The 32 bytes before every payload.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RecordHeader {
    /// Bytes after the header: the payload and the attribute block.
    pub len: U32,
    /// [`KIND_DATA`], with or without [`KIND_ATTRIBUTES`], [`KIND_PAD`], [`KIND_DISCARD`].
    pub kind: u8,
    /// With [`KIND_ATTRIBUTES`]: length of the attribute block, units. Otherwise zero.
    pub flags: u8,
    /// The user's tag.
    pub type_tag: U16,
    /// Sequence number of this DATA record, or of the next one.
    pub seq: U64,
    /// Nanoseconds by the ring's clock.
    pub timestamp_ns: U64,
    /// CRC-32 of the payload and the attribute block; 0 unless DATA.
    pub payload_crc: U32,
    /// CRC-32 of epoch ‖ position ‖ header bytes 0..28.
    pub header_crc: U32,
}

const _: () = assert!(offset_of!(RecordHeader, len) == 0);
const _: () = assert!(offset_of!(RecordHeader, kind) == 4);
const _: () = assert!(offset_of!(RecordHeader, flags) == 5);
const _: () = assert!(offset_of!(RecordHeader, type_tag) == 6);
const _: () = assert!(offset_of!(RecordHeader, seq) == 8);
const _: () = assert!(offset_of!(RecordHeader, timestamp_ns) == 16);
const _: () = assert!(offset_of!(RecordHeader, payload_crc) == 24);
const _: () = assert!(offset_of!(RecordHeader, header_crc) == 28);
const _: () = assert!(size_of::<RecordHeader>() == GRANULE_BYTES);

/// Copies a name into a zero-padded field.
///
/// # Errors
/// The name is longer than the field, bytes.
pub fn name_field<const N: usize>(name: &str) -> Result<[u8; N], NameError> {
    let mut field = [0; N];
    match field.get_mut(..name.len()) {
        Some(start) => {
            start.copy_from_slice(name.as_bytes());
            Ok(field)
        }
        None => Err(NameError { bytes: name.len(), limit: N }),
    }
}

/// A name does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NameError {
    /// Length of the name, bytes.
    pub bytes: usize,
    /// Size of the field, bytes.
    pub limit: usize,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name has {} bytes; its field holds {}", self.bytes, self.limit)
    }
}

impl core::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_may_fill_its_field_and_is_padded_with_zeros() {
        assert_eq!(name_field::<4>("ab"), Ok(*b"ab\0\0"));
        assert_eq!(name_field::<4>(""), Ok([0; 4]));
        assert_eq!(name_field::<4>("abcd"), Ok(*b"abcd"));
        assert_eq!(name_field::<4>("abcde"), Err(NameError { bytes: 5, limit: 4 }));
    }
}
