//! The hand-over between event loops, journal thread, publication and readers under random
//! schedules: the shipped files, compiled once more over `shuttle`.
//!
//! Bounds: 2 loops of 3 turns with 1 or 2 records each, which commit those with 1 by themselves if
//! nobody else does at that moment, and wait for their publication as answers do; the committing
//! thread; a reader that sleeps whenever there is nothing and is woken by what
//! publication returns; a ring of 64 granules. 150 schedules of each of two kinds from a fixed
//! seed; `AQUEDUCT_SHUTTLE_RUNS` and `AQUEDUCT_SHUTTLE_SEED` for others. shuttle is sequentially
//! consistent: it finds races of logic and wake-ups that are missed, not weak orderings, which the
//! models of the core look for. Not vacuous: sleeps, batches of several turns, answers that had
//! to wait and turns that committed by themselves are counted, and each seeded fault is found.

#![allow(dead_code, unreachable_pub, reason = "parts of the listener that this test does not use")]
#![allow(clippy::disallowed_types, reason = "counters of the test itself")]

/// What the shipped files lock and wait with: see `shell/src/sync.rs`.
mod sync {
    use std::sync::atomic::{AtomicU8, Ordering};

    pub(crate) use std::sync::PoisonError;

    pub(crate) use shuttle::sync::atomic::AtomicU64;
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};

    /// shuttle warns of each ordering weaker than its own.
    pub(crate) struct Counter(AtomicU64);

    impl Counter {
        pub(crate) fn new(value: u64) -> Self {
            Self(AtomicU64::new(value))
        }

        pub(crate) fn load(&self, _: Ordering) -> u64 {
            self.0.load(Ordering::SeqCst)
        }

        pub(crate) fn store(&self, value: u64, _: Ordering) {
            self.0.store(value, Ordering::SeqCst);
        }

        pub(crate) fn fetch_max(&self, value: u64, _: Ordering) -> u64 {
            self.0.fetch_max(value, Ordering::SeqCst)
        }
    }

    pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u8)]
    pub(crate) enum Fault {
        PublishesBeforeCommit = 1,
        LooksBeforePublishing,
        BellForgets,
        CommitsTogether,
        // Those of `feeding`.
        FeedAsksAndSleeps,
        FeedLooksFirst,
        FeedForgetsUnreleased,
    }

    pub(crate) static MADE: AtomicU8 = AtomicU8::new(0);

    pub(crate) fn seeded(fault: Fault) -> bool {
        MADE.load(Ordering::Relaxed) == fault as u8
    }
}

#[path = "../../shell/src/ring/journaled/handover.rs"]
mod handover;
#[path = "../../shell/src/ring/memory.rs"]
mod memory;
#[path = "../../shell/src/ring/durable/progress.rs"]
mod progress;
#[path = "../../shell/src/ring/durable/show.rs"]
mod show;
#[path = "../src/shuttle_memory.rs"]
mod shuttle_memory;

/// Where the files find each other.
mod ring {
    pub(crate) use super::memory;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use aqueduct_core::layout::cursor_word;
use aqueduct_core::{Memory, Meta, Next, Producer, Reader, RingConfig, Sleep, Start, WaitMode};
use handover::{Bell, Stage, commit_for_ever, commit_here};
use memory::RingMemory;
use progress::{Progress, Standing};
use show::Sleeper;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use shuttle_memory::ShuttleMemory;
use sync::{Condvar, Fault, MADE, Mutex, lock};

const LOOPS: u64 = 2;
const TURNS: u64 = 3;
/// Of a loop: turns with one record and with two.
const EACH: u64 = 1 + 2 + 1;
const TOTAL: u64 = LOOPS * EACH;
const CAPACITY_BYTES: usize = 64 * 32;

/// What is counted over all schedules.
#[derive(Default)]
struct Seen {
    slept: AtomicU64,
    waited: AtomicU64,
    batched: AtomicU64,
    here: AtomicU64,
}

/// Something that one thread waits for until another says so.
#[derive(Default)]
struct Signal {
    said: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn say(&self) {
        *lock(&self.said) = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut said = lock(&self.said);
        while !*said {
            said = self.changed.wait(said).expect("nobody panics");
        }
        *said = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.say();
    }
}

type RingProducer = Producer<RingMemory<ShuttleMemory>, ShuttleMemory, 2>;

/// What the producer's mutex guards, as in the listener.
struct Inner {
    producer: RingProducer,
    /// The journal's own cursor.
    cursor: ShuttleMemory,
    /// The reader's.
    words: ShuttleMemory,
    woken: u32,
    next_seq: u64,
}

struct Ring {
    inner: Mutex<Inner>,
    bell: Bell,
    progress: Progress,
    /// Number of the first record that is not safe.
    safe: Mutex<u64>,
    /// What wakes the reader.
    doorbell: Arc<Signal>,
    seen: Arc<Seen>,
}

struct Batch {
    begin: u64,
    end: (u32, u64),
}

impl Stage for Ring {
    type Batch = Batch;

    fn uncommitted(&self) -> Option<Batch> {
        let inner = lock(&self.inner);
        let memory = inner.producer.ring();
        let (begin, end) = (memory.published(), memory.tail());
        let end = (end, inner.producer.next_seq());
        (begin != end.0).then(|| Batch { begin: inner.next_seq, end })
    }

    fn commit(&self, batch: &Batch) -> bool {
        thread::yield_now();
        *lock(&self.safe) = batch.end.1;
        self.seen.batched.fetch_add(u64::from(batch.end.1 - batch.begin > 2), Ordering::Relaxed);
        true
    }

    fn publish(&self, batch: &Batch) {
        let wake = {
            let inner = &mut *lock(&self.inner);
            let Inner { producer, cursor, words, woken, next_seq } = inner;
            *next_seq = batch.end.1;
            let readers = std::iter::once(Sleeper { words: &*words, woken, index: 1 });
            show::publish(producer.ring(), cursor, batch.end, readers)
        };
        self.progress.advance(batch.end.1);
        if wake.sockets != 0 {
            self.doorbell.say();
        }
    }
}

/// One event loop: turns, and answers that are held until their record is published.
fn turns(ring: &Ring) {
    for turn in 0..TURNS {
        let last = {
            let mut inner = lock(&ring.inner);
            let mut seq = 0;
            for _ in 0..=turn % 2 {
                seq = inner.producer.append(Meta::default(), b"record").expect("room");
            }
            // Readers see nothing of it, so nobody is woken for it.
            let _ = inner.producer.publish();
            seq
        };
        if turn % 2 == 0 && commit_here(&ring.bell, ring) {
            ring.seen.here.fetch_add(1, Ordering::Relaxed);
        } else {
            ring.bell.ring(false);
        }
        let signal = Arc::new(Signal::default());
        while ring.progress.standing(last) != Standing::Published {
            ring.seen.waited.fetch_add(1, Ordering::Relaxed);
            ring.progress.watch(last, Waker::from(Arc::clone(&signal)));
            signal.wait();
        }
        assert!(last < *lock(&ring.safe), "record {last} was answered before it was safe");
    }
}

/// Reads everything, each record once it is safe, and sleeps whenever there is nothing.
fn read(ring: &Ring, mut reader: Reader<ShuttleMemory, ShuttleMemory>) {
    let (mut next, mut buf) = (0, [0; 64]);
    while next < TOTAL {
        match reader.next(&mut buf).expect("undamaged") {
            Next::Record(record) => {
                assert_eq!(record.seq, next);
                assert!(next < *lock(&ring.safe), "record {next} was read before it was safe");
                next += 1;
                continue;
            }
            Next::Empty => {}
            Next::Closed => panic!("it is not closed"),
        }
        let _ = reader.release();
        if let Sleep::Wait { .. } = reader.prepare_sleep(WaitMode::Socket).expect("in range") {
            ring.seen.slept.fetch_add(1, Ordering::Relaxed);
            ring.doorbell.wait();
            reader.finish_sleep(false).expect("in range");
        }
    }
}

fn run(seen: &Arc<Seen>) {
    let words = ShuttleMemory::new(256 + CAPACITY_BYTES);
    let config = RingConfig::new("handover", 7, CAPACITY_BYTES);
    let memory = RingMemory::new(words.clone());
    let mut producer: RingProducer = Producer::create(memory, &config).expect("create");
    let (cursor, page) = (ShuttleMemory::new(256), ShuttleMemory::new(256));
    for page in [&cursor, &page] {
        let id = producer.subscribe(Start::Latest).expect("subscribe");
        producer.attach(id, "handover", page.clone()).expect("attach");
    }
    producer.ring().hold();
    let reader = Reader::attach(words, page.clone()).expect("reader");
    assert_eq!(page.load(cursor_word::WAITING, Ordering::Relaxed), 0);
    let ring = Arc::new(Ring {
        inner: Mutex::new(Inner { producer, cursor, words: page, woken: 0, next_seq: 0 }),
        bell: Bell::default(),
        progress: Progress::at(0),
        safe: Mutex::new(0),
        doorbell: Arc::default(),
        seen: Arc::clone(seen),
    });
    let of = |work: fn(&Ring)| {
        let ring = Arc::clone(&ring);
        thread::spawn(move || work(&ring))
    };
    let committer = of(|ring| commit_for_ever(&ring.bell, ring));
    let loops = [of(turns), of(turns)];
    let reading = {
        let ring = Arc::clone(&ring);
        thread::spawn(move || read(&ring, reader))
    };
    for each in loops {
        each.join().expect("a loop");
    }
    reading.join().expect("the reader");
    ring.bell.ring(true);
    committer.join().expect("the committer");
    assert_eq!(*lock(&ring.safe), TOTAL);
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |number| number.parse().unwrap_or_else(|_| panic!("{name}: a number")))
}

fn explore(scheduler: impl Scheduler + 'static, seen: &Arc<Seen>) {
    let seen = Arc::clone(seen);
    Runner::new(scheduler, Config::new()).run(move || run(&seen));
}

/// One test, because a seeded fault is the whole process's.
#[test]
fn nothing_is_seen_or_answered_before_it_is_safe_and_nobody_sleeps_for_ever() {
    let runs = usize::try_from(number("AQUEDUCT_SHUTTLE_RUNS", 150)).expect("a number of runs");
    let seed = number("AQUEDUCT_SHUTTLE_SEED", 1);
    let counted = Arc::default();
    explore(RandomScheduler::new_from_seed(seed, runs), &counted);
    explore(PctScheduler::new_from_seed(seed, 3, runs), &counted);
    let Seen { slept, waited, batched, here } = &*counted;
    let counts = [slept, waited, batched, here].map(|count| count.load(Ordering::Relaxed));
    println!(
        "schedules={} slept={} waited={} batched={} here={}",
        2 * runs,
        counts[0],
        counts[1],
        counts[2],
        counts[3]
    );
    assert!(counts.iter().all(|&count| count > runs as u64 / 10), "{counts:?}");

    for fault in [
        Fault::PublishesBeforeCommit,
        Fault::LooksBeforePublishing,
        Fault::BellForgets,
        Fault::CommitsTogether,
    ] {
        MADE.store(fault as u8, Ordering::Relaxed);
        // A thread of its own, because what shuttle keeps does not outlive a panic.
        let found = std::thread::spawn(move || {
            let counted = Arc::default();
            explore(RandomScheduler::new_from_seed(seed, 2_000), &counted);
            explore(PctScheduler::new_from_seed(seed, 3, 2_000), &counted);
        });
        let found = found.join();
        MADE.store(0, Ordering::Relaxed);
        assert!(found.is_err(), "{fault:?} is not found");
    }
}
