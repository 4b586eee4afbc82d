//! Waiting on a futex of one's own, as readers in other processes do that have no runtime and no
//! socket: the kernel compares the word `tail` with what the reader saw and puts it to sleep in one
//! step, so no publication is missed. Linux.
//!
//! Both sides are threads here; over a shared mapping they may be processes.

#![expect(clippy::disallowed_types, reason = "a futex call takes the word as what it is")]

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use aqueduct_core::{
    Memory, MemoryMut, Meta, Next, Producer, ReadError, Reader, Region, RingConfig, Segment, Sleep,
    Start, WaitMode, Wake,
};
use rustix::io::Errno;
use rustix::thread::futex::{Flags, Timespec, wait, wake};

static RING: Segment<{ 256 + 4096 }> = Segment::new();
static CURSOR: Segment<256> = Segment::new();

/// Every sleeper: the kernel counts in an `int`.
const ALL: u32 = i32::MAX as u32;

/// The word that changes with each publication. Not private: other processes sleep on it, too.
fn tail() -> &'static AtomicU32 {
    // SAFETY: an aligned word of a static segment, which everyone accesses as an atomic u32.
    unsafe { RING.region().tail_word().cast().as_ref() }
}

/// Sleeps until there is a record, the end of the stream, or `timeout` has passed (`Empty`).
fn recv<R: Memory, C: MemoryMut>(
    reader: &mut Reader<R, C>,
    buf: &mut [u8],
    timeout: Duration,
) -> Result<Next, ReadError> {
    let next = reader.next(buf)?;
    if next != Next::Empty {
        return Ok(next);
    }
    // A producer without space never publishes: what was read is given back before sleeping.
    let _ = reader.release(); // this producer never asks to be told of space
    let mut timed_out = false;
    if let Sleep::Wait { tail: seen } = reader.prepare_sleep(WaitMode::Futex)? {
        let timeout = Timespec::try_from(timeout).ok();
        timed_out = wait(tail(), Flags::empty(), seen, timeout.as_ref()) == Err(Errno::TIMEDOUT);
    }
    reader.finish_sleep(timed_out)?;
    reader.next(buf)
}

/// Wakes the readers that a publication found asleep on the futex: one call reaches all of them.
fn notify(published: Wake) {
    if published.futex {
        wake(tail(), Flags::empty(), ALL).expect("the word is mapped");
    }
}

fn main() {
    let config = RingConfig::new("futex", 0x5eed_5efa, 4096);
    let mut producer: Producer<Region> =
        Producer::create(RING.region(), &config).expect("it fits the segment");
    let subscription = producer.subscribe(Start::Oldest).expect("the table is empty");
    producer.attach(subscription, "reader", CURSOR.region()).expect("it is large enough");

    let consumer = std::thread::spawn(|| {
        let mut reader = Reader::attach(RING.region(), CURSOR.region()).expect("it was created");
        let (mut buf, mut records) = ([0; 64], 0_u64);
        loop {
            match recv(&mut reader, &mut buf, Duration::from_secs(10)).expect("nothing is damaged")
            {
                Next::Record(record) => {
                    assert_eq!(record.seq, records);
                    records += 1;
                }
                Next::Empty => {} // woken by the end, or nothing came for ten seconds
                Next::Closed => return records,
            }
        }
    });
    for number in 0..1000_u64 {
        while producer
            .push(Meta::default(), &number.to_le_bytes())
            .map(|(_, wake)| notify(wake))
            .is_err()
        {
            std::thread::yield_now(); // full; a program with better things to do does them now
        }
        if number % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1)); // long enough for the reader to sleep
        }
    }
    notify(producer.close());
    println!("{} records", consumer.join().expect("it reads to the end"));
}
