//! A reader that lags behind the ring, fed from the journal, under random schedules: the shipped
//! files, compiled once more over `shuttle`.
//!
//! Bounds: 10 records of 1 to 3 granules, published one by one; the feeding thread, which sleeps
//! until its bell rings, without a timeout; a reader with a ring of 8 granules, which sleeps
//! whenever there is nothing, releases after every second record, and once goes without releasing,
//! so that the next one begins with a ring of its own; a keeper that removes from the journal what
//! the subscription has released. 150 schedules of each of two kinds from a fixed seed;
//! `AQUEDUCT_SHUTTLE_RUNS` and `AQUEDUCT_SHUTTLE_SEED` for others. shuttle is sequentially
//! consistent: it finds races of logic and wake-ups that are missed, not weak orderings; those of
//! the fences are the core's, `loom_sleep` and `loom_space`. Not vacuous: sleeps of both sides,
//! rings that were full and removals are counted, and each seeded fault is found.

#![allow(dead_code, unreachable_pub, reason = "parts of the listener that this test does not use")]
#![allow(clippy::disallowed_types, reason = "counters of the test itself")]

/// What the shipped files lock and wait with: see `shell/src/sync.rs`.
mod sync {
    use std::sync::atomic::{AtomicU8, Ordering};

    pub(crate) use std::sync::PoisonError;

    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u8)]
    pub(crate) enum Fault {
        BellForgets = 1,
        FeedAsksAndSleeps,
        FeedLooksFirst,
        FeedForgetsUnreleased,
        // Those of `handover`.
        PublishesBeforeCommit,
        LooksBeforePublishing,
        CommitsTogether,
    }

    pub(crate) static MADE: AtomicU8 = AtomicU8::new(0);

    pub(crate) fn seeded(fault: Fault) -> bool {
        MADE.load(Ordering::Relaxed) == fault as u8
    }
}

#[path = "../../shell/src/ring/fed/feed.rs"]
mod feed;
#[path = "../../shell/src/ring/journaled/handover.rs"]
mod handover;
#[path = "../../shell/src/ring/memory.rs"]
mod memory;
#[path = "../../shell/src/ring/durable/show.rs"]
mod show;
#[path = "../src/shuttle_memory.rs"]
mod shuttle_memory;

/// Where the files find each other.
mod ring {
    pub(crate) use super::memory;

    pub(crate) mod durable {
        pub(crate) use crate::show;
    }
}

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqueduct_core::geometry::low32;
use aqueduct_core::{
    HeapSegment, Memory, Meta, Next, Producer, Reader, Region, RingConfig, Sleep, Start, WaitMode,
};
use feed::Feed;
use handover::Bell;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use shuttle_memory::ShuttleMemory;
use sync::{Condvar, Fault, MADE, Mutex, lock};

const TOTAL: u64 = 10;
const EPOCH: u64 = 7;
const GRANULE: usize = 32;
const CAPACITY: u32 = 8;
const DATA: usize = 256;
/// Record before which the first reader goes.
const GOES_AT: u64 = 5;

/// What is counted over all schedules.
#[derive(Default)]
struct Seen {
    reader_slept: AtomicU64,
    full: AtomicU64,
    removed: AtomicU64,
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

/// A record as it is in the journal.
#[derive(Clone)]
struct Kept {
    position: u64,
    seq: u64,
    is_data: bool,
    bytes: Vec<u8>,
}

impl Kept {
    fn end(&self) -> u64 {
        self.position + (self.bytes.len() / GRANULE) as u64
    }
}

/// What `State` and `Slot` guard in the listener.
struct State {
    published: (u64, u64),
    /// Position of the first record that is not released.
    position: u64,
    /// Number of the record there, at least.
    seq: u64,
    reader: Option<Fed>,
}

struct Fed {
    attachment: u64,
    feed: Feed<ShuttleMemory, ShuttleMemory>,
    doorbell: Arc<Signal>,
}

struct Ring {
    /// All records, with the padding of a ring of this capacity.
    all: Vec<Kept>,
    journal: Mutex<VecDeque<Kept>>,
    state: Mutex<State>,
    bell: Bell,
    seen: Arc<Seen>,
}

/// Bytes of the payload of a record.
fn size(seq: u64) -> usize {
    [0, 40, 16][low32(seq % 3) as usize]
}

/// The records of a ring, as its producer lays them out.
fn laid_out() -> Vec<Kept> {
    let bytes = DATA + CAPACITY as usize * GRANULE;
    let segment = HeapSegment::new(bytes);
    let config = RingConfig::new("feeding", EPOCH, CAPACITY as usize * GRANULE);
    let mut producer: Producer<Region<'_>, Region<'_>, 1> =
        Producer::create(segment.region(), &config).expect("create");
    let framing = aqueduct_core::internals::Framing::new(EPOCH);
    let (mut all, mut at) = (Vec::new(), 0_u64);
    for seq in 0..TOTAL {
        let payload = vec![u8::try_from(seq).expect("few"); size(seq)];
        let _ = producer.push(Meta::default(), &payload).expect("nobody holds it back");
        let tail = segment.region().load(128, Ordering::Relaxed);
        while low32(at) != tail {
            let mut head = [0; GRANULE];
            let place = |at: u64| DATA + (low32(at) % CAPACITY) as usize * GRANULE;
            segment.region().read(place(at), &mut head);
            let header = framing.decode(low32(at), &head).expect("a record");
            let mut bytes = vec![0; GRANULE * (1 + header.len.div_ceil(32) as usize)];
            segment.region().read(place(at), &mut bytes);
            let (position, is_data) = (at, header.is_data());
            at += (bytes.len() / GRANULE) as u64;
            all.push(Kept { position, seq: header.seq, is_data, bytes });
        }
    }
    all
}

impl Ring {
    /// Gives the subscription's next reader a ring, as `attach_fed` does.
    fn attach(&self, attachment: u64) -> (Reader<ShuttleMemory, ShuttleMemory>, Arc<Signal>) {
        let mut state = lock(&self.state);
        let memory = ShuttleMemory::new(DATA + CAPACITY as usize * GRANULE);
        let words = ShuttleMemory::new(256);
        let mut config = RingConfig::new("feeding", EPOCH, CAPACITY as usize * GRANULE);
        config.first_position = low32(state.position);
        let mut producer: Producer<ShuttleMemory, ShuttleMemory, 1> =
            Producer::create(memory.clone(), &config).expect("create");
        let id = producer.subscribe(Start::Latest).expect("subscribe");
        producer.attach(id, "feeding", words.clone()).expect("attach");
        let reader = Reader::attach(memory.clone(), words.clone()).expect("reader");
        let place = (state.position, state.seq);
        let feed = Feed::new((memory, words), (DATA, CAPACITY), place);
        let doorbell = Arc::<Signal>::default();
        state.reader = Some(Fed { attachment, feed, doorbell: Arc::clone(&doorbell) });
        drop(state);
        self.bell.ring(false);
        (reader, doorbell)
    }

    fn detach(&self) {
        let mut state = lock(&self.state);
        let Some(mut fed) = state.reader.take() else { return };
        let _ = fed.feed.look().expect("an honest reader");
        state.position = fed.feed.released();
    }

    /// Puts what there is into the ring of the reader, as `feed_one` does; whether there was more.
    fn feed(&self) -> bool {
        let (attachment, from, to, room, hand) = {
            let state = &mut *lock(&self.state);
            let published = state.published;
            let Some(fed) = &mut state.reader else { return false };
            let _ = fed.feed.look().expect("an honest reader");
            state.position = fed.feed.released();
            let (from, to) = (fed.feed.tail(), published.0);
            if from >= to {
                return false;
            }
            let next = self.all.iter().find(|kept| kept.position == from).expect("a boundary");
            let needed = next.end() - from;
            if fed.feed.room() < needed {
                self.seen.full.fetch_add(1, Ordering::Relaxed);
                // Where a reader that releases now matters most.
                thread::yield_now();
                return fed.feed.want_space().expect("an honest reader");
            }
            (fed.attachment, from, to, fed.feed.room(), fed.feed.hand())
        };
        let (mut end, mut seq) = (from, 0);
        let records: Vec<Kept> = lock(&self.journal).iter().cloned().collect();
        for kept in records.iter().filter(|kept| (from..to).contains(&kept.position)) {
            assert_eq!(kept.position, end, "the journal has given up what is needed");
            if kept.end() - from > room {
                break;
            }
            hand.put(kept.position, &kept.bytes);
            (end, seq) = (kept.end(), kept.seq + u64::from(kept.is_data));
        }
        assert!(end > from, "the journal has given up what is needed");
        thread::yield_now();
        let mut state = lock(&self.state);
        let fed = state.reader.as_mut().filter(|fed| fed.attachment == attachment);
        let Some(fed) = fed else { return true };
        let wake = fed.feed.publish(end, seq);
        let doorbell = Arc::clone(&fed.doorbell);
        drop(state);
        if wake.sockets != 0 {
            doorbell.say();
        }
        true
    }
}

/// Reads from a record on up to another, each once in order, and releases after every second.
fn read(
    ring: &Ring,
    (mut reader, doorbell): (Reader<ShuttleMemory, ShuttleMemory>, Arc<Signal>),
    (from, to): (u64, u64),
) -> u64 {
    let (mut next, mut released, mut buf) = (from, from, [0; 128]);
    while next < to {
        match reader.next(&mut buf).expect("undamaged") {
            Next::Record(record) => {
                assert_eq!(record.seq, next);
                let expected = size(next);
                assert_eq!(record.len, expected);
                assert!(buf[..expected].iter().all(|&byte| u64::from(byte) == next));
                next += 1;
                if next % 2 == 0 {
                    released = next;
                    if reader.release() {
                        ring.bell.ring(false);
                    }
                }
                continue;
            }
            Next::Empty => {}
            Next::Closed => panic!("it is not closed"),
        }
        released = next;
        if reader.release() {
            ring.bell.ring(false);
        }
        if let Sleep::Wait { .. } = reader.prepare_sleep(WaitMode::Socket).expect("in range") {
            ring.seen.reader_slept.fetch_add(1, Ordering::Relaxed);
            doorbell.wait();
            reader.finish_sleep(false).expect("in range");
        }
    }
    released
}

fn run(seen: &Arc<Seen>) {
    let ring = Arc::new(Ring {
        all: laid_out(),
        journal: Mutex::default(),
        state: Mutex::new(State { published: (0, 0), position: 0, seq: 0, reader: None }),
        bell: Bell::default(),
        seen: Arc::clone(seen),
    });
    let of = |work: fn(&Ring)| {
        let ring = Arc::clone(&ring);
        thread::spawn(move || work(&ring))
    };
    let publisher = of(|ring| {
        for kept in &ring.all {
            lock(&ring.journal).push_back(kept.clone());
            if kept.is_data {
                lock(&ring.state).published = (kept.end(), kept.seq + 1);
                ring.bell.ring(false);
            }
        }
    });
    let feeder = of(|ring| {
        loop {
            let is_last = ring.bell.wait(None);
            while ring.feed() {}
            if is_last {
                break;
            }
        }
    });
    let keeper = of(|ring| {
        for _ in 0..8 {
            let needed = {
                let state = &mut *lock(&ring.state);
                if let Some(fed) = &mut state.reader {
                    let _ = fed.feed.look().expect("an honest reader");
                    state.position = fed.feed.released();
                }
                state.position
            };
            let mut journal = lock(&ring.journal);
            while journal.front().is_some_and(|kept| kept.end() <= needed) {
                journal.pop_front();
                ring.seen.removed.fetch_add(1, Ordering::Relaxed);
            }
            drop(journal);
            thread::yield_now();
        }
    });
    let reading = of(|ring| {
        let released = read(ring, ring.attach(1), (0, GOES_AT));
        // It goes without a word; what it did not release comes again.
        ring.detach();
        read(ring, ring.attach(2), (released, TOTAL));
    });
    publisher.join().expect("the publisher");
    reading.join().expect("the reader");
    keeper.join().expect("the keeper");
    ring.bell.ring(true);
    feeder.join().expect("the feeder");
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
fn a_reader_that_lags_gets_every_record_once_and_nobody_sleeps_for_ever() {
    let runs = usize::try_from(number("AQUEDUCT_SHUTTLE_RUNS", 150)).expect("a number of runs");
    let seed = number("AQUEDUCT_SHUTTLE_SEED", 1);
    let counted = Arc::default();
    explore(RandomScheduler::new_from_seed(seed, runs), &counted);
    explore(PctScheduler::new_from_seed(seed, 3, runs), &counted);
    let Seen { reader_slept, full, removed } = &*counted;
    let counts = [reader_slept, full, removed].map(|count| count.load(Ordering::Relaxed));
    println!("schedules={} slept={} full={} removed={}", 2 * runs, counts[0], counts[1], counts[2]);
    assert!(counts.iter().all(|&count| count > runs as u64 / 10), "{counts:?}");

    for fault in [
        Fault::BellForgets,
        Fault::FeedAsksAndSleeps,
        Fault::FeedLooksFirst,
        Fault::FeedForgetsUnreleased,
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
