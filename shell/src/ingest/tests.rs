//! The record path without HTTP: futures are polled by hand, cursors written through the readers'
//! descriptors.

use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use aqueduct_core::layout::{cursor_word, ring_word};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::*;

const LONG: Duration = Duration::from_secs(3600);

/// 32 granules, of which 31 hold records.
fn ring() -> Arc<Ring> {
    let settings = RingSettings {
        name: "test".to_owned(),
        capacity_bytes: 1024,
        max_payload_bytes: 480,
        clock: ClockName::Monotonic,
        subscriptions: vec!["default".to_owned()],
    };
    let metrics = Metrics::new().expect("distinct names");
    Arc::new(Ring::create(&settings, &metrics).expect("shared memory"))
}

/// A connection, and its other end, which must be kept.
fn link() -> (Arc<Link>, OwnedFd) {
    let pair = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    );
    let (ours, theirs) = pair.expect("a pair");
    (Arc::new(Link::new(ours).expect("a link")), theirs)
}

fn store_cursor(cursor: &OwnedFd, position: u32) {
    let written = rustix::io::pwrite(cursor, &position.to_le_bytes(), cursor_word::CURSOR as u64);
    assert_eq!(written, Ok(4));
}

fn space_wanted(ring: &Ring) -> u32 {
    let mut word = [0; 4];
    assert_eq!(
        rustix::io::pread(ring.handout().1.as_fd(), &mut word[..], ring_word::SPACE_WANTED as u64),
        Ok(4)
    );
    u32::from_le_bytes(word)
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn seq(poll: &Poll<Result<Published, PublishError>>) -> Option<u64> {
    match poll {
        Poll::Ready(Ok(published)) => Some(published.seq),
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Pending => None,
    }
}

/// Ten records of three granules.
fn fill(ring: &Ring) {
    for n in 0..10 {
        assert_eq!(seq(&poll(pin!(ring.publish(0, &[1; 64], LONG)))), Some(n));
    }
}

#[test]
fn a_record_that_waits_is_not_overtaken_and_its_request_is_not_forgotten() {
    let ring = ring();
    let (link, _peer) = link();
    let attached = ring.attach("default", Place::Here, &link).expect("free");
    fill(&ring);
    let mut large = pin!(ring.publish(0, &[2; 400], LONG));
    let mut small = pin!(ring.publish(0, &[3; 1], LONG));
    assert!(poll(large.as_mut()).is_pending() && poll(small.as_mut()).is_pending());

    // Room for the small one only.
    store_cursor(&attached.cursor, 3);
    ring.space_released();
    assert!(poll(large.as_mut()).is_pending() && poll(small.as_mut()).is_pending());
    assert_ne!(space_wanted(&ring), 0, "or no reader would ever tell");
    assert!(poll(pin!(ring.publish(0, &[4; 1], LONG))).is_pending(), "a new one queues up, too");

    store_cursor(&attached.cursor, 30);
    ring.space_released();
    assert_eq!(seq(&poll(large.as_mut())), Some(10));
    assert_eq!(seq(&poll(small.as_mut())), Some(11));
    assert_eq!(space_wanted(&ring), 0);
    assert_eq!(seq(&poll(pin!(ring.publish(0, b"", LONG)))), Some(12), "nobody waits any more");
}

#[test]
fn giving_up_the_first_place_hands_it_on() {
    let ring = ring();
    let (link, _peer) = link();
    let attached = ring.attach("default", Place::Here, &link).expect("free");
    fill(&ring);
    let mut second = pin!(ring.publish(0, &[3; 64], LONG));
    {
        let mut first = pin!(ring.publish(0, &[2; 64], LONG));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    }
    // Two records: the end of the data area is padded first.
    store_cursor(&attached.cursor, 6);
    ring.space_released();
    assert_eq!(seq(&poll(second.as_mut())), Some(10));
}

#[test]
fn the_end_of_an_evicted_reader_does_not_detach_the_next_one() {
    let ring = ring();
    let (first, _first_peer) = link();
    let (second, _second_peer) = link();
    let evicted = ring.attach("default", Place::Here, &first).expect("free");
    store_cursor(&evicted.cursor, 7);
    ring.status();
    let next = ring.attach("default", Place::Here, &second).expect("the first was thrown out");
    drop(evicted);
    let (third, _third_peer) = link();
    assert_eq!(ring.attach("default", Place::Here, &third).err(), Some(AttachError::Busy));
    drop(next);
    assert!(ring.attach("default", Place::Here, &third).is_ok());
}

#[test]
fn going_back_to_the_oldest_never_goes_forward() {
    let ring = ring();
    let (mut place, mut cursor) = (Place::Here, 0_u32);
    for round in 0..50_u32 {
        let (link, _peer) = link();
        let attached = ring.attach("default", place, &link).expect("free");
        let mut word = [0; 4];
        assert_eq!(
            rustix::io::pread(&attached.cursor, &mut word[..], cursor_word::CURSOR as u64),
            Ok(4)
        );
        let start = u32::from_le_bytes(word);
        // Everything from the cursor on is unread; the `oldest` of a full ring is the start of a
        // sector, and may lie behind it.
        assert!(cursor.wrapping_sub(start) < 32, "round {round}: {start} is behind {cursor}");
        while poll(pin!(ring.publish(0, b"", LONG))).is_ready() {}
        // Goes on, then stays for a full ring, then goes back.
        cursor = if round % 3 == 0 { start + 5 } else { start };
        store_cursor(&attached.cursor, cursor);
        place = if round % 3 == 1 { Place::Oldest } else { Place::Here };
    }
    assert!(cursor > 64, "not vacuous: {cursor}");
}

#[test]
fn a_closed_ring_refuses_those_who_wait_and_those_who_come() {
    let ring = ring();
    fill(&ring);
    let mut waiting = pin!(ring.publish(0, &[2; 64], LONG));
    assert!(poll(waiting.as_mut()).is_pending());
    ring.close();
    assert_eq!(poll(waiting), Poll::Ready(Err(PublishError::Closed)));
    assert_eq!(poll(pin!(ring.publish(0, b"", LONG))), Poll::Ready(Err(PublishError::Closed)));
}

#[test]
fn a_full_ring_is_not_ready_until_the_refused_record_would_fit() {
    let ring = ring();
    let (link, _peer) = link();
    let attached = ring.attach("default", Place::Here, &link).expect("free");
    fill(&ring);
    assert!(!ring.status().full, "one granule is left");
    assert_eq!(smol::block_on(ring.publish(0, &[2; 64], Duration::ZERO)), Err(PublishError::Full));
    assert!(ring.status().full);
    store_cursor(&attached.cursor, 30);
    assert_eq!(ring.status(), RingStatus { used_bytes: 0, full: false, attached_lag_bytes: 0 });
}
