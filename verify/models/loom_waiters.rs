//! Wakers: no task sleeps on while there is a record for it, or space; over the protocol of
//! sleeping, and a cell that orders nothing by itself.
//!
//! Bounds: 1 producer, 1 reader, 1 or 2 records, capacity 4 or 8 granules. A cell is one relaxed
//! word, so that what was registered is seen only by whom the core's fences order after it; a
//! wake-up is a message that is kept until it is fetched. A missed one is a deadlock, which loom
//! reports. Not vacuous: real sleeps are counted, and weaker fences on either side are refused.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use aqueduct_core::Next;
use aqueduct_core::waiters::{Waiters, WakerCell};
use aqueduct_verify::explore::{Bound, DEADLOCK, Events, explore, refuse};
use aqueduct_verify::futex::Mailbox;
use aqueduct_verify::rig::{Rig, payload, push};
use aqueduct_verify::weak::Weakness;
use loom::sync::atomic::AtomicU32;
use loom::thread;

/// Whether somebody registered, and what he is sent.
#[derive(Clone)]
struct Cell(Arc<(AtomicU32, Mailbox)>);

impl Cell {
    fn new() -> Self {
        Self(Arc::new((AtomicU32::new(0), Mailbox::new())))
    }

    fn sleep(&self) {
        self.0.1.receive();
    }
}

impl WakerCell for Cell {
    fn register(&self, _: &Waker) {
        // ORDER(none): what a real cell orders more is not relied on.
        self.0.0.store(1, Ordering::Relaxed);
    }

    fn wake(&self) {
        // ORDER(none): as above.
        if self.0.0.load(Ordering::Relaxed) == 1 {
            self.0.1.send();
        }
    }
}

/// Polls until it is ready; sleeps in between. Returns what came, and how often it slept.
fn await_by<T>(cell: &Cell, future: impl Future<Output = T>) -> (T, u64) {
    let (mut future, mut slept) = (pin!(future), 0);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return (value, slept);
        }
        slept += 1;
        cell.sleep();
    }
}

/// A task reads `records`, which come one after the other.
fn read(rig: Rig, records: u64, events: &Events) {
    let (mut producer, [mut reader], _) = rig.build::<1>();
    let (cell, space) = (Cell::new(), Cell::new());
    let waiters = Arc::new(Waiters::with([cell.clone()], space));
    let task = thread::spawn({
        let waiters = waiters.clone();
        move || {
            let mut slept = 0;
            for seq in 0..records {
                let mut buf = [0; 32];
                let (next, times) = await_by(&cell, waiters.next(0, &mut reader, &mut buf));
                let next = next.expect("nothing is damaged");
                assert!(matches!(next, Next::Record(record) if record.seq == seq), "{next:?}");
                waiters.released(reader.release());
                slept += times;
            }
            slept
        }
    });
    for _ in 0..records {
        waiters.wake(push(&mut producer).expect("there is room"));
    }
    let slept = task.join().expect("the task");
    events.add("slept", slept);
    events.note("nobody slept", slept == 0);
}

/// A task fills a ring and waits for space, which the reader makes.
fn write(rig: Rig, events: &Events) {
    let (mut producer, [mut reader], _) = rig.build::<1>();
    let space = Cell::new();
    let waiters = Arc::new(Waiters::with([Cell::new()], space.clone()));
    while push(&mut producer).is_some() {}
    let other = thread::spawn({
        let waiters = waiters.clone();
        move || {
            assert!(matches!(reader.next(&mut [0; 32]), Ok(Next::Record(_))));
            waiters.released(reader.release());
            reader
        }
    });
    let next = payload(producer.next_seq()).len();
    let (room, slept) = await_by(&space, waiters.space(&mut producer, next));
    assert_eq!(room, Ok(()));
    assert!(push(&mut producer).is_some(), "it was promised");
    other.join().expect("the reader");
    events.add("slept", slept);
    events.note("nobody slept", slept == 0);
}

fn assert_both(events: &Events) {
    assert!(events.count("slept") > 0, "{events}");
    assert!(events.count("nobody slept") > 0, "{events}");
}

#[test]
fn a_task_is_woken_for_every_record() {
    assert_both(&explore("waker, 1 record", Bound::preemptions(4), |events| {
        read(Rig::new(8), 1, events);
    }));
    assert_both(&explore("waker, 2 records", Bound::preemptions(2), |events| {
        read(Rig::new(8), 2, events);
    }));
}

#[test]
fn a_producer_is_woken_when_there_is_space() {
    assert_both(&explore("waker for space", Bound::preemptions(4), |events| {
        write(Rig::new(4), events);
    }));
}

#[test]
fn a_weaker_fence_on_either_side_is_refused() {
    const NO_FENCE: &[Weakness] = &[Weakness::Fence(Ordering::SeqCst, Ordering::Relaxed)];
    const ACQ_REL: &[Weakness] = &[Weakness::Fence(Ordering::SeqCst, Ordering::AcqRel)];
    for weakness in [NO_FENCE, ACQ_REL] {
        for (name, rig) in [
            ("weaker fence in publish", Rig::new(8).spoil_producer(weakness)),
            ("weaker fence in prepare_sleep", Rig::new(8).spoil_reader(weakness)),
        ] {
            refuse(name, DEADLOCK, Bound::preemptions(4), move |events| read(rig, 1, events));
        }
        for (name, rig) in [
            ("weaker fence in want_space", Rig::new(4).spoil_producer(weakness)),
            ("weaker fence in release", Rig::new(4).spoil_reader(weakness)),
        ] {
            refuse(name, DEADLOCK, Bound::preemptions(4), move |events| write(rig, events));
        }
    }
}
