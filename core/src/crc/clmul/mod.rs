//! CRC-32 by carry-less multiplication on x86-64, and copies of record bytes that compute it on the
//! way.
//!
//! The message is a polynomial over GF(2), bit-reflected, so its first byte is the lowest. A block
//! of 16 bytes that stands N bytes before another is congruent modulo P to the sum of two
//! 64-by-32-bit products that can be added to the other: folding. Long messages are folded by four
//! independent registers of one, two or four blocks; what is left of them, and every short message,
//! is multiplied all at once, each block by its distance from the end. Source: Gopal et al., "Fast
//! CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009.

mod access;
mod blocks;
mod constants;
mod copy;
mod detect;
mod header;
mod pairs;
mod wide;

use core::arch::asm;
use core::num::NonZeroU64;

use self::blocks::divide;
use self::copy::{In, Out, Private, Source};
use self::header::{
    copy_record_by_16, copy_record_by_32, copy_record_by_64, read_header, write_header,
    write_record_by_16, write_record_by_32, write_record_by_64,
};
use super::Path;

/// Begins to load the line of this address and the next one. Any address may be given.
#[inline]
pub(crate) fn prefetch(at: *const u8) {
    // SAFETY: a hint; it accesses nothing that could be seen.
    unsafe {
        asm!("prefetcht0 [{at}]", "prefetcht0 [{at} + 64]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    };
}

/// How many blocks of 16 bytes a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    One,
    Two,
    Four,
}

/// A processor that has the instructions. Its methods are states of the CRC register: all ones
/// before the first byte, complemented after the last.
///
/// INVARIANT: made by [`Folding::detect`] and [`Folding::by`] only, which ask the processor: it has
/// the instructions for registers of this width, and the operating system keeps these registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folding {
    width: Width,
}

impl Folding {
    /// By the widest registers there are. Asks the processor; under a hypervisor that takes a
    /// microsecond.
    pub(crate) fn detect() -> Option<Self> {
        detect::widest().map(|width| Self { width })
    }

    /// By this path, if it is one of these and the processor has it.
    pub(crate) fn by(path: Path) -> Option<Self> {
        let width = match path {
            Path::Pclmul => Width::One,
            Path::Avx2 => Width::Two,
            Path::Avx512 => Width::Four,
            _ => return None,
        };
        detect::has(width).then_some(Self { width })
    }

    /// The path that this is.
    pub(crate) const fn path(self) -> Path {
        match self.width {
            Width::One => Path::Pclmul,
            Width::Two => Path::Avx2,
            Width::Four => Path::Avx512,
        }
    }

    /// Loads the header of 32 bytes at `from`, and the CRC of epoch, position and header, from the
    /// `state` after the epoch.
    ///
    /// # Safety
    /// 1. `from` is valid for reads of 32 bytes. Other parties may store there meanwhile.
    #[inline]
    #[allow(clippy::unused_self, reason = "that it exists says that the processor can")]
    pub(crate) unsafe fn header(
        self,
        state: u32,
        position: u32,
        from: *const u8,
    ) -> ([u64; 4], u32) {
        // SAFETY: duty 1; the processor has the instructions (invariant).
        unsafe { read_header(state ^ position, from) }
    }

    /// Stores the header of a record that stands at `position` to `into`: its first three numbers,
    /// the payload's CRC and its own.
    ///
    /// # Safety
    /// 1. `into` is valid for writes of 32 bytes. Other parties may load from there meanwhile.
    #[inline]
    #[allow(clippy::unused_self, reason = "that it exists says that the processor can")]
    pub(crate) unsafe fn write_header(
        self,
        state: u32,
        position: u32,
        [a, seq, timestamp_ns]: [u64; 3],
        payload_crc: u32,
        into: *mut u8,
    ) {
        // SAFETY: duty 1; the processor has the instructions (invariant).
        unsafe { write_header(state ^ position, a, seq, timestamp_ns, payload_crc, into) };
    }

    /// Stores a whole record that stands at `position` to `into`: payload, and before it the header
    /// of its first three numbers and both CRCs, from the `state` after the epoch.
    ///
    /// # Safety
    /// 1. `into` is valid for writes of 32 bytes and of the payload's, rounded up to 8. Other
    ///    parties may load from there meanwhile.
    /// 2. The lower half of the first number is the payload's length: it is what is copied.
    #[inline]
    pub(crate) unsafe fn record(
        self,
        state: u32,
        position: u32,
        [a, seq, timestamp_ns]: [u64; 3],
        payload: &[u8],
        into: *mut u8,
    ) {
        debug_assert!(
            a & u64::from(u32::MAX) == payload.len() as u64,
            "the length in the header is the payload's"
        );
        // What follows takes six numbers, as many as go by registers.
        let (prefix, from) = (state ^ position, payload.as_ptr());
        match self.width {
            // SAFETY: duties 1 and 2; the processor has the instructions (invariant).
            Width::One => unsafe { write_record_by_16(prefix, a, seq, timestamp_ns, from, into) },
            // SAFETY: as above.
            Width::Two => unsafe { write_record_by_32(prefix, a, seq, timestamp_ns, from, into) },
            // SAFETY: as above.
            Width::Four => unsafe { write_record_by_64(prefix, a, seq, timestamp_ns, from, into) },
        }
    }

    /// Copies the payload of the record whose header is at `from`, and which stands at `position`,
    /// to the start of `into`, if it is DATA with number `seq`, fits and is whole by both CRCs: its
    /// first number and its timestamp. `None`: it is not, and what `into` holds means nothing.
    ///
    /// # Safety
    /// 1. `from` is valid for reads of 32 bytes and `into.len()`, rounded up to 16. Other parties
    ///    may store there meanwhile.
    #[inline]
    pub(crate) unsafe fn copy_record(
        self,
        state: u32,
        position: u32,
        seq: u64,
        from: *const u8,
        into: &mut [u8],
    ) -> Option<(NonZeroU64, u64)> {
        let (prefix, len, into) = (state ^ position, into.len(), into.as_mut_ptr());
        match self.width {
            // SAFETY: duty 1; `into` was a slice; the processor has the instructions (invariant).
            Width::One => unsafe { copy_record_by_16(prefix, seq, from, into, len) },
            // SAFETY: as above.
            Width::Two => unsafe { copy_record_by_32(prefix, seq, from, into, len) },
            // SAFETY: as above.
            Width::Four => unsafe { copy_record_by_64(prefix, seq, from, into, len) },
        }
    }

    /// The state after `len` bytes, all of which pass.
    ///
    /// # Safety
    /// 1. The source may be asked for `len` bytes (its invariant).
    #[inline]
    unsafe fn run<S: Source>(self, state: u32, source: S, len: usize) -> u32 {
        match self.width {
            // SAFETY: duty 1; the processor has the instructions (invariant).
            Width::One => unsafe { run_by_16(state, source, len) },
            // SAFETY: as above.
            Width::Two => unsafe { run_by_32(state, source, len) },
            // SAFETY: as above.
            Width::Four => unsafe { run_by_64(state, source, len) },
        }
    }

    /// The state after `bytes`.
    #[inline]
    pub(crate) fn update(self, state: u32, bytes: &[u8]) -> u32 {
        // SAFETY: the processor has the instructions (invariant); `Private` may be read for all of
        // its slice.
        unsafe { self.run(state, Private(bytes.as_ptr()), bytes.len()) }
    }

    /// The state after the `into.len()` bytes at `from`, which are copied out.
    ///
    /// # Safety
    /// 1. `from` is valid for reads up to the next multiple of 16 bytes. Other parties may store
    ///    there meanwhile.
    #[inline]
    pub(crate) unsafe fn copy_out(self, state: u32, from: *const u8, into: &mut [u8]) -> u32 {
        // SAFETY: the processor has the instructions (invariant); duty 1; `into` is a slice.
        unsafe { self.run(state, Out { from, into: into.as_mut_ptr() }, into.len()) }
    }

    /// The state after `bytes`, which are copied to `into`, filled up with zeros to a multiple of
    /// 8.
    ///
    /// # Safety
    /// 1. `into` is valid for writes up to the next multiple of 8 bytes. Other parties may load
    ///    from there meanwhile.
    #[inline]
    pub(crate) unsafe fn copy_in(self, state: u32, bytes: &[u8], into: *mut u8) -> u32 {
        // SAFETY: the processor has the instructions (invariant); duty 1; `bytes` is a slice.
        unsafe { self.run(state, In { from: bytes.as_ptr(), into }, bytes.len()) }
    }
}

/// [`Folding::run`] by registers of one block.
///
/// # Safety
/// 1. As there.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
unsafe fn run_by_16<S: Source>(state: u32, source: S, len: usize) -> u32 {
    // SAFETY: the same duties.
    divide(unsafe { blocks::sum(state, source, len) })
}

/// [`Folding::run`] by registers of two.
///
/// # Safety
/// As of `run_by_16`.
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,vpclmulqdq")]
unsafe fn run_by_32<S: Source>(state: u32, source: S, len: usize) -> u32 {
    // SAFETY: the same duties.
    divide(unsafe { pairs::sum(state, source, len) })
}

/// [`Folding::run`] by registers of four.
///
/// # Safety
/// As of `run_by_16`.
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,avx512f,avx512vl,vpclmulqdq")]
unsafe fn run_by_64<S: Source>(state: u32, source: S, len: usize) -> u32 {
    // SAFETY: the same duties.
    divide(unsafe { wide::sum(state, source, len) })
}
