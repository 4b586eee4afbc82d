//! CRC-32/ISO-HDLC of the bytes of records, by the best way that the processor has.
//!
//! Libraries that compute it for whole files are made for long messages; most records are short. On
//! x86-64 this crate multiplies from the first byte on, on AArch64 it has its CRC32 instructions
//! and vectors, and does it while it copies. Where the processor cannot, `plain_crc` does it: by
//! the library crc32fast or, on bare metal, by a small table.

mod path;

#[cfg_attr(
    all(
        target_arch = "aarch64",
        target_pointer_width = "64",
        target_endian = "little",
        target_feature = "neon",
        not(any(miri, aqueduct_no_asm))
    ),
    path = "arm/mod.rs"
)]
#[cfg_attr(
    not(any(
        all(
            target_arch = "x86_64",
            target_pointer_width = "64",
            target_feature = "sse2",
            any(not(miri), all(target_feature = "pclmulqdq", target_feature = "sse4.1")),
            not(aqueduct_no_asm)
        ),
        all(
            target_arch = "aarch64",
            target_pointer_width = "64",
            target_endian = "little",
            target_feature = "neon",
            not(any(miri, aqueduct_no_asm))
        )
    )),
    path = "portable.rs"
)]
#[allow(unsafe_code, reason = "the processor's instructions; each block has its proof")]
pub(crate) mod clmul;

use self::clmul::{Clmul, State};
pub use self::path::Path;
use crate::plain_crc::Plain;

/// A CRC under way. Which way it is computed is asked once, in [`new`](Crc::new), which may take a
/// microsecond; clone it for every record.
#[derive(Clone, Debug)]
pub struct Crc(Way);

#[derive(Clone, Debug)]
enum Way {
    /// With the register's state.
    Clmul(Clmul, State),
    Plain(Plain),
}

impl Crc {
    /// Of no bytes yet, by the best path that the processor has; or, with the feature `std`, by
    /// the one that was forced (`Path::forced`), if the processor has it.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(feature = "std")]
        if let Some(forced) = Path::forced().and_then(Self::by) {
            return forced;
        }
        Clmul::detect().map_or_else(Self::portable, Self::by_clmul)
    }

    /// Of no bytes yet, by this path, if the processor has it.
    #[must_use]
    pub fn by(path: Path) -> Option<Self> {
        if path == Path::Portable {
            return Some(Self(Way::Plain(Plain::by_tables())));
        }
        Clmul::by(path).map(Self::by_clmul)
    }

    /// Which path it takes.
    #[must_use]
    pub const fn path(&self) -> Path {
        match self.0 {
            Way::Clmul(clmul, _) => clmul.path(),
            Way::Plain(_) => Path::Portable,
        }
    }

    /// Of no bytes yet, by the path of this one: costs nothing where the table is the only one.
    #[cfg(target_os = "none")]
    #[inline]
    pub(crate) const fn restarted(&self) -> Self {
        match self.0 {
            Way::Clmul(clmul, _) => Self::by_clmul(clmul),
            Way::Plain(_) => Self(Way::Plain(Plain::new())),
        }
    }

    fn portable() -> Self {
        Self(Way::Plain(Plain::new()))
    }

    #[allow(unreachable_code, reason = "a way that is not there is never taken")]
    const fn by_clmul(clmul: Clmul) -> Self {
        Self(Way::Clmul(clmul, clmul.first()))
    }

    /// Appends bytes.
    #[inline]
    #[allow(unreachable_code, reason = "as above")]
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Way::Clmul(clmul, state) => *state = clmul.update(*state, bytes),
            Way::Plain(plain) => plain.update(bytes),
        }
    }

    /// What a copy needs to compute the CRC on its way, if it can: the state to go on from.
    #[inline]
    pub(crate) const fn clmul_mut(&mut self) -> Option<(Clmul, &mut State)> {
        match &mut self.0 {
            Way::Clmul(clmul, state) => Some((*clmul, state)),
            Way::Plain(_) => None,
        }
    }

    /// The same to look at.
    #[inline]
    pub(crate) const fn clmul(&self) -> Option<(Clmul, State)> {
        match self.0 {
            Way::Clmul(clmul, state) => Some((clmul, state)),
            Way::Plain(_) => None,
        }
    }

    /// The CRC of what was appended; of `b"123456789"` it is `0xCBF4_3926`. Source: CRC catalogue.
    #[must_use]
    #[inline]
    pub fn finalize(self) -> u32 {
        match self.0 {
            Way::Clmul(clmul, state) => clmul.last(state),
            Way::Plain(plain) => plain.finalize(),
        }
    }
}

impl Default for Crc {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    /// More than every kernel's loop, and what comes before and after it, takes.
    pub(crate) const MOST: usize = if cfg!(miri) { 18 } else { 1100 };

    /// Bit by bit, as the catalogue defines it.
    pub(crate) fn oracle(bytes: &[u8]) -> u32 {
        let step =
            |state: u32, _| if state & 1 == 1 { state >> 1 ^ 0xEDB8_8320 } else { state >> 1 };
        !bytes.iter().fold(u32::MAX, |state, &byte| (0..8).fold(state ^ u32::from(byte), step))
    }

    pub(crate) fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_u32;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state.to_le_bytes()[1]
            })
            .collect()
    }

    /// By every path that this machine has, and by the library as it comes.
    pub(crate) fn ways() -> Vec<Crc> {
        Path::ALL.into_iter().filter_map(Crc::by).chain([Crc::portable()]).collect()
    }

    #[test]
    fn wider_registers_are_preferred() {
        let widest = Path::ALL.into_iter().filter(|&path| Crc::by(path).is_some()).max();
        assert_eq!(Some(Clmul::detect().map_or(Path::Portable, Clmul::path)), widest);
        for path in Path::ALL {
            assert!(Crc::by(path).is_none_or(|crc| crc.path() == path), "{path:?}");
        }
    }

    #[test]
    fn check_value_is_that_of_the_catalogue() {
        for mut crc in ways() {
            crc.update(b"123456789");
            assert_eq!(crc.finalize(), 0xCBF4_3926);
        }
        assert_eq!(oracle(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn every_length_at_every_alignment_agrees_with_the_definition() {
        let bytes = noise(MOST + 16);
        for from in 0..if cfg!(miri) { 2 } else { 16 } {
            for len in 0..=MOST {
                let piece = &bytes[from..from + len];
                let expected = oracle(piece);
                for mut crc in ways() {
                    crc.update(piece);
                    assert_eq!(
                        crc.clone().finalize(),
                        expected,
                        "{len} bytes from {from}: {crc:?}"
                    );
                }
            }
        }
    }

    /// Beyond every kernel's longest stride.
    #[cfg(not(miri))]
    pub(crate) const LONG: [usize; 12] =
        [2047, 4096, 6143, 6144, 6150, 7680, 12_288, 13_111, 17_215, 17_216, 19_399, 65_536];

    #[test]
    #[cfg(not(miri))]
    fn long_messages_agree_with_the_definition() {
        let bytes = noise(LONG[LONG.len() - 1] + 16);
        for len in LONG {
            for from in [0, 1, 8, 15] {
                let piece = &bytes[from..from + len];
                let expected = oracle(piece);
                for mut crc in ways() {
                    crc.update(piece);
                    assert_eq!(crc.clone().finalize(), expected, "{len} from {from}: {crc:?}");
                }
            }
        }
    }

    /// The states of a message after each number of bytes, from one before them.
    #[cfg(not(miri))]
    fn states(bytes: &[u8], state: u32) -> Vec<u32> {
        let step =
            |state: u32, _| if state & 1 == 1 { state >> 1 ^ 0xEDB8_8320 } else { state >> 1 };
        let next = |state: &mut u32, &byte: &u8| {
            *state = (0..8).fold(*state ^ u32::from(byte), step);
            Some(*state)
        };
        [state].into_iter().chain(bytes.iter().scan(state, next)).collect()
    }

    /// From below the length at which blocks begin to move on by exclusive or to beyond that at
    /// which more of them do, and, by steps, to two rounds of the most.
    #[test]
    #[cfg(not(miri))]
    fn lengths_about_every_stride_agree_with_the_definition() {
        let bytes = noise(300_008);
        for from in 0..16 {
            let (most, step) = if from % 8 == 0 { (300_000, 1) } else { (19_600, 13) };
            let bytes = &bytes[from..from + most];
            let states = states(bytes, u32::MAX);
            let lengths = (16_900 + from..19_600).step_by(step);
            for len in lengths.chain((19_600 + from..most).step_by(9973)) {
                for mut crc in ways() {
                    crc.update(&bytes[..len]);
                    assert_eq!(!crc.clone().finalize(), states[len], "{len} from {from}: {crc:?}");
                }
            }
        }
    }

    #[test]
    fn pieces_of_any_length_make_the_whole() {
        let bytes = noise(MOST);
        let expected = oracle(&bytes);
        for first in 0..=MOST.min(70) {
            for second in 0..=(MOST - first).min(40) {
                for mut crc in ways() {
                    crc.update(&bytes[..first]);
                    crc.update(&bytes[first..first + second]);
                    crc.update(&bytes[first + second..]);
                    assert_eq!(
                        crc.clone().finalize(),
                        expected,
                        "{first}, {second}, the rest: {crc:?}"
                    );
                }
            }
        }
    }
}
