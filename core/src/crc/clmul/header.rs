//! Record headers, and whole records: both checksums of a record side by side.

use core::arch::x86_64::{
    __m128i, _mm_alignr_epi8, _mm_clmulepi64_si128, _mm_cvtsi32_si128, _mm_cvtsi64_si128,
    _mm_cvtsi128_si64, _mm_extract_epi64, _mm_insert_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_slli_epi64, _mm_slli_si128, _mm_srli_si128, _mm_unpacklo_epi64,
};
use core::num::NonZeroU64;

use super::blocks::{BLOCK, add, divide, pair, sum_two};
use super::constants::OVER_FOUR;
use super::copy::{In, Out};
use super::shared::{load_shared, store_shared};
use super::{blocks, pairs, wide};
use crate::layout::{GRANULE_BYTES, KIND_DATA};

/// Loads the header at `from`, and gives it as four numbers with the CRC of epoch, position and
/// header. `prefix`: the state after the epoch, with the position added.
///
/// # Safety
/// 1. `from` is valid for reads of 32 bytes. Other parties may store there meanwhile.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_sign_loss, reason = "64 bits are 64 bits")]
pub(super) unsafe fn read_header(prefix: u32, from: *const u8) -> ([u64; 4], u32) {
    // SAFETY: duty 1.
    let header = unsafe { HeaderBlocks::load::<false>(from) };
    let HeaderBlocks { low, high } = header;
    let numbers = [
        _mm_cvtsi128_si64(low),
        _mm_extract_epi64(low, 1),
        _mm_cvtsi128_si64(high),
        _mm_extract_epi64(high, 1),
    ];
    let (first, second) = header.blocks(prefix);
    (numbers.map(|number| number as u64), !divide(sum_two(first, second)))
}

/// Stores a header to `into`. `prefix`: as in [`read_header`].
///
/// # Safety
/// 1. `into` is valid for writes of 32 bytes. Other parties may load from there meanwhile.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_possible_wrap, reason = "32 bits are 32 bits")]
pub(super) unsafe fn write_header(
    prefix: u32,
    a: u64,
    seq: u64,
    timestamp_ns: u64,
    payload_crc: u32,
    into: *mut u8,
) {
    let header = HeaderBlocks::new(a, seq, timestamp_ns);
    let high = _mm_insert_epi32(header.high, payload_crc as i32, 2);
    let (first, second) = HeaderBlocks { high, ..header }.blocks(prefix);
    let crc = !divide(sum_two(first, second));
    let high = _mm_insert_epi32(high, crc as i32, 3);
    // SAFETY: duty 1.
    unsafe { HeaderBlocks { high, ..header }.store::<false>(into) };
}

/// The kernels of whole records for one width of registers.
macro_rules! records {
    ($features:literal, $vex:literal, $by:ident, $write:ident, $read:ident) => {
        /// Stores a whole record to `into`: the payload at `from`, and before it the header with
        /// both CRCs. `prefix`: as in [`read_header`].
        ///
        /// # Safety
        /// 1. `into` is valid for writes of 32 bytes and of the payload's, rounded up to 8. Other
        ///    parties may load from there meanwhile. `from` is valid for reads of the payload's
        ///    bytes, whose number is the lower half of `a`.
        /// 2. The processor has the instructions.
        #[target_feature(enable = $features)]
        #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
        pub(super) unsafe fn $write(
            prefix: u32,
            a: u64,
            seq: u64,
            timestamp_ns: u64,
            from: *const u8,
            into: *mut u8,
        ) {
            let header = HeaderBlocks::new(a, seq, timestamp_ns);
            let (first, second) = header.blocks(prefix);
            let sum = $by::sum_two(first, second);
            // SAFETY: duty 1.
            let payload = In::<$vex> { from, into: unsafe { into.add(GRANULE_BYTES) } };
            // SAFETY: duties 1 and 2; the lower half of the first number is the length.
            let payload = unsafe { $by::sum(u32::MAX, payload, a as u32 as usize) };
            let states = $by::divide_both(payload, with_payload(sum, payload));
            // SAFETY: duty 1.
            unsafe { header.sealed_with(states).store::<$vex>(into) };
        }

        /// Copies the payload of the record at `from` to `into`, if it is DATA with number `seq`,
        /// has at most `most` bytes and is whole by both CRCs: its first number and its timestamp.
        /// `prefix`: as in [`read_header`].
        ///
        /// # Safety
        /// 1. `from` is valid for reads of 32 bytes and of `most`, rounded up to 16. Other parties
        ///    may store there meanwhile. `into` is valid for writes of `most` bytes.
        /// 2. The processor has the instructions.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $read(
            prefix: u32,
            seq: u64,
            from: *const u8,
            into: *mut u8,
            most: usize,
        ) -> Option<(NonZeroU64, u64)> {
            // SAFETY: duty 1.
            let header = unsafe { HeaderBlocks::load::<$vex>(from) };
            let (first, len) = header.expected(seq, most)?;
            let (one, two) = header.blocks(prefix);
            let sum = $by::sum_two(one, two);
            // SAFETY: duty 1.
            let payload = Out::<$vex> { from: unsafe { from.add(GRANULE_BYTES) }, into };
            // SAFETY: duties 1 and 2, and `len` is at most `most` (checked).
            let payload = unsafe { $by::sum(u32::MAX, payload, len) };
            header.sealed_by($by::divide_both(payload, sum), first)
        }
    };
}

records!("pclmulqdq,sse4.1", false, blocks, write_record_by_16, copy_record_by_16);
records!("pclmulqdq,sse4.1,avx2,vpclmulqdq", true, pairs, write_record_by_32, copy_record_by_32);
records!(
    "pclmulqdq,sse4.1,avx2,avx512f,avx512vl,vpclmulqdq",
    true,
    wide,
    write_record_by_64,
    copy_record_by_64
);

/// The sum of a header whose payload's CRC is that of this sum, from that of one with zero in its
/// place. The header's division does not wait for the payload's.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
fn with_payload(header: __m128i, payload: __m128i) -> __m128i {
    // The CRC is the complement of the payload's state, and of the header's last four bytes, so it
    // is added to the second 32 bits; that is where the end of the payload's sum goes.
    let end = _mm_slli_epi64(_mm_srli_si128(payload, 8), 32);
    let start = _mm_clmulepi64_si128(payload, pair(OVER_FOUR), 0x00);
    add(add(header, _mm_set_epi32(0, 0, -1, 0)), add(start, end))
}

/// Cold, so that the compiler makes a branch of the comparison before it: by a conditional move,
/// where the next record begins would be known only when this one's checksums are, and reading
/// takes twice as long.
#[cold]
#[inline(never)]
const fn not_whole<T>() -> Option<T> {
    None
}

/// The two blocks of a header; while it is written, without its checksums.
#[derive(Clone, Copy)]
struct HeaderBlocks {
    low: __m128i,
    high: __m128i,
}

impl HeaderBlocks {
    /// Of the first three numbers of a header; without its checksums.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    #[allow(clippy::cast_possible_wrap, reason = "64 bits are 64 bits")]
    fn new(a: u64, seq: u64, timestamp_ns: u64) -> Self {
        Self {
            low: _mm_set_epi64x(seq as i64, a as i64),
            high: _mm_cvtsi64_si128(timestamp_ns as i64),
        }
    }

    /// Loads both blocks.
    ///
    /// # Safety
    /// 1. `from` is valid for reads of 32 bytes.
    /// 2. The processor has AVX if `VEX`.
    #[inline]
    unsafe fn load<const VEX: bool>(from: *const u8) -> Self {
        // SAFETY: duty 1.
        let low = unsafe { load_shared::<VEX>(from) };
        // SAFETY: duty 1.
        let from = unsafe { from.add(BLOCK) };
        // SAFETY: duty 1.
        Self { low, high: unsafe { load_shared::<VEX>(from) } }
    }

    /// Its first number, and the length of its payload, if it is of DATA with this number and at
    /// most so many bytes.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "parts of 64 bits, which are 64 bits"
    )]
    fn expected(self, seq: u64, most: usize) -> Option<(NonZeroU64, usize)> {
        let first = _mm_cvtsi128_si64(self.low) as u64;
        let (len, kind) = (first as u32 as usize, (first >> 32) as u8);
        if len > most || kind != KIND_DATA || _mm_extract_epi64(self.low, 1) as u64 != seq {
            return None;
        }
        Some((NonZeroU64::new(first)?, len))
    }

    /// The first number and the timestamp, if these states, of the payload and above it of the
    /// header, are those that it names.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    #[allow(clippy::cast_sign_loss, reason = "64 bits are 64 bits")]
    fn sealed_by(self, states: u64, first: NonZeroU64) -> Option<(NonZeroU64, u64)> {
        if !states != _mm_extract_epi64(self.high, 1) as u64 {
            return not_whole();
        }
        Some((first, _mm_cvtsi128_si64(self.high) as u64))
    }

    /// What its CRC covers: the position and 28 bytes of the header, each moved on by four.
    /// `prefix`: the state behind the epoch, with the position added.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    #[allow(clippy::cast_possible_wrap, reason = "32 bits are 32 bits")]
    fn blocks(self, prefix: u32) -> (__m128i, __m128i) {
        let prefix = _mm_slli_si128(_mm_cvtsi32_si128(prefix as i32), 12);
        (_mm_alignr_epi8(self.low, prefix, 12), _mm_alignr_epi8(self.high, self.low, 12))
    }

    /// With both CRCs, of these states: the payload's, and above it the header's.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    #[allow(clippy::cast_possible_wrap, reason = "64 bits are 64 bits")]
    fn sealed_with(self, states: u64) -> Self {
        Self { high: _mm_unpacklo_epi64(self.high, _mm_cvtsi64_si128(!states as i64)), ..self }
    }

    /// Stores both blocks.
    ///
    /// # Safety
    /// 1. `into` is valid for writes of 32 bytes.
    /// 2. The processor has AVX if `VEX`.
    #[inline]
    unsafe fn store<const VEX: bool>(self, into: *mut u8) {
        // SAFETY: duty 1.
        unsafe { store_shared::<VEX>(into, self.low) };
        // SAFETY: duty 1.
        let into = unsafe { into.add(BLOCK) };
        // SAFETY: duty 1.
        unsafe { store_shared::<VEX>(into, self.high) };
    }
}
