//! A client whose listener ends and comes back: another ring, the same ring, nobody, one that
//! refuses.

mod common;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_client::{
    Armed, Change, Client, End, Event, OpenError, Options, ReadError, SegmentKind, Start, Status,
    Waited,
};
use aqueduct_core::Memory;
use aqueduct_core::layout::cursor_word;
use common::PATIENCE;
use common::fake::{EPOCH, Fake, GRANULES, Manner, RING_BYTES};
use common::segment::Segment;
use rustix::fs::SealFlags;
use rustix::io::Errno;

fn options(path: &std::path::Path) -> Options {
    Options::new(path)
        .ring("demo")
        .subscription("tail")
        .reconnect_for(Duration::MAX)
        .backoff(Duration::from_millis(1), Duration::from_millis(10))
}

fn attach(fake: &mut Fake, observe: bool) -> Client {
    if observe {
        fake.descriptors.truncate(1);
    }
    fake.meet(|path| {
        let options = options(path);
        if observe { options.observe() } else { options.attach() }
    })
    .expect("attached")
}

/// The next event other than `Empty`, and what a record says.
fn next(client: &mut Client) -> Result<Event<u64>, ReadError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = match client.next()? {
            Event::Record((record, _)) => Event::Record(record.seq),
            Event::Empty => Event::Empty,
            Event::Closed => Event::Closed,
            Event::Lost => Event::Lost,
            Event::EpochChanged(change) => Event::EpochChanged(change),
        };
        if event != Event::Empty {
            return Ok(event);
        }
        assert!(Instant::now() < deadline, "nothing comes");
        client.release();
        client.wait(Some(Duration::from_millis(100))).expect("polled");
    }
}

/// The change of epoch, which must come next.
#[track_caller]
fn change(client: &mut Client) -> Change {
    match next(client) {
        Ok(Event::EpochChanged(change)) => change,
        other => panic!("{other:?} instead of a change of epoch"),
    }
}

/// Reads nothing until this holds.
#[track_caller]
fn wait_until(client: &mut Client, what: &str, holds: impl Fn(&Client) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(client) {
        assert!(Instant::now() < deadline, "{what}: {:?}", client.last_failure());
        assert!(matches!(client.next(), Ok(Event::Empty)), "{what}");
        client.wait(Some(Duration::from_millis(10))).expect("polled");
    }
}

/// Ends the listener, and lets the next one at its path, whose ring has another epoch, take the
/// client while `run` runs it.
fn restart<T>(fake: Fake, first_position: u32, run: impl FnOnce() -> T) -> (Fake, T) {
    let descriptors = fake.descriptors.clone();
    let mut next = Fake::at(&fake.die(), EPOCH + 1, first_position);
    next.descriptors = descriptors;
    let result = next.meet(|_| run());
    (next, result)
}

#[test]
fn a_restarted_listener_is_found_and_the_change_told_once() {
    for observe in [false, true] {
        let mut fake = Fake::new();
        let mut client = attach(&mut fake, observe);
        fake.publish(b"one");
        fake.publish(b"two");
        assert_eq!(next(&mut client), Ok(Event::Record(0)));
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&client);
        let (mut fake, told) = restart(fake, 0, || {
            assert_eq!(next(&mut client), Ok(Event::Record(1)), "what was published comes first");
            change(&mut client)
        });
        assert_eq!((told.old_epoch, told.new_epoch), (EPOCH, EPOCH + 1));
        assert_eq!((told.old_next_seq, told.old_end), (Some(2), End::Lost));
        assert!(!told.missed_old && !told.missed_new);
        assert_eq!(client.change(), Some(&told));
        assert_eq!(client.info().epoch, EPOCH + 1);
        assert!(client.is_attached() && client.last_failure().is_none());
        assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&client), descriptor);
        assert_eq!(fake.hello[12], if observe { 2 } else { 1 });
        assert_eq!(fake.hello[80..84], *if observe { b"\0\0\0\0" } else { b"tail" });
        fake.publish(b"new");
        assert_eq!(next(&mut client), Ok(Event::Record(0)));
        assert_eq!((client.totals().attachments, client.totals().records), (2, 3));
    }
}

#[test]
fn only_the_first_attachment_moves_the_subscription() {
    for (start, kind) in [(Start::Oldest, 3), (Start::Latest, 4)] {
        let mut fake = Fake::new();
        let mut client = fake.meet(|path| options(path).start(start).attach()).expect("attached");
        assert_eq!(fake.hello[12], kind);
        let (fake, _) = restart(fake, 0, || change(&mut client));
        assert_eq!(fake.hello[12], 1, "{start:?}");
    }
}

#[test]
fn a_closed_ring_is_left_for_the_next_one() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake, false);
    fake.publish(b"one");
    fake.close();
    // Three records of the new ring were released by somebody else.
    let (_fake, told) = restart(fake, 6, || {
        assert_eq!(next(&mut client), Ok(Event::Record(0)));
        change(&mut client)
    });
    assert_eq!((told.old_end, told.missed_new), (End::Closed, true));
}

#[test]
fn an_evicted_reader_is_told_that_it_missed_the_end() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake, false);
    fake.publish(b"one");
    assert_eq!(next(&mut client), Ok(Event::Record(0)));
    assert!(fake.producer.unsubscribe(fake.subscription));
    for _ in 0..2 * GRANULES {
        fake.publish(b"x");
    }
    let (_fake, told) = restart(fake, 0, || change(&mut client));
    assert!(matches!(told.old_end, End::TailOutOfRange { position: 2, .. }), "{told:?}");
    assert!(told.missed_old && !told.missed_new);
}

#[test]
fn a_cut_connection_to_the_same_ring_loses_nothing_and_doubles_nothing() {
    for observe in [false, true] {
        let mut fake = Fake::new();
        let mut client = attach(&mut fake, observe);
        for _ in 0..5 {
            fake.publish(b"x");
        }
        assert_eq!(next(&mut client), Ok(Event::Record(0)));
        client.release();
        assert_eq!(next(&mut client), Ok(Event::Record(1)), "read, not released");
        fake.detach();
        fake.meet(|_| {
            for seq in 2..5 {
                assert_eq!(next(&mut client), Ok(Event::Record(seq)));
            }
            wait_until(&mut client, "attached again", |client| client.totals().attachments == 2);
        });
        fake.publish(b"y");
        assert_eq!(next(&mut client), Ok(Event::Record(5)));
        assert_eq!((client.change(), client.stats().lost), (None, 0));
    }
}

#[test]
fn a_reader_that_is_ahead_of_its_cursor_goes_on_where_it_was() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake, false);
    for _ in 0..5 {
        fake.publish(b"x");
    }
    for seq in 0..5 {
        assert_eq!(next(&mut client), Ok(Event::Record(seq)));
    }
    fake.detach();
    fake.meet(|_| {
        wait_until(&mut client, "attached again", |client| client.totals().attachments == 2);
    });
    assert_eq!(fake.cursor.region.load(cursor_word::CURSOR, Ordering::Relaxed), 0);
    assert!(matches!(client.next(), Ok(Event::Empty)));
    fake.publish(b"y");
    assert_eq!(next(&mut client), Ok(Event::Record(5)));
}

#[test]
fn one_that_does_not_come_back_is_given_up() {
    let mut fake = Fake::new();
    let limit = Duration::from_millis(30);
    let mut client =
        fake.meet(|path| options(path).reconnect_for(limit).attach()).expect("attached");
    fake.publish(b"one");
    let path = fake.die();
    std::fs::remove_file(path).expect("it was left");
    assert_eq!(next(&mut client), Ok(Event::Record(0)));
    for _ in 0..2 {
        assert_eq!(next(&mut client), Ok(Event::Lost));
    }
    assert_eq!(client.wait(None).expect("polled"), Waited::Ready);
    assert!(!client.is_attached() && client.totals().attempts >= 1);
    let failure = OpenError::System { call: "connect", errno: Errno::NOENT.raw_os_error() };
    assert_eq!(client.last_failure(), Some(&failure));
}

#[test]
fn attachments_that_come_to_nothing_are_not_tried_at_once_nor_for_ever() {
    let mut fake = Fake::new();
    let (limit, pause) = (Duration::from_millis(300), Duration::from_millis(50));
    let mut client = fake
        .meet(|path| options(path).reconnect_for(limit).backoff(pause, pause).attach())
        .expect("attached");
    let began = Instant::now();
    let fruitless = thread::scope(|scope| {
        // Attached to the same ring, and lost again, each time.
        let (over, until) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            fake.detach();
            while until.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                if fake.is_asked(Duration::from_millis(10)) {
                    fake.take_one();
                    fake.detach();
                }
            }
        });
        assert_eq!(next(&mut client), Ok(Event::Lost));
        drop(over);
        client.totals().attachments
    });
    assert!((3..=9).contains(&fruitless), "{fruitless} attachments");
    assert!((limit..PATIENCE / 2).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[test]
fn a_wait_while_nobody_listens_can_be_interrupted() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake, false);
    let path = fake.die();
    while client.is_attached() {
        assert_eq!(client.wait(Some(PATIENCE)).expect("polled"), Waited::Ready);
        assert!(matches!(client.next(), Ok(Event::Empty)));
    }
    let interrupter = client.interrupter();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            interrupter.interrupt();
        });
        assert_eq!(client.wait(None).expect("polled"), Waited::Interrupted);
    });
    let short = Some(Duration::from_millis(20));
    assert_eq!(client.wait(short).expect("polled"), Waited::Elapsed);
    let Armed::Sleep(time) = client.arm() else { panic!("nobody is there") };
    assert!((1..=500).contains(&time.as_millis()), "{time:?}");
    let _ = std::fs::remove_file(path);
}

#[test]
fn a_refusal_is_tried_again() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake, false);
    let mut refusing = Fake::at(&fake.die(), EPOCH + 1, 0);
    refusing.refuse(5, b"not yet");
    let refused =
        |client: &Client| client.last_failure().and_then(OpenError::refusal) == Some(Status::Busy);
    refusing.meet(|_| wait_until(&mut client, "refused", refused));
    let (_fake, _) = restart(Fake::at(&refusing.die(), EPOCH + 1, 0), 0, || change(&mut client));
    assert!(client.last_failure().is_none());
}

#[test]
fn a_silence_is_given_up_and_tried_again() {
    let mut fake = Fake::new();
    let timeout = Duration::from_millis(300);
    let mut client = fake.meet(|path| options(path).timeout(timeout).attach()).expect("attached");
    let mut silent = Fake::at(&fake.die(), EPOCH + 1, 0);
    silent.manner = Manner::Silent;
    let given_up = |client: &Client| client.last_failure() == Some(&OpenError::Timeout);
    silent.meet(|_| wait_until(&mut client, "given up", given_up));
    let (_fake, _) = restart(silent, 0, || change(&mut client));
}

#[test]
fn a_bad_ring_does_not_replace_the_old_one() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake, false);
    fake.publish(b"one");
    assert_eq!(next(&mut client), Ok(Event::Record(0)));
    let mut bad = Fake::at(&fake.die(), EPOCH + 2, 0);
    bad.ring = Segment::new("ring", RING_BYTES, SealFlags::empty());
    let refused = OpenError::NotSealed { segment: SegmentKind::Ring };
    bad.meet(|_| {
        wait_until(&mut client, "refused", |client| client.last_failure() == Some(&refused));
    });
    assert_eq!(client.info().epoch, EPOCH);
    assert_eq!(client.next_seq(), Some(1));
    let (_fake, told) = restart(bad, 0, || change(&mut client));
    assert_eq!((told.old_epoch, told.new_epoch), (EPOCH, EPOCH + 1));
}
