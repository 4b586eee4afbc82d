//! A ring under measure: both ends, and the loops that send and receive. Next: `stream`.

use aqueduct_core::{ClaimError, MemoryMut, Meta, Next, Producer, ReadRegion, Reader, Region, RingConfig, Start};

use crate::machine::Mapping;
use crate::work::{Backoff, CAPACITY_BYTES, Payload, RELEASE_EVERY, check};

/// Bytes of a ring segment for [`CAPACITY_BYTES`].
pub const RING_BYTES: usize = 4096 + CAPACITY_BYTES;
/// Bytes of a cursor segment.
pub const PAGE_BYTES: usize = 4096;

const EPOCH: u64 = 0x1f2e_3d4c_5b6a_7988;
const META: Meta = Meta { type_tag: 7, timestamp_ns: 1 };

/// A new ring in this segment, without readers: it overwrites its oldest records.
pub fn create<M: MemoryMut>(segment: M) -> Producer<M> {
    let config = RingConfig { data_offset_bytes: 4096, ..RingConfig::new("bench", EPOCH, CAPACITY_BYTES) };
    Producer::create(segment, &config).expect("a segment of RING_BYTES")
}

/// The same with one gating subscription on this page, for a reader in any process.
pub fn create_gated<'a>(segment: &'a Mapping, page: &'a Mapping) -> Producer<Region<'a>> {
    let mut producer = create(segment.region());
    let subscription = producer.subscribe(Start::Latest).expect("an empty table");
    producer.attach(subscription, "bench", page.region()).expect("a page of PAGE_BYTES");
    producer
}

/// The reader of a ring made by [`create_gated`].
pub fn attach<'a>(segment: &'a Mapping, page: &'a Mapping) -> Reader<ReadRegion<'a>, Region<'a>> {
    Reader::attach(segment.read_only(), page.region()).expect("a ring and its page")
}

/// Tries to commit one record; false if the ring is full.
#[inline]
fn append(producer: &mut Producer<Region>, payload: &[u8]) -> bool {
    match producer.append(META, payload) {
        Ok(_) => true,
        Err(ClaimError::Full { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Publishes; the readers of the benches never sleep.
#[inline]
fn publish(producer: &mut Producer<Region>) {
    assert!(producer.publish().is_none(), "nobody sleeps");
}

/// Sends numbered records, published by so many.
pub fn send(producer: &mut Producer<Region>, records: u64, bytes: usize, batch: u32) {
    let mut payload = Payload::new(bytes);
    let mut wait = Backoff::default();
    let mut unpublished = 0;
    for seq in 0..records {
        let payload = payload.numbered(seq);
        wait.reset();
        while !append(producer, payload) {
            publish(producer);
            wait.pause();
        }
        unpublished += 1;
        if unpublished == batch {
            publish(producer);
            unpublished = 0;
        }
    }
    publish(producer);
}

/// Sends numbered records by whole rings: fills it, publishes once, waits until everything was released.
pub fn send_laps(producer: &mut Producer<Region>, records: u64, bytes: usize) {
    let mut payload = Payload::new(bytes);
    for seq in 0..records {
        let payload = payload.numbered(seq);
        while !append(producer, payload) {
            publish(producer);
            let mut wait = Backoff::default();
            while producer.backlog() > 0 {
                wait.pause();
            }
        }
    }
    publish(producer);
}

/// Receives and checks numbered records. Calls `found` with true before the first of each run of records and with false when there are none.
pub fn receive(reader: &mut Reader<ReadRegion, Region>, records: u64, bytes: usize, mut found: impl FnMut(bool)) {
    let mut buf = vec![0; bytes];
    let mut wait = Backoff::default();
    let (mut seq, mut unreleased, mut running) = (0, 0, false);
    while seq < records {
        match reader.next(&mut buf).expect("an undamaged ring") {
            Next::Record(record) => {
                if !running {
                    running = true;
                    found(true);
                }
                check(&buf[..record.len], seq, bytes);
                seq += 1;
                unreleased += 1;
                if unreleased == RELEASE_EVERY {
                    unreleased = 0;
                    assert!(!reader.release(), "nobody asks for space");
                }
            }
            Next::Empty => {
                if running {
                    running = false;
                    found(false);
                    wait.reset();
                }
                if unreleased > 0 {
                    unreleased = 0;
                    assert!(!reader.release(), "nobody asks for space");
                }
                wait.pause();
            }
            Next::Closed => panic!("closed before record {seq}"),
        }
    }
    found(false);
    assert!(!reader.release(), "nobody asks for space");
}
