//! Record headers, and whole records: both checksums of a record in as few multiplications as may
//! be.

use core::arch::x86_64::{
    __m128i, _mm_alignr_epi8, _mm_cvtsi32_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64,
    _mm_extract_epi64, _mm_insert_epi32, _mm_set_epi32, _mm_set_epi64x, _mm_set1_epi32,
    _mm_slli_epi64, _mm_slli_si128, _mm_unpacklo_epi64, _mm_xor_si128,
};
use core::num::NonZeroU64;

use super::blocks::{
    BLOCK, FOLD_16, HEADER, WIDE, divide, few, fold, pair, reduce, rest, run, shorten,
};
use super::copy::{In, Out, Passage, load_shared, store_shared};
use super::wide::{reduce_both, reduce_chained, run_beside};
use crate::layout::KIND_DATA;

/// The CRC of epoch, position and the first 28 bytes of a header of two blocks, from the `state`
/// behind the epoch.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
fn header_crc(state: u32, position: u32, [low, high]: [__m128i; 2]) -> u32 {
    !reduce(Begun { low, high }.folded(state ^ position))
}

/// See [`Folding::header`].
///
/// # Safety
/// 1. As there.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_sign_loss, reason = "64 bits are 64 bits")]
pub(super) unsafe fn header(state: u32, position: u32, from: *const u8) -> ([u64; 4], u32) {
    // SAFETY: duty 1.
    let Begun { low, high } = unsafe { Begun::load(from) };
    let numbers = [
        _mm_cvtsi128_si64(low),
        _mm_extract_epi64(low, 1),
        _mm_cvtsi128_si64(high),
        _mm_extract_epi64(high, 1),
    ];
    (numbers.map(|number| number as u64), header_crc(state, position, [low, high]))
}

/// See [`Folding::write_header`].
///
/// # Safety
/// 1. As there.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) unsafe fn header_alone(
    prefix: u32,
    a: u64,
    seq: u64,
    timestamp_ns: u64,
    payload_crc: u32,
    into: *mut u8,
) {
    let header = begin(a, seq, timestamp_ns);
    let sum = shorten(header.folded(prefix));
    // SAFETY: duty 1.
    unsafe { header.seal(sum, payload_crc, into) };
}

/// See [`Folding::record`].
///
/// # Safety
/// 1. As there.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
pub(super) unsafe fn record(
    prefix: u32,
    a: u64,
    seq: u64,
    timestamp_ns: u64,
    from: *const u8,
    into: *mut u8,
) {
    let header = begin(a, seq, timestamp_ns);
    let sum = shorten(header.folded(prefix));
    // SAFETY: duty 1.
    let payload = In { from, into: unsafe { into.add(HEADER) } };
    let len = a as u32 as usize;
    // SAFETY: duties 1 and 2.
    let crc = !unsafe { run(u32::MAX, payload, len) };
    // SAFETY: duty 1.
    unsafe { header.seal(sum, crc, into) };
}

/// See [`Folding::record`]; of at least 64 bytes.
///
/// # Safety
/// 1. As there.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1,avx512f,avx512vl,vpclmulqdq")]
#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
pub(super) unsafe fn record_wide(
    prefix: u32,
    a: u64,
    seq: u64,
    timestamp_ns: u64,
    from: *const u8,
    into: *mut u8,
) {
    let header = begin(a, seq, timestamp_ns);
    let (first, second) = header.blocks(prefix);
    let second = _mm_xor_si128(second, _mm_set_epi32(-1, 0, 0, 0));
    // SAFETY: duty 1.
    let payload = In { from, into: unsafe { into.add(HEADER) } };
    let len = a as u32 as usize;
    // SAFETY: duties 1 and 2.
    let (payload, first) = unsafe { run_beside(u32::MAX, payload, len, Some(first)) };
    let states = reduce_chained(payload, _mm_xor_si128(first, second));
    let high = _mm_unpacklo_epi64(header.high, _mm_xor_si128(states, _mm_set1_epi32(-1)));
    // SAFETY: duty 1.
    unsafe { Begun { high, ..header }.store(into) };
}

/// See [`Folding::copy_record`]; into the `most` bytes at `into`.
///
/// # Safety
/// 1. As there, and `into` is valid for writes of `most` bytes.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) unsafe fn copy_record(
    prefix: u32,
    seq: u64,
    from: *const u8,
    into: *mut u8,
    most: usize,
) -> Option<(NonZeroU64, u64)> {
    // SAFETY: duty 1.
    let header = unsafe { Begun::load(from) };
    let (first, len) = header.expected(seq, most)?;
    // SAFETY: duty 1.
    let payload = Out { from: unsafe { from.add(HEADER) }, into };
    // SAFETY: duties 1 and 2, and `len` is at most `most` (checked).
    let payload = unsafe { run(u32::MAX, payload, len) };
    header.sealed_by(u64::from(payload) | u64::from(reduce(header.folded(prefix))) << 32, first)
}

/// The same with wide registers.
///
/// # Safety
/// As of `copy_record`.
#[target_feature(enable = "pclmulqdq,sse4.1,avx512f,avx512vl,vpclmulqdq")]
#[allow(clippy::cast_sign_loss, reason = "64 bits are 64 bits")]
pub(super) unsafe fn copy_record_wide(
    prefix: u32,
    seq: u64,
    from: *const u8,
    into: *mut u8,
    most: usize,
) -> Option<(NonZeroU64, u64)> {
    // SAFETY: duty 1.
    let header = unsafe { Begun::load(from) };
    let (first, len) = header.expected(seq, most)?;
    // SAFETY: duty 1.
    let payload = Out { from: unsafe { from.add(HEADER) }, into };
    let (payload, folded) = if len >= WIDE {
        let (first, second) = header.blocks(prefix);
        // SAFETY: duties 1 and 2, and `len` is at most `most` (checked).
        let (payload, first) = unsafe { run_beside(u32::MAX, payload, len, Some(first)) };
        (payload, _mm_xor_si128(first, second))
    } else if len >= BLOCK {
        // SAFETY: as above.
        let block = _mm_xor_si128(unsafe { payload.block(0) }, _mm_cvtsi32_si128(-1));
        // SAFETY: as above.
        (unsafe { rest(block, payload, BLOCK, len) }, header.folded(prefix))
    } else {
        // SAFETY: as above.
        let payload = unsafe { few(u32::MAX, payload, len) };
        return header
            .sealed_by(u64::from(payload) | u64::from(reduce(header.folded(prefix))) << 32, first);
    };
    header.sealed_by(_mm_cvtsi128_si64(reduce_both(payload, folded)) as u64, first)
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
struct Begun {
    low: __m128i,
    high: __m128i,
}

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_possible_wrap, reason = "64 bits are 64 bits")]
fn begin(a: u64, seq: u64, timestamp_ns: u64) -> Begun {
    Begun {
        low: _mm_set_epi64x(seq as i64, a as i64),
        high: _mm_cvtsi64_si128(timestamp_ns as i64),
    }
}

impl Begun {
    /// Loads both blocks.
    ///
    /// # Safety
    /// 1. `from` is valid for reads of 32 bytes.
    #[inline]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: duty 1.
        let low = unsafe { load_shared(from) };
        // SAFETY: duty 1.
        let from = unsafe { from.add(BLOCK) };
        // SAFETY: duty 1.
        Self { low, high: unsafe { load_shared(from) } }
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

    /// A block congruent to that.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    fn folded(self, prefix: u32) -> __m128i {
        let (first, second) = self.blocks(prefix);
        _mm_xor_si128(fold(first, pair(FOLD_16)), second)
    }

    /// Stores it with the payload's CRC and its own, of which `sum` is what [`shorten`] makes of
    /// its blocks. Only a division waits for the payload: its CRC is the last four bytes.
    ///
    /// # Safety
    /// 1. `into` is valid for writes of 32 bytes.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    #[allow(clippy::cast_possible_wrap, reason = "32 bits are 32 bits")]
    unsafe fn seal(self, sum: __m128i, payload_crc: u32, into: *mut u8) {
        let crc =
            !divide(_mm_xor_si128(sum, _mm_slli_epi64(_mm_cvtsi32_si128(payload_crc as i32), 32)));
        let high =
            _mm_insert_epi32(_mm_insert_epi32(self.high, payload_crc as i32, 2), crc as i32, 3);
        // SAFETY: duty 1.
        unsafe { Self { high, ..self }.store(into) };
    }

    /// Stores both blocks.
    ///
    /// # Safety
    /// 1. `into` is valid for writes of 32 bytes.
    #[inline]
    unsafe fn store(self, into: *mut u8) {
        // SAFETY: duty 1.
        unsafe { store_shared(into, self.low) };
        // SAFETY: duty 1.
        let into = unsafe { into.add(BLOCK) };
        // SAFETY: duty 1.
        unsafe { store_shared(into, self.high) };
    }
}
