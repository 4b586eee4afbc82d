//! What is not a ring, not a page, or not a configuration is refused, and the reason says why.

mod common;

use aqueduct_core::geometry::{GeometryError, max_payload_for};
use aqueduct_core::layout::{NameError, RingHeader, SUBSCRIPTION_NAME_BYTES};
use aqueduct_core::{
    AttachError, CreateError, Memory, MemoryMut, Observer, Producer, Reader, Region, RingConfig,
    Segment, Start, SubscribeError,
};
use common::{DATA, EPOCH, Page, Ring, config, create, flip, pair, push, with};
use zerocopy::{FromZeros, IntoBytes};

fn refused(config: &RingConfig<'_>) -> CreateError {
    let ring = Ring::new();
    Producer::<Region>::create(ring.region(), config).expect_err("it breaks a rule")
}

#[test]
fn configurations_that_break_a_rule_are_refused() {
    let good = config(8, 0);
    assert_eq!(refused(&with(good, |config| config.epoch = 0)), GeometryError::ZeroEpoch.into());
    for (bytes, granules) in
        [(0, 0), (32, 1), (64, 2), (96, 3), (127, 3), (129, 4), (160, 5), (257, 8)]
    {
        assert_eq!(
            refused(&with(good, |config| config.capacity_bytes = bytes)),
            GeometryError::Capacity { granules }.into(),
            "{bytes}"
        );
    }
    for limit in [97, u32::MAX] {
        let error = GeometryError::MaxPayload { bytes: limit, limit: 96 };
        assert_eq!(
            refused(&with(good, |config| config.max_payload_bytes = Some(limit))),
            error.into()
        );
    }
    for bytes in [0, 192, 255, 257, 288, u32::MAX] {
        assert_eq!(
            refused(&with(good, |config| config.data_offset_bytes = bytes)),
            GeometryError::DataOffset { bytes }.into()
        );
    }
    let size = (DATA + 64 * 32) as u64;
    let error = GeometryError::SegmentTooSmall { bytes: size, needed: size + 64 };
    assert_eq!(
        refused(&with(config(64, 0), |config| config.data_offset_bytes = 320)),
        error.into()
    );
    let error = GeometryError::SegmentTooSmall { bytes: size, needed: 256 + 128 * 32 };
    assert_eq!(refused(&config(128, 0)), error.into());
    let name = "n".repeat(65);
    assert_eq!(
        refused(&with(good, |config| config.name = &name)),
        NameError { bytes: 65, limit: 64 }.into()
    );
    let ring = Ring::new();
    assert!(
        Producer::<Region>::create(ring.region(), &with(good, |config| config.name = &name[1..]))
            .is_ok()
    );
    assert!(
        Producer::<Region>::create(
            ring.region(),
            &with(good, |config| {
                config.name = "";
                config.capacity_bytes = 128;
            })
        )
        .is_ok()
    );
}

#[test]
fn enormous_capacities_are_refused_without_arithmetic_going_wrong() {
    for shift in 30..usize::BITS {
        assert!(
            matches!(
                refused(&RingConfig::new("huge", EPOCH, 1 << shift)),
                CreateError::Geometry(_)
            ),
            "2^{shift}"
        );
    }
}

/// The header of a ring after `change`, with its CRC made right again unless the change is to the
/// CRC.
fn changed(change: impl Fn(&mut RingHeader), fix_crc: bool) -> Option<GeometryError> {
    let (ring, page) = (Ring::new(), Page::new());
    drop(pair(&ring, &page, 8, 0));
    let region = ring.region();
    let mut header = RingHeader::new_zeroed();
    region.read(0, header.as_mut_bytes());
    change(&mut header);
    if fix_crc {
        header.header_crc.set(aqueduct_core::payload_crc(&header.as_bytes()[..124]));
    }
    region.write(0, header.as_bytes());
    let reader = Reader::attach(region, page.region()).err().and_then(|error| match error {
        AttachError::Geometry(error) => Some(error),
        _ => None,
    });
    let observer = Observer::oldest(region).err().map(|error| match error {
        aqueduct_core::JoinError::Geometry(error) => error,
        error => panic!("{error}"),
    });
    assert_eq!(reader, observer);
    assert_eq!(aqueduct_core::recovery::scan(region).err(), reader);
    reader
}

#[test]
fn ring_header_is_refused_by_each_of_its_fields() {
    assert_eq!(changed(|_| {}, true), None);
    assert_eq!(
        changed(|h| h.magic[7] = b'X', true),
        Some(GeometryError::Magic { found: *b"AQUEDUCX" })
    );
    assert_eq!(changed(|h| h.magic = [0; 8], true), Some(GeometryError::Magic { found: [0; 8] }));
    assert_eq!(changed(|h| h.abi_major.set(2), true), Some(GeometryError::Version { found: 2 }));
    assert_eq!(changed(|h| h.abi_minor.set(9), true), None, "a minor version may be ignored");
    assert_eq!(changed(|h| h.epoch.set(0), true), Some(GeometryError::ZeroEpoch));
    for granules in [0, 1, 2, 3, 5, 6, 7, 9, 1 << 31, u32::MAX] {
        assert_eq!(
            changed(|h| h.capacity.set(granules), true),
            Some(GeometryError::Capacity { granules })
        );
    }
    for capacity in (7..=30).map(|shift| 1 << shift) {
        let needed = 256 + 32 * u64::from(capacity);
        assert_eq!(
            changed(|h| h.capacity.set(capacity), true),
            Some(GeometryError::SegmentTooSmall { bytes: 256 + 64 * 32, needed })
        );
    }
    assert_eq!(
        changed(|h| h.max_payload.set(97), true),
        Some(GeometryError::MaxPayload { bytes: 97, limit: 96 })
    );
    assert_eq!(changed(|h| h.max_payload.set(0), true), None);
    for bytes in [0, 192, 257, 288] {
        assert_eq!(
            changed(|h| h.data_offset.set(bytes), true),
            Some(GeometryError::DataOffset { bytes })
        );
    }
    let far = !63;
    let needed = u64::from(far) + 8 * 32;
    assert_eq!(
        changed(|h| h.data_offset.set(far), true),
        Some(GeometryError::SegmentTooSmall { bytes: 256 + 64 * 32, needed })
    );
    assert!(matches!(
        changed(|h| h.header_crc.set(!h.header_crc.get()), false),
        Some(GeometryError::Crc { .. })
    ));
    assert!(matches!(changed(|h| h.name[63] = 1, false), Some(GeometryError::Crc { .. })));
}

#[test]
fn every_flipped_bit_of_a_ring_header_is_refused() {
    let ring = Ring::new();
    drop(create(&ring, 8, 0));
    for bit in (0..128 * 8).step_by(if cfg!(miri) { 37 } else { 1 }) {
        flip(&ring.region(), bit);
        assert!(Observer::latest(ring.region()).is_err(), "bit {bit}");
        flip(&ring.region(), bit);
    }
    assert!(Observer::latest(ring.region()).is_ok());
}

#[test]
fn every_flipped_bit_of_a_page_identity_is_refused_and_so_is_a_foreign_page() {
    let (ring, other, page) = (Ring::new(), Ring::new(), Page::new());
    drop(pair(&ring, &page, 8, 0));
    for bit in (0..64 * 8).step_by(if cfg!(miri) { 37 } else { 1 }) {
        flip(&page.region(), bit);
        assert!(
            matches!(
                Reader::attach(ring.region(), page.region()).err(),
                Some(AttachError::CursorSegmentIdentity)
            ),
            "bit {bit}"
        );
        flip(&page.region(), bit);
    }
    assert!(Reader::attach(ring.region(), page.region()).is_ok());
    let elsewhere = with(config(8, 0), |config| config.epoch = 5);
    drop(Producer::<Region>::create(other.region(), &elsewhere).unwrap());
    let error = Reader::attach(other.region(), page.region()).err();
    assert_eq!(error, Some(AttachError::Epoch { ring: 5, cursor_segment: EPOCH }));
}

#[test]
fn segments_that_are_too_small_are_refused() {
    let (ring, page, small) = (Ring::new(), Page::new(), Segment::<192>::new());
    let (mut producer, id, _) = pair(&ring, &page, 8, 0);
    assert_eq!(
        producer.attach(id, "", small.region()),
        Err(SubscribeError::CursorSegmentTooSmall { bytes: 192 })
    );
    let error = Reader::attach(ring.region(), small.region()).err();
    assert_eq!(error, Some(AttachError::CursorSegmentTooSmall { bytes: 192 }));
    let stub = Segment::<64>::new();
    let error = Reader::attach(stub.region(), page.region()).err();
    assert_eq!(
        error,
        Some(AttachError::Geometry(GeometryError::SegmentTooSmall { bytes: 64, needed: 128 }))
    );
    let error = Producer::<Region>::create(stub.region(), &config(8, 0)).err();
    assert_eq!(error, Some(GeometryError::SegmentTooSmall { bytes: 64, needed: 512 }.into()));
}

#[test]
fn a_segment_with_a_ring_that_was_not_closed_is_refused_to_whoever_asks_and_left_alone() {
    let ring = Ring::new();
    let mut before = [0; DATA + 8 * 32];
    let new = |epoch| {
        Producer::<Region>::create_new(
            ring.region(),
            &with(config(8, 0), |config| config.epoch = epoch),
        )
    };
    let mut first = new(EPOCH).expect("there is none");
    push(&mut first, 5).unwrap();
    ring.region().read(0, &mut before);
    assert_eq!(new(EPOCH + 1).err(), Some(CreateError::Exists { epoch: EPOCH }));
    drop(first); // killed, for all that the bytes say
    assert_eq!(new(EPOCH + 1).err(), Some(CreateError::Exists { epoch: EPOCH }));
    let mut after = before;
    ring.region().read(0, &mut after);
    assert_eq!(before, after);

    let mut second = create(&ring, 8, 0);
    let _ = second.close();
    assert_eq!(new(EPOCH + 1).expect("it was closed").geometry().epoch(), EPOCH + 1);
    flip(&ring.region(), 32 * 8);
    assert!(new(EPOCH + 2).is_ok(), "no ring by its checksum");
}

#[test]
fn a_cursor_segment_that_another_reader_has_is_refused_and_left_alone() {
    let (ring, pages) = (Ring::new(), [Page::new(), Page::new()]);
    let (mut producer, first, mut reader) = pair(&ring, &pages[0], 8, 0);
    let second = producer.subscribe(Start::Latest).unwrap();
    push(&mut producer, 5).unwrap();
    assert_eq!(common::take(&mut reader), Some((0, 5)));
    let _ = reader.release();
    let in_use = SubscribeError::CursorSegmentInUse { by: first };
    assert_eq!(producer.attach(second, "", pages[0].region()), Err(in_use));
    assert_eq!(producer.subscription(first).unwrap().lag_granules, 0, "its cursor is its own");
    assert_eq!(producer.attach(second, "", pages[1].region()), Ok(()));
    assert_eq!(producer.attach(first, "", pages[0].region()), Ok(()), "its own, anew");
    assert!(producer.detach(first).is_some());
    assert_eq!(producer.attach(second, "", pages[0].region()), Ok(()), "nobody has it");
}

#[test]
fn names_may_fill_their_fields_and_no_more() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, id, _) = pair(&ring, &page, 8, 0);
    let name = "x".repeat(SUBSCRIPTION_NAME_BYTES + 1);
    let error = SubscribeError::Name(NameError { bytes: 33, limit: 32 });
    assert_eq!(producer.attach(id, &name, page.region()), Err(error));
    producer.attach(id, &name[1..], page.region()).unwrap();
    let mut identity = [0; 64];
    page.region().read(0, &mut identity);
    assert_eq!(&identity[24..56], &name.as_bytes()[1..]);
    assert!(Reader::attach(ring.region(), page.region()).is_ok());
}

#[test]
fn ring_made_anew_in_used_memory_is_empty() {
    let (ring, page) = (Ring::new(), Page::new());
    let mut producer = create(&ring, 8, 0);
    for _ in 0..20 {
        push(&mut producer, 9).unwrap();
    }
    let _ = producer.close();
    let anew = with(config(8, 0), |config| config.epoch = 77);
    let mut producer: Producer<_> = Producer::create(ring.region(), &anew).unwrap();
    let id = producer.subscribe(Start::Oldest).unwrap();
    producer.attach(id, "", page.region()).unwrap();
    let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
    assert_eq!(reader.next(&mut []), Ok(aqueduct_core::Next::Empty));
    assert_eq!(reader.geometry().max_payload(), max_payload_for(8));
    assert_eq!(push(&mut producer, 4), Ok(0));
    assert_eq!(common::take(&mut reader), Some((0, 4)));
}

#[test]
fn segment_of_a_header_and_nothing_else_is_judged_by_its_header() {
    let stub = Segment::<128>::new();
    assert_eq!(
        aqueduct_core::recovery::scan(stub.region()).err(),
        Some(GeometryError::Magic { found: [0; 8] })
    );
}

#[test]
fn page_of_another_kind_or_version_is_refused_though_its_checksum_is_right() {
    let (ring, page) = (Ring::new(), Page::new());
    drop(pair(&ring, &page, 8, 0));
    let mut identity = [0; 64];
    page.region().read(0, &mut identity);
    let good = identity;
    for (byte, change) in [(None, "nothing"), (Some(7), "magic"), (Some(8), "major version")] {
        identity = good;
        if let Some(byte) = byte {
            identity[byte] ^= 1;
        }
        let crc = aqueduct_core::payload_crc(&identity[..60]);
        identity[60..].copy_from_slice(&crc.to_le_bytes());
        page.region().write(0, &identity);
        let refused = matches!(
            Reader::attach(ring.region(), page.region()).err(),
            Some(AttachError::CursorSegmentIdentity)
        );
        assert_eq!(refused, byte.is_some(), "{change}");
    }
}
