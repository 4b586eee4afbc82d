//! Producers and readers on threads of their own: everything exactly once, each thread's records in
//! its order, the content right.

#![allow(clippy::disallowed_types, reason = "private words of the tests, not shared bytes")]

mod common;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use aqueduct_core::shared::{Backend, Native, NativeCell, Word};
use aqueduct_core::{ClaimError, Meta, Next, Observer, ReadError, Region, SharedProducer};
use common::{Page, Ring, Rng, meta, pair, payload, push, take};

/// Tells the producers, who would wait for ever, that the reader failed.
struct Alarm<'a>(&'a AtomicU32);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.store(u32::from(thread::panicking()), Ordering::Relaxed);
    }
}

fn wait(gone: &AtomicU32) {
    assert_eq!(gone.load(Ordering::Relaxed), 0, "the reader failed");
    thread::yield_now();
}

/// Each thread pushes its records, tagged with its number, through a ring so small that it is full
/// all the time.
fn exactly_once<const CLAIMS: usize>(threads: u16, granules: u32, first: u32, each: u64) {
    let (ring, page) = (Ring::new(), Page::new());
    let (producer, _, mut reader) = pair(&ring, &page, granules, first);
    let shared = SharedProducer::<Region, Region, Native, CLAIMS>::new(producer).unwrap();
    let largest = shared.geometry().max_payload() as usize;
    let (shared, done, gone) = (&shared, &AtomicU32::new(0), &AtomicU32::new(0));
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut dice = Rng::new(u64::from(thread));
                for number in 0..each {
                    let len = dice.below(largest + 1);
                    let bytes = payload(number ^ u64::from(thread) << 32, len);
                    let mut grant = loop {
                        match shared.claim(len + dice.below(largest + 1 - len)) {
                            Ok(grant) => break grant,
                            Err(ClaimError::Full { .. } | ClaimError::Busy { .. }) => wait(gone),
                            Err(other) => panic!("{other}"),
                        }
                    };
                    grant.write(&bytes).unwrap();
                    match dice.below(4) {
                        // Given up, and claimed again.
                        0 => {
                            drop(grant);
                            while let Err(error) =
                                shared.push(Meta { type_tag: thread, timestamp_ns: number }, &bytes)
                            {
                                assert!(
                                    matches!(
                                        error,
                                        ClaimError::Full { .. } | ClaimError::Busy { .. }
                                    ),
                                    "{error}"
                                );
                                wait(gone);
                            }
                        }
                        1 => {
                            thread::yield_now();
                            assert!(
                                grant
                                    .commit(Meta { type_tag: thread, timestamp_ns: number })
                                    .wake
                                    .is_none()
                            );
                        }
                        _ => assert!(
                            grant
                                .commit(Meta { type_tag: thread, timestamp_ns: number })
                                .wake
                                .is_none()
                        ),
                    }
                }
                done.fetch_add(1, Ordering::Release);
            });
        }
        let _alarm = Alarm(gone);
        let mut next = vec![0; usize::from(threads)];
        let mut seq = 0;
        let mut buf = [0; 1024];
        loop {
            let all = done.load(Ordering::Acquire) == u32::from(threads);
            match reader.next(&mut buf).unwrap() {
                Next::Record(record) => {
                    let (thread, number) = (record.type_tag, record.timestamp_ns);
                    assert_eq!((record.seq, number), (seq, next[usize::from(thread)]));
                    assert_eq!(
                        buf[..record.len],
                        payload(number ^ u64::from(thread) << 32, record.len)
                    );
                    next[usize::from(thread)] += 1;
                    seq += 1;
                    if seq % 3 == 0 {
                        let _ = reader.release();
                    }
                }
                Next::Empty if all => break,
                _ => {
                    let _ = reader.release();
                    thread::yield_now();
                }
            }
        }
        assert_eq!(next, vec![each; usize::from(threads)]);
        assert_eq!(shared.unfinished(), None);
    });
}

#[test]
fn several_threads_lose_and_repeat_nothing_through_tiny_rings() {
    let each = if cfg!(miri) { 8 } else { 400 };
    exactly_once::<2>(2, 4, 10_u32.wrapping_neg(), each);
    exactly_once::<2>(3, 8, (1 << 31) - 50, each);
    if !cfg!(miri) {
        exactly_once::<4>(3, 16, 200_u32.wrapping_neg(), each);
        exactly_once::<4>(4, 64, 0, each);
        exactly_once::<64>(4, 32, (1 << 31) - 500, each);
    }
}

#[test]
fn reader_and_observer_follow_a_producer_on_its_thread() {
    let count = if cfg!(miri) { 25 } else { 1500 };
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 40_u32.wrapping_neg());
    let (ring, gone) = (&ring, &AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut dice = Rng::new(1);
            while producer.next_seq() < count {
                if push(&mut producer, dice.below(97)).is_err() {
                    wait(gone);
                }
            }
            let _ = producer.close();
        });
        scope.spawn(move || {
            let mut observer = Observer::oldest(ring.region()).unwrap();
            let (mut next, mut buf) = (0, [0; 128]);
            loop {
                match observer.next(&mut buf) {
                    Ok(Next::Record(record)) => {
                        assert_eq!(buf[..record.len], payload(record.seq, record.len));
                        assert!(record.seq == next || next == 0);
                        next = record.seq + 1;
                    }
                    Ok(Next::Empty) => thread::yield_now(),
                    Ok(Next::Closed) => break,
                    Err(ReadError::Overrun { found: Some(found), .. }) => {
                        assert!(found > next);
                        next = found;
                    }
                    Err(ReadError::Overrun { found: None, .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(next == count || next == 0, "{next}");
        });
        let _alarm = Alarm(gone);
        let (mut next, mut buf) = (0, [0; 128]);
        loop {
            match reader.next(&mut buf).unwrap() {
                Next::Record(record) => {
                    assert_eq!(record.seq, next);
                    assert_eq!(buf[..record.len], payload(record.seq, record.len));
                    next += 1;
                    let _ = reader.release();
                }
                Next::Empty => thread::yield_now(),
                Next::Closed => break,
            }
        }
        assert_eq!(next, count);
    });
}

thread_local! {
    /// What this thread does before it next asks for a turn.
    static BEFORE_TURN: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// The machine's words, with a place to stop at.
struct Stepped;
struct SteppedWord(AtomicU32);

impl Backend for Stepped {
    type Word = SteppedWord;
    type Cell<T> = NativeCell<T>;
}

// SAFETY: it is an atomic `u32`, changed only by these methods.
unsafe impl Word for SteppedWord {
    fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }
    fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }
    fn store(&self, value: u32, order: Ordering) {
        self.0.store(value, order);
    }
    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        if let Some(step) = BEFORE_TURN.take() {
            step();
        }
        self.0.compare_exchange(current, new, success, failure)
    }
    fn fetch_or(&self, bits: u32, order: Ordering) -> u32 {
        self.0.fetch_or(bits, order)
    }
}

#[test]
fn two_that_find_no_room_at_once_make_it_one_after_the_other() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 0);
    // Old records stand everywhere, so that each granule must be made room for.
    for seq in 0..7 {
        push(&mut producer, 0).unwrap();
        assert_eq!(take(&mut reader), Some((seq, 0)));
    }
    let _ = reader.release();
    let shared = SharedProducer::<Region, Region, Stepped, 4>::new(producer).unwrap();
    let barriers: [Arc<Barrier>; 3] = std::array::from_fn(|_| Arc::new(Barrier::new(2)));
    let [large_asked, small_asked, large_done] = barriers.each_ref().map(Arc::clone);
    thread::scope(|scope| {
        let (shared, barriers) = (&shared, &barriers);
        scope.spawn(move || {
            let [asked, replaced, done] = barriers.each_ref().map(Arc::clone);
            BEFORE_TURN.set(Some(Box::new(move || {
                asked.wait();
                replaced.wait();
            })));
            let pushed = shared.push(meta(7), &payload(7, 64)).map(|commit| commit.seq);
            done.wait();
            assert_eq!(pushed, Ok(Some(7)), "nothing holds the room");
        });
        large_asked.wait();
        BEFORE_TURN.set(Some(Box::new(move || {
            small_asked.wait();
            large_done.wait();
        })));
        assert!(shared.push(meta(8), &[]).is_ok());
    });
    assert_eq!([take(&mut reader), take(&mut reader)], [Some((7, 64)), Some((8, 0))]);
}
