//! The ring that comes whole: each half once, in place, and whatever safe code does with it.

#![forbid(unsafe_code)]

use std::thread;

use aqueduct_core::typed::Tagged;
use aqueduct_core::{AttributeBlock, ClaimError, Meta, Next, ReadError, Record, Ring};

const CAPACITY_BYTES: usize = 512;

#[test]
fn each_half_is_given_once_even_to_threads_that_ask_at_once() {
    let ring = Ring::<CAPACITY_BYTES>::new();
    let got: usize = thread::scope(|scope| {
        let askers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| usize::from(ring.split().is_some()))).collect();
        askers.into_iter().map(|asker| asker.join().expect("no panic")).sum()
    });
    assert_eq!(got, 1);
    assert!(ring.split().is_none() && ring.split_shared::<2>().is_none());
}

#[test]
fn a_ring_that_is_shared_cannot_be_split_otherwise() {
    let ring = Ring::<CAPACITY_BYTES>::new();
    assert!(ring.observer().is_err(), "there is no ring yet");
    let (producer, [mut reader]) = ring.split_shared::<4>().expect("the first");
    assert!(ring.split().is_none() && ring.split_shared::<4>().is_none());
    assert_eq!(producer.push(Meta::default(), b"one").expect("room").seq, Some(0));
    let mut buf = [0; 8];
    assert!(matches!(reader.next(&mut buf), Ok(Next::Record(record)) if record.len == 3));
    let mut observer = ring.observer().expect("there is one");
    assert!(matches!(observer.next(&mut buf), Ok(Next::Record(record)) if record.seq == 0));
}

#[test]
fn a_borrowed_ring_begins_anew_each_time() {
    let mut ring = Ring::<CAPACITY_BYTES, 2>::new();
    for round in 0..3_u8 {
        let (mut producer, [mut first, mut second]) = ring.split_mut().expect("it always can");
        assert_eq!(producer.next_seq(), 0);
        let _ = producer.push(Meta::default(), &[round; 40]).expect("room");
        for reader in [&mut first, &mut second] {
            assert!(matches!(reader.next_in_place(), Ok(Next::Record((record, bytes)))
                    if record.seq == 0 && bytes == [round; 40]));
            assert_eq!(reader.next_in_place(), Ok(Next::Empty));
        }
    }
}

#[test]
fn payloads_are_lent_where_they_lie_and_stay_whole_while_the_producer_goes_on() {
    let ring = Ring::<CAPACITY_BYTES>::new();
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    let rounds = if cfg!(miri) { 3 } else { 100 };
    let full = thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let (mut pushed, mut full) = (0_u8, 0);
            while pushed < rounds {
                match producer.push(Meta::default(), &[pushed; 56]) {
                    Ok(_) => pushed += 1,
                    Err(ClaimError::Full { .. }) => {
                        full += 1;
                        thread::yield_now();
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            let _ = producer.close();
            full
        });
        let mut read = 0_u8;
        loop {
            match reader.next_in_place().expect("nothing is damaged") {
                Next::Record((record, payload)) => {
                    assert_eq!(record.seq, u64::from(read));
                    // Looked at twice, with time for the producer in between.
                    assert_eq!(payload, [read; 56]);
                    thread::yield_now();
                    assert_eq!(payload, [read; 56]);
                    read += 1;
                }
                Next::Empty => thread::yield_now(),
                Next::Closed => break,
            }
            // Seldom, so that the ring is full in between.
            if read.is_multiple_of(3) || !reader.is_ready() {
                let _ = reader.release();
            }
        }
        assert_eq!(read, rounds);
        writer.join().expect("the producer")
    });
    assert!(full > 0 || cfg!(miri), "the ring was never full");
}

#[test]
fn halves_that_are_dropped_leave_a_ring_that_nobody_can_split() {
    let ring = Ring::<128, 1>::new();
    let (mut producer, [reader]) = ring.split().expect("the first");
    let _ = reader;
    while producer.push(Meta::default(), &[]).is_ok() {}
    // Its reader is gone and still holds it back: nothing is overwritten.
    assert!(matches!(producer.push(Meta::default(), &[]), Err(ClaimError::Full { .. })));
    drop(producer);
    assert!(ring.split().is_none());
}

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Reading {
    sensor: u32,
    celsius: f32,
}

impl Tagged for Reading {
    const TYPE_TAG: u16 = 7;
}

#[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
struct Pair([u8; 2]);

impl Tagged for Pair {
    const TYPE_TAG: u16 = 8;
}

#[test]
fn the_half_that_produces_pushes_values_and_attributes_as_a_producer_does() {
    let ring = Ring::<1024>::new();
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    let reading = Reading { sensor: 3, celsius: 21.5 };
    let mut room = [0; 16];
    let block = AttributeBlock::write([("a", &b"b"[..])], &mut room).expect("there is room");

    assert_eq!(producer.append_pod(1, &reading), Ok(0));
    assert_eq!(producer.append_with(Meta::default(), b"one", block), Ok(1));
    assert_eq!(reader.next_pod::<Reading>().map(|next| next == Next::Empty), Ok(true));
    assert_eq!(producer.push_pod(2, &reading).map(|(seq, _)| seq), Ok(2));
    let tagged = Meta { type_tag: 9, timestamp_ns: 3 };
    assert_eq!(producer.push_with(tagged, b"two", block).map(|(seq, _)| seq), Ok(3));
    assert_eq!(producer.push_bytes_of(4, &Pair([5, 6])).map(|(seq, _)| seq), Ok(4));

    let mut buf = [0; 64];
    let value = |next: Result<Next<(Record, Reading)>, _>| match next {
        Ok(Next::Record((record, value))) => (record.type_tag, record.timestamp_ns, value),
        other => panic!("{other:?}"),
    };
    let copied = |next: Result<Next, ReadError>, buf: &[u8]| match next {
        Ok(Next::Record(record)) => {
            let attribute = record.attributes(buf).get("a").map(<[u8]>::to_vec);
            (record.type_tag, record.timestamp_ns, buf[..record.len].to_vec(), attribute)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(value(reader.next_pod()), (7, 1, reading));
    let next = reader.next(&mut buf);
    assert_eq!(copied(next, &buf), (0, 0, b"one".to_vec(), Some(b"b".to_vec())));
    assert_eq!(value(reader.next_pod()), (7, 2, reading));
    let next = reader.next(&mut buf);
    assert_eq!(copied(next, &buf), (9, 3, b"two".to_vec(), Some(b"b".to_vec())));
    let next = reader.next(&mut buf);
    assert_eq!(copied(next, &buf), (8, 4, vec![5, 6], None));
}

#[test]
fn a_ring_takes_what_its_documentation_says() {
    assert_eq!(size_of::<Ring<1024>>(), 1024 + 320 + 256);
    assert_eq!(size_of::<Ring<4096, 3>>(), 4096 + 320 + 3 * 256);
}

#[test]
fn each_life_has_an_epoch_of_its_own() {
    let mut ring = Ring::<128>::new();
    let mut epochs = Vec::new();
    for _ in 0..3 {
        let (producer, _) = ring.split_mut().expect("it is borrowed");
        epochs.push(producer.geometry().epoch());
    }
    epochs.push(ring.split().expect("the first").0.geometry().epoch());
    assert_eq!(epochs, [2, 3, 4, 4]);
    assert_eq!(Ring::<128>::new().split().expect("the first").0.geometry().epoch(), 1);
}

#[cfg(feature = "alloc")]
#[test]
fn memory_of_a_size_that_is_known_late_is_a_segment_like_any() {
    use aqueduct_core::{HeapSegment, Memory, Producer, Reader, RingConfig, Start};
    for capacity in [128, 256, 4096] {
        let (ring, cursor) = (HeapSegment::new(256 + capacity), HeapSegment::new(250));
        assert_eq!((ring.region().size(), cursor.region().size()), (256 + capacity, 256));
        let config = RingConfig::new("heap", 9, capacity);
        let mut producer: Producer<_, _, 1> =
            Producer::create(ring.region(), &config).expect("the size is right");
        let id = producer.subscribe(Start::Oldest).expect("an empty table");
        producer.attach(id, "reader", cursor.region()).expect("it is large enough");
        let mut reader =
            Reader::attach(ring.region().read_only(), cursor.region()).expect("just made");
        thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..20_u8 {
                    while producer.push(Meta::default(), &[number; 9]).is_err() {
                        thread::yield_now();
                    }
                }
            });
            let mut buf = [0; 9];
            for number in 0..20_u8 {
                while !matches!(reader.next(&mut buf), Ok(Next::Record(_))) {
                    thread::yield_now();
                }
                assert_eq!(buf, [number; 9]);
                let _ = reader.release();
            }
        });
    }
}

#[test]
fn a_ring_without_readers_is_a_flight_recorder() {
    let ring = Ring::<128, 0>::new();
    let (mut producer, []) = ring.split().expect("the first");
    for _ in 0..20 {
        let _ = producer.push(Meta::default(), b"x").expect("nobody holds it back");
    }
    let mut observer = ring.observer().expect("a ring");
    assert!(matches!(observer.next(&mut [0; 8]), Ok(Next::Record(record)) if record.seq > 10));
}

#[cfg(feature = "alloc")]
#[test]
fn a_ring_on_the_heap_gives_each_half_once_and_begins_anew_when_it_is_borrowed() {
    use aqueduct_core::HeapRing;
    let mut ring = HeapRing::<2>::new(CAPACITY_BYTES).expect("a size that rings have");
    assert!(ring.observer().is_err(), "there is no ring yet");
    for round in 0..3_u8 {
        let (mut producer, readers) = ring.split_mut().expect("it always can");
        assert_eq!((producer.next_seq(), producer.geometry().epoch()), (0, u64::from(round) + 2));
        let _ = producer.push(Meta::default(), &[round; 40]).expect("room");
        for mut reader in readers {
            assert!(matches!(reader.next_in_place(), Ok(Next::Record((record, bytes)))
                    if record.seq == 0 && bytes == [round; 40]));
            assert_eq!(reader.next_in_place(), Ok(Next::Empty));
        }
    }
    let got: usize = thread::scope(|scope| {
        let ask = |_| scope.spawn(|| usize::from(ring.split().is_some()));
        let askers: Vec<_> = (0..4).map(ask).collect();
        askers.into_iter().map(|asker| asker.join().expect("no panic")).sum()
    });
    assert_eq!(got, 1);
    assert!(ring.split().is_none() && matches!(ring.split_shared::<2>(), Ok(None)));
    assert!(ring.observer().is_ok());
}

#[cfg(feature = "alloc")]
#[test]
fn a_ring_on_the_heap_is_read_in_place_and_gates_each_of_its_readers() {
    use aqueduct_core::HeapRing;
    let ring = HeapRing::<2>::new(128).expect("a size that rings have");
    let (mut producer, [mut fast, mut slow]) = ring.split().expect("the first");
    let mut pushed = 0;
    while producer.push(Meta::default(), &[]).is_ok() {
        pushed += 1;
        assert!(matches!(fast.next_in_place(), Ok(Next::Record((_, bytes))) if bytes.is_empty()));
        let _ = fast.release();
    }
    assert!((2..=4).contains(&pushed), "the slow one holds it back: {pushed}");
    assert!(matches!(producer.push(Meta::default(), &[]), Err(ClaimError::Full { .. })));
    assert!(matches!(slow.next_in_place(), Ok(Next::Record((record, _))) if record.seq == 0));
    let _ = slow.release();
    assert_eq!(producer.push(Meta::default(), &[]).map(|(seq, _)| seq), Ok(pushed));
}

#[cfg(feature = "alloc")]
#[test]
fn a_ring_on_the_heap_that_no_ring_or_table_takes_is_refused_and_stays_whole() {
    use aqueduct_core::HeapRing;
    use aqueduct_core::geometry::GeometryError;
    let far = usize::MAX / 32 * 32; // of 64 bits: more granules than a u32 has
    let most = u32::try_from(far / 32).unwrap_or(u32::MAX);
    for (bytes, granules) in [(0, 0), (64, 2), (96, 3), (127, 3), (160, 5), (far, most)] {
        let refused = HeapRing::<1>::new(bytes);
        assert_eq!(refused.err(), Some(GeometryError::Capacity { granules }), "{bytes}");
    }
    if !cfg!(miri) {
        let ring = HeapRing::<1>::new(1 << 26).expect("64 MiB");
        let refused = ring.split_shared::<256>().expect_err("2^21 granules are too many for that");
        assert_eq!((refused.granules, refused.limit), (1 << 21, 1 << 20));
        let (shared, [mut reader]) =
            ring.split_shared::<128>().expect("so many fit").expect("it was not given out");
        assert_eq!(shared.push(Meta::default(), b"one").expect("room").seq, Some(0));
        assert!(matches!(reader.next(&mut [0; 3]), Ok(Next::Record(record)) if record.len == 3));
        assert!(ring.split().is_none() && matches!(ring.split_shared::<128>(), Ok(None)));
    }
    let small = HeapRing::<0>::new(128).expect("a flight recorder");
    assert_eq!(format!("{small:?}"), "HeapRing { bytes: 128, readers: 0, .. }");
}
