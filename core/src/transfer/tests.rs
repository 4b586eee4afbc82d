extern crate std;

use super::*;
#[cfg(not(miri))]
use crate::crc::tests::LONG;
use crate::crc::tests::{MOST, noise, oracle, ways};
use crate::layout::CONTROL_BYTES;
use crate::memory::Segment;
use std::vec::Vec;

/// A ring's segment that holds a record of that many bytes.
const ROOM: usize = 2048;

/// Where records are put: among data, so that there are spans.
const AT: usize = CONTROL_BYTES + 64;

/// Between the lengths that are tried. Miri looks at the accesses: it needs lengths of every
/// remainder, not every length.
const APART: usize = if cfg!(miri) { 6 } else { 1 };

#[repr(align(64))]
struct Aligned([u8; ROOM]);

/// Of a ring with this epoch, by each of them.
fn framings(epoch: u64) -> Vec<Framing> {
    ways().into_iter().map(|crc| Framing::by(crc, epoch)).collect()
}

#[test]
fn copies_on_the_way_are_whole_and_touch_nothing_else() {
    let mut bytes = Aligned([0; ROOM]);
    bytes.0.copy_from_slice(&noise(ROOM));
    let mut copy = Aligned([0; ROOM]);
    for len in (0..=MOST).step_by(APART) {
        // A buffer may be aligned like anything; most are to 16.
        for skew in [0, 16, 32, 48, 1 + len % 63] {
            let bytes = &bytes.0[skew..skew + len];
            let expected = oracle(bytes);
            for way in ways() {
                let segment = Segment::<ROOM>::new();
                let region = segment.region();
                region.write(0, &[0xff; ROOM]);
                let mut crc = way.clone();
                write_with_crc(&region, AT, bytes, &mut crc);
                assert_eq!(crc.finalize(), expected, "writing {len} bytes: {way:?}");
                let mut all = [0; ROOM];
                region.read(0, &mut all);
                let filled = AT + len.next_multiple_of(8);
                assert_eq!(all[AT..AT + len], *bytes, "{len}: {way:?}");
                assert!(all[AT + len..filled].iter().all(|&byte| byte == 0), "{len}: {way:?}");
                assert!(
                    all[..AT].iter().chain(&all[filled..]).all(|&byte| byte == 0xff),
                    "{len}: {way:?}"
                );

                copy.0.fill(0x55);
                let (before, from) = copy.0.split_at_mut(64 + skew);
                let (into, after) = from.split_at_mut(len);
                let mut crc = way.clone();
                read_with_crc(&region, AT, into, &mut crc);
                assert_eq!(crc.finalize(), expected, "reading {len} bytes: {way:?}");
                assert_eq!(*into, *bytes, "{way:?}");
                assert!(before.iter().chain(&*after).all(|&byte| byte == 0x55), "{len}: {way:?}");
            }
        }
    }
}

#[test]
#[cfg(not(miri))]
fn long_copies_on_the_way_are_whole_and_touch_nothing_else() {
    const LONG_ROOM: usize = 1 << 17;
    let bytes = noise(LONG[LONG.len() - 1] + 16);
    let segment = std::boxed::Box::new(Segment::<LONG_ROOM>::new());
    let region = segment.region();
    for len in LONG {
        for way in ways() {
            let (bytes, filled) = (&bytes[len % 16..][..len], len.next_multiple_of(8));
            region.write(AT, &std::vec![0xff; len + 64]);
            let mut crc = way.clone();
            write_with_crc(&region, AT, bytes, &mut crc);
            assert_eq!(crc.finalize(), oracle(bytes), "writing {len} bytes: {way:?}");
            let mut copy = std::vec![0x55; len + 64];
            let mut crc = way.clone();
            read_with_crc(&region, AT, &mut copy[32..32 + len], &mut crc);
            assert_eq!(crc.finalize(), oracle(bytes), "reading {len} bytes: {way:?}");
            assert_eq!(copy[32..32 + len], *bytes, "{way:?}");
            assert!(copy[..32].iter().chain(&copy[32 + len..]).all(|&byte| byte == 0x55));
            region.read(AT + filled, &mut copy[..48]);
            assert!(copy[..48].iter().all(|&byte| byte == 0xff), "{len}: {way:?}");
        }
    }
}

/// Also for Miri, to which the lengths of the other tests are too many.
#[test]
fn records_of_every_stride_of_every_kernel_are_written_and_read() {
    let bytes = noise(600);
    let framings = framings(7);
    for len in [15, 16, 33, 63, 64, 79, 127, 129, 192, 255, 256, 271, 300, 512, 591] {
        let header = Header {
            len: u32::try_from(len).expect("few"),
            kind: 1,
            flags: 0,
            type_tag: 7,
            seq: 1,
            timestamp_ns: 2,
            payload_crc: 0,
        };
        for framing in &framings {
            let segment = Segment::<1024>::new();
            let region = segment.region();
            write_record(&region, AT, framing, 2, header, &bytes[..len]);
            let (found, _) = read_header(&region, AT, framing, 2).expect("it was just written");
            assert_eq!(found.payload_crc, oracle(&bytes[..len]), "{len}: {framing:?}");
            let mut copy = std::vec![0; len];
            let record = read_record(&region, AT, framing, 2, 1, &mut copy);
            assert_eq!(record, Some(header.record_at(2)), "{len}: {framing:?}");
            assert_eq!(copy, bytes[..len], "{framing:?}");
        }
    }
}

#[test]
fn a_header_that_names_another_length_moves_no_byte_more_than_the_payload_has() {
    let framing = Framing::new(7);
    for (named, given) in [(0, 64), (64, 0), (64, 63), (65, 64), (u32::MAX, 8), (512, 64)] {
        let segment = Segment::<512>::new();
        let region = segment.region();
        region.write(0, &[0xff; 512]);
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
        write_record(&region, AT, &framing, 2, header, &payload);
        let mut all = [0; 512];
        region.read(0, &mut all);
        assert_eq!(all[AT + 32..AT + 32 + given], payload[..], "{named}");
        assert!(
            all[..AT]
                .iter()
                .chain(&all[AT + 32 + given.next_multiple_of(8)..])
                .all(|&byte| byte == 0xff),
            "{named} named, {given} given"
        );
        let (found, _) = read_header(&region, AT, &framing, 2).expect("it was just written");
        assert_eq!(found, Header { payload_crc: oracle(&payload), ..header });
    }
}

#[test]
fn records_and_headers_are_the_same_bytes_whichever_way_they_are_made() {
    let bytes = noise(MOST);
    let framings = framings(0x0123_4567_89ab_cdef);
    for len in (0..=MOST).step_by(APART) {
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
        for (position, at) in [(3, CONTROL_BYTES), (u32::MAX, AT)] {
            let images = framings.iter().map(|framing| {
                let segment = Segment::<ROOM>::new();
                let region = segment.region();
                write_record(&region, at, framing, position, header, payload);
                let mut all = [0; ROOM];
                region.read(0, &mut all);
                let expected = Header { payload_crc: oracle(payload), ..header };
                for reading in &framings {
                    let (found, crc) =
                        read_header(&region, at, reading, position).expect("it was just written");
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
                    let wrong = read_header(&region, at, reading, position ^ 1)
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
    for len in (0..=MOST).step_by(APART) {
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
        write_record(&region, AT, written_by, 3, header, &bytes[..len]);
        for framing in &framings {
            let read = |position, seq, room: usize| {
                let mut copy = std::vec![0x55; room + 32];
                let record =
                    read_record(&region, AT, framing, position, seq, &mut copy[16..16 + room]);
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
            region.read(AT, &mut whole[..ROOM - AT]);
            let flips = (0..256).chain((0..len).map(|byte| 256 + 8 * byte + byte % 8));
            // Miri looks at the accesses, which every 23rd bit has as well.
            let every = match len {
                _ if cfg!(miri) => 23,
                _ if len % 16 == 0 || len < 20 => 1,
                _ => 11,
            };
            for bit in flips.step_by(every) {
                let granule = AT + bit / 64 * 8;
                let mut damaged = [0; 8];
                damaged.copy_from_slice(&whole[granule - AT..granule - AT + 8]);
                damaged[bit / 8 % 8] ^= 1 << (bit % 8);
                region.write(granule, &damaged);
                assert_eq!(read(3, header.seq, len).0, None, "bit {bit} of {len}: {framing:?}");
                region.write(granule, &whole[granule - AT..granule - AT + 8]);
            }
        }
        for kind in [0, 2, 3, 255] {
            write_record(&region, AT, written_by, 3, Header { kind, ..header }, &bytes[..len]);
            for framing in &framings {
                assert_eq!(
                    read_record(&region, AT, framing, 3, header.seq, &mut [0; MOST]),
                    None,
                    "kind {kind}: {framing:?}"
                );
            }
        }
    }
}
