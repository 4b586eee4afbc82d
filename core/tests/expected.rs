//! A reader that knows which record comes next, and finds a header there that checks and says what
//! cannot be.

mod common;

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use aqueduct_core::geometry::distance;
use aqueduct_core::internals::{Framing, Header, read_record, write_record};
use aqueduct_core::layout::{GRANULE_BYTES, KIND_DATA, KIND_PAD};
use aqueduct_core::memory::Span;
use aqueduct_core::payload_crc;
use aqueduct_core::{
    Memory, MemoryMut, Next, Producer, ReadError, Reader, Region, RingConfig, Start, TrustedRegion,
};
use common::{DATA, EPOCH, Page, Ring, config, meta, payload, push, take, with};

const CAPACITY: u32 = 16;

/// A ring with these payload lengths in it, of which the reader has read the first, and where the
/// second stands.
fn second_of<'a>(
    ring: &'a Ring,
    page: &'a Page,
    config: &RingConfig<'_>,
    lens: &[usize],
) -> (Reader<Region<'a>, Region<'a>>, u32) {
    let mut producer: Producer<Region<'_>> =
        Producer::create(ring.region(), config).expect("the configuration is right");
    let id = producer.subscribe(Start::Latest).expect("the table is empty");
    producer.attach(id, "reader", page.region()).expect("the page is right");
    let mut reader = Reader::attach(ring.region(), page.region()).expect("ring and page fit");
    for &len in lens {
        push(&mut producer, len).expect("there is room");
    }
    assert_eq!(take(&mut reader), Some((0, lens[0])));
    let granules = 1 + u32::try_from(lens[0].div_ceil(GRANULE_BYTES)).expect("few");
    (reader, config.first_position.wrapping_add(granules))
}

/// Writes a header that checks, for the payload that its length covers.
fn forge(ring: &Ring, position: u32, len: usize, change: impl FnOnce(&mut Header)) {
    let at = DATA + (position % CAPACITY) as usize * GRANULE_BYTES;
    let mut covered = vec![0; len.min(ring.region().size() - at - GRANULE_BYTES)];
    ring.region().read(at + GRANULE_BYTES, &mut covered);
    let len = u32::try_from(len).expect("few");
    let mut header = Header {
        len,
        kind: KIND_DATA,
        flags: 0,
        type_tag: 3,
        seq: 1,
        timestamp_ns: 4,
        payload_crc: payload_crc(&covered),
    };
    change(&mut header);
    ring.region().write(at, &Framing::new(EPOCH).encode(position, &header));
}

fn next(reader: &mut Reader<Region<'_>, Region<'_>>) -> Result<Next<(u64, usize)>, ReadError> {
    let mut buf = [0; 1024];
    Ok(match reader.next(&mut buf)? {
        Next::Record(record) => Next::Record((record.seq, record.len)),
        Next::Empty => Next::Empty,
        Next::Closed => Next::Closed,
    })
}

fn is_impossible_length(found: &Result<Next<(u64, usize)>, ReadError>, at: u32) -> bool {
    matches!(found, Err(ReadError::Header { position, stored, computed, .. }) if *position == at && stored == computed)
}

#[test]
fn length_is_believed_up_to_the_tail_and_not_a_granule_further() {
    for first in [0, 5, u32::MAX - 3] {
        for (len, possible) in
            [(0, true), (16, true), (64, true), (65, false), (96, false), (1 << 20, false)]
        {
            let (ring, page) = (Ring::new(), Page::new());
            let (mut reader, position) =
                second_of(&ring, &page, &config(CAPACITY, first), &[0, 64]);
            forge(&ring, position, len, |_| ());
            let found = next(&mut reader);
            assert_eq!(found == Ok(Next::Record((1, len))), possible, "{len}: {found:?}");
            assert_eq!(is_impossible_length(&found, position), !possible, "{len}: {found:?}");
        }
    }
}

#[test]
fn length_is_believed_up_to_the_end_of_the_ring_and_not_a_granule_further() {
    for (len, possible) in [(16, true), (64, true), (65, false), (96, false), (128, false)] {
        let (ring, page) = (Ring::new(), Page::new());
        // The second takes the last three granules, two more follow at the start.
        let first = CAPACITY - 4;
        let (mut reader, position) =
            second_of(&ring, &page, &config(CAPACITY, first), &[0, 64, 0, 0]);
        assert_eq!(distance(0, position) % CAPACITY, CAPACITY - 3);
        forge(&ring, position, len, |_| ());
        let found = next(&mut reader);
        assert_eq!(found == Ok(Next::Record((1, len))), possible, "{len}: {found:?}");
        assert_eq!(is_impossible_length(&found, position), !possible, "{len}: {found:?}");
    }
}

#[test]
fn length_is_believed_up_to_the_rings_limit_and_not_a_byte_further() {
    for (len, possible) in [(69, true), (70, true), (71, false), (96, false)] {
        let (ring, page) = (Ring::new(), Page::new());
        let config = with(config(CAPACITY, 0), |config| config.max_payload_bytes = Some(70));
        let (mut reader, position) = second_of(&ring, &page, &config, &[0, 70]);
        forge(&ring, position, len, |_| ());
        let found = next(&mut reader);
        assert_eq!(found == Ok(Next::Record((1, len))), possible, "{len}: {found:?}");
        assert_eq!(is_impossible_length(&found, position), !possible, "{len}: {found:?}");
    }
}

#[test]
fn another_number_is_a_gap_and_another_kind_is_skipped_whatever_their_length() {
    for len in [0, 16, 63, 64, 100] {
        let (ring, page) = (Ring::new(), Page::new());
        let (mut reader, position) = second_of(&ring, &page, &config(CAPACITY, 0), &[16, 100, 16]);
        forge(&ring, position, 100, |header| (header.len, header.seq) = (len, 3));
        assert_eq!(next(&mut reader), Err(ReadError::Gap { expected: 1, found: 3 }), "{len}");

        let (ring, page) = (Ring::new(), Page::new());
        let (mut reader, position) = second_of(&ring, &page, &config(CAPACITY, 0), &[16, 100, 16]);
        forge(&ring, position, 100, |header| header.kind = KIND_PAD);
        assert_eq!(
            next(&mut reader),
            Err(ReadError::Gap { expected: 1, found: 2 }),
            "a padding record was put over record 1"
        );
    }
}

#[test]
fn payload_that_does_not_check_is_lost_alone_whatever_its_length() {
    for len in [1, 8, 15, 16, 17, 63, 64, 65, 100, 128] {
        for bit in [0, 8 * len - 1] {
            let (ring, page) = (Ring::new(), Page::new());
            let (mut reader, position) =
                second_of(&ring, &page, &config(CAPACITY, 7), &[0, len, 16]);
            let at = DATA + (position % CAPACITY) as usize * GRANULE_BYTES + GRANULE_BYTES;
            let mut bytes = vec![0; len.next_multiple_of(8)];
            ring.region().read(at, &mut bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            ring.region().write(at, &bytes);
            let found = next(&mut reader);
            assert!(
                matches!(found, Err(ReadError::Payload { seq: 1, position: told, .. }) if told == position),
                "{len}, {bit}: {found:?}"
            );
            assert_eq!(take(&mut reader), Some((2, 16)));
            assert_eq!((reader.stats().corrupt, reader.stats().lost), (1, 1));
        }
    }
}

/// A backend that goes by words.
struct Plain<'a>(Region<'a>);

impl Memory for Plain<'_> {
    fn size(&self) -> usize {
        self.0.size()
    }
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.0.load(at, order)
    }
    fn read(&self, at: usize, into: &mut [u8]) {
        self.0.read(at, into);
    }
    fn span(&self, _: usize, _: usize) -> Option<Span<'_>> {
        None
    }
    fn fence(&self, order: Ordering) {
        self.0.fence(order);
    }
}

impl MemoryMut for Plain<'_> {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.0.store(at, value, order);
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        self.0.write(at, bytes);
    }
}

/// Counts the spans that are asked for.
struct Counting<'a>(Region<'a>, &'a Cell<u32>);

impl Memory for Counting<'_> {
    fn size(&self) -> usize {
        self.0.size()
    }
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.0.load(at, order)
    }
    fn read(&self, at: usize, into: &mut [u8]) {
        self.0.read(at, into);
    }
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.1.set(self.1.get() + 1);
        self.0.span(at, len)
    }
    fn fence(&self, order: Ordering) {
        self.0.fence(order);
    }
}

impl MemoryMut for Counting<'_> {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.0.store(at, value, order);
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        self.0.write(at, bytes);
    }
}

#[test]
fn records_are_taken_in_one_go_from_the_second_on() {
    let (ring, page, looks) = (Ring::new(), Page::new(), Cell::new(0));
    let counting = || Counting(ring.region(), &looks);
    let mut producer: Producer<Counting<'_>> =
        Producer::create(counting(), &config(CAPACITY, u32::MAX - 23))
            .expect("the configuration is right");
    let id = producer.subscribe(Start::Latest).expect("the table is empty");
    producer.attach(id, "reader", Counting(page.region(), &looks)).expect("the page is right");
    let mut reader =
        Reader::attach(counting(), Counting(page.region(), &looks)).expect("ring and page fit");
    let mut buf = [0; 128];
    let mut by_steps = 0;
    // Of one, three and four granules, so that none needs a padding record.
    for (seq, len) in (0..).zip([0, 64, 96, 0, 33, 65].into_iter().cycle().take(120)) {
        let _ = producer.push(meta(seq), &payload(seq, len)).expect("there is room");
        looks.set(0);
        match reader.next(&mut buf) {
            Ok(Next::Record(record)) => assert_eq!((record.seq, record.len), (seq, len)),
            other => panic!("{other:?}"),
        }
        assert_eq!(buf[..len], payload(seq, len));
        // Header and payload each. Where the processor does without spans, there is none.
        if seq == 0 {
            by_steps = looks.get();
            assert!(by_steps == 0 || by_steps == 2, "{by_steps} spans");
        } else {
            assert_eq!(looks.get(), by_steps / 2, "record {seq} of {len} bytes");
        }
        let _ = reader.release();
    }
}

#[test]
fn every_backend_writes_and_reads_a_record_in_one_go() {
    let ring = Ring::new();
    let framing = Framing::new(EPOCH);
    let base = NonNull::from(&ring).cast();
    // SAFETY: the ring lives, is aligned to 64, and nobody stores into it while a record is lent
    // out, for none is.
    let trusted = unsafe { TrustedRegion::from_raw(base, ring.region().size()) };
    let (all, read_only, plain) = (ring.region(), ring.region().read_only(), Plain(ring.region()));
    for (seq, writer) in (5..).zip([&all as &dyn MemoryMut, &plain, &&all, &&plain]) {
        let header = Header {
            len: 70,
            kind: KIND_DATA,
            flags: 0,
            type_tag: 9,
            seq,
            timestamp_ns: 6,
            payload_crc: 0,
        };
        write_record(writer, 256, &framing, 3, header, &payload(seq, 70));
        for (kind, region) in [&all as &dyn Memory, &read_only, &trusted, &plain, &&all, &&plain]
            .into_iter()
            .enumerate()
        {
            let mut buf = [0; 80];
            let record = read_record(region, 256, &framing, 3, seq, &mut buf)
                .unwrap_or_else(|| panic!("kind {kind}"));
            assert_eq!(
                (record.seq, record.len, record.type_tag, record.timestamp_ns, record.position),
                (seq, 70, 9, 6, 3)
            );
            assert_eq!(buf[..70], payload(seq, 70));
        }
    }
}
