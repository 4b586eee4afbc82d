//! Sleeping, waking, interrupts from other threads, and the descriptor for event loops.

mod common;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_client::{Armed, Client, Event, Options, WaitError, Waited};
use aqueduct_core::Memory;
use aqueduct_core::layout::cursor_word;
use common::PATIENCE;
use common::fake::Fake;
use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec};

const SHORT: Option<Duration> = Some(Duration::from_millis(30));

fn attach(fake: &mut Fake) -> Client {
    fake.meet(|path| Options::new(path).attach()).expect("attached")
}

fn wait(client: &mut Client, timeout: Option<Duration>) -> Waited {
    client.wait(timeout).expect("polled")
}

/// Whether the next look gives a record.
fn takes(client: &mut Client) -> bool {
    matches!(client.next(), Ok(Event::Record(_)))
}

fn is_readable(client: &Client, time: Duration) -> bool {
    let time = Timespec::try_from(time).expect("short");
    rustix::event::poll(&mut [PollFd::new(client, PollFlags::IN)], Some(&time))
        .is_ok_and(|ready| ready > 0)
}

#[test]
fn waiting_with_data_there_does_not_sleep() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    fake.publish(b"one");
    assert_eq!(wait(&mut client, None), Waited::Ready);
    assert_eq!(client.totals().sleeps, 0);
    assert!(takes(&mut client));
}

#[test]
fn waiting_for_nothing_ends_by_its_timeout() {
    for observed in [false, true] {
        let mut fake = if observed { Fake::observed() } else { Fake::new() };
        let mut client = fake
            .meet(|path| {
                let options = Options::new(path);
                if observed { options.observe() } else { options.attach() }
            })
            .expect("attached");
        assert_eq!(wait(&mut client, Some(Duration::ZERO)), Waited::Elapsed);
        let began = Instant::now();
        assert_eq!(wait(&mut client, SHORT), Waited::Elapsed);
        assert!(began.elapsed() >= SHORT.expect("some"));
        assert!(client.totals().sleeps > 0);
    }
}

#[test]
fn a_sleeping_reader_is_woken_by_a_packet() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            fake.publish(b"one");
        });
        let event = client.next_wait(None).expect("undamaged");
        assert!(matches!(event, Event::Record((_, b"one"))));
    });
    assert_eq!(client.stats().missed_wakes, 0);
    assert!(began.elapsed() < Duration::from_millis(450), "not by the end of a slice");
}

#[test]
fn a_forgotten_wake_costs_a_slice_and_is_counted() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            let _ = fake.producer.push(aqueduct_core::Meta::default(), b"one").expect("space");
        });
        assert_eq!(wait(&mut client, None), Waited::Ready);
    });
    assert_eq!(client.stats().missed_wakes, 1);
}

#[test]
fn wakes_without_data_are_drained_and_slept_through() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    for _ in 0..20 {
        fake.send(b"W");
    }
    fake.send(b"what a later minor may say");
    assert_eq!(wait(&mut client, SHORT), Waited::Elapsed);
    assert!(!is_readable(&client, Duration::ZERO));
}

#[test]
fn a_listener_that_dies_wakes_its_reader() {
    for observed in [false, true] {
        let mut fake = if observed { Fake::observed() } else { Fake::new() };
        let mut client = fake
            .meet(|path| {
                let options = Options::new(path);
                if observed { options.observe() } else { options.attach() }
            })
            .expect("attached");
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                fake.hang_up();
            });
            assert!(matches!(client.next_wait(None), Ok(Event::Lost)));
        });
    }
}

#[test]
fn an_observer_finds_what_nobody_woke_it_for() {
    let mut fake = Fake::observed();
    let mut client = fake.meet(|path| Options::new(path).observe()).expect("attached");
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            fake.publish(b"one");
        });
        assert!(matches!(client.next_wait(None), Ok(Event::Record((_, b"one")))));
    });
    // The longer nothing comes, the longer it sleeps.
    let sleeps: Vec<_> = (0..7)
        .map(|_| match client.arm() {
            Armed::Sleep(time) => time.as_millis(),
            other => panic!("{other:?}, and nothing is there"),
        })
        .collect();
    assert_eq!(sleeps[1..], [2, 4, 8, 16, 32, 32], "{sleeps:?}");
    fake.publish(b"two");
    assert_eq!(client.arm(), Armed::Ready);
}

#[test]
fn an_interrupt_before_the_sleep_is_not_lost_and_told_once() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    let interrupter = client.interrupter();
    interrupter.interrupt();
    interrupter.clone().interrupt();
    assert_eq!(wait(&mut client, None), Waited::Interrupted);
    assert_eq!(wait(&mut client, Some(Duration::ZERO)), Waited::Elapsed);
    fake.publish(b"one");
    interrupter.interrupt();
    // Before data, or a busy reader would never hear of it.
    assert_eq!(wait(&mut client, None), Waited::Interrupted);
    assert_eq!(wait(&mut client, None), Waited::Ready);
    assert!(takes(&mut client));
    interrupter.interrupt();
    assert!(matches!(client.next_wait(None), Err(WaitError::Interrupted)));
    assert!(matches!(client.next_wait(SHORT), Ok(Event::Empty)));
    drop(client);
    interrupter.interrupt(); // It may outlive its client.
}

#[test]
fn no_interrupt_of_another_thread_is_lost() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    let interrupter = client.interrupter();
    let (taken, next) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            // One at a time, at every moment of the other's loop; one that is lost would leave both
            // waiting.
            for round in 0..300 {
                interrupter.interrupt();
                assert!(next.recv_timeout(PATIENCE).is_ok(), "interrupt {round} is lost");
                if round % 3 == 0 {
                    thread::sleep(Duration::from_micros(20));
                }
            }
        });
        for _ in 0..300 {
            assert_eq!(wait(&mut client, Some(PATIENCE)), Waited::Interrupted);
            taken.send(()).expect("it listens");
        }
    });
    assert_eq!(wait(&mut client, Some(Duration::ZERO)), Waited::Elapsed);
}

#[test]
fn an_event_loop_sleeps_on_one_descriptor() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    let waiting =
        |fake: &Fake| fake.cursor.region.load(cursor_word::WAITING, Ordering::Relaxed) & 3;
    let Armed::Sleep(time) = client.arm() else { panic!("nothing is there") };
    assert!((1..=500).contains(&time.as_millis()), "{time:?}");
    assert!(!is_readable(&client, Duration::ZERO));
    assert_eq!(waiting(&fake), 2, "by the socket");
    fake.publish(b"one");
    assert!(is_readable(&client, PATIENCE));
    assert!(is_readable(&client, Duration::ZERO), "level-triggered: until it is taken");
    assert!(takes(&mut client));
    assert_eq!(waiting(&fake), 0);
    assert!(!takes(&mut client) && !is_readable(&client, Duration::ZERO));
    fake.publish(b"two");
    assert_eq!(client.arm(), Armed::Ready, "published between");
    assert!(takes(&mut client));
    client.interrupter().interrupt();
    assert!(is_readable(&client, PATIENCE));
    assert_eq!(client.arm(), Armed::Interrupted);
    assert!(!is_readable(&client, Duration::ZERO));
    assert!(matches!(client.arm(), Armed::Sleep(_)));
    fake.hang_up();
    assert!(is_readable(&client, PATIENCE));
    assert!(matches!(client.next(), Ok(Event::Lost)));
    assert!(!is_readable(&client, Duration::ZERO), "a known end keeps no loop busy");
    assert_eq!(client.arm(), Armed::Ready);
    assert_eq!(client.stats().missed_wakes, 0);
}

#[test]
fn a_timer_of_the_clients_own_ends_a_sleep_that_nobody_else_ends() {
    let mut fake = Fake::observed();
    let mut observer = fake.meet(|path| Options::new(path).observe()).expect("attached");
    for _ in 0..3 {
        let Armed::Sleep(time) = observer.arm_with_timer().expect("a timer") else {
            panic!("nothing is there")
        };
        let began = Instant::now();
        assert!(is_readable(&observer, PATIENCE));
        assert!(began.elapsed() + Duration::from_millis(1) >= time);
        assert!(!takes(&mut observer) && !is_readable(&observer, Duration::ZERO), "it is over");
    }
    // One that was not needed does not come later.
    assert!(matches!(observer.arm_with_timer().expect("a timer"), Armed::Sleep(_)));
    fake.publish(b"one");
    assert!(takes(&mut observer));
    assert!(!is_readable(&observer, Duration::from_millis(60)));

    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    assert!(matches!(client.arm_with_timer().expect("a timer"), Armed::Sleep(_)));
    let _ = fake.producer.push(aqueduct_core::Meta::default(), b"one").expect("space");
    assert!(is_readable(&client, PATIENCE), "a wake-up that was forgotten");
    assert!(takes(&mut client));
    assert_eq!(client.stats().missed_wakes, 1);
}

#[test]
fn edges_are_enough() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a set");
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&set, client.as_fd(), epoll::EventData::new_u64(0), flags).expect("added");
    let patience = Timespec::try_from(PATIENCE).expect("short");
    for round in 0..50 {
        while client.arm() == Armed::Ready {
            while takes(&mut client) {}
        }
        fake.publish(b"x");
        if round % 2 == 1 {
            fake.send(b"W"); // More than was asked for.
        }
        let mut events = Vec::with_capacity(1);
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&patience))
            .expect("polled");
        assert_eq!(events.len(), 1, "round {round}");
        assert!(takes(&mut client) && !takes(&mut client));
        client.release();
    }
    assert!(client.as_raw_fd() > 2);
}
