//! Opening before there is a listener: one that comes later, never, refuses, hangs up or is silent
//! first; and ending the wait.

mod common;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_client::{Client, Interrupter, OpenError, Options, Start, Status};
use common::fake::{EPOCH, Fake, Manner};
use common::fresh_path;
use rustix::io::Errno;

fn patient(path: &Path) -> Options {
    Options::new(path)
        .retry_open_for(Duration::MAX)
        .backoff(Duration::from_millis(1), Duration::from_millis(10))
}

/// Opens while a listener comes after a while.
fn open_before_listener(path: &Path, options: &Options) -> Client {
    thread::scope(|scope| {
        let listener = scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            let mut fake = Fake::at(path, EPOCH, 0);
            fake.take_one();
            fake
        });
        let client = options.attach().expect("attached");
        listener.join().expect("the listener does not panic");
        client
    })
}

#[test]
fn a_listener_that_comes_later_is_attached_to() {
    let path = fresh_path();
    let client = open_before_listener(&path, &patient(&path));
    assert_eq!((client.totals().attachments, client.totals().attempts), (1, 0));
    assert!(client.last_failure().is_none());
}

#[test]
fn a_socket_left_behind_by_a_dead_listener_is_waited_at() {
    let path = Fake::new().die();
    open_before_listener(&path, &patient(&path));
}

#[test]
fn the_last_attempt_is_made_when_the_time_is_over_however_long_the_pause() {
    let path = fresh_path();
    let hour = Duration::from_secs(3600);
    let options = patient(&path).retry_open_for(Duration::from_secs(1)).backoff(hour, hour);
    open_before_listener(&path, &options);
}

#[test]
fn a_listener_that_never_comes_is_given_up_in_time() {
    let time = Duration::from_millis(60);
    let began = Instant::now();
    let error = patient(&fresh_path()).retry_open_for(time).attach().expect_err("nobody comes");
    assert!((time..Duration::from_secs(10)).contains(&began.elapsed()));
    let errno = Errno::NOENT.raw_os_error();
    assert_eq!(error, OpenError::System { call: "connect", errno });
}

#[test]
fn what_a_listener_can_cure_is_tried_again() {
    for (manner, status) in [
        (Manner::HangsUpBeforeHello, None),
        (Manner::HangsUpAfterHello, None),
        (Manner::Silent, None),
        (Manner::Refuses, Some(Status::ShuttingDown)),
        (Manner::Refuses, Some(Status::Resource)),
    ] {
        let mut fake = Fake::new();
        let honest = fake.packet.clone();
        if let Some(status) = status {
            fake.refuse(status as u32, b"not now");
        }
        fake.manner = manner;
        let options = patient(&fake.path).timeout(Duration::from_millis(500)).start(Start::Oldest);
        thread::scope(|scope| {
            let opened = scope.spawn(|| options.attach());
            fake.take_one();
            let silent = fake.connection.take(); // Stays open, or it would be a hang-up.
            fake.manner = Manner::Honest;
            (fake.packet, fake.descriptors) = (honest, vec![true, false]);
            fake.take_one();
            drop(silent);
            assert!(opened.join().expect("no panic").is_ok(), "{manner:?}");
        });
        assert_eq!(fake.hello[12], 3, "the same start again");
    }
}

#[test]
fn what_no_listener_can_cure_is_final() {
    let passes = [Status::ShuttingDown, Status::Resource].map(|status| status as u32);
    for status in (1..=9).filter(|status| !passes.contains(status)) {
        let mut fake = Fake::new();
        fake.refuse(status, b"no");
        // A second attempt would wait for ever: the listener takes one connection.
        let error = fake.meet(|path| patient(path).timeout(Duration::MAX).attach());
        assert_eq!(error.err(), Some(OpenError::Refused { status, message: "no".to_owned() }));
    }
}

#[test]
fn a_standby_takes_over_when_the_subscription_is_free() {
    let mut fake = Fake::new();
    let honest = fake.packet.clone();
    fake.refuse(Status::Busy as u32, b"it has a reader");
    let options = patient(&fake.path).standby();
    thread::scope(|scope| {
        let opened = scope.spawn(|| options.attach());
        fake.take_one();
        fake.take_one();
        fake.manner = Manner::Honest;
        (fake.packet, fake.descriptors) = (honest, vec![true, false]);
        fake.take_one();
        assert!(opened.join().expect("no panic").is_ok());
    });
    // Not for ever, and not without a time.
    fake.hang_up();
    fake.refuse(Status::Busy as u32, b"it has a reader");
    let opened = fake.meet(|path| Options::new(path).standby().attach());
    assert_eq!(opened.err().and_then(|error| error.refusal()), Some(Status::Busy));
}

#[test]
fn an_interrupter_ends_the_wait_for_a_listener() {
    let interrupter = Interrupter::new().expect("a descriptor");
    let open =
        |path: &Path| patient(path).timeout(Duration::MAX).interrupter(&interrupter).attach();
    // In a pause, and before it.
    interrupter.interrupt();
    assert_eq!(open(&fresh_path()).err(), Some(OpenError::Interrupted));
    let later = |open: &dyn Fn() -> Option<OpenError>| {
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(30));
                interrupter.interrupt();
            });
            assert_eq!(open(), Some(OpenError::Interrupted));
        });
    };
    later(&|| open(&fresh_path()).err());
    // In the handshake.
    let mut silent = Fake::new();
    silent.manner = Manner::Silent;
    let path = silent.path.clone();
    thread::scope(|scope| {
        scope.spawn(|| {
            silent.take_one();
            interrupter.interrupt();
        });
        assert_eq!(open(&path).err(), Some(OpenError::Interrupted));
    });
    // While the backlog is full.
    let busy = Fake::new();
    let others = busy.fill_backlog();
    later(&|| open(&busy.path).err());
    drop(others);
    // It was used up, and goes on to end the client's waits.
    let mut fake = Fake::new();
    let mut client = fake.meet(|path| open(path)).expect("attached");
    interrupter.interrupt();
    assert_eq!(client.wait(None).expect("polled"), aqueduct_client::Waited::Interrupted);
}
