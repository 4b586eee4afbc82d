//! The record path without HTTP: futures are polled by hand, cursors written through the readers'
//! descriptors.

use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use aqueduct_core::layout::{cursor_word, ring_word};

use super::*;
use crate::journal::Durability;
use crate::refusal::Refusal;

const LONG: Duration = Duration::from_secs(3600);

/// 32 granules, of which 31 hold records.
fn ring() -> Arc<Ring> {
    ring_of(&["default"], false)
}

fn ring_of(subscriptions: &[&str], has_attributes: bool) -> Arc<Ring> {
    let settings = RingSettings {
        name: "test".to_owned(),
        capacity_bytes: 1024,
        max_payload_bytes: 480,
        full_wait: LONG,
        clock: ClockName::Monotonic,
        subscriptions: subscriptions.iter().map(|&name| name.to_owned()).collect(),
        durability: Durability::Memory,
        lagging: Vec::new(),
        lag_bytes: 1 << 30,
        has_attributes,
    };
    let metrics = Metrics::new().expect("distinct names");
    Arc::new(Ring::create(&settings, &metrics).expect("shared memory"))
}

/// A reader that is there until it is disconnected, and counts its rings.
#[derive(Default)]
struct Bell {
    rings: Mutex<usize>,
    gone: Mutex<bool>,
}

impl Doorbell for Bell {
    fn ring(&self) -> bool {
        *lock(&self.rings) += 1;
        true
    }

    fn disconnect(&self) {
        *lock(&self.gone) = true;
    }

    fn is_gone(&self) -> bool {
        *lock(&self.gone)
    }
}

fn bell() -> Arc<Bell> {
    Arc::default()
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

fn seq(poll: &Poll<Result<Published, Refusal>>) -> Option<u64> {
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
    let attached = ring.attach("default", None, bell()).expect("free");
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
    let attached = ring.attach("default", None, bell()).expect("free");
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
    let first = bell();
    let second = bell();
    let evicted = ring.attach("default", None, first).expect("free");
    store_cursor(&evicted.cursor, 7);
    ring.refresh();
    let next = ring.attach("default", None, second).expect("the first was evicted");
    drop(evicted);
    let third = bell();
    assert_eq!(ring.attach("default", None, third.clone()).err(), Some(AttachError::Busy));
    drop(next);
    assert!(ring.attach("default", None, third.clone()).is_ok());
}

/// A full ring, its reader, somebody who waits for room, and how often that one was called. The
/// reader has released two records, of which nobody has been told.
fn released_in_silence() -> (Arc<Ring>, Attached, Ticket, Arc<Calls>) {
    let ring = ring();
    fill(&ring);
    let reader = ring.attach("default", None, bell()).expect("free");
    let calls = Arc::<Calls>::default();
    let waiting = ring.turn().wait(Need::Record(64), Waker::from(Arc::clone(&calls)));
    store_cursor(&reader.cursor, 6);
    assert_eq!(calls.taken(), 0);
    (ring, reader, waiting.expect("a place"), calls)
}

#[test]
fn the_first_who_waits_is_told_when_a_reader_is_evicted() {
    let (ring, reader, ticket, calls) = released_in_silence();
    // The last cursor that was believed is further than the one that the wait began with.
    ring.refresh();
    store_cursor(&reader.cursor, 999);
    ring.refresh();
    assert_eq!(ring.metrics().records.get(), 10);
    assert!(calls.taken() > 0, "nobody looks again before the time is over");
    assert_eq!(ring.turn().append_waiting(&ticket, 0, &[1; 64]), Ok(10));
}

#[test]
fn the_first_who_waits_is_told_when_a_reader_leaves() {
    let (ring, reader, ticket, calls) = released_in_silence();
    drop(reader);
    assert!(calls.taken() > 0, "nobody looks again before the time is over");
    assert_eq!(ring.turn().append_waiting(&ticket, 0, &[1; 64]), Ok(10));
}

#[test]
fn going_back_to_the_oldest_never_goes_forward() {
    let ring = ring();
    let (mut place, mut cursor) = (None, 0_u32);
    for round in 0..50_u32 {
        let attached = ring.attach("default", place, bell()).expect("free");
        let mut word = [0; 4];
        assert_eq!(
            rustix::io::pread(&attached.cursor, &mut word[..], cursor_word::CURSOR as u64),
            Ok(4)
        );
        let start = u32::from_le_bytes(word);
        // Everything from the cursor on is unread; the `oldest` of a full ring is the start of a
        // sector, and may lie after it.
        assert!(cursor.wrapping_sub(start) < 32, "round {round}: {start} is past {cursor}");
        while poll(pin!(ring.publish(0, b"", LONG))).is_ready() {}
        // Goes on, then stays for a full ring, then goes back.
        cursor = if round % 3 == 0 { start + 5 } else { start };
        store_cursor(&attached.cursor, cursor);
        place = if round % 3 == 1 { Some(Start::Oldest) } else { None };
    }
    assert!(cursor > 64, "not vacuous: {cursor}");
}

#[test]
fn a_subscription_is_not_moved_to_a_position_of_its_readers_choice() {
    let ring = ring();
    fill(&ring);
    let refused = ring.attach("default", Some(Start::At(3)), bell()).err();
    assert_eq!(refused, Some(AttachError::Start));
    let attached = ring.attach("default", None, bell()).expect("it kept its place");
    let mut word = [0; 4];
    let at = cursor_word::CURSOR as u64;
    assert_eq!(rustix::io::pread(&attached.cursor, &mut word[..], at), Ok(4));
    assert_eq!(u32::from_le_bytes(word), 0);
}

#[test]
fn a_closed_ring_refuses_those_who_wait_and_those_who_come() {
    let ring = ring();
    fill(&ring);
    let mut waiting = pin!(ring.publish(0, &[2; 64], LONG));
    assert!(poll(waiting.as_mut()).is_pending());
    ring.close();
    assert_eq!(poll(waiting), Poll::Ready(Err(Refusal::ShuttingDown)));
    assert_eq!(poll(pin!(ring.publish(0, b"", LONG))), Poll::Ready(Err(Refusal::ShuttingDown)));
}

#[test]
fn a_full_ring_is_not_ready_until_the_refused_record_would_fit() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    fill(&ring);
    assert!(!ring.refresh().full, "one granule is left");
    let filled = ring_of(&["default"], false);
    fill(&filled);
    assert_eq!(filled.turn().append(0, b""), Ok(10), "it takes the last one");
    assert!(filled.refresh().full);
    assert_eq!(smol::block_on(ring.publish(0, &[2; 64], Duration::ZERO)), Err(Refusal::Full));
    assert!(ring.refresh().full);
    store_cursor(&attached.cursor, 30);
    assert_eq!(ring.refresh(), RingStatus { used_bytes: 0, full: false, attached_lag_bytes: 0 });
}

/// A waker that counts its calls.
#[derive(Default)]
struct Calls(Mutex<usize>);

impl std::task::Wake for Calls {
    fn wake(self: Arc<Self>) {
        *lock(&self.0) += 1;
    }
}

impl Calls {
    fn taken(&self) -> usize {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// A place in the queue for a record of 64 bytes, and the calls of its waker.
fn queue_up(ring: &Ring) -> (Ticket, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let ticket = ring
        .turn()
        .wait(Need::Record(64), Waker::from(Arc::clone(&calls)))
        .expect("room in the queue");
    (ticket, calls)
}

fn word(ring: &Ring, at: usize) -> u32 {
    let mut word = [0; 4];
    assert_eq!(rustix::io::pread(ring.handout().1, &mut word[..], at as u64), Ok(4));
    u32::from_le_bytes(word)
}

/// Falls asleep on the socket, as a reader does, so that one ring of the bell is due.
fn sleep(cursor: &OwnedFd) {
    let waiting = aqueduct_core::layout::WAITING_SOCKET | 1 << 8;
    let at = cursor_word::WAITING as u64;
    assert_eq!(rustix::io::pwrite(cursor, &waiting.to_le_bytes(), at), Ok(4));
}

#[test]
fn a_turn_publishes_once_and_wakes_a_sleeping_reader_once() {
    let ring = ring();
    let bell = bell();
    let attached = ring.attach("default", None, bell.clone()).expect("free");
    sleep(&attached.cursor);
    let mut turn = ring.turn();
    for n in 0..5 {
        assert_eq!((turn.next_seq(), turn.append(7, &[1; 64])), (n, Ok(n)));
        assert_eq!(word(&ring, ring_word::TAIL), 0, "nothing is visible before the turn ends");
    }
    assert_eq!((turn.records(), *lock(&bell.rings)), (5, 0));
    turn.finish();
    assert_eq!((word(&ring, ring_word::TAIL), *lock(&bell.rings)), (15, 1));
    // The reader has not gone back to sleep: nobody is woken, by a turn with or without records.
    ring.turn().finish();
    assert_eq!(ring.turn().append(7, b"x"), Ok(5));
    assert_eq!(*lock(&bell.rings), 1);
    assert_eq!((ring.metrics().records.get(), ring.metrics().payload_bytes.get()), (6, 321));
}

#[test]
fn of_several_readers_each_that_sleeps_is_woken_and_no_other() {
    let ring = ring_of(&["a", "b", "c"], false);
    let bells = [bell(), bell(), bell()];
    let attached: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(&bells)
        .map(|(name, bell)| ring.attach(name, None, bell.clone()).expect("free"))
        .collect();
    for (sleeping, rings) in [(&[1][..], [0, 1, 0]), (&[], [0, 1, 0]), (&[0, 2], [1, 1, 1])] {
        for &index in sleeping {
            let reader: &Attached = &attached[index];
            sleep(&reader.cursor);
        }
        ring.turn().append(0, b"x").expect("room");
        assert_eq!(bells.each_ref().map(|bell| *lock(&bell.rings)), rings, "{sleeping:?}");
    }
}

#[test]
fn a_turn_that_is_dropped_publishes_too() {
    let ring = ring();
    {
        let mut turn = ring.turn();
        assert_eq!(turn.append(0, b"x"), Ok(0));
    }
    assert_eq!(word(&ring, ring_word::TAIL), 2);
}

#[test]
fn what_does_not_fit_into_a_turn_leaves_what_did() {
    let ring = ring();
    let mut turn = ring.turn();
    let large = Refusal::TooLarge { bytes: 481, limit: 480 };
    assert_eq!(turn.append(0, &[0; 481]), Err(large));
    for n in 0..10 {
        assert_eq!(turn.append(0, &[1; 64]), Ok(n));
    }
    assert_eq!(turn.append(0, &[1; 64]), Err(Refusal::Full));
    turn.finish();
    assert_eq!((word(&ring, ring_word::TAIL), ring.metrics().records.get()), (30, 10));
}

#[test]
fn what_can_never_fit_is_refused_for_good_however_many_wait() {
    let ring = ring();
    fill(&ring);
    let _ticket = queue_up(&ring);
    let mut turn = ring.turn();
    for (bytes, refusal) in [
        (480, Refusal::Full),
        (481, Refusal::TooLarge { bytes: 481, limit: 480 }),
        (482, Refusal::TooLarge { bytes: 482, limit: 480 }),
    ] {
        assert_eq!(turn.append(0, &vec![0; bytes]), Err(refusal));
    }
}

#[test]
fn the_readers_are_asked_for_what_was_tried_last() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    fill(&ring);
    let (ticket, calls) = queue_up(&ring);
    let asked = space_wanted(&ring);
    // Room for what it came with.
    store_cursor(&attached.cursor, 6);
    assert_eq!(ring.turn().append_waiting(&ticket, 0, &[1; 400]), Err(Refusal::Full));
    let more = space_wanted(&ring);
    assert!(more != asked && more != 0, "{asked} {more}");
    assert_eq!(calls.taken(), 0, "or it would try again and again");
    // And for a batch, which waits behind nobody any more.
    assert_eq!(ring.turn().grant(Some(&ticket), 9, false), Err(Refusal::Full));
    assert!(![asked, more, 0].contains(&space_wanted(&ring)));
}

#[test]
fn a_batch_passes_nobody_who_waits_and_waits_for_nobody_who_is_gone() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    fill(&ring);
    let (ticket, _calls) = queue_up(&ring);
    store_cursor(&attached.cursor, 30);
    let mut turn = ring.turn();
    assert_eq!(turn.grant(None, 3, false), Err(Refusal::Full));
    assert_eq!(turn.append_waiting(&ticket, 0, &[1; 64]), Ok(10));
    assert_eq!(turn.grant(None, 3, false), Ok(()));
}

#[test]
fn event_loops_and_futures_wait_in_one_queue() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    fill(&ring);
    let (first, first_calls) = queue_up(&ring);
    let mut second = pin!(ring.publish(0, &[2; 64], LONG));
    assert!(poll(second.as_mut()).is_pending());
    let (third, third_calls) = queue_up(&ring);
    assert_ne!(space_wanted(&ring), 0, "the readers are asked on behalf of the first");
    assert_eq!((first_calls.taken(), third_calls.taken()), (0, 0));

    // Room for all three: only the first is told, and no other may go before it.
    store_cursor(&attached.cursor, 12);
    ring.space_released();
    assert_eq!((first_calls.taken(), third_calls.taken()), (1, 0));
    assert_eq!(ring.turn().append_waiting(&third, 0, &[3; 64]), Err(Refusal::Full));
    assert_eq!(ring.turn().append(0, b""), Err(Refusal::Full), "a new one is the last");
    assert!(poll(second.as_mut()).is_pending());

    assert_eq!(ring.turn().append_waiting(&first, 0, &[1; 64]), Ok(10));
    assert_eq!(seq(&poll(second.as_mut())), Some(11));
    assert_eq!(third_calls.taken(), 1, "told that it is the first and may try");
    assert_eq!(ring.turn().append_waiting(&third, 0, &[3; 64]), Ok(12));
    assert_eq!(space_wanted(&ring), 0, "the request is taken back");
    assert_eq!(ring.turn().append(0, b""), Ok(13));
    assert_eq!(first_calls.taken(), 0, "its wait is over");
}

#[test]
fn several_that_wait_are_appended_in_one_turn() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    fill(&ring);
    let (first, _calls) = queue_up(&ring);
    let (second, _calls) = queue_up(&ring);
    let (third, third_calls) = queue_up(&ring);
    // Room for two, the padding at the end of the data area included.
    store_cursor(&attached.cursor, 9);
    let mut turn = ring.turn();
    assert_eq!(turn.append_waiting(&first, 0, &[1; 64]), Ok(10));
    assert_eq!(turn.append_waiting(&second, 0, &[2; 64]), Ok(11));
    assert_eq!(turn.append_waiting(&third, 0, &[3; 64]), Err(Refusal::Full));
    turn.finish();
    assert_ne!(space_wanted(&ring), 0, "asked for the third");
    assert_eq!(third_calls.taken(), 0);
}

#[test]
fn space_that_came_before_the_request_is_not_missed() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    fill(&ring);
    assert_eq!(ring.turn().append(0, &[1; 64]), Err(Refusal::Full));
    // Released before anyone asked, so the reader says nothing.
    store_cursor(&attached.cursor, 30);
    let (ticket, calls) = queue_up(&ring);
    assert_eq!(calls.taken(), 1, "tells itself");
    assert_eq!(ring.turn().append_waiting(&ticket, 0, &[1; 64]), Ok(10));
}

#[test]
fn a_ticket_that_is_dropped_hands_its_place_on() {
    let ring = ring();
    fill(&ring);
    let (first, _calls) = queue_up(&ring);
    let (second, second_calls) = queue_up(&ring);
    let (third, third_calls) = queue_up(&ring);
    drop(second);
    assert_eq!((second_calls.taken(), third_calls.taken()), (0, 0));
    // Also while the producer is locked by the same thread.
    let turn = ring.turn();
    drop(first);
    turn.finish();
    assert!(third_calls.taken() >= 1);
    assert_eq!(ring.turn().append_waiting(&third, 0, &[3; 64]), Err(Refusal::Full));
    assert_ne!(space_wanted(&ring), 0);
}

#[test]
fn everyone_who_waits_is_told_that_the_ring_is_closed() {
    let ring = ring();
    fill(&ring);
    let (first, first_calls) = queue_up(&ring);
    let (second, second_calls) = queue_up(&ring);
    ring.close();
    assert!(first_calls.taken() >= 1 && second_calls.taken() >= 1);
    let closed = Err(Refusal::ShuttingDown);
    assert_eq!(ring.turn().append_waiting(&second, 0, b""), closed);
    assert_eq!(ring.turn().append_waiting(&first, 0, b""), closed);
    assert_eq!(ring.turn().append(0, b""), closed);
    assert!(ring.turn().wait(Need::Record(0), Waker::noop().clone()).is_err());
}

#[test]
fn the_queue_is_bounded() {
    let ring = ring();
    fill(&ring);
    let mut turn = ring.turn();
    let tickets: Vec<_> = (0..WAITING_MAX)
        .map(|_| turn.wait(Need::Record(1), Waker::noop().clone()).expect("room"))
        .collect();
    assert_eq!(turn.wait(Need::Record(1), Waker::noop().clone()).err(), Some(Refusal::Full));
    turn.finish();
    drop(tickets);
    assert!(ring.turn().wait(Need::Record(1), Waker::noop().clone()).is_ok());
}

#[test]
fn a_record_whose_time_is_over_takes_what_space_there_is() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    fill(&ring);
    let mut large = pin!(ring.publish(0, &[2; 400], LONG));
    assert!(poll(large.as_mut()).is_pending());
    store_cursor(&attached.cursor, 3);
    let expired = smol::block_on(ring.publish(0, b"", Duration::from_millis(1)));
    assert_eq!(expired.map(|published| published.seq), Ok(10));
    assert!(poll(large.as_mut()).is_pending());
}

#[test]
fn a_granted_batch_is_appended_whole_and_one_without_room_not_at_all() {
    let ring = ring();
    let mut turn = ring.turn();
    // 31 granules: eight records of 3 and the 2 that a wrap may cost.
    assert_eq!(turn.grant(None, 8 * 3 + 2, false), Ok(()));
    for n in 0..8 {
        assert_eq!(turn.append_granted(1, &[1; 64]), Ok(n));
    }
    assert_eq!(turn.grant(None, 2 * 3 + 2, false), Err(Refusal::Full));
    assert_eq!(turn.grant(None, 3 + 2, false), Ok(()));
    assert_eq!(turn.grant(None, 31, false), Err(Refusal::Full), "it may have room one day");
    assert!(matches!(turn.grant(None, 32, false), Err(Refusal::TooLarge { bytes: 1024, .. })));
    drop(turn);
    assert_eq!(word(&ring, ring_word::TAIL), 24);
    ring.close();
    assert_eq!(ring.turn().grant(None, 1, false), Err(Refusal::ShuttingDown));
}

#[test]
fn a_batch_that_waits_is_told_once_all_of_it_fits_and_keeps_others_behind_it() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    for n in 0..10 {
        assert_eq!(ring.turn().append(0, &[1; 64]), Ok(n));
    }
    let calls = Arc::new(Calls::default());
    let need = Need::Batch(9 + 2);
    let ticket = ring.turn().wait(need, Waker::from(Arc::clone(&calls))).expect("room");
    assert_eq!(calls.taken(), 0, "there is no room");
    assert_ne!(word(&ring, ring_word::SPACE_WANTED), 0, "the readers are asked");
    // Room for one record is none for the batch, and nobody passes it.
    store_cursor(&attached.cursor, 3);
    ring.space_released();
    assert_eq!(calls.taken(), 1);
    assert_eq!(ring.turn().grant(Some(&ticket), 11, false), Err(Refusal::Full));
    assert_eq!(ring.turn().append(0, &[1; 64]), Err(Refusal::Full));
    assert_eq!(calls.taken(), 0, "it does not try again and again");
    store_cursor(&attached.cursor, 30);
    ring.space_released();
    assert_eq!(calls.taken(), 1);
    let mut turn = ring.turn();
    assert_eq!(turn.grant(Some(&ticket), 11, false), Ok(()));
    for n in 10..13 {
        assert_eq!(turn.append_granted(0, &[2; 64]), Ok(n));
    }
    assert_eq!(turn.append(0, &[1; 64]), Ok(13), "the wait has ended");
    drop(turn);
    assert_eq!(word(&ring, ring_word::SPACE_WANTED), 0, "the readers are not asked any more");
}

#[test]
fn a_batch_whose_time_is_over_takes_room_before_those_that_wait() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    for n in 0..10 {
        assert_eq!(ring.turn().append(0, &[1; 64]), Ok(n));
    }
    let (first, _calls) = queue_up(&ring);
    let noop = Waker::noop().clone();
    let ticket = ring.turn().wait(Need::Batch(11), noop).expect("room in the queue");
    store_cursor(&attached.cursor, 30);
    assert_eq!(ring.turn().grant(Some(&ticket), 11, false), Err(Refusal::Full));
    assert_eq!(ring.turn().grant(Some(&ticket), 11, true), Ok(()));
    assert_eq!(ring.turn().append_waiting(&first, 0, &[1; 64]), Ok(10));
}

#[test]
fn an_epoch_is_never_zero_and_fits_a_signed_number() {
    let epochs: Vec<u64> = (0..100).map(|_| random_epoch().expect("random bytes")).collect();
    assert!(epochs.iter().all(|&epoch| epoch != 0 && i64::try_from(epoch).is_ok()), "{epochs:x?}");
    assert!(epochs.windows(2).all(|pair| pair[0] != pair[1]), "{epochs:x?}");
}

#[test]
fn what_is_released_is_known_by_subscription_and_by_all() {
    let settings = RingSettings {
        name: "test".to_owned(),
        capacity_bytes: 1024,
        max_payload_bytes: 480,
        full_wait: LONG,
        clock: ClockName::Monotonic,
        subscriptions: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
        durability: Durability::Memory,
        lagging: Vec::new(),
        lag_bytes: 1 << 30,
        has_attributes: false,
    };
    let metrics = Metrics::new().expect("distinct names");
    let ring = Arc::new(Ring::create(&settings, &metrics).expect("shared memory"));
    assert_eq!(
        ["a", "b", "c", "d"].map(|name| ring.subscription(name)),
        [Some(0), Some(1), Some(2), None]
    );
    let first = ring.attach("a", None, bell()).expect("free");
    let second = ring.attach("b", None, bell()).expect("free");
    fill(&ring);
    store_cursor(&first.cursor, 9);
    store_cursor(&second.cursor, 30);
    ring.refresh();
    let unreleased = [Some(0), Some(1), None, Some(7)].map(|by| ring.unreleased(by));
    assert_eq!(unreleased, [3, 10, 0, 0], "nobody read for the third; the eighth is not there");
}

#[test]
fn a_ring_says_what_it_was_made_of_and_changes_only_how_long_records_wait() {
    let ring = ring();
    assert_eq!((ring.name(), ring.capacity_bytes(), ring.max_payload_bytes()), ("test", 1024, 480));
    assert_eq!((ring.first_seq(), ring.has_attributes()), (0, false));
    assert_eq!(ring.full_wait(), LONG);
    ring.set_full_wait(Duration::from_millis(1500));
    assert_eq!(ring.full_wait(), Duration::from_millis(1500));
    assert!(ring.epoch() > 0 && ring.epoch() < 1 << 63);
    assert_eq!(ring.handout().0, 1024 + u64::from(DATA_OFFSET_MAPPED));
    let other = ring_of(&["default"], true);
    assert_ne!(ring.epoch(), other.epoch());
    assert!(other.has_attributes());
}

#[test]
fn clocks_are_those_of_the_system() {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since_1970 = since_1970.expect("after 1970").as_nanos();
    let told = u128::from(now_ns(ClockName::Realtime));
    assert!(told.abs_diff(since_1970) < 60_000_000_000, "{told} {since_1970}");
    let (one, other) = (now_ns(ClockName::Monotonic), now_ns(ClockName::Monotonic));
    assert!(one <= other && other - one < 60_000_000_000, "{one} {other}");
    // A machine does not run for as long as it is since 1970.
    assert!(u128::from(one) < since_1970 / 2);
}

#[test]
fn what_is_due_is_nothing_only_if_there_is_none_of_it_and_adds_up() {
    let doorbell = || -> Arc<dyn Doorbell> { bell() };
    assert!(Deferred::default().is_empty());
    let each = || {
        [
            Deferred { futex: true, ..Deferred::default() },
            Deferred { doorbells: vec![doorbell()], ..Deferred::default() },
            Deferred { waiting: vec![Waker::noop().clone()], ..Deferred::default() },
        ]
    };
    assert!(each().iter().all(|deferred| !deferred.is_empty()));
    let mut all = Deferred::default();
    for deferred in each().into_iter().chain(each()) {
        all.add(deferred);
    }
    assert!(all.futex);
    assert_eq!((all.doorbells.len(), all.waiting.len(), all.evicted.len()), (2, 2, 0));
    all.add(Deferred::default());
    assert!(all.futex);
}

#[test]
fn an_operator_evicts_the_reader_of_the_subscription_that_is_named() {
    let ring = ring_of(&["first", "second"], false);
    let (first, second) = (bell(), bell());
    let one = ring.attach("first", None, first.clone()).expect("free");
    assert_eq!(ring.evict("second"), Err(NotEvicted::NoReader));
    assert_eq!(ring.evict("third"), Err(NotEvicted::NoSubscription));
    let two = ring.attach("second", None, second.clone()).expect("free");
    assert_eq!(ring.evict("second"), Ok(()));
    assert_eq!((first.is_gone(), second.is_gone()), (false, true));
    assert_eq!((one.attachment.subscription(), two.attachment.subscription()), ("first", "second"));
}

#[test]
fn the_place_of_a_reader_that_is_gone_is_free_at_once() {
    let ring = ring();
    let before = bell();
    let _kept = ring.attach("default", None, before.clone()).expect("free");
    let busy = ring.attach("default", None, bell()).err().expect("it is there");
    assert_eq!(busy, AttachError::Busy);
    assert_eq!(busy.to_string(), "the subscription has a reader already");
    before.disconnect();
    assert!(ring.attach("default", None, bell()).is_ok());
}

#[test]
fn a_reader_that_begins_at_the_latest_record_makes_room_for_those_who_wait() {
    let ring = ring();
    fill(&ring);
    let (ticket, calls) = queue_up(&ring);
    let _ = calls.taken();
    let _attached = ring.attach("default", Some(Start::Latest), bell()).expect("free");
    assert_eq!(calls.taken(), 1);
    assert_eq!(ring.turn().append_waiting(&ticket, 0, &[1; 64]), Ok(10));
}

#[test]
fn metrics_tell_how_far_a_subscription_is_behind() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    fill(&ring);
    assert_eq!(smol::block_on(ring.publish(0, &[2; 64], Duration::ZERO)), Err(Refusal::Full));
    ring.measure();
    let numbers = || {
        let inner = ring.lock();
        let metrics = &inner.subscriptions[0].metrics;
        let seconds = metrics.lag_seconds.get();
        assert!((0.0..600.0).contains(&seconds), "{seconds}");
        (metrics.lag_records.get(), metrics.lag_bytes.get(), metrics.attached.get())
    };
    assert_eq!((numbers(), ring.metrics().full.get()), ((10, 960, 1), 1));
    store_cursor(&attached.cursor, 30);
    // The next one does not fit before the end, which is padded.
    assert_eq!(seq(&poll(pin!(ring.publish(0, &[3; 64], LONG)))), Some(10));
    ring.measure();
    assert_eq!((numbers(), ring.metrics().full.get()), ((1, 5 * 32, 1), 0));
    drop(attached);
    ring.measure();
    assert_eq!(numbers(), (1, 5 * 32, 0));
}

#[test]
fn a_place_in_the_queue_calls_the_waker_that_it_was_given_last() {
    let ring = ring();
    let attached = ring.attach("default", None, bell()).expect("free");
    fill(&ring);
    let (ticket, before) = queue_up(&ring);
    let calls = Arc::new(Calls::default());
    ticket.set_waker(&Waker::from(Arc::clone(&calls)));
    store_cursor(&attached.cursor, 30);
    ring.space_released();
    assert_eq!((before.taken(), calls.taken()), (0, 1));
}
