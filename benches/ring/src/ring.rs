//! A ring under measure: both ends, and the loops that send and receive.

use aqueduct_core::internals::Path;
use aqueduct_core::layout::{DATA_OFFSET_MAPPED, ring_word};
use aqueduct_core::{
    ClaimError, MemoryMut, Meta, Next, Producer, ReadRegion, Reader, Region, RingConfig, Sleep,
    Start, WaitMode, Wake,
};

use crate::machine::{Mapping, futex_wait, futex_wake};
use crate::work::{Backoff, CAPACITY_BYTES, Payload, RELEASE_EVERY, check, spin};

/// Bytes of a ring segment for [`CAPACITY_BYTES`].
pub const RING_BYTES: usize = 4096 + CAPACITY_BYTES;
/// Bytes of a cursor segment.
pub const PAGE_BYTES: usize = 4096;

const EPOCH: u64 = 0x1f2e_3d4c_5b6a_7988;
const META: Meta = Meta { type_tag: 7, timestamp_ns: 1 };

/// Ends the process if `AQUEDUCT_CRC_PATH` names no path of this processor: the core would ignore
/// it, and figures would be put down to another path.
pub fn refuse_an_unknown_path() {
    if let Err(name) = Path::asked() {
        eprintln!("AQUEDUCT_CRC_PATH: this processor has no path {}", name.display());
        std::process::exit(2);
    }
}

/// How a reader waits for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It looks again and again.
    Busy,
    /// By a futex, at once.
    Asleep,
}

/// Every sleep has an end; here it only bounds a benchmark that went wrong.
const SLEEP_MS: u32 = 1000;

/// A new ring in this segment, as large as fits after its header page, without readers: it
/// overwrites its oldest records.
pub fn create<M: MemoryMut>(segment: M) -> Producer<M> {
    let capacity_bytes = segment.size() - DATA_OFFSET_MAPPED as usize;
    let mut config = RingConfig::new("bench", EPOCH, capacity_bytes);
    config.data_offset_bytes = DATA_OFFSET_MAPPED;
    Producer::create(segment, &config).expect("a header page and a power of two")
}

/// The same with one gating subscription on this page, for a reader in any process.
pub fn create_gated<'a>(segment: &'a Mapping, page: &'a Mapping) -> Producer<Region<'a>> {
    create_gated_by(segment, std::slice::from_ref(page))
}

/// The same with a gating subscription on each of these pages.
pub fn create_gated_by<'a>(segment: &'a Mapping, pages: &'a [Mapping]) -> Producer<Region<'a>> {
    let mut producer = create(segment.region());
    for page in pages {
        let subscription = producer.subscribe(Start::Latest).expect("room in the table");
        producer.attach(subscription, "bench", page.region()).expect("a page of PAGE_BYTES");
    }
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

/// Wakes who must be woken.
#[inline]
fn tell(producer: &Producer<Region>, wake: Wake) {
    if !wake.is_none() {
        assert!(wake.sockets == 0, "readers of the benches sleep by futex");
        futex_wake(*producer.ring(), ring_word::TAIL);
    }
}

#[inline]
fn publish(producer: &mut Producer<Region>) {
    let wake = producer.publish();
    tell(producer, wake);
}

/// Sends one record at once.
#[inline]
pub fn send_one(producer: &mut Producer<Region>, payload: &[u8]) {
    let (_, wake) = producer.push(META, payload).expect("room for one");
    tell(producer, wake);
}

/// Waits for one record, releases what was read before it if it has to wait, and gives its length.
#[inline]
fn await_one(
    reader: &mut Reader<ReadRegion, Region>,
    ring: ReadRegion,
    buf: &mut [u8],
    waiting: Waiting,
) -> usize {
    let mut all_released = false;
    spin(|| match reader.next(buf).expect("an undamaged ring") {
        Next::Record(record) => Some(record.len),
        Next::Empty => {
            if !all_released {
                all_released = true;
                assert!(!reader.release(), "nobody asks for space");
            }
            if waiting == Waiting::Asleep {
                sleep(reader, ring);
            }
            None
        }
        Next::Closed => panic!("closed"),
    })
}

/// Waits for one record and releases it.
#[inline]
pub fn receive_one(
    reader: &mut Reader<ReadRegion, Region>,
    ring: ReadRegion,
    buf: &mut [u8],
    waiting: Waiting,
) -> usize {
    let len = await_one(reader, ring, buf, waiting);
    assert!(!reader.release(), "nobody asks for space");
    len
}

/// Receives and checks numbered records, and releases every so many and before it waits.
pub fn receive_each(
    reader: &mut Reader<ReadRegion, Region>,
    ring: ReadRegion,
    records: u64,
    bytes: usize,
    waiting: Waiting,
    release_every: u32,
) {
    let mut buf = vec![0; bytes];
    for seq in 0..records {
        let len = await_one(reader, ring, &mut buf, waiting);
        check(&buf[..len], seq, bytes);
        if (seq + 1).is_multiple_of(release_every.into()) {
            assert!(!reader.release(), "nobody asks for space");
        }
    }
    assert!(!reader.release(), "nobody asks for space");
}

/// Sleeps until something is published.
fn sleep(reader: &mut Reader<ReadRegion, Region>, ring: ReadRegion) {
    if let Sleep::Wait { tail } = reader.prepare_sleep(WaitMode::Futex).expect("an undamaged ring")
    {
        let woken = futex_wait(ring, ring_word::TAIL, tail, SLEEP_MS);
        reader.finish_sleep(!woken).expect("an undamaged ring");
    }
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

/// Sends numbered records by whole rings: fills it, publishes once, waits until everything was
/// released.
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

/// Receives and checks numbered records. Calls `found` with true before the first of each run of
/// records and with false when there are none.
pub fn receive(
    reader: &mut Reader<ReadRegion, Region>,
    records: u64,
    bytes: usize,
    mut found: impl FnMut(bool),
) {
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
