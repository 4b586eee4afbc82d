//! Records that are kept back, and whom their publication wakes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use aqueduct_core::layout::{WAITING_SOCKET, cursor_word, ring_word};

use super::*;
use crate::journal::Durability;
use crate::metrics::Metrics;
use crate::ring::{ClockName, Doorbell, RingSettings};

/// 32 granules, held back.
fn ring() -> Ring {
    let settings = RingSettings {
        name: "test".to_owned(),
        capacity_bytes: 1024,
        max_payload_bytes: 480,
        full_wait: Duration::ZERO,
        clock: ClockName::Monotonic,
        subscriptions: vec!["default".to_owned()],
        durability: Durability::Memory,
        lagging: Vec::new(),
        lag_bytes: 1 << 30,
        has_attributes: false,
    };
    let metrics = Metrics::new().expect("distinct names");
    let mut ring = Ring::create(&settings, &metrics).expect("shared memory");
    ring.hold_back().expect("a subscription is left");
    ring
}

#[derive(Default)]
struct Bell(Mutex<usize>);

impl Doorbell for Bell {
    fn ring(&self) -> bool {
        *lock(&self.0) += 1;
        true
    }

    fn disconnect(&self) {}

    fn is_gone(&self) -> bool {
        false
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.ring();
    }
}

fn word(ring: &Ring, at: usize) -> u32 {
    let mut word = [0; 4];
    assert_eq!(rustix::io::pread(ring.handout().1.as_fd(), &mut word[..], at as u64), Ok(4));
    u32::from_le_bytes(word)
}

fn store(cursor: &OwnedFd, at: usize, value: u32) {
    assert_eq!(rustix::io::pwrite(cursor, &value.to_le_bytes(), at as u64), Ok(4));
}

fn append(ring: &Ring, bytes: usize) -> Result<u64, Refusal> {
    ring.turn().append(0, &vec![7; bytes])
}

#[test]
fn readers_see_records_as_far_as_they_are_published_and_no_further() {
    let ring = Arc::new(ring());
    let bell = Arc::new(Bell::default());
    let doorbell: Arc<dyn Doorbell> = bell.clone();
    let attached = ring.attach("default", None, doorbell).expect("free");
    store(&attached.cursor, cursor_word::WAITING, WAITING_SOCKET);
    assert_eq!((append(&ring, 32), ring.appended()), (Ok(0), (2, 1)));
    assert_eq!(append(&ring, 32), Ok(1));
    let seen = || (word(&ring, ring_word::TAIL), word(&ring, ring_word::NEXT_SEQ), *lock(&bell.0));
    assert_eq!((seen(), ring.standing(0)), ((0, 0, 0), Standing::Coming));
    ring.publish_up_to(2, 1);
    assert_eq!(seen(), (2, 1, 1), "the reader slept on position 0");
    assert_eq!((ring.standing(0), ring.standing(1)), (Standing::Published, Standing::Coming));
    store(&attached.cursor, cursor_word::WAITING, WAITING_SOCKET | 2 << 2);
    ring.publish_up_to(2, 1);
    assert_eq!(seen(), (2, 1, 1), "it sleeps on this very tail");
    ring.publish_up_to(4, 2);
    assert_eq!(seen(), (4, 2, 2));
    ring.close();
    assert_eq!(word(&ring, ring_word::STATE), 1);
}

#[test]
fn a_watcher_is_called_at_the_next_progress_or_at_once() {
    let ring = ring();
    let bell = Arc::new(Bell::default());
    assert_eq!((append(&ring, 0), append(&ring, 0)), (Ok(0), Ok(1)));
    ring.watch(1, Waker::from(Arc::clone(&bell)));
    ring.watch(1, Waker::from(Arc::clone(&bell)));
    assert_eq!(*lock(&bell.0), 0);
    ring.publish_up_to(1, 1);
    assert_eq!(*lock(&bell.0), 1, "once, though it asked twice");
    ring.watch(0, Waker::from(Arc::clone(&bell)));
    assert_eq!(*lock(&bell.0), 2, "it is published already");
}

#[test]
fn what_is_not_safe_is_never_overwritten_whatever_a_reader_claims() {
    let ring = Arc::new(ring());
    let attached = ring.attach("default", None, Arc::new(Bell::default())).expect("free");
    for seq in 0..15 {
        assert_eq!(append(&ring, 32), Ok(seq));
    }
    assert_eq!(append(&ring, 32), Err(Refusal::Full));
    // All of it, though it has seen nothing.
    store(&attached.cursor, cursor_word::CURSOR, 30);
    assert_eq!(append(&ring, 32), Err(Refusal::Full));
    ring.publish_up_to(8, 4);
    assert_eq!(append(&ring, 32), Ok(15));
    assert!(word(&ring, ring_word::OLDEST) <= 8);
}

#[test]
fn a_reader_that_asks_for_the_latest_begins_at_what_is_published() {
    let ring = Arc::new(ring());
    assert_eq!(append(&ring, 0), Ok(0));
    ring.publish_up_to(1, 1);
    assert_eq!(append(&ring, 0), Ok(1));
    for (start, cursor) in [(Start::Latest, 1), (Start::Oldest, 0)] {
        let bell = Arc::new(Bell::default());
        let attached = ring.attach("default", Some(start), bell).expect("free");
        let mut word = [0; 4];
        let read = rustix::io::pread(&attached.cursor, &mut word, cursor_word::CURSOR as u64);
        assert_eq!((read, u32::from_le_bytes(word)), (Ok(4), cursor), "{start:?}");
    }
}

#[test]
fn after_a_failure_nothing_is_taken_nothing_is_published_and_the_stream_has_no_end() {
    let ring = ring();
    assert_eq!(append(&ring, 0), Ok(0));
    ring.fail();
    assert_eq!((append(&ring, 0), ring.standing(0)), (Err(Refusal::Journal), Standing::Lost));
    ring.publish_up_to(1, 1);
    ring.close();
    assert_eq!((word(&ring, ring_word::TAIL), word(&ring, ring_word::STATE)), (0, 0));
}

#[test]
fn the_oldest_record_is_never_past_the_tail() {
    let ring = Arc::new(ring());
    let attached = ring.attach("default", None, Arc::new(Bell::default())).expect("free");
    let mut boundaries = vec![ring.appended()];
    for step in 0..400 {
        while append(&ring, step % 3 * 32).is_ok() {
            boundaries.push(ring.appended());
            let (tail, oldest) = (word(&ring, ring_word::TAIL), word(&ring, ring_word::OLDEST));
            assert!(tail.wrapping_sub(oldest) <= 32, "oldest {oldest}, tail {tail}");
        }
        assert!(boundaries.len() > 1, "no progress in step {step}");
        // Some of it, so that publication is always behind.
        let some = boundaries.len().div_ceil(2);
        let (tail, next_seq) = boundaries[some - 1];
        boundaries.drain(..some - 1);
        ring.publish_up_to(tail, next_seq);
        store(&attached.cursor, cursor_word::CURSOR, tail);
    }
}

#[test]
fn a_publication_that_is_told_of_late_takes_nothing_back() {
    let progress = Progress::at(0);
    progress.advance(20);
    progress.advance(10);
    assert_eq!(progress.standing(19), Standing::Published);
    assert_eq!(progress.standing(20), Standing::Coming);
}

#[test]
fn each_record_takes_its_room_in_the_journal_twice_over() {
    let ring = ring();
    let mut inner = ring.lock();
    let holding = inner.holding.as_mut().expect("it is held back");
    assert_eq!(holding.take_room(480), Ok(()), "without a limit");
    assert!(holding.has_room(u64::MAX / 2));
    holding.set_room(11);
    assert!(holding.has_room(5) && !holding.has_room(6));
    // Three granules, and as many for padding.
    assert_eq!(holding.take_room(64), Ok(()));
    assert!(holding.has_room(2) && !holding.has_room(3));
    assert_eq!(holding.take_room(33), Err(Refusal::Full));
    assert_eq!(holding.take_room(32), Ok(()));
    assert_eq!(holding.take_room(0), Err(Refusal::Full), "one granule is left");
}

#[test]
fn a_buffer_is_kept_unless_it_is_large() {
    let ring = ring();
    let mut inner = ring.lock();
    let holding = inner.holding.as_mut().expect("it is held back");
    assert_eq!(holding.take_buffer().capacity(), 0);
    for (capacity, is_kept) in [(100, true), (BUFFER_BYTES, true), (BUFFER_BYTES + 1, false)] {
        let buffer = Vec::with_capacity(capacity);
        let capacity = buffer.capacity();
        holding.give_buffer(buffer);
        assert_eq!(holding.take_buffer().capacity(), if is_kept { capacity } else { 0 });
        assert!(holding.take_buffer().is_empty(), "it is given once");
    }
}

#[test]
fn holding_back_ends_only_when_everything_is_published_and_then_nothing_is_held() {
    let ring = ring();
    let mut inner = ring.lock();
    inner.holding.as_mut().expect("it is held back").failed = true;
    assert!(!inner.stop_holding(), "what failed is not published");
    inner.holding.as_mut().expect("it is held back").failed = false;
    drop(inner);
    assert_eq!(ring.turn().append(0, b"x"), Ok(0));
    let mut inner = ring.lock();
    assert!(!inner.stop_holding() && inner.holding.is_some(), "a record is not safe yet");
    let tail = inner.producer.ring().tail();
    drop(inner.publish_held(tail, 1));
    assert!(inner.stop_holding() && inner.holding.is_none());
    assert!(inner.stop_holding(), "again");
    drop(inner);
    assert_eq!((word(&ring, ring_word::TAIL), ring.turn().append(0, b"y")), (2, Ok(1)));
    assert_eq!(word(&ring, ring_word::TAIL), 4, "it is there at once");
}

#[test]
fn whoever_sleeps_on_another_tail_is_woken_once_in_its_way() {
    use aqueduct_core::layout::WAITING_FUTEX;

    let segments = [0, 1, 2].map(|_| CursorSegment::create("test").expect("shared memory"));
    let mut woken = [0; 3];
    let mut wakes = |waiting: [u32; 3], tail: u32| {
        for ((_, descriptor), word) in segments.iter().zip(waiting) {
            let at = cursor_word::WAITING as u64;
            assert_eq!(rustix::io::pwrite(descriptor, &word.to_le_bytes(), at), Ok(4));
        }
        let sleepers = segments.iter().zip(&mut woken).zip([1, 3, 5]);
        let mut sleepers =
            sleepers.map(|(((words, _), woken), index)| Sleeper { words, woken, index });
        let wake = show::sleepers(&mut sleepers, tail);
        (wake.futex, wake.sockets)
    };
    let on = |tail: u32, mode: u32| tail << 2 | mode;
    assert_eq!(wakes([0; 3], 7), (false, 0), "nobody sleeps");
    let all = [on(7, WAITING_FUTEX), on(7, WAITING_SOCKET), on(7, WAITING_SOCKET)];
    assert_eq!(wakes(all, 7), (false, 0), "there is nothing new");
    assert_eq!(wakes(all, 8), (true, 1 << 3 | 1 << 5));
    assert_eq!(wakes(all, 9), (false, 0), "they are on their way");
    assert_eq!(wakes([0, on(9, WAITING_SOCKET), 0], 10), (false, 1 << 3));
    assert_eq!(wakes([on(9, WAITING_FUTEX), 0, 0], 10), (true, 0));
}
