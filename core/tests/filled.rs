//! Claims that hardware fills: the bytes come through a raw pointer, and the commit says how many.

use std::fmt::Write;

use aqueduct_core::{
    GrantOverflow, Meta, Next, Observer, Producer, ReadError, Region, RingConfig, Segment,
    SharedProducer, payload_crc,
};

type Ring = Segment<{ 256 + 1024 }>;

fn producer(ring: &Ring) -> Producer<Region<'_>> {
    Producer::create(ring.region(), &RingConfig::new("filled", 7, 1024)).expect("it fits")
}

/// What a DMA engine does: bytes, whole words or not, in any order.
fn transfer(to: std::ptr::NonNull<u8>, from: usize, bytes: &[u8]) {
    assert!(to.as_ptr().addr().is_multiple_of(32));
    for (at, &byte) in bytes.iter().enumerate().rev() {
        // SAFETY: within the claimed bytes.
        let place = unsafe { to.add(from + at) };
        // SAFETY: as above, and nobody else is there: the test has one thread.
        unsafe { place.write(byte) };
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251 + 1).try_into().expect("small")).collect()
}

#[test]
fn records_of_every_length_are_read_back_or_taken_with_the_crc_that_was_given() {
    let ring = Ring::new();
    let mut producer = producer(&ring);
    let mut observer = Observer::latest(ring.region().read_only()).expect("a ring");
    let mut buf = [0; 256];
    for len in (0..=140).chain([200]) {
        for given in [false, true] {
            let payload = bytes(len);
            let grant = producer.claim(len + 13).expect("nobody holds it back");
            transfer(grant.payload_ptr().expect("a region lends"), 0, &payload);
            let crc = given.then(|| payload_crc(&payload));
            let seq = grant.commit_filled(Meta::default(), len, crc).expect("it was claimed");
            let _ = producer.publish();
            let next = observer.next(&mut buf).expect("whole");
            let Next::Record(record) = next else { panic!("it was published") };
            assert_eq!((record.seq, &buf[..record.len]), (seq, &payload[..]));
        }
    }
}

#[test]
fn the_bytes_are_those_that_a_grant_makes_which_is_written_into() {
    let (one, other) = (Ring::new(), Ring::new());
    let (mut written, mut filled) = (producer(&one), producer(&other));
    for len in [1, 7, 8, 9, 31, 33, 100] {
        let payload = bytes(len);
        let mut grant = written.claim(len).expect("room");
        grant.write(&payload).expect("it was claimed");
        grant.commit(Meta::default());
        let grant = filled.claim(len).expect("room");
        transfer(grant.payload_ptr().expect("a region lends"), 0, &payload);
        // What hardware writes beyond the end, up to a word.
        let beyond = vec![0xff; len.next_multiple_of(8)];
        let grant_len = beyond.len();
        drop(grant);
        let grant = filled.claim(grant_len).expect("room");
        transfer(grant.payload_ptr().expect("a region lends"), 0, &beyond);
        transfer(grant.payload_ptr().expect("a region lends"), 0, &payload);
        grant.commit_filled(Meta::default(), len, None).expect("it was claimed");
        let _ = (written.publish(), filled.publish());
    }
    let (mut first, mut second) = ([0; 1024], [0; 1024]);
    aqueduct_core::Memory::read(&one.region(), 256, &mut first);
    aqueduct_core::Memory::read(&other.region(), 256, &mut second);
    assert!(first == second);
}

#[test]
fn what_was_written_before_counts_if_the_hardware_left_it() {
    let ring = Ring::new();
    let mut producer = producer(&ring);
    let mut observer = Observer::latest(ring.region().read_only()).expect("a ring");
    let mut grant = producer.claim(32).expect("room");
    write!(grant, "adc {}:", 3).expect("it was claimed");
    let place = grant.payload_ptr().expect("a region lends");
    transfer(place, 6, b"0123456789");
    grant.commit_filled(Meta::default(), 16, None).expect("it was claimed");
    let _ = producer.publish();
    let mut buf = [0; 32];
    assert!(matches!(observer.next(&mut buf), Ok(Next::Record(record)) if record.len == 16));
    assert_eq!(&buf[..16], b"adc 3:0123456789");
}

#[test]
fn more_than_was_claimed_and_a_wrong_crc_are_found() {
    let ring = Ring::new();
    let mut producer = producer(&ring);
    let grant = producer.claim(8).expect("room");
    assert_eq!(
        grant.commit_filled(Meta::default(), 9, None),
        Err(GrantOverflow { bytes: 9, remaining: 8 })
    );
    let mut observer = Observer::latest(ring.region().read_only()).expect("a ring");
    let grant = producer.claim(8).expect("room");
    transfer(grant.payload_ptr().expect("a region lends"), 0, &bytes(8));
    assert_eq!(grant.commit_filled(Meta::default(), 8, Some(1)), Ok(0), "no record came before");
    let _ = producer.publish();
    assert!(matches!(
        observer.next(&mut [0; 8]),
        Err(ReadError::Payload { seq: 0, stored: 1, .. })
    ));
}

#[test]
fn shared_claims_are_filled_beside_each_other() {
    let ring = Ring::new();
    let shared: SharedProducer<Region<'_>> =
        SharedProducer::new(producer(&ring)).expect("small enough");
    let mut observer = Observer::latest(ring.region().read_only()).expect("a ring");
    let (first, second) = (shared.claim(40).expect("room"), shared.claim(40).expect("room"));
    let refused = shared.claim(4).expect("room");
    transfer(second.payload_ptr().expect("a region lends"), 0, &bytes(17));
    transfer(first.payload_ptr().expect("a region lends"), 0, &bytes(40));
    let waits = second.commit_filled(Meta::default(), 17, None).expect("it was claimed");
    assert_eq!(waits.seq, None);
    assert!(refused.commit_filled(Meta::default(), 5, None).is_err(), "it leaves a DISCARD");
    let done = first.commit_filled(Meta::default(), 40, None).expect("it was claimed");
    assert_eq!(done.seq, Some(0));
    let mut buf = [0; 64];
    for (seq, len) in [(0, 40), (1, 17)] {
        let Ok(Next::Record(record)) = observer.next(&mut buf) else { panic!("record {seq}") };
        assert_eq!((record.seq, &buf[..record.len]), (seq, &bytes(len)[..]));
    }
    assert_eq!(observer.next(&mut buf), Ok(Next::Empty));
    // The claim that was filled too far holds nobody up.
    let after = shared.push(Meta::default(), b"after").expect("room");
    assert_eq!(after.seq, Some(2));
    assert!(matches!(observer.next(&mut buf), Ok(Next::Record(record)) if record.seq == 2));
}
