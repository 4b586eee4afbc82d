//! CRC-32 by the instructions of AArch64, and copies of record bytes that compute it on the way:
//! the names of `clmul`.
//!
//! The CRC32 instructions take eight bytes in one step, and are all there is to headers and short
//! messages. Each waits for the one before it, so a long message goes by three of them side by side
//! (`lanes`), or, where the processor multiplies without carries, by eight vectors (`blocks`). None
//! of it was timed: what is known of it is that its answers are right, and how many instructions it
//! takes.

mod access;
mod blocks;
#[allow(dead_code, reason = "there, a message is finished by multiplications, too")]
#[path = "../clmul/constants.rs"]
mod constants;
mod copy;
mod detect;
mod header;
mod lanes;
mod words;

use core::arch::asm;
use core::num::NonZeroU64;

use self::copy::{In, Out, Private, Source};
use self::header::{
    copy_record_by_crc32, copy_record_by_eor3, copy_record_by_pmull, read_header, write_header,
    write_record_by_crc32, write_record_by_eor3, write_record_by_pmull,
};
use super::Path;
use crate::layout::GRANULE_BYTES;
use crate::memory::Span;

/// Shared bytes are loaded up to the next multiple of this many.
pub(crate) const LOADED_BYTES: usize = 8;
/// Shared bytes are stored up to the next multiple of this many.
pub(crate) const STORED_BYTES: usize = 8;

/// Begins to load the cache line in which these bytes begin, and the next one.
#[inline]
pub(crate) fn prefetch(span: Span<'_>) {
    let Some(at) = span.readable(0) else { return };
    // SAFETY: a hint, for any address; it accesses nothing that could be seen.
    unsafe {
        asm!("prfm pldl1keep, [{at}]", "prfm pldl1keep, [{at}, #64]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    };
}

/// What the processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Extension {
    /// CRC32.
    Crc32,
    /// PMULL and CRC32.
    Pmull,
    /// EOR3, of SHA3, and those.
    Eor3,
}

/// The state of the CRC register.
pub(crate) type State = u32;

/// A processor that has the instructions. The `state` in its methods is that of the CRC register:
/// all ones before the first byte, the complement of the CRC after the last.
///
/// INVARIANT: made by [`Clmul::detect`] and [`Clmul::by`] only, which ask for what the processor
/// has: it has this extension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clmul {
    extension: Extension,
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

    /// By the most that there is.
    pub(crate) fn detect() -> Option<Self> {
        detect::most().map(|extension| Self { extension })
    }

    /// By this path, if it is one of these and the processor has it.
    pub(crate) fn by(path: Path) -> Option<Self> {
        let extension = match path {
            Path::Crc32 => Extension::Crc32,
            Path::Pmull => Extension::Pmull,
            Path::Eor3 => Extension::Eor3,
            _ => return None,
        };
        detect::has(extension).then_some(Self { extension })
    }

    /// The path that this is.
    pub(crate) const fn path(self) -> Path {
        match self.extension {
            Extension::Crc32 => Path::Crc32,
            Extension::Pmull => Path::Pmull,
            Extension::Eor3 => Path::Eor3,
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
        numbers: [u64; 3],
        payload_crc: u32,
        into: Span<'_>,
    ) -> bool {
        let Some(into) = into.writable(GRANULE_BYTES) else { return false };
        // SAFETY: (1) 32 bytes may be written (checked); (2) the processor has the instructions
        // (invariant).
        unsafe { write_header(state ^ position, numbers, payload_crc, into) };
        true
    }

    /// Stores a whole record at `position` to the start of `into`: payload, and before it the
    /// header of its first three numbers and both CRCs, from the `state` after the epoch. False if
    /// it cannot be written there, or if the lower half of the first number is not the payload's
    /// length.
    #[inline]
    #[must_use]
    pub(crate) fn write_record(
        self,
        state: u32,
        position: u32,
        numbers: [u64; 3],
        payload: &[u8],
        into: Span<'_>,
    ) -> bool {
        // A header that names another length is never believed here.
        if numbers[0] & u64::from(u32::MAX) != payload.len() as u64 {
            return false;
        }
        let len = payload.len().next_multiple_of(STORED_BYTES);
        let Some(into) = into.writable(GRANULE_BYTES + len) else { return false };
        let (prefix, from) = (state ^ position, payload.as_ptr());
        match self.extension {
            // SAFETY: (1) header and payload, up to the next multiple of 8, may be written
            // (checked), and the length that the first number names is the payload's (checked); (2)
            // the processor has the instructions (invariant).
            Extension::Crc32 => unsafe { write_record_by_crc32(prefix, numbers, from, into) },
            // SAFETY: as above.
            Extension::Pmull => unsafe { write_record_by_pmull(prefix, numbers, from, into) },
            // SAFETY: as above.
            Extension::Eor3 => unsafe { write_record_by_eor3(prefix, numbers, from, into) },
        }
        true
    }

    /// Copies the payload of the record whose header is at the start of `from`, and which is at
    /// `position`, to the start of `into`, if it is DATA with number `seq`, fits and is whole by
    /// both CRCs: its first number and its timestamp. `None`: it is not, or `from` is shorter than
    /// a header and `into` rounded up to [`LOADED_BYTES`]; what `into` holds means nothing.
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
        match self.extension {
            // SAFETY: (1) header and payload, up to the next multiple of 8, may be read (checked);
            // `into` was a slice; (2) the processor has the instructions (invariant).
            Extension::Crc32 => unsafe { copy_record_by_crc32(prefix, seq, from, into, len) },
            // SAFETY: as above.
            Extension::Pmull => unsafe { copy_record_by_pmull(prefix, seq, from, into, len) },
            // SAFETY: as above.
            Extension::Eor3 => unsafe { copy_record_by_eor3(prefix, seq, from, into, len) },
        }
    }

    /// The state after `len` bytes, all of which pass.
    ///
    /// # Safety
    /// 1. The source may be asked for `len` bytes (its invariant).
    #[inline]
    unsafe fn run<S: Source>(self, state: u32, source: S, len: usize) -> u32 {
        match self.extension {
            // SAFETY: duty 1; the processor has the instructions (invariant).
            Extension::Crc32 => unsafe { lanes::state(state, source, len) },
            // SAFETY: as above.
            Extension::Pmull => unsafe { blocks::state_by_pmull(state, source, len) },
            // SAFETY: as above.
            Extension::Eor3 => unsafe { blocks::state_by_eor3(state, source, len) },
        }
    }

    /// The state after `bytes`.
    #[inline]
    pub(crate) fn update(self, state: u32, bytes: &[u8]) -> u32 {
        // SAFETY: `Private` may be read for all of its slice.
        unsafe { self.run(state, Private(bytes.as_ptr()), bytes.len()) }
    }

    /// Copies the first `into.len()` bytes of `from` out and gives the state after them; `None` if
    /// there are not so many, rounded up to [`LOADED_BYTES`].
    #[inline]
    pub(crate) fn copy_out(self, state: u32, from: Span<'_>, into: &mut [u8]) -> Option<u32> {
        let len = into.len();
        let from = from.readable(len.next_multiple_of(LOADED_BYTES))?;
        // SAFETY: `from` may be read up to the next multiple of 8 (checked), and `into` is a slice.
        Some(unsafe { self.run(state, Out { from, into: into.as_mut_ptr() }, len) })
    }

    /// Copies `bytes` to the start of `into`, filled up with zeros to a multiple of
    /// [`STORED_BYTES`], and gives the state after them; `None` if that cannot be written.
    #[inline]
    pub(crate) fn copy_in(self, state: u32, bytes: &[u8], into: Span<'_>) -> Option<u32> {
        let into = into.writable(bytes.len().next_multiple_of(STORED_BYTES))?;
        // SAFETY: `into` may be written up to the next multiple of 8 (checked), and `bytes` is a
        // slice.
        Some(unsafe { self.run(state, In { from: bytes.as_ptr(), into }, bytes.len()) })
    }
}
