//! Where the processor has no folding instructions, or the compiler is asked for none: see
//! `clmul/mod.rs`.

use core::num::NonZeroU64;

use super::Path;

/// Does nothing.
pub(crate) const fn prefetch(_: *const u8) {}

/// There is none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Folding {}

#[allow(clippy::unused_self, reason = "the signatures of clmul/mod.rs")]
impl Folding {
    pub(crate) const fn detect() -> Option<Self> {
        None
    }

    pub(crate) const fn by(_: Path) -> Option<Self> {
        None
    }

    pub(crate) const fn path(self) -> Path {
        match self {}
    }

    pub(crate) const fn update(self, _state: u32, _bytes: &[u8]) -> u32 {
        match self {}
    }

    /// # Safety
    /// None: it cannot be called.
    pub(crate) const unsafe fn copy_out(
        self,
        _state: u32,
        _from: *const u8,
        _into: &mut [u8],
    ) -> u32 {
        match self {}
    }

    /// # Safety
    /// None: it cannot be called.
    pub(crate) const unsafe fn copy_in(self, _state: u32, _bytes: &[u8], _into: *mut u8) -> u32 {
        match self {}
    }

    /// # Safety
    /// None: it cannot be called.
    pub(crate) const unsafe fn header(
        self,
        _state: u32,
        _position: u32,
        _from: *const u8,
    ) -> ([u64; 4], u32) {
        match self {}
    }

    /// # Safety
    /// None: it cannot be called.
    pub(crate) const unsafe fn copy_record(
        self,
        _: u32,
        _: u32,
        _: u64,
        _: *const u8,
        _: &mut [u8],
    ) -> Option<(NonZeroU64, u64)> {
        match self {}
    }

    /// # Safety
    /// None: it cannot be called.
    pub(crate) const unsafe fn write_header(self, _: u32, _: u32, _: [u64; 3], _: u32, _: *mut u8) {
        match self {}
    }

    /// # Safety
    /// None: it cannot be called.
    pub(crate) const unsafe fn record(self, _: u32, _: u32, _: [u64; 3], _: &[u8], _: *mut u8) {
        match self {}
    }
}
