//! Typed payloads where they lie: no copy, aligned to 32, checked all the same.

mod common;

use aqueduct_core::layout::cursor_word;
use aqueduct_core::typed::{
    AlignedBuf, NextValueError, Tagged, ViewError, value, view, view_ref, view_slice,
};
use aqueduct_core::{
    AttributeBlock, GrantOverflow, MemoryMut, Meta, Next, ReadError, Reader, SharedProducer,
    TrustedRegion,
};
use common::{DATA, Page, Ring, flip, meta, pair, payload, word};
use zerocopy::little_endian::{U32, U64};

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(32))]
struct Wide([u64; 4]);

impl Tagged for Wide {
    const TYPE_TAG: u16 = 3;
}

#[derive(
    Debug,
    PartialEq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
    zerocopy::Unaligned,
)]
#[repr(C)]
struct Portable {
    sensor: U32,
    value: U64,
}

impl Tagged for Portable {
    const TYPE_TAG: u16 = 4;
}

fn trusted(ring: &Ring) -> TrustedRegion<'_> {
    let region = ring.region();
    // SAFETY: (1) the segment lives as long as the borrow, is aligned to 64 and only accessed by
    // atomics; (2) the producer of these tests is the crate's own; (3) the reader gates, and no
    // test evicts it while it looks.
    unsafe { TrustedRegion::from_raw(region.base(), aqueduct_core::Memory::size(&region)) }
}

#[test]
fn value_of_alignment_32_is_viewed_in_place_wherever_it_stands() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, _) = pair(&ring, &page, 8, 5_u32.wrapping_neg());
    let mut reader = Reader::attach(trusted(&ring), page.region()).unwrap();
    for number in 0..20 {
        let wide = Wide([number, 1, 2, 3]);
        assert_eq!(producer.push_pod(number, &wide).map(|(seq, _)| seq), Ok(number));
        let Ok(Next::Record((record, bytes))) = reader.next_in_place() else {
            panic!("one was pushed")
        };
        assert_eq!((record.seq, record.timestamp_ns, record.len), (number, number, 32));
        assert_eq!(view::<Wide>(&record, bytes), Ok(&wide));
        assert_eq!(view_slice::<Wide>(&record, bytes), Ok(&[wide][..]));
        assert_eq!(value::<Wide>(&record, bytes), Ok(wide));
        assert_eq!(
            view_ref::<Portable>(&record, bytes),
            Err(ViewError::Type { expected: 4, found: 3 })
        );
        let _ = reader.release();
    }
    assert_eq!(reader.next_in_place(), Ok(Next::Empty));
    let _ = producer.close();
    assert_eq!(reader.next_in_place(), Ok(Next::Closed));
}

#[test]
fn portable_value_has_the_same_bytes_on_every_machine() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 0);
    let portable = Portable { sensor: U32::new(0x0102_0304), value: U64::new(5) };
    producer.push_bytes_of(9, &portable).map(drop).unwrap();
    let mut buf = [0; 64];
    let Ok(Next::Record(record)) = reader.next(&mut buf) else { panic!("one was pushed") };
    assert_eq!(buf[..12], [4, 3, 2, 1, 5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(view_ref::<Portable>(&record, &buf[..record.len]), Ok(&portable));
    let short = view_ref::<Portable>(&record, &buf[..11]);
    assert_eq!(short, Err(ViewError::Size { expected: 12, found: 11 }));
}

#[test]
fn damaged_payload_in_place_is_reported_counted_and_passed() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, _) = pair(&ring, &page, 16, 0);
    let mut reader = Reader::attach(trusted(&ring), page.region()).unwrap();
    for seq in 0..3 {
        producer.push(meta(seq), &payload(seq, 7)).map(drop).unwrap();
    }
    flip(&ring.region(), (DATA + 32) * 8);
    flip(&ring.region(), (DATA + 2 * 32) * 8);
    assert!(matches!(reader.next_in_place(), Err(ReadError::Payload { seq: 0, position: 0, .. })));
    assert!(matches!(
        reader.next_in_place(),
        Err(ReadError::Header { position: 2, resumed_at: 4, lost: Some(1), .. })
    ));
    let Ok(Next::Record((record, bytes))) = reader.next_in_place() else {
        panic!("the third is whole")
    };
    assert_eq!((record.seq, bytes), (2, &payload(2, 7)[..]));
    assert_eq!((reader.stats().corrupt, reader.stats().lost), (2, 2));
    let told = [cursor_word::CORRUPT, cursor_word::LOST].map(|at| {
        let page = page.region();
        aqueduct_core::Memory::load(&page, at, core::sync::atomic::Ordering::Relaxed)
    });
    assert_eq!(told, [2, 2]);
    page.region().store(cursor_word::LOST, 7, core::sync::atomic::Ordering::Relaxed);
    assert_eq!(
        Reader::attach(ring.region(), page.region()).unwrap().stats().lost,
        7,
        "counts go on"
    );
    assert_eq!(word(&ring, aqueduct_core::layout::ring_word::TAIL), 6);
}

#[test]
fn values_are_taken_by_type_and_others_stay_unread() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
    assert_eq!(reader.next_pod::<Wide>(), Ok(Next::Empty));
    assert_eq!(producer.append_pod(1, &Wide([7; 4])), Ok(0));
    let _ = producer.push(meta(1), b"no value").unwrap();
    let portable = Portable { sensor: U32::new(1), value: U64::new(2) };
    let _ = producer.push_bytes_of(3, &portable).unwrap();
    let Ok(Next::Record((record, wide))) = reader.next_pod::<Wide>() else { panic!("a value") };
    assert_eq!((record.seq, wide), (0, Wide([7; 4])));
    for _ in 0..2 {
        assert!(matches!(
            reader.next_pod::<Wide>(),
            Err(NextValueError::View(ViewError::Type { expected: 3, .. }))
        ));
    }
    assert!(matches!(reader.skip(), Ok(Next::Record(record)) if record.seq == 1));
    assert!(reader.next_pod::<Wide>().is_err());
    let _ = producer.close();
    let _ = reader.skip().unwrap();
    assert_eq!(reader.next_pod::<Wide>(), Ok(Next::Closed));
}

#[test]
fn values_with_attributes_are_taken_without_them() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 64, 0);
    let mut block = [0; 512];
    for value in ["short", &"longer than a piece ".repeat(20)] {
        let attributes =
            AttributeBlock::write([("name", value.as_bytes())], &mut block).expect("room");
        let wide = Wide([5; 4]);
        let seq = producer
            .append_with(
                Meta { type_tag: 3, timestamp_ns: 0 },
                bytemuck::bytes_of(&wide),
                attributes,
            )
            .expect("room");
        let _ = producer.publish();
        let Ok(Next::Record((record, found))) = reader.next_pod::<Wide>() else {
            panic!("a value")
        };
        assert_eq!((record.seq, record.len, found), (seq, 32, wide));
        assert!(record.attribute_units > 0);
        assert_eq!(reader.next_pod::<Wide>(), Ok(Next::Empty));
    }
    // Damage in an attribute is damage of the record.
    let attributes = AttributeBlock::write([("name", &b"short"[..])], &mut block).expect("room");
    let tail = word(&ring, aqueduct_core::layout::ring_word::TAIL) as usize;
    producer
        .append_with(Meta { type_tag: 3, timestamp_ns: 0 }, &[0; 32], attributes)
        .expect("room");
    let _ = producer.publish();
    flip(&ring.region(), (DATA + tail * 32 + 32 + 32) * 8);
    assert!(matches!(
        reader.next_pod::<Wide>(),
        Err(NextValueError::Read(ReadError::Payload { .. }))
    ));
}

#[test]
fn many_producers_push_values_too() {
    let (ring, page) = (Ring::new(), Page::new());
    let (producer, _, mut reader) = pair(&ring, &page, 16, 0);
    let shared: SharedProducer<_> = SharedProducer::new(producer).unwrap();
    assert_eq!(shared.push_pod(5, &Wide([3; 4])).unwrap().seq, Some(0));
    let Ok(Next::Record((record, wide))) = reader.next_pod::<Wide>() else { panic!("a value") };
    assert_eq!((record.timestamp_ns, wide), (5, Wide([3; 4])));
}

#[test]
fn portable_values_are_taken_by_type_and_others_stay_unread() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
    assert_eq!(reader.next_from_bytes::<Portable>(), Ok(Next::Empty));
    let portable = Portable { sensor: U32::new(1), value: U64::new(2) };
    assert_eq!(producer.append_bytes_of(8, &portable), Ok(0));
    assert_eq!(reader.next_from_bytes::<Portable>(), Ok(Next::Empty), "not published");
    let _ = producer.push_pod(9, &Wide([1; 4])).unwrap();
    let _ = producer.push(Meta { type_tag: 4, timestamp_ns: 0 }, b"short").unwrap();
    let Ok(Next::Record((record, found))) = reader.next_from_bytes::<Portable>() else {
        panic!("a value")
    };
    assert_eq!((record.seq, record.timestamp_ns, found), (0, 8, portable));
    let other = NextValueError::View(ViewError::Type { expected: 4, found: 3 });
    assert_eq!(reader.next_from_bytes::<Portable>(), Err(other));
    assert!(matches!(reader.next_pod::<Wide>(), Ok(Next::Record((_, Wide([1, 1, 1, 1]))))));
    let short = NextValueError::View(ViewError::Size { expected: 12, found: 5 });
    assert_eq!(reader.next_from_bytes::<Portable>(), Err(short));
    let _ = producer.close();
    let _ = reader.skip().unwrap();
    assert_eq!(reader.next_from_bytes::<Portable>(), Ok(Next::Closed));
}

#[test]
fn grants_of_either_kind_take_values_and_the_tag_of_their_type() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 64, 0);
    let portable = Portable { sensor: U32::new(1), value: U64::new(2) };
    let (wide, more) = (Wide([1, 2, 3, 4]), Wide([5, 6, 7, 8]));

    let mut grant = producer.claim(64 + 11).unwrap();
    grant.write_pod(&wide).unwrap();
    grant.write_pod(&more).unwrap();
    let overflow = GrantOverflow { bytes: 12, remaining: 11 };
    assert_eq!(grant.write_bytes_of(&portable), Err(overflow));
    assert_eq!(grant.commit_as::<Wide>(7), 0);
    let mut grant = producer.claim(12).unwrap();
    assert_eq!(grant.write_pod(&wide), Err(GrantOverflow { bytes: 32, remaining: 12 }));
    grant.write_bytes_of(&portable).unwrap();
    assert_eq!(grant.commit_as::<Portable>(8), 1);

    let shared: SharedProducer<_> = SharedProducer::new(producer).unwrap();
    let mut grant = shared.claim(32).unwrap();
    grant.write_pod(&more).unwrap();
    let overflow = GrantOverflow { bytes: 12, remaining: 0 };
    assert_eq!(grant.write_bytes_of(&portable), Err(overflow));
    assert_eq!(grant.commit_as::<Wide>(9).seq, Some(2));
    let mut grant = shared.claim(12).unwrap();
    assert_eq!(grant.write_pod(&wide), Err(GrantOverflow { bytes: 32, remaining: 12 }));
    grant.write_bytes_of(&portable).unwrap();
    assert_eq!(grant.commit_as::<Portable>(10).seq, Some(3));
    assert_eq!(shared.push_bytes_of(11, &portable).unwrap().seq, Some(4));

    let mut buf = AlignedBuf::<64>::default();
    let Ok(Next::Record(record)) = reader.next(&mut buf.0) else { panic!("two values") };
    assert_eq!(view_slice::<Wide>(&record, record.payload(&buf.0)), Ok(&[wide, more][..]));
    assert_eq!(record.timestamp_ns, 7);
    for (seq, timestamp_ns) in [(1, 8), (2, 9), (3, 10), (4, 11)] {
        let record = if seq == 2 {
            let Ok(Next::Record((record, found))) = reader.next_pod() else { panic!("a value") };
            assert_eq!(more, found);
            record
        } else {
            let Ok(Next::Record((record, found))) = reader.next_from_bytes() else {
                panic!("a value")
            };
            assert_eq!(portable, found);
            record
        };
        assert_eq!((record.seq, record.timestamp_ns), (seq, timestamp_ns));
    }
}
