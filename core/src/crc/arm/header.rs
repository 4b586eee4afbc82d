//! Record headers, and whole records: both checksums of a record side by side.

use core::num::NonZeroU64;

use super::access::{load_shared_two, store_shared_two};
use super::copy::{In, Out};
use super::words::{step, step_half};
use super::{blocks, lanes};
use crate::layout::{GRANULE_BYTES, KIND_DATA};

/// Where the second half of a header begins.
const HALF: usize = GRANULE_BYTES / 2;

/// Loads the header at `from`, and gives it as four numbers with the CRC of epoch, position and
/// header. `prefix`: the state after the epoch, with the position added.
///
/// # Safety
/// 1. `from` is valid for reads of 32 bytes. Other parties may store there meanwhile.
/// 2. The processor has the instructions.
#[target_feature(enable = "crc")]
#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
pub(super) unsafe fn read_header(prefix: u32, from: *const u8) -> ([u64; 4], u32) {
    // SAFETY: duty 1.
    let numbers = unsafe { load(from) };
    let [a, seq, timestamp_ns, crcs] = numbers;
    (numbers, !step_half(begun(prefix, [a, seq, timestamp_ns]), crcs as u32))
}

/// Stores a header to `into`. `prefix`: as in [`read_header`].
///
/// # Safety
/// 1. `into` is valid for writes of 32 bytes. Other parties may load from there meanwhile.
/// 2. The processor has the instructions.
#[target_feature(enable = "crc")]
pub(super) unsafe fn write_header(prefix: u32, numbers: [u64; 3], payload_crc: u32, into: *mut u8) {
    let header = begun(prefix, numbers);
    // SAFETY: duties 1 and 2.
    unsafe { store_sealed(header, numbers, payload_crc, into) };
}

/// The kernels of whole records for one set of instructions.
macro_rules! records {
    ($features:literal, $by:path, $write:ident, $read:ident) => {
        /// Stores a whole record to `into`: the payload at `from`, and before it the header with
        /// both CRCs. `prefix`: as in [`read_header`].
        ///
        /// # Safety
        /// 1. `into` is valid for writes of 32 bytes and of the payload's, rounded up to 8. Other
        ///    parties may load from there meanwhile. `from` is valid for reads of the payload's
        ///    bytes, whose number is the lower half of the first number.
        /// 2. The processor has the instructions.
        #[target_feature(enable = $features)]
        #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
        pub(super) unsafe fn $write(
            prefix: u32,
            numbers: [u64; 3],
            from: *const u8,
            into: *mut u8,
        ) {
            let header = begun(prefix, numbers);
            // SAFETY: duty 1.
            let payload = In { from, into: unsafe { into.add(GRANULE_BYTES) } };
            // SAFETY: duties 1 and 2; the lower half of the first number is the length.
            let state = unsafe { $by(u32::MAX, payload, numbers[0] as u32 as usize) };
            // SAFETY: duties 1 and 2.
            unsafe { store_sealed(header, numbers, !state, into) };
        }

        /// Copies the payload of the record at `from` to `into`, if it is DATA with number `seq`,
        /// has at most `most` bytes and is whole by both CRCs: its first number and its timestamp.
        /// `prefix`: as in [`read_header`].
        ///
        /// # Safety
        /// 1. `from` is valid for reads of 32 bytes and of `most`, rounded up to 8. Other parties
        ///    may store there meanwhile. `into` is valid for writes of `most` bytes.
        /// 2. The processor has the instructions.
        #[target_feature(enable = $features)]
        #[allow(clippy::cast_possible_truncation, reason = "parts of 64 bits")]
        pub(super) unsafe fn $read(
            prefix: u32,
            seq: u64,
            from: *const u8,
            into: *mut u8,
            most: usize,
        ) -> Option<(NonZeroU64, u64)> {
            // SAFETY: duty 1.
            let [first, found, timestamp_ns, crcs] = unsafe { load(from) };
            let (len, kind) = (first as u32 as usize, (first >> 32) as u8);
            if len > most || kind != KIND_DATA || found != seq {
                return None;
            }
            let header = step_half(begun(prefix, [first, found, timestamp_ns]), crcs as u32);
            // SAFETY: duty 1.
            let payload = Out { from: unsafe { from.add(GRANULE_BYTES) }, into };
            // SAFETY: duties 1 and 2, and `len` is at most `most` (checked).
            let payload = unsafe { $by(u32::MAX, payload, len) };
            if u64::from(!payload) | u64::from(!header) << 32 != crcs {
                return not_whole();
            }
            Some((NonZeroU64::new(first)?, timestamp_ns))
        }
    };
}

records!("crc", lanes::state, write_record_by_crc32, copy_record_by_crc32);
records!("neon,aes,crc", blocks::state_by_pmull, write_record_by_pmull, copy_record_by_pmull);
records!("neon,aes,crc,sha3", blocks::state_by_eor3, write_record_by_eor3, copy_record_by_eor3);

/// Cold, so that the compiler makes a branch of the comparison before it: by a conditional
/// selection, where the next record begins would be known only when this one's checksums are.
#[cold]
#[inline(never)]
const fn not_whole<T>() -> Option<T> {
    None
}

/// The state after the position and the first three numbers of a header.
#[inline]
#[target_feature(enable = "crc")]
fn begun(prefix: u32, [a, seq, timestamp_ns]: [u64; 3]) -> u32 {
    step(step(step(step_half(0, prefix), a), seq), timestamp_ns)
}

/// Loads the four numbers of a header.
///
/// # Safety
/// 1. `from` is valid for reads of 32 bytes.
#[inline]
unsafe fn load(from: *const u8) -> [u64; 4] {
    // SAFETY: duty 1.
    let [a, b] = unsafe { load_shared_two(from) };
    // SAFETY: duty 1.
    let from = unsafe { from.add(HALF) };
    // SAFETY: duty 1.
    let [c, d] = unsafe { load_shared_two(from) };
    [a, b, c, d]
}

/// Stores a header with both CRCs. `header`: what [`begun`] gave.
///
/// # Safety
/// 1. `into` is valid for writes of 32 bytes.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "crc")]
unsafe fn store_sealed(
    header: u32,
    [a, seq, timestamp_ns]: [u64; 3],
    payload_crc: u32,
    into: *mut u8,
) {
    let crc = !step_half(header, payload_crc);
    let last = [timestamp_ns, u64::from(payload_crc) | u64::from(crc) << 32];
    // SAFETY: duty 1.
    unsafe { store_shared_two(into, [a, seq]) };
    // SAFETY: duty 1.
    let into = unsafe { into.add(HALF) };
    // SAFETY: duty 1.
    unsafe { store_shared_two(into, last) };
}
