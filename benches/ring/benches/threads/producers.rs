//! Two threads that produce into one ring: claims in parallel, against a lock around the single
//! producer.
//!
//! The ring has no reader, so that the third party does not need a third core; what is left in it
//! is checked at the end.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use aqueduct_benches::machine::{Mapping, SENDER, pin};
use aqueduct_benches::ring::{RING_BYTES, create};
use aqueduct_benches::rounds::{Plan, Subject, interleave};
use aqueduct_benches::threads::duet;
use aqueduct_benches::work::{Backoff, Payload, check};
use aqueduct_core::{ClaimError, Meta, Next, Observer, Producer, Region, SharedProducer};

use super::{nanoseconds, ratio};

/// Pushes this half of the records, by numbers of its own; `push` says whether it was taken.
fn produce(tag: u16, records: u64, bytes: usize, mut push: impl FnMut(Meta, &[u8]) -> bool) {
    let mut payload = Payload::new(bytes);
    for number in 0..records {
        let payload = payload.numbered(number);
        let mut wait = Backoff::default();
        while !push(Meta { type_tag: tag, timestamp_ns: number }, payload) {
            wait.pause();
        }
    }
}

/// Every record that is left is whole, and those of each thread follow one another to its last.
fn check_rest(segment: &Mapping, records: [u64; 2], bytes: usize) {
    let mut observer = Observer::oldest(segment.read_only()).expect("a ring");
    let (mut buf, mut next) = (vec![0; bytes], [None; 2]);
    while let Next::Record(record) = observer.next(&mut buf).expect("an undamaged ring") {
        check(&buf[..record.len], record.timestamp_ns, bytes);
        let next = &mut next[usize::from(record.type_tag)];
        assert_eq!(
            next.unwrap_or(record.timestamp_ns),
            record.timestamp_ns,
            "thread {}",
            record.type_tag
        );
        *next = Some(record.timestamp_ns + 1);
    }
    for (next, records) in next.into_iter().zip(records) {
        assert!(next.is_none_or(|next| next == records), "the last record is missing");
    }
}

fn halves(records: u64) -> [u64; 2] {
    [records / 2, records - records / 2]
}

fn by_claims(records: u64, bytes: usize) -> Duration {
    let segment = Mapping::anonymous(RING_BYTES).expect("memory");
    let shared: SharedProducer<Region> =
        SharedProducer::new(create(segment.region())).expect("a small ring");
    let side = |tag: u16, records| {
        let shared = &shared;
        move || {
            produce(tag, records, bytes, |meta, payload| match shared.push(meta, payload) {
                Ok(commit) => {
                    assert!(commit.wake.is_none(), "nobody sleeps");
                    true
                }
                Err(ClaimError::Busy { .. } | ClaimError::Full { .. }) => false,
                Err(error) => panic!("{error}"),
            });
        }
    };
    let [first, second] = halves(records);
    let took = duet(side(0, first), side(1, second));
    let (producer, wake) = shared.into_producer();
    assert!(wake.is_none(), "nobody sleeps");
    assert_eq!(producer.next_seq(), records, "every record was numbered");
    check_rest(&segment, [first, second], bytes);
    took
}

fn push(producer: &mut Producer<Region>, meta: Meta, payload: &[u8]) -> bool {
    let (_, wake) = producer.push(meta, payload).expect("no reader is in the way");
    assert!(wake.is_none(), "nobody sleeps");
    true
}

fn by_lock(records: u64, bytes: usize) -> Duration {
    let segment = Mapping::anonymous(RING_BYTES).expect("memory");
    let producer = Mutex::new(create(segment.region()));
    let side = |tag: u16, records| {
        let producer = &producer;
        move || {
            produce(tag, records, bytes, |meta, payload| {
                push(&mut producer.lock().expect("no panic inside"), meta, payload)
            });
        }
    };
    let [first, second] = halves(records);
    let took = duet(side(0, first), side(1, second));
    check_rest(&segment, [first, second], bytes);
    took
}

/// One thread with the producer to itself.
fn alone(records: u64, bytes: usize) -> Duration {
    let segment = Mapping::anonymous(RING_BYTES).expect("memory");
    let mut producer = create(segment.region());
    let work = || {
        pin(SENDER).expect("a core to run on");
        let start = Instant::now();
        produce(0, records, bytes, |meta, payload| push(&mut producer, meta, payload));
        start.elapsed()
    };
    let took = std::thread::scope(|scope| scope.spawn(work).join().expect("the thread"));
    check_rest(&segment, [records, 0], bytes);
    took
}

pub(super) fn table(plan: Plan) {
    println!("## Two producing threads, no reader, ns per record (of both threads together)\n");
    println!(
        "| bytes | `SharedProducer` | `Mutex<Producer>` | the lock by the claims | one thread alone |\n|--:|--:|--:|--:|--:|"
    );
    for bytes in [64, 1024, 4096] {
        let mut subjects = [
            Subject::new("claims", |records| by_claims(records, bytes)),
            Subject::new("lock", |records| by_lock(records, bytes)),
            Subject::new("alone", |records| alone(records, bytes)),
        ];
        let series = interleave(plan, &mut subjects);
        let [claims, lock, alone] = &series[..] else { unreachable!("three subjects") };
        println!(
            "| {bytes} | {} | {} | {} | {} |",
            nanoseconds(claims),
            nanoseconds(lock),
            ratio(lock, claims),
            nanoseconds(alone)
        );
    }
    println!();
}
