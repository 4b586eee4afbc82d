//! Larger runs than loom can explore: many shared producers, gating readers and an observer, under
//! random schedules.
//!
//! Bounds: 4 producers with 6 records each of 0 to 40 bytes, now and then a dropped grant; 3
//! readers, 1 observer; capacity 8 granules, 8 claims, so that the ring is full and laps; positions
//! across 2^32; 150 random schedules from a fixed seed, `AQUEDUCT_SHUTTLE_RUNS` and
//! `AQUEDUCT_SHUTTLE_SEED` for others. shuttle is sequentially consistent: it finds races of logic,
//! not weak orderings. Not vacuous: full rings, busy tables, records published by another party and
//! records seen by the observer are counted.

#![allow(clippy::disallowed_types, reason = "counters of the test itself")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqueduct_core::read::Observer;
use aqueduct_core::shared::SharedProducer;
use aqueduct_core::{ClaimError, Meta, Next, Producer, ReadError, Reader, RingConfig, Start};
use aqueduct_verify::shuttle_memory::{Shuttle, ShuttleMemory};
use shuttle::scheduler::RandomScheduler;
use shuttle::{Runner, thread};

const PRODUCERS: u16 = 4;
const EACH: u64 = 6;
const TOTAL: u64 = PRODUCERS as u64 * EACH;
const CAPACITY_BYTES: usize = 8 * 32;

type Shared = SharedProducer<ShuttleMemory, ShuttleMemory, Shuttle, 8, 3>;

/// Bytes that follow from who and which.
fn payload(who: u16, which: u64) -> Vec<u8> {
    let len = (u64::from(who) * 7 + which * 11) % 41;
    (0..len).map(|at| (u64::from(who) * 50 + which * 3 + at).to_le_bytes()[0]).collect()
}

/// A record is one that was pushed.
fn check(record: &aqueduct_core::Record, bytes: &[u8]) {
    assert_eq!(bytes, payload(record.type_tag, record.timestamp_ns));
}

fn produce(shared: &Shared, who: u16, seen: &[AtomicU64; 4]) {
    for which in 0..EACH {
        if which % 4 == 2 {
            drop(shared.claim(8));
        }
        loop {
            match shared.push(Meta { type_tag: who, timestamp_ns: which }, &payload(who, which)) {
                Ok(commit) => {
                    seen[2].fetch_add(u64::from(commit.seq.is_none()), Ordering::Relaxed);
                    break;
                }
                Err(ClaimError::Full { .. }) => seen[0].fetch_add(1, Ordering::Relaxed),
                Err(ClaimError::Busy { .. }) => seen[1].fetch_add(1, Ordering::Relaxed),
                Err(other) => panic!("{other}"),
            };
            thread::yield_now();
        }
    }
}

/// Releases only when nothing is left, so that the ring fills up. Every record once, in the order
/// of the numbers, and each producer's in its order.
fn read(mut reader: Reader<ShuttleMemory, ShuttleMemory>) -> Vec<(u16, u64)> {
    let (mut order, mut next) = (Vec::new(), [0; PRODUCERS as usize]);
    let mut buf = [0; 64];
    while (order.len() as u64) < TOTAL {
        match reader.next(&mut buf).expect("nothing is damaged") {
            Next::Record(record) => {
                assert_eq!(record.seq, order.len() as u64);
                check(&record, &buf[..record.len]);
                let mine = &mut next[usize::from(record.type_tag)];
                assert_eq!(record.timestamp_ns, *mine);
                *mine += 1;
                order.push((record.type_tag, record.timestamp_ns));
            }
            Next::Empty => {
                let _ = reader.release();
                thread::yield_now();
            }
            Next::Closed => panic!("it is not closed"),
        }
    }
    order
}

/// Looks a while; what it gets is whole, and the numbers rise.
fn watch(mut observer: Observer<ShuttleMemory>) -> u64 {
    let (mut last, mut seen, mut buf) = (None, 0, [0; 64]);
    for _ in 0..3 * TOTAL {
        match observer.next(&mut buf) {
            Ok(Next::Record(record)) => {
                assert!(last.is_none_or(|last| last < record.seq));
                check(&record, &buf[..record.len]);
                (last, seen) = (Some(record.seq), seen + 1);
            }
            Ok(Next::Empty) | Err(ReadError::Overrun { .. }) => {}
            other => panic!("nothing is damaged: {other:?}"),
        }
        thread::yield_now();
    }
    seen
}

fn run(seen: &[AtomicU64; 4]) {
    let ring = ShuttleMemory::new(256 + CAPACITY_BYTES);
    let mut config = RingConfig::new("shuttle", 7, CAPACITY_BYTES);
    config.first_position = u32::MAX - 20;
    let mut producer: Producer<_, ShuttleMemory, 3> =
        Producer::create(ring.clone(), &config).expect("create");
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let page = ShuttleMemory::new(256);
            let id = producer.subscribe(Start::Latest).expect("subscribe");
            producer.attach(id, "shuttle", page.clone()).expect("attach");
            Reader::attach(ring.clone(), page).expect("reader")
        })
        .collect();
    let observer = Observer::oldest(ring).expect("join");
    let shared: Arc<Shared> = Arc::new(SharedProducer::new(producer).expect("small enough"));
    let watching = thread::spawn(move || watch(observer));
    let reading: Vec<_> =
        readers.into_iter().map(|reader| thread::spawn(move || read(reader))).collect();
    thread::scope(|scope| {
        for who in 0..PRODUCERS {
            let shared = &shared;
            scope.spawn(move || produce(shared, who, seen));
        }
    });
    let orders: Vec<_> =
        reading.into_iter().map(|reading| reading.join().expect("reader")).collect();
    assert!(orders.iter().all(|order| order == &orders[0]));
    seen[3].fetch_add(watching.join().expect("observer"), Ordering::Relaxed);
    assert_eq!(shared.unfinished(), None);
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |number| number.parse().unwrap_or_else(|_| panic!("{name}: a number")))
}

#[test]
fn every_reader_gets_every_record_of_every_producer_once() {
    let runs = number("AQUEDUCT_SHUTTLE_RUNS", 150);
    let random = number("AQUEDUCT_SHUTTLE_SEED", 1);
    let seen: Arc<[AtomicU64; 4]> = Arc::default();
    let counted = seen.clone();
    let scheduler =
        RandomScheduler::new_from_seed(random, usize::try_from(runs).expect("a number of runs"));
    Runner::new(scheduler, shuttle::Config::new()).run(move || run(&counted));
    let [full, busy, another, observed] =
        [0, 1, 2, 3].map(|index| seen[index].load(Ordering::Relaxed));
    println!(
        "{runs} runs: full {full}, busy {busy}, published by another {another}, seen by the observer {observed}"
    );
    assert!(full > 0 && busy > 0 && another > 0 && observed > 0);
}
