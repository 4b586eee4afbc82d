//! Rust, C and C++ in one firmware: Rust produces, C reads and releases, and an observer in C++
//! looks on. Each language sees the ring through its own library; all three check every byte.
//!
//! Run: `cargo run --release --bin mixed`. Expect a line `ok` and exit code 0. With the argument
//! `seed=damage` a bit in the ring is flipped, which C must report and the run fail.

#![no_std]
#![no_main]

use aqueduct_core::{
    ClaimError, Memory, MemoryMut, Meta, Producer, Region, RingConfig, Segment, Start,
};
use aqueduct_executors as _; // the vector table
use aqueduct_firmware::{pass, seeded};
use cortex_m_rt::entry;
use cortex_m_semihosting::hprintln;

const BYTES: usize = 256 + 2048;
static RING: Segment<BYTES> = Segment::new();
static CURSOR: Segment<256> = Segment::new();

const RECORDS: u32 = 3000;

unsafe extern "C" {
    /// Attaches the one reader. 0, or the status of the library.
    fn mixed_attach(
        ring: *const u8,
        ring_bytes: usize,
        cursor: *mut u8,
        cursor_bytes: usize,
    ) -> i32;
    /// Reads and releases what is there. The records, or the status of the library, negative.
    fn mixed_read() -> i32;
    /// Joins the one observer at the oldest record. 0, or the status of the library.
    fn mixed_join(ring: *const u8, ring_bytes: usize) -> i32;
    /// Reads what is there. The records, or the status of the library, negative.
    fn mixed_observe() -> i32;
}

/// Number `n` has n % 90 bytes, counting up from n.
fn payload(number: u32, bytes: &mut [u8; 90]) -> &[u8] {
    let payload = &mut bytes[..number as usize % 90];
    for (byte, value) in payload.iter_mut().zip(number..) {
        *byte = value.to_le_bytes()[0];
    }
    payload
}

#[entry]
fn main() -> ! {
    let config = RingConfig::new("mixed", 0x5EED_0001, 2048);
    let mut producer: Producer<Region<'_>> =
        Producer::create_new(RING.region(), &config).expect("there is none");
    let subscription = producer.subscribe(Start::Oldest).expect("the first");
    producer.attach(subscription, "c", CURSOR.region()).expect("it is large enough");
    let (ring, cursor) = (RING.region().base().as_ptr(), CURSOR.region().base().as_ptr());
    // SAFETY: both segments live for ever, have these sizes, and are only reached by the atomics of
    // either library.
    let attached = unsafe { mixed_attach(ring, BYTES, cursor, 256) };
    // SAFETY: as above.
    let joined = unsafe { mixed_join(ring, BYTES) };
    assert_eq!((attached, joined), (0, 0));

    let damage = seeded("damage");
    let (mut number, mut read, mut observed, mut waits, mut buf) = (0, 0, 0, 0, [0; 90]);
    while read < RECORDS {
        let mut full = number == RECORDS;
        if !full {
            let meta = Meta { type_tag: 7, timestamp_ns: u64::from(number) };
            match producer.push(meta, payload(number, &mut buf)) {
                Ok((seq, wake)) => {
                    assert_eq!((seq, wake.is_none()), (u64::from(number), true));
                    number += 1;
                }
                Err(ClaimError::Full { .. }) => full = true,
                Err(error) => panic!("{error}"),
            }
        }
        // Nobody waits for the observer, so it looks each time.
        // SAFETY: it was joined, and only this loop uses it.
        let seen = unsafe { mixed_observe() };
        assert!(seen >= 0, "C++: status {}", -seen);
        observed += seen.cast_unsigned();
        if damage && full && number > RECORDS / 2 {
            flip(producer.geometry().offset_of(0));
        }
        if full {
            // SAFETY: it was attached, and only this loop uses it.
            let taken = unsafe { mixed_read() };
            assert!(taken >= 0, "C: status {}", -taken);
            read += taken.cast_unsigned();
            assert_eq!(read, number, "each look takes what is there");
            waits += 1;
        }
    }
    assert_eq!((read, observed), (RECORDS, RECORDS));
    assert!(waits > 10, "the ring was full {waits} times");
    hprintln!("ok: {} records from Rust, read by C and seen by C++; {} times full", read, waits);
    pass()
}

/// Flips a bit of every granule, so that some record that is still to be read is damaged.
fn flip(data: usize) {
    let ring = RING.region();
    let mut word = [0; 8];
    for granule in (data..BYTES).step_by(32) {
        ring.read(granule, &mut word);
        word[0] ^= 1;
        ring.write(granule, &word);
    }
}
