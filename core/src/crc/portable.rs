//! Where the processor has no carry-less multiplication that this crate knows, or the compiler is
//! asked for none: the names of `clmul`, and nothing to call.

use core::num::NonZeroU64;

use super::Path;
use crate::memory::Span;

/// As in `clmul`; nothing is ever asked for.
pub(crate) const LOADED_BYTES: usize = 1;
/// As in `clmul`; nothing is ever asked for.
pub(crate) const STORED_BYTES: usize = 1;

/// Does nothing.
pub(crate) const fn prefetch(_: Span<'_>) {}

/// There is none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clmul {}

/// Nor any state, which then takes no room where it would be kept.
pub(crate) type State = Clmul;

#[allow(clippy::unused_self, reason = "the signatures of clmul/mod.rs")]
impl Clmul {
    pub(crate) const fn first(self) -> State {
        match self {}
    }

    pub(crate) const fn last(self, _: State) -> u32 {
        match self {}
    }

    pub(crate) const fn detect() -> Option<Self> {
        None
    }

    pub(crate) const fn by(_: Path) -> Option<Self> {
        None
    }

    pub(crate) const fn path(self) -> Path {
        match self {}
    }

    pub(crate) const fn update(self, _state: State, _bytes: &[u8]) -> State {
        match self {}
    }

    pub(crate) const fn copy_out(self, _: State, _: Span<'_>, _: &mut [u8]) -> Option<State> {
        match self {}
    }

    pub(crate) const fn copy_in(self, _: State, _: &[u8], _: Span<'_>) -> Option<State> {
        match self {}
    }

    pub(crate) const fn read_header(
        self,
        _: State,
        _: u32,
        _: Span<'_>,
    ) -> Option<([u64; 4], u32)> {
        match self {}
    }

    pub(crate) const fn write_header(
        self,
        _: State,
        _: u32,
        _: [u64; 3],
        _: u32,
        _: Span<'_>,
    ) -> bool {
        match self {}
    }

    pub(crate) const fn write_record(
        self,
        _: State,
        _: u32,
        _: [u64; 3],
        _: &[u8],
        _: Span<'_>,
    ) -> bool {
        match self {}
    }

    pub(crate) const fn copy_record(
        self,
        _: State,
        _: u32,
        _: u64,
        _: Span<'_>,
        _: &mut [u8],
    ) -> Option<(NonZeroU64, u64)> {
        match self {}
    }
}
