//! The C reader over memory (`aqueduct/reader.h`), declared for Rust: for a firmware that reads by
//! the library that its C and C++ parts use, or for a wrapper of one's own. `no_std`; the sources
//! are compiled for the target of the program.
//!
//! What each function returns, when it blocks and who owns what is said in the header, beside its
//! prototype. Rust programs that are free to choose read by `aqueduct-core`, which needs no
//! `unsafe`.
//!
//! Run: `cargo run --features both --example both`, in this folder. Expect: `30 records read by C,
//! 0 damaged`.

#![no_std]
#![allow(non_camel_case_types, reason = "the names of the header")]

use core::ffi::{c_char, c_int, c_void};

/// `aqd_status`: below 16 an answer, from 16 on an error.
///
/// Where C has short enums, as `arm-none-eabi-gcc` does, its type is narrower. It is passed and
/// returned in a register, which the ABI extends; it does not belong in a struct or behind a
/// pointer.
pub type aqd_status = c_int;

/// A record.
pub const AQD_OK: aqd_status = 0;
/// No record now.
pub const AQD_EMPTY: aqd_status = 1;
/// The end of the stream.
pub const AQD_CLOSED: aqd_status = 2;
/// A damaged stretch was skipped.
pub const AQD_ERR_HEADER: aqd_status = 16;
/// A record with a damaged payload was consumed.
pub const AQD_ERR_PAYLOAD: aqd_status = 17;
/// Sequence numbers jumped; nothing was consumed.
pub const AQD_ERR_GAP: aqd_status = 18;
/// The record is larger than the buffer; nothing was consumed.
pub const AQD_ERR_SPACE: aqd_status = 19;

/// Bytes of a cursor segment, at least.
pub const AQD_CURSOR_BYTES_MIN: usize = 256;
/// Segments are aligned to so many bytes.
pub const AQD_SEGMENT_ALIGN_BYTES: usize = 64;
/// Bytes of a ring's name, without the zero at its end.
pub const AQD_RING_NAME_BYTES: usize = 64;
/// The reader sleeps on the word `tail`.
pub const AQD_WAITING_FUTEX: u32 = 1;
/// The reader is woken by other means.
pub const AQD_WAITING_SOCKET: u32 = 2;

/// Describes a record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct aqd_record {
    /// Counts the ring's records from 0.
    pub seq: u64,
    /// By the ring's clock; 0 if unknown.
    pub timestamp_ns: u64,
    /// Payload bytes.
    pub len: u32,
    /// The record's type.
    pub type_tag: u16,
    /// Ignore bits that you do not know.
    pub flags: u8,
    /// Length of the attributes after the payload, in units of 16 bytes.
    pub attribute_units: u8,
}

/// What is fixed for the life of a ring.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct aqd_ring_info {
    /// Its identity.
    pub epoch: u64,
    /// Since the Unix epoch; 0 if unknown.
    pub created_ns: u64,
    /// Granules of 32 bytes.
    pub capacity: u32,
    /// Bytes, attributes included.
    pub max_payload: u32,
    /// The clock of timestamps.
    pub clock_id: u32,
    /// Minor version of its bytes.
    pub abi_minor: u16,
    /// Ends with a zero.
    pub name: [c_char; AQD_RING_NAME_BYTES + 1],
}

/// Counts since the subscription was created, modulo 2^32.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct aqd_stats {
    /// Damaged records and stretches.
    pub corrupt: u32,
    /// Records never delivered.
    pub lost: u32,
    /// Sleeps that ended by timeout although there was data.
    pub missed_wakes: u32,
}

/// The facts behind the latest error.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct aqd_evidence {
    /// Where it happened, granules.
    pub position: u64,
    /// Where reading continues.
    pub resumed: u64,
    /// The sequence number that should have come.
    pub expected_seq: u64,
    /// The one that came.
    pub found_seq: u64,
    /// The tail as last accepted, or the one that was rejected.
    pub tail: u64,
    /// In the ring.
    pub stored_crc: u32,
    /// Of the bytes that were read.
    pub computed_crc: u32,
}

/// A record of a batch, and where it is in the buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct aqd_item {
    /// The record.
    pub record: aqd_record,
    /// Its payload, and the attributes after it.
    pub payload: *const c_void,
}

/// How far a reader lags behind the producer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct aqd_lag {
    /// Published and unread.
    pub records: u64,
    /// That they occupy in the ring.
    pub bytes: u64,
    /// Of the oldest of them.
    pub age_ns: u64,
}

/// A reader: allocate it anywhere, as zeros, and let [`aqd_reader_init`] fill it in. It belongs to
/// one thread at a time. Nothing needs to be freed.
#[repr(C)]
#[derive(Debug)]
pub struct aqd_reader {
    view: aqd_ring_view,
    cursor: *mut u8,
    position: u64,
    tail: u64,
    expected_seq: u64,
    answered: u32,
    seq_known: bool,
    stats: aqd_stats,
    evidence: aqd_evidence,
    info: aqd_ring_info,
}

#[repr(C)]
#[derive(Debug)]
struct aqd_ring_view {
    ring: *const u8,
    data: *const u8,
    capacity: u32,
    max_payload: u32,
    epoch_crc: u32,
}

impl aqd_reader {
    /// Gives the memory of a reader that is none yet.
    #[must_use]
    pub const fn zeroed() -> Self {
        // SAFETY: pointers, numbers and a `bool`, for all of which zeros are a value.
        unsafe { core::mem::zeroed() }
    }
}

unsafe extern "C" {
    /// Attaches to a ring segment and a cursor segment.
    pub fn aqd_reader_init(
        r: *mut aqd_reader,
        ring: *const c_void,
        ring_bytes: usize,
        cursor: *mut c_void,
        cursor_bytes: usize,
    ) -> aqd_status;
    /// Copies the oldest unread record.
    pub fn aqd_reader_next(
        r: *mut aqd_reader,
        buf: *mut c_void,
        cap: usize,
        rec: *mut aqd_record,
    ) -> aqd_status;
    /// Lends the payload of the oldest unread record in place.
    pub fn aqd_reader_view(
        r: *mut aqd_reader,
        payload: *mut *const c_void,
        rec: *mut aqd_record,
    ) -> aqd_status;
    /// Returns everything read so far to the producer.
    pub fn aqd_reader_release(r: *mut aqd_reader) -> bool;
    /// Copies up to `max` records.
    pub fn aqd_reader_next_batch(
        r: *mut aqd_reader,
        buf: *mut c_void,
        cap: usize,
        items: *mut aqd_item,
        max: usize,
        n: *mut usize,
    ) -> aqd_status;
    /// Describes the oldest unread record and leaves it unread.
    pub fn aqd_reader_peek(r: *mut aqd_reader, rec: *mut aqd_record) -> aqd_status;
    /// Consumes the oldest unread record without copying it.
    pub fn aqd_reader_skip(r: *mut aqd_reader, rec: *mut aqd_record) -> aqd_status;
    /// Moves forward to a stored record.
    pub fn aqd_reader_seek(r: *mut aqd_reader, epoch: u64, seq: u64) -> aqd_status;
    /// Moves past everything published so far.
    pub fn aqd_reader_skip_to_latest(r: *mut aqd_reader) -> aqd_status;
    /// Measures how far this reader lags.
    pub fn aqd_reader_measure_lag(
        r: *const aqd_reader,
        now_ns: u64,
        lag: *mut aqd_lag,
    ) -> aqd_status;
    /// Announces a sleep.
    pub fn aqd_reader_prepare_sleep(r: *mut aqd_reader, mode: u32, tail_seen: *mut u32) -> bool;
    /// Ends a sleep.
    pub fn aqd_reader_finish_sleep(r: *mut aqd_reader, timed_out: bool);
    /// Says whether there is anything to read.
    pub fn aqd_reader_ready(r: *const aqd_reader) -> bool;
    /// Returns the reader's counts.
    pub fn aqd_reader_get_stats(r: *const aqd_reader) -> *const aqd_stats;
    /// Returns the facts behind the latest error.
    pub fn aqd_reader_get_evidence(r: *const aqd_reader) -> *const aqd_evidence;
    /// Returns what is fixed for the life of the ring.
    pub fn aqd_reader_get_info(r: *const aqd_reader) -> *const aqd_ring_info;
    /// Describes a status in English.
    pub fn aqd_strerror(status: aqd_status) -> *const c_char;
}

/// What this crate declares, in the order of `src/layout.c`.
#[doc(hidden)]
pub const LAYOUT: [usize; 36] = {
    use core::mem::offset_of;
    [
        size_of::<aqd_record>(),
        align_of::<aqd_record>(),
        size_of::<aqd_ring_info>(),
        align_of::<aqd_ring_info>(),
        size_of::<aqd_stats>(),
        align_of::<aqd_stats>(),
        size_of::<aqd_evidence>(),
        align_of::<aqd_evidence>(),
        size_of::<aqd_item>(),
        align_of::<aqd_item>(),
        size_of::<aqd_lag>(),
        align_of::<aqd_lag>(),
        size_of::<aqd_reader>(),
        align_of::<aqd_reader>(),
        offset_of!(aqd_record, timestamp_ns),
        offset_of!(aqd_record, len),
        offset_of!(aqd_record, type_tag),
        offset_of!(aqd_record, flags),
        offset_of!(aqd_record, attribute_units),
        offset_of!(aqd_ring_info, created_ns),
        offset_of!(aqd_ring_info, capacity),
        offset_of!(aqd_ring_info, max_payload),
        offset_of!(aqd_ring_info, clock_id),
        offset_of!(aqd_ring_info, abi_minor),
        offset_of!(aqd_ring_info, name),
        offset_of!(aqd_stats, lost),
        offset_of!(aqd_stats, missed_wakes),
        offset_of!(aqd_evidence, resumed),
        offset_of!(aqd_evidence, expected_seq),
        offset_of!(aqd_evidence, found_seq),
        offset_of!(aqd_evidence, tail),
        offset_of!(aqd_evidence, stored_crc),
        offset_of!(aqd_evidence, computed_crc),
        offset_of!(aqd_item, payload),
        offset_of!(aqd_lag, bytes),
        offset_of!(aqd_lag, age_ns),
    ]
};

unsafe extern "C" {
    /// The same as the C compiler has it.
    #[doc(hidden)]
    pub static aqueduct_sys_layout: [usize; LAYOUT.len()];
}
