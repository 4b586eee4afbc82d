//! How the cost of a record grows: with the ring, the payload, the batch, the readers, the
//! producing threads.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use aqueduct_benches::machine::{Mapping, SENDER, pin, receiver_core};
use aqueduct_benches::ring::{
    PAGE_BYTES, RING_BYTES, attach, create, create_gated, create_gated_by, receive, send,
};
use aqueduct_benches::rounds::{Plan, Subject, interleave};
use aqueduct_benches::threads::{chorus, duet};
use aqueduct_benches::work::{Backoff, Payload};
use aqueduct_core::{ClaimError, Meta, Producer, Region, SharedProducer};

use crate::results::Measure;

const META: Meta = Meta { type_tag: 7, timestamp_ns: 1 };
const HEADER_PAGE: usize = 4096;

fn memory(bytes: usize) -> Mapping {
    Mapping::anonymous(bytes).expect("memory")
}

fn measures(
    plan: Plan,
    group: &str,
    with: &[(&str, u64)],
    mut subjects: Vec<Subject>,
) -> Vec<Measure> {
    let names: Vec<String> = subjects.iter().map(|subject| subject.name.to_string()).collect();
    let series = interleave(plan, &mut subjects);
    names
        .iter()
        .zip(series)
        .map(|(name, series)| Measure::new(group, name, with, "ns per record", &series))
        .collect()
}

/// Two threads, a producer and a reader.
fn pair(capacity: usize, bytes: usize, batch: u32, records: u64) -> Duration {
    let (ring, page) = (memory(HEADER_PAGE + capacity), memory(PAGE_BYTES));
    let (mut producer, mut reader) = (create_gated(&ring, &page), attach(&ring, &page));
    duet(
        || send(&mut producer, records, bytes, batch),
        || receive(&mut reader, records, bytes, |_| ()),
    )
}

/// Every curve.
pub fn curves(plan: Plan) -> Vec<Measure> {
    let mut all = Vec::new();
    for exponent in 16..=26 {
        let capacity = 1 << exponent;
        let of = |name, bytes| Subject::new(name, move |records| pair(capacity, bytes, 1, records));
        all.extend(measures(
            plan,
            "ring size",
            &[("capacity", capacity as u64)],
            vec![of("64 bytes", 64), of("1024 bytes", 1024)],
        ));
    }
    for exponent in 4..=16 {
        let bytes = 1 << exponent;
        let of =
            |name, batch| Subject::new(name, move |records| pair(1 << 20, bytes, batch, records));
        all.extend(measures(
            plan,
            "payload",
            &[("bytes", bytes as u64)],
            vec![of("one by one", 1), of("by 16", 16)],
        ));
    }
    for exponent in 0..=8 {
        let batch = 1 << exponent;
        let of =
            |name, bytes| Subject::new(name, move |records| pair(1 << 20, bytes, batch, records));
        all.extend(measures(
            plan,
            "batch",
            &[("batch", batch.into())],
            vec![of("64 bytes", 64), of("1024 bytes", 1024)],
        ));
    }
    for readers in [0, 1, 2, 3, 4, 6, 8] {
        let subjects = vec![
            Subject::new("producer alone, readers keep up", move |records| {
                alone(readers, 1, records)
            }),
            Subject::new("the same by 16", move |records| alone(readers, 16, records)),
        ];
        all.extend(measures(plan, "gating readers", &[("readers", readers as u64)], subjects));
    }
    for readers in [1, 2, 4] {
        let subjects = vec![Subject::new("producer and readers at work", move |records| {
            many_readers(readers, records)
        })];
        all.extend(measures(plan, "gating readers", &[("readers", readers as u64)], subjects));
    }
    for threads in [1, 2, 3, 4] {
        let mut subjects = vec![
            Subject::new("SharedProducer", move |records| by_claims(threads, records)),
            Subject::new("Mutex<Producer>", move |records| by_lock(threads, records)),
        ];
        if threads == 1 {
            subjects.push(Subject::new("Producer", by_itself));
        }
        all.extend(measures(plan, "producing threads", &[("threads", threads as u64)], subjects));
    }
    all
}

/// A producer whose readers keep up; only the producer's time.
fn alone(readers: usize, batch: u64, records: u64) -> Duration {
    const STRETCH: u64 = 1024;
    pin(SENDER).expect("a core");
    let (ring, pages) =
        (memory(RING_BYTES), (0..readers).map(|_| memory(PAGE_BYTES)).collect::<Vec<_>>());
    let mut producer = create_gated_by(&ring, &pages);
    let mut readers: Vec<_> = pages.iter().map(|page| attach(&ring, page)).collect();
    let payload = Payload::new(64).numbered(1).to_vec();
    let mut took = Duration::ZERO;
    for stretch in 0..records.div_ceil(STRETCH) {
        let end = STRETCH.min(records - stretch * STRETCH);
        let began = Instant::now();
        for at in 1..=end {
            producer.append(META, &payload).expect("room");
            if at.is_multiple_of(batch) || at == end {
                assert!(producer.publish().is_none(), "nobody sleeps");
            }
        }
        took += began.elapsed();
        for reader in &mut readers {
            reader.skip_to_latest().expect("an undamaged ring");
            assert!(!reader.release(), "nobody asks for space");
        }
    }
    took
}

fn many_readers(count: usize, records: u64) -> Duration {
    let (ring, pages) =
        (memory(RING_BYTES), (0..count).map(|_| memory(PAGE_BYTES)).collect::<Vec<_>>());
    let mut producer = create_gated_by(&ring, &pages);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (at, page) in pages.iter().enumerate() {
            let ring = &ring;
            scope.spawn(move || {
                pin(receiver_core(at)).expect("a core");
                receive(&mut attach(ring, page), records, 64, |_| ());
            });
        }
        scope.spawn(|| {
            pin(SENDER).expect("a core");
            send(&mut producer, records, 64, 1);
        });
    });
    began.elapsed()
}

/// So many threads, started together, share the records; no reader.
fn together(threads: usize, records: u64, push: impl Fn(&[u8]) -> bool + Sync) -> Duration {
    let push = &push;
    let voice = |at: usize| {
        let share =
            records * (at as u64 + 1) / threads as u64 - records * at as u64 / threads as u64;
        (if at == 0 { SENDER } else { receiver_core(at - 1) }, move || produce(share, push))
    };
    chorus((0..threads).map(voice).collect())
}

fn produce(records: u64, mut push: impl FnMut(&[u8]) -> bool) {
    let mut payload = Payload::new(64);
    for number in 0..records {
        let payload = payload.numbered(number);
        let mut wait = Backoff::default();
        while !push(payload) {
            wait.pause();
        }
    }
}

fn by_itself(records: u64) -> Duration {
    let ring = memory(RING_BYTES);
    let mut producer: Producer<Region> = create(ring.region());
    let took = chorus(vec![(SENDER, || {
        produce(records, |payload| {
            producer.push(META, payload).expect("no reader is in the way").1.is_none()
        });
    })]);
    assert_eq!(producer.next_seq(), records, "every record was numbered");
    took
}

fn by_claims(threads: usize, records: u64) -> Duration {
    let ring = memory(RING_BYTES);
    let shared: SharedProducer<Region> =
        SharedProducer::new(create(ring.region())).expect("a small ring");
    let took = together(threads, records, |payload| match shared.push(META, payload) {
        Ok(commit) => commit.wake.is_none(),
        Err(ClaimError::Busy { .. } | ClaimError::Full { .. }) => false,
        Err(error) => panic!("{error}"),
    });
    assert_eq!(shared.into_producer().0.next_seq(), records, "every record was numbered");
    took
}

fn by_lock(threads: usize, records: u64) -> Duration {
    let ring = memory(RING_BYTES);
    let producer: Mutex<Producer<Region>> = Mutex::new(create(ring.region()));
    let took = together(threads, records, |payload| {
        let (_, wake) = producer
            .lock()
            .expect("no panic inside")
            .push(META, payload)
            .expect("no reader is in the way");
        wake.is_none()
    });
    let producer = producer.into_inner().expect("no panic inside");
    assert_eq!(producer.next_seq(), records, "every record was numbered");
    took
}
