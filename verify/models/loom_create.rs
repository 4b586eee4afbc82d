//! Creation: a reader that finds the magic finds the whole header after it, and one that finds a
//! page's identity finds its words.
//!
//! Bounds: 1 creator of a ring or of a page, 1 reader that tries to attach twice, or once with 2
//! pre-emptions (1 in debug builds), fresh memory, bytes as relaxed words. Not vacuous: both
//! outcomes are seen, and the models fail without either fence. Re-creation over an older ring is
//! not modelled: a reader then may also see a CRC error.

use std::sync::atomic::Ordering;

use aqueduct_core::AttachError;
use aqueduct_core::geometry::GeometryError;
use aqueduct_core::{Meta, Next, Producer, Reader, Start};
use aqueduct_verify::explore::{Bound, Events, explore, refuse};
use aqueduct_verify::loom_memory::{Bytes, LoomMemory};
use aqueduct_verify::rig::{EPOCH, LoomProducer, Rig};
use aqueduct_verify::weak::{Weak, Weakness};
use loom::thread;

/// Each of the sixteen words of an identity may be seen or not: with two pre-emptions that takes
/// minutes in a debug build.
const USUAL: Bound = Bound::preemptions(if cfg!(debug_assertions) { 1 } else { 2 });

fn create(setup: Rig, events: &Events) {
    // The page comes from a ring of the same epoch, so that only the race about the header decides.
    let page = LoomMemory::page(Bytes::Cells);
    let elsewhere = Weak::new(&LoomMemory::ring(4, Bytes::Cells), &[]);
    let mut twin: LoomProducer = Producer::create(elsewhere, &setup.config()).expect("create");
    let id = twin.subscribe(Start::Latest).expect("subscribe");
    twin.attach(id, "model", Weak::new(&page, &[])).expect("attach");

    let ring = LoomMemory::ring(4, Bytes::Words);
    let (ours, theirs) = (Weak::new(&ring, setup.producer), Weak::new(&ring, setup.reader));
    let creator =
        thread::spawn(move || drop(LoomProducer::create(ours, &setup.config()).expect("create")));
    for _ in 0..2 {
        match Reader::attach(theirs.clone(), Weak::new(&page, &[])) {
            Ok(reader) => {
                assert_eq!((reader.geometry().epoch(), reader.geometry().capacity()), (EPOCH, 4));
                events.add("attached in flight", 1);
            }
            Err(AttachError::Geometry(GeometryError::Magic { .. })) => {
                events.add("not there yet", 1);
            }
            Err(other) => panic!("half a ring: {other}"),
        }
    }
    creator.join().expect("creator");
    assert!(Reader::attach(theirs, Weak::new(&page, &[])).is_ok());
}

#[test]
fn a_ring_is_there_as_a_whole_or_not_at_all() {
    // From position 1, so that `tail` differs from what zeroed memory holds.
    let events = explore("create", Bound::ALL, |events| create(Rig::new(4).from(1), events));
    assert!(
        events.count("attached in flight") > 0 && events.count("not there yet") > 0,
        "{events}"
    );
}

#[test]
fn creation_without_release_fences_is_refused() {
    let rig = Rig::new(4).spoil_producer(&[Weakness::Fence(Ordering::Release, Ordering::Relaxed)]);
    refuse("create without release", "half a ring", Bound::ALL, move |events| create(rig, events));
}

#[test]
fn attaching_without_the_acquire_fence_is_refused() {
    let rig = Rig::new(4).spoil_reader(&[Weakness::Fence(Ordering::Acquire, Ordering::Relaxed)]);
    refuse("attach without acquire", "half a ring", Bound::ALL, move |events| create(rig, events));
}

/// The reader looks at a page that is being attached, as it may where no socket hands it over.
fn attach(setup: Rig, events: &Events) {
    let (ring, page) =
        (LoomMemory::ring(setup.capacity as usize, Bytes::Cells), LoomMemory::page(Bytes::Words));
    let mut producer: LoomProducer =
        Producer::create(Weak::new(&ring, &[]), &setup.config()).expect("create");
    let _ = producer.push(Meta::default(), &[]).expect("there is room");
    let id = producer.subscribe(Start::Latest).expect("subscribe");
    let (ours, theirs) = (Weak::new(&page, setup.producer), Weak::new(&page, setup.reader));
    let attaching = thread::spawn(move || producer.attach(id, "model", ours).expect("attach"));
    let mut attached = 0;
    let mut try_it = || match Reader::attach(Weak::new(&ring, &[]), theirs.clone()) {
        Ok(mut reader) => {
            assert_eq!(reader.next(&mut []), Ok(Next::Empty), "half a page");
            attached += 1;
        }
        Err(AttachError::CursorSegmentIdentity) => {}
        Err(other) => panic!("half a page: {other}"),
    };
    try_it();
    attaching.join().expect("producer");
    try_it();
    assert!(attached > 0);
    events.note("attached in flight", attached == 2);
    events.note("not there yet", attached == 1);
}

#[test]
fn a_page_is_there_as_a_whole_or_not_at_all() {
    // The cursor differs from what zeroed memory holds.
    let events = explore("attach", USUAL, |events| attach(Rig::new(4), events));
    assert!(
        events.count("attached in flight") > 0 && events.count("not there yet") > 0,
        "{events}"
    );
}

#[test]
fn a_page_without_either_fence_is_refused() {
    let rig = Rig::new(4).spoil_producer(&[Weakness::Fence(Ordering::Release, Ordering::Relaxed)]);
    refuse("page without release", "half a page", USUAL, move |events| {
        attach(rig, events);
    });
    let rig = Rig::new(4).spoil_reader(&[Weakness::Fence(Ordering::Acquire, Ordering::Relaxed)]);
    refuse("page without acquire", "half a page", USUAL, move |events| {
        attach(rig, events);
    });
}
