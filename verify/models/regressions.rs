//! Faults that random or exhaustive search found once, each as the shortest life of a ring that
//! shows it.
//!
//! One thread, production memory.

use aqueduct_core::{
    Meta, Next, Producer, Reader, RingConfig, Sleep, Start, SubscriptionId, WaitMode,
};
use aqueduct_verify::heap::Heap;

const CAPACITY: usize = 4;
type Ring = Heap<{ 256 + CAPACITY * 32 }>;
type Page = Heap<256>;

fn ring() -> (Ring, Producer<Ring, Page>) {
    let ring = Ring::new();
    let producer =
        Producer::create(ring.clone(), &RingConfig::new("regression", 7, CAPACITY * 32)).unwrap();
    (ring, producer)
}

fn reader(
    ring: &Ring,
    producer: &mut Producer<Ring, Page>,
    id: SubscriptionId,
) -> (Page, Reader<Ring, Page>) {
    let page = Page::new();
    producer.attach(id, "reader", page.clone()).unwrap();
    (page.clone(), Reader::attach(ring.clone(), page).unwrap())
}

fn next(reader: &mut Reader<Ring, Page>) -> Option<u64> {
    match reader.next(&mut [0; 32]).unwrap() {
        Next::Record(record) => Some(record.seq),
        Next::Empty | Next::Closed => None,
    }
}

#[test]
fn closing_overwrites_nothing_that_a_late_subscription_holds() {
    let (ring, mut producer) = ring();
    // Nobody gates yet, so all four granules are taken; the one that close needs must not be the
    // new subscription's.
    (0..4).for_each(|_| assert!(producer.push(Meta::default(), b"").unwrap().1.is_none()));
    let id = producer.subscribe(Start::Oldest).unwrap();
    assert!(producer.close().is_none());
    let (_, mut reader) = reader(&ring, &mut producer, id);
    assert_eq!([(); 3].map(|()| next(&mut reader)), [Some(1), Some(2), Some(3)]);
    assert_eq!(reader.next(&mut []), Ok(Next::Closed));
}

#[test]
fn the_end_is_reported_by_the_call_that_reaches_it() {
    let (ring, mut producer) = ring();
    let id = producer.subscribe(Start::Latest).unwrap();
    let (_, mut reader) = reader(&ring, &mut producer, id);
    assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
    assert!(producer.close().futex);
    reader.finish_sleep(false).unwrap();
    // `Empty` would send the reader back to sleep, on a tail that never moves again.
    assert_eq!(reader.next(&mut []), Ok(Next::Closed));
}

#[test]
fn a_second_reader_on_the_same_page_is_woken_like_the_first() {
    let (ring, mut producer) = ring();
    let id = producer.subscribe(Start::Latest).unwrap();
    let (page, first) = reader(&ring, &mut producer, id);
    drop(first);
    for seq in 0..3 {
        let mut reader = Reader::attach(ring.clone(), page.clone()).unwrap();
        assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
        assert!(producer.push(Meta::default(), b"").unwrap().1.futex, "reader {seq} sleeps on");
        reader.finish_sleep(false).unwrap();
        assert_eq!(next(&mut reader), Some(seq));
        assert!(!reader.release());
    }
}
