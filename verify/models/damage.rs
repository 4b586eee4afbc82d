//! Damage: every flipped bit is found, and the reader goes on after it with an exact account of
//! what is lost.
//!
//! One thread, production memory. Every bit of every byte of a record, for payloads of 0, 1, 31,
//! 32, 33 and 200 bytes; then random bytes, random control words and random headers with valid
//! checksums, where reading must end after a number of steps that the capacity bounds.

use std::sync::atomic::Ordering;

use aqueduct_core::AttachError;
use aqueduct_core::ReaderStats;
use aqueduct_core::geometry::{distance, granules_for};
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{KIND_ATTRIBUTES, KIND_DATA, cursor_word, ring_word};
use aqueduct_core::{MemoryMut, Meta, Next, Producer, ReadError, Reader, RingConfig, Start};
use aqueduct_verify::heap::Heap;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const EPOCH: u64 = 0x0123_4567_89ab_cdef;
const DATA: usize = 256;
const CAPACITY: u32 = 32;
type Ring = Heap<{ DATA + CAPACITY as usize * 32 }>;
type Page = Heap<256>;

struct World {
    ring: Ring,
    page: Page,
    producer: Producer<Ring, Page>,
    reader: Reader<Ring, Page>,
}

fn world() -> World {
    let (ring, page) = (Ring::new(), Page::new());
    let mut producer: Producer<_, _> =
        Producer::create(ring.clone(), &RingConfig::new("damage", EPOCH, CAPACITY as usize * 32))
            .unwrap();
    let id = producer.subscribe(Start::Latest).unwrap();
    producer.attach(id, "reader", page.clone()).unwrap();
    let reader = Reader::attach(ring.clone(), page.clone()).unwrap();
    World { ring, page, producer, reader }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..=255).cycle().skip(len).take(len).collect()
}

impl World {
    fn push<const N: usize>(&mut self, lens: [usize; N]) {
        for len in lens {
            let seq = self.producer.next_seq();
            assert!(
                self.producer
                    .push(Meta { type_tag: 7, timestamp_ns: seq }, &bytes(len))
                    .unwrap()
                    .1
                    .is_none()
            );
        }
    }

    fn next(&mut self) -> Result<Next, ReadError> {
        self.reader.next(&mut [0; 512])
    }

    fn assert_reads(&mut self, seq: u64, len: usize) {
        let mut buf = [0; 512];
        match self.reader.next(&mut buf) {
            Ok(Next::Record(record)) => {
                assert_eq!((record.seq, record.len), (seq, len));
                assert_eq!(buf[..len], bytes(len));
            }
            other => panic!("record {seq} was due: {other:?}"),
        }
    }

    fn assert_stats(&self, corrupt: u32, lost: u32) {
        assert_eq!(self.reader.stats(), ReaderStats { corrupt, lost, missed_wakes: 0 });
    }
}

/// Flips each bit of a record between two others: header, payload, and the padding after the
/// payload.
fn flip_every_bit(len: usize) {
    let granules = granules_for(u32::try_from(len).unwrap());
    for at in 0..granules as usize * 32 {
        for bit in 0..8 {
            let mut world = world();
            world.push([3, len, 5]);
            // The first record takes 2 granules.
            world.ring.flip(DATA + 64 + at, 1 << bit);
            world.assert_reads(0, 3);
            if at < 32 {
                let Err(ReadError::Header { position, resumed_at, lost, .. }) = world.next() else {
                    panic!("header byte {at} bit {bit}")
                };
                assert_eq!(
                    (position, resumed_at, lost),
                    (2, 2 + granules, Some(1)),
                    "byte {at} bit {bit}"
                );
                world.assert_stats(1, 1);
            } else if at < 32 + len {
                let Err(ReadError::Payload { seq, position, stored, computed }) = world.next()
                else {
                    panic!("byte {at} bit {bit}")
                };
                assert_eq!((seq, position), (1, 2));
                assert_ne!(stored, computed);
                world.assert_stats(1, 1);
            } else {
                // Nobody's bytes: neither checked nor delivered.
                world.assert_reads(1, len);
                world.assert_stats(0, 0);
            }
            world.assert_reads(2, 5);
            assert_eq!(world.next(), Ok(Next::Empty));
        }
    }
}

#[test]
fn every_flipped_bit_is_found_in_an_empty_record() {
    flip_every_bit(0);
}

#[test]
fn every_flipped_bit_is_found_around_one_granule_of_payload() {
    [1, 31, 32, 33].into_iter().for_each(flip_every_bit);
}

#[test]
fn every_flipped_bit_is_found_in_a_long_record() {
    flip_every_bit(200);
}

#[test]
fn damage_at_the_end_is_accounted_for_by_the_next_record() {
    let mut world = world();
    world.push([3, 40, 40]);
    world.ring.flip(DATA + 64, 1);
    world.ring.flip(DATA + 64 + 96, 1);
    world.assert_reads(0, 3);
    let Err(ReadError::Header { resumed_at, lost, .. }) = world.next() else {
        panic!("damaged header")
    };
    assert_eq!((resumed_at, lost), (8, None), "nothing valid up to the tail");
    world.assert_stats(1, 0);
    assert_eq!(world.next(), Ok(Next::Empty));
    world.push([5]);
    assert_eq!(world.next(), Err(ReadError::Gap { expected: 1, found: 3 }));
    world.assert_stats(1, 2);
    world.assert_reads(3, 5);
}

#[test]
fn a_damaged_pad_loses_no_record() {
    let mut world = world();
    world.push([0; 14]);
    (0..14).for_each(|seq| world.assert_reads(seq, 0));
    assert!(!world.reader.release());
    world.push([400, 200]);
    // 14 granules, 14 of them for 400 bytes, 4 to the end of the data area, then 8 for 200 bytes.
    world.ring.flip(DATA + 28 * 32, 0x80);
    world.assert_reads(14, 400);
    let Err(ReadError::Header { position, resumed_at, lost, .. }) = world.next() else {
        panic!("damaged PAD")
    };
    assert_eq!((position, resumed_at, lost), (28, 32, Some(0)));
    world.assert_reads(15, 200);
    world.assert_stats(1, 0);
}

#[test]
fn a_damaged_stretch_is_one_report_and_counts_every_record_in_it() {
    let mut world = world();
    world.push([3, 33, 64, 1, 9]);
    // Records 1 to 3 are in granules 2 to 9.
    world.ring.fill_at(DATA + 64, &[0x5A; 8 * 32]);
    world.assert_reads(0, 3);
    let Err(ReadError::Header { position, resumed_at, lost, .. }) = world.next() else {
        panic!("damaged stretch")
    };
    assert_eq!((position, resumed_at, lost), (2, 10, Some(3)));
    world.assert_reads(4, 9);
    world.assert_stats(1, 3);
}

#[test]
fn stale_records_of_the_last_lap_are_never_delivered() {
    let mut world = world();
    for seq in 0..16 {
        world.push([9]);
        world.assert_reads(seq, 9);
        assert!(!world.reader.release());
    }
    // A tail that runs ahead of the bytes, as after a wild store: what is there is whole, but
    // of the last lap.
    world.ring.store(ring_word::TAIL, 32 + 20, Ordering::Release);
    let Err(ReadError::Header { position, resumed_at, .. }) = world.next() else {
        panic!("stale bytes")
    };
    assert_eq!((position, resumed_at), (32, 52));
}

/// Reads until there is nothing more and says how often; every step but a `Gap` moves by a granule
/// at least.
fn read_all(reader: &mut Reader<Ring, Page>, tail_ahead: u32) -> u32 {
    let limit = 2 * tail_ahead + 2;
    for steps in 0..=limit {
        match reader.next(&mut [0; 512]) {
            Ok(Next::Empty | Next::Closed) | Err(ReadError::TailOutOfRange { .. }) => return steps,
            Ok(Next::Record(_)) | Err(_) => drop(reader.release()),
        }
    }
    panic!("more than {limit} steps for {tail_ahead} granules");
}

/// A reader over a ring with a good header and hostile contents.
fn hostile(cursor: u32, tail: u32, state: u32, write: impl FnOnce(&Ring)) {
    let World { ring, page, .. } = world();
    page.store(cursor_word::CURSOR, cursor, Ordering::Relaxed);
    write(&ring);
    ring.store(ring_word::TAIL, tail, Ordering::Relaxed);
    ring.store(ring_word::STATE, state, Ordering::Relaxed);
    let ahead = distance(cursor, tail);
    match Reader::attach(ring, page) {
        Ok(mut reader) => {
            assert!(ahead <= CAPACITY);
            read_all(&mut reader, ahead);
        }
        Err(error) => {
            assert!(ahead > CAPACITY && matches!(error, AttachError::TailOutOfRange(_)), "{error}");
        }
    }
}

/// A header whose checksum is right for its place, and nothing else is.
fn forged() -> impl Strategy<Value = (u32, Header)> {
    let len = prop_oneof![0..600_u32, any::<u32>()];
    let kind = prop_oneof![4 => 0..6_u8, 1 => Just(KIND_DATA | KIND_ATTRIBUTES)];
    (0..CAPACITY, len, kind, any::<u8>(), any::<u16>(), any::<u64>(), any::<u32>()).prop_map(
        |(granule, len, kind, flags, type_tag, seq, payload_crc)| {
            (granule, Header { len, kind, flags, type_tag, seq, timestamp_ns: seq, payload_crc })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("models/proptest-regressions/damage.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn reading_garbage_ends(
        garbage in prop::collection::vec(any::<u8>(), CAPACITY as usize * 32),
        (cursor, ahead, state) in (any::<u32>(), prop_oneof![9 => 0..=CAPACITY, 1 => any::<u32>()], 0..3_u32),
    ) {
        hostile(cursor, cursor.wrapping_add(ahead), state, |ring| ring.fill_at(DATA, &garbage));
    }

    #[test]
    fn reading_forged_headers_ends(
        headers in prop::collection::vec(forged(), 0..40),
        (cursor, ahead, state) in (any::<u32>(), 0..=CAPACITY, 0..3_u32),
    ) {
        hostile(cursor, cursor.wrapping_add(ahead), state, |ring| {
            for (granule, header) in &headers {
                let position = cursor.wrapping_add(*granule);
                let at = DATA + (position % CAPACITY) as usize * 32;
                ring.fill_at(at, &Framing::new(EPOCH).encode(position, header));
            }
        });
    }

    #[test]
    fn a_damaged_ring_header_is_refused(at in 0..128_usize, bit in 0..8_u8) {
        let world = world();
        world.ring.flip(at, 1 << bit);
        assert!(matches!(Reader::attach(world.ring, world.page), Err(AttachError::Geometry(_))));
    }
}
