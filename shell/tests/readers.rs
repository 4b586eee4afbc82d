//! Readers, honest and hostile, over the real control socket.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_client::{Armed, Event, Options, Start};
use aqueduct_core::layout::{WAITING_FUTEX, cursor_word, ring_word};
use aqueduct_core::{Memory, MemoryMut};
use common::control::{Control, Raw, hello, hello_of_kind, map};
use common::reader::Attached;
use common::{PATIENCE, Server};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::ProtFlags;
use std::os::fd::AsRawFd;

fn fill_some(server: &Server, records: u8) {
    for n in 0..records {
        assert_eq!(server.post("default", &[n; 40]).status, 202);
    }
}

#[test]
fn the_next_reader_of_a_name_goes_on_where_the_last_one_released() {
    let server = Server::start(&[]);
    fill_some(&server, 5);
    let mut first = Raw::attach(&server.socket, "default", "default");
    for seq in 0..3 {
        assert_eq!(first.reader.next().map(|record| record.0), Some(seq));
    }
    first.reader.release();
    assert_eq!(first.reader.next().map(|record| record.0), Some(3), "read and not released");
    drop(first.control);
    server.eventually("the first is detached", || server.log().contains("reader detached"));
    let mut second = Attached::attach(&server.socket, "default", "default");
    assert_eq!(second.next().map(|record| record.0), Some(3));
    // What the first still writes into its old page means nothing.
    first.page.store(cursor_word::CURSOR, 0xdead_beef, Ordering::SeqCst);
    fill_some(&server, 1);
    assert!(
        (server.metric("aqueduct_evictions_total{reason=\"cursor\",ring=\"default\"}")).abs() < 0.5
    );
    assert_eq!(second.next().map(|record| record.0), Some(4));
    assert_eq!(second.next().map(|record| record.0), Some(5));
}

#[test]
fn a_second_reader_of_a_subscription_is_told_busy() {
    let server = Server::start(&[]);
    let first = Attached::attach(&server.socket, "default", "default");
    let (status, message) = Control::refused(&server.socket, &hello("default", "default"));
    assert_eq!((status, message.as_str()), (5, "the subscription has a reader already"));
    drop(first);
    server.eventually("the place is free again", || {
        let control = Control::connect(&server.socket);
        control.send(&hello("", ""));
        control.welcome().status == 0
    });
}

#[test]
fn a_reader_that_starts_again_at_once_does_not_find_itself_busy() {
    let server = Server::start(&[]);
    // Fewer than the connections that the server allows at once, for it may not have noticed the
    // end of any of them.
    for _ in 0..50 {
        // Dropping the old one ends its connection.
        drop(Attached::attach(&server.socket, "default", "default"));
    }
}

#[test]
fn every_refusal_names_its_reason() {
    let server = Server::start(&["--ring", "a", "--ring", "b"]);
    let refused = |packet: &[u8]| Control::refused(&server.socket, packet).0;
    assert_eq!(refused(b"hello"), 1);
    assert_eq!(refused(&[0; 144]), 1);
    assert_eq!(refused(&[0; 145]), 1);
    let mut other = hello("a", "");
    other[8] = 2;
    assert_eq!(refused(&other), 2);
    let mut other = hello("a", "");
    other[12] = 9;
    assert_eq!(refused(&other), 1);
    assert_eq!(refused(&hello("c", "")), 3);
    assert_eq!(refused(&hello("", "")), 3, "two rings: which one?");
    assert_eq!(refused(&hello("a", "nobody")), 4);
    assert!(server.metric("aqueduct_control_handshakes_total{outcome=\"malformed\"}") > 3.5);
    Attached::attach(&server.socket, "b", "default");
}

#[test]
fn a_peer_that_is_not_on_the_list_is_refused() {
    let me = rustix::process::geteuid().as_raw();
    let my_group = rustix::process::getegid().as_raw();
    let server =
        Server::with_file(&format!("[control]\nallow_uids = [{}]\nallow_gids = []\n", me + 1), &[]);
    assert_eq!(Control::refused(&server.socket, &hello("", "")).0, 6);
    let server = Server::with_file(&format!("[control]\nallow_gids = [{my_group}]\n"), &[]);
    Attached::attach(&server.socket, "", "");
}

#[test]
fn groups_come_on_top_of_root_and_the_own_user_and_supplementary_ones_count() {
    let group = 54_321;
    let server = Server::with_file(&format!("control.allow_gids = [{group}]\n"), &[]);
    drop(Attached::attach(&server.socket, "", ""));
    let other = rustix::process::geteuid().as_raw() + 1;
    let file = format!("[control]\nallow_uids = [{other}]\nallow_gids = [{group}]\n");
    let server = Server::with_file(&file, &[]);
    assert_eq!(Control::refused(&server.socket, &hello("", "")).0, 6);
    server.eventually("it is logged", || {
        server.log().contains("the user of this process is not in allow_uids")
    });
    // Groups are the thread's own.
    let member = std::thread::scope(|scope| {
        let connect = || {
            let groups = [1, group].map(rustix::process::Gid::from_raw);
            rustix::thread::set_thread_groups(&groups).map(|()| {
                let control = Control::connect(&server.socket);
                control.send(&hello("", ""));
                control.welcome().status
            })
        };
        scope.spawn(connect).join().expect("no panic")
    });
    match member {
        Err(errno) => eprintln!("skipped: only root chooses its groups: {errno}"),
        Ok(status) => assert_eq!(status, 0),
    }
}

#[test]
fn silence_after_connecting_is_ended_and_takes_no_place() {
    let server =
        Server::with_file("[control]\nhandshake_timeout_ms = 100\nmax_handshakes = 2\n", &[]);
    let silent: Vec<_> = (0..2).map(|_| Control::connect(&server.socket)).collect();
    for control in &silent {
        let answer = control.welcome();
        assert_eq!(answer.status, 1, "{answer:?}");
        control.assert_ended();
    }
    server.eventually("places are free", || {
        let control = Control::connect(&server.socket);
        control.send(&hello("", ""));
        control.welcome().status == 0
    });
}

#[test]
fn observers_are_bounded_and_keep_no_gating_reader_out() {
    let server = Server::with_file("control.max_observers = 2\n", &["--subscription", "a"]);
    let observe = || {
        let control = Control::connect(&server.socket);
        control.send(&hello_of_kind(OBSERVE, "", ""));
        control
    };
    let held = [observe(), observe()];
    assert!(held.iter().all(|control| control.welcome().status == 0));
    let (status, message) = Control::refused(&server.socket, &hello_of_kind(OBSERVE, "", ""));
    assert_eq!((status, message.as_str()), (8, "too many observers"));
    drop(Attached::attach(&server.socket, "", "a"));
    drop(held);
    server.eventually("a place is free again", || observe().welcome().status == 0);
}

#[test]
fn sockets_that_say_nothing_keep_no_reader_out() {
    let file = "[control]\nhandshake_timeout_ms = '1m'\nmax_handshakes = 4\n";
    let server = Server::with_file(file, &[]);
    let silent: Vec<_> = (0..50).map(|_| Control::connect(&server.socket)).collect();
    let mut reader = Attached::attach(&server.socket, "", "");
    fill_some(&server, 1);
    assert_eq!(reader.next().map(|record| record.0), Some(0));
    // The oldest had to go, the newest may still speak.
    silent[0].assert_ended();
    silent[49].send(&hello_of_kind(OBSERVE, "", ""));
    assert_eq!(silent[49].welcome().status, 0);
}

#[test]
fn hanging_up_during_the_handshake_harms_nobody() {
    let server = Server::start(&[]);
    let held = || {
        let descriptors =
            std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("our child").count();
        let maps =
            std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).expect("our child");
        (descriptors, maps.matches("aqueduct-cursor").count())
    };
    let before = held();
    for _ in 0..20 {
        drop(Control::connect(&server.socket));
        let control = Control::connect(&server.socket);
        control.send(&hello("", ""));
        drop(control);
    }
    server.eventually("descriptors and mappings are given back", || held() == before);
    server.eventually("the subscription is free", || {
        let control = Control::connect(&server.socket);
        control.send(&hello("", ""));
        control.welcome().status == 0
    });
}

#[test]
fn junk_packets_evict_and_the_subscription_stays() {
    let server = Server::start(&[]);
    fill_some(&server, 2);
    for (number, junk) in [b"X".as_slice(), b"SS", b"", &[0; 4000]].into_iter().enumerate() {
        let reader = Raw::attach(&server.socket, "", "");
        reader.control.send(junk);
        reader.control.assert_ended();
        let series = "aqueduct_evictions_total{reason=\"packet\",ring=\"default\"}";
        server.eventually("the eviction is counted", || {
            server.metric(series) > f64::from(u8::try_from(number).expect("small")) + 0.5
        });
        let attached = "aqueduct_subscription_attached{ring=\"default\",subscription=\"default\"}";
        server.eventually("the place is free", || server.metric(attached) < 0.5);
    }
    server.eventually("it is logged", || {
        server.log().contains("reader evicted: not a packet that readers send")
    });
    let mut honest = Attached::attach(&server.socket, "", "");
    assert_eq!(honest.next().map(|record| record.0), Some(0));
}

#[test]
fn a_flood_of_space_packets_does_not_stop_the_server() {
    let server = Server::start(&[]);
    let reader = Raw::attach(&server.socket, "", "");
    for _ in 0..20_000 {
        reader.control.send(b"S");
    }
    fill_some(&server, 3);
}

#[test]
fn a_garbage_cursor_evicts_and_the_subscription_gates_where_it_was() {
    let server = Server::start(&["--capacity-bytes", "1024", "--full-wait-ms", "0"]);
    fill_some(&server, 3);
    let mut liar = Raw::attach(&server.socket, "", "");
    assert_eq!(liar.reader.next().map(|record| record.0), Some(0));
    liar.reader.release();
    // Beyond the tail.
    liar.page.store(cursor_word::CURSOR, 1000, Ordering::SeqCst);
    let series = "aqueduct_evictions_total{reason=\"cursor\",ring=\"default\"}";
    server.eventually("found by a look at the metrics", || server.metric(series) > 0.5);
    liar.control.assert_ended();
    server.eventually("it is logged", || server.log().contains("reader evicted"));

    // The lie is found before what the release said is, so the second reader starts where the first
    // was last believed.
    let mut next = Raw::attach(&server.socket, "", "");
    let first = next.reader.next().expect("a record").0;
    assert!(first <= 1, "{first}");
    // Backwards, with a full ring: found by the record that needs the space.
    while next.reader.next().is_some() {}
    next.reader.release();
    server.eventually("the release is seen", || {
        server.metric("aqueduct_subscription_lag_bytes{ring=\"default\",subscription=\"default\"}")
            < 0.5
    });
    let tail = next.page.load(cursor_word::CURSOR, Ordering::SeqCst);
    next.page.store(cursor_word::CURSOR, tail - 1, Ordering::SeqCst);
    while server.post("default", &[5; 40]).status == 202 {}
    next.control.assert_ended();
    server.eventually("counted", || server.metric(series) > 1.5);
    let mut honest = Attached::attach(&server.socket, "", "");
    assert_eq!(honest.next().map(|record| record.0), Some(3));
}

#[test]
fn a_reader_asleep_on_its_socket_is_woken_once() {
    let server = Server::start(&[]);
    let mut reader = Raw::attach(&server.socket, "", "");
    assert!(matches!(reader.reader.client.arm(), Armed::Sleep(_)));
    fill_some(&server, 3);
    assert_eq!(reader.control.receive().expect("received"), b"W");
    assert!(!reader.control.ready(Duration::from_millis(50)), "one packet per sleep");
    for seq in 0..3 {
        assert_eq!(reader.reader.next().map(|record| record.0), Some(seq));
    }
    assert!(
        (server.metric("aqueduct_wakes_total{ring=\"default\",way=\"socket\"}") - 1.0).abs() < 0.5
    );
}

#[test]
#[allow(clippy::disallowed_types, reason = "the futex call takes it")]
fn a_reader_asleep_on_the_futex_is_woken() {
    let server = Server::start(&[]);
    let mut reader = Raw::attach(&server.socket, "", "");
    // At the tail 0, by hand: the client sleeps on its socket.
    reader.page.store(cursor_word::WAITING, WAITING_FUTEX, Ordering::SeqCst);
    let base = map(&reader.ring, reader.ring_bytes, ProtFlags::READ).expect("mapped");
    // SAFETY: a control word inside the mapping.
    let word = unsafe { base.add(ring_word::TAIL) }.cast::<std::sync::atomic::AtomicU32>();
    // SAFETY: aligned, never unmapped, only accessed atomically.
    let word = unsafe { word.as_ref() };
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let timeout = rustix::thread::futex::Timespec {
                tv_sec: i64::try_from(PATIENCE.as_secs()).expect("short"),
                tv_nsec: 0,
            };
            let flags = rustix::thread::futex::Flags::empty();
            // Woken, or too late to fall asleep; a timeout is the failure.
            rustix::thread::futex::wait(word, flags, 0, Some(&timeout))
        });
        fill_some(&server, 1);
        let slept = sleeper.join().expect("no panic");
        assert!(matches!(slept, Ok(()) | Err(Errno::AGAIN)), "{slept:?}");
    });
    assert_eq!(reader.reader.next().map(|record| record.0), Some(0));
    assert!(
        (server.metric("aqueduct_wakes_total{ring=\"default\",way=\"futex\"}") - 1.0).abs() < 0.5
    );
}

#[test]
fn the_ring_cannot_be_changed_through_what_readers_get() {
    let server = Server::start(&[]);
    let reader = Raw::attach(&server.socket, "", "");
    let bytes = reader.ring_bytes;
    let writable = ProtFlags::READ | ProtFlags::WRITE;
    let reopened = rustix::fs::open(
        format!("/proc/self/fd/{}", reader.ring.as_raw_fd()),
        OFlags::RDWR,
        Mode::empty(),
    );
    let descriptors: Vec<_> = [Ok(reader.ring), reopened].into_iter().flatten().collect();
    assert_eq!(
        rustix::fs::fcntl_getfl(&descriptors[0]).expect("flags") & OFlags::ACCMODE,
        OFlags::RDONLY
    );
    for fd in &descriptors {
        assert!(map(fd, bytes, writable).is_err(), "mapped writable");
        let base = map(fd, bytes, ProtFlags::READ).expect("reading is what it is for");
        // SAFETY: our own mapping; nothing refers to it.
        let protected = unsafe {
            rustix::mm::mprotect(base.as_ptr().cast(), bytes, rustix::mm::MprotectFlags::WRITE)
        };
        // The descriptor that was handed out cannot; one that was reopened could where the kernel
        // forgot the seal.
        assert!(protected.is_err(), "made writable");
        assert!(rustix::io::pwrite(fd, b"x", 0).is_err(), "written");
        assert!(rustix::fs::ftruncate(fd, 0).is_err(), "truncated");
        assert!(rustix::fs::ftruncate(fd, bytes as u64 * 2).is_err(), "grown");
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert!(rustix::fs::fallocate(fd, punch, 0, 4096).is_err(), "punched");
        assert!(
            rustix::fs::fallocate(fd, FallocateFlags::empty(), bytes as u64, 4096).is_err(),
            "grown"
        );
        assert!(
            rustix::fs::fcntl_add_seals(fd, rustix::fs::SealFlags::WRITE).is_err(),
            "sealed further"
        );
        // SAFETY: our own read-only mapping; if the call worked, a shared page would be gone, which
        // is the failure asserted.
        let removed = unsafe {
            rustix::mm::madvise(base.as_ptr().cast(), 4096, rustix::mm::Advice::LinuxRemove)
        };
        assert!(removed.is_err(), "removed");
    }
    assert_eq!(server.post("default", b"still there").status, 202);
}

#[test]
fn the_cursor_segment_cannot_be_resized() {
    let server = Server::start(&[]);
    let reader = Raw::attach(&server.socket, "", "");
    let reopened = rustix::fs::open(
        format!("/proc/self/fd/{}", reader.cursor.as_raw_fd()),
        OFlags::RDWR,
        Mode::empty(),
    );
    for fd in [reader.cursor, reopened.expect("our own")] {
        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 8192), Err(Errno::PERM));
        assert_eq!(
            rustix::fs::fcntl_add_seals(&fd, rustix::fs::SealFlags::WRITE),
            Err(Errno::PERM)
        );
        // A hole reads as zeros: a cursor that lies, not a fault.
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&fd, punch, 0, 4096).expect("its own page");
    }
    fill_some(&server, 3);
    assert_eq!(server.get("/metrics").status, 200);
}

const OBSERVE: u8 = 2;

#[test]
fn an_observer_gets_the_ring_alone_and_holds_nobody_back() {
    let server = Server::start(&["--capacity-bytes", "4096", "--full-wait-ms", "0"]);
    let control = Control::connect(&server.socket);
    control.send(&hello_of_kind(OBSERVE, "", "nobody subscribed to this"));
    let welcome = control.welcome();
    assert_eq!(
        (welcome.status, welcome.cursor_bytes, welcome.descriptors.len()),
        (0, 0, 1),
        "{welcome:?}"
    );
    drop((welcome, control));
    let mut observer = Options::new(&server.socket).observe().expect("an honest server");
    let mut reader = Attached::attach(&server.socket, "", "");
    // More than the ring holds; only the reader has to be quick.
    for n in 0..200_u8 {
        assert_eq!(server.post("default", &[n; 40]).status, 202);
        assert_eq!(reader.next().map(|record| record.0), Some(n.into()));
        reader.release();
    }
    let mut last = None;
    for _ in 0..300 {
        if let Ok(Event::Record((record, payload))) = observer.next() {
            assert_eq!(u64::from(payload[0]), record.seq);
            last = Some(record.seq);
        }
    }
    assert_eq!(last, Some(199));
    server.eventually("it is logged", || server.log().contains("observer attached"));
    // A second one, and the end of the first.
    let second = Options::new(&server.socket).observe().expect("an honest server");
    drop(observer);
    assert!(second.is_attached());
    server.eventually("the ends of two of three are noticed", || {
        server.log().matches("observer detached").count() == 2
    });
}

#[test]
fn an_observer_that_says_anything_is_evicted() {
    let server = Server::start(&[]);
    for packet in [b"S".as_slice(), b"X", b""] {
        let control = Control::connect(&server.socket);
        control.send(&hello_of_kind(OBSERVE, "", ""));
        assert_eq!(control.welcome().status, 0);
        control.send(packet);
        control.assert_ended();
    }
    assert_eq!(Control::refused(&server.socket, &hello_of_kind(OBSERVE, "no such ring", "")).0, 3);
}

#[test]
fn an_unknown_kind_is_refused_in_words() {
    let server = Server::start(&[]);
    for kind in [0, 5, 255] {
        let (status, message) = Control::refused(&server.socket, &hello_of_kind(kind, "", ""));
        assert_eq!(status, 1);
        assert!(message.contains("unknown kind"), "{message}");
    }
}

#[test]
fn a_subscription_goes_back_to_the_oldest_record_if_its_reader_asks() {
    let server = Server::start(&["--capacity-bytes", "4096", "--full-wait-ms", "0"]);
    fill_some(&server, 5);
    let mut reader = Attached::attach(&server.socket, "", "");
    while reader.next().is_some() {}
    reader.release();
    drop(reader);
    let mut reader = Attached::attach_at(&server.socket, "", "", Start::Oldest);
    for seq in 0..5 {
        assert_eq!(reader.next().map(|record| record.0), Some(seq));
    }
    // Nothing of it was released, so it gates from there: the ring takes no more than it has room
    // for.
    let mut taken = 5;
    while server.post("default", &[9; 40]).status == 202 {
        taken += 1;
    }
    assert!((20..64).contains(&taken), "{taken}");
    drop(reader);
    let mut next = Attached::attach(&server.socket, "", "");
    assert_eq!(next.next().map(|record| record.0), Some(0), "the place was kept");
    drop(next);
    // Further back than the oldest it cannot be sent, and forward it must not be.
    let mut next = Attached::attach_at(&server.socket, "", "", Start::Oldest);
    assert_eq!(next.next().map(|record| record.0), Some(0));
}

#[test]
fn a_subscription_goes_to_the_latest_record_if_its_reader_asks() {
    let server = Server::start(&["--capacity-bytes", "4096", "--full-wait-ms", "0"]);
    while server.post("default", &[9; 40]).status == 202 {}
    let mut reader = Attached::attach_at(&server.socket, "", "", Start::Latest);
    assert_eq!(reader.next(), None);
    fill_some(&server, 1);
    assert!(reader.next().expect("there is room again").0 > 10);
}
