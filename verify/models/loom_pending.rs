//! Wake-ups of an event loop: whatever was left for it before a wake is found, and no wake is lost.
//! The shipped file, compiled once more over loom.
//!
//! Bounds: 2 threads that leave something and wake, 2 times and once; 3 pre-emptions. The eventfd
//! and its edge-triggered wait are of the model: a write is an edge, and an edge ends a wait unless
//! all that was written has been read back by then. What is left are relaxed words, so that nothing
//! but the flag orders them where a wake writes nothing. Not vacuous: wakes that write nothing are
//! counted; a flag without orderings, and one that is cleared before the read, are refused.

#![allow(clippy::disallowed_types, reason = "the flag of the test itself")]

/// What the shipped file counts with: see `shell/src/sync.rs`.
mod sync {
    use std::sync::atomic::Ordering;

    use loom::sync::atomic::AtomicBool;

    #[derive(Debug)]
    pub(crate) struct Flag {
        value: AtomicBool,
        /// Whether its orderings are taken away.
        pub(crate) is_weak: bool,
    }

    impl Flag {
        pub(crate) fn new(value: bool) -> Self {
            let is_weak = super::WEAK.load(Ordering::Relaxed);
            Self { value: AtomicBool::new(value), is_weak }
        }

        pub(crate) fn swap(&self, value: bool, ordering: Ordering) -> bool {
            let ordering = if self.is_weak { Ordering::Relaxed } else { ordering };
            self.value.swap(value, ordering)
        }
    }
}

#[path = "../../shell/src/ingress/event_loop/driver/pending.rs"]
mod pending;

use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool as StdBool, Ordering};

use aqueduct_verify::explore::{Bound, DEADLOCK, Events, explore, refuse};
use loom::sync::atomic::AtomicU32;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use pending::Pending;
use sync::Flag;

/// What the flags of the next model are.
static WEAK: StdBool = StdBool::new(false);
/// Tests that spoil flags run by themselves.
static ALONE: StdMutex<()> = StdMutex::new(());

const THREE: Bound = Bound::preemptions(3);

/// What threads and loop agree with.
trait Wakes {
    fn new() -> Self;
    fn wake(&self, write: impl FnOnce());
    fn taken(&self, read: impl FnOnce());
}

impl Wakes for Pending {
    fn new() -> Self {
        Self::new()
    }

    fn wake(&self, write: impl FnOnce()) {
        self.wake(write);
    }

    fn taken(&self, read: impl FnOnce()) {
        self.taken(read);
    }
}

/// Clears the flag before it reads, as it was until a loop slept for ever.
struct Early(Flag);

impl Wakes for Early {
    fn new() -> Self {
        Self(Flag::new(false))
    }

    fn wake(&self, write: impl FnOnce()) {
        if !self.0.swap(true, Ordering::AcqRel) {
            write();
        }
    }

    fn taken(&self, read: impl FnOnce()) {
        if self.0.swap(false, Ordering::AcqRel) {
            read();
        }
    }
}

/// An eventfd in an edge-triggered epoll: what was written, and whether there is an edge.
#[derive(Default)]
struct Event {
    state: Mutex<(u64, bool)>,
    changed: Condvar,
}

impl Event {
    fn write(&self) {
        let mut state = self.state.lock().expect("no panic");
        *state = (state.0 + 1, true);
        self.changed.notify_one();
    }

    fn read(&self) {
        self.state.lock().expect("no panic").0 = 0;
    }

    fn wait(&self) {
        let mut state = self.state.lock().expect("no panic");
        // An edge without anything to read is dropped by the kernel.
        while !std::mem::take(&mut state.1) || state.0 == 0 {
            state = self.changed.wait(state).expect("no panic");
        }
    }
}

struct Seat<W> {
    wakes: W,
    event: Event,
    left: [AtomicU32; 2],
}

fn no_wake_is_lost<W: Wakes + Send + Sync + 'static>(events: &Events) {
    const EACH: [u32; 2] = [2, 1];
    let seat = Arc::new(Seat {
        wakes: W::new(),
        event: Event::default(),
        left: [AtomicU32::new(0), AtomicU32::new(0)],
    });
    let others: Vec<_> = (0..2)
        .map(|who| {
            let (seat, events) = (Arc::clone(&seat), events.clone());
            thread::spawn(move || {
                for number in 1..=EACH[who] {
                    seat.left[who].store(number, Ordering::Relaxed);
                    let mut wrote = false;
                    seat.wakes.wake(|| {
                        wrote = true;
                        seat.event.write();
                    });
                    events.note("wrote nothing", !wrote);
                }
            })
        })
        .collect();
    let mut found = [0, 0];
    while found != EACH {
        seat.event.wait();
        seat.wakes.taken(|| seat.event.read());
        found = [0, 1].map(|who| seat.left[who].load(Ordering::Relaxed));
    }
    for other in others {
        other.join().expect("no panic");
    }
}

#[test]
fn whatever_was_left_before_a_wake_is_found() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let events = explore("wakes", THREE, no_wake_is_lost::<Pending>);
    assert!(events.count("wrote nothing") > 0, "{events}");
}

#[test]
fn a_flag_that_is_cleared_before_the_read_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    refuse("cleared first", DEADLOCK, THREE, no_wake_is_lost::<Early>);
}

#[test]
fn a_flag_without_orderings_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    WEAK.store(true, Ordering::Relaxed);
    refuse("no orderings", DEADLOCK, THREE, no_wake_is_lost::<Pending>);
    WEAK.store(false, Ordering::Relaxed);
}
