//! Attaching: the bytes of the HELLO, refusals, every wrong answer, and nothing left after any of
//! them.

mod common;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aqueduct_client::{Armed, Client, OpenError, Options, SegmentKind, Start, Status};
use aqueduct_core::AttachError;
use aqueduct_core::geometry::GeometryError;
use aqueduct_core::handshake::{HELLO_BYTES, WelcomeError};
use aqueduct_core::layout::NameError;
use common::fake::{CURSOR_BYTES, EPOCH, Fake, GRANULES, Manner, RING_BYTES};
use common::segment::Segment;
use common::{descriptors, fresh_path, mappings};
use rustix::fs::SealFlags;
use rustix::io::Errno;

fn options(path: &Path) -> Options {
    Options::new(path).ring("demo").subscription("tail")
}

/// Descriptors and mappings are counted for the whole process, so these tests take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens against this listener, which must fail and leave nothing.
#[track_caller]
fn failure(fake: &mut Fake) -> OpenError {
    let before = (descriptors(), mappings());
    let error = fake.meet(|path| options(path).attach()).expect_err("the listener is wrong");
    let kept = usize::from(fake.connection.is_some());
    assert_eq!((descriptors() - kept, mappings()), before, "{error}");
    error
}

#[test]
fn an_honest_listener_is_attached_to_and_left_without_a_trace() {
    let _turn = alone();
    let mut fake = Fake::new();
    let before = (descriptors(), mappings());
    let client = fake.meet(|path| options(path).attach()).expect("attached");
    // The listener's connection; socket, eventfd, epoll set.
    assert_eq!((descriptors(), mappings()), (before.0 + 4, before.1 + 2));
    let info = client.info();
    assert_eq!((info.epoch, info.created_ns, info.name.as_str()), (EPOCH, 77, "demo"));
    assert_eq!(info.capacity_granules as usize, GRANULES);
    assert_eq!(info.max_payload_bytes as usize, (GRANULES / 2 - 1) * 32);
    assert!(client.is_attached() && client.is_gating());
    assert!(format!("{client:?}").contains("demo"));
    drop(client);
    assert!(fake.receive().is_empty(), "the connection has ended");
    fake.hang_up();
    assert_eq!((descriptors(), mappings()), before);
}

#[test]
fn the_hello_is_as_the_specification_says_for_every_start() {
    let _turn = alone();
    for (start, kind) in [(Start::Here, 1), (Start::Oldest, 3), (Start::Latest, 4)] {
        let mut fake = Fake::new();
        fake.meet(|path| options(path).start(start).attach()).expect("attached");
        let mut expected = [0; HELLO_BYTES];
        expected[..16].copy_from_slice(b"AQDHELLO\x01\0\x02\0\0\0\0\0");
        expected[12] = kind;
        expected[16..20].copy_from_slice(b"demo");
        expected[80..84].copy_from_slice(b"tail");
        assert_eq!(fake.hello, expected);
    }
    let mut fake = Fake::observed();
    let client = fake.meet(|path| options(path).observe()).expect("attached");
    assert!(!client.is_gating());
    assert_eq!((fake.hello[12], fake.hello[80]), (2, 0), "an observer has no subscription");
}

#[test]
fn names_may_fill_their_fields_or_be_left_out() {
    let _turn = alone();
    let (ring, subscription) = ("r".repeat(64), "s".repeat(32));
    let mut fake = Fake::new();
    let named = |path: &Path| Options::new(path).ring(&ring).subscription(&subscription).attach();
    fake.meet(named).expect("attached");
    assert_eq!(fake.hello[16..80], *ring.as_bytes());
    assert_eq!(fake.hello[80..112], *subscription.as_bytes());
    let mut fake = Fake::new();
    fake.meet(|path| Options::new(path).attach()).expect("attached");
    assert_eq!((fake.hello[16], fake.hello[80]), (0, 0));

    let long = options(Path::new("/nowhere")).ring("r".repeat(65)).attach();
    assert_eq!(long.err(), Some(OpenError::Name(NameError { bytes: 65, limit: 64 })));
    let long = options(Path::new("/nowhere")).subscription("s".repeat(33)).attach();
    assert_eq!(long.err(), Some(OpenError::Name(NameError { bytes: 33, limit: 32 })));
    for path in [String::new(), "p".repeat(108), "a\0b".to_owned()] {
        let bytes = path.len();
        let opened = options(Path::new(&path)).attach();
        assert_eq!(opened.err(), Some(OpenError::Path { bytes, limit: 107 }));
    }
}

#[test]
fn nobody_listening_is_told_by_the_errno() {
    let _turn = alone();
    let path = fresh_path();
    let error = options(&path).attach().expect_err("there is no socket");
    let errno = Errno::NOENT.raw_os_error();
    assert_eq!(error, OpenError::System { call: "connect", errno });
    assert_eq!(error.to_string(), "connect: No such file or directory (os error 2)");
    let path = Fake::new().die();
    let error = options(&path).attach().expect_err("nobody listens");
    let errno = Errno::CONNREFUSED.raw_os_error();
    assert_eq!(error, OpenError::System { call: "connect", errno });
    let _ = std::fs::remove_file(path);
}

#[test]
fn every_refusal_comes_with_its_number_and_words() {
    let _turn = alone();
    for status in 1..=9 {
        let mut fake = Fake::new();
        fake.refuse(status, b"busy since\n\x1b[31m no\xffon");
        if status == 9 {
            fake.descriptors = vec![true, false]; // It must not, and they are closed.
        }
        let error = failure(&mut fake);
        let message = "busy since??[31m no\u{fffd}on".to_owned();
        assert_eq!(error, OpenError::Refused { status, message });
        assert_eq!(error.refusal(), Status::from_number(status));
        let passes = [Status::ShuttingDown, Status::Resource].map(|status| status as u32);
        assert_eq!(error.is_curable(), passes.contains(&status));
    }
    let mut fake = Fake::new();
    fake.refuse(5, &[b'm'; 96]);
    assert!(failure(&mut fake).to_string().ends_with(&"m".repeat(96)));
}

#[test]
fn a_refusal_sent_without_reading_the_hello_arrives() {
    let _turn = alone();
    let mut fake = Fake::new();
    fake.refuse(6, b"not you");
    fake.manner = Manner::AnswersUnheard;
    assert_eq!(failure(&mut fake).refusal(), Some(Status::NotPermitted));
}

#[test]
fn another_major_is_refused_and_another_minor_is_not() {
    let _turn = alone();
    let mut fake = Fake::new();
    fake.packet[8] = 2;
    assert_eq!(failure(&mut fake), OpenError::Welcome(WelcomeError::Version { found: 2 }));
    let mut fake = Fake::new();
    fake.packet[10] = 7;
    assert!(fake.meet(|path| options(path).attach()).is_ok());
}

#[test]
fn a_short_long_or_garbled_welcome_is_refused() {
    let _turn = alone();
    for (bytes, told) in [(1, 1), (12, 12), (127, 127), (129, 129), (200, 129)] {
        let mut fake = Fake::new();
        fake.packet.resize(bytes, 0);
        let expected = OpenError::Welcome(WelcomeError::Malformed { bytes: told });
        assert_eq!(failure(&mut fake), expected);
    }
    let mut fake = Fake::new();
    fake.packet[3] ^= 1;
    let expected = OpenError::Welcome(WelcomeError::Malformed { bytes: 128 });
    assert_eq!(failure(&mut fake), expected);
}

#[test]
fn any_number_of_descriptors_but_two_is_refused_and_closed() {
    let _turn = alone();
    for found in [0, 1, 3, 8, 9, 12] {
        let mut fake = Fake::new();
        fake.descriptors = (0..found).map(|index| index % 2 == 0).collect();
        assert_eq!(failure(&mut fake), OpenError::Descriptors { found, expected: 2 });
    }
    let mut fake = Fake::new();
    let observed = fake.meet(|path| options(path).observe());
    assert_eq!(observed.err(), Some(OpenError::Descriptors { found: 2, expected: 1 }));
}

#[test]
fn descriptors_in_the_wrong_order_are_no_ring() {
    let _turn = alone();
    let mut fake = Fake::new();
    fake.descriptors = vec![false, true];
    fake.packet[16..24].copy_from_slice(&(CURSOR_BYTES as u64).to_le_bytes());
    assert!(matches!(
        failure(&mut fake),
        OpenError::Attach(AttachError::Geometry(GeometryError::Magic { .. }))
    ));
    let mut fake = Fake::new();
    fake.descriptors = vec![true, true];
    assert_eq!(failure(&mut fake), OpenError::Attach(AttachError::CursorSegmentIdentity));
}

#[test]
fn a_segment_that_could_shrink_is_refused() {
    let _turn = alone();
    let mut fake = Fake::new();
    fake.ring = Segment::new("ring", RING_BYTES, SealFlags::GROW);
    assert_eq!(failure(&mut fake), OpenError::NotSealed { segment: SegmentKind::Ring });
    let mut fake = Fake::new();
    fake.cursor = Segment::new("cursor", CURSOR_BYTES, SealFlags::GROW);
    assert_eq!(failure(&mut fake), OpenError::NotSealed { segment: SegmentKind::Cursor });
    // A file on a disk has no seals, a directory neither bytes nor seals.
    let mut fake = Fake::new();
    let path = fresh_path();
    std::fs::write(&path, vec![0; RING_BYTES]).expect("written");
    fake.ring.fd = std::fs::File::open(&path).expect("opened").into();
    std::fs::remove_file(path).expect("removed");
    assert_eq!(failure(&mut fake), OpenError::NotSealed { segment: SegmentKind::Ring });
}

#[test]
fn sizes_that_the_segments_do_not_have_are_refused() {
    let _turn = alone();
    for announced in [0, RING_BYTES as u64 + 1, u64::MAX] {
        let mut fake = Fake::new();
        fake.packet[16..24].copy_from_slice(&announced.to_le_bytes());
        let (segment, found) = (SegmentKind::Ring, RING_BYTES as u64);
        assert_eq!(failure(&mut fake), OpenError::Size { segment, found, announced });
    }
    for announced in [0, 4097, u32::MAX] {
        let mut fake = Fake::new();
        fake.packet[24..28].copy_from_slice(&announced.to_le_bytes());
        let (segment, found) = (SegmentKind::Cursor, CURSOR_BYTES as u64);
        let announced = announced.into();
        assert_eq!(failure(&mut fake), OpenError::Size { segment, found, announced });
    }
    // Within its file, and too small for what the header says.
    for announced in [RING_BYTES as u64 - 1, 100] {
        let mut fake = Fake::new();
        fake.packet[16..24].copy_from_slice(&announced.to_le_bytes());
        assert!(matches!(
            failure(&mut fake),
            OpenError::Attach(AttachError::Geometry(GeometryError::SegmentTooSmall { bytes, .. }))
                if bytes == announced
        ));
    }
    let mut fake = Fake::new();
    fake.packet[24..28].copy_from_slice(&255_u32.to_le_bytes());
    let expected = OpenError::Attach(AttachError::CursorSegmentTooSmall { bytes: 255 });
    assert_eq!(failure(&mut fake), expected);
}

#[test]
fn a_hang_up_in_the_handshake_is_told() {
    let _turn = alone();
    for manner in [Manner::HangsUpBeforeHello, Manner::HangsUpAfterHello] {
        let mut fake = Fake::new();
        fake.manner = manner;
        let error = failure(&mut fake);
        assert_eq!(error, OpenError::HangUp);
        assert!(error.is_curable());
    }
}

#[test]
fn a_silent_listener_is_given_up_in_time() {
    let _turn = alone();
    let mut fake = Fake::new();
    fake.manner = Manner::Silent;
    let began = Instant::now();
    let timeout = Duration::from_millis(50);
    let opened = fake.meet(|path| options(path).timeout(timeout).attach());
    assert_eq!(opened.err(), Some(OpenError::Timeout));
    assert!((timeout..Duration::from_secs(5)).contains(&began.elapsed()));
}

#[test]
fn a_full_backlog_is_given_up_in_time() {
    let _turn = alone();
    let fake = Fake::new();
    let _others = fake.fill_backlog();
    for timeout in [Duration::from_millis(30), Duration::ZERO] {
        let opened = options(&fake.path).timeout(timeout).attach();
        assert_eq!(opened.err(), Some(OpenError::Timeout));
    }
}

#[test]
fn segments_that_came_by_another_way_are_read_without_a_socket() {
    use std::os::fd::AsFd;
    let _turn = alone();
    let mut fake = Fake::new();
    fake.publish(b"one");
    let (ring, cursor) = (fake.ring.fd.as_fd(), fake.cursor.fd.as_fd());
    let mut client = Client::from_descriptors(None, ring, Some(cursor)).expect("attached");
    let mut observer = Client::from_descriptors(None, ring, None).expect("attached");
    for client in [&mut client, &mut observer] {
        let event = client.next().expect("undamaged");
        assert!(
            matches!(event, aqueduct_client::Event::Record((record, b"one")) if record.seq == 0)
        );
        assert!(client.is_attached());
        // Nobody can wake them: they look again by themselves.
        assert!(matches!(client.arm(), Armed::Sleep(time) if time <= Duration::from_millis(32)));
    }
    let wrong = Client::from_descriptors(None, cursor, None).expect_err("it is no ring");
    assert!(matches!(wrong, OpenError::Attach(AttachError::Geometry(_))), "{wrong}");
}
