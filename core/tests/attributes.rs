//! Records with attributes, from every way of writing to every way of reading; blocks of any bytes.

mod common;

use aqueduct_core::attributes::name;
use aqueduct_core::layout::{ATTRIBUTES_UNIT_BYTES, GRANULE_BYTES, KIND_ATTRIBUTES, KIND_DATA};
use aqueduct_core::recovery::{self, Bound, Checkpoint, Item};
use aqueduct_core::{
    AttributeBlock, AttributeError, AttributeWriter, Attributes, ClaimError, Memory, MemoryMut,
    Next, Observer, ReadError, Region, SharedProducer, TrustedRegion,
};
use common::{DATA, Page, Ring, Rng, checked, create, meta, pair, payload};

type Shared<'a> = SharedProducer<Region<'a>>;

/// Names and values that tell for which number they were made.
fn made(number: u64) -> Vec<(String, Vec<u8>)> {
    let mut random = Rng::new(number ^ 0x5EED);
    let entries = random.next() % 6;
    (0..entries)
        .map(|at| {
            let len = usize::try_from(random.next() % 24).expect("it is small");
            (format!("n{at}"), payload(number + at, len))
        })
        .collect()
}

fn block<'b>(made: &[(String, Vec<u8>)], room: &'b mut [u8]) -> AttributeBlock<'b> {
    AttributeBlock::write(made.iter().map(|(name, value)| (name.as_str(), &value[..])), room)
        .expect("there is room")
}

fn listed(attributes: Attributes<'_>) -> Vec<(String, Vec<u8>)> {
    assert!(attributes.are_whole());
    let owned = |name: &[u8]| String::from_utf8(name.to_vec()).expect("it was made of text");
    attributes.map(|attribute| (owned(attribute.name), attribute.value.to_vec())).collect()
}

/// Takes the next record, which must be the one made for its number.
fn take(next: Result<Next, ReadError>, buf: &[u8]) -> u64 {
    let Ok(Next::Record(record)) = next else { panic!("{next:?}") };
    assert_eq!(listed(record.attributes(buf)), made(record.seq), "record {}", record.seq);
    assert_eq!(record.payload(buf).len(), record.len);
    assert!(matches!(checked(next, buf), Ok(Next::Record(_))));
    record.seq
}

#[test]
fn what_is_written_in_any_way_is_read_in_any_way() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 64, u32::MAX - 40);
    let mut observer = Observer::latest(ring.region()).expect("it is a ring");
    let (mut buf, mut room, mut random) = ([0; 512], [0; 256], Rng::new(7));
    for seq in 0..if cfg!(miri) { 60 } else { 2000 } {
        let bytes = payload(seq, usize::try_from(random.next() % 70).expect("it is small"));
        let list = made(seq);
        let attributes = block(&list, &mut room);
        match random.next() % 3 {
            0 => drop(producer.push_with(meta(seq), &bytes, attributes).expect("there is room")),
            1 => {
                let claimed = bytes.len() + attributes.as_bytes().len();
                let mut grant = producer.claim(claimed + 5).expect("there is room");
                bytes.chunks(7).for_each(|part| grant.write(part).expect("it was claimed"));
                assert_eq!(grant.commit_with(meta(seq), attributes), Ok(seq));
            }
            _ => assert_eq!(producer.append_with(meta(seq), &bytes, attributes), Ok(seq)),
        }
        let _ = producer.publish();
        assert_eq!(take(observer.next(&mut buf), &buf), seq);
        if random.next() % 4 == 0 {
            let Ok(Next::Record(peeked)) = reader.peek() else { panic!("it was published") };
            assert_eq!(
                (peeked.len, peeked.bytes()),
                (bytes.len(), bytes.len() + attributes.as_bytes().len())
            );
        }
        assert_eq!(take(reader.next(&mut buf), &buf), seq);
        let _ = reader.release();
    }
    assert_eq!(reader.stats(), aqueduct_core::ReaderStats::default());
}

#[test]
fn shared_producers_write_the_same_records() {
    let (ring, page) = (Ring::new(), Page::new());
    let (producer, _, mut reader) = pair(&ring, &page, 64, 0);
    let shared: Shared<'_> = SharedProducer::new(producer).expect("the ring is small");
    let (mut buf, mut first, mut second) = ([0; 512], [0; 256], [0; 256]);
    for seq in (0..40).step_by(2) {
        let lists = [made(seq), made(seq + 1)];
        let blocks = [block(&lists[0], &mut first), block(&lists[1], &mut second)];
        let bytes = payload(seq, 9);
        let mut grant = shared.claim(9 + blocks[0].as_bytes().len()).expect("there is room");
        let later = shared.push_with(meta(seq + 1), &payload(seq + 1, 30), blocks[1]);
        assert_eq!(later.expect("there is room").seq, None);
        grant.write(&bytes).expect("it was claimed");
        assert_eq!(grant.commit_with(meta(seq), blocks[0]).expect("it was claimed").seq, Some(seq));
        assert_eq!(take(reader.next(&mut buf), &buf), seq);
        assert_eq!(take(reader.next(&mut buf), &buf), seq + 1);
        let _ = reader.release();
    }
    let mut room = [0; 256];
    let block = AttributeBlock::write([("a", &[1; 40][..])], &mut room).expect("there is room");
    let grant = shared.claim(47).expect("there is room");
    assert!(grant.commit_with(meta(40), block).is_err());
    assert_eq!(reader.next(&mut buf), Ok(Next::Empty));
    let commit = shared.push_with(meta(40), &payload(40, 3), AttributeBlock::NONE);
    assert_eq!(commit.expect("there is room").seq, Some(40));
    let Ok(Next::Record(record)) = reader.next(&mut buf) else { panic!("it was published") };
    assert_eq!((record.seq, record.attribute_units), (40, 0));
}

#[test]
fn payload_and_attributes_are_bounded_together_and_nothing_is_committed_beyond() {
    let ring = Ring::new();
    let mut producer = create(&ring, 8, 0);
    let limit = producer.geometry().max_payload() as usize;
    let mut room = [0; 64];
    let block = AttributeBlock::write([("a", &[1; 20][..])], &mut room).expect("there is room");
    let more = vec![0; limit - 31];
    let refused = producer.append_with(meta(0), &more, block);
    let bytes = more.len() + 32;
    assert_eq!(
        refused,
        Err(ClaimError::TooLarge { bytes, limit: producer.geometry().max_payload() })
    );
    assert!(producer.claim(31).expect("there is room").commit_with(meta(0), block).is_err());
    assert_eq!((producer.next_seq(), producer.publish().is_none()), (0, true));
    assert_eq!(producer.append_with(meta(0), &more[1..], block), Ok(0));
}

#[test]
fn a_reader_in_place_lends_payload_and_attributes() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, id, _) = pair(&ring, &page, 64, 0);
    let list = made(3);
    let mut room = [0; 256];
    let _ = producer.push_with(meta(0), b"hello", block(&list, &mut room)).expect("there is room");
    let _ = producer.detach(id);
    producer.attach(id, "reader", page.region()).expect("the page is right");
    let region = ring.region();
    // SAFETY: (1) a live segment, which this borrow keeps alive. (2) the producer of this test
    // keeps the protocol. (3) the reader gates it and is not evicted.
    #[allow(unsafe_code, reason = "a promise about this test's own producer")]
    let trusted = unsafe { TrustedRegion::from_raw(region.base(), region.size()) };
    let mut reader = aqueduct_core::Reader::attach(trusted, page.region()).expect("they fit");
    let Ok(Next::Record((record, bytes))) = reader.next_in_place_with_attributes() else {
        panic!("it was published")
    };
    assert_eq!((record.payload(bytes), record.len), (&b"hello"[..], 5));
    assert_eq!(listed(record.attributes(bytes)), list);
}

#[test]
fn a_program_that_knows_no_attributes_gets_the_payload_and_is_told_how_much_room_both_take() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 64, 0);
    let mut room = [0; 64];
    let block = AttributeBlock::write([("a", &b"b"[..])], &mut room).expect("there is room");
    let _ = producer.push_with(meta(0), b"hello", block).expect("there is room");
    let mut buf = [0; 64];
    for given in 0..21 {
        let error = ReadError::BufferTooSmall { needed: 21, given };
        assert_eq!(reader.next(&mut buf[..given]), Err(error));
    }
    let Ok(Next::Record(record)) = reader.next(&mut buf[..21]) else { panic!("it fits") };
    assert_eq!(&buf[..record.len], b"hello");
}

#[test]
fn recovery_keeps_records_with_attributes_and_checks_them() {
    let ring = Ring::new();
    let mut producer = create(&ring, 64, 0);
    let mut room = [0; 256];
    for seq in 0..4 {
        let _ = producer
            .push_with(meta(seq), &payload(seq, 9), block(&made(seq + 1), &mut room))
            .expect("there is room");
    }
    let found: Vec<_> = recovery::scan(ring.region()).expect("it is a ring").collect();
    assert_eq!(found.iter().filter(|item| matches!(item, Item::Record(_))).count(), 4);
    let recovered =
        recovery::recover(&ring.region(), Checkpoint::oldest(&ring.region()), Bound::Tail)
            .expect("it is a ring");
    assert_eq!(recovered.next_seq, Some(4));
}

#[test]
fn a_changed_bit_anywhere_in_the_attributes_is_a_damaged_payload() {
    let mut room = [0; 64];
    let block = AttributeBlock::write([("a", &b"b"[..])], &mut room).expect("there is room");
    for bit in (0..(5 + 16) * 8).step_by(if cfg!(miri) { 13 } else { 1 }) {
        let (ring, page) = (Ring::new(), Page::new());
        let (mut producer, _, mut reader) = pair(&ring, &page, 64, 0);
        let _ = producer.push_with(meta(0), b"hello", block).expect("there is room");
        let region = ring.region();
        let mut word = [0; 8];
        let at = DATA + GRANULE_BYTES + bit / 64 * 8;
        region.read(at, &mut word);
        word[bit / 8 % 8] ^= 1 << (bit % 8);
        region.write(at, &word);
        let next = reader.next(&mut [0; 64]);
        assert!(matches!(next, Err(ReadError::Payload { seq: 0, .. })), "bit {bit}: {next:?}");
    }
}

#[test]
fn a_block_longer_than_its_record_is_no_valid_header() {
    use aqueduct_core::internals::{Framing, Header};
    for units in (0..=255).step_by(if cfg!(miri) { 85 } else { 1 }) {
        let (ring, page) = (Ring::new(), Page::new());
        let (mut producer, _, mut reader) = pair(&ring, &page, 64, 0);
        let _ = producer.push(meta(0), &payload(0, 40)).expect("there is room");
        let header = Header {
            len: 40,
            kind: KIND_DATA | KIND_ATTRIBUTES,
            flags: units,
            type_tag: 1,
            seq: 0,
            timestamp_ns: 2,
            payload_crc: aqueduct_core::payload_crc(&payload(0, 40)),
        };
        ring.region().write(DATA, &Framing::new(common::EPOCH).encode(0, &header));
        let fits = usize::from(units) * ATTRIBUTES_UNIT_BYTES <= 40;
        match reader.next(&mut [0; 64]) {
            Ok(Next::Record(record)) => {
                assert!(fits && record.bytes() == 40 && record.attribute_units == units);
            }
            Err(ReadError::Header { stored, computed, .. }) => assert!(!fits && stored == computed),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn any_bytes_are_walked_to_an_end_within_them() {
    let (mut random, mut room, mut whole) = (Rng::new(99), [0_u8; 64], 0);
    for round in 0..if cfg!(miri) { 300 } else { 30_000 } {
        let bytes = usize::try_from(random.next() % 64).expect("it is small");
        room.fill_with(|| {
            let byte = random.next().to_le_bytes()[2];
            if byte % 4 == 0 { byte } else { byte % 8 }
        });
        if round % 2 == 0 {
            let list = [(name::PATH, &b"/v1"[..]), ("a", b"")];
            AttributeBlock::write(list, &mut room).expect("there is room");
            let at = usize::try_from(random.next() % 64).expect("it is small");
            room[at] = random.next().to_le_bytes()[0];
        }
        let attributes = Attributes::of(&room[..bytes]);
        let held = attributes.clone().map(|one| 3 + one.name.len() + one.value.len());
        let held: usize = held.sum();
        assert!(held + 4 <= bytes.max(4));
        assert!(attributes.clone().all(|one| !one.name.is_empty()));
        whole += usize::from(attributes.are_whole() && attributes.clone().count() > 0);
        if let Some(block) = AttributeBlock::from_bytes(&room[..bytes]) {
            assert!(block.is_empty() == (bytes == 0) && bytes % ATTRIBUTES_UNIT_BYTES == 0);
        }
    }
    assert!(whole > 10, "{whole} whole blocks");
}

#[test]
fn an_error_says_what_does_not_fit() {
    let mut room = [0; 32];
    let mut writer = AttributeWriter::new(&mut room);
    let error = writer.add("name", &[0; 30]).expect_err("it is too long");
    assert_eq!(error, AttributeError::Room { needed: 41, limit: 32 });
    assert_eq!(error.to_string(), "attributes of 41 bytes; there is room for 32");
    let error = writer.add("", b"").expect_err("it has no name");
    assert_eq!(error.to_string(), "the name of an attribute has 0 bytes; 1 to 255 are allowed");
}
