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
#[cfg_attr(miri, path = "shared_miri.rs")]
mod shared;
mod sparse;
mod wide;

#[cfg(not(miri))]
use core::arch::asm;
use core::num::NonZeroU64;

use self::blocks::divide;
use self::copy::{In, Out, Private, Source};
use self::header::{
    copy_record_by_16, copy_record_by_32, copy_record_by_64, read_header, write_header,
    write_record_by_16, write_record_by_32, write_record_by_64,
};
use self::sparse::LONG;
use super::Path;
use crate::layout::GRANULE_BYTES;
use crate::memory::Span;

/// Shared bytes are loaded up to the next multiple of this many.
pub(crate) const LOADED_BYTES: usize = blocks::BLOCK;
/// Shared bytes are stored up to the next multiple of this many.
pub(crate) const STORED_BYTES: usize = 8;

/// Begins to load the cache line in which these bytes begin, and the next one.
#[inline]
#[cfg(not(miri))]
pub(crate) fn prefetch(span: Span<'_>) {
    let Some(at) = span.readable(0) else { return };
    // SAFETY: a hint, for any address; it accesses nothing that could be seen.
    unsafe {
        asm!("prefetcht0 [{at}]", "prefetcht0 [{at} + 64]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    };
}

/// Miri has no caches.
#[cfg(miri)]
pub(crate) const fn prefetch(_: Span<'_>) {}

/// How far past the end of the record being written the lines lie that are asked for, bytes: some
/// records ahead, if they are small. Of large ones the processor foresees the lines by itself.
const AHEAD: usize = 288;

/// Asks for exclusive ownership of the two cache lines from `into` on, which will be written soon.
/// The reader's core holds the lines of a ring that it has read, and the fence after a publication
/// waits until every line stored to before it has been taken back.
///
/// `into` may point anywhere, also past the end of the segment.
#[inline]
#[cfg(not(miri))]
fn prefetch_to_write(into: *const u8) {
    // SAFETY: a hint, for any address; it accesses nothing that could be seen. Processors without
    // the instruction take it for a NOP.
    unsafe {
        asm!("prefetchw [{into}]", "prefetchw [{into} + 64]", into = in(reg) into, options(nostack, preserves_flags, readonly));
    };
}

/// Miri has no caches.
#[cfg(miri)]
const fn prefetch_to_write(_: *const u8) {}

/// How many blocks of 16 bytes a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Width {
    One,
    Two,
    Four,
}

/// The state of the CRC register.
pub(crate) type State = u32;

/// A processor that has the instructions. The `state` in its methods is that of the CRC register:
/// all ones before the first byte, the complement of the CRC after the last.
///
/// INVARIANT: made by [`Clmul::detect`] and [`Clmul::by`] only, which ask the processor: it has
/// the instructions for registers of this width, and the operating system keeps these registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clmul {
    width: Width,
}

impl Clmul {
    /// The state before the first byte.
    #[inline]
    #[allow(clippy::unused_self, reason = "where nothing multiplies, there is none to ask")]
    pub(crate) const fn first(self) -> State {
        u32::MAX
    }

    /// The CRC of what has passed.
    #[inline]
    #[allow(clippy::unused_self, reason = "as above")]
    pub(crate) const fn last(self, state: State) -> u32 {
        !state
    }

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

    /// Loads the header of 32 bytes at the start of `from`, and gives it with the CRC of epoch,
    /// position and header, from the `state` after the epoch; `None` if there are no 32 bytes.
    #[inline]
    #[allow(clippy::unused_self, reason = "that it exists says that the processor can")]
    pub(crate) fn read_header(
        self,
        state: u32,
        position: u32,
        from: Span<'_>,
    ) -> Option<([u64; 4], u32)> {
        let from = from.readable(GRANULE_BYTES)?;
        // SAFETY: (1) 32 bytes may be read (checked); (2) the processor has the instructions
        // (invariant).
        Some(unsafe { read_header(state ^ position, from) })
    }

    /// Stores the header of a record at `position` to the start of `into`: its first three numbers,
    /// the payload's CRC and its own. False if it cannot be written there.
    #[inline]
    #[must_use]
    #[allow(clippy::unused_self, reason = "that it exists says that the processor can")]
    pub(crate) fn write_header(
        self,
        state: u32,
        position: u32,
        [a, seq, timestamp_ns]: [u64; 3],
        payload_crc: u32,
        into: Span<'_>,
    ) -> bool {
        let Some(into) = into.writable(GRANULE_BYTES) else { return false };
        // SAFETY: (1) 32 bytes may be written (checked); (2) the processor has the instructions
        // (invariant).
        unsafe { write_header(state ^ position, a, seq, timestamp_ns, payload_crc, into) };
        true
    }

    /// Stores a whole record at `position` to the start of `into`: payload, and before it the
    /// header of its first three numbers and both CRCs, from the `state` after the epoch. False if
    /// it cannot be written there, if the lower half of the first number is not the payload's
    /// length, or if the payload is so long that it is better written by itself.
    #[inline]
    #[must_use]
    pub(crate) fn write_record(
        self,
        state: u32,
        position: u32,
        [a, seq, timestamp_ns]: [u64; 3],
        payload: &[u8],
        into: Span<'_>,
    ) -> bool {
        // A header that names another length is never believed here.
        if a & u64::from(u32::MAX) != payload.len() as u64 {
            return false;
        }
        let len = payload.len().next_multiple_of(STORED_BYTES);
        let Some(into) = into.writable(GRANULE_BYTES + len) else { return false };
        prefetch_to_write(into.wrapping_add(GRANULE_BYTES + len + AHEAD));
        // What follows takes six numbers, as many as go by registers.
        let (prefix, from) = (state ^ position, payload.as_ptr());
        match self.width {
            // That both checksums are made side by side does not pay there.
            Width::One if payload.len() >= LONG => return false,
            // SAFETY: (1) header and payload, up to the next multiple of 8, may be written
            // (checked), and the length that `a` names is the payload's (checked); (2) the
            // processor has the instructions (invariant).
            Width::One => unsafe { write_record_by_16(prefix, a, seq, timestamp_ns, from, into) },
            // SAFETY: as above.
            Width::Two => unsafe { write_record_by_32(prefix, a, seq, timestamp_ns, from, into) },
            // SAFETY: as above.
            Width::Four => unsafe { write_record_by_64(prefix, a, seq, timestamp_ns, from, into) },
        }
        true
    }

    /// Copies the payload of the record whose header is at the start of `from`, and which is at
    /// `position`, to the start of `into`, if it is DATA with number `seq`, fits and is whole by
    /// both CRCs: its first number and its timestamp. `None`: it is not, or `from` is shorter than
    /// a header and `into` rounded up to [`LOADED_BYTES`], or the payload is so long that it is
    /// better read by itself; what `into` holds means nothing.
    #[inline]
    pub(crate) fn copy_record(
        self,
        state: u32,
        position: u32,
        seq: u64,
        from: Span<'_>,
        into: &mut [u8],
    ) -> Option<(NonZeroU64, u64)> {
        let (prefix, len) = (state ^ position, into.len());
        let from = from.readable(GRANULE_BYTES + len.next_multiple_of(LOADED_BYTES))?;
        let into = into.as_mut_ptr();
        match self.width {
            // SAFETY: (1) header and payload, up to the next multiple of 16, may be read (checked);
            // `into` was a slice; (2) the processor has the instructions (invariant).
            Width::One => unsafe {
                copy_record_by_16(prefix, seq, from, into, len.min(const { LONG - 1 }))
            },
            // SAFETY: as above.
            Width::Two => unsafe { copy_record_by_32(prefix, seq, from, into, len) },
            // SAFETY: as above.
            Width::Four => unsafe { copy_record_by_64(prefix, seq, from, into, len) },
        }
    }

    /// The state after `len` bytes, all of which pass: of `source`, or of `vex`, which is the same
    /// for kernels of AVX.
    ///
    /// # Safety
    /// 1. The sources may be asked for `len` bytes (their invariant).
    #[inline]
    unsafe fn run<S: Source, V: Source>(self, state: u32, source: S, vex: V, len: usize) -> u32 {
        match self.width {
            // SAFETY: duty 1; the processor has the instructions (invariant).
            Width::One => unsafe { run_by_16(state, source, len) },
            // SAFETY: as above.
            Width::Two => unsafe { run_by_32(state, vex, len) },
            // SAFETY: as above.
            Width::Four => unsafe { run_by_64(state, vex, len) },
        }
    }

    /// The state after `bytes`.
    #[inline]
    pub(crate) fn update(self, state: u32, bytes: &[u8]) -> u32 {
        let source = Private(bytes.as_ptr());
        // SAFETY: the processor has the instructions (invariant); `Private` may be read for all of
        // its slice.
        unsafe { self.run(state, source, source, bytes.len()) }
    }

    /// Copies the first `into.len()` bytes of `from` out and gives the state after them; `None` if
    /// there are not so many, rounded up to [`LOADED_BYTES`].
    #[inline]
    pub(crate) fn copy_out(self, state: u32, from: Span<'_>, into: &mut [u8]) -> Option<u32> {
        let len = into.len();
        let from = from.readable(len.next_multiple_of(LOADED_BYTES))?;
        let into = into.as_mut_ptr();
        let (source, vex) = (Out::<false> { from, into }, Out::<true> { from, into });
        // SAFETY: the processor has the instructions (invariant); `from` may be read up to the next
        // multiple of 16 (checked), and `into` was a slice.
        Some(unsafe { self.run(state, source, vex, len) })
    }

    /// Copies `bytes` to the start of `into`, filled up with zeros to a multiple of
    /// [`STORED_BYTES`], and gives the state after them; `None` if that cannot be written.
    #[inline]
    pub(crate) fn copy_in(self, state: u32, bytes: &[u8], into: Span<'_>) -> Option<u32> {
        let into = into.writable(bytes.len().next_multiple_of(STORED_BYTES))?;
        let (from, len) = (bytes.as_ptr(), bytes.len());
        let (source, vex) = (In::<false> { from, into }, In::<true> { from, into });
        // SAFETY: the processor has the instructions (invariant); `into` may be written up to the
        // next multiple of 8 (checked), and `bytes` is a slice.
        Some(unsafe { self.run(state, source, vex, len) })
    }
}

/// [`Clmul::run`] by registers of one block.
///
/// # Safety
/// 1. As there.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
unsafe fn run_by_16<S: Source>(state: u32, source: S, len: usize) -> u32 {
    if len >= LONG {
        // SAFETY: the same duties, and so many bytes.
        return unsafe { run_long_by_16(state, source, len) };
    }
    // SAFETY: the same duties.
    divide(unsafe { blocks::sum(state, source, len) })
}

/// The same of a long message, in a function of its own: the frame that it needs would be one of
/// short messages, too.
///
/// # Safety
/// As of `run_by_16`, and `len` is at least [`LONG`].
#[cold]
#[inline(never)]
#[target_feature(enable = "pclmulqdq,sse4.1")]
unsafe fn run_long_by_16<S: Source>(state: u32, source: S, len: usize) -> u32 {
    // SAFETY: the same duties.
    divide(unsafe { sparse::sum_long(state, source, len) })
}

/// [`Clmul::run`] by registers of two.
///
/// # Safety
/// As of `run_by_16`.
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,vpclmulqdq")]
unsafe fn run_by_32<S: Source>(state: u32, source: S, len: usize) -> u32 {
    // SAFETY: the same duties.
    divide(unsafe { pairs::sum(state, source, len) })
}

/// [`Clmul::run`] by registers of four.
///
/// # Safety
/// As of `run_by_16`.
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,avx512f,avx512vl,vpclmulqdq")]
unsafe fn run_by_64<S: Source>(state: u32, source: S, len: usize) -> u32 {
    // SAFETY: the same duties.
    divide(unsafe { wide::sum(state, source, len) })
}
