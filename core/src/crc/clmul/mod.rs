//! CRC-32 by carry-less multiplication on x86-64, and copies of record bytes that compute it on the
//! way.
//!
//! The message is a polynomial over GF(2), bit-reflected, so its first byte is the lowest. A block
//! of 16 bytes that stands N bytes before another is congruent modulo P to the sum of two
//! 32-by-64-bit products that can be added to the other: folding. Source: Gopal et al., "Fast CRC
//! Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009.

mod blocks;
mod copy;
mod header;
mod wide;

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::num::NonZeroU64;

use self::blocks::{WIDE, run};
use self::copy::{In, Out, Passage, Private};
use self::header::{copy_record, copy_record_wide, header, header_alone, record, record_wide};
use self::wide::run_wide;

/// Begins to load the line of this address and the next one. Any address may be given.
#[inline]
pub(crate) fn prefetch(at: *const u8) {
    // SAFETY: a hint; it accesses nothing that could be seen.
    unsafe {
        asm!("prefetcht0 [{at}]", "prefetcht0 [{at} + 64]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    };
}

/// A processor that has the instructions. Its methods are states of the CRC register: all ones
/// before the first byte, complemented behind the last.
///
/// INVARIANT: made by [`Folding::detect`] only, which has asked the processor. `wide`: it has
/// AVX-512 and VPCLMULQDQ, and the operating system keeps their registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folding {
    wide: bool,
}

impl Folding {
    /// Asks the processor; under a hypervisor that takes a microsecond.
    pub(crate) fn detect() -> Option<Self> {
        const PCLMULQDQ: u32 = 1 << 1;
        const SSSE3: u32 = 1 << 9;
        const SSE4_1: u32 = 1 << 19;
        const ALL: u32 = PCLMULQDQ | SSSE3 | SSE4_1;
        const OSXSAVE: u32 = 1 << 27;
        let features = __cpuid(1).ecx;
        let wide = features & OSXSAVE != 0 && {
            // SAFETY: `OSXSAVE` says that the instruction may be used.
            let kept = unsafe { registers_kept() };
            kept && wide_instructions()
        };
        (features & ALL == ALL).then_some(Self { wide })
    }

    /// Loads the header of 32 bytes at `from`, and the CRC of epoch, position and header, from the
    /// `state` behind the epoch.
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
        unsafe { header(state, position, from) }
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
        unsafe { header_alone(state ^ position, a, seq, timestamp_ns, payload_crc, into) };
    }

    /// Stores a whole record that stands at `position` to `into`: payload, and before it the header
    /// of its first three numbers and both CRCs, from the `state` behind the epoch.
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
        if self.wide && payload.len() >= WIDE {
            // SAFETY: duties 1 and 2; the processor has the instructions (invariant).
            unsafe { record_wide(prefix, a, seq, timestamp_ns, from, into) };
        } else {
            // SAFETY: duties 1 and 2; the processor has the instructions (invariant).
            unsafe { record(prefix, a, seq, timestamp_ns, from, into) };
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
        if self.wide {
            // SAFETY: duty 1; `into` was a slice; the processor has the instructions (invariant).
            unsafe { copy_record_wide(prefix, seq, from, into, len) }
        } else {
            // SAFETY: as above.
            unsafe { copy_record(prefix, seq, from, into, len) }
        }
    }

    /// As [`run`].
    ///
    /// # Safety
    /// 1. The passage may be asked for `len` bytes (its invariant).
    #[inline]
    unsafe fn run<P: Passage>(self, state: u32, passage: P, len: usize) -> u32 {
        if self.wide && len >= WIDE {
            // SAFETY: duty 1; the processor has the instructions (invariant).
            unsafe { run_wide(state, passage, len) }
        } else {
            // SAFETY: duty 1; the processor has the instructions (invariant).
            unsafe { run(state, passage, len) }
        }
    }

    /// Without the wide registers.
    #[cfg(test)]
    pub(crate) const fn narrow(mut self) -> Self {
        self.wide = false;
        self
    }

    /// The state behind `bytes`.
    #[inline]
    pub(crate) fn update(self, state: u32, bytes: &[u8]) -> u32 {
        // SAFETY: the processor has the instructions (invariant); `Private` may be read for all of
        // its slice.
        unsafe { self.run(state, Private(bytes.as_ptr()), bytes.len()) }
    }

    /// The state behind the `into.len()` bytes at `from`, which are copied out.
    ///
    /// # Safety
    /// 1. `from` is valid for reads up to the next multiple of 16 bytes. Other parties may store
    ///    there meanwhile.
    #[inline]
    pub(crate) unsafe fn copy_out(self, state: u32, from: *const u8, into: &mut [u8]) -> u32 {
        // SAFETY: the processor has the instructions (invariant); duty 1; `into` is a slice.
        unsafe { self.run(state, Out { from, into: into.as_mut_ptr() }, into.len()) }
    }

    /// The state behind `bytes`, which are copied to `into`, filled up with zeros to a multiple of
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

/// Whether the operating system keeps the registers of AVX-512.
///
/// # Safety
/// 1. The processor says `OSXSAVE`.
unsafe fn registers_kept() -> bool {
    const XMM_YMM_MASKS_ZMM: u32 = 0b1110_0110;
    let kept: u32;
    // SAFETY: duty 1; reads a register.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") kept, out("edx") _, options(nomem, nostack, preserves_flags));
    };
    kept & XMM_YMM_MASKS_ZMM == XMM_YMM_MASKS_ZMM
}

/// Whether the processor has what [`run_wide`] needs.
fn wide_instructions() -> bool {
    const AVX512F: u32 = 1 << 16;
    const AVX512VL: u32 = 1 << 31;
    const VPCLMULQDQ: u32 = 1 << 10;
    if __cpuid(0).eax < 7 {
        return false;
    }
    let leaf = __cpuid_count(7, 0);
    leaf.ebx & (AVX512F | AVX512VL) == AVX512F | AVX512VL && leaf.ecx & VPCLMULQDQ != 0
}
