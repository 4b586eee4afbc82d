//! Sleep and wake: no reader sleeps on while something is published, and nobody is woken twice for
//! one sleep.
//!
//! Bounds: 1 producer, 1 or 2 readers, 1 to 3 records or a close, capacity 8 granules; a futex as
//! in the kernel, or a message that waits to be read. There are no time-outs, so a missed wake-up
//! is a deadlock and loom reports it. Not vacuous: real sleeps and wake-ups are counted, and a
//! weaker fence on either side is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::layout::ring_word;
use aqueduct_core::{Next, Sleep, WaitMode, Wake};
use aqueduct_verify::explore::{Bound, DEADLOCK, Events, explore, refuse};
use aqueduct_verify::futex::{Futex, Mailbox};
use aqueduct_verify::loom_memory::LoomMemory;
use aqueduct_verify::rig::{LoomReader, Rig, look, push};
use aqueduct_verify::weak::Weakness;
use loom::thread;

/// What the platform adds to the protocol.
struct Platform {
    ring: LoomMemory,
    futex: Futex,
    socket: Mailbox,
}

impl Platform {
    fn new(ring: LoomMemory) -> Arc<Self> {
        Arc::new(Self { ring, futex: Futex::new(), socket: Mailbox::new() })
    }

    /// Whom the core names, and no one else.
    fn wake(&self, wake: Wake) {
        if wake.futex {
            self.futex.wake();
        }
        if wake.sockets != 0 {
            self.socket.send();
        }
    }

    /// Whether it slept.
    fn sleep(&self, mode: WaitMode, tail: u32) -> bool {
        match mode {
            WaitMode::Futex => self.futex.wait(&self.ring, ring_word::TAIL, tail),
            WaitMode::Socket => {
                self.socket.receive();
                true
            }
        }
    }
}

/// What one reader did.
#[derive(Default)]
struct Log {
    seen: u64,
    announced: usize,
    slept: u64,
}

/// Reads until `records` are there, or until the end of the stream if it is not told how many;
/// sleeps whenever there is nothing.
fn read(mut reader: LoomReader, platform: &Platform, mode: WaitMode, records: Option<u64>) -> Log {
    let mut log = Log::default();
    while Some(log.seen) != records {
        match look(&mut reader, &mut log.seen) {
            Next::Record(_) => continue,
            Next::Closed => break,
            Next::Empty => {}
        }
        assert!(!reader.release(), "nobody asked for space");
        log.announced += 1;
        if let Sleep::Wait { tail } = reader.prepare_sleep(mode).expect("tail in range") {
            log.slept += u64::from(platform.sleep(mode, tail));
            reader.finish_sleep(false).expect("tail in range");
        }
    }
    log
}

/// `records` publications, then perhaps a close.
fn sleep<const READERS: usize>(
    setup: Rig,
    mode: WaitMode,
    records: u64,
    close: bool,
    events: &Events,
) {
    let (mut producer, readers, ring) = setup.build::<READERS>();
    let platform = Platform::new(ring);
    let expected = (!close).then_some(records);
    let threads = readers.map(|reader| {
        let platform = platform.clone();
        thread::spawn(move || read(reader, &platform, mode, expected))
    });
    for _ in 0..records {
        platform.wake(push(&mut producer).expect("there is room"));
    }
    if close {
        platform.wake(producer.close());
    }
    let logs = threads.map(|thread| thread.join().expect("reader"));
    for log in &logs {
        assert_eq!(log.seen, records);
        events.add("slept", log.slept);
    }
    let wakes = platform.futex.wakes();
    assert!(
        wakes <= logs.iter().map(|log| log.announced).sum::<usize>(),
        "one wake-up per sleep at most"
    );
    events.note("nobody slept", logs.iter().all(|log| log.slept == 0));
    events.note("woken twice", wakes > 1);
}

fn assert_slept(events: &Events) {
    assert!(events.count("slept") > 0, "{events}");
}

#[test]
fn a_reader_on_the_futex_never_misses_a_record() {
    let events = explore("futex, 1 record", Bound::ALL, |events| {
        sleep::<1>(Rig::new(8), WaitMode::Futex, 1, false, events);
    });
    assert_slept(&events);
    assert!(events.count("nobody slept") > 0, "{events}");
}

#[test]
fn a_reader_that_sleeps_again_is_woken_again() {
    let events = explore("futex, 3 records", Bound::preemptions(3), |events| {
        sleep::<1>(Rig::new(8), WaitMode::Futex, 3, false, events);
    });
    assert_slept(&events);
    assert!(events.count("woken twice") > 0, "{events}");
}

#[test]
fn a_reader_on_the_socket_never_misses_a_record() {
    let events = explore("socket, 2 records", Bound::preemptions(3), |events| {
        sleep::<1>(Rig::new(8), WaitMode::Socket, 2, false, events);
    });
    assert_slept(&events);
}

#[test]
fn one_wake_call_reaches_both_sleepers() {
    let events = explore("futex, 2 readers", Bound::preemptions(3), |events| {
        sleep::<2>(Rig::new(8), WaitMode::Futex, 1, false, events);
    });
    assert_slept(&events);
}

#[test]
fn a_sleeper_learns_of_the_end() {
    let events = explore("futex, close", Bound::ALL, |events| {
        sleep::<1>(Rig::new(8), WaitMode::Futex, 0, true, events);
    });
    assert_slept(&events);
}

#[test]
fn a_sleeper_learns_of_the_last_record_and_the_end() {
    let events = explore("futex, 1 record, close", Bound::preemptions(3), |events| {
        sleep::<1>(Rig::new(8), WaitMode::Futex, 1, true, events);
    });
    assert_slept(&events);
}

const NO_FENCE: &[Weakness] = &[Weakness::Fence(Ordering::SeqCst, Ordering::Relaxed)];
const ACQ_REL: &[Weakness] = &[Weakness::Fence(Ordering::SeqCst, Ordering::AcqRel)];

#[test]
fn a_weaker_fence_on_either_side_is_refused() {
    for weakness in [NO_FENCE, ACQ_REL] {
        for (name, rig) in [
            ("weaker fence in publish", Rig::new(8).spoil_producer(weakness)),
            ("weaker fence in prepare_sleep", Rig::new(8).spoil_reader(weakness)),
        ] {
            refuse(name, DEADLOCK, Bound::ALL, move |events| {
                sleep::<1>(rig, WaitMode::Futex, 1, false, events);
            });
            refuse(name, DEADLOCK, Bound::preemptions(3), move |events| {
                sleep::<1>(rig, WaitMode::Socket, 1, false, events);
            });
        }
    }
}
