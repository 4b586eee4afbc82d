//! CRC-32/ISO-HDLC of the bytes of records, by the best way that the processor has.
//!
//! Libraries that compute it for whole files are made for long messages; most records are short.
//! On x86-64 this crate multiplies from the first byte on, and does it while it copies; elsewhere
//! the library crc32fast is all there is.

mod path;

#[cfg_attr(
    not(all(target_arch = "x86_64", target_feature = "sse2", not(miri), not(aqueduct_no_asm))),
    path = "portable.rs"
)]
#[allow(unsafe_code, reason = "the processor's instructions; each block has its proof")]
pub(crate) mod clmul;

use self::clmul::Folding;
pub use self::path::Path;

/// A CRC under way. Which way it is computed is asked once, in [`new`](Crc::new), which may take a
/// microsecond; clone it for every record.
#[derive(Clone, Debug)]
pub struct Crc(Way);

#[derive(Clone, Debug)]
enum Way {
    /// With the register's state: the complement of the CRC.
    Folded(Folding, u32),
    Library(crc32fast::Hasher),
}

impl Crc {
    /// Of no bytes yet, by the best path that the processor has; or, with the feature `std`, by
    /// the one that was [forced](Path::forced).
    ///
    /// # Panics
    /// A path is forced that the processor does not have.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(feature = "std")]
        if let Some(path) = Path::forced() {
            return Self::by(path)
                .unwrap_or_else(|| panic!("this processor has no path {}", path.name()));
        }
        Folding::detect().map_or_else(Self::portable, Self::folded)
    }

    /// Of no bytes yet, by this path, if the processor has it.
    #[must_use]
    pub fn by(path: Path) -> Option<Self> {
        if path == Path::Portable {
            return Some(Self(Way::Library(crc32fast::Hasher::internal_new_baseline(0, 0))));
        }
        Folding::by(path).map(Self::folded)
    }

    /// Which path it takes.
    #[must_use]
    pub const fn path(&self) -> Path {
        match self.0 {
            Way::Folded(folding, _) => folding.path(),
            Way::Library(_) => Path::Portable,
        }
    }

    fn portable() -> Self {
        Self(Way::Library(crc32fast::Hasher::new()))
    }

    const fn folded(folding: Folding) -> Self {
        Self(Way::Folded(folding, u32::MAX))
    }

    /// Appends bytes.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Way::Folded(folding, state) => *state = folding.update(*state, bytes),
            Way::Library(hasher) => hasher.update(bytes),
        }
    }

    /// What a copy needs to compute the CRC on its way, if it can: the state to go on from.
    #[inline]
    pub(crate) const fn folding_mut(&mut self) -> Option<(Folding, &mut u32)> {
        match &mut self.0 {
            Way::Folded(folding, state) => Some((*folding, state)),
            Way::Library(_) => None,
        }
    }

    /// The same to look at.
    #[inline]
    pub(crate) const fn folding(&self) -> Option<(Folding, u32)> {
        match self.0 {
            Way::Folded(folding, state) => Some((folding, state)),
            Way::Library(_) => None,
        }
    }

    /// The CRC of what was appended; of `b"123456789"` it is `0xCBF4_3926`. Source: CRC catalogue.
    #[must_use]
    #[inline]
    pub fn finalize(self) -> u32 {
        match self.0 {
            Way::Folded(_, state) => !state,
            Way::Library(hasher) => hasher.finalize(),
        }
    }
}

impl Default for Crc {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::memory::{Memory, MemoryMut, Segment};
    use crate::record::{Framing, Header};
    use std::vec::Vec;

    /// More than every kernel's loop, and what comes before and after it, takes.
    const MOST: usize = if cfg!(miri) { 18 } else { 1100 };

    /// A ring's segment that holds a record of that many bytes.
    const ROOM: usize = 2048;

    #[repr(align(64))]
    struct Aligned([u8; ROOM]);

    /// Bit by bit, as the catalogue defines it.
    fn oracle(bytes: &[u8]) -> u32 {
        let step =
            |state: u32, _| if state & 1 == 1 { state >> 1 ^ 0xEDB8_8320 } else { state >> 1 };
        !bytes.iter().fold(u32::MAX, |state, &byte| (0..8).fold(state ^ u32::from(byte), step))
    }

    fn noise(len: usize) -> Vec<u8> {
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
    fn ways() -> Vec<Crc> {
        Path::ALL.into_iter().filter_map(Crc::by).chain([Crc::portable()]).collect()
    }

    /// Of a ring with this epoch, by each of them.
    fn framings(epoch: u64) -> Vec<Framing> {
        ways().into_iter().map(|crc| Framing::by(crc, epoch)).collect()
    }

    #[test]
    fn wider_registers_are_preferred() {
        let widest = Path::ALL.into_iter().filter(|&path| Crc::by(path).is_some()).max();
        assert_eq!(Some(Folding::detect().map_or(Path::Portable, Folding::path)), widest);
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

    #[test]
    fn copies_on_the_way_are_whole_and_touch_nothing_else() {
        let mut bytes = Aligned([0; ROOM]);
        bytes.0.copy_from_slice(&noise(ROOM));
        let mut copy = Aligned([0; ROOM]);
        for len in 0..=MOST {
            // A buffer may be aligned like anything; most are to 16.
            for skew in [0, 16, 32, 48, 1 + len % 63] {
                let bytes = &bytes.0[skew..skew + len];
                let expected = oracle(bytes);
                for way in ways() {
                    let segment = Segment::<ROOM>::new();
                    let region = segment.region();
                    region.write(0, &[0xff; ROOM]);
                    let mut crc = way.clone();
                    region.write_with_crc(32, bytes, &mut crc);
                    assert_eq!(crc.finalize(), expected, "writing {len} bytes: {way:?}");
                    let mut all = [0; ROOM];
                    region.read(0, &mut all);
                    let filled = 32 + len.next_multiple_of(8);
                    assert_eq!(all[32..32 + len], *bytes, "{len}: {way:?}");
                    assert!(all[32 + len..filled].iter().all(|&byte| byte == 0), "{len}: {way:?}");
                    assert!(
                        all[..32].iter().chain(&all[filled..]).all(|&byte| byte == 0xff),
                        "{len}: {way:?}"
                    );

                    copy.0.fill(0x55);
                    let (before, from) = copy.0.split_at_mut(64 + skew);
                    let (into, after) = from.split_at_mut(len);
                    let mut crc = way.clone();
                    region.read_with_crc(32, into, &mut crc);
                    assert_eq!(crc.finalize(), expected, "reading {len} bytes: {way:?}");
                    assert_eq!(*into, *bytes, "{way:?}");
                    assert!(
                        before.iter().chain(&*after).all(|&byte| byte == 0x55),
                        "{len}: {way:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_header_that_names_another_length_moves_no_byte_more_than_the_payload_has() {
        let framing = Framing::new(7);
        for (named, given) in [(0, 64), (64, 0), (64, 63), (65, 64), (u32::MAX, 8), (512, 64)] {
            let segment = Segment::<256>::new();
            let region = segment.region();
            region.write(0, &[0xff; 256]);
            let header = Header {
                len: named,
                kind: 1,
                flags: 0,
                type_tag: 0,
                seq: 1,
                timestamp_ns: 2,
                payload_crc: 0,
            };
            let payload = noise(given);
            region.write_record(64, &framing, 2, header, &payload);
            let mut all = [0; 256];
            region.read(0, &mut all);
            assert_eq!(all[96..96 + given], payload[..], "{named}");
            assert!(
                all[..64]
                    .iter()
                    .chain(&all[96 + given.next_multiple_of(8)..])
                    .all(|&byte| byte == 0xff),
                "{named} named, {given} given"
            );
            let (found, _) = region.read_header(64, &framing, 2).expect("it was just written");
            assert_eq!(found, Header { payload_crc: oracle(&payload), ..header });
        }
    }

    #[test]
    fn records_and_headers_are_the_same_bytes_whichever_way_they_are_made() {
        let bytes = noise(MOST);
        let framings = framings(0x0123_4567_89ab_cdef);
        for len in 0..=MOST {
            let payload = &bytes[..len];
            let header = Header {
                len: u32::try_from(len).expect("few"),
                kind: 1,
                flags: 2,
                type_tag: 7,
                seq: 41 << 32 | 5,
                timestamp_ns: !6,
                payload_crc: 0,
            };
            for (position, at) in [(3, 0), (u32::MAX, 64)] {
                let images = framings.iter().map(|framing| {
                    let segment = Segment::<ROOM>::new();
                    let region = segment.region();
                    region.write_record(at, framing, position, header, payload);
                    let mut all = [0; ROOM];
                    region.read(0, &mut all);
                    let expected = Header { payload_crc: oracle(payload), ..header };
                    for reading in &framings {
                        let (found, crc) =
                            region.read_header(at, reading, position).expect("it was just written");
                        assert_eq!(
                            (found, crc.to_le_bytes()),
                            (expected, all[at + 28..at + 32].try_into().expect("four")),
                            "{len}"
                        );
                        assert_eq!(
                            reading.decode(position, all[at..].first_chunk().expect("a header")),
                            Ok(expected),
                            "{len}"
                        );
                        let wrong = region
                            .read_header(at, reading, position ^ 1)
                            .expect_err("another position");
                        assert_eq!(wrong.stored.to_le_bytes(), all[at + 28..at + 32], "{len}");
                    }
                    all
                });
                let images: Vec<_> = images.collect();
                assert!(images.windows(2).all(|two| two[0] == two[1]), "{len}");
            }
        }
    }

    #[test]
    fn whole_records_are_read_in_one_go_by_every_way_and_nothing_else_is() {
        const FIRST: u64 = 0x0123_4567_89ab_cdef;
        let bytes = noise(MOST);
        let framings = framings(FIRST);
        let written_by = &framings[0];
        for len in 0..=MOST {
            let segment = Segment::<ROOM>::new();
            let region = segment.region();
            let header = Header {
                len: u32::try_from(len).expect("few"),
                kind: 1,
                flags: 2,
                type_tag: 7,
                seq: 41 << 32 | 5,
                timestamp_ns: !6,
                payload_crc: 0,
            };
            region.write_record(64, written_by, 3, header, &bytes[..len]);
            for framing in &framings {
                let read = |position, seq, room: usize| {
                    let mut copy = std::vec![0x55; room + 32];
                    let record =
                        region.read_record(64, framing, position, seq, &mut copy[16..16 + room]);
                    assert!(
                        copy[..16].iter().chain(&copy[16 + room..]).all(|&byte| byte == 0x55),
                        "{len}: {framing:?}"
                    );
                    (record, copy[16..16 + room].to_vec())
                };
                for room in [len, len + 1, len + 70] {
                    let (record, copy) = read(3, header.seq, room);
                    assert_eq!(record, Some(header.record_at(3)), "{len} in {room}: {framing:?}");
                    assert_eq!(copy[..len], bytes[..len]);
                    assert!(
                        copy[len..].iter().all(|&byte| byte == 0x55),
                        "{len} in {room}: {framing:?}"
                    );
                }
                assert_eq!(read(2, header.seq, len).0, None);
                assert_eq!(read(3, header.seq + (1 << 32), len).0, None);
                assert_eq!(read(3, header.seq - 1, len).0, None);
                if len > 0 {
                    assert_eq!(read(3, header.seq, len - 1).0, None);
                }
                // Each bit of the header, and one in each byte of the payload.
                let mut whole = [0; ROOM];
                region.read(64, &mut whole[..ROOM - 64]);
                let flips = (0..256).chain((0..len).map(|byte| 256 + 8 * byte + byte % 8));
                for bit in flips.step_by(if len % 16 == 0 || len < 20 { 1 } else { 11 }) {
                    let granule = 64 + bit / 64 * 8;
                    let mut damaged = [0; 8];
                    damaged.copy_from_slice(&whole[granule - 64..granule - 56]);
                    damaged[bit / 8 % 8] ^= 1 << (bit % 8);
                    region.write(granule, &damaged);
                    assert_eq!(read(3, header.seq, len).0, None, "bit {bit} of {len}: {framing:?}");
                    region.write(granule, &whole[granule - 64..granule - 56]);
                }
            }
            for kind in [0, 2, 3, 255] {
                region.write_record(64, written_by, 3, Header { kind, ..header }, &bytes[..len]);
                for framing in &framings {
                    assert_eq!(
                        region.read_record(64, framing, 3, header.seq, &mut [0; MOST]),
                        None,
                        "kind {kind}: {framing:?}"
                    );
                }
            }
        }
    }
}
